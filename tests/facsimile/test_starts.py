"""Where inversions start. Oracles: `encoders.latents`, `stylegan.start`, the papers' recipes."""

import shutil

import pytest
import torch

import facsimile
from facsimile import encoders, stylegan
from facsimile.checkpoints import EncoderSet
from facsimile.jobs import Job, Options
from facsimile.refine import Term
from facsimile.stylegan import Latents

ANCHOR = Term("feature_anchor", 1.0)
BASE = ("f/w+", "f/p_n+", "f/s", "f/z", "f/z+")


@pytest.fixture
def load(network):
    def loaded(*named, generator=network):
        return facsimile.load(generator, perceptual="discriminator", encoders=named, device="cpu")

    return loaded


@pytest.fixture
def both(load, runs):
    return load(runs / "base", runs / "in-domain")


@pytest.mark.parametrize("name", [*BASE, "f/z+ +noise", "f/w+ +joint-noise"])
def test_features_start_from_the_base_encoder_and_are_held_to_it(both, targets, name):
    result = both.invert(targets, recipe=name, steps=2, seed=3)
    space = name.split()[0].replace("p_n", "w")
    guess = encoders.encode(
        both.encoders.get("base").network, both.generator, targets, space, seed=3
    )
    first = both.start(both.recipe(name)).latents(both.generator, targets, 3, None)
    for key, x in guess.tensors().items():
        assert torch.equal(first.tensors()[key], x)
    phase = "joint" if "joint" in name else "code"
    anchor = result.history[f"{phase}/feature_anchor"]
    assert anchor[0].abs().max() == 0
    assert anchor[2].min() > 0
    assert "noise/feature_anchor" not in result.history
    moved = (result.latents.feature - guess.feature).square().mean((1, 2, 3))
    best = sum(x for key, x in result.history.items() if key.startswith(phase)).argmin(0)
    torch.testing.assert_close(ANCHOR.weight * moved, anchor[best, range(4)], rtol=1e-3, atol=1e-7)
    assert result.settings["start"] == "encoder"


def test_codes_start_from_the_in_domain_encoder(both, targets):
    network = both.encoders.get("in-domain").network
    for name, space, start in (
        ("w+", "w+", None),
        ("w+ +noise", "w+", None),
        ("in-domain", "w+", None),
        ("p_n+", "w+", "encoder"),
        ("s", "s", "encoder"),
    ):
        result = both.invert(targets, recipe=name, steps=0, start=start)
        guess = encoders.encode(network, both.generator, targets, space)
        torch.testing.assert_close(result.latents.code, guess.code)
        torch.testing.assert_close(result.images, guess.draw(both.generator).clamp(-1, 1))
        assert result.settings["encoder"]["kind"] == "in-domain"
    for name in ("p_n+", "s"):  # papers begin these at the mean
        result = both.invert(targets, recipe=name, steps=0)
        mean = stylegan.init_latents(both.generator, both.recipe(name).space, 4, how="mean")
        torch.testing.assert_close(result.latents.code, mean.code)
        assert result.settings["start"] == "mean"
        assert "encoder" not in result.settings


def test_without_encoders_all_is_as_without(load, targets):
    studio = load()
    for name, how in (("f/z+", "random"), ("f/w+", "mean"), ("w+", "mean"), ("z", "random")):
        begin = studio.start(studio.recipe(name))
        assert begin.recipe == studio.recipe(name)
        assert begin.note.startswith(f"start: {how}")
        assert ("no " in begin.note) == (name != "z")
        result = studio.invert(targets, recipe=name, steps=0)
        wanted = stylegan.init_latents(studio.generator, name, 4)
        for key, x in result.latents.tensors().items():
            torch.testing.assert_close(x, wanted.retract().tensors()[key])
        assert result.settings["start"] == how
        assert result.steps == [0] * 4
        assert result.status == ["done"] * 4


def test_a_start_that_is_asked_for_goes_before_an_encoder(both):
    begin = both.start(both.recipe("f/w+"), "mean")
    assert (begin.how, begin.encoder, begin.note) == ("mean", None, "start: mean")
    assert begin.recipe == both.recipe("f/w+")


def test_an_encoder_that_is_asked_for_must_be_there(load, targets):
    studio = load()
    with pytest.raises(ValueError, match="no base encoder .looked for .*train.py base --generator"):
        studio.invert(targets, recipe="f/z+", steps=0, start="encoder")
    with pytest.raises(ValueError, match="no in-domain encoder .*train.py in-domain"):
        studio.invert(targets, recipe="in-domain", steps=0)
    with pytest.raises(ValueError, match="no in-domain encoder"):
        studio.invert(targets, recipe="in-domain", steps=1, start="mean")
    for name in ("z", "z+", "w"):
        with pytest.raises(ValueError, match=f'no encoder guesses a code in "{name[0]}.*in f/'):
            studio.invert(targets, recipe=name, steps=0, start="encoder")


def test_the_recipe_takes_the_layer_and_rgb_skip_of_the_encoder(load, runs, targets):
    studio = load(runs / "keep")
    result = studio.invert(targets, recipe="f/w+", steps=1)
    assert result.latents.layer == result.settings["layer"] == "b8.conv1"
    assert result.latents.rgb is not None
    assert load(runs / "base").invert(targets, recipe="f/w+", steps=1).latents.rgb is None
    recipe = studio.recipe("f/w+", 0)
    assert studio.start(recipe.with_layer("b8.conv1")).how == "encoder"
    other = recipe.with_layer("b16.conv0")
    with pytest.raises(ValueError, match=r"feature of b8\.conv1, and b16\.conv0 is asked for"):
        studio.start(other, "encoder")
    begin = studio.start(other)
    assert begin.how == "mean"
    assert "b16.conv0 is asked for" in begin.note
    assert studio.invert(targets, recipe=other).latents.layer == "b16.conv0"


@pytest.mark.parametrize("fault", ["foreign", "corrupt"])
def test_a_bad_encoder_beside_the_generator_stops_only_who_asks_for_it(
    load, network, runs, targets, tmp_path, fault
):
    shutil.copy(network / "generator.safetensors", tmp_path)
    shutil.copy(network / "discriminator.safetensors", tmp_path)
    shutil.copy(runs / "foreign" / encoders.FILE, tmp_path / "base.safetensors")
    if fault == "corrupt":
        content = (runs / "base" / encoders.FILE).read_bytes()
        (tmp_path / "base.safetensors").write_bytes(content[: len(content) // 2])
    studio = load(generator=tmp_path)
    assert studio.invert(targets, recipe="w+", steps=1).steps == [1] * 4
    begin = studio.start(studio.recipe("f/w+"))
    assert begin.how == "mean"
    assert "its base encoder cannot be used" in begin.note
    assert "base.safetensors" in begin.note
    with pytest.raises(ValueError, match=r"base\.safetensors"):
        studio.invert(targets, recipe="f/w+", start="encoder")


def test_the_domain_term_asks_the_encoder_wherever_it_starts(both, targets):
    network = both.encoders.get("in-domain").network
    for start in (None, "mean"):
        result = both.invert(targets, recipe="in-domain", steps=1, start=start)
        begin = both.invert(targets, recipe="in-domain", steps=0, start=start).latents
        drawn = begin.draw(both.generator)
        expected = 2 * (begin.code - network(drawn)).square().mean((1, 2))
        torch.testing.assert_close(result.history["code/domain"][0], expected, rtol=1e-3, atol=1e-6)
        assert result.settings["encoder"]["weights"] == both.encoders.get("in-domain").fingerprint
        assert result.settings["start"] == (start or "encoder")


@pytest.mark.parametrize(
    "kind",
    [{"img_channels": 1}, {"c_dim": 3}, {"architecture": "stylegan1"}]
    + [{"architecture": "stylegan1", "w_per_layer": True}, {"architecture": "stylegan3"}],
    ids=str,
)
def test_every_kind_of_generator(make_generator, make_encoder, squares, tmp_path, kind):
    generator = make_generator(32, 4, 8, **kind)
    for name in ("base", "in-domain"):
        encoders.save(make_encoder(name, generator), tmp_path / f"{name}.safetensors")
    studio = facsimile.Studio(generator, encoders=EncoderSet(generator, tmp_path))
    label = 1 if generator.c_dim else None
    for name in ("f/z+", "f/s", "w+", "in-domain"):
        result = studio.invert(
            squares / "0.png", recipe=name, steps=1, label=label, start="encoder", align=False
        )
        assert result.settings["start"] == "encoder"
        assert result.status == ["done"]
        target = result.targets
        network = studio.encoders.get(result.settings["encoder"]["kind"]).network
        space = "w+" if name == "in-domain" else name
        c = None if label is None else torch.eye(3)[[label]]
        guess = encoders.encode(network, generator, target, space, label=c)
        pixel = (guess.retract().draw(generator) - target).square().mean((1, 2, 3))
        torch.testing.assert_close(result.history["code/pixel"][0], pixel)


@pytest.mark.parametrize("name", ["f/z+", "w+ +noise", "in-domain"])
def test_a_batch_is_its_single_runs(both, targets, name):
    together, alone = (both.invert(targets, recipe=name, steps=5, batch=n) for n in (4, 1))
    torch.testing.assert_close(together.images, alone.images, atol=1e-4, rtol=0)


def test_another_encoder_is_another_job(load, runs, squares, tmp_path, make_encoder):
    """What one encoder began or finished is not taken for another's work."""
    photos, out = sorted(squares.iterdir()), tmp_path / "out"
    one = load(runs / "base")
    torch.manual_seed(9)
    encoders.save(make_encoder("base", one.generator), tmp_path / "two.safetensors")
    two = load(tmp_path / "two.safetensors")

    def run(studio, out, **options):
        recipe = studio.recipe("f/z+", 0)
        job = Job(studio, photos, out, Options(recipe=recipe, align=False, batch=2, **options))
        job.run(quiet=True)
        return job

    assert len(run(one, out).done) == 3
    assert run(one, out).skipped == ["0", "1", "2"]
    assert len(run(two, out).done) == 3
    assert len(run(two, out, start="random").done) == 3
    run(two, out)
    run(two, tmp_path / "fresh")
    for name in ("0", "1", "2"):
        codes = [Latents.load(x / name / "latents.safetensors") for x in (out, tmp_path / "fresh")]
        assert all(torch.equal(codes[0].tensors()[k], x) for k, x in codes[1].tensors().items())
