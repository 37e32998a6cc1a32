"""Does a device compute what the CPU computes? Architectures, spaces, recipes, encoders, training.

True float32 on both; tolerances are relative to the largest value.
"""

import contextlib
import copy
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import numpy as np
import torch
from accelerate.state import AcceleratorState, GradientState, PartialState
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from facsimile import encoders, stylegan
from facsimile.commands import train
from facsimile.encoders import KINDS
from facsimile.refine import Recipe, RefineResult, refine
from facsimile.refine.recipes import RECIPES, get
from facsimile.stylegan import Generator
from facsimile.training.keyed_sampler import KeyedSampler

from .networks import (
    ARCHITECTURES,
    error,
    save_pair,
    small_encoder,
    small_generator,
    small_perceptual,
)
from .page import Page

IMAGE, GRADIENT = 1e-4, 1e-3
"""Tolerances: of what is one pass, and of its derivative."""
LOSSES = 1e-2
"""Of the losses of a run of optimisation steps, which amplify rounding."""
TRAINING = 2e-2
"""Of the norm of weights after some steps of training, in which Adam amplifies it more, and a GPU's
products are those of tf32."""


def run(page: Page, *, side: int, width: int, steps: int, recipes: tuple[str, ...] | None) -> None:
    """All checks. recipes: names; None: all."""
    for architecture in ARCHITECTURES:
        page.check(
            f"{architecture}: image",
            lambda a=architecture: _image(a, page.device, side, width),
            IMAGE,
        )
        page.check(
            f"{architecture}: gradient of ws",
            lambda a=architecture: _gradient(a, page.device, side, width),
            GRADIENT,
        )
    names = tuple(RECIPES) if recipes is None else recipes
    for space in dict.fromkeys(get(name).space for name in names):
        page.check(
            f"space {space}: image", lambda s=space: _space(s, page.device, side, width), IMAGE
        )
    for name in names:
        recipe = get(name).with_steps(steps)
        page.check(
            f"recipe {name}: losses", lambda r=recipe: _recipe(r, page.device, side, width), LOSSES
        )
        page.check(
            f"recipe {name}: resumed",
            lambda r=recipe: _resumed(r, page.device, side, width),
            LOSSES,
        )
    page.check("batch of 3 = single runs", lambda: _batch(page.device, side, width, steps), LOSSES)
    for kind in (name for name, entry in KINDS.items() if entry.default_space is not None):
        page.check(
            f"encoder {kind}: latents",
            lambda k=kind: _encoder(k, page.device, side, width),
            GRADIENT,
        )


def train_all(page: Page, names: tuple[str, ...], images: int) -> None:
    """Recipes of training: a short run on both, compared by the weights."""
    for name in names:
        page.check(
            f"train {name}: weights", lambda n=name: _trained(n, page.device, images), TRAINING
        )


def on(generator: Generator, device: str) -> Generator:
    return copy.deepcopy(generator).to(device)


def _codes(generator: Generator, n: int) -> Tensor:
    z = torch.randn(n, generator.z_dim, generator=torch.Generator().manual_seed(3))
    return generator.map(z)


def _image(architecture: str, device: str, side: int, width: int) -> float:
    generator = small_generator(architecture, side, width)
    ws = _codes(generator, 2)
    with torch.no_grad():
        expected = generator.synthesize(ws)
        return error(on(generator, device).synthesize(ws.to(device)), expected)


def _gradient(architecture: str, device: str, side: int, width: int) -> float:
    generator = small_generator(architecture, side, width)
    results = []
    for network in (on(generator, device), generator):
        ws = _codes(generator, 2).to(network.device).requires_grad_()
        image = network.synthesize(ws)
        results.append(torch.autograd.grad((image * image.detach()).sum(), ws)[0])
    return error(*results)


def _space(space: str, device: str, side: int, width: int) -> float:
    generator = small_generator("stylegan2", side, width)
    with torch.no_grad():
        latents = stylegan.init_latents(generator, space, 2).retract()
        expected = latents.synthesize(generator)
        moved = latents.to(torch.device(device), generator.dtype).retract()
        return error(moved.synthesize(on(generator, device)), expected)


def _refine(
    recipe: Recipe, device: str, side: int, width: int, rows: slice = slice(2), **options
) -> RefineResult:
    generator = small_generator("stylegan2", side, width)
    targets = generator.synthesize(_codes(generator, 4)).clamp(-1, 1)[rows]
    initial = stylegan.init_latents(generator, recipe.space, 4, rgb_skip=recipe.rgb_skip)[rows]
    perceptual = copy.deepcopy(small_perceptual(side, width)).to(device)
    shape = (-1, generator.num_ws, generator.w_dim)

    def encoder(images: Tensor) -> Tensor:
        return images.mean((1, 2, 3))[:, None, None].expand(shape)

    return refine(
        on(generator, device),
        initial.to(torch.device(device), generator.dtype),
        targets.to(device),
        recipe,
        networks={"perceptual": perceptual, "encoder": encoder},
        **options,
    )


def _recipe(recipe: Recipe, device: str, side: int, width: int) -> float:
    """Also of captured steps, where the device captures: the CPU's are not."""
    results = _refine(recipe, device, side, width)
    expected = _refine(recipe, "cpu", side, width)
    return max(error(results.history[name], x) for name, x in expected.history.items())


def _resumed(recipe: Recipe, device: str, side: int, width: int) -> float:
    """Stopped in the middle and resumed, against the run without a stop."""
    states: list[dict] = []

    class Stop(Exception):
        pass

    def stop(step) -> None:
        if step.done >= recipe.steps // 2:
            states.append(step.state())
            raise Stop

    with contextlib.suppress(Stop):
        _refine(recipe, device, side, width, callback=stop)
    resumed = _refine(recipe, device, side, width, state=states[0])
    whole = _refine(recipe, device, side, width)
    return max(error(x, whole.history[name]) for name, x in resumed.history.items())


def _batch(device: str, side: int, width: int, steps: int) -> float:
    recipe = get("w+").with_steps(steps)
    batched = _refine(recipe, device, side, width, slice(0, 3))
    errors = []
    for row in range(3):
        alone = _refine(recipe, device, side, width, slice(row, row + 1))
        errors += [error(x[:, 0], batched.history[n][:, row]) for n, x in alone.history.items()]
    return max(errors)


def _encoder(kind: str, device: str, side: int, width: int) -> float:
    generator = small_generator("stylegan2", side, width)
    encoder = small_encoder(kind, generator)
    with torch.no_grad():
        images = generator.synthesize(_codes(generator, 2)).clamp(-1, 1)
        expected = encoders.encode(encoder, generator, images).tensors()
        results = encoders.encode(
            copy.deepcopy(encoder).to(device), on(generator, device), images.to(device)
        ).tensors()
    return max(error(results[name], x) for name, x in expected.items())


# Training -----------------------------------------------------------------------------------------

SMALLEST = {
    **{"resolution": 8, "channel-base": 32, "channel-max": 4, "z-dim": 8, "mapping-layers": 2},
    **{"mbstd-group": 2, "num-samples": 2, "frechet": "none"},
}


def _trained(name: str, device: str, images: int) -> float:
    """The least of the recipe's own networks on random pictures, or on random samples."""
    with TemporaryDirectory() as folder:
        work = Path(folder)
        weights = [_weights(name, where, work, images) for where in (device, "cpu")]
    results, expected = (
        torch.cat([x.flatten().double() for x in w.values() if x.is_floating_point()])
        for w in weights
    )
    return float((results - expected).norm() / expected.norm())


def _weights(name: str, device: str, work: Path, images: int) -> dict[str, Tensor]:
    out = work / f"on-{device.replace(':', '-')}-{len(list(work.iterdir()))}"
    flags: dict = {"out": out, "device": device, "precision": "fp32", "images": images, "batch": 4}
    if name == "generator":
        flags |= SMALLEST | {"data": _pictures(work)}
    else:
        save_pair(work / "networks", 16, 8)
        flags |= {"generator": work / "networks", "width": 4, "perceptual": "discriminator"}
        if name != "base":
            flags |= {"max-width": 8}
            flags |= {"identity": "off"}
        flags |= {"bn-group-size": 2} if name in ("base", "in-domain") else {}
    arguments = [name] + [str(x) for k, v in flags.items() for x in (f"--{k}", v)]
    with _numbers_of_the_cpu():
        status = train.main([*arguments, "--quiet"])
    # accelerate keeps one state per process, and the next run has another device.
    AcceleratorState._reset_state(True)
    GradientState._reset_state()
    PartialState._reset_state()
    if status:
        raise RuntimeError(f"train {name} on {device} ended with the status {status}")
    file = out / ("generator.safetensors" if name == "generator" else encoders.FILE)
    return load_file(file)


@contextlib.contextmanager
def _numbers_of_the_cpu() -> Iterator[None]:
    """Random numbers that a run draws on its device are others than the CPU's."""
    numbers = KeyedSampler.numbers

    def drawn(self: KeyedSampler, *args: Any, on_device: bool = False) -> Tensor:
        results = numbers(self, *args)
        return results.to(self.device) if on_device else results

    with mock.patch.object(KeyedSampler, "numbers", drawn):
        yield


def _pictures(work: Path) -> Path:
    folder = work / "pictures"
    if not folder.is_dir():
        folder.mkdir()
        rng = np.random.default_rng(0)
        for index in range(12):
            pixels = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{index}.png")
    return folder
