"""Independent judges of faces: networks that nothing here was trained with.

Legend: N images, R side of the image, K = 68 points, D numbers of an embedding.
"""

import hashlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from facsimile import data

IdentityJudge = Callable[[Tensor], Tensor]
"""Images (N, 3, R, R) in [-1, 1] -> unit vectors (N, D), NaN where no face is detected."""
LandmarkJudge = Callable[[Tensor], Tensor]
"""Images (N, 3, R, R) in [-1, 1] -> landmarks (N, K, 2) in their pixels, NaN where no face is
detected."""


def identity_judge(path: Path | None) -> IdentityJudge | None:
    """The judge of whether two pictures show the same person; None if there is none.

    path: a Python file with a function identity(image) from uint8 (H, W, 3) to a unit vector, or
    None if it detects no face; or FaceNet's weights. None: FaceNet, if its weights are available.
    """
    if path is None or path.suffix != ".py":
        from facsimile.metrics import FaceNet

        try:
            return FaceNet(path).embed_whole
        except FileNotFoundError:
            if path is not None:
                raise
            return None
    return _each(_module(path).identity)


def facenet_judge() -> IdentityJudge | None:
    """FaceNet on the box of MTCNN, as the F/Z+ paper judges; None unless its weights are there."""
    from facenet_pytorch.models.inception_resnet_v1 import get_torch_home

    from facsimile.metrics import FaceNet, facenet

    path = Path(get_torch_home()) / "checkpoints" / facenet.FILE
    if not path.is_file():
        return None
    network = FaceNet(path)
    return lambda images: network.embed(images.cpu())


def landmark_judge(
    path: Path | None, landmarker: data.Landmarker | None
) -> tuple[LandmarkJudge, str]:
    """(the judge of landmarks, a sentence that describes it).

    path: a Python file; if it has a function landmarks68(image) from uint8 (H, W, 3) to (68, 2) in
    pixels, or None if it detects no face, that one. Otherwise `landmarker`, which is biased: the
    encoders are given its landmarks. Raises ValueError if there is neither.
    """
    module = _module(path) if path is not None and path.suffix == ".py" else None
    if hasattr(module, "landmarks68"):
        return _each(module.landmarks68), f"landmarks of the results: {path.name}, independent"
    if landmarker is None:
        raise ValueError(
            f"got {path} as the judge, expected a Python file with a function landmarks68(image), "
            "from uint8 (H, W, 3) to (68, 2) in pixels"
        )

    def look(images: Tensor) -> Tensor:
        landmarks = landmarker(images)
        return landmarks.points.where(landmarks.is_face[:, None, None], torch.nan).cpu()

    return look, (
        "landmarks of the results: by the network of the training, which flatters the encoders "
        "(--identity names a file with landmarks68 for an independent one)"
    )


def name(path: Path | None) -> str:
    """An identifier of a judge: the name of its file and 8 digits of its hash."""
    if path is None:
        return "default"
    return f"{path.name}-{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}"


def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _each(look: Callable[[np.ndarray], np.ndarray | None]) -> Callable[[Tensor], Tensor]:
    """One image after the other; NaN for None, of the last known shape if all are None."""
    shape: tuple[int, ...] = (1,)

    def looked(images: Tensor) -> Tensor:
        nonlocal shape
        pixels = ((images.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu()
        values = [look(np.ascontiguousarray(x)) for x in pixels.numpy()]
        shape = next((np.shape(x) for x in values if x is not None), shape)
        stacked = np.stack([np.full(shape, np.nan) if x is None else x for x in values])
        return torch.from_numpy(stacked).float()

    return looked
