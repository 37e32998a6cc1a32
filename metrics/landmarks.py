"""How far apart the landmarks of two faces are: Hausdorff distance of their lines, and mean error.

Legend: N faces, K points, P and Q points of a line or pixels of a drawing. Landmarks are (N, K, 2),
x then y, in pixels of their image. "Learning an Encoder for Image Editing within a StyleGAN Latent
Space", section 5. Values are divided by the image's side or an inner distance, so that they do not
depend on the resolution.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

Lines = Mapping[str, Sequence[Sequence[int]]]
"""Name of a group of landmarks -> its polylines, by the numbers of their points."""

CARD = {
    "hausdorff": "sum over chin, brows, nose, eyes and inner lips of the Hausdorff distance of "
    "their lines, sampled every half pixel, divided by the image's side; failures are counted "
    "apart; 0 = equal, lower is better",
    "nme": "mean distance of the 68 landmarks, divided by the distance of the target's outer eye "
    "corners; 0 = equal, lower is better",
}

SPACING = 0.5
"""Pixels between the points of a sampled line, at most."""


@torch.no_grad()
def hausdorff(
    target: Tensor, landmarks: Tensor, side: float, lines: Lines, found: Tensor | None = None
) -> Tensor:
    """Sum over groups of H(lines of the target, lines of the landmarks) / side, (N,).

    H(A, B) = max(h(A, B), h(B, A)) with h(A, B) = max over a of min over b of |a - b|, over points
    every half pixel of the lines. target, landmarks: (N, K, 2) in pixels of images `side` wide.
    found: (N,) bool, whether a face was found; the value is NaN where none was. Raises ValueError.
    """
    _check(target, landmarks, found)
    if not side > 0:
        raise ValueError(f"got a side of {side:g} pixels, expected a positive one")
    use = torch.ones(len(target), dtype=torch.bool) if found is None else found.cpu()
    values = []
    for one, other, usable in zip(target, landmarks, use.tolist(), strict=True):
        if not usable:
            values.append(target.new_tensor(math.nan))
            continue
        for points in (one, other):
            if not points.isfinite().all():
                raise ValueError(
                    "got landmarks that are no finite numbers; mark the face as not found"
                )
        apart = [_between(_sampled(one, group), _sampled(other, group)) for group in lines.values()]
        values.append(torch.stack(apart).sum() / side)
    return torch.stack(values)


@torch.no_grad()
def hausdorff_of_drawings(
    target: Tensor, drawing: Tensor, colours: Mapping[str, tuple[int, int, int]]
) -> Tensor:
    """The same between pixels of exactly a group's colour, as the paper's authors measure, (N,).

    target, drawing: (N, 3, S, S) in [-1, 1], landmarks drawn in `colours` (0 to 255); where a group
    has no such pixel in either, the value is NaN. Raises ValueError on other shapes.
    """
    if target.shape != drawing.shape or target.ndim != 4 or target.shape[1] != 3:
        raise ValueError(
            f"got drawings of shapes {tuple(target.shape)} and {tuple(drawing.shape)}, expected "
            "one shape (N, 3, S, S)"
        )
    values = []
    for one, other in zip(target, drawing, strict=True):
        total = target.new_zeros([])
        for colour in colours.values():
            a, b = _pixels(one, colour), _pixels(other, colour)
            total = total + (_between(a, b) if len(a) and len(b) else math.nan)
        values.append(total / target.shape[-1])
    return torch.stack(values)


def nme(target: Tensor, landmarks: Tensor, eyes: tuple[int, int] = (36, 45)) -> Tensor:
    """Mean distance of the points over the distance of the target's outer eye corners, (N,).

    target, landmarks: (N, K, 2). Known as NME; often printed times 100. Differentiable.
    """
    _check(target, landmarks)
    left, right = (target[:, index] for index in eyes)
    return (landmarks - target).norm(dim=2).mean(1) / (left - right).norm(dim=1)


def nanmean_with_failures(values: Tensor) -> tuple[float, int]:
    """(mean over the faces that were found, number of failures) of values (N,) with NaN in them."""
    failed = values.isnan()
    return float(values[~failed].double().mean()), int(failed.sum())


def _between(a: Tensor, b: Tensor) -> Tensor:
    """a: (P, 2), b: (Q, 2) -> their Hausdorff distance."""
    # Without matrix products, which lose small distances between large coordinates.
    apart = torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")
    return torch.maximum(apart.amin(1).amax(), apart.amin(0).amax())


def _sampled(points: Tensor, lines: Sequence[Sequence[int]]) -> Tensor:
    """points: (K, 2) -> (P, 2): along the polylines, at most SPACING pixels apart."""
    found = []
    for line in lines:
        corners = points[list(line)]
        steps = corners.diff(dim=0)
        counts = (steps.norm(dim=1) / SPACING).ceil().clamp(min=1).long()
        segment = torch.arange(len(steps), device=points.device).repeat_interleave(counts)
        before = counts.cumsum(0) - counts
        part = torch.arange(len(segment), device=points.device) - before[segment]
        along = (part / counts[segment])[:, None].to(points.dtype)
        found += [corners[segment] + along * steps[segment], corners[-1:]]
    return torch.cat(found)


def _pixels(drawing: Tensor, colour: tuple[int, int, int]) -> Tensor:
    """drawing: (3, S, S) -> (P, 2): column and row of the pixels of this colour."""
    wanted = drawing.new_tensor(colour)[:, None, None] / 127.5 - 1
    return ((drawing - wanted).abs() < 1e-3).all(0).nonzero().flip(1).to(drawing.dtype)


def _check(target: Tensor, landmarks: Tensor, found: Tensor | None = None) -> None:
    if target.shape != landmarks.shape or target.ndim != 3 or target.shape[2] != 2:
        raise ValueError(
            f"got landmarks of shapes {tuple(target.shape)} and {tuple(landmarks.shape)}, expected "
            "one shape (N, K, 2)"
        )
    if found is not None and tuple(found.shape) != (len(target),):
        raise ValueError(
            f"got `found` of shape {tuple(found.shape)} for {len(target)} faces; expected one "
            "truth value for each"
        )
