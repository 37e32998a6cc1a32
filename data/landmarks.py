"""Landmarks of aligned faces: by face-alignment's FAN, or by this project's small network.

Legend: N images, R side of the image. The images are faces aligned as FFHQ's are.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import torch
from torch import Tensor

from . import fan, landmark_network, points68
from .photos import check_square

LANDMARKERS = ("auto", "fan", "small")
"""Values of `--landmarks`."""


@dataclass(frozen=True)
class Landmarks:
    points: Tensor
    """(N, 68, 2), x and y in pixels of the images; see `points68`."""
    score: Tensor
    """(N,), from 0 to 1: how sure it is that this is an upright face."""
    found: Tensor
    """(N,) bool: whether that is enough. Where it is not, the points mean nothing."""


class Landmarker(Protocol):
    """Images (N, 3 or 1, R, R) in [-1, 1] -> Landmarks; ValueError where they are no such images.

    Differentiable with respect to the images. Images do not influence one another.
    """

    name: str
    note: str
    """One sentence for the user: which network it is, and why."""

    def __call__(self, images: Tensor) -> Landmarks: ...


class SmallLandmarker:
    """The network of `train.py landmarks`: the mean of what it sees in an image and in its mirror
    image, which is a 20th nearer."""

    name = "small"

    def __init__(self, path: str | Path, device: torch.device | str = "cpu"):
        """path: the network's file or a run's folder; raises FileNotFoundError or ValueError."""
        self.network = landmark_network.load(path, device)
        self.note = "landmarks: the small network, as asked for"

    def __call__(self, images: Tensor) -> Landmarks:
        check_square(images)
        points, logits = self.network(torch.cat([images, images.flip(3)]))
        points, other = points.chunk(2)
        points = (points + points68.mirror(other, images.shape[-1])) / 2
        logits = logits.unflatten(0, (2, -1)).mean(0)
        return Landmarks(points, logits.sigmoid(), logits > 0)


class FanLandmarker:
    """2DFAN-4 of face-alignment, without its detector: aligned faces are where they are."""

    name = "fan"

    def __init__(self, path: str | Path | None = None, device: torch.device | str = "cpu"):
        """path: its weights; None: face-alignment's own file, from torch's cache or the internet.

        Raises FileNotFoundError, or ValueError where the file holds something else.
        """
        self.network = fan.load(fan.weights_file(path), device)
        self.note = "landmarks: FAN, as asked for"

    def __call__(self, images: Tensor) -> Landmarks:
        points, score = fan.look(self.network, images)
        return Landmarks(points, score, score > fan.LEAST)


def landmarker(
    how: Literal["auto", "fan", "small"] = "auto",
    *,
    small: str | Path,
    fan_weights: str | Path | None = None,
    device: torch.device | str = "cpu",
) -> Landmarker:
    """What finds landmarks; "auto" is FAN where its weights are at hand, else the small network.

    small: the small network's file (`checkpoints.LANDMARKS` is the bundled one). fan_weights: local
    file of FAN's. "auto" downloads nothing, "fan" does. Raises ValueError or FileNotFoundError.
    """
    if how not in LANDMARKERS:
        raise ValueError(f"got landmarks={how!r}, expected one of {', '.join(LANDMARKERS)}")
    if how == "fan":
        return FanLandmarker(fan_weights, device)
    chosen: Landmarker
    if how == "auto" and (fan_weights is not None or fan.own_file().is_file()):
        chosen = FanLandmarker(fan_weights, device)
        chosen.note = "landmarks: FAN, because its weights are at hand"
    else:
        chosen = SmallLandmarker(small, device)
        if how == "auto":
            chosen.note = (
                f"landmarks: the small network, because FAN's {fan.own_file().name} is not in "
                f"{fan.own_file().parent}; --landmarks fan downloads it"
            )
    return chosen
