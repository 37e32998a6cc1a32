"""How close the landmarks of a result come to those that were asked for.

Legend: N images, C channels, R side of the image, K = 68 points.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from facsimile import data, metrics
from facsimile.data.points68 import LINES

MEASURES = ("nme", "hausdorff")


@torch.no_grad()
def reached(landmarker: data.Landmarker, images: Tensor, asked: Tensor) -> list[dict[str, float]]:
    """Per image its measures, NaN where the landmark network sees no face in it.

    images: (N, C, R, R) in [-1, 1]. asked: landmarks (N, K, 2) in pixels of these.
    """
    seen = landmarker(images[:, :3] if images.shape[1] > 3 else images)
    points, asked = (x.double().cpu() for x in (seen.points, asked))
    found = seen.found.cpu() & points.isfinite().flatten(1).all(1)
    nme = metrics.nme(asked, points).where(found, torch.nan)
    apart = metrics.hausdorff(asked, points, images.shape[-1], LINES, found)
    rows = zip(nme.tolist(), apart.tolist(), strict=True)
    return [dict(zip(MEASURES, row, strict=True)) for row in rows]


def summary(found: Sequence[dict[str, float]], landmarker: str) -> dict:
    """Means over the images with a face, how many have none, and all values; None for no face.

    landmarker: the name of the network that looked.
    """
    said: dict = {"landmarks": landmarker, "about": metrics.metric_descriptions(MEASURES)}
    each = {}
    for name in MEASURES:
        values = torch.tensor([one[name] for one in found], dtype=torch.float64)
        mean, said["results_without_a_face"] = metrics.nanmean_with_failures(values)
        said[name] = _plain(mean)
        each[name] = [_plain(value) for value in values.tolist()]
    return said | {"per_frame": each}


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 5)
