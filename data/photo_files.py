"""Which files are photos: in folders, behind links, in zips; and their bytes."""

import hashlib
import os
import re
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path

from . import zips
from .photo_formats import CAMERA_NAME, PhotoError

PHOTO_NAME = re.compile(
    r"\.(jpe?g|jpe|jfif|a?png|webp|avif|hei[cf]|hif|gif|bmp|tiff?|jp2|p[gnp]m)$", re.IGNORECASE
)


def find_photos(
    paths: str | Path | Iterable[str | Path], exclude: str | Path | None = None
) -> list[Path]:
    """The files in `paths`, and the photos in its folders and zips, at any depth.

    exclude: a folder that is skipped inside of the others, such as that of the results. It is not
        skipped if it, or something in it, is itself in `paths`.

    The order of `paths` is kept; inside a folder "2.jpg" comes before "10.jpg". A file in `paths`
    may have any extension; in folders the extension decides, and hidden entries are left out.
    Links to folders are followed, and each folder is entered once. No file is returned twice. A
    photo in a zip is returned as ARCHIVE.zip/NAME, which `read_photo` and `photo_bytes` understand.

    What a person takes for photos is returned too, so that reading it can say what is wrong: files
    in the formats of cameras, broken links, zips inside of zips, and a zip of which nothing can be
    read. Raises FileNotFoundError for a path that does not exist.
    """
    photos: dict[str, Path] = {}  # resolved -> as given
    excluded = None if exclude is None else os.path.realpath(exclude)
    for path in [paths] if isinstance(paths, str | os.PathLike) else paths:
        path = Path(path)
        if not path.exists():
            what = "no such file or folder; expected photos, or folders or zips of photos"
            raise FileNotFoundError(f"{path}: {missing(path, what)}")
        if path.suffix.lower() == zips.SUFFIX and path.is_file():
            photos |= {os.path.realpath(photo): photo for photo in _photos_in_zip(path)}
        elif path.is_dir():
            for photo, resolved in _photos_below(path, excluded):
                photos.setdefault(resolved, photo)
        else:
            photos.setdefault(os.path.realpath(path), path)
    return list(photos.values())


def missing(path: Path, what: str = "no such file; expected a photo") -> str:
    """What is wrong with a path that does not exist, `what` if it is no link, and what to do."""
    if not path.is_symlink():
        return f"{what}, check the spelling"
    target = os.readlink(path)
    try:
        path.stat()
    except OSError as error:
        if not isinstance(error, FileNotFoundError):
            return f"is a symbolic link to {target} that cannot be followed ({error.strerror})"
    return (
        f"is a broken symbolic link: {target} does not exist; put the file there, or remove "
        "the link"
    )


def photo_bytes(path: Path) -> bytes:
    """The content of a photo's file, or of an entry of a zip (ARCHIVE.zip/NAME). Raises OSError,
    or PhotoError for a damaged zip."""
    archive = archive_of(path)
    if archive is None:
        if path.is_symlink() and not path.exists():
            raise PhotoError(f"{path}: {missing(path)}")
        return path.read_bytes()
    try:
        return zips.read(archive, path.relative_to(archive))
    except zips.ZipError as error:
        raise PhotoError(f"{path}: {error}") from error


def photo_digest(path: Path) -> str:
    """Of the bytes of a photo's file. Raises as `photo_bytes`."""
    return hashlib.sha256(photo_bytes(path)).hexdigest()[:16]


def archive_of(path: Path) -> Path | None:
    """The zip in which a photo is; None for a file of its own."""
    if os.path.lexists(path):
        return None
    archives = (x for x in path.parents if x.suffix.lower() == zips.SUFFIX)
    return next((archive for archive in archives if archive.is_file()), None)


def why_no_zip(path: Path) -> str:
    """What is wrong with a zip of which nothing can be read; "" for another file."""
    if path.suffix.lower() != zips.SUFFIX or not path.is_file():
        return ""
    try:
        with zips.opened(path) as archive:
            entries = [x for x in archive.infolist() if is_shown_photo(x.filename)]
    except zips.ZipError as error:
        return str(error)
    return zips.why_all_unreadable(entries)


def is_shown_photo(name: str) -> bool:
    """Whether a name in a zip is that of a photo, and not hidden."""
    return not _is_hidden(name) and _looks_like_photo(Path(name))


def _is_hidden(name: str) -> bool:
    return any(part.startswith((".", "__")) for part in Path(name).parts)


def _photos_in_zip(path: Path) -> list[Path]:
    if why_no_zip(path):
        return [path]
    with zips.opened(path) as archive:
        names = [name for name in archive.namelist() if not _is_hidden(name)]
    inside = [
        zips.entry_path(name)
        for name in names
        if is_shown_photo(name) or name.lower().endswith(zips.SUFFIX)
    ]
    return [path / name for name in sorted(inside, key=_natural)]


def _photos_below(folder: Path, excluded: str | None) -> list[tuple[Path, str]]:
    """(photo, its resolved path) of the photos in a folder, in natural order."""
    return sorted(_walk(folder, excluded), key=lambda pair: _natural(pair[0].relative_to(folder)))


def _walk(folder: Path, excluded: str | None) -> Iterator[tuple[Path, str]]:
    """As `_photos_below`, in another order. Every folder is entered once, so circles end."""
    visited: set[str] = set()
    # Links last, so that a photo is named by its own folder where that is inside too.
    pending, linked = deque([folder]), deque[Path]()
    while pending or linked:
        parent = pending.popleft() if pending else linked.popleft()
        real = os.path.realpath(parent)
        if real in visited or (visited and real == excluded):
            continue
        visited.add(real)
        try:
            with os.scandir(parent) as scanned:
                entries = sorted(scanned, key=lambda entry: entry.name)
        except OSError:
            yield parent, real  # it is a folder that cannot be read: whoever reads it will say so
            continue
        for entry in entries:
            if entry.name.startswith("."):
                continue
            path = parent / entry.name
            if os.path.isdir(path) if entry.is_symlink() else entry.is_dir():
                (linked if entry.is_symlink() else pending).append(path)
            elif _looks_like_photo(path) or _may_be_lost_folder(entry):
                # Only links need to be resolved, which is slow for a large set. Broken ones are
                # different files, wherever they lead.
                resolve = entry.is_symlink() and os.path.exists(path)
                yield path, os.path.realpath(path) if resolve else os.path.join(real, entry.name)


def _looks_like_photo(path: Path) -> bool:
    return bool(PHOTO_NAME.search(path.name) or CAMERA_NAME.search(path.name))


def _may_be_lost_folder(entry: os.DirEntry) -> bool:
    return entry.is_symlink() and "." not in entry.name and not os.path.exists(entry.path)


def _natural(path: Path) -> tuple:
    """Sorting key: runs of digits by their value; the text decides between "1.jpg" and "01.jpg"."""
    parts = [re.split(r"(\d+)", part.casefold()) for part in path.parts]
    return [[int(s) if i % 2 else s for i, s in enumerate(part)] for part in parts], str(path)
