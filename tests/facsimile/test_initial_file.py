"""`--init FILE`. Oracle: the latents in the file, and a plan that starts there by other means."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import facsimile
from facsimile.initial_file import PlannedFile
from facsimile.plan import InversionPlan
from facsimile.refine import recipes
from facsimile.start import read_init
from facsimile.stylegan import Latents, init_latents
from facsimile.stylegan.files import codes


@pytest.fixture(scope="module")
def studio(network):
    return facsimile.load(network, perceptual="none", device="cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, studio):
    """Codes in every format, of three images; and their film's latents."""
    folder, generator = tmp_path_factory.mktemp("codes"), studio.generator
    source = torch.Generator().manual_seed(1)
    ws = torch.randn(3, generator.num_ws, generator.w_dim, generator=source)
    for form in codes.FORMATS:
        codes.write(folder / f"x.{form}", ws[2:], form, generator.fingerprint)
    film = Latents(space="w+", code=ws, fingerprint=generator.fingerprint)
    film.save(folder / "latents.safetensors")
    return folder


FILES = ["x.npz", "x.pt", "x.npy", "latents.safetensors"]


@pytest.mark.parametrize("name", FILES)
def test_every_image_starts_from_the_last_latents_of_the_file(studio, folder, targets, name):
    plan = studio.plan("w+", steps=0, init=folder / name, identity="off")
    assert plan.init == "file"
    count = "the last of 3 " if name.endswith("safetensors") else ""
    assert f"\ninit: {count}latents in w+ of {folder / name}" in plan.describe()
    first = studio.inverter(plan).initial_latents(targets)
    last = Latents.load(folder / "latents.safetensors")[-1]
    assert torch.equal(first.code, last.code.expand(len(targets), -1, -1))
    assert first.crops == ()
    assert torch.equal(studio.invert(targets, plan).latents.code, first.code)


def test_refinement_goes_on_from_there(studio, folder, targets):
    plan = studio.plan("f/w+", steps=2, init=folder / "x.pt", identity="off")
    inverter = studio.inverter(plan)
    first = inverter.initial_latents(targets)
    names = [f"{index}" for index in range(len(targets))]
    by_file = inverter.invert(targets, names).latents
    given = replace(studio.inverter(plan), plan=replace(plan, file=None, init="mean"))
    by_hand = given.invert(targets, names, start=first).latents
    for name, x in by_hand.tensors().items():
        assert torch.equal(by_file.tensors()[name], x)


def test_a_feature_of_our_own_is_where_it_goes_on(studio, tmp_path, targets):
    """Also one of another layer than the default, unless the recipe asks for that."""
    path, generator = tmp_path / "latents.safetensors", studio.generator
    start = init_latents(generator, "f/w+", 1, layer="b8.conv0")
    latents = start.with_tensors({**start.tensors(), "feature": start.feature + 1})
    latents.save(path)
    assert generator.default_feature_layer() != "b8.conv0"
    plan = studio.plan("f/w+", steps=0, init=path, identity="off")
    first = studio.inverter(plan).initial_latents(targets)
    assert (plan.recipe.layer, first.layer) == ("b8.conv0", "b8.conv0")
    assert torch.equal(first.feature[:1], latents.feature)
    assert torch.equal(first[0].synthesize(generator), latents.synthesize(generator))
    assert "without" not in plan.file.words
    for name, layer in (("w+", None), ("f/w+", "b16.conv0")):
        other = studio.plan(name, steps=0, init=path, layer=layer, identity="off")
        assert other.file.words.endswith(f"{path}, without their feature")


def test_a_plan_knows_the_bytes_of_its_file(studio, folder, tmp_path, targets):
    path = tmp_path / "x.pt"
    path.write_bytes((folder / "x.pt").read_bytes())
    plan = studio.plan("w+", steps=1, init=path, identity="off")
    moved = studio.plan("w+", steps=1, init=folder / "x.pt", identity="off")
    assert plan.digest == moved.digest
    assert plan.gives_same_result(moved.to_dict())
    assert json.loads(json.dumps(plan.to_dict()))["file"] == {"digest": plan.file.digest}
    torch.save(torch.zeros(studio.generator.w_dim), path)
    with pytest.raises(ValueError, match=r"x\.pt has changed since the plan was made"):
        studio.inverter(plan).initial_latents(targets)
    other = studio.plan("w+", steps=1, init=path, identity="off")
    assert other.digest != plan.digest


def test_plans_without_a_file_are_as_before(studio):
    plan = studio.plan("w+", steps=1, identity="off")
    assert "file" not in plan.to_dict()


@pytest.mark.parametrize("recipe", ["w", "s", "p_n+", "f/w+", "f/s"])
def test_recipes_that_can_start_there(studio, folder, recipe):
    plan = studio.plan(recipe, steps=0, init=folder / "x.npy", identity="off")
    assert isinstance(plan, InversionPlan)
    assert isinstance(plan.file, PlannedFile)


def test_recipes_that_cannot_say_which_can(studio, folder):
    message = r'x\.npy cannot start the recipe "f/z\+": .* as --recipe w\+ or f/w\+'
    with pytest.raises(ValueError, match=message):
        studio.plan("f/z+", init=folder / "x.npy", identity="off")
    assert recipes.get("f/z+").space == "f/z+"


def test_codes_of_z_are_predicted_where_an_encoder_can(network, runs, folder, targets):
    studio = facsimile.load(network, perceptual="none", encoders=[runs / "feature"], device="cpu")
    plan = studio.plan("f/z+", steps=0, init=folder / "x.npy", identity="off")
    assert (plan.init, plan.encoder.kind) == ("file", "feature")
    first = studio.inverter(plan).initial_latents(targets)
    ws = codes.read(folder / "x.npy").values
    expected = studio.encoders.get("feature").network.to_z(ws)
    assert torch.equal(first.code[:1], expected)
    feature = studio.generator.synthesize(ws, stop=first.layer)
    torch.testing.assert_close(first.feature[:1], feature.x)


def test_what_is_asked_for():
    assert [read_init(x) for x in (None, "mean", "x.pt")] == [None, "mean", Path("x.pt")]
