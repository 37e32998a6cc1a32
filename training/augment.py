"""Adaptive discriminator augmentation: random transformations of real and of generated images.

Legend: N images, C channels, R resolution in pixels. "Training Generative Adversarial Networks with
Limited Data", appendix B: pixel blitting, geometric and colour transformations. Differentiable
once; the resampling is bilinear, with mirrored borders. Positions are (x, y, 1) from the image's
middle in half sides.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

UNIFORMS, NORMALS = 20, 7
"""Random numbers that one image takes."""


def augment(image: Tensor, p: float, uniform: Tensor, normal: Tensor) -> Tensor:
    """image: (N, C, R, R) in [-1, 1]; each transformation is applied with probability p.

    uniform: (N, UNIFORMS) in [0, 1) and normal: (N, NORMALS) hold all the randomness.
    """
    if p <= 0:
        return image
    positions = geometry(p, uniform, normal, image.shape[-1]).to(image)
    colours = colour(p, uniform, normal).to(image)
    return recolour(warp(image, positions), colours)


def warp(image: Tensor, matrix: Tensor) -> Tensor:
    """Image (N, C, R, R) sampled at matrix (N, 3, 3) times the position in the output."""
    grid = F.affine_grid(matrix[:, :2], list(image.shape), align_corners=False)
    return F.grid_sample(image, grid, "bilinear", "reflection", align_corners=False)


def recolour(image: Tensor, matrix: Tensor) -> Tensor:
    """matrix (N, 4, 4) applied to (R, G, B, 1) of every pixel of image (N, 3, R, R)."""
    turned = torch.einsum("nij,njhw->nihw", matrix[:, :3, :3], image)
    return turned + matrix[:, :3, 3, None, None]


def geometry(p: float, uniform: Tensor, normal: Tensor, resolution: int) -> Tensor:
    """(N, 3, 3): position in the output -> position in the input."""
    chance, amount = uniform[:, :8], uniform[:, 8:16]
    one = torch.ones_like(chance[:, 0])
    p_rotation = 1 - math.sqrt(1 - p)  # so that one of the two is applied with probability p

    def sometimes(index: int, value: Tensor, otherwise: float = 0.0, at: float = p) -> Tensor:
        return torch.where(chance[:, index] < at, value, otherwise)

    flip = sometimes(0, 1 - 2 * (amount[:, 0] * 2).floor(), 1.0)
    quarter = sometimes(1, (amount[:, 1] * 4).floor() * (math.pi / 2))
    # Whole pixels, up to an eighth of the side; two units are one side.
    whole = ((amount[:, 2:4] * 2 - 1) * 0.125 * resolution).round() * (2 / resolution)
    size = sometimes(3, torch.exp2(0.2 * normal[:, 0]), 1.0)
    before = sometimes(4, (amount[:, 4] * 2 - 1) * math.pi, at=p_rotation)
    stretch = sometimes(5, torch.exp2(0.2 * normal[:, 1]), 1.0)
    after = sometimes(6, (amount[:, 5] * 2 - 1) * math.pi, at=p_rotation)
    matrix = scaling(flip, one) @ rotation(quarter)
    matrix = matrix @ shift(sometimes(2, whole[:, 0]), sometimes(2, whole[:, 1]))
    matrix = matrix @ scaling(1 / size, 1 / size) @ rotation(before)
    matrix = matrix @ scaling(1 / stretch, stretch) @ rotation(after)
    return matrix @ shift(sometimes(7, 0.25 * normal[:, 2]), sometimes(7, 0.25 * normal[:, 3]))


def colour(p: float, uniform: Tensor, normal: Tensor) -> Tensor:
    """(N, 4, 4): brightness, contrast, luma flip, hue and saturation of (R, G, B, 1)."""
    chance = uniform[:, 16:20]
    n, grey = len(uniform), uniform.new_full((4,), 1 / math.sqrt(3))
    grey[3] = 0
    along = torch.outer(grey, grey)  # (4, 4) projection onto the grey axis
    eye = torch.eye(4).to(uniform)

    def sometimes(index: int, value: Tensor, otherwise: float) -> Tensor:
        return torch.where(chance[:, index] < p, value, otherwise)[:, None, None]

    matrix = eye.repeat(n, 1, 1)
    matrix[:, :3, 3] = sometimes(0, 0.2 * normal[:, 4], 0.0)[:, 0]
    contrast = sometimes(1, torch.exp2(0.5 * normal[:, 5]), 1.0)
    matrix = torch.cat([matrix[:, :3] * contrast, matrix[:, 3:]], 1)
    flipped = sometimes(2, (uniform[:, 6] * 2).floor(), 0.0)
    matrix = (eye - 2 * along * flipped) @ matrix
    # Rodrigues about the grey axis.
    angle = sometimes(3, (uniform[:, 14] * 2 - 1) * math.pi, 0.0)
    cross = eye.new_zeros(4, 4)
    cross[:3, :3] = eye.new_tensor([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
    flat = eye.clone()
    flat[3, 3] = 0
    turn = along + (flat - along) * angle.cos() + cross * angle.sin() + (eye - flat)
    saturation = sometimes(3, torch.exp2(normal[:, 6]), 1.0)
    keep = along + (eye - flat)
    return (keep + (eye - keep) * saturation) @ turn @ matrix


def rotation(angle: Tensor) -> Tensor:
    """(N,) radians -> (N, 3, 3)."""
    zero, one = torch.zeros_like(angle), torch.ones_like(angle)
    c, s = angle.cos(), angle.sin()
    return _matrix([[c, -s, zero], [s, c, zero], [zero, zero, one]])


def scaling(x: Tensor, y: Tensor) -> Tensor:
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    return _matrix([[x, zero, zero], [zero, y, zero], [zero, zero, one]])


def shift(x: Tensor, y: Tensor) -> Tensor:
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    return _matrix([[one, zero, x], [zero, one, y], [zero, zero, one]])


def _matrix(rows: list[list[Tensor]]) -> Tensor:
    return torch.stack([torch.stack(row, -1) for row in rows], -2)
