"""The 68 points of a face, in the order of iBUG 300-W: which are which.

Landmarks are (N, 68, 2), x then y, in pixels of the image they belong to, measured from its outer
corner as in `align.py`: the centre of the first pixel is (0.5, 0.5), so that resizing the image
only multiplies them. Left and right are those of the picture.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

NUM_POINTS = 68
OUTER_EYES = (36, 45)
"""The outer corners of the eyes. Errors are relative to their distance."""


@dataclass(frozen=True)
class Group:
    """Lines of one colour in a drawing of landmarks."""

    colour: tuple[int, int, int]
    """R, G, B from 0 to 255."""
    lines: tuple[tuple[int, ...], ...]
    """Polylines, as indices of points; a closed one ends with its first point."""


def _line(first: int, last: int, closed: bool = False) -> tuple[int, ...]:
    return (*range(first, last + 1), *([first] if closed else []))


GROUPS = {
    "chin": Group((0, 128, 0), (_line(0, 16),)),
    "brows": Group((255, 165, 0), (_line(17, 21), _line(22, 26))),
    "nose": Group((0, 0, 255), (_line(27, 30), _line(31, 35))),
    "eyes": Group((255, 0, 0), (_line(36, 41, closed=True), _line(42, 47, closed=True))),
    "inner lips": Group((255, 192, 203), (_line(60, 67, closed=True),)),
}
"""What `draw_landmarks` draws, in this order; the outer lips, 48 to 59, are left out. Groups and
colours of "Learning an Encoder for Image Editing within a StyleGAN Latent Space"."""
LINES = {name: group.lines for name, group in GROUPS.items()}
"""The format of `metrics.hausdorff`."""

_PAIRS = [
    *((i, 16 - i) for i in range(8)),  # chin
    *((17 + i, 26 - i) for i in range(5)),  # brows
    *((31, 35), (32, 34)),  # nostrils
    *((36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46)),  # eyes
    *((48, 54), (49, 53), (50, 52), (55, 59), (56, 58)),  # outer lips
    *((60, 64), (61, 63), (65, 67)),  # inner lips
]
_TWIN = dict(_PAIRS) | {b: a for a, b in _PAIRS}
MIRRORED = tuple(_TWIN.get(i, i) for i in range(NUM_POINTS))
"""Point i of a mirrored face is point MIRRORED[i] of the face; those on its middle line stay."""


def mirror(landmarks: Tensor, side: float) -> Tensor:
    """landmarks (N, 68, 2) of images `side` pixels wide -> those of the mirrored images."""
    check_landmarks(landmarks)
    swapped = landmarks[:, MIRRORED]
    return torch.stack([side - swapped[..., 0], swapped[..., 1]], -1)


def check_landmarks(landmarks: Tensor) -> None:
    """ValueError unless they are (N, 68, 2) and floating point; their values are not checked."""
    if landmarks.ndim != 3 or landmarks.shape[1:] != (NUM_POINTS, 2):
        raise ValueError(
            f"got landmarks of shape {tuple(landmarks.shape)}, expected (N, {NUM_POINTS}, 2): x "
            "and y of the 68 points of iBUG 300-W; add a batch axis with landmarks[None]"
        )
    if not landmarks.is_floating_point():
        raise ValueError(
            f"got landmarks of {landmarks.dtype}, expected floating point; use landmarks.float()"
        )
