"""A driver that nobody filmed: hand-made motions of the source's own landmarks, written in a word.

    yaw:20                  turned by 20 degrees; a single pose
    mouth:open+smile:0.5    both at once
    yaw:-20,20,0            from the source's own through these, a second each

Legend: K = 68 points.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from facsimile.data.video import FPS
from facsimile.editing import MOTIONS

from .drivers import Pose

WORDS = {"open": 1.0, "closed": -1.0}
"""Amounts of the mouth that may be written as words."""
SECONDS = 1.0
"""From one pose of several to the next."""
EXPECTED = (
    f"expected one of {', '.join(MOTIONS)} with an amount, as yaw:20, mouth:open, smile:0.5; with "
    "+ between several at once, with commas between amounts one after the other, as yaw:-20,20,0"
)


@dataclass(frozen=True)
class Handmade:
    """Poses of a face by its own landmarks; iterate for them once `own` is known."""

    path: str
    """What was written."""
    stops: list[dict[str, float]]
    """Motion -> amount, of each pose that is passed through."""
    fps: float
    own: Tensor | None = None
    """Landmarks (K, 2) of the source."""

    @property
    def single(self) -> bool:
        return len(self.stops) == 1

    @property
    def count(self) -> int:
        return 1 if self.single else 1 + len(self.stops) * self._leg

    @property
    def _leg(self) -> int:
        """Frames from one pose to the next."""
        return max(1, round(SECONDS * self.fps))

    def __iter__(self) -> Iterator[Pose]:
        """A single pose; or several, from the source's own on, in equal steps of the amounts."""
        amounts = self.stops
        if not self.single:
            still = dict.fromkeys(self.stops[0], 0.0)
            amounts = [still]
            for start, end in zip([still, *self.stops], self.stops, strict=False):
                for step in range(1, self._leg + 1):
                    share = step / self._leg
                    amounts.append({k: (1 - share) * start[k] + share * end[k] for k in end})
        for index, amount in enumerate(amounts):
            points = pose(self.own, amount)
            yield Pose(f"{index + 1:06d}", points, points)


def pose(own: Tensor, amounts: dict[str, float]) -> Tensor:
    """Landmarks (K, 2) moved so far: expressions first, as a turn would foreshorten them."""
    for name in sorted(amounts, key=lambda name: name == "yaw"):
        own = MOTIONS[name](own[None], amounts[name])[0]
    return own


def is_motion(text: str | Path) -> bool:
    """Whether a driver is written as a motion, and is no file."""
    return bool(re.fullmatch(r"[a-z]+:[^/\\]*", str(text))) and not Path(text).exists()


def read_motion(text: str, fps: float | None = None) -> Handmade:
    """ValueError, which says what can be written, for what is no motion."""
    columns = {}
    for part in text.split("+"):
        name, _, values = part.partition(":")
        if name not in MOTIONS or name in columns:
            again = "twice" if name in columns else "which is no motion and no file"
            raise ValueError(f'{text}: got "{name}", {again}; {EXPECTED}')
        columns[name] = [_amount(text, name, value) for value in values.split(",")]
    most = max(map(len, columns.values()))
    short = next((name for name, x in columns.items() if len(x) not in (1, most)), None)
    if short is not None:
        raise ValueError(
            f"{text}: got {len(columns[short])} amounts for {short} and {most} for another motion; "
            "expected as many, or one for all"
        )
    columns = {name: x * most if len(x) == 1 else x for name, x in columns.items()}
    stops = [dict(zip(columns, x, strict=True)) for x in zip(*columns.values(), strict=True)]
    return Handmade(text, stops, fps or FPS)


def _amount(text: str, name: str, value: str) -> float:
    try:
        amount = WORDS[value] if name == "mouth" and value in WORDS else float(value)
        # Any face will do to see whether it is an amount that there is.
        MOTIONS[name](torch.arange(136.0).view(1, 68, 2), amount)
    except ValueError as error:
        said = f'"{value}"' if "float" in str(error) else str(error).removeprefix("got ")
        raise ValueError(f"{text}: got {said}, of {name}; {EXPECTED}") from error
    return amount
