"""Speed of synthesis and refinement, each against the plain alternative in the same run."""

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import torch
import tyro
from torch import Tensor
from tqdm import tqdm

from benchmarks import grouped_conv, report
from benchmarks.networks import random_discriminator, random_generator
from benchmarks.timing import Pairs, alternate
from facsimile import metrics, stylegan
from facsimile.metrics import Perceptual
from facsimile.refine import Recipe, recipes, refine
from facsimile.stylegan import Feature, Generator, Latents

# Resolution -> channel_base, channel_max, batches. 64: the widths of the bundled generator; 256:
# those of NVIDIA's "paper256".
SIZES = {64: (4096, 128, (1, 2, 4, 8, 16)), 256: (16384, 512, (1, 4, 8))}
ENGINE_RECIPES = ("f/z+", "w+")


@dataclass(frozen=True, kw_only=True)
class Options:
    """Time synthesis against grouped convolutions, and `refine` against a bare loop, in turns.

    The weights are random. Ratios are per pair of turns: the median, and the least and greatest.
    """

    parts: tuple[Literal["synthesis", "engine"], ...] = ("synthesis", "engine")
    resolutions: tuple[Literal[64, 256], ...] = (64, 256)
    """Of the synthesis part, in pixels: 64 has the widths of the bundled
    generator (channel_base 4096, channel_max 128), 256 those of NVIDIA's paper256 (16384, 512)."""
    batches: tuple[int, ...] | None = None
    """Batches of the synthesis part; None: 1 2 4 8 16 at 64 px and 1 4 8 at 256 px (16 fits where
    there is memory and time)."""
    pairs: int = 15
    """Pairs of turns per row."""
    seconds: float = 120.0
    """Seconds after which no further pair of turns starts, if there are 5."""
    engine_steps: int = 50
    """Steps per turn of the engine part; refine draws once more, to look at the last step."""
    engine_batch: int = 8
    """Images of the engine part."""
    device: str = "cpu"
    """On a GPU with synchronisation around every turn and TensorFloat-32 off."""
    threads: int | None = None
    """CPU threads; None: PyTorch's choice."""
    out: Path | None = None
    """JSON file with every time."""


def main(options: Options) -> None:
    report.prepare(options.device, options.threads)
    results = {"machine": report.machine(options.device), "options": _plain(options)}
    print(", ".join(f"{k} {v}" for k, v in results["machine"].items()), flush=True)
    if "synthesis" in options.parts:
        results["synthesis"] = synthesis(options)
        print(
            _table(results["synthesis"], "grouped convolutions, ms", "ours, ms"),
            end="\n\n",
            flush=True,
        )
    if "engine" in options.parts:
        results["engine"] = engine(options)
        print(_table(results["engine"], "refine, ms", "bare loop, ms"), flush=True)
        for row in results["engine"]:
            print(f"overhead of refine, {row['what']}: {100 * (row['ratio'] - 1):.1f} %")
    if options.out is not None:
        report.write_json(options.out, results)


# Synthesis ----------------------------------------------------------------------------------------


def synthesis(options: Options) -> list[dict]:
    """Grouped convolutions against `Generator.synthesize`, with and without the gradient of ws."""
    rows = []
    for resolution in options.resolutions:
        base, most, batches = SIZES[resolution]
        generator = random_generator(resolution, base, most).to(options.device)
        ways = (partial(grouped_conv.synthesize, generator), generator.synthesize)
        for n in tqdm(options.batches or batches, desc=f"{resolution} px", leave=False):
            z = torch.randn(n, generator.z_dim, generator=torch.Generator().manual_seed(n))
            ws = generator.map(z.to(options.device)).clone()
            largest = _difference(ways, ws)
            for label, work in (("forward", forward), ("forward + backward", backward)):
                times = alternate(*(partial(work, way, ws) for way in ways), **_limits(options))
                what = {
                    "what": f"{resolution} px, batch {n}, {label}",
                    "largest_difference": largest,
                }
                rows.append(what | _row(times))
    return rows


@torch.no_grad()
def forward(way, ws: Tensor) -> Tensor:
    return way(ws)


def backward(way, ws: Tensor) -> Tensor:
    """The gradient with respect to ws; the weights are frozen."""
    ws = ws.detach().requires_grad_()
    image = way(ws)
    (gradient,) = torch.autograd.grad(image, ws, torch.ones_like(image))
    return gradient


def _difference(ways, ws: Tensor) -> float:
    """Largest difference of the two images; RuntimeError if they are not the same to rounding."""
    a, b = (forward(way, ws) for way in ways)
    largest = float((a - b).abs().max())
    if not largest <= 1e-3 * max(1.0, float(a.abs().max())):
        raise RuntimeError(f"the two ways draw different images: they differ by {largest:.3g}")
    return largest


# Engine -------------------------------------------------------------------------------------------


def engine(options: Options) -> list[dict]:
    """`refine.refine` against image, terms and gradient alone."""
    generator = random_generator(64, *SIZES[64][:2]).to(options.device)
    discriminator = random_discriminator(64, *SIZES[64][:2]).to(options.device)
    perceptual = metrics.discriminator_features(discriminator)
    n, rows = options.engine_batch, []
    targets = (
        stylegan.init_latents(generator, "w", n, init="random", seed=1)
        .synthesize(generator)
        .clamp(-1, 1)
    )
    for name in tqdm(ENGINE_RECIPES, desc="engine", leave=False):
        recipe = recipes.get(name).with_steps(options.engine_steps)
        recipe = recipe.for_networks({"perceptual": perceptual})
        recipe = recipe.for_networks({"perceptual": perceptual})
        start = stylegan.init_latents(generator, recipe.space, n, rgb_skip=recipe.rgb_skip)
        times = alternate(
            partial(refine, generator, start, targets, recipe, networks={"perceptual": perceptual}),
            partial(bare_loop, generator, start, targets, recipe, perceptual),
            **_limits(options),
        )
        rows.append({"what": f"{name}, {options.engine_steps} steps, batch {n}"} | _row(times))
    return rows


def bare_loop(
    generator: Generator, start: Latents, targets: Tensor, recipe: Recipe, perceptual: Perceptual
) -> None:
    """The forward and backward passes of a recipe with one phase in W+ or F/Z+ alone."""
    (phase,) = recipe.phases
    weight = {term.name: term.weight for term in phase.terms}
    code = start.code.clone().requires_grad_()
    feature = None if start.feature is None else start.feature.clone().requires_grad_()
    with torch.no_grad():
        goal = perceptual.features(targets)
    for _ in range(phase.steps):
        if feature is None:
            image = generator.synthesize(code)
        else:
            at = Feature(start.layer, feature, start.rgb)
            image = generator.synthesize(generator.map(code), start=at)
        loss = weight["pixel"] * (image - targets).square().flatten(1).mean(1)
        loss = loss + weight["perceptual"] * metrics.distance(perceptual.features(image), goal)
        torch.autograd.grad(loss.sum(), [x for x in (code, feature) if x is not None])


# Report -------------------------------------------------------------------------------------------


def _limits(options: Options) -> dict:
    return {"device": options.device, "pairs": options.pairs, "seconds": options.seconds}


def _row(times: Pairs) -> dict:
    return times.summary() | {"seconds": asdict(times)}


def _table(rows: list[dict], first: str, second: str) -> str:
    lines = [
        (
            row["what"],
            f"{row['first'] * 1e3:.1f}",
            f"{row['second'] * 1e3:.1f}",
            f"{row['ratio']:.2f}",
            f"{row['ratio_min']:.2f}-{row['ratio_max']:.2f}",
            str(row["pairs"]),
        )
        for row in rows
    ]
    return report.table(("", first, second, "ratio", "min-max", "pairs"), lines)


def _plain(options: Options) -> dict:
    return {k: str(v) if isinstance(v, Path) else v for k, v in asdict(options).items()}


if __name__ == "__main__":
    main(tyro.cli(Options))
