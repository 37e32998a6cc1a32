"""Results put back into the photos from which their faces were cropped: whole.png.

Legend: C channels, R resolution of the generator.
"""

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from facsimile import data
from facsimile.data.frame_times import FPS
from facsimile.data.paste_back import PasteBack, region_mask, surround
from facsimile.data.photo_files import PHOTO_NAME
from facsimile.data.photos import BACKGROUND, WholePhoto
from facsimile.data.video_writer import VideoWriter
from facsimile.stylegan import PhotoCrop

from . import pictures
from .targets import Photo

WHOLE = "whole"
"""Name of the picture, and of the folder or the film of several."""
JPEG_QUALITY = 95
TOLD = 1.05
"""Pixels of the photo for each of the generator's, above which lost detail is told."""


@dataclass(frozen=True, kw_only=True)
class PasteOptions:
    """How results are pasted back."""

    photo: Photo | None = None
    """The photo, if it is not where the latents say."""
    residual: bool = False
    """Keep what the photo has and the inversion lacks, where the edit changed nothing."""
    region: str = "face"
    """What is pasted: see `data.paste_back.REGIONS`."""

    def to_dict(self) -> dict[str, Any]:
        """What decides the picture, as JSON holds it."""
        return {"residual": self.residual, "region": self.region}


class Paster:
    """Pastes images of one crop into their photo."""

    def __init__(
        self, crop: PhotoCrop, side: int, options: PasteOptions, edited: Tensor | None = None
    ) -> None:
        """side: R. edited: (R, R) in [0, 1], pasted beside the region; None: nothing.

        Raises FileNotFoundError, or data.PhotoError for another photo than the crop's.
        """
        self.crop, self.residual = crop, options.residual
        self.photo = open_whole(crop, options.photo)
        mask = region_mask(options.region)
        if edited is not None:
            mask = torch.maximum(mask, surround(edited))
        quad = np.array(crop.quad)
        self._paste = PasteBack(self.photo.photo, quad, side, mask, residual=self.residual)

    def __call__(self, image: Tensor, before: Tensor | None = None) -> Image.Image:
        """The whole photo with an image (C, R, R) in [-1, 1], and with the photo's transparency; a
        grey photo stays grey. before: the image before the edit, see `PasteBack`."""
        pasted = self._paste(image, before)
        if self.photo.alpha is not None:
            pasted = _without_background(self.photo, pasted)
        if self.photo.grey:
            pasted = pasted.convert("L")
        if self.photo.alpha is not None:
            pasted.putalpha(self.photo.alpha)
        return pasted

    def frame(self, image: Tensor, before: Tensor | None = None) -> Image.Image:
        """The same as a frame of a film: RGB, transparency over white."""
        return self._paste(image, before)

    @property
    def lost_detail(self) -> str:
        """A sentence if the photo shows the face with more pixels than the generator makes."""
        length, side = self._paste.length, self._paste.side
        if length < TOLD * side:
            return ""
        kept = "kept only where nothing was changed" if self.residual else "lost; --residual keeps "
        if not self.residual:
            kept += "them where nothing was changed"
        return (
            f"the crop is {length:.0f} pixels wide in the photo and {side} in the generator's "
            f"images: details below {length / side:.1f} pixels are {kept}"
        )


def open_whole(crop: PhotoCrop, photo: Photo | None = None) -> WholePhoto:
    """The photo of a crop, from its path, or from that of `photo` if it has moved.

    Raises FileNotFoundError, or data.PhotoError for another photo.
    """
    if isinstance(photo, Image.Image):
        whole, digest, name = data.to_whole(photo), "", "the photo"
    else:
        if photo is None and not crop.photo:
            raise data.PhotoError(
                "got latents of a picture that came from no file, expected the photo to paste them "
                "back into; name it, as --photo me.jpg"
            )
        path = Path(photo or crop.photo)
        name = str(path)
        try:
            digest = data.photo_digest(path)
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"{path}: no such photo, expected the one from which the face was cropped; name it "
                "where it is now, as --photo me.jpg"
            ) from error
        whole = data.read_whole(path)
    if digest and crop.digest and digest != crop.digest:
        raise data.PhotoError(
            f"{name}: got a photo with the digest {digest}, expected {crop.digest}, that of the "
            f"photo from which the face was cropped ({crop.photo}); name that one, as --photo "
            "me.jpg, or invert this one"
        )
    if whole.photo.size != tuple(crop.size):
        raise data.PhotoError(
            f"{name}: got a photo of {whole.photo.width}x{whole.photo.height}, expected "
            f"{crop.size[0]}x{crop.size[1]}, that of the photo from which the face was cropped; "
            "name that one, as --photo me.jpg"
        )
    return whole


@dataclass(frozen=True)
class Piece:
    """One result to paste back."""

    name: str
    image: Tensor
    """(C, R, R) in [-1, 1]."""
    crop: PhotoCrop
    before: Tensor | None = None
    """The image before the edit; None: nothing was edited."""
    mask: Tensor | None = None
    """(R, R) in [0, 1]: where a local edit acts, which is pasted too."""


def paste_all(
    pieces: Iterable[Piece], options: PasteOptions
) -> Iterator[tuple[Piece, Image.Image, Paster]]:
    """Every piece in its photo; what pieces of the same crop share is computed once for those that
    follow one another. Raises as `Paster`."""
    paster: Paster | None = None
    for piece in pieces:
        if paster is None or paster.crop != piece.crop or piece.mask is not None:
            paster = Paster(piece.crop, piece.image.shape[-1], options, piece.mask)
        yield piece, paster(piece.image, piece.before), paster


def save_all(
    pieces: Iterable[Piece],
    count: int,
    out: str | Path,
    options: PasteOptions,
    film: Path | None = None,
    lost_details: dict[str, str] | None = None,
) -> list[Path]:
    """Write the photos with `count` pieces in them; returns the paths.

    out: for one piece a file, or a folder that gets whole.png; for several a folder that gets
    NAME.png of each. film: a video of them, which are then of one size. lost_details: receives what
    is lost of each piece, by name. Raises ValueError for a file's name for several, OSError, and as
    `Paster`.
    """
    out = Path(out)
    is_file = bool(PHOTO_NAME.search(out.name))
    if is_file and count != 1:
        raise ValueError(
            f"got the name of one picture, {out}, for {count} results; name a folder for them"
        )
    paths = []
    with contextlib.ExitStack() as stack:
        writer = None if film is None else stack.enter_context(VideoWriter(film, FPS))
        for piece, whole, paster in paste_all(pieces, options):
            path = out if is_file else out / f"{WHOLE if count == 1 else piece.name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            save_whole(whole, path)
            paths.append(path)
            if writer is not None:
                writer.write(data.to_rgb(whole))
            if lost_details is not None and paster.lost_detail:
                lost_details[piece.name] = paster.lost_detail
    return paths


def check_photos(crops: Iterable[PhotoCrop], options: PasteOptions) -> None:
    """Open the photos before anything is computed; raises as `Paster`."""
    for crop in dict.fromkeys(crops):
        open_whole(crop, options.photo)


def save_whole(whole: Image.Image, path: Path) -> None:
    """Write in the format of the path's name; JPEG has no transparency, which goes over white."""
    if path.suffix.lower() == ".png":
        pictures.save(whole, path)
    elif path.suffix.lower() in (".jpg", ".jpeg"):
        data.to_rgb(whole).save(path, quality=JPEG_QUALITY)
    else:
        whole.save(path)


def crop_of(crops: tuple[PhotoCrop, ...], index: int) -> PhotoCrop:
    """The crop of one image of latents; data.PhotoError if they have none."""
    if not crops:
        raise data.PhotoError(
            "got latents that do not know their place in a photo, as those of samples and of files "
            "from before it was kept; invert the photo anew"
        )
    return crops[index]


def _without_background(whole: WholePhoto, pasted: Image.Image) -> Image.Image:
    """Colours that over white are those of `pasted`; untouched pixels keep the file's."""
    assert whole.alpha is not None
    new, old = np.asarray(pasted, np.float32), np.asarray(whole.photo)
    colours = np.array(whole.colours)
    opacity = np.asarray(whole.alpha, np.float32)[..., None] / 255
    changed = (new != old).any(axis=2) & (opacity[..., 0] > 0)
    a = opacity[changed]
    freed = (new[changed] - (1 - a) * np.array(BACKGROUND, np.float32)) / a
    colours[changed] = (freed.clip(0, 255) + 0.5).astype(np.uint8)
    return Image.fromarray(colours)
