"""Animated pictures (GIF, WebP, APNG, AVIF) as films, by Pillow."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from .film import TimedPhoto
from .frame_times import FrameTimes
from .photos import read_photo, to_rgb

ANIMATED_FORMATS = ("GIF", "WEBP", "PNG", "AVIF")
SHORTEST, INSTEAD = 0.01, 0.1
"""Seconds: browsers show a frame that is to last no longer than the one for the other."""


@dataclass(frozen=True)
class Animation:
    """A picture of several frames, which are `read` one at a time."""

    path: Path
    times: FrameTimes
    stated_rate = None
    sound = ""
    notes = ()

    def read(self) -> Iterator[TimedPhoto]:
        """The frames in their order, transparency over white."""
        with Image.open(self.path, formats=ANIMATED_FORMATS) as picture:
            for index, time in zip(_frames(picture), self.times.times, strict=True):
                picture.seek(index)
                yield TimedPhoto(time, to_rgb(picture.copy()))


def open_animation(path: Path) -> Animation | None:
    """The animation in a picture's file; None for a picture of one frame, or none at all.

    Raises data.PhotoError for a damaged picture.
    """
    try:
        with Image.open(path, formats=ANIMATED_FORMATS) as picture:
            if len(_frames(picture)) < 2:
                return None
    # What is wrong with a picture is said by whoever reads it as a photo.
    except Exception:
        return None
    read_photo(path)
    times, time = [], 0.0
    with Image.open(path, formats=ANIMATED_FORMATS) as picture:
        for index in _frames(picture):
            picture.seek(index)
            picture.load()  # of WebP, a frame's duration is known afterwards
            times.append(time)
            seconds = float(picture.info.get("duration") or 0) / 1000
            time += seconds if seconds > SHORTEST else INSTEAD
    return Animation(path, FrameTimes(times, time))


def _frames(picture: Any) -> range:
    """Numbers of the frames; that which stands in where no animation is shown is none."""
    return range(int(getattr(picture, "default_image", False)), getattr(picture, "n_frames", 1))
