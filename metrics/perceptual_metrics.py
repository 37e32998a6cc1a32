"""The perceptual distances by name, as `--perceptual` takes them."""

from collections.abc import Callable
from pathlib import Path

from .backbone_weights import MissingWeights
from .backbones import (
    IMAGE2STYLEGAN_PP,
    Discriminator,
    discriminator_features,
    lpips_distance,
    squeezenet_features,
    vgg16_layers,
)
from .perceptual import Perceptual

PERCEPTUAL_METRICS = (
    "auto",
    "lpips-alex",
    "lpips-vgg",
    "lpips-squeeze",
    "vgg16",
    "vgg16++",
    "squeezenet",
    "discriminator",
    "none",
)
"""Values of `--perceptual`."""


def build_perceptual(
    name: str, discriminator: Discriminator | None = None, weights: Path | None = None
) -> Perceptual | None:
    """The perceptual distance of this name, one of PERCEPTUAL_METRICS; None for "none".

    "auto" is LPIPS-VGG if its weights are available or can be downloaded, else the discriminator's
    features; the result's `note` says which, and why. "vgg16" and "vgg16++" have the layers of
    Image2StyleGAN and Image2StyleGAN++.
    weights: file of the network's ImageNet weights with torchvision's names; None: torchvision's
    own, from torch's cache or the internet ("squeezenet" needs a file).
    Raises ValueError or FileNotFoundError, with the remedy, where the network is not available.
    """
    builders: dict[str, Callable[[], Perceptual | None]] = {
        "auto": lambda: _auto(discriminator, weights),
        "lpips-alex": lambda: lpips_distance("alex", weights),
        "lpips-vgg": lambda: lpips_distance("vgg", weights),
        "lpips-squeeze": lambda: lpips_distance("squeeze", weights),
        "vgg16": lambda: vgg16_layers(weights=weights),
        "vgg16++": lambda: vgg16_layers(IMAGE2STYLEGAN_PP, weights, name="vgg16++"),
        "squeezenet": lambda: _squeezenet(weights),
        "discriminator": lambda: _discriminator(discriminator),
        "none": lambda: None,
    }
    if name not in builders:
        raise ValueError(
            f"got perceptual={name!r}, expected one of {', '.join(PERCEPTUAL_METRICS)}"
        )
    perceptual = builders[name]()
    if perceptual is not None and name != "auto":
        perceptual.note = f"perceptual distance: {perceptual.name}, as requested"
    return perceptual


def _auto(discriminator: Discriminator | None, weights: Path | None) -> Perceptual:
    try:
        perceptual = lpips_distance("vgg", weights)
    except MissingWeights as missing:
        if weights is not None:
            raise
        if discriminator is None:
            raise FileNotFoundError(
                f"no perceptual distance is available: {missing}; "
                "or pass a discriminator; or choose the perceptual distance none"
            ) from missing
        perceptual = discriminator_features(discriminator)
        perceptual.note = (
            "perceptual distance: the generator's own discriminator, as LPIPS-VGG's weights, "
            f"{missing.name}, {missing.state}: {missing.remedy}"
        )
    else:
        perceptual.note = "perceptual distance: LPIPS-VGG, because its weights are available"
    return perceptual


def _squeezenet(weights: Path | None) -> Perceptual:
    if weights is None:
        raise ValueError(
            "perceptual squeezenet got no weights, expected a file with torchvision's names for "
            "SqueezeNet 1.1; pass its path as weights"
        )
    return squeezenet_features(weights)


def _discriminator(discriminator: Discriminator | None) -> Perceptual:
    if discriminator is None:
        raise ValueError(
            "perceptual discriminator got no discriminator, expected that of the generator; "
            "load a file that holds one, or choose another perceptual distance"
        )
    return discriminator_features(discriminator)
