"""Random networks of known widths: for speed and memory the weights do not matter."""

import torch

from facsimile.stylegan import Discriminator, DiscriminatorConfig, Generator, freeze
from facsimile.training.growth import widths


def random_generator(
    side: int,
    channel_base: int,
    channel_max: int,
    *,
    latent: int = 512,
    mapping_layers: int = 8,
    conv_clamp: float | None = None,
    seed: int = 0,
) -> Generator:
    """A frozen generator of images with that side; `latent` is its z_dim and w_dim."""
    config = {
        "architecture": "stylegan2",
        "z_dim": latent,
        "c_dim": 0,
        "w_dim": latent,
        "img_resolution": side,
        "img_channels": 3,
        "mapping_layers": mapping_layers,
        "channels": widths(side, channel_base, channel_max),
        "conv_clamp": conv_clamp,
    }
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.default_generator.manual_seed(seed)
        generator = Generator(config)
        # As in a trained network, nothing is 0.
        for name, x in generator.named_parameters():
            if name.endswith(("bias", "noise_strength")):
                x += torch.randn_like(x) * 0.1
    return freeze(generator)


def random_discriminator(
    side: int, channel_base: int, channel_max: int, *, seed: int = 0
) -> Discriminator:
    """A frozen discriminator of the same widths, that shrinks by a mean as the bundled one does."""
    config = DiscriminatorConfig(
        img_resolution=side,
        img_channels=3,
        channels=widths(side, channel_base, channel_max),
        downsampling="mean",
    )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return freeze(Discriminator(config))
