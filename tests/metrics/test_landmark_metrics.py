"""Hausdorff distance and mean error against known answers and scipy."""

import math

import pytest
import torch

from facsimile.data import draw_landmarks
from facsimile.data.points68 import GROUPS
from facsimile.metrics import hausdorff, hausdorff_of_drawings, nanmean_with_failures, nme
from facsimile.metrics.landmarks import _point_hausdorff, _sample

SQUARE = torch.tensor([[10.0, 10.0], [30.0, 10.0], [30.0, 30.0], [10.0, 30.0]])
LINES = {"square": [(0, 1, 2, 3, 0)]}


def test_a_shifted_square():
    """Moved along an axis by less than its side, a square is as far away as it was moved."""
    faces = SQUARE.expand(3, 4, 2)
    moved = faces + torch.tensor([[[0.0, 0.0]], [[3.0, 0.0]], [[0.0, -6.0]]])
    found = hausdorff(faces, moved, 64, LINES)
    assert found.tolist() == pytest.approx([0, 3 / 64, 6 / 64], abs=1e-6)
    assert torch.equal(found, hausdorff(moved, faces, 64, LINES))
    # Twice the resolution changes nothing; two groups add up.
    assert hausdorff(2 * faces, 2 * moved, 128, LINES).tolist() == pytest.approx(found.tolist())
    twice = {"one": LINES["square"], "other": [(0, 1)]}
    assert hausdorff(faces, moved, 64, twice)[2] == pytest.approx(12 / 64)


def test_one_sided_distances():
    """h(A, B) and h(B, A) differ where one line is a part of the other: the larger counts."""
    whole, part = torch.tensor([[0.0, 0.0], [20.0, 0.0]]), torch.tensor([[0.0, 0.0], [5.0, 0.0]])
    for a, b in ((whole, part), (part, whole)):
        assert hausdorff(a[None], b[None], 1, {"line": [(0, 1)]}) == 15


def test_points_are_half_a_pixel_apart():
    points = _sample(SQUARE, [(0, 1, 2), (3, 3)])
    line, dot = points[:-2], points[-2:]
    gaps = line.diff(dim=0).norm(dim=1)
    assert gaps.max() <= 0.5
    assert len(line) == 2 * 40 + 1
    assert dot.tolist() == [[10.0, 30.0]] * 2


def test_scipy_agrees():
    scipy = pytest.importorskip("scipy.spatial.distance")
    a, b = torch.rand(40, 2, dtype=torch.float64), torch.rand(55, 2, dtype=torch.float64)
    ways = [scipy.directed_hausdorff(*pair)[0] for pair in ((a, b), (b, a))]
    assert float(_point_hausdorff(a, b)) == pytest.approx(max(ways), abs=1e-12)


def test_drawings_agree_with_points():
    """Pixels and points differ by about a pixel of either line."""
    colour = (255, 0, 0)

    def drawn(shift):
        picture = -torch.ones(3, 64, 64)
        picture[0, 10, 10 + shift : 30 + shift] = 1.0
        picture[0, 40, 40] = 0.9  # nearly the colour, as at an edge: does not count
        return picture

    pictures = torch.stack([drawn(0), drawn(4)])
    found = hausdorff_of_drawings(pictures, torch.stack([drawn(3)] * 2), {"line": colour})
    assert found.tolist() == pytest.approx([3 / 64, 1 / 64])
    missing = hausdorff_of_drawings(pictures, pictures, {"line": colour, "none": (0, 128, 0)})
    assert missing.isnan().all()


def test_raster_and_points_agree_on_faces():
    """Within a pixel for each of the five groups."""
    side, rows = 256, torch.linspace(40, 220, 68)
    # Upright and level lines through the middles of pixels, so that every group has exact colours.
    face = torch.stack([torch.linspace(30, 200, 68).floor() + 0.5, rows.floor() + 0.5], 1)
    moved = face + torch.tensor([5.0, -3.0])
    faces = torch.stack([face, moved]), torch.stack([moved, face])
    lines = {name: group.lines for name, group in GROUPS.items()}
    colours = {name: group.colour for name, group in GROUPS.items()}
    points = hausdorff(*faces, side, lines)
    raster = hausdorff_of_drawings(*(draw_landmarks(x, side, side) for x in faces), colours)
    assert (points - raster).abs().max() < 5 / side
    assert points.max() <= 5 * math.hypot(5, 3) / side


def test_failures_are_counted():
    faces = SQUARE.expand(3, 4, 2)
    found = torch.tensor([True, False, True])
    values = hausdorff(faces, faces + torch.tensor([2.0, 0.0]), 64, LINES, found)
    assert values.isnan().tolist() == [False, True, False]
    mean, failed = nanmean_with_failures(values)
    assert (mean, failed) == (pytest.approx(2 / 64), 1)
    assert math.isnan(nanmean_with_failures(values[1:2])[0])


def test_mean_error():
    target = torch.zeros(1, 68, 2)
    target[0, 45, 0] = 50.0
    landmarks = target.clone()
    landmarks[0, :34] += torch.tensor([3.0, 4.0])  # half of the points are 5 pixels off
    assert nme(target, landmarks).tolist() == pytest.approx([0.05])


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda a: hausdorff(a, a[:, :2], 64, LINES), "one shape"),
        (lambda a: hausdorff(a, a, 0, LINES), "positive"),
        (lambda a: hausdorff(a, a * torch.nan, 64, LINES), "mark the face as not valid"),
        (lambda a: hausdorff(a, a, 64, LINES, torch.ones(2)), "1 faces; expected one truth"),
        (lambda a: hausdorff_of_drawings(a, a, {}), r"\(N, 3, S, S\)"),
        (lambda a: nme(a, a[0]), "one shape"),
    ],
)
def test_refusals(call, said):
    with pytest.raises(ValueError, match=said):
        call(SQUARE[None])
