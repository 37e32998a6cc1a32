"""The style term: the same statistics of features, wherever they lie in the picture.

Legend: N images, layer l has C_l channels and h_l x w_l pixels.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from facsimile.refine.loss_inputs import LossInputs, Networks
from facsimile.refine.recipe import Term

from . import register


def gram(feature: Tensor, mask: Tensor | None = None) -> Tensor:
    """sum over pixels of m f f^T / (C sum of m): (N, C, C) of a feature (N, C, h, w).

    mask: (N, 1, H, W) in [0, 1], averaged down to the feature's size; None: all pixels count.
    """
    weighted: Tensor = feature
    total: Tensor | float = float(feature[0, 0].numel())
    if mask is not None:
        small = adaptive_avg_pool2d(mask.to(feature), feature.shape[2:])
        weighted = feature * small
        # Of an empty mask nothing counts, and nothing is divided by 0.
        total = small.sum((1, 2, 3)).clamp_min(1e-6).view(-1, 1, 1)
    products = weighted.flatten(2) @ feature.flatten(2).transpose(1, 2)
    return products / (feature.shape[1] * total)


def _grams(networks: Networks, images: Tensor) -> list[Tensor]:
    return [gram(feature) for feature in networks["style"].features(images)]


@register(networks=("style",), prepare=_grams)
def style(inputs: LossInputs, term: Term) -> Tensor:
    """Sum over layers of mean((g(G) - g(y))^2), g the Gram matrix (Image2StyleGAN++, L_style).

    The mask selects the pixels of G; all pixels of y count. The paper states neither the
    normalisation of the Gram matrix nor where the mask enters: `gram` is our reading.
    networks["style"]: a `metrics.Perceptual`; the paper's has VGG16's conv3_3.
    """
    features: Sequence[Tensor] = inputs.network("style").features(inputs.image)
    mask = inputs.mask(term)
    pairs = zip(features, inputs.target_features(term), strict=True)
    return torch.stack([(gram(x, mask) - y).square().flatten(1).mean(1) for x, y in pairs]).sum(0)
