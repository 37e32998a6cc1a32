"""Frames of a film, an animated picture, a folder of pictures or one photo, one at a time.

A frame is read when it is needed, so the memory does not grow.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from .animation import Animation, open_animation
from .film import Film, VideoError, open_film
from .frame_times import FPS, as_rate, at_rate
from .photo_files import PHOTO_NAME, find_photos
from .photos import PhotoError, read_photo
from .sound import Sound

VIDEO_NAMES = (
    *(".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi", ".ts", ".mts", ".m2ts", ".wmv", ".asf"),
    *(".3gp", ".3g2", ".flv", ".f4v", ".mpg", ".mpeg", ".vob", ".ogv", ".mxf"),
)
"""Other names are opened by their content."""


@dataclass(frozen=True)
class Frame:
    """One picture of a video or folder."""

    name: str
    photo: Image.Image | None
    """None if it could not be read."""
    error: str = ""
    """Why it could not be read."""
    repeated: bool = False
    """Whether the frame before is shown for longer."""


@dataclass(frozen=True)
class Frames:
    """Iterate for the `Frame`s, in their order; every iteration begins with the first.

    Those of a film come at a constant rate and follow its time stamps, see `frame_times.at_rate`.
    """

    path: Path
    fps: float
    count: int
    """Number of frames."""
    photos: tuple[Path, ...] | None = None
    """Files of the frames; None for a film."""
    film: Film | Animation | None = None
    rate_note: str = ""
    """Of a film: which rate this is, and why."""

    def __iter__(self) -> Iterator[Frame]:
        if self.film is not None:
            return self._read_film(self.film)
        return self._read_photos(self.photos or ())

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences on how the film was read."""
        return () if self.film is None else (self.rate_note, *self.film.notes)

    @property
    def sound(self) -> Sound | None:
        """The film's sound; None where there is none."""
        if not isinstance(self.film, Film) or not self.film.sound:
            return None
        return Sound(self.path, self.film.start, self.film.times.end, self.film.sound)

    def _read_photos(self, photos: tuple[Path, ...]) -> Iterator[Frame]:
        for path in photos:
            try:
                frame = Frame(path.name, read_photo(path))
            except (PhotoError, OSError) as error:
                frame = Frame(path.name, None, str(error))
            yield frame

    def _read_film(self, film: Film | Animation) -> Iterator[Frame]:
        ticks = at_rate(film.read(), as_rate(self.fps), film.times.end)
        for number, (frame, repeated) in enumerate(ticks, 1):
            yield Frame(f"{number:06d}", frame.photo, repeated=repeated)


def open_frames(
    path: str | Path, fps: float | None = None, exclude: str | Path | None = None
) -> Frames:
    """The frames of a film, of a folder (its photos in natural order), or of one photo.

    Animated pictures are films. fps: frames per second, instead of 25, or for a film instead of its
    own rate; its frames stay at their times. exclude: see `data.find_photos`.
    Raises FileNotFoundError, VideoError for a film or folder without a frame that can be read, and
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
    if PHOTO_NAME.search(path.name):
        animation = open_animation(path)
        if animation is not None:
            return _of_film(animation, fps)
        read_photo(path)
        return Frames(path, fps or FPS, 1, (path,))
    try:
        return _of_film(open_film(path), fps)
    except VideoError as error:
        if path.suffix.lower() in VIDEO_NAMES:
            raise
        raise VideoError(
            f'{path}: got a file called "{path.suffix}", expected a video '
            f"({', '.join(VIDEO_NAMES)}), a photo, or a folder of photos; give it its right name, "
            f"or convert it ({str(error).removeprefix(f'{path}: ')})"
        ) from error


def _of_film(film: Film | Animation, fps: float | None) -> Frames:
    times = film.times
    rate, is_own = times.rate(film.stated_rate)
    if fps is not None:
        rate, note = as_rate(fps), "as asked for; every frame stays at its time"
    elif is_own:
        note = "the film's own"
    else:
        note = "as the film's come at uneven times; every one stays at its time"
    note = f"{float(rate):.5g} frames/s, {note}"
    for begin, end in times.gaps():
        note += f"; from {begin:.2f} s to {end:.2f} s there is none, and the last one is held"
    return Frames(film.path, float(rate), times.ticks(rate), film=film, rate_note=note)
