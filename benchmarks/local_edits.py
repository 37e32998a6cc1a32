"""Crossovers and scribbles: the seam, what changes outside of it, and what a scribble achieves.

"Image2StyleGAN++: How to Edit the Embedded Images?", Algorithms 3 and 5, and Table 2 (the change of
a classifier's confidence by scribbles).

Legend: N faces, R side of the image.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import tyro
from torch import Tensor

from benchmarks import attributes, faces, report
from benchmarks.attributes import Attributes
from benchmarks.bench import Bench
from benchmarks.edit_rows import edit_inputs, edited
from benchmarks.embeddings import psnr
from benchmarks.inpainting import MASKS, across_seam
from benchmarks.rows import Row, collect, machines
from benchmarks.scribbles import SCRIBBLES, drawn
from facsimile.data.masks import make_mask
from facsimile.editing import crossover, get, scribble
from facsimile.editing.building_blocks import first_layers
from facsimile.editing.local_edit import LocalEdit, blur, enlarge
from facsimile.stylegan import Latents

CROSSED = ("eyes", "nose and mouth", "left half")
"""Of inpainting.MASKS: where the first face gets the second."""
MOST_SEAM, LEAST_OUTSIDE = 1.5, 37.0
"""Gradient across the seam, as a share of the photo's there; dB to the unedited inversion."""


@dataclass(frozen=True, kw_only=True)
class Options(faces.Options):
    """Cross every face with the next under three masks, and scribble on it in four ways.

    The unedited inversion has W+ codes and noise maps. Writes edits.md and edits.png.
    """

    count: int = 10
    steps: int = 500
    """Of the inversion."""
    batch: int = 10
    paper: bool = False
    """The paper's numbers of steps of the edits."""
    edits: tuple[str, ...] = (*CROSSED, *SCRIBBLES)
    labels: Path | None = None
    """JSON of attributes, see benchmarks.attributes; None: no confidence is measured."""
    labelled: Path | None = None
    """Folder or .zip of the training faces that the labels are of."""
    labelled_count: int = 3700
    attribute_steps: int = 2000
    """Of the training of the network that knows attributes."""
    out: Path = Path("runs/local-edits")


@dataclass(frozen=True)
class Edited:
    """One edit of all faces."""

    row: Row
    inside: Tensor
    """(N, 1, R, R) 1 within the seam."""
    mask: Tensor
    """(N, 1, R, R) > 0 wherever the edit acts."""


def main(options: Options) -> None:
    bench = Bench.load(options)
    start = bench.run("w+ +noise", init="mean")
    runs = {
        name: partial(cross if name in CROSSED else scribble_on, bench, start, name)
        for name in options.edits
    }
    rows, missing = collect(runs)
    judge = attribute_judge(options)
    if options.rows_only:
        return
    edits = {name: Edited(row, *masks_of(bench, name)) for name, row in rows.items()}
    before = bench.synthesize(start.latents)
    results = {name: bench.synthesize(x.row.latents) for name, x in edits.items()}
    text = "\n".join(
        [*table(bench, before, edits, results, judge), "", machines([start]), *missing]
    )
    report.write_text(options.out / "edits.md", text + "\n")
    print(text)
    sheet = {"target": bench.faces.images, "inversion": before}
    for name in edits:
        if name in SCRIBBLES:
            sheet[f"{name}: scribble"] = scribble.lay_over(
                bench.faces.images, *drawn(bench.faces.images, name)
            )
        sheet[name] = results[name]
    faces.save_picture(options.out / "edits.png", sheet)


def masks_of(bench: Bench, name: str) -> tuple[Tensor, Tensor]:
    """(within the seam, wherever the edit acts), (N, 1, R, R) each."""
    images = bench.faces.images
    if name in CROSSED:
        hard = make_mask(MASKS[name], images).mask
        return hard, blur(hard, -1.0)
    opacity = drawn(bench.faces.images, name)[1].to(images).expand(len(images), -1, -1, -1)
    wide = enlarge((opacity > 0).to(images), -1.0)
    return (wide > 0.5).to(images), wide


def cross(bench: Bench, start: Row, name: str) -> Row:
    """Algorithm 3: every face with the next one's part."""
    photos, options = bench.faces.images, bench.options
    donors = photos.roll(-1, 0)

    def edit(start_latents: Latents, some: slice) -> LocalEdit:
        inputs = edit_inputs(bench, photos[some], donors[some])
        parameters = get("crossover").complete({"mask": MASKS[name], "paper": options.paper})
        # The function itself takes any number of pairs.
        return crossover.crossover(
            bench.generator, start_latents, start_latents, **parameters, inputs=inputs
        )

    recipe = crossover.recipe(options.paper)
    return edited(bench, f"crossover {name}", start, recipe, {"mask": MASKS[name]}, edit)


def scribble_on(bench: Bench, start: Row, name: str) -> Row:
    """Algorithm 5."""
    photos, options, edit_page = bench.faces.images, bench.options, get("scribble")
    parameters = edit_page.complete({"scribble": name, "mask": name, "paper": options.paper})
    colours, opacity = drawn(bench.faces.images, name)
    mask = (opacity > 0).to(photos)

    def edit(start_latents: Latents, some: slice) -> LocalEdit:
        here = photos[some]
        inputs = edit_inputs(
            bench,
            here,
            mask=mask.expand(len(here), -1, -1, -1),
            picture=(colours[some].expand_as(here), opacity),
        )
        return edit_page(bench.generator, start_latents, inputs=inputs, **parameters)

    layers = first_layers(parameters["layers"], bench.generator.num_ws, parameters["layers_by"])
    recipe = scribble.recipe(layers, parameters["anchor"], options.paper)
    strokes = {"strokes": SCRIBBLES[name].strokes, "colour": SCRIBBLES[name].colour}
    return edited(bench, f"scribble {name}", start, recipe, strokes, edit)


def attribute_judge(options: Options) -> Attributes | None:
    if options.labels is None or options.labelled is None:
        return None
    return attributes.load_or_train(
        options.rows_folder,
        options.labels,
        options.labelled,
        options.labelled_count,
        options.attribute_steps,
        options.device,
    )


def table(
    bench: Bench,
    before: Tensor,
    edits: dict[str, Edited],
    results: dict[str, Tensor],
    judge: Attributes | None,
) -> list[str]:
    """The table, what has to hold, and how far the network of attributes can be trusted."""
    photos, lines, findings = bench.faces.images, [], []
    for name, edit in edits.items():
        inside, outside = edit.inside.cpu(), (edit.mask == 0).to(photos)
        seams = [across_seam(x.cpu(), inside) for x in (results[name], photos)]
        seam = float((seams[0] / seams[1]).mean())
        outside_psnr = psnr(results[name], before, outside)
        lines.append(
            (name, f"{seam:.2f}", f"{outside_psnr:.1f}", *confidence(name, before, results, judge))
        )
        for value, limit, is_met, what in (
            (seam, MOST_SEAM, seam <= MOST_SEAM, "seam, at most"),
            (outside_psnr, LEAST_OUTSIDE, outside_psnr >= LEAST_OUTSIDE, "outside in dB, at least"),
        ):
            outcome = "holds" if is_met else "FAILS"
            findings.append(f"{outcome}: {name}: {what} {limit:g} ({value:.2f})")
    head = ("", "seam", "outside, dB", "attribute before", "after", "paper's change")
    return [report.table(head, lines), "", *trust(judge), *findings]


def confidence(
    name: str, before: Tensor, results: dict[str, Tensor], judge: Attributes | None
) -> Sequence[str]:
    """The attribute of a scribble before and after, means over the faces."""
    if name not in SCRIBBLES:
        return ("", "", "")
    drawing = SCRIBBLES[name]
    paper = f"{'-' if drawing.sign < 0 else '+'}{drawing.paper}"
    if judge is None:
        return ("", "", paper)
    number = attributes.NAMES.index(drawing.attribute)
    means = [float(judge(x)[:, number].mean()) for x in (before, results[name])]
    return (*(f"{x:.3f}" for x in means), paper)


def trust(judge: Attributes | None) -> list[str]:
    if judge is None:
        return []
    named = zip(attributes.NAMES, judge.correlation, strict=True)
    correlations = ", ".join(f"{name} {x:.2f}" for name, x in named)
    return [f"Attributes, ages in centuries; correlation with held-out labels: {correlations}.", ""]


if __name__ == "__main__":
    main(tyro.cli(Options))
