"""Times of a film's frames: which constant rate suits them, and which frame each tick shows.

Legend: T frames. Times are in seconds from the film's beginning. Tick k of a result is at k / rate.
"""

import math
from collections.abc import Iterable, Iterator
from fractions import Fraction
from statistics import median
from typing import NamedTuple, Protocol, TypeVar

FPS = 25.0
"""Frames a second of folders, photos and films of one frame."""
STANDARD_RATES = (
    *(Fraction(24000, 1001), Fraction(24), Fraction(25), Fraction(30000, 1001), Fraction(30)),
    *(Fraction(48), Fraction(50), Fraction(60000, 1001), Fraction(60)),
)
UNEVEN_RATES = (25, 30, 50, 60)
"""One of these is taken where frames come at uneven times: half a frame is 20 ms at most."""
LEAST = 22.5
"""Frames a second: a slower film gets a rate near a multiple of its own."""
SNAP = 0.01
"""A measured rate as close as this to a standard one stands for it: stamps may be whole
milliseconds."""
ROUNDING = 1e-6
"""Of times, in ticks."""
LONG_GAP = 1.0
"""Seconds without a frame that are worth a sentence."""


class Timed(Protocol):
    """What has a time."""

    @property
    def time(self) -> float: ...


T = TypeVar("T", bound=Timed)


class FrameTimes(NamedTuple):
    """When the frames of a film are shown."""

    times: list[float]
    """(T,), ascending."""
    end: float
    """When the last frame ends."""

    def rate(self, stated: Fraction | None = None) -> tuple[Fraction, bool]:
        """The constant rate for a result, and whether it is the film's own.

        stated: by the film's header. It, or the mean rate, is the film's own if every frame is
        within half a frame of its time at that rate; a standard rate before others. Else the rate
        is one of UNEVEN_RATES, by the median interval.
        """
        times = self.times
        steps = [b - a for a, b in zip(times, times[1:], strict=False) if b > a]
        if not steps:
            length = self.end - times[0] if times else 0
            alone = Fraction(1 / length).limit_denominator(1001) if length > 0 else Fraction(0)
            return (alone if 1 <= alone <= 1000 else Fraction(FPS)), True
        mean = _snap(Fraction((len(times) - 1) / (times[-1] - times[0])))
        candidates = [rate for rate in (stated, mean) if rate and 0 < rate <= 1000]
        for rate in sorted(candidates, key=lambda rate: rate not in STANDARD_RATES):
            if self._are_even(rate):
                return rate, True
        typical = 1 / median(steps)
        typical *= math.ceil(LEAST / typical) if typical < LEAST else 1
        return Fraction(min(UNEVEN_RATES, key=lambda rate: abs(math.log(rate / typical)))), False

    def _are_even(self, rate: Fraction) -> bool:
        first, step = self.times[0], float(1 / rate)
        late = (abs(time - first - k * step) for k, time in enumerate(self.times))
        return max(late) <= 0.5 * step

    def gaps(self) -> list[tuple[float, float]]:
        """Begin and end of the stretches of more than LONG_GAP seconds in which no frame comes."""
        pairs = list(zip(self.times, self.times[1:], strict=False))
        usual = median(b - a for a, b in pairs) if pairs else 0
        return [(a, b) for a, b in pairs if b - a > max(LONG_GAP, 2 * usual)]

    def ticks(self, rate: Fraction) -> int:
        """Frames of a result at this rate."""
        return max(1, round(self.end * rate))


def at_rate(frames: Iterable[T], rate: Fraction, end: float) -> Iterator[tuple[T, bool]]:
    """For each tick up to `end` the frame that it shows, and whether the one before shows the same.

    A frame is shown from the tick nearest to its time on, or from the next one if that has another
    already, and until the next frame; the first one also before, the last one until `end`. A frame
    that would come more than a tick late is left out. One frame is held at a time.
    """
    last = max(1, round(end * rate))
    current, slot = None, 0
    for frame in frames:
        if current is None:
            current = frame
            continue
        due = max(math.ceil(frame.time * rate - Fraction(1, 2)), slot + 1)
        if due >= last or due - frame.time * rate > 1 + ROUNDING:
            continue
        yield from ((current, tick > slot) for tick in range(slot, due))
        current, slot = frame, due
    if current is not None:
        yield from ((current, tick > slot) for tick in range(slot, last))


def as_rate(fps: float) -> Fraction:
    """The exact rate that a float stands for, such as 30000/1001."""
    return Fraction(fps).limit_denominator(1001)


def _snap(rate: Fraction) -> Fraction:
    nearest = min(STANDARD_RATES, key=lambda standard: abs(standard - rate))
    return nearest if abs(nearest / rate - 1) < SNAP else rate.limit_denominator(1001)
