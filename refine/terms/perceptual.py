"""The perceptual term: the distance between features of image and target."""

from torch import Tensor

from facsimile import metrics
from facsimile.refine.loss_inputs import LossInputs, Networks
from facsimile.refine.recipe import Term

from . import register


def _features(networks: Networks, images: Tensor) -> list[Tensor]:
    return networks["perceptual"].features(images)


@register(networks=("perceptual",), prepare=_features)
def perceptual(inputs: LossInputs, term: Term) -> Tensor:
    """Sum over layers of the mean over pixels of |F_l(G) - F_l(x)|^2: see `metrics.distance`."""
    features = inputs.network("perceptual").features(inputs.image)
    return metrics.distance(features, inputs.target_features(term), inputs.mask(term))
