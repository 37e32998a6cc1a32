"""One pass of the encoder against thousands of steps, and what it saves where steps follow.

The reference is Image2StyleGAN, W+ from the mean by the paper's optimiser, of the same generator.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from torch.nn.functional import cosine_similarity

from benchmarks import faces, inversion, report
from benchmarks.bench import Bench
from benchmarks.inversion import Way
from benchmarks.judges import identity_judge
from benchmarks.rows import Row, machines
from benchmarks.timing import alternate
from facsimile.refine import recipes, refine

STEPS = 5000
WAYS = (
    Way("feature encoder, one pass", "f/z+", "encoder", 0),
    Way("in-domain encoder, one pass", "w+", "encoder", 0),
    inversion.REFERENCE,
    Way("f/z+ from the encoder", "f/z+", "encoder", 50 / STEPS),
    Way("f/z+ without an encoder, same layer", "f/z+", "random", 500 / STEPS),
)
PASS, REFERENCE, SEEDED, PLAIN = WAYS[0], WAYS[2], WAYS[3], WAYS[4]
SECONDS_RATIO = 500
"""One pass takes at most this part of the reference's seconds."""


@dataclass(frozen=True, kw_only=True)
class Options(faces.Options):
    """Compare one pass with 5,000 steps, and 50 steps from it with 500 without an encoder.

    The seconds are measured in turns, on the device of this run. Writes one_pass.md and
    one_pass.png. Needs a feature and an in-domain encoder.
    """

    count: int = 24
    steps: int = STEPS
    """Of the reference; the others take theirs in proportion."""
    batch: int = 8
    timed_steps: int = 20
    """Steps of the reference that are timed in turns with one pass; each takes as long."""
    out: Path = Path("runs/one-pass")
    identity: Path | None = None
    """The judge of identity, see benchmarks.judges. Default: FaceNet, if its weights are there."""


def main(options: Options) -> None:
    bench = Bench.load(options)
    rows = {way: inversion.run(bench, way, options.steps) for way in WAYS}
    if options.rows_only:
        return
    times = seconds(bench)
    text = "\n".join(
        [
            table(bench, rows, options.identity),
            "",
            machines(list(rows.values())),
            "",
            *findings(rows, times, options.steps),
        ]
    )
    report.write_text(options.out / "one_pass.md", text + "\n")
    print(text)
    pictures = bench.pictures({way.name: row for way, row in rows.items()})
    faces.save_picture(options.out / "one_pass.png", pictures)


def seconds(bench: Bench) -> dict:
    """Of an image: one pass, and a step of the reference, in turns; measured once a device."""
    options = bench.options
    path = options.out / f"seconds-{torch.device(options.device).type}.json"
    if path.is_file():
        return json.loads(path.read_text())
    targets = bench.faces.images[: options.batch]
    plan = bench.studio.plan(PASS.recipe, steps=0, init="encoder", align=False, identity="off")
    encoder = bench.studio.inverter(plan)
    recipe = recipes.get(REFERENCE.recipe).with_steps(options.timed_steps)
    plan = bench.studio.plan(recipe, align=False, identity="off")
    inverter = bench.studio.inverter(plan)
    start = inverter.initial_latents(targets)
    networks = inverter.term_networks()

    @torch.no_grad()
    def one_pass() -> None:
        encoder.initial_latents(targets)

    def steps() -> None:
        refine(bench.generator, start, targets, recipe, networks=networks)

    pairs = alternate(one_pass, steps, device=options.device, pairs=9).summary()
    times = {
        "one_pass": pairs["first"] / len(targets),
        # The refinement also evaluates its result: counted as a step, so that none seems longer.
        "step": pairs["second"] / len(targets) / (options.timed_steps + 1),
        "steps": options.timed_steps,
        "machine": report.machine(options.device),
    }
    report.write_json(path, times)
    return times


def table(bench: Bench, rows: dict[Way, Row], identity: Path | None) -> str:
    judge = identity_judge(identity)
    names = ("mse", "perceptual", "judge", "identity_distance", "same_person")
    names = [name for name in names if name in rows[PASS].mean]
    persons = None if judge is None else judge(bench.faces.images)
    lines = []
    for way, row in rows.items():
        cells = [f"{row.mean[n]:.4f}" if n in row.mean else "" for n in names]
        if judge is not None and row.latents is None:
            cells.append("")
        elif judge is not None:
            cosine = cosine_similarity(judge(bench.synthesize(row.latents)), persons)
            # Where no face is detected, the similarity is 0.
            cells.append(f"{cosine.nan_to_num(0).mean():.3f}")
        lines.append((way.name, str(row.record["steps"]), *cells))
    head = ("", "steps", *names, *(() if judge is None else ("judge's cosine",)))
    return report.table(head, lines)


def findings(rows: dict[Way, Row], times: dict, steps: int) -> list[str]:
    """Whether one pass beats the reference in far less time, and steps from it those without."""
    whole, part = times["step"] * steps, times["one_pass"]
    claims = []
    for better, worse in ((PASS, REFERENCE), (SEEDED, PLAIN)):
        for name in ("mse", "perceptual", "judge"):
            if name in rows[better].mean and name in rows[worse].mean:
                a, b = rows[better].mean[name], rows[worse].mean[name]
                claims.append((f"{name}: {better.name} <= {worse.name} ({a:.4f}, {b:.4f})", a <= b))
    ratio = whole / part
    claims.append(
        (f"one pass in 1/{SECONDS_RATIO} of the reference's seconds", ratio >= SECONDS_RATIO)
    )
    return [
        f"One pass takes {1000 * part:.0f} ms an image, {steps} steps of the reference "
        f"{whole:.0f} s (from {times['steps']} measured in turns): 1/{ratio:.0f} "
        f"({report.describe(times['machine'])})",
        *(f"{'holds' if is_met else 'FAILS'}: {claim}" for claim, is_met in claims),
    ]


if __name__ == "__main__":
    main(tyro.cli(Options))
