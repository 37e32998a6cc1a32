"""Two functions timed in turns A B A B, so that a busy machine slows both alike."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import torch

LEAST_PAIRS = 5
WARM_UP_ROUNDS, WARM_UP_SECONDS = 3, 3.0


@dataclass(frozen=True)
class Pairs:
    first: list[float]
    """Seconds of each turn."""
    second: list[float]

    @property
    def ratios(self) -> list[float]:
        """first / second, turn by turn; above 1 the second is faster."""
        return [a / b for a, b in zip(self.first, self.second, strict=True)]

    def summary(self) -> dict:
        ratios = self.ratios
        return {
            "first": median(self.first),
            "second": median(self.second),
            "ratio": median(ratios),
            "ratio_min": min(ratios),
            "ratio_max": max(ratios),
            "pairs": len(ratios),
        }


def alternate(
    first: Callable[[], object],
    second: Callable[[], object],
    *,
    device: str = "cpu",
    pairs: int = 15,
    seconds: float = 60.0,
) -> Pairs:
    """Both in turns, `pairs` times each; fewer, but at least 5, if that takes over `seconds`."""
    began = time.perf_counter()
    for _ in range(WARM_UP_ROUNDS):
        clock(first, device), clock(second, device)
        if time.perf_counter() - began > WARM_UP_SECONDS:
            break
    began, times = time.perf_counter(), []
    while len(times) < pairs:
        times.append((clock(first, device), clock(second, device)))
        if len(times) >= LEAST_PAIRS and time.perf_counter() - began > seconds:
            break
    return Pairs(*map(list, zip(*times, strict=True)))


def clock(work: Callable[[], object], device: str) -> float:
    """Seconds of the work, including what it queued on the device."""
    wait(device)
    began = time.perf_counter()
    work()
    wait(device)
    return time.perf_counter() - began


def wait(device: str) -> None:
    """Until what is queued on a device is done."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
