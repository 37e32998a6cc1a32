"""The base of the recipes that train an encoder: samples of the generator, scores, sheets, files.

Legend: N images of a batch slice, C channels, R image resolution, L style inputs, D numbers in w.
"""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facsimile import data, metrics
from facsimile.stylegan import Discriminator, freeze, spaces
from facsimile.stylegan.generator import fingerprint
from facsimile.stylegan.randomness import keyed_generator
from facsimile.training import BatchSlice, Distributed, Trainable, ema
from facsimile.training.keyed_sampler import KeyedSampler
from facsimile.training.progress import with_bar
from facsimile.training.training_set import open_training_set

from .files import FILE, read, save
from .initial_weights import take_over
from .layers import update_running_stats
from .settings import EncoderSettings

EVAL_BATCH = 16
"""Images at a time where no gradient is taken."""


class EncoderRecipe:
    """A kind's recipe adds the network (`_build`), `_reconstruct`, and the objective.

    See `training.recipe.TrainingRecipe` for the order in which the loop calls the methods.
    """

    betas: tuple[float, float]
    """Of Adam."""
    scale_samples = 64
    """Samples from which a new encoder measures its scales."""
    eval_photos: data.ImageDataset
    """Photos of the scores; set by `setup_data` if there are any."""
    init_note = ""
    """What was taken over of the encoder of --init-from."""

    def __init__(self, settings: EncoderSettings, distributed: Distributed):
        self.settings, self.distributed = settings, distributed
        self.device = distributed.device
        networks = self._load_networks()
        self.generator = networks.generator.to(self.device, settings.dtype)
        self.discriminator = networks.discriminator
        section = settings.perceptual
        perceptual = metrics.build_perceptual(
            section.perceptual, networks.discriminator, section.perceptual_weights
        )
        self.perceptual = None if perceptual is None else perceptual.to(self.device, settings.dtype)
        self.group_size = settings.bn_group_size
        self.sampler = KeyedSampler.for_run(settings, distributed, self.group_size)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(settings.seed)
            self.encoder = self._to_device(self._build()).train()
        self._init_normalization()
        if settings.init_from is not None:
            self._init_from(settings.init_from)
        self.ema = freeze(copy.deepcopy(self.encoder))
        copies = tuple(f"{name}." for name in self._discriminators())
        self.trainables: tuple[Trainable, ...] = (
            self._trainable("encoder", self.encoder, recomputed=copies),
        )

    def _load_networks(self) -> Any:
        """The trained networks that this recipe needs."""
        return self.distributed.load_networks(self.settings.sampling.generator)

    def _build(self) -> nn.Module:
        """A new encoder."""
        raise NotImplementedError

    def _reconstruct(self, encoder: nn.Module, images: Tensor, ws: Tensor) -> Tensor:
        """Reconstruct images (N, C, R, R): synthesize from the encoder's prediction.

        ws (N, L, D): their codes, or the mean code; for what the encoder does not predict.
        """
        raise NotImplementedError

    def _init_normalization(self) -> None:
        self.encoder.init_normalization(
            self.generator, self._eval_codes("scale", self.scale_samples)
        )

    def _init_from(self, path: Path) -> None:
        """Take over what fits of a trained encoder; of another generator's, or another layer's, all
        but its scales."""
        trained = read(path)
        try:
            rest = take_over(self.encoder, trained)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        self.init_note = f"; initialised from {path}{f', but for parts ({rest})' if rest else ''}"
        theirs, ours = (
            (x.config.fingerprint, getattr(x.config, "layer", None))
            for x in (trained, self.encoder)
        )
        if theirs != ours:
            self._init_normalization()

    def _discriminators(self) -> dict[str, Discriminator]:
        """Frozen copies of the generator's discriminator in the encoder, by name."""
        modules = self.encoder.named_modules()
        return {name: x for name, x in modules if isinstance(x, Discriminator)}

    def _to_device(self, network: nn.Module) -> nn.Module:
        layout = torch.channels_last if self.device.type == "cuda" else torch.preserve_format
        return network.to(self.device, self.settings.dtype, memory_format=layout)

    def _trainable(self, name: str, module: nn.Module, **options: Any) -> Trainable:
        lr, weights = self.settings.optimizer.lr, module.parameters()
        optimizer = torch.optim.Adam(weights, lr=lr, betas=self.betas, fused=True)
        return Trainable(name, module, optimizer, **options)

    def setup_data(self) -> str:
        """Open the photos of the scores; returns a one-line summary of all data."""
        name = self.settings.sampling.generator
        summary = f"samples of {name} ({self.generator.fingerprint}){self.init_note}"
        if self.perceptual is not None:
            summary += f"; {self.perceptual.note}"
        if paths := self.settings.evaluation.eval_data:
            self._check_rgb("eval-data")
            self.eval_photos = data.load_images(paths, self.generator.resolution)
            summary += f"; for the scores {self.eval_photos.summary()}"
        return summary

    def _open_photos(self, paths: tuple[str, ...]) -> data.ImageDataset:
        """The photos of --data to train on, at the generator's resolution."""
        self._check_rgb("data")
        resolution = self.generator.resolution
        return open_training_set(paths, resolution, self.settings, self.distributed)

    def _check_rgb(self, flag: str) -> None:
        if self.generator.img_channels != 3:
            raise ValueError(
                f"--{flag} are RGB, and this generator makes images of "
                f"{self.generator.img_channels} channels; leave --{flag} out"
            )

    # One step -------------------------------------------------------------------------------------

    def learning_rates(self, images_seen: int) -> dict[str, float]:
        optimizer = self.settings.optimizer
        decay = self.settings.lr_factor(images_seen)
        critic_lr = optimizer.lr if optimizer.critic_lr is None else optimizer.critic_lr
        rates = {"encoder": optimizer.lr * decay, "critic": critic_lr * decay}
        return {x.name: rates[x.name] for x in self.trainables}

    def _map(self, z: Tensor, label: Tensor | None) -> Tensor:
        z, section = z.to(self.device, self.settings.dtype), self.settings.sampling
        return self.generator.map(z, label, section.truncation_psi, section.truncation_cutoff)

    def _labels(self, uniform: Tensor) -> Tensor | None:
        """uniform (N, 1) in [0, 1) -> a one-hot class for each; None for unconditional ones."""
        classes = self.generator.c_dim
        if not classes:
            return None
        labels = F.one_hot((uniform[:, 0] * classes).long(), classes)
        return labels.to(self.device, self.settings.dtype)

    def _codes(self, batch: BatchSlice, attempt: int = 0) -> tuple[Tensor, Tensor | None]:
        """(ws (N, L, D), labels (N, c_dim)) of a batch slice; others for each attempt."""
        suffix = f" {attempt}" if attempt else ""
        z = self.sampler.numbers(f"code{suffix}", batch, torch.randn, self.generator.z_dim)
        label = self._labels(self.sampler.numbers(f"label{suffix}", batch, torch.rand, 1))
        return self._map(z, label), label

    def _eval_codes(self, key: str, count: int) -> Tensor:
        """ws (count, L, D) of samples that are not trained on."""
        rng = keyed_generator("cpu", self.settings.seed, key)
        z = torch.randn(count, self.generator.z_dim, generator=rng)
        uniform = torch.rand(count, 1, generator=rng)
        with torch.no_grad():
            return self._map(z, self._labels(uniform))

    def _sample_images(self, ws: Tensor) -> Tensor:
        """The images (N, C, R, R) of ws, in the range of a photo."""
        with self.settings.autocast(self.device):
            return self.generator.synthesize(ws).to(self.settings.dtype).clamp(-1, 1)

    def _reconstruction_losses(
        self,
        image: Tensor,
        target: Tensor,
        prefix: str = "",
        target_features: list[Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """mean((image - target)^2) + weight |phi(image) - phi(target)|^2, by name.

        target_features: phi(target), if several terms share it.
        """
        losses = {f"encoder/{prefix}pixel": metrics.mse(image, target).mean()}
        weight = self.settings.perceptual.perceptual_weight
        if self.perceptual is not None and weight:
            if target_features is None:
                target_features = self._perceptual_features(target)
            distance = metrics.distance(self.perceptual.features(image), target_features).mean()
            losses[f"encoder/{prefix}perceptual"] = weight * distance
        return losses

    @torch.no_grad()
    def _perceptual_features(self, target: Tensor) -> list[Tensor] | None:
        """phi(target); None without a perceptual term."""
        if self.perceptual is None or not self.settings.perceptual.perceptual_weight:
            return None
        return self.perceptual.features(target)

    def record(self, statistics: dict[str, Tensor]) -> None:
        """Nothing is counted, unless a recipe overrides this."""

    def on_step_end(self, batch: BatchSlice) -> None:
        size, section = self.settings.batch, self.settings.ema
        images_seen = (batch.step + 1) * size
        factor = ema.decay(size, images_seen, section.ema_images, section.ema_rampup)
        # Only the EMA is used: its running statistics cover the same steps as its weights.
        update_running_stats(self.encoder, 1 - factor, self.distributed.all_mean)
        ema.update(self.ema, self.encoder, factor)

    def _fingerprints(self) -> dict[str, str]:
        """What a checkpoint must agree with, beyond the settings."""
        name = "none" if self.perceptual is None else self.perceptual.name
        copies = self._discriminators().items()
        return {"generator": self.generator.fingerprint, "perceptual": name} | {
            f"discriminator of {name}": fingerprint(x.state_dict()) for name, x in copies
        }

    def state(self) -> dict[str, Any]:
        return {"ema": self.trainables[-1].to_store(self.ema.state_dict())} | self._fingerprints()

    def load_state(self, state: dict[str, Any]) -> None:
        for name, ours in self._fingerprints().items():
            if state.get(name, ours) != ours:
                raise ValueError(f"the {name} was {state[name]} and is {ours}")
        self.trainables[-1].load(self.ema, state["ema"])

    # Evaluation -----------------------------------------------------------------------------------

    def extra_metrics(self) -> dict[str, float]:
        return {}

    def _eval_sets(self) -> list[str]:
        return ["samples", "photos"] if self.settings.evaluation.eval_data else ["samples"]

    @torch.no_grad()
    def _eval_batches(self, source: str, count: int) -> Iterator[tuple[Tensor, Tensor]]:
        """(images, codes) of held-out samples, or of photos with the mean code."""
        if source == "photos":
            mean = spaces.SPACES["w+"].initial_code(self.generator, 1, "mean")
            count = min(count, len(self.eval_photos))
            parts = torch.arange(count).split(EVAL_BATCH)
            for indices in with_bar(parts, count, source, self.distributed):
                image = self.eval_photos.batch(indices, self.device, self.settings.dtype)
                yield image, mean.expand(len(indices), -1, -1)
        else:
            codes = self._eval_codes("held out", count).split(EVAL_BATCH)
            for ws in with_bar(codes, count, source, self.distributed):
                yield self.generator.synthesize(ws).clamp(-1, 1), ws

    @torch.no_grad()
    def _reconstructions(self, source: str, count: int) -> Iterator[tuple[Tensor, Tensor]]:
        """(target, its reconstruction), in batches."""
        for target, ws in self._eval_batches(source, count):
            yield target, self._reconstruct(self.ema, target, ws).clamp(-1, 1)

    def sample_grid(self) -> list[Tensor]:
        """Image, reconstruction, image, reconstruction, ..: held-out samples, then photos."""
        images = []
        for source in self._eval_sets():
            for pair in self._reconstructions(source, self.settings.evaluation.num_samples):
                images += torch.stack(pair, 1).flatten(0, 1).unbind()
        return [x.expand(3, -1, -1) if len(x) == 1 else x[:3] for x in images]

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Mean errors of held-out samples, and of photos."""
        errors: dict[str, list[Tensor]] = {}
        for source in self._eval_sets():
            count = self.settings.evaluation.eval_images
            for target, image in self._reconstructions(source, count):
                errors.setdefault(f"{source}/mse", []).append(metrics.mse(image, target))
                if self.perceptual is not None:
                    distance = self.perceptual(image, target)
                    errors.setdefault(f"{source}/{self.perceptual.name}", []).append(distance)
        return {name: float(torch.cat(values).mean()) for name, values in errors.items()}

    def save(self, out: Path) -> None:
        save(self.ema, out / FILE)
