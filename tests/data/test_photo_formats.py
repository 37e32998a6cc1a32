"""Photos of phones and cameras: turned once, named where they cannot be read, used where cut."""

import io
import sys

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from facsimile.data import photo_formats
from facsimile.data.photo_files import find_photos
from facsimile.data.photo_formats import PhotoError
from facsimile.data.photos import PhotoWarning, read_photo

RED, BLACK = (255, 0, 0), (0, 0, 0)


@pytest.fixture(scope="module")
def picture():
    """(96, 64, 3): its top third is red, so that every turn can be seen."""
    pixels = np.zeros((96, 64, 3), np.uint8)
    pixels[:32] = RED
    return Image.fromarray(pixels)


@pytest.fixture(scope="module")
def noise():
    """A photo whose JPEG has about as many bytes in each row."""
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (160, 96, 3), dtype=np.uint8))


def exif(orientation):
    made = Image.Exif()
    made[0x0112] = orientation
    return made


def heic(picture, orientation=1, boxes=True, **options):
    """boxes: the file's own, by which libheif turns; else EXIF alone says it."""
    pillow_heif.register_heif_opener()
    file = io.BytesIO()
    stored = exif(orientation)
    picture.save(file, "HEIF", quality=90, exif=stored.tobytes() if boxes else stored, **options)
    return file.getvalue()


@pytest.mark.parametrize("boxes", [True, False])
@pytest.mark.parametrize(("orientation", "side"), [(1, "top"), (3, "bottom"), (6, "right")])
def test_heic_is_turned_once(picture, boxes, orientation, side):
    content = heic(picture, orientation, boxes)
    assert (b"irot" in content) == (boxes and orientation != 1)
    photo = read_photo("IMG_0001.HEIC", content)
    assert photo.size == ((96, 64) if side == "right" else (64, 96))
    width, height = photo.size
    at = {"top": (width // 2, 4), "bottom": (width // 2, height - 5), "right": (width - 5, 32)}
    for place, xy in at.items():
        red = photo.getpixel(xy)[0] if place != "right" or side == "right" else None
        assert red is None or (red > 200) == (place == side)


def test_without_its_package_heic_alone_is_not_read(picture, monkeypatch):
    photo, content = io.BytesIO(), heic(picture)
    picture.save(photo, "PNG")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.delitem(Image.OPEN, "HEIF")
    photo_formats.register_formats.cache_clear()
    assert read_photo("x.png", photo.getvalue()).size == picture.size
    with pytest.raises(PhotoError, match="pip install pillow-heif"):
        read_photo("x.heic", content)
    monkeypatch.undo()
    photo_formats.register_formats.cache_clear()
    assert read_photo("x.heic", content).size == picture.size


def test_heic_with_transparency_is_laid_over_white(picture):
    clear = picture.convert("RGBA")
    clear.putalpha(Image.new("L", picture.size, 0))
    assert np.asarray(read_photo("x.heic", heic(clear))).min() > 250


def test_avif(tmp_path, picture):
    picture.save(tmp_path / "x.avif", quality=95)
    assert read_photo(tmp_path / "x.avif").getpixel((32, 4))[0] > 200


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.jxl", b"\xff\x0a\0\0", "JPEG XL image, expected a photo; export it as JPEG or PNG"),
        ("x.jpg", b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL image"),
        ("x.raf", b"FUJIFILMCCD-RAW 0201", "RAW data of a camera's sensor"),
        ("x", b"II*\0\x10\0\0\0CR\2\0", "RAW data"),
        ("x.CR3", b"\0\0\0\x18ftypcrx \0\0\0\1", "develop it, and export it as JPEG"),
        ("x.jpg", b"\0\0\0\x20ftypisom", "got a film"),
        ("x.heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1", "HEIC photo .*copy it again|damaged"),
        ("x.jpg", b"PK\3\4", "got a zip, expected a photo; unpack it"),
        ("x.jpg", b"%PDF-1.7", "a PDF document"),
        ("x.jpg", b"\n<!DOCTYPE html>", "a web page"),
        ("x.jpg", b"<?xml version='1.0'?>\n<svg ", r"a drawing \(SVG\)"),
    ],
)
def test_other_files_are_named(name, content, message):
    with pytest.raises(PhotoError, match=message):
        read_photo(name, content + bytes(40))


@pytest.mark.parametrize("tag", [True, False])
def test_the_preview_in_a_raw_file_is_no_photo(tmp_path, picture, tag):
    path = tmp_path / ("x.tif" if tag else "x.nef")
    picture.save(path, "TIFF", tiffinfo={50706: b"\1\4\0\0"} if tag else {})
    with pytest.raises(PhotoError, match="RAW data"):
        read_photo(path)
    assert find_photos(tmp_path) == [path]  # and not left out


def tiff(pixels, bits):
    """A planar TIFF of (H, W, C), written by hand: a strip for each colour."""
    height, width, colours = pixels.shape
    data = np.moveaxis(pixels, 2, 0).astype(f"<u{bits // 8}").tobytes()
    shorts = lambda values: b"".join(x.to_bytes(2, "little") for x in values)  # noqa: E731
    longs = lambda values: b"".join(x.to_bytes(4, "little") for x in values)  # noqa: E731
    start = 8 + 2 + 12 * 9 + 4
    size = len(data) // colours
    after = [shorts([bits] * colours), longs(start + 30 + i * size for i in range(colours))]
    after.append(longs([size] * colours))
    where = [start, start + 6, start + 18]
    entries = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, colours, where[0])]
    entries += [(259, 3, 1, 1), (262, 3, 1, 2), (273, 4, colours, where[1])]
    entries += [(277, 3, 1, colours), (279, 4, colours, where[2]), (284, 3, 1, 2)]
    table = b"".join(shorts([tag, kind]) + longs([n, value]) for tag, kind, n, value in entries)
    head = b"II*\0" + longs([8]) + shorts([len(entries)]) + table + longs([0])
    return head + b"".join(after) + data


def test_planar_tiff_is_read_rightly_or_refused(picture):
    pixels = np.asarray(picture)
    assert np.array_equal(np.asarray(read_photo("x.tif", tiff(pixels, 8))), pixels)
    with pytest.raises(PhotoError, match="TIFF of 16 bits with a plane for each colour"):
        read_photo("x.tif", tiff(pixels.astype(int) * 257, 16))


def jpeg(picture, **options):
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=90, **options)
    return file.getvalue()


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("cut", [1, 2, 3, 20, 200])
def test_a_jpeg_cut_by_a_few_bytes_is_used(noise, cut, progressive):
    content = jpeg(noise, progressive=progressive)
    whole = np.asarray(read_photo("x.jpg", content)).astype(int)
    with pytest.warns(PhotoWarning, match=r"x\.jpg: is cut short at its end"):
        photo = np.asarray(read_photo("x.jpg", content[:-cut]))
    kept = slice(0, -17 if cut > 2 else None)
    assert np.abs(photo - whole)[kept].max() <= (80 if progressive else 0)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("part", [0.05, 0.5, 0.8])
def test_a_jpeg_of_which_much_is_missing_is_refused(noise, part, progressive):
    content = jpeg(noise, progressive=progressive)
    with pytest.raises(PhotoError, match="damaged or incomplete|is damaged"):
        read_photo("x.jpg", content[: int(part * len(content))])
