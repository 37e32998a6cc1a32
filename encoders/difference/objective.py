"""The recipe `difference`: a face takes on the landmarks of another.

Legend: N images of a batch slice, C channels, R image resolution, L style inputs, D numbers in w,
K = 68 points, E landmark features.
"Learning an Encoder for Image Editing within a StyleGAN Latent Space", section 2. The other face is
the next one of the group, whose landmarks are at hand in every step.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facsimile import metrics
from facsimile.stylegan import freeze
from facsimile.training import BatchSlice

from ..adversarial import critic_losses
from ..layers import discard_batch_stats
from .faces import Faces, detect_landmarks, with_codes
from .network import DifferenceConfig, DifferenceEncoder
from .recipe import FAILURES, ReenactmentRecipe
from .settings import DifferenceSettings


class Reenacted(NamedTuple):
    """The faces of a batch slice and what the encoder makes of them."""

    faces: Faces
    source: Tensor
    """What the encoder takes: codes w (N, L, D), or images x (N, C, R, R)."""
    embedding: Tensor
    """Of the source's landmarks c."""
    target: Tensor
    """(N,): index of the face whose landmarks c' each takes on."""
    target_landmarks: Tensor
    """(N, K, 2), these."""
    code: Tensor
    """w_hat (N, L, D)"""
    image: Tensor
    """x_hat = G(w_hat) (N, C, R, R)"""
    failures: Tensor | None
    """(N,) attempts without a face before each sample; None for photos."""


class LandmarkObjective(ReenactmentRecipe):
    """The terms of every reenactment recipe; `_encoder_losses` adds those of a kind."""

    def _unchanged_per_group(self, step: int) -> int:
        """Faces of a group whose target is their own landmarks, in this step."""
        raise NotImplementedError

    def _encoder_losses(
        self, batch: BatchSlice, shared: Reenacted, condition: Tensor | None
    ) -> dict[str, Tensor]:
        """Terms of a kind; condition: the critic's embedding of the source's landmarks."""
        raise NotImplementedError

    def forward(self, batch: BatchSlice) -> Reenacted:
        with torch.no_grad():
            faces, failures = self._faces(batch)
            source = self._source(faces)
        target = self._targets(batch)
        unchanged = target == torch.arange(batch.size, device=self.device)
        landmarks = faces.source_landmarks.where(unchanged[:, None, None], faces.landmarks[target])
        with self.settings.autocast(self.device):
            embedding = self.encoder.embed_landmarks(faces.source_landmarks)
            embed = self.encoder.embed_landmarks
            target_embedding = _embed_targets(landmarks, target, faces, embedding, embed)
        code = self._predict(self.encoder, source, target_embedding)
        image = self._synthesize(code)
        if not torch.is_grad_enabled():
            # The encoder's turn computes these statistics again, together with the cycle's.
            discard_batch_stats(self.encoder)
        return Reenacted(faces, source, embedding, target, landmarks, code, image, failures)

    def losses(self, name: str, batch: BatchSlice, shared: Reenacted) -> dict[str, Tensor]:
        of_critic = name == "critic"
        return self._of_critic(batch, shared) if of_critic else self._of_encoder(batch, shared)

    def _of_critic(self, batch: BatchSlice, shared: Reenacted) -> dict[str, Tensor]:
        """softplus(D(x_hat, c')) + softplus(-D(x, c)) + gamma / 2 |grad_x D(x, c)|^2."""
        faces, embed = shared.faces, self._critic_embedding
        real = embed(faces.landmarks)
        fake = _embed_targets(shared.target_landmarks, shared.target, faces, real, embed)
        return critic_losses(
            faces.image,
            lambda image: self._discriminate(image, real, faces.label),
            lambda: self._discriminate(shared.image.detach(), fake, faces.label),
            batch.step,
            self.settings.r1,
        )

    def _of_encoder(self, batch: BatchSlice, shared: Reenacted) -> dict[str, Tensor]:
        """L_adv.manipulated + L_adv.cycle + L_rec.cycle (section 2), and the optional terms."""
        section, faces = self.settings.reenactment, shared.faces
        condition = target_condition = None
        if self.critic is not None:
            with torch.no_grad():
                embed = self._critic_embedding
                condition = embed(faces.source_landmarks)
                target_condition = _embed_targets(
                    shared.target_landmarks, shared.target, faces, condition, embed
                )
        losses = self._adversarial_loss("adversarial", shared.image, faces, target_condition)
        if section.landmark_weight:
            detected = detect_landmarks(self.landmarker, shared.image).points
            error = metrics.nme(shared.target_landmarks, detected).mean()
            losses["encoder/landmarks"] = section.landmark_weight * error
        if self.identity is not None:
            difference = self.identity.embed(shared.image) - self.identity.embed(faces.image)
            error = difference.square().sum(1).mean()
            losses["encoder/identity"] = self.settings.identity.identity_weight * error
        if shared.failures is not None:
            losses[FAILURES] = shared.failures
        return losses | self._encoder_losses(batch, shared, condition)

    def _cycle_losses(
        self,
        shared: Reenacted,
        condition: Tensor | None,
        *,
        compares_images: bool,
        target_features: list[Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """The way back: the reenacted face takes on the source's landmarks again.

        target_features: perceptual features of the faces, if they are known.
        """
        faces, weight = shared.faces, self.settings.reenactment.cycle_weight
        with self.settings.autocast(self.device):
            source = self._cycle_source(shared.code, shared.image)
        losses: dict[str, Tensor] = {}
        code = self._predict(self.encoder, source, shared.embedding)
        if self.critic is not None or compares_images:
            image = self._synthesize(code)
            losses |= self._adversarial_loss("cycle adversarial", image, faces, condition)
        if not weight:
            return losses
        if compares_images:
            terms = self._reconstruction_losses(image, faces.image, "cycle ", target_features)
        else:
            terms = {"encoder/cycle latent": (code - shared.source).square().mean()}
        return losses | {name: weight * value for name, value in terms.items()}

    def _adversarial_loss(
        self, name: str, image: Tensor, faces: Faces, condition: Tensor | None
    ) -> dict[str, Tensor]:
        """lambda_adv softplus(-D(image, landmarks)); nothing without a critic."""
        if self.critic is None:
            return {}
        loss = F.softplus(-self._discriminate(image, condition, faces.label)).mean()
        return {f"encoder/{name}": self.settings.reenactment.adversarial_weight * loss}

    def _targets(self, batch: BatchSlice) -> Tensor:
        """(N,): the next face of the group; the first ones of a group may be their own targets."""
        members = torch.arange(self.group_size)
        unchanged = self._unchanged_per_group(batch.step)
        order = torch.cat([members[:unchanged], members[unchanged:].roll(-1)])
        groups = batch.size // self.group_size
        return (order[:, None] * groups + torch.arange(groups)).flatten().to(self.device)


class DifferenceRecipe(LandmarkObjective):
    """The terms of section 2, and those that are not in the paper."""

    settings: DifferenceSettings
    embedder: Any
    """The in-domain encoder that gives the codes of photos; None if none is needed."""

    def _load_networks(self) -> Any:
        """With the in-domain encoder, if one is needed."""
        settings, self.embedder = self.settings, None
        if not settings.needs_in_domain:
            return super()._load_networks()
        paths = () if settings.in_domain is None else (settings.in_domain,)
        generator = settings.sampling.generator
        networks = self.distributed.load_networks(generator, encoders=paths)
        if not networks.encoders.has("in-domain"):
            raise ValueError(
                "an in-domain encoder is needed, and there is none: name one with --in-domain, "
                f"trained by: facsimile train in-domain --generator {generator}; or train without "
                "one with --embed true --cycle-input latent, on samples alone"
            )
        in_domain = networks.encoders.get("in-domain")
        self._embedder_fingerprint = in_domain.fingerprint
        self.embedder = freeze(in_domain.network).to(self.device, settings.dtype)
        return networks

    def _build(self) -> nn.Module:
        return DifferenceEncoder(self._config(), self.settings.bn_group_size)

    def _config(self) -> DifferenceConfig:
        settings = self.settings
        return DifferenceConfig.for_generator(
            self.generator,
            *self._widths,
            settings.reenactment.resolution,
            norm=settings.norm,
            hidden=settings.hidden,
        )

    def _fingerprints(self) -> dict[str, str]:
        if self.embedder is None:
            return super()._fingerprints()
        return super()._fingerprints() | {"in-domain encoder": self._embedder_fingerprint}

    def setup_data(self) -> str:
        summary = super().setup_data()
        if self.photos is not None and self.embedder is not None:
            landmarker = f"{self._landmarker_fingerprint}, mirrored"
            self.photos = with_codes(
                self.photos,
                self._embed,
                self._synthesize,
                (self.generator.num_ws, self.generator.w_dim),
                self.landmarker,
                self.distributed,
                self.settings.dtype,
                self.settings.code_cache,
                {"encoder": self._embedder_fingerprint, "landmark network": landmarker},
            )
        return summary

    def _embed(self, image: Tensor) -> Tensor:
        """Codes (N, L, D) of the in-domain encoder, after its iterations."""
        with self.settings.autocast(self.device):
            return self.embedder.encode(image, self.generator.synthesize)

    def _source(self, faces: Faces) -> Tensor:
        if faces.code is not None:
            return faces.code
        if faces.ws is not None and self.settings.embed == "true":
            return faces.ws
        with torch.no_grad():
            return self._embed(faces.image)

    def _cycle_source(self, code: Tensor, image: Tensor) -> Tensor:
        if self.settings.cycle_input == "latent":
            return code
        # One forward pass of the in-domain encoder, through which a gradient goes.
        return self.embedder(image)

    def _eval_source(self, source: Tensor, code: Tensor) -> tuple[Tensor, Tensor | None]:
        return source, self._eval_image(source)

    def _unchanged_per_group(self, step: int) -> int:
        return self.settings.unchanged_per_group

    def _encoder_losses(
        self, batch: BatchSlice, shared: Reenacted, condition: Tensor | None
    ) -> dict[str, Tensor]:
        settings, losses = self.settings, {}
        if unchanged := settings.unchanged_per_group:
            # A group's members lie one after another, all firsts before all seconds.
            d = (shared.code - shared.source)[: unchanged * batch.size // self.group_size]
            losses["encoder/unchanged"] = settings.source_landmark_weight * d.square().mean()
        compares_images = settings.cycle == "image"
        return losses | self._cycle_losses(shared, condition, compares_images=compares_images)


def _embed_targets(
    landmarks: Tensor,
    target: Tensor,
    faces: Faces,
    embedding: Tensor,
    embed: Callable[[Tensor], Tensor],
) -> Tensor:
    """`embed` of the target landmarks (N, K, 2); embedding: of the faces' landmarks, which contain
    the targets unless the images of codes have others than the photos."""
    return embedding[target] if faces.code_landmarks is None else embed(landmarks)
