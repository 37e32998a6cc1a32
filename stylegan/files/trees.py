"""Checks of a tree of plain values that a file holds: no cycles, no bombs, nothing unfinished."""

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from .machine import refused_name
from .pickles import Fault, Network, printable
from .settings import Member

MAX_DEPTH = 200
MAX_VALUES = 5_000_000
"""Values of the tree; a value in two places counts twice."""
MAX_COPIES = 4
"""Bytes of all tensors, counted in the same way, per byte of the file."""
SETTINGS = ("args", "cfg", "config", "hparams", "hyper_parameters", "kwargs", "opt", "options")
SETTINGS += ("opts", "argparse.Namespace")
"""Keys and classes that hold what a program was asked for."""
LEAVES = (
    *(set, str, int, float, bool, type(None), bytearray, memoryview),
    *(Tensor, np.ndarray, np.generic, np.dtype, torch.dtype),
)


def check(tree: object, size: int) -> None:
    """Raise Fault if a walk through the tree of a file of `size` bytes could hang or overflow.

    This walk has an explicit stack: children first, each value once.
    """
    # Of every container: its depth, the number of values in it, and the bytes of its tensors.
    totals: dict[int, tuple[int, int, int]] = {}
    ancestors: set[int] = set()
    pending = [(tree, False)]
    while pending:
        node, leaving = pending.pop()
        key = id(node)
        if not leaving:
            if key in ancestors:
                raise Fault("is no network: a value that contains itself")
            if key in totals:
                continue
            ancestors.add(key)
            pending.append((node, True))
            pending.extend((child, False) for child in _children(node) if not _leaf(child))
            continue
        depth, values, size_inside = 0, 1, _bytes(node)
        for child in _children(node):
            inside = (1, 1, _bytes(child)) if _leaf(child) else totals[id(child)]
            depth = max(depth, inside[0])
            values, size_inside = values + inside[1], size_inside + inside[2]
        totals[key] = (1 + depth, values, size_inside)
        if depth >= MAX_DEPTH:
            raise Fault(f"is no network: it is nested more than {MAX_DEPTH} deep")
        if values > MAX_VALUES or size_inside > MAX_COPIES * size:
            raise Fault("is no network: it holds the same values again and again")
        ancestors.discard(key)
    _check_members(tree)


def _check_members(tree: object) -> None:
    """Raise Fault if the call of an unknown class stands elsewhere than among settings."""
    visited: set[int] = set()
    pending = [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, Member):
            raise refused_name(*node.enum.rsplit(".", 1))
        if id(node) in visited or (isinstance(node, Network) and node.name in SETTINGS):
            continue
        visited.add(id(node))
        if isinstance(node, dict):
            pending += [value for key, value in node.items() if key not in SETTINGS]
        elif isinstance(node, list | tuple | Network):
            pending.extend(_children(node))


def describe(tree: object) -> str:
    """A description of a tree, for a message."""
    if isinstance(tree, dict):
        return f"a dict with the keys {', '.join(map(printable, list(tree)[:8]))}"
    if isinstance(tree, list | tuple):
        return f"a {type(tree).__name__} of {len(tree)} values"
    if isinstance(tree, Tensor | np.ndarray):
        return f"an array of shape {tuple(tree.shape)}"
    return printable(tree.name) if isinstance(tree, Network) else f"a {type(tree).__name__}"


def _children(node: object) -> Iterable[object]:
    if isinstance(node, Network):
        return (node.state,)
    if isinstance(node, dict):
        return node.values()
    if isinstance(node, list | tuple):
        return node
    if isinstance(node, LEAVES):
        return ()
    name = getattr(node, "name", type(node).__name__)
    raise Fault(f"is no network: it holds {printable(name)} as a value")


def _leaf(node: object) -> bool:
    return isinstance(node, LEAVES)


def _bytes(node: object) -> int:
    return node.nbytes if isinstance(node, Tensor | np.ndarray) else 0
