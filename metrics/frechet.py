"""Fréchet distance between two sets of images, on the features of one network.

Legend: N images, D features. Only on InceptionV3's features is it called FID.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .backbones import squeezenet_layers
from .pixels import to_uint8
from .resize import resize_to_fit

FRECHET_FEATURES = ("auto", "inception", "squeezenet", "discriminator", "none")
"""Values of `--frechet`."""


@dataclass(frozen=True)
class FeatureExtractor:
    """A network for the Fréchet distance."""

    name: str
    """The distance's name in scores."""
    network: Callable[[Tensor], Tensor]
    """Images (N, 3, H, W) in [-1, 1] -> (N, D)."""
    note: str
    """One sentence for the user: which network, and why."""


@dataclass(frozen=True)
class Moments:
    """First two moments of the features of a set of images."""

    mean: Tensor
    """(D,) float64."""
    covariance: Tensor
    """(D, D) float64, unbiased."""


@torch.no_grad()
def moments(features: Iterable[Tensor]) -> Moments:
    """Mean and covariance over batches (N, D); ValueError below two images."""
    count, total, squares = 0, 0.0, 0.0
    for batch in features:
        x = batch.cpu().double()
        count, total, squares = count + len(x), total + x.sum(0), squares + x.T @ x
    if count < 2:
        raise ValueError(f"got {count} images, expected at least 2 for a covariance; pass more")
    mean = total / count
    return Moments(mean, (squares - count * torch.outer(mean, mean)) / (count - 1))


def frechet_distance(a: Moments, b: Moments) -> float:
    """|m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)): Fréchet distance of two Gaussians.

    "GANs Trained by a Two Time-Scale Update Rule", eq. 6. The eigenvalues of C_a C_b are those of
    the symmetric C_a^(1/2) C_b C_a^(1/2).
    """
    values, vectors = torch.linalg.eigh(a.covariance)
    root = (vectors * values.clamp_min(0).sqrt()) @ vectors.T
    cross = torch.linalg.eigvalsh(root @ b.covariance @ root).clamp_min(0).sqrt().sum()
    means = (a.mean - b.mean).square().sum()
    return float(means + a.covariance.trace() + b.covariance.trace() - 2 * cross)


def build_features(
    name: str, discriminator: nn.Module, weights: Path | None = None
) -> FeatureExtractor | None:
    """The features of this name, one of FRECHET_FEATURES; None for "none".

    "auto": SqueezeNet's if `weights` is given, else InceptionV3's if torch-fidelity and its weights
    are available, else the discriminator's, which must be frozen.
    Raises ValueError or FileNotFoundError with the remedy.
    """
    if name not in FRECHET_FEATURES:
        raise ValueError(f"got frechet={name!r}, expected one of {', '.join(FRECHET_FEATURES)}")
    if name == "none":
        return None
    if name == "squeezenet" or (name == "auto" and weights is not None):
        return _squeezenet(weights)
    if name == "discriminator":
        return _discriminator(discriminator, "as requested")
    try:
        return _inception()
    except (ImportError, OSError) as missing:
        if name == "inception":
            raise FileNotFoundError(
                f"InceptionV3 is not available ({missing}); install torch-fidelity and let it "
                "download its weights once, or choose another --frechet"
            ) from missing
        remedy = "pip install torch-fidelity"
        if not isinstance(missing, ImportError):
            remedy = "torch-fidelity could not download its weights"
        return _discriminator(discriminator, f"as InceptionV3 is not here ({remedy})")


def _inception() -> FeatureExtractor:
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    network = FeatureExtractorInceptionV3("inception", ["2048"]).eval().requires_grad_(False)

    def run(image: Tensor) -> Tensor:
        return network.to(image.device)(to_uint8(image))[0]

    return FeatureExtractor("fid", run, "distance: FID, InceptionV3 of torch-fidelity")


def _squeezenet(weights: Path | None) -> FeatureExtractor:
    if weights is None:
        raise ValueError(
            "--frechet squeezenet got no weights, expected a file with torchvision's names; "
            "add --frechet-weights FILE"
        )
    layers = squeezenet_layers(weights).eval().requires_grad_(False)

    def run(image: Tensor) -> Tensor:
        mean = image.new_tensor((0.485, 0.456, 0.406))[:, None, None]
        std = image.new_tensor((0.229, 0.224, 0.225))[:, None, None]
        small = resize_to_fit(image, 64)
        large = F.interpolate(small, size=(128, 128), mode="bilinear", align_corners=False)
        return layers.to(image.device)((large / 2 + 0.5 - mean) / std).mean((2, 3))

    note = "distance: Fréchet on SqueezeNet features (ImageNet), images shrunk to 64 px; not FID"
    return FeatureExtractor("frechet-squeezenet", run, note)


def _discriminator(discriminator: nn.Module, reason: str) -> FeatureExtractor:
    size = discriminator.img_resolution

    def run(image: Tensor) -> Tensor:
        return (
            discriminator.to(image.device)
            .features(resize_to_fit(image, size, size))[-1]
            .mean((2, 3))
        )

    note = f"distance: Fréchet on a frozen discriminator's features, {reason}; not FID"
    return FeatureExtractor("frechet-discriminator", run, note)
