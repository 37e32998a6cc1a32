"""Scribbles on aligned faces, as Image2StyleGAN++'s figures have them: wrinkles, baldness, beards.

Legend: N faces, R side of the image.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from facsimile.data.mask_files import draw_json

DARK, SKIN = "dark", "skin"


@dataclass(frozen=True, kw_only=True)
class Scribble:
    """Strokes in the frame of FFHQ's crop, in its sides, and what they should change."""

    colour: str
    """Dark brown, or that of the face's cheeks."""
    strokes: tuple[tuple[float, tuple[tuple[float, float], ...]], ...]
    """(width, points x, y) each."""
    attribute: str
    sign: int
    """1: the attribute should rise; -1: it should fall."""
    paper: str
    """Its change of confidence in the paper, by another classifier."""


SCRIBBLES = {
    "wrinkles smoothed": Scribble(
        colour=SKIN,
        strokes=(
            (0.05, ((0.36, 0.33), (0.5, 0.31), (0.64, 0.33))),
            (0.03, ((0.32, 0.54), (0.42, 0.55))),
            (0.03, ((0.58, 0.55), (0.68, 0.54))),
        ),
        attribute="age",
        sign=-1,
        paper="21 %",
    ),
    "bald": Scribble(
        colour=SKIN,
        strokes=((0.12, ((0.32, 0.23), (0.4, 0.15), (0.5, 0.13), (0.6, 0.15), (0.68, 0.23))),),
        attribute="bald",
        sign=1,
        paper="75 %",
    ),
    "beard": Scribble(
        colour=DARK,
        strokes=((0.06, ((0.3, 0.7), (0.36, 0.82), (0.5, 0.87), (0.64, 0.82), (0.7, 0.7))),),
        attribute="beard",
        sign=1,
        paper="42 %",
    ),
    "moustache": Scribble(
        colour=DARK,
        strokes=((0.03, ((0.4, 0.685), (0.5, 0.67), (0.6, 0.685))),),
        attribute="moustache",
        sign=1,
        paper="49 %",
    ),
}
BROWN = (45, 30, 22)
CHEEKS = (0.3, 0.54, 0.7, 0.62)
"""Left, top, right and bottom of the box whose median is the skin's colour."""


def drawn(images: Tensor, name: str) -> tuple[Tensor, Tensor]:
    """A scribble on images (N, 3, R, R): colours (N, 3, 1, 1) in [-1, 1], opacity (1, 1, R, R)."""
    scribble = SCRIBBLES[name]
    shapes = {"strokes": [{"width": w, "points": points} for w, points in scribble.strokes]}
    opacity = draw_json(shapes, images.shape[-1]).to(images)
    if scribble.colour == DARK:
        dark = torch.tensor(BROWN).to(images) / 127.5 - 1
        return dark.view(1, 3, 1, 1).expand(len(images), -1, -1, -1), opacity
    left, top, right, bottom = (round(x * images.shape[-1]) for x in CHEEKS)
    skin = images[..., top:bottom, left:right].flatten(2).median(2).values
    return skin[..., None, None], opacity
