"""Reenactment: from the landmarks of a driver to those that a source's face is to take on.

Legend: T frames, K points. Landmarks are (T, K, 2), x then y, in pixels, of any frame: what is said
here of points does not depend on which of a face they are. Faces are in FFHQ's frame, or one alike.
"""

import math

import torch
from torch import Tensor

SMOOTHING = 0.08
"""Seconds: jitter of a landmarker's points goes from frame to frame, expressions take longer."""
SPEED_CUTOFF = 1.0
"""Hz, of the speeds: the 1 Euro filter's own."""
QUICKNESS = 5.0
"""Hz of cutoff per size of the face in a second: a mouth that opens in 0.2 s lags by one frame."""


def similarity(face: Tensor, onto: Tensor) -> Tensor:
    """Turn and scale that bring one face (K, 2) onto another: (2, 2), to multiply from the right.

    The scale is the ratio of sizes (root mean square distance from the middle), the turn that of
    the least squares. A similarity of `face` comes out in full; expressions nearly cancel.
    Raises ValueError where a face has no size.
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


def relative(source: Tensor, first: Tensor, driver: Tensor) -> Tensor:
    """source + (driver - first), turned and scaled from the driver's face to the source's.

    source, first: (K, 2), the source's own landmarks and the driver's in the frame where both show
    the same expression. driver: (.., K, 2). So the source keeps the shape of its face, and a driver
    that stands still moves nothing, however large, tilted or wherever it is.
    """
    return source + (driver - first) @ similarity(first, source)


def morph(start: Tensor, end: Tensor, frames: int) -> Tensor:
    """From one face's landmarks (K, 2) to another's in equal steps, both ends exact: (T, K, 2)."""
    if frames < 2:
        raise ValueError(f"got {frames} frames to morph in; expected at least 2")
    share = torch.linspace(0, 1, frames, dtype=start.dtype, device=start.device)
    return torch.lerp(start, end, share[:, None, None])


def hold(track: Tensor, found: Tensor, before: Tensor) -> Tensor:
    """track (T, K, 2), found (T,) bool -> the same, where frames without a face repeat the last.

    before: (K, 2), for those ahead of the first face.
    """
    held, last = [], before
    for points, good in zip(track, found.tolist(), strict=True):
        last = points if good else last
        held.append(last)
    return torch.stack(held) if held else track


class OneEuro:
    """A track without its jitter, frame by frame: "1 Euro Filter: A Simple Speed-based Low-pass
    Filter for Noisy Input in Interactive Systems".

    A low-pass whose cutoff rises with a point's own speed: what rests is smoothed most, what moves
    lags little. It looks at no later frame, so that a video streams through.
    """

    def __init__(self, fps: float, seconds: float = SMOOTHING):
        """seconds: time constant of a point at rest; 0 leaves the track as it is."""
        if not (math.isfinite(seconds) and seconds >= 0):
            raise ValueError(f"got a smoothing of {seconds} seconds; expected 0 or more, as 0.1")
        if not (math.isfinite(fps) and fps > 0):
            raise ValueError(f"got {fps} frames a second; expected more than 0")
        self.fps, self.seconds = fps, seconds
        self._last: Tensor | None = None
        self._speed: Tensor | None = None
        self._smoothed: Tensor | None = None

    def __call__(self, points: Tensor, frames: int = 1) -> Tensor:
        """points (K, 2), `frames` after the last ones -> smoothed (K, 2)."""
        if self.seconds == 0:
            return points
        if self._last is None:
            self._last = self._smoothed = points
            self._speed = torch.zeros_like(points)
            return points
        passed = frames / self.fps
        speed = (points - self._last) / passed
        self._speed = torch.lerp(self._speed, speed, _share(SPEED_CUTOFF, passed))
        size = (points - points.mean(0)).square().sum(1).mean().sqrt().clamp_min(1e-6)
        sizes = self._speed.norm(dim=1, keepdim=True) / size  # (K, 1), faces a second
        cutoff = 1 / (2 * math.pi * self.seconds) + QUICKNESS * sizes
        self._last = points
        self._smoothed = self._smoothed + _share(cutoff, passed) * (points - self._smoothed)
        return self._smoothed


def smooth(track: Tensor, fps: float, seconds: float = SMOOTHING) -> Tensor:
    """A whole track (T, K, 2) through `OneEuro`."""
    each = OneEuro(fps, seconds)
    return torch.stack([each(points) for points in track]) if len(track) else track


class Motion:
    """A driver's landmarks frame by frame -> those that the source is to take on.

    How many frames were held, because they show no face, stands in `held`.
    """

    def __init__(self, source: Tensor, *, relative: bool, fps: float, seconds: float = SMOOTHING):
        """source: its own landmarks (K, 2). relative: see `relative`, from the first face on;
        else the driver's landmarks themselves. seconds: see `OneEuro`."""
        self.source, self.relative, self.held = source, relative, 0
        self._smooth = OneEuro(fps, seconds)
        self._first: Tensor | None = None
        self._pose, self._since = source, 0

    def __call__(self, driver: Tensor | None) -> Tensor:
        """driver (K, 2), None where there is no face: the pose before stays, at first the source's
        own -> (K, 2)."""
        self._since += 1
        if driver is None:
            self.held += 1
            return self._pose
        points = self._smooth(driver.to(self.source), self._since)
        self._first = points if self._first is None else self._first
        self._since = 0
        self._pose = points
        if self.relative:
            self._pose = relative(self.source, self._first, points)
        return self._pose


def _share(cutoff, passed: float):
    """Of the way to a new value that a first-order low-pass goes in `passed` seconds."""
    return 1 / (1 + 1 / (2 * math.pi * passed * cutoff))
