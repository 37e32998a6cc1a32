"""Broken files, folders, and the exactness of the conversions."""

import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile

from facsimile.data import photos
from facsimile.data.photo_files import find_photos
from facsimile.data.photo_formats import PhotoError
from facsimile.data.photos import fit_square, read_photo, to_pil, to_tensor
from facsimile.metrics.resize import resize


def broken_files(folder: Path) -> dict[str, Path]:
    files = {name: folder / f"{name}.jpg" for name in ("empty", "cut", "text", "head")}
    files["dot"], files["folder"] = folder / "dot.png", folder
    files["empty"].touch()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(files["cut"])
    whole = files["cut"].read_bytes()
    files["cut"].write_bytes(whole[: len(whole) // 2])
    files["head"].write_bytes(whole[:30])
    files["text"].write_text("dear diary, this is not a photo")
    Image.new("RGB", (1, 1)).save(files["dot"])
    return files


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("empty", "got an empty file, expected a photo; copy or download it again"),
        ("cut", "got a damaged or incomplete file .*, expected a whole photo; copy or download"),
        ("head", "expected a .*photo; (save it as JPEG or PNG|copy or download)"),
        ("text", "got something else than an image, .* expected a photo; save it as JPEG or PNG"),
        ("dot", "got 1x1 pixels, expected at least 16 on each side; use a larger photo"),
        ("folder", "got a folder or a device, expected a photo; name an image file"),
    ],
)
def test_broken_files_say_what_to_do(tmp_path, name, message):
    path = broken_files(tmp_path)[name]
    with pytest.raises(PhotoError, match=message) as caught:
        read_photo(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_unreadable_and_missing(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"gone\.png: no such file; expected a photo"):
        read_photo(tmp_path / "gone.png")
    path = tmp_path / "secret.png"
    path.write_bytes(b"x")

    def refuse(*_, **__):  # a file's mode would not stop root
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(PhotoError, match=r"got no permission .* chmod u\+r"):
        read_photo(path)


def write_zeros(path: Path, side: int) -> None:
    """A valid side x side PNG of one bit per pixel, all 0; not built in memory."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    deflate, row = zlib.compressobj(1), bytes(1 + (side + 7) // 8)
    data = b"".join(deflate.compress(row) for _ in range(side)) + deflate.flush()
    head = chunk(b"IHDR", struct.pack(">II5B", side, side, 1, 0, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", data) + chunk(b"IEND", b""))


@pytest.mark.parametrize(
    ("side", "got"), [(20_000, "20000x20000 pixels"), (30_000, "more than 420,000,000 pixels")]
)
def test_bomb_is_refused_from_its_header(tmp_path, monkeypatch, side, got):
    write_zeros(tmp_path / "bomb.png", side)

    def decode(*_):
        raise AssertionError("the bomb was decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", decode)
    start, limit = time.perf_counter(), Image.MAX_IMAGE_PIXELS
    with pytest.raises(PhotoError, match=f"got {got}, expected at most 210,000,000 in all; make"):
        read_photo(tmp_path / "bomb.png")
    assert time.perf_counter() - start < 2
    assert limit == Image.MAX_IMAGE_PIXELS


def test_pixel_limit_is_an_argument(tmp_path, monkeypatch):
    write_zeros(tmp_path / "photo.png", 32)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # Pillow alone would refuse from 201 on
    assert read_photo(tmp_path / "photo.png", max_pixels=1024).size == (32, 32)
    assert Image.MAX_IMAGE_PIXELS == 100
    with pytest.raises(PhotoError, match="got 32x32 pixels, expected at most 1,023 in all"):
        read_photo(tmp_path / "photo.png", max_pixels=1023)
    assert photos.MAX_PIXELS >= 100_000_000  # today's large cameras


def test_find_photos(tmp_path, monkeypatch):
    names = ["10.jpg", "9.PNG", "b/2.webp", "b/10.webp", "notes.txt", ".x.jpg", ".git/a.png", "raw"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    inside = [Path(name) for name in ("9.PNG", "10.jpg", "b/2.webp", "b/10.webp")]
    assert find_photos(["."]) == inside
    assert find_photos(".") == inside
    assert find_photos(["raw", ".x.jpg", "b/10.webp", "b"]) == [
        Path(name) for name in ("raw", ".x.jpg", "b/10.webp", "b/2.webp")
    ]
    assert find_photos(".", exclude=tmp_path / "b") == inside[:2]  # where results are
    assert find_photos(["b", "b/2.webp"], exclude="b") == inside[2:]  # but asked for
    assert find_photos([".git"]) == [Path(".git/a.png")]  # hidden, but asked for
    with pytest.raises(FileNotFoundError, match="gone: no such file or folder; expected photos"):
        find_photos(["raw", "gone"])


def test_round_trip_of_every_byte():
    grey = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16))
    image = to_tensor(grey.convert("RGB"))
    assert image.shape == (3, 16, 16)
    assert image.dtype == torch.float32
    assert (image.min(), image.max()) == (-1, 1)
    assert to_pil(image).tobytes() == grey.convert("RGB").tobytes()
    assert to_pil(image[:1]).tobytes() == grey.tobytes()
    assert to_pil(torch.cat([image, image[:1]])).mode == "RGBA"


def test_to_pil_clips_and_refuses_batches():
    assert to_pil(torch.tensor([-9.0, 9.0]).view(1, 1, 2)).tobytes() == b"\x00\xff"
    with pytest.raises(ValueError, match=r"got an image of shape \(1, 3, 4, 4\).*index the batch"):
        to_pil(torch.zeros(1, 3, 4, 4))
    with pytest.raises(ValueError, match="got an image of mode L, expected RGB; pass it to to_rgb"):
        to_tensor(Image.new("L", (16, 16)))


def test_resize_area_is_the_mean_of_blocks():
    image = torch.rand(2, 3, 12, 12) * 2 - 1
    blocks = image.view(2, 3, 4, 3, 4, 3).mean(dim=(3, 5))
    torch.testing.assert_close(resize(image, (4, 4)), blocks)
    assert torch.equal(resize(image, (12, 12)), image)


def test_resize_removes_what_the_small_image_cannot_hold():
    checkers = (torch.arange(64).view(-1, 1) + torch.arange(64)) % 2 * 2.0 - 1
    assert resize(checkers.view(1, 1, 64, 64), (24, 24))[..., 2:-2, 2:-2].abs().max() < 0.05


def test_resize_clamps_photos_alone():
    edge = torch.ones(1, 1, 20, 20)
    edge[..., :10] = -1
    assert resize(edge, (33, 33)).abs().max() > 1
    assert resize(edge, (33, 33), clamp=True).abs().max() == 1


@pytest.mark.parametrize("side", [16, 24, 48, 100])
def test_fit_square_filters_like_resize(side):
    noise = np.random.default_rng(1).integers(60, 200, (48, 48, 3), dtype=np.uint8)
    fitted = fit_square(Image.fromarray(noise), side)
    image = to_tensor(Image.fromarray(noise))[None]
    expected = to_pil(resize(image, (side, side), clamp=True)[0])
    assert fitted.size == (side, side)
    assert np.abs(np.asarray(fitted).astype(int) - np.asarray(expected)).max() <= 1


def test_fit_square_refuses_what_is_not_square():
    with pytest.raises(
        PhotoError, match="got 40x30, expected a square photo .*; align it, or crop"
    ):
        fit_square(Image.new("RGB", (40, 30)), 16)
