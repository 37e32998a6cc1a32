"""What the recipes that train an encoder share: samples of the generator, scores, sheets, files.

Legend: N images of a place, C channels, R side of the image, L style inputs, D numbers in w.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import data
import metrics
from stylegan import freeze, spaces
from stylegan.randomness import source
from training import Host, Place, Player, Run, ema
from training.draws import Draws

from .files import FILE, save
from .layers import settle

PART = 16
"""Images at a time where no gradient is taken."""


@dataclass(frozen=True, kw_only=True)
class EncoderRun(Run):
    generator: str = "faces"
    """A bundled name, a generator's file, or a folder with generator.safetensors."""
    batch: int = 16
    group: int = 16
    """Images per batch normalisation."""
    truncation: float = 0.7
    """psi of the samples, on the first `cutoff` style inputs."""
    cutoff: int = 8
    perceptual: Literal[metrics.PERCEPTUALS] = "auto"
    """auto: LPIPS-VGG where its weights are, else the generator's own discriminator."""
    perceptual_weights: Path | None = None
    """Local file of its network's weights."""
    average: float = 2_000
    """Half-life of the moving average of the weights, in images."""
    average_ramp: float = 0.05
    """The half-life is at most this share of the images seen; 0: no ramp."""
    photos: tuple[str, ...] = ()
    """Folders or zips of aligned photos, for scores and sheets alone."""
    samples: int = 8
    """Generated samples of a sheet, and as many photos, each beside what was redrawn."""
    score_images: int = 64
    """Held-out samples, and photos at most, in a score."""
    # What these are by default, each recipe says.
    width: int
    perceptual_weight: float
    lr: float
    lr_every: int

    FREE = (*Run.FREE, "photos", "samples", "score_images")

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("group", "width", "lr_every", "samples", "score_images"):
            self._at_least(name, 1)
        self._at_least("cutoff", 0)

    def rate(self, seen: int) -> float:
        """Learning rate after so many images; --images does not count, it may be raised later."""
        raise NotImplementedError


class EncoderRecipe:
    """A recipe says which network (`_network`), how it redraws (`_redraw`), and the losses."""

    player: str
    """Name of the encoder among the players."""
    betas: tuple[float, float]
    """Of Adam."""

    def __init__(self, run: EncoderRun, host: Host):
        self.run, self.host, self.device = run, host, host.device
        found = host.find(run.generator)
        self.generator = found.generator.to(host.device, run.dtype)
        self.discriminator = found.discriminator
        weights = run.perceptual_weights
        chosen = metrics.choose(run.perceptual, found.discriminator, weights)
        self.perceptual = None if chosen is None else chosen.to(host.device, run.dtype)
        self.group = run.group
        self.draws = Draws(run.seed, run.group, host.device, run.dtype)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(run.seed)
            self.encoder = self._placed(self._network()).train()
        self.encoder.fit(self.generator, self._held_out("scale", 64))
        self.average = freeze(copy.deepcopy(self.encoder))
        self.players: tuple[Player, ...] = (self._player(self.player, self.encoder),)
        self.photos: data.ImageSet | None = None

    def _network(self) -> nn.Module:
        raise NotImplementedError

    def _redraw(self, encoder: nn.Module, images: Tensor, ws: Tensor) -> Tensor:
        """What the generator makes of the encoder's word on images (N, C, R, R).

        ws (N, L, D): their own codes, or the mean; for what the encoder says nothing about.
        """
        raise NotImplementedError

    def _placed(self, network: nn.Module) -> nn.Module:
        layout = torch.channels_last if self.device.type == "cuda" else torch.preserve_format
        return network.to(self.device, self.run.dtype, memory_format=layout)

    def _player(self, name: str, module: nn.Module) -> Player:
        weights = module.parameters()
        return Player(
            name, module, torch.optim.Adam(weights, lr=self.run.lr, betas=self.betas, fused=True)
        )

    def open_data(self) -> str:
        """Read the photos of the scores; returns what there is, in a sentence."""
        said = f"samples of {self.run.generator} ({self.generator.fingerprint})"
        if self.perceptual is not None:
            said += f"; {self.perceptual.note}"
        if self.run.photos:
            self.photos = self._open("photos")
            said += f"; for the scores {self.photos.summary()}"
        return said

    def _open(self, name: str) -> data.ImageSet:
        """The images that a setting names, at the generator's side."""
        if self.generator.img_channels != 3:
            raise ValueError(
                f"--{name} are RGB, and this generator makes images of "
                f"{self.generator.img_channels} channels; leave --{name} out"
            )
        return data.image_set(getattr(self.run, name), self.generator.resolution)

    # One step -------------------------------------------------------------------------------------

    def _begin(self, place: Place) -> None:
        """Set the learning rate of this step."""
        rate = self.run.rate(place.step * self.run.batch)
        for player in self.players:
            for group in player.optimizer.param_groups:
                group["lr"] = rate

    def _ws(self, z: Tensor, label: Tensor | None) -> Tensor:
        z = z.to(self.device, self.run.dtype)
        return self.generator.map(z, label, self.run.truncation, self.run.cutoff)

    def _labels(self, chance: Tensor) -> Tensor | None:
        """chance (N, 1) in [0, 1) -> one of the classes for each, all alike often."""
        classes = self.generator.c_dim
        if not classes:
            return None
        return F.one_hot((chance[:, 0] * classes).long(), classes).to(self.device, self.run.dtype)

    def _codes(self, place: Place) -> tuple[Tensor, Tensor | None]:
        """(ws (N, L, D), labels (N, c_dim)) of a place."""
        z = self.draws.numbers("code", place, torch.randn, self.generator.z_dim)
        label = self._labels(self.draws.numbers("label", place, torch.rand, 1))
        return self._ws(z, label), label

    def _held_out(self, what: str, count: int) -> Tensor:
        """ws (count, L, D) of samples that no place draws."""
        rng = source("cpu", self.run.seed, what)
        z = torch.randn(count, self.generator.z_dim, generator=rng)
        chance = torch.rand(count, 1, generator=rng)
        with torch.no_grad():
            return self._ws(z, self._labels(chance))

    def _photo(self, ws: Tensor) -> Tensor:
        """The images (N, C, R, R) of ws, as a photo would be."""
        with self.run.autocast(self.device):
            return self.generator.synthesize(ws).to(self.run.dtype).clamp(-1, 1)

    def _apart(self, image: Tensor, target: Tensor) -> dict[str, Tensor]:
        """mean((image - target)^2) + weight |phi(image) - phi(target)|^2, by name."""
        losses = {f"{self.player}/pixel": metrics.mse(image, target).mean()}
        if self.perceptual is not None and self.run.perceptual_weight:
            with torch.no_grad():
                wanted = self.perceptual.features(target)
            apart = metrics.distance(self.perceptual.features(image), wanted).mean()
            losses[f"{self.player}/perceptual"] = self.run.perceptual_weight * apart
        return losses

    def after(self, place: Place) -> None:
        run = self.run
        factor = ema.decay(run.batch, (place.step + 1) * run.batch, run.average, run.average_ramp)
        # Only the average is ever used: the statistics are means over the steps that it is of.
        settle(self.encoder, 1 - factor, self.host.mean)
        ema.update(self.average, self.encoder, factor)

    def _belongs(self) -> dict[str, str]:
        """What a checkpoint must agree with, beyond the settings."""
        name = "none" if self.perceptual is None else self.perceptual.name
        return {"generator": self.generator.fingerprint, "perceptual": name}

    def state(self) -> dict[str, Any]:
        return {"average": self.average.state_dict()} | self._belongs()

    def load_state(self, state: dict[str, Any]) -> None:
        for name, ours in self._belongs().items():
            if state[name] != ours:
                raise ValueError(f"the {name} was {state[name]} and is {ours}")
        self.average.load_state_dict(state["average"])

    # What a person sees ---------------------------------------------------------------------------

    def figures(self) -> dict[str, float]:
        return {}

    @torch.no_grad()
    def _pairs(self, what: str, count: int) -> Iterator[tuple[Tensor, Tensor]]:
        """(target, redrawn) of held-out samples, or of photos with the mean code; by parts."""
        if what == "photos":
            mean = spaces.SPACES["w+"].start(self.generator, 1, "mean")
            parts = torch.arange(min(count, len(self.photos))).split(PART)
            found = (
                (self.photos.take(x, self.device, self.run.dtype), mean.expand(len(x), -1, -1))
                for x in parts
            )
        else:
            parts = self._held_out("held out", count).split(PART)
            found = ((self.generator.synthesize(ws).clamp(-1, 1), ws) for ws in parts)
        for target, ws in found:
            yield target, self._redraw(self.average, target, ws).clamp(-1, 1)

    def _sets(self) -> list[str]:
        return ["samples"] if self.photos is None else ["samples", "photos"]

    def samples(self) -> list[Tensor]:
        """Image, redrawn, image, redrawn, ..: held-out samples, then photos."""
        rows = []
        for what in self._sets():
            for target, redrawn in self._pairs(what, self.run.samples):
                rows += torch.stack([target, redrawn], 1).flatten(0, 1).unbind()
        return [row.expand(3, -1, -1) if len(row) == 1 else row[:3] for row in rows]

    @torch.no_grad()
    def scores(self) -> dict[str, float]:
        """Means over held-out samples, and over photos."""
        found: dict[str, list[Tensor]] = {}
        for what in self._sets():
            for target, redrawn in self._pairs(what, self.run.score_images):
                found.setdefault(f"{what}/mse", []).append(metrics.mse(redrawn, target))
                if self.perceptual is not None:
                    apart = self.perceptual(redrawn, target)
                    found.setdefault(f"{what}/{self.perceptual.name}", []).append(apart)
        return {name: float(torch.cat(values).mean()) for name, values in found.items()}

    def save(self, out: Path) -> None:
        save(self.average, out / FILE)
