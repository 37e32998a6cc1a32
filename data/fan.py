"""2DFAN-4, the landmark network of face-alignment, on aligned faces: without its face detector.

Legend: N images, R side of the image, K = 68 points, hxw cells of a heatmap.
"How Far Are We from Solving the 2D & 3D Face Alignment Problem?"
"""

from http.client import HTTPException
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from pickle import UnpicklingError
from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facsimile.metrics.resize import resize
from facsimile.stylegan import freeze

from .photos import check_square

NETWORK, FILE = "2DFAN-4", "2DFAN4-11f355bf06.pth.tar"
"""face-alignment's name of the network, and the file of its weights; the name has their hash."""
SIDE = 256
"""Side of the network's input in pixels."""
MARGIN = 28
"""Black pixels on each side of the face's image in that input. FAN was trained on crops 1.28 times
as wide as FFHQ's, if its detector's box is 0.55 as wide and 0.7 as high as FFHQ's crop."""
MIN_SCORE = 0.2
"""Mean peak of the heatmaps below which there is no face. Not tuned."""
PEAK_RADIUS = 2
"""Cells around a heatmap's peak whose centre of mass is the point."""


def default_file() -> Path:
    """Where face-alignment keeps the weights."""
    return Path(torch.hub.get_dir()) / "checkpoints" / FILE


def weights_file(path: str | Path | None = None) -> Path:
    """`path` itself, or face-alignment's file, which is downloaded if it is missing.

    Raises FileNotFoundError, which names the file and its folder, if neither is possible.
    """
    if path is not None:
        if not Path(path).is_file():
            raise FileNotFoundError(
                f"got FAN's weights as {path}, which does not exist; check the path"
            )
        return Path(path)
    default = default_file()
    if default.is_file():
        return default
    url = face_alignment("api").models_urls[NETWORK]
    try:
        default.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(default), FILE.split("-")[1].split(".")[0])
    except (OSError, HTTPException, RuntimeError) as error:
        raise FileNotFoundError(
            f"{default.name} is not in {default.parent} and cannot be downloaded from {url} "
            f"({error}); put the file into that folder, or pass its path, or use the small network"
        ) from error
    return default


def is_installed() -> bool:
    """Whether face-alignment can be imported; does not import it."""
    return find_spec("face_alignment") is not None


def face_alignment(module: str) -> ModuleType:
    """A module of face-alignment, slow to import; FileNotFoundError if it is not installed."""
    if not is_installed():
        raise FileNotFoundError(
            "the landmark network fan needs face-alignment, which is not installed; run "
            "pip install 'facsimile[landmarks]', or choose --landmarks small"
        )
    return import_module(f"face_alignment.{module}")


def load(path: Path, device: torch.device | str = "cpu") -> nn.Module:
    """The frozen network; ValueError if the file holds something else."""
    network = face_alignment("models").FAN(4)
    try:
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except (UnpicklingError, RuntimeError, EOFError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} does not hold the weights of 2DFAN-4 ({str(error).splitlines()[0]}); expected "
            f"{default_file().name} of face-alignment"
        ) from error
    return freeze(network).to(device)


def detect_landmarks(network: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """Images (N, 1 or 3, R, R) in [-1, 1] -> points (N, K, 2) in pixels, and scores (N,), 0 to 1.

    Raises ValueError for images of another shape.
    """
    check_square(images)
    inner = SIDE - 2 * MARGIN
    inputs = (resize(images, (inner, inner), clamp=True).expand(-1, 3, -1, -1) + 1) / 2
    heatmaps = network(F.pad(inputs, (MARGIN,) * 4))
    heatmaps = heatmaps[-1] if isinstance(heatmaps, list | tuple) else heatmaps
    cells, peaks = heatmap_centres(heatmaps)
    points = cells * (SIDE / heatmaps.shape[-1]) - MARGIN
    return points * (images.shape[-1] / inner), peaks.mean(1).clamp(0, 1)


def heatmap_centres(heatmaps: Tensor) -> tuple[Tensor, Tensor]:
    """heatmaps (N, K, h, w) -> centres of mass around the peaks (N, K, 2), and the peaks (N, K).

    x, then y, in cells from the outer corner; differentiable, unlike the index of a peak.
    """
    height, width = heatmaps.shape[2:]
    peaks, index = heatmaps.flatten(2).max(2)
    x, y = index % width, index.div(width, rounding_mode="floor")
    across = (torch.arange(width, device=index.device) - x[..., None]).abs() <= PEAK_RADIUS
    down = (torch.arange(height, device=index.device) - y[..., None]).abs() <= PEAK_RADIUS
    mass = heatmaps.clamp(min=0) * (down[..., None] & across[..., None, :])
    # Around a peak of 0 there is no mass, and no face either.
    total = mass.sum((2, 3)).clamp_min(torch.finfo(mass.dtype).tiny)
    centre_x, centre_y = (
        torch.arange(n, device=mass.device, dtype=mass.dtype) + 0.5 for n in (width, height)
    )
    xy = [(mass.sum(2) * centre_x).sum(2) / total, (mass.sum(3) * centre_y).sum(2) / total]
    return torch.stack(xy, 2), peaks
