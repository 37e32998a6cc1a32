"""A folder of photos as a training set: every face aligned, in a zip of PNGs.

What is done lies beside the zip until all is done, so that a stopped run goes on where it was.
"""

import hashlib
import io
import multiprocessing
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Literal

import torch
from tqdm import tqdm

from facsimile import data


@dataclass(frozen=True)
class Prepared:
    faces: int
    """In the zip."""
    kept: int
    """Photos that were done before."""
    failed: tuple[str, ...]
    """One sentence per photo that could not be used."""


def prepare(
    photos: Sequence[Path],
    out: Path,
    resolution: int,
    *,
    align: bool = True,
    face: Literal["largest", "all"] = "largest",
    processes: int = 1,
) -> Prepared:
    """Write the faces of `photos` into the zip `out`; what it or a stopped run holds is kept.

    Raises ValueError where `out` is no zip, or one of other settings.
    """
    settings = f"facsimile {resolution} px, {f'{face} aligned' if align else 'not aligned'}"
    before = _entries(out, settings)
    work = work_folder(out)
    work.mkdir(parents=True, exist_ok=True)
    _same(work / "settings.txt", settings)
    digests, failed = {}, []
    for photo in photos:
        try:
            digests[_digest(photo)] = photo
        except OSError as error:
            failed.append(str(error))
    known = {_key(name) for name in before} | {_key(path.name) for path in work.glob("*.png")}
    waiting = [(digest, photo) for digest, photo in digests.items() if digest not in known]
    task = partial(_faces, resolution=resolution, align=align, face=face)
    done = len(digests) - len(waiting)
    with tqdm(total=len(digests), initial=done, unit="photo") as bar:
        for digest, found in _run(task, waiting, processes):
            bar.update()
            if isinstance(found, str):
                failed.append(found)
                continue
            # The first face last: where it is, the photo is done.
            for index, content in reversed(list(enumerate(found))):
                _write(work / f"{digest}-{index}.png", content)
    return Prepared(_pack(out, before, work, settings), done, tuple(failed))


def work_folder(out: Path) -> Path:
    """Where the faces are until they are all there."""
    return out.with_name(out.name + ".work")


def _run(task, waiting: list, processes: int) -> Iterator[tuple[str, list[bytes] | str]]:
    if processes == 1 or len(waiting) < 2:
        yield from map(task, waiting)
        return
    # Started anew and not forked: a copy of a process with threads may hang.
    with multiprocessing.get_context("spawn").Pool(processes, torch.set_num_threads, (1,)) as pool:
        yield from pool.imap_unordered(task, waiting)


def _faces(
    job: tuple[str, Path], *, resolution: int, align: bool, face: str
) -> tuple[str, list[bytes] | str]:
    """(digest, PNGs of the faces in a photo, or why there are none)."""
    digest, path = job
    try:
        photo = data.read_photo(path)
        if align:
            found = data.align_faces(photo, resolution, _detector(), which=face)
            images = [aligned.image for aligned in found]
        else:
            images = [data.fit_square(photo, resolution)]
    except (data.PhotoError, OSError) as error:
        return digest, str(error) if str(path) in str(error) else f"{path}: {error}"
    return digest, [_png(image) for image in images]


@cache
def _detector() -> data.FaceDetector:
    """One per process: its networks are loaded once."""
    return data.FaceDetector()


def _png(image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _digest(photo: Path) -> str:
    """Of the content: a photo is done whatever it is called, and only once."""
    return hashlib.blake2b(photo.read_bytes(), digest_size=8).hexdigest()


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
        raise ValueError(f"{out} exists and is no zip; name another file") from error


def _same(path: Path, settings: str) -> None:
    if path.exists():
        _compare(path.parent, path.read_text(), settings)
    path.write_text(settings)


def _compare(path: Path, found: str, settings: str) -> None:
    if found != settings:
        raise ValueError(
            f'{path} was made with other settings ("{found}", and now "{settings}"); '
            "name another --out, or delete it"
        )


def _write(path: Path, content: bytes) -> None:
    temporary = path.with_suffix(".part")
    temporary.write_bytes(content)
    temporary.replace(path)


def _pack(out: Path, before: list[str], work: Path, settings: str) -> int:
    """Move what is in `work` into the zip, whole or not at all; returns the faces in it."""
    new = sorted(work.glob("*.png"))
    temporary = out.with_name(out.name + ".part")
    if new:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
            archive.comment = settings.encode()
            if before:
                with zipfile.ZipFile(out) as old:
                    for name in before:
                        archive.writestr(name, old.read(name))
            for path in new:
                archive.write(path, path.name)
        temporary.replace(out)
    for path in list(work.iterdir()):
        path.unlink()
    work.rmdir()
    return len(before) + len(new)
