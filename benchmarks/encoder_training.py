"""Images a second in encoder training, and where the time goes."""

import itertools
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, Literal

import torch
import tyro
from accelerate import Accelerator
from torch import Tensor
from torch.nn.functional import softplus

from benchmarks import report
from benchmarks.timing import clock
from facsimile import checkpoints
from facsimile.encoders import KINDS
from facsimile.encoders.layers import update_running_stats
from facsimile.encoders.recipe import EncoderRecipe
from facsimile.training import BatchSlice, Distributed, Meter
from facsimile.training.loop import prepare, train_step


@dataclass(frozen=True, kw_only=True)
class Options:
    """Time whole training steps, and the generator, the encoder and the losses on their own.

    The rest of a step is the loop's: random numbers, optimisers, moving averages, curves. Lazy
    penalties are left out, because they come every 16th step.
    """

    recipes: tuple[Literal["base", "in-domain"], ...] = ("base", "in-domain")
    generator: str = "faces"
    width: int | None = None
    """Channels of the encoder's first stage; None: the recipe's."""
    batch: int = 16
    precision: Literal["fp32", "bf16"] = "bf16"
    turns: int = 7
    """Repetitions; each time is their median."""
    device: Literal["cpu", "cuda"] = "cpu"
    threads: int | None = None
    """CPU threads; None: PyTorch's choice."""
    out: Path | None = None
    """JSON file with every time."""


def main(options: Options) -> None:
    report.prepare(options.device, options.threads)
    all_times = {name: measure(name, options) for name in options.recipes}
    lines = []
    for name, times in all_times.items():
        whole = times["step"]
        parts = {x: times[x] for x in ("generator", "encoder", "losses")}
        parts["rest"] = whole - sum(parts.values())
        shares = [f"{100 * x / whole:.0f} %" for x in parts.values()]
        lines.append((name, f"{options.batch / whole:.1f}", *shares))
    print(report.table(("", "images/s", "generator", "encoder", "losses", "rest"), lines))
    if options.out is not None:
        report.write_json(options.out, all_times | {"machine": report.machine(options.device)})


def measure(kind: str, options: Options) -> dict[str, float]:
    """Seconds of a step and of its parts."""
    with TemporaryDirectory() as folder:
        settings = make_settings(kind, Path(folder), options)
        accelerator = Accelerator(cpu=options.device == "cpu")
        distributed = Distributed(
            device=torch.device(options.device), load_networks=checkpoints.find
        )
        recipe = KINDS[kind].recipe(settings, distributed)
        prepare(recipe, accelerator)
        recipe.setup_data()
        meter = Meter(distributed, settings.batch)
        parts = Parts(recipe, BatchSlice(0, 0, settings.batch))
        steps = itertools.count()
        work = {
            "step": lambda: train_step(
                settings, recipe, accelerator, distributed, meter, next(steps)
            ),
            "generator": parts.generator,
            "encoder": parts.encoder,
            "losses": parts.losses,
        }
        times = {name: [] for name in work}
        for turn in range(options.turns + 2):
            for name, function in work.items():
                seconds = clock(function, options.device)
                if turn >= 2:  # the first ones warm up
                    times[name].append(seconds)
    return {name: median(seconds) for name, seconds in times.items()}


def make_settings(kind: str, out: Path, options: Options) -> Any:
    """Settings of the kind, parsed as on the command line, without lazy penalties."""
    flags = {
        "out": out,
        "images": options.batch,
        "batch": options.batch,
        "generator": options.generator,
        "precision": options.precision,
        "device": options.device,
    }
    if options.width is not None:
        flags["width"] = options.width
    if kind == "in-domain":
        flags["r1-gamma"] = 0.0
    args = [text for name, value in flags.items() for text in (f"--{name}", str(value))]
    return tyro.cli(KINDS[kind].settings, args=args, config=(tyro.conf.OmitArgPrefixes,))


class Parts:
    """The work of each network in one step, on the images of one batch."""

    def __init__(self, recipe: EncoderRecipe, batch: BatchSlice):
        self.recipe, self.batch = recipe, batch
        self.critic = getattr(recipe, "critic", None)
        self.weights = list(recipe.encoder.parameters())
        with torch.no_grad():
            self.ws, self.target = self._sample()
            with self._autocast():
                self.prediction = recipe.encoder(self.target)
            self.image = self._synthesize(self.prediction)
        update_running_stats(recipe.encoder, 0.0, lambda x: x)

    def _autocast(self) -> torch.autocast:
        return self.recipe.settings.autocast(self.recipe.device)

    def _sample(self) -> tuple[Tensor, Tensor]:
        ws, _ = self.recipe._codes(self.batch)
        return ws, self.recipe._sample_images(ws)

    def _synthesize(self, prediction: Tensor) -> Tensor:
        """The image of a feature, or of codes."""
        ws, start = prediction, None
        if prediction.ndim == 4:
            with torch.no_grad():
                start = self.recipe.encoder.feature(self.target)._replace(x=prediction)
            ws = self.ws
        with self._autocast():
            image = self.recipe.generator.synthesize(ws, start=start)
        return image.to(self.recipe.settings.dtype)

    def generator(self) -> None:
        """Synthesize a sample and the prediction, and propagate back to the prediction."""
        with torch.no_grad():
            self._sample()
        prediction = self.prediction.detach().requires_grad_()
        image = self._synthesize(prediction)
        torch.autograd.grad(image, prediction, torch.ones_like(image))

    def encoder(self) -> None:
        with self._autocast():
            prediction = self.recipe.encoder(self.target)
        update_running_stats(self.recipe.encoder, 0.0, lambda x: x)
        torch.autograd.grad(prediction, self.weights, torch.ones_like(prediction))

    def losses(self) -> None:
        """All terms of all trainables, without the lazy ones."""
        image = self.image.detach().requires_grad_()
        total = sum(self.recipe._reconstruction_losses(image, self.target).values())
        if self.critic is not None:
            total = total + softplus(-self.recipe._discriminate(image, None)).mean()
        torch.autograd.grad(total, image)
        if self.critic is not None:
            fake = softplus(self.recipe._discriminate(self.image.detach(), None)).mean()
            real = softplus(-self.recipe._discriminate(self.target, None)).mean()
            torch.autograd.grad(fake + real, list(self.critic.parameters()))


if __name__ == "__main__":
    main(tyro.cli(Options))
