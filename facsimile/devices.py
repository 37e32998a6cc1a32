"""What a command computes on: the device, the CPU threads, and memory that does not suffice."""

import os
import sys
from dataclasses import dataclass

import torch

from facsimile.data.progress import ProgressBar

from .launched import launched_device
from .threads import LoadMeter, free_cores

OUT_OF_MEMORY = ("not enough memory", "can't allocate memory", "out of memory")
"""What the errors of a CPU's allocator, and of libraries on a GPU, say."""


def set_threads(threads: int | None, meter: LoadMeter | None = None) -> str:
    """Set the number of CPU threads; returns a line on it, "" where all cores are used.

    threads: as many; None: as the environment's OMP_NUM_THREADS says, else by what other programs
    leave free. meter: of the load until now; None: it is measured for a moment. Raises ValueError
    for less than one.
    """
    if threads is not None:
        if threads < 1:
            raise ValueError(f"--threads is {threads}; expected at least 1")
        torch.set_num_threads(threads)
        return ""
    if "OMP_NUM_THREADS" in os.environ:
        return ""
    most = torch.get_num_threads()
    if most == 1:
        return ""
    taken = (meter or LoadMeter()).cores_taken()
    free = min(most, free_cores(taken))
    if free == most:
        return ""
    torch.set_num_threads(free)
    return (
        f"threads: {free} of {most}, as other programs keep {taken:.1f} cores busy; --threads sets "
        "another number"
    )


def is_out_of_memory(error: BaseException) -> bool:
    """On a GPU or a CPU."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(x in str(error) for x in OUT_OF_MEMORY)


@dataclass
class Batch:
    """How many are computed at once: halved where memory does not suffice."""

    size: int
    unit: str
    """What is computed, in the singular."""

    def halve(self, error: BaseException) -> None:
        """Halve the size and say so; raise the error if it is another one, or the size is 1."""
        if self.size == 1 or not is_out_of_memory(error):
            raise error
        self.size //= 2
        count = f"{self.size} {self.unit}{'s' * (self.size != 1)}"
        ProgressBar.write(f"out of memory: from now on {count} at once", file=sys.stderr)


def pick_device(name: str) -> torch.device:
    """The device called "auto" (a GPU if there is one), "cpu", "cuda", "cuda:1" or "mps".

    A process of `accelerate launch` gets its own GPU. Raises ValueError if this machine does not
    have the device, or the launcher gives another one.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    name = launched_device(name, os.environ, cuda=available["cuda"])
    if name == "auto":
        name = next((kind for kind, present in available.items() if present), "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(
            f'"{name}" is not a device; choose auto, cpu, cuda, cuda:1 or mps'
        ) from error
    if not available.get(device.type, True):
        raise ValueError(f'this machine has no "{name}"; choose --device cpu')
    return device
