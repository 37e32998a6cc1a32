"""Files of masks: pictures, grey or with an alpha channel, and shapes as JSON.

Legend: R side of the mask. Masks are (1, 1, R, R) in [0, 1]; 1 = inside.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageOps, UnidentifiedImageError
from torch import Tensor

from .photos import MAX_PIXELS

OVERSAMPLING = 4
"""Strokes and polygons are drawn on a raster so much finer, so that their edges are smooth."""
LOOKS_LIKE_A_FILE = re.compile(r"[/\\]|\.(json|png|jpe?g|webp|tiff?|bmp)$", re.IGNORECASE)


def is_mask_file(text: str) -> bool:
    """Whether a text names a file: it exists, or looks like one."""
    return Path(text).is_file() or bool(LOOKS_LIKE_A_FILE.search(text))


def read_mask_file(path: Path, side: int) -> tuple[Tensor, tuple[str, ...]]:
    """The mask (1, 1, R, R) of a file, R = side, and sentences for the user.

    Raises FileNotFoundError, or ValueError for a file that holds no mask.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such file; expected a picture or a .json file of a mask, check the "
            "spelling"
        )
    if path.suffix.lower() != ".json":
        return _read_picture(path, side)
    try:
        shapes = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is no JSON ({error}); correct it") from error
    try:
        return draw_json(shapes, side), ()
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _read_picture(path: Path, side: int) -> tuple[Tensor, tuple[str, ...]]:
    """(1, 1, R, R): the alpha channel where the picture has one, else its brightness; notes."""
    try:
        with Image.open(path) as opened:
            if opened.width * opened.height > MAX_PIXELS:
                raise ValueError(f"it has more than {MAX_PIXELS:,} pixels")
            picture = ImageOps.exif_transpose(opened)
            if picture.has_transparency_data:
                picture = picture.convert("RGBA").getchannel("A")
            elif picture.mode.startswith("I"):  # 16 bits
                wide = np.asarray(picture).astype(np.float32).clip(0, 65535)
                picture = Image.fromarray((wide / 257 + 0.5).astype(np.uint8))
            picture = picture.convert("L")
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise ValueError(
            f"{path} is no picture that can be read ({error}); give a grey picture, or one with an "
            "alpha channel"
        ) from error
    notes: tuple[str, ...] = ()
    if picture.size != (side, side):
        width, height = picture.size
        notes = (f"the mask {path.name} of {width}x{height} pixels was resized to {side}x{side}",)
        picture = picture.resize((side, side), Image.Resampling.BILINEAR)
    return _to_mask(picture), notes


def draw_json(shapes: Any, side: int) -> Tensor:
    """(1, 1, R, R): boxes, polygons and brush strokes, as JSON has them.

    {"boxes": [[left, top, right, bottom], ..], "polygons": [[[x, y], ..], ..],
    "strokes": [{"points": [[x, y], ..], "width": w}, ..], "side": s}: each key may be missing.
    Coordinates and widths are in pixels of a picture of s x s, or in sides without "side".
    Raises ValueError for anything else.
    """
    expected = 'expected {"boxes": .., "polygons": .., "strokes": .., "side": ..}'
    known = {"boxes", "polygons", "strokes", "side"}
    if not isinstance(shapes, dict) or not shapes or shapes.keys() - known:
        got = sorted(shapes) if isinstance(shapes, dict) else type(shapes).__name__
        raise ValueError(f"got {got}, {expected}")
    canvas = Image.new("L", (OVERSAMPLING * side,) * 2)
    draw = ImageDraw.Draw(canvas)
    try:
        scale = OVERSAMPLING * side / float(shapes.get("side", 1))
        for box in shapes.get("boxes", ()):
            left, top, right, bottom = (scale * float(x) for x in box)
            check_box(left, top, right, bottom, box)
            corners = (round(left), round(top), round(right) - 1, round(bottom) - 1)
            if corners[0] <= corners[2] and corners[1] <= corners[3]:
                draw.rectangle(corners, fill=255)
        for polygon in shapes.get("polygons", ()):
            draw.polygon(_points(polygon, scale), fill=255)
        for stroke in shapes.get("strokes", ()):
            _draw_stroke(draw, _points(stroke["points"], scale), scale * float(stroke["width"]))
    except (TypeError, KeyError, ZeroDivisionError, OverflowError) as error:
        raise ValueError(f"got a shape that is none ({error}), {expected}") from error
    small = canvas.resize((side, side), Image.Resampling.BOX)
    return _to_mask(small)


def _points(points: Any, scale: float) -> list[tuple[float, float]]:
    """In Pillow's pixels, whose middles have whole numbers."""
    return [(scale * float(x) - 0.5, scale * float(y) - 0.5) for x, y in points]


def _draw_stroke(
    draw: ImageDraw.ImageDraw, points: Sequence[tuple[float, float]], width: float
) -> None:
    """A line with round ends and corners."""
    draw.line(list(points), fill=255, width=max(round(width), 1))
    for x, y in points:
        draw.ellipse([x - width / 2, y - width / 2, x + width / 2, y + width / 2], fill=255)


def check_box(left: float, top: float, right: float, bottom: float, given: Any) -> None:
    """ValueError unless a box has an extent; `given` is how the user wrote it."""
    if not (left < right and top < bottom):
        raise ValueError(f"got the box {given}, expected left < right and top < bottom")


def _to_mask(picture: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(picture)).float()[None, None] / 255
