"""The files of a whole run: overview.png and summary.json."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from facsimile import metrics

from . import pictures
from .json_files import read_json, write_json
from .result import SCORES

FILE = "summary.json"
OVERVIEW = 64
"""Pairs in overview.png."""


def read_records(out: Path, names: Sequence[str], photos: Sequence[Path]) -> list[dict]:
    """The contents of scores.json of the faces of these names, in the order of the photos."""
    records = []
    for name in names:
        record = read_json(out / name / SCORES)
        record.pop("metric_descriptions", None)
        if record:
            records.append(record)
    order = {str(photo.resolve()): i for i, photo in enumerate(photos)}
    records.sort(key=lambda record: (order.get(record["source"], len(order)), record["name"]))
    return records


def write(out: Path, records: Sequence[dict], failed: dict[str, str], plan: dict) -> None:
    """Write both files; failed: photo -> reason. Raises OSError."""
    _write_overview(out, records)
    summary = {
        "plan": plan,
        "done": len(records),
        "failed": failed,
        "mean_scores": mean_scores(records),
        "photos": [{k: v for k, v in r.items() if k != "plan"} for r in records],
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
    """Mean of every score over the records of scores.json; infinite values ("inf") are left out."""
    scores: dict[str, list[float]] = {}
    for record in records:
        for name, value in record["scores"].items():
            scores.setdefault(name, [])
            if not isinstance(value, str):
                scores[name].append(value)
    return {name: metrics.jsonable(metrics.mean(v)) for name, v in scores.items() if v}
