"""Pictures whose pixels are known."""

import numpy as np
import torch
from PIL import Image

from facsimile import pictures


def test_panels_are_enlarged_pixel_by_pixel():
    image = torch.linspace(-1, 1, 3 * 8 * 8).reshape(3, 8, 8)
    picture = np.asarray(pictures.panels([image, -image], smallest=16))
    assert picture.shape == (16, 2 * 16 + pictures.GAP, 3)
    first = picture[:, :16].reshape(8, 2, 8, 2, 3)
    assert (first == first[:, :1, :, :1]).all()
    expected = (image * 127.5 + 128).clip(0, 255).floor().permute(1, 2, 0).numpy()
    assert (first[:, 0, :, 0] == expected).all()
    assert (picture[:, 16 : 16 + pictures.GAP] == 255).all()


def test_labels_stand_above_their_columns_and_leave_the_panels_as_they_are():
    images = [torch.full((3, 64, 64), level) for level in (-1.0, 0.0)]
    plain = np.asarray(pictures.panels(images, smallest=64))
    picture = np.asarray(pictures.panels(images, smallest=64, labels=["", "a name much too long"]))
    assert picture.shape == (64 + pictures.LABEL, 2 * 64 + pictures.GAP, 3)
    assert (picture[pictures.LABEL :] == plain).all()
    words = picture[: pictures.LABEL] < 128
    assert not words[:, : 64 + pictures.GAP].any()
    assert words[:, 64 + pictures.GAP :].any()


def test_difference_is_black_where_equal_and_five_times_elsewhere():
    target = torch.zeros(3, 2, 2)
    image = target.clone()
    image[:, 0, 0] = 0.1
    image[:, 1, 1] = -0.9
    found = pictures.difference(image, target)
    torch.testing.assert_close(found[0], torch.tensor([[-0.5, -1.0], [-1.0, 1.0]]))


def test_overview_has_eight_pairs_to_a_row():
    pair = (Image.new("RGB", (300, 300), "red"), Image.new("RGB", (8, 8), "blue"))
    picture = pictures.overview([pair] * 9, cell=16)
    assert picture.width == 8 * (16 + pictures.GAP) - pictures.GAP
    pixels = np.asarray(picture)
    assert tuple(pixels[0, 0]) == (255, 0, 0)
    assert tuple(pixels[16 + pictures.GAP, 0]) == (0, 0, 255)
    second = 2 * 16 + 3 * pictures.GAP
    assert tuple(pixels[second, 0]) == (255, 0, 0)
    assert tuple(pixels[second, 16 + pictures.GAP]) == (255, 255, 255)


def test_overview_names_each_pair():
    pair = (Image.new("RGB", (64, 64), "red"), Image.new("RGB", (64, 64), "blue"))
    plain = np.asarray(pictures.overview([pair] * 9, cell=64))
    picture = np.asarray(pictures.overview([pair] * 9, cell=64, labels=["name"] * 9))
    line = pictures.LABEL
    assert picture.shape == (plain.shape[0] + 2 * line, *plain.shape[1:])
    row = 2 * 64 + pictures.GAP
    assert (picture[line : line + row] == plain[:row]).all()
    assert (picture[2 * line + row + 2 * pictures.GAP :] == plain[row + 2 * pictures.GAP :]).all()
    # The second row has one pair, and one name.
    words = picture[line + row + 2 * pictures.GAP :][:line] < 128
    assert words[:, :64].any()
    assert not words[:, 64:].any()


def test_losses_are_drawn_for_all_phases_and_without_nan(tmp_path):
    history = {
        "code/pixel": torch.tensor([1.0, 0.5, torch.nan]),
        "code/anchor": torch.zeros(3),
        "noise/pixel": torch.tensor([0.4, 0.2]),
    }
    pictures.save_losses(history, tmp_path / "loss.png")
    pictures.save_losses({}, tmp_path / "empty.png")
    with Image.open(tmp_path / "loss.png") as one, Image.open(tmp_path / "empty.png") as other:
        assert one.size == other.size
        assert one.tobytes() != other.tobytes()
