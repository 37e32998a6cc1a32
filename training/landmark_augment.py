"""What befalls the faces that the landmark network learns from: moved, damaged, or no faces at all.

Legend: N images, R side of the photo, S side that the network sees, U numbers in [0, 1).
All randomness arrives as tensors. Places are (x, y, 1) from the image's middle, half its side the
unit, as in `training.augment`.
"""

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from facsimile.data.points68 import MIRRORED
from facsimile.training.augment import recolour, rotation, scaling, shift

UNIFORMS = 32
"""Numbers that one image takes."""
TURN, ZOOM, SHIFT = math.radians(30), 1.3, 0.2
"""At most: rotation either way, factor of the size (0.7 the other way), shift in half sides."""
SMALLEST = 0.7
TILES = 4
"""A shuffled face falls into 4 x 4 tiles."""
BLOCK = 8
"""Pixels of the blocks of JPEG."""


def faces(uniform: Tensor) -> tuple[Tensor, Tensor]:
    """uniform: (N, U). Returns places (N, 3, 3), output -> photo, and whether mirrored (N,).

    Small movements are more frequent than large ones: the use is on aligned faces.
    """
    strength, turn, zoom, x, y, flip = uniform[:, :6].unbind(1)
    mirrored = flip < 0.5
    zoom = torch.lerp(torch.full_like(zoom, SMALLEST), torch.full_like(zoom, ZOOM), zoom)
    return _places(
        strength * TURN * (2 * turn - 1),
        zoom**strength,
        strength * SHIFT * (2 * x - 1),
        strength * SHIFT * (2 * y - 1),
        mirrored,
    ), mirrored


def no_faces(uniform: Tensor) -> tuple[Tensor, Tensor]:
    """uniform: (N, U). Places (N, 3, 3) where there is no upright face, and the kind (N,).

    Kinds: 0 a patch far too close; 1 a face on its side or upside down; 2 a face that is to be
    shuffled; 3 noise instead.
    """
    kind = (uniform[:, 6] * 4).floor().long()
    turn, zoom, x, y = uniform[:, 7:11].unbind(1)
    close, turned = kind == 0, kind == 1
    angle = torch.where(turned, math.radians(80) + turn * math.radians(200), TURN * (2 * turn - 1))
    # A patch of 1/3 to 1/12 of the side, anywhere in the photo.
    zoom = torch.where(close, 3 * 4**zoom, SMALLEST * (ZOOM / SMALLEST) ** zoom)
    reach = torch.where(close, 0.9, SHIFT)
    flip = uniform[:, 5] < 0.5
    return _places(angle, zoom, reach * (2 * x - 1), reach * (2 * y - 1), flip), kind


def _places(angle: Tensor, zoom: Tensor, x: Tensor, y: Tensor, mirrored: Tensor) -> Tensor:
    flip = scaling(1 - 2.0 * mirrored, torch.ones_like(x))
    return shift(x, y) @ rotation(angle) @ scaling(1 / zoom, 1 / zoom) @ flip


def moved(images: Tensor, places: Tensor, side: int) -> Tensor:
    """images (N, 3, R, R), R >= side -> (N, 3, side, side), each pixel a mean of the photo's."""
    over = images.shape[-1] // side
    if over > 1:
        images = F.avg_pool2d(images, over, stride=1)
        # The mean's outer rows stand half a window inside the photo's.
        inside = images.shape[-1] / (images.shape[-1] + over - 1)
        places = torch.cat([places[:, :2] / inside, places[:, 2:]], 1)
    grid = F.affine_grid(places[:, :2], [len(images), 3, side, side], align_corners=False)
    return F.grid_sample(images, grid, "bilinear", "reflection", align_corners=False)


def moved_points(points: Tensor, places: Tensor, mirrored: Tensor) -> Tensor:
    """points (N, 68, 2), the side the unit: where they come to lie, left and right exchanged."""
    points = torch.where(mirrored[:, None, None], points[:, MIRRORED], points)
    back = torch.linalg.inv(places)[:, :2]
    return (((2 * points - 1) @ back[:, :, :2].mT + back[:, None, :, 2]) + 1) / 2


def spoilt(images: Tensor, kind: Tensor, order: Tensor, normal: Tensor) -> Tensor:
    """Images (N, 3, S, S) of kind 2 with their tiles in the order (N, 16), those of 3 noise."""
    n, channels, side, _ = images.shape
    tile = side // TILES
    cut = images.reshape(n, channels, TILES, tile, TILES, tile).permute(0, 2, 4, 1, 3, 5)
    each = torch.arange(n, device=images.device)
    cut = cut.flatten(1, 2)[each[:, None], order]
    cut = cut.unflatten(1, (TILES, TILES)).permute(0, 3, 1, 4, 2, 5).reshape(images.shape)
    # Noise of one random fineness on top of one colour; nearly flat where the spread is small.
    fineness = (normal[:, 0, 0, 0].abs() * 2).clamp(max=4).long()
    fields = torch.stack([_field(normal, side >> halving) for halving in range(5)])
    spread = normal[:, 0, 0, 1].abs()[:, None, None, None]
    noise = spread * fields[fineness, each] + 0.5 * normal[:, :, :1, 2:3]
    chosen = kind[:, None, None, None]
    return torch.where(chosen == 2, cut, torch.where(chosen == 3, noise.clamp(-1, 1), images))


def _field(normal: Tensor, side: int) -> Tensor:
    coarse = normal[:, :, :side, :side]
    return F.interpolate(coarse, tuple(normal.shape[2:]), mode="bilinear", align_corners=False)


def damaged(images: Tensor, uniform: Tensor, normal: Tensor) -> Tensor:
    """images (N, 3, S, S) in [-1, 1] as bad cameras, small files and generators make them.

    uniform: (N, U), normal: (N, 3, S, S). In the order of life: something before the face, light
    and colour, blur, a small copy enlarged, noise, JPEG; each in some of the images.
    """
    u = iter(uniform[:, 11:].unbind(1))
    images = _covered(images, u)
    images = recolour(images, _light(u)).clamp(-1, 1)
    images = _blurred(images, next(u), next(u))
    images = _enlarged(images, next(u))
    strength = 0.2 * (next(u) - 0.5).clamp(min=0)
    images = (images + strength[:, None, None, None] * normal).clamp(-1, 1)
    return _jpeg(images, next(u))


def _covered(images: Tensor, u: Iterator[Tensor]) -> Tensor:
    """A rectangle of one colour before a fifth of the images."""
    whether, x, y, width, height, grey = (next(u)[:, None] for _ in range(6))
    axis = (torch.arange(images.shape[-1]).to(images) + 0.5) / images.shape[-1]
    across, down = (axis - x).abs() < 0.25 * width, (axis - y).abs() < 0.25 * height
    inside = (across[:, None, :] & down[:, :, None] & (whether < 0.2)[:, None])[:, None]
    return torch.where(inside, 2 * grey[:, :, None, None] - 1, images)


def _light(u: Iterator[Tensor]) -> Tensor:
    """(N, 4, 4): saturation, contrast, brightness, and a cast of colour; more or less of them."""
    strength, saturation, contrast, brightness, *cast = (next(u) for _ in range(7))
    grey = (contrast.new_ones(3, 3) / 3)[None]
    # A fifth is without colour.
    keep = (1.5 * saturation - 0.3).clamp(min=0)[:, None, None]
    linear = keep * torch.eye(3).to(grey) + (1 - keep) * grey
    linear = linear * (0.4 * 3.5**contrast)[:, None, None]
    offset = 0.8 * (brightness[:, None] - 0.5) + 0.3 * (torch.stack(cast, 1) - 0.5)
    upper = torch.cat([linear, offset[:, :, None]], 2)
    upper = torch.lerp(torch.eye(4).to(upper)[:3], upper, strength[:, None, None])
    return torch.cat([upper, torch.eye(4).to(upper)[3:].expand(len(upper), 1, 4)], 1)


def _blurred(images: Tensor, whether: Tensor, amount: Tensor) -> Tensor:
    """Gaussian, sigma up to 1.6 pixels, in half of the images."""
    sigma = torch.where(whether < 0.5, 1.6 * amount, 0.0).clamp(min=0.05)
    steps = torch.arange(-4, 5).to(images)
    kernel = torch.exp(-0.5 * (steps / sigma[:, None]).square())
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(3, 0)  # (3 N, 9)
    flat = F.pad(images.flatten(0, 1)[None], (4, 4, 4, 4), "replicate")
    flat = F.conv2d(flat, kernel[:, None, None, :], groups=len(kernel))
    return F.conv2d(flat, kernel[:, None, :, None], groups=len(kernel)).reshape(images.shape)


def _enlarged(images: Tensor, whether: Tensor) -> Tensor:
    """From half the side in a fifth of the images, from a quarter in a twentieth."""
    for factor, low, high in ((2, 0.0, 0.2), (4, 0.2, 0.25)):
        small = F.avg_pool2d(images, factor)
        large = F.interpolate(small, scale_factor=factor, mode="bilinear", align_corners=False)
        chosen = (low <= whether) & (whether < high)
        images = torch.where(chosen[:, None, None, None], large, images)
    return images


def _jpeg(images: Tensor, whether: Tensor) -> Tensor:
    """Blocks of 8 x 8 rounded in the cosine basis, coarser where frequencies are high; in 0.4."""
    index = torch.arange(BLOCK).to(images)
    basis = torch.cos(math.pi / BLOCK * (index + 0.5) * index[:, None]) * math.sqrt(2 / BLOCK)
    basis[0] /= math.sqrt(2)
    n, channels, side, _ = images.shape
    blocks = images.reshape(n, channels, side // BLOCK, BLOCK, side // BLOCK, BLOCK).transpose(3, 4)
    spectrum = basis @ blocks @ basis.T
    step = 0.5 * (whether / 0.4).clamp(0.02, 1)[:, None, None]
    step = (step * (0.2 + (index + index[:, None]) / (2 * BLOCK)))[:, None, None, None]
    rounded = basis.T @ ((spectrum / step).round() * step) @ basis
    rounded = rounded.transpose(3, 4).reshape(images.shape).clamp(-1, 1)
    return torch.where((whether < 0.4)[:, None, None, None], rounded, images)
