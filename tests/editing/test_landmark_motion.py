"""Landmarks for reenactment: what must not change does not, and jitter does."""

import math

import pytest
import torch

from facsimile.editing.landmark_motion import (
    LandmarkMotion,
    OneEuro,
    interpolate_landmarks,
    relative_motion,
    similarity,
    smooth,
)


@pytest.fixture
def faces():
    """(4, 68, 2), float64: a source, and three frames of a driver of another shape."""
    rng = torch.Generator().manual_seed(1)
    source, driver = (100 * torch.rand(68, 2, generator=rng, dtype=torch.float64) for _ in "ab")
    driver = driver + 3 * torch.randn(3, 68, 2, generator=rng, dtype=torch.float64)
    return torch.cat([source[None], driver])


def turned(points, degrees, scale, shift):
    cos, sin = (f(math.radians(degrees)) for f in (math.cos, math.sin))
    return scale * points @ points.new_tensor([[cos, sin], [-sin, cos]]) + points.new_tensor(shift)


@pytest.mark.parametrize(("degrees", "scale"), [(0, 1), (35, 0.4), (-170, 3)])
def test_similarity_is_found(faces, degrees, scale):
    face = faces[0]
    other = turned(face, degrees, scale, (5, -7))
    centred = face - face.mean(0)
    torch.testing.assert_close(centred @ similarity(face, other), other - other.mean(0))


def test_a_driver_that_stands_still_moves_nothing(faces):
    source, first = faces[:2]
    assert torch.equal(
        relative_motion(source, first, first.expand(5, -1, -1)), source.expand(5, -1, -1)
    )


def test_relative_driving_of_a_face_by_itself_is_absolute(faces):
    _, first, *rest = faces
    driver = torch.stack(rest)
    torch.testing.assert_close(relative_motion(first, first, driver), driver)


def test_relative_driving_does_not_see_the_drivers_size_place_or_tilt(faces):
    source, *driver = faces
    driver = torch.stack(driver)
    other = turned(driver, 25, 2.5, (300, -40))
    torch.testing.assert_close(
        relative_motion(source, other[0], other), relative_motion(source, driver[0], driver)
    )


def test_relative_driving_scales_with_the_source(faces):
    source, *driver = faces
    driver = torch.stack(driver)
    moved = relative_motion(source, driver[0], driver) - source
    torch.testing.assert_close(
        relative_motion(2 * source, driver[0], driver) - 2 * source, 2 * moved
    )


def test_morph_ends_exactly(faces):
    steps = interpolate_landmarks(faces[0], faces[1], 6)
    assert torch.equal(steps[0], faces[0])
    assert torch.equal(steps[-1], faces[1])
    torch.testing.assert_close(steps.diff(dim=0), ((faces[1] - faces[0]) / 5).expand(5, -1, -1))
    with pytest.raises(ValueError, match="got 1 frames"):
        interpolate_landmarks(faces[0], faces[1], 1)


def test_smoothing_leaves_what_stands_and_what_it_is_not_asked_for(faces):
    still = faces[:1].expand(9, -1, -1)
    assert torch.equal(smooth(still, 25, 0.3), still)
    assert torch.equal(smooth(faces, 25, 0), faces)


def test_smoothing_takes_jitter_out(faces):
    rng = torch.Generator().manual_seed(2)
    noise = 0.3 * torch.randn(200, 68, 2, generator=rng, dtype=torch.float64)
    left = [(smooth(faces[0] + noise, 25, s) - faces[0])[50:].std() for s in (0, 0.04, 0.1, 0.4)]
    assert left[0] > 1.3 * left[1] > 1.3 * left[2] > 1.3 * left[3]


def test_smoothing_follows_what_moves(faces):
    """A step is all but there after a fifth of a second, where a fixed low-pass is half-way."""
    step = torch.cat([faces[:1].expand(20, -1, -1), (faces[:1] + 30).expand(20, -1, -1)])
    gone = (smooth(step, 25, 0.3) - faces[0])[24] / 30
    assert gone.min() > 0.9


def test_smoothing_knows_time():
    """Twice the frame rate, the same curve: within what half a frame is."""
    t = torch.linspace(0, 2, 201, dtype=torch.float64)
    x = torch.arange(68, dtype=torch.float64)
    face = torch.stack([x, x.flip(0)], 1)
    track = face + 5 * torch.sin(3 * t)[:, None, None]
    torch.testing.assert_close(
        smooth(track, 100, 0.1)[::2], smooth(track[::2], 50, 0.1), atol=0.2, rtol=0
    )


@pytest.mark.parametrize(("fps", "seconds"), [(0, 1), (math.nan, 1), (25, -1), (25, math.inf)])
def test_no_such_smoothing(fps, seconds):
    with pytest.raises(ValueError, match="expected"):
        OneEuro(fps, seconds)


def test_a_face_without_size(faces):
    with pytest.raises(ValueError, match="one point"):
        relative_motion(faces[0], torch.zeros(68, 2), faces)


def test_motion_holds_and_counts(faces):
    source, a, b, c = faces
    motion = LandmarkMotion(source, relative=True, fps=25, seconds=0)
    seen = torch.stack([motion(x) for x in (None, a, b, None, None, c)])
    assert motion.frames_without_face == 3
    assert torch.equal(seen[0], source)
    assert torch.equal(seen[1], source)
    assert torch.equal(seen[3], seen[2])
    assert torch.equal(seen[4], seen[2])
    assert torch.equal(seen[[1, 2, 5]], relative_motion(source, a, faces[1:]))


def test_motion_may_be_absolute(faces):
    source, *driver = faces
    motion = LandmarkMotion(source, relative=False, fps=25, seconds=0)
    assert torch.equal(torch.stack([motion(x) for x in driver]), faces[1:])
    smoothed = LandmarkMotion(source, relative=False, fps=25, seconds=0.2)
    track = torch.stack([smoothed(x) for x in driver])
    assert torch.equal(track, smooth(faces[1:], 25, 0.2))


def test_after_a_gap_the_last_pose_counts_less(faces):
    source, a, b, _ = faces
    runs = []
    for gap in (0, 10):
        motion = LandmarkMotion(source, relative=False, fps=25, seconds=1)
        motion(a)
        for _ in range(gap):
            motion(None)
        runs.append((motion(b) - b).abs().mean())
    assert runs[1] < 0.5 * runs[0]
