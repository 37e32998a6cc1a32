"""Does this GPU compute what a CPU does, how fast, and with how much memory?

    python -m benchmarks.gpu --minutes 8

Prints a line for each check as it ends, then one page, and writes it and gpu.json into --out; the
exit status is 1 if a check failed. Checks that the time does not suffice for are skipped, and said.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import tyro

from benchmarks import report
from benchmarks.gpu import parity, speed
from benchmarks.gpu.networks import save_small
from benchmarks.gpu.page import Page


@dataclass(frozen=True, kw_only=True)
class Options:
    """Compare a device with the CPU and time it."""

    minutes: float = 8.0
    """After so many no further part begins."""
    device: str = "cuda"
    """cuda, cuda:1, mps, cpu."""
    tiny: bool = False
    """The least of everything, to see that the script runs; its numbers say nothing."""
    parts: tuple[str, ...] = ("parity", "speed", "peers", "training")
    """Which parts run, in this order."""
    out: Path = Path("runs/gpu")


@dataclass(frozen=True)
class Sizes:
    """How large each part is."""

    side: int
    width: int
    steps: int
    recipes: tuple[str, ...] | None
    """None: all."""
    refined: tuple[tuple[speed.Sizes, int, str, str], ...]
    """(widths, batch, recipe, precision)"""
    timed_steps: int
    drawn: tuple[tuple[speed.Sizes, int], ...]
    files: int
    batch: int
    trained: tuple[tuple[speed.Sizes, int], ...]
    kinds: tuple[str, ...]
    images: int
    pairs: int


FACES = (128, 4096, 128)
FULL = Sizes(
    side=32,
    width=16,
    steps=40,
    recipes=None,
    refined=(
        (FACES, 1, "w+", "fp32"),
        (FACES, 8, "w+", "fp32"),
        (FACES, 1, "f/z+", "fp32"),
        (FACES, 1, "w+", "bf16"),
        ((128, 8192, 256), 1, "w+", "fp32"),
        ((1024, 32768, 512), 1, "w+", "fp32"),
        ((1024, 32768, 512), 1, "w+", "tf32"),
        ((1024, 32768, 512), 1, "w+", "bf16"),
    ),
    timed_steps=40,
    drawn=((FACES, 1), (FACES, 8), ((256, 16384, 512), 4), ((1024, 32768, 512), 1)),
    files=2000,
    batch=32,
    trained=((FACES, 64), (FACES, 128)),
    kinds=("generator", "base", "in-domain"),
    images=64,
    pairs=9,
)
TINY = Sizes(
    side=8,
    width=8,
    steps=2,
    recipes=("w+",),
    refined=(((8, 32, 4), 1, "w+", "bf16"),),
    timed_steps=1,
    drawn=(((8, 32, 4), 1),),
    files=2,
    batch=2,
    trained=(((8, 32, 4), 2),),
    kinds=("generator",),
    images=8,
    pairs=1,
)


def main(options: Options) -> Page:
    """Run the parts, print the page and write it; returns it."""
    if torch.device(options.device).type == "cuda" and not torch.cuda.is_available():
        raise SystemExit('this machine has no "cuda"; choose --device cpu, with --tiny')
    report.prepare(options.device, None)
    sizes, page = TINY if options.tiny else FULL, Page(options.device, options.minutes)
    try:
        for part in options.parts:
            work, page.share = PARTS[part]
            work(page, sizes)
    finally:
        text = page.text()
        report.write_text(options.out / "gpu.md", text + "\n")
        page.save(options.out / "gpu.json")
        print(f"\n{text}\n\n{options.out / 'gpu.md'}, {options.out / 'gpu.json'}")
    return page


def _parity(page: Page, sizes: Sizes) -> None:
    parity.run(page, side=sizes.side, width=sizes.width, steps=sizes.steps, recipes=sizes.recipes)


def _speed(page: Page, sizes: Sizes) -> None:
    for widths, batch, name, precision in sizes.refined:
        speed.refinement(page, widths, batch, name, precision, sizes.timed_steps)
    for widths, batch in sizes.drawn:
        speed.synthesis(page, widths, batch, sizes.pairs)
    if sizes is TINY:
        with TemporaryDirectory() as folder:
            speed.encoder(page, save_small(Path(folder)), sizes.files, sizes.batch)
    else:
        speed.encoder(page, "faces", sizes.files, sizes.batch)
    for widths, batch in sizes.trained:
        speed.training(page, widths, batch, sizes.pairs)


def _peers(page: Page, sizes: Sizes) -> None:
    from benchmarks.peers import timing

    for widths, *_ in sizes.refined:
        timing.rows(page, widths, sizes.timed_steps)


def _training(page: Page, sizes: Sizes) -> None:
    """Last, as the program of training sets how products are computed."""
    parity.train_all(page, sizes.kinds, sizes.images)


PARTS = {
    "parity": (_parity, 0.45),
    "speed": (_speed, 0.8),
    "peers": (_peers, 0.9),
    "training": (_training, 1.0),
}
"""With the share of the time that is over when each must end."""


if __name__ == "__main__":
    sys.exit(1 if main(tyro.cli(Options)).failed else 0)
