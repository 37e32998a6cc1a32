"""Where an embedding starts, under which loss, and in which generator.

"Image2StyleGAN: How to Embed Images Into the StyleGAN Latent Space?": Table 2 (the mean w for
faces, U[-1, 1] for all else), figures 9 and 22 (the loss), figures 5 and 14 (W, W+, and a generator
of random weights).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
import tyro
from torch import Tensor, nn

from benchmarks import embeddings, faces, report, settling
from benchmarks.bench import Bench
from benchmarks.embeddings import RECIPE
from benchmarks.rows import Row, collect, machines
from facsimile import Studio
from facsimile.metrics import Perceptual
from facsimile.refine import Recipe, recipes
from facsimile.stylegan import Generator, freeze

FACES, OTHERS = "faces", "other pictures"
PAPER = {
    (FACES, "mean"): (0.309, 30.67),
    (FACES, "random"): (0.351, 35.60),
    (OTHERS, "mean"): (0.752, 70.86),
    (OTHERS, "random"): (0.740, 70.97),
}
"""Loss in 1e5 and distance; of other pictures, those of its cat."""
LOSSES = {
    "pixels": (True, 0),
    "one layer": (False, 1),
    "pixels and one layer": (True, 1),
    "all layers": (False, None),
    "pixels and all layers": (True, None),
}
"""(whether the pixel term counts, layers of the perceptual term; None: all), from (a) to (e)."""
SAMPLES = 1000
"""Of the mean w of a generator with random weights."""


@dataclass(frozen=True, kw_only=True)
class Options(faces.Options):
    """Embed faces and other pictures from two starts, under five losses, in W and W+ of a trained
    generator and of one with random weights.

    Writes starts.md, losses.md, weights.md, and faces.png and others.png of all results.
    """

    count: int = 8
    steps: int = 5000
    batch: int = 8
    out: Path = Path("runs/starts")
    studies: tuple[str, ...] = ("starts", "losses", "weights")


@dataclass(frozen=True)
class Study:
    """What is embedded, and how."""

    pictures: str
    name: str
    run: Callable[[], Row]


def main(options: Options) -> None:
    bench = Bench.load(options)
    others = settling.pictures(bench.generator.resolution)
    benches = {FACES: bench, OTHERS: embeddings.of_pictures(bench, others)}
    sheets: dict[str, dict[str, Tensor]] = {
        name: {"target": x.faces.images} for name, x in benches.items()
    }
    for study in options.studies:
        make, show = STUDIES[study]
        rows, missing = collect({(x.pictures, x.name): x.run for x in make(benches)})
        if options.rows_only:
            continue
        text = "\n".join([show(benches, rows), "", machines([*rows.values()]), *missing])
        report.write_text(options.out / f"{study}.md", text + "\n")
        print(f"{text}\n")
        for (pictures, name), row in rows.items():
            drawn = _generators(benches[pictures], name).synthesize(row.latents)
            sheets[pictures][name] = drawn
    if not options.rows_only:
        faces.save_picture(options.out / "faces.png", sheets[FACES])
        faces.save_picture(options.out / "others.png", sheets[OTHERS])


def starts(benches: dict[str, Bench]) -> list[Study]:
    return [
        Study(pictures, init, partial(bench.run, RECIPE, init=init))
        for pictures, bench in benches.items()
        for init in ("mean", "random")
    ]


def losses(benches: dict[str, Bench]) -> list[Study]:
    studies = []
    for pictures, bench in benches.items():
        recipe = embeddings.fixed(bench)
        for name, (pixels, layers) in LOSSES.items():
            under = recipe if pixels else recipe.with_weight("pixel", 0)
            under = under.with_weight("perceptual", 0) if layers == 0 else under
            # Under its own name the whole loss is the row of the other benchmarks.
            under = under if pixels and layers is None else replace(under, name=f"{RECIPE} {name}")
            seen = one_layer(bench) if layers == 1 else bench
            studies.append(Study(pictures, name, partial(seen.run, under)))
    return studies


def weights(benches: dict[str, Bench]) -> list[Study]:
    studies = []
    for pictures, bench in benches.items():
        for space in ("w", "w+"):
            recipe = in_space(space)
            for init in ("mean", "random"):
                name = f"{space}, from {init}"
                studies.append(Study(pictures, name, partial(bench.run, recipe, init=init)))
            name = f"{space}, {UNTRAINED}"
            run = partial(_generators(bench, name).run, recipe, init="mean")
            studies.append(Study(pictures, name, run))
    return studies


UNTRAINED = "random weights"


def in_space(space: str) -> Recipe:
    """The method in another space; in W+ it is itself."""
    recipe = recipes.get(RECIPE)
    return recipe if space == "w+" else replace(recipe, name=f"{RECIPE} {space}", space=space)


def one_layer(bench: Bench) -> Bench:
    """With the middle layer of the perceptual network alone: of Image2StyleGAN's four, conv3_2."""
    whole = bench.studio.perceptual
    if whole is None:
        raise ValueError('--perceptual is "none"; the losses differ in its layers')
    single = Perceptual(
        f"{whole.name}, one layer",
        MiddleLayer(whole.network),
        whole.description,
        max_size=whole.max_size,
        min_size=whole.min_size,
        multiple=whole.multiple,
        channels=whole.channels,
    )
    return _with(bench, bench.generator, single)


class MiddleLayer(nn.Module):
    """Of a network with a list of features, the one in the middle."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> list[Tensor]:
        features = self.network(images)
        return [features[len(features) // 2]]


def _generators(bench: Bench, name: str) -> Bench:
    """The bench with the generator that a row's name says."""
    if not name.endswith(UNTRAINED):
        return bench
    return _with(bench, untrained(bench.generator, bench.options.seed), bench.studio.perceptual)


def untrained(generator: Generator, seed: int) -> Generator:
    """A generator of the same sizes with random weights, and the mean w that these have."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        # In float64 and rounded, the mean and so the fingerprint are the same on every machine.
        other = freeze(Generator(generator.config)).double()
        z, label = torch.randn(SAMPLES, generator.z_dim).double(), None
        if generator.c_dim:
            label = torch.eye(generator.c_dim).double()[torch.arange(SAMPLES) % generator.c_dim]
        other.mapping.w_avg.copy_(other.map(z, label)[:, 0].mean(0).round(decimals=4))
    return other.to(generator.device, generator.dtype)


def _with(bench: Bench, generator: Generator, perceptual: Perceptual | None) -> Bench:
    studio = bench.studio
    other = Studio(
        generator, discriminator=studio.discriminator, perceptual=perceptual, name=studio.name
    )
    return replace(bench, studio=other)


def table_of_starts(benches: dict[str, Bench], rows: dict[tuple[str, str], Row]) -> str:
    lines = []
    for (pictures, init), row in rows.items():
        distance = float(embeddings.distance_to_mean(benches[pictures], row).mean())
        paper = PAPER[pictures, init]
        numbers = (f"{embeddings.loss(row):.4f}", f"{row.mean['psnr']:.2f}", f"{distance:.1f}")
        lines.append((f"{pictures}, {init}", *numbers, *(str(x) for x in paper)))
    head = ("", "loss", "PSNR", "distance to the mean w", "paper's loss, 1e5", "its distance")
    return report.table(head, lines)


def table_of_scores(benches: dict[str, Bench], rows: dict[tuple[str, str], Row]) -> str:
    """PSNR, and both perceptual distances with all layers, of faces and of other pictures."""
    lines = []
    for (pictures, name), row in rows.items():
        bench = benches[pictures]
        drawn = _generators(bench, name).synthesize(row.latents)
        seen = bench.studio.perceptual(drawn, bench.faces.images).mean()
        judge = row.mean.get("judge")
        scores = (f"{float(seen):.4f}", "" if judge is None else f"{judge:.4f}")
        lines.append((f"{pictures}, {name}", f"{row.mean['psnr']:.2f}", *scores))
    return report.table(("", "PSNR", "distance", "judge"), lines)


STUDIES = {
    "starts": (starts, table_of_starts),
    "losses": (losses, table_of_scores),
    "weights": (weights, table_of_scores),
}


if __name__ == "__main__":
    main(tyro.cli(Options))
