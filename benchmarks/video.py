"""Reenactment by a video, from file to file: frames a second, and memory over its length.

Legend: T frames, R resolution of the generator's images.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import tyro
from PIL import Image

import facsimile
from benchmarks import report
from benchmarks.memory import resident
from facsimile import data
from facsimile.data.video import open_frames
from facsimile.data.video_writer import VideoWriter
from facsimile.reenactment import DriverFrame, VideoDriver
from facsimile.stylegan import Generator, spaces
from facsimile.stylegan.randomness import keyed_generator

FPS = 25.0
FACES = 4
"""Samples that the video interpolates, one after another and back to the first."""
SIZE = (480, 360)
"""Of the video, in pixels; the face takes two thirds of its height."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Make a video of faces, reenact a sample by it, and count the frames at both ends.

    Writes driver.mp4 and the files of facsimile reenact. Exits with status 1 if frames are lost, if
    the number of frames without a face is wrong, or if memory keeps growing.
    """

    frames: int = 200
    faceless: int = 10
    """Grey frames after a tenth of the video, before the marks."""
    marks: tuple[int, ...] = (50, 100, 150, 200)
    """Frames after which the resident memory is read."""
    limit: float = 20.0
    """MB of growth from the first mark to the last that are too much."""
    generator: str = "faces"
    """Name of a bundled generator, a file, or a folder with generator.safetensors."""
    encoders: tuple[Path, ...] = ()
    """Encoders, files or folders of runs, in the place of those beside the generator."""
    landmarks: str = "small"
    """auto, fan or small, see facsimile reenact."""
    align: bool = True
    """Detect the face in every frame; without, the frames are aligned faces."""
    seed: int = 0
    out: Path = Path("runs/video")
    device: str = "cpu"
    threads: int | None = None
    """CPU threads; None: PyTorch's choice."""


class WatchedDriver(VideoDriver):
    """A driver that records the resident memory while it is read."""

    def __init__(self, driver: VideoDriver, marks: tuple[int, ...]):
        super().__init__(driver.frames, driver.tracker, driver.resolution)
        self.marks, self.resident_mb = marks, {}

    def __iter__(self) -> Iterator[DriverFrame]:
        for number, frame in enumerate(super().__iter__(), 1):
            if number in self.marks:
                self.resident_mb[number] = resident()
            yield frame


def main(options: Options) -> None:
    report.prepare(options.device, options.threads)
    studio = facsimile.load(options.generator, device=options.device, encoders=options.encoders)
    driver = options.out / "driver.mp4"
    faces = make_frames(studio.generator, options)
    with VideoWriter(driver, FPS) as writer:
        for frame in faces:
            writer.write(frame)
    flags = {"landmarks": options.landmarks, "align": options.align}
    reenactment = studio.reenact(portrait(studio.generator, options), driver, **flags)
    watched = WatchedDriver(reenactment.driver, options.marks)
    summary = replace(reenactment, driver=watched).save(options.out, quiet=False)
    written = sum(1 for _ in open_frames(options.out / "reenacted.mp4"))
    rows = [(str(mark), f"{megabytes:.1f}") for mark, megabytes in watched.resident_mb.items()]
    print(report.table(("frames", "resident MB"), rows))
    growth = (
        watched.resident_mb[max(watched.resident_mb)]
        - watched.resident_mb[min(watched.resident_mb)]
    )
    print(
        f"{options.frames} frames in, {written} out; {options.faceless} without a face, "
        f"{summary['frames_without_a_face']} counted; {summary['frames_per_second']} frames/s, "
        f"{summary['face_detections']} face detections; growth after the first "
        f"{min(watched.resident_mb)}: {growth:.1f} MB, limit {options.limit:g} MB"
    )
    wrong = written != options.frames or summary["frames_without_a_face"] != options.faceless
    if wrong or growth > options.limit:
        sys.exit(1)


@torch.no_grad()
def sample(generator: Generator, seed: int, count: int) -> torch.Tensor:
    """Codes (count, num_ws, w_dim) of samples, truncated so that faces look to the front."""
    z = torch.randn(count, generator.z_dim, generator=keyed_generator("cpu", seed, "video"))
    ws = generator.broadcast_ws(generator.map(z.to(generator.device, generator.dtype)))
    mean = spaces.SPACES["w+"].initial_code(generator, 1, "mean")
    return mean.lerp(ws, 0.7)


def portrait(generator: Generator, options: Options) -> Image.Image:
    """The source: a sample that is not in the video."""
    with torch.no_grad():
        image = generator.synthesize(sample(generator, options.seed + 1, 1)).clamp(-1, 1)
    picture = data.to_pil(image[0])
    return on_grey(picture) if options.align else picture


def make_frames(generator: Generator, options: Options) -> Iterator[Image.Image]:
    """The video's frames."""
    ws = sample(generator, options.seed, FACES)
    first = options.frames // 10
    grey = range(first, first + options.faceless)
    for number in range(options.frames):
        at = FACES * number / options.frames
        whole, part = int(at), at - int(at)
        with torch.no_grad():
            code = ws[whole].lerp(ws[(whole + 1) % FACES], part)[None]
            image = generator.synthesize(code).clamp(-1, 1)
        image = torch.zeros_like(image) if number in grey else image
        picture = data.to_pil(image[0])
        yield on_grey(picture) if options.align else picture


def on_grey(picture: Image.Image) -> Image.Image:
    side = SIZE[1] * 2 // 3
    frame = Image.new("RGB", SIZE, (128, 128, 128))
    frame.paste(picture.resize((side, side)), ((SIZE[0] - side) // 2, (SIZE[1] - side) // 2))
    return frame


if __name__ == "__main__":
    main(tyro.cli(Options))
