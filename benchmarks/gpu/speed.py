"""How fast: refinement, synthesis, encoders and training, with the most memory that each took."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from benchmarks import grouped_conv
from benchmarks.networks import random_discriminator
from benchmarks.streaming import Options as Streaming
from benchmarks.streaming import load, write_photos
from benchmarks.timing import alternate, clock, wait
from benchmarks.training import Options as Steps
from benchmarks.training import Trained
from facsimile import metrics, stylegan
from facsimile.jobs import Job
from facsimile.precision import Precision, computing_in, lay_out, network_dtype
from facsimile.refine import recipes, refine
from facsimile.stylegan import Generator

from .networks import timed_generator
from .page import Page

Sizes = tuple[int, int, int]
"""Resolution, channel_base, channel_max."""


def peak_memory(device: str, work: Callable[[], object]) -> float:
    """GB that the work holds at most on a GPU; NaN on a CPU."""
    if torch.device(device).type != "cuda":
        work()
        return float("nan")
    torch.cuda.reset_peak_memory_stats(device)
    work()
    wait(device)
    return torch.cuda.max_memory_allocated(device) / 1e9


def refinement(
    page: Page, sizes: Sizes, batch: int, name: str, precision: Precision, steps: int
) -> None:
    """ms a step, captured where the device captures, and operation by operation."""
    page.measure(
        f"{name}, {sizes[0]} px ({sizes[1]}/{sizes[2]}), batch {batch}, {precision}",
        "refinement, ms a step",
        partial(_refinement, page.device, sizes, batch, name, precision, steps),
    )


def _refinement(
    device: str, sizes: Sizes, batch: int, name: str, precision: Precision, steps: int
) -> dict[str, float]:
    generator = timed_generator(sizes).to(device)
    lay_out(generator, torch.device(device), precision)
    perceptual = metrics.discriminator_features(random_discriminator(*sizes).to(device))
    goal = stylegan.init_latents(generator, "w", batch, init="random", seed=1)
    targets = goal.synthesize(generator).clamp(-1, 1)

    def run(count: int, **options) -> None:
        recipe = recipes.get(name).with_steps(count)
        start = stylegan.init_latents(generator, recipe.space, batch, rgb_skip=recipe.rgb_skip)
        refine(
            *(generator, start, targets, recipe),
            networks={"perceptual": perceptual, "encoder": _mean_code(generator)},
            dtype=network_dtype(precision),
            **options,
        )

    row = {}
    with computing_in(precision):
        for label, options in (("ours", {}), ("eager", {"graphs": lambda device: None})):
            memory = peak_memory(device, partial(run, steps, **options))  # and warms up
            # The difference leaves out what happens once: preparing, warming up, capturing.
            short, long = (clock(partial(run, n * steps, **options), device) for n in (1, 3))
            row |= {label: 1e3 * (long - short) / (2 * steps), f"{label}, GB": memory}
    return {key: value for key, value in row.items() if value == value}


def _mean_code(generator: Generator) -> Callable[[Tensor], Tensor]:
    shape = (-1, generator.num_ws, generator.w_dim)
    return lambda images: images.mean((1, 2, 3))[:, None, None].expand(shape)


def synthesis(page: Page, sizes: Sizes, batch: int, pairs: int) -> None:
    """ms of `Generator.synthesize` and of grouped convolutions, in turns."""
    for label, gradient in (("forward", False), ("forward + backward", True)):
        page.measure(
            f"{sizes[0]} px, batch {batch}, {label}",
            "synthesis, ms",
            partial(_synthesis, page.device, sizes, batch, gradient, pairs),
        )


def _synthesis(
    device: str, sizes: Sizes, batch: int, gradient: bool, pairs: int
) -> dict[str, float]:
    generator = timed_generator(sizes).to(device)
    z = torch.randn(batch, generator.z_dim, generator=torch.Generator().manual_seed(batch))
    ws = generator.map(z.to(device)).clone()

    def work(way: Callable[[Tensor], Tensor]) -> None:
        with torch.set_grad_enabled(gradient):
            leaf = ws.detach().requires_grad_(gradient)
            image = way(leaf)
            if gradient:
                torch.autograd.grad(image, leaf, torch.ones_like(image))

    ways = (partial(grouped_conv.synthesize, generator), generator.synthesize)
    times = alternate(*(partial(work, way) for way in ways), device=device, pairs=pairs, seconds=10)
    row = times.summary()
    return {"grouped": 1e3 * row["first"], "ours": 1e3 * row["second"], "ratio": row["ratio"]}


def encoder(page: Page, generator: str, files: int, batch: int) -> None:
    """Photos a second from files to files, as --fast, and of the networks alone."""
    page.measure(
        f"--fast, {files} files, batch {batch}",
        "photos/s",
        partial(_encoder, page.device, generator, files, batch),
    )


def _encoder(device: str, generator: str, files: int, batch: int) -> dict[str, float]:
    with TemporaryDirectory() as folder, torch.no_grad():
        options = Streaming(files=files, batch=batch, generator=generator, device=device)
        studio = load(options, Path(folder))
        photos, images = write_photos(studio.generator, options, Path(folder))
        plan = studio.plan("f/z+", steps=0, init="encoder", align=False, identity="off")
        inverter = studio.inverter(plan)

        def bare() -> None:
            for targets in images.split(batch):
                inverter.initial_latents(targets).synthesize(inverter.generator).cpu()

        bare()
        job = Job(inverter, studio.target_reader, photos, Path(folder) / "out", batch)
        seconds = clock(partial(job.run, quiet=True), device)
        if job.failed:
            raise RuntimeError(f"not all files were inverted: {job.failed}")
        return {"files": files / seconds, "networks alone": files / clock(bare, device)}


def training(page: Page, sizes: Sizes, batch: int, pairs: int) -> None:
    """Images a second of a step of generator and critic, beside grouped convolutions in fp32."""
    page.measure(
        f"{sizes[0]} px ({sizes[1]}/{sizes[2]}), batch {batch}, bf16, no penalty",
        "training, images/s",
        partial(_training, page.device, sizes, batch, pairs),
    )


def _training(device: str, sizes: Sizes, batch: int, pairs: int) -> dict[str, float]:
    options = Steps(batch=batch, channel_base=sizes[1], channel_max=sizes[2], device=device)
    real = torch.randn(batch, 3, sizes[0], sizes[0], device=device)
    theirs = Trained(sizes[0], options, ours=False, half=False)
    ours = Trained(sizes[0], options, ours=True, half=torch.device(device).type == "cuda")
    z = torch.randn(batch, ours.generator.z_dim, device=device)
    times = alternate(
        *(partial(x.step, z, real) for x in (theirs, ours)), device=device, pairs=pairs, seconds=10
    )
    row = times.summary()
    return {"grouped, fp32": batch / row["first"], "ours": batch / row["second"]}
