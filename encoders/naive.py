"""The naive encoder: from a photo and landmarks, concatenated as channels, to a code of W+.

Legend: N images, C channels, R image resolution, S resolution of the encoder's input, L style
inputs, D numbers in w, K = 68 points.
"Learning an Encoder for Image Editing within a StyleGAN Latent Space", section 3: the baseline of
the latent difference encoder. The network is the in-domain encoder's.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from operator import attrgetter
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from facsimile.stylegan import Generator
from facsimile.training import BatchSlice, R1Settings
from facsimile.training.settings import at_least

from .difference.faces import Faces
from .difference.landmark_cnn import LANDMARK_CHANNELS, render_landmarks
from .difference.objective import LandmarkObjective, Reenacted
from .difference.settings import SMALL_REENACTMENT, ReenactmentSettings, check_groups
from .in_domain.config import InDomainConfig
from .in_domain.network import InDomainEncoder
from .kinds import EncoderKind
from .layers import prepare_images
from .settings import EncoderSettings, IdentitySettings


@dataclass(frozen=True, kw_only=True)
class NaiveConfig(InDomainConfig):
    """The generator and the sizes of a naive encoder."""

    side: int
    """Resolution of the generator's images, in whose pixels landmarks are given."""

    @staticmethod
    def for_generator(  # type: ignore[override]
        generator: Generator, width: int, max_width: int, resolution: int | None = None
    ) -> "NaiveConfig":
        """For a generator; resolution None: its own, or the power of two below it."""
        network = InDomainConfig.for_generator(generator, width, max_width, resolution)
        return NaiveConfig(side=generator.resolution, **asdict(network))


class NaiveEncoder(nn.Module):
    """Images (N, C, R, R) in [-1, 1] and landmarks (N, K, 2) -> codes (N, L, D) in W+."""

    network = property(attrgetter("tower"), doc='The in-domain encoder; "tower" in files.')

    def __init__(self, config: NaiveConfig, bn_group_size: int = 2):
        """bn_group_size: images per batch normalisation in training."""
        super().__init__()
        self.config = config
        fields = {k: v for k, v in asdict(config).items() if k != "side"}
        fields["img_channels"] += LANDMARK_CHANNELS
        self.add_module("tower", InDomainEncoder(InDomainConfig(**fields), bn_group_size))

    def init_normalization(self, generator: Generator, ws: Tensor) -> None:
        """Set mean and scale: the generator's mean code, and the deviation of ws (N, L, D)."""
        self.network.init_normalization(generator, ws)

    def embed_landmarks(self, landmarks: Tensor) -> Tensor:
        """landmarks (N, K, 2) in pixels of the generator's images -> rendered (N, 3, S, S)."""
        landmarks = landmarks.to(self.network.mean)
        return render_landmarks(landmarks, self.config.side, self.config.resolution)

    def predict(self, images: Tensor, rendered: Tensor) -> Tensor:
        """Images of any square size, rendered landmarks (N, 3, S, S) -> codes (N, L, D)."""
        config = self.config
        x = prepare_images(images, config.img_channels, config.resolution)
        return self.network(torch.cat([x, rendered.to(x.dtype)], 1))

    def forward(self, images: Tensor, landmarks: Tensor) -> Tensor:
        """Landmarks in pixels of the generator's images; ValueError for other shapes."""
        return self.predict(images, self.embed_landmarks(landmarks))


@dataclass(frozen=True, kw_only=True)
class NaiveSettings(EncoderSettings):
    """Train the naive encoder, a baseline: from a photo and landmarks to a code of W+.

    Writes the files of `difference`: facsimile train naive --generator faces --out runs/naive
    """

    reenactment: ReenactmentSettings = ReenactmentSettings()
    identity: IdentitySettings = IdentitySettings(identity_weight=0.0)
    r1: R1Settings = R1Settings()
    cycle: Literal["image", "none"] = "image"
    """image: every step has terms for the source's landmarks, for another's, and for the way back.
    none: even steps are for the source's landmarks, odd ones for another's."""
    reconstruction_weight: float = 0.5
    """Weight of the pixel and perceptual term with the source's landmarks if there is a cycle; else
    it is 1."""

    SMALL: ClassVar[Mapping[str, Any]] = {**SMALL_REENACTMENT, "max-width": 64}

    def __post_init__(self) -> None:
        super().__post_init__()
        check_groups(self)
        at_least(self, 0, "reconstruction_weight")


class NaiveRecipe(LandmarkObjective):
    """The terms of section 3, for the photo itself, the reenacted image and the cycle."""

    settings: NaiveSettings

    def _build(self) -> nn.Module:
        resolution = self.settings.reenactment.resolution
        config = NaiveConfig.for_generator(self.generator, *self._widths, resolution)
        return NaiveEncoder(config, self.settings.bn_group_size)

    def _source(self, faces: Faces) -> Tensor:
        return faces.image

    def _cycle_source(self, code: Tensor, image: Tensor) -> Tensor:
        return image

    def _eval_source(self, source: Tensor, code: Tensor) -> tuple[Tensor, Tensor | None]:
        return code, None

    def _unchanged_per_group(self, step: int) -> int:
        alternates = self.settings.cycle == "none" and step % 2 == 0
        return self.group_size if alternates else 0

    def _encoder_losses(
        self, batch: BatchSlice, shared: Reenacted, condition: Tensor | None
    ) -> dict[str, Tensor]:
        target = shared.faces.image
        if self.settings.cycle == "none":
            unchanged = self._unchanged_per_group(batch.step)
            return self._reconstruction_losses(shared.image, target) if unchanged else {}
        features = self._perceptual_features(target)
        cycle = self._cycle_losses(
            shared, condition, compares_images=True, target_features=features
        )
        return cycle | self._source_losses(shared, condition, features)

    def _source_losses(
        self, shared: Reenacted, condition: Tensor | None, target_features: list[Tensor] | None
    ) -> dict[str, Tensor]:
        """The photo's reconstruction, with its own landmarks."""
        faces, weight = shared.faces, self.settings.reconstruction_weight
        code = self._predict(self.encoder, shared.source, shared.embedding)
        image = self._synthesize(code)
        terms = self._reconstruction_losses(image, faces.image, target_features=target_features)
        losses = {name: weight * value for name, value in terms.items()}
        return losses | self._adversarial_loss("source adversarial", image, faces, condition)


KIND = EncoderKind(
    name="naive",
    config=NaiveConfig,
    network=NaiveEncoder,
    settings=NaiveSettings,
    recipe=NaiveRecipe,
    predicts="w+ given landmarks",
    source="image",
)
