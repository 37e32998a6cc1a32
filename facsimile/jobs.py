"""A folder of photos as a job: skips what is done, resumes what was interrupted, lists failures.

Every photo has a folder of its own in `out`, which appears whole; see `results_folder`. The batch
in progress is stored in `out/.resume`, so that the same command continues where it stopped. While a
batch is computed, the next photos are read and the last results are written. Processes that run the
same at the same time share the photos; see `claims`.
"""

import os
import re
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from PIL import Image
from tqdm import tqdm

from facsimile.data import PhotoError, photo_digest, read_photo, to_tensor
from facsimile.refine import NOT_FINITE
from facsimile.training.signals import interruptible

from . import summary
from .claims import Claims, wait_a_moment
from .devices import Batch
from .edit_result import concatenate_latents
from .inputs import one_line
from .inversion import Inverter
from .job_items import Item, Read, Saved
from .job_progress import JobProgress
from .json_files import write_json
from .paste_back import WHOLE, PasteOptions, Paster, Piece, save_whole
from .result import RECONSTRUCTION, SCORES, Result
from .results_folder import ResultsFolder, read_records
from .resume import BatchCallback, ResumeFile
from .shared_photos import SharedPhotos
from .targets import TargetReader
from .workers import OrderedWorkers

WRITERS = min(4, os.cpu_count() or 1)
"""Threads that write results: compressing pictures takes as long as a small network."""
WHOLE_FILE = f"{WHOLE}.png"
PASTED = "pasted_back"
"""In scores.json: how whole.png was made."""
FACE_NAME = re.compile(r"-face\d+$")
"""Names of the further faces of a photo, see `_face_names`; no photo may have one."""


@dataclass
class Job:
    """Inverts photos by one plan. After `run`, `done`, `skipped` and `failed` list every photo."""

    inverter: Inverter
    reader: TargetReader
    photos: list[Path]
    out: Path
    batch: int = 8
    """Faces inverted at once."""
    replace: bool = False
    """Put results in the place of those that other plans have made, instead of beside them."""
    paste: PasteOptions | None = None
    """How whole.png is made of each face's photo; None: it is not made."""
    done: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)
    """What other processes have done meanwhile."""
    failed: dict[str, str] = field(default_factory=dict)
    """Photo -> reason; of the other processes too once this is the last one."""
    names: dict[Path, str] = field(default_factory=dict)
    """Photo -> name of the folder of its first face."""
    beside: dict[str, str] = field(default_factory=dict)
    """Name of a new result -> that of a result of the same photo, made otherwise, which stays."""
    started_from: dict[str, str] = field(default_factory=dict)
    """Name of a new result -> that of the earlier one from which it went on."""
    lost_detail: dict[str, str] = field(default_factory=dict)
    """Name of a result that was pasted back -> what the generator's size has lost."""

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise ValueError(f"batch is {self.batch}; it must be at least 1")
        self.plan = self.inverter.plan

    @property
    def last(self) -> bool:
        """Whether all photos are done or failed, here and in other processes."""
        return self.claims.last

    def run(self, *, quiet: bool = False) -> None:
        """Invert every photo that no other process inverts; quiet: without a progress bar.

        Raises OSError if `out` cannot be written, and KeyboardInterrupt after Ctrl-C, with all
        finished results on disk.
        """
        self.out.mkdir(parents=True, exist_ok=True)
        _check_writable(self.out)
        self.claims = Claims(self.out)
        with interruptible() as stop, self.claims:
            self._run(stop, quiet or self.claims.position > 0)

    def _run(self, stop: threading.Event, quiet: bool) -> None:
        self.folder = ResultsFolder(self.out, self.plan, self.replace, self.claims.reserve)
        self.shared = SharedPhotos(self.claims, self.plan.digest)
        plan, batch = self.plan, self.batch
        progress = JobProgress(len(self.photos), plan.steps, plan.typical_steps, quiet=quiet)
        try:
            # One thread reads: Pillow's limit of size lets no two decode at once.
            with (
                OrderedWorkers(self._read, 1, batch) as reader,
                OrderedWorkers(self._save, WRITERS, batch) as writers,
            ):
                try:
                    for items in self._batches(reader, writers, progress, stop):
                        self._invert_all(items, writers, progress, stop)
                finally:
                    self._record_saved(writers.drain())
        finally:
            progress.close()
            self.claims.leave(self._summarise)

    # Reading --------------------------------------------------------------------------------------

    def _batches(
        self,
        reader: OrderedWorkers[Read],
        writers: OrderedWorkers[Saved],
        progress: JobProgress,
        stop: threading.Event,
    ) -> Iterator[list[Item]]:
        """Faces that are still to be inverted, `batch` at a time.

        Those of a batch have the same phases behind them.
        """
        waiting: dict[int | None, list[Item]] = {}
        for read in self.shared.rounds(self.photos, partial(_read_all, reader)):
            if stop.is_set():
                raise KeyboardInterrupt
            if read is None:  # what is left, other processes have, which may wait for this one
                yield from filter(None, waiting.values())
                waiting.clear()
                self._record_saved(writers.drain())
                wait_a_moment()
                continue
            progress.change_count(len(read.items) - 1)
            self.skipped += read.done
            self.elsewhere += read.elsewhere
            if read.error is not None:
                self._fail(read.photo, read.error)
            self.shared.open(read)
            for item in read.items:
                waiting.setdefault(item.phases_done, []).append(item)
            for phases, items in waiting.items():
                while len(items) >= self.batch:
                    batch, items = items[: self.batch], items[self.batch :]
                    waiting[phases] = items
                    yield batch  # after which `self.batch` may be smaller
        yield from filter(None, waiting.values())

    def _read(self, photo: Path) -> Read:
        others = self.shared.take(photo)
        if others is not None:
            self.names[photo] = next(iter(others.elsewhere), photo.stem)
            return others
        try:
            return self._faces(photo)
        except (PhotoError, OSError) as error:
            return Read(photo, [], error=error)

    def _faces(self, photo: Path) -> Read:
        try:
            digest = photo_digest(photo)
        except OSError as error:
            raise PhotoError(
                f"{photo}: cannot be read ({error.strerror or error}); check its permissions"
            ) from error
        stem = photo.stem
        if self.plan.face == "all" and FACE_NAME.search(stem):
            stem += "-photo"
        destination = self.folder.destination(photo, digest, stem)
        name = self.names[photo] = destination.name
        record = self.folder.finished(name, digest)
        faces = _face_names(name, record.get("faces", 1))
        if record and all(self.folder.finished(face, digest) for face in faces):
            self._paste_finished(photo, faces)
            return Read(photo, [], faces)
        targets, crops = self.reader.read_crops(photo, **self.plan.reading)
        generator, count = self.inverter.generator, len(targets)
        if destination.beside:
            self.beside[name] = destination.beside
        items = []
        for i, face in enumerate(_face_names(name, count)):
            start = self.folder.start(photo, digest, i, generator)
            items.append(Item(face, name, photo, digest, i, count, targets[i], crops[i], start))
        return Read(photo, items)

    def _paste_finished(self, photo: Path, faces: list[str]) -> None:
        """Write the whole.png of faces that an earlier run has finished, where it is not there."""
        records = [self.folder.records[face] for face in faces]
        if self.paste is None or all(
            record.get(PASTED) == self.paste.to_dict() and (self.out / face / WHOLE_FILE).is_file()
            for face, record in zip(faces, records, strict=True)
        ):
            return
        # Files from before crops were kept do not have them, and reading gives the same again.
        _, crops = self.reader.read_crops(photo, **self.plan.reading)
        for face, record, crop in zip(faces, records, crops, strict=True):
            image = to_tensor(read_photo(self.out / face / RECONSTRUCTION))
            save_whole(self._pasted(Piece(face, image, crop)), self.out / face / WHOLE_FILE)
            write_json(self.out / face / SCORES, record | {PASTED: self.paste.to_dict()})

    def _pasted(self, piece: Piece) -> Image.Image:
        assert self.paste is not None
        paster = Paster(piece.crop, piece.image.shape[-1], self.paste)
        if paster.lost_detail:
            self.lost_detail[piece.name] = paster.lost_detail
        return paster(piece.image)

    # One batch ------------------------------------------------------------------------------------

    def _invert_all(
        self,
        items: list[Item],
        writers: OrderedWorkers[Saved],
        progress: JobProgress,
        stop: threading.Event,
    ) -> None:
        """`_invert`, from now on of fewer faces at once where memory does not suffice for these."""
        batch = Batch(len(items), "photo")
        while items:
            part = items[: batch.size]
            try:
                self._invert(part, writers, progress, stop)
            except (RuntimeError, MemoryError) as error:
                batch.halve(error)
                self.batch = batch.size
                progress.leave_batch(len(part))
                continue
            items = items[len(part) :]
            if stop.is_set():
                raise KeyboardInterrupt

    def _invert(
        self,
        items: list[Item],
        writers: OrderedWorkers[Saved],
        progress: JobProgress,
        stop: threading.Event,
    ) -> None:
        names = [item.name for item in items]
        faces = [(item.digest, item.face) for item in items]
        resume_file = ResumeFile(self.out, faces, self.plan.digest)
        state, batch_steps = resume_file.load(self.inverter.generator.device)
        starts = [item.start for item in items if item.start is not None]
        behind = sum(one.steps for one in starts) // len(items)
        progress.begin_batch(names, batch_steps, behind)
        start = concatenate_latents([one.latents for one in starts]) if starts else None
        self.started_from |= {x.name: x.start.name for x in items if x.start is not None}
        result = self.inverter.invert(
            torch.stack([item.target for item in items]),
            names,
            callback=BatchCallback(progress, resume_file, stop),
            state=state,
            start=start,
            phases_done=items[0].phases_done or 0,
            steps_done=[one.steps for one in starts],
        ).with_crops(tuple(item.crop for item in items))
        progress.end_batch(result.steps)
        for index, item in enumerate(items):
            self._record_saved(writers.put(result, index, item))
        # Only now is the state of no use: what was computed from it is being written.
        resume_file.remove()

    def _save(self, result: Result, index: int, item: Item) -> Saved:
        extra = {
            "photo": item.photo,
            "source": str(item.source.resolve()),
            "digest": item.digest,
            "face": item.face,
            "faces": item.faces,
        }
        if item.start is not None:
            extra["started_from"] = item.start.name
        whole, reason = None, ""
        if not self.shared.holds(item.source):  # taken for dead, so that another process has it
            return Saved(item, False)
        try:
            if self.paste is not None:
                whole = self._pasted(Piece(item.name, result.images[index], item.crop))
                extra[PASTED] = self.paste.to_dict()
        except (PhotoError, OSError) as error:  # the photo was changed or taken away meanwhile
            reason = str(error)
        try:
            result.save_one(index, self.out, extra, whole)
        except OSError as error:
            return Saved(
                item,
                False,
                f"its result could not be written to {self.out / item.name} "
                f"({error.strerror or error}); make room or choose another --out, and run again",
            )
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
            self.shared.close(saved.item.source, reason=saved.reason)

    def _fail(self, photo: Path, error: Exception) -> None:
        reason = one_line(str(error) if str(photo) in str(error) else f"{photo}: {error}")
        self.failed[str(photo)] = reason
        tqdm.write(f"failed: {reason}")

    # The whole run --------------------------------------------------------------------------------

    def records(self) -> list[dict]:
        """scores.json of every face of these photos, by this plan."""
        names = {*self.skipped, *self.done, *self.elsewhere}
        return [record for record in read_records(self.out) if record["name"] in names]

    def _summarise(self) -> None:
        """Write overview.png and summary.json of all that is in the folder."""
        outcomes = self.shared.outcomes()
        failed = {photo: x for photo, x in outcomes.items() if x} | self.failed
        order = {str(photo): i for i, photo in enumerate(self.photos)}
        self.failed = dict(sorted(failed.items(), key=lambda x: order.get(x[0], len(order))))
        photos = {*order, *outcomes}
        try:
            summary.write(self.out, self.failed, photos)
        except OSError as error:
            self._fail(self.out / summary.FILE, error)


def _check_writable(out: Path) -> None:
    probe = out / ".probe"
    try:
        probe.write_bytes(b"")
    finally:
        probe.unlink(missing_ok=True)


def _read_all(reader: OrderedWorkers[Read], photos: Iterable[Path]) -> Iterator[Read]:
    for photo in photos:
        yield from reader.put(photo)
    yield from reader.drain()


def _face_names(name: str, count: int) -> list[str]:
    return [name, *(f"{name}-face{i}" for i in range(2, count + 1))]
