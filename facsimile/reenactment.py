"""`Reenactment`: a source's face that follows a driver, drawn while it is asked for or saved.

Legend: N frames of a batch, C channels, R side of the image, K = 68 points.
"""

import contextlib
import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from facsimile import data, encoders
from facsimile.data.landmark_tracks import write_track
from facsimile.data.video import CODECS, VideoWriter
from facsimile.editing import Motion, morph
from facsimile.encoders.reenact import KEPT
from facsimile.stylegan import Generator, Latents

from . import pictures, reached
from .drivers import Film, Pose, Track, batches
from .result import write_json
from .scripted import Handmade
from .summary import read_json
from .unfinished import interruptible
from .workers import Line, ahead

SUMMARY = "summary.json"
Driver = Film | Track | Handmade
LISTED = 20
"""Frames without a face that summary.json names."""


@dataclass(frozen=True)
class Source:
    """The face that is to move."""

    name: str
    target: Tensor
    """(C, R, R) in [-1, 1]: the photo's face, or what given latents draw."""
    own: Tensor
    """(K, 2), its landmarks."""
    find: Callable[[], Latents | Tensor]
    """Gives `face`, which may take a while."""
    settings: dict
    """What decides that, beside the target."""

    @cached_property
    def face(self) -> Latents | Tensor:
        """What the encoder takes: latents, or to a naive one the image (1, C, R, R)."""
        return self.find()


@dataclass(frozen=True)
class Moved:
    """One frame."""

    image: Tensor
    """(C, R, R) in [-1, 1]."""
    landmarks: Tensor
    """(K, 2) that the face was told to take on."""
    pose: Pose
    reached: dict[str, float]
    """See `facsimile.reached`; empty where nothing is measured."""

    def beside(self) -> Image.Image:
        """Driver, landmarks, result."""
        side = self.image.shape[-1]
        drawing = data.draw_landmarks(self.landmarks[None], side, side)[0]
        shown = [drawing, self.image]
        if self.pose.picture is not None:
            shown = [data.resize(self.pose.picture[None], side)[0], *shown]
        return pictures.panels(shown)


@dataclass
class Reenactment:
    """Iterate for `Moved`, or `save`; either begins with the driver's first frame."""

    generator: Generator
    encoder: encoders.DifferenceEncoder | encoders.NaiveEncoder
    source: Source
    driver: Driver
    relative: bool
    smoothing: float
    """Seconds; see `editing.OneEuro`."""
    keep_own: bool
    """Whether the source's own landmarks leave its code as it is."""
    batch: int
    landmarker: data.Landmarker | None = None
    """Looks at the results and says how close they come; None: nobody does."""
    frames: int | None = None
    """Of a morph to the only pose of the driver."""
    settings: dict = field(default_factory=dict)
    """What else decides the result, for summary.json."""
    held: int = field(default=0, init=False)
    """Frames without a face in the last run, which show the pose before."""

    def __len__(self) -> int:
        """Frames; of a video as many as its header says, or 0."""
        return self.frames or self.driver.count

    @property
    def single(self) -> bool:
        return self.driver.single and not self.frames

    def __iter__(self) -> Iterator[Moved]:
        """The frames in their order; the driver is read ahead, and never more than it."""
        self.held = 0
        for poses in batches(self._poses(), self.batch):
            wanted = torch.stack([landmarks for landmarks, _ in poses])
            images, seen = self.draw(wanted), [{}] * len(poses)
            if self.landmarker is not None:
                seen = reached.reached(self.landmarker, images, wanted)
            for image, (landmarks, pose), close in zip(images.cpu(), poses, seen, strict=True):
                yield Moved(image, landmarks, pose, close)

    @torch.no_grad()
    def draw(self, landmarks: Tensor) -> Tensor:
        """The source with landmarks (N, K, 2) in pixels of R: (N, C, R, R) in [-1, 1]."""
        own = self.source.own[None] if self.keep_own else None
        face = self.source.face
        codes = encoders.reenact_codes(self.encoder, self.generator, face, landmarks, own)
        return codes.draw(self.generator).clamp(-1, 1)

    def _poses(self) -> Iterator[tuple[Tensor, Pose]]:
        source = self.source.own
        if self.frames:
            pose = next(iter(self.driver))
            target = self._motion()(pose.points)
            for index, landmarks in enumerate(morph(source, target, self.frames)):
                name = f"{index + 1:06d}"
                yield landmarks, Pose(name, pose.points, pose.raw, pose.picture, pose.error)
            self.held = 0 if pose.points is not None else self.frames
            return
        motion = self._motion()
        with contextlib.closing(ahead(iter(self.driver), 2 * self.batch)) as poses:
            for pose in poses:
                landmarks = motion(pose.points)
                self.held = motion.held
                yield landmarks, pose

    def _motion(self) -> Motion:
        return Motion(
            self.source.own,
            relative=self.relative,
            fps=self.driver.fps,
            seconds=0 if self.driver.single else self.smoothing,
        )

    # Files ----------------------------------------------------------------------------------------

    def done(
        self, out: str | Path, *, video: str | None = "mp4", pictures: bool | None = None
    ) -> bool:
        """Whether an earlier `save` to this folder, of the same and as now asked for, went through.

        A driver counts as the same while its path, size and time of change are.
        """
        said = read_json(Path(out) / SUMMARY)
        return said.get("stopped") is False and said["settings"] == self._settings(video, pictures)

    def save(
        self,
        out: str | Path,
        *,
        video: str | None = "mp4",
        pictures: bool | None = None,
        quiet: bool = True,
    ) -> dict:
        """Write a video, where `out` is called .mp4 or .webm; else a folder. Returns its summary.

        The folder has source.png and source.safetensors, reenacted.mp4 and side_by_side.mp4 (by
        `video`: "mp4", "webm", None), the same as pictures in folders (`pictures`; None: where
        there is no video), landmarks.npz, the driver's, which may drive another source, and
        summary.json, also with how close the results come (see `facsimile.reached`). A single pose
        gives reenacted.png and side_by_side.png.
        Raises ValueError where no frame has a face, OSError where `out` cannot be written, and
        KeyboardInterrupt after Ctrl-C, with all frames until then on disk.
        """
        face = self.source.face  # before anything is written, and timed
        settings = self._settings(video, pictures)
        out, began = Path(out), time.perf_counter()
        raw, names, problems, close = [], [], {}, []
        made: list[Path] = []
        whole = True
        with contextlib.ExitStack() as stack:
            write, made = self._writers(out, video, pictures, stack)
            stop = stack.enter_context(interruptible())
            line = stack.enter_context(Line(write, 1, 2 * self.batch))
            bar = tqdm(total=len(self) or None, unit="frame", disable=quiet)
            stack.callback(bar.close)
            with contextlib.closing(iter(self)) as moved:
                for one in moved:
                    names.append(one.pose.name)
                    raw.append(one.pose.raw)
                    close.append(one.reached)
                    if one.pose.points is None and len(problems) < LISTED:
                        problems[one.pose.name] = one.pose.error
                    line.put(one)
                    bar.update()
                    if stop.is_set():
                        whole = False
                        break
            for _ in line.rest():
                pass
        if whole and self.held == len(names):
            _remove(made)
            raise ValueError(self._faceless(len(names), problems))
        summary = self._summary(names, problems, time.perf_counter() - began, whole)
        summary["settings"] = settings
        if self.landmarker is not None:
            summary["reached"] = reached.summary(close, self.landmarker.name)
        if out.suffix.lower() not in CODECS:
            self._write_source(out, face)
            write_track(out / "landmarks.npz", torch.stack(raw), self.driver.fps, names)
            write_json(out / SUMMARY, summary)
        if not whole:
            raise KeyboardInterrupt
        return summary

    def _writers(
        self, out: Path, video: str | None, stills: bool | None, stack: contextlib.ExitStack
    ) -> tuple[Callable[[Moved], None], list[Path]]:
        """What writes a frame, and the files and folders that this makes."""
        if out.suffix.lower() in CODECS:
            only = stack.enter_context(VideoWriter(out, self.driver.fps))
            return (lambda one: only.write(data.to_pil(one.image))), [out]
        out.mkdir(parents=True, exist_ok=True)
        (out / SUMMARY).unlink(missing_ok=True)  # what it says is over from here on
        kinds = {"reenacted": _alone, "side_by_side": Moved.beside}
        if self.single:
            made = [out / f"{name}.png" for name in kinds]

            def write_one(one: Moved) -> None:
                for path, picture in zip(made, kinds.values(), strict=True):
                    picture(one).save(path)

            return write_one, made
        videos, folders, made = {}, {}, []
        for name in kinds:
            if video is not None:
                made.append(out / f"{name}.{video}")
                videos[name] = stack.enter_context(VideoWriter(made[-1], self.driver.fps))
            if stills or (stills is None and video is None):
                folders[name] = out / name
                shutil.rmtree(folders[name], ignore_errors=True)  # more frames of another driver
                folders[name].mkdir()
                made.append(folders[name])
        if not made:
            raise ValueError("neither video nor pictures are to be written; choose one of them")
        number = 0

        def write(one: Moved) -> None:
            nonlocal number
            number += 1
            for name, picture in kinds.items():
                drawn = picture(one)
                if name in videos:
                    videos[name].write(drawn)
                if name in folders:
                    pictures.save(drawn, folders[name] / f"{number:06d}.png")

        return write, made

    def _write_source(self, out: Path, face: Latents | Tensor) -> None:
        side, own = self.source.target.shape[-1], self.source.own[None]
        drawn = self.draw(own)[0].cpu()
        drawing = data.draw_landmarks(own, side, side)[0]
        pictures.panels([self.source.target, drawing, drawn]).save(out / "source.png")
        if isinstance(face, Latents):
            face.to("cpu").save(out / "source.safetensors", name=self.source.name)

    def _summary(self, names: list[str], problems: dict, seconds: float, whole: bool) -> dict:
        promised = 0 if self.frames else self.driver.count
        said = {
            "source": self.source.name,
            "driver": str(self.driver.path),
            "frames": len(names),
            "held": self.held,
            "frames_without_a_face": problems,
            "fps": self.driver.fps,
            "seconds": round(seconds, 3),
            "frames_per_second": round(len(names) / seconds, 2),
            "stopped": not whole,
        }
        if whole and len(names) < promised:
            said["ends_early"] = (
                f"the driver's header says {promised} frames, and {len(names)} could be read"
            )
        if isinstance(self.driver, Film):
            said["searches_for_the_face"] = self.driver.tracker.detections
        return said

    def _settings(self, video: str | None, stills: bool | None) -> dict:
        """All that decides what is written."""
        target = self.source.target.cpu().numpy().tobytes()
        found = {
            "relative": self.relative,
            "smoothing": self.smoothing,
            "keep_own": self.keep_own and KEPT,
            "frames": self.frames,
            "fps": self.driver.fps,
            "video": video,
            "pictures": stills,
            "source": self.source.settings | {"pixels": hashlib.sha256(target).hexdigest()[:16]},
            "driver": _stamp(self.driver),
            **self.settings,
        }
        return json.loads(json.dumps(found))

    def _faceless(self, count: int, problems: dict) -> str:
        first = next(iter(problems.values()), "")
        return (
            f"{self.driver.path}: got {count} frame{'s' * (count != 1)} without a face "
            f"({first}), expected one seen from the front; use another driver, or --no-align if "
            "its faces are aligned already"
        )


def _alone(one: Moved) -> Image.Image:
    return data.to_pil(one.image)


def _stamp(driver: Driver) -> list:
    """Its path, and of each file that is read when it was changed and how long it is."""
    photos = driver.frames.photos if isinstance(driver, Film) else None
    about = []
    for path in photos or (Path(driver.path),):
        # A motion is no file, and a frame that cannot be read counts as one without a face.
        known = path.stat() if path.exists() else None
        about.append([str(path), *((known.st_mtime_ns, known.st_size) if known else ())])
    return [str(driver.path), hashlib.sha256(json.dumps(about).encode()).hexdigest()[:16]]


def _remove(paths: list[Path]) -> None:
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
