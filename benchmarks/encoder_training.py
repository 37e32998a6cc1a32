"""Images a second in encoder training, and where the time goes."""

import itertools
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Literal

import torch
import tyro
from torch import Tensor
from torch.nn.functional import softplus

import train
from benchmarks import report
from benchmarks.timing import clock
from facsimile import checkpoints
from facsimile.encoders.feature_recipe import FeatureRecipe, FeatureRun
from facsimile.encoders.in_domain_recipe import InDomainRecipe, InDomainRun
from facsimile.encoders.layers import settle
from facsimile.stylegan import Feature
from facsimile.training import BatchSlice, Distributed, Meter

RECIPES = {"base": (FeatureRun, FeatureRecipe), "in-domain": (InDomainRun, InDomainRecipe)}


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


def measure(name: str, options: Options) -> dict[str, float]:
    """Seconds of a step and of its parts."""
    settings, make = RECIPES[name]
    sizes = {} if options.width is None else {"width": options.width}
    if name == "in-domain":
        sizes["r1"] = 0.0
    with TemporaryDirectory() as folder:
        run = settings(
            out=Path(folder),
            images=options.batch,
            batch=options.batch,
            generator=options.generator,
            precision=options.precision,
            device=options.device,
            **sizes,
        )
        host = Distributed(device=torch.device(options.device), find=checkpoints.find)
        recipe = make(run, host)
        recipe.open_data()
        meter = Meter(host, run.batch)
        parts = Parts(recipe, BatchSlice(0, 0, run.batch, True))
        steps = itertools.count()
        work = {
            "step": lambda: train.advance(run, recipe, host, meter, next(steps)),
            "generator": parts.generator,
            "encoder": parts.encoder,
            "losses": parts.losses,
        }
        times = {what: [] for what in work}
        for turn in range(options.turns + 2):
            for what, do in work.items():
                second = clock(do, options.device)
                if turn >= 2:  # the first ones warm up
                    times[what].append(second)
    return {what: median(seconds) for what, seconds in times.items()}


class Parts:
    """The work of each network in one step, on the images of one batch."""

    def __init__(self, recipe: FeatureRecipe | InDomainRecipe, place: BatchSlice):
        self.recipe, self.place = recipe, place
        self.critic = getattr(recipe, "critic", None)
        self.weights = list(recipe.encoder.parameters())
        with torch.no_grad():
            self.ws, self.target = self._sample()
            with self._autocast():
                self.prediction = recipe.encoder(self.target)
        settle(recipe.encoder, 0.0, lambda x: x)
        self.image = self._redraw(self.prediction)

    def _autocast(self) -> torch.autocast:
        return self.recipe.run.autocast(self.recipe.device)

    def _sample(self) -> tuple[Tensor, Tensor]:
        ws, _ = self.recipe._codes(self.place)
        return ws, self.recipe._photo(ws)

    def _redraw(self, prediction: Tensor) -> Tensor:
        """The image of a feature, or of codes."""
        start = {}
        if isinstance(self.recipe, FeatureRecipe):
            start = {"start": Feature(self.recipe.encoder.config.layer, prediction, None)}
        ws = self.ws if start else prediction
        with self._autocast():
            return self.recipe.generator.synthesize(ws, **start).to(self.recipe.run.dtype)

    def generator(self) -> None:
        """Synthesize a sample and the prediction, and propagate back to the prediction."""
        with torch.no_grad():
            self._sample()
        prediction = self.prediction.detach().requires_grad_()
        image = self._redraw(prediction)
        torch.autograd.grad(image, prediction, torch.ones_like(image))

    def encoder(self) -> None:
        with self._autocast():
            prediction = self.recipe.encoder(self.target)
        settle(self.recipe.encoder, 0.0, lambda x: x)
        torch.autograd.grad(prediction, self.weights, torch.ones_like(prediction))

    def losses(self) -> None:
        """All terms of all trainables, without the lazy ones."""
        image = self.image.detach().requires_grad_()
        total = sum(self.recipe._apart(image, self.target).values())
        if self.critic is not None:
            total = total + softplus(-self.recipe._judge(image, None)).mean()
        torch.autograd.grad(total, image)
        if self.critic is not None:
            fake = softplus(self.recipe._judge(self.image.detach(), None)).mean()
            real = softplus(-self.recipe._judge(self.target, None)).mean()
            torch.autograd.grad(fake + real, list(self.critic.parameters()))


if __name__ == "__main__":
    main(tyro.cli(Options))
