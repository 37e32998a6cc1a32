"""Distances between the landmarks of two faces: Hausdorff distance of their lines, and NME.

Legend: N faces, K points, P and Q points of a line or pixels of a drawing. Landmarks are (N, K, 2),
x then y, in pixels of their image. Values are divided by the image's size or by an inner distance,
so that they do not depend on the resolution. The Hausdorff distance is a metric of "Learning an
Encoder for Image Editing within a StyleGAN Latent Space", section 3.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from .pixels import from_uint8

Lines = Mapping[str, Sequence[Sequence[int]]]
"""Name of a group of landmarks -> its polylines, as indices of landmarks."""

DESCRIPTIONS = {
    "hausdorff": "sum over chin, brows, nose, eyes and inner lips of the Hausdorff distance of "
    "their lines, sampled every half pixel, divided by the image's side; failures are counted "
    "separately; 0 = equal, lower is better",
    "nme": "mean distance of the 68 landmarks, divided by the distance of the target's outer eye "
    "corners; 0 = equal, lower is better",
}

SPACING = 0.5
"""Largest distance in pixels between neighbouring points of a sampled line."""


@torch.no_grad()
def hausdorff(
    target: Tensor, landmarks: Tensor, image_size: float, lines: Lines, valid: Tensor | None = None
) -> Tensor:
    """Sum over groups of H(lines of the target, lines of the landmarks) / image_size, (N,).

    H(A, B) = max(h(A, B), h(B, A)) with h(A, B) = max over a of min over b of |a - b|, over points
    every half pixel of the lines.
    target, landmarks: (N, K, 2) in pixels of images `image_size` wide. valid: (N,) bool, whether a
    face was detected; the value is NaN where none was. Raises ValueError.
    """
    _check(target, landmarks, valid)
    if not image_size > 0:
        raise ValueError(f"got an image size of {image_size:g} pixels, expected a positive one")
    valid = torch.ones(len(target), dtype=torch.bool) if valid is None else valid.cpu()
    values = []
    for a, b, is_valid in zip(target, landmarks, valid.tolist(), strict=True):
        if not is_valid:
            values.append(target.new_tensor(math.nan))
            continue
        if not (a.isfinite().all() and b.isfinite().all()):
            raise ValueError(
                "got landmarks that are not finite, expected numbers; mark the face as not valid"
            )
        distances = [
            _point_hausdorff(_sample(a, group), _sample(b, group)) for group in lines.values()
        ]
        values.append(torch.stack(distances).sum() / image_size)
    return torch.stack(values)


@torch.no_grad()
def hausdorff_of_drawings(
    target: Tensor, drawing: Tensor, colours: Mapping[str, tuple[int, int, int]]
) -> Tensor:
    """The same between the pixels of each group's colour, as the paper's code measures, (N,).

    target, drawing: (N, 3, S, S) in [-1, 1], landmarks drawn in `colours` (0 to 255); where a group
    has no such pixel in either, the value is NaN. Raises ValueError for other shapes.
    """
    if target.shape != drawing.shape or target.ndim != 4 or target.shape[1] != 3:
        raise ValueError(
            f"got drawings of shapes {tuple(target.shape)} and {tuple(drawing.shape)}, expected "
            "one shape (N, 3, S, S)"
        )
    values = []
    for a, b in zip(target, drawing, strict=True):
        total = target.new_zeros([])
        for colour in colours.values():
            p, q = _pixels(a, colour), _pixels(b, colour)
            total = total + (_point_hausdorff(p, q) if len(p) and len(q) else math.nan)
        values.append(total / target.shape[-1])
    return torch.stack(values)


def nme(target: Tensor, landmarks: Tensor, outer_eyes: tuple[int, int] = (36, 45)) -> Tensor:
    """Normalised mean error: mean distance over that of the target's outer eye corners, (N,).

    target, landmarks: (N, K, 2). outer_eyes: indices of the two corners, of 68
    points by default. Papers often print it
    times 100. Differentiable.
    """
    _check(target, landmarks)
    left, right = (target[:, index] for index in outer_eyes)
    distance = torch.linalg.vector_norm(landmarks - target, dim=2).mean(1)
    return distance / torch.linalg.vector_norm(left - right, dim=1)


def nanmean_with_failures(values: Tensor) -> tuple[float, int]:
    """(mean without the NaN, number of NaN) of values (N,), in which NaN is a failed detection."""
    failed = values.isnan()
    return float(values[~failed].cpu().double().mean()), int(failed.sum())


def _point_hausdorff(a: Tensor, b: Tensor) -> Tensor:
    """a: (P, 2), b: (Q, 2) -> their Hausdorff distance."""
    # Without matrix products, which lose small distances between large coordinates.
    distances = torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")
    return torch.maximum(distances.amin(1).amax(), distances.amin(0).amax())


def _sample(points: Tensor, lines: Sequence[Sequence[int]]) -> Tensor:
    """points: (K, 2) -> (P, 2): along the polylines, at most SPACING pixels from one another."""
    samples = []
    for line in lines:
        corners = points[list(line)]
        steps = corners.diff(dim=0)
        counts = (torch.linalg.vector_norm(steps, dim=1) / SPACING).ceil().clamp(min=1).long()
        segment = torch.arange(len(steps), device=points.device).repeat_interleave(counts)
        before = counts.cumsum(0) - counts
        index = torch.arange(len(segment), device=points.device) - before[segment]
        fraction = (index / counts[segment])[:, None].to(points.dtype)
        samples += [corners[segment] + fraction * steps[segment], corners[-1:]]
    return torch.cat(samples)


def _pixels(drawing: Tensor, colour: tuple[int, int, int]) -> Tensor:
    """drawing: (3, S, S) -> (P, 2): column and row of the pixels of this colour."""
    pixels = torch.tensor(colour, dtype=torch.uint8, device=drawing.device)
    value = from_uint8(pixels, drawing.dtype)[:, None, None]
    return ((drawing - value).abs() < 1e-3).all(0).nonzero().flip(1).to(drawing.dtype)


def _check(target: Tensor, landmarks: Tensor, valid: Tensor | None = None) -> None:
    if target.shape != landmarks.shape or target.ndim != 3 or target.shape[2] != 2:
        raise ValueError(
            f"got landmarks of shapes {tuple(target.shape)} and {tuple(landmarks.shape)}, expected "
            "one shape (N, K, 2)"
        )
    if valid is not None and tuple(valid.shape) != (len(target),):
        raise ValueError(
            f"got `valid` of shape {tuple(valid.shape)} for {len(target)} faces; expected one "
            "truth value for each"
        )
