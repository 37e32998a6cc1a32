"""The whole frame of a driver, small, with the face that is followed.

Legend: S side of the picture.
"""

import numpy as np
from PIL import Image, ImageDraw, ImageOps
from torch import Tensor

from facsimile import data

SIDE = 256
"""S."""
FOLLOWED, HELD = (0, 220, 60), (230, 40, 40)
"""Colours of the square around the face: it is there; it was there last."""
WIDTH = 3


def show_face(photo: Image.Image, quad: np.ndarray | None, there: bool) -> Tensor:
    """A frame within a square (3, S, S) in [-1, 1], with the corners of a crop (4, 2), in pixels of
    the photo; None: without."""
    picture = ImageOps.contain(photo, (SIDE, SIDE), Image.Resampling.BILINEAR)
    if quad is not None:
        scale = np.array(picture.size) / photo.size
        corners = [tuple(corner) for corner in (quad * scale).tolist()]
        draw = ImageDraw.Draw(picture)
        draw.line([*corners, corners[0]], FOLLOWED if there else HELD, WIDTH)
    square = Image.new("RGB", (SIDE, SIDE))
    square.paste(picture, ((SIDE - picture.width) // 2, (SIDE - picture.height) // 2))
    return data.to_tensor(square)
