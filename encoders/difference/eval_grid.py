"""Sheets and scores of an encoder that gives faces the landmarks of others.

Legend: N faces, C channels, R image resolution, K = 68 points.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from facsimile import data, metrics
from facsimile.data.landmarks import Landmarker

from .faces import detect_landmarks
from .landmark_cnn import render_landmarks


class EvalGrid(NamedTuple):
    """Faces, each of which takes on the landmarks of the next. Images are (N, C, R, R)."""

    image: Tensor
    landmarks: Tensor
    """(N, K, 2)"""
    source: Tensor | None
    """Synthesized from the source's code; None if the encoder takes images."""
    unchanged: Tensor
    """With the source's landmarks."""
    reenacted: Tensor
    """With the landmarks of the next."""
    cycle: Tensor
    """From there with the source's landmarks again."""
    cycle_error: Tensor
    """(N,) mean square of the codes' difference after the cycle."""

    def measures(self, landmarker: Landmarker) -> dict[str, Tensor]:
        """Errors (N,) by name.

        mse source landmarks, mse source code: of the images `unchanged` and `source`. nme: between
        the landmarks of `reenacted` and their targets, in distances of the outer eye corners;
        nme source: of the source, for comparison. cycle: of the codes.
        """
        targets = self.landmarks.roll(-1, 0)
        errors = {}
        if self.source is not None:
            errors["mse source code"] = metrics.mse(self.source, self.image)
        detected = detect_landmarks(landmarker, self.reenacted).points
        return errors | {
            "mse source landmarks": metrics.mse(self.unchanged, self.image),
            "nme": metrics.nme(targets, detected),
            "nme source": metrics.nme(targets, self.landmarks),
            "cycle": self.cycle_error,
        }

    def rows(self) -> list[Tensor]:
        """Eight images (3, R, R) for every face: it, its landmarks, it with these; the next one,
        its landmarks, the first with those, the same with dots at the targets, and the cycle."""
        side, targets = self.image.shape[-1], self.landmarks.roll(-1, 0)
        images = (self.image, self.unchanged, self.reenacted, self.cycle)
        image, unchanged, reenacted, cycle = map(_to_rgb, images)
        columns = (
            *(image, render_landmarks(self.landmarks, side, side), unchanged),
            *(image.roll(-1, 0), render_landmarks(targets, side, side), reenacted),
            *(data.draw_points(reenacted, targets), cycle),
        )
        return list(torch.stack(columns, 1).flatten(0, 1).unbind())


def _to_rgb(images: Tensor) -> Tensor:
    """(N, C, R, R) -> (N, 3, R, R)"""
    return images[:, :3] if images.shape[1] >= 3 else images[:, :1].expand(-1, 3, -1, -1)
