"""Random networks of known widths: for speed and memory the weights do not matter."""

import torch

from facsimile.stylegan import Discriminator, DiscriminatorConfig, Generator, freeze
from facsimile.training import growth

LATENT = 2**9
"""z_dim and w_dim of the paper's networks."""


def random_generator(
    resolution: int,
    channel_base: int,
    channel_max: int,
    *,
    latent: int = LATENT,
    mapping_layers: int = 8,
    conv_clamp: float | None = None,
    seed: int = 0,
) -> Generator:
    """A frozen generator of images with that resolution; `latent` is its z_dim and w_dim."""
    channels = growth.channel_schedule(resolution, channel_base, channel_max)
    critic = DiscriminatorConfig(img_resolution=resolution, img_channels=3, channels=channels)
    built, _ = growth.build(
        resolution,
        channels,
        z_dim=latent,
        mapping_layers=mapping_layers,
        critic=critic,
        seed=seed,
    )
    generator = Generator(built.config | {"conv_clamp": conv_clamp})
    generator.load_state_dict(built.state_dict())
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.default_generator.manual_seed(seed)
        # As in a trained network, no bias and no noise strength is 0.
        for name, x in generator.named_parameters():
            if name.endswith(("bias", "noise_strength")):
                x += torch.randn_like(x) * 0.1
    return freeze(generator)


def random_discriminator(
    resolution: int, channel_base: int, channel_max: int, *, seed: int = 0
) -> Discriminator:
    """A frozen discriminator of the same widths; it downsamples by a mean, as the bundled one."""
    config = DiscriminatorConfig(
        img_resolution=resolution,
        img_channels=3,
        channels=growth.channel_schedule(resolution, channel_base, channel_max),
        downsampling="mean",
    )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return freeze(Discriminator(config))
