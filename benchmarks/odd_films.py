"""A driver as people have them: does the result keep its time, its sound and its one person?

Legend: T frames of the driver, K = 68 points.
"""

import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
import tyro
from PIL import Image
from skimage.data import astronaut

import facsimile
from benchmarks import report
from benchmarks.video import WatchedDriver, on_grey, sample
from facsimile import data
from facsimile.data.landmark_tracks import read_track
from facsimile.stylegan import Generator

SIZE = (640, 360)
"""Of the driver, in pixels."""
PERSON = (90, 0, 390, 300)
"""The astronaut's head and shoulders in the photo: left, top, right, bottom."""
CENTRE, SWAY, PERIOD = (170, 200), 40, 2.5
"""Of her picture in the frame, in pixels; how far it sways, in pixels and seconds."""
OTHER = (340, 30, 300, 225)
"""Left, top, width and height of the other person's picture."""
STEP = Fraction(1, 90000)
"""Of the driver's clock, in seconds."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Make a driver with jittered stamps, a gap, sound and a second person; reenact by it; check.

    Prints PASS or FAIL for each claim. Exits with status 1 if one fails.
    """

    seconds: float = 10.0
    fps: float = 25.0
    """Of the driver, on average."""
    jitter: float = 0.012
    """Seconds by which stamps are off, at most."""
    gap: tuple[float, float] = (3.0, 5.0)
    """Seconds between which no frame comes."""
    other: tuple[float, float] = (1.0, 9.0)
    """Seconds between which the second person is there."""
    away: tuple[float, float] = (6.5, 7.5)
    """Seconds between which the first person is not there."""
    beeps: tuple[float, ...] = (0.5, 4.0, 8.0)
    """Seconds at which a tone of 0.2 s begins."""
    sound: str = "aac"
    """Encoder of the driver's sound: aac is copied, others are transcoded."""
    marks: tuple[int, ...] = (60, 120, 180, 240)
    """Frames of the last run after which the resident memory is read."""
    runs_before: int = 2
    """Runs before the one that is measured."""
    limit: float = 1 / 3
    """Of a frame's pixels: by so much memory may grow with each frame from the first mark to the
    last. The heap that PyTorch leaves grows a little, ever more slowly; frames that are held would
    take a whole one each."""
    generator: str = "faces"
    """Name of a bundled generator, a file, or a folder with generator.safetensors."""
    landmarks: str = "small"
    """auto, fan or small, see facsimile reenact."""
    seed: int = 0
    out: Path = Path("runs/odd_films")
    device: str = "cpu"
    threads: int | None = None
    """CPU threads; None: PyTorch's choice."""


def main(options: Options) -> None:
    report.prepare(options.device, options.threads)
    studio = facsimile.load(options.generator, device=options.device)
    source, other = (on_grey(face) for face in sample_faces(studio.generator, options.seed))
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / ("driver.mp4" if options.sound == "aac" else "driver.mkv")
    times = stamps(options)
    write_driver(path, times, other, options)
    reenactment = studio.reenact(source, path, landmarks=options.landmarks, source_steps=0)
    for _ in range(options.runs_before):  # fill the caches of PyTorch, and the heap
        reenactment.save(options.out / "before", quiet=False)
    watched = WatchedDriver(reenactment.driver, options.marks)
    summary = replace(reenactment, driver=watched).save(options.out, quiet=False)
    for note in [*summary["driver_notes"], f"sound: {summary.get('sound', 'none')}"]:
        print(note)
    checks = Checks(path, options.out, times, summary, watched.resident_mb, options)
    results = [(claim, *check()) for claim, check in checks.all()]
    for claim, passed, measured in results:
        print(f"{'PASS' if passed else 'FAIL'}  {claim}: {measured}")
    print(report.machine(options.device))
    if not all(passed for _, passed, _ in results):
        sys.exit(1)


@torch.no_grad()
def sample_faces(generator: Generator, seed: int) -> list[Image.Image]:
    """Two aligned faces of nobody: the source, and the second person of the driver."""
    images = generator.synthesize(sample(generator, seed + 1, 2)).clamp(-1, 1)
    return [data.to_pil(image) for image in images]


def stamps(options: Options) -> np.ndarray:
    """(T,), when the driver's frames come, in seconds."""
    count = round(options.seconds * options.fps)
    moved = np.random.default_rng(options.seed).uniform(-options.jitter, options.jitter, count)
    times = np.arange(count) / options.fps + moved
    times = np.sort(times - times[0])
    return times[(times < options.gap[0]) | (times >= options.gap[1])]


def position(time: float) -> tuple[float, float]:
    """The middle of the first person's picture, in pixels of the driver."""
    angle = 2 * math.pi * time / PERIOD
    return CENTRE[0] + SWAY * math.sin(angle), CENTRE[1] + SWAY / 4 * math.cos(angle)


def frame_at(time: float, person: Image.Image, other: Image.Image, options: Options) -> Image.Image:
    """What the driver shows: a person who sways, nods a little and leaves; and another."""
    frame = Image.new("RGB", SIZE, (120, 120, 120))
    if options.other[0] <= time < options.other[1]:
        left, top, width, height = OTHER
        frame.paste(other.resize((width, height)), (left, top))
    if not options.away[0] <= time < options.away[1]:
        x, y = position(time)
        side = 280
        stretch = 1 + 0.04 * math.sin(2 * math.pi * time / 0.8)
        picture = person.resize((side, round(side * stretch)), Image.Resampling.BICUBIC)
        frame.paste(picture, (round(x - side / 2), round(y - picture.height / 2)))
    return frame


def write_driver(path: Path, times: np.ndarray, other: Image.Image, options: Options) -> None:
    person = Image.fromarray(astronaut()).crop(PERSON)
    with av.open(str(path), "w") as output:
        video = output.add_stream("libx264", rate=90000)
        video.width, video.height, video.pix_fmt = *SIZE, "yuv420p"
        video.codec_context.time_base = STEP
        audio = output.add_stream(options.sound, rate=48000, layout="mono")
        for time in times:
            picture = frame_at(float(time), person, other, options)
            frame = av.VideoFrame.from_image(picture).reformat(format="yuv420p")
            frame.pts, frame.time_base = round(time / STEP), STEP
            output.mux(video.encode(frame))
        output.mux(video.encode(None))
        _write_sound(output, audio, options)


def _write_sound(output: av.container.OutputContainer, audio: av.AudioStream, options: Options):
    time = np.arange(round(48000 * options.seconds)) / 48000
    loud = np.zeros(len(time), bool)
    for begin in options.beeps:
        loud |= (time >= begin) & (time < begin + 0.2)
    samples = np.where(loud, 0.5 * np.sin(2 * np.pi * 600 * time), 0).astype(np.float32)
    size = audio.codec_context.frame_size or 1024
    resampler = av.AudioResampler(audio.codec_context.format, "mono", 48000)
    for first in range(0, len(samples), size):
        frame = av.AudioFrame.from_ndarray(samples[None, first : first + size], "fltp", "mono")
        frame.sample_rate, frame.pts, frame.time_base = 48000, first, Fraction(1, 48000)
        for part in resampler.resample(frame):
            output.mux(audio.encode(part))
    output.mux(audio.encode(None))


@dataclass(frozen=True)
class Checks:
    """What must hold of a result, measured from its files."""

    driver: Path
    out: Path
    times: np.ndarray
    summary: dict
    resident_mb: dict[int, float]
    options: Options

    def all(self) -> list[tuple[str, Callable[[], tuple[bool, str]]]]:
        return [
            ("the result is as long as the driver, to 20 ms", self.length),
            ("every frame is within one frame of its time", self.frame_times),
            ("in the gap the last frame is held", self.gap),
            ("the sound is in step, to 20 ms", self.sound),
            ("one person throughout", self.person),
            ("frames without the person are counted", self.counts),
            ("no frames are held in memory", self.memory),
        ]

    @property
    def fps(self) -> float:
        return float(self.summary["fps"])

    def _points(self) -> np.ndarray:
        """(frames, 2), the middle of the landmarks in each frame of the result, NaN without."""
        landmarks, _ = read_track(self.out / "landmarks.npz")
        return landmarks.numpy().mean(1)

    def _shown_time(self, tick: int) -> float:
        """The time of the driver's newest frame at a frame of the result, or the nearest to it."""
        at = tick / self.fps
        before = self.times[self.times <= at + 0.5 / self.fps]
        return float(before[-1]) if len(before) else 0.0

    def length(self) -> tuple[bool, str]:
        ends = [_end(self.driver), _end(self.out / "reenacted.mp4")]
        off = abs(ends[0] - ends[1])
        return off <= 0.02, f"{ends[0]:.3f} s and {ends[1]:.3f} s, {1000 * off:.0f} ms"

    def frame_times(self) -> tuple[bool, str]:
        """By where the person is: the best time around each frame's, from her known position."""
        points = self._points()
        ticks = [k for k in range(len(points)) if np.isfinite(points[k]).all()]
        offset = np.median([points[k, 0] - position(self._shown_time(k))[0] for k in ticks])
        worst = 0.0
        for tick in ticks:
            at = self._shown_time(tick)
            candidates = at + np.linspace(-4, 4, 161) / self.fps
            errors = [abs(position(t)[0] + offset - points[tick, 0]) for t in candidates]
            speed = abs(position(at + 0.01)[0] - position(at - 0.01)[0]) / 0.02
            if speed > SWAY:  # where she turns, her position says little of the time
                worst = max(worst, abs(candidates[int(np.argmin(errors))] - at))
        measured = f"{1000 * worst:.0f} ms at most, a frame is {1000 / self.fps:.0f} ms"
        return worst <= 1 / self.fps, measured

    def gap(self) -> tuple[bool, str]:
        frames = [round(second * self.fps) for second in self.options.gap]
        points = self._points()[frames[0] + 2 : frames[1] - 2]
        moved = float(np.abs(points - points[0]).max())
        return moved == 0, f"{len(points)} frames, the landmarks move by {moved:.2f} pixels"

    def sound(self) -> tuple[bool, str]:
        begins = _onsets(self.out / "reenacted.mp4")
        if len(begins) != len(self.options.beeps):
            return False, f"{len(begins)} tones of {len(self.options.beeps)}"
        off = max(abs(a - b) for a, b in zip(begins, self.options.beeps, strict=True))
        return off <= 0.02, f"{len(begins)} tones, {1000 * off:.1f} ms off at most"

    def person(self) -> tuple[bool, str]:
        points = self._points()
        other = (points[:, 0] > SIZE[0] * 0.6).sum()
        known = np.isfinite(points[:, 0]).sum()
        return other == 0, f"{known} frames of the first person, {other} of the other"

    def counts(self) -> tuple[bool, str]:
        away = self.options.away
        expected = round((away[1] - away[0]) * self.fps)
        counted = self.summary["frames_of_others"]
        return abs(counted - expected) <= 2, f"{counted}, expected {expected}"

    def memory(self) -> tuple[bool, str]:
        values = [self.resident_mb[mark] for mark in sorted(self.resident_mb)]
        frames = max(self.resident_mb) - min(self.resident_mb)
        growth = (values[-1] - values[0]) / frames / (3 * SIZE[0] * SIZE[1] / 1e6)
        marks = ", ".join(f"{value:.0f}" for value in values)
        return growth < self.options.limit, f"{growth:.2f} of a frame's pixels ({marks} MB)"


def _end(path: Path) -> float:
    with av.open(str(path)) as film:
        return film.duration / 1e6


def _loudness(path: Path) -> Iterator[tuple[float, float]]:
    """(seconds, loudness) of every 5 ms of a film's sound."""
    with av.open(str(path)) as film:
        resampler = av.AudioResampler("flt", "mono", 48000)
        for decoded in film.decode(film.streams.audio[0]):
            for frame in resampler.resample(decoded):
                samples = np.abs(frame.to_ndarray()).reshape(-1)[: frame.samples]
                for first in range(0, len(samples), 240):
                    yield frame.time + first / 48000, float(samples[first : first + 240].max())


def _onsets(path: Path) -> list[float]:
    begins, last = [], -1.0
    for time, loudness in _loudness(path):
        if loudness > 0.2:
            if time - last > 0.1:
                begins.append(time)
            last = time
    return begins


if __name__ == "__main__":
    main(tyro.cli(Options))
