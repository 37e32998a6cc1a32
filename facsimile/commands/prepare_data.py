"""`facsimile prepare-data`: photos as a training set, every face aligned, in a zip of PNGs.

Finished faces are in a folder beside the zip until all are finished, so that a stopped run
continues where it stopped.
"""

import hashlib
import io
import multiprocessing
import os
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Literal

import torch
import tyro
from PIL import Image

from facsimile import data
from facsimile.data.progress import ProgressBar
from facsimile.exit_status import OK, SOME_FAILED
from facsimile.inputs import one_line, photos_for

from .options import CommonOptions


@dataclass(frozen=True, kw_only=True)
class PrepareData(CommonOptions):
    """Make a training set for facsimile train out of photos: a zip of aligned faces.

    Photos without a face are listed and left out. Run the same command again to continue after a
    stop, or with more photos to add them.
    """

    photos: tyro.conf.Positional[list[Path]]
    """Photos, or folders of photos."""
    out: Path
    """The zip to write."""
    resolution: int
    """Side of the faces in pixels."""
    face: Literal["largest", "all"] = "largest"
    """Which faces of a photo with several."""
    align: bool = True
    """Find the face and crop it as FFHQ does. --no-align: the photos are such crops already."""
    processes: int = os.cpu_count() or 1
    """Photos at a time."""

    def run(self) -> int:
        for name in ("resolution", "processes"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name} is {getattr(self, name)}; it must be at least 1")
        prepared = prepare(
            photos_for(self.photos, work_folder(self.out)),
            self.out,
            self.resolution,
            align=self.align,
            face=self.face,
            processes=self.processes,
            quiet=self.quiet,
        )
        skipped = f", {prepared.skipped} photos done before" if prepared.skipped else ""
        print(f"{prepared.faces} faces{skipped}, {len(prepared.failed)} photos failed: {self.out}")
        for reason in prepared.failed:
            print(f"  {one_line(reason)}", file=sys.stderr)
        return SOME_FAILED if prepared.failed else OK


@dataclass(frozen=True)
class Prepared:
    """The outcome of `prepare`."""

    faces: int
    """Number of faces in the zip."""
    skipped: int
    """Number of photos that were done before."""
    failed: tuple[str, ...]
    """A sentence for each photo that could not be used."""


def prepare(
    photos: Sequence[Path],
    out: Path,
    resolution: int,
    *,
    align: bool = True,
    face: Literal["largest", "all"] = "largest",
    processes: int = 1,
    quiet: bool = False,
) -> Prepared:
    """Add the faces of `photos` to the zip `out`, and those of a stopped run.

    quiet: without a progress bar. Raises ValueError if `out` is not a zip, or has other settings.
    """
    settings = f"facsimile {resolution} px, {f'{face} aligned' if align else 'not aligned'}"
    present = _entries(out, settings)
    work = work_folder(out)
    work.mkdir(parents=True, exist_ok=True)
    _check_settings(work / "settings.txt", settings)
    digests, failed = {}, []
    for photo in photos:
        try:
            digests[_digest(photo)] = photo
        except (data.PhotoError, OSError) as error:
            failed.append(str(error))
    finished = {_key(name) for name in present} | {_key(path.name) for path in work.glob("*.png")}
    waiting = [(digest, photo) for digest, photo in digests.items() if digest not in finished]
    task = partial(_faces, resolution=resolution, align=align, face=face)
    skipped = len(digests) - len(waiting)
    with ProgressBar(total=len(digests), initial=skipped, unit="photo", disable=quiet) as bar:
        for digest, faces in _run(task, waiting, processes):
            bar.update()
            if isinstance(faces, str):
                failed.append(faces)
                continue
            # The first face is written last: if it is there, the photo is finished.
            for index, content in reversed(list(enumerate(faces))):
                _write(work / f"{digest}-{index}.png", content)
    return Prepared(_pack(out, present, work, settings), skipped, tuple(failed))


def work_folder(out: Path) -> Path:
    """The folder of the faces until all are finished."""
    return out.with_name(out.name + ".work")


def _run(task: Callable, waiting: list, processes: int) -> Iterator[tuple[str, list[bytes] | str]]:
    if processes == 1 or len(waiting) < 2:
        yield from map(task, waiting)
        return
    # Spawned and not forked: a fork of a process with threads may hang.
    with multiprocessing.get_context("spawn").Pool(processes, torch.set_num_threads, (1,)) as pool:
        yield from pool.imap_unordered(task, waiting)


def _faces(
    job: tuple[str, Path], *, resolution: int, align: bool, face: Literal["largest", "all"]
) -> tuple[str, list[bytes] | str]:
    """(digest, PNGs of the faces in a photo, or why there are none)."""
    digest, path = job
    try:
        photo = data.read_photo(path)
        if align:
            faces = data.align_faces(photo, resolution, _detector(), which=face)
            images = [aligned.image for aligned in faces]
        else:
            images = [data.fit_square(photo, resolution)]
    except (data.PhotoError, OSError) as error:
        return digest, str(error) if str(path) in str(error) else f"{path}: {error}"
    return digest, [_png(image) for image in images]


@cache
def _detector() -> data.FaceDetector:
    """One per process: its networks are loaded once."""
    return data.FaceDetector()


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _digest(photo: Path) -> str:
    """Hash of the content: a photo is processed once, whatever its name."""
    return hashlib.blake2b(data.photo_bytes(photo), digest_size=8).hexdigest()


def _key(name: str) -> str:
    """The digest of the photo whose first face this is."""
    return name.removesuffix("-0.png")


def _entries(out: Path, settings: str) -> list[str]:
    if not out.exists():
        return []
    try:
        with zipfile.ZipFile(out) as archive:
            _compare(out, archive.comment.decode(errors="replace"), settings)
            return archive.namelist()
    except zipfile.BadZipFile as error:
        raise ValueError(f"{out} exists and is not a zip; name another file") from error


def _check_settings(path: Path, settings: str) -> None:
    if path.exists():
        _compare(path.parent, path.read_text(), settings)
    path.write_text(settings)


def _compare(path: Path, present: str, settings: str) -> None:
    if present != settings:
        raise ValueError(
            f'{path} was made with other settings ("{present}", and now "{settings}"); '
            "name another --out, or delete it"
        )


def _write(path: Path, content: bytes) -> None:
    temporary = path.with_suffix(".part")
    temporary.write_bytes(content)
    temporary.replace(path)


def _pack(out: Path, present: list[str], work: Path, settings: str) -> int:
    """Move the faces in `work` into the zip, all or none; returns the number of faces in it."""
    new = sorted(work.glob("*.png"))
    temporary = out.with_name(out.name + ".part")
    if new:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
            archive.comment = settings.encode()
            if present:
                with zipfile.ZipFile(out) as old:
                    for name in present:
                        archive.writestr(name, old.read(name))
            for path in new:
                archive.write(path, path.name)
        temporary.replace(out)
    for path in list(work.iterdir()):
        path.unlink()
    work.rmdir()
    return len(present) + len(new)
