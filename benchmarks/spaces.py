"""Every latent space on the same faces: Table 1 of the F/Z+ paper, for any generator.

"Revisiting Latent Space of GAN Inversion for Real Image Editing", Table 1: 50 CelebA-HQ faces,
StyleGAN2 FFHQ at 1024 px. Its numbers are shown for the ranking only: its SSIM is another one, and
so is its generator.
"""

from dataclasses import dataclass
from pathlib import Path

import tyro

from benchmarks import faces, report
from benchmarks.bench import Bench, Row
from facsimile.refine import recipes
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
}
ORDER = ("z", "z+", "w+", "f/z", "f/z+")
"""From the largest MSE to the smallest, in the paper."""
MSE_TOLERANCE = 0.10
"""F/Z+ counts as being as good as F/W+ (P_N) up to this relative difference in MSE."""


@dataclass(frozen=True, kw_only=True)
class Options(faces.Options):
    """Invert the same faces in every latent space and compare, as the F/Z+ paper's Table 1 does.

    Prints a table; writes a JSON and the latents of every recipe, spaces.md and spaces.png.
    """

    out: Path = Path("runs/spaces")
    recipes: tuple[str, ...] = faces.RECIPES
    """One row each, by the names of refine.recipes."""
    seeded: bool = False
    """Features start at the prediction of the feature encoder, as in the paper."""


def main(options: Options) -> None:
    bench = Bench.load(options)
    rows = [bench.run(name, init=_init(name, options.seeded)) for name in options.recipes]
    text = "\n".join([table(rows), "", *findings(rows)])
    (options.out / "spaces.md").write_text(text + "\n")
    print(text)
    pictures = {row.name: bench.synthesize(row.latents) for row in rows}
    faces.save_picture(options.out / "spaces.png", {"target": bench.faces.images} | pictures)


def _init(name: str, seeded: bool) -> str | None:
    _, has_feature = parse(recipes.get(name).space)
    return "encoder" if seeded and has_feature else None


def table(rows: list[Row]) -> str:
    names = [n for n in ("mse", "psnr", "ssim", "perceptual", "judge") if n in rows[0].mean]
    head = ("", *names, "deviation", "s/image", "paper's mse", "paper's ssim")
    lines = []
    for row in rows:
        scores = [f"{row.mean[n]:.2f}" if n == "psnr" else f"{row.mean[n]:.5f}" for n in names]
        paper = [f"{x:.5f}" for x in PAPER.get(row.name, ())] or ["", ""]
        seconds = f"{row.record['seconds_per_image']:.1f}"
        lines.append((row.name, *scores, f"{row.mean['deviation']:.3f}", seconds, *paper))
    return report.table(head, lines)


def findings(rows: list[Row]) -> list[str]:
    """Which of the paper's statements about the mean MSE hold here."""
    mse = {row.name: row.mean["mse"] for row in rows}
    claims = [
        (f"{worse} > {better}", worse, better, mse[worse] > mse[better])
        for worse, better in zip(ORDER, ORDER[1:], strict=False)
        if {worse, better} <= mse.keys()
    ]
    if {"f/z+", "f/p_n+"} <= mse.keys():
        is_met = mse["f/z+"] <= mse["f/p_n+"] * (1 + MSE_TOLERANCE)
        claims.append((f"f/z+ within {MSE_TOLERANCE:.0%} of f/p_n+", "f/z+", "f/p_n+", is_met))
    return [
        f"{'holds' if is_met else 'FAILS'}: MSE {claim} ({mse[a]:.5f}, {mse[b]:.5f})"
        for claim, a, b, is_met in claims
    ]


if __name__ == "__main__":
    main(tyro.cli(Options))
