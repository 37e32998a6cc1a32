"""Films by PyAV: which frames there are and when, and their pictures one at a time.

Legend: T frames. A film begins, at time 0, with its first frame, or with its sound if that comes
well before. PyAV brings FFmpeg, and is imported when a film is opened.
"""

import itertools
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from importlib import import_module
from pathlib import Path
from statistics import median
from types import ModuleType
from typing import Any

from PIL import Image

from .film_formats import FORMATS
from .film_pictures import FilmPictures
from .frame_times import FPS, FrameTimes
from .photos import MIN_SIDE

MISSING = 0.2
"""Seconds by which a film may be shorter than its header says; some containers round."""
EARLY_SOUND = 0.1
"""Seconds by which sound comes before the first frame, for the film to begin with it. Less is the
delay of an encoder."""
# FFmpeg's own decoders of these leave transparency out.
ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}


class VideoError(ValueError):
    """A video that cannot be used; the message says what was got, what was expected, what to do."""


@dataclass(frozen=True)
class TimedPhoto:
    """A frame with its own time."""

    time: float
    """Seconds from the film's beginning."""
    photo: Image.Image


@dataclass(frozen=True)
class Film:
    """A film whose frames are `read` one at a time; it is open only meanwhile."""

    path: Path
    times: FrameTimes
    """By the stamps of the file, of which frames that cannot be decoded are a part."""
    stated_rate: Fraction | None
    """Frames a second, by the header."""
    start: float
    """The film's beginning by the file's own clock, in seconds."""
    sound: str
    """Codec of the sound; "" for none that can be read."""
    notes: tuple[str, ...]
    """Sentences on what was done for its pictures, and on what it lacks."""
    damaged: list[float] = field(default_factory=list, compare=False)
    """Times of what could not be decoded, or not without errors, when the film was last read."""

    def read(self) -> Iterator[TimedPhoto]:
        """The frames in the order of their times."""
        self.damaged.clear()
        with _opened(self.path) as (container, stream):
            decoder = _decoder(stream)
            pictures = FilmPictures(stream, decoder)
            for time, photo in _decode(container, stream, decoder, pictures, self.damaged):
                yield TimedPhoto(time - self.start, photo)


def pyav() -> ModuleType:
    """PyAV, which is slow to import; VideoError if it is not installed."""
    try:
        return import_module("av")
    except ImportError as error:
        raise VideoError(
            "videos need PyAV, which is not installed; run pip install 'facsimile[video]', or "
            "give a folder of pictures"
        ) from error


def open_film(path: Path) -> Film:
    """The film at a path, whose name may be any. Raises OSError, or VideoError for what is none,
    is damaged, or is in a codec that cannot be read.
    """
    with _opened(path) as (container, stream):
        decoder = _decoder(stream)
        pictures = FilmPictures(stream, decoder)
        first = next(_decode(container, stream, decoder, pictures, []), None)
        if first is None:
            raise VideoError(
                f"{path}: got a video without a frame that can be read, expected at least one; "
                "copy or convert it again"
            )
        if min(first[1].size) < MIN_SIDE:
            width, height = first[1].size
            raise VideoError(
                f"{path}: got frames of {width}x{height} pixels, expected at least {MIN_SIDE} on "
                "each side; use a larger video"
            )
    notes = tuple(pictures.notes)
    with _opened(path) as (container, stream):
        sound = container.streams.best("audio")
        times, sound_start = _scan(container, stream, sound)
        stated = stream.average_rate
        notes += _cut_short(stream, times)
        codec = _sound_codec(sound)
        if sound is not None and not codec:
            notes += ("without its sound, whose codec PyAV does not read",)
    start = times.times[0] if times.times else first[0]
    if sound_start is not None and sound_start < start - EARLY_SOUND:
        start = sound_start
    shifted = FrameTimes([time - start for time in times.times] or [0.0], times.end - start)
    return Film(path, shifted, stated, start, codec, notes)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any]]:
    """The container and its film; VideoError with the codec's name where that cannot be read."""
    av = pyav()
    if path.stat().st_size == 0:
        raise VideoError(f"{path}: got an empty file, expected a video; copy it again")
    # A file object, as FFmpeg takes "%" and ":" in a name for more than letters.
    with path.open("rb") as file:
        try:
            container = av.open(file, container_options={"format_whitelist": ",".join(FORMATS)})
        except (av.FFmpegError, ValueError) as error:
            raise VideoError(
                f"{path}: got a damaged video, or a file in a format that PyAV does not read; "
                "expected a whole video, as .mp4; copy or convert it again"
            ) from error
        with container:
            yield container, _film_stream(av, container, path)


def _film_stream(av: ModuleType, container: Any, path: Path) -> Any:
    streams = [
        stream
        for stream in container.streams.video
        if not stream.disposition & av.stream.Disposition.attached_pic  # the cover of a song
    ]
    if not streams:
        kinds = sorted({stream.type for stream in container.streams})
        raise VideoError(
            f"{path}: got a file of {' and '.join(kinds) or 'nothing'}, expected a video; "
            "name another file"
        )
    readable = [stream for stream in streams if stream.codec_context is not None]
    if not readable:
        raise VideoError(
            f'{path}: got a video in the codec "{_codec_name(av, container)}", which PyAV does not '
            "read; convert it to H.264, for example with: ffmpeg -i IN -c:v libx264 OUT.mp4"
        )
    stream = container.streams.best("video")
    stream = stream if stream in readable else readable[0]
    stream.thread_type = "AUTO"
    return stream


def _codec_name(av: ModuleType, container: Any) -> str:
    """Of a film without a decoder. FFmpeg names it nowhere but in its report on the container."""
    level = av.logging.get_level()
    av.logging.set_level(av.logging.INFO)
    try:
        report = container.dumps_format()
    finally:
        av.logging.set_level(level)
    matched = re.search(r"Video: (\w+)[^,]*?(?:\((\w{4}) / |,|$)", report)
    name, tag = matched.groups() if matched else ("unknown", None)
    return tag if name == "none" and tag else name


def _sound_codec(sound: Any) -> str:
    context = None if sound is None else sound.codec_context
    return context.codec.canonical_name if context is not None and context.sample_rate else ""


def _scan(container: Any, stream: Any, sound: Any) -> tuple[FrameTimes, float | None]:
    """The times of all frames by the file's clock, and the first of the sound; none is decoded."""
    times, sound_start = [], None
    last, last_length = -math.inf, 0.0
    for packet in _packets(container, [stream] if sound is None else [stream, sound]):
        stamp = packet.dts if packet.pts is None else packet.pts
        if stamp is None or packet.is_discard:
            continue
        seconds = float(stamp * packet.time_base)
        if packet.stream is not stream:
            sound_start = seconds if sound_start is None else sound_start
            continue
        times.append(seconds)
        if seconds > last:
            last, last_length = seconds, float((packet.duration or 0) * packet.time_base)
    times.sort()
    steps = [b - a for a, b in itertools.pairwise(times) if b > a]
    typical = median(steps) if steps else 1 / float(stream.guessed_rate or FPS)
    # Some containers state no duration of the last frame, others an odd one.
    length = last_length if typical / 2 <= last_length <= 2 * typical else typical
    return FrameTimes(times, times[-1] + length if times else 0.0), sound_start


def _cut_short(stream: Any, times: FrameTimes) -> tuple[str, ...]:
    """A sentence on a film whose header says that it is longer than what can be read."""
    if not stream.duration or not times.times:
        return ()
    stated, readable = float(stream.duration * stream.time_base), times.end - times.times[0]
    if readable > stated - max(MISSING, 2 / float(stream.guessed_rate or FPS)):
        return ()
    return (f"cut short: its header says {stated:.2f} s, and {readable:.2f} s can be read",)


def _packets(container: Any, streams: list[Any]) -> Iterator[Any]:
    """Up to the end, or to what is damaged."""
    av = pyav()
    packets = container.demux(*streams)
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError:
            return
        if packet is None:
            return
        if packet.size:
            yield packet


def _decode(
    container: Any, stream: Any, decoder: Any, pictures: FilmPictures, damaged: list[float]
) -> Iterator[tuple[float, Image.Image]]:
    """(time by the file's clock, picture) of every frame. To `damaged` go the times of packets that
    cannot be decoded, and of frames that the decoder says have errors."""
    av = pyav()
    step = 1 / float(stream.guessed_rate or stream.average_rate or FPS)
    last = -step
    for packet in itertools.chain(_packets(container, [stream]), [None]):
        try:
            frames = decoder.decode(packet)
        except av.FFmpegError:
            frames = []
            if packet is not None:
                damaged.append(float((packet.pts or packet.dts or 0) * packet.time_base))
        damaged += [frame.time or 0.0 for frame in frames if frame.is_corrupt]
        for frame in [*frames, *([None] if packet is None else [])]:
            for time, photo in pictures(frame):
                last = last + step if time is None else time
                yield last, photo


def _decoder(stream: Any) -> Any:
    """The film's decoder, one that keeps transparency where the film has it."""
    av = pyav()
    name = ALPHA_DECODERS.get(stream.codec_context.codec.canonical_name, "")
    if stream.metadata.get("alpha_mode") != "1" or name not in av.codecs_available:
        return stream.codec_context
    decoder = av.CodecContext.create(name, "r")
    decoder.extradata = stream.codec_context.extradata
    return decoder
