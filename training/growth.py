"""Networks of a run: new ones, or grown from trained ones of the same or of half the side.

Legend: N images, L style inputs. "Progressive Growing of GANs": the layers below stay, a new block
comes on top and is faded in.
"""

import math
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facsimile.stylegan import Discriminator, DiscriminatorConfig, Generator
from facsimile.stylegan.layers import image_layout, upsample
from facsimile.stylegan.synthesis import Noise


class Critic(nn.Module):
    """A discriminator, and while it grows the first layer that it had before."""

    def __init__(self, network: Discriminator, old: nn.Module | None = None):
        super().__init__()
        self.network, self.old = network, old

    def forward(self, image: Tensor, alpha: float = 1.0) -> Tensor:
        """image: (N, C, R, R) -> logits (N, 1). alpha 0: the old network on the image shrunk."""
        if alpha >= 1 or self.old is None:
            return self.network(image)
        first, *others = (getattr(self.network, name) for name in self.network.blocks)
        small = self.old(image_layout(F.avg_pool2d(image, 2)))
        x = torch.lerp(small, first(image).to(small.dtype), alpha)
        for block in others:
            x = block(x)
        return self.network.logits_from(self.network.b4.dense(x))


def draw(generator: Generator, ws: Tensor, noise: Noise, alpha: float = 1.0) -> Tensor:
    """ws: (N, L, w_dim) -> images; the last toRGB layer counts alpha times.

    alpha 0: the images of the generator without its last block, enlarged.
    """
    if alpha >= 1:
        return generator.synthesize(ws, noise)
    styles = generator.styles(ws)
    before = generator.synthesize(styles, noise, stop=generator.feature_layers[-1])
    last = generator.synthesis.layers[-1]
    block = getattr(generator.synthesis, last.name.split(".")[0])
    return upsample(before.rgb, block.resample_filter) + alpha * last.module(before.x, styles[-1])


@torch.no_grad()
def fold(generator: Generator, alpha: float) -> Generator:
    """Let the last toRGB layer itself count alpha times: `draw` at alpha 1 then gives the same."""
    last = generator.synthesis.layers[-1].module
    last.weight.mul_(alpha)
    last.bias.mul_(alpha)
    return generator


def widths(side: int, channel_base: int, channel_max: int) -> tuple[int, ...]:
    """Channels of the blocks 4, 8, .., side: min(base / side of the block, max)."""
    sides = (2**i for i in range(2, side.bit_length()))
    return tuple(max(1, min(channel_base // block, channel_max)) for block in sides)


def check_side(side: int) -> None:
    if side < 8 or side & (side - 1):
        on_device = 2 ** max(3, round(math.log2(max(side, 1))))
        raise ValueError(
            f"--resolution is {side}; it must be a power of two, at least 8, such as {near}"
        )


def new(
    side: int,
    channels: tuple[int, ...],
    *,
    latent: int,
    mapping_layers: int,
    critic: DiscriminatorConfig,
    seed: int,
) -> tuple[Generator, Critic]:
    """Random networks. critic: its group and downsampling are taken, its sizes are not."""
    config = {
        "architecture": "stylegan2",
        "z_dim": latent,
        "c_dim": 0,
        "w_dim": latent,
        "img_resolution": side,
        "img_channels": 3,
        "mapping_layers": mapping_layers,
        "channels": list(channels),
        "conv_clamp": None,
    }
    critic = replace(critic, img_resolution=side, channels=channels)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return Generator(config), Critic(Discriminator(critic))


def grown(
    generator: Generator,
    discriminator: Discriminator | None,
    side: int,
    *,
    channel_base: int | None,
    channel_max: int | None,
    seed: int,
) -> tuple[Generator, Critic]:
    """Networks of `side` whose layers are those of trained ones, as far as they reach."""
    small, before = generator.resolution, tuple(generator.config["channels"])
    kind = generator.config.get("architecture", "stylegan2")
    if kind != "stylegan2" or generator.config["c_dim"] or generator.img_channels != 3:
        raise ValueError(
            f"--from names a {kind} of {generator.img_channels} channels and "
            f"{generator.config['c_dim']} labels; only StyleGAN2 of RGB without labels is trained"
        )
    if side not in (small, 2 * small):
        raise ValueError(
            f"--from makes images of {small} px, and --resolution is {side}; "
            f"go on at {small}, or grow to {2 * small}"
        )
    channels = before
    if side > small:
        channels += (max(1, min(before[-1] * small // side, channel_max or before[-1])),)
    base, most = channel_base or channels[-1] * side, channel_max or max(channels)
    if widths(side, base, most) != channels:
        raise ValueError(
            f"--from has channels {', '.join(map(str, before))} in its blocks, and --channel-base "
            f"{base} with --channel-max {most} asks for others; leave both away"
        )
    told = DiscriminatorConfig(img_resolution=side, img_channels=3, channels=channels)
    if discriminator is not None:
        if discriminator.img_resolution != small:
            raise ValueError(
                f"the discriminator beside --from takes images of {discriminator.img_resolution} "
                f"px, and its generator makes {small}; keep only networks of one pair in a folder"
            )
        told = discriminator.config
    config = generator.config
    ours, critic = new(
        side,
        channels,
        latent=config["z_dim"],
        mapping_layers=config["mapping_layers"],
        critic=told,
        seed=seed,
    )
    _adopt(ours, generator, Path("generator"))
    if discriminator is not None:
        _adopt(critic.network, discriminator, Path("discriminator"))
        if side > small:
            critic.old = getattr(discriminator, discriminator.blocks[0]).fromrgb
            critic.old.requires_grad_(True)
    return ours, critic


def _adopt(network: nn.Module, trained: nn.Module, name: Path) -> None:
    """Copy every tensor of `trained` that `network` has too."""
    own, theirs = network.state_dict(), trained.state_dict()
    wrong = [k for k in own.keys() & theirs.keys() if own[k].shape != theirs[k].shape]
    if wrong:
        raise ValueError(f"the {name} of --from has other sizes, e.g. of {sorted(wrong)[0]}")
    network.load_state_dict(own | {k: theirs[k] for k in own.keys() & theirs.keys()})
