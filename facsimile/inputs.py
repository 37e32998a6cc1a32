"""Which photos a command takes, and the names of what is made of them."""

import os
import re
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path

from facsimile import data

_RESERVED = re.compile(
    r"(con|conin\$|conout\$|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])\s*(\.|$)", re.IGNORECASE
)
"""Names that Windows keeps for devices, whatever follows a dot."""
_FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f-\x9f\ud800-\udfff]')
"""Characters that Windows does not allow in file names, and bytes that are no UTF-8."""
MOST_BYTES = 200
"""Of a name, which file systems limit to 255 with all that is added to it, as -face2.png.part."""


def photos_for(paths: list[Path], out: Path) -> list[Path]:
    """Photos, and those in folders and zips, except what lies in `out`; see `data.find_photos`.

    Raises FileNotFoundError, and ValueError if there is none or `out` is one of the folders.
    """
    if not paths:
        raise ValueError("no photo was named; give photos, or folders or zips of photos")
    if any(path.is_dir() and path.resolve() == out.resolve() for path in paths):
        raise ValueError(
            f"got {out} for both the photos and their results, which the next run would take for "
            "photos; choose another --out"
        )
    photos = data.find_photos(paths, exclude=out)
    if not photos:
        raise ValueError(
            f"no photo found in {', '.join(map(str, paths))}; expected photos, or folders "
            "or zips of photos"
        )
    return photos


def safe_name(name: str) -> str:
    """A file or folder name that Windows accepts too; most names are returned as they are."""
    name = _FORBIDDEN.sub("_", name).encode()[:MOST_BYTES].decode(errors="ignore").rstrip(". ")
    return f"_{name}" if not name or _RESERVED.match(name) else name


def one_line(text: str) -> str:
    """A message in which a name of a file may hold new lines, with these as \\n."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", lambda c: ascii(c[0])[1:-1], text)


def candidate_names(stem: str) -> Iterator[str]:
    """Names for the results of a photo, in order of preference: stem, stem-2, stem-3, .."""
    stem = safe_name(stem)
    yield stem
    number = 2
    while True:
        yield f"{stem}-{number}"
        number += 1


def path_key(path: Path) -> str:
    """Equal for paths of the same file on a file system that ignores case, or Unicode's forms."""
    return _name_key(resolved(path))


def resolved(path: Path) -> str:
    """The path without links; one whose links lead in a circle as it is."""
    return os.path.realpath(path)


def _name_key(name: str) -> str:
    # A Mac stores "é" as two characters; others keep whichever form a name has.
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def path_keys(paths: Iterable[Path]) -> set[str]:
    return {path_key(path) for path in paths}


def unique_name(stem: str, out: Path, taken: set[str], suffix: str = ".png") -> str:
    """The first candidate for which OUT/NAME + suffix is not in `taken`, a set of `path_key`s.

    The name is added to `taken`.
    """
    for name in candidate_names(stem):
        key = path_key(out / f"{name}{suffix}")
        if key not in taken:
            break
    taken.add(key)
    return name


def natural_key(name: str) -> list[tuple[str, int]]:
    """Sorts "me-2" before "me-10"."""
    parts = re.findall(r"(\D*)(\d*)", name.casefold())
    return [(text, int(number or -1)) for text, number in parts]


def number_duplicates(stems: Iterable[str]) -> list[str]:
    """A name for each stem, in order; one that occurs again, in any form, gets a number."""
    names: list[str] = []
    taken: set[str] = set()
    for stem in stems:
        name = next(x for x in candidate_names(stem) if _name_key(x) not in taken)
        taken.add(_name_key(name))
        names.append(name)
    return names


def check_names(names: list[str], count: int) -> list[str]:
    """The names; ValueError unless there are `count`, different and usable as names of files."""
    usable = number_duplicates(names)
    if len(names) != count or names != usable:
        raise ValueError(
            f"got the names {', '.join(names)} for {count} images; expected one for each, all "
            f"different and usable as names of files, such as {', '.join(usable[:count])}"
        )
    return names
