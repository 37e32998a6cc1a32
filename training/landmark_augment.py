"""Augmentation for the landmark detector: pose, degradation, and images that show no face.

Legend: N images, R resolution of the photo, S resolution of the network's input, U uniform numbers.
All randomness arrives as tensors. Poses are matrices (N, 3, 3) that map a position in the output to
one in the photo; positions are (x, y, 1) from the image's middle in half sides, as in
`training.augment`.
"""

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from facsimile.data.points68 import MIRRORED
from facsimile.training.augment import recolour, rotation, scaling, shift

UNIFORMS = 32
"""Numbers in [0, 1) that one image takes."""
MAX_ROTATION, MAX_ZOOM, MAX_SHIFT = math.radians(30), 1.3, 0.2
"""Rotation either way, factor of the size, and shift in half sides."""
MIN_ZOOM = 0.7
TILES = 4
"""A face is shuffled in 4 x 4 tiles."""
BLOCK = 8
"""Pixels of the blocks of JPEG."""
PATCH, ON_ITS_SIDE, SHUFFLED, NOISE = range(4)
"""Kinds of images without an upright face: a patch of a photo far too close, a face on its side or
upside down, a face in shuffled tiles, and noise."""


def face_pose(uniform: Tensor) -> tuple[Tensor, Tensor]:
    """uniform: (N, U). Returns poses (N, 3, 3), and whether the image is mirrored (N,).

    Small movements are more frequent than large ones, as the network is used on aligned faces.
    """
    strength, turn, zoom, x, y, flip = uniform[:, :6].unbind(1)
    mirrored = flip < 0.5
    zoom = torch.lerp(torch.full_like(zoom, MIN_ZOOM), torch.full_like(zoom, MAX_ZOOM), zoom)
    return _pose(
        strength * MAX_ROTATION * (2 * turn - 1),
        zoom**strength,
        strength * MAX_SHIFT * (2 * x - 1),
        strength * MAX_SHIFT * (2 * y - 1),
        mirrored,
    ), mirrored


def negative_pose(uniform: Tensor) -> tuple[Tensor, Tensor]:
    """uniform: (N, U). Poses (N, 3, 3) for images without an upright face, and their kinds (N,)."""
    kind = (uniform[:, 6] * 4).floor().long()
    turn, zoom, x, y = uniform[:, 7:11].unbind(1)
    close, turned = kind == PATCH, kind == ON_ITS_SIDE
    small_angle = MAX_ROTATION * (2 * turn - 1)
    angle = torch.where(turned, math.radians(80) + turn * math.radians(200), small_angle)
    # A patch of 1/3 to 1/12 of the side, anywhere in the photo.
    zoom = torch.where(close, 3 * 4**zoom, MIN_ZOOM * (MAX_ZOOM / MIN_ZOOM) ** zoom)
    reach = torch.where(close, 0.9, MAX_SHIFT)
    flip = uniform[:, 5] < 0.5
    return _pose(angle, zoom, reach * (2 * x - 1), reach * (2 * y - 1), flip), kind


def _pose(angle: Tensor, zoom: Tensor, x: Tensor, y: Tensor, mirrored: Tensor) -> Tensor:
    flip = scaling(1 - 2.0 * mirrored, torch.ones_like(x))
    return shift(x, y) @ rotation(angle) @ scaling(1 / zoom, 1 / zoom) @ flip


def warp(images: Tensor, poses: Tensor, resolution: int) -> Tensor:
    """images (N, 3, R, R), R >= S = resolution -> (N, 3, S, S); each pixel averages the photo's."""
    over = images.shape[-1] // resolution
    if over > 1:
        images = F.avg_pool2d(images, over, stride=1)
        # The outer rows of the averages lie half a window inside those of the photo.
        inside = images.shape[-1] / (images.shape[-1] + over - 1)
        poses = torch.cat([poses[:, :2] / inside, poses[:, 2:]], 1)
    size = [len(images), 3, resolution, resolution]
    grid = F.affine_grid(poses[:, :2], size, align_corners=False)
    return F.grid_sample(images, grid, "bilinear", "reflection", align_corners=False)


def warp_points(points: Tensor, poses: Tensor, mirrored: Tensor) -> Tensor:
    """points (N, 68, 2) in sides of the image -> the same after `warp`.

    Of mirrored images, the left and the right points are exchanged.
    """
    points = torch.where(mirrored[:, None, None], points[:, MIRRORED], points)
    inverse = torch.linalg.inv(poses)[:, :2]
    return (((2 * points - 1) @ inverse[:, :, :2].mT + inverse[:, None, :, 2]) + 1) / 2


def make_negative(images: Tensor, kind: Tensor, order: Tensor, normal: Tensor) -> Tensor:
    """Images (N, 3, S, S) of kind (N,), shuffled or replaced by noise if it is such a kind.

    order: (N, 16), a permutation of the tiles. normal: (N, 3, S, S).
    """
    n, channels, side, _ = images.shape
    tile = side // TILES
    tiles = images.reshape(n, channels, TILES, tile, TILES, tile).permute(0, 2, 4, 1, 3, 5)
    each = torch.arange(n, device=images.device)
    tiles = tiles.flatten(1, 2)[each[:, None], order]
    shuffled = tiles.unflatten(1, (TILES, TILES)).permute(0, 3, 1, 4, 2, 5).reshape(images.shape)
    # Noise of one random scale on top of one colour; nearly flat if the contrast is small.
    scale = (normal[:, 0, 0, 0].abs() * 2).clamp(max=4).long()
    fields = torch.stack([_field(normal, side >> halving) for halving in range(5)])
    contrast = normal[:, 0, 0, 1].abs()[:, None, None, None]
    noise = contrast * fields[scale, each] + 0.5 * normal[:, :, :1, 2:3]
    kind = kind[:, None, None, None]
    noise = torch.where(kind == NOISE, noise.clamp(-1, 1), images)
    return torch.where(kind == SHUFFLED, shuffled, noise)


def _field(normal: Tensor, side: int) -> Tensor:
    coarse = normal[:, :, :side, :side]
    return F.interpolate(coarse, tuple(normal.shape[2:]), mode="bilinear", align_corners=False)


def degrade(images: Tensor, uniform: Tensor, normal: Tensor) -> Tensor:
    """images (N, 3, S, S) in [-1, 1] as bad cameras, small files and generators make them.

    uniform: (N, U), normal: (N, 3, S, S). In physical order: an object before the face, light and
    colour, blur, enlargement of a small copy, noise, JPEG; each in some of the images.
    """
    u = iter(uniform[:, 11:].unbind(1))
    images = _occlude(images, u)
    images = recolour(images, _light(u)).clamp(-1, 1)
    images = _blur(images, next(u), next(u))
    images = _enlarge(images, next(u))
    strength = 0.2 * (next(u) - 0.5).clamp(min=0)
    images = (images + strength[:, None, None, None] * normal).clamp(-1, 1)
    return _jpeg(images, next(u))


def _occlude(images: Tensor, u: Iterator[Tensor]) -> Tensor:
    """A rectangle of one colour before a fifth of the images."""
    chance, x, y, width, height, grey = (next(u)[:, None] for _ in range(6))
    axis = (torch.arange(images.shape[-1]).to(images) + 0.5) / images.shape[-1]
    columns, rows = (axis - x).abs() < 0.25 * width, (axis - y).abs() < 0.25 * height
    inside = (columns[:, None, :] & rows[:, :, None] & (chance < 0.2)[:, None])[:, None]
    return torch.where(inside, 2 * grey[:, :, None, None] - 1, images)


def _light(u: Iterator[Tensor]) -> Tensor:
    """(N, 4, 4): saturation, contrast, brightness, and a colour cast, of random strength."""
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


def _blur(images: Tensor, chance: Tensor, amount: Tensor) -> Tensor:
    """Gaussian blur in half of the images, sigma up to 1.6 pixels."""
    sigma = torch.where(chance < 0.5, 1.6 * amount, 0.0).clamp(min=0.05)
    steps = torch.arange(-4, 5).to(images)
    kernel = torch.exp(-0.5 * (steps / sigma[:, None]).square())
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(3, 0)  # (3 N, 9)
    flat = F.pad(images.flatten(0, 1)[None], (4, 4, 4, 4), "replicate")
    flat = F.conv2d(flat, kernel[:, None, None, :], groups=len(kernel))
    return F.conv2d(flat, kernel[:, None, :, None], groups=len(kernel)).reshape(images.shape)


def _enlarge(images: Tensor, chance: Tensor) -> Tensor:
    """From half the resolution in a fifth of the images, from a quarter in a twentieth."""
    for factor, low, high in ((2, 0.0, 0.2), (4, 0.2, 0.25)):
        small = F.avg_pool2d(images, factor)
        large = F.interpolate(small, scale_factor=factor, mode="bilinear", align_corners=False)
        chosen = (low <= chance) & (chance < high)
        images = torch.where(chosen[:, None, None, None], large, images)
    return images


def _jpeg(images: Tensor, chance: Tensor) -> Tensor:
    """JPEG in 0.4 of the images: 8 x 8 blocks, rounded in the cosine basis, high ones more."""
    index = torch.arange(BLOCK).to(images)
    basis = torch.cos(math.pi / BLOCK * (index + 0.5) * index[:, None]) * math.sqrt(2 / BLOCK)
    basis[0] /= math.sqrt(2)
    n, channels, side, _ = images.shape
    blocks = images.reshape(n, channels, side // BLOCK, BLOCK, side // BLOCK, BLOCK).transpose(3, 4)
    spectrum = basis @ blocks @ basis.T
    step = 0.5 * (chance / 0.4).clamp(0.02, 1)[:, None, None]
    step = (step * (0.2 + (index + index[:, None]) / (2 * BLOCK)))[:, None, None, None]
    rounded = basis.T @ ((spectrum / step).round() * step) @ basis
    rounded = rounded.transpose(3, 4).reshape(images.shape).clamp(-1, 1)
    return torch.where((chance < 0.4)[:, None, None, None], rounded, images)
