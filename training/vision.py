"""A second critic on frozen features of an ImageNet network, with small heads that learn.

Legend: N images, C channels, S side in pixels. "Ensembling Off-the-shelf Models for GAN Training"
and "Projected GANs Converge Faster": what such a network knows of pictures need not be learned.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facsimile.metrics.trunk_weights import load_trunk, trunk_file
from facsimile.metrics.trunks import Trunk
from facsimile.stylegan.discriminator import Conv
from facsimile.stylegan.layers import image_layout

SIDE = 128
"""Pixels that the network is shown; smaller images are enlarged."""
TAPS = (4, 7, 12)
"""Layers whose outputs are judged: 31, 15 and 7 places on a side."""


class Heads(nn.Module):
    """A verdict per place on each of a network's features."""

    def __init__(self, channels: Sequence[int], width: int = 32):
        super().__init__()
        self.inner = nn.ModuleList(Conv(inputs, width, 3) for inputs in channels)
        self.outer = nn.ModuleList(Conv(width, 1, 1, bias=False) for _ in channels)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Per layer (N, C_l, h_l, w_l) -> logits (N, layers): means over the places."""
        found = [
            outer(inner(x, padding=1)).mean((1, 2, 3))
            for x, inner, outer in zip(features, self.inner, self.outer, strict=True)
        ]
        return torch.stack(found, 1)


def trunk(weights: Path) -> Trunk:
    """SqueezeNet 1.1, frozen; raises FileNotFoundError or ValueError about its weights."""
    from torchvision.models import squeezenet1_1

    with torch.device("meta"):
        stack = squeezenet1_1().features
    load_trunk(stack, trunk_file("SqueezeNet1_1_Weights", weights))
    ones = [torch.ones(1) for _ in TAPS]
    return Trunk(stack, TAPS, ones, unit=True).eval().requires_grad_(False)


def look(network: Trunk, image: Tensor) -> list[Tensor]:
    """image: (N, 3, S, S) in [-1, 1] -> features (N, C_l, h_l, w_l) with a mean square of 1."""
    if image.shape[-1] < SIDE:
        image = F.interpolate(image, size=(SIDE, SIDE), mode="bilinear", align_corners=False)
    # A pixel's channel vector has length 1.
    return [x * x.shape[1] ** 0.5 for x in network(image_layout(image))]
