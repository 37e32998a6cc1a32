"""Pickles, read as data: a small stack machine of our own, in which nothing of a file is run.

A pickle is a program. Its opcodes build plain values, look names up and call what they found. Here
a name is looked up in a table that the caller gives and nowhere else, and only functions of that
table are called. Protocols 0 to 5; the bytes in a pickle stay views of the file.
"""

from collections.abc import Callable

from .machine import Fault, Function, Machine, Network, Unbuilt, plain_keys, shown
from .opcodes import OPCODES

__all__ = ["Budget", "Fault", "Function", "Network", "Unbuilt", "plain_keys", "read", "shown"]

STEPS = 1_000_000
"""Opcodes in one file; the largest networks have less than a tenth of it."""


class Budget:
    """Opcodes that are left for a file and for all the pickles inside it."""

    def __init__(self, steps: int = STEPS):
        self.left = steps


def read(
    data: memoryview,
    names: dict[str, object],
    *,
    persistent: Callable[[object], object] | None = None,
    start: int = 0,
    budget: Budget | None = None,
) -> tuple[object, int]:
    """(value, position behind it) of the pickle that begins at `start`.

    names: full name -> what it stands for; a Function can be called. persistent: persistent id ->
    value. Raises Fault.
    """
    machine = Machine(data, names, persistent, start)
    budget = budget or Budget()
    end = len(data)
    while not machine.stopped:
        # Written out, for this is where the time of reading a network goes.
        budget.left -= 1
        position = machine.position
        if budget.left < 0:
            raise Fault(f"is no network: its pickle has more than {STEPS:,} operations")
        if position == end:
            raise Fault(f"is cut short after {position:,} bytes; download it again")
        run = OPCODES.get(data[position])
        if run is None:
            raise Fault(
                f"is damaged or in an unknown format: the byte {data[position]:#04x} at "
                f"{position} is nothing that a network's pickle contains"
            )
        machine.position += 1
        run(machine)
    return machine.pop(), machine.position
