"""Pickles, read as data by a small stack machine that runs no code of a file.

A pickle is a program: its opcodes build plain values, look up names, and call functions. Here names
are looked up only in a table that the caller passes, and only functions of that table are called.
Protocols 0 to 5; the bytes in a pickle are views of the file.
"""

from collections.abc import Callable

from .machine import Fault, Function, Machine, Network, Unbuilt, plain_keys, printable
from .opcodes import OPCODES

__all__ = ["Budget", "Fault", "Function", "Network", "Unbuilt", "plain_keys", "read", "printable"]

MAX_OPCODES = 1_000_000
"""In one file; the largest networks have less than a tenth of it."""
ZIP = b"PK"
"""How every zip file begins, also one inside another file. No pickle of a network does."""


class Budget:
    """The remaining opcodes of a file, with all the pickles inside it."""

    def __init__(self, opcodes: int = MAX_OPCODES):
        self.remaining = opcodes


def read(
    data: memoryview,
    names: dict[str, object],
    *,
    persistent: Callable[[object], object] | None = None,
    start: int = 0,
    budget: Budget | None = None,
) -> tuple[object, int]:
    """(value, position after it) of the pickle that begins at `start`.

    names: full name -> its value; a Function can be called. persistent: persistent id -> value.
    Raises Fault.
    """
    if data[start : start + len(ZIP)] == ZIP:
        # Read as a pickle, what is refused would depend on the archive's date.
        raise Fault("is damaged or made to deceive: a zip file lies in the place of a pickle")
    machine = Machine(data, names, persistent, start)
    budget = budget or Budget()
    end = len(data)
    while not machine.stopped:
        # Written inline: reading a network spends most of its time here.
        budget.remaining -= 1
        position = machine.position
        if budget.remaining < 0:
            raise Fault(f"is no network: its pickle has more than {MAX_OPCODES:,} operations")
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
