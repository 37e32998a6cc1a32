"""The recipe `generator`: StyleGAN2 on a folder or zip of images.

Legend: N images of a place, C channels, R side of the image, L style inputs.
"Analyzing and Improving the Image Quality of StyleGAN", with what "Training Generative Adversarial
Networks with Limited Data" adds. The regularisers join the main loss of their steps, times their
interval: no step is added, so Adam needs no correction for lazy regularisation.
"""

import contextlib
import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
import tyro
from torch import Tensor

import data
import stylegan
from metrics.frechet import FRECHETS, Features, Moments, features, frechet, moments
from stylegan import DiscriminatorConfig, freeze

from . import augment, ema, growth
from .growth import Critic
from .randomness import source
from .recipe import Host, Place, Player
from .settings import Run

SIGNS_EVERY = 4
"""Steps between two looks at how often the discriminator is right about the training set."""
MEAN_SAMPLES = 10_000
"""Of which the average w is the mean."""


@dataclass(frozen=True, kw_only=True)
class GeneratorRun(Run):
    """Train a StyleGAN2 generator and its discriminator.

    Writes OUT/generator.safetensors (the moving average), discriminator.safetensors, sample sheets,
    curves and checkpoints. New: train.py generator --data faces.zip --resolution 64 --images
    1000000 --out runs/a. Grown from the bundled one: --from faces --resolution 128
    """

    data: tuple[str, ...]
    """Image folders or zips, used together."""
    resolution: int
    """Side of the images in pixels, a power of two."""
    start: Annotated[str | None, tyro.conf.arg(name="from")] = None
    """Trained networks to go on from, of this side or half of it: a bundled name, a generator's
    file, or a folder with generator.safetensors. A run that has a checkpoint ignores them."""
    grow_images: int = 20_000
    """Images over which a new block is faded in, when --from has half the side."""
    channel_base: int | None = None
    """Channels of the block of side s: base / s, at most the maximum. Default: those of --from, or
    16384."""
    channel_max: int | None = None
    """Default: that of --from, or 512."""
    latent: int = 512
    """Length of z and w, where --from does not say."""
    mapping_layers: int = 8
    downsampling: Literal["mean", "fir"] = "mean"
    """How the discriminator shrinks, where --from does not say: fir as StyleGAN2, mean is faster."""
    group: int = 8
    """Images per minibatch statistic, where --from does not say."""
    lr: float = 0.0025
    """Of the generator."""
    critic_lr: float = 0.0025
    r1: float | None = None
    """Weight gamma of R1. Default: 0.0008 R^2 / batch: 0.1 at 64 px and 32 images."""
    r1_every: int = 16
    """Steps between two R1 penalties."""
    mixing: float = 0.5
    """Probability of two codes in one image; StyleGAN2 has 0.9."""
    path: float = 2.0
    """Weight of the path-length term; 0: not computed."""
    path_every: int = 8
    """Steps between two path-length terms."""
    average: float = 10_000
    """Half-life of the moving average of the weights, in images."""
    average_ramp: float = 0.05
    """The half-life is at most this share of the images seen; 0: no ramp."""
    flip: bool = True
    """Mirror half of the training images."""
    augment: float = 0.6
    """Target of the discriminator's mean sign on training images, which drives the probability of
    augmentation; 0: none."""
    augment_images: int = 500_000
    """Images within which that probability can rise from 0 to 1."""
    samples: int = 32
    """Images of a sample sheet, at truncation 0.7."""
    frechet: Literal[FRECHETS] = "auto"
    """Features of the distance to the training set. auto: SqueezeNet with --frechet-weights, else
    InceptionV3 of torch-fidelity, else a frozen discriminator. Only the second is called FID."""
    frechet_weights: Path | None = None
    """Local file of SqueezeNet 1.1's ImageNet weights."""
    frechet_images: int = 5_000
    """Images of either set; the whole training set counts only as far."""

    FREE = (*Run.FREE, "samples", "frechet", "frechet_weights", "frechet_images")

    def __post_init__(self) -> None:
        super().__post_init__()
        growth.check_side(self.resolution)
        for name in ("group", "r1_every", "path_every", "samples", "latent", "mapping_layers"):
            self._at_least(name, 1)
        for name in ("channel_base", "channel_max"):
            if getattr(self, name) is not None:
                self._at_least(name, 1)
        self._at_least("grow_images", 0)
        self._at_least("frechet_images", 2)

    def build(self, host: Host) -> "GeneratorRecipe":
        return GeneratorRecipe(self, host)


class GeneratorRecipe:
    def __init__(self, run: GeneratorRun, host: Host):
        self.run, self.host, self.device = run, host, host.device
        generator, critic, self.grows = _networks(run, host)
        # On a GPU convolutions follow the layout of their weights.
        layout = torch.channels_last if host.device.type == "cuda" else torch.preserve_format
        self.generator = generator.to(host.device, run.dtype, memory_format=layout).train()
        self.critic = critic.to(host.device, run.dtype, memory_format=layout).train()
        self.average = freeze(copy.deepcopy(self.generator))
        self.group = critic.network.config.mbstd_group
        self.players = (
            _player("critic", self.critic, run.critic_lr),
            _player("generator", self.generator, run.lr),
        )
        self.gamma = 0.0008 * run.resolution**2 / run.batch if run.r1 is None else run.r1
        self.seen = 0
        self.path_mean = torch.zeros([], device=host.device, dtype=run.dtype)
        self.path_known = False
        self.p = 0.0
        # Sum and count of the signs since p last moved; lengths of the paths of this step.
        self.signs = torch.zeros(2, device=host.device, dtype=run.dtype)
        self._lengths: list[Tensor] = []
        self._kept: tuple[Tensor, Tensor] | None = None
        self._order: tuple[int, Tensor] | None = None
        self.images: data.ImageSet | None = None
        self._features: Features | None = None
        self._real: Moments | None = None

    def open_data(self) -> str:
        """Read the training set; returns what was read, in a sentence."""
        images = data.image_set(self.run.data, self.run.resolution)
        self.images = _near(images, self.device)
        said = f"{len(images)} images"
        if images.failed:
            said += f", {len(images.failed)} could not be read ({images.failed[0]})"
        if images.enlarged:
            said += f", {images.enlarged} were smaller than {self.run.resolution} px and enlarged"
        return said

    # What a place draws ---------------------------------------------------------------------------

    def _sources(self, what: str, place: Place, device: torch.device | str) -> Iterator:
        """One source of randomness per group of samples at `place`."""
        first, blocks = place.first // self.group, place.n // self.group
        for block in range(first, first + blocks):
            yield source(device, self.run.seed, what, block)

    def _gather(self, parts: list[Tensor]) -> Tensor:
        """Per group (group, ...) -> (N, ...), so that `minibatch_std` sees these groups."""
        return torch.stack(parts, 1).flatten(0, 1)

    def _reals(self, place: Place) -> Tensor:
        """Training images (N, 3, R, R) at `place`: each once per epoch, in a seeded order."""
        numbers = torch.arange(place.first, place.first + place.n)
        parts = []
        for numbered, rng in zip(
            numbers.split(self.group), self._sources("flip", place, "cpu"), strict=True
        ):
            images = self.images.take(self._shuffled(numbered), self.device, self.run.dtype)
            mirrored = torch.rand(self.group, generator=rng) < 0.5 * self.run.flip
            mirrored = mirrored.to(self.device)[:, None, None, None]
            parts.append(torch.where(mirrored, images.flip(3), images))
        return self._gather(parts)

    def _shuffled(self, numbers: Tensor) -> Tensor:
        """Indices into the training set of samples of the run."""
        size, found = len(self.images), []
        for number in numbers.tolist():
            epoch, position = divmod(number, size)
            if self._order is None or self._order[0] != epoch:
                rng = source("cpu", self.run.seed, "order", epoch)
                self._order = (epoch, torch.randperm(size, generator=rng))
            found.append(self._order[1][position])
        return torch.stack(found)

    def _fakes(self, place: Place) -> tuple[Tensor, Tensor]:
        """(ws, images) of fresh codes and noise."""
        run, g, device, dtype = self.run, self.generator, self.device, self.run.dtype
        codes, noises, cuts = [], [], []
        shapes = [tuple(x.noise_const.shape) for x in g.synthesis.noise_inputs]
        sizes = [math.prod(shape) for shape in shapes]
        for rng in self._sources("fake", place, device):
            normal = {"generator": rng, "device": device}
            codes.append(torch.randn(self.group, 2, g.z_dim, **normal))
            noises.append(torch.randn(self.group, sum(sizes), **normal))
            mixed, cut = torch.rand(2, self.group, **normal)
            # Inputs from `cut` on come from the second code.
            cut = 1 + (cut * (g.num_ws - 1)).floor()
            cuts.append(torch.where(mixed < run.mixing, cut, g.num_ws))
        z, noise, cut = (self._gather(x).to(dtype) for x in (codes, noises, cuts))
        maps = [
            part.unflatten(1, (1, *shape))
            for part, shape in zip(noise.split(sizes, 1), shapes, strict=True)
        ]
        # The mapping costs little, and the path lengths need its precision.
        first, second = g.mapping(z.flatten(0, 1)).unflatten(0, (-1, 2)).unbind(1)
        later = torch.arange(g.num_ws, device=device) >= cut[:, None]
        ws = torch.where(later[:, :, None], second[:, None], first[:, None])
        with self._autocast():
            return ws, growth.draw(g, ws, maps, self.alpha)

    def _judge(self, image: Tensor, what: str, place: Place) -> tuple[Tensor, Tensor]:
        """(logits (N, 1), the images that the critic was shown)."""
        if self.p > 0:
            numbers = [
                (torch.rand(self.group, augment.UNIFORMS, generator=rng), rng)
                for rng in self._sources(f"augment {what}", place, "cpu")
            ]
            normal = [torch.randn(self.group, augment.NORMALS, generator=r) for _, r in numbers]
            uniform = self._gather([u for u, _ in numbers])
            shown = image.to(self.run.dtype)
            image = augment.augment(shown, self.p, uniform, self._gather(normal))
        if what == "real" and self._due(self.run.r1_every, place) and self.gamma:
            image = image.detach().requires_grad_()
        with self._autocast():
            return self.critic(image, self.alpha).to(self.run.dtype), image

    def _due(self, every: int, place: Place) -> bool:
        return place.step % every == 0

    def _autocast(self) -> contextlib.AbstractContextManager:
        return torch.autocast(
            self.device.type, torch.bfloat16, enabled=self.run.precision == "bf16"
        )

    @property
    def alpha(self) -> float:
        """How far a new block is faded in."""
        return min(1.0, self.seen / self.run.grow_images) if self.grows else 1.0

    # Losses ---------------------------------------------------------------------------------------

    def losses(self, player: str, place: Place) -> dict[str, Tensor]:
        return self._critic(place) if player == "critic" else self._generator(place)

    def _critic(self, place: Place) -> dict[str, Tensor]:
        """Logistic loss, and R1 ("Which Training Methods for GANs do actually Converge?", eq. 9)."""
        # One drawing serves both players where a step has one micro-step.
        with torch.set_grad_enabled(place.whole):
            ws, fake = self._fakes(place)
        self._kept = (ws, fake) if place.whole else None
        fake_logits, _ = self._judge(fake.detach(), "fake", place)
        real_logits, shown = self._judge(self._reals(place), "real", place)
        if self.run.augment:
            signs = real_logits.detach().sign()
            self.signs += torch.stack([signs.sum(), signs.new_tensor(float(len(signs)))])
        losses = {
            "critic/fake": F.softplus(fake_logits).mean(),
            "critic/real": F.softplus(-real_logits).mean(),
        }
        if shown.requires_grad:
            penalty = r1(real_logits, shown)
            losses["critic/r1"] = 0.5 * self.gamma * self.run.r1_every * penalty.mean()
        return losses

    def _generator(self, place: Place) -> dict[str, Tensor]:
        """Non-saturating loss, and the path-length term."""
        ws, fake = self._kept or self._fakes(place)
        self._kept = None
        logits, _ = self._judge(fake, "drawn", place)
        losses = {"generator/fake": F.softplus(-logits).mean()}
        if self.run.path and self._due(self.run.path_every, place):
            rngs = self._sources("path", place, self.device)
            directions = self._gather(
                [
                    torch.randn(self.group, *fake.shape[1:], generator=rng, device=self.device)
                    for rng in rngs
                ]
            )
            lengths = path_lengths(ws, fake, directions)
            self._lengths.append(lengths.detach().mean())
            mean = self.path_mean if self.path_known else self._lengths[0]
            apart = (lengths - mean).square().mean()
            losses["generator/path"] = self.run.path * self.run.path_every * apart
        return losses

    # Between steps --------------------------------------------------------------------------------

    def after(self, place: Place) -> None:
        run = self.run
        self.seen = (place.step + 1) * run.batch
        factor = ema.decay(run.batch, self.seen, run.average, run.average_ramp)
        ema.update(self.average, self.generator, factor)
        if self._lengths:
            mean = self.host.mean(torch.stack(self._lengths).mean())
            # A mean that began at 0 would pull all paths towards 0 for thousands of steps.
            self.path_mean = self.path_mean.lerp(mean, 0.01) if self.path_known else mean
            self.path_known = True
            self._lengths = []
        if run.augment and (place.step + 1) % SIGNS_EVERY == 0:
            total, count = self.host.mean(self.signs).tolist()
            grow = math.copysign(SIGNS_EVERY * run.batch / run.augment_images, total / count)
            grow = grow if total / count > run.augment else -abs(grow)
            self.p = min(max(self.p + grow, 0.0), 1.0)
            self.signs.zero_()

    def state(self) -> dict[str, Any]:
        return {
            "average": self.average.state_dict(),
            "path_mean": self.path_mean,
            "path_known": self.path_known,
            "signs": self.signs,
            "p": self.p,
            "seen": self.seen,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        self.average.load_state_dict(state["average"])
        self.path_mean, self.signs = state["path_mean"], state["signs"]
        self.path_known, self.p, self.seen = state["path_known"], state["p"], state["seen"]

    # What a person sees ---------------------------------------------------------------------------

    def figures(self) -> dict[str, float]:
        return {"augment p": self.p, "path mean": float(self.path_mean), "fade": self.alpha}

    @torch.no_grad()
    def drawn(self, count: int, truncation: float, what: str) -> Iterator[Tensor]:
        """Images of the moving average in float32, a batch at a time: the same codes every time."""
        average = self.average
        average.mapping.w_avg.copy_(self._mean_w())
        rng = source("cpu", self.run.seed, what)
        z = torch.randn(count, average.z_dim, generator=rng).to(average.mapping.w_avg)
        for part in z.split(16):
            yield growth.draw(
                average, average.map(part, truncation=truncation), "const", self.alpha
            )

    def _mean_w(self) -> Tensor:
        rng = source("cpu", self.run.seed, "mean w")
        z = torch.randn(MEAN_SAMPLES, self.average.z_dim, generator=rng)
        return self.average.mapping(z.to(self.average.mapping.w_avg)).mean(0)

    def samples(self) -> list[Tensor]:
        return [image for part in self.drawn(self.run.samples, 0.7, "sheet") for image in part]

    @torch.no_grad()
    def scores(self) -> dict[str, float]:
        """The Fréchet distance of drawn images, at truncation 1, to the training set."""
        if self._features is None:
            trained = self.host.find(self.run.start or "faces").discriminator
            self._features = features(
                self.run.frechet,
                trained or self.host.find("faces").discriminator,
                self.run.frechet_weights,
            )
            if self._features is None:
                return {}
            print(self._features.note, flush=True)
        network, count = self._features.network, self.run.frechet_images
        if self._real is None:
            rng = source("cpu", self.run.seed, "judged")
            chosen = torch.randperm(len(self.images), generator=rng)[:count].split(16)
            parts = (self.images.take(x, self.device, torch.float32) for x in chosen)
            self._real = moments(map(network, parts))
        parts = (x.float().clamp(-1, 1) for x in self.drawn(count, 1.0, "judged"))
        drawn = moments(map(network, parts))
        return {self._features.name: frechet(drawn, self._real)}

    @torch.no_grad()
    def save(self, out: Path) -> None:
        average = copy.deepcopy(self.average)
        average.mapping.w_avg.copy_(self._mean_w())
        stylegan.save(growth.fold(average, self.alpha), out / "generator.safetensors")
        stylegan.save(self.critic.network, out / "discriminator.safetensors")


def r1(logits: Tensor, image: Tensor) -> Tensor:
    """(N,) squared gradient of the logits with respect to the images."""
    (gradient,) = torch.autograd.grad(logits.sum(), image, create_graph=True)
    return gradient.square().sum((1, 2, 3))


def path_lengths(ws: Tensor, image: Tensor, directions: Tensor) -> Tensor:
    """(N,) |J^T y| per image, y normal: StyleGAN2, eq. 4; mean over the L inputs of ws (N, L, D)."""
    directions = directions / math.sqrt(image.shape[2] * image.shape[3])
    (gradient,) = torch.autograd.grad((image * directions).sum(), ws, create_graph=True)
    return gradient.square().sum(2).mean(1).sqrt()


def _player(name: str, module: torch.nn.Module, lr: float) -> Player:
    optimizer = torch.optim.Adam(module.parameters(), lr=lr, betas=(0.0, 0.99), fused=True)
    return Player(name, module, optimizer)


def _networks(run: GeneratorRun, host: Host) -> tuple[stylegan.Generator, Critic, bool]:
    """(generator, critic, whether a block is to be faded in)."""
    if run.start is not None:
        found = host.find(run.start)
        widths = {"channel_base": run.channel_base, "channel_max": run.channel_max}
        pair = growth.grown(
            found.generator, found.discriminator, run.resolution, **widths, seed=run.seed
        )
        return *pair, found.generator.resolution < run.resolution
    channels = growth.widths(run.resolution, run.channel_base or 16384, run.channel_max or 512)
    critic = DiscriminatorConfig(
        img_resolution=run.resolution,
        img_channels=3,
        channels=channels,
        mbstd_group=run.group,
        downsampling=run.downsampling,
    )
    sizes = {"latent": run.latent, "mapping_layers": run.mapping_layers}
    return *growth.new(run.resolution, channels, **sizes, critic=critic, seed=run.seed), False


def _near(images: data.ImageSet, device: torch.device) -> data.ImageSet:
    """The training set on the GPU where it takes at most a quarter of the free memory."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        if images.pixels.numel() < free / 4:
            return images.to(device)
    return images
