"""Pictures that are not square, in a square network: black rows that nobody looks at."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from facsimile import Studio, aspect, data
from facsimile.editing import local_edit
from facsimile.refine import Term
from facsimile.refine.padding import SHOWN, without_padding
from facsimile.refine.recipes import get
from facsimile.stylegan import PhotoCrop
from facsimile.targets import TargetReader


@pytest.fixture(scope="module")
def studio(generator):
    """Without a perceptual network, whose features near the padding are of both."""
    return Studio(generator)


@pytest.fixture(scope="module")
def photo():
    """Of 4:3 and a little more."""
    pixels = np.random.default_rng(0).integers(0, 256, (48, 70, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.mark.parametrize(
    ("text", "side", "box"),
    [
        ("4:3", 32, (0, 4, 32, 28)),
        ("3:4", 32, (4, 0, 28, 32)),
        ("16:9", 128, (0, 28, 128, 100)),
        ("1:1", 8, (0, 0, 8, 8)),
    ],
)
def test_where_the_picture_is(text, side, box):
    found = aspect.shown_box(text, side)
    assert (found.left, found.top, found.right, found.bottom) == box
    mask = aspect.shown_mask(text, 2, side)
    assert mask.sum() == 2 * found.size[0] * found.size[1]
    assert found.cut(mask).all()


@pytest.mark.parametrize("text", ["4/3", "wide", "0:3", "4:", "1000:1", ""])
def test_an_aspect_that_is_none(text):
    with pytest.raises(ValueError, match=f'got the aspect "{text}", expected width:height, such'):
        aspect.shown_box(text, 32)


def test_a_padded_photo(photo):
    """Its middle, from side to side; the quad says where the square lies in the photo."""
    targets, (crop,) = TargetReader(32, 3).read_crops(photo, aspect="4:3", align=False)
    shown = aspect.shown_box("4:3", 32)
    assert (targets.where(aspect.shown_mask("4:3", 1, 32) == 0, -1) == -1).all()
    middle = photo.crop((3, 0, 67, 48)).resize((32, 24), Image.Resampling.BICUBIC)
    # At its sides the filter sees the rest of the photo.
    inner = shown.cut(targets)[0, ..., 2:-2]
    torch.testing.assert_close(inner, data.to_tensor(middle)[..., 2:-2])
    assert crop.quad == ((3, -8), (3, 56), (67, 56), (67, -8))
    assert PhotoCrop.from_dict(crop.to_dict()) == crop
    square = PhotoCrop(photo="", digest="", size=(9, 8), quad=crop.quad)
    assert "aspect" not in square.to_dict()
    assert PhotoCrop.from_dict(square.to_dict()).aspect == ""


def test_terms_that_compare_pictures_are_masked():
    recipe = without_padding(get("p_n+"), 0.75)
    assert {term.name: term.mask for term in recipe.terms()} == {
        "pixel": SHOWN,
        "perceptual": SHOWN,
        "p_norm": None,
    }
    assert without_padding(recipe, 0.75) == recipe
    code, noise = get("w+ +noise").phases
    own = replace(code, terms=(Term("pixel", 1.0, mask="own"),))
    recipe = replace(get("w+"), phases=(own, replace(noise, goal=0.01)))
    code, noise = without_padding(recipe, 0.75).phases
    assert code == own
    assert noise.goal == 0.0075


@pytest.fixture
def padded(studio, photo):
    """A target, and the same with noise in its padding."""
    targets, _ = studio.target_reader.read_crops(photo, aspect="4:3", align=False)
    mask = aspect.shown_mask("4:3", 1, 32)
    return targets, torch.where(mask > 0, targets, torch.rand_like(targets))


def test_padding_does_not_count(studio, padded):
    """Whatever it holds, the latents are the same to the last bit, and so are the scores."""
    told = {"recipe": "w+ +noise", "steps": 3}
    first, second = (studio.invert(x, aspect="4:3", **told) for x in padded)
    assert torch.equal(first.latents.code, second.latents.code)
    assert torch.equal(first.latents.noise[-1], second.latents.noise[-1])
    assert first.scores == second.scores
    assert torch.equal(first.images, aspect.blacken(first.images, "4:3"))
    whole = studio.invert(padded[1], align=False, **told)
    assert not torch.equal(whole.latents.code, second.latents.code)


def test_edits_know_the_padding(studio, photo, padded, monkeypatch):
    """Their terms leave it aside, and their pictures have it black."""
    refine = local_edit.refine

    def short(generator, start, targets, recipe, **options):
        return refine(generator, start, targets, recipe.with_steps(2), **options)

    monkeypatch.setattr(local_edit, "refine", short)
    result = studio.invert([photo], recipe="w+", steps=1, aspect="4:3")
    told = {"mask": "box:0.3,0.3,0.6,0.6", "paper": True}
    first, second = (studio.edit(result, "inpaint", targets=[target], **told) for target in padded)
    assert first.latents.crops == result.latents.crops
    assert torch.equal(first.latents.code, second.latents.code)
    assert torch.equal(first.latents.noise[-1], second.latents.noise[-1])
    assert torch.equal(first.images, aspect.blacken(first.images, "4:3"))


def test_pictures_of_two_aspects_are_not_edited_together(studio, photo):
    wide, high = (
        studio.invert([photo], recipe="w+", steps=0, aspect=text) for text in ("4:3", "3:4")
    )
    with pytest.raises(ValueError, match="pictures of the aspects 3:4, 4:3; edit those of one"):
        studio.edit([wide, high], "crossover", mask="left")


def test_plans_of_square_pictures_are_as_before(studio):
    plan = studio.plan("w+", steps=1)
    assert "aspect" not in plan.to_dict()
    padded = studio.plan("w+", steps=1, aspect="4:3")
    assert "aspect: 4:3, the rest of the square is black" in padded.describe()
    assert padded.phases_done(plan.to_dict()) is None
    assert plan.phases_done(padded.to_dict()) is None
