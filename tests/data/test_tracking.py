"""Following a face, which here is a red square that a stand-in for the networks can see."""

import numpy as np
import pytest
import torch
from PIL import Image

from facsimile.data import Face, Landmarks
from facsimile.data.align import ffhq_quad_from_landmarks
from facsimile.data.tracking import FaceTracker, align_landmarks_ffhq


def template():
    """A face around (0, 0) whose side is 1."""
    points = 0.1 * torch.randn(68, 2, generator=torch.Generator().manual_seed(0)).double()
    points[36:42] = torch.tensor([-0.5, -0.4])
    points[42:48] = torch.tensor([0.5, -0.4])
    points[48], points[54] = torch.tensor([-0.35, 0.5]), torch.tensor([0.35, 0.5])
    return points


FACE = template()


class Squares:
    """Landmarks around the red in (N, 3, S, S)."""

    name = note = "squares"

    def __init__(self):
        self.looks = 0

    def __call__(self, images):
        self.looks += 1
        red = ((images[:, 0] > 0) & (images[:, 1] < 0)).double()
        area = red.sum((1, 2))
        grid = torch.arange(images.shape[-1]) + 0.5
        x, y = ((red.sum(axis) * grid).sum(1) / area for axis in (1, 2))
        points = torch.stack([x, y], 1)[:, None] + area.sqrt()[:, None, None] * FACE
        return Landmarks(points, area / area.clamp_min(1), area > 200)


class Detector:
    """Finds the red in photos."""

    def __init__(self):
        self.calls = 0

    def detect(self, photo):
        self.calls += 1
        pixels = np.asarray(photo).astype(int)
        rows, columns = np.nonzero((pixels[..., 0] > 150) & (pixels[..., 1] < 100))
        if not len(rows):
            return []
        side, centre = len(rows) ** 0.5, np.array([columns.mean(), rows.mean()]) + 0.5
        five = np.array([[-0.5, -0.4], [0.5, -0.4], [0, 0], [-0.35, 0.5], [0.35, 0.5]])
        box = (*(centre - side / 2), *(centre + side / 2))
        return [Face(box=box, probability=1.0, points=centre + side * five)]


def photo(x, y, side=40, size=(400, 300)):
    picture = Image.new("RGB", size, (90, 90, 90))
    picture.paste((220, 20, 20), (x, y, x + side, y + side))
    return picture


def expected(x, y, side=40):
    return np.array([x + side / 2, y + side / 2]) + side * FACE.numpy()


@pytest.fixture
def tracker():
    return FaceTracker(Squares(), Detector(), "cpu")


def test_a_face_is_found_once_and_then_followed(tracker):
    for step in range(12):
        tracked = tracker(photo(60 + 10 * step, 80 + 5 * step, 40 + step))
        assert np.abs(tracked.points - expected(60 + 10 * step, 80 + 5 * step, 40 + step)).max() < 1
        assert tracked.picture.shape == (3, 256, 256)
    assert tracker.detector.calls == tracker.detections == 1


def test_a_face_that_jumps_is_searched(tracker):
    tracker(photo(60, 60))
    tracked = tracker(photo(300, 200))
    assert np.abs(tracked.points - expected(300, 200)).max() < 1
    assert tracker.detector.calls == 2


def test_frames_without_a_face(tracker):
    nothing = Image.new("RGB", (400, 300), (90, 90, 90))
    assert tracker(nothing).points is None
    assert np.abs(tracker(photo(60, 60)).points - expected(60, 60)).max() < 1
    tracked = tracker(nothing)
    assert tracked.points is None
    assert tracked.error == "no face was found"
    assert np.abs(tracker(photo(100, 100)).points - expected(100, 100)).max() < 1
    assert tracker.detector.calls == 4


def test_what_comes_later_changes_nothing(tracker):
    other = FaceTracker(Squares(), Detector(), "cpu")
    one = [tracker(p).points for p in (photo(60, 60), photo(70, 60))]
    two = [other(p).points for p in (photo(60, 60), photo(70, 60), photo(300, 60))]
    assert np.array_equal(one, two[:2])


def test_photos_of_other_sizes_are_searched(tracker):
    tracker(photo(60, 60))
    tracker(photo(60, 60, size=(500, 300)))
    assert tracker.detector.calls == 2


def test_aligned_faces_are_not_searched():
    tracker = FaceTracker(Squares(), None, "cpu")
    assert np.abs(tracker(photo(60, 80, size=(512, 512))).points - expected(60, 80)).max() < 1
    assert "expected a square photo" in tracker(photo(60, 80)).error


def test_ffhq_frame_of_a_face():
    """Its crop is the whole of the frame, whatever the photo, and what is no face is NaN."""
    track = torch.stack([FACE, 3 * FACE @ torch.tensor([[0.8, 0.6], [-0.6, 0.8]]).double() + 7])
    nothing = torch.stack([torch.full((68, 2), torch.nan), torch.ones(68, 2)]).double()
    moved = align_landmarks_ffhq(torch.cat([track, nothing]), 64)
    torch.testing.assert_close(moved[0], moved[1])
    corners = torch.tensor([[0, 0], [0, 64], [64, 64], [64, 0]]).numpy()
    assert np.abs(ffhq_quad_from_landmarks(moved[0].numpy()) - corners).max() < 1e-9
    assert moved[2:].isnan().all()
