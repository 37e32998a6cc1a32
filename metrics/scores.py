"""Scores: how close outputs are to their targets, a value per image, with the units written once.

Legend: N images, C channels, HxW pixels.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from . import identity, landmarks
from .checks import check_pair, check_range
from .perceptual import Perceptual
from .pixel import mse, psnr
from .structural import MS_SSIM_SIDE, WINDOW, ms_ssim, ssim

Scores = dict[str, list[float]]
"""Metric name -> a value per image."""

CARD = {
    "mse": "mean over channels and pixels of the squared difference of images in [-1, 1], output "
    "clipped, full size; 0 = equal, at most 4, lower is better",
    "psnr": "10 log10(peak^2 / mse) in dB with peak 2 for images in [-1, 1], output clipped, full "
    "size; inf = equal, higher is better",
    "ssim": "structural similarity as on 0..255 (black counts as 0), Gaussian window 11x11, sigma "
    "1.5, output clipped, full size, mean over pixels and channels without a 5 px border; "
    "1 = equal, higher is better",
    "ms_ssim": "structural similarity over five scales as on 0..255, output clipped, full size "
    "(sides above 160 px only), mean over channels; 1 = equal, higher is better",
}
"""Per metric one sentence without which its number means nothing."""

# Outputs are clipped, so they may overshoot, though not to where 8-bit values lie.
OUTPUT_SLACK = 16.0


@torch.no_grad()
def score(
    images: Tensor, targets: Tensor, perceptual: Mapping[str, Perceptual] | None = None
) -> dict[str, Tensor]:
    """Every metric that fits the images, each (N,), per image.

    images, targets: (N, C, H, W) in [-1, 1]; images are clipped to it first. SSIM needs sides of 11
    pixels, MS-SSIM of 161, else they are left out. perceptual: by the name to score under.
    Raises ValueError on shapes that do not fit and on values clearly outside the range.
    """
    check_pair(images, targets)
    check_range(images, slack=OUTPUT_SLACK)
    check_range(targets)
    images = images.clamp(-1, 1)
    scores = {"mse": mse(images, targets), "psnr": psnr(images, targets)}
    if min(images.shape[2:]) >= WINDOW:
        scores["ssim"] = ssim(images, targets)
    if min(images.shape[2:]) >= MS_SSIM_SIDE:
        scores["ms_ssim"] = ms_ssim(images, targets)
    for name, network in (perceptual or {}).items():
        scores[name] = network(images, targets)
    return scores


def metric_descriptions(
    names: Iterable[str], perceptual: Mapping[str, Perceptual] | None = None
) -> dict[str, str]:
    """The sentence of each metric in `names`; `perceptual` as it was given to `score`."""
    known = CARD | landmarks.CARD | identity.CARD
    known |= {name: network.card for name, network in (perceptual or {}).items()}
    return {name: known[name] for name in names}


def gather(batches: Iterable[Mapping[str, Tensor]]) -> Scores:
    """Batches of `score`, one after another, as a plain list per metric."""
    scores: Scores = {}
    for batch in batches:
        for name, values in batch.items():
            scores.setdefault(name, []).extend(values.tolist())
    return scores


def mean(values: Sequence[float]) -> float:
    """Mean over images. One identical image makes a mean PSNR inf, which is then printed so."""
    if not values:
        raise ValueError("got no scores, expected at least one; score an image first")
    return math.fsum(values) / len(values)


def jsonable(value: float | Sequence[float] | Mapping[str, Sequence[float]]):
    """Numbers, lists and dicts of them, fit for strict JSON, which has no infinity and no NaN:

    these become the strings "inf", "-inf" and "nan".
    """
    if isinstance(value, Mapping):
        return {name: jsonable(inner) for name, inner in value.items()}
    if isinstance(value, Tensor):
        return jsonable(value.tolist())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [jsonable(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
