"""Small networks of every architecture, with random weights and nothing at its neutral value."""

from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.networks import random_generator
from facsimile import metrics, stylegan
from facsimile.encoders import KINDS
from facsimile.metrics import Perceptual
from facsimile.stylegan import Discriminator, DiscriminatorConfig, Generator, freeze

ARCHITECTURES = ("stylegan1", "stylegan2", "stylegan3-t", "stylegan3-r")


@cache
def small_generator(architecture: str, side: int, width: int) -> Generator:
    """On the CPU; z and w have `width` numbers."""
    blocks = side.bit_length() - 2
    config = {
        "architecture": architecture.partition("-")[0],
        **{"z_dim": width, "c_dim": 0, "w_dim": width},
        **{"img_resolution": side, "img_channels": 3, "mapping_layers": 2},
        "channels": [width] * blocks,
    }
    if architecture == "stylegan1":
        config |= {"w_per_layer": False, "fused_from": 128}
    else:
        config |= {"conv_clamp": None}
    if architecture.startswith("stylegan3"):
        radial = architecture.endswith("r")
        config |= {
            **{"channels": [width] * 4 + [3], "num_layers": 4, "num_critical": 2},
            **{"first_cutoff": 2, "first_stopband": 2**2.1, "last_stopband_rel": 2**0.3},
            **{"margin_size": 10, "output_scale": 0.25, "filter_size": 6, "lrelu_upsampling": 2},
            **{"conv_kernel": 1 if radial else 3, "use_radial_filters": radial},
        }
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.default_generator.manual_seed(0)
        generator = freeze(Generator(config))
        for name, weight in generator.named_parameters():
            if name.endswith(("noise_strength", "bias")):
                weight.add_(0.1 * torch.randn(weight.shape))
        for name, buffer in generator.named_buffers():
            if name.endswith("magnitude_ema"):
                buffer.fill_(0.5)
        generator.mapping.w_avg.copy_(generator.mapping(torch.randn(200, width)).mean(0))
    return generator


def small_perceptual(side: int, width: int) -> Perceptual:
    return metrics.discriminator_features(small_discriminator(side, width))


@cache
def small_discriminator(side: int, width: int) -> Discriminator:
    channels = (width,) * (side.bit_length() - 2)
    config = DiscriminatorConfig(img_resolution=side, img_channels=3, channels=channels)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(1)
        return freeze(Discriminator(config))


def save_pair(folder: Path, side: int, width: int) -> None:
    """A generator and its discriminator into a folder."""
    folder.mkdir(exist_ok=True)
    stylegan.save(small_generator("stylegan2", side, width), folder / "generator.safetensors")
    stylegan.save(small_discriminator(side, width), folder / "discriminator.safetensors")


def small_encoder(kind: str, generator: Generator) -> nn.Module:
    """Of a kind that needs nothing but images; on the CPU."""
    sizes: dict = {"width": 4, "max_width": 8}
    options: tuple[int, ...] = (2,)
    if kind == "base":
        sizes = {"layer": None, "width": 4, "rgb_skip": "zero"}
    elif kind == "feature":
        sizes, options = {"layer": None, "width": 8, "codes_width": 8, "hidden": 8}, ()
    entry = KINDS[kind]
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(2)
        encoder = entry.network(entry.config.for_generator(generator, **sizes), *options)
        encoder.init_normalization(generator, generator.map(torch.randn(4, generator.z_dim)))
    return freeze(encoder)


def timed_generator(sizes: tuple[int, int, int]) -> Generator:
    """Of a resolution, channel_base and channel_max; as small as can be in all else up to 16 px."""
    if sizes[0] <= 16:
        return random_generator(*sizes, latent=8, mapping_layers=1)
    return random_generator(*sizes)


def save_small(folder: Path) -> str:
    """The file of a generator that is as small as can be, in a folder."""
    path = folder / "generator.safetensors"
    stylegan.save(small_generator("stylegan2", 32, 8), path)
    return str(path)


def error(result: Tensor, expected: Tensor) -> float:
    """Largest difference over the largest expected value."""
    expected = expected.detach().cpu().double()
    difference = (result.detach().cpu().double() - expected).abs().max()
    return float(difference / expected.abs().max().clamp_min(1e-12))
