"""A folder of photos as a job: skips what is done, takes up what was cut off, lists what failed.

Every photo has a folder of its own in `out`, which appears whole. What is under way is kept in
`out/.unfinished`, so that the same command goes on where it stopped.
"""

import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

import metrics
from data import PhotoError
from refine import NOT_FINITE, Recipe

from . import pictures
from .result import SCORES, Result, write_json
from .studio import Studio
from .unfinished import Unfinished, Watch, interruptible

OVERVIEW = 64
"""Pairs in overview.png."""


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

    def run(self, *, quiet: bool = False) -> None:
        """Invert every photo.

        Raises OSError where `out` cannot be written, and KeyboardInterrupt after Ctrl-C, with all
        that was done on disk.
        """
        self.out.mkdir(parents=True, exist_ok=True)
        _check_writable(self.out)
        names = self._names()
        steps = self.options.recipe.steps
        bar = tqdm(total=len(self.photos) * steps, unit="step", disable=quiet, smoothing=0.05)
        with interruptible() as stop:
            try:
                for items in self._batches(names, bar):
                    self._invert(items, bar, stop)
                    if stop.is_set():
                        raise KeyboardInterrupt
            finally:
                bar.close()
                self._summarise()

    # Which photo goes where -----------------------------------------------------------------------

    def _names(self) -> dict[Path, str]:
        """A folder name for each photo: its stem, with a number where two photos share one.

        A folder that an earlier run filled from the same photo keeps its name.
        """
        records = [_read_json(path) for path in sorted(self.out.glob(f"*/{SCORES}"))]
        owned = {record.get("source"): record.get("photo") for record in records}
        taken = set(owned.values())
        names = {}
        for photo in self.photos:
            name = owned.get(str(photo.resolve()))
            if name is None:
                free = (n for n in _candidates(photo.stem) if n not in taken)
                name = next(n for n in free if not (self.out / n).exists())
                taken.add(name)
            names[photo] = name
        return names

    def _batches(self, names: dict[Path, str], bar: tqdm) -> Iterator[list[Item]]:
        """Faces that are still to be inverted, `batch` at a time."""
        waiting: list[Item] = []
        for photo in self.photos:
            bar.set_description(f"reading {photo.name}"[:40], refresh=False)
            try:
                items = self._items(photo, names[photo])
            except (PhotoError, OSError) as error:
                self._fail(photo, error)
                items = []
            if not items:
                bar.total -= self.options.recipe.steps
            else:
                bar.total += (len(items) - 1) * self.options.recipe.steps
            waiting += items
            while len(waiting) >= self.options.batch:
                yield waiting[: self.options.batch]
                waiting = waiting[self.options.batch :]
        if waiting:
            yield waiting

    def _items(self, photo: Path, name: str) -> list[Item]:
        """The faces of a photo, none if all of them are done."""
        try:
            digest = hashlib.sha256(photo.read_bytes()).hexdigest()[:16]
        except OSError as error:
            raise PhotoError(
                f"{photo}: cannot be read ({error.strerror}); check its permissions"
            ) from error
        known = self._record(name, digest)
        faces = _face_names(name, known.get("faces", 1))
        if known and all(self._record(face, digest) for face in faces):
            self.skipped += faces
            return []
        targets = self.studio.targets(photo, align=self.options.align, face=self.options.face)
        faces = _face_names(name, len(targets))
        return [
            Item(face, name, photo, digest, len(targets), target)
            for face, target in zip(faces, targets, strict=True)
        ]

    def _record(self, name: str, digest: str) -> dict:
        """scores.json of a finished face, {} unless it was made of these bytes in this way."""
        record = _read_json(self.out / name / SCORES)
        same = record.get("digest") == digest and record.get("settings") == self._settings()
        return record if same and record.get("status") != NOT_FINITE else {}

    def _settings(self) -> dict:
        o = self.options
        own = {"align": o.align, "face": o.face}
        return json.loads(
            json.dumps(self.studio.settings(o.recipe, o.seed, o.start, o.label) | own)
        )

    # One batch ------------------------------------------------------------------------------------

    def _invert(self, items: list[Item], bar: tqdm, stop: threading.Event) -> None:
        options = self.options
        faces = [(item.name, item.digest) for item in items]
        unfinished = Unfinished(self.out, faces, self._settings())
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
        watch.finish(len(items) * options.recipe.steps)
        for index, item in enumerate(items):
            self._save(result, index, item)
        unfinished.forget()

    def _save(self, result: Result, index: int, item: Item) -> None:
        about = {
            "photo": item.photo,
            "source": str(item.source.resolve()),
            "digest": item.digest,
            "faces": item.faces,
            "settings": self._settings(),
        }
        try:
            result.save_one(index, self.out, about)
        except OSError as error:
            self._fail(
                item.source,
                OSError(
                    f"{item.source}: its result could not be written to {self.out / item.name} "
                    f"({error.strerror or error}); make room or choose another --out, and run again"
                ),
            )
        else:
            self.done.append(item.name)
            if result.status[index] == NOT_FINITE:
                self._fail(
                    item.source,
                    ValueError(
                        f"{item.source}: its loss was not finite after {result.steps[index]} "
                        "steps; the last good code was kept. Try another seed or recipe"
                    ),
                )

    def _fail(self, photo: Path, error: Exception) -> None:
        reason = str(error) if str(photo) in str(error) else f"{photo}: {error}"
        self.failed[str(photo)] = reason
        tqdm.write(f"failed: {reason}")

    # The whole ------------------------------------------------------------------------------------

    def _summarise(self) -> None:
        """overview.png and summary.json, of what this run made and what it found done."""
        try:
            records = self.records()
            self._write_overview(records)
            self._write_summary(records)
        except OSError as error:
            self._fail(self.out / "summary.json", error)

    def records(self) -> list[dict]:
        """What scores.json says of every finished face, in the order of the photos."""
        records = []
        for name in [*self.skipped, *self.done]:
            record = _read_json(self.out / name / SCORES)
            record.pop("what_the_scores_mean", None)
            if record:
                records.append(record)
        order = {str(photo.resolve()): i for i, photo in enumerate(self.photos)}
        records.sort(key=lambda record: (order.get(record["source"], len(order)), record["name"]))
        return records

    def _write_overview(self, records: list[dict]) -> None:
        pairs = []
        for record in records[:OVERVIEW]:
            folder = self.out / record["name"]
            with (
                Image.open(folder / "target.png") as a,
                Image.open(folder / "reconstruction.png") as b,
            ):
                pairs.append((a.copy(), b.copy()))
        if not pairs:
            return
        overview = self.out / "overview.png"
        temporary = overview.with_name("overview.part.png")
        try:
            pictures.overview(pairs).save(temporary)
            temporary.replace(overview)
        finally:
            temporary.unlink(missing_ok=True)

    def _write_summary(self, records: list[dict]) -> None:
        summary = {
            "settings": self._settings(),
            "done": len(records),
            "failed": self.failed,
            "mean_scores": mean_scores(records),
            "photos": [{k: v for k, v in r.items() if k != "settings"} for r in records],
        }
        write_json(self.out / "summary.json", summary)


def mean_scores(records: list[dict]) -> dict[str, float | str]:
    """Mean of every score over records as scores.json has them; strings ("inf") stay out of it."""
    found: dict[str, list[float]] = {}
    for record in records:
        for name, value in record["scores"].items():
            found.setdefault(name, [])
            if not isinstance(value, str):
                found[name].append(value)
    return {name: metrics.jsonable(metrics.mean(v)) for name, v in found.items() if v}


def _check_writable(out: Path) -> None:
    probe = out / ".probe"
    try:
        probe.write_bytes(b"")
    finally:
        probe.unlink(missing_ok=True)


def _candidates(stem: str) -> Iterator[str]:
    yield stem
    number = 2
    while True:
        yield f"{stem}-{number}"
        number += 1


def _face_names(name: str, count: int) -> list[str]:
    return [name, *(f"{name}-face{i}" for i in range(2, count + 1))]


def _read_json(path: Path) -> dict:
    """{} for a file that is not there or is broken."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
