"""Options of commands that take a mask, and the pictures of it that stand beside a result.

Legend: N images, R side of the images.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from facsimile import checkpoints
from facsimile.data import to_pil
from facsimile.data.masks import Mask, draw_mask, make_mask
from facsimile.data.region_network import RegionFinder, Regions

from .pictures import panels, save

MASK, PREVIEW = "mask.png", "mask_preview.png"
"""Files beside a result: the mask, which --mask takes again, and the mask on the picture."""


@dataclass(frozen=True, kw_only=True)
class MaskOptions:
    """Where an edit acts."""

    mask: str = ""
    """Where the edit acts: a picture of any size, grey or with an alpha channel (white, or opaque,
    is inside); a .json file of boxes, polygons and brush strokes; or words joined by +: eyes,
    brows, nose, mouth, lips, teeth, face, skin, hair, person, background, left, right, top, bottom
    (halves of the picture), box:LEFT,TOP,RIGHT,BOTTOM in sides of the picture. Such as mouth+eyes.
    Default: everywhere."""
    invert_mask: bool = False
    """Exchange inside and outside of --mask."""
    feather: float = 0.0
    """Width in pixels, on either side of its edge, over which the mask is soft."""

    def make_mask(self, images: Tensor) -> Mask | None:
        """The mask (N, 1, R, R) on images (N, 3, R, R) in [-1, 1]; None without --mask.

        Raises FileNotFoundError, or ValueError if it is no mask, see `data.masks.make_mask`, or if
        the other options are given without it.
        """
        if not self.mask:
            if self.invert_mask or self.feather:
                raise ValueError("got --invert-mask or --feather without --mask; give a mask")
            return None
        return make_mask(
            self.mask, images, find_regions, invert=self.invert_mask, feather=self.feather
        )


def find_regions(images: Tensor) -> Regions:
    """The regions that the bundled network sees in images (N, 3, R, R) in [-1, 1]."""
    return _finder(images.device)(images)


@cache
def _finder(device: torch.device) -> RegionFinder:
    return RegionFinder(checkpoints.REGIONS, device)


def save_mask(mask: Tensor, images: Tensor, folder: Path, names: Sequence[str] = ()) -> None:
    """Write `MASK` and `PREVIEW` into a folder, which exists; raises OSError.

    mask: (N, 1, R, R). images: (N, 3, R, R). names: beginnings of the files' names, one for each
    image, such as "me-"; needed for more than one.
    """
    names = names or [""]
    previews = draw_mask(images, mask)
    for name, image, one, preview in zip(names, images, mask, previews, strict=True):
        save(to_pil(2 * one - 1), folder / f"{name}{MASK}")
        save(panels([image, preview], labels=("picture", "mask")), folder / f"{name}{PREVIEW}")
