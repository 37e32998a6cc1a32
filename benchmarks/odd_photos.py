"""The photos of `benchmarks.odd_folder`: good, odd and hostile, each with what is true of it."""

import io
import os
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from skimage.data import astronaut

SIDE = 128
"""Of the photos, in pixels."""


class Case(NamedTuple):
    """A file that is made for the folder."""

    name: str
    """In the folder; "@" in front: a zip, which is named to the command beside the folder."""
    make: Callable[[Path], None]
    reason: str = ""
    """A pattern that is found in the reason why it, or a part of it, is not used; "": it is."""
    used: int | None = None
    """How many photos of it are used; None: it is one photo, used or not."""

    @property
    def results(self) -> int:
        """How many results there are of it."""
        return int(not self.reason) if self.used is None else self.used


@cache
def face() -> Image.Image:
    """A square face."""
    return Image.fromarray(astronaut()).crop((130, 0, 330, 200)).resize((SIDE, SIDE))


def saved(form: str, picture: Image.Image | None = None, **options) -> bytes:
    file = io.BytesIO()
    (picture or face()).save(file, form, **options)
    return file.getvalue()


def content(data: bytes) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    return write


def linked(target: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(target)


def exif(orientation: int) -> bytes:
    made = Image.Exif()
    made[0x0112] = orientation
    return made.tobytes()


def zipped(files: dict[str, bytes], **options) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            with archive.open(zipfile.ZipInfo(name), "w", **options) as entry:
                entry.write(data)
    return file.getvalue()


def marked(data: bytes, local: int, entry: int, value: int) -> bytes:
    """A zip with a byte of every header set: at these offsets of the local ones and the entries."""
    changed = bytearray(data)
    for sign, offset in ((b"PK\3\4", local), (b"PK\1\2", entry)):
        start = changed.find(sign)
        while start >= 0:
            changed[start + offset] = value
            start = changed.find(sign, start + 4)
    return bytes(changed)


def bomb(side: int) -> bytes:
    """A PNG of side x side pixels in a few kilobytes."""

    def chunk(name: bytes, body: bytes) -> bytes:
        checked = name + body
        return struct.pack(">I", len(body)) + checked + struct.pack(">I", zlib.crc32(checked))

    head = chunk(b"IHDR", struct.pack(">II5B", side, side, 1, 0, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n"
        + head
        + chunk(b"IDAT", zlib.compress(bytes(1000)))
        + chunk(b"IEND", b"")
    )


def planar_tiff() -> bytes:
    """16 bits, a plane for each colour."""
    planes = np.moveaxis(np.asarray(face()).astype("<u2") * 257, 2, 0).tobytes()
    size, start = len(planes) // 3, 8 + 2 + 12 * 9 + 4

    def shorts(*values: int) -> bytes:
        return struct.pack(f"<{len(values)}H", *values)

    after = shorts(16, 16, 16) + struct.pack("<3I", *(start + 30 + i * size for i in range(3)))
    after += struct.pack("<3I", size, size, size)
    entries = [(256, 4, 1, SIDE), (257, 4, 1, SIDE), (258, 3, 3, start), (259, 3, 1, 1)]
    entries += [(262, 3, 1, 2), (273, 4, 3, start + 6), (277, 3, 1, 3)]
    entries += [(279, 4, 3, start + 18), (284, 3, 1, 2)]
    table = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + table + bytes(4) + after + planes


def good() -> list[Case]:
    """Every format that is read, and what phones and programs make of them."""
    picture, second = face(), Image.new("RGB", (SIDE, SIDE))
    frames = {"save_all": True, "append_images": [second]}
    deep = Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257)
    alpha = picture.convert("RGBA")
    alpha.putalpha(Image.linear_gradient("L").resize(picture.size))
    real = Image.fromarray(np.asarray(picture.convert("L")).astype(np.float32) / 255)
    files = {
        "photo.jpg": saved("JPEG"),
        "photo.JPEG": saved("JPEG", progressive=True),
        "photo.jfif": saved("JPEG", picture.convert("CMYK")),
        "photo.png": saved("PNG"),
        "photo.webp": saved("WEBP"),
        "photo.avif": saved("AVIF"),
        "photo.heic": saved("HEIF", exif=exif(1)),
        "turned.heic": saved("HEIF", exif=exif(6)),
        "turned.jpg": saved("JPEG", exif=exif(8)),
        "photo.gif": saved("GIF"),
        "photo.bmp": saved("BMP"),
        "photo.tif": saved("TIFF"),
        "packed.tiff": saved("TIFF", compression="tiff_lzw"),
        "real numbers.tif": saved("TIFF", real),
        "photo.jp2": saved("JPEG2000"),
        "photo.ppm": saved("PPM"),
        "grey.png": saved("PNG", picture.convert("L")),
        "deep.png": saved("PNG", deep),
        "clear.png": saved("PNG", alpha),
        "palette.png": saved("PNG", picture.quantize(64)),
        "animated.gif": saved("GIF", **frames),
        "animated.webp": saved("WEBP", **frames),
        "animated.png": saved("PNG", **frames),
        "two.mpo.jpg": saved("MPO", **frames),
        "a png called.jpg": saved("PNG"),
        "cut by 3.jpg": saved("JPEG")[:-3],
        "cut by 40, progressive.jpg": saved("JPEG", progressive=True)[:-40],
    }
    return [Case(name, content(data)) for name, data in files.items()]


def names_and_links() -> list[Case]:
    """Names that file systems allow, and links."""
    odd = [
        os.fsdecode(b"caf\xe9.png"),
        "x" * 251 + ".png",
        "two\nlines.png",
        "-rf.png",
        "\N{GRINNING FACE}.png",
        "Zoë.png",
        "ZOË.png",
        unicodedata.normalize("NFD", "Zoë.png"),
        "con.png",
    ]
    # The same bytes under two names are two photos.
    cases = [Case(name, content(saved("PNG"))) for name in odd]
    broken = "is a broken symbolic link"
    return [
        *cases,
        Case("inner/again.jpg", content(saved("JPEG", quality=60))),
        Case("inner/circle", linked(".."), used=0),
        Case("link.png", linked("../beside/outside.png")),
        Case("linked folder", linked("../beside/album")),
        Case("gone.jpg", linked("nowhere.jpg"), broken),
        Case("gone", linked("/mnt/stick/photos"), broken),
        Case("itself.jpg", linked("itself.jpg"), "symbolic link"),
    ]


def bad() -> list[Case]:
    """Files that are no photo, or no longer."""
    damaged = "damaged or incomplete file"
    files = {
        "empty.jpg": (b"", "got an empty file"),
        "half.jpg": (saved("JPEG")[:1500], damaged),
        "half.png": (saved("PNG")[:4000], damaged),
        "half.heic": (saved("HEIF")[:900], damaged),
        "text.jpg": (b"dear diary", "got something else than an image"),
        "page.jpg": (b"<!DOCTYPE html><html>", "got a web page"),
        "drawing.png": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', r"got a drawing \(SVG\)"),
        "paper.jpg": (b"%PDF-1.7\n", "got a PDF document"),
        "film.jpg": (b"\0\0\0\x20ftypisom" + bytes(64), "got a film"),
        "zip.png": (zipped({"a.png": saved("PNG")}), "got a zip"),
        "photo.jxl": (b"\xff\x0a" + bytes(64), "got a JPEG XL image"),
        "photo.cr3": (b"\0\0\0\x18ftypcrx " + bytes(64), "RAW data of a camera"),
        "preview.nef": (saved("TIFF"), "RAW data of a camera"),
        "preview.dng": (saved("TIFF", tiffinfo={50706: b"\1\4\0\0"}), "RAW data of a camera"),
        "planes.tif": (planar_tiff(), "16 bits with a plane for each colour"),
        "dot.png": (saved("PNG", Image.new("RGB", (1, 1))), "got 1x1 pixels"),
        "wide.png": (saved("PNG", Image.new("RGB", (64, 32))), "expected a square photo"),
        "bomb.png": (bomb(20_000), "expected at most 210,000,000"),
        "large bomb.png": (bomb(2**31 - 1), "expected at most|damaged"),
    }
    return [Case(name, content(data), reason) for name, (data, reason) in files.items()]


def zips() -> list[Case]:
    """Zips, which are named to the command."""
    three = {f"album/{index}.png": saved("PNG") for index in range(3)}
    plain = zipped(three)
    end = plain.rindex(b"PK\5\6")
    last = plain[: end + 4] + b"\2\0\2\0" + plain[end + 8 :]
    torn = bytearray(plain)
    torn[80] ^= 255
    return [
        Case("@good.zip", content(plain), used=3),
        Case("@zip64.zip", content(zipped({"a.png": saved("PNG")}, force_zip64=True))),
        Case("@deflate64.zip", content(marked(plain, 8, 10, 9)), "compressed with Deflate64"),
        Case("@encrypted.zip", content(marked(plain, 6, 8, 1)), "is encrypted"),
        Case("@split.zip", content(last), "one part of a zip in several parts"),
        Case("@cut.zip", content(plain[: end // 2]), "is cut short"),
        Case("@nested.zip", content(zipped({"inner.zip": plain})), "got a zip"),
        Case("@rar.zip", content(b"Rar!\x1a\7\0"), "is a RAR archive"),
        Case("@torn.zip", content(bytes(torn)), "make it again", used=2),
    ]
