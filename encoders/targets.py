"""What the encoders of photos are trained on: photos, and samples of three kinds.

Legend: N images of a batch slice, C channels, R image resolution, L style inputs, D numbers in w.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from facsimile import metrics
from facsimile.data import ImageDataset
from facsimile.metrics import IdentityNetwork
from facsimile.metrics.identity import MISSING_NOTE
from facsimile.stylegan import spaces
from facsimile.training import BatchSlice, Distributed
from facsimile.training.keyed_sampler import interleave_groups

from .recipe import EncoderRecipe
from .settings import IdentitySettings, TargetSettings


class Targets(NamedTuple):
    """The training images of a batch slice."""

    image: Tensor
    """x (N, C, R, R)"""
    is_sample: Tensor
    """(N,) whether it is a sample of the generator."""
    ws: Tensor
    """(N, L, D) of the samples; of no use for photos."""
    label: Tensor | None
    """(N, c_dim) of a conditional generator; for photos, whose class is unknown, a random one."""


class TargetFeatures(NamedTuple):
    """What several terms compare reconstructions with."""

    perceptual: list[Tensor] | None
    """Features of the targets; None without a perceptual term."""
    identity: Tensor | None
    """Embeddings of the targets; None without an identity term."""


class TargetRecipe(EncoderRecipe):
    """The base of the recipes that train on photos and samples.

    A third of the samples have one code for all style inputs; a third are crossed, with one code
    for the first inputs and another for the others (style mixing); and a third have a code of its
    own in every input, with a random share, as the codes of photos are.
    """

    settings: TargetSettings
    photos: ImageDataset
    """To train on; set by `setup_data` if there are any."""

    identity: IdentityNetwork | None = None
    """The network of the identity term; None without that term."""

    def __init__(self, settings: TargetSettings, distributed: Distributed):
        self._means: dict[int, Tensor] = {}
        super().__init__(settings, distributed)

    def _load_networks(self) -> Any:
        networks = super()._load_networks()
        network = build_identity(self.settings.identity, networks.generator.img_channels)
        self.identity = None if network is None else network.to(self.device)
        return networks

    def setup_data(self) -> str:
        summary, section = super().setup_data(), self.settings.photos
        summary += identity_note(self.settings.identity, self.identity)
        if not section.fraction:
            return summary
        self.photos = self._open_photos(section.data)
        return (
            f"{self.photos.summary()}, as {section.fraction:.0%} of the training images; {summary}"
        )

    def _fingerprints(self) -> dict[str, str]:
        name = "none" if self.identity is None else self.identity.name
        return super()._fingerprints() | {"identity network": name}

    # Targets --------------------------------------------------------------------------------------

    @torch.no_grad()
    def _targets(self, batch: BatchSlice) -> Targets:
        """Photos and samples of a batch slice; only the samples are synthesized."""
        is_sample = self._is_sample(batch)
        ws, label = self._mixed_codes(batch)
        samples = is_sample.nonzero()[:, 0].to(self.device)
        if len(samples) == batch.size:
            image = self._sample_images(ws)
        else:
            image = self.sampler.images(self.photos, batch, self.settings.photos.mirror)
            if len(samples):
                image = image.index_copy(0, samples, self._sample_images(ws[samples]))
        return Targets(image, is_sample.to(self.device), ws, label)

    def _is_sample(self, batch: BatchSlice) -> Tensor:
        """(N,) on the CPU: photos come at equal distances, so that every batch has as many."""
        numbers = torch.arange(batch.start, batch.start + batch.size + 1, dtype=torch.float64)
        whole = (numbers * self.settings.photos.fraction).floor()
        is_photo = whole[1:] > whole[:-1]
        return interleave_groups(list(~is_photo.view(-1, self.group_size)))

    @torch.no_grad()
    def _mixed_codes(self, batch: BatchSlice, attempt: int = 0) -> tuple[Tensor, Tensor | None]:
        """(ws (N, L, D) of samples of the three kinds, labels (N, c_dim)); others by attempt."""
        suffix = f" {attempt}" if attempt else ""
        numbers, generator = self.sampler.numbers, self.generator
        label = self._labels(numbers(f"label{suffix}", batch, torch.rand, 1))
        z = numbers(f"codes{suffix}", batch, torch.randn, generator.num_ws + 2, generator.z_dim)
        one, second, each = (
            self._map(z[:, 0], label),
            self._map(z[:, 1], label),
            self._map(z[:, 2:], label),
        )
        uniform = numbers(f"mixture{suffix}", batch, torch.rand, 3, 1, 1).to(one)
        kind, cut, share = uniform.unbind(1)
        inputs = torch.arange(generator.num_ws, device=self.device)[:, None]
        crossed = torch.where(inputs >= 1 + (cut * (generator.num_ws - 1)).floor(), second, one)
        mean = self._mean_ws(label)
        # A mixture keeps the deviation of w.
        mixed = (1 - share) * (one - mean) + share * (each - mean)
        mixed = mean + mixed / torch.hypot(1 - share, share)
        return torch.where(kind < 1 / 3, one, torch.where(kind < 2 / 3, crossed, mixed)), label

    def _mean_ws(self, label: Tensor | None) -> Tensor:
        """The mean code, (1, L, D), or that of each label, (N, L, D)."""
        classes = [0] if label is None else label.argmax(1).tolist()
        for number in set(classes) - self._means.keys():
            one = None if label is None else label[[classes.index(number)]]
            space = spaces.SPACES["w+"]
            self._means[number] = space.initial_code(self.generator, 1, "mean", label=one)
        return torch.cat([self._means[number] for number in classes])

    # Terms ----------------------------------------------------------------------------------------

    @torch.no_grad()
    def _target_features(self, image: Tensor) -> TargetFeatures:
        """What the terms compare with, of targets (N, C, R, R)."""
        identity = None if self.identity is None else self.identity.embed(image)
        return TargetFeatures(self._perceptual_features(image), identity)

    def _picture_losses(
        self,
        image: Tensor,
        target: Tensor,
        features: TargetFeatures,
        prefix: str = "",
        identity_weight: float = 0.0,
    ) -> dict[str, Tensor]:
        """The pixel, the perceptual and the identity term of reconstructions (N, C, R, R)."""
        losses = self._reconstruction_losses(image, target, prefix, features.perceptual)
        if self.identity is not None and features.identity is not None and identity_weight:
            error = (self.identity.embed(image) - features.identity).square().sum(1).mean()
            losses[f"encoder/{prefix}identity"] = identity_weight * error
        return losses


def build_identity(section: IdentitySettings, channels: int) -> IdentityNetwork | None:
    """The network of the identity term, for images of so many channels.

    None where it is off, where "auto" finds none, or where people are not recognised in such
    images. Raises FileNotFoundError for a network that is asked for by name and is not there.
    """
    if not section.identity_weight or channels not in metrics.PICTURE_CHANNELS:
        return None
    return metrics.build_identity(section.identity)


def identity_note(section: IdentitySettings, network: IdentityNetwork | None) -> str:
    """For the summary of a run: which network the identity term has, or why it is left out."""
    if not section.identity_weight or section.identity == "off":
        return ""
    return f"; {MISSING_NOTE if network is None else network.note}"
