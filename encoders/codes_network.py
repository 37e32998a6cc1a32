"""The codes network: from a photo to a code of W+, one w for every style input.

Legend: N images, C channels, R image resolution, L style inputs (num_ws), D numbers in w, H hidden
features of a level.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facsimile.stylegan import Generator, spaces
from facsimile.stylegan.pooling import mean2x2

from .blocks import NORM_GROUPS, ResidualBlock
from .layers import MIN_SIDE, check_resolution, default_resolution, prepare_images

MIN_RESOLUTION = 2 * MIN_SIDE
"""Resolution of the smallest network, which has one stage."""
COARSE_INPUTS, MIDDLE_INPUTS = 3, 4
"""Style inputs of the coarse level, which come first, and of the middle level; those of the blocks
of 4 and 8, and of 16 and 32 pixels. All others are fine. The division is that of pSp ("Encoding in
Style: a StyleGAN Encoder for Image-to-Image Translation", section 3)."""
WIDTH_FACTORS = (1, 2, 8 / 3, 10 / 3)
"""Channels of the stages, as multiples of the first's; stages after the fourth have the last."""
HIDDEN_FACTOR = 4
LEVEL_FACTORS = (5 / 3, 4 / 3, 4 / 3)
"""Channels of the coarse, middle and fine level's last map, as multiples of the first stage's."""
INITIAL_HEAD = 0.1
"""Size of a new network's codes, in standard deviations of w."""

CODE_SAMPLES = 4096
"""Samples from which the standard deviation of w is measured."""


@dataclass(frozen=True, kw_only=True)
class CodesConfig:
    """The sizes of a codes network."""

    img_channels: int
    resolution: int
    """Resolution of the network's input, a power of two; images are resized to it."""
    num_ws: int
    w_dim: int
    channels: tuple[int, ...]
    """Of the stages, at half the resolution, a quarter, .., 4 pixels; multiples of 8."""
    level_channels: tuple[int, ...]
    """Of the last map, 4x4 pixels, of the coarse, the middle and the fine level, as far as the
    generator has style inputs for them."""
    hidden: int
    """Hidden features from which all codes of a level are made."""

    def __post_init__(self) -> None:
        # Files hold lists.
        object.__setattr__(self, "channels", tuple(self.channels))
        object.__setattr__(self, "level_channels", tuple(self.level_channels))
        check_resolution(self.resolution, MIN_RESOLUTION)
        stages = (self.resolution // MIN_SIDE).bit_length() - 1
        levels = style_levels(self.num_ws)[-1] + 1
        if len(self.channels) != stages or len(self.level_channels) != levels:
            raise ValueError(
                f"got channels of {len(self.channels)} stages and {len(self.level_channels)} "
                f"levels; a codes network for {self.resolution} px and {self.num_ws} style inputs "
                f"has {stages} stages and {levels} levels"
            )
        if any(n < 1 or n % NORM_GROUPS for n in self.channels):
            raise ValueError(
                f"the channels are {self.channels}; they must be multiples of {NORM_GROUPS}"
            )

    @staticmethod
    def for_generator(
        generator: Generator, width: int, resolution: int | None = None
    ) -> "CodesConfig":
        """For a generator; width: channels of the first stage, to which all sizes are proportional
        (rounded up); resolution None: the generator's own, or the power of two below it."""
        resolution = resolution or default_resolution(generator)
        check_resolution(resolution, MIN_RESOLUTION)
        stages = (resolution // MIN_SIDE).bit_length() - 1
        levels = style_levels(generator.num_ws)[-1] + 1
        last = len(WIDTH_FACTORS) - 1
        return CodesConfig(
            img_channels=generator.img_channels,
            resolution=resolution,
            num_ws=generator.num_ws,
            w_dim=generator.w_dim,
            channels=tuple(_size(width, WIDTH_FACTORS[min(i, last)]) for i in range(stages)),
            level_channels=tuple(_size(width, factor) for factor in LEVEL_FACTORS[:levels]),
            hidden=_size(width, HIDDEN_FACTOR),
        )


class CodesNetwork(nn.Module):
    """Images (N, img_channels, R, R) in [-1, 1] -> codes (N, L, D) in W+.

    A convolutional trunk with a style head for each of three levels, as in pSp ("Encoding in Style:
    a StyleGAN Encoder for Image-to-Image Translation", figure 2): coarse styles are made of the
    trunk's last map, middle ones of the map before, fine ones of the map before that. Each is
    brought to 4x4 pixels and to H features. Those of the coarse level are added to the other
    levels', in place of pSp's sums of maps, and one matrix per style input makes the codes.

    Codes are normalized: counted from the mean w, in standard deviations of w, so that a
    generator's scale of w does not matter. `mean` and `scale` (L, D) bring them back.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, config: CodesConfig):
        super().__init__()
        self.config = config
        self.levels = style_levels(config.num_ws)
        inputs, self.stages = 4 * config.img_channels, nn.ModuleList()
        for channels in config.channels:
            kernel = 1 if self.stages else 3
            conv = nn.Conv2d(inputs, channels, kernel, padding=kernel // 2)
            self.stages.append(nn.Sequential(conv, ResidualBlock(channels)))
            inputs = channels
        self.projections, self.dense = nn.ModuleList(), nn.ModuleList()
        for level, outputs in enumerate(config.level_channels):
            channels = config.channels[self._stage(level)]
            norm, conv = nn.GroupNorm(NORM_GROUPS, channels), nn.Conv2d(channels, outputs, 1)
            self.projections.append(nn.Sequential(norm, nn.SiLU(), conv))
            self.dense.append(nn.Linear(outputs * MIN_SIDE**2, config.hidden))
        self.norms = nn.ModuleList(nn.LayerNorm(config.hidden) for _ in config.level_channels)
        heads = torch.randn(config.num_ws, config.hidden, config.w_dim)
        self.heads = nn.Parameter(heads * (INITIAL_HEAD / config.hidden**0.5))
        self.offset = nn.Parameter(torch.zeros(config.num_ws, 1, config.w_dim))
        self.register_buffer("mean", torch.zeros(config.num_ws, config.w_dim))
        self.register_buffer("scale", torch.ones(config.num_ws, config.w_dim))

    def _stage(self, level: int) -> int:
        """Index of the stage whose output is the level's map."""
        return max(len(self.config.channels) - 1 - level, 0)

    @torch.no_grad()
    def init_normalization(self, generator: Generator, ws: Tensor) -> None:
        """Set mean and scale: the generator's mean code, and the deviation of ws (N, L, D)."""
        self.mean.copy_(spaces.SPACES["w+"].initial_code(generator, 1, "mean")[0])
        self.scale.copy_(ws.std(0))

    def forward(self, images: Tensor) -> Tensor:
        """Images of any square size -> codes (N, L, D) in W+; ValueError for other images."""
        return self.denormalize(self.normalized(images))

    def normalized(self, images: Tensor) -> Tensor:
        """As `forward`, but the codes (N, L, D) are normalized."""
        config = self.config
        x = prepare_images(images, config.img_channels, config.resolution)
        x, maps = F.pixel_unshuffle(x, 2), []
        for index, stage in enumerate(self.stages):
            x = stage(mean2x2(x) if index else x)
            maps.append(x)
        hidden = []
        for level, (project, dense) in enumerate(zip(self.projections, self.dense, strict=True)):
            x = project(maps[self._stage(level)])
            while x.shape[-1] > MIN_SIDE:
                x = mean2x2(x)
            hidden.append(dense(x.flatten(1)))
        # From here in full precision: three digits are too few for a code.
        with torch.autocast(images.device.type, enabled=False):
            sums = [x + hidden[0] if level else x for level, x in enumerate(hidden)]
            hidden = [
                F.silu(norm(x.to(self.mean.dtype)))
                for norm, x in zip(self.norms, sums, strict=True)
            ]
            by_input = torch.stack([hidden[level] for level in self.levels])
            return torch.baddbmm(self.offset, by_input, self.heads).transpose(0, 1)

    def normalize(self, ws: Tensor) -> Tensor:
        """Codes (N, L, D) of W+ -> counted from the mean, in standard deviations of w."""
        return (ws - self.mean) / self.scale

    def denormalize(self, x: Tensor) -> Tensor:
        """The inverse of `normalize`."""
        return torch.addcmul(self.mean, x, self.scale)


def style_levels(num_ws: int) -> list[int]:
    """The level of every style input: 0 coarse, 1 middle, 2 fine; see COARSE_INPUTS."""
    ends = (COARSE_INPUTS, COARSE_INPUTS + MIDDLE_INPUTS)
    return [sum(index >= end for end in ends) for index in range(num_ws)]


def _size(width: int, factor: float) -> int:
    """width * factor, rounded up to whole groups of a group normalisation."""
    groups = -(-round(width * factor, 6) // NORM_GROUPS)
    return NORM_GROUPS * max(int(groups), 1)
