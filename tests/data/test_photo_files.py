"""Names, links and zips: nothing is left out in silence, and nothing is read twice."""

import io
import os
import unicodedata
import zipfile

import pytest
from PIL import Image

from facsimile.data import load_images
from facsimile.data.photo_files import find_photos, photo_bytes
from facsimile.data.photo_formats import PhotoError
from facsimile.data.photos import read_photo

LATIN = os.fsdecode(b"caf\xe9.png")


@pytest.fixture(scope="module")
def png():
    file = io.BytesIO()
    Image.new("RGB", (16, 16), "red").save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def pngs(png):
    """A zip of three photos, in a folder of its own."""
    return zipped({f"album/{index}.png": png for index in range(3)})


def zipped(files, method=zipfile.ZIP_DEFLATED, **options):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in files.items():
            with archive.open(zipfile.ZipInfo(name), "w", **options) as entry:
                entry.write(content)
    return file.getvalue()


def changed(content, offset_local, offset_entry, change):
    """A zip whose headers are changed at these offsets, all of both kinds."""
    content = bytearray(content)
    for sign, offset in ((b"PK\3\4", offset_local), (b"PK\1\2", offset_entry)):
        start = content.find(sign)
        while start >= 0:
            content[start + offset] = change(content[start + offset])
            start = content.find(sign, start + 4)
    return bytes(content)


# Links and names ----------------------------------------------------------------------------------


def test_links_to_folders_are_followed_and_circles_end(tmp_path, png):
    inside, outside = tmp_path / "photos", tmp_path / "outside"
    (inside / "own").mkdir(parents=True)
    (outside / "deep").mkdir(parents=True)
    for path in (inside / "own/1.png", outside / "2.png", outside / "deep/3.png"):
        path.write_bytes(png)
    (inside / "a link").symlink_to(outside)
    (inside / "b link").symlink_to(outside / "deep")  # a part of the first once more
    (inside / "aaa").symlink_to("own")  # named by its own folder
    (outside / "deep/back").symlink_to(inside)
    (outside / "self").symlink_to("self")
    names = ["a link/2.png", "a link/deep/3.png", "a link/self", "own/1.png"]
    assert find_photos(inside) == [inside / name for name in names]
    assert len(find_photos([inside, outside])) == 4
    assert len(load_images([inside], 16)) == 3  # a training set follows them too


def test_broken_links_are_named(tmp_path, png):
    for name in ("gone.png", "album"):
        (tmp_path / name).symlink_to("nowhere")
    (tmp_path / "notes.txt").symlink_to("nowhere")
    (tmp_path / "circle.jpg").symlink_to("circle.jpg")
    found = find_photos(tmp_path)
    assert [path.name for path in found] == ["album", "circle.jpg", "gone.png"]
    for path, message in zip(found, ("broken", "cannot be followed", "broken"), strict=True):
        for read in (read_photo, photo_bytes):
            with pytest.raises((OSError, PhotoError), match=f"symbolic link.*{message}|{message}"):
                read(path)
    with pytest.raises(FileNotFoundError, match="is a broken symbolic link: nowhere does not"):
        find_photos(tmp_path / "gone.png")


@pytest.mark.parametrize("name", [LATIN, f"{'é' * 125}.png", "a\nb.png", "-x.png", " .png"])
def test_every_name_is_found_and_read(tmp_path, name, png):
    (tmp_path / name).write_bytes(png)
    assert find_photos(tmp_path) == [tmp_path / name]
    assert read_photo(tmp_path / name).size == (16, 16)
    assert len(load_images([tmp_path], 16)) == 1


def test_names_that_differ_by_case_or_form_are_two_photos(tmp_path, png):
    names = ["é.png", "É.png", unicodedata.normalize("NFD", "é.png")]
    for name in names:
        (tmp_path / name).write_bytes(png)
    assert {path.name for path in find_photos(tmp_path)} == set(names)


# Zips ---------------------------------------------------------------------------------------------


def test_zips_that_are_read(tmp_path, png, pngs):
    for name, content in {
        "deflated": pngs,
        "bzip2": zipped({"a.png": png}, zipfile.ZIP_BZIP2),
        "lzma": zipped({"a.png": png}, zipfile.ZIP_LZMA),
        "zip64": zipped({"a.png": png}, force_zip64=True),
        "backslashes": zipped({"a\\b.png": png}),
        "no UTF-8": zipped({"caf_.png": png}).replace(b"caf_", b"caf\x82"),
        "leading out": zipped({"/etc/a.png": png, "../../b.png": png}),
    }.items():
        path = tmp_path / f"{name}.zip"
        path.write_bytes(content)
        photos = find_photos(path)
        assert photos
        for photo in photos:
            assert str(photo).startswith(str(path))
            assert read_photo(photo).size == (16, 16)
        assert len(load_images([path], 16)) == len(photos)


def refused_zips(png, pngs):
    """name -> (content, what is said)"""
    end = pngs.rindex(b"PK\5\6")
    part = bytearray(pngs)
    part[end + 4 : end + 8] = b"\2\0\2\0"
    method = {9: "with Deflate64", 93: "with Zstandard", 98: "with PPMd", 77: "with method 77"}
    return {
        **{
            f"method {number}": (
                changed(pngs, 8, 10, lambda _, number=number: number),
                f"each of its 3 photos is compressed {words}",
            )
            for number, words in method.items()
        },
        "encrypted": (changed(pngs, 6, 8, lambda x: x | 1), "is encrypted; unpack the zip with"),
        "AES": (changed(pngs, 8, 10, lambda _: 99), "is encrypted"),
        "last part": (bytes(part), "one part of a zip in several parts"),
        "first part": (b"PK\7\x08" + pngs[: end // 2], "one part of a zip in several parts"),
        "cut": (pngs[: end // 2], "is cut short, or the first part"),
        "7z": (b"7z\xbc\xaf\x27\x1c", "is a 7z archive, not a zip"),
        "RAR": (b"Rar!\x1a\7", "is a RAR archive"),
        "text": (b"not a zip", "is no zip, or is damaged"),
        "empty": (b"", "got an empty file"),
        "bomb": (
            changed(zipped({"a.png": png}), 25, 27, lambda _: 0x40), "has 1.1 GB unpacked"
        ),
    }  # fmt: skip


def test_zips_that_are_named(tmp_path, png, pngs):
    """One sentence for a zip of which nothing can be read; the command lists it like a photo."""
    for name, (content, message) in refused_zips(png, pngs).items():
        path = tmp_path / f"{name}.zip"
        path.write_bytes(content)
        assert find_photos(path) == [path]
        with pytest.raises(PhotoError, match=message) as caught:
            read_photo(path)
        assert str(caught.value).startswith(str(path))
        with pytest.raises(ValueError, match=rf"{name}\.zip"):
            load_images([path], 16)


def test_zips_of_which_a_part_can_be_read(tmp_path, png, pngs):
    content = zipped({"a.png": png, "inner.zip": pngs, "b.NEF": png, "__MACOSX/._a.png": png})
    path = tmp_path / "mixed.zip"
    path.write_bytes(content)
    good, raw, nested = find_photos(path)
    assert read_photo(good).size == (16, 16)
    with pytest.raises(PhotoError, match="RAW data"):
        read_photo(raw)
    with pytest.raises(PhotoError, match="got a zip, expected a photo; unpack it"):
        read_photo(nested)


def test_one_bad_entry_does_not_spoil_the_others(tmp_path, pngs):
    content = bytearray(pngs)
    content[content.rindex(b"PK\1\2") + 8] |= 1
    first = content.index(b"PK\3\4") + 30 + len("album/0.png")
    content[first + 20] ^= 0xFF
    path = tmp_path / "some.zip"
    path.write_bytes(content)
    torn, whole, locked = find_photos(path)
    assert read_photo(whole).size == (16, 16)
    with pytest.raises(PhotoError, match=r"album.0\.png: cannot be read from .*make it again"):
        read_photo(torn)
    with pytest.raises(PhotoError, match=r"album.2\.png: is encrypted"):
        read_photo(locked)
    assert len(load_images([path], 16)) == 1
