"""What the recipes that train an encoder share: samples of the generator, scores, sheets, files.

Legend: N images of a place, C channels, R side of the image, L style inputs, D numbers in w.
"""

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
import tyro
from torch import Tensor, nn

from facsimile import data, metrics
from facsimile.stylegan import Discriminator, freeze, spaces
from facsimile.stylegan.randomness import keyed_generator
from facsimile.training import BatchSlice, Distributed, Run, Trainable, ema
from facsimile.training.draws import KeyedSampler
from facsimile.training.penalties import r1

from .files import FILE, kind_of, read, save
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
    perceptual: Literal[metrics.PERCEPTUAL_METRICS] = "auto"
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
    start: Annotated[Path | None, tyro.conf.arg(name="from")] = None
    """An encoder's file, or a run's folder, to go on from, of the same sizes: for other losses, or
    after its generator was replaced. A run that has a checkpoint goes on from that."""
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
    ADDED: tuple[str, ...] = ()
    """Sizes of a part that the encoder of `--from` may be without: all of them are nothing then."""
    gamma: float
    """Weight of R1, where there is a critic; its interval is the run's `r1_every`."""

    def __init__(self, run: EncoderRun, host: Distributed):
        self.run, self.host, self.device = run, host, host.device
        found = self._find()
        self.generator = found.generator.to(host.device, run.dtype)
        self.discriminator = found.discriminator
        weights = run.perceptual_weights
        chosen = metrics.build_perceptual(run.perceptual, found.discriminator, weights)
        self.perceptual = None if chosen is None else chosen.to(host.device, run.dtype)
        self.group = run.group
        self.draws = KeyedSampler(run.seed, run.group, host.device, run.dtype)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(run.seed)
            self.encoder = self._placed(self._network()).train()
        self._fit()
        if run.start is not None:
            self._adopt(run.start)
        self.average = freeze(copy.deepcopy(self.encoder))
        self.players: tuple[Trainable, ...] = (self._player(self.player, self.encoder),)
        self.photos: data.ImageSet | None = None

    def _find(self) -> Any:
        """The trained networks that it begins with, as `Host.find` gives them."""
        return self.host.find(self.run.generator)

    def _network(self) -> nn.Module:
        raise NotImplementedError

    def _fit(self) -> None:
        self.encoder.fit(self.generator, self._held_out("scale", 64))

    def _adopt(self, path: Path) -> None:
        """Take over a trained encoder's weights; of another generator's, what fits to this one."""
        trained = read(path)
        found, ours = ({"kind": kind_of(x)} | asdict(x.config) for x in (trained, self.encoder))
        same = found.pop("fingerprint") == ours.pop("fingerprint")
        lacking = () if any(found.get(x) for x in self.ADDED) else self.ADDED
        other = next((x for x in ours if found.get(x) != ours[x] and x not in lacking), None)
        if other is not None:
            raise ValueError(
                f"{path} has {other} {found.get(other)}, and this run is for {ours[other]}; "
                "--from takes an encoder of the same kind and sizes"
            )
        self.encoder.load_state_dict(self.encoder.state_dict() | trained.state_dict())
        if not same:
            self._fit()

    def _redraw(self, encoder: nn.Module, images: Tensor, ws: Tensor) -> Tensor:
        """What the generator makes of the encoder's word on images (N, C, R, R).

        ws (N, L, D): their own codes, or the mean; for what the encoder says nothing about.
        """
        raise NotImplementedError

    def _placed(self, network: nn.Module) -> nn.Module:
        layout = torch.channels_last if self.device.type == "cuda" else torch.preserve_format
        return network.to(self.device, self.run.dtype, memory_format=layout)

    def _player(self, name: str, module: nn.Module) -> Trainable:
        weights = module.parameters()
        return Trainable(
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
        return data.load_images(getattr(self.run, name), self.generator.resolution)

    def _own_critic(self, photos: bool) -> Discriminator:
        """The generator's own discriminator, to be trained on; ValueError where it cannot be."""
        side, found = self.generator.resolution, self.discriminator
        if found is None or found.img_resolution != side:
            what = "none" if found is None else f"one for images of {found.img_resolution} px"
            raise ValueError(
                f"the critic begins as the generator's own discriminator, of {side} px, and there "
                f"is {what}; put it beside the generator as discriminator.safetensors, or go "
                "without with --adversarial-weight 0"
            )
        if found.config.c_dim and photos:
            raise ValueError(
                "the generator's discriminator takes labels, and photos have none; "
                "leave --data out, or go without a critic with --adversarial-weight 0"
            )
        critic = copy.deepcopy(found).requires_grad_(True)
        # Its statistics must not cross the groups, which may lie in different processes.
        critic.b4.group = math.gcd(critic.b4.group, self.run.group)
        return critic

    def _gamma(self, r1: float | None) -> float:
        """Weight of R1, a sum over pixels: r1, or 10 at 256 px and less below."""
        return 10 * min(1.0, (self.generator.resolution / 256) ** 2) if r1 is None else r1

    # One step -------------------------------------------------------------------------------------

    def _told_apart(
        self,
        real: Tensor,
        on_real: Callable[[Tensor], Tensor],
        on_fake: Callable[[], Tensor],
        place: BatchSlice,
    ) -> dict[str, Tensor]:
        """The critic's losses from its logits: softplus(fake) + softplus(-real), and R1 on real."""
        penalised = self.gamma > 0 and place.step % self.run.r1_every == 0
        real = real.detach().requires_grad_(penalised)
        logits = on_real(real)
        losses = {
            "critic/fake": F.softplus(on_fake()).mean(),
            "critic/real": F.softplus(-logits).mean(),
        }
        if penalised:
            penalty = r1(logits, real).mean()
            losses["critic/r1"] = 0.5 * self.gamma * self.run.r1_every * penalty
        return losses

    def _begin(self, place: BatchSlice) -> None:
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

    def _codes(self, place: BatchSlice, attempt: int = 0) -> tuple[Tensor, Tensor | None]:
        """(ws (N, L, D), labels (N, c_dim)) of a place; others with every attempt."""
        number = f" {attempt}" if attempt else ""
        z = self.draws.numbers(f"code{number}", place, torch.randn, self.generator.z_dim)
        label = self._labels(self.draws.numbers(f"label{number}", place, torch.rand, 1))
        return self._ws(z, label), label

    def _held_out(self, what: str, count: int) -> Tensor:
        """ws (count, L, D) of samples that no place draws."""
        rng = keyed_generator("cpu", self.run.seed, what)
        z = torch.randn(count, self.generator.z_dim, generator=rng)
        chance = torch.rand(count, 1, generator=rng)
        with torch.no_grad():
            return self._ws(z, self._labels(chance))

    def _photo(self, ws: Tensor) -> Tensor:
        """The images (N, C, R, R) of ws, as a photo would be."""
        with self.run.autocast(self.device):
            return self.generator.synthesize(ws).to(self.run.dtype).clamp(-1, 1)

    def _apart(
        self, image: Tensor, target: Tensor, of: str = "", wanted: list[Tensor] | None = None
    ) -> dict[str, Tensor]:
        """mean((image - target)^2) + weight |phi(image) - phi(target)|^2, by name.

        of: what comes before these names. wanted: phi(target), where several terms share it.
        """
        losses = {f"{self.player}/{of}pixel": metrics.mse(image, target).mean()}
        if self.perceptual is not None and self.run.perceptual_weight:
            wanted = self._phi(target) if wanted is None else wanted
            apart = metrics.distance(self.perceptual.features(image), wanted).mean()
            losses[f"{self.player}/{of}perceptual"] = self.run.perceptual_weight * apart
        return losses

    @torch.no_grad()
    def _phi(self, target: Tensor) -> list[Tensor] | None:
        """Its features; None where no term is perceptual."""
        if self.perceptual is None or not self.run.perceptual_weight:
            return None
        return self.perceptual.features(target)

    def after(self, place: BatchSlice) -> None:
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
    def _held(self, what: str, count: int) -> Iterator[tuple[Tensor, Tensor]]:
        """(images, their codes) of held-out samples, or of photos with the mean's; by parts."""
        if what == "photos":
            mean = spaces.SPACES["w+"].start(self.generator, 1, "mean")
            for part in torch.arange(min(count, len(self.photos))).split(PART):
                image = self.photos.batch(part, self.device, self.run.dtype)
                yield image, mean.expand(len(part), -1, -1)
        else:
            for ws in self._held_out("held out", count).split(PART):
                yield self.generator.synthesize(ws).clamp(-1, 1), ws

    @torch.no_grad()
    def _pairs(self, what: str, count: int) -> Iterator[tuple[Tensor, Tensor]]:
        """(target, redrawn) of the same."""
        for target, ws in self._held(what, count):
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
