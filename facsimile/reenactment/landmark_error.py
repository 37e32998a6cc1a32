"""How far the landmarks of reenacted images are from those that were asked for.

Legend: N images, C channels, R image resolution, K = 68 points.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from facsimile import data, metrics
from facsimile.data.points68 import LINES

MEASURES = ("nme", "hausdorff")


@torch.no_grad()
def landmark_errors(
    landmarker: data.Landmarker, images: Tensor, requested: Tensor
) -> list[dict[str, float]]:
    """The measures of each image, NaN if the landmark network sees no face in it.

    images: (N, C, R, R) in [-1, 1]. requested: landmarks (N, K, 2) in pixels of these.
    """
    detected = landmarker(images[:, :3] if images.shape[1] > 3 else images)
    points, requested = (x.cpu().double() for x in (detected.points, requested))
    has_face = detected.is_face.cpu() & points.isfinite().flatten(1).all(1)
    nme = metrics.nme(requested, points).where(has_face, torch.nan)
    hausdorff = metrics.hausdorff(requested, points, images.shape[-1], LINES, has_face)
    rows = zip(nme.tolist(), hausdorff.tolist(), strict=True)
    return [dict(zip(MEASURES, row, strict=True)) for row in rows]


def summarise_errors(errors: Sequence[dict[str, float]], landmarker: str) -> dict:
    """Means over the images with a face, how many have none, and all values; None for no face.

    landmarker: name of the landmark network.
    """
    descriptions = metrics.metric_descriptions(MEASURES)
    summary: dict = {"landmark_network": landmarker, "metric_descriptions": descriptions}
    per_frame = {}
    for name in MEASURES:
        values = torch.tensor([error[name] for error in errors], dtype=torch.float64)
        mean, summary["results_without_a_face"] = metrics.nanmean_with_failures(values)
        summary[name] = _rounded(mean)
        per_frame[name] = [_rounded(value) for value in values.tolist()]
    return summary | {"per_frame": per_frame}


def _rounded(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 5)
