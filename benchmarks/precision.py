"""What bfloat16 changes in encoder training, beside what another seed changes."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import tyro

from benchmarks import report
from facsimile.commands import train

RUNS = (("fp32", 0), ("bf16", 0), ("fp32", 1), ("bf16", 1))
"""Precision and seed. Runs with the same seed see the same images."""
SMOOTHED = 20
"""Entries of a curve that are averaged into one point of the picture."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Train each encoder in both precisions with two seeds, and show the curves side by side.

    The same command resumes. Writes OUT/precision.md and curves.png.
    """

    recipes: tuple[Literal["base", "in-domain"], ...] = ("base", "in-domain")
    generator: str = "faces"
    width: int = 32
    """Channels of the encoder's first stage."""
    max_width: int = 128
    """Most channels of a stage of the in-domain encoder."""
    images: int = 4000
    """Images of each run."""
    threads: int | None = None
    """CPU threads; None: PyTorch's choice."""
    out: Path = Path("runs/precision")


def main(options: Options) -> None:
    runs = {
        recipe: {run: _trained(recipe, *run, options) for run in RUNS} for recipe in options.recipes
    }
    lines = []
    for recipe, logs in runs.items():
        for (precision, seed), curves in logs.items():
            scores = {name: values for name, values in curves.items() if name.startswith("samples")}
            ends = [f"{values[-1][1]:.5f}" for values in scores.values()]
            lines.append((recipe, precision, str(seed), *ends))
    head = ("", "precision", "seed", *(name.removeprefix("samples/") for name in scores))
    text = report.table(head, lines)
    (options.out / "precision.md").write_text(text + "\n")
    print(text)
    save_curves(options.out / "curves.png", runs)


def _trained(recipe: str, precision: str, seed: int, options: Options) -> dict[str, list]:
    """The curves of a run, by name: pairs of images seen and value."""
    out = options.out / f"{recipe}-{precision}-{seed}"
    settings = {
        "generator": options.generator,
        "width": options.width,
        "images": options.images,
        "score-every": options.images,
        "log-every": 1,
        "precision": precision,
        "seed": seed,
        "out": out,
    }
    settings |= {"max-width": options.max_width} if recipe == "in-domain" else {}
    settings |= {} if options.threads is None else {"threads": options.threads}
    flags = [text for name, value in settings.items() for text in (f"--{name}", str(value))]
    status = train.main([recipe, *flags])
    if status != train.OK:
        raise SystemExit(status)
    return curves(out)


def curves(out: Path) -> dict[str, list[tuple[int, float]]]:
    """Curves of a run by name: pairs of images seen and value."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tensorboard's own dependencies
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    # A resumed run may write some entries again; the last of a step counts.
    log = EventAccumulator(
        str(out / "curves"), size_guidance={"scalars": 0}, purge_orphaned_data=False
    )
    log.Reload()
    names = log.Tags()["scalars"]
    return {name: sorted({x.step: x.value for x in log.Scalars(name)}.items()) for name in names}


def save_curves(path: Path, runs: dict[str, dict]) -> None:
    """The pixel term of every run against the images seen."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.5 * len(runs), 4), dpi=110, layout="constrained")
    panels = figure.subplots(1, len(runs), squeeze=False)[0]
    for axes, (recipe, logs) in zip(panels, runs.items(), strict=True):
        for (precision, seed), logged in logs.items():
            term = next(x for name, x in logged.items() if name.endswith("/pixel"))
            points = np.array(term[: len(term) // SMOOTHED * SMOOTHED])
            x, y = points.reshape(-1, SMOOTHED, 2).mean(1).T
            line = "-" if precision == "fp32" else "--"
            axes.plot(x, y, line, color=f"C{seed}", label=f"{precision}, seed {seed}")
        axes.set(yscale="log", xlabel="images seen", title=f"{recipe}: pixel term")
        axes.legend(fontsize=7)
    figure.savefig(path)


if __name__ == "__main__":
    main(tyro.cli(Options))
