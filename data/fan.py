"""The landmark network of face-alignment, 2DFAN-4, on aligned faces: without its detector.

Legend: N images, R side of the image, K = 68 points. "How Far Are We from Solving the 2D & 3D Face
Alignment Problem?"
"""

from http.client import HTTPException
from pathlib import Path
from pickle import UnpicklingError

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facsimile.stylegan import freeze

from .photos import check_square, resize

NETWORK, FILE = "2DFAN-4", "2DFAN4-11f355bf06.pth.tar"
"""face-alignment's name of the network, and the file of its weights with the hash's beginning."""
SIDE = 256
"""Pixels that the network sees."""
MARGIN = 28
"""Of these, black ones around the face's image: FAN was trained on crops 1.28 times as wide as
FFHQ's, if its detector's box is taken to be 0.55 wide and 0.7 high of FFHQ's side."""
LEAST = 0.2
"""Mean peak of the heatmaps below which there is no face. Not measured."""
REACH = 2
"""Cells around a heatmap's peak whose centre of mass is the point."""


def own_file() -> Path:
    """Where face-alignment keeps the weights."""
    return Path(torch.hub.get_dir()) / "checkpoints" / FILE


def weights_file(path: str | Path | None = None) -> Path:
    """`path` itself, or face-alignment's own file, which is downloaded when it is missing.

    Raises FileNotFoundError, which names the file and the folder, when it cannot be had.
    """
    if path is not None:
        if not Path(path).is_file():
            raise FileNotFoundError(
                f"got FAN's weights as {path}, which does not exist; check the path"
            )
        return Path(path)
    own = own_file()
    if own.is_file():
        return own
    from face_alignment.api import models_urls

    url = models_urls[NETWORK]
    try:
        own.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(own), FILE.split("-")[1].split(".")[0])
    except (OSError, HTTPException, RuntimeError) as error:
        raise FileNotFoundError(
            f"{own.name} is not in {own.parent} and cannot be downloaded from {url} ({error}); put "
            "the file into that folder, or pass its path, or use the small network"
        ) from error
    return own


def load(path: Path, device: torch.device | str = "cpu") -> nn.Module:
    """The frozen network; raises ValueError where the file holds something else."""
    from face_alignment.models import FAN  # slow to import, with numba and OpenCV

    network = FAN(4)
    try:
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except (UnpicklingError, RuntimeError, EOFError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} does not hold the weights of 2DFAN-4 ({str(error).splitlines()[0]}); expected "
            f"{own_file().name} of face-alignment"
        ) from error
    return freeze(network).to(device)


def look(network: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """Images (N, 1 or 3, R, R) in [-1, 1] -> points (N, K, 2) in pixels, and scores (N,)."""
    check_square(images)
    inner = SIDE - 2 * MARGIN
    shown = (resize(images, inner).expand(-1, 3, -1, -1) + 1) / 2
    heatmaps = network(F.pad(shown, (MARGIN,) * 4))
    heatmaps = heatmaps[-1] if isinstance(heatmaps, list | tuple) else heatmaps
    cells, peaks = centres(heatmaps)
    points = cells * (SIDE / heatmaps.shape[-1]) - MARGIN
    return points * (images.shape[-1] / inner), peaks.mean(1).clamp(0, 1)


def centres(heatmaps: Tensor) -> tuple[Tensor, Tensor]:
    """heatmaps (N, K, h, w) -> centres of mass around the peaks (N, K, 2) in cells, and the peaks.

    x, then y, from the outer corner; differentiable, unlike a peak's place.
    """
    height, width = heatmaps.shape[2:]
    peaks, index = heatmaps.flatten(2).max(2)
    x, y = index % width, index.div(width, rounding_mode="floor")
    across = (torch.arange(width, device=index.device) - x[..., None]).abs() <= REACH
    down = (torch.arange(height, device=index.device) - y[..., None]).abs() <= REACH
    mass = heatmaps.clamp(min=0) * (down[..., None] & across[..., None, :])
    # At a peak of 0 there is no mass, and no face either.
    total = mass.sum((2, 3)).clamp_min(torch.finfo(mass.dtype).tiny)
    places = [torch.arange(n, device=mass.device, dtype=mass.dtype) + 0.5 for n in (width, height)]
    found = [(mass.sum(2) * places[0]).sum(2) / total, (mass.sum(3) * places[1]).sum(2) / total]
    return torch.stack(found, 2), peaks
