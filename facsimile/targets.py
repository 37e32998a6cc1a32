"""From photos to targets: the images that an inversion reproduces.

Legend: N faces, C channels, R resolution of the generator.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from facsimile import data
from facsimile.stylegan import PhotoCrop

from .aspect import pad

Photo = str | Path | Image.Image
Faces = str
"""Which faces of a photo with several; see `data.face_choice`."""


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
        face: "largest", "left", "2", "120,80", .., or "all" for every face; see
        `data.face_choice`. Raises FileNotFoundError, data.PhotoError, or ValueError for another
        text.
        """
        return self.read_crops(photo, align=align, face=face)[0]

    def count_faces(self, photo: str | Path) -> int:
        """Faces of a photo; 1 where none is found or it cannot be read, which `read` then says."""
        try:
            return max(1, len(self.detector.detect(data.read_photo(photo))))
        except (data.PhotoError, OSError):
            return 1

    def read_crops(
        self,
        photo: Photo,
        *,
        align: bool = True,
        face: Faces = "largest",
        aspect: str | None = None,
    ) -> tuple[Tensor, tuple[PhotoCrop, ...]]:
        """As `read`, and where in the photo each face is. aspect: see `aspect.pad`; for pictures
        that are not aligned."""
        path, digest = "", ""
        if isinstance(photo, Image.Image):
            picture = data.to_rgb(photo)
        else:
            picture = data.read_photo(photo)
            path, digest = str(Path(photo).resolve()), data.photo_digest(Path(photo))
        if align:
            aligned = data.align_faces(picture, self.resolution, self.detector, which=face)
            images = [one.image for one in aligned]
            quads = [one.quad for one in aligned]
        elif aspect is not None:
            square, quad = pad(picture, aspect, self.resolution)
            images, quads = [square], [quad]
        else:
            images = [data.fit_square(picture, self.resolution)]
            right, bottom = picture.size
            quads = [np.array([(0, 0), (0, bottom), (right, bottom), (right, 0)])]
        crops = tuple(
            PhotoCrop(
                photo=path,
                digest=digest,
                size=picture.size,
                quad=tuple((float(x), float(y)) for x, y in quad),
                aspect=aspect or "",
            )
            for quad in quads
        )
        targets = torch.stack([data.to_tensor(image) for image in images])
        return match_channels(targets, self.channels), crops


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
