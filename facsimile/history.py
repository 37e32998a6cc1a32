"""history.json: the edits that led to a result, one upon the other, so that they can be replayed.

An entry says which edit was made, with which parameters, of which inputs. An input is a photo,
inverted as the entry says; latents from a file; or the result of another entry, which is inside.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from facsimile import data
from facsimile.stylegan import Latents

from .edit_result import EditResult
from .json_files import read_json
from .local_edits import read_target
from .result import Result
from .studio import Studio

FILE = "history.json"
FORMAT, VERSION = "facsimile history", 1


def describe(
    edit: str,
    parameters: Mapping[str, Any],
    inputs: Mapping[Path, Path | None],
    photos: Sequence[Path],
    inversion: Mapping[str, Any],
) -> dict[str, Any]:
    """The entry of an edit.

    inputs: every input with the file of its latents; None for a photo that failed. photos: those of
    them that were inverted on the way, with the settings `inversion`, keywords of `Studio.plan`.
    """
    files = {
        name: str(Path(x).resolve()) if isinstance(x, str) and x and Path(x).is_file() else x
        for name, x in parameters.items()
    }
    entry: dict[str, Any] = {"format": FORMAT, "version": VERSION, "edit": edit}
    entry |= {"parameters": files, "inputs": []}
    if photos:
        entry["inversion"] = dict(inversion)
    for path, file in inputs.items():
        if path in photos and file is not None:
            photo = {"photo": str(path.resolve()), "digest": data.photo_digest(path)}
            entry["inputs"].append(photo)
        elif file is not None:
            earlier = read_json(file.parent / FILE)
            latents = {"latents": str(file.resolve()), "digest": _digest(file)}
            entry["inputs"].append(earlier if earlier.get("format") == FORMAT else latents)
    return entry


def read(path: str | Path) -> dict[str, Any]:
    """The entry in a file, or in a folder's history.json; FileNotFoundError or ValueError."""
    path = Path(path)
    path = path / FILE if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist; expected the {FILE} of an edit, or its folder"
        )
    entry = read_json(path)
    if entry.get("format") != FORMAT or entry.get("version") != VERSION:
        raise ValueError(
            f"{path}: got the format {entry.get('format')!r} of version {entry.get('version')!r}, "
            f"expected {FORMAT!r} of version {VERSION}, as facsimile edit writes it"
        )
    return entry


def replay(studio: Studio, entry: Mapping[str, Any]) -> EditResult:
    """Invert the photos and make the edits of an entry again, the first ones first.

    Raises FileNotFoundError for an input that is gone, and ValueError for one that has changed.
    """
    inputs: list[Latents | Result] = []
    targets: list[Tensor | None] = []
    for one in entry["inputs"]:
        if "edit" in one:
            inputs.append(replay(studio, one).latents)
            targets.append(None)
        elif "photo" in one:
            path = Path(one["photo"])
            _check(path, data.photo_digest(path), one["digest"])
            result = studio.invert(path, **entry["inversion"])
            inputs.append(result)
            targets.append(result.targets)
        else:
            path = Path(one["latents"])
            latents = Latents.load(path, studio.generator)
            _check(path, _digest(path), one["digest"])
            inputs.append(latents)
            targets.append(read_target(path, len(latents), studio.generator))
    return studio.edit(inputs, entry["edit"], targets=targets, **entry["parameters"])


def _check(path: Path, digest: str, expected: str) -> None:
    if digest != expected:
        raise ValueError(
            f"{path}: got a file with the digest {digest}, expected {expected}, as when it was "
            "edited; put that file there, or edit this one anew"
        )


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
