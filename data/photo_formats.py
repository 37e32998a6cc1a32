"""The formats of photos: those of Apple's phones, what cannot be read, and files cut short.

Legend: HxW pixels.
"""

import io
import re
from functools import cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, TiffImagePlugin

# Pillow knows more formats, some of which start other programs.
FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "AVIF", "HEIF", "GIF", "BMP", "TIFF", "JPEG2000", "PPM")
RAW_NAME = re.compile(
    r"\.(dng|cr[23w]|nef|nrw|arw|sr[2fw]|raf|orf|rw[2l]|pef|ptx|x3f|3fr|fff|iiq|kdc|dcr|mrw|erf"
    r"|mef|mos|raw)$",
    re.IGNORECASE,
)
"""What cameras call the numbers of their sensors."""
CAMERA_NAME = re.compile(RAW_NAME.pattern + r"|\.jxl$", re.IGNORECASE)
"""Photos that cannot be read, and are named instead of left out."""
HEAD = 64
"""Bytes at the start of a file by which it is recognised."""
JPEG_XL = "a JPEG XL image"
RAW = "the RAW data of a camera's sensor"
OTHER_FILES: tuple[tuple[bytes, str, str], ...] = (
    # pattern at the start of the file, what it is, what to do
    (rb"\xff\x0a|\0\0\0\x0cJXL ", JPEG_XL, "export it as JPEG or PNG"),
    (rb"FUJIFILMCCD-RAW|II\*\0....CR\x02|II(RO|RS|U\0)|FOVb|\x00MRM|....ftypcrx", RAW,
     "develop it, and export it as JPEG"),
    (rb"....ftyp(qt|isom|iso\d|mp4\d|avc1|M4V|3g)|\x1aE\xdf\xa3|RIFF....AVI ", "a film",
     "pass a photo, or to reenact a film"),
    (rb"....ftyp(hei|hev|mif1|msf1)", "a HEIC photo that cannot be opened",
     "copy it again, or install what reads it: pip install pillow-heif"),
    (rb"PK\x03\x04", "a zip", "unpack it, and pass the folder"),
    (rb"7z\xbc\xaf|Rar!|\x1f\x8b", "a compressed archive", "unpack it, and pass the folder"),
    (rb"%PDF", "a PDF document", "export its picture as JPEG or PNG"),
    (rb"8BPS", "a Photoshop document", "export it as JPEG or PNG"),
    (rb"\s*(<\?xml[^>]*>\s*)?(<!--.*-->\s*)?<svg", "a drawing (SVG)", "export it as PNG"),
    (rb"\s*(<!doctype|<html|<\?xml)", "a web page", "open the link in a browser, and save the "
     "photo itself"),
)  # fmt: skip
DNG_VERSION, PLANAR, BITS, SAMPLES = 50706, 284, 258, 277
"""Tags of TIFF."""
ORIENTATION = 0x0112
"""Tag of EXIF."""
MOST_LOST = 0.05
"""Part of a photo's rows that may be missing at its end."""
BLOCK = 17
"""Rows that a JPEG stores together, at most, and one above, to which colours are smoothed."""
PROGRESSIVE = b"\xc2"
"""The marker of a JPEG of several scans."""
JPEG_END, FILLER = b"\xff\xd9", b"\x55" * 4096
"""The end of a JPEG; and bytes that a decoder takes for more of the picture."""
TURNING_BOXES, MOST_BOXES = (b"irot", b"imir"), 2**16
"""The boxes of a HEIC by which it is turned, and in how many bytes they are to be found."""


class PhotoError(ValueError):
    """A photo that cannot be used; the message says what was got, what was expected, what to do."""


def open_image(file: BinaryIO, path: Path) -> Image.Image:
    """The picture in a file, before its pixels are read. path: a name, for its extension.

    Raises PhotoError for a file that Pillow does not open, or would read wrongly.
    """
    register_formats()
    head = file.read(HEAD)
    file.seek(0)
    formats = [name for name in FORMATS if name in Image.OPEN]
    try:
        image = Image.open(file, formats=formats)
    except Image.UnidentifiedImageError as error:
        raise PhotoError(describe_other(path, head)) from error
    check_readable(image, path)
    return image


def load(image: Image.Image, file: BinaryIO) -> tuple[Image.Image, str]:
    """(an opened picture with its pixels, what is missing in it or ""). file: of the picture.

    Raises whatever Pillow's decoders raise for a damaged file.
    """
    try:
        image.load()
    except OSError:
        completed = complete_jpeg(file) if image.format in ("JPEG", "MPO") else None
        if completed is None:
            raise
        return completed
    return turn_heif(image, file) if image.format == "HEIF" else image, ""


@cache
def register_formats() -> None:
    """Let Pillow open HEIC, which Apple's phones write."""
    Image.init()
    try:
        import pillow_heif
    except ImportError:  # an installation from before it was needed reads all other photos
        return
    pillow_heif.register_heif_opener(thumbnails=False)


def describe_other(path: Path, head: bytes) -> str:
    """A sentence, without the file's name, on a file that Pillow does not open.

    head: its first HEAD bytes.
    """
    for pattern, what, remedy in OTHER_FILES:
        if re.match(pattern, head, re.IGNORECASE | re.DOTALL):
            return f"got {what}, expected a photo; {remedy}"
    if RAW_NAME.search(path.name):
        return f"got {RAW}, expected a photo; develop it, and export it as JPEG"
    if path.suffix.lower() == ".jxl":
        return f"got {JPEG_XL}, expected a photo; export it as JPEG or PNG"
    return (
        "got something else than an image, or one that is damaged or in a format Pillow "
        "cannot read, expected a photo; save it as JPEG or PNG"
    )


def check_readable(image: Image.Image, path: Path) -> None:
    """PhotoError for what Pillow opens, but reads wrongly."""
    tags = image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else {}
    # Pillow would return a small preview.
    if RAW_NAME.search(path.name) or DNG_VERSION in tags:
        raise PhotoError(describe_other(path.with_suffix(".dng"), b""))
    if tags.get(PLANAR) == 2 and tags.get(SAMPLES, 1) > 1 and max(tags.get(BITS, (1,))) > 8:
        raise PhotoError(
            f"got a TIFF of {max(tags[BITS])} bits with a plane for each colour, which Pillow "
            "misreads; save it with 8 bits, or with interleaved colours"
        )


def turn_heif(image: Image.Image, file: BinaryIO) -> Image.Image:
    """A HEIC photo, to be turned as its EXIF says.

    libheif turns a photo as the file's own boxes say. Where there are any, they say what EXIF says
    once more, and the photo is upright.
    """
    orientation = image.info.get("original_orientation")
    file.seek(0)
    if orientation in (None, 1) or any(box in file.read(MOST_BOXES) for box in TURNING_BOXES):
        return image
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    image = image.copy()
    image.info["exif"] = exif.tobytes()
    return image


def complete_jpeg(file: BinaryIO) -> tuple[Image.Image, str] | None:
    """(picture, how much is missing) of a JPEG cut short; None if that is more than MOST_LOST.

    Where it was cut is where the picture depends on what follows.
    """
    file.seek(0)
    content = file.read().removesuffix(JPEG_END[:1])
    if not _has_all_scans(content):
        return None
    ended, filled = (
        Image.open(io.BytesIO(content + rest + JPEG_END), formats=("JPEG",))
        for rest in (b"", FILLER)
    )
    rows = [np.asarray(picture).reshape(picture.height, -1) for picture in (ended, filled)]
    differing = np.flatnonzero((rows[0] != rows[1]).any(1))
    lost = ended.height - int(differing[0]) if len(differing) else 0
    if lost > max(BLOCK, MOST_LOST * ended.height):
        return None
    missing = f"the last {lost} of its {ended.height} rows are lost" if lost else "nothing is lost"
    return ended, f"is cut short at its end, and {missing}; copy or download it again if you can"


def _has_all_scans(content: bytes) -> bool:
    """Whether the last scan of a JPEG, which refines its coefficients, has at least begun.

    A progressive JPEG has several: ITU T.81, B.2.3, G.1.1.1.
    """
    position, components = 2, b""
    while (marker := content[position + 1 : position + 2]) not in (b"\xda", b""):
        length = int.from_bytes(content[position + 2 : position + 4], "big")
        segment = content[position + 4 : position + 2 + length]
        if marker == PROGRESSIVE:
            components = segment[6::3][: segment[5]]
        position += 2 + length
    done = set()
    for scan in re.finditer(rb"\xff\xda..(.)", content[position:], re.DOTALL):
        count = scan[1][0]
        body = content[position + scan.end() :][: 2 * count + 3]
        if len(body) == 2 * count + 3 and body[-1] & 15 == 0:
            first, last = body[-3:-1]
            done |= {(c, k) for c in body[: 2 * count : 2] for k in range(first, last + 1)}
    return all((component, k) in done for component in components for k in range(64))
