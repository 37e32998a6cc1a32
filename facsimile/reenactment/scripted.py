"""Scripted drivers: `yaw:20+mouth:open` as motion of the source's landmarks.

    yaw:20                  turned by 20 degrees; a single pose
    mouth:open+smile:0.5    both at once
    yaw:-20,20,0            from the source's pose through these, one second each

Legend: K = 68 points.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from facsimile.data.frame_times import FPS
from facsimile.editing import MOTIONS

from .drivers import DriverFrame

MOUTH_WORDS = {"open": 1.0, "closed": -1.0}
"""Words for amounts of `mouth`."""
SECONDS_PER_POSE = 1.0
"""Duration of the motion from one pose to the next."""
EXPECTED = (
    f"expected one of {', '.join(MOTIONS)} with an amount, as yaw:20, mouth:open, smile:0.5; with "
    "+ between several at once, with commas between amounts one after the other, as yaw:-20,20,0"
)


@dataclass(frozen=True)
class ScriptedDriver:
    """Motion of a source's landmarks; `for_source` gives it the landmarks."""

    path: str
    """The script."""
    poses: list[dict[str, float]]
    """Motion -> amount, for each pose of the script."""
    fps: float
    landmarks: Tensor | None = None
    """(K, 2), of the source."""

    files = ()
    sound = None
    notes = ()

    @property
    def single(self) -> bool:
        return len(self.poses) == 1

    @property
    def count(self) -> int:
        return 1 if self.single else 1 + len(self.poses) * self._frames_per_pose

    @property
    def _frames_per_pose(self) -> int:
        return max(1, round(SECONDS_PER_POSE * self.fps))

    def for_source(self, landmarks: Tensor) -> "ScriptedDriver":
        return replace(self, landmarks=landmarks)

    def __iter__(self) -> Iterator[DriverFrame]:
        """The single pose; or equal steps of the amounts from the source's pose through all."""
        frames = self.poses
        if not self.single:
            neutral = dict.fromkeys(self.poses[0], 0.0)
            frames = [neutral]
            for start, end in zip([neutral, *self.poses], self.poses, strict=False):
                for step in range(1, self._frames_per_pose + 1):
                    weight = step / self._frames_per_pose
                    frames.append({k: (1 - weight) * start[k] + weight * end[k] for k in end})
        if self.landmarks is None:
            raise ValueError(f"{self.path}: a script moves a source; call for_source first")
        for index, amounts in enumerate(frames):
            points = apply_motions(self.landmarks, amounts)
            yield DriverFrame(f"{index + 1:06d}", points, points)


def apply_motions(landmarks: Tensor, amounts: dict[str, float]) -> Tensor:
    """Landmarks (K, 2) moved by each amount; expressions before the turn, which shortens them."""
    for name in sorted(amounts, key=lambda name: name == "yaw"):
        landmarks = MOTIONS[name](landmarks[None], amounts[name])[0]
    return landmarks


def is_motion(text: str | Path) -> bool:
    """Whether a driver is a script, and not a file."""
    return bool(re.fullmatch(r"[a-z]+:[^/\\]*", str(text))) and not Path(text).exists()


def read_motion(text: str, fps: float | None = None) -> ScriptedDriver:
    """Parse a script; ValueError, with what is allowed, for what is not one."""
    columns = {}
    for part in text.split("+"):
        name, _, values = part.partition(":")
        if name not in MOTIONS or name in columns:
            problem = "twice" if name in columns else "which is neither a motion nor a file"
            raise ValueError(f'{text}: got "{name}", {problem}; {EXPECTED}')
        columns[name] = [_amount(text, name, value) for value in values.split(",")]
    most = max(map(len, columns.values()))
    short = next((name for name, x in columns.items() if len(x) not in (1, most)), None)
    if short is not None:
        raise ValueError(
            f"{text}: got {len(columns[short])} amounts for {short} and {most} for another motion; "
            "expected as many, or one for all"
        )
    columns = {name: x * most if len(x) == 1 else x for name, x in columns.items()}
    poses = [dict(zip(columns, x, strict=True)) for x in zip(*columns.values(), strict=True)]
    return ScriptedDriver(text, poses, fps or FPS)


def _amount(text: str, name: str, value: str) -> float:
    try:
        amount = MOUTH_WORDS[value] if name == "mouth" and value in MOUTH_WORDS else float(value)
        # Any face serves to check whether the amount is in range.
        MOTIONS[name](torch.arange(136.0).view(1, 68, 2), amount)
    except ValueError as error:
        problem = f'"{value}"' if "float" in str(error) else str(error).removeprefix("got ")
        raise ValueError(f"{text}: got {problem}, of {name}; {EXPECTED}") from error
    return amount
