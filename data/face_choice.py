"""Which face of a picture with several: `--face largest|left|right|all|N|X,Y`."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np

from .photo_formats import PhotoError

WORDS = ("largest", "left", "right", "all")
EXPECTED = (
    "expected largest, left, right, all, a number (1 is the largest face), or a point of the face "
    "as X,Y in pixels"
)


class Boxed(Protocol):
    """A detected face, see `align.Face`."""

    @property
    def box(self) -> tuple[float, float, float, float]: ...


F = TypeVar("F", bound=Boxed)


@dataclass(frozen=True)
class FaceChoice:
    """Made by `read_choice`."""

    text: str
    number: int = 0
    """From 1 on, by size; 0 for no number."""
    point: tuple[float, float] | None = None
    """x, y in pixels from the picture's upper left corner."""

    def pick(self, faces: Sequence[F]) -> list[F]:
        """The chosen of faces that are sorted by size, the largest first; one unless for "all".

        Raises PhotoError for a number or a point where there is no face.
        """
        if not faces:
            raise PhotoError("no face was found")
        if self.text == "all":
            return list(faces)
        if self.point is not None:
            return [self._at(self.point, faces)]
        if self.number > len(faces):
            raise PhotoError(
                f"got a picture with {len(faces)} face{'s' * (len(faces) > 1)}, expected at least "
                f"{self.number} for face {self.number}; choose another"
            )
        if self.text in ("left", "right"):
            ordered = sorted(faces, key=lambda face: face.box[0] + face.box[2])
            return [ordered[0 if self.text == "left" else -1]]
        return [faces[max(self.number, 1) - 1]]

    def _at(self, point: tuple[float, float], faces: Sequence[F]) -> F:
        """The face whose box has the point; of several the one whose middle is nearest."""
        x, y = point
        inside = [f for f in faces if f.box[0] <= x <= f.box[2] and f.box[1] <= y <= f.box[3]]
        if not inside:
            middles = ", ".join("{:.0f},{:.0f}".format(*middle(face)) for face in faces)
            raise PhotoError(
                f"got a picture without a face at {x:g},{y:g}, expected one there; the faces are "
                f"at {middles}"
            )
        return min(inside, key=lambda face: math.dist(middle(face), point))


def read_choice(text: str) -> FaceChoice:
    """The choice that a text stands for; ValueError for another text."""
    if text in WORDS:
        return FaceChoice(text)
    try:
        if "," in text:
            x, y = (float(part) for part in text.split(","))
            if not (math.isfinite(x) and math.isfinite(y)):
                raise ValueError
            return FaceChoice(text, point=(x, y))
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise ValueError(f"got face {text!r}, {EXPECTED}")
    return FaceChoice(text, number=number)


def read_one(text: str) -> FaceChoice:
    """The choice of one face that a text stands for; ValueError also for "all"."""
    choice = read_choice(text)
    if text == "all":
        raise ValueError("got face 'all', expected one face; make a result of each")
    return choice


def middle(face: Boxed) -> tuple[float, float]:
    """The middle of its box."""
    x0, y0, x1, y1 = face.box
    return (x0 + x1) / 2, (y0 + y1) / 2


def nearest(faces: Sequence[F], quad: np.ndarray) -> F:
    """The face whose middle is nearest to that of a crop (4, 2)."""
    place = quad.mean(axis=0)
    return min(faces, key=lambda face: math.dist(middle(face), place))
