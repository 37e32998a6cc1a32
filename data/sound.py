"""The sound of one film in another: its packets as they are, or encoded anew.

Times are in seconds; the other film's time 0 is at `Sound.start` of the first one's clock.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from importlib import import_module
from pathlib import Path
from typing import Any

from .film_formats import FORMATS

COPIED = {".mp4": ("aac", "mp3"), ".webm": ("opus", "vorbis")}
"""Name of a film -> codecs that its players know."""
ENCODERS = {".mp4": "aac", ".webm": "libopus"}
"""Name of a film -> what other sound is encoded by."""
USUAL_RATE, KEPT_RATES = 48000, (48000, 44100, 32000, 24000, 16000)
"""Hz. AAC keeps these; other sound gets the first."""
SLACK = 0.1
"""Seconds by which a film that was written may be shorter than the one whose sound it has."""
FRAME = 1024
"""Samples that an encoder gets at once, unless it says so itself."""


@dataclass(frozen=True)
class Sound:
    """The sound of a film."""

    path: Path
    start: float
    """The film's beginning by the file's own clock, in seconds."""
    end: float
    """When the film's last frame ends; sound that goes on after it belongs to all of its frames."""
    codec: str

    def is_copied(self, suffix: str) -> bool:
        """Into a film of this name, ".mp4" or ".webm"; else it is encoded anew."""
        return self.codec in COPIED[suffix]

    def note(self, suffix: str) -> str:
        """What becomes of it, in words."""
        if self.is_copied(suffix):
            return f"{self.codec}, copied"
        return f"{self.codec}, transcoded to {ENCODERS[suffix].removeprefix('lib')}"


class SoundWriter:
    """Writes a film's sound into a container beside pictures, a little at a time."""

    def __init__(self, sound: Sound, output: Any, suffix: str):
        """output: a container whose streams are not written yet. suffix: its name's, ".mp4" or
        ".webm".
        """
        self._av = import_module("av")
        self._sound, self._output = sound, output
        self._file = sound.path.open("rb")
        self._input = self._av.open(
            self._file, container_options={"format_whitelist": ",".join(FORMATS)}
        )
        self._source = self._input.streams.best("audio")
        name, context = ENCODERS[suffix], self._source.codec_context
        if sound.is_copied(suffix):
            self._target = output.add_stream_from_template(self._source)
            self._packets = self._copied()
        else:
            keeps = name == "aac" and context.sample_rate in KEPT_RATES
            self._target = output.add_stream(
                name,
                rate=context.sample_rate if keeps else USUAL_RATE,
                layout="mono" if context.layout.nb_channels == 1 else "stereo",
            )
            self._packets = self._encoded()
        self._next: tuple[float, Any] | None = None

    def write_until(self, seconds: float | Fraction) -> None:
        """All that begins before this time of the film."""
        while True:
            if self._next is None:
                self._next = next(self._packets, None)
            if self._next is None or self._next[0] >= seconds:
                return
            self._output.mux(self._next[1])
            self._next = None

    def close(self, seconds: float | Fraction) -> None:
        """Write all up to this time, and what is after the film's last frame if that is there."""
        self.write_until(float("inf") if seconds >= self._sound.end - SLACK else seconds)
        self._input.close()
        self._file.close()

    def _demuxed(self) -> Iterator[Any]:
        """Packets by the result's clock; up to the end or to what is damaged."""
        packets = self._input.demux(self._source)
        while True:
            try:
                packet = next(packets, None)
            except self._av.FFmpegError:
                return
            if packet is None:
                return
            if packet.size and packet.pts is not None:
                shift = round(Fraction(self._sound.start) / packet.time_base)
                packet.pts -= shift
                packet.dts = packet.pts
                yield packet

    def _copied(self) -> Iterator[tuple[float, Any]]:
        for packet in self._demuxed():
            if packet.pts + (packet.duration or 0) > 0 and not packet.is_discard:
                packet.stream = self._target
                yield float(packet.pts * packet.time_base), packet

    def _encoded(self) -> Iterator[tuple[float, Any]]:
        """Silence where the film has none, so that what follows is in step."""
        graph = None
        for packet in itertools.chain(self._demuxed(), [None]):
            try:
                frames = self._source.decode(packet)
            except self._av.FFmpegError:
                frames = []
            for frame in frames:
                graph = graph or self._graph(frame)
                graph.push(frame)
                yield from self._pulled(graph)
        if graph is not None:
            graph.push(None)
            yield from self._pulled(graph)
            yield from _timed(self._target.encode(None))

    def _pulled(self, graph: Any) -> Iterator[tuple[float, Any]]:
        while True:
            try:
                frame = graph.pull()
            except (self._av.BlockingIOError, self._av.EOFError):
                return
            yield from _timed(self._target.encode(frame))

    def _graph(self, frame: Any) -> Any:
        encoder = self._target.codec_context
        self._output.start_encoding()  # opens the encoder, which then knows its frames' size
        graph = self._av.filter.Graph()
        nodes = [
            graph.add_abuffer(
                sample_rate=frame.sample_rate,
                format=frame.format.name,
                layout=frame.layout.name,
                time_base=frame.time_base,
            ),
            graph.add("aresample", "async=1:first_pts=0"),
            graph.add(
                "aformat",
                f"sample_fmts={encoder.format.name}:sample_rates={encoder.sample_rate}:"
                f"channel_layouts={encoder.layout.name}",
            ),
            graph.add("asetnsamples", f"n={encoder.frame_size or FRAME}:p=0"),
            graph.add("abuffersink"),
        ]
        graph.link_nodes(*nodes).configure()
        return graph


def _timed(packets: list[Any]) -> Iterator[tuple[float, Any]]:
    for packet in packets:
        yield float((packet.pts or 0) * packet.time_base), packet
