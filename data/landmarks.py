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
    """Landmarks of N images."""

    points: Tensor
    """(N, 68, 2), x and y in pixels of the images; see `points68`."""
    score: Tensor
    """(N,), 0 to 1: confidence that the image shows an upright face."""
    is_face: Tensor
    """(N,) bool: whether the confidence is high enough. Elsewhere the points mean nothing."""


class Landmarker(Protocol):
    """Images (N, 3 or 1, R, R) in [-1, 1] -> Landmarks; ValueError for another shape.

    Differentiable with respect to the images, which do not influence one another.
    """

    name: str
    note: str
    """One sentence for the user: which network this is, and why."""

    def __call__(self, images: Tensor) -> Landmarks: ...


class SmallLandmarker:
    """The network of `facsimile train landmarks`, averaged over an image and its mirror image: the
    error is 5 % lower than without."""

    name = "small"

    def __init__(self, path: str | Path, device: torch.device | str = "cpu"):
        """path: the network's file or a run's folder. Raises FileNotFoundError or ValueError."""
        self.network = landmark_network.load(path, device)
        self.note = "landmarks: the small network"

    def __call__(self, images: Tensor) -> Landmarks:
        check_square(images)
        points, logits = self.network(torch.cat([images, images.flip(3)]))
        points, mirrored = points.chunk(2)
        points = (points + points68.mirror(mirrored, images.shape[-1])) / 2
        logits = logits.unflatten(0, (2, -1)).mean(0)
        return Landmarks(points, logits.sigmoid(), logits > 0)


class FanLandmarker:
    """2DFAN-4 of face-alignment, without its face detector, as aligned faces need none."""

    name = "fan"

    def __init__(self, path: str | Path | None = None, device: torch.device | str = "cpu"):
        """path: its weights; None: face-alignment's file, from torch's cache or the internet.

        Raises FileNotFoundError, or ValueError if the file holds something else.
        """
        self.network = fan.load(fan.weights_file(path), device)
        self.note = "landmarks: FAN"

    def __call__(self, images: Tensor) -> Landmarks:
        points, score = fan.detect_landmarks(self.network, images)
        return Landmarks(points, score, score > fan.MIN_SCORE)


def landmarker(
    name: Literal["auto", "fan", "small"] = "auto",
    *,
    small: str | Path,
    fan_weights: str | Path | None = None,
    device: torch.device | str = "cpu",
) -> Landmarker:
    """The landmark network of this name; "auto" is FAN if its weights are on this machine, else the
    small network.

    small: file of the small network (`checkpoints.LANDMARKS` is the bundled one).
    fan_weights: file of FAN's weights. Without it "fan" may download them; "auto" never does.
    Raises ValueError or FileNotFoundError.
    """
    if name not in LANDMARKERS:
        raise ValueError(f"got landmarks={name!r}, expected one of {', '.join(LANDMARKERS)}")
    if name == "fan":
        return FanLandmarker(fan_weights, device)
    chosen: Landmarker
    has_fan = fan.is_installed() and (fan_weights is not None or fan.default_file().is_file())
    folder, file = fan.default_file().parent, fan.default_file().name
    reason = f"FAN's {file} is not in {folder}; --landmarks fan downloads it"
    if name == "auto" and has_fan:
        try:
            chosen = FanLandmarker(fan_weights, device)
        except ValueError:
            if fan_weights is not None:
                raise
            reason = (
                f"FAN's {file} in {folder} is cut short or damaged; delete it, and --landmarks fan "
                "downloads it again"
            )
        else:
            chosen.note = "landmarks: FAN, because its weights are on this machine"
            return chosen
    chosen = SmallLandmarker(small, device)
    if name == "auto":
        chosen.note = f"landmarks: the small network, because {reason}"
    return chosen
