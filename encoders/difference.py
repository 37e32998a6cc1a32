"""The latent difference encoder: from a face's code and other landmarks to that face with them.

Legend: N images, L style inputs (num_ws), D numbers in w, K = 68 points, G images of a group.
"Learning an Encoder for Image Editing within a StyleGAN Latent Space", figure 1, with sizes and
order of layers from its authors' code.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from facsimile.data.points68 import POINTS
from facsimile.stylegan import Generator, spaces
from facsimile.stylegan.layers import SLOPE

from .landmark_tower import PerInput, Tower, begin, coordinates, picture
from .layers import GhostBatchNorm, check_resolution, widths

SHAPE, SOURCE = 160, 32
"""Numbers that are told of the landmarks, and of each w."""
FIRST = 0.1
"""Standard deviation of the first differences, that of w the unit."""


@dataclass(frozen=True, kw_only=True)
class DifferenceConfig:
    fingerprint: str
    """Of the generator that the encoder belongs to."""
    variant: Literal["difference", "keypoint"]
    """What it is told of landmarks: a picture of them, or their coordinates."""
    norm: Literal["batch", "layer"]
    """Over a group of images, the paper's; or over each image, for groups of few."""
    side: int
    """Of the generator's images, in whose pixels landmarks are."""
    resolution: int
    """Side of the picture of landmarks, a power of two."""
    num_ws: int
    w_dim: int
    width: int
    """Channels of the tower's first stage; every halving doubles them."""
    max_width: int
    """Most channels of a stage."""
    hidden: int = 0
    """Numbers of a layer that sees the face and the landmarks at once; 0: none, the paper's."""

    def __post_init__(self) -> None:
        check_resolution(self.resolution)
        for name, known in (("variant", ("difference", "keypoint")), ("norm", ("batch", "layer"))):
            if getattr(self, name) not in known:
                raise ValueError(
                    f'{name} is "{getattr(self, name)}"; it must be {" or ".join(known)}'
                )
        if self.hidden < 0:
            raise ValueError(f"hidden is {self.hidden}; it must be at least 0")

    @staticmethod
    def of(
        generator: Generator,
        variant: str,
        width: int,
        max_width: int,
        resolution: int | None = None,
        norm: str = "batch",
        hidden: int = 0,
    ) -> "DifferenceConfig":
        """For a generator; resolution None: its own, or the power of two below it."""
        return DifferenceConfig(
            fingerprint=generator.fingerprint,
            variant=variant,
            norm=norm,
            side=generator.resolution,
            resolution=resolution or 1 << (generator.resolution.bit_length() - 1),
            num_ws=generator.num_ws,
            w_dim=generator.w_dim,
            width=width,
            max_width=max_width,
            hidden=hidden,
        )


class DifferenceEncoder(nn.Module):
    """Codes (N, L, D) in W+ and landmarks (N, K, 2) -> codes (N, L, D): w + d(w, landmarks).

    d counts in standard deviations of w, so that a generator's scale of w does not matter, and
    begins at a tenth of them: training starts at the source's own image, which a difference as
    large as w itself would destroy, and yet every weight has a gradient from the first step on,
    which d = 0 would not give. The paper's last normalisation has no factor to begin so with.

    The paper's d is a sum, of what is seen of the landmarks and of what is seen of w_i: landmarks
    move every face alike. A hidden layer of all w and the landmarks, which is ours, is added to
    what every d_i is made of, so that how a face moves may depend on whose it is.
    """

    def __init__(self, config: DifferenceConfig, group: int = 2):
        """group: images per batch normalisation in training."""
        super().__init__()
        self.config = config
        inputs, size, batch = config.num_ws, config.w_dim, config.norm == "batch"

        def norm(features: int) -> nn.Module:
            return GhostBatchNorm(features, group) if batch else nn.LayerNorm(features)

        def norm2d(channels: int) -> nn.Module:
            return GhostBatchNorm(channels, group) if batch else nn.GroupNorm(1, channels)

        self.tower = nn.Identity()
        told = 2 * POINTS
        if config.variant == "difference":
            channels = widths(config.resolution, config.width, config.max_width)
            self.tower = Tower(channels, norm2d)
            told = self.tower.outputs
        act = nn.LeakyReLU(SLOPE)
        self.shape = nn.Sequential(nn.Linear(told, SHAPE, bias=False), norm(SHAPE), act)
        self.inward = PerInput(inputs, size, SOURCE)
        self.source = nn.Sequential(nn.Flatten(), norm(inputs * SOURCE), act)
        self.joint = None
        if config.hidden:
            dense = nn.Linear(inputs * SOURCE + SHAPE, config.hidden, bias=False)
            self.joint = nn.Sequential(dense, norm(config.hidden), act)
        seen = SOURCE + SHAPE + config.hidden
        self.outward = PerInput(inputs, seen, size)
        # A face that is to stay must be able to get d = 0, which normalisation of each image by
        # itself would forbid.
        self.last = GhostBatchNorm(inputs * size, group) if batch else nn.Identity()
        begin(self)
        if batch:
            nn.init.constant_(self.last.weight, FIRST)
        else:
            nn.init.normal_(self.outward.weight, std=FIRST / seen**0.5)
        self.register_buffer("mean", torch.zeros(inputs, size))
        self.register_buffer("scale", torch.ones(inputs, size))

    @torch.no_grad()
    def fit(self, generator: Generator, ws: Tensor) -> None:
        """Count from the generator's mean code, in standard deviations of ws (N, L, D)."""
        self.mean.copy_(spaces.SPACES["w+"].start(generator, 1, "mean")[0])
        self.scale.copy_(ws.std(0))

    def told(self, landmarks: Tensor) -> Tensor:
        """landmarks (N, K, 2) in pixels of the generator's images -> e_c (N, SHAPE)."""
        config, landmarks = self.config, landmarks.to(self.mean)
        if config.variant == "keypoint":
            return self.shape(coordinates(landmarks, config.side))
        return self.shape(self.tower(picture(landmarks, config.side, config.resolution)))

    def difference(self, ws: Tensor, told: Tensor) -> Tensor:
        """ws (N, L, D), told (N, SHAPE) -> d (N, L, D)."""
        if ws.shape[1:] != self.mean.shape:
            raise ValueError(
                f"got codes of the shape {tuple(ws.shape)}; this encoder takes "
                f"(N, {', '.join(map(str, self.mean.shape))}) in W+"
            )
        inputs = len(self.mean)
        e = self.source(self.inward((ws - self.mean) / self.scale))
        if self.joint is not None:
            told = torch.cat([told, self.joint(torch.cat([e, told], 1))], 1)
        e = e.unflatten(1, (inputs, -1))
        c = torch.cat([e, told[:, None].expand(-1, inputs, -1)], 2)  # (N, L, 192 + hidden)
        # From here in full precision: three digits are too few for a code.
        d = self.last(self.outward(c).to(self.mean.dtype).flatten(1))
        return d.unflatten(1, self.mean.shape) * self.scale

    def codes(self, ws: Tensor, told: Tensor) -> Tensor:
        """w_hat = w + d: (N, L, D)."""
        return ws + self.difference(ws, told)

    def forward(self, ws: Tensor, landmarks: Tensor) -> Tensor:
        """Landmarks in pixels of the generator's images; ValueError where one is none such."""
        return self.codes(ws, self.told(landmarks))
