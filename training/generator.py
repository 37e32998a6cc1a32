"""The recipe `generator`: StyleGAN2 on a folder or zip of images.

Legend: N images, C channels, R resolution, L style inputs, D numbers in w.
"Analyzing and Improving the Image Quality of StyleGAN", with the augmentation of "Training
Generative Adversarial Networks with Limited Data". The regularizers join the main loss of their
steps, weighted by their interval: no step is added, so Adam needs no correction for lazy
regularization.
"""

import copy
import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facsimile import data, stylegan
from facsimile.stylegan import freeze
from facsimile.stylegan.mapping import mean_w
from facsimile.stylegan.randomness import keyed_generator

from . import augment, ema, growth, vision_aided
from .frechet_evaluation import FrechetEvaluation
from .generator_settings import GeneratorSettings
from .keyed_sampler import KeyedSampler
from .penalties import path_lengths, r1
from .recipe import BatchSlice, Distributed, Trainable
from .training_set import open_training_set

ADA_INTERVAL = 4
"""Steps between two changes of the probability of augmentation."""
EMA_RAMPUP = 0.05
"""Ramp of the moving average of new networks: NVIDIA's default."""
PATH_MEAN_DECAY = 0.01
"""Share of a step in the running mean of the path lengths (StyleGAN2, appendix B)."""
SHEET_PSI = 0.7
"""Truncation of sample sheets."""
PART = 16
"""Images at a time where no gradient is taken."""


class Fakes(NamedTuple):
    """Generated images, and the codes that the path lengths are derivatives by."""

    ws: Tensor
    """(N, L, D)"""
    images: Tensor
    """(N, C, R, R)"""


class GeneratorRecipe:
    """The generator, its discriminator, and the moving average of the generator."""

    images: data.ImageDataset
    """The training set; `setup_data` opens it."""

    def __init__(self, settings: GeneratorSettings, distributed: Distributed):
        self.settings, self.distributed = settings, distributed
        self.device = distributed.device
        generator, critic, self.grows = growth.networks(
            settings.network, settings.seed, distributed.load_networks
        )
        # On a GPU convolutions follow the memory layout of their weights.
        layout = torch.channels_last if self.device.type == "cuda" else torch.preserve_format
        self.generator = generator.to(self.device, settings.dtype, memory_format=layout).train()
        self.critic = critic.to(self.device, settings.dtype, memory_format=layout).train()
        self.average = freeze(copy.deepcopy(self.generator))
        self.backbone, self.heads = self._vision_aided_critic()
        self.critic.heads = self.heads
        self.group_size = critic.network.config.mbstd_group
        self.sampler = KeyedSampler.for_run(settings, distributed, self.group_size)
        self.trainables: tuple[Trainable, ...] = (
            Trainable("critic", self.critic, self._adam(self.critic), uses_forward_graph=False),
            Trainable("generator", self.generator, self._adam(self.generator)),
        )
        self.r1_gamma, self.ema_rampup = self._defaults()
        self.images_seen = 0
        self.path_mean = torch.zeros([], device=self.device, dtype=settings.dtype)
        self.path_mean_known = False
        self.augment_p = 0.0
        # Sum and count of the signs since augment_p last changed.
        self.signs = torch.zeros(2, device=self.device, dtype=settings.dtype)
        # Mean path lengths of this step's micro-steps.
        self.path_lengths: list[Tensor] = []
        self.frechet = FrechetEvaluation(settings, distributed)

    def _adam(self, module: nn.Module) -> torch.optim.Adam:
        lr = self.settings.optimizer.lr  # the loop sets it before each step
        return torch.optim.Adam(module.parameters(), lr=lr, betas=(0.0, 0.99), fused=True)

    def _defaults(self) -> tuple[float, float]:
        """(gamma of R1, ramp of the moving average), where the settings leave them open."""
        settings = self.settings
        gamma, rampup = settings.r1.r1_gamma, settings.ema.ema_rampup
        if gamma is None:
            gamma = 0.0008 * settings.network.resolution**2 / settings.batch
        if rampup is None:
            new = settings.network.init_from is None or self.grows
            rampup = EMA_RAMPUP if new else 0.0
        return gamma, rampup

    def _vision_aided_critic(self) -> tuple[Any, Any]:
        """(frozen network, heads on its features), or (None, None)."""
        settings = self.settings
        if settings.vision.vision_aided is None:
            return None, None
        backbone = vision_aided.backbone(settings.vision.vision_aided)
        backbone = backbone.to(self.device, settings.dtype)
        resolution = settings.network.resolution
        blank = torch.zeros(1, 3, resolution, resolution).to(self.device, settings.dtype)
        channels = [x.shape[1] for x in vision_aided.extract_features(backbone, blank)]
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(settings.seed)
            heads = vision_aided.Heads(channels).to(self.device, settings.dtype)
        return backbone, heads

    def setup_data(self) -> str:
        settings = self.settings
        sources, resolution = settings.dataset.data, settings.network.resolution
        self.images = open_training_set(sources, resolution, settings, self.distributed)
        return self.images.summary()

    # One step -------------------------------------------------------------------------------------

    def forward(self, batch: BatchSlice) -> Fakes:
        """Generated images of random codes and noise."""
        generator = self.generator
        z, second = self.sampler.codes(generator, batch, self.settings.style_mixing_prob)
        noise = self.sampler.noise(generator, batch)
        # The mapping costs little, and the path lengths need its precision.
        w1, w2 = generator.mapping(z.flatten(0, 1)).unflatten(0, (-1, 2)).unbind(1)
        ws = torch.where(second[:, :, None], w2[:, None], w1[:, None])
        with self.settings.autocast(self.device):
            return Fakes(ws, growth.synthesize_faded(generator, ws, noise, self.alpha))

    def losses(self, name: str, batch: BatchSlice, shared: Fakes) -> dict[str, Tensor]:
        if name == "critic":
            return self._critic_losses(batch, shared)
        return self._generator_losses(batch, shared)

    def _critic_losses(self, batch: BatchSlice, fakes: Fakes) -> dict[str, Tensor]:
        """softplus(D(G(z))) + softplus(-D(x)) + gamma / 2 |grad D(x)|^2."""
        settings = self.settings
        fake = self._augment(fakes.images.detach(), "fake", batch)
        fake_logits = self._discriminate(fake)
        real = self.sampler.images(self.images, batch, settings.dataset.mirror)
        real = self._augment(real, "real", batch)
        with_r1 = self.r1_gamma > 0 and batch.step % settings.r1.r1_interval == 0
        if with_r1:
            real = real.detach().requires_grad_()
        real_logits = self._discriminate(real)
        losses = {
            "critic/fake": F.softplus(fake_logits).mean(),
            "critic/real": F.softplus(-real_logits).mean(),
        }
        if self.heads is not None:
            weight, logits = settings.vision.vision_aided_weight, self._projected_logits
            losses["critic/vision fake"] = weight * F.softplus(logits(fake)).mean()
            losses["critic/vision real"] = weight * F.softplus(-logits(real.detach())).mean()
        if with_r1:
            weight = 0.5 * self.r1_gamma * settings.r1.r1_interval
            losses["critic/r1"] = weight * r1(real_logits, real).mean()
        return losses | {"real signs": real_logits.detach().sign()}

    def _generator_losses(self, batch: BatchSlice, fakes: Fakes) -> dict[str, Tensor]:
        """softplus(-D(G(z))), and the path length penalty (|J^T y| - a)^2."""
        settings = self.settings
        fake = self._augment(fakes.images, "drawn", batch)
        losses = {"generator/fake": F.softplus(-self._discriminate(fake)).mean()}
        if self.heads is not None:
            term = F.softplus(-self._projected_logits(fake)).mean()
            losses["generator/vision"] = settings.vision.vision_aided_weight * term
        penalty = settings.path_length
        if penalty.pl_weight and batch.step % penalty.pl_interval == 0:
            lengths = self._path_lengths(batch, fakes)
            losses["path length"] = lengths.detach().mean()
            if self.path_mean_known:
                deviation = (lengths - self.path_mean).square().mean()
                losses["generator/path"] = penalty.pl_weight * penalty.pl_interval * deviation
        return losses

    def _path_lengths(self, batch: BatchSlice, fakes: Fakes) -> Tensor:
        """Of the share of the images; the same ones however the batch is divided."""
        members = math.ceil(self.group_size * self.settings.path_length.pl_share)
        shape = fakes.images.shape[1:]
        directions = self.sampler.numbers("path", batch, torch.randn, *shape, on_device=True)
        if members < self.group_size:
            # The first rows are the first samples of each group, see `interleave_groups`.
            rows = len(fakes.ws) // self.group_size * members
            ws, directions = fakes.ws[:rows], directions[:rows]
            noise = [x[:rows] for x in self.sampler.noise(self.generator, batch)]
            with self.settings.autocast(self.device):
                images = growth.synthesize_faded(self.generator, ws, noise, self.alpha)
            fakes = Fakes(ws, images)
        return path_lengths(fakes.ws, fakes.images, directions)

    def _augment(self, images: Tensor, key: str, batch: BatchSlice) -> Tensor:
        """Images as the discriminator sees them. key: of the random numbers."""
        if self.augment_p <= 0:
            return images
        numbers = partial(self.sampler.numbers, on_device=True)
        uniform = numbers(f"chance {key}", batch, torch.rand, augment.UNIFORMS)
        normal = numbers(f"amount {key}", batch, torch.randn, augment.NORMALS)
        images = images.to(self.settings.dtype)
        return augment.augment(images, self.augment_p, uniform, normal)

    def _discriminate(self, images: Tensor) -> Tensor:
        """Logits (N, 1) of the discriminator."""
        with self.settings.autocast(self.device):
            return self.critic(images, self.alpha).to(self.settings.dtype)

    def _projected_logits(self, images: Tensor) -> Tensor:
        """Logits (N, layers) of the heads on the frozen network."""
        with self.settings.autocast(self.device):
            features = vision_aided.extract_features(self.backbone, images)
            return self.heads(features).to(self.settings.dtype)

    @property
    def alpha(self) -> float:
        """Weight of a new block while it is faded in, 0 to 1."""
        return min(1.0, self.images_seen / self.settings.network.grow_images) if self.grows else 1.0

    # Between steps --------------------------------------------------------------------------------

    def record(self, statistics: dict[str, Tensor]) -> None:
        if self.settings.augmentation.ada_target and "real signs" in statistics:
            signs = statistics["real signs"]
            self.signs += torch.stack([signs.sum(), signs.new_tensor(float(len(signs)))])
        if "path length" in statistics:
            self.path_lengths.append(statistics["path length"])

    def learning_rates(self, images_seen: int) -> dict[str, float]:
        optimizer = self.settings.optimizer
        critic_lr = optimizer.lr if optimizer.critic_lr is None else optimizer.critic_lr
        decay = optimizer.decay(images_seen)
        return {"critic": critic_lr * decay, "generator": optimizer.lr * decay}

    def on_step_end(self, batch: BatchSlice) -> None:
        settings = self.settings
        self.images_seen = (batch.step + 1) * settings.batch
        factor = ema.decay(
            settings.batch, self.images_seen, settings.ema.ema_images, self.ema_rampup
        )
        ema.update(self.average, self.generator, factor)
        self._update_path_mean()
        if settings.augmentation.ada_target and (batch.step + 1) % ADA_INTERVAL == 0:
            self._update_augment_p()

    def _update_path_mean(self) -> None:
        if not self.path_lengths:
            return
        mean = self.distributed.all_mean(torch.stack(self.path_lengths).mean())
        # A mean that began at 0 would shorten all paths for thousands of steps.
        known = self.path_mean_known
        self.path_mean = self.path_mean.lerp(mean, PATH_MEAN_DECAY) if known else mean
        self.path_mean_known = True
        self.path_lengths = []

    def _update_augment_p(self) -> None:
        """Augment more if the discriminator overfits: if r_t = mean(sign(D(x))) is above target."""
        augmentation = self.settings.augmentation
        total, count = self.distributed.all_mean(self.signs).tolist()
        direction = 1 if total / count > augmentation.ada_target else -1
        change = direction * ADA_INTERVAL * self.settings.batch / augmentation.ada_images
        self.augment_p = min(max(self.augment_p + change, 0.0), 1.0)
        self.signs.zero_()

    def state(self) -> dict[str, Any]:
        return {
            "average": self.average.state_dict(),
            "path_mean": self.path_mean,
            "path_mean_known": self.path_mean_known,
            "signs": self.signs,
            "augment_p": self.augment_p,
            "images_seen": self.images_seen,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        self.average.load_state_dict(state["average"])
        self.path_mean = state["path_mean"].to(self.device)
        self.path_mean_known = state["path_mean_known"]
        self.signs = state["signs"].to(self.device)
        self.augment_p, self.images_seen = state["augment_p"], state["images_seen"]

    # Reports --------------------------------------------------------------------------------------

    def extra_metrics(self) -> dict[str, float]:
        return {
            "augment_p": self.augment_p,
            "path_mean": float(self.path_mean),
            "fade_alpha": self.alpha,
        }

    @torch.no_grad()
    def generate(self, count: int, truncation_psi: float, key: str) -> Iterator[Tensor]:
        """Images (n, C, R, R) of the moving average, by parts; the same codes for the same key."""
        average = self.average
        average.mapping.w_avg.copy_(mean_w(average.mapping, seed=self.settings.seed))
        rng = keyed_generator("cpu", self.settings.seed, key)
        z = torch.randn(count, average.z_dim, generator=rng).to(average.mapping.w_avg)
        for part in z.split(PART):
            ws = average.map(part, truncation_psi=truncation_psi)
            yield growth.synthesize_faded(average, ws, "const", self.alpha)

    def sample_grid(self) -> list[Tensor]:
        count = self.settings.evaluation.num_samples
        return [image for part in self.generate(count, SHEET_PSI, "sheet") for image in part]

    def evaluate(self) -> dict[str, float]:
        """The Fréchet distance of generated images, without truncation, to the training set."""
        return self.frechet(self.images, lambda count: self.generate(count, 1.0, "judged"))

    @torch.no_grad()
    def save(self, out: Path) -> None:
        average = copy.deepcopy(self.average)
        average.mapping.w_avg.copy_(mean_w(average.mapping, seed=self.settings.seed))
        stylegan.save(growth.bake_fade(average, self.alpha), out / "generator.safetensors")
        stylegan.save(self.critic.network, out / "discriminator.safetensors")
