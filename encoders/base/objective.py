"""The recipe `base`: the base encoder, trained on generated samples alone.

Legend: N images of a batch slice, C channels, HxW pixels of the feature, R image resolution, L
style inputs, D numbers in w.
"Revisiting Latent Space of GAN Inversion for Real Image Editing", equation 2; the network and its
optimizer are those of "GAN Inversion for Out-of-Range Images with Geometric Transformations".
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facsimile.stylegan import Feature, spaces
from facsimile.training import BatchSlice

from ..recipe import EncoderRecipe
from .network import BaseConfig, BaseEncoder
from .settings import BaseSettings


class Prediction(NamedTuple):
    """The images of a batch slice and what the encoder predicts of them."""

    target: Tensor
    """x (N, C, R, R)"""
    ws: Tensor
    """w (N, L, D), their codes"""
    feature: Feature
    """E(x)"""
    image: Tensor
    """G(E(x), w) (N, C, R, R)"""


class BaseRecipe(EncoderRecipe):
    """Reconstruct samples of the generator from their feature and their code."""

    settings: BaseSettings
    betas = (0.9, 0.999)

    def _build(self) -> nn.Module:
        settings, discriminator = self.settings, self.discriminator
        config = BaseConfig.for_generator(
            self.generator,
            settings.layer,
            settings.width,
            settings.rgb_skip,
            settings.iterations,
            discriminator,
        )
        encoder = BaseEncoder(config, settings.bn_group_size)
        if config.feature_net is not None:
            encoder.corrector.feature_net.load_state_dict(discriminator.state_dict())
        return encoder

    def _reconstruct(self, encoder: nn.Module, images: Tensor, ws: Tensor) -> Tensor:
        feature = encoder.feature(images)

        def synthesize(x: Tensor) -> Tensor:
            return self.generator.synthesize(ws, start=feature._replace(x=x))

        return synthesize(encoder.refine(images, feature.x, synthesize))

    def forward(self, batch: BatchSlice) -> Prediction:
        with torch.no_grad():
            ws, _ = self._codes(batch)
            mixes = self.settings.feature_mix_prob
            target = self._mixed_images(ws, batch) if mixes else self._sample_images(ws)
        with self.settings.autocast(self.device):
            feature = self.encoder.feature(target)
            image = self.generator.synthesize(ws, start=feature).to(self.settings.dtype)
        return Prediction(target, ws, feature, image)

    def losses(self, name: str, batch: BatchSlice, shared: Prediction) -> dict[str, Tensor]:
        """mean((G(E(x), w) - x)^2) + lambda |phi(G(E(x), w)) - phi(x)|^2 (equation 2)."""
        losses = self._reconstruction_losses(shared.image, shared.target)
        if self.settings.iterations:
            losses |= self._iteration_losses(shared, batch)
        return losses

    def _mixed_images(self, ws: Tensor, batch: BatchSlice) -> Tensor:
        """Images of ws; some of them with the feature of another code in parts of the picture."""
        layer = self.encoder.config.layer
        others, _ = self._codes(batch, 1)
        uniform = self.sampler.numbers("mixed", batch, torch.rand, 1, 1, 1).to(ws)
        # A few regions per picture, with soft edges.
        blobs = self.sampler.numbers("blobs", batch, torch.randn, 1, 4, 4).to(ws)
        with self.settings.autocast(self.device):
            feature = self.generator.synthesize(ws, stop=layer)
            other = self.generator.synthesize(others, stop=layer).x
            blobs = F.interpolate(blobs, other.shape[2:], mode="bicubic", align_corners=False)
            mask = torch.sigmoid(4 * blobs) * (uniform < self.settings.feature_mix_prob)
            mixed = feature._replace(x=feature.x.lerp(other, mask.to(other.dtype)))
            image = self.generator.synthesize(ws, start=mixed)
            return image.to(self.settings.dtype).clamp(-1, 1)

    def _iteration_losses(self, shared: Prediction, batch: BatchSlice) -> dict[str, Tensor]:
        """The same losses after every iteration, their mean; each has a gradient of its own.

        A third of the images is synthesized with their own codes, a third with the mean code, a
        third with random codes: those of a photo are unknown.
        """
        target, iterations = shared.target, self.settings.iterations
        ws = self._iteration_codes(shared.ws, batch)

        def synthesize(x: Tensor) -> Tensor:
            image = self.generator.synthesize(ws, start=shared.feature._replace(x=x))
            return image.to(self.settings.dtype)

        target_features = self._perceptual_features(target)
        with self.settings.autocast(self.device):
            photo, x = self.encoder.corrector.extract(target), shared.feature.x.detach()
            with torch.no_grad():
                image = synthesize(x)
        means: dict[str, Tensor] = {}
        for _ in range(iterations):
            with self.settings.autocast(self.device):
                x = self.encoder.refine_once(photo, x.detach(), image.detach())
                image = synthesize(x)
            losses = self._reconstruction_losses(image, target, "iteration ", target_features)
            for name, value in losses.items():
                means[name] = means.get(name, 0) + value / iterations
        return means

    @torch.no_grad()
    def _iteration_codes(self, ws: Tensor, batch: BatchSlice) -> Tensor:
        """One of the image's code, the mean code, and a random code for each image."""
        others, _ = self._codes(batch, 2)
        mean = spaces.SPACES["w+"].initial_code(self.generator, 1, "mean").expand_as(ws)
        choice = (3 * self.sampler.numbers("drawn with", batch, torch.rand, 1, 1)).long()
        choice = choice.to(self.device)
        return torch.where(choice == 0, ws, torch.where(choice == 1, mean, others))
