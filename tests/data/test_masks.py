"""Masks from people: each way of giving one draws what it says; soft edges; sentences."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from facsimile.data.mask_files import draw_json
from facsimile.data.masks import WORDS, draw_mask, feather_mask, make_mask
from facsimile.data.region_network import CLASSES, REGIONS, Regions

SIDE = 16
IMAGES = torch.zeros(1, 3, SIDE, SIDE)


def seen(is_face=True, **rectangles):
    """find_regions: each class in a rectangle (left, top, right, bottom) on background."""

    def find(images):
        shares = torch.zeros(len(images), len(CLASSES), *images.shape[2:])
        shares[:, 0] = 1
        for name, (left, top, right, bottom) in rectangles.items():
            shares[:, :, top:bottom, left:right] = 0
            shares[:, CLASSES.index(name), top:bottom, left:right] = 1
        return Regions(shares, torch.full((len(images),), is_face))

    return find


FACE = seen(skin=(2, 2, 14, 14), eyes=(4, 4, 12, 6), lips=(5, 10, 11, 13), teeth=(6, 11, 10, 12))


def box(left, top, right, bottom, side=SIDE):
    mask = torch.zeros(1, 1, side, side)
    mask[..., top:bottom, left:right] = 1
    return mask


def test_words_are_the_union_of_their_parts():
    def mask(spec, **options):
        return make_mask(spec, IMAGES, FACE, **options).mask

    assert torch.equal(mask("mouth"), box(5, 10, 11, 13))
    assert torch.equal(mask("face"), box(2, 2, 14, 14))
    assert torch.equal(mask("background"), 1 - box(2, 2, 14, 14))
    assert torch.equal(mask("Mouth + eyes"), box(5, 10, 11, 13) + box(4, 4, 12, 6))
    assert torch.equal(mask("mouth", invert=True), 1 - mask("mouth"))
    assert torch.equal(mask("skin"), mask("face") - mask("eyes") - mask("mouth"))


def test_halves_and_boxes_need_no_face():
    def mask(spec):
        return make_mask(spec, IMAGES.expand(2, -1, -1, -1)).mask

    assert torch.equal(mask("left"), mask("left half"))
    assert torch.equal(mask("left")[1:], box(0, 0, 8, 16))
    assert torch.equal(1 - mask("top_half"), mask("bottom-half"))
    assert torch.equal(mask("box:0.25,0.5,0.75,1")[:1], box(4, 8, 12, 16))


def test_json_draws_what_the_words_do(tmp_path):
    """A box, a polygon and a thick stroke of the same outline are the same mask, but for edges."""
    quarter = box(0, 0, 8, 4)
    assert torch.equal(draw_json({"boxes": [[0, 0, 0.5, 0.25]]}, SIDE), quarter)
    assert torch.equal(draw_json({"boxes": [[0, 0, 4, 2]], "side": 8}, SIDE), quarter)
    corners = [[0, 0], [0.5, 0], [0.5, 0.25], [0, 0.25]]
    assert (draw_json({"polygons": [corners]}, SIDE) - quarter).abs().max() <= 0.25
    line = {"points": [[-1, 0.125], [2, 0.125]], "width": 0.25}
    stripe = draw_json({"strokes": [line]}, SIDE)
    assert (stripe - box(0, 0, 16, 4)).abs().max() <= 0.5
    dot = draw_json({"strokes": [{"points": [[8, 8]], "width": 8}], "side": 16}, SIDE)
    assert float(dot.sum()) == pytest.approx(np.pi * 16, rel=0.06)
    (tmp_path / "m.json").write_text(json.dumps({"boxes": [[0, 0, 0.5, 0.25]]}))
    assert torch.equal(make_mask(str(tmp_path / "m.json"), IMAGES).mask, quarter)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "I;16"])
def test_pictures_of_any_size(tmp_path, mode):
    """Grey, or the alpha channel alone; another size is resized, and said."""
    grey = np.zeros((32, 32), np.uint8)
    grey[:, 16:] = 255
    picture = Image.fromarray(grey)
    if mode == "RGBA":
        picture = Image.new("RGB", (32, 32), (9, 99, 200))
        picture.putalpha(Image.fromarray(grey))
    elif mode == "I;16":
        picture = Image.fromarray(grey.astype(np.uint16) * 257)
    else:
        picture = picture.convert(mode)
    picture.save(tmp_path / "mask.png")
    made = make_mask(str(tmp_path / "mask.png"), torch.zeros(2, 3, 32, 32))
    assert torch.equal(made.mask[1:], box(16, 0, 32, 32, side=32))
    assert made.notes == ()
    made = make_mask(str(tmp_path / "mask.png"), IMAGES)
    assert made.notes == ("the mask mask.png of 32x32 pixels was resized to 16x16",)
    assert ((made.mask > 0.5) == (box(8, 0, 16, 16) > 0.5)).all()


def test_feather_is_a_gaussian_edge():
    """Half at the edge, two standard deviations away 0.977 and 0.023; what is far stays."""
    side, pixels = 64, 8
    step = box(32, 0, 64, 64, side).double()
    soft = feather_mask(step, pixels)[0, 0, 32]
    assert float(soft[31] + soft[32]) == pytest.approx(1)
    assert (soft.diff() >= 0).all()
    normal = torch.distributions.Normal(torch.tensor(0.0), torch.tensor(4.0))
    expected = normal.cdf(torch.arange(side) + 0.5 - 32)
    assert (soft - expected).abs().max() < 5e-3
    assert torch.equal(soft[:16], torch.zeros(16).double())
    assert torch.equal(feather_mask(step, 0), step)
    assert torch.allclose(feather_mask(torch.ones(1, 1, 8, 8), 5), torch.ones(1, 1, 8, 8))


def test_preview_tells_inside_from_outside():
    picture = draw_mask(IMAGES, box(0, 0, 8, 16))
    assert picture.shape == IMAGES.shape
    inside, outside = picture[0, :, 4, 4], picture[0, :, 4, 12]
    assert torch.allclose(outside, torch.full((3,), -0.5))
    assert inside[0] > inside[2] > inside[1] - 1e-6
    assert picture.abs().max() <= 1


@pytest.mark.parametrize(
    ("spec", "options", "message"),
    [
        ("mouht", {}, 'there is no mask "mouht"; did you mean mouth'),
        ("nose", {}, 'no "nose" can be seen; name another region'),
        ("teeth", {"find_regions": seen(skin=(2, 2, 14, 14))}, "as the mouth is closed"),
        ("mouth", {"find_regions": seen(is_face=False)}, 'no face was found, so there is no "mou'),
        ("left+right", {}, "left.right covers the whole picture"),
        ("left+right", {"invert": True}, "left.right, inverted, is empty"),
        ("box:1,0,0,1", {}, "expected left < right"),
        ("box:1,0", {}, "four numbers"),
        ("left", {"feather": -1}, "got a feather of -1 pixels"),
        ("{}/broken.json", {}, "is no JSON"),
        ("{}/words.json", {}, r"got \['circles'\], expected"),
        ("{}/open.json", {}, "got a shape that is none"),
        ("{}/broken.png", {}, "is no picture that can be read"),
        ("{}/black.png", {}, "is empty: nothing would change"),
    ],
)
def test_sentences(tmp_path, spec, options, message):
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "words.json").write_text('{"circles": []}')
    (tmp_path / "open.json").write_text('{"boxes": [3]}')
    (tmp_path / "broken.png").write_bytes(b"no picture")
    Image.new("L", (9, 5)).save(tmp_path / "black.png")
    options = {"find_regions": FACE} | options
    with pytest.raises(ValueError, match=message):
        make_mask(spec.format(tmp_path), IMAGES, **options)


def test_a_missing_file_and_the_images_that_a_sentence_is_about():
    with pytest.raises(FileNotFoundError, match="nowhere.png: no such file"):
        make_mask("nowhere.png", IMAGES)
    two = IMAGES.expand(2, -1, -1, -1)
    with pytest.raises(ValueError, match="no face was found in image 1, 2 of 2"):
        make_mask("eyes", two, seen(is_face=False))


def test_regions_are_made_of_classes():
    assert {part for parts in REGIONS.values() for part in parts} == set(CLASSES)
    assert len(set(WORDS)) == len(WORDS)
