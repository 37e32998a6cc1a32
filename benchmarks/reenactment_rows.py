"""The rows of the paper's table of models: its numbers, and the row of a trained encoder.

"Learning an Encoder for Image Editing within a StyleGAN Latent Space", section 3.
"""

import json
from pathlib import Path
from typing import NamedTuple

from torch import nn

from facsimile.checkpoints import Networks
from facsimile.encoders import kind_of
from facsimile.encoders.files import check, read
from facsimile.stylegan import freeze


class Paper(NamedTuple):
    """FFHQ at 128 px, StyleGAN1, 4000 images."""

    reconstruction: float | None
    """FID."""
    manipulation: float | None
    hausdorff: float | None
    csim: float | None


STILL, STRANGERS = "source, not moved", "random pairs"
PAPER = {
    STILL: Paper(37.4, None, None, None),
    STRANGERS: Paper(None, None, None, None),
    "naive": Paper(60.2, 81.3, 0.221, 0.263),
    "naive + image cycle": Paper(87.7, 84.3, 0.172, 0.235),
    "difference + image cycle": Paper(36.8, 42.9, 0.192, 0.438),
    "keypoint + latent cycle": Paper(38.1, 38.3, 0.182, 0.459),
    "difference + latent cycle": Paper(33.2, 36.7, 0.186, 0.480),
}
ROWS = tuple(PAPER)[2:]


def trained(runs: tuple[str, ...], checkpoint: Networks) -> dict[str, nn.Module]:
    """Row -> its frozen encoder, in the order of the paper's table. Raises ValueError."""
    networks: dict[str, nn.Module] = {}
    for text in runs:
        name, path = _named(text)
        encoder = read(path)
        if kind_of(encoder).predicts != "w+ given landmarks":
            raise ValueError(
                f"{path} is an encoder without landmarks as input; expected one of the kinds "
                "difference, keypoint or naive (the in-domain encoder goes to --in-domain)"
            )
        name = name or row_of(path, encoder)
        if name in networks or name in (STILL, STRANGERS):
            raise ValueError(f"{path} would be a second row {name}; write NAME={path}")
        check(encoder, checkpoint.generator)
        networks[name] = freeze(encoder).to(checkpoint.generator.device, checkpoint.generator.dtype)
    return {name: networks[name] for name in (*ROWS, *networks) if name in networks}


def _named(text: str) -> tuple[str, Path]:
    """NAME=PATH or PATH; the name is "" then."""
    if Path(text).exists() or "=" not in text:
        return "", Path(text)
    name, _, path = text.partition("=")
    return name, Path(path)


def row_of(path: Path, encoder: nn.Module) -> str:
    """The row of a run, by its config.json; ValueError if there is none."""
    config = (path if path.is_dir() else path.parent) / "config.json"
    if not config.is_file():
        raise ValueError(
            f"{path} does not say how it was trained: there is no {config}; write NAME={path}, "
            f"for NAME one of: {'; '.join(ROWS)}"
        )
    cycle = json.loads(config.read_text())["settings"]["cycle"]
    kind = kind_of(encoder).name
    return kind if cycle == "none" else f"{kind} + {cycle} cycle"
