"""Landmark conditioning: a rendered image or coordinates, and the network that embeds the image.

Legend: N images, C channels, S resolution of the rendered landmarks, K = 68 points, L style inputs.
"Learning an Encoder for Image Editing within a StyleGAN Latent Space", figure 1 (E_LM).
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from facsimile import data
from facsimile.data.points68 import check_landmarks
from facsimile.stylegan.layers import SLOPE, image_layout
from facsimile.stylegan.pooling import mean2x2

from ..layers import MIN_SIDE

LANDMARK_CHANNELS = 3
"""Channels of a rendered image of landmarks."""

Norm = Callable[[int], nn.Module]
"""Channels -> a normalisation of (N, C, H, W)."""


def render_landmarks(landmarks: Tensor, image_side: int, resolution: int) -> Tensor:
    """landmarks (N, K, 2) in pixels of images of `image_side` -> images (N, 3, S, S)."""
    return image_layout(data.draw_landmarks(landmarks, image_side, resolution))


def landmark_coordinates(landmarks: Tensor, image_side: int) -> Tensor:
    """landmarks (N, K, 2) in pixels of images of `image_side` -> (N, 2K) in [-1, 1]."""
    check_landmarks(landmarks)
    return (landmarks * (2 / image_side) - 1).flatten(1)


class LandmarkCNN(nn.Module):
    """Rendered landmarks (N, 3, S, S) -> (N, 16 C) with C the last width; no bias anywhere."""

    def __init__(self, channels: list[int], norm: Norm):
        """channels: of the first convolution, and of each block."""
        super().__init__()
        self.first = _conv_block(LANDMARK_CHANNELS, channels[0], 3, norm)
        pairs = zip(channels, channels[1:], strict=False)
        self.blocks = nn.Sequential(*(ResidualBlock(a, b, norm) for a, b in pairs))
        self.out_features = channels[-1] * MIN_SIDE**2

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(self.first(x)).flatten(1)


class ResidualBlock(nn.Module):
    """Halves the side, then a residual block; every convolution is normalised and activated.

    In the in-domain encoder's block the normalisation follows the activation.
    """

    def __init__(self, inputs: int, outputs: int, norm: Norm):
        super().__init__()
        hidden = min(inputs, outputs)
        self.main = nn.Sequential(
            _conv_block(inputs, hidden, 3, norm), _conv_block(hidden, outputs, 3, norm)
        )
        self.skip = nn.Sequential()
        if inputs != outputs:
            self.skip = _conv_block(inputs, outputs, 1, norm)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, outputs, H/2, W/2)."""
        x = mean2x2(x)
        return self.main(x) + self.skip(x)


class PerLayerLinear(nn.Module):
    """A dense layer for each style input: (N, L, I) -> (N, L, O)."""

    def __init__(self, num_ws: int, in_features: int, out_features: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_ws, in_features, out_features))

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("nli,lio->nlo", x, self.weight)


def _conv_block(inputs: int, outputs: int, kernel: int, norm: Norm) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, norm(outputs), nn.LeakyReLU(SLOPE))


def init_weights(network: nn.Module) -> None:
    """Weights from N(0, 0.02^2)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear | PerLayerLinear):
            nn.init.normal_(module.weight, std=0.02)
