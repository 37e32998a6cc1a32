"""Regularisers towards the initial latents."""

from torch import Tensor

from facsimile.refine.loss_inputs import LossInputs, Networks
from facsimile.refine.recipe import Recipe, Term
from facsimile.stylegan import spaces

from . import register


def _check_feature(recipe: Recipe, networks: Networks) -> None:
    _, has_feature = spaces.parse(recipe.space)
    if not has_feature:
        raise ValueError(
            f'the term "feature_reg" needs a feature, and the space of "{recipe.name}" is '
            f'"{recipe.space}"; leave the term out, or use f/{recipe.space}'
        )


@register(check=_check_feature)
def feature_reg(inputs: LossInputs, term: Term) -> Tensor:
    """mean((f - f0)^2) (Revisiting Latent Space of GAN Inversion, equation 3).

    The paper prints the squared norm; its code takes the mean, as here.
    """
    feature, initial = inputs.latents.feature, inputs.targets.initial.feature
    assert feature is not None
    assert initial is not None
    return (feature - initial).square().flatten(1).mean(1)


@register()
def latent_reg(inputs: LossInputs, term: Term) -> Tensor:
    """mean((w - w0)^2).

    Image2StyleGAN++'s Algorithm 5 regularises by the norm |w0 - w|; the mean square is smooth at 0.
    """
    return (inputs.latents.code - inputs.targets.initial.code).square().flatten(1).mean(1)
