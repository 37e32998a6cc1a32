"""The recipe `in-domain`: an encoder into W+, trained with a critic of the reconstructions.

Legend: N images of a batch slice, C channels, R image resolution, L style inputs, D numbers in w.
"In-Domain GAN Inversion for Real Image Editing", equations 2 and 3. The paper trains on photos;
samples of the generator, whose codes are known, may be added or replace them.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facsimile.data import ImageDataset
from facsimile.stylegan import Discriminator
from facsimile.training import BatchSlice, Distributed

from ..adversarial import critic_losses, initial_critic
from ..recipe import EncoderRecipe
from .config import InDomainConfig
from .network import InDomainEncoder
from .settings import InDomainSettings


class Targets(NamedTuple):
    """The training images of a batch slice."""

    image: Tensor
    """x (N, C, R, R)"""
    is_sample: Tensor
    """(N,) whether it is a sample of the generator."""
    ws: Tensor | None
    """(N, L, D) of the samples; of no use for photos."""
    label: Tensor | None
    """(N, c_dim), likewise."""


class Reconstruction(NamedTuple):
    """Training images and their reconstructions."""

    target: Targets
    code: Tensor
    """E(x) (N, L, D)"""
    image: Tensor | None
    """G(E(x)) (N, C, R, R); None with `--freeze`, which has no term of it."""


class InDomainRecipe(EncoderRecipe):
    """Reconstruct photos and samples, with a critic that compares them with the originals."""

    settings: InDomainSettings
    photos: ImageDataset
    """To train on; set by `setup_data` if there are any."""
    betas = (0.9, 0.99)
    OPTIONAL_FIELDS = ("iterations", "feature_net")

    def __init__(self, settings: InDomainSettings, distributed: Distributed):
        super().__init__(settings, distributed)
        self.critic: Discriminator | None = None
        if settings.freeze:
            self._freeze()
        elif settings.adversarial_weight:
            initial = initial_critic(
                self.discriminator,
                self.generator.resolution,
                self.group_size,
                photos=bool(settings.photos.fraction),
            )
            self.critic = self._to_device(initial)
            critic = self._trainable("critic", self.critic, uses_forward_graph=False)
            self.trainables = (critic, *self.trainables)

    def _build(self) -> nn.Module:
        settings, discriminator = self.settings, self.discriminator
        config = InDomainConfig.for_generator(
            self.generator,
            settings.width,
            settings.max_width or 8 * settings.width,
            settings.resolution,
            settings.iterations,
            discriminator,
        )
        encoder = InDomainEncoder(config, settings.bn_group_size)
        if config.feature_net is not None:
            encoder.optimizer.feature_net.load_state_dict(discriminator.state_dict())
        return encoder

    def _freeze(self) -> None:
        """Train only the learned optimizer; the encoder's statistics do not move either."""
        self.encoder.eval().requires_grad_(False)
        feature_net = self.encoder.optimizer.feature_net
        frozen = () if feature_net is None else tuple(feature_net.parameters())
        for weight in self.encoder.optimizer.parameters():
            weight.requires_grad_(not any(weight is x for x in frozen))

    def setup_data(self) -> str:
        summary, section = super().setup_data(), self.settings.photos
        if not section.fraction:
            return summary
        self.photos = self._open_photos(section.data)
        return (
            f"{self.photos.summary()}, as {section.fraction:.0%} of the training images; {summary}"
        )

    def _reconstruct(self, encoder: nn.Module, images: Tensor, ws: Tensor) -> Tensor:
        synthesize = self.generator.synthesize
        return synthesize(encoder.encode(images, synthesize))

    # One step -------------------------------------------------------------------------------------

    def forward(self, batch: BatchSlice) -> Reconstruction:
        target = self._targets(batch)
        if self.settings.freeze:
            with torch.no_grad():
                return Reconstruction(target, self.encoder(target.image), None)
        with self.settings.autocast(self.device):
            code = self.encoder(target.image)
            image = self.generator.synthesize(code).to(self.settings.dtype)
        return Reconstruction(target, code, image)

    def losses(self, name: str, batch: BatchSlice, shared: Reconstruction) -> dict[str, Tensor]:
        return self._of_critic(batch, shared) if name == "critic" else self._of_encoder(shared)

    def _of_critic(self, batch: BatchSlice, shared: Reconstruction) -> dict[str, Tensor]:
        """softplus(D(G(E(x)))) + softplus(-D(x)) + gamma / 2 |grad D(x)|^2 (equation 3)."""
        target, fake = shared.target, shared.image
        assert fake is not None
        return critic_losses(
            target.image,
            lambda image: self._discriminate(image, target.label),
            lambda: self._discriminate(fake.detach(), target.label),
            batch.step,
            self.settings.r1,
        )

    def _of_encoder(self, shared: Reconstruction) -> dict[str, Tensor]:
        """mean((x - G(E(x)))^2), the perceptual and the adversarial term (equation 2), and the loss
        of the learned optimizer."""
        settings, target = self.settings, shared.target
        if settings.freeze:
            return self._optimizer_loss(shared)
        losses = self._reconstruction_losses(shared.image, target.image)
        if self.critic is not None:
            loss = F.softplus(-self._discriminate(shared.image, target.label)).mean()
            losses["encoder/adversarial"] = settings.adversarial_weight * loss
        if settings.latent_weight and target.ws is not None:
            error = (shared.code - target.ws).square().mean((1, 2))
            losses["encoder/latent"] = settings.latent_weight * (error * target.is_sample).mean()
        if settings.iterations:
            losses |= self._optimizer_loss(shared)
        return losses

    def _optimizer_loss(self, shared: Reconstruction) -> dict[str, Tensor]:
        """Mean of the learned optimizer's losses after each iteration."""
        with self.settings.autocast(self.device):
            synthesize = self.generator.synthesize
            _, losses = self.encoder.optimize(shared.target.image, shared.code, synthesize)
        return {"encoder/learned optimizer": torch.stack(losses).mean()}

    def _discriminate(self, image: Tensor, label: Tensor | None) -> Tensor:
        """Logits (N, 1) of the critic."""
        assert self.critic is not None
        with self.settings.autocast(self.device):
            label = label if self.critic.config.c_dim else None
            return self.critic(image, label).to(self.settings.dtype)

    @torch.no_grad()
    def _targets(self, batch: BatchSlice) -> Targets:
        """Photos, samples, or a mixture of both."""
        section, ws, label = self.settings.photos, None, None
        uniform = self.sampler.numbers("photo", batch, torch.rand).to(self.device)
        is_sample = uniform >= section.fraction
        if section.fraction > 0:
            image = self.sampler.images(self.photos, batch, section.mirror)
        if section.fraction < 1:
            ws, label = self._codes(batch)
            if is_sample.all():
                image = self._sample_images(ws)
            elif is_sample.any():  # only the samples are synthesized
                image = image.index_put((is_sample,), self._sample_images(ws[is_sample]))
        return Targets(image, is_sample, ws, label)
