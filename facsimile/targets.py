"""From photos to targets: the images that an inversion reproduces.

Legend: N faces, C channels, R resolution of the generator.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from PIL import Image
from torch import Tensor

from facsimile import data

Photo = str | Path | Image.Image
Faces = Literal["largest", "all"]
"""Which faces of a photo with several."""


@dataclass
class TargetReader:
    """Reads photos as targets for one generator; the face detector is loaded when it is needed."""

    resolution: int
    channels: int
    _detector: data.FaceDetector | None = field(default=None, init=False)

    @property
    def detector(self) -> data.FaceDetector:
        if self._detector is None:
            self._detector = data.FaceDetector()
        return self._detector

    def read(self, photo: Photo, *, align: bool = True, face: Faces = "largest") -> Tensor:
        """The face or faces of a photo: (N, C, R, R) in [-1, 1], on the CPU.

        align: find the face and crop it as FFHQ does; False: the photo is such a crop already.
        face: "largest", or "all" for every face of the photo.
        Raises FileNotFoundError or data.PhotoError.
        """
        picture = data.to_rgb(photo) if isinstance(photo, Image.Image) else data.read_photo(photo)
        if align:
            aligned = data.align_faces(picture, self.resolution, self.detector, which=face)
            crops = [one.image for one in aligned]
        else:
            crops = [data.fit_square(picture, self.resolution)]
        images = torch.stack([data.to_tensor(crop) for crop in crops])
        return match_channels(images, self.channels)


def match_channels(images: Tensor, channels: int) -> Tensor:
    """RGB images (N, 3, H, W) for a generator of grey (1), RGB (3) or RGBA (4) images."""
    if channels == 3:
        return images
    if channels == 1:
        # Rec. 601, as PIL's convert("L") has it.
        weights = torch.tensor([0.299, 0.587, 0.114]).to(images)
        return (images * weights[:, None, None]).sum(1, keepdim=True)
    if channels == 4:
        return torch.cat([images, torch.ones_like(images[:, :1])], 1)
    raise ValueError(
        f"this generator makes images of {channels} channels, and photos have 3; "
        "pass targets of your own as a tensor"
    )
