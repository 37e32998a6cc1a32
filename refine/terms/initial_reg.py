"""Regularisers towards the initial latents."""

from torch import Tensor

from facsimile.refine.loss_inputs import LossInputs
from facsimile.refine.recipe import Term

from . import register


@register()
def feature_reg(inputs: LossInputs, term: Term) -> Tensor:
    """mean((f - f0)^2) (Revisiting Latent Space of GAN Inversion, equation 3).

    The paper prints the squared norm; its code takes the mean, as here.
    """
    initial = inputs.targets.initial.feature
    return (inputs.latents.feature - initial).square().flatten(1).mean(1)


@register()
def latent_reg(inputs: LossInputs, term: Term) -> Tensor:
    """mean((w - w0)^2).

    Image2StyleGAN++'s Algorithm 5 regularises by the norm |w0 - w|; the mean square is smooth at 0.
    """
    return (inputs.latents.code - inputs.targets.initial.code).square().flatten(1).mean(1)
