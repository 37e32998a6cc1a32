"""Landmark motion: from a driver's landmarks, frame by frame, to the source's target landmarks.

Legend: T frames, K points. Landmarks are (T, K, 2), x then y, in pixels of any frame; nothing here
depends on which points of a face they are. Faces are aligned as in FFHQ, or in a similar way.
"""

import math

import torch
from torch import Tensor

SMOOTHING = 0.08
"""Seconds. Detector jitter changes from frame to frame; expressions take longer."""
SPEED_CUTOFF = 1.0
"""Hz. Cutoff of the low-pass on the speeds, the 1 Euro filter's default."""
SPEED_COEFFICIENT = 5.0
"""Hz of cutoff per face size and second. A mouth that opens within 0.2 s lags by one frame."""


def similarity(face: Tensor, onto: Tensor) -> Tensor:
    """Rotation and scale that map one face (K, 2) onto another: (2, 2), multiplied from the right.

    The scale is the ratio of sizes (root mean square distance from the centre), the rotation is the
    least-squares one. A similarity transform of `face` is recovered exactly; expressions nearly
    cancel. Raises ValueError if a face has no size.
    """
    a, b = (x - x.mean(0) for x in (face, onto))
    size_a, size_b = (x.square().sum().sqrt() for x in (a, b))
    if not (size_a > 0 and size_b > 0):
        raise ValueError("got a face whose points are all one point; expected landmarks of a face")
    along = (a * b).sum()
    across = (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum()
    cos, sin = torch.stack([along, across]) / torch.hypot(along, across).clamp_min(
        torch.finfo(a.dtype).tiny
    )
    return torch.stack([torch.stack([cos, sin]), torch.stack([-sin, cos])]) * (size_b / size_a)


def relative_motion(source: Tensor, first: Tensor, driver: Tensor) -> Tensor:
    """source + (driver - first), rotated and scaled from the driver's face to the source's.

    source (K, 2): the source's landmarks. first (K, 2): the driver's landmarks in the frame in
    which it shows the source's expression. driver: (.., K, 2). The source keeps the shape of its
    face; a driver that does not move moves nothing, whatever its size, tilt and position.
    """
    return source + (driver - first) @ similarity(first, source)


def interpolate_landmarks(start: Tensor, end: Tensor, frames: int) -> Tensor:
    """Equal steps from one face's landmarks (K, 2) to another's, both ends exact: (T, K, 2)."""
    if frames < 2:
        raise ValueError(f"got {frames} frames to morph in; expected at least 2")
    weight = torch.linspace(0, 1, frames, dtype=start.dtype, device=start.device)
    return torch.lerp(start, end, weight[:, None, None])


class OneEuro:
    """Removes jitter from a track, frame by frame: "1 Euro Filter: A Simple Speed-based Low-pass
    Filter for Noisy Input in Interactive Systems".

    A low-pass filter whose cutoff rises with the speed of each point: points at rest are smoothed
    most, moving points lag little. It uses no later frame, so a video can be streamed.
    """

    def __init__(self, fps: float, seconds: float = SMOOTHING):
        """seconds: time constant for a point at rest; 0 disables the filter."""
        if not (math.isfinite(seconds) and seconds >= 0):
            raise ValueError(f"got a smoothing of {seconds} seconds; expected 0 or more, as 0.1")
        if not (math.isfinite(fps) and fps > 0):
            raise ValueError(f"got {fps} frames a second; expected more than 0")
        self.fps, self.seconds = fps, seconds
        self._last: Tensor | None = None
        self._speed: Tensor | None = None
        self._smoothed: Tensor | None = None

    def __call__(self, points: Tensor, frames: int = 1) -> Tensor:
        """points (K, 2), `frames` frames after the previous call -> smoothed points (K, 2)."""
        if self.seconds == 0:
            return points
        if self._last is None or self._speed is None or self._smoothed is None:
            self._last = self._smoothed = points
            self._speed = torch.zeros_like(points)
            return points
        elapsed = frames / self.fps
        speed = (points - self._last) / elapsed
        self._speed = torch.lerp(self._speed, speed, _low_pass_weight(SPEED_CUTOFF, elapsed))
        size = (points - points.mean(0)).square().sum(1).mean().sqrt().clamp_min(1e-6)
        sizes = (
            torch.linalg.vector_norm(self._speed, dim=1, keepdim=True) / size
        )  # (K, 1), faces a second
        cutoff = 1 / (2 * math.pi * self.seconds) + SPEED_COEFFICIENT * sizes
        self._last = points
        self._smoothed = self._smoothed + _low_pass_weight(cutoff, elapsed) * (
            points - self._smoothed
        )
        return self._smoothed


def smooth(track: Tensor, fps: float, seconds: float = SMOOTHING) -> Tensor:
    """Apply `OneEuro` to a whole track (T, K, 2)."""
    smoother = OneEuro(fps, seconds)
    return torch.stack([smoother(points) for points in track]) if len(track) else track


class LandmarkMotion:
    """Maps a driver's landmarks, frame by frame, to the source's target landmarks.

    `frames_without_face` counts the frames that repeat the previous pose.
    """

    def __init__(self, source: Tensor, *, relative: bool, fps: float, seconds: float = SMOOTHING):
        """source: its landmarks (K, 2). relative: True applies `relative_motion` from the driver's
        first face on, False takes the driver's landmarks as they are. seconds: see `OneEuro`."""
        self.source, self.relative, self.frames_without_face = source, relative, 0
        self._smooth = OneEuro(fps, seconds)
        self._first: Tensor | None = None
        self._pose, self._frames_since_face = source, 0

    def __call__(self, driver: Tensor | None) -> Tensor:
        """driver: landmarks (K, 2), or None for a frame without a face -> target landmarks (K, 2).

        A frame without a face repeats the previous pose, which is first the source's.
        """
        self._frames_since_face += 1
        if driver is None:
            self.frames_without_face += 1
            return self._pose
        points = self._smooth(driver.to(self.source), self._frames_since_face)
        self._first = points if self._first is None else self._first
        self._frames_since_face = 0
        self._pose = points
        if self.relative:
            self._pose = relative_motion(self.source, self._first, points)
        return self._pose

    def hold(self, driver: Tensor | None) -> Tensor:
        """The previous pose (K, 2), as the driver's frame, passed before, lasts longer."""
        self._frames_since_face += 1
        self.frames_without_face += driver is None
        return self._pose


def _low_pass_weight(cutoff: Tensor | float, elapsed: float) -> Tensor | float:
    """Weight of the new value in a first-order low-pass after `elapsed` seconds."""
    return 1 / (1 + 1 / (2 * math.pi * elapsed * cutoff))
