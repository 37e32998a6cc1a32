"""CPU threads of a command: as many as other programs leave free, and none that spins.

The threads of an operation wait for the slowest of them. Where another program has the core of one,
all of them wait, and by default they wait busily, which takes time from that program and from the
thread that is late.
"""

import os
import time
from dataclasses import dataclass, field

import psutil

ENVIRONMENT = {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}
"""What tells OpenMP, GNU's and Intel's, to let waiting threads sleep."""
MOMENT = 0.3
"""Seconds for which the load is measured at least."""


def wait_without_spinning() -> None:
    """Let OpenMP's threads sleep while they wait; to be called before torch is imported.

    Where the environment says how they wait, nothing is changed.
    """
    if not ENVIRONMENT.keys() & os.environ.keys():
        os.environ.update(ENVIRONMENT)


@dataclass(frozen=True)
class LoadMeter:
    """The processor time that other programs take from its making on."""

    began: float = field(default_factory=lambda: time.monotonic())
    idle: float = field(default_factory=lambda: _idle_seconds())
    own: float = field(default_factory=lambda: time.process_time())

    def cores_taken(self) -> float:
        """Cores that other programs have kept busy; waits until MOMENT has passed."""
        time.sleep(max(0.0, self.began + MOMENT - time.monotonic()))
        elapsed = time.monotonic() - self.began
        own = time.process_time() - self.own
        busy = (psutil.cpu_count() or 1) * elapsed - (_idle_seconds() - self.idle)
        return max(0.0, (busy - own) / elapsed)


def _idle_seconds() -> float:
    """Of all cores together, since the machine was started."""
    times = psutil.cpu_times()
    return times.idle + getattr(times, "iowait", 0.0)


def free_cores(taken: float) -> int:
    """Cores of this process that others leave free, at least 1; taken: see `cores_taken`."""
    cores = psutil.cpu_count() or 1
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else cores
    return max(1, min(allowed, round(cores - taken)))
