"""Rows of edits by refinement, as files beside those of recipes, see benchmarks.rows.

Legend: N faces, R side of the image.
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from benchmarks import report
from benchmarks.bench import Bench, join
from benchmarks.rows import MissingRow, Row, find, latents_path, plan_settings, row_path, what
from benchmarks.timing import wait
from facsimile import metrics
from facsimile.editing.local_edit import EditInputs, LocalEdit
from facsimile.local_edits import read_mask
from facsimile.refine import Recipe
from facsimile.stylegan import Latents

EditFaces = Callable[[Latents, slice], LocalEdit]
"""(the latents of some of the faces, which of the N) -> their edit."""


def edited(
    bench: Bench,
    name: str,
    start: Row,
    recipe: Recipe,
    parameters: Mapping[str, Any],
    edit: EditFaces,
) -> Row:
    """The row of an edit of all faces; read from the folder if it is there already.

    start: the row of the unedited latents. recipe: of the edit. told: all else that the result
    depends on. Raises MissingRow where only stored rows are asked for, or the start has no latents.
    """
    options, folder = bench.options, bench.options.rows_folder
    settings = settings_of(bench, start, recipe, parameters)
    if (path := find(folder, name, settings, stored=options.stored)) is not None:
        record = json.loads(path.read_text())
        if latents_path(path).is_file():
            latents = Latents.load(latents_path(path), bench.generator)
            return Row(name, latents.to(options.device), record)
    if options.stored or start.latents is None:
        raise MissingRow(f"{folder} has no row of {name} with latents for these faces")
    began, parts = time.perf_counter(), []
    for first in range(0, len(start.latents), options.batch):
        some = slice(first, first + options.batch)
        parts.append(edit(start.latents[some], some).latents)
    wait(options.device)
    latents = join(parts)
    path = row_path(folder, name, settings)
    folder.mkdir(parents=True, exist_ok=True)
    latents.save(latents_path(path))
    record = {
        "settings": settings,
        "machine": report.machine(options.device),
        "timed": not options.untimed,
        "seconds_per_image": (time.perf_counter() - began) / len(latents),
    }
    report.write_json(path, metrics.jsonable(record))
    return Row(name, latents, record)


def settings_of(bench: Bench, start: Row, recipe: Recipe, parameters: Mapping[str, Any]) -> dict:
    """What the row of an edit depends on, and how it is computed."""
    perceptual, before = bench.studio.perceptual, start.record["settings"]
    of_start = what(before) | {"plan": plan_settings(before["plan"])}
    given = {
        "start": of_start,
        "edit": asdict(recipe) | dict(parameters),
        "perceptual": "none" if perceptual is None else perceptual.name,
        "batch": bench.options.batch,
        "device": torch.device(bench.options.device).type,
        "tf32": bench.options.tf32,
    }
    return json.loads(json.dumps(given))


def edit_inputs(
    bench: Bench,
    *targets: Tensor,
    mask: Tensor | None = None,
    picture: tuple[Tensor, Tensor] | None = None,
) -> EditInputs:
    """What an edit is given here. targets: (N, 3, R, R) each. mask: (N, 1, R, R) whatever its
    parameter says; None: the mask that a text stands for. picture: with its opacity."""
    perceptual = bench.studio.perceptual

    def read_picture(_: str) -> tuple[Tensor, Tensor]:
        assert picture is not None
        return picture

    return EditInputs(
        targets=targets,
        networks={} if perceptual is None else {"perceptual": perceptual},
        read_mask=read_mask if mask is None else lambda *_: mask,
        read_picture=read_picture,
    )
