"""Landmarks over time as files: what `facsimile landmarks` and `facsimile reenact` write.

Legend: T frames, K = 68 points. Landmarks are (T, K, 2), x and y; a frame without a face is NaN.
"""

import json
import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .points68 import NUM_POINTS

TRACK_NAMES = (".json", ".npz")


def read_track(path: str | Path) -> tuple[Tensor, float | None]:
    """Landmarks (T, K, 2), float32, and frames a second, None where the file does not say.

    path: .json or .npz with `landmarks`, (K, 2) or (T, K, 2), and perhaps `fps`; or a .json of the
        landmarks alone.
    Raises FileNotFoundError, or ValueError for other shapes, infinite values and what is not a
    number. NaN stays: see `has_face`.
    """
    path = Path(path)
    n = NUM_POINTS
    expected = f"expected `landmarks` of {n} points, x and y: ({n}, 2) or (T, {n}, 2)"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; {expected}, check the spelling")
    try:
        content = _read_json(path) if path.suffix.lower() == ".json" else _read_npz(path)
        landmarks = np.asarray(content["landmarks"], dtype=np.float32)
        fps = float(content["fps"]) if "fps" in content else None
    except (KeyError, ValueError, TypeError, OSError, EOFError, zipfile.BadZipFile) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else str(error).splitlines()[0]
        raise ValueError(f"{path}: got a file with {reason}; {expected}") from error
    landmarks = landmarks[None] if landmarks.ndim == 2 else landmarks
    if landmarks.ndim != 3 or landmarks.shape[1:] != (NUM_POINTS, 2) or not len(landmarks):
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
    """(T,) bool: whether all coordinates of a frame are finite."""
    return landmarks.isfinite().flatten(1).all(1)


def _read_json(path: Path) -> dict:
    content = json.loads(path.read_text(encoding="utf-8"))
    return content if isinstance(content, dict) else {"landmarks": content}


def _read_npz(path: Path) -> dict:
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in ("landmarks", "fps") if name in file}
