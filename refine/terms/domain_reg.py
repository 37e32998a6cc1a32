"""The domain term: the encoder must predict the code that the image was made from."""

from torch import Tensor

from facsimile.refine.loss_inputs import LossInputs, Networks
from facsimile.refine.recipe import Recipe, Term

from . import register


def _check(recipe: Recipe, networks: Networks) -> None:
    if recipe.space != "w+":
        raise ValueError(
            f'the domain_reg term compares codes in W+, and the space of "{recipe.name}" is '
            f'"{recipe.space}"; leave the term out, or use w+'
        )
    if getattr(networks["encoder"], "training", False):
        raise ValueError(
            "the encoder is in training mode, in which images may influence one another; "
            "call its eval() first"
        )


@register(networks=("encoder",), check=_check)
def domain_reg(inputs: LossInputs, term: Term) -> Tensor:
    """mean((z - E(G(z)))^2), z a code in W+ (In-Domain GAN Inversion, its domain regulariser).

    The gradient passes through the encoder E and the generator G.
    """
    prediction = inputs.network("encoder")(inputs.image)
    return (inputs.latents.code - prediction).square().flatten(1).mean(1)
