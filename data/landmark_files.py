"""Landmarks of an image set, from a file that names its images.

Legend: M images, S side in pixels.
"""

import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .dataset import ImageDataset
from .points68 import NUM_POINTS


def match_landmarks(images: ImageDataset, path: str | Path) -> tuple[ImageDataset, Tensor]:
    """The images whose landmarks a file has, and these landmarks (M, 68, 2) in pixels of S.

    path: .npz with `names`, the images' file names, and `landmarks` (.., 68, 2), x and y in pixels
    of the original image, before `images` was cropped to a square and resized.
    Raises FileNotFoundError, or ValueError if the file is damaged or names other images.
    """
    landmarks = read_landmarks(path)
    names = [Path(name).name for name in images.names]
    missing = landmarks.keys() - set(names)
    if len(missing) > len(images.failed):  # `images` does not know the names of broken ones
        raise ValueError(
            f"{path} has landmarks of {len(missing)} images that are not there, such as "
            f"{min(missing)} (there are {len(names)}, such as {names[0]}); give the images that "
            "the landmarks were made of"
        )
    matched = torch.tensor([index for index, name in enumerate(names) if name in landmarks])
    subset = images.subset(matched)
    points = torch.stack([landmarks[names[index]] for index in matched.tolist()])
    square = subset.sizes.amin(1, keepdim=True)
    corner = (subset.sizes - square).div(2, rounding_mode="floor")  # as `centre_square` crops
    return subset, (points - corner[:, None]) * (subset.resolution / square)[:, None]


def read_landmarks(path: str | Path) -> dict[str, Tensor]:
    """File name of an image -> its landmarks (68, 2). See `match_landmarks` for the file."""
    path = Path(path)
    expected = f"expected an .npz with `names` (M,) and `landmarks` (M, {NUM_POINTS}, 2)"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; {expected}, check the spelling")
    try:
        with np.load(path, allow_pickle=False) as file:
            names, landmarks = file["names"], file["landmarks"]
    except (KeyError, ValueError, TypeError, OSError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: got {str(error).splitlines()[0]}, {expected}") from error
    if names.ndim != 1 or landmarks.shape != (len(names), NUM_POINTS, 2) or not len(names):
        raise ValueError(
            f"{path}: got names of shape {names.shape} and landmarks of shape {landmarks.shape}, "
            f"{expected}"
        )
    landmarks = landmarks.astype(np.float32)
    broken = ~np.isfinite(landmarks).all((1, 2))
    if broken.any():
        raise ValueError(
            f"{path}: got coordinates that are not finite for {broken.sum()} images, such as "
            f"{names[broken][0]}; leave these images out of the file"
        )
    by_name = dict(zip((str(name) for name in names), torch.from_numpy(landmarks), strict=True))
    if len(by_name) < len(names):
        raise ValueError(
            f"{path}: got {len(names)} names of which {len(names) - len(by_name)} come twice, "
            "expected each image once"
        )
    return by_name
