"""A folder of photos as a job: skips what is done, resumes what was interrupted, lists failures.

Every photo has a folder of its own in `out`, which appears whole. The batch in progress is stored
in `out/.resume`, so that the same command continues where it stopped. While a batch is computed,
the next photos are read and the last results are written.
"""

import hashlib
import os
import re
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from facsimile.data import PhotoError
from facsimile.refine import NOT_FINITE
from facsimile.training.signals import interruptible

from . import summary
from .inputs import path_key, path_keys, unique_name
from .inversion import Inverter
from .json_files import read_json
from .result import SCORES, Result
from .resume import ProgressCallback, ResumeFile
from .targets import TargetReader
from .workers import OrderedWorkers

WRITERS = min(4, os.cpu_count() or 1)
"""Threads that write results: compressing pictures takes as long as a small network."""
FACE_NAME = re.compile(r"-face\d+$")
"""Names of the further faces of a photo, see `_face_names`; no photo may have one."""


@dataclass
class Item:
    """One face to invert."""

    name: str
    photo: str
    """Name of its photo's first face."""
    source: Path
    digest: str
    """Of the photo's bytes."""
    faces: int
    """Number of faces that were taken from the photo."""
    target: Tensor
    """(C, R, R) in [-1, 1]."""


@dataclass
class Read:
    """The outcome of reading a photo."""

    photo: Path
    items: list[Item]
    """Its faces that are still to be inverted."""
    done: list[str] = field(default_factory=list)
    """Its faces that an earlier run has finished."""
    error: Exception | None = None


@dataclass
class Saved:
    """The outcome of writing a face."""

    item: Item
    written: bool
    reason: str = ""
    """What is wrong with the result."""


@dataclass
class Job:
    """Inverts photos by one plan. After `run`, `done`, `skipped` and `failed` list every photo."""

    inverter: Inverter
    reader: TargetReader
    photos: list[Path]
    out: Path
    batch: int = 8
    """Faces inverted at once."""
    done: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    """Photo -> reason."""
    names: dict[Path, str] = field(default_factory=dict)
    """Photo -> name of the folder of its first face."""

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise ValueError(f"batch is {self.batch}; it must be at least 1")
        self.plan = self.inverter.plan
        self._plan_record = self.plan.to_dict()

    def run(self, *, quiet: bool = False) -> None:
        """Invert every photo; quiet: without a progress bar.

        Raises OSError if `out` cannot be written, and KeyboardInterrupt after Ctrl-C, with all
        finished results on disk.
        """
        self.out.mkdir(parents=True, exist_ok=True)
        _check_writable(self.out)
        self.names, batch = self._folder_names(), self.batch
        unit = "step" if self.plan.steps else "face"
        bar = tqdm(total=len(self.photos) * self._steps, unit=unit, disable=quiet, smoothing=0.05)
        with interruptible() as stop:
            try:
                # One thread reads: Pillow's limit of size lets no two decode at once.
                with (
                    OrderedWorkers(self._read, 1, batch) as reader,
                    OrderedWorkers(self._save, WRITERS, batch) as writers,
                ):
                    try:
                        for items in self._batches(reader, bar, stop):
                            self._invert(items, writers, bar, stop)
                            if stop.is_set():
                                raise KeyboardInterrupt
                    finally:
                        self._record_saved(writers.drain())
                ResumeFile.clear(self.out)
            finally:
                bar.close()
                self._summarise()

    @property
    def _steps(self) -> int:
        """What a face counts in the progress bar."""
        return self.plan.steps or 1

    # Names ----------------------------------------------------------------------------------------

    def _folder_names(self) -> dict[Path, str]:
        """A folder name for each photo: its stem, with a number if two photos share one.

        A folder that an earlier run filled from the same photo keeps its name.
        """
        records = [read_json(path) for path in sorted(self.out.glob(f"*/{SCORES}"))]
        names_of_sources = {record.get("source"): record.get("photo") for record in records}
        taken = path_keys(self.out.iterdir())
        names = {}
        for photo in self.photos:
            name = names_of_sources.get(str(photo.resolve()))
            if name is None:
                stem = photo.stem
                if self.plan.face == "all" and FACE_NAME.search(stem):
                    stem += "-photo"
                name = unique_name(stem, self.out, taken, suffix="")
            taken.add(path_key(self.out / name))
            names[photo] = name
        return names

    # Reading --------------------------------------------------------------------------------------

    def _batches(
        self,
        reader: OrderedWorkers[Read],
        bar: tqdm,
        stop: threading.Event,
    ) -> Iterator[list[Item]]:
        """Faces that are still to be inverted, `batch` at a time."""
        waiting: list[Item] = []
        bar.set_description("reading", refresh=False)
        for read in self._reads(reader):
            if stop.is_set():
                raise KeyboardInterrupt
            self.skipped += read.done
            if read.error is not None:
                self._fail(read.photo, read.error)
            bar.total += (len(read.items) - 1) * self._steps
            waiting += read.items
            while len(waiting) >= self.batch:
                yield waiting[: self.batch]
                waiting = waiting[self.batch :]
        if waiting:
            yield waiting

    def _reads(self, reader: OrderedWorkers[Read]) -> Iterator[Read]:
        for photo in self.photos:
            yield from reader.put(photo, self.names[photo])
        yield from reader.drain()

    def _read(self, photo: Path, name: str) -> Read:
        try:
            return self._faces(photo, name)
        except (PhotoError, OSError) as error:
            return Read(photo, [], error=error)

    def _faces(self, photo: Path, name: str) -> Read:
        try:
            digest = hashlib.sha256(photo.read_bytes()).hexdigest()[:16]
        except OSError as error:
            raise PhotoError(
                f"{photo}: cannot be read ({error.strerror}); check its permissions"
            ) from error
        record = self._finished_record(name, digest)
        faces = _face_names(name, record.get("faces", 1))
        if record and all(self._finished_record(face, digest) for face in faces):
            return Read(photo, [], faces)
        targets = self.reader.read(photo, align=self.plan.align, face=self.plan.face)
        faces = _face_names(name, len(targets))
        items = [
            Item(face, name, photo, digest, len(targets), target)
            for face, target in zip(faces, targets, strict=True)
        ]
        return Read(photo, items)

    def _finished_record(self, name: str, digest: str) -> dict:
        """scores.json of a finished face; {} unless it was made of these bytes by this plan."""
        record = read_json(self.out / name / SCORES)
        same = record.get("digest") == digest and self.plan.gives_same_result(
            record.get("plan", {})
        )
        return record if same and record.get("status") != NOT_FINITE else {}

    # One batch ------------------------------------------------------------------------------------

    def _invert(
        self, items: list[Item], writers: OrderedWorkers[Saved], bar: tqdm, stop: threading.Event
    ) -> None:
        names = [item.name for item in items]
        faces = [(item.name, item.digest) for item in items]
        resume_file = ResumeFile(self.out, faces, self.plan.digest)
        state, steps_done = resume_file.load(self.inverter.generator.device)
        callback = ProgressCallback(bar, resume_file, stop, names, steps_done)
        targets = torch.stack([item.target for item in items])
        result = self.inverter.invert(targets, names, callback=callback, state=state)
        callback.finish(len(items) * self._steps)
        for index, item in enumerate(items):
            self._record_saved(writers.put(result, index, item))

    def _save(self, result: Result, index: int, item: Item) -> Saved:
        extra = {
            "photo": item.photo,
            "source": str(item.source.resolve()),
            "digest": item.digest,
            "faces": item.faces,
        }
        try:
            result.save_one(index, self.out, extra)
        except OSError as error:
            return Saved(
                item,
                False,
                f"its result could not be written to {self.out / item.name} "
                f"({error.strerror or error}); make room or choose another --out, and run again",
            )
        reason = ""
        if result.status[index] == NOT_FINITE:
            reason = (
                f"its loss was not finite after {result.steps[index]} steps; the last good code "
                "was saved. Try another seed or recipe"
            )
        return Saved(item, True, reason)

    def _record_saved(self, results: Iterable[Saved]) -> None:
        for saved in results:
            if saved.written:
                self.done.append(saved.item.name)
            if saved.reason:
                self._fail(saved.item.source, ValueError(saved.reason))

    def _fail(self, photo: Path, error: Exception) -> None:
        reason = str(error) if str(photo) in str(error) else f"{photo}: {error}"
        self.failed[str(photo)] = reason
        tqdm.write(f"failed: {reason}")

    # The whole run --------------------------------------------------------------------------------

    def records(self) -> list[dict]:
        """scores.json of every finished face, in the order of the photos."""
        return summary.read_records(self.out, [*self.skipped, *self.done], self.photos)

    def _summarise(self) -> None:
        """Write overview.png and summary.json of all finished faces, earlier runs' too."""
        try:
            summary.write(self.out, self.records(), self.failed, self._plan_record)
        except OSError as error:
            self._fail(self.out / summary.FILE, error)


def _check_writable(out: Path) -> None:
    probe = out / ".probe"
    try:
        probe.write_bytes(b"")
    finally:
        probe.unlink(missing_ok=True)


def _face_names(name: str, count: int) -> list[str]:
    return [name, *(f"{name}-face{i}" for i in range(2, count + 1))]
