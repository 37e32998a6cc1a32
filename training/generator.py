"""The recipe `generator`: StyleGAN2 on a folder or zip of images.

Legend: N images of a place, C channels, R side of the image, L style inputs.
"Analyzing and Improving the Image Quality of StyleGAN", with what "Training Generative Adversarial
Networks with Limited Data" adds. The regularisers join the main loss of their steps, times their
interval: no step is added, so Adam needs no correction for lazy regularisation.
"""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from facsimile import data, stylegan
from facsimile.metrics.frechet import Features, Moments, features, frechet, moments
from facsimile.stylegan import DiscriminatorConfig, freeze
from facsimile.stylegan.randomness import keyed_generator

from . import augment, ema, growth, vision
from .draws import KeyedSampler, cache_on_gpu
from .generator_settings import GeneratorRun
from .growth import Critic
from .penalties import path_lengths, r1
from .recipe import BatchSlice, Distributed, Trainable

SIGNS_EVERY = 4
"""Steps between two looks at how often the discriminator is right about the training set."""
MEAN_SAMPLES = 10_000
"""Of which the average w is the mean."""


class GeneratorRecipe:
    def __init__(self, run: GeneratorRun, host: Distributed):
        self.run, self.host, self.device = run, host, host.device
        generator, critic, self.grows = _networks(run, host)
        # On a GPU convolutions follow the layout of their weights.
        layout = torch.channels_last if host.device.type == "cuda" else torch.preserve_format
        self.generator = generator.to(host.device, run.dtype, memory_format=layout).train()
        self.critic = critic.to(host.device, run.dtype, memory_format=layout).train()
        self.average = freeze(copy.deepcopy(self.generator))
        self.trunk, self.heads = None, None
        if run.vision is not None:
            self.trunk = vision.trunk(run.vision).to(host.device, run.dtype)
            blank = torch.zeros(1, 3, run.resolution, run.resolution).to(host.device, run.dtype)
            channels = [x.shape[1] for x in vision.look(self.trunk, blank)]
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(run.seed)
                self.heads = vision.Heads(channels).to(host.device, run.dtype)
            self.critic.heads = self.heads
        self.group = critic.network.config.mbstd_group
        self.draws = KeyedSampler(run.seed, self.group, host.device, run.dtype)
        self.players = (
            _player("critic", self.critic, run.critic_lr),
            _player("generator", self.generator, run.lr),
        )
        self.gamma = 0.0008 * run.resolution**2 / run.batch if run.r1 is None else run.r1
        self.ramp = run.average_ramp
        if self.ramp is None:
            self.ramp = 0.05 if run.start is None or self.grows else 0.0
        self.seen = 0
        self.path_mean = torch.zeros([], device=host.device, dtype=run.dtype)
        self.path_known = False
        self.p = 0.0
        # Sum and count of the signs since p last moved; lengths of the paths of this step.
        self.signs = torch.zeros(2, device=host.device, dtype=run.dtype)
        self._lengths: list[Tensor] = []
        self._kept: tuple[Tensor, Tensor] | None = None
        self.images: data.ImageSet | None = None
        self._features: Features | None = None
        self._real: Moments | None = None

    def open_data(self) -> str:
        """Read the training set; returns what was read, in a sentence."""
        images = data.load_images(self.run.data, self.run.resolution)
        self.images = cache_on_gpu(images, self.device)
        return images.summary()

    # One step -------------------------------------------------------------------------------------

    def _fakes(self, place: BatchSlice) -> tuple[Tensor, Tensor]:
        """(ws, images) of fresh codes and noise."""
        g = self.generator
        z, second = self.draws.codes(g, place, self.run.mixing)
        noise = self.draws.noise(g, place)
        # The mapping costs little, and the path lengths need its precision.
        a, b = g.mapping(z.flatten(0, 1)).unflatten(0, (-1, 2)).unbind(1)
        ws = torch.where(second[:, :, None], b[:, None], a[:, None])
        with self.run.autocast(self.device):
            return ws, growth.draw(g, ws, noise, self.alpha)

    def _judge(self, image: Tensor, what: str, place: BatchSlice, leaf: bool = False) -> tuple:
        """(logits (N, 1), the images that the critic was shown; with `leaf` to derive by)."""
        if self.p > 0:
            uniform = self.draws.numbers(f"chance {what}", place, torch.rand, augment.UNIFORMS)
            normal = self.draws.numbers(f"amount {what}", place, torch.randn, augment.NORMALS)
            image = augment.augment(image.to(self.run.dtype), self.p, uniform, normal)
        if leaf:
            image = image.detach().requires_grad_()
        with self.run.autocast(self.device):
            return self.critic(image, self.alpha).to(self.run.dtype), image

    def _glance(self, image: Tensor) -> Tensor:
        """Logits (N, layers) of the heads on the frozen network."""
        with self.run.autocast(self.device):
            return self.heads(vision.look(self.trunk, image)).to(self.run.dtype)

    def _due(self, every: int, place: BatchSlice) -> bool:
        return place.step % every == 0

    @property
    def alpha(self) -> float:
        """How far a new block is faded in."""
        return min(1.0, self.seen / self.run.grow_images) if self.grows else 1.0

    def losses(self, player: str, place: BatchSlice) -> dict[str, Tensor]:
        return self._critic(place) if player == "critic" else self._generator(place)

    def _critic(self, place: BatchSlice) -> dict[str, Tensor]:
        """Logistic loss and R1."""
        # One drawing serves both players where a step has one micro-step.
        with torch.set_grad_enabled(place.whole):
            ws, fake = self._fakes(place)
        self._kept = (ws, fake) if place.whole else None
        fake_logits, shown_fake = self._judge(fake.detach(), "fake", place)
        penalised = self.gamma > 0 and self._due(self.run.r1_every, place)
        real = self.draws.images(self.images, place, self.run.flip)
        real_logits, shown = self._judge(real, "real", place, leaf=penalised)
        if self.run.augment:
            signs = real_logits.detach().sign()
            self.signs += torch.stack([signs.sum(), signs.new_tensor(float(len(signs)))])
        losses = {
            "critic/fake": F.softplus(fake_logits).mean(),
            "critic/real": F.softplus(-real_logits).mean(),
        }
        if self.heads is not None:
            weight, on_fake = self.run.vision_weight, self._glance(shown_fake)
            losses["critic/vision fake"] = weight * F.softplus(on_fake).mean()
            losses["critic/vision real"] = weight * F.softplus(-self._glance(shown.detach())).mean()
        if penalised:
            penalty = r1(real_logits, shown)
            losses["critic/r1"] = 0.5 * self.gamma * self.run.r1_every * penalty.mean()
        return losses

    def _generator(self, place: BatchSlice) -> dict[str, Tensor]:
        """Non-saturating loss, and the path-length term."""
        ws, fake = self._kept or self._fakes(place)
        self._kept = None
        logits, shown = self._judge(fake, "drawn", place)
        losses = {"generator/fake": F.softplus(-logits).mean()}
        if self.heads is not None:
            glance = F.softplus(-self._glance(shown)).mean()
            losses["generator/vision"] = self.run.vision_weight * glance
        if self.run.path and self._due(self.run.path_every, place):
            shape = fake.shape[1:]
            directions = self.draws.numbers("path", place, torch.randn, *shape, on_device=True)
            lengths = path_lengths(ws, fake, directions)
            self._lengths.append(lengths.detach().mean())
            if self.path_known:
                apart = (lengths - self.path_mean).square().mean()
                losses["generator/path"] = self.run.path * self.run.path_every * apart
        return losses

    # Between steps --------------------------------------------------------------------------------

    def after(self, place: BatchSlice) -> None:
        run = self.run
        self.seen = (place.step + 1) * run.batch
        factor = ema.decay(run.batch, self.seen, run.average, self.ramp)
        ema.update(self.average, self.generator, factor)
        if self._lengths:
            mean = self.host.mean(torch.stack(self._lengths).mean())
            # A mean that began at 0 would pull all paths towards 0 for thousands of steps.
            self.path_mean = self.path_mean.lerp(mean, 0.01) if self.path_known else mean
            self.path_known = True
            self._lengths = []
        if run.augment and (place.step + 1) % SIGNS_EVERY == 0:
            total, count = self.host.mean(self.signs).tolist()
            # Right too often about the training set: it is being learned by heart.
            direction = 1 if total / count > run.augment else -1
            grow = direction * SIGNS_EVERY * run.batch / run.augment_images
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
        self.path_mean = state["path_mean"].to(self.device)
        self.signs = state["signs"].to(self.device)
        self.path_known, self.p, self.seen = state["path_known"], state["p"], state["seen"]

    # What a person sees ---------------------------------------------------------------------------

    def figures(self) -> dict[str, float]:
        return {"augment p": self.p, "path mean": float(self.path_mean), "fade": self.alpha}

    @torch.no_grad()
    def drawn(self, count: int, truncation: float, what: str) -> Iterator[Tensor]:
        """Images of the moving average in float32, a batch at a time: the same codes every time."""
        average = self.average
        average.mapping.w_avg.copy_(self._mean_w())
        rng = keyed_generator("cpu", self.run.seed, what)
        z = torch.randn(count, average.z_dim, generator=rng).to(average.mapping.w_avg)
        for part in z.split(16):
            yield growth.draw(
                average, average.map(part, truncation=truncation), "const", self.alpha
            )

    def _mean_w(self) -> Tensor:
        rng = keyed_generator("cpu", self.run.seed, "mean w")
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
            rng = keyed_generator("cpu", self.run.seed, "judged")
            chosen = torch.randperm(len(self.images), generator=rng)[:count].split(16)
            parts = (self.images.batch(x, self.device, torch.float32) for x in chosen)
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


def _player(name: str, module: torch.nn.Module, lr: float) -> Trainable:
    optimizer = torch.optim.Adam(module.parameters(), lr=lr, betas=(0.0, 0.99), fused=True)
    return Trainable(name, module, optimizer)


def _networks(run: GeneratorRun, host: Distributed) -> tuple[stylegan.Generator, Critic, bool]:
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
