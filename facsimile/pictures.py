"""Pictures for a person to look at: comparisons, overviews, loss curves.

Legend: N images, C channels, HxW pixels, T steps. Images are (C, H, W) in [-1, 1].
"""

import math
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from facsimile.data import to_pil

GAP = 4
"""Pixels between panels."""
LABEL = 18
"""Pixels of the line of words above columns; the letters have three quarters of it."""
COMPRESSION = 1
"""zlib level of the .png files: a quarter of the default's time for a fifth more bytes."""
# Matplotlib shares one label parser between threads.
_MATPLOTLIB = threading.Lock()


def save(picture: Image.Image, path: Path) -> None:
    """Write a .png file, quickly."""
    picture.save(path, compress_level=COMPRESSION)


def panels(
    images: Sequence[Tensor], smallest: int = 256, labels: Sequence[str] = ()
) -> Image.Image:
    """Images of one size side by side; small ones enlarged to at least `smallest` pixels.

    labels: what stands above each; none for ().
    """
    return label_columns(sheet([images], smallest), labels)


def label_columns(picture: Image.Image, labels: Sequence[str]) -> Image.Image:
    """The picture below a line of words, one label for each of its columns of equal width.

    A label that is wider than its column is cut off there. No labels: the picture itself.
    """
    if not labels:
        return picture
    labelled = Image.new("RGB", (picture.width, picture.height + LABEL), "white")
    labelled.paste(picture, (0, LABEL))
    font = ImageFont.load_default(size=LABEL * 3 / 4)
    width = (picture.width + GAP) // len(labels)
    for index, label in enumerate(labels):
        strip = Image.new("RGB", (width - GAP, LABEL), "white")
        draw = ImageDraw.Draw(strip)
        centred = max(0, (strip.width - draw.textlength(label, font)) / 2)
        draw.text((centred, LABEL / 2), label, "black", font, anchor="lm")
        labelled.paste(strip, (index * width, 0))
    return labelled


def stacked(parts: Sequence[Image.Image]) -> Image.Image:
    """Pictures below one another on white."""
    height = sum(x.height for x in parts) + GAP * (len(parts) - 1)
    picture, y = Image.new("RGB", (max(x.width for x in parts), height), "white"), 0
    for part in parts:
        picture.paste(part, (0, y))
        y += part.height + GAP
    return picture


def sheet(rows: Sequence[Sequence[Tensor]], smallest: int = 128) -> Image.Image:
    """Rows of images (C, H, W) of one size as one picture on white."""
    side = rows[0][0].shape[-1]
    zoom = max(1, math.ceil(smallest / side))
    cell = side * zoom
    width = max(len(row) for row in rows)
    size = (width * (cell + GAP) - GAP, len(rows) * (cell + GAP) - GAP)
    picture = Image.new("RGB", size, "white")
    for y, row in enumerate(rows):
        for x, image in enumerate(row):
            panel = to_pil(image).convert("RGB").resize((cell, cell), Image.Resampling.NEAREST)
            picture.paste(panel, (x * (cell + GAP), y * (cell + GAP)))
    return picture


def difference(image: Tensor, target: Tensor, gain: float = 5.0) -> Tensor:
    """|image - target| times `gain`, black where they are equal: (C, H, W) in [-1, 1]."""
    return ((image.clamp(-1, 1) - target).abs() * gain).clamp(0, 2) - 1


def comparison(target: Tensor, image: Tensor) -> Image.Image:
    """Target, reconstruction, difference x5."""
    images = [target, image, difference(image, target)]
    return panels(images, labels=["photo", "reconstruction", "difference x5"])


def overview(
    pairs: Sequence[tuple[Image.Image, Image.Image]], cell: int = 128, labels: Sequence[str] = ()
) -> Image.Image:
    """Targets above their reconstructions, eight pairs to a row.

    labels: what stands above each pair; none for ().
    """
    columns = min(8, len(pairs))
    rows = []
    for begin in range(0, len(pairs), columns):
        row = pairs[begin : begin + columns]
        picture = Image.new("RGB", (columns * (cell + GAP) - GAP, 2 * cell + GAP), "white")
        for index, pair in enumerate(row):
            for below, panel in enumerate(pair):
                larger = panel.width < cell
                kernel = Image.Resampling.NEAREST if larger else Image.Resampling.LANCZOS
                small = panel.convert("RGB").resize((cell, cell), kernel)
                picture.paste(small, (index * (cell + GAP), below * (cell + GAP)))
        words = [*labels[begin : begin + columns], *[""] * (columns - len(row))]
        rows.append(label_columns(picture, words if labels else ()))
    step = rows[0].height + 2 * GAP
    whole = Image.new("RGB", (rows[0].width, len(rows) * step - 2 * GAP), "white")
    for index, row_picture in enumerate(rows):
        whole.paste(row_picture, (0, index * step))
    return whole


def save_losses(history: Mapping[str, Tensor], path: Path) -> None:
    """The terms of one image over the steps, on a logarithmic scale; history: name -> (T + 1,)."""
    with _MATPLOTLIB:
        _save_losses(history, path)


def _save_losses(history: Mapping[str, Tensor], path: Path) -> None:
    from matplotlib.figure import Figure  # slow to import, and not needed for drawing faces

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    starts: dict[str, int] = {}
    end = 0
    for name, values in history.items():
        phase = name.split("/")[0]
        if phase not in starts:
            starts[phase] = end
            if end:
                axes.axvline(end, color="0.8", linewidth=1)
        end = starts[phase] + len(values) - 1
        steps = torch.arange(len(values)) + starts[phase]
        # A term of 0 (a regularisation at the start) cannot be drawn on a logarithmic scale.
        drawable = values.isfinite() & (values > 0)
        if drawable.any():
            axes.plot(steps[drawable].numpy(), values[drawable].cpu().numpy(), label=name)
    if axes.lines:
        axes.set_yscale("log")
        axes.legend()
    axes.set(xlabel="step", ylabel="weighted term")
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=100)
