"""What noise maps add to W+, after the code or with it, and which content they take over.

"Image2StyleGAN++: How to Edit the Embedded Images?", section 4.2 and figure 2: noise maps that are
optimised jointly with the code take over its content, so that fresh noise costs more.
"Image2StyleGAN", section 7: noise that is redrawn at every step gives worse results than one draw.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import tyro

from benchmarks import faces, report
from benchmarks.bench import Bench
from benchmarks.rows import Row, collect, machines, seconds_cell
from facsimile import metrics

CODE = "w+"
VARIANTS = (
    CODE,
    "w+ +noise",
    "w+ +paper-noise",
    "w+ +joint-noise",
    "w+ +redrawn-noise",
    "image2stylegan",
    "image2stylegan +redrawn-noise",
)
PICTURED = {"w+ +noise": "W+ then noise", "w+ +joint-noise": "W+ and noise at once"}


@dataclass(frozen=True, kw_only=True)
class Options(faces.Options):
    """Refine W+ codes alone, then noise maps after them, or with them, on the same faces.

    "fresh": the same code synthesized with random noise in place of the maps. Prints a table;
    writes a JSON and the latents of every recipe, noise.json, noise.md and noise.png.
    """

    out: Path = Path("runs/noise")
    recipes: tuple[str, ...] = VARIANTS
    """W+ alone comes first: the gain of the others is relative to it."""


def main(options: Options) -> None:
    bench = Bench.load(options)
    by_name, missing = collect({name: partial(bench.run, name) for name in options.recipes})
    rows = list(by_name.values())
    if options.rows_only:
        return
    descriptions = [describe(bench, row, rows[0]) for row in rows]
    text = "\n".join([table(descriptions), "", machines(rows), *missing])
    report.write_text(options.out / "noise.md", text + "\n")
    report.write_json(
        options.out / "noise.json", metrics.jsonable({x["name"]: x for x in descriptions})
    )
    print(text)
    pictures = {"target": bench.faces.images}
    for row in rows:
        name = PICTURED.get(row.name)
        if row.name == CODE:
            pictures["W+"] = bench.synthesize(row.latents)
        elif name:
            pictures[name] = bench.synthesize(row.latents)
            pictures[f"{name}: fresh noise"] = bench.synthesize(row.latents, "random")
    faces.save_picture(options.out / "noise.png", pictures)


def describe(bench: Bench, row: Row, first: Row) -> dict:
    psnr = row.record["per_image"]["psnr"]
    fresh = metrics.psnr(bench.synthesize(row.latents, "random"), bench.faces.images).tolist()
    maps = row.latents.noise or bench.generator.noise_maps(1)
    return {
        "name": row.name,
        "psnr": psnr,
        "gain": [a - b for a, b in zip(psnr, first.record["per_image"]["psnr"], strict=True)],
        "psnr_fresh": fresh,
        "fall": [a - b for a, b in zip(psnr, fresh, strict=True)],
        "largest_noise": max(float(x.abs().max()) for x in maps),
        "seconds": seconds_cell(row),
    }


def table(descriptions: list[dict]) -> str:
    lists = ("psnr", "gain", "psnr_fresh", "fall")
    head = ("", "PSNR", "least", "most", "gain", "fresh", "fall", "largest noise", "s/image")
    lines = []
    for x in descriptions:
        mean, gain, fresh, fall = (f"{metrics.mean(x[name]):.2f}" for name in lists)
        extremes = (f"{min(x['psnr']):.2f}", f"{max(x['psnr']):.2f}")
        noise = f"{x['largest_noise']:.1f}"
        lines.append((x["name"], mean, *extremes, gain, fresh, fall, noise, x["seconds"]))
    each = [[x["name"], *(f"{value:.2f}" for value in x["psnr"])] for x in descriptions]
    numbers = [str(i + 1) for i in range(len(descriptions[0]["psnr"]))]
    return f"{report.table(head, lines)}\n\nPSNR per image\n\n{report.table(['', *numbers], each)}"


if __name__ == "__main__":
    main(tyro.cli(Options))
