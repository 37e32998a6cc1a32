"""Do many inversions in one process leak memory?"""

import sys
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from tqdm import tqdm

from benchmarks import report
from benchmarks.networks import random_discriminator, random_generator
from facsimile import checkpoints, metrics, stylegan
from facsimile.metrics import Perceptual
from facsimile.refine import recipes, refine
from facsimile.stylegan import Generator

WIDTHS = (128, 4096, 128)
"""Side, channel_base and channel_max of the bundled generator."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Refine, synthesize and score again and again; exit with status 1 if memory keeps growing.

    The first inversions fill caches, so growth is counted from the first mark on.
    """

    marks: tuple[int, ...] = (20, 100, 200)
    """Inversions after which the resident memory is read; the last one ends the run."""
    limit: float = 20.0
    """Limit of the growth from the first mark to the last, in MB."""
    recipes: tuple[str, ...] = ("f/z+", "w+ +noise", "s")
    """Taken in turns."""
    steps: int = 3
    batch: int = 1
    generator: str | None = None
    """Name or path of a generator with its discriminator; None: random ones of the bundled size."""
    device: str = "cpu"
    """The memory read is the process's own, not the GPU's."""
    threads: int | None = None
    """CPU threads; None: PyTorch's choice."""


def main(options: Options) -> None:
    report.prepare(options.device, options.threads)
    generator, perceptual = load(options)
    resolution = generator.resolution
    resident_mb = {}
    for index in tqdm(range(max(options.marks)), desc="inversions"):
        source = torch.Generator().manual_seed(index)
        noise = torch.rand(
            options.batch, generator.img_channels, resolution, resolution, generator=source
        )
        targets = noise.to(options.device) * 2 - 1
        invert(
            generator, perceptual, targets, options.recipes[index % len(options.recipes)], options
        )
        if index + 1 in options.marks:
            resident_mb[index + 1] = resident()
    rows = [(str(mark), f"{megabytes:.1f}") for mark, megabytes in resident_mb.items()]
    print(report.table(("inversions", "resident MB"), rows))
    growth = resident_mb[max(resident_mb)] - resident_mb[min(resident_mb)]
    print(f"growth after the first {min(resident_mb)}: {growth:.1f} MB, limit {options.limit:g} MB")
    if growth > options.limit:
        sys.exit(1)


def load(options: Options) -> tuple[Generator, Perceptual]:
    if options.generator is None:
        generator = random_generator(*WIDTHS).to(options.device)
        discriminator = random_discriminator(*WIDTHS).to(options.device)
    else:
        checkpoint = checkpoints.find(options.generator, options.device)
        generator, discriminator = checkpoint.generator, checkpoint.discriminator
    return generator, metrics.build_perceptual("discriminator", discriminator)


def invert(
    generator: Generator, perceptual: Perceptual, targets: torch.Tensor, name: str, options: Options
) -> None:
    recipe = recipes.get(name).with_steps(options.steps)
    start = stylegan.init_latents(generator, recipe.space, len(targets), rgb_skip=recipe.rgb_skip)
    refined = refine(generator, start, targets, recipe, networks={"perceptual": perceptual})
    with torch.no_grad():
        images = refined.latents.synthesize(generator)
    # Random networks leave the range that scores accept.
    metrics.score(images.clamp(-1, 1), targets, {"perceptual": perceptual})


def resident(*, peak: bool = False) -> float:
    """Resident memory of this process in MB, now or at its peak."""
    status = Path("/proc/self/status")
    if status.is_file():
        name = "VmHWM:" if peak else "VmRSS:"
        (line,) = [x for x in status.read_text().splitlines() if x.startswith(name)]
        return int(line.split()[1]) / 1024
    import resource

    # Elsewhere only the peak is available, in bytes on macOS: it grows with a leak as well.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    main(tyro.cli(Options))
