"""Training sets: folders and zips of whatever is in them."""

import io
import re
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from facsimile.data import load_images


def png(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 255, (4, 16, 16, 3), dtype=np.uint8)


@pytest.fixture
def archive(tmp_path, pixels):
    """Three pictures, two broken ones, and what is no picture."""
    path = tmp_path / "faces.zip"
    with zipfile.ZipFile(path, "w") as file:
        for index in range(3):
            file.writestr(f"a/{index}.png", png(pixels[index]))
        file.writestr("a/3.png", png(pixels[3])[:100])
        file.writestr("a/4.jpg", b"not a picture")
        file.writestr("a/readme.txt", b"none either")
        file.writestr("__MACOSX/._0.png", b"nor this")
    return path


def test_a_zip_with_broken_images(archive, pixels):
    found = load_images([archive], 16)
    assert torch.equal(found.pixels, torch.from_numpy(pixels[:3]).permute(0, 3, 1, 2))
    assert len(found.failed) == 2
    assert "a/3.png: got a damaged or incomplete file" in found.failed[0]
    assert found.enlarged == 0


def test_a_damaged_entry(tmp_path, pixels):
    """Bytes that are not those whose checksum the zip holds."""
    path = tmp_path / "faces.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("0.png", png(pixels[0]))
        file.writestr("1.png", png(pixels[1]))
    content = path.read_bytes()
    place = content.index(png(pixels[1])) + 60
    path.write_bytes(content[:place] + b"xxxx" + content[place + 4 :])
    found = load_images([path], 16)
    assert len(found) == 1
    assert "1.png in" in found.failed[0]
    assert "damaged entry" in found.failed[0]


def test_several_sources_of_mixed_sizes(tmp_path, archive):
    """The middle square, shrunk by the mean."""
    folder = tmp_path / "folder"
    folder.mkdir()
    wide = np.random.default_rng(1).integers(0, 255, (32, 48, 3), dtype=np.uint8)
    Image.fromarray(wide).save(folder / "wide.png")
    found = load_images([folder, archive], 16)
    assert len(found) == 4
    middle = wide[:, 8:40].reshape(16, 2, 16, 2, 3).astype(float).mean((1, 3))
    assert np.abs(found.pixels[0].permute(1, 2, 0).numpy() - middle).max() <= 0.5
    assert load_images([archive], 32).enlarged == 3


def test_take(archive, pixels):
    found = load_images([archive], 16)
    taken = found.batch(torch.tensor([2, 0]), torch.device("cpu"), torch.float64)
    assert taken.dtype == torch.float64
    wanted = torch.from_numpy(pixels[[2, 0]]).permute(0, 3, 1, 2).double() / 127.5 - 1
    torch.testing.assert_close(taken, wanted)


def test_nothing_to_train_on(tmp_path):
    with pytest.raises(ValueError, match="no image found in .*expected a folder or a zip"):
        load_images([tmp_path], 16)
    for name in ("missing.zip", "missing"):
        with pytest.raises(FileNotFoundError, match=f"{name}: no such file"):
            load_images([tmp_path / name], 16)
    (tmp_path / "torn.zip").write_bytes(b"PK but no more")
    with pytest.raises(ValueError, match=re.escape("torn.zip is not a zip, or a damaged one")):
        load_images([tmp_path / "torn.zip"], 16)
