"""What the readers of foreign files share: tensors are taken out one by one, none may be left."""

import math
import re

import numpy as np
import torch
from torch import Tensor

from .pickles import Fault, shown

# The learning rate multiplier that our mapping network has.
LR_MULTIPLIER = 0.01


def blocks(count: int) -> list[int]:
    """Sides of so many blocks: 4, 8, 16 and so on."""
    if not 1 <= count <= 12:
        raise Fault(f"has {count} blocks of layers; expected 2 or more, and 9 at a side of 1024")
    return [4 * 2**index for index in range(count)]


def count(state: dict[str, Tensor], pattern: str) -> int:
    """How many names match a pattern entirely."""
    return sum(re.fullmatch(pattern, name) is not None for name in state)


def nothing_left(left: dict[str, Tensor], ignored: str, what: str) -> None:
    """Fault where tensors were left whose names do not match `ignored` entirely."""
    unknown = sorted(name for name in left if not re.fullmatch(ignored, name))
    if unknown:
        some = ", ".join(unknown[:3]) + (", .." if len(unknown) > 3 else "")
        raise Fault(f"has tensors that {what} has not ({some}): a variant that is not known here")


def prefixed(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The entries whose names begin with `prefix`, without it."""
    return {k.removeprefix(prefix): x for k, x in state.items() if k.startswith(prefix)}


def gain_before(bias: Tensor) -> Tensor:
    """A bias of StyleGAN1's mapping for our layer, which multiplies by sqrt(2) after the bias.

    sqrt(2) lrelu(y) = lrelu(sqrt(2) y): the gain is in StyleGAN1's weights, and not on its biases.
    """
    return bias / math.sqrt(2)


def scale_mapping(tensors: dict[str, Tensor], multiplier: float) -> dict[str, Tensor]:
    """The tensors with a mapping network of another learning rate multiplier turned into ours."""
    if multiplier == LR_MULTIPLIER:
        return tensors
    factor = multiplier / LR_MULTIPLIER
    return {k: x * factor if k.startswith("mapping.fc") else x for k, x in tensors.items()}


def is_state(value: object) -> bool:
    """Whether a value is a state dict: names to tensors."""
    return (
        isinstance(value, dict)
        and len(value) > 0
        and all(isinstance(k, str) and torch.is_tensor(x) for k, x in value.items())
    )


def number(value: object) -> float | int | bool | None:
    """A setting, out of numpy's wrapping; Fault where it is no finite number, bool or None."""
    if isinstance(value, (np.generic, np.ndarray)) and value.size == 1:
        value = value.item()
    if value is None or (isinstance(value, (bool, int, float)) and abs(value) < float("inf")):
        return value
    raise Fault(f"is damaged: {shown(repr(value))} stands where a number should")
