"""The files of a whole folder of results: overview.png and summary.json.

Both are of all that is in the folder, whichever calls have made it.
"""

from collections.abc import Collection, Sequence
from pathlib import Path

from PIL import Image

from facsimile import metrics

from . import pictures
from .json_files import read_json, write_json
from .plan import digest_of
from .results_folder import read_records

FILE = "summary.json"
OVERVIEW = 64
"""Pairs in overview.png."""


def write(out: Path, failed: dict[str, str], photos: Collection[str]) -> None:
    """Write both files. Raises OSError.

    failed: photo -> reason, of a call that was about `photos`; what other calls have said of other
    photos stays. summary.json has under "settings" every plan that results were made by, with its
    digest, and the digest beside every photo.
    """
    records = read_records(out)
    _write_overview(out, records)
    before = read_json(out / FILE).get("failed", {})
    summary = {
        "done": len(records),
        "failed": {k: v for k, v in before.items() if k not in photos} | failed,
        "settings": {
            digest: {
                "recipe": of_one[0]["plan"].get("recipe", {}).get("name"),
                "done": len(of_one),
                "mean_scores": mean_scores(of_one),
                "plan": of_one[0]["plan"],
            }
            for digest, of_one in _by_plan(records).items()
        },
        "photos": [_line(record) for record in records],
    }
    write_json(out / FILE, summary)


def _by_plan(records: Sequence[dict]) -> dict[str, list[dict]]:
    groups: dict[str, list[dict]] = {}
    for record in records:
        groups.setdefault(digest_of(record.get("plan", {})), []).append(record)
    return groups


def _line(record: dict) -> dict:
    """What the summary says of one face: all but what is the same for many."""
    line = {k: v for k, v in record.items() if k not in ("plan", "metric_descriptions")}
    return line | {"settings": digest_of(record.get("plan", {}))}


def _write_overview(out: Path, records: Sequence[dict]) -> None:
    pairs = {}
    for record in records[:OVERVIEW]:
        folder = out / record["name"]
        try:
            with (
                Image.open(folder / "target.png") as a,
                Image.open(folder / "reconstruction.png") as b,
            ):
                pairs[record["name"]] = (a.copy(), b.copy())
        except OSError:
            continue  # a person has taken a picture out of the folder
    if not pairs:
        return
    overview = out / "overview.png"
    temporary = overview.with_name("overview.part.png")
    try:
        pictures.overview(list(pairs.values()), labels=list(pairs)).save(temporary)
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
