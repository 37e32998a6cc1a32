"""Every latent space on the same faces: Table 1 of the F/Z+ paper, for any generator.

"Revisiting Latent Space of GAN Inversion for Real Image Editing", Table 1: 50 CelebA-HQ faces,
StyleGAN2 FFHQ at 1024 px. Its numbers are shown for the ranking only: its SSIM is another one, and
so is its generator.
"""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import tyro

from benchmarks import faces, report
from benchmarks.bench import Bench
from benchmarks.non_inferiority import MARGIN, p_value
from benchmarks.rows import Row, collect, machines, seconds_cell
from facsimile.refine import Recipe, Term, recipes
from facsimile.stylegan.spaces import parse

# MSE on [-1, 1], SSIM.
PAPER = {
    "z": (0.18149, 0.61155),
    "z+": (0.12117, 0.68930),
    "w+": (0.04872, 0.76101),
    "p_n+": (0.11965, 0.68190),
    "f/p_n+": (0.01743, 0.81479),
    "f/z": (0.02679, 0.78965),
    "f/z+": (0.01742, 0.81477),
    "in-domain": (0.02155, 0.64993),
}
ORDER = ("z", "z+", "w+", "f/z", "f/z+")
"""From the largest MSE to the smallest, in the paper."""
MSE_TOLERANCE = 0.10
"""F/Z+ counts as being as good as F/W+ (P_N) up to this relative difference in MSE."""

SEEDED, PRINTED, TRUNCATED = "seeded", "printed", "truncated"
"""What may follow the name of a recipe: features start at the feature encoder's prediction; the
paper's method as printed; the same with the truncation of the paper's code."""
WITH_FEATURE = ("f/z", "f/z+", "f/w+", "f/p_n+")
ROWS = (
    *faces.RECIPES,
    "in-domain",
    *(f"{name} {SEEDED}" for name in WITH_FEATURE),
    *(f"{name} {PRINTED}" for name in ("z", "z+", "w+", "p_n+", *WITH_FEATURE)),
    *(f"{name} {TRUNCATED}" for name in ("f/z+", "f/p_n+")),
)
IN_DOMAIN_SHARE = 1 / 12
"""Steps of IDInvert's own method, 100, of the 1,200."""


@dataclass(frozen=True, kw_only=True)
class Options(faces.Options):
    """Invert the same faces in every latent space and compare, as the F/Z+ paper's Table 1 does.

    Prints a table; writes a JSON and the latents of every recipe, spaces.md and spaces.png.
    """

    out: Path = Path("runs/spaces")
    count: int = 50
    steps: int = 1200
    batch: int = 10
    recipes: tuple[str, ...] = ()
    """One row each: a name of refine.recipes, alone, or followed by "seeded" (features start at the
    feature encoder's prediction and are held there), "printed" (the F/Z+ paper's method as printed:
    seeded, its Adam and weights, and its start of the code) or "truncated" (printed, with the
    truncation of the paper's code). None: all for which there are encoders."""
    statistics_samples: int | None = 1_000_000


def main(options: Options) -> None:
    bench = Bench.load(options)
    names = options.recipes or possible(bench)
    rows, missing = collect({name: partial(run, bench, name) for name in names})
    if options.rows_only:
        return
    text = "\n".join(
        [table(rows), "", machines(list(rows.values())), "", *findings(rows), *missing]
    )
    report.write_text(options.out / "spaces.md", text + "\n")
    print(text)
    faces.save_picture(options.out / "spaces.png", bench.pictures(rows))


def possible(bench: Bench) -> list[str]:
    """Those of ROWS for which there are encoders."""
    names = list(ROWS)
    if not bench.studio.encoders.has("in-domain"):
        names.remove("in-domain")
    if bench.encoder_layer is None:
        names = [x for x in names if not (x.startswith("f/") and x.partition(" ")[2])]
    return names


def run(bench: Bench, name: str) -> Row:
    """The row of a recipe's name and what may follow it."""
    base, _, form = name.partition(" ")
    if form not in (SEEDED, PRINTED, TRUNCATED):
        share = IN_DOMAIN_SHARE if base == "in-domain" else 1
        return bench.run(name, steps=round(bench.options.steps * share))
    recipe = recipes.get(base)
    space, has_feature = parse(recipe.space)
    init = "encoder" if has_feature else None
    if form == SEEDED:
        return bench.run(recipe, init=init)
    # The paper's encoder predicts the feature alone; z starts at random, and w at its mean.
    code = space.default_init if has_feature else None
    return bench.run(printed(recipe, name, form == TRUNCATED), init=init, code=code)


def printed(recipe: Recipe, name: str, truncated: bool) -> Recipe:
    """The recipe as the F/Z+ paper prints it (sections 3.3 and 4): Adam's own betas, both weights
    10. truncated: with the truncation that the paper's code applies, and the paper does not name.
    """
    phases = tuple(replace(phase, betas=(0.9, 0.999)) for phase in recipe.phases)
    recipe = replace(recipe, name=name, phases=phases).with_weight("perceptual", 10.0)
    if recipe.feature_reg is not None:
        recipe = replace(recipe, feature_reg=Term("feature_reg", 10.0))
    return replace(recipe, truncation_psi=0.7, truncation_cutoff=8) if truncated else recipe


def table(rows: dict[str, Row]) -> str:
    first = next(iter(rows.values()))
    names = [n for n in ("mse", "psnr", "ssim", "perceptual", "judge") if n in first.mean]
    head = ("", *names, "deviation", "s/image", "paper's mse", "paper's ssim")
    lines = []
    for name, row in rows.items():
        scores = [_cell(row, n) for n in names]
        paper = [f"{x:.5f}" for x in PAPER.get(name.removesuffix(f" {PRINTED}"), ())] or ["", ""]
        lines.append((name, *scores, f"{row.mean['deviation']:.3f}", seconds_cell(row), *paper))
    return report.table(head, lines)


def _cell(row: Row, score: str) -> str:
    value = row.mean.get(score)
    return "" if value is None else f"{value:.{2 if score == 'psnr' else 5}f}"


def findings(rows: dict[str, Row]) -> list[str]:
    """Which of the paper's statements hold here, in each form of the rows."""
    lines = []
    for form in ("", f" {SEEDED}", f" {PRINTED}", f" {TRUNCATED}"):
        mse = {name: rows[name + form].mean["mse"] for name in PAPER if name + form in rows}
        claims = [
            (f"{worse}{form} > {better}{form}", worse, better, mse[worse] > mse[better])
            for worse, better in zip(ORDER, ORDER[1:], strict=False)
            if {worse, better} <= mse.keys()
        ]
        if {"f/z+", "f/p_n+"} <= mse.keys():
            is_met = mse["f/z+"] <= mse["f/p_n+"] * (1 + MSE_TOLERANCE)
            claim = f"f/z+{form} within {MSE_TOLERANCE:.0%} of f/p_n+{form}"
            claims.append((claim, "f/z+", "f/p_n+", is_met))
        lines += [
            f"{'holds' if is_met else 'FAILS'}: MSE {claim} ({mse[a]:.5f}, {mse[b]:.5f})"
            for claim, a, b, is_met in claims
        ]
        for other in ("f/p_n+", "f/w+"):
            if {f"f/z+{form}", other + form} <= rows.keys():
                lines += non_inferiority(rows, f"f/z+{form}", other + form)
    return lines


def non_inferiority(rows: dict[str, Row], name: str, other: str) -> list[str]:
    """Whether a row is no worse than another by more than MARGIN, for MSE and SSIM: p-values."""
    lines = []
    for score, sign in (("mse", -1), ("ssim", 1)):
        a, b = ([sign * x for x in rows[n].record["per_image"][score]] for n in (name, other))
        p = p_value(a, b)
        said = "holds" if p < 0.05 else "not shown"
        lines.append(
            f"{said}: {score.upper()} of {name} no worse than {other} by {MARGIN:g} (p = {p:.3g})"
        )
    return lines


if __name__ == "__main__":
    main(tyro.cli(Options))
