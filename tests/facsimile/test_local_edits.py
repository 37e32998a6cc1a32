"""`facsimile edit` with masks: from photos to pictures. Oracle: the photo, outside of them.

The refinement of an edit is cut to a few steps.
"""

from dataclasses import replace

import pytest
import torch
from PIL import Image

from facsimile import data, editing
from facsimile.cli import main
from facsimile.local_edits import read_picture

BOX = "box:0.25,0.25,0.75,0.75"


@pytest.fixture
def edit(network, capsys, monkeypatch):
    """edit(*args) -> exit status, what was printed."""
    run = editing.local_edit.run

    def short(generator, start, inputs, recipe, **options):
        phases = tuple(replace(x, steps=3, patience=None, halvings=0) for x in recipe.phases)
        return run(generator, start, inputs, replace(recipe, phases=phases), **options)

    for page in ("crossover", "inpaint", "scribble"):
        monkeypatch.setattr(getattr(editing, page), "run", short)

    def call(*args):
        fixed = ("--generator", network, "--device", "cpu", "--no-align", "--steps", 1)
        fixed += ("--perceptual", "discriminator")
        with pytest.raises(SystemExit) as left:
            main(["edit", *(str(arg) for arg in (*args, *fixed))])
        return left.value.code, capsys.readouterr()

    return call


def pixels(path):
    return data.to_tensor(Image.open(path).convert("RGB"))


def test_solutions_of_photos_keep_the_rest_exactly(edit, squares, tmp_path):
    out, photos = tmp_path / "out", (squares / "0.png", squares / "1.png")
    options = ("--mask", BOX, "--solutions", 2, "--seed", 1, "--residual")
    status, printed = edit("inpaint", *photos, "--out", out, *options)
    assert status == 0
    assert "inpaint: 4 images, 0 photos failed" in printed.out
    for name in "01":
        photo = pixels(out / "inversions" / name / "target.png")
        found = [pixels(out / f"{name}-solution{i}.png") for i in (1, 2)]
        inside = torch.zeros(32, 32, dtype=torch.bool)
        inside[8:24, 8:24] = True
        for one in found:
            assert torch.equal(one[:, ~inside], photo[:, ~inside])
        assert not torch.equal(*found)
        assert (out / f"{name}-solution1-mask.png").is_file()
    # The result of one photo alone, from its latents: the same pictures.
    alone = tmp_path / "alone"
    assert edit("inpaint", out / "inversions" / "1", "--out", alone, *options)[0] == 0
    for i in (1, 2):
        difference = pixels(alone / f"1-solution{i}.png") - pixels(out / f"1-solution{i}.png")
        assert difference.abs().max() <= 1.01 / 127.5


def test_what_does_not_fit_is_a_sentence(edit, squares, tmp_path):
    photo = squares / "0.png"
    Image.new("L", (50, 50)).save(tmp_path / "empty.png")
    Image.new("L", (50, 50), 255).save(tmp_path / "full.png")
    for args, message in (
        (("inpaint", photo), "got no mask; pass --mask"),
        (("inpaint", photo, "--mask", tmp_path / "empty.png"), "is empty"),
        (("inpaint", photo, "--mask", tmp_path / "full.png"), "covers the whole picture"),
        (("inpaint", photo, "--mask", tmp_path / "none.png"), "none.png"),
        (("inpaint", photo, "--mask", BOX, "--layers-by", "age"), "expected share or size"),
        (
            ("inpaint", photo, "--mask", BOX, "--recipe", "f/w+"),
            "invert the photo with --recipe w+",
        ),
        (("scribble", photo), "got no scribble; pass --scribble FILE"),
    ):
        status, printed = edit(*args, "--out", tmp_path / "out", "--replace")
        assert status == 2, args
        assert message in printed.err


def test_pictures_with_an_alpha_channel(tmp_path):
    strokes = Image.new("RGBA", (64, 64), (255, 0, 0, 0))
    strokes.paste((0, 255, 0, 255), (0, 0, 32, 64))
    strokes.save(tmp_path / "strokes.png")
    picture, opacity = read_picture(str(tmp_path / "strokes.png"), 32, 3)
    assert picture.shape == (1, 3, 32, 32)
    assert (opacity[..., :15] == 1).all()
    assert (opacity[..., 17:] == 0).all()
    assert torch.equal(picture[0, :, 5, 5], torch.tensor([-1.0, 1.0, -1.0]))
