"""The encoders' networks: from a photo to codes of W+, to a feature, and an edit carried into one.

Legend: N images, C channels, HxW pixels, R side of the image, L style inputs (num_ws), D numbers in
w, H hidden numbers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import metrics
from encoders.layers import shown
from metrics.trunks import DiscriminatorTrunk
from stylegan import Discriminator, Feature, Generator

NORM_GROUPS = 8
FIRST = 0.08
"""Length of descent's first steps, in standard deviations of w; what was learned comes on top."""
FAR = 4.0
"""Largest logarithm of a gradient's size that counts."""


# What all are made of -----------------------------------------------------------------------------


class ResidualBlock(nn.Module):
    """(N, C, H, W) -> the same: twice GroupNorm, SiLU, 3x3. It begins as the identity."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm0 = nn.GroupNorm(NORM_GROUPS, channels)
        self.conv0 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm1 = nn.GroupNorm(NORM_GROUPS, channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.conv1.weight)
        nn.init.zeros_(self.conv1.bias)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv0(F.silu(self.norm0(x)))
        return x + self.conv1(F.silu(self.norm1(y)))


def blocks(channels: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(ResidualBlock(channels) for _ in range(count)))


def shrink(x: Tensor) -> Tensor:
    """The mean of every 2x2 pixels."""
    n, c, h, w = x.shape
    x = x.permute(0, 2, 3, 1).reshape(n, h // 2, 2, w // 2, 2, c)
    return x.mean((2, 4)).permute(0, 3, 1, 2)


class Hourglass(nn.Module):
    """(N, C, H, W) -> the same, H and W even: residual blocks, some of them on half the side."""

    def __init__(self, channels: int, before: int, wide: int, between: int, after: int):
        """wide: channels on half the side; the others count blocks."""
        super().__init__()
        self.before, self.after = blocks(channels, before), blocks(channels, after)
        self.down = nn.Conv2d(channels, wide, 1)
        self.between = blocks(wide, between)
        self.up = nn.Conv2d(wide, channels, 1)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.before(x)
        y = self.up(self.between(self.down(shrink(x))))
        return self.after(x + F.interpolate(y, scale_factor=2.0, mode="nearest"))


# Codes --------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class CodesConfig:
    img_channels: int
    resolution: int
    """Side of the images that the network is shown, a power of two; others are resized to it."""
    num_ws: int
    w_dim: int
    widths: tuple[int, ...] = (48, 96, 128, 160, 160)
    """Channels at half the side, a quarter, .., 4 pixels."""
    hidden: int = 192
    """Numbers from which the codes of one level are made."""
    narrow: tuple[int, int, int] = (64, 64, 80)
    """Channels of the fine, the middle and the coarse level's map, of 4x4 pixels each."""


class CodesNetwork(nn.Module):
    """Images (N, img_channels, R, R) in [-1, 1] -> codes (N, L, D) in W+.

    A convolutional trunk, and as in pSp a level of it for the coarse styles, one for the middle and
    one for the fine: the last three maps, each brought to 4x4 pixels. The coarse level tells the
    other two what it found. Codes count from the mean w, in standard deviations of w.
    """

    def __init__(self, config: CodesConfig):
        super().__init__()
        self.config = config
        widths, inputs = config.widths, 4 * config.img_channels
        self.stages = nn.ModuleList()
        for width in widths:
            kernel = 3 if not self.stages else 1
            conv = nn.Conv2d(inputs, width, kernel, padding=kernel // 2)
            self.stages.append(nn.Sequential(conv, ResidualBlock(width)))
            inputs = width
        self.narrow = nn.ModuleList(
            nn.Sequential(nn.GroupNorm(NORM_GROUPS, width), nn.SiLU(), nn.Conv2d(width, few, 1))
            for width, few in zip(widths[-3:], config.narrow, strict=True)
        )
        self.dense = nn.ModuleList(nn.Linear(16 * few, config.hidden) for few in config.narrow)
        self.norms = nn.ModuleList(nn.LayerNorm(config.hidden) for _ in config.narrow)
        heads = torch.randn(config.num_ws, config.hidden, config.w_dim)
        self.heads = nn.Parameter(heads * (0.1 / config.hidden**0.5))
        self.offset = nn.Parameter(torch.zeros(config.num_ws, 1, config.w_dim))
        self.register_buffer("mean", torch.zeros(config.w_dim))
        self.register_buffer("scale", torch.ones(config.w_dim))
        self.levels = levels(config.num_ws)

    @torch.no_grad()
    def fit(self, w: Tensor) -> None:
        """Begin at the mean code, and with the spread of w (N, D)."""
        self.mean.copy_(w.mean(0))
        self.scale.copy_(w.std(0))

    def forward(self, images: Tensor) -> Tensor:
        """Images of any square size; ValueError where they are no such images."""
        return torch.addcmul(self.mean, self.standing(images), self.scale)

    def standing(self, images: Tensor) -> Tensor:
        """The codes (N, L, D) in standard deviations of w, from the mean."""
        config = self.config
        x = F.pixel_unshuffle(shown(images, config.img_channels, config.resolution), 2)
        maps = []
        for index, stage in enumerate(self.stages):
            x = stage(shrink(x) if index else x)
            maps.append(x)
        found = []
        for x, narrow, dense in zip(maps[-3:], self.narrow, self.dense, strict=True):
            x = narrow(x)
            while x.shape[-1] > 4:
                x = shrink(x)
            found.append(dense(x.flatten(1)))
        fine, middle, coarse = found
        with torch.autocast(images.device.type, enabled=False):
            # From here in full precision: three digits are too few for a code.
            told = (fine + coarse, middle + coarse, coarse)
            fine, middle, coarse = (
                F.silu(norm(x.to(self.mean.dtype)))
                for norm, x in zip(self.norms, told, strict=True)
            )
            hidden = torch.stack([(coarse, middle, fine)[level] for level in self.levels])
            return torch.baddbmm(self.offset, hidden, self.heads).transpose(0, 1)


def levels(num_ws: int) -> list[int]:
    """Of every style input its level, 0 coarse to 2 fine: three coarse ones, then four.

    They are those of the blocks of 4 and 8, and of 16 and 32 pixels, as in pSp.
    """
    return [0 if index < 3 else 1 if index < 7 else 2 for index in range(num_ws)]


# Feature ------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class FeatureConfig:
    fingerprint: str
    """Of the generator that the encoder belongs to."""
    layer: str
    """Whose output the feature is."""
    channels: int
    """Of the feature."""
    side: int
    """Of the feature."""
    codes: CodesConfig
    width: int = 112
    """Channels at the feature's side."""
    wide: int = 160
    """Channels at half of it."""
    counts: tuple[int, int, int] = (2, 2, 4)
    """Residual blocks before, at and after half the side."""


class FusionNetwork(nn.Module):
    """Photo, the codes' picture and their feature -> the feature's change (N, C, H, W).

    It begins as no change, that is as the codes' own picture.
    """

    def __init__(self, config: FeatureConfig):
        super().__init__()
        self.config = config
        self.fold = config.codes.resolution // config.side
        seen = 2 * config.codes.img_channels * self.fold**2
        self.images = nn.Conv2d(seen, config.width, 3, padding=1)
        self.feature = nn.Conv2d(config.channels, config.width, 1)
        before, between, after = config.counts
        self.body = Hourglass(config.width, before, config.wide, between, after)
        self.norm = nn.GroupNorm(NORM_GROUPS, config.width)
        self.out = nn.Conv2d(config.width, config.channels, 3, padding=1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        self.register_buffer("mean", torch.zeros(1, config.channels, 1, 1))
        self.register_buffer("scale", torch.ones(1, config.channels, 1, 1))

    @torch.no_grad()
    def fit(self, x: Tensor) -> None:
        """Know the size of the features x (N, C, H, W) of samples."""
        self.mean.copy_(x.mean((0, 2, 3), keepdim=True))
        self.scale.copy_(x.std((0, 2, 3), keepdim=True))

    def forward(self, photo: Tensor, drawn: Tensor, x: Tensor) -> Tensor:
        """photo, drawn: (N, img_channels, R, R); x: (N, C, H, W). The change is in units of x's
        standard deviation: see `apply`."""
        codes = self.config.codes
        pair = [shown(image, codes.img_channels, codes.resolution) for image in (photo, drawn)]
        y = self.images(F.pixel_unshuffle(torch.cat(pair, 1), self.fold))
        y = y + self.feature((x - self.mean) / self.scale)
        return self.out(F.silu(self.norm(self.body(y))))

    def apply_change(self, x: Tensor, change: Tensor) -> Tensor:
        return x + self.scale * change


class Found(NamedTuple):
    """What the feature encoder finds of images."""

    code: Tensor
    """(N, L, D) in W+."""
    feature: Feature
    """To start from, with the image so far of the code."""
    drawn: Tensor
    """The code's own picture (N, img_channels, R, R)."""
    change: Tensor
    """Of the code's own feature, in its standard deviations (N, C, H, W)."""


class FeatureEncoder(nn.Module):
    """Images (N, img_channels, R, R) in [-1, 1] -> codes of W+ and the feature of one layer.

    The idea of "The Devil is in the Details: StyleFeatureEditor" (CVPR 2024): codes and feature of
    one network, the feature fused with the one that the codes give. Here the network that fuses
    sees what the codes draw, and can do so on the generator's finer layers in one pass.
    """

    def __init__(self, config: FeatureConfig):
        super().__init__()
        self.config = config
        self.codes = CodesNetwork(config.codes)
        self.fusion = FusionNetwork(config)

    @torch.no_grad()
    def fit(self, generator: Generator, w: Tensor) -> None:
        """Begin at the mean code, with the spread of w (N, D) and of its features."""
        self.codes.fit(w)
        ws = generator.spread(w[:256])
        self.fusion.fit(generator.synthesize(ws, stop=self.config.layer).x.float())

    def find(self, images: Tensor, generator: Generator) -> Found:
        """Draw with generator.synthesize(found.code, start=found.feature)."""
        code = self.codes(images)
        first = generator.synthesize(code, stop=self.config.layer)
        drawn = generator.synthesize(code, start=first)
        # What it looks at teaches the codes nothing; what it changes does.
        change = self.fusion(images, drawn.detach(), first.x.detach())
        feature = first._replace(x=self.fusion.apply_change(first.x, change))
        return Found(code, feature, drawn, change)


# Passes -------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class DescentWeights:
    """Of what a pass descends."""

    pixel: float = 1.0
    perceptual: float = 0.3
    """Of the discriminator's distance."""
    identity: float = 0.1
    """Of the squared distance of two embeddings."""
    latent: float = 0.001
    """Of a code's mean square, in standard deviations of w: it keeps to the domain."""


@dataclass(frozen=True, kw_only=True)
class DescentConfig:
    num_ws: int
    w_dim: int
    passes: int = 8
    hidden: int = 192
    """Numbers for each style input between gradient and correction."""
    turn: int = 64
    """Rank of the matrix that turns each style input's gradient."""
    depth: int = 2
    """Blocks that mix over the style inputs."""
    weights: DescentWeights = DescentWeights()


class Look(NamedTuple):
    """An image as it is compared."""

    image: Tensor
    """(N, img_channels, R, R)"""
    features: list[Tensor]
    """Of the discriminator's blocks; none without one."""
    person: Tensor | None
    """Its embedding (N, 128); None without an identity network."""


class Judge:
    """What a pass descends: frozen networks that are nobody's weights, and a generator's drawing.

    draw: codes (N, L, D) in W+ -> images.
    """

    def __init__(
        self,
        draw: Callable[[Tensor], Tensor],
        eyes: Discriminator | None = None,
        embed: Callable[[Tensor], Tensor] | None = None,
    ):
        self.draw, self.embed = draw, embed
        self.trunk = None if eyes is None else DiscriminatorTrunk(eyes)

    def look(self, images: Tensor) -> Look:
        features = [] if self.trunk is None else self.trunk(images)
        return Look(images, features, None if self.embed is None else self.embed(images))

    def losses(self, drawn: Look, photo: Look, weights: DescentWeights) -> Tensor:
        """(N,): pixel error, discriminator's distance, squared distance of the embeddings."""
        loss = weights.pixel * (drawn.image.float() - photo.image.float()).square().mean((1, 2, 3))
        if drawn.features:
            apart = metrics.distance(drawn.features, photo.features)
            loss = loss + weights.perceptual * apart
        if drawn.person is not None:
            apart = (drawn.person.float() - photo.person.float()).square().sum(1)
            loss = loss + weights.identity * apart
        return loss


class Descent(nn.Module):
    """Code, slope and last change -> change, all (N, L, D) in standard deviations of w.

    Learned descent: from a code, and the gradient of the losses at it, to a better code. After
    "Human Body Model Fitting by Learned Gradient Descent", there for bodies, and "Iterative
    Amortized Inference". What is learned for one style input serves no other; over them goes what
    the blocks mix.
    """

    def __init__(self, config: DescentConfig):
        super().__init__()
        self.config = config
        num_ws, w_dim, hidden = config.num_ws, config.w_dim, config.hidden
        inputs = 3 * w_dim
        self.into = nn.Parameter(torch.randn(num_ws, inputs, hidden) / inputs**0.5)
        self.size = nn.Parameter(torch.randn(num_ws, hidden) * 0.3)
        self.number = nn.Parameter(torch.zeros(config.passes, num_ws, hidden))
        self.blocks = nn.Sequential(*(MixingBlock(num_ws, hidden) for _ in range(config.depth)))
        self.norm = nn.LayerNorm(hidden)
        # It begins as plain descent, with steps of one length.
        self.out = nn.Parameter(torch.randn(num_ws, hidden, w_dim) * (1e-3 / hidden**0.5))
        self.turn_in = nn.Parameter(torch.randn(num_ws, w_dim, config.turn) / w_dim**0.5)
        self.turn_out = nn.Parameter(torch.zeros(num_ws, config.turn, w_dim))
        self.length = nn.Parameter(torch.full((config.passes, num_ws, 1), FIRST).log())
        self.register_buffer("usual", torch.ones(num_ws))

    def slope(self, code: Tensor, photo: Look, judge: Judge) -> tuple[Tensor, Tensor]:
        """(loss (N,), gradient (N, L, D) of each image's loss) at a code; judge draws it."""
        with torch.enable_grad():
            code = code.detach().requires_grad_()
            drawn = judge.look(judge.draw(code))
            loss = judge.losses(drawn, photo, self.config.weights)
            loss = loss + self.config.weights.latent * code.square().mean((1, 2))
            (gradient,) = torch.autograd.grad(loss.sum(), code)
        return loss.detach(), gradient.to(code.dtype)

    @torch.no_grad()
    def fit(self, gradient: Tensor) -> None:
        """Learn how steep it is usually, of gradients (N, L, D)."""
        self.usual.copy_(gradient.square().mean((0, 2)).sqrt())

    def run(self, images: Tensor, code: Tensor, judge: Judge) -> tuple[Tensor, list[Tensor]]:
        """The code (N, L, D) after all passes; the losses (N,) after each, in use but the last.

        In training the gradient of a pass's loss goes to what this network said in it, and no
        further: it is the one that the next pass begins with, so that training costs what use does.
        """
        with torch.no_grad():
            photo = judge.look(images)
        code, last, losses = code.detach(), torch.zeros_like(code), []
        loss, gradient = self.slope(code, photo, judge)
        for number in range(self.config.passes):
            change = self(number, code, gradient, last)
            last = change.detach()
            code = code + last
            if number + 1 == self.config.passes and not torch.is_grad_enabled():
                break
            loss, gradient = self.slope(code, photo, judge)
            losses.append(loss + ((change - last) * gradient).sum((1, 2)))
        return code, losses

    def forward(self, number: int, code: Tensor, gradient: Tensor, last: Tensor) -> Tensor:
        """number: of the pass, from 0; last: the change before, 0 at first."""
        size = gradient.square().mean(2, keepdim=True).sqrt()
        tiny = torch.finfo(size.dtype).tiny
        way = gradient / size.clamp_min(tiny)
        size = (size / self.usual[:, None]).clamp_min(tiny).log().clamp(-FAR, FAR)
        # Changes are some tenth of what the others are.
        x = _each(torch.cat([way, code, 10 * last], 2), self.into)
        x = self.norm(self.blocks(x + self.number[number] + size * self.size))
        turned = _each(_each(way, self.turn_in), self.turn_out)
        return _each(x, self.out) - self.length[number].exp() * (way + turned)


class MixingBlock(nn.Module):
    """(N, L, H) -> the same, over the style inputs and then over the numbers of each."""

    def __init__(self, num_ws: int, hidden: int):
        super().__init__()
        self.before, self.between = nn.LayerNorm(hidden), nn.LayerNorm(hidden)
        self.across = nn.Linear(num_ws, num_ws)
        self.wide, self.narrow = nn.Linear(hidden, 2 * hidden), nn.Linear(2 * hidden, hidden)
        nn.init.normal_(self.across.weight, std=0.01)
        nn.init.zeros_(self.across.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.across(self.before(x).transpose(1, 2)).transpose(1, 2)
        return x + self.narrow(F.gelu(self.wide(self.between(x))))


class InDomainEncoder(nn.Module):
    """Images (N, img_channels, R, R) in [-1, 1] -> codes (N, L, D) in W+, by a look and passes.

    "In-Domain GAN Inversion for Real Image Editing", section 3.1; the passes are `Descent`'s.
    """

    def __init__(self, codes: CodesConfig, descent: DescentConfig):
        super().__init__()
        self.codes, self.descent = CodesNetwork(codes), Descent(descent)

    def find(self, images: Tensor, judge: Judge) -> Tensor:
        """Codes (N, L, D) after the passes. No gradient goes through them; judge draws codes."""
        with torch.no_grad():
            return self.place(self.descend(images, self.codes.standing(images), judge)[0])

    def descend(
        self, images: Tensor, standing: Tensor, judge: Judge
    ) -> tuple[Tensor, list[Tensor]]:
        """From a code in standard deviations of w, and to such a one: see `Descent.run`."""
        own = Judge(lambda x: judge.draw(self.place(x)))
        own.trunk, own.embed = judge.trunk, judge.embed
        return self.descent.run(images, standing, own)

    def place(self, standing: Tensor) -> Tensor:
        """Codes in standard deviations of w, from the mean -> codes of W+."""
        return torch.addcmul(self.codes.mean, standing, self.codes.scale)


# Edits --------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class EditorConfig:
    channels: int
    """Of the feature."""
    width: int = 88
    wide: int = 112
    counts: tuple[int, int, int] = (1, 1, 2)


class FeatureEditor(nn.Module):
    """F' = H(F, delta): what an edit of codes does to their feature, carried into another feature.

    delta = F(w + edit) - F(w), w from the in-domain encoder. It begins as F + delta.
    "The Devil is in the Details: StyleFeatureEditor", section 3.3.
    """

    def __init__(self, config: EditorConfig):
        super().__init__()
        self.config = config
        self.into = nn.Conv2d(2 * config.channels, config.width, 3, padding=1)
        before, between, after = config.counts
        self.body = Hourglass(config.width, before, config.wide, between, after)
        self.norm = nn.GroupNorm(NORM_GROUPS, config.width)
        self.out = nn.Conv2d(config.width, config.channels, 3, padding=1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        self.register_buffer("mean", torch.zeros(1, config.channels, 1, 1))
        self.register_buffer("scale", torch.ones(1, config.channels, 1, 1))

    @torch.no_grad()
    def fit(self, fusion: FusionNetwork) -> None:
        self.mean.copy_(fusion.mean)
        self.scale.copy_(fusion.scale)

    def forward(self, x: Tensor, delta: Tensor) -> Tensor:
        """x, delta: (N, C, H, W) -> the edited feature (N, C, H, W)."""
        y = self.into(torch.cat([(x - self.mean) / self.scale, delta / self.scale], 1))
        return x + delta + self.scale * self.out(F.silu(self.norm(self.body(y))))


def _each(x: Tensor, weight: Tensor) -> Tensor:
    """x (N, L, I) by a matrix (L, I, O) for each style input -> (N, L, O)."""
    return torch.bmm(x.transpose(0, 1), weight.to(x.dtype)).transpose(0, 1)
