"""Photo files: from whatever a person has to the one image convention of this project, and back.

Legend: N images, C channels, HxW pixels.

A *photo* is an upright 8-bit RGB `PIL.Image`. An *image* is float32, RGB, (N, 3, H, W), [-1, 1].
"""

import io
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar

import numpy as np
import torch
from PIL import Image, ImageCms, ImageOps
from torch import Tensor

from facsimile.metrics.pixels import from_uint8, to_uint8

from . import photo_formats
from .photo_files import archive_of, missing, photo_bytes, why_no_zip
from .photo_formats import PhotoError

MAX_PIXELS = 210_000_000
"""Phones take photos of 200 megapixels. A small file of more may be made to fill the memory."""
MIN_SIDE = 16
"""Least side in pixels: no face can be recognised below."""
# Viewers and web pages show transparent pictures on white.
BACKGROUND = (255, 255, 255)

_PILLOW = threading.Lock()
T = TypeVar("T")


class PhotoWarning(UserWarning):
    """A photo that is used although a part of it is missing."""


@dataclass(frozen=True)
class WholePhoto:
    """A photo with what its file has beyond it."""

    photo: Image.Image
    """Upright, RGB, 8 bits, in sRGB; transparency over white."""
    colours: Image.Image
    """The same without the white, RGB."""
    alpha: Image.Image | None
    """L; None for an opaque photo."""
    grey: bool
    """Whether the file holds grey alone."""


def read_photo(
    path: str | Path, content: bytes | None = None, *, max_pixels: int = MAX_PIXELS
) -> Image.Image:
    """The first picture of a file, upright, RGB, 8 bits, in sRGB.

    content: the file's bytes, if `path` is only a name, such as that of an entry in an archive.
    Raises FileNotFoundError, or PhotoError for everything else that is wrong with the file. The
    size is checked against `max_pixels` from the header, before anything is decoded.
    """
    return _read_as(to_rgb, Path(path), content, max_pixels)


def read_whole(path: str | Path) -> WholePhoto:
    """As `read_photo`, with the file's transparency."""
    return _read_as(to_whole, Path(path), None, MAX_PIXELS)


def _read_as(
    convert: Callable[[Image.Image], T], path: Path, content: bytes | None, max_pixels: int
) -> T:
    if content is None and archive_of(path) is not None:
        content = photo_bytes(path)
    try:
        if content is None:
            converted, note = _read(convert, path, max_pixels)
        else:
            converted, note = _decode(convert, io.BytesIO(content), path, max_pixels)
    except PhotoError as error:
        raise PhotoError(f"{path}: {error}") from error
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path}: {missing(path)}") from error
    except Image.DecompressionBombError as error:
        raise PhotoError(
            f"{path}: {_too_large(f'more than {2 * max_pixels:,}', max_pixels)}"
        ) from error
    except PermissionError as error:
        raise PhotoError(
            f"{path}: got no permission to read, expected a readable photo; "
            f"allow it, for example with: chmod u+r '{path}'"
        ) from error
    # Decoders raise nearly everything (OSError, SyntaxError, struct.error, ...) on broken files.
    except Exception as error:
        raise PhotoError(
            f"{path}: got a damaged or incomplete file ({error}), expected a whole photo; "
            "copy or download it again"
        ) from error
    if note:
        with _PILLOW:  # inside of which another thread may have silenced all warnings
            warnings.warn(f"{path}: {note}", PhotoWarning, stacklevel=3)
    return converted


def to_rgb(image: Image.Image) -> Image.Image:
    """Any PIL image as a photo: EXIF rotation undone, colours in sRGB, transparency over white.

    Raises PhotoError for floating point pixels whose range is unknown.
    """
    return to_whole(image).photo


def to_whole(image: Image.Image) -> WholePhoto:
    """As `to_rgb`, with the image's transparency."""
    image.load()
    image = ImageOps.exif_transpose(image)
    grey = image.mode.startswith(("1", "L", "I", "F")) and image.mode != "LAB"
    icc = image.info.get("icc_profile")
    if image.mode == "F" or image.mode.startswith("I"):
        image = _eight_bits(image)
    alpha = None
    if image.has_transparency_data:
        image = image.convert("LA" if image.mode in ("1", "L", "La", "LA") else "RGBA")
        alpha = image.getchannel("A")
        image = image.convert(image.mode.removesuffix("A"))
    elif image.mode in ("1", "P"):
        image = image.convert("L" if image.mode == "1" else "RGB")
    photo = colours = _to_srgb(image, icc)
    if alpha is not None:
        photo = Image.composite(photo, Image.new("RGB", photo.size, BACKGROUND), alpha)
    photo.info.clear()  # profile and EXIF described the file, not these pixels
    colours.info.clear()
    return WholePhoto(photo, colours, alpha, grey)


def to_tensor(photo: Image.Image) -> Tensor:
    """photo: RGB. Returns (3, H, W), float32, [-1, 1]; ValueError for another mode."""
    if photo.mode != "RGB":
        raise ValueError(f"got an image of mode {photo.mode}, expected RGB; pass it to to_rgb")
    pixels = torch.from_numpy(np.array(photo))  # (H, W, 3)
    return from_uint8(pixels.permute(2, 0, 1).contiguous())


def to_pil(image: Tensor) -> Image.Image:
    """image: (1, H, W) grey, (3, H, W) RGB or (4, H, W) RGBA, [-1, 1]; other values are clipped.

    The exact inverse of `to_tensor`. Raises ValueError for another shape.
    """
    if image.ndim != 3 or image.shape[0] not in (1, 3, 4):
        raise ValueError(
            f"got an image of shape {tuple(image.shape)}, expected (C, H, W) with 1, 3 or 4 "
            "channels; index the batch first"
        )
    pixels = to_uint8(image.detach().float()).permute(1, 2, 0).cpu().numpy()  # (H, W, C)
    return Image.fromarray(pixels[..., 0] if image.shape[0] == 1 else pixels)


def check_square(images: Tensor) -> None:
    """ValueError unless they are (N, 3, R, R) or (N, 1, R, R)."""
    if images.ndim != 4 or images.shape[1] not in (1, 3) or images.shape[2] != images.shape[3]:
        raise ValueError(
            f"got images of shape {tuple(images.shape)}, expected (N, 3, R, R) or (N, 1, R, R) in "
            "[-1, 1]; crop them to squares"
        )


def fit_square(photo: Image.Image, side: int) -> Image.Image:
    """A photo that is aligned already, at side x side: the filters of `metrics.resize`, on 8 bits.

    Raises PhotoError if the photo is not square: squeezing or cropping it would move the face.
    """
    width, height = photo.size
    if width != height:
        raise PhotoError(
            f"got {width}x{height}, expected a square photo when alignment is off; "
            "align it, or crop it to the face first"
        )
    if width % side == 0:
        return photo.reduce(width // side)
    return photo.resize((side, side), Image.Resampling.BICUBIC)


def centre_square(photo: Image.Image, side: int) -> Image.Image:
    """The middle of a photo at side x side, antialiased."""
    width, height = photo.size
    least = min(width, height)
    left, top = (width - least) // 2, (height - least) // 2
    return fit_square(photo.crop((left, top, left + least, top + least)), side)


@contextmanager
def _pixel_limit(max_pixels: int) -> Iterator[None]:
    """Sets Pillow's size limit and Python's warning filters, and restores both.

    They belong to the process, so one thread at a time may change them. Above its limit Pillow
    warns, and above twice the limit it raises.
    """
    with _PILLOW, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nobody can repair the odd metadata of a photo
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, max_pixels
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _too_large(got: str, max_pixels: int) -> str:
    return (
        f"got {got} pixels, expected at most {max_pixels:,} in all; "
        "make it smaller, or raise max_pixels if you trust the file"
    )


def _read(convert: Callable[[Image.Image], T], path: Path, max_pixels: int) -> tuple[T, str]:
    if not path.exists():
        raise FileNotFoundError
    if not path.is_file():
        raise PhotoError("got a folder or a device, expected a photo; name an image file")
    if path.stat().st_size == 0:
        raise PhotoError("got an empty file, expected a photo; copy or download it again")
    if reason := why_no_zip(path):
        raise PhotoError(reason)
    with path.open("rb") as file:
        return _decode(convert, file, path, max_pixels)


def _decode(
    convert: Callable[[Image.Image], T], file: BinaryIO, path: Path, max_pixels: int
) -> tuple[T, str]:
    """(what `convert` makes of the picture in a file, what is missing in it or "")."""
    with _pixel_limit(max_pixels):
        image = photo_formats.open_image(file, path)  # reads the header only
        width, height = image.size
        if width * height > max_pixels:
            raise PhotoError(_too_large(f"{width}x{height}", max_pixels))
        if min(width, height) < MIN_SIDE:
            raise PhotoError(
                f"got {width}x{height} pixels, expected at least {MIN_SIDE} on each side; "
                "use a larger photo"
            )
        image, note = photo_formats.load(image, file)
        return convert(image), note


def _eight_bits(image: Image.Image) -> Image.Image:
    """Grey of 16, 32 or floating point bits to L, scaled by the range of the format."""
    pixels = np.asarray(image).astype(np.float64)  # (H, W)
    low, high = pixels.min(), pixels.max()
    if image.mode == "F":
        if not (low >= 0 and high <= 255):  # also true for NaN
            raise PhotoError(
                f"got floating point pixels from {low:g} to {high:g}, expected 0 to 1 or 0 to 255; "
                "save the photo with 8 or 16 bits"
            )
        top = 1 if high <= 1 else 255
    else:  # Pillow gives 16-bit PNG as I;16 or, in older versions, as I
        top = 65535 if high <= 65535 else 2**31 - 1
    return Image.fromarray((pixels.clip(0) * (255 / top) + 0.5).astype(np.uint8))


def _to_srgb(image: Image.Image, icc: bytes | None) -> Image.Image:
    """image: no alpha, no palette. Follows the embedded profile where there is a usable one."""
    try:
        if image.mode == "LAB":
            profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
        elif icc:
            profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
            if image.mode == "RGB" and (profile.profile.profile_description or "")[:4] == "sRGB":
                return image  # a transform to itself would only cost time and rounding
        else:
            return image.convert("RGB")
        srgb = ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, profile, srgb, outputMode="RGB")
        assert converted is not None  # as it is not converted in place
        return converted
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image.convert("RGB")  # a broken or unfitting profile: colours as the numbers say
