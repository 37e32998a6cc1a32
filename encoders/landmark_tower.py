"""From landmarks to what a network is told of them: a picture or coordinates, and a tower on those.

Legend: N images, C channels, S side of the picture, K = 68 points, G images of a group.
"Learning an Encoder for Image Editing within a StyleGAN Latent Space", figure 1 (E_LM).
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facsimile import data
from facsimile.data.points68 import check_landmarks
from facsimile.stylegan.layers import SLOPE, image_layout

from .layers import SMALLEST

PICTURE = 3
"""Channels of a picture of landmarks."""

Norm = Callable[[int], nn.Module]
"""Channels -> a normalisation of (N, C, H, W)."""


def picture(landmarks: Tensor, side_from: int, side: int) -> Tensor:
    """landmarks (N, K, 2) in pixels of images of `side_from` -> pictures (N, 3, S, S)."""
    return image_layout(data.draw_landmarks(landmarks, side_from, side))


def coordinates(landmarks: Tensor, side_from: int) -> Tensor:
    """landmarks (N, K, 2) in pixels of images of `side_from` -> (N, 2K) in [-1, 1]."""
    check_landmarks(landmarks)
    return (landmarks * (2 / side_from) - 1).flatten(1)


class Tower(nn.Module):
    """Pictures (N, 3, S, S) -> (N, 16 C), C the last width. Convolutions have no bias."""

    def __init__(self, channels: list[int], norm: Norm):
        """channels: of the first convolution, and of each block."""
        super().__init__()
        self.first = _stage(PICTURE, channels[0], 3, norm)
        pairs = zip(channels, channels[1:], strict=False)
        self.blocks = nn.Sequential(*(Block(a, b, norm) for a, b in pairs))
        self.outputs = channels[-1] * SMALLEST**2

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(self.first(x)).flatten(1)


class Block(nn.Module):
    """Halves the side, then a residual block whose every convolution is normalised and activated.

    The in-domain encoder's, where normalisation comes last, is another.
    """

    def __init__(self, inputs: int, outputs: int, norm: Norm):
        super().__init__()
        hidden = min(inputs, outputs)
        self.main = nn.Sequential(_stage(inputs, hidden, 3, norm), _stage(hidden, outputs, 3, norm))
        self.skip = nn.Sequential()
        if inputs != outputs:
            self.skip = _stage(inputs, outputs, 1, norm)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, outputs, H/2, W/2)."""
        x = F.avg_pool2d(x, 2)
        return self.main(x) + self.skip(x)


class PerInput(nn.Module):
    """A dense layer of its own for every style input: (N, L, I) -> (N, L, O)."""

    def __init__(self, inputs: int, size: int, outputs: int):
        """inputs: how many style inputs there are."""
        super().__init__()
        self.weight = nn.Parameter(torch.empty(inputs, size, outputs))

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("nli,lio->nlo", x, self.weight)


def _stage(inputs: int, outputs: int, kernel: int, norm: Norm) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, norm(outputs), nn.LeakyReLU(SLOPE))


def begin(network: nn.Module) -> None:
    """Weights from N(0, 0.02)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear | PerInput):
            nn.init.normal_(module.weight, std=0.02)
