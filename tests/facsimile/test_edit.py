"""`facsimile edit` and `Studio.edit`: what follows from the registry."""

import json

import pytest
import torch
from PIL import Image

import facsimile
from facsimile import data, editing
from facsimile.cli import main
from facsimile.data.video import open_frames
from facsimile.edit_result import concatenate_latents
from facsimile.stylegan import Latents

PAGE = """
from facsimile.editing import Edit, Parameter


def push(generator, latents, amount):
    return latents.with_tensors(latents.tensors() | {"code": latents.code + amount})


EDIT = Edit(
    name="push",
    summary="Add a number to every code.",
    function=push,
    parameters=(Parameter(name="amount", default=0.5, help="What is added."),),
)
"""


@pytest.fixture
def page(tmp_path):
    """The page of an edit of one input, which is forgotten after the test."""
    path = tmp_path / "push.py"
    path.write_text(PAGE)
    yield path
    editing.EDITS.pop("push", None)


@pytest.fixture
def edit(network, capsys):
    """edit(*args) -> exit status, what was printed."""

    def run(*args):
        fixed = ("--generator", network, "--device", "cpu", "--no-align", "--recipe", "w+")
        fixed += ("--steps", 1, "--perceptual", "discriminator")
        with pytest.raises(SystemExit) as left:
            main(["edit", *(str(arg) for arg in (*args, *fixed))])
        return left.value.code, capsys.readouterr()

    return run


@pytest.fixture(scope="module")
def studio(network):
    return facsimile.load(network, perceptual="none", device="cpu")


def code(path):
    return Latents.load(path).code


def test_a_morph_of_photos(edit, squares, tmp_path):
    out = tmp_path / "out"
    photos = (squares / "0.png", squares / "2.png")
    status, printed = edit("morph", *photos, "--out", out, "--frames", 5, "--video", "mp4")
    assert status == 0
    assert "morph: 5 images, 0 photos failed" in printed.out
    assert "init: mean" in printed.out
    frames = [f"{i:06d}.png" for i in range(1, 6)]
    others = ["edit.json", "history.json", "inversions", "latents.safetensors", "strip.png"]
    others.append("video.mp4")
    assert sorted(path.name for path in out.iterdir()) == [*frames, *others]
    ends = [code(out / "inversions" / name / "latents.safetensors") for name in ("0", "2")]
    latents = Latents.load(out / "latents.safetensors")
    torch.testing.assert_close(latents.code[[0, 4]], torch.cat(ends))
    assert len(list(open_frames(out / "video.mp4"))) == 5
    record = json.loads((out / "edit.json").read_text())
    assert (record["edit"], record["parameters"]) == ("morph", {"frames": 5})
    assert record["inputs"] == [str(path.resolve()) for path in photos]
    # The pictures show the frames.
    last = Image.open(out / "inversions" / "2" / "reconstruction.png")
    with Image.open(out / "000005.png") as picture:
        difference = data.to_tensor(picture.convert("RGB")) - data.to_tensor(last.convert("RGB"))
    assert difference.abs().max() < 2 / 127


def test_edits_can_be_edited_on(edit, squares, tmp_path, page):
    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    assert edit("style", squares / "0.png", squares / "1.png", "--out", first)[0] == 0
    before = code(first / "latents.safetensors")
    # A folder with latents, and an edit by the path of its page.
    assert edit(page, first, "--out", second, "--amount", 0.25)[0] == 0
    torch.testing.assert_close(code(second / "latents.safetensors"), before + 0.25)
    assert (second / "first.png").is_file()
    # A folder of inversions, and now the edit by its name.
    status, printed = edit("push", first / "inversions", "--out", third)
    assert status == 0
    assert "push: 2 images" in printed.out
    assert {path.name for path in third.glob("*.png")} == {"0.png", "1.png", "strip.png"}
    codes = [code(first / "inversions" / name / "latents.safetensors") for name in "01"]
    torch.testing.assert_close(code(third / "latents.safetensors"), torch.cat(codes) + 0.5)


def test_results_of_another_edit_are_not_replaced(edit, squares, tmp_path):
    paths = (squares / "0.png", squares / "1.png", "--out", tmp_path / "out")
    assert edit("style", *paths)[0] == 0
    assert edit("style", *paths)[0] == 0
    status, printed = edit("style", *paths, "--strength", 0.5)
    assert status == 2
    assert "has results of another edit (style with " in printed.err
    status, printed = edit("style", *paths, "--seed", 1)
    assert status == 2
    assert "inverted with other settings; choose another --out, or --replace" in printed.err
    before = code(tmp_path / "out" / "latents.safetensors")
    assert edit("style", *paths, "--strength", 0.5, "--replace")[0] == 0
    assert not torch.equal(code(tmp_path / "out" / "latents.safetensors"), before)


def test_failures(edit, squares, tmp_path, page):
    (squares / "bad.png").write_text("no picture")
    status, printed = edit(page, squares, "--out", tmp_path / "one")
    assert status == 1
    assert "push: 3 images, 1 photos failed" in printed.out
    assert "bad.png" in printed.err
    for args, message in (
        (
            ("morph", squares / "0.png", squares / "bad.png"),
            "nothing was edited, as a photo failed",
        ),
        (("morph", squares / "0.png"), 'the edit "morph" takes 2 inputs, got 1'),
        (("morph",), "got nothing to edit"),
        (("morph", tmp_path / "none.png", squares / "0.png"), "no such file"),
        ((tmp_path / "none.py", squares / "0.png"), "none.py does not exist; expected the page"),
    ):
        status, printed = edit(*args, "--out", tmp_path / "two")
        assert status == 2
        assert message in printed.err


def test_list_and_help(capsys):
    for args, message in (
        (["list"], "morph: Morph one face into another, frame by frame. Takes 2 images."),
        (["list"], "--strength (default 1.0): Share of the second face's codes"),
        (["list"], "--layers: Style inputs that are taken from the second face"),
        (["morph", "--help"], "--frames INT"),
        (["style", "--help"], "Takes 2 images."),
    ):
        with pytest.raises(SystemExit) as left:
            main(["edit", *args])
        assert left.value.code == 0
        assert message in capsys.readouterr().out


def test_in_python(studio, squares):
    result = studio.invert(sorted(squares.iterdir()), studio.plan("w+", steps=1, align=False))
    morph = studio.edit(result.latents[:2], "morph", frames=3)
    assert (morph.edit, morph.parameters, len(morph)) == ("morph", {"frames": 3}, 3)
    torch.testing.assert_close(morph.images[[0, 2]], result.images[:2])
    pair = studio.edit((result.latents[0], result.latents[1]), "morph", frames=3)
    torch.testing.assert_close(pair.latents.code, morph.latents.code)
    again = studio.edit((morph.latents[1], result.latents[2]), "style", layers="0-7")
    torch.testing.assert_close(again.images, result.images[2:])
    with pytest.raises(ValueError, match='the edit "morph" takes 2 inputs, got 3'):
        studio.edit(result, "morph")
    # Of another kind.
    other = studio.invert(squares / "0.png", recipe="w", steps=0, align=False)
    mixed = studio.edit((result.latents[0], other), "morph", frames=2)
    torch.testing.assert_close(mixed.images, torch.cat([result.images[:1], other.images]))
    with pytest.raises(ValueError, match="different kinds"):
        concatenate_latents([result.latents, other.latents])
    with pytest.raises(ValueError, match='got the video format "gif"; expected one of mp4'):
        morph.save(squares, video="gif")
