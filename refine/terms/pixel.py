"""Pixel terms: squared differences between image and target.

Legend: N images, C channels, HxW pixels.
"""

from torch import Tensor

from facsimile.refine.loss_inputs import LossInputs
from facsimile.refine.recipe import Term

from . import register

# Image2StyleGAN++ divides by the scalars of an RGB image of this many pixels a side (section 4.1),
# and measures on 0..255 with the weight 1e-5 (section 6): so many times the sum on [-1, 1].
PAPER_RESOLUTION = 2**10
PAPER_WEIGHT = 1e-5 * 127.5**2 / (3 * PAPER_RESOLUTION**2)


@register()
def pixel(inputs: LossInputs, term: Term) -> Tensor:
    """|M (G - x)|^2 / (C H W), the mask inside the square (Image2StyleGAN++, equation 1)."""
    return inputs.difference(term).square().flatten(1).mean(1)


@register()
def noise_pixel(inputs: LossInputs, term: Term) -> Tensor:
    """The noise stage's pixel loss in the paper's units (Image2StyleGAN++, equation 3).

    Adam's eps makes its absolute scale matter: the gradients are near eps, and lr 5 presumes so.
    """
    return inputs.difference(term).square().flatten(1).sum(1) * PAPER_WEIGHT
