"""Pictures of reenactment: pairs with every result, and sources by scripted and real targets.

Legend: N faces, R side of the image, K = 68 points.
"""

from pathlib import Path

import torch
from torch import Tensor

from benchmarks.faces import SMALLEST_SHOWN
from benchmarks.reenacted import Mover, Pairs
from facsimile import data
from facsimile.reenactment.scripted import apply_motions, read_motion

SHOWN = 6
"""Number of sources in a sheet; the first pairs of the seed, not selected."""
MOTIONS = ("yaw:-20", "yaw:20", "mouth:open", "mouth:closed", "smile:1")
REAL = 3
"""Number of faces whose landmarks are further targets."""


def pairs(path: Path, dataset: Pairs, movers: dict[str, Mover]) -> None:
    """A row per pair: source, target, the result of each mover."""
    sources, targets = dataset.source[:SHOWN], dataset.target[:SHOWN]
    columns = {"source": dataset.images_of(sources), "target": dataset.images_of(targets)}
    for name, move in movers.items():
        columns[name] = dataset.moved(move, sources, dataset.condition_landmarks[targets])
    save_grid(path, columns)


def motions(path: Path, dataset: Pairs, move: Mover) -> None:
    """A row per source, a column per target; above, the targets: drawn for the first source, or
    the photos whose landmarks they are."""
    numbers = dataset.source[: dataset.once]
    sources, others = numbers[:SHOWN], numbers[SHOWN : SHOWN + REAL]
    side = dataset.images.resolution
    faces, landmarks = dataset.images_of(sources), dataset.condition_landmarks[sources]
    blank = torch.ones_like(faces[:1])
    columns = {"source": torch.cat([blank, faces])}
    for text in MOTIONS:
        amounts = read_motion(text).poses[0]
        targets = torch.stack([apply_motions(points, amounts) for points in landmarks])
        picture = data.draw_landmarks(targets[:1], side, side).to(faces)
        columns[text] = torch.cat([picture, dataset.moved(move, sources, targets)])
    for index, other in enumerate(others):
        targets = dataset.condition_landmarks[other].expand(len(sources), -1, -1)
        target = dataset.images_of(other[None])
        columns[f"target {index + 1}"] = torch.cat([target, dataset.moved(move, sources, targets)])
    save_grid(path, columns)


def save_grid(path: Path, columns: dict[str, Tensor]) -> None:
    """Pictures (N, 3, R, R) in [-1, 1] one below the other, under each name."""
    from matplotlib.figure import Figure

    strips = []
    for images in columns.values():
        images = images.cpu()
        times = max(1, SMALLEST_SHOWN // images.shape[-1])
        images = images.repeat_interleave(times, 2).repeat_interleave(times, 3)
        strips.append(torch.cat(list(images * 0.5 + 0.5), 1))
    whole = torch.cat(strips, 2).clamp(0, 1).permute(1, 2, 0)
    height, width = whole.shape[:2]
    dpi, margin = 100, 28  # pixels for the names
    figure = Figure(figsize=(width / dpi, (height + margin) / dpi), dpi=dpi)
    axes = figure.add_axes((0, 0, 1, height / (height + margin)))
    axes.imshow(whole.numpy(), interpolation="nearest", aspect="auto")
    axes.set_axis_off()
    for index, name in enumerate(columns):
        middle, above = (index + 0.5) / len(columns), 1 - margin / 2 / (height + margin)
        figure.text(middle, above, name, ha="center", va="center", fontsize=6)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
