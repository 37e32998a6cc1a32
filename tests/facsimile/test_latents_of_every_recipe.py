"""What `invert` makes by any recipe can be reenacted and edited."""

import shutil

import pytest
import torch

import facsimile
from facsimile import data, encoders, stylegan
from facsimile.cli import main
from facsimile.refine import recipes
from facsimile.stylegan import Latents

FACE = torch.rand(68, 2, generator=torch.Generator().manual_seed(3))
RECIPES = sorted({*recipes.RECIPES, "w+ +noise", "f/z+ +noise", "s +noise"})


class Face:
    """Sees the same face in every picture."""

    name, note = "face", "landmarks: of a face"

    def __call__(self, images):
        n = len(images)
        points = (images.shape[-1] * FACE).expand(n, -1, -1)
        return data.Landmarks(points, torch.ones(n), torch.ones(n, dtype=torch.bool))


@pytest.fixture(scope="module")
def folder(tmp_path_factory, make_generator, make_encoder):
    """A 32 px generator with a difference, an in-domain and a feature encoder and an editor."""
    folder = tmp_path_factory.mktemp("networks")
    generator = make_generator(32)
    stylegan.save(generator, folder / "generator.safetensors")
    for kind in ("difference", "in-domain", "editor"):
        encoders.save(make_encoder(kind, generator), folder / f"{kind}.safetensors")
    return folder


@pytest.fixture(scope="module")
def studio(folder):
    return facsimile.load(folder, perceptual="none", device="cpu")


def invert(studio, recipe, targets, out):
    plan = studio.plan(recipe, steps=1, align=False, identity="off")
    (folder,) = studio.invert(targets[:1], plan).save(out)
    return folder / "latents.safetensors"


@pytest.mark.parametrize("recipe", RECIPES)
def test_inverted_then_reenacted_and_edited(studio, targets, recipe, tmp_path):
    path = invert(studio, recipe, targets, tmp_path)
    latents = Latents.load(path)
    found = studio.reenact(path, "yaw:20", landmarks=Face(), align=False)
    (turned,) = found
    face = found.source.face
    standing = found.synthesize(found.source.landmarks[None])[0]
    assert (turned.image - standing).abs().max() > 1e-3
    space = latents.space
    assert (face.note == "") == ("/" not in space and space != "s")
    if space == "f/s":
        assert "their picture's in-domain code is moved: the latents are in" in face.note
    else:
        assert face.given.space == space
        torch.testing.assert_close(standing, found.source.target, atol=1e-4, rtol=0)
    for edit, inputs in (("direction", 1), ("style", 2), ("morph", 2)):
        edited = studio.edit([latents] * inputs, edit)
        assert edited.images.isfinite().all()


def test_on_the_command_line(folder, studio, targets, tmp_path, monkeypatch, capsys):
    """The folder of an inversion is a source; what stands for its latents is said."""
    monkeypatch.setattr(data, "landmarker", lambda *_, **__: Face())
    path = invert(studio, "f/z+", targets, tmp_path / "inverted")
    fixed = ("--generator", folder, "--device", "cpu", "--out", tmp_path / "out")

    def run(source, *args):
        with pytest.raises(SystemExit) as left:
            main(["reenact", *(str(x) for x in (source, "smile:1", *args, *fixed))])
        return left.value.code, capsys.readouterr()

    code, said = run(path.parent)
    assert (code, said.err) == (0, "")
    assert 'latents in "f/z+", whose feature follows by the feature editor' in said.out
    assert f"one picture: {tmp_path / 'out'}" in said.out
    code, said = run(path, "--quiet")
    assert (code, said.out, said.err) == (0, "", "")


def test_without_an_in_domain_encoder(folder, targets, studio, tmp_path):
    path = invert(studio, "s", targets, tmp_path)
    lonely = tmp_path / "lonely"
    lonely.mkdir()
    for name in ("generator.safetensors", "difference.safetensors"):
        shutil.copy(folder / name, lonely)
    alone = facsimile.load(lonely, perceptual="none", device="cpu")
    with pytest.raises(ValueError, match="run facsimile train in-domain, or facsimile invert"):
        list(alone.reenact(path, "yaw:20", landmarks=Face(), align=False))
