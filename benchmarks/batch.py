"""Does a batch give each image the result of a run of its own?"""

import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

from benchmarks import faces, report
from benchmarks.bench import Bench
from benchmarks.rows import Row

LIMIT = 0.02
COMPARED = ("mse", "perceptual")


@dataclass(frozen=True, kw_only=True)
class Options(faces.Options):
    """Invert a batch at once and each of its images alone, in float32, and compare the scores.

    Images of a batch do not influence one another; only the rounding of other convolution routines
    could differ, and many steps amplify it. Exits with status 1 if a score differs by over 2 %.
    """

    count: int = 8
    steps: int = 300
    batch: int = 8
    out: Path = Path("runs/batch")
    recipes: tuple[str, ...] = (*faces.RECIPES, "w+ +noise")
    """One row each, by the names of refine.recipes."""


def main(options: Options) -> None:
    bench = Bench.load(options)
    differences = {
        name: compare(bench.run(name), bench.run(name, batch=1)) for name in options.recipes
    }
    names = list(next(iter(differences.values())))
    lines = [
        (recipe, *(f"{100 * scores[name]:.3f} %" for name in names))
        for recipe, scores in differences.items()
    ]
    print(f"largest relative difference, a batch of {options.batch} against singles\n")
    print(report.table(("", *names), lines))
    beyond = [name for name, scores in differences.items() if not max(scores.values()) <= LIMIT]
    print(f"beyond {LIMIT:.0%}: {', '.join(beyond)}" if beyond else f"all within {LIMIT:.0%}")
    if beyond:
        sys.exit(1)


def compare(batched: Row, single: Row) -> dict[str, float]:
    """Per score the largest relative difference over the images."""
    a, b = batched.record["per_image"], single.record["per_image"]
    return {
        name: max(abs(x - y) / y for x, y in zip(a[name], b[name], strict=True))
        for name in COMPARED
        if name in a
    }


if __name__ == "__main__":
    main(tyro.cli(Options))
