"""Plans. Oracles: `encoders.encode`, `stylegan.init_latents`, the papers' recipes."""

import json
import shutil
from dataclasses import replace

import pytest
import torch

import facsimile
from facsimile import encoders, stylegan
from facsimile.checkpoints import EncoderSet
from facsimile.jobs import Job
from facsimile.plan import InversionPlan
from facsimile.refine import Phase, Recipe, Term, Variable, recipes, terms
from facsimile.stylegan import Latents

FEATURE_REG = Term("feature_reg", 1.0)
FEATURE_RECIPES = ("f/w+", "f/p_n+", "f/s", "f/z", "f/z+")


@pytest.fixture
def load(network):
    def loaded(*named, generator=network):
        return facsimile.load(generator, perceptual="discriminator", encoders=named, device="cpu")

    return loaded


@pytest.fixture
def both(load, runs):
    return load(runs / "base", runs / "in-domain")


@pytest.mark.parametrize("name", [*FEATURE_RECIPES, "f/z+ +noise", "f/w+ +joint-noise"])
def test_features_start_from_the_base_encoder_and_stay_close_to_it(both, targets, name):
    result = both.invert(targets, recipe=name, steps=2, seed=3)
    space = name.split()[0].replace("p_n", "w")
    guess = encoders.encode(
        both.encoders.get("base").network, both.generator, targets, space, seed=3
    )
    first = both.inverter(both.plan(name, seed=3)).initial_latents(targets)
    for key, x in guess.tensors().items():
        assert torch.equal(first.tensors()[key], x)
    phase = "code"
    anchor = result.history[f"{phase}/feature_reg"]
    assert anchor[0].abs().max() == 0
    assert anchor[2].min() > 0
    assert "noise/feature_reg" not in result.history
    moved = (result.latents.feature - guess.feature).square().mean((1, 2, 3))
    best = sum(x for key, x in result.history.items() if key.startswith(phase)).argmin(0)
    torch.testing.assert_close(
        FEATURE_REG.weight * moved, anchor[best, range(4)], rtol=1e-3, atol=1e-7
    )
    assert result.plan.init == "encoder"


@pytest.mark.parametrize("name", FEATURE_RECIPES)
def test_features_and_codes_start_from_the_feature_encoder(load, runs, targets, name):
    """Before a base encoder, at its layer and with its codes' RGB skip, whatever the recipe has."""
    studio = load(runs / "base", runs / "feature", runs / "in-domain")
    result = studio.invert(targets, recipe=replace(recipes.get(name), rgb_skip="zero"), steps=1)
    plan, network = result.plan, studio.encoders.get("feature").network
    assert (plan.init, plan.encoder.kind) == ("encoder", "feature")
    assert (plan.recipe.layer, plan.recipe.rgb_skip) == ("b16.conv0", "keep")
    assert f"\ninit: the feature encoder {runs / 'feature'}\n" in plan.describe()
    guess = encoders.encode(network, studio.generator, targets, recipes.get(name).space)
    first = studio.inverter(plan).initial_latents(targets)
    assert first.tensors().keys() == guess.tensors().keys() == {"code", "feature", "rgb"}
    for key, x in guess.tensors().items():
        assert torch.equal(first.tensors()[key], x)
    assert result.history["code/feature_reg"][0].abs().max() == 0


def test_which_encoder_a_recipe_in_f_takes(load, runs):
    """The one that it names; else, with a note, another that predicts the layer asked for."""
    only, both = load(runs / "base"), load(runs / "feature", runs / "keep")
    plan = only.plan("f/w+", identity="off")
    assert plan.encoder.kind == "base"
    note = "as this generator has no feature encoder"
    assert f"init: the base encoder {runs / 'base'}, {note}\n" in plan.describe()
    assert both.plan("f/w+", layer="b16.conv0").encoder.kind == "feature"
    plan = both.plan("f/w+", layer="b8.conv1", identity="off")
    assert (plan.encoder.kind, plan.recipe.layer) == ("base", "b8.conv1")
    assert ", as the feature encoder does not predict the feature of b8.conv1\n" in plan.describe()
    plan = both.plan("f/w+", layer="b4.conv1", identity="off")
    assert (plan.init, plan.encoder) == ("mean", None)
    assert "its feature encoder cannot be used" in plan.init_note
    with pytest.raises(ValueError, match=r"feature of b16\.conv0, and b4\.conv1 is asked for"):
        both.plan("f/w+", layer="b4.conv1", init="encoder")


def test_codes_start_from_the_in_domain_encoder(both, targets):
    network = both.encoders.get("in-domain").network
    for name, space, init in (
        ("w+", "w+", None),
        ("w+ +noise", "w+", None),
        ("in-domain", "w+", None),
        ("p_n+", "w+", "encoder"),
        ("s", "s", "encoder"),
    ):
        result = both.invert(targets, recipe=name, steps=0, init=init)
        guess = encoders.encode(network, both.generator, targets, space)
        torch.testing.assert_close(result.latents.code, guess.code)
        torch.testing.assert_close(result.images, guess.synthesize(both.generator).clamp(-1, 1))
        assert result.plan.encoder.kind == "in-domain"
    for name in ("p_n+", "s"):  # papers begin these at the mean
        result = both.invert(targets, recipe=name, steps=0)
        mean = stylegan.init_latents(both.generator, recipes.get(name).space, 4, init="mean")
        torch.testing.assert_close(result.latents.code, mean.code)
        assert result.plan.init == "mean"
        assert result.plan.encoder is None


def test_without_encoders_recipes_start_as_their_spaces_do(load, targets):
    studio = load()
    for name, init in (("f/z+", "random"), ("f/w+", "mean"), ("w+", "mean"), ("z", "random")):
        plan = studio.plan(name, identity="off")
        assert plan.recipe == recipes.get(name).until_done().for_networks(
            {"perceptual": studio.perceptual}
        )
        assert f"\ninit: {init}" in plan.describe()
        assert ("this generator has no " in plan.describe()) == (name != "z")
        result = studio.invert(targets, recipe=name, steps=0)
        expected = stylegan.init_latents(studio.generator, name, 4)
        for key, x in result.latents.tensors().items():
            torch.testing.assert_close(x, expected.retract().tensors()[key])
        assert result.plan.init == init
        assert result.steps == [0] * 4
        assert result.status == ["done"] * 4


def test_an_init_that_is_asked_for_comes_before_an_encoder(both):
    plan = both.plan("f/w+", init="mean", identity="off")
    assert (plan.init, plan.encoder, plan.init_note) == ("mean", None, "")
    assert plan.recipe == recipes.get("f/w+").until_done().for_networks(
        {"perceptual": both.perceptual}
    )


def test_an_encoder_that_is_asked_for_must_be_there(load, targets):
    studio = load()
    with pytest.raises(
        ValueError, match="no feature encoder .looked for .*train feature --generator"
    ):
        studio.invert(targets, recipe="f/z+", steps=0, init="encoder")
    with pytest.raises(ValueError, match="no in-domain encoder .*train in-domain"):
        studio.invert(targets, recipe="in-domain", steps=0)
    with pytest.raises(ValueError, match="no in-domain encoder"):
        studio.invert(targets, recipe="in-domain", steps=1, init="mean")
    for name in ("z", "z+", "w"):
        with pytest.raises(ValueError, match=f'no encoder predicts a code in "{name[0]}.*in f/'):
            studio.invert(targets, recipe=name, steps=0, init="encoder")


def test_the_recipe_takes_the_layer_and_rgb_skip_of_the_encoder(load, runs, targets):
    studio = load(runs / "keep")
    result = studio.invert(targets, recipe="f/w+", steps=1)
    assert result.latents.layer == result.plan.recipe.layer == "b8.conv1"
    assert result.latents.rgb is not None
    assert load(runs / "base").invert(targets, recipe="f/w+", steps=1).latents.rgb is None
    assert studio.plan("f/w+", layer="b8.conv1").init == "encoder"
    with pytest.raises(ValueError, match=r"feature of b8\.conv1, and b16\.conv0 is asked for"):
        studio.plan("f/w+", layer="b16.conv0", init="encoder")
    plan = studio.plan("f/w+", steps=0, layer="b16.conv0")
    assert plan.init == "mean"
    assert "b16.conv0 is asked for" in plan.describe()
    assert "feature: the output of b16.conv0" in plan.describe()
    assert studio.invert(targets, plan).latents.layer == "b16.conv0"


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
    plan = studio.plan("f/w+")
    assert plan.init == "mean"
    assert "its base encoder cannot be used" in plan.init_note
    assert "base.safetensors" in plan.init_note
    with pytest.raises(ValueError, match=r"base\.safetensors"):
        studio.invert(targets, recipe="f/w+", init="encoder")


def test_the_domain_term_asks_the_encoder_wherever_it_starts(both, targets):
    network = both.encoders.get("in-domain").network
    for init in (None, "mean"):
        result = both.invert(targets, recipe="in-domain", steps=1, init=init)
        begin = both.invert(targets, recipe="in-domain", steps=0, init=init).latents
        drawn = begin.synthesize(both.generator)
        # The recipe's weight. The codes differ by 1e-4, which float32 knows to a percent.
        expected = 0.2 * (begin.code - network(drawn)).square().mean((1, 2))
        history = result.history["code/domain_reg"][0]
        torch.testing.assert_close(history, expected, rtol=0.03, atol=0)
        assert result.plan.encoder.fingerprint == both.encoders.get("in-domain").fingerprint
        assert result.plan.init == (init or "encoder")


@pytest.mark.parametrize(
    "kind",
    [{"img_channels": 1}, {"c_dim": 3}, {"architecture": "stylegan1"}]
    + [{"architecture": "stylegan1", "w_per_layer": True}, {"architecture": "stylegan3"}],
    ids=str,
)
def test_every_kind_of_generator(make_generator, make_encoder, squares, tmp_path, kind):
    generator = make_generator(32, 4, 8, **kind)
    for name in ("base", "feature", "in-domain"):
        encoders.save(make_encoder(name, generator), tmp_path / f"{name}.safetensors")
    studio = facsimile.Studio(generator, encoders=EncoderSet(generator, tmp_path))
    label = 1 if generator.c_dim else None
    for name in ("f/z+", "f/s", "w+", "in-domain"):
        result = studio.invert(
            squares / "0.png", recipe=name, steps=1, label=label, init="encoder", align=False
        )
        assert result.plan.init == "encoder"
        assert result.status == ["done"]
        target = result.targets
        network = studio.encoders.get(result.plan.encoder.kind).network
        space = "w+" if name == "in-domain" else name
        c = None if label is None else torch.eye(3)[[label]]
        guess = encoders.encode(network, generator, target, space, label=c)
        pixel = (guess.retract().synthesize(generator) - target).square().mean((1, 2, 3))
        torch.testing.assert_close(result.history["code/pixel"][0], pixel)


@pytest.mark.parametrize(
    "name",
    ["f/z+", *(pytest.param(x, marks=pytest.mark.exhaustive) for x in ("w+ +noise", "in-domain"))],
)
def test_a_batch_is_its_single_runs(both, targets, name):
    batched, single = (both.invert(targets, recipe=name, steps=5, batch=n) for n in (4, 1))
    torch.testing.assert_close(batched.images, single.images, atol=1e-4, rtol=0)


def test_another_encoder_is_another_job(load, runs, squares, tmp_path, make_encoder):
    """What one encoder began or finished is not taken for another's work."""
    photos, out = sorted(squares.iterdir()), tmp_path / "out"
    one = load(runs / "base")
    torch.manual_seed(9)
    encoders.save(make_encoder("base", one.generator), tmp_path / "two.safetensors")
    two = load(tmp_path / "two.safetensors")

    def run(studio, out, **options):
        plan = studio.plan("f/z+", steps=0, align=False, **options)
        job = Job(studio.inverter(plan), studio.target_reader, photos, out, 2)
        job.run(quiet=True)
        return job

    assert len(run(one, out).done) == 3
    assert run(one, out).skipped == ["0", "1", "2"]
    assert len(run(two, out).done) == 3
    assert len(run(two, out, init="random").done) == 3
    run(two, tmp_path / "fresh")
    for name in ("0", "1", "2"):
        folders = (out / f"{name}-2", tmp_path / "fresh" / name)
        codes = [Latents.load(folder / "latents.safetensors") for folder in folders]
        assert all(torch.equal(codes[0].tensors()[k], x) for k, x in codes[1].tensors().items())


def test_a_recipe_by_name_is_the_recipe(network, targets):
    """Nothing is adjusted for names only, whatever the perceptual metric is."""
    for perceptual in ("none", "discriminator"):
        studio = facsimile.load(network, perceptual=perceptual, device="cpu")
        for name in ("w+", "f/w+ +noise"):
            plans = [studio.plan(recipe, steps=2) for recipe in (name, recipes.get(name))]
            assert plans[0] == plans[1]
            assert plans[0].digest == plans[1].digest
            history = studio.invert(targets, plans[1]).history
            assert ("code/perceptual" in history) == (perceptual != "none")


def test_a_plan_by_default_ends_when_a_photo_is_done(both):
    """The recipe's steps are a cap; a number of steps is that number."""
    (phase,) = both.plan("f/z+").recipe.phases
    assert (phase.steps, phase.patience is None) == (1200, False)
    for options in ({"steps": 300}, {"recipe": recipes.get("f/z+")}):
        plan = both.plan(**options)
        assert plan.recipe.phases[0].patience is None
        assert plan.recipe.phases[0].variables == recipes.get("f/z+").phases[0].variables
        assert plan.typical_steps == plan.steps == options.get("steps", 1200)
    assert both.plan("f/z+").typical_steps < 1200
    assert "until a photo is done, at most 1200 steps" in both.plan("f/z+").describe()


def test_an_exact_plan_ends_at_40_db(both):
    plan = both.plan("f/z+", exact=True)
    assert plan.recipe.name == "f/z+ +noise +identity"
    code, noise = plan.recipe.phases
    assert (code.goal, noise.goal) == (None, pytest.approx(4e-4))
    assert code == both.plan("f/z+").recipe.phases[0]
    assert "then noise to 40 dB, at most 720 steps" in plan.describe()
    with pytest.raises(ValueError, match="exact needs the pixel term alone"):
        both.plan("f/z+ +joint-noise", exact=True)


def test_how_many_phases_of_a_plan_another_has_behind_it(both):
    """From its start, or up to the end of a phase; nothing else leads to the same result."""
    exact, default = both.plan("f/z+", exact=True), both.plan("f/z+")
    for plan, other, expected in (
        (default, both.plan("f/z+", steps=0), 0),
        (exact, both.plan("f/z+", steps=0), 0),
        (exact, default, 1),
        (default, exact, None),
        (default, default, None),
        (default, both.plan("f/z+", steps=100), None),
        (default, both.plan("f/z+", steps=0, seed=1), None),
        (default, both.plan("f/w+", steps=0), None),
        (default, both.plan("f/z+", steps=0, init="random"), None),
        (exact, both.plan("f/z+", identity="off"), None),
        (default, both.plan("f/z+", steps=0, align=False), None),
    ):
        assert plan.phases_done(other.to_dict()) == expected
    assert default.phases_done({}) is None


def test_the_digest_follows_whatever_decides_the_result(both, load, runs):
    plan = both.plan("f/z+")
    assert plan == both.plan("f/z+")
    changes = (
        {"recipe": "f/w+"},
        *({"steps": 3}, {"lr": 2.0}, {"patience": 5}, {"init": "random"}, {"seed": 1}),
        *({"align": False}, {"face": "all"}, {"identity": "off"}),
    )
    digests = {both.plan(**{"recipe": "f/z+"} | change).digest for change in changes}
    digests |= {plan.digest, load(runs / "keep").plan("f/z+").digest}
    assert len(digests) == len(changes) + 2
    # Without an encoder the code is random, as when it is asked for.
    assert load().plan("f/z+").digest == both.plan("f/z+", init="random").digest
    other_note = replace(plan, perceptual_note="another sentence")
    moved = replace(plan, encoder=replace(plan.encoder, path="elsewhere"))
    renamed = replace(plan, generator="a copy of it")
    for same in (other_note, moved, renamed):
        assert same.digest == plan.digest
        assert plan.gives_same_result(same.to_dict())
    assert not plan.gives_same_result(both.plan("f/w+").to_dict())
    assert not plan.gives_same_result({})


def test_a_plan_is_plain_data(both):
    """What scores.json holds: the whole recipe, with numbers for weights."""
    record = both.plan("f/z+ +noise", steps=10, label=None).to_dict()
    assert json.loads(json.dumps(record)) == record
    assert record["encoder"].keys() == {"kind", "fingerprint"}
    assert [phase["steps"] for phase in record["recipe"]["phases"]] == [10, 6]
    weights = [t["weight"] for phase in record["recipe"]["phases"] for t in phase["terms"]]
    assert all(isinstance(weight, int | float) for weight in weights)


def test_a_plan_in_words(both):
    words = both.plan("f/z+ +noise", steps=10).describe().splitlines()
    assert words[0] == (
        "recipe: f/z+ +noise +identity (code and feature for 10 steps, then noise for 6 steps)"
    )
    assert words[1].startswith("init: the base encoder ")
    assert words[-2] == both.perceptual.note
    assert words[-1].startswith("identity: dlib's face recognition network, as a term and a score")
    assert both.plan("w", steps=0).describe().startswith("recipe: w (no refinement)")


def test_a_plan_of_ones_own_recipe(both, targets):
    """The encoder of a domain term predicts codes in W+, also if the recipe names none."""
    terms = (Term("pixel", 1.0), Term("domain_reg", 2.0))
    phase = Phase(name="code", variables=(Variable("code", 0.01),), terms=terms, steps=1)
    plan = both.plan(Recipe(name="mine", space="w+", phases=(phase,)))
    assert (plan.init, plan.encoder.kind) == ("mean", "in-domain")
    assert both.invert(targets, plan).history["code/domain_reg"].min() > 0


def test_what_no_plan_is_made_of(both, targets, make_generator):
    for options, message in (
        ({"lr": 0}, "lr is 0; it must be above 0"),
        ({"steps": -1}, "steps is -1; it must be 0 or more"),
        ({"patience": 0}, "patience is 0; it must be 1 or more"),
        ({"layer": "b99.conv0"}, 'no layer "b99.conv0"; choose one of b4.conv1'),
        ({"label": 0}, "got the label 0; this generator takes none"),
    ):
        with pytest.raises(ValueError, match=message):
            both.plan(**options)
    plan = both.plan("w")
    with pytest.raises(ValueError, match="got a plan and seed, steps; pass these to Studio.plan"):
        both.invert(targets, plan, seed=1, steps=2)
    other = facsimile.Studio(make_generator(32, seed=5))
    with pytest.raises(ValueError, match="this plan was made for the generator"):
        other.invert(targets, plan)
    assert isinstance(plan, InversionPlan)


def test_a_plan_is_of_the_networks_that_it_was_made_with(both, network, targets):
    plan = both.plan("f/z+", steps=1)
    bare = facsimile.load(network, perceptual="none", encoders=both.encoders.get("base").path)
    with pytest.raises(ValueError, match=r"perceptual metric discriminator, and .* is none; make"):
        bare.invert(targets, plan)
    retrained = replace(plan, encoder=replace(plan.encoder, fingerprint="0" * 16))
    with pytest.raises(ValueError, match=r"made for the base encoder 0{16}, and this studio's"):
        both.invert(targets, retrained)


def test_terms_may_ask_for_further_networks(network, targets):
    """By name, from the studio; the plan holds which they were."""

    @terms.register(networks=("colours",))
    def colour(inputs, term):
        means = [inputs.network("colours")(x) for x in (inputs.image, inputs.target(term))]
        return (means[0] - means[1]).square().flatten(1).mean(1)

    try:
        terms_of_phase = (Term("pixel", 1.0), Term("colour", 2.0))
        phase = Phase(
            name="code", variables=(Variable("code", 0.01),), terms=terms_of_phase, steps=1
        )
        recipe = Recipe(name="colourful", space="w", phases=(phase,))
        studio = facsimile.load(network, perceptual="none", device="cpu")
        with pytest.raises(
            ValueError, match='"colour", which needs the network "colours"; pass St'
        ):
            studio.plan(recipe)
        pool = torch.nn.AdaptiveAvgPool2d(1)
        studio.networks["colours"] = pool
        plan = studio.plan(recipe)
        assert plan.networks.keys() == {"colours", "identity"}
        result = studio.invert(targets, plan)
        image = stylegan.init_latents(studio.generator, "w", 4).synthesize(studio.generator)
        expected = 2 * (pool(image) - pool(targets)).square().flatten(1).mean(1)
        torch.testing.assert_close(result.history["code/colour"][0], expected)
        studio.networks["colours"] = torch.nn.Conv2d(3, 3, 1)
        with pytest.raises(ValueError, match="this plan was made for the colours network"):
            studio.invert(targets, plan)
    finally:
        terms.TERMS.pop("colour")
