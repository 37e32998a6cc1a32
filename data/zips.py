"""Zips of photos: what is in them, and a sentence on each thing in them that cannot be read."""

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

SUFFIX = ".zip"
MAX_ENTRY = 2**29
"""Bytes of an unpacked entry. A larger one is no photo, and may be made to fill the memory."""
ENCRYPTED = 1
"""Flag of an entry."""
READABLE = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
METHODS = {
    **{1: "Shrink", 6: "Implode", 9: "Deflate64", 10: "IBM TERSE", 93: "Zstandard", 95: "XZ"},
    **{96: "a JPEG method", 97: "WavPack", 98: "PPMd", 99: "AES encryption"},
}
"""Compression methods that Python does not read (APPNOTE.TXT of PKWARE, 4.4.5)."""
END = b"PK\5\6"
LARGEST_END = 2**16 + 22
"""Bytes of the end of a zip, with its comment."""
ERRORS = (
    *(zipfile.BadZipFile, zlib.error, EOFError),
    *(RuntimeError, NotImplementedError, ValueError, OverflowError),
)
"""What zipfile raises for a zip that it cannot read."""


class ZipError(ValueError):
    """What is wrong with a zip or an entry, and what to do; a sentence without its subject."""


@contextmanager
def opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """The zip at `path`. Raises OSError, or ZipError for what is no zip that can be read."""
    try:
        archive = zipfile.ZipFile(path)
    except ERRORS as error:
        raise ZipError(_what_it_is(path, error)) from error
    with archive:
        # Python would find the entries of the other parts nowhere, or in the wrong place.
        if _part_number(path) > 0:
            raise ZipError(_SPLIT)
        yield archive


def entry_path(name: str) -> Path:
    """Where in a zip an entry is; never outside of it, whatever its name says."""
    return Path(*(part for part in PurePosixPath(name).parts if part not in ("/", "//", "..")))


def unreadable(entry: zipfile.ZipInfo) -> str:
    """Why an entry cannot be read, as a sentence without its subject; "" if it can."""
    if entry.flag_bits & ENCRYPTED or entry.compress_type == 99:
        return "is encrypted; unpack the zip with its password, and pass the folder"
    if entry.compress_type not in READABLE:
        method = METHODS.get(entry.compress_type, f"method {entry.compress_type}")
        return (
            f"is compressed with {method}, which Python cannot read; unpack the zip, and pass "
            "the folder"
        )
    if entry.file_size > MAX_ENTRY:
        return (
            f"has {entry.file_size / 1e9:.1f} GB unpacked, expected at most "
            f"{MAX_ENTRY / 1e9:.1f} GB; unpack the zip if you trust it"
        )
    return ""


def why_all_unreadable(entries: list[zipfile.ZipInfo]) -> str:
    """The reason why none of the entries can be read, if it is the same for all; else ""."""
    reasons = {unreadable(entry) for entry in entries}
    if len(reasons) != 1 or not (reason := reasons.pop()):
        return ""
    photos = "its only photo" if len(entries) == 1 else f"each of its {len(entries)} photos"
    return f"cannot be read: {photos} {reason}"


def read(path: Path, place: Path) -> bytes:
    """The content of the entry that is at `place` in the zip. Raises OSError or ZipError."""
    with opened(path) as archive:
        by_place = {entry_path(entry.filename): entry for entry in archive.infolist()}
        if place not in by_place:
            raise FileNotFoundError(f"{path / place}: no such entry in {path}")
        entry = by_place[place]
        if reason := unreadable(entry):
            raise ZipError(reason)
        try:
            return archive.read(entry)
        except ERRORS as error:
            raise ZipError(f"cannot be read from {path} ({error}); make it again") from error


_SPLIT = (
    "is one part of a zip in several parts (.z01, .z02, ..); join them, as zip -s 0 PARTS.zip "
    "--out whole.zip does, or unpack them, and pass the result"
)


def _what_it_is(path: Path, error: Exception) -> str:
    """Of a file that zipfile cannot open."""
    with path.open("rb") as file:
        head = file.read(8)
    if _part_number(path) > 0 or head.startswith((b"PK\7\x08PK", b"PK00PK")):
        return _SPLIT
    for sign, name in {b"7z\xbc\xaf": "a 7z archive", b"Rar!": "a RAR archive"}.items():
        if head.startswith(sign):
            return f"is {name}, not a zip; unpack it, and pass the folder"
    if head.startswith(b"PK\3\4"):
        return (
            f"is cut short, or the first part of a zip in several parts ({error}); copy or "
            "download it again, or join its parts"
        )
    return f"is no zip, or is damaged ({error}); make it again"


def _part_number(path: Path) -> int:
    """The number of this part in a zip of several parts, as its end says; 0 for a whole zip."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - LARGEST_END))
        tail = file.read()
    end = tail.rfind(END)
    number = int.from_bytes(tail[end + 4 : end + 6], "little") if end >= 0 else 0
    return number if number != 2**16 - 1 else 0  # zip64 keeps it elsewhere
