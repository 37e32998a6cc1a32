"""Faces for the quality benchmarks, their options, and the picture.

Legend: N faces, HxW pixels, R side of the generator's images.
"""

import hashlib
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import torch
import tyro
from torch import Tensor

from facsimile import data
from facsimile.data.photo_files import PHOTO_NAME
from facsimile.refine import recipes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RECIPES = tuple(name for name, x in recipes.RECIPES.items() if x.init != "encoder")
"""Those without an encoder: the comparison is of spaces, not of encoders."""
SHOWN = 8
"""Faces in the picture."""
SMALLEST_SHOWN = 128
"""Pixels; smaller faces are enlarged in the picture by an integer factor."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of every quality benchmark; each has its own defaults."""

    faces: tyro.conf.Positional[Path]
    """Folder or .zip of aligned, square faces; `count` of them in sorted order are used."""
    count: int = 16
    first: int = 0
    """Number of the first face that is used."""
    every: int = 1
    """2 uses every second face from there on, and so on."""
    steps: int = 500
    """Steps of the first phase; those of the others are in proportion."""
    out: Path = Path("runs/faces")
    """Folder of the results. Rows that are there under the same settings are not computed again."""
    rows: Path | None = None
    """Folder of the rows, which several benchmarks may share. Default: that of the results."""
    rows_only: bool = False
    """Compute the rows and stop: no tables, pictures or judges."""
    stored: bool = False
    """Take rows that are there whatever their device, batch and precision, and refine none."""
    untimed: bool = False
    """Other work slows the machine: leave the seconds of rows computed now out of the tables."""
    generator: str = "faces"
    """Name of a bundled generator, a file, or a folder with generator.safetensors."""
    encoders: tuple[Path, ...] = ()
    """Encoders, as files or folders of runs, instead of those beside the generator."""
    perceptual: str = "discriminator"
    """The perceptual distance that is minimised; a name of metrics.build_perceptual."""
    perceptual_weights: Path | None = None
    """File with its ImageNet weights."""
    judge: Path | None = None
    """SqueezeNet 1.1 weights with torchvision's names: a perceptual distance for scores only."""
    recipes: tuple[str, ...] = ()
    batch: int = 16
    """Faces refined at once."""
    seed: int = 0
    device: str = "cpu"
    tf32: bool = False
    """Multiply in TensorFloat-32 on CUDA devices."""
    threads: int | None = None
    """CPU threads; None: PyTorch's choice."""
    statistics_samples: int | None = None
    """Samples of the statistics of P_N and of the mean w; None: the generator's, of 100,000."""

    @property
    def rows_folder(self) -> Path:
        return self.out if self.rows is None else self.rows


@dataclass(frozen=True)
class Faces:
    names: list[str]
    images: Tensor
    """(N, 3, R, R) in [-1, 1]."""

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits of a hash over names and pixels."""
        digest = hashlib.sha256("\n".join(self.names).encode())
        digest.update(self.images.cpu().numpy().tobytes())
        return digest.hexdigest()[:16]

    def to(self, device: str) -> "Faces":
        return Faces(self.names, self.images.to(device))


def read(path: Path, side: int, count: int, first: int = 0, every: int = 1) -> Faces:
    """`count` photos of a folder or .zip, at side x side: see `Options`.

    Raises FileNotFoundError, or ValueError where there are fewer.
    """
    with TemporaryDirectory() as unpacked:
        if path.suffix.lower() == ".zip":
            with zipfile.ZipFile(path) as archive:
                names = sorted(name for name in archive.namelist() if PHOTO_NAME.search(name))
                names = names[first::every][:count]
                photos = [Path(archive.extract(name, unpacked)) for name in names]
        else:
            photos = data.find_photos(path)[first::every][:count]
        if len(photos) < count:
            raise ValueError(
                f"{path} has {len(photos)} photos"
                + (f" from number {first} on" if first else "")
                + (f", one of {every}" if every > 1 else "")
                + f", asked for {count}; lower --count"
            )
        squares = [data.fit_square(data.read_photo(photo), side) for photo in photos]
    images = torch.stack([data.to_tensor(square) for square in squares])
    return Faces([photo.name for photo in photos], images)


def save_picture(path: Path, rows: dict[str, Tensor]) -> None:
    """A row of pictures under each name; rows: (N, 3, R, R) in [-1, 1], the first `SHOWN`."""
    from matplotlib.figure import Figure

    strips = {}
    for name, images in rows.items():
        images = images[:SHOWN].cpu()
        times = max(1, SMALLEST_SHOWN // images.shape[-1])
        images = images.repeat_interleave(times, 2).repeat_interleave(times, 3)
        strips[name] = torch.cat(list(images * 0.5 + 0.5), 2).clamp(0, 1).permute(1, 2, 0)
    height, width = next(iter(strips.values())).shape[:2]
    dpi, margin = 100, max(map(len, strips)) * 9  # pixels for the names
    size = ((width + margin) / dpi, height * len(strips) / dpi)
    figure = Figure(figsize=size, dpi=dpi)
    for index, (name, strip) in enumerate(strips.items()):
        left, row = margin / (width + margin), 1 / len(strips)
        axes = figure.add_axes((left, 1 - (index + 1) * row, 1 - left, row))
        axes.imshow(strip.numpy(), interpolation="nearest", aspect="auto")
        axes.set_axis_off()
        figure.text(left * 0.95, 1 - (index + 0.5) * row, name, ha="right", va="center")
    save_figure(path, figure)


def save_figure(path: Path, figure: "Figure") -> None:
    """Write a .png whole or not at all; makes its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.part")
    figure.savefig(temporary, format="png")
    temporary.replace(path)
