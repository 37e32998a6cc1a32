"""A second critic: small trained heads on frozen features of an ImageNet network.

Legend: N images, C channels, R resolution in pixels. "Ensembling Off-the-shelf Models for GAN
Training", section 3, and "Projected GANs Converge Faster", section 3.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facsimile.metrics.backbone_weights import backbone_file, load_backbone
from facsimile.metrics.backbones import Backbone
from facsimile.stylegan.discriminator import Conv
from facsimile.stylegan.layers import image_layout

RESOLUTION = 128
"""Side in pixels of the network's input; smaller images are enlarged."""
TAPS = (4, 7, 12)
"""Layers with a head: their outputs have 31, 15 and 7 positions on a side."""


class Heads(nn.Module):
    """Two convolutions on each of a network's features, and a mean over positions."""

    def __init__(self, channels: Sequence[int], width: int = 32):
        super().__init__()
        self.inner = nn.ModuleList(Conv(inputs, width, 3) for inputs in channels)
        self.outer = nn.ModuleList(Conv(width, 1, 1, bias=False) for _ in channels)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Per layer (N, C_l, h_l, w_l) -> logits (N, layers): means over the positions."""
        logits = [
            outer(inner(x, padding=1)).mean((1, 2, 3))
            for x, inner, outer in zip(features, self.inner, self.outer, strict=True)
        ]
        return torch.stack(logits, 1)


def backbone(weights: Path) -> Backbone:
    """SqueezeNet 1.1, frozen; raises FileNotFoundError or ValueError about its weights."""
    from torchvision.models import squeezenet1_1

    with torch.device("meta"):
        stack = squeezenet1_1().features
    load_backbone(stack, backbone_file("SqueezeNet1_1_Weights", weights))
    ones = [torch.ones(1) for _ in TAPS]
    return Backbone(stack, TAPS, ones, normalize=True).eval().requires_grad_(False)


def extract_features(network: Backbone, image: Tensor) -> list[Tensor]:
    """image: (N, 3, R, R) in [-1, 1] -> features (N, C_l, h_l, w_l) with a mean square of 1."""
    if image.shape[-1] < RESOLUTION:
        image = F.interpolate(
            image, size=(RESOLUTION, RESOLUTION), mode="bilinear", align_corners=False
        )
    # The network normalises each pixel's channel vector to length 1.
    return [x * x.shape[1] ** 0.5 for x in network(image_layout(image))]
