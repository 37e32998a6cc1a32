"""Drivers: what a source's face is to follow, as landmarks one frame after the other.

Legend: T frames, K = 68 points, R side of the generator's images, S side of a picture.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from facsimile import data
from facsimile.data.landmark_tracks import TRACK_NAMES, has_face, read_track
from facsimile.data.tracking import FaceTracker, align_landmarks_ffhq
from facsimile.data.video import FPS, Frames, open_frames


@dataclass(frozen=True)
class Pose:
    """What a frame of the driver shows."""

    name: str
    points: Tensor | None
    """(K, 2) in pixels of an aligned face of R pixels; None where there is no face."""
    raw: Tensor
    """(K, 2) in pixels of the frame, or as `points` where that is aligned; NaN without a face."""
    picture: Tensor | None = None
    """(3, S, S) in [-1, 1]: the face; None where the driver is but landmarks."""
    error: str = ""
    """Why there is no face."""


class Film:
    """A video, a folder of pictures, or a photo; iterate for its poses."""

    def __init__(self, frames: Frames, tracker: FaceTracker, side: int):
        """side: R."""
        self.frames, self.tracker, self.side = frames, tracker, side
        self.path, self.fps, self.count = frames.path, frames.fps, frames.count
        self.single = frames.photos is not None and len(frames.photos) == 1

    def __iter__(self) -> Iterator[Pose]:
        tracker = self.tracker
        # It knows where the last face was.
        self.tracker = FaceTracker(tracker.landmarker, tracker.detector, tracker.device)
        nothing = torch.full((data.points68.POINTS, 2), torch.nan)
        for frame in self.frames:
            if frame.photo is None:
                yield Pose(frame.name, None, nothing, error=frame.error)
                continue
            seen = self.tracker(frame.photo)
            if seen.points is None:
                yield Pose(frame.name, None, nothing, seen.picture, seen.error)
                continue
            raw = torch.from_numpy(seen.points).float()
            if self.tracker.detector is None:
                raw = points = raw * (self.side / frame.photo.width)
            else:
                points = align_landmarks_ffhq(raw[None], self.side)[0]
            yield Pose(frame.name, points, raw, seen.picture)


class Track:
    """A landmarks file."""

    def __init__(self, path: Path, side: int, *, align: bool, fps: float | None):
        """align: the landmarks are in pixels of photos, not of aligned faces of R pixels.

        Raises FileNotFoundError or ValueError, the latter too where no frame has a face.
        """
        self.raw, told = read_track(path)
        self.points = align_landmarks_ffhq(self.raw, side) if align else self.raw
        self.path, self.fps, self.count = path, fps or told or FPS, len(self.raw)
        self.single = self.count == 1
        if not has_face(self.points).any():
            raise ValueError(
                f"{path}: got landmarks that are no finite numbers, or no face, in all of "
                f"{self.count} frames; expected a face in one at least"
            )

    def __iter__(self) -> Iterator[Pose]:
        for index, good in enumerate(has_face(self.points).tolist()):
            points = self.points[index] if good else None
            error = "" if good else "its landmarks are no finite numbers, or no face"
            yield Pose(f"{index + 1:06d}", points, self.raw[index], error=error)


def open_driver(
    path: str | Path,
    landmarker: data.Landmarker,
    detector: data.FaceDetector | None,
    side: int,
    device: torch.device,
    fps: float | None = None,
    but: str | Path | None = None,
) -> Film | Track:
    """What `path` is: a landmarks file, a video, a folder of pictures, or a photo.

    detector: None where the faces are aligned already. side: R. but: see `data.find_photos`.
    Raises FileNotFoundError, or ValueError with what is wrong.
    """
    path = Path(path)
    if path.suffix.lower() in TRACK_NAMES and not path.is_dir():
        return Track(path, side, align=detector is not None, fps=fps)
    frames = open_frames(path, fps, but)
    return Film(frames, FaceTracker(landmarker, detector, device), side)


def batches(poses: Iterator[Pose], size: int) -> Iterator[list[Pose]]:
    while some := list(itertools.islice(poses, size)):
        yield some
