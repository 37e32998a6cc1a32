"""Drawings of landmarks: the lines of a face in colours on black, and dots on a photo.

Legend: N images, S side of the drawing in pixels, K points, E line segments. "Learning an Encoder
for Image Editing within a StyleGAN Latent Space" conditions networks on such drawings.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from facsimile.metrics.pixels import from_uint8

from .points68 import GROUPS, check_landmarks

LINE_WIDTH = 1 / 92
"""In sides of the drawing. The paper draws 1 pt at 100 dpi: 1.39 of 128 pixels."""
DOT_RADIUS = 0.008
"""In sides of the photo."""


def draw_landmarks(landmarks: Tensor, side_from: float, side: int) -> Tensor:
    """landmarks (N, 68, 2) in pixels of images of `side_from` -> drawings (N, 3, side, side).

    The lines have the colours of `GROUPS` on black, in [-1, 1]; later groups cover earlier ones.
    Outer lips are not drawn, nor lines to points that are not finite. Position and width of the
    lines are relative to the side. Differentiable with respect to the landmarks, by the soft edges
    of the lines. Raises ValueError for landmarks of another shape and sides that are not positive.
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
        covered = _covered(points, ends, side, LINE_WIDTH * side / 2)[:, None]
        picture = torch.lerp(picture, _colour(group.colour, points), covered)
    return picture


def draw_points(
    images: Tensor, landmarks: Tensor, colour: tuple[int, int, int] = (0, 255, 0)
) -> Tensor:
    """Images (N, 3, S, S) in [-1, 1] with a dot at each of landmarks (N, 68, 2), in their pixels.

    colour: R, G, B from 0 to 255. Raises ValueError unless there is one face for each image.
    """
    check_landmarks(landmarks)
    if len(landmarks) != len(images):
        raise ValueError(f"got {len(landmarks)} faces' landmarks for {len(images)} images")
    side = images.shape[-1]
    dots = [(point, point) for point in range(landmarks.shape[1])]
    covered = _covered(landmarks.to(images), dots, side, max(DOT_RADIUS * side, 0.7))
    return torch.lerp(images, _colour(colour, images), covered[:, None])


def _colour(colour: tuple[int, int, int], like: Tensor) -> Tensor:
    pixels = torch.tensor(colour, dtype=torch.uint8, device=like.device)
    return from_uint8(pixels, like.dtype)[:, None, None]


def _covered(points: Tensor, ends: Sequence[tuple[int, int]], side: int, radius: float) -> Tensor:
    """How much of each pixel is covered by segments 2 `radius` wide: (N, S, S) in [0, 1].

    points: (N, K, 2) in pixels; ends: pairs of points. Coverage is radius + 1/2 - the distance to
    the nearest segment: an edge one pixel wide. Lines thinner than a pixel are fainter.
    """
    start, end = (points[:, [pair[i] for pair in ends]] for i in (0, 1))  # (N, E, 2)
    finite = (start.isfinite() & end.isfinite()).all(2, keepdim=True)
    start, end = (torch.where(finite, x, -2.0 * side) for x in (start, end))
    # Each segment is drawn in a window, whose size the longest one decides: together they are a
    # fraction of the drawing.
    reach = radius + 0.5
    low = torch.minimum(start, end).detach() - reach
    extent = (torch.maximum(start, end).detach() + reach - low).amax()
    window = min(side, int(extent.clamp(max=side).ceil()) + 1)
    corner = low.floor().clamp(0, side - window).long()  # (N, E, 2)
    steps = torch.arange(window, device=points.device)
    column, row = ((corner[..., i, None] + steps) for i in (0, 1))  # (N, E, window)
    # x varies along the last axis, y along the last but one.
    dx = (column + 0.5 - start[..., :1])[:, :, None, :]
    dy = (row + 0.5 - start[..., 1:])[:, :, :, None]
    ax, ay = (end - start)[..., None, None].unbind(2)
    length = (ax.square() + ay.square()).clamp_min(torch.finfo(points.dtype).tiny)
    along = (dx * (ax / length) + dy * (ay / length)).clamp(0, 1)  # (N, E, window, window)
    squares = (dx - along * ax).square() + (dy - along * ay).square()
    distance = squares.clamp_min(1e-12).sqrt()  # the root's gradient at 0 is infinite
    soft = (reach - distance).clamp(0, min(1.0, 2 * radius)).nan_to_num(0.0)
    pixel = row[:, :, :, None] * side + column[:, :, None, :]
    blank = soft.new_zeros(len(points), side * side)
    covered = blank.scatter_reduce(1, pixel.flatten(1), soft.flatten(1), "amax")
    return covered.unflatten(1, (side, side))
