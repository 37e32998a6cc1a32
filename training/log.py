"""What a run leaves for people to look at: curves for TensorBoard, and sheets of samples."""

import io
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from facsimile import data

if TYPE_CHECKING:  # accelerate takes a second to import, and other commands do without it
    from accelerate import Accelerator

COLUMNS = 8
"""Images per row of a sheet."""


class Log:
    """Writes curves, by Accelerate's tracker, and sheets into the run's folder. x: images seen."""

    def __init__(self, accelerator: "Accelerator", out: Path, images_seen: int):
        """images_seen: later entries, of a run stopped after its last checkpoint, are dropped."""
        self.accelerator, self.out = accelerator, out
        purge = {"tensorboard": {"purge_step": images_seen or None}}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tensorboard's own dependencies
            accelerator.init_trackers("curves", init_kwargs=purge)

    def scalars(self, values: Mapping[str, float], images_seen: int) -> None:
        self.accelerator.log(dict(values), step=images_seen)

    def sheet(self, images: list[Tensor], images_seen: int) -> Path:
        """Images (C, H, W) in [-1, 1] as samples-<images>.png and as a picture of the curves."""
        blank = -torch.ones_like(images[0])
        images = images + [blank] * (-len(images) % COLUMNS)
        rows = [torch.cat(images[i : i + COLUMNS], 2) for i in range(0, len(images), COLUMNS)]
        picture = data.to_pil(torch.cat(rows, 1))
        path = self.out / f"samples-{images_seen:09}.png"
        buffer = io.BytesIO()
        picture.save(buffer, "PNG")
        temporary = path.with_suffix(".part")
        temporary.write_bytes(buffer.getvalue())
        temporary.replace(path)
        tracker = self.accelerator.get_tracker("tensorboard")
        pixels = np.asarray(picture)[None]
        tracker.log_images({"samples": pixels}, images_seen, dataformats="NHWC")
        return path
