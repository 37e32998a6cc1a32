"""Drivers: the landmarks that a source's face follows, one frame after another.

Legend: T frames, K = 68 points, R resolution of the generator, S side of a picture.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from facsimile import data
from facsimile.data.face_choice import read_one
from facsimile.data.film import Film
from facsimile.data.frame_times import FPS
from facsimile.data.landmark_tracks import TRACK_NAMES, has_face, read_track
from facsimile.data.sound import Sound
from facsimile.data.tracking import FaceTracker, align_landmarks_ffhq
from facsimile.data.video import Frame, Frames, open_frames
from facsimile.metrics import IdentityNetwork

from .frame_view import show_face

NO_NETWORK = (
    "no network that recognises people is there: the face nearest to the last one is followed, "
    "whoever it is"
)


@dataclass(frozen=True)
class DriverFrame:
    """What a frame of the driver shows."""

    name: str
    points: Tensor | None
    """(K, 2) in pixels of an aligned face of R pixels; None if there is no face."""
    raw_points: Tensor
    """(K, 2) in pixels of the frame, or as `points` if the frame is aligned; NaN without a face."""
    picture: Tensor | None = None
    """(3, S, S) in [-1, 1]: the face; None if the driver has no pictures."""
    error: str = ""
    """Why there is no face."""
    other: bool = False
    """Whether there are faces, but none is the person's who is followed."""
    film: Tensor | None = None
    """(3, S, S) in [-1, 1]: the whole frame with the face that is followed; None for faces that
    are aligned already."""
    repeated: bool = False
    """Whether it is the frame before, which lasts longer."""


class Driver(Protocol):
    """An iterable of frames."""

    @property
    def path(self) -> str | Path:
        """Where it comes from, for messages."""

    @property
    def fps(self) -> float:
        """Frames per second."""

    @property
    def count(self) -> int:
        """Frames, as far as is known beforehand; 0 if nothing is known."""

    @property
    def single(self) -> bool:
        """Whether it is a single pose."""

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that it is read from."""

    @property
    def sound(self) -> Sound | None:
        """What is heard with it."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences on how it is read."""

    def for_source(self, landmarks: Tensor) -> "Driver":
        """The driver for a source with these landmarks (K, 2)."""

    def __iter__(self) -> Iterator[DriverFrame]: ...


class VideoDriver:
    """A video, a folder of pictures, or a photo."""

    def __init__(self, frames: Frames, tracker: FaceTracker, resolution: int):
        self.frames, self.tracker, self.resolution = frames, tracker, resolution
        self.path, self.fps, self.count = frames.path, frames.fps, frames.count
        self.single = frames.photos is not None and len(frames.photos) == 1
        self.files = tuple(frames.photos or (Path(frames.path),))
        self.sound, self.notes = frames.sound, frames.notes
        if tracker.detector is not None and tracker.identity is None and not self.single:
            self.notes += (NO_NETWORK,)

    def for_source(self, landmarks: Tensor) -> "VideoDriver":
        return self

    def __iter__(self) -> Iterator[DriverFrame]:
        self.tracker = self.tracker.again()  # it remembers where the last face was
        last: DriverFrame | None = None
        for frame in self.frames:
            if frame.repeated and last is not None:
                last = replace(last, name=frame.name, repeated=True)
            else:
                last = self._track(frame)
            yield last

    def _track(self, frame: Frame) -> DriverFrame:
        no_points = torch.full((data.points68.NUM_POINTS, 2), torch.nan)
        if frame.photo is None:
            return DriverFrame(frame.name, None, no_points, error=frame.error)
        face = self.tracker(frame.photo)
        aligned = self.tracker.detector is None
        film = None if aligned else show_face(frame.photo, face.quad, face.points is not None)
        if face.points is None:
            known = {"error": face.error, "other": face.other, "film": film}
            return DriverFrame(frame.name, None, no_points, face.picture, **known)
        raw = torch.from_numpy(face.points).float()
        if aligned:
            raw = points = raw * (self.resolution / frame.photo.width)
        else:
            points = align_landmarks_ffhq(raw[None], self.resolution)[0]
        return DriverFrame(frame.name, points, raw, face.picture, film=film)

    @property
    def damaged(self) -> int:
        """Frames of a film that could not be decoded without errors, when it was last read."""
        film = self.frames.film
        return len(film.damaged) if isinstance(film, Film) else 0

    def count_people(self) -> int:
        """Faces in the first frame that has any; 1 for faces that are aligned already."""
        detector = self.tracker.detector
        if detector is None:
            return 1
        photos = (frame.photo for frame in self.frames if frame.photo and not frame.repeated)
        return next((len(faces) for photo in photos if (faces := detector.detect(photo))), 1)

    def following(self, face: str) -> "VideoDriver":
        """The same, of another person; see `data.face_choice`."""
        return VideoDriver(self.frames, self.tracker.again(read_one(face)), self.resolution)


class LandmarkDriver:
    """A landmarks file."""

    sound = None
    notes = ()

    def __init__(self, path: Path, resolution: int, *, align: bool, fps: float | None):
        """align: the landmarks are in pixels of photos, not of aligned faces of R pixels.

        Raises FileNotFoundError, or ValueError, also if no frame has a face.
        """
        self.raw_points, file_fps = read_track(path)
        self.points = (
            align_landmarks_ffhq(self.raw_points, resolution) if align else self.raw_points
        )
        self.path, self.files = path, (path,)
        self.fps, self.count = fps or file_fps or FPS, len(self.raw_points)
        self.single = self.count == 1
        if not has_face(self.points).any():
            raise ValueError(
                f"{path}: got landmarks that are not finite, or no face, in all of "
                f"{self.count} frames; expected a face in one at least"
            )

    def for_source(self, landmarks: Tensor) -> "LandmarkDriver":
        return self

    def __iter__(self) -> Iterator[DriverFrame]:
        for index, good in enumerate(has_face(self.points).tolist()):
            points = self.points[index] if good else None
            error = "" if good else "its landmarks are not finite, or not a face"
            yield DriverFrame(f"{index + 1:06d}", points, self.raw_points[index], error=error)


def open_driver(
    path: str | Path,
    landmarker: data.Landmarker,
    detector: data.FaceDetector | None,
    resolution: int,
    device: torch.device,
    fps: float | None = None,
    exclude: str | Path | None = None,
    face: str = "largest",
    identity: IdentityNetwork | None = None,
) -> VideoDriver | LandmarkDriver:
    """The driver at a path: a landmarks file, a video, a folder of pictures, or a photo.

    detector: None if the faces are aligned already. exclude: see `data.find_photos`. face: the
    person, see `data.face_choice`; identity: recognises the person.
    Raises FileNotFoundError or ValueError.
    """
    path = Path(path)
    if path.suffix.lower() in TRACK_NAMES and not path.is_dir():
        return LandmarkDriver(path, resolution, align=detector is not None, fps=fps)
    tracker = FaceTracker(landmarker, detector, device, read_one(face), identity)
    return VideoDriver(open_frames(path, fps, exclude), tracker, resolution)
