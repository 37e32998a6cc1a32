"""Landmark networks against a judge: their error, and faces a second.

Legend: N images, R their resolution, K = 68 points.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from torch import Tensor

from benchmarks import faces, judges, report
from benchmarks.timing import clock
from facsimile import checkpoints, metrics
from facsimile.data.landmarks import FanLandmarker, Landmarks, SmallLandmarker
from facsimile.data.points68 import OUTER_EYES

OPENINGS = {"mouth": ((62, 66),), "eyes": ((37, 41), (38, 40), (43, 47), (44, 46))}
"""Pairs of points whose distance grows as mouth and eyes open."""
ROUNDS = 3
"""Rounds through all images; the fastest counts."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Measure the small network with the mirrored image, as it is used, and without it; also FAN.

    Error: mean distance of the points to the judge's, in % of the distance of the outer eye
    corners, over the faces that the judge detects. mouth, eyes: how far they are open, in the same
    unit; the correlation with the judge's values over those faces.
    """

    faces: tyro.conf.Positional[Path]
    """Folder or .zip of aligned, square faces; the first `count` in sorted order are used."""
    identity: Path | None = None
    """Python file with a function landmarks68(image), the judge; needed."""
    small: Path = checkpoints.LANDMARKS
    """File of the small network, or a run's folder."""
    fan: Path | None = None
    """File of FAN's weights."""
    count: int = 300
    resolution: int = 256
    """Of the images in pixels, for the judge too."""
    batch: int = 16
    """Images at once; the speed is measured one by one as well."""
    out: Path = Path("runs/landmarks.json")
    device: str = "cpu"
    threads: int | None = 1
    """CPU threads; None: PyTorch's choice."""


@torch.no_grad()
def main(options: Options) -> None:
    report.prepare(options.device, options.threads)
    small = SmallLandmarker(options.small, options.device)
    ways: dict[str, Callable[[Tensor], Landmarks]] = {
        "small": small,
        "small, without the mirror image": lambda images: plain(small, images),
    }
    if options.fan is not None:
        ways["fan"] = FanLandmarker(options.fan, options.device)
    judge, _ = judges.landmark_judge(options.identity, None)
    images = faces.read(options.faces, options.resolution, options.count).images
    expected = judge(images)
    known = ~expected.isnan().flatten(1).any(1)
    print(
        f"judge: {options.identity.name}; it detects a face in {int(known.sum())} of {len(images)}"
    )
    if not known.any():
        raise ValueError(f"{options.identity} detects no face in {options.faces}; check both")
    images = images.to(options.device)
    results = {}
    for name, way in ways.items():
        parts = [way(part) for part in images.split(options.batch)]
        points = torch.cat([part.points for part in parts]).cpu()
        error = 100 * metrics.nme(expected[known], points[known])
        results[name] = {
            "error": float(error.mean()),
            "median": float(error.median()),
            "95 % below": float(error.quantile(0.95)),
            **{part: agreement(expected[known], points[known], part) for part in OPENINGS},
            "taken for faces": float(torch.cat([part.is_face for part in parts]).float().mean()),
            "faces/s, one by one": speed(way, images, 1),
            f"{options.batch} together": speed(way, images, options.batch),
        }
    rows = [
        (name, *(f"{x:.0%}" if "taken" in key else f"{x:.3g}" for key, x in row.items()))
        for name, row in results.items()
    ]
    print(report.table(("", *next(iter(results.values()))), rows))
    report.write_json(
        options.out,
        {
            "landmarks": results,
            "judge": judges.name(options.identity),
            "images": len(images),
            "resolution": options.resolution,
        }
        | {"machine": report.machine(options.device)},
    )


def agreement(expected: Tensor, points: Tensor, part: str) -> float:
    """Correlation of how far the part is open in landmarks (N, K, 2) and in others."""
    both = torch.stack([opening(expected, part), opening(points, part)])
    return float(torch.corrcoef(both)[0, 1].nan_to_num())


def opening(points: Tensor, part: str) -> Tensor:
    """(N, K, 2) -> (N,): the distance of the outer eye corners is the unit."""
    left, right = (points[:, index] for index in OUTER_EYES)
    parted = [(points[:, a] - points[:, b]).norm(dim=1) for a, b in OPENINGS[part]]
    return torch.stack(parted).mean(0) / (left - right).norm(dim=1)


def plain(small: SmallLandmarker, images: Tensor) -> Landmarks:
    points, logits = small.network(images)
    return Landmarks(points, logits.sigmoid(), logits > 0)


def speed(way: Callable[[Tensor], Landmarks], images: Tensor, batch: int) -> float:
    """Faces a second, `batch` at once."""
    parts = images.split(batch)

    def through() -> None:
        for part in parts:
            way(part)

    return len(images) / min(clock(through, str(images.device)) for _ in range(ROUNDS))


if __name__ == "__main__":
    main(tyro.cli(Options))
