"""Rows of the quality benchmarks as files: latents, and a JSON of settings, times, curves, scores.

A row is there once its JSON is there. It is written after the latents, whole or not at all, so that
several processes may write to one folder.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, dataclass, fields, is_dataclass
from pathlib import Path
from typing import TypeVar

from benchmarks import report
from facsimile.plan import InversionPlan
from facsimile.refine import Phase, Recipe, Term, Variable
from facsimile.stylegan import Latents

K = TypeVar("K")

HOW = ("batch", "device", "tf32")
"""Settings on which a result depends by rounding alone."""


@dataclass(frozen=True)
class Row:
    """A recipe's result on all faces."""

    name: str
    latents: Latents | None
    """None if only the record was brought here from another machine."""
    record: dict
    """Content of its JSON file: settings, seconds per image, mean and per-image scores."""

    @property
    def mean(self) -> dict[str, float]:
        return self.record["mean"]

    @property
    def seconds(self) -> float | None:
        """Of an image; None where other work slowed the machine."""
        return self.record["seconds_per_image"] if self.record.get("timed", True) else None


def row_path(folder: Path, recipe: str, settings: dict) -> Path:
    """The JSON of a row; its latents lie beside it, see `latents_path`."""
    key = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]
    return folder / f"{_stem(recipe)}-{key}.json"


def latents_path(path: Path) -> Path:
    return path.with_suffix(".safetensors")


def find(folder: Path, recipe: str, settings: dict, *, stored: bool) -> Path | None:
    """The JSON of the row with these settings, or None.

    stored: a row that was computed in another way (HOW), such as on another device, counts too, and
    one without its latents.
    """
    paths = sorted(folder.glob(f"{_stem(recipe)}-*.json"))
    # Of several stored rows one with latents comes first.
    for path in sorted(paths, key=lambda path: not latents_path(path).is_file()):
        if stored or latents_path(path).is_file():
            other = json.loads(path.read_text())["settings"]
            if "plan" in other:  # not of an edit, whose settings are complete
                other = other | {"plan": plan_settings(other["plan"])}
            if other == settings or (stored and what(other) == what(settings)):
                return path
    return None


def what(settings: dict) -> dict:
    """The settings without HOW."""
    return {name: value for name, value in settings.items() if name not in HOW}


class MissingRow(ValueError):
    """Only stored rows were asked for, and this one is not there."""


def collect(runs: Mapping[K, Callable[[], Row]]) -> tuple[dict[K, Row], list[str]]:
    """The rows under their names, and a line for each one that is missing among stored ones."""
    rows, missing = {}, []
    for name, run in runs.items():
        try:
            rows[name] = run()
        except MissingRow as error:
            missing.append(f"left out: {error}")
    return rows, missing


def plan_settings(record: dict) -> dict:
    """What a result depends on, of a plan's `to_dict`: without what is at its default, so that a
    later option changes no row.

    Nor does the generator's name, as its fingerprint is there, or the network that scores who is
    shown, which the machine that refines may lack.
    """
    names = ("generator", "identity")
    plan = without_defaults({k: x for k, x in record.items() if k not in names}, InversionPlan)
    recipe = without_defaults(plan["recipe"], Recipe)
    phases = [without_defaults(phase, Phase) for phase in recipe["phases"]]
    for phase in phases:
        phase["variables"] = [without_defaults(x, Variable) for x in phase["variables"]]
        phase["terms"] = [without_defaults(x, Term) for x in phase["terms"]]
    if recipe.get("feature_reg") is not None:
        recipe["feature_reg"] = without_defaults(recipe["feature_reg"], Term)
    return plan | {"recipe": recipe | {"phases": phases}}


def without_defaults(record: dict, kind: type) -> dict:
    """A dataclass' `asdict`, as JSON holds it, without the fields that are at their default."""
    defaults = {x.name: x.default for x in fields(kind) if x.default is not MISSING}
    plain = {
        name: asdict(value) if is_dataclass(value) else value for name, value in defaults.items()
    }
    plain = json.loads(json.dumps(plain))
    return {k: x for k, x in record.items() if k not in plain or x != plain[k]}


def _stem(recipe: str) -> str:
    return recipe.replace("/", "_").replace(" ", "")


def seconds_cell(row: Row, digits: int = 1) -> str:
    """The seconds of an image for a table; empty where they were not measured."""
    return "" if row.seconds is None else f"{row.seconds:.{digits}f}"


def machines(rows: list[Row]) -> str:
    """A line that says where and how the rows were computed."""
    described = dict.fromkeys(map(_how, rows))
    untimed = any(row.seconds is None for row in rows)
    note = "; seconds are left out where other work ran beside" if untimed else ""
    return f"Computed on {'; on '.join(described)}{note}."


def _how(row: Row) -> str:
    machine, settings = row.record["machine"], row.record["settings"]
    precision = ", TensorFloat-32" if settings.get("tf32") else ""
    return f"{report.describe(machine)}{precision}, in batches of {settings['batch']}"
