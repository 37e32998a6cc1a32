"""The recipe `feature`: codes and a feature that reconstruct photos and samples.

Legend: N images of a batch slice, C channels, R image resolution, L style inputs, D numbers in w.
After "The Devil is in the Details: StyleFeatureEditor for Detail-Rich StyleGAN Inversion and High
Quality Image Editing", section 3.2, but for the fusion: see `network`. The first picture is that of
the codes alone, G(w); the final one is that of codes and feature, G(w, F).
"""

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from facsimile.training import BatchSlice, Distributed

from ..adversarial_recipe import AdversarialRecipe
from ..codes_network import CODE_SAMPLES
from ..targets import TargetFeatures, Targets
from .network import FeatureConfig, FeatureEncoder, FeaturePrediction
from .settings import FeatureSettings

GROWTH = 0.1
"""Share of the training in which a late term's weight grows to its full size."""
INVERSE_CODE_WEIGHT = 0.001
"""Weight of the distance between the codes and what becomes of them in Z+."""


class Reconstruction(NamedTuple):
    """Training images and what the encoder makes of them."""

    target: Targets
    prediction: FeaturePrediction
    image: Tensor
    """The final picture G(w, F) (N, C, R, R)."""


class FeatureRecipe(AdversarialRecipe):
    """Reconstruct photos and samples, by the codes alone and with the feature."""

    settings: FeatureSettings
    betas = (0.9, 0.99)
    scale_samples = CODE_SAMPLES

    def __init__(self, settings: FeatureSettings, distributed: Distributed):
        super().__init__(settings, distributed)
        if not settings.inverse_weight:
            self.encoder.inverse.requires_grad_(False)
        if settings.adversarial_weight:
            self._add_critic()

    def _build(self) -> nn.Module:
        settings = self.settings
        sizes = (settings.width, settings.codes_width, settings.inverse_width)
        config = FeatureConfig.for_generator(
            self.generator, settings.layer, *sizes, iterations=settings.iterations
        )
        return FeatureEncoder(config)

    def _reconstruct(self, encoder: nn.Module, images: Tensor, ws: Tensor) -> Tensor:
        prediction = encoder.predict(images, self.generator)
        return self.generator.synthesize(prediction.ws, start=prediction.feature)

    # One step -------------------------------------------------------------------------------------

    def forward(self, batch: BatchSlice) -> Reconstruction:
        target = self._targets(batch)
        with self.settings.autocast(self.device):
            prediction = self.encoder.predict(target.image, self.generator)
            image = self.generator.synthesize(prediction.ws, start=prediction.feature)
        return Reconstruction(target, prediction, image.to(self.settings.dtype))

    def losses(self, name: str, batch: BatchSlice, shared: Reconstruction) -> dict[str, Tensor]:
        if name == "critic":
            return self._critic_losses(batch, shared.target, shared.image)
        return self._of_encoder(batch, shared)

    def _of_encoder(self, batch: BatchSlice, shared: Reconstruction) -> dict[str, Tensor]:
        """The terms of both pictures, of the codes and of the feature; those of the inverse."""
        settings, (target, prediction, image) = self.settings, shared
        features = self._target_features(target.image)
        first = prediction.image.to(settings.dtype)
        weight = settings.identity.identity_weight
        losses = self._picture_losses(first, target.image, features, "codes ", weight)
        weight = settings.final_identity_weight * self._growth(batch, settings.final_identity_start)
        losses |= self._picture_losses(image, target.image, features, "", weight)
        for number, picture in enumerate(prediction.corrected, 1):
            corrected = self._picture_losses(
                picture.to(settings.dtype), target.image, features, f"iteration {number} ", weight
            )
            share = 1 / len(prediction.corrected)
            losses |= {name: share * loss for name, loss in corrected.items()}
        codes, known = (self.encoder.codes.normalize(ws) for ws in (prediction.ws, target.ws))
        latent = (codes - known).square().mean((1, 2)) * target.is_sample
        change = prediction.change.to(settings.dtype)
        losses |= {
            "encoder/latent": settings.latent_weight * latent.mean(),
            "encoder/code size": settings.code_size_weight * codes.square().mean(),
            "encoder/feature reg": settings.feature_reg_weight * change.square().mean(),
        }
        if self.critic is not None:
            weight = settings.adversarial_weight * self._growth(batch, settings.adversarial_start)
            loss = F.softplus(-self._discriminate(image, target.label)).mean()
            losses["encoder/adversarial"] = weight * loss
        if settings.inverse_weight:
            losses |= self._inverse_losses(shared, features)
        return losses

    def _inverse_losses(
        self, shared: Reconstruction, features: TargetFeatures
    ) -> dict[str, Tensor]:
        """The final picture with f(z) for w, and |f(z) - w|^2; z = to_z(w), w and F are fixed."""
        target, prediction = shared.target, shared.prediction
        ws, fixed = prediction.ws.detach(), prediction.feature
        rgb = None if fixed.rgb is None else fixed.rgb.detach()
        ws_of_z = self.generator.map(self.encoder.to_z(ws, target.label), target.label)
        with self.settings.autocast(self.device):
            start = fixed._replace(x=fixed.x.detach(), rgb=rgb)
            image = self.generator.synthesize(ws_of_z, start=start).to(self.settings.dtype)
        losses = self._picture_losses(image, target.image, features, "inverse ")
        error = (ws_of_z - ws) / self.encoder.codes.scale
        losses["encoder/inverse code"] = INVERSE_CODE_WEIGHT * error.square().mean()
        return {name: self.settings.inverse_weight * loss for name, loss in losses.items()}

    def _growth(self, batch: BatchSlice, start: float) -> float:
        """Factor of a term that comes in late, after a share of the training."""
        progress = self.settings.progress(batch.step * self.settings.batch)
        return min(max((progress - start) / GROWTH, 0.0), 1.0)
