"""A folder of photos as a job: skips what is done, takes up what was cut off, lists what failed.

Every photo has a folder of its own in `out`, which appears whole. What is under way is kept in
`out/.unfinished`, so that the same command goes on where it stopped. While a batch is computed, the
next photos are read and the last results are written.
"""

import hashlib
import json
import os
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from facsimile.data import PhotoError
from facsimile.refine import NOT_FINITE, Recipe

from . import summary
from .inputs import candidates
from .result import SCORES, Result
from .studio import Studio
from .unfinished import Unfinished, Watch, interruptible
from .workers import Line

WRITERS = min(4, os.cpu_count() or 1)
"""Threads that write results: compressing pictures takes the time of a small network."""


@dataclass(frozen=True)
class Options:
    recipe: Recipe
    seed: int = 0
    batch: int = 8
    start: str | None = None
    label: int | None = None
    align: bool = True
    face: str = "largest"


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
    """That were taken from the photo."""
    target: Tensor


@dataclass
class Read:
    """What came of reading a photo."""

    photo: Path
    items: list[Item]
    """Its faces that are still to be inverted."""
    done: list[str] = field(default_factory=list)
    """Its faces, where an earlier run has done them."""
    error: Exception | None = None


@dataclass
class Saved:
    """What came of writing a face."""

    item: Item
    there: bool
    reason: str = ""
    """What is wrong with it."""


@dataclass
class Job:
    """`run` it. Afterwards `done`, `skipped` and `failed` say what became of every photo."""

    studio: Studio
    photos: list[Path]
    out: Path
    options: Options
    done: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    """Photo -> reason."""
    settings: dict = field(init=False)
    """What decides the results; ValueError where it asks for an encoder that is not there."""

    def __post_init__(self) -> None:
        o = self.options
        settings = self.studio.settings(o.recipe, o.seed, o.start, o.label)
        settings |= {"align": o.align, "face": o.face}
        self.settings = json.loads(json.dumps(settings))

    def run(self, *, quiet: bool = False) -> None:
        """Invert every photo.

        Raises OSError where `out` cannot be written, and KeyboardInterrupt after Ctrl-C, with all
        that was done on disk.
        """
        self.out.mkdir(parents=True, exist_ok=True)
        _check_writable(self.out)
        names, batch = self._names(), self.options.batch
        unit = "step" if self.options.recipe.steps else "face"
        bar = tqdm(total=len(self.photos) * self._steps, unit=unit, disable=quiet, smoothing=0.05)
        with interruptible() as stop:
            try:
                # One thread reads: Pillow's limit of size lets no two decode at once.
                with Line(self._read, 1, batch) as reader, Line(self._save, WRITERS, batch) as line:
                    try:
                        for items in self._batches(reader, names, bar, stop):
                            self._invert(items, line, bar, stop)
                            if stop.is_set():
                                raise KeyboardInterrupt
                    finally:
                        self._note(line.rest())
                Unfinished.forget(self.out)
            finally:
                bar.close()
                self._summarise()

    @property
    def _steps(self) -> int:
        """What a face counts in the progress bar."""
        return self.options.recipe.steps or 1

    # Which photo goes where -----------------------------------------------------------------------

    def _names(self) -> dict[Path, str]:
        """A folder name for each photo: its stem, with a number where two photos share one.

        A folder that an earlier run filled from the same photo keeps its name.
        """
        records = [summary.read_json(path) for path in sorted(self.out.glob(f"*/{SCORES}"))]
        owned = {record.get("source"): record.get("photo") for record in records}
        taken = set(owned.values())
        names = {}
        for photo in self.photos:
            name = owned.get(str(photo.resolve()))
            if name is None:
                free = (n for n in candidates(photo.stem) if n not in taken)
                name = next(n for n in free if not (self.out / n).exists())
                taken.add(name)
            names[photo] = name
        return names

    def _batches(
        self, reader: Line[Read], names: dict[Path, str], bar: tqdm, stop: threading.Event
    ) -> Iterator[list[Item]]:
        """Faces that are still to be inverted, `batch` at a time."""
        waiting: list[Item] = []
        bar.set_description("reading", refresh=False)
        for read in self._reads(reader, names):
            if stop.is_set():
                raise KeyboardInterrupt
            self.skipped += read.done
            if read.error is not None:
                self._fail(read.photo, read.error)
            bar.total += (len(read.items) - 1) * self._steps
            waiting += read.items
            while len(waiting) >= self.options.batch:
                yield waiting[: self.options.batch]
                waiting = waiting[self.options.batch :]
        if waiting:
            yield waiting

    def _reads(self, reader: Line[Read], names: dict[Path, str]) -> Iterator[Read]:
        for photo in self.photos:
            yield from reader.put(photo, names[photo])
        yield from reader.rest()

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
        known = self._record(name, digest)
        faces = _face_names(name, known.get("faces", 1))
        if known and all(self._record(face, digest) for face in faces):
            return Read(photo, [], faces)
        targets = self.studio.targets(photo, align=self.options.align, face=self.options.face)
        faces = _face_names(name, len(targets))
        items = [
            Item(face, name, photo, digest, len(targets), target)
            for face, target in zip(faces, targets, strict=True)
        ]
        return Read(photo, items)

    def _record(self, name: str, digest: str) -> dict:
        """scores.json of a finished face, {} unless it was made of these bytes in this way."""
        record = summary.read_json(self.out / name / SCORES)
        same = record.get("digest") == digest and record.get("settings") == self.settings
        return record if same and record.get("status") != NOT_FINITE else {}

    # One batch ------------------------------------------------------------------------------------

    def _invert(
        self, items: list[Item], line: Line[Saved], bar: tqdm, stop: threading.Event
    ) -> None:
        options = self.options
        faces = [(item.name, item.digest) for item in items]
        unfinished = Unfinished(self.out, faces, self.settings)
        state, shown = unfinished.load(self.studio.device)
        watch = Watch(bar, unfinished, stop, [item.name for item in items], shown)
        result = self.studio.invert(
            torch.stack([item.target for item in items]),
            recipe=options.recipe,
            seed=options.seed,
            batch=len(items),
            start=options.start,
            label=options.label,
            callback=watch,
            state=state,
            names=[item.name for item in items],
        )
        watch.finish(len(items) * self._steps)
        for index, item in enumerate(items):
            self._note(line.put(result, index, item))

    def _save(self, result: Result, index: int, item: Item) -> Saved:
        about = {
            "photo": item.photo,
            "source": str(item.source.resolve()),
            "digest": item.digest,
            "faces": item.faces,
            "settings": self.settings,
        }
        try:
            result.save_one(index, self.out, about)
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
                "was kept. Try another seed or recipe"
            )
        return Saved(item, True, reason)

    def _note(self, written: Iterable[Saved]) -> None:
        for saved in written:
            if saved.there:
                self.done.append(saved.item.name)
            if saved.reason:
                self._fail(saved.item.source, ValueError(saved.reason))

    def _fail(self, photo: Path, error: Exception) -> None:
        reason = str(error) if str(photo) in str(error) else f"{photo}: {error}"
        self.failed[str(photo)] = reason
        tqdm.write(f"failed: {reason}")

    # The whole ------------------------------------------------------------------------------------

    def records(self) -> list[dict]:
        """What scores.json says of every finished face, in the order of the photos."""
        return summary.records(self.out, [*self.skipped, *self.done], self.photos)

    def _summarise(self) -> None:
        """overview.png and summary.json, of what this run made and what it found done."""
        try:
            summary.write(self.out, self.records(), self.failed, self.settings)
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
