"""The commands on an Apple GPU, which tests/apple.py emulates: no float64, no lacking operator."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from apple import AppleTensor, apple
from PIL import Image
from torch.nn.functional import interpolate

from facsimile import cli, editing, encoders, metrics
from facsimile.metrics import frechet
from facsimile.reenactment.landmark_error import landmark_errors


@pytest.fixture(autouse=True)
def device(monkeypatch):
    with apple(monkeypatch):
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory, network, photo, make_generator, make_encoder):
    """Networks, "face.png", and two small aligned pictures in "aligned"."""
    folder = tmp_path_factory.mktemp("apple")
    photo.save(folder / "face.png")
    (folder / "aligned").mkdir()
    for index in range(2):
        photo.crop((150, 30, 300, 180)).rotate(5 * index).resize((32, 32)).save(
            folder / "aligned" / f"{index}.png"
        )
    for kind in ("difference", "in-domain"):
        encoder = make_encoder(kind, make_generator(32))
        encoders.save(encoder, folder / f"{kind}.safetensors")
    return folder


def run(*arguments):
    """A command on the Apple GPU; returns its exit status."""
    with pytest.raises(SystemExit) as end:
        cli.main([*map(str, arguments), "--device", "mps", "--threads", "1", "--quiet"])
    return end.value.code


def test_the_emulated_device_refuses_what_a_real_one_does():
    x = torch.ones(2, 3).to("mps")
    assert isinstance(x, AppleTensor)
    assert x.device.type == (x @ torch.ones(3, 2, device="mps")).device.type == "mps"
    assert x.sum().item() == 6
    assert x.cpu().double().device.type == "cpu"
    for wrong in (
        lambda: x.double().cpu(),  # as in the commands of version 0.2
        lambda: torch.ones(2, dtype=torch.float64).to("mps"),
        lambda: x.to(torch.float64),
        lambda: x.numpy(),
    ):
        with pytest.raises(TypeError, match="MPS|mps"):
            wrong()
    with pytest.raises(RuntimeError, match="same device, but found mps:0 and cpu"):
        x + torch.ones(3)
    with pytest.raises(NotImplementedError, match="_linalg_eigh' is not implemented for MPS"):
        torch.linalg.eigh(x @ x.T)


def test_gradients_pass_on_it_and_between_devices():
    layer = torch.nn.Linear(3, 2).to("mps")
    assert isinstance(layer.weight, AppleTensor)
    x = torch.ones(1, 3, requires_grad=True)
    loss = layer(x.to("mps")).square().sum()
    loss.backward()
    assert not isinstance(x.grad, AppleTensor)
    assert layer.weight.grad.device.type == "mps"
    assert interpolate(torch.ones(1, 1, 4, 4).to("mps"), scale_factor=2).device.type == "mps"


def test_measures_are_taken_on_the_cpu():
    """In double precision: landmarks, and the moments of features."""
    points = torch.rand(1, 68, 2) * 32
    there = points.to("mps")
    seen = SimpleNamespace(points=there, is_face=torch.ones(1, dtype=torch.bool).to("mps"))
    picture = torch.zeros(1, 3, 32, 32).to("mps")
    (row,) = landmark_errors(lambda images: seen, picture, there)
    assert row["nme"] == 0
    features = torch.randn(9, 4)
    found, expected = (frechet.moments([x]) for x in (features.to("mps"), features))
    torch.testing.assert_close(found.covariance, expected.covariance)
    assert metrics.nanmean_with_failures(there.flatten())[0] == pytest.approx(float(points.mean()))


@pytest.mark.parametrize(
    "recipe", ["f/z+ +noise", pytest.param("p_n+", marks=pytest.mark.exhaustive)]
)
def test_invert_aligned_pictures(folder, network, tmp_path, recipe):
    arguments = ("--generator", network, "--perceptual", "discriminator", "--recipe", recipe)
    out = tmp_path / "out"
    assert (
        run("invert", folder / "aligned", "--out", out, "--no-align", "--steps", 2, *arguments) == 0
    )
    assert (out / "1" / "latents.safetensors").is_file()


@pytest.mark.exhaustive
def test_invert_a_photo_and_edit_it(folder, network, tmp_path):
    """Aligned, predicted by an encoder, refined with the identity term, pasted back, edited."""
    out, common = tmp_path / "out", ("--generator", network)
    encoder = ("--encoder", folder / "in-domain.safetensors")
    perceptual = ("--perceptual", "none", "--steps", 1, "--recipe", "w+")
    arguments = (*common, *encoder, *perceptual, "--paste-back")
    assert run("invert", folder / "face.png", "--out", out, *arguments) == 0
    with Image.open(out / "face" / "whole.png") as whole:
        assert whole.size == (512, 512)
    edited = tmp_path / "edited"
    assert run("edit", "direction", out, "--out", edited, *common) == 0
    assert run("sample", "--out", tmp_path / "sample.png", *common) == 0


@pytest.mark.exhaustive
def test_landmarks_and_reenactment(folder, network, tmp_path):
    face = folder / "face.png"
    assert run("landmarks", face, "--out", tmp_path / "landmarks", "--landmarks", "small") == 0
    networks = ("--generator", network, "--encoder", folder / "difference.safetensors")
    networks += ("--encoder", folder / "in-domain.safetensors", "--landmarks", "small")
    options = ("--source-steps", 0, "--driving", "absolute", "--video", "none")
    out = tmp_path / "talking"
    assert run("reenact", face, face, "--out", out, *networks, *options) == 0
    assert len(list(out.glob("**/*.png"))) > 0


@pytest.mark.exhaustive
def test_every_edit(folder, network, tmp_path, monkeypatch):
    """Those by refinement, of two steps, and those of codes, of aligned pictures."""
    refine = editing.local_edit.run

    def short(generator, start, inputs, recipe, **options):
        phases = tuple(replace(x, steps=2) for x in recipe.phases)
        return refine(generator, start, inputs, replace(recipe, phases=phases), **options)

    for page in ("crossover", "inpaint", "local_style", "scribble", "style_embedding"):
        monkeypatch.setattr(getattr(editing, page), "run", short)
    pictures = [folder / "aligned" / f"{i}.png" for i in range(2)]
    third = tmp_path / "2.png"
    Image.open(pictures[0]).rotate(90).save(third)
    common = ("--generator", network, "--no-align", "--steps", 0, "--perceptual", "discriminator")
    box = ("--mask", "box:0.25,0.25,0.75,0.75")
    edits = {
        "morph": (*pictures, "--frames", 3),
        "style": (*pictures,),
        "direction": (pictures[0],),
        "expression": (*pictures, third),
        "transfer": (*pictures, *box),
        "channels": (*pictures,),
        "inpaint": (pictures[0], *box),
        "crossover": (*pictures, *box),
        "local-style": (*pictures, *box),
        "scribble": (pictures[0], "--scribble", third),
        "style-embedding": (pictures[0],),
    }
    assert edits.keys() == editing.EDITS.keys()
    for name, arguments in edits.items():
        out = tmp_path / name
        recipe = ("--recipe", "w+")
        assert run("edit", name, *arguments, *common, *recipe, "--out", out) == 0, name
        assert (out / "latents.safetensors").is_file()
