"""The naive encoder: from a photo and landmarks, in one picture of more channels, to a code of W+.

Legend: N images, C channels, R side of the image, L style inputs, D numbers in w, K = 68 points.
"Learning an Encoder for Image Editing within a StyleGAN Latent Space", section 3: what the latent
difference encoder is compared with. The tower is the in-domain encoder's.
"""

from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from facsimile.stylegan import Generator

from .in_domain import InDomainConfig, InDomainEncoder
from .landmark_tower import PICTURE, picture
from .layers import shown


@dataclass(frozen=True, kw_only=True)
class NaiveConfig(InDomainConfig):
    side: int
    """Of the generator's images, in whose pixels landmarks are."""

    @staticmethod
    def of(
        generator: Generator, width: int, max_width: int, resolution: int | None = None
    ) -> "NaiveConfig":
        """For a generator; resolution None: its own, or the power of two below it."""
        tower = InDomainConfig.of(generator, width, max_width, resolution)
        return NaiveConfig(side=generator.resolution, **asdict(tower))


class NaiveEncoder(nn.Module):
    """Images (N, C, R, R) in [-1, 1] and landmarks (N, K, 2) -> codes (N, L, D) in W+."""

    def __init__(self, config: NaiveConfig, group: int = 2):
        """group: images per batch normalisation in training."""
        super().__init__()
        self.config = config
        plain = {k: v for k, v in asdict(config).items() if k != "side"}
        plain["img_channels"] += PICTURE
        self.tower = InDomainEncoder(InDomainConfig(**plain), group)

    def fit(self, generator: Generator, ws: Tensor) -> None:
        """Begin at the generator's mean code, and with the spread of ws (N, L, D)."""
        self.tower.fit(generator, ws)

    def told(self, landmarks: Tensor) -> Tensor:
        """landmarks (N, K, 2) in pixels of the generator's images -> pictures (N, 3, S, S)."""
        landmarks = landmarks.to(self.tower.mean)
        return picture(landmarks, self.config.side, self.config.resolution)

    def codes(self, images: Tensor, told: Tensor) -> Tensor:
        """Images of any square size and pictures (N, 3, S, S) of landmarks -> (N, L, D)."""
        config = self.config
        x = shown(images, config.img_channels, config.resolution)
        return self.tower(torch.cat([x, told.to(x.dtype)], 1))

    def forward(self, images: Tensor, landmarks: Tensor) -> Tensor:
        """Landmarks in pixels of the generator's images; ValueError where one is none such."""
        return self.codes(images, self.told(landmarks))
