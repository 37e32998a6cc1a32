"""Adaptive discriminator augmentation: real and drawn images transformed alike, with probability p.

Legend: N images, C channels, S side in pixels. "Training Generative Adversarial Networks with
Limited Data", appendix B: pixel blitting, geometric and colour transformations. Differentiable
once; the resampling is bilinear, with mirrored borders.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

UNIFORMS, NORMALS = 20, 7
"""Numbers that one image takes."""


def augment(image: Tensor, p: float, uniform: Tensor, normal: Tensor) -> Tensor:
    """image: (N, C, S, S) in [-1, 1]; every transformation with probability p, at 0 none.

    uniform: (N, UNIFORMS) in [0, 1) and normal: (N, NORMALS): all the randomness there is.
    """
    if p <= 0:
        return image
    places = geometry(p, uniform, normal, image.shape[-1]).to(image)
    colours = colour(p, uniform, normal).to(image)
    return recolour(move(image, places), colours)


def move(image: Tensor, matrix: Tensor) -> Tensor:
    """Image (N, C, S, S) sampled at matrix (N, 3, 3) times the output's place.

    Places are (x, y, 1) from the image's middle, half its side the unit.
    """
    grid = F.affine_grid(matrix[:, :2], list(image.shape), align_corners=False)
    return F.grid_sample(image, grid, "bilinear", "reflection", align_corners=False)


def recolour(image: Tensor, matrix: Tensor) -> Tensor:
    """matrix (N, 4, 4) applied to (R, G, B, 1) of every pixel of image (N, 3, S, S)."""
    turned = torch.einsum("nij,njhw->nihw", matrix[:, :3, :3], image)
    return turned + matrix[:, :3, 3, None, None]


def geometry(p: float, uniform: Tensor, normal: Tensor, side: int) -> Tensor:
    """(N, 3, 3): place in the output -> place in the input."""
    chance, amount = uniform[:, :8], uniform[:, 8:16]
    one = torch.ones_like(chance[:, 0])
    turning = 1 - math.sqrt(1 - p)  # so that one of the two rotations happens with probability p

    def drawn(index: int, value: Tensor, otherwise: float = 0.0, at: float = p) -> Tensor:
        return torch.where(chance[:, index] < at, value, otherwise)

    flip = drawn(0, 1 - 2 * (amount[:, 0] * 2).floor(), 1.0)
    quarter = drawn(1, (amount[:, 1] * 4).floor() * (math.pi / 2))
    # Whole pixels, up to an eighth of the side; two units are one side.
    whole = ((amount[:, 2:4] * 2 - 1) * 0.125 * side).round() * (2 / side)
    size = drawn(3, torch.exp2(0.2 * normal[:, 0]), 1.0)
    before = drawn(4, (amount[:, 4] * 2 - 1) * math.pi, at=turning)
    stretch = drawn(5, torch.exp2(0.2 * normal[:, 1]), 1.0)
    after = drawn(6, (amount[:, 5] * 2 - 1) * math.pi, at=turning)
    matrix = scaling(flip, one) @ rotation(quarter)
    matrix = matrix @ shift(drawn(2, whole[:, 0]), drawn(2, whole[:, 1]))
    matrix = matrix @ scaling(1 / size, 1 / size) @ rotation(before)
    matrix = matrix @ scaling(1 / stretch, stretch) @ rotation(after)
    return matrix @ shift(drawn(7, 0.25 * normal[:, 2]), drawn(7, 0.25 * normal[:, 3]))


def colour(p: float, uniform: Tensor, normal: Tensor) -> Tensor:
    """(N, 4, 4): brightness, contrast, luma flip, hue and saturation of (R, G, B, 1)."""
    chance = uniform[:, 16:20]
    n, grey = len(uniform), uniform.new_full((4,), 1 / math.sqrt(3))
    grey[3] = 0
    along = torch.outer(grey, grey)  # (4, 4) projection onto the grey axis
    eye = torch.eye(4).to(uniform)

    def drawn(index: int, value: Tensor, otherwise: float) -> Tensor:
        return torch.where(chance[:, index] < p, value, otherwise)[:, None, None]

    matrix = eye.repeat(n, 1, 1)
    matrix[:, :3, 3] = drawn(0, 0.2 * normal[:, 4], 0.0)[:, 0]
    contrast = drawn(1, torch.exp2(0.5 * normal[:, 5]), 1.0)
    matrix = torch.cat([matrix[:, :3] * contrast, matrix[:, 3:]], 1)
    flipped = drawn(2, (uniform[:, 6] * 2).floor(), 0.0)
    matrix = (eye - 2 * along * flipped) @ matrix
    # Rodrigues about the grey axis.
    angle = drawn(3, (uniform[:, 14] * 2 - 1) * math.pi, 0.0)
    cross = eye.new_zeros(4, 4)
    cross[:3, :3] = eye.new_tensor([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
    flat = eye.clone()
    flat[3, 3] = 0
    turn = along + (flat - along) * angle.cos() + cross * angle.sin() + (eye - flat)
    saturation = drawn(3, torch.exp2(normal[:, 6]), 1.0)
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
