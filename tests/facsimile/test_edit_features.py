"""Edits of latents with features: by a feature editor where there is one, else as the note says."""

import json
import shutil

import numpy as np
import pytest
import torch

import facsimile
from facsimile import encoders, stylegan
from facsimile.cli import main
from facsimile.encoders import KINDS
from facsimile.encoders.editor import EditorConfig, FeatureEditor
from facsimile.stylegan import Latents

LAYER = "b4.conv1"
STAYS = "features do not follow the codes, but stay or are mixed linearly: "


@pytest.fixture(scope="module")
def complete(network, tmp_path_factory, make_encoder):
    """The network's folder with an in-domain encoder and a feature editor for LAYER."""
    folder = tmp_path_factory.mktemp("complete") / "network"
    shutil.copytree(network, folder)
    generator = stylegan.load(folder / "generator.safetensors")
    encoders.save(make_encoder("in-domain", generator), folder / "in-domain.safetensors")
    editor = FeatureEditor(EditorConfig.for_generator(generator, LAYER, 8))
    editor.init_normalization(generator, generator.map(torch.randn(16, generator.z_dim)))
    with torch.no_grad():
        editor.last.bias.fill_(0.5)  # where nothing changes it would not be F
    encoders.save(editor, folder / "editor.safetensors")
    return folder


@pytest.fixture(scope="module")
def studio(complete):
    return facsimile.load(complete, perceptual="none", device="cpu")


def features(studio, n=2, space="f/z+", layer=LAYER):
    """Latents with a code and a feature of each image's own."""
    rng = torch.Generator().manual_seed(1)
    start = stylegan.init_latents(studio.generator, space, n, layer=layer)
    tensors = start.tensors()
    return start.with_tensors(
        {k: x + 0.3 * torch.randn(x.shape, generator=rng) for k, x in tensors.items()}
    ).retract()


@pytest.fixture
def edit(capsys, squares, complete):
    """edit(*args, generator) -> exit status, what was printed, of edits of a photo."""

    def run(name, *args, generator=complete):
        fixed = ("--generator", generator, "--device", "cpu", "--no-align", "--steps", 1)
        fixed += ("--recipe", "f/w+", "--perceptual", "none", "--identity", "off")
        with pytest.raises(SystemExit) as left:
            main(["edit", name, *(str(x) for x in (squares / "0.png", *args, *fixed))])
        return left.value.code, capsys.readouterr()

    return run


def test_a_direction_by_the_formula(studio):
    latents = features(studio)
    result = studio.edit(latents, "direction", direction="pca:2", strength=1.5)
    assert result.note == f"features of {LAYER} follow the codes by the feature editor"
    assert result.record()["note"] == result.note
    assert len(result) == 2
    generator = studio.generator
    in_domain = studio.encoders.get("in-domain").network
    ws = in_domain.encode(latents.synthesize(generator).clamp(-1, 1), generator.synthesize)
    step = 1.5 * stylegan.statistics.principal_directions(generator)[1].float()
    before, after = (generator.synthesize(x, stop=LAYER) for x in (ws, ws + step))
    editor = studio.encoders.get("editor").network
    expected = editor(latents.feature, after.x - before.x)
    torch.testing.assert_close(result.latents.feature, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(result.latents.code, generator.map(latents.code) + step)
    assert result.latents.space == "f/w+"


def test_a_batch_is_as_single_images(studio):
    latents = features(studio, 3)
    batch = studio.edit(latents, "direction").latents
    for i in range(3):
        one = studio.edit(latents[i], "direction").latents
        for name, x in one.tensors().items():
            torch.testing.assert_close(batch.tensors()[name][[i]], x, rtol=1e-4, atol=1e-4)


def test_a_morph_ends_at_the_inputs(studio):
    latents = features(studio, 2, "f/w+")
    frames = studio.edit(latents, "morph", frames=4).latents
    for index, end in ((0, 0), (3, 1)):
        for name, x in latents[end].tensors().items():
            assert torch.equal(frames[index].tensors()[name], x)
    mixed = torch.lerp(latents[0].feature, latents[1].feature, 1 / 3)
    assert not torch.allclose(frames[1].feature, mixed, atol=1e-3)


def test_notes_where_features_stay(studio, network):
    plain = facsimile.load(network, perceptual="none", device="cpu")
    kept = plain.edit(features(plain), "direction")
    assert torch.equal(kept.latents.feature, features(plain).feature)
    assert kept.note == (
        f"{STAYS}this generator has no editor encoder and no in-domain encoder; run facsimile "
        "train editor and facsimile train in-domain"
    )
    other = studio.edit(features(studio, layer="b16.conv0"), "direction")
    assert "a feature of b16.conv0, and the editor is for features of b4.conv1" in other.note
    mixed = studio.edit(features(studio, 2, "f/s"), "morph", frames=3)
    assert mixed.note.startswith(STAYS)
    assert mixed.latents.space == "f/s"
    without = studio.edit(stylegan.init_latents(studio.generator, "w+", 2), "morph", frames=3)
    assert without.note == ""
    assert "note" not in without.record()


def test_on_the_command_line(edit, network, squares, tmp_path):
    out = tmp_path / "out"
    status, printed = edit("direction", squares / "1.png", "--direction", "pca:3", "--out", out)
    assert status == 0
    assert f"features of {LAYER} follow the codes by the feature editor" in printed.out
    assert "direction: 2 images, 0 photos failed" in printed.out
    assert {path.name for path in out.glob("*.png")} == {"0.png", "1.png", "strip.png"}
    record = json.loads((out / "edit.json").read_text())
    assert record["parameters"] == {"direction": "pca:3", "strength": 2.0, "layers": ""}
    before = Latents.load(out / "inversions" / "0" / "latents.safetensors")
    after = Latents.load(out / "latents.safetensors")
    assert not torch.allclose(before.feature, after.feature[:1], atol=1e-3)

    # Without an editor, and without a step: the same image.
    np.save(tmp_path / "zero.npy", np.zeros(before.code.shape[2]))
    same = tmp_path / "same"
    status, printed = edit(
        "direction", "--direction", tmp_path / "zero.npy", "--out", same, generator=network
    )
    assert status == 0
    assert STAYS in printed.out
    after = Latents.load(same / "latents.safetensors")
    before = Latents.load(same / "inversions" / "0" / "latents.safetensors")
    assert all(torch.equal(x, after.tensors()[name]) for name, x in before.tensors().items())

    status, printed = edit("direction", "--direction", "pca:x", "--out", tmp_path / "wrong")
    assert status == 2
    assert 'direction: got "pca:x", expected pca:1 to pca:32' in printed.err


def test_the_kind_is_no_start_of_a_space():
    assert KINDS["editor"].spaces == ()
