"""Which photos a command takes, and the names of what is made of them."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from facsimile import data

_RESERVED = re.compile(
    r"(con|conin\$|conout\$|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])\s*(\.|$)", re.IGNORECASE
)
"""Names that Windows keeps for devices, whatever follows a dot."""
_FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f]')
"""Characters that Windows does not allow in file names."""


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
    name = _FORBIDDEN.sub("_", name).rstrip(". ")
    return f"_{name}" if not name or _RESERVED.match(name) else name


def candidate_names(stem: str) -> Iterator[str]:
    """Names for the results of a photo, in order of preference: stem, stem-2, stem-3, .."""
    stem = safe_name(stem)
    yield stem
    number = 2
    while True:
        yield f"{stem}-{number}"
        number += 1


def path_key(path: Path) -> str:
    """Equal for paths of the same file on a file system that ignores case."""
    return str(path.resolve()).casefold()


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
    """A name for each stem, in order; a stem that occurs again, in any case, gets a number."""
    names: list[str] = []
    taken: set[str] = set()
    for stem in stems:
        name = next(x for x in candidate_names(stem) if x.casefold() not in taken)
        taken.add(name.casefold())
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
