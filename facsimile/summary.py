"""What a job leaves for the whole run: overview.png and summary.json."""

import json
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from facsimile import metrics

from . import pictures
from .result import SCORES, write_json

FILE = "summary.json"
OVERVIEW = 64
"""Pairs in overview.png."""


def records(out: Path, names: Sequence[str], photos: Sequence[Path]) -> list[dict]:
    """What scores.json says of the faces of these names, in the order of the photos."""
    found = []
    for name in names:
        record = read_json(out / name / SCORES)
        record.pop("what_the_scores_mean", None)
        if record:
            found.append(record)
    order = {str(photo.resolve()): i for i, photo in enumerate(photos)}
    found.sort(key=lambda record: (order.get(record["source"], len(order)), record["name"]))
    return found


def write(out: Path, records: Sequence[dict], failed: dict[str, str], settings: dict) -> None:
    """Write both; failed: photo -> reason. Raises OSError."""
    _write_overview(out, records)
    summary = {
        "settings": settings,
        "done": len(records),
        "failed": failed,
        "mean_scores": mean_scores(records),
        "photos": [{k: v for k, v in r.items() if k != "settings"} for r in records],
    }
    write_json(out / FILE, summary)


def _write_overview(out: Path, records: Sequence[dict]) -> None:
    pairs = []
    for record in records[:OVERVIEW]:
        folder = out / record["name"]
        with (
            Image.open(folder / "target.png") as a,
            Image.open(folder / "reconstruction.png") as b,
        ):
            pairs.append((a.copy(), b.copy()))
    if not pairs:
        return
    overview = out / "overview.png"
    temporary = overview.with_name("overview.part.png")
    try:
        pictures.overview(pairs).save(temporary)
        temporary.replace(overview)
    finally:
        temporary.unlink(missing_ok=True)


def mean_scores(records: Sequence[dict]) -> dict[str, float | str]:
    """Mean of every score over records as scores.json has them; strings ("inf") stay out of it."""
    found: dict[str, list[float]] = {}
    for record in records:
        for name, value in record["scores"].items():
            found.setdefault(name, [])
            if not isinstance(value, str):
                found[name].append(value)
    return {name: metrics.jsonable(metrics.mean(v)) for name, v in found.items() if v}


def read_json(path: Path) -> dict:
    """{} for a file that is not there or is broken."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
