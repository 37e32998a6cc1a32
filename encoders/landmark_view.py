"""What a person and the scores see of an encoder that gives faces the landmarks of others.

Legend: N faces, C channels, R side of the image, K = 68 points.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from facsimile import data, metrics
from facsimile.data.landmarks import Landmarker

from .landmark_faces import look
from .landmark_tower import picture


class View(NamedTuple):
    """Faces, of which each takes on the landmarks of the next. Images are (N, C, R, R)."""

    image: Tensor
    points: Tensor
    """(N, K, 2)"""
    unmoved: Tensor | None
    """Redrawn from the source's code; None where the encoder itself makes that."""
    own: Tensor
    """With their own landmarks."""
    moved: Tensor
    """With those of the next."""
    back: Tensor
    """From there with their own again."""
    apart: Tensor
    """(N,) mean square of the codes' difference, after the way there and back."""

    def measures(self, landmarker: Landmarker) -> dict[str, Tensor]:
        """(N,) each. mse own, mse unmoved: of the images `own` and `unmoved`. nme: distance of the
        landmarks seen in `moved` to those wanted, the distance of the eyes the unit; nme unmoved:
        the source's, before. cycle: of the codes."""
        wanted = self.points.roll(-1, 0)
        unmoved = {}
        if self.unmoved is not None:
            unmoved["mse unmoved"] = metrics.mse(self.unmoved, self.image)
        return unmoved | {
            "mse own": metrics.mse(self.own, self.image),
            "nme": metrics.nme(wanted, look(landmarker, self.moved).points),
            "nme unmoved": metrics.nme(wanted, self.points),
            "cycle": self.apart,
        }

    def panels(self) -> list[Tensor]:
        """Eight pictures (3, R, R) for every face: it, its landmarks, it with these; the next one,
        its landmarks, the first with those, the same with dots where they should be, and back."""
        side, wanted = self.image.shape[-1], self.points.roll(-1, 0)
        image, own, moved, back = map(_colour, (self.image, self.own, self.moved, self.back))
        columns = (
            *(image, picture(self.points, side, side), own),
            *(image.roll(-1, 0), picture(wanted, side, side), moved),
            *(data.draw_points(moved, wanted), back),
        )
        return list(torch.stack(columns, 1).flatten(0, 1).unbind())


def _colour(images: Tensor) -> Tensor:
    """(N, C, R, R) -> (N, 3, R, R)"""
    return images[:, :3] if images.shape[1] >= 3 else images[:, :1].expand(-1, 3, -1, -1)
