"""Pictures that are not square in a square network, as networks of cars or rooms have them: the
picture fills the width, and the rows above and below it are black and not looked at.

Legend: N images, C channels, R side of the generator's images. An aspect is a text, "4:3": width to
height. A picture higher than wide has black columns instead.
"""

import re
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

TEXT = re.compile(r"(\d+):(\d+)")
BLACK = -1.0


@dataclass(frozen=True)
class Box:
    """Where the picture is in the square, in pixels."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def size(self) -> tuple[int, int]:
        return self.right - self.left, self.bottom - self.top

    def cut(self, images: Tensor) -> Tensor:
        """Images (.., C, R, R) without their padding."""
        return images[..., self.top : self.bottom, self.left : self.right]


def shown_box(aspect: str, side: int) -> Box:
    """The box of an aspect; ValueError for a text that is none."""
    match = TEXT.fullmatch(aspect.strip())
    width, height = (int(x) for x in match.groups()) if match else (0, 0)
    longer = max(width, height)
    if min(width, height) == 0 or round(side * min(width, height) / longer) == 0:
        raise ValueError(f'got the aspect "{aspect}", expected width:height, such as 4:3 or 16:9')
    wide, high = round(side * width / longer), round(side * height / longer)
    left, top = (side - wide) // 2, (side - high) // 2
    return Box(left, top, left + wide, top + high)


def shown_mask(aspect: str, count: int, side: int) -> Tensor:
    """(count, 1, R, R) 1 where the picture is, 0 in the padding."""
    mask = torch.zeros(count, 1, side, side)
    shown_box(aspect, side).cut(mask).fill_(1)
    return mask


def pad(photo: Image.Image, aspect: str, side: int) -> tuple[Image.Image, np.ndarray]:
    """The middle of a photo that has the aspect, in a black square of this side; and the square's
    corners (4, 2) in the photo, as `PhotoCrop.quad`, which lie beyond it where there is padding."""
    box = shown_box(aspect, side)
    wide, high = box.size
    scale = min(photo.width / wide, photo.height / high)  # pixels of the photo in one of ours
    left, top = (photo.width - scale * wide) / 2, (photo.height - scale * high) / 2
    part = photo.resize(
        box.size,
        Image.Resampling.BICUBIC,
        box=(left, top, left + scale * wide, top + scale * high),
    )
    square = Image.new(part.mode, (side, side))
    square.paste(part, (box.left, box.top))
    x, y = left - scale * box.left, top - scale * box.top
    right, bottom = x + scale * side, y + scale * side
    return square, np.array([(x, y), (x, bottom), (right, bottom), (right, y)])


def blacken(images: Tensor, aspect: str | None) -> Tensor:
    """Images (N, C, R, R) or (C, R, R) with black padding; as they are without an aspect."""
    if not aspect:
        return images
    mask = shown_mask(aspect, 1, images.shape[-1]).to(images)
    return images.where((mask if images.ndim == 4 else mask[0]) > 0, BLACK)
