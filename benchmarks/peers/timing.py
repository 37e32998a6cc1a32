"""The peers and our refinement of the same picture with the same networks, in the same run."""

from functools import partial

import torch

from benchmarks.gpu.networks import timed_generator
from benchmarks.gpu.page import Page
from benchmarks.networks import random_discriminator
from benchmarks.timing import clock
from facsimile import metrics, stylegan
from facsimile.refine import recipes, refine

from . import pti, w_projector


def rows(page: Page, sizes: tuple[int, int, int], steps: int) -> None:
    """ms a step of the W projector, of PTI's two stages, and of ours in W+. Once for each size."""
    what = f"{sizes[0]} px ({sizes[1]}/{sizes[2]}), batch 1"
    unit = "peers, ms a step"
    if not any(row["what"] == what and row["unit"] == unit for row in page.numbers):
        page.measure(what, unit, partial(_times, page.device, sizes, steps))


def _times(device: str, sizes: tuple[int, int, int], steps: int) -> dict[str, float]:
    generator = timed_generator(sizes).to(device)
    perceptual = metrics.discriminator_features(random_discriminator(*sizes).to(device))
    goal = stylegan.init_latents(generator, "w", 1, init="random", seed=1)
    target = goal.synthesize(generator).clamp(-1, 1)
    networks = {"perceptual": perceptual}

    def ours(count: int) -> None:
        recipe = recipes.get("image2stylegan").with_steps(count)
        start = stylegan.init_latents(generator, recipe.space, 1)
        refine(generator, start, target, recipe, networks=networks)

    def projector(count: int) -> None:
        settings = w_projector.Settings(steps=count, samples=100)
        w_projector.project(generator, target, perceptual, settings)

    def tuning(count: int) -> None:
        settings = pti.Settings(pivot=w_projector.Settings(steps=1, samples=100), steps=count)
        pti.invert(generator, target, perceptual, settings)

    milliseconds = {}
    ways = {"ours, W+": ours, "W projector, and PTI's pivot": projector, "PTI's tuning": tuning}
    for name, way in ways.items():
        with torch.enable_grad():
            way(steps)
            # The difference leaves out what happens once.
            short, long = (clock(partial(way, n * steps), device) for n in (1, 3))
        milliseconds[name] = 1e3 * (long - short) / (2 * steps)
    return milliseconds
