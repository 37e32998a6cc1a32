"""Masks that a person gives: a picture, boxes, brush strokes, or words for regions of a face.

Legend: N images, R side of the images, K classes of the region network. Masks are (N, 1, R, R) in
[0, 1]; 1 = inside.
"""

import difflib
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from .mask_files import check_box, is_mask_file, read_mask_file
from .photos import check_square
from .region_network import REGIONS, Regions, region_map

HALVES = {
    "left": (0.0, 0.0, 0.5, 1.0),
    "right": (0.5, 0.0, 1.0, 1.0),
    "top": (0.0, 0.0, 1.0, 0.5),
    "bottom": (0.0, 0.5, 1.0, 1.0),
}
"""Halves of the picture, as it is looked at: left, top, right and bottom in sides."""
WORDS = (*REGIONS, *HALVES)
"""What a mask may be called."""
BOX = "box:"
"""Begins a box: box:LEFT,TOP,RIGHT,BOTTOM in sides of the picture."""
SMALLEST = 1e-4
"""Share of the picture below which a region counts as not seen."""
TINT = (255, 0, 80)
"""RGB of what is inside a mask, in its preview."""

FindRegions = Callable[[Tensor], Regions]
"""Images (N, 3, R, R) -> their regions, such as `region_network.RegionFinder`."""


@dataclass(frozen=True)
class Mask:
    """A mask for N images."""

    mask: Tensor
    """(N, 1, R, R) in [0, 1]; 1 = inside."""
    notes: tuple[str, ...] = ()
    """Sentences for the user, such as that a picture was resized."""


def make_mask(
    spec: str,
    images: Tensor,
    find_regions: FindRegions | None = None,
    *,
    invert: bool = False,
    feather: float = 0.0,
) -> Mask:
    """The mask that a text stands for, on images (N, 3, R, R) in [-1, 1].

    spec: the file of a picture, grey or with an alpha channel; a .json file as
    `mask_files.draw_json` reads it; or words of `WORDS` and boxes (`BOX`), joined by +.
    find_regions: for the words that name a region of a face.
    invert: exchange inside and outside. feather: see `feather_mask`, in pixels.

    Raises FileNotFoundError, or ValueError for anything that is no mask, for a face or a region
    that is not seen, and for a mask that has nothing inside or nothing outside.
    """
    check_square(images)
    if not 0 <= feather < images.shape[-1]:
        raise ValueError(
            f"got a feather of {feather:g} pixels, expected from 0 to below the picture's "
            f"{images.shape[-1]}"
        )
    notes: tuple[str, ...] = ()
    if is_mask_file(spec):
        drawn, notes = read_mask_file(Path(spec), images.shape[-1])
        mask = drawn.to(images).expand(len(images), -1, -1, -1)
    else:
        mask = _from_words(spec, images, find_regions)
    mask = 1 - mask if invert else mask
    _check_extent(mask, spec, invert)
    return Mask(feather_mask(mask, feather), notes)


def feather_mask(mask: Tensor, pixels: float) -> Tensor:
    """mask (N, 1, R, R) with soft edges: a Gaussian of standard deviation `pixels` / 2.

    An edge then falls from 0.98 to 0.02 over `pixels` on either side. 0 leaves the mask as it is.
    """
    if pixels == 0:
        return mask
    sigma = pixels / 2
    reach = min(math.ceil(3 * sigma), mask.shape[-1] - 1)
    steps = torch.arange(-reach, reach + 1, dtype=mask.dtype, device=mask.device)
    kernel = torch.exp(-0.5 * (steps / sigma).square())
    kernel = kernel / kernel.sum()
    padded = F.pad(mask, (reach,) * 4, mode="replicate")
    blurred = F.conv2d(F.conv2d(padded, kernel[None, None, None]), kernel[None, None, :, None])
    return blurred.clamp(0, 1)


def draw_mask(images: Tensor, mask: Tensor) -> Tensor:
    """Preview (N, 3, R, R): the images (N, 3, R, R), darker outside the mask, tinted inside."""
    tint = images.new_tensor(TINT)[:, None, None] / 127.5 - 1
    inside = 0.65 * images + 0.35 * tint
    outside = 0.5 * (images + 1) - 1
    return torch.lerp(outside.expand_as(inside), inside, mask.to(images))


def _from_words(spec: str, images: Tensor, find_regions: FindRegions | None) -> Tensor:
    """(N, 1, R, R): the union of the words and boxes of a text."""
    regions: Regions | None = None
    union = torch.zeros_like(images[:, :1])
    for part in spec.lower().split("+"):
        word = re.sub(r"[ _-]half$", "", part.strip())
        if word.startswith(BOX):
            piece = _draw_box(word, images)
        elif word in HALVES:
            piece = _rectangle(HALVES[word], images)
        elif word in REGIONS:
            if find_regions is None:
                raise ValueError(f'"{word}" needs the region network; give it')
            regions = find_regions(images) if regions is None else regions
            piece = _region(regions, word)
        else:
            similar = difflib.get_close_matches(word, WORDS, n=1)
            hint = f"; did you mean {similar[0]}" if similar else ""
            raise ValueError(
                f'there is no mask "{part.strip()}"{hint}? '
                f"Give a file, {BOX}LEFT,TOP,RIGHT,BOTTOM in sides of the picture, or of these "
                f"words some joined by +: {', '.join(WORDS)}"
            )
        union = torch.maximum(union, piece.to(union))
    return union


def _region(regions: Regions, word: str) -> Tensor:
    """(N, 1, R, R), 0 or 1: where the region is likelier than not."""
    missing = (~regions.is_face).nonzero()[:, 0].tolist()
    if missing:
        raise ValueError(
            f'no face was found{_which(missing, len(regions.is_face))}, so there is no "{word}"; '
            "align the photo, or give the mask as a picture or a box"
        )
    inside = region_map(regions.shares, word) > 0.5
    empty = (inside.float().mean((1, 2, 3)) < SMALLEST).nonzero()[:, 0].tolist()
    if empty:
        why = ", as the mouth is closed" if word == "teeth" else ""
        raise ValueError(
            f'no "{word}" can be seen{_which(empty, len(inside))}{why}; '
            "name another region, or give the mask as a picture or a box"
        )
    return inside


def _which(indices: Sequence[int], count: int) -> str:
    """The images that a sentence is about; nothing if there is only one."""
    if count == 1:
        return ""
    return f" in image {', '.join(str(index + 1) for index in indices)} of {count}"


def _draw_box(word: str, images: Tensor) -> Tensor:
    try:
        left, top, right, bottom = (float(x) for x in word.removeprefix(BOX).split(","))
    except ValueError as error:
        raise ValueError(
            f'got "{word}", expected {BOX}LEFT,TOP,RIGHT,BOTTOM: four numbers, in sides of the '
            "picture, such as box:0.25,0.5,0.75,1"
        ) from error
    check_box(left, top, right, bottom, word)
    return _rectangle((left, top, right, bottom), images)


def _rectangle(box: tuple[float, float, float, float], images: Tensor) -> Tensor:
    """(N, 1, R, R), 1 where the middle of a pixel is in the box."""
    left, top, right, bottom = box
    middle = (torch.arange(images.shape[-1], device=images.device) + 0.5) / images.shape[-1]
    columns, rows = (left <= middle) & (middle < right), (top <= middle) & (middle < bottom)
    return (rows[:, None] & columns).to(images).expand(len(images), 1, -1, -1)


def _check_extent(mask: Tensor, spec: str, invert: bool) -> None:
    """ValueError if nothing is inside or nothing outside of the mask, in one of the images."""
    inverted = ", inverted," if invert else ""
    if (mask.amax((1, 2, 3)) < 0.5).any():
        raise ValueError(
            f"the mask {spec}{inverted} is empty: nothing would change; mark what should"
        )
    if (mask.amin((1, 2, 3)) >= 0.5).any():
        raise ValueError(
            f"the mask {spec}{inverted} covers the whole picture: nothing would stay; leave the "
            "mask out, or mark less"
        )
