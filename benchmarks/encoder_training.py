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
from facsimile.encoders import KINDS, FeatureEncoder
from facsimile.encoders.layers import update_running_stats
from facsimile.encoders.recipe import EncoderRecipe
from facsimile.stylegan import Feature
from facsimile.training import BatchSlice, Distributed, Meter
from facsimile.training.loop import prepare, train_step


@dataclass(frozen=True, kw_only=True)
class Options:
    """Time whole training steps, and the generator, the encoder and the losses on their own.

    The rest of a step is the loop's: random numbers, optimisers, moving averages, curves; and what
    an encoder synthesizes beside its reconstruction, with the losses of that. Lazy penalties are
    left out, because they come every 16th step.
    """

    recipes: tuple[Literal["base", "feature", "in-domain"], ...] = ("base", "feature", "in-domain")
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
        self.weights = [x for x in recipe.encoder.parameters() if x.requires_grad]
        self.trains_critic = any(x.name == "critic" for x in recipe.trainables)
        with torch.no_grad():
            self.ws, self.target = self._sample()
            with self._autocast():
                self.prediction = self._predict()
            self.image = self._synthesize(self.prediction)
        update_running_stats(recipe.encoder, 0.0, lambda x: x)

    def _autocast(self) -> torch.autocast:
        return self.recipe.settings.autocast(self.recipe.device)

    def _sample(self) -> tuple[Tensor, Tensor]:
        ws, _ = self.recipe._codes(self.batch)
        return ws, self.recipe._sample_images(ws)

    def _predict(self) -> tuple[Tensor, ...]:
        """A feature, codes, or codes and a feature."""
        encoder = self.recipe.encoder
        if isinstance(encoder, FeatureEncoder):
            ws, feature, *_ = encoder.predict(self.target, self.recipe.generator)
            return ws, feature.x
        return (encoder(self.target),)

    def _synthesize(self, prediction: tuple[Tensor, ...]) -> Tensor:
        """The image of what `_predict` returns."""
        *codes, last = prediction
        ws, start = codes[0] if codes else self.ws, None
        if last.ndim == 3:
            ws = last
        else:
            with torch.no_grad():
                start = self._start()._replace(x=last)
        with self._autocast():
            image = self.recipe.generator.synthesize(ws, start=start)
        return image.to(self.recipe.settings.dtype)

    def _start(self) -> Feature:
        """A feature of the encoder's layer, with its RGB skip."""
        encoder = self.recipe.encoder
        if isinstance(encoder, FeatureEncoder):
            return self.recipe.generator.synthesize(self.ws, stop=encoder.config.layer)
        return encoder.feature(self.target)

    def generator(self) -> None:
        """Synthesize a sample and the prediction, and propagate back to the prediction."""
        with torch.no_grad():
            self._sample()
        prediction = tuple(x.detach().requires_grad_() for x in self.prediction)
        image = self._synthesize(prediction)
        torch.autograd.grad(image, prediction, torch.ones_like(image))

    def encoder(self) -> None:
        with self._autocast():
            prediction = self._predict()
        update_running_stats(self.recipe.encoder, 0.0, lambda x: x)
        ones = [torch.ones_like(x) for x in prediction]
        torch.autograd.grad(prediction, self.weights, ones, allow_unused=True)

    def losses(self) -> None:
        """All terms of all trainables, without the lazy ones."""
        image = self.image.detach().requires_grad_()
        total = sum(self.recipe._reconstruction_losses(image, self.target).values())
        if self.critic is not None:
            total = total + softplus(-self.recipe._discriminate(image, None)).mean()
        torch.autograd.grad(total, image)
        if self.trains_critic:
            fake = softplus(self.recipe._discriminate(self.image.detach(), None)).mean()
            real = softplus(-self.recipe._discriminate(self.target, None)).mean()
            torch.autograd.grad(fake + real, list(self.critic.parameters()))


if __name__ == "__main__":
    main(tyro.cli(Options))
