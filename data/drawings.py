"""Pictures of landmarks: the lines of a face in colours on black, and points upon a photo.

Legend: N images, S side of the picture, K points, E line segments. "Learning an Encoder for Image
Editing within a StyleGAN Latent Space" gives networks such pictures.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from .points68 import GROUPS, check_landmarks

LINE = 1 / 92
"""Width of the lines, the side the unit. One point at 100 dpi is 1.39 pixels of the paper's 128."""
DOT = 0.008
"""Radius of the dots upon a photo, the side the unit."""


def draw_landmarks(landmarks: Tensor, side_from: float, side: int) -> Tensor:
    """landmarks (N, 68, 2) in pixels of images of `side_from` -> pictures (N, 3, side, side).

    Colours of `GROUPS` on black, in [-1, 1]; later groups lie upon earlier ones, outer lips are not
    drawn. The lines keep their place and width in every side. Differentiable with respect to the
    landmarks, where an edge is soft; what is no number draws nothing. Raises ValueError.
    """
    check_landmarks(landmarks)
    if side < 1 or not side_from > 0:
        raise ValueError(
            f"got landmarks of images of {side_from:g} pixels to be drawn at {side}, expected "
            "positive sides"
        )
    points = landmarks * (side / side_from)
    picture = -points.new_ones(len(points), 3, side, side)
    for group in GROUPS.values():
        ends = [pair for line in group.lines for pair in zip(line, line[1:], strict=False)]
        covered = _covered(points, ends, side, LINE * side / 2)[:, None]
        picture = torch.lerp(picture, _colour(group.colour, points), covered)
    return picture


def draw_points(
    images: Tensor, landmarks: Tensor, colour: tuple[int, int, int] = (0, 255, 0)
) -> Tensor:
    """Images (N, 3, S, S) in [-1, 1] with a dot at each of landmarks (N, 68, 2), in their pixels.

    Raises ValueError where these are no such landmarks, or as many as the images.
    """
    check_landmarks(landmarks)
    if len(landmarks) != len(images):
        raise ValueError(f"got {len(landmarks)} faces' landmarks for {len(images)} images")
    side = images.shape[-1]
    dots = [(point, point) for point in range(landmarks.shape[1])]
    covered = _covered(landmarks.to(images), dots, side, max(DOT * side, 0.7))
    return torch.lerp(images, _colour(colour, images), covered[:, None])


def _colour(colour: tuple[int, int, int], like: Tensor) -> Tensor:
    return (like.new_tensor(colour) / 127.5 - 1)[:, None, None]


def _covered(points: Tensor, ends: Sequence[tuple[int, int]], side: int, radius: float) -> Tensor:
    """How far pixels lie under segments as wide as 2 `radius`: (N, S, S) in [0, 1].

    points: (N, K, 2) in pixels. A pixel is covered by radius + 1/2 - its distance to the nearest
    segment: an edge one pixel wide, whose middle is the line's. Thinner than a pixel, lines fade.
    """
    start, end = (points[:, [pair[i] for pair in ends]] for i in (0, 1))  # (N, E, 2)
    known = (start.isfinite() & end.isfinite()).all(2, keepdim=True)
    start, end = (torch.where(known, x, -2.0 * side) for x in (start, end))
    # Each segment in a window of its own, as large as the longest needs: of a face's picture, the
    # windows of all segments are a fraction.
    reach = radius + 0.5
    low = torch.minimum(start, end).detach() - reach
    extent = (torch.maximum(start, end).detach() + reach - low).amax()
    window = min(side, int(extent.clamp(max=side).ceil()) + 1)
    corner = low.floor().clamp(0, side - window).long()  # (N, E, 2)
    steps = torch.arange(window, device=points.device)
    column, row = ((corner[..., i, None] + steps) for i in (0, 1))  # (N, E, window)
    # x varies along the last axis, y along the one before.
    dx = (column + 0.5 - start[..., :1])[:, :, None, :]
    dy = (row + 0.5 - start[..., 1:])[:, :, :, None]
    ax, ay = (end - start)[..., None, None].unbind(2)
    length = (ax.square() + ay.square()).clamp_min(torch.finfo(points.dtype).tiny)
    along = (dx * (ax / length) + dy * (ay / length)).clamp(0, 1)  # (N, E, window, window)
    squares = (dx - along * ax).square() + (dy - along * ay).square()
    distance = squares.clamp_min(1e-12).sqrt()  # a root has no gradient at 0
    soft = (reach - distance).clamp(0, min(1.0, 2 * radius)).nan_to_num(0.0)
    place = row[:, :, :, None] * side + column[:, :, None, :]
    blank = soft.new_zeros(len(points), side * side)
    covered = blank.scatter_reduce(1, place.flatten(1), soft.flatten(1), "amax")
    return covered.unflatten(1, (side, side))
