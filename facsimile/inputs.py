"""Which photos a command takes, and the names of what becomes of them."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from facsimile import data


def photos_for(paths: list[Path], out: Path) -> list[Path]:
    """Photos, and those in folders, save what lies in `out`; see `data.find_photos`.

    Raises FileNotFoundError, and ValueError where there is none or `out` is one of the folders.
    """
    if not paths:
        raise ValueError("no photo was named; give photos or folders of photos")
    if any(path.is_dir() and path.resolve() == out.resolve() for path in paths):
        raise ValueError(
            f"got {out} for both the photos and their results, which the next run would take for "
            "photos; choose another --out"
        )
    photos = data.find_photos(paths, but=out)
    if not photos:
        raise ValueError(
            f"no photo found in {', '.join(map(str, paths))}; expected photos or folders of photos"
        )
    return photos


def candidates(stem: str) -> Iterator[str]:
    """Names for the results of a photo; the first that is free is taken."""
    yield stem
    number = 2
    while True:
        yield f"{stem}-{number}"
        number += 1


def keys(paths: Iterable[Path]) -> set[str]:
    """What files are told apart by, also where capitals do not count."""
    return {str(path.resolve()).casefold() for path in paths}


def free_name(stem: str, out: Path, taken: set[str]) -> str:
    """The first name of which OUT/NAME.png is not `taken`, which it then is; see `keys`."""
    for name in candidates(stem):
        key = keys([out / f"{name}.png"])
        if not key & taken:
            break
    taken |= key
    return name
