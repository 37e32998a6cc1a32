"""Photos written here in every format and colour mode, then read."""

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from facsimile.data.photo_formats import PhotoError
from facsimile.data.photos import read_photo, to_rgb


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    """(48, 32, 3): 16 px blocks of six colours, so that no turn or mirror image equals it."""
    colours = [[(250, 20, 20), (20, 240, 20)], [(20, 20, 230), (240, 240, 10)]]
    colours.append([(200, 200, 200), (10, 10, 10)])
    return np.array(colours, dtype=np.uint8).repeat(16, axis=0).repeat(16, axis=1)


def pixels(path: Path) -> np.ndarray:
    photo = read_photo(path)
    assert photo.mode == "RGB"
    return np.asarray(photo).astype(int)


STORED = {  # how a camera stores the upright picture, by EXIF orientation
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: lambda a: np.rot90(a, -1),
}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
def test_every_orientation_reads_upright(tmp_path, picture, orientation, suffix):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"photo.{suffix}"
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](picture)))
    options = {"lossless": True} if suffix == "webp" else {"quality": 100, "subsampling": 0}
    stored.save(path, exif=exif, **({} if suffix in ("png", "tif") else options))
    assert pixels(path).shape == picture.shape
    assert np.abs(pixels(path) - picture).max() <= (4 if suffix == "jpg" else 0)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "ppm", "gif", "jp2"])
def test_lossless_formats_read_exactly(tmp_path, picture, suffix):
    Image.fromarray(picture).save(tmp_path / f"photo.{suffix}")
    assert np.array_equal(pixels(tmp_path / f"photo.{suffix}"), picture)


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "LAB", "HSV"])
def test_modes_keep_grey(mode):
    grey = Image.linear_gradient("L") if mode != "1" else Image.new("L", (32, 32), 255)
    photo = to_rgb(from_rgb(grey.convert("RGB"), mode))
    assert photo.mode == "RGB"
    assert np.abs(np.asarray(photo).astype(int) - np.asarray(grey)[..., None]).max() <= 2


def from_rgb(image: Image.Image, mode: str) -> Image.Image:
    if mode != "LAB":
        return image.quantize(256) if mode == "P" else image.convert(mode)
    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    return ImageCms.profileToProfile(image, srgb, lab, outputMode="LAB")


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_sixteen_bits_are_scaled_not_clipped(tmp_path, suffix):
    ramp = np.arange(256, dtype=np.uint16)[None].repeat(16, axis=0) * 257
    Image.fromarray(ramp).save(tmp_path / f"ramp.{suffix}")
    assert np.array_equal(pixels(tmp_path / f"ramp.{suffix}")[..., 0], ramp // 257)


@pytest.mark.parametrize("top", [1, 255])
def test_float_tiff_of_either_range(tmp_path, top):
    ramp = np.linspace(0, top, 256, dtype=np.float32)[None].repeat(16, axis=0)
    Image.fromarray(ramp).save(tmp_path / "ramp.tif")
    assert np.array_equal(pixels(tmp_path / "ramp.tif")[0, :, 0], np.arange(256))


@pytest.mark.parametrize("bad", [-1.0, 300.0, float("nan")])
def test_float_tiff_of_unknown_range_is_refused(tmp_path, bad):
    values = np.full((16, 16), 0.5, dtype=np.float32)
    values[3, 3] = bad
    Image.fromarray(values).save(tmp_path / "odd.tif")
    with pytest.raises(PhotoError, match=r"odd\.tif: got floating point .* expected 0 to 1"):
        read_photo(tmp_path / "odd.tif")


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
@pytest.mark.parametrize("suffix", ["png", "webp"])
def test_alpha_is_composited_over_white(tmp_path, mode, suffix):
    image = Image.new(mode, (48, 16), (100, 100, 100, 255)[-len(mode) :])
    image.paste((100, 100, 100, 0)[-len(mode) :], (16, 0, 32, 16))
    image.paste((100, 100, 100, 51)[-len(mode) :], (32, 0, 48, 16))
    options = {"lossless": True, "exact": True} if suffix == "webp" else {}
    image.save(tmp_path / f"cut.{suffix}", **options)
    row = pixels(tmp_path / f"cut.{suffix}")[5, :, 1]
    assert row[[8, 24, 40]].tolist() == [100, 255, 224]  # 0.2 * 100 + 0.8 * 255


@pytest.mark.parametrize("suffix", ["png", "gif"])
def test_palette_with_transparency(tmp_path, suffix):
    image = Image.new("P", (32, 16), 0)
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.paste(1, (16, 0, 32, 16))
    image.save(tmp_path / f"palette.{suffix}", transparency=0)
    row = pixels(tmp_path / f"palette.{suffix}")[8]
    assert row[[4, 20]].tolist() == [[255, 255, 255], [200, 100, 50]]


@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "tif"])
def test_first_frame_of_several(tmp_path, suffix):
    first, second = (Image.new("RGB", (20, 20), colour) for colour in ("red", "blue"))
    options = {"lossless": True} if suffix == "webp" else {}
    first.save(tmp_path / f"two.{suffix}", save_all=True, append_images=[second], **options)
    assert (pixels(tmp_path / f"two.{suffix}") == (255, 0, 0)).all()


def test_cmyk_jpeg_without_profile(tmp_path):
    Image.new("CMYK", (32, 32), (0, 255, 255, 0)).save(tmp_path / "ink.jpg", quality=100)
    assert np.abs(pixels(tmp_path / "ink.jpg") - (255, 0, 0)).max() <= 3


def icc(space: bytes, pcs: bytes, tags: dict[bytes, bytes]) -> bytes:
    """The smallest ICC v2 profile that holds `tags`."""
    offset, table, body = 132 + 12 * len(tags), b"", b""
    for name, content in tags.items():
        content += bytes(-len(content) % 4)
        table += name + struct.pack(">II", offset + len(body), len(content))
        body += content
    header = struct.pack(">II", 0, 0x02400000) + b"mntr" + space + pcs + bytes(12) + b"acsp"
    header += bytes(28) + struct.pack(">3i", 63190, 65536, 54061)  # illuminant D50
    header = header.ljust(124, b"\0") + struct.pack(">I", len(tags))
    return struct.pack(">I", offset + len(body)) + header + table + body


def test_cmyk_jpeg_follows_its_profile(tmp_path):
    # In this profile only the black ink prints: a reader that ignores it sees red, not white.
    straight = bytes(range(256))
    lut = b"mft1" + bytes(4) + bytes([4, 3, 2, 0])
    lut += struct.pack(">9i", *(65536 if i % 4 == 0 else 0 for i in range(9)))
    lut += 4 * straight + 8 * bytes([255, 128, 128, 0, 128, 128]) + 3 * straight
    profile = icc(b"CMYK", b"Lab ", {b"A2B0": lut, b"wtpt": xyz(0.9642, 1, 0.8249)})
    path = tmp_path / "ink.jpg"
    Image.new("CMYK", (32, 32), (0, 255, 255, 0)).save(path, icc_profile=profile)
    assert pixels(path).min() >= 253


def xyz(*values: float) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(65536 * v) for v in values))


# Display P3 and sRGB primaries, adapted to D50: the columns are red, green, blue.
P3 = [[0.51512, 0.29198, 0.15710], [0.24120, 0.69225, 0.06657], [-0.00105, 0.04189, 0.78407]]
SRGB = [[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]]


def test_wide_gamut_becomes_srgb(tmp_path):
    tags = {name: xyz(*np.array(P3)[:, i]) for i, name in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))}
    gamma = b"curv" + bytes(4) + struct.pack(">IH", 1, round(2.2 * 256))
    tags |= {b"rTRC": gamma, b"gTRC": gamma, b"bTRC": gamma, b"wtpt": xyz(0.9642, 1, 0.8249)}
    colour = np.array([180, 120, 90])
    path = tmp_path / "wide.png"
    Image.new("RGB", (16, 16), tuple(colour.tolist())).save(
        path, icc_profile=icc(b"RGB ", b"XYZ ", tags)
    )
    linear = np.linalg.solve(SRGB, np.array(P3) @ (colour / 255) ** 2.2)
    expected = 255 * (1.055 * linear ** (1 / 2.4) - 0.055)
    assert np.abs(expected - colour).max() > 5  # the profile matters
    assert np.abs(pixels(path) - expected).max() <= 1.5


def test_broken_profile_is_ignored(tmp_path, picture):
    Image.fromarray(picture).save(tmp_path / "a.png", icc_profile=b"not a profile")
    assert np.array_equal(pixels(tmp_path / "a.png"), picture)
