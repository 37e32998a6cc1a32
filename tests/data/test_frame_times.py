"""The rate of a result and what its ticks show, against the frames' own times."""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest

from facsimile.data.frame_times import FrameTimes, as_rate, at_rate


@dataclass
class Stamp:
    index: int
    time: float


def stamps(times):
    return [Stamp(index, time) for index, time in enumerate(times)]


def jittered(seed, fps=25, count=60, jitter=0.7):
    moved = np.arange(count) + np.random.default_rng(seed).uniform(-jitter, jitter, count)
    return sorted((moved / fps - moved.min() / fps).tolist())


NTSC = Fraction(30000, 1001)
EVEN = [
    *((25, None, Fraction(25)), (12.5, None, Fraction(25, 2)), (float(NTSC), None, NTSC)),
    *((float(NTSC), NTSC, NTSC), (120, None, Fraction(120)), (1, None, Fraction(1))),
]


@pytest.mark.parametrize(("fps", "stated", "expected"), EVEN)
def test_an_even_film_keeps_its_rate(fps, stated, expected):
    """Also with stamps of whole milliseconds, and every frame is shown once."""
    times = [round(k / fps, 3) for k in range(40)]
    film = FrameTimes(times, 40 / fps)
    assert film.rate(stated) == (expected, True)
    assert film.ticks(expected) == 40
    shown = list(at_rate(stamps(times), expected, film.end))
    assert [(stamp.index, held) for stamp, held in shown] == [(k, False) for k in range(40)]


UNEVEN = {
    "browser": jittered(0),
    "phone": [k / 30 for k in range(90) if k % 7 != 3 and k % 11 != 5],
    "screen": [0.0, *(1.5 + k / 60 for k in range(40)), 6.0, *(7 + k / 60 for k in range(20))],
    "gap": [*(k / 30 for k in range(20)), *(3.66 + k / 30 for k in range(20))],
    "slow": [0.0, 0.9, 2.5, 2.8, 5.0],
    "webcam": jittered(5, fps=15, jitter=0.55),
}


RATES = {"browser": 25, "phone": 30, "screen": 60, "gap": 30, "slow": 25, "webcam": 30}


@pytest.mark.parametrize("kind", UNEVEN)
def test_an_uneven_film_keeps_its_times(kind):
    """Whatever its stated rate, which is a mean."""
    times = UNEVEN[kind]
    film = FrameTimes(times, times[-1] + 0.04)
    rate, is_own = film.rate(Fraction(len(times) / film.end).limit_denominator(1000))
    assert not is_own
    assert rate == RATES[kind]
    shown = list(at_rate(stamps(times), rate, film.end))
    assert abs(len(shown) / rate - film.end) <= 0.5 / rate
    assert len(shown) == film.ticks(rate)
    first = {}
    for tick, (stamp, held) in enumerate(shown):
        assert held == (stamp.index in first)
        first.setdefault(stamp.index, tick / rate)
    assert list(first) == sorted(first)
    assert all(abs(at - times[index]) <= (1 + 1e-6) / rate for index, at in first.items())
    # What is shown when another frame's time has passed by a tick is no older than that frame.
    for tick, (stamp, _) in enumerate(shown[:-1]):
        assert all(t > (tick - 1 - 1e-6) / rate for t in times[stamp.index + 1 :])


@pytest.mark.parametrize("seed", range(1, 4))
def test_few_frames_of_a_jittered_film_are_lost(seed):
    times = jittered(seed)
    shown = at_rate(stamps(times), Fraction(25), times[-1] + 0.04)
    assert len({stamp.index for stamp, _ in shown}) >= 0.85 * len(times)


def test_gaps_are_named():
    assert FrameTimes(UNEVEN["gap"], 4.4).gaps() == [(19 / 30, 3.66)]
    assert FrameTimes([0, 2, 4, 6], 8).gaps() == []


def test_odd_times():
    """One frame, frames at one time, a late beginning, and times that go back."""
    assert FrameTimes([0.0], 0.2).rate() == (Fraction(5), True)
    assert FrameTimes([0.0], 0.0).rate() == (Fraction(25), True)
    shown = at_rate(stamps([0.3, 0.3, 0.4]), Fraction(10), 0.5)
    assert [stamp.index for stamp, _ in shown] == [0, 0, 0, 1, 2]
    back = at_rate(stamps([0.0, 0.3, 0.1, 0.5]), Fraction(10), 0.6)
    assert [stamp.index for stamp, _ in back] == [0, 0, 0, 1, 1, 3]
    assert list(at_rate([], Fraction(10), 1.0)) == []
    assert as_rate(float(NTSC)) == NTSC
