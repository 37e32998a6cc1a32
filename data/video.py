"""Frames of a video, a folder of pictures or one photo, one at a time; and writing videos.

Only this file uses OpenCV. A frame is read when it is needed, so the memory does not grow.
"""

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from PIL import Image

from .photo_files import PHOTO_NAME, find_photos
from .photo_formats import PhotoError
from .photos import MIN_SIDE, read_photo

VIDEO_NAMES = (".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi")
CODECS = {".mp4": "mp4v", ".webm": "VP90"}
"""Those that OpenCV can write on every system. H.264 is not one of them; browsers play VP9."""
FPS = 25.0
"""Frames per second of folders, photos, and videos that do not state theirs."""


class VideoError(ValueError):
    """A video that cannot be used; the message says what was got, what was expected, what to do."""


def opencv() -> ModuleType:
    """OpenCV, which is slow to import; VideoError if it is not installed."""
    try:
        return import_module("cv2")
    except ImportError as error:
        raise VideoError(
            "videos need OpenCV, which is not installed; run pip install 'facsimile[video]', or "
            "give a folder of pictures"
        ) from error


@dataclass(frozen=True)
class Frame:
    """One picture of a video or folder."""

    name: str
    photo: Image.Image | None
    """None if it could not be read."""
    error: str = ""
    """Why it could not be read."""


@dataclass(frozen=True)
class Frames:
    """Iterate for the `Frame`s, in their order; every iteration begins with the first."""

    path: Path
    fps: float
    count: int
    """Number of frames; of a video the number in its header, which may be wrong, or 0."""
    photos: tuple[Path, ...] | None = None
    """Files of the frames; None for a video."""

    def __iter__(self) -> Iterator[Frame]:
        return self._read_video() if self.photos is None else self._read_photos(self.photos)

    def _read_photos(self, photos: tuple[Path, ...]) -> Iterator[Frame]:
        for path in photos:
            try:
                frame = Frame(path.name, read_photo(path))
            except (PhotoError, OSError) as error:
                frame = Frame(path.name, None, str(error))
            yield frame

    def _read_video(self) -> Iterator[Frame]:
        capture = _open(self.path)
        try:
            number = 0
            while True:
                success, pixels = capture.read()  # (H, W, 3), BGR, rotated as the file says
                if not success:
                    return
                number += 1
                pixels = np.ascontiguousarray(pixels[..., ::-1])
                yield Frame(f"{number:06d}", Image.fromarray(pixels))
        finally:
            capture.release()


def open_frames(
    path: str | Path, fps: float | None = None, exclude: str | Path | None = None
) -> Frames:
    """The frames of a video, of a folder (its photos in natural order), or of one photo.

    fps: frames per second, instead of the video's, or of 25. exclude: see `data.find_photos`.
    Raises FileNotFoundError, VideoError for a video or folder without a frame that can be read, and
    data.PhotoError for a photo that cannot be read.
    """
    path = Path(path)
    if fps is not None and not (math.isfinite(fps) and fps > 0):
        raise VideoError(f"got {fps} frames a second, expected more than 0, as 25")
    if not path.exists():
        raise FileNotFoundError(
            f"{path}: no such file or folder, expected a video, a photo or a folder of photos; "
            "check the spelling"
        )
    if path.is_dir():
        photos = tuple(find_photos(path, exclude))
        if not photos:
            raise VideoError(
                f"{path}: got a folder without a photo, expected one photo for each frame; "
                "put them there, or name a video"
            )
        return Frames(path, fps or FPS, len(photos), photos)
    if path.suffix.lower() in VIDEO_NAMES:
        return _video(path, fps)
    if PHOTO_NAME.search(path.name):
        read_photo(path)
        return Frames(path, fps or FPS, 1, (path,))
    raise VideoError(
        f'{path}: got a file called "{path.suffix}", expected a video '
        f"({', '.join(VIDEO_NAMES)}), a photo, or a folder of photos; give it its right name, or "
        "convert it"
    )


class VideoWriter:
    """Writes photos of one size to a video file, which appears when the context is left.

    After an exception it holds the frames that were written before.
    """

    def __init__(self, path: str | Path, fps: float):
        """path: .mp4 or .webm, VideoError for other names. fps: frames per second."""
        self.path, self.fps, self.count = Path(path), fps, 0
        if self.path.suffix.lower() not in CODECS:
            raise VideoError(
                f'{path}: got a video to be called "{self.path.suffix}", expected '
                f"{' or '.join(CODECS)}; choose such a name"
            )
        self._part = self.path.with_name(f".{self.path.stem}.part{self.path.suffix}")
        self._writer: Any = None
        self._size = (0, 0)

    def write(self, photo: Image.Image) -> None:
        """Raises VideoError if the first photo had another size, and OSError if no video opens."""
        if self._writer is None:
            self._begin(photo.size)
        if photo.size != self._size:
            raise VideoError(
                f"got a frame of {photo.size}, expected {self._size} as the first; "
                "a video's frames are of one size"
            )
        pixels = np.asarray(photo.convert("RGB"))[..., ::-1]
        # Colours are stored for blocks of 2x2 pixels: an odd side would lose its last line.
        odd = [(0, side % 2) for side in pixels.shape[:2]]
        self._writer.write(np.ascontiguousarray(np.pad(pixels, [*odd, (0, 0)], mode="edge")))
        self.count += 1

    def _begin(self, size: tuple[int, int]) -> None:
        cv2 = opencv()

        self.path.parent.mkdir(parents=True, exist_ok=True)
        code = cv2.VideoWriter_fourcc(*CODECS[self.path.suffix.lower()])
        even = tuple(side + side % 2 for side in size)
        with _silent_opencv():
            self._writer = cv2.VideoWriter(str(self._part), code, self.fps, even)
        if not self._writer.isOpened():
            raise OSError(
                f"{self.path}: OpenCV could not begin this video; make sure that its folder can be "
                "written and that opencv-python has FFMPEG, or ask for pictures"
            )
        self._size = size

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(self, *_) -> None:
        if self._writer is not None:
            self._writer.release()
            if self._part.exists():
                os.replace(self._part, self.path)


def _video(path: Path, fps: float | None) -> Frames:
    cv2 = opencv()
    capture = _open(path)
    try:
        success, pixels = capture.read()
        own_fps, count = capture.get(cv2.CAP_PROP_FPS), capture.get(cv2.CAP_PROP_FRAME_COUNT)
    finally:
        capture.release()
    if not success:
        raise VideoError(
            f"{path}: got a video without a frame that can be read, expected at least one; "
            "copy or convert it again"
        )
    if min(pixels.shape[:2]) < MIN_SIDE:
        raise VideoError(
            f"{path}: got frames of {pixels.shape[1]}x{pixels.shape[0]} pixels, expected at least "
            f"{MIN_SIDE} on each side; use a larger video"
        )
    # Some containers state no rate, or an impossible one.
    own_fps = own_fps if math.isfinite(own_fps) and 0 < own_fps <= 1000 else FPS
    return Frames(path, fps or own_fps, int(count) if 0 < count < 1e9 else 0)


def _open(path: Path):
    cv2 = opencv()
    if path.stat().st_size == 0:
        raise VideoError(f"{path}: got an empty file, expected a video; copy it again")
    with _silent_opencv():
        # Other readers than FFMPEG take a name with "%" for that of many pictures.
        capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    if not capture.isOpened():
        raise VideoError(
            f"{path}: got a damaged video, or one that OpenCV cannot read; expected a whole one, "
            "as .mp4; copy or convert it again"
        )
    return capture


class _silent_opencv:  # noqa: N801
    """Silences OpenCV's log, as its errors are raised anyway, and restores its level."""

    def __enter__(self) -> None:
        cv2 = opencv()
        self._level = cv2.utils.logging.getLogLevel()
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)

    def __exit__(self, *_) -> None:
        cv2 = opencv()
        cv2.utils.logging.setLogLevel(self._level)
