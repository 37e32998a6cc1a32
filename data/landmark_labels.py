"""Landmarks of an image set, from a file that names its images.

Legend: M images, S side in pixels.
"""

import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .folders import ImageSet
from .points68 import POINTS


def labelled(images: ImageSet, path: str | Path) -> tuple[ImageSet, Tensor]:
    """The images that have labels, and their landmarks (M, 68, 2) in pixels of S.

    path: .npz with `names`, the images' file names, and `landmarks` (.., 68, 2), x and y in pixels
    of the image in its file; `images` may have cropped and resized that.
    Raises FileNotFoundError, or ValueError where the file is none such or names other images.
    """
    labels = read_labels(path)
    own = [Path(name).name for name in images.names]
    missing = labels.keys() - set(own)
    if len(missing) > len(images.failed):  # those have no name, and are reported by themselves
        raise ValueError(
            f"{path} has landmarks of {len(missing)} images that are not there, such as "
            f"{min(missing)} (there are {len(own)}, such as {own[0]}); give the images that the "
            "labels were made of"
        )
    chosen = torch.tensor([index for index, name in enumerate(own) if name in labels])
    kept = images.subset(chosen)
    found = torch.stack([labels[own[index]] for index in chosen.tolist()])
    least = kept.sizes.amin(1, keepdim=True)
    corner = (kept.sizes - least).div(2, rounding_mode="floor")  # as `centre_square` crops
    scale = kept.pixels.shape[-1] / least
    return kept, (found - corner[:, None]) * scale[:, None]


def read_labels(path: str | Path) -> dict[str, Tensor]:
    """File name of an image -> its landmarks (68, 2); see `labelled`."""
    path = Path(path)
    expected = f"expected an .npz with `names` (M,) and `landmarks` (M, {POINTS}, 2)"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; {expected}, check the spelling")
    try:
        with np.load(path, allow_pickle=False) as file:
            names, landmarks = file["names"], file["landmarks"]
    except (KeyError, ValueError, TypeError, OSError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: got {str(error).splitlines()[0]}, {expected}") from error
    if names.ndim != 1 or landmarks.shape != (len(names), POINTS, 2) or not len(names):
        raise ValueError(
            f"{path}: got names of shape {names.shape} and landmarks of shape {landmarks.shape}, "
            f"{expected}"
        )
    landmarks = landmarks.astype(np.float32)
    bad = ~np.isfinite(landmarks).all((1, 2))
    if bad.any():
        raise ValueError(
            f"{path}: got coordinates that are no finite numbers for {bad.sum()} images, such as "
            f"{names[bad][0]}; leave these images out of the file"
        )
    found = dict(zip((str(name) for name in names), torch.from_numpy(landmarks), strict=True))
    if len(found) < len(names):
        raise ValueError(
            f"{path}: got {len(names)} names of which {len(names) - len(found)} come twice, "
            "expected each image once"
        )
    return found
