"""The recipe `in-domain`: an encoder into W+ whose codes stay in the generator's domain.

Legend: N images of a batch slice, C channels, R image resolution, L style inputs, D numbers in w.
"In-Domain GAN Inversion for Real Image Editing", equations 2 and 3. The paper trains on photos;
samples of the generator, whose codes are known, may be added or replace them.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facsimile import metrics
from facsimile.stylegan import spaces
from facsimile.training import BatchSlice, Distributed

from ..adversarial_recipe import AdversarialRecipe
from ..codes_network import CODE_SAMPLES
from ..targets import Targets
from .config import DescentWeights, InDomainConfig
from .network import InDomainEncoder
from .settings import InDomainSettings


class Reconstruction(NamedTuple):
    """Training images and their reconstructions."""

    target: Targets
    code: Tensor
    """E(x) (N, L, D)"""
    image: Tensor | None
    """G(E(x)) (N, C, R, R); None with `--freeze`, which has no term of it."""


class InDomainRecipe(AdversarialRecipe):
    """Reconstruct photos and samples, with a critic that says how real the result looks."""

    settings: InDomainSettings
    betas = (0.9, 0.99)

    def __init__(self, settings: InDomainSettings, distributed: Distributed):
        super().__init__(settings, distributed)
        self._mean = spaces.SPACES["w+"].initial_code(self.generator, 1, "mean")
        self._scale = self._eval_codes("scale", CODE_SAMPLES).std(0)
        if settings.freeze:
            self._freeze()
        elif settings.adversarial_weight:
            self._add_critic(trained=settings.critic == "trained")

    @property
    def scale_samples(self) -> int:  # type: ignore[override]
        """As every architecture's encoders were trained."""
        resnet = self.settings.architecture == "resnet"
        return super().scale_samples if resnet else CODE_SAMPLES

    def _build(self) -> nn.Module:
        settings, section = self.settings, self.settings.learned_optimizer
        discriminator, width = self.discriminator, settings.width
        assert width is not None  # as what follows, it has a default
        assert settings.bn_group_size is not None
        config = InDomainConfig.for_generator(
            self.generator,
            width,
            settings.max_width or 8 * width,
            settings.resolution,
            settings.iterations,
            discriminator,
            architecture=settings.architecture,
            hidden=section.optimizer_hidden,
            turn_rank=section.turn_rank or None,
            initial_step=section.initial_step,
            descent=DescentWeights(
                perceptual=section.descent_perceptual_weight or 0.0,
                identity=section.descent_identity_weight or 0.0,
                latent=section.descent_latent_weight or 0.0,
            ),
            identity=self._descent_identity(),
        )
        encoder = InDomainEncoder(config, settings.bn_group_size)
        if config.feature_net is not None:
            encoder.optimizer.feature_net.load_state_dict(discriminator.state_dict())
        return encoder

    def _descent_identity(self) -> str | None:
        """Name of the identity network whose embeddings the learned optimizer compares."""
        section = self.settings.learned_optimizer
        if not section.descent_identity_weight or not section.iterations:
            return None
        if self.generator.img_channels not in metrics.PICTURE_CHANNELS:
            return None
        network = self.identity or metrics.build_identity(self.settings.identity.identity)
        return None if network is None else network.name

    def _freeze(self) -> None:
        """Train only the learned optimizer; the encoder's statistics do not move either."""
        self.encoder.eval().requires_grad_(False)
        feature_net = self.encoder.optimizer.feature_net
        frozen = () if feature_net is None else tuple(feature_net.parameters())
        for weight in self.encoder.optimizer.parameters():
            weight.requires_grad_(not any(weight is x for x in frozen))

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
        if name == "critic":
            assert shared.image is not None
            return self._critic_losses(batch, shared.target, shared.image)
        return self._of_encoder(shared)

    def _of_encoder(self, shared: Reconstruction) -> dict[str, Tensor]:
        """mean((x - G(E(x)))^2), the perceptual and the adversarial term (equation 2); the terms of
        the person and of the codes; and the loss of the learned optimizer."""
        settings, (target, code, image) = self.settings, shared
        if image is None:
            return self._optimizer_loss(shared)
        features = self._target_features(target.image)
        weight = settings.identity.identity_weight or 0.0
        losses = self._picture_losses(image, target.image, features, "", weight)
        if self.critic is not None:
            loss = F.softplus(-self._discriminate(image, target.label)).mean()
            losses["encoder/adversarial"] = settings.adversarial_weight * loss
        if settings.latent_weight and settings.photos.fraction < 1:
            error = code - target.ws
            if settings.architecture == "levels":
                error = error / self._scale
            latent = error.square().mean((1, 2)) * target.is_sample
            losses["encoder/latent"] = settings.latent_weight * latent.mean()
        if settings.code_size_weight:
            size = ((code - self._mean) / self._scale).square().mean()
            losses["encoder/code size"] = settings.code_size_weight * size
        if settings.iterations:
            losses |= self._optimizer_loss(shared)
        return losses

    def _optimizer_loss(self, shared: Reconstruction) -> dict[str, Tensor]:
        """Mean of the learned optimizer's losses after each iteration."""
        with self.settings.autocast(self.device):
            synthesize = self.generator.synthesize
            _, losses = self.encoder.optimize(shared.target.image, shared.code, synthesize)
        return {"encoder/learned optimizer": torch.stack(losses).mean()}

    def _targets(self, batch: BatchSlice) -> Targets:
        if self.settings.architecture == "resnet":
            return self._photos_or_plain_samples(batch)
        return super()._targets(batch)

    @torch.no_grad()
    def _photos_or_plain_samples(self, batch: BatchSlice) -> Targets:
        """Photos, samples with one code for all style inputs, or a random mixture of both."""
        section, mean = self.settings.photos, self._mean.expand(batch.size, -1, -1)
        uniform = self.sampler.numbers("photo", batch, torch.rand).to(self.device)
        is_sample = uniform >= section.fraction
        ws, label = self._codes(batch) if section.fraction < 1 else (mean, None)
        if section.fraction > 0:
            image = self.sampler.images(self.photos, batch, section.mirror)
        if is_sample.all():
            image = self._sample_images(ws)
        elif is_sample.any():  # only the samples are synthesized
            image = image.index_put((is_sample,), self._sample_images(ws[is_sample]))
        return Targets(image, is_sample, ws, label)
