"""What a run leaves for a person to look at: curves in TensorBoard, sheets of samples."""

import io
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from facsimile import data


class Log:
    """Writes curves and sheets into the run's folder. x axis: images seen."""

    def __init__(self, out: Path, seen: int):
        """seen: entries beyond it, of a run that was stopped after its checkpoint, are dropped."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tensorboard's own dependencies
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(out / "curves"), purge_step=seen or None)
        self.out = out

    def curves(self, values: Mapping[str, float], seen: int) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, seen)

    def sheet(self, rows: list[Tensor], seen: int) -> Path:
        """Images (C, H, W) in [-1, 1], eight to a row, as samples-<images>.png and a picture."""
        across = 8
        blank = -torch.ones_like(rows[0])
        rows = rows + [blank] * (-len(rows) % across)
        lines = [torch.cat(rows[i : i + across], 2) for i in range(0, len(rows), across)]
        picture = data.to_pil(torch.cat(lines, 1))
        path = self.out / f"samples-{seen:09}.png"
        buffer = io.BytesIO()
        picture.save(buffer, "PNG")
        temporary = path.with_suffix(".part")
        temporary.write_bytes(buffer.getvalue())
        temporary.replace(path)
        self._writer.add_image("samples", np.asarray(picture), seen, dataformats="HWC")
        return path

    def close(self) -> None:
        self._writer.close()
