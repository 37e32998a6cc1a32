"""The P_N norm: codes stay where the generator's own samples are dense."""

from torch import Tensor

from facsimile.refine.loss_inputs import LossInputs
from facsimile.refine.recipe import Term
from facsimile.stylegan import spaces

from . import register


@register()
def p_norm(inputs: LossInputs, term: Term) -> Tensor:
    """mean(p_N^2) over the style inputs that act (Improved StyleGAN Embedding, equation 3).

    In S, the mean square of the styles whitened by channel.
    """
    space, _ = spaces.parse(inputs.latents.space)
    generator = inputs.targets.generator
    first = inputs.latents.first_ws_index(generator)
    return space.mahalanobis_sq(generator, inputs.latents.code, first)
