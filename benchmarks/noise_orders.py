"""In which order code and noise maps are found, and under which terms.

"Image2StyleGAN++: How to Edit the Embedded Images?", section 4.2 and figure 2. Of every phase the
latents of the lowest loss stay, so that a phase can lose pixels only where its other terms gain.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import tyro

from benchmarks import faces, report
from benchmarks.bench import Bench
from benchmarks.noise import describe, table
from benchmarks.rows import Row, collect, machines
from facsimile import metrics
from facsimile.refine import Phase, Recipe
from facsimile.refine.recipes.image2stylegan_pp import NOISE, NOISE_VARIABLE
from facsimile.refine.recipes.shared import CODE, PERCEPTUAL, PIXEL

W = replace(CODE, betas=(0.9, 0.999), steps=5000)
N = replace(NOISE, steps=3000)
JOINT = replace(W, name="code and noise", variables=(*W.variables, NOISE_VARIABLE))
ORDERS: Mapping[str, tuple[Phase, ...]] = {
    "w": (W,),
    "w and n, all terms": (JOINT,),
    "w and n, pixels only": (replace(JOINT, terms=(PIXEL,)),),
    "w and n, pixels only for n": (
        replace(JOINT, terms=(PIXEL, replace(PERCEPTUAL, variables=("code",)))),
    ),
    "w, n": (W, N),
    "w, n, w": (W, N, replace(W, name="code again")),
    "w, n, w, n": (W, N, replace(W, name="code again"), replace(N, name="noise again")),
}
"""w moves under the pixel and the perceptual term, n alone under the pixel term."""
PAPER = {"w": "19 to 22", "w and n, pixels only for n": "33.3", "w, n": "39 to 45", "w, n, w": "20"}
"""PSNR in dB, at 1024 px."""
FALLS = 1.0
"""PSNR that counts as a fall, in dB."""


@dataclass(frozen=True, kw_only=True)
class Options(faces.Options):
    """Refine W+ codes and noise maps jointly, and in turns, on the same faces.

    "fresh": the same code synthesized with random noise in place of the maps. Writes orders.md,
    orders.json and orders.png.
    """

    count: int = 10
    steps: int = 5000
    """Of the first phase; every later one has three fifths."""
    batch: int = 10
    out: Path = Path("runs/noise-orders")
    orders: tuple[str, ...] = tuple(ORDERS)


def main(options: Options) -> None:
    bench = Bench.load(options)
    runs = {name: partial(bench.run, recipe(name), init="mean") for name in options.orders}
    rows, missing = collect(runs)
    if options.rows_only:
        return
    if not rows:
        raise ValueError(missing[0].removeprefix("left out: "))
    first = next(iter(rows.values()))
    described = [describe(bench, row, first) | {"name": name} for name, row in rows.items()]
    lines = [table(described), "", machines([*rows.values()]), "", *findings(rows), *missing]
    text = "\n".join(lines)
    report.write_text(options.out / "orders.md", text + "\n")
    report.write_json(options.out / "orders.json", metrics.jsonable(described))
    print(text)
    sheet = {"target": bench.faces.images}
    for name, row in rows.items():
        sheet[name] = bench.synthesize(row.latents)
        if row.latents.noise is not None:
            sheet[f"{name}: fresh noise"] = bench.synthesize(row.latents, "random")
    faces.save_picture(options.out / "orders.png", sheet)


def recipe(order: str) -> Recipe:
    return Recipe(name=order.replace(",", ""), space="w+", phases=ORDERS[order])


def findings(rows: Mapping[str, Row]) -> list[str]:
    """What the paper says of the orders, of the mean PSNR here."""
    psnr = {name: row.mean["psnr"] for name, row in rows.items()}
    joint, best = "w and n, pixels only for n", "w, n"
    claims = [
        (f"{best} at 39 dB, or 20 dB above w", ("w", best), lambda: reaches(psnr)),
        (f"{joint} below {best}", (joint, best), lambda: psnr[joint] < psnr[best]),
        (
            f"w and n, all terms below {joint}",
            ("w and n, all terms", joint),
            lambda: psnr["w and n, all terms"] < psnr[joint],
        ),
        ("w again falls", (best, "w, n, w"), lambda: psnr["w, n, w"] < psnr[best] - FALLS),
        (
            "n again does not bring it back",
            (best, "w, n, w, n"),
            lambda: psnr["w, n, w, n"] < psnr[best] - FALLS,
        ),
    ]
    lines = []
    for claim, names, is_met in claims:
        if set(names) <= psnr.keys():
            numbers = ", ".join(f"{name}: {psnr[name]:.2f} dB" for name in names)
            lines.append(f"{'holds' if is_met() else 'FAILS'}: {claim} ({numbers})")
    printed = "; ".join(f"{name}: {x}" for name, x in PAPER.items())
    return [*lines, "", f"The paper's PSNR, in dB: {printed}."]


def reaches(psnr: Mapping[str, float]) -> bool:
    return psnr["w, n"] >= 39 or psnr["w, n"] >= psnr["w"] + 20


if __name__ == "__main__":
    main(tyro.cli(Options))
