"""Scores: how close outputs are to their targets, a value per image, with the units written once.

Legend: N images, C channels, HxW pixels.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from . import facenet, landmarks
from .checks import check_pair, check_range
from .identity_network import IdentityNetwork
from .perceptual import Perceptual
from .pixel import mse, psnr
from .structural import MS_SSIM_SIDE, WINDOW, ms_ssim, ssim

Scores = dict[str, list[float]]
"""Metric name -> a value per image."""

DESCRIPTIONS = {
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
"""Metric name -> one sentence: range, units, what is averaged, which direction is better."""

# Outputs are clipped, so they may overshoot the range, but not as far as 8-bit values do.
OUTPUT_SLACK = 16.0


@torch.no_grad()
def score(
    images: Tensor,
    targets: Tensor,
    perceptual: Mapping[str, Perceptual] | None = None,
    identity: IdentityNetwork | None = None,
) -> dict[str, Tensor]:
    """Every metric that applies to images of this size: name -> (N,), a value per image.

    images, targets: (N, C, H, W) in [-1, 1]; images are clipped to it first. SSIM needs sides of 11
    pixels and MS-SSIM of 161; they are left out of smaller images. perceptual: networks by the name
    of their metric. identity: for faces aligned as FFHQ's. Raises ValueError for shapes that differ
    and values clearly outside the range.
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
    if identity is not None:
        scores |= identity.scores(images, targets)
    return scores


def metric_descriptions(
    names: Iterable[str],
    perceptual: Mapping[str, Perceptual] | None = None,
    identity: IdentityNetwork | None = None,
) -> dict[str, str]:
    """The sentence of each metric in `names`; perceptual, identity: as for `score`."""
    descriptions = DESCRIPTIONS | landmarks.DESCRIPTIONS | facenet.DESCRIPTIONS
    if identity is not None:
        descriptions |= identity.descriptions()
    descriptions |= {name: network.description for name, network in (perceptual or {}).items()}
    return {name: descriptions[name] for name in names}


def gather(batches: Iterable[Mapping[str, Tensor]]) -> Scores:
    """Concatenate the results of `score` for several batches, as plain lists."""
    scores: Scores = {}
    for batch in batches:
        for name, values in batch.items():
            scores.setdefault(name, []).extend(values.tolist())
    return scores


def mean(values: Sequence[float]) -> float:
    """Mean over images; inf where one PSNR is inf. ValueError for no values."""
    if not values:
        raise ValueError("got no scores, expected at least one; score an image first")
    return math.fsum(values) / len(values)


def jsonable(value: Any) -> Any:
    """Numbers, tensors, lists and dicts of them, as strict JSON holds them.

    JSON has no infinity and no NaN: they become the strings "inf", "-inf" and "nan".
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
