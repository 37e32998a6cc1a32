"""Networks of a run: new ones, or grown from trained ones of the same or half the resolution.

Legend: N images, C channels, R resolution, L style inputs. "Progressive Growing of GANs for
Improved Quality, Stability, and Variation", section 2: a new block on top of the old ones is faded
in.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from facsimile.stylegan import Discriminator, DiscriminatorConfig, Generator
from facsimile.stylegan.layers import image_layout, upsample
from facsimile.stylegan.pooling import mean2x2
from facsimile.stylegan.synthesis import Noise

from .generator_settings import NetworkSettings

CHANNEL_BASE, CHANNEL_MAX = 16384, 512
"""Channels of new networks: StyleGAN2's at 256 px."""


class Critic(nn.Module):
    """A discriminator, and while it grows the fromRGB layer of the smaller one."""

    def __init__(self, network: Discriminator, old: nn.Module | None = None):
        super().__init__()
        self.network, self.old = network, old

    def forward(self, image: Tensor, alpha: float = 1.0) -> Tensor:
        """image: (N, C, R, R) -> logits (N, 1). alpha 0: the smaller network on a smaller image."""
        if alpha >= 1 or self.old is None:
            return self.network(image)
        first, *others = (getattr(self.network, name) for name in self.network.blocks)
        small = self.old(image_layout(mean2x2(image)))
        x = torch.lerp(small, first(image).to(small.dtype), alpha)
        for block in others:
            x = block(x)
        return self.network.logits_from(self.network.b4.dense(x))


def synthesize_faded(generator: Generator, ws: Tensor, noise: Noise, alpha: float = 1.0) -> Tensor:
    """ws: (N, L, w_dim) -> images (N, C, R, R); the last toRGB layer is weighted by alpha.

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
def bake_fade(generator: Generator, alpha: float) -> Generator:
    """Scale the last toRGB layer by alpha, so that `synthesize` gives what `synthesize_faded` did.

    Changes the generator and returns it.
    """
    last = generator.synthesis.layers[-1].module
    last.weight.mul_(alpha)
    last.bias.mul_(alpha)
    return generator


def channel_schedule(resolution: int, channel_base: int, channel_max: int) -> tuple[int, ...]:
    """Channels of the blocks 4, 8, .., resolution: min(base / resolution of the block, max)."""
    blocks = (2**i for i in range(2, resolution.bit_length()))
    return tuple(max(1, min(channel_base // block, channel_max)) for block in blocks)


def build(
    resolution: int,
    channels: tuple[int, ...],
    *,
    z_dim: int,
    mapping_layers: int,
    critic: DiscriminatorConfig,
    seed: int,
) -> tuple[Generator, Critic]:
    """Random networks. critic: its downsampling and minibatch group count, its sizes do not."""
    config = {
        "architecture": "stylegan2",
        "z_dim": z_dim,
        "c_dim": 0,
        "w_dim": z_dim,
        "img_resolution": resolution,
        "img_channels": 3,
        "mapping_layers": mapping_layers,
        "channels": list(channels),
        "conv_clamp": None,
    }
    critic = replace(critic, img_resolution=resolution, channels=channels)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return Generator(config), Critic(Discriminator(critic))


def grow_from(
    generator: Generator,
    discriminator: Discriminator | None,
    resolution: int,
    *,
    channel_base: int | None,
    channel_max: int | None,
    seed: int,
) -> tuple[Generator, Critic]:
    """Networks of `resolution` that begin with the layers of trained ones of it or of half of it.

    Raises ValueError if the trained networks cannot be continued, or not at these sizes.
    """
    _check_trained(generator, discriminator, resolution)
    config, small = generator.config, generator.resolution
    channels = _grown_channels(
        tuple(config["channels"]), small, resolution, channel_base, channel_max
    )
    critic_config = DiscriminatorConfig(
        img_resolution=resolution, img_channels=3, channels=channels
    )
    network, critic = build(
        resolution,
        channels,
        z_dim=config["z_dim"],
        mapping_layers=config["mapping_layers"],
        critic=critic_config if discriminator is None else discriminator.config,
        seed=seed,
    )
    _copy_weights(network, generator, "generator")
    if discriminator is not None:
        _copy_weights(critic.network, discriminator, "discriminator")
        if resolution > small:
            critic.old = getattr(discriminator, discriminator.blocks[0]).fromrgb
            critic.old.requires_grad_(True)
    return network, critic


def _check_trained(
    generator: Generator, discriminator: Discriminator | None, resolution: int
) -> None:
    """ValueError unless the trained networks can be continued at the resolution."""
    small, config = generator.resolution, generator.config
    architecture = config.get("architecture", "stylegan2")
    if architecture != "stylegan2" or config["c_dim"] or generator.img_channels != 3:
        raise ValueError(
            f"--init-from is a {architecture} of {generator.img_channels} channels and "
            f"{config['c_dim']} labels; only StyleGAN2 of RGB without labels can be trained"
        )
    if resolution not in (small, 2 * small):
        raise ValueError(
            f"--init-from makes images of {small} px, and --resolution is {resolution}; "
            f"continue at {small}, or grow to {2 * small}"
        )
    if discriminator is not None and discriminator.img_resolution != small:
        raise ValueError(
            f"the discriminator beside --init-from takes images of {discriminator.img_resolution} "
            f"px, and its generator makes {small}; keep only networks of one pair in a folder"
        )


def _grown_channels(
    channels: tuple[int, ...],
    small: int,
    resolution: int,
    channel_base: int | None,
    channel_max: int | None,
) -> tuple[int, ...]:
    """Channels with those of the new block, if there is one; ValueError if other ones are asked."""
    grown = channels
    if resolution > small:
        grown += (max(1, min(channels[-1] * small // resolution, channel_max or channels[-1])),)
    base, most = channel_base or grown[-1] * resolution, channel_max or max(grown)
    if channel_schedule(resolution, base, most) != grown:
        raise ValueError(
            f"--init-from has channels {', '.join(map(str, channels))} in its blocks, and "
            f"--channel-base {base} with --channel-max {most} asks for others; leave both out"
        )
    return grown


def _copy_weights(network: nn.Module, trained: nn.Module, name: str) -> None:
    """Copy every tensor of `trained` that `network` has too."""
    target, source = network.state_dict(), trained.state_dict()
    common = target.keys() & source.keys()
    if wrong := [key for key in common if target[key].shape != source[key].shape]:
        raise ValueError(f"the {name} of --init-from has other sizes, e.g. of {sorted(wrong)[0]}")
    network.load_state_dict(target | {key: source[key] for key in common})


def networks(
    settings: NetworkSettings, seed: int, load_networks: Callable[[str], Any]
) -> tuple[Generator, Critic, bool]:
    """(generator, critic, whether a new block is to be faded in) of a run.

    Raises ValueError or FileNotFoundError about --init-from.
    """
    base, most = settings.channel_base, settings.channel_max
    if settings.init_from is not None:
        trained = load_networks(settings.init_from)
        generator, critic = grow_from(
            trained.generator,
            trained.discriminator,
            settings.resolution,
            channel_base=base,
            channel_max=most,
            seed=seed,
        )
        return generator, critic, trained.generator.resolution < settings.resolution
    channels = channel_schedule(settings.resolution, base or CHANNEL_BASE, most or CHANNEL_MAX)
    config = DiscriminatorConfig(
        img_resolution=settings.resolution,
        img_channels=3,
        channels=channels,
        mbstd_group=settings.mbstd_group,
        downsampling=settings.downsampling,
    )
    generator, critic = build(
        settings.resolution,
        channels,
        z_dim=settings.z_dim,
        mapping_layers=settings.mapping_layers,
        critic=config,
        seed=seed,
    )
    return generator, critic, False
