"""Drawings of landmarks: colours where lines are, at any side, with a gradient to the points."""

import math

import pytest
import torch

from facsimile.data import draw_landmarks, draw_points
from facsimile.data.drawings import LINE_WIDTH
from facsimile.data.points68 import GROUPS
from facsimile.metrics.resize import resize


@pytest.fixture(scope="module")
def face():
    """(1, 68, 2) in pixels of 128: lines apart from one another."""
    t = torch.linspace(0, 1, 17)
    points = torch.zeros(68, 2)
    points[:17] = torch.stack([20 + 88 * t, 60 + 60 * torch.sin(math.pi * t)], 1)
    points[17:22] = torch.stack([torch.linspace(30, 55, 5), torch.full((5,), 35.0)], 1)
    points[22:27] = torch.stack([torch.linspace(73, 98, 5), torch.full((5,), 35.0)], 1)
    points[27:31] = torch.stack([torch.full((4,), 64.0), torch.linspace(50, 72, 4)], 1)
    points[31:36] = torch.stack([torch.linspace(55, 73, 5), torch.full((5,), 80.0)], 1)
    for first, count, x, y, a, b in [(36, 6, 42, 50, 8, 4), (42, 6, 86, 50, 8, 4)] + [
        (48, 12, 64, 98, 16, 10),
        (60, 8, 64, 98, 11, 5),
    ]:
        u = torch.arange(count) * (2 * math.pi / count)
        points[first : first + count] = torch.stack([x - a * u.cos(), y - b * u.sin()], 1)
    return points[None]


def test_known_pixels(face):
    """Far from the lines black; on them the group's colour; nothing on the outer lips."""
    picture = draw_landmarks(face, 128, 512)[0]
    assert picture.shape == (3, 512, 512)

    def at(point):
        x, y = (4 * point).long().tolist()
        return ((picture[:, y, x] + 1) * 127.5).round().int().tolist()

    for group in GROUPS.values():
        for line in group.lines:
            for one, other in zip(line, line[1:], strict=False):
                assert at((face[0, one] + face[0, other]) / 2) == list(group.colour)
    assert at(torch.tensor([10.0, 10.0])) == at(torch.tensor([64.0, 40.0])) == [0, 0, 0]
    assert at(face[0, 51]) == [0, 0, 0]
    assert at(torch.tensor([64.0, 35.0])) == [0, 0, 0]  # between the brows
    assert picture.min() == -1
    assert picture.max() <= 1


def test_the_width_of_a_line(face):
    """Across the brow, which lies level: coverage sums up to the width."""
    for side in (64, 128, 256, 500):
        column = draw_landmarks(face, 128, side)[0, 0, : side // 3, round(42.5 / 128 * side)]
        covered = float((column + 1).sum() / 2)  # the brows' red is 255
        assert covered == pytest.approx(max(LINE_WIDTH * side, 0.1), rel=0.15)


def test_every_side_draws_the_same(face):
    small = draw_landmarks(face, 128, 128)
    for side in (256, 512):
        shrunk = resize(draw_landmarks(face, 128, side), (128, 128), clamp=True)
        ink = (small + 1).sum()
        assert (shrunk - small).abs().sum() / ink < 0.12
        assert shrunk.add(1).sum() == pytest.approx(float(ink), rel=0.02)
    assert torch.equal(draw_landmarks(4 * face, 512, 128), small)


def test_faces_do_not_influence_one_another(face):
    wild = face.clone()
    wild[0, 3] = torch.tensor([-700.0, 900.0])  # makes the windows of all segments larger
    faces = torch.cat([face, face.flip(2), wild])
    alone = torch.cat([draw_landmarks(one[None], 128, 64) for one in faces])
    assert torch.equal(draw_landmarks(faces, 128, 64), alone)


def test_gradient(face):
    """Finite differences of a smooth function of the drawing."""
    weights = torch.rand(1, 3, 24, 24, dtype=torch.float64)
    # Away from places where two segments are equally near.
    start = face.double() + 0.3 * torch.rand(1, 68, 2, dtype=torch.float64)

    def value(points):
        return (draw_landmarks(points, 128, 24) * weights).sum()

    points = start.clone().requires_grad_()
    value(points).backward()
    assert points.grad[0, 48:60].abs().max() == 0
    close = 0
    chosen = [0, 8, 16, 19, 24, 27, 30, 33, 36, 40, 45, 60, 64]
    for index in chosen:
        for axis in (0, 1):
            step = torch.zeros_like(start)
            step[0, index, axis] = 1e-6
            slope = (value(start + step) - value(start - step)) / 2e-6
            close += abs(slope - points.grad[0, index, axis]) < 1e-4 * (1 + abs(slope))
    assert close == 2 * len(chosen)
    assert points.grad[0, chosen].abs().sum() > 0.1


def test_outside_and_no_numbers_draw_nothing(face):
    assert draw_landmarks(face + 1000, 128, 64).max() == -1
    assert draw_landmarks(face - 1000, 128, 64).max() == -1
    broken = face.clone().requires_grad_()
    picture = draw_landmarks(
        torch.where(torch.arange(68)[:, None] < 17, torch.nan, broken), 128, 64
    )
    assert picture.isfinite().all()
    assert picture.max() > -1  # the other groups are there
    picture.sum().backward()
    assert broken.grad.isfinite().all()


def test_points_lie_on_the_photo(face):
    photo = torch.zeros(1, 3, 128, 128)
    marked = draw_points(photo, face)
    x, y = face[0, 8].long().tolist()
    assert marked[0, 1, y, x] > 0.7
    assert (marked != photo).any(1).float().mean() < 0.05


def test_refusals(face):
    with pytest.raises(ValueError, match=r"\(N, 68, 2\)"):
        draw_landmarks(face[:, :5], 128, 64)
    with pytest.raises(ValueError, match="positive sides"):
        draw_landmarks(face, 0, 64)
    with pytest.raises(ValueError, match="1 faces' landmarks for 2 images"):
        draw_points(torch.zeros(2, 3, 64, 64), face)
