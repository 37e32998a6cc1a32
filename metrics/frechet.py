"""Fréchet distance between two sets of images, on the features of one network.

Legend: N images, D features. Only on InceptionV3's features is it called FID.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .resize import resize_to_fit
from .trunk_weights import load_trunk, trunk_file

FRECHETS = ("auto", "inception", "squeezenet", "discriminator", "none")
"""Values of `--frechet`."""


@dataclass(frozen=True)
class Features:
    name: str
    """Of the distance in scores."""
    network: Callable[[Tensor], Tensor]
    """Images (N, 3, H, W) in [-1, 1] -> (N, D)."""
    note: str
    """One sentence for the user: which network, and why."""


@dataclass(frozen=True)
class Moments:
    mean: Tensor
    """(D,) float64."""
    covariance: Tensor
    """(D, D) float64, unbiased."""


@torch.no_grad()
def moments(features: Iterable[Tensor]) -> Moments:
    """Mean and covariance over batches (N, D); ValueError below two images."""
    count, total, squares = 0, 0.0, 0.0
    for batch in features:
        x = batch.double().cpu()
        count, total, squares = count + len(x), total + x.sum(0), squares + x.T @ x
    if count < 2:
        raise ValueError(f"got {count} images; a covariance wants at least 2")
    mean = total / count
    return Moments(mean, (squares - count * torch.outer(mean, mean)) / (count - 1))


def frechet(a: Moments, b: Moments) -> float:
    """|m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)): Fréchet distance of two Gaussians.

    "GANs Trained by a Two Time-Scale Update Rule", eq. 6. The eigenvalues of C_a C_b are those of
    the symmetric C_a^(1/2) C_b C_a^(1/2).
    """
    values, vectors = torch.linalg.eigh(a.covariance)
    root = (vectors * values.clamp_min(0).sqrt()) @ vectors.T
    cross = torch.linalg.eigvalsh(root @ b.covariance @ root).clamp_min(0).sqrt().sum()
    apart = (a.mean - b.mean).square().sum()
    return float(apart + a.covariance.trace() + b.covariance.trace() - 2 * cross)


def features(name: str, discriminator: nn.Module, weights: Path | None = None) -> Features | None:
    """The features called `name`, one of FRECHETS; None for "none".

    "auto": SqueezeNet's where `weights` is given, else InceptionV3's where torch-fidelity and its
    weights are at hand, else the discriminator's, which must be a frozen one.
    Raises ValueError or FileNotFoundError with the remedy.
    """
    if name not in FRECHETS:
        raise ValueError(f"got frechet={name!r}, expected one of {', '.join(FRECHETS)}")
    if name == "none":
        return None
    if name == "squeezenet" or (name == "auto" and weights is not None):
        return _squeezenet(weights)
    if name == "discriminator":
        return _discriminator(discriminator, "as asked for")
    try:
        return _inception()
    except (ImportError, OSError) as missing:
        if name == "inception":
            raise FileNotFoundError(
                f"InceptionV3 cannot be had ({missing}); install torch-fidelity and let it fetch "
                "its weights once, or choose another --frechet"
            ) from missing
        reason = str(missing).splitlines()[0]
        return _discriminator(discriminator, f"because InceptionV3 cannot be had ({reason})")


def _inception() -> Features:
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    network = FeatureExtractorInceptionV3("inception", ["2048"]).eval().requires_grad_(False)

    def run(image: Tensor) -> Tensor:
        pixels = (image * 127.5 + 128).clip(0, 255).to(torch.uint8)
        return network.to(image.device)(pixels)[0]

    return Features("fid", run, "distance: FID, InceptionV3 of torch-fidelity")


def _squeezenet(weights: Path | None) -> Features:
    if weights is None:
        raise ValueError("--frechet squeezenet wants --frechet-weights FILE, torchvision's names")
    from torchvision.models import squeezenet1_1

    with torch.device("meta"):
        stack = squeezenet1_1().features
    load_trunk(stack, trunk_file("SqueezeNet1_1_Weights", weights))
    stack = stack.eval().requires_grad_(False)

    def run(image: Tensor) -> Tensor:
        mean = image.new_tensor((0.485, 0.456, 0.406))[:, None, None]
        deviation = image.new_tensor((0.229, 0.224, 0.225))[:, None, None]
        small = resize_to_fit(image, 64)
        large = F.interpolate(small, size=(128, 128), mode="bilinear", align_corners=False)
        return stack.to(image.device)((large / 2 + 0.5 - mean) / deviation).mean((2, 3))

    note = "distance: Fréchet on SqueezeNet features (ImageNet), images shrunk to 64 px; not FID"
    return Features("frechet-squeezenet", run, note)


def _discriminator(discriminator: nn.Module, reason: str) -> Features:
    side = discriminator.img_resolution

    def run(image: Tensor) -> Tensor:
        return (
            discriminator.to(image.device)
            .features(resize_to_fit(image, side, side))[-1]
            .mean((2, 3))
        )

    note = f"distance: Fréchet on a frozen discriminator's features, {reason}; not FID"
    return Features("frechet-discriminator", run, note)
