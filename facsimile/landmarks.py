"""The landmark network that a name and a file of weights stand for."""

from pathlib import Path
from typing import Literal, cast

import torch

from facsimile import checkpoints, data


def load_landmarker(name: str, weights: Path | None, device: torch.device) -> data.Landmarker:
    """The landmark network of a name; see `data.landmarker`.

    weights: a local file, of FAN or with "small" of a network that was trained here; None: torch's
    cache for FAN, the bundled file for the small network.
    """
    is_small = name == "small"
    return data.landmarker(
        cast(Literal["auto", "fan", "small"], name),
        small=(weights if is_small else None) or checkpoints.LANDMARKS,
        fan_weights=None if is_small else weights,
        device=device,
    )
