"""Landmarks over time as files: what `facsimile landmarks` and `facsimile reenact` write.

Legend: T frames, K = 68 points. Landmarks are (T, K, 2); a frame without a face is all NaN.
"""

import json
import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .points68 import POINTS

TRACK_NAMES = (".json", ".npz")


def read_track(path: str | Path) -> tuple[Tensor, float | None]:
    """Landmarks (T, K, 2), float32, and frames a second, None where the file does not say.

    path: .json or .npz with `landmarks` of one face (K, 2) or of T, and maybe `fps`; or a .json
    that is nothing but the landmarks. Raises FileNotFoundError, or ValueError for other counts,
    for what is no numbers, and for infinite ones. NaN is left as it is: see `has_face`.
    """
    path = Path(path)
    expected = (
        f"expected `landmarks` of {POINTS} points, x and y: ({POINTS}, 2) or (T, {POINTS}, 2)"
    )
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; {expected}, check the spelling")
    try:
        found = _json(path) if path.suffix.lower() == ".json" else _npz(path)
        landmarks = np.asarray(found["landmarks"], dtype=np.float32)
        fps = float(found["fps"]) if "fps" in found else None
    except (KeyError, ValueError, TypeError, OSError, EOFError, zipfile.BadZipFile) as error:
        said = f"no {error}" if isinstance(error, KeyError) else str(error).splitlines()[0]
        raise ValueError(f"{path}: got a file with {said}; {expected}") from error
    landmarks = landmarks[None] if landmarks.ndim == 2 else landmarks
    if landmarks.ndim != 3 or landmarks.shape[1:] != (POINTS, 2) or not len(landmarks):
        raise ValueError(f"{path}: got landmarks of shape {landmarks.shape}; {expected}")
    if np.isinf(landmarks).any():
        raise ValueError(f"{path}: got coordinates that are infinite; expected pixels")
    if fps is not None and not 0 < fps <= 1000:
        raise ValueError(f"{path}: got {fps} frames a second; expected more than 0, as 25")
    return torch.from_numpy(landmarks), fps


def write_track(path: str | Path, landmarks: Tensor, fps: float, names: list[str]) -> None:
    """Landmarks (T, K, 2) as .npz, with their frames' names; raises OSError."""
    np.savez(
        path, names=np.array(names), landmarks=landmarks.float().cpu().numpy(), fps=np.array(fps)
    )


def has_face(landmarks: Tensor) -> Tensor:
    """(T,) bool: whether all coordinates of a frame are numbers."""
    return landmarks.isfinite().flatten(1).all(1)


def _json(path: Path) -> dict:
    found = json.loads(path.read_text(encoding="utf-8"))
    return found if isinstance(found, dict) else {"landmarks": found}


def _npz(path: Path) -> dict:
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in ("landmarks", "fps") if name in file}
