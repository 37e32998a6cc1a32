"""The recipe `base`: the base encoder, trained on generated samples alone.

Legend: N images of a place, C channels, R side of the image, L style inputs.
"Revisiting Latent Space of GAN Inversion for Real Image Editing", equation 2; the network and its
optimiser are those of "GAN Inversion for Out-of-Range Images with Geometric Transformations".
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

import data
import metrics
from stylegan import Feature, freeze, spaces
from stylegan.randomness import source
from training import Host, Place, Player, Run, ema
from training.draws import Draws

from .base import FILE, BaseConfig, BaseEncoder, save

PART = 16
"""Images at a time where no gradient is taken."""


@dataclass(frozen=True, kw_only=True)
class BaseRun(Run):
    """Train the base encoder of a generator: from a photo to the feature map of one layer.

    Writes OUT/encoder.safetensors (the moving average), sample sheets (photo, redrawn, ..), curves
    and checkpoints: train.py base --generator faces --out runs/base
    """

    generator: str = "faces"
    """A bundled name, a generator's file, or a folder with generator.safetensors."""
    layer: str | None = None
    """Whose output the feature is, e.g. b16.conv0. Default: 16x16 as BDInvert's, but at most an
    eighth of the image's side."""
    images: int = 160_000
    batch: int = 16
    group: int = 16
    """Images per batch normalisation."""
    width: int = 128
    """Channels of the encoder's first stage; the others have twice and four times as many."""
    rgb_skip: Literal["zero", "keep"] = "zero"
    """The image that the layers before the feature have drawn: none, as BDInvert, or the mean
    code's."""
    truncation: float = 0.7
    """psi of the samples, on the first `cutoff` style inputs."""
    cutoff: int = 8
    perceptual: Literal[metrics.PERCEPTUALS] = "auto"
    """auto: LPIPS-VGG where its weights are, else the generator's own discriminator."""
    perceptual_weights: Path | None = None
    """Local file of its network's weights."""
    perceptual_weight: float = 10.0
    """lambda_enc, in front of the perceptual term."""
    lr: float = 1e-3
    lr_every: int = 32_000
    """Images after which the learning rate falls to a tenth."""
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

    FREE = (*Run.FREE, "photos", "samples", "score_images")

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("group", "width", "lr_every", "samples", "score_images"):
            self._at_least(name, 1)
        self._at_least("cutoff", 0)


class BaseRecipe:
    def __init__(self, run: BaseRun, host: Host):
        self.run, self.host, self.device = run, host, host.device
        self.name = "base"
        found = host.find(run.generator)
        self.generator = found.generator.to(host.device, run.dtype)
        weights = run.perceptual_weights
        chosen = metrics.choose(run.perceptual, found.discriminator, weights)
        self.perceptual = None if chosen is None else chosen.to(host.device, run.dtype)
        self.group = run.group
        self.draws = Draws(run.seed, run.group, host.device, run.dtype)
        config = BaseConfig.of(self.generator, run.layer, run.width, run.rgb_skip)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(run.seed)
            encoder = BaseEncoder(config, run.group)
        layout = torch.channels_last if host.device.type == "cuda" else torch.preserve_format
        self.encoder = encoder.to(host.device, run.dtype, memory_format=layout).train()
        self.encoder.fit(self.generator, self._held_out("scale", 64))
        self.average = freeze(copy.deepcopy(self.encoder))
        optimizer = torch.optim.Adam(self.encoder.parameters(), lr=run.lr, fused=True)
        self.players = (Player(self.name, self.encoder, optimizer),)
        self.photos: data.ImageSet | None = None

    def open_data(self) -> str:
        """Read the photos of the scores; returns what there is, in a sentence."""
        said = f"samples of {self.run.generator} ({self.generator.fingerprint})"
        if self.perceptual is not None:
            said += f"; {self.perceptual.note}"
        if self.run.photos:
            if self.generator.img_channels != 3:
                raise ValueError(
                    "--photos are RGB, and this generator makes images of "
                    f"{self.generator.img_channels} channels; leave --photos out"
                )
            self.photos = data.image_set(self.run.photos, self.generator.resolution)
            said += f"; {len(self.photos)} photos for the scores"
        return said

    # One step -------------------------------------------------------------------------------------

    def _ws(self, z: Tensor, label: Tensor | None) -> Tensor:
        return self.generator.map(z, label, self.run.truncation, self.run.cutoff)

    def _labels(self, chance: Tensor) -> Tensor | None:
        """chance (N, 1) in [0, 1) -> one of the classes for each, all alike often."""
        classes = self.generator.c_dim
        if not classes:
            return None
        return F.one_hot((chance[:, 0] * classes).long(), classes).to(self.device, self.run.dtype)

    def _codes(self, place: Place) -> Tensor:
        """ws (N, L, w_dim) of a place."""
        z = self.draws.numbers("code", place, torch.randn, self.generator.z_dim)
        chance = self.draws.numbers("label", place, torch.rand, 1)
        return self._ws(z.to(self.device, self.run.dtype), self._labels(chance))

    def _held_out(self, what: str, count: int) -> Tensor:
        """ws (count, L, w_dim) of samples that no place draws."""
        rng = source("cpu", self.run.seed, what)
        z = torch.randn(count, self.generator.z_dim, generator=rng)
        chance = torch.rand(count, 1, generator=rng)
        with torch.no_grad():
            return self._ws(z.to(self.device, self.run.dtype), self._labels(chance))

    def _redraw(self, feature: Feature, ws: Tensor) -> Tensor:
        return self.generator.synthesize(ws, start=feature)

    def losses(self, player: str, place: Place) -> dict[str, Tensor]:
        """mean((G(E(x), w) - x)^2) + lambda |phi(G(E(x), w)) - phi(x)|^2 (equation 2)."""
        run = self.run
        (group,) = self.players[0].optimizer.param_groups
        group["lr"] = run.lr * 0.1 ** (place.step * run.batch // run.lr_every)
        bf16 = torch.autocast(
            self.device.type, torch.bfloat16, enabled=self.run.precision == "bf16"
        )
        with torch.no_grad():
            ws = self._codes(place)
            with bf16:
                # As a photo would be.
                target = self.generator.synthesize(ws).to(run.dtype).clamp(-1, 1)
        with bf16:
            image = self._redraw(self.encoder.feature(target), ws).to(run.dtype)
        losses = {"base/pixel": metrics.mse(image, target).mean()}
        if self.perceptual is not None and run.perceptual_weight:
            with torch.no_grad():
                wanted = self.perceptual.features(target)
            apart = metrics.distance(self.perceptual.features(image), wanted).mean()
            losses["base/perceptual"] = run.perceptual_weight * apart
        return losses

    @torch.no_grad()
    def after(self, place: Place) -> None:
        norms = self.encoder.norms()
        drawn = [torch.stack(norm.drawn).mean(0) for norm in norms]
        means = self.host.mean(torch.cat(drawn, 1)).split([x.shape[1] for x in drawn], 1)
        for norm, (mean, variance) in zip(norms, means, strict=True):
            norm.mean.lerp_(mean, 0.1)
            norm.variance.lerp_(variance, 0.1)
            norm.drawn.clear()
        run = self.run
        seen = (place.step + 1) * run.batch
        factor = ema.decay(run.batch, seen, run.average, run.average_ramp)
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
            found = torch.arange(min(count, len(self.photos)))
            mean = spaces.SPACES["w+"].start(self.generator, 1, "mean")
            for part in found.split(PART):
                target = self.photos.take(part, self.device, self.run.dtype)
                ws = mean.expand(len(part), -1, -1)
                yield target, self._redraw(self.average.feature(target), ws).clamp(-1, 1)
            return
        for ws in self._held_out("held out", count).split(PART):
            target = self.generator.synthesize(ws).clamp(-1, 1)
            yield target, self._redraw(self.average.feature(target), ws).clamp(-1, 1)

    def _sets(self) -> list[str]:
        return ["samples"] if self.photos is None else ["samples", "photos"]

    def samples(self) -> list[Tensor]:
        """Image, redrawn, image, redrawn, ..: held-out samples, then photos with the mean code."""
        rows = []
        for what in self._sets():
            for target, redrawn in self._pairs(what, self.run.samples):
                rows += torch.stack([target, redrawn], 1).flatten(0, 1).unbind()
        return [row.expand(3, -1, -1) if len(row) == 1 else row[:3] for row in rows]

    @torch.no_grad()
    def scores(self) -> dict[str, float]:
        """Means over the sets; photos are redrawn with the mean code, samples with their own."""
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
