"""Photo files: from whatever a person has to the one image convention of this project, and back.

Legend: N images, C channels, HxW pixels.

A *photo* is an upright 8-bit RGB `PIL.Image`. An *image* is float32, RGB, (N, 3, H, W), [-1, 1].
"""

import hashlib
import io
import os
import re
import threading
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar

import numpy as np
import torch
from PIL import Image, ImageCms, ImageOps
from torch import Tensor

from facsimile.metrics.pixels import from_uint8, to_uint8

# HEIC needs a plugin, but is listed: a photo that is reported is better than one left out silently.
PHOTO_NAME = re.compile(
    r"\.(jpe?g|jpe|jfif|a?png|webp|avif|hei[cf]|gif|bmp|tiff?|jp2|p[gnp]m)$", re.IGNORECASE
)
ZIP = ".zip"
MAX_PIXELS = 210_000_000
"""Phones take photos of 200 megapixels. A small file of more may be made to fill the memory."""
MIN_SIDE = 16
"""Least side in pixels: no face can be recognised below."""
# Pillow knows more formats, some of which start other programs.
FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "AVIF", "HEIF", "GIF", "BMP", "TIFF", "JPEG2000", "PPM")
# Viewers and web pages show transparent pictures on white.
BACKGROUND = (255, 255, 255)

_PILLOW = threading.Lock()
T = TypeVar("T")


class PhotoError(ValueError):
    """A photo that cannot be used; the message says what was got, what was expected, what to do."""


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


def find_photos(
    paths: str | Path | Iterable[str | Path], exclude: str | Path | None = None
) -> list[Path]:
    """The files in `paths`, and the photos in its folders and zips, at any depth.

    exclude: a folder that is skipped inside of the others, such as that of the results. It is not
        skipped if it, or something in it, is itself in `paths`.

    The order of `paths` is kept; inside a folder "2.jpg" comes before "10.jpg". A file in `paths`
    may have any extension; in folders the extension decides, and hidden entries are left out. No
    file is returned twice. A photo in a zip is returned as ARCHIVE.zip/NAME, which `read_photo` and
    `photo_bytes` understand. Raises FileNotFoundError for a path that does not exist, and
    ValueError for a damaged zip.
    """
    photos: dict[str, Path] = {}  # resolved -> as given
    excluded = None if exclude is None else os.path.realpath(exclude)
    for path in [paths] if isinstance(paths, str | os.PathLike) else paths:
        path = Path(path)
        if not path.exists():
            raise FileNotFoundError(
                f"{path}: no such file or folder; expected photos, or folders or zips of photos, "
                "check the spelling"
            )
        if path.suffix.lower() == ZIP and path.is_file():
            entries = _photos_in_zip(path)
            photos |= {os.path.realpath(photo): photo for photo in entries}
            continue
        if not path.is_dir():
            photos.setdefault(os.path.realpath(path), path)
            continue
        folder = os.path.realpath(path)
        for photo in _photos_below(path, excluded):
            # Folders that are symbolic links are not entered: only `path` or the photo can be one.
            resolved = os.path.join(folder, photo.relative_to(path))
            photos.setdefault(os.path.realpath(photo) if photo.is_symlink() else resolved, photo)
    return list(photos.values())


def photo_bytes(path: Path) -> bytes:
    """The content of a photo's file, or of an entry of a zip (ARCHIVE.zip/NAME). Raises OSError,
    or PhotoError for a damaged zip."""
    archive = _archive_of(path)
    if archive is None:
        return path.read_bytes()
    try:
        with zipfile.ZipFile(archive) as opened:
            return opened.read(path.relative_to(archive).as_posix())
    except KeyError as error:
        raise FileNotFoundError(f"{path}: no such entry in {archive}") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        raise PhotoError(
            f"{path}: cannot be read from {archive} ({error}); make it again"
        ) from error


def photo_digest(path: Path) -> str:
    """Of the bytes of a photo's file. Raises as `photo_bytes`."""
    return hashlib.sha256(photo_bytes(path)).hexdigest()[:16]


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
    if content is None and _archive_of(path) is not None:
        content = photo_bytes(path)
    if content is None and not path.exists():
        raise FileNotFoundError(f"{path}: no such file; expected a photo, check the spelling")
    try:
        if content is None:
            return _read(convert, path, max_pixels)
        return _decode(convert, io.BytesIO(content), max_pixels)
    except PhotoError as error:
        raise PhotoError(f"{path}: {error}") from error
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


def _photos_below(folder: Path, excluded: str | None) -> list[Path]:
    photos = []
    for parent, folders, files in os.walk(folder):
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".") and os.path.realpath(Path(parent, name)) != excluded
        ]
        photos += [
            Path(parent, name)
            for name in files
            if not name.startswith(".") and PHOTO_NAME.search(name)
        ]
    return sorted(photos, key=lambda photo: _natural(photo.relative_to(folder)))


def _archive_of(path: Path) -> Path | None:
    """The zip in which a photo is; None for a file of its own."""
    if os.path.lexists(path):
        return None
    zips = (x for x in path.parents if x.suffix.lower() == ZIP)
    return next((archive for archive in zips if archive.is_file()), None)


def _photos_in_zip(path: Path) -> list[Path]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = [Path(name) for name in archive.namelist() if PHOTO_NAME.search(name)]
    except zipfile.BadZipFile as error:
        raise ValueError(f"{path} is no zip, or is damaged ({error}); make it again") from error
    shown = [name for name in names if not any(part.startswith((".", "__")) for part in name.parts)]
    return [path / name for name in sorted(shown, key=_natural)]


def _natural(path: Path) -> tuple:
    """Sorting key: runs of digits by their value; the text decides between "1.jpg" and "01.jpg"."""
    parts = [re.split(r"(\d+)", part.casefold()) for part in path.parts]
    return [[int(s) if i % 2 else s for i, s in enumerate(part)] for part in parts], str(path)


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


def _read(convert: Callable[[Image.Image], T], path: Path, max_pixels: int) -> T:
    if not path.is_file():
        raise PhotoError("got a folder or a device, expected a photo; name an image file")
    if path.stat().st_size == 0:
        raise PhotoError("got an empty file, expected a photo; copy or download it again")
    with path.open("rb") as file:
        return _decode(convert, file, max_pixels)


def _decode(convert: Callable[[Image.Image], T], file: BinaryIO, max_pixels: int) -> T:
    with _pixel_limit(max_pixels):
        Image.init()
        formats = [name for name in FORMATS if name in Image.OPEN]
        try:
            image = Image.open(file, formats=formats)  # reads the header only
        except Image.UnidentifiedImageError as error:
            raise PhotoError(
                "got something else than an image, or one that is damaged or in a format Pillow "
                "cannot read, expected a photo; save it as JPEG or PNG"
            ) from error
        width, height = image.size
        if width * height > max_pixels:
            raise PhotoError(_too_large(f"{width}x{height}", max_pixels))
        if min(width, height) < MIN_SIDE:
            raise PhotoError(
                f"got {width}x{height} pixels, expected at least {MIN_SIDE} on each side; "
                "use a larger photo"
            )
        return convert(image)


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
