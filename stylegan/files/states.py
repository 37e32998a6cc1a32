"""State dicts in a tree, with the names that their network gives its tensors.

What wraps a network puts a prefix before all names: "module." of DataParallel and
DistributedDataParallel, "_orig_mod." of torch.compile, the attribute of a Lightning module. Such a
prefix is found by the known names behind it, and by nothing else.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from torch import Tensor

from .pickles import Fault, printable
from .translation import is_state, prefixed

COMPILED = "_orig_mod."
"""What torch.compile puts before the names of a module, also of one inside another."""
MAX_DEPTH = 3
"""How deep in a tree of dicts a state dict lies."""
AVERAGED = re.compile(r"(^|_)(ema|smooth)(_|$)|^gs$", re.IGNORECASE)
"""A part of the way to averaged weights: "g_ema", "generator_smooth", "ema_model"."""


class State(NamedTuple):
    """A network's state dict."""

    where: str
    """The way to it in the tree, with the prefix of its names: "G_ema", "state_dict.net."."""
    tensors: dict[str, Tensor]
    beside: dict
    """The dict of the tree in which it lies; {} if it is the whole tree."""


def find(tree: object, *names: str) -> list[State]:
    """The states with these names in a tree; of averaged weights alone, where there are any.

    names: of tensors that only this network has, all of them; "x." stands for any name that begins
    so.
    """
    states: list[State] = []
    for where, state, beside in _states(tree, (), {}):
        if any(COMPILED in name for name in state):
            state = {name.replace(COMPILED, ""): x for name, x in state.items()}
        for prefix in _prefixes(state, names[0]):
            tensors = prefixed(state, prefix)
            if all(_has(tensors, name) for name in names):
                states.append(State(".".join((*where, prefix)), tensors, beside))
    averaged = [x for x in states if any(map(AVERAGED.search, x.where.split(".")))]
    return averaged or states


def only(states: list[State]) -> State:
    """The only state of a list. Raises Fault, as no name says which of several is meant."""
    if len(states) > 1:
        places = ", ".join(printable(state.where) for state in states[:4])
        raise Fault(
            f"holds {len(states)} networks of this kind ({places}); save the one that is meant in "
            "a file of its own"
        )
    return states[0]


def _states(tree: object, where: tuple[str, ...], beside: dict) -> Iterator[tuple]:
    if is_state(tree):
        yield where, tree, beside
    elif isinstance(tree, dict) and len(where) < MAX_DEPTH:
        for key, value in tree.items():
            if isinstance(key, str):
                yield from _states(value, (*where, key), tree)


def _prefixes(state: dict[str, Tensor], known: str) -> list[str]:
    """What stands before a known name, up to a dot, wherever that name occurs."""
    pattern = re.compile(rf"((?:.*\.)?){re.escape(known)}" + ("" if known.endswith(".") else "$"))
    return list(dict.fromkeys(match[1] for name in state if (match := pattern.match(name))))


def _has(state: dict[str, Tensor], known: str) -> bool:
    return known in state or (known.endswith(".") and any(x.startswith(known) for x in state))
