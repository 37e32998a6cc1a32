"""Shared by the readers of foreign files, which take out tensors one by one until none is left."""

import math
import re

import numpy as np
import torch
from torch import Tensor

from .pickles import Fault, printable

LR_MULTIPLIER = 0.01
"""The learning rate multiplier of our mapping network."""


def blocks(count: int) -> list[int]:
    """Resolutions of so many blocks: 4, 8, 16 and so on."""
    if not 1 <= count <= 12:
        raise Fault(f"has {count} blocks of layers; expected 2 or more, e.g. 9 for 1024 pixels")
    return [4 * 2**index for index in range(count)]


def count(state: dict[str, Tensor], pattern: str) -> int:
    """How many names fully match a pattern."""
    return sum(re.fullmatch(pattern, name) is not None for name in state)


def check_constant(shape: tuple[int, ...]) -> None:
    """Fault unless the constant (.., C, H, W) from which synthesis starts has 4x4 pixels."""
    height, width = shape[-2:]
    if (height, width) != (4, 4):
        pictures = "pictures" if height == width else "pictures that are not square"
        raise Fault(
            f"holds a generator of {pictures}: it starts from a constant of {height}x{width} "
            "pixels, and this version reads those that start from 4x4"
        )


def check_all_used(remaining: dict[str, Tensor], ignored: str, what: str) -> None:
    """Fault if tensors are left whose names do not fully match `ignored`."""
    unknown = sorted(name for name in remaining if not re.fullmatch(ignored, name))
    if unknown:
        some = ", ".join(unknown[:3]) + (", .." if len(unknown) > 3 else "")
        raise Fault(f"has tensors that {what} does not have ({some}): an unknown variant")


def prefixed(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The entries whose names begin with `prefix`, without it."""
    return {k.removeprefix(prefix): x for k, x in state.items() if k.startswith(prefix)}


def gain_before(bias: Tensor) -> Tensor:
    """A bias of StyleGAN1's mapping for our layer, which multiplies by sqrt(2) after the bias.

    sqrt(2) lrelu(y) = lrelu(sqrt(2) y), and StyleGAN1's gain multiplies weights but not biases.
    """
    return bias / math.sqrt(2)


def scale_mapping(tensors: dict[str, Tensor], multiplier: float) -> dict[str, Tensor]:
    """The tensors, with a mapping of another learning rate multiplier converted to ours."""
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
    """A setting as a Python value. Fault if it is no finite number, bool or None."""
    if isinstance(value, (np.generic, np.ndarray)) and value.size == 1:
        value = value.item()
    if value is None or (isinstance(value, (bool, int, float)) and abs(value) < float("inf")):
        return value
    raise Fault(f"is damaged: {printable(repr(value))} is in the place of a number")
