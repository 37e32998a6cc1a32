"""Quality against seconds, with and without encoders.

The reference is Image2StyleGAN: W+ from the mean by the paper's optimiser, thousands of steps. The
others take a small share of them, with the encoders beside the generator or without, and are
compared by when they reach its MSE and its perceptual distance.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import tyro

from benchmarks import edits, encoders_alone, faces, report
from benchmarks.bench import Bench
from benchmarks.judges import identity_judge
from benchmarks.rows import Row, collect, machines, seconds_cell
from facsimile.plan import Init


@dataclass(frozen=True)
class Way:
    """A row: a recipe, its initialisation, and its share of the reference's steps."""

    name: str
    recipe: str
    init: Init
    share: float


REFERENCE = Way("Image2StyleGAN", "image2stylegan", "mean", 1)
WAYS = (
    REFERENCE,
    Way("W+ from the mean", "w+", "mean", 0.04),
    Way("W+ from the encoder", "w+", "encoder", 0.04),
    Way("IDInvert", "in-domain", "encoder", 0.04),
    Way("F/W+", "f/w+", "encoder", 0.04),
    Way("F/P_N+", "f/p_n+", "encoder", 0.04),
    Way("F/Z+", "f/z+", "encoder", 0.04),
    Way("F/Z+ without encoder", "f/z+", "random", 0.1),
)
NOISY = " + noise"
NOISE = tuple(
    Way(f"{way.name}{NOISY}", f"{way.recipe} +noise", way.init, way.share)
    for way in WAYS
    if way.init == "encoder"
)
COMPARED = ("pixel", "perceptual")


@dataclass(frozen=True, kw_only=True)
class Options(faces.Options):
    """Invert the same faces in every way, and print quality against steps and seconds.

    Writes a JSON and the latents of every way as soon as it is done, inversion.md, encoders.md,
    edits.md, curves.png, faces.png, encoders.png and edits.png. Needs a feature and an in-domain
    encoder.
    """

    count: int = 24
    steps: int = 5000
    """Steps of the reference; the others take a twenty-fifth, F/Z+ without encoder a tenth."""
    batch: int = 8
    out: Path = Path("runs/inversion")
    recipes: tuple[str, ...] = ()
    """With --rows-only, the rows of these recipes alone."""
    noise: bool = True
    """Rows with an encoder come again with noise maps after the code."""
    alone: int = 300
    """Faces on which the encoders alone are measured; 0: none."""
    without_critic: Path | None = None
    """An in-domain encoder that was trained without a critic, for comparison."""
    edited: bool = True
    """Also measure identity after random edits, see benchmarks.edits."""
    identity: Path | None = None
    """The judge of identity, see benchmarks.judges. Default: FaceNet, if its weights are there."""


def main(options: Options) -> None:
    bench = Bench.load(options)
    ways = [way for way in WAYS + NOISE * options.noise if chosen(way, options)]
    rows, missing = collect({way: partial(run, bench, way, options.steps) for way in ways})
    if options.rows_only:
        if options.alone and not options.recipes:
            encoders_alone.predictions(bench, options.alone, options.without_critic)
        return
    texts = {
        "inversion": [table(rows), "", machines(list(rows.values())), *findings(rows), *missing]
    }
    if options.alone:
        judge = identity_judge(options.identity)
        texts["encoders"] = encoders_alone.compare(
            bench, options.alone, options.without_critic, judge, reference=True
        )
    if options.edited:
        named_rows = {way.name: row for way, row in rows.items()}
        texts["edits"] = edits.compare(bench, named_rows, options.identity)
    for name, lines in texts.items():
        text = "\n".join(lines)
        report.write_text(options.out / f"{name}.md", text + "\n")
        print(f"{text}\n")
    save_curves(options.out / "curves.png", rows)
    pictures = bench.pictures({way.name: row for way, row in rows.items()})
    faces.save_picture(options.out / "faces.png", pictures)


def chosen(way: Way, options: Options) -> bool:
    return not (options.rows_only and options.recipes) or way.recipe in options.recipes


def run(bench: Bench, way: Way, steps: int) -> Row:
    """steps: of the reference. Features lie at the encoder's layer, so that rows compare."""
    layer = bench.encoder_layer if way.recipe.startswith("f/") else None
    return bench.run(way.recipe, steps=round(steps * way.share), init=way.init, layer=layer)


# Curves -------------------------------------------------------------------------------------------


def is_timed(rows: dict[Way, Row]) -> bool:
    """Whether the seconds of all rows count, and are of one machine."""
    machines = {report.describe(row.record["machine"]) for row in rows.values()}
    return len(machines) == 1 and all(row.seconds is not None for row in rows.values())


def seconds(row: Row) -> list[float]:
    """Seconds of one image up to each value of the curves of the row's first phase."""
    later = sum(phase["seconds_per_image"] for phase in row.record["later"].values())
    begun, whole = row.record["seconds_to_init"], row.record["seconds_per_image"] - later
    return _evenly(begun, whole, len(row.record["curves"]["pixel"]))


def noise_curve(row: Row) -> tuple[list[float], list[float]]:
    """(seconds, MSE) of the phase in which noise maps move; empty where none do."""
    if "noise" not in row.record["later"]:
        return [], []
    phase, whole = row.record["later"]["noise"], row.record["seconds_per_image"]
    mse = phase["curves"]["pixel"]
    return _evenly(whole - phase["seconds_per_image"], whole, len(mse)), mse


def _evenly(first: float, last: float, count: int) -> list[float]:
    return [first + (last - first) * i / max(count - 1, 1) for i in range(count)]


def steps_to(row: Row, thresholds: dict[str, float]) -> int | None:
    """The first step at which the mean of every compared term is at most the threshold."""
    curves = {name: row.record["curves"][name] for name in thresholds}
    steps = zip(*curves.values(), strict=True)
    indices = (
        i for i, values in enumerate(steps) if all(map(float.__le__, values, thresholds.values()))
    )
    return next(indices, None)


def _marks(values: list[float]) -> list[int]:
    last = len(values) - 1
    known = (0, 10, 20, 50, 100, 200, 500, 1000, 2000)
    return [mark for mark in known if mark < last]


def table(rows: dict[Way, Row]) -> str:
    """One line per way and mark of its last phase, and the end with all scores."""
    timed, lines = is_timed(rows), []
    for way, row in rows.items():
        curves, times = row.record["curves"], seconds(row)
        named = [curves[name] for name in COMPARED if name in curves]
        before = ""
        if "+noise" in way.recipe:
            # The code's phase is the row without noise maps. This one minimises the MSE alone.
            before = f"{len(times) - 1} + "
            times, mse = noise_curve(row)
            named = [mse]
        for mark in _marks(named[0]):
            cells = [f"{values[mark]:.4f}" for values in named]
            cells += [""] * (len(COMPARED) - len(cells))
            time = f"{times[mark]:.2f}" if timed else ""
            lines.append((way.name, f"{before}{mark}", time, *cells, "", "", ""))
        mean = row.mean
        cells = [f"{mean[n]:.4f}" if n in mean else "" for n in ("mse", "perceptual")]
        ends = [f"{mean['psnr']:.2f}", f"{mean['ssim']:.3f}"]
        ends.append(f"{mean['judge']:.3f}" if "judge" in mean else "")
        steps = f"{before}{len(named[0]) - 1}"
        whole = seconds_cell(row, 2) if timed else ""
        lines.append((f"**{way.name}**", steps, whole, *cells, *ends))
    head = ("", "steps", "s/image", "MSE", "perceptual", "PSNR", "SSIM", "judge")
    return report.table(head, lines)


def findings(rows: dict[Way, Row]) -> list[str]:
    """When each way reaches the reference's quality, and what the encoder saves."""
    curves = rows[REFERENCE].record["curves"]
    thresholds = {name: curves[name][-1] for name in COMPARED if name in curves}
    quality = ", ".join(f"{name} {value:.4f}" for name, value in thresholds.items())
    lines = ["", f"The reference's quality ({quality}) after {len(curves['pixel']) - 1} steps:"]
    whole, took = len(curves["pixel"]) - 1, rows[REFERENCE].record["seconds_per_image"]
    timed = is_timed(rows)
    for way, row in rows.items():
        if way is REFERENCE or "+noise" in way.recipe:
            continue
        step = steps_to(row, thresholds)
        if step is None:
            lines.append(f"- {way.name}: not within {len(row.record['curves']['pixel']) - 1} steps")
            continue
        time = seconds(row)[step]
        saved = f"1/{whole / max(step, 1):.0f} of the steps"
        if timed:
            saved = f"{time:.2f} s an image ({saved}, 1/{took / time:.0f} of the seconds)"
        lines.append(f"- {way.name}: after {step} steps, {saved}")
    seeded, plain = (row for way, row in rows.items() if way.recipe == "f/z+")
    step = min(100, len(seeded.record["curves"]["pixel"]) - 1)
    for name in thresholds:
        a, b = seeded.record["curves"][name][step], plain.record["curves"][name][-1]
        last = len(plain.record["curves"][name]) - 1
        lines.append(
            f"{'holds' if a <= b else 'FAILS'}: F/Z+ {name} from the encoder after {step} steps is "
            f"at most that without after {last} ({a:.4f}, {b:.4f})"
        )
    return lines


def save_curves(path: Path, rows: dict[Way, Row]) -> None:
    """MSE and perceptual distance against the seconds of an image, or against steps where the
    seconds do not count; noise maps, which minimise the MSE alone, as dashes behind the row that
    they follow."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.5, 4.2), dpi=110, layout="constrained")
    first, *others = figure.subplots(1, len(COMPARED))
    timed = is_timed(rows)
    for axes, name in zip((first, *others), COMPARED, strict=True):
        colours = {}
        for way, row in rows.items():
            if "+noise" in way.recipe:
                if name == "pixel" and (points := noise_curve(row))[1]:
                    colour = colours[way.name.removesuffix(NOISY)]
                    times = points[0] if timed else _steps(row, len(points[1]))
                    axes.plot(times, points[1], "--", color=colour, label=way.name)
            elif name in row.record["curves"]:
                values = row.record["curves"][name]
                times = seconds(row) if timed else range(len(values))
                (line,) = axes.plot(times[1:], values[1:], label=way.name)
                colours[way.name] = line.get_color()
        unit = "seconds an image" if timed else "steps"
        axes.set(xscale="log", yscale="log", xlabel=unit, title=name)
        axes.grid(visible=True, which="both", alpha=0.2)
    names = first.get_legend_handles_labels()
    figure.legend(*names, loc="outside right center", fontsize=7)
    faces.save_figure(path, figure)


def _steps(row: Row, count: int) -> range:
    """The numbers of `count` steps after those of the row's first phase."""
    first = len(row.record["curves"]["pixel"]) - 1
    return range(first, first + count)


if __name__ == "__main__":
    main(tyro.cli(Options))
