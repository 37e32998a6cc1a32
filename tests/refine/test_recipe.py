"""Oracles: known values of the schedule, and names that build what they say."""

import math
from dataclasses import FrozenInstanceError, replace
from types import SimpleNamespace

import pytest

from facsimile.refine import Phase, Schedule, Term, Variable
from facsimile.refine.recipes import RECIPES, SUFFIXES, get, register, register_suffix

# Schedule -----------------------------------------------------------------------------------------


def test_no_schedule():
    assert [Schedule().factor(step, 7) for step in range(7)] == [1.0] * 7


def test_rampup():
    schedule = Schedule(rampup=0.05)
    factors = [schedule.factor(step, 100) for step in range(100)]
    assert factors[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert factors[5:] == [1.0] * 95


def test_rampdown():
    schedule = Schedule(rampdown=0.25)
    factors = [schedule.factor(step, 100) for step in range(100)]
    assert factors[:76] == pytest.approx([1.0] * 76)
    # Half way down the cosine, three quarters of it, and the last step.
    assert Schedule(rampdown=0.5).factor(75, 100) == pytest.approx(0.5)
    assert Schedule(rampdown=0.6).factor(60, 100) == pytest.approx(0.75)
    assert factors[99] == pytest.approx(0.5 - 0.5 * math.cos(math.pi / 25))
    assert all(a > b for a, b in zip(factors[75:], factors[76:], strict=False))
    assert schedule.factor(100, 100) == 0


def test_rampup_and_rampdown():
    schedule = Schedule(rampup=0.1, rampdown=0.25)
    assert schedule.factor(0, 10) == 1.0  # a tenth of ten steps
    assert schedule.factor(4, 100) == pytest.approx(0.5)
    assert schedule.factor(50, 100) == 1.0
    assert 0 < schedule.factor(99, 100) < 0.01


def test_one_step():
    assert Schedule(rampup=0.05, rampdown=0.25).factor(0, 1) == 1.0


# Recipes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RECIPES)
def test_code_recipes(name):
    recipe = get(name)
    assert recipe is RECIPES[name]
    assert recipe.name == name
    (phase,) = recipe.phases
    assert phase.steps == {"image2stylegan": 5000, "in-domain": 100}.get(name, 1200)
    weights = {term.name: term.weight_for("lpips-vgg") for term in phase.terms}
    expected = {"pixel": 1.0, "perceptual": 10.0}
    space = name.replace("p_n", "w").replace("image2stylegan", "w+")
    paper = name == "image2stylegan"
    assert phase.betas == ((0.9, 0.999) if paper else (0.9, 0.8))
    if "p_n" in name:
        expected["p_norm"] = 0.01
    if name == "in-domain":
        expected["domain_reg"], space = 0.2, "w+"
    assert recipe.space == space
    assert weights == expected
    moving = {v.name for v in phase.variables}
    assert moving == ({"code", "feature"} if name.startswith("f/") else {"code"})


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("name", RECIPES)
def test_suffixes(name, suffix):
    recipe = get(f"{name} {suffix}")
    assert get(f"{name}{suffix}") == recipe
    assert recipe.name == f"{name} {suffix}"
    assert recipe.space == RECIPES[name].space
    first = RECIPES[name].phases[0]
    if suffix == "+identity":
        (phase,) = recipe.phases
        term = Term("identity", {"none": 0.3, "other": 6.0})
        assert phase == replace(first, terms=(*first.terms, term))
    elif suffix == "+redrawn-noise":
        assert recipe.phases == (replace(first, redraw_noise=True),)
    elif suffix == "+joint-noise":
        (phase,) = recipe.phases
        assert {v.name for v in phase.variables} == {v.name for v in first.variables} | {"noise"}
        assert phase.terms == first.terms
    else:
        code, noise = recipe.phases
        assert code == first
        assert [v.name for v in noise.variables] == ["noise"]
        paper = suffix == "+paper-noise"
        assert noise.variables[0].lr == (5.0 if paper else 0.01)
        assert [t.name for t in noise.terms] == ["noise_pixel" if paper else "pixel"]
        assert noise.steps == (3000 if name == "image2stylegan" else 720)  # Image2StyleGAN++


IN_W = ("w+", "p_n+", "s", "in-domain")


@pytest.mark.parametrize("name", RECIPES)
def test_from_an_encoder(name):
    """Features are held to the guess, in every phase in which they move; nothing else changes."""
    for suffix in ("", *SUFFIXES):
        recipe = get(name + suffix)
        seeded = recipe.from_encoder()
        assert seeded.init == "encoder"
        assert seeded.from_encoder() == seeded
        for before, after in zip(recipe.phases, seeded.phases, strict=True):
            held = any(v.name == "feature" for v in before.variables)
            anchor = (Term("feature_reg", 1.0),) if held else ()
            assert after == replace(before, terms=before.terms + anchor)
    kind = "feature" if name.startswith("f/") else "in-domain" if name in IN_W else None
    assert recipe.encoder == kind
    assert (recipe.init == "encoder") == (name == "in-domain")


def two_phases():
    """The code by its early style inputs, then by all."""
    (phase,) = get("w+").phases
    early = replace(phase, name="early", variables=(Variable("code", 0.1, inputs=(0, 1)),))
    return replace(get("w+"), name="two", phases=(early, phase))


def test_suffixes_of_a_recipe_of_two_phases():
    recipe = two_phases()
    after = SUFFIXES["+noise"](recipe)
    assert after.phases[:2] == recipe.phases
    assert [phase.name for phase in after.phases] == ["early", "code", "noise"]
    assert after.phases[2] == get("w+ +noise").phases[1]
    joint = SUFFIXES["+joint-noise"](recipe)
    assert [phase.has_variable("noise") for phase in joint.phases] == [True, True]
    assert joint.phases[1] == get("w+ +joint-noise").phases[0]
    assert SUFFIXES["+joint-noise"](after).phases[2] == after.phases[2]


def test_several_suffixes():
    recipe = get("f/z+ +identity +noise")
    assert recipe == get("f/z++identity+noise")
    assert recipe.name == "f/z+ +identity +noise"
    assert [phase.name for phase in recipe.phases] == ["code", "noise"]
    assert recipe.phases[0] == get("f/z+ +identity").phases[0]
    assert recipe.phases[1] == get("f/z+ +noise").phases[1]
    # Noise maps alone draw no face: the term is not in their phase, whatever the order.
    assert get("f/z+ +noise +identity").phases == recipe.phases
    assert SUFFIXES["+identity"](recipe) == recipe
    joint = get("w+ +identity +joint-noise")
    assert [term.name for term in joint.phases[0].terms] == ["pixel", "perceptual", "identity"]
    for twice in ("w+ +noise +noise", "w+ +identity +identity"):
        with pytest.raises(ValueError, match="there is no recipe"):
            get(twice)


def test_phases_have_names_of_their_own():
    (phase,) = get("w+").phases
    with pytest.raises(ValueError, match="phases named code, code.*give each a name of its own"):
        replace(get("w+"), phases=(phase, phase))
    with pytest.raises(ValueError, match="phases named code, noise, noise"):
        SUFFIXES["+noise"](get("w+ +noise"))


def test_names_are_taken_once():
    register(get("w+"))
    with pytest.raises(ValueError, match='a second recipe "w\\+", which differs'):
        register(get("w+").with_steps(3))
    with pytest.raises(ValueError, match='a second suffix "\\+noise"'):
        register_suffix("+noise", lambda recipe: recipe)
    assert get("w+").steps == 1200


@pytest.mark.parametrize(
    ("network", "weight"),
    [("lpips-vgg", 10), ("discriminator", 10), ("vgg16", 1), ("vgg16++", 1), (None, None)],
)
def test_the_perceptual_weight_follows_the_network(network, weight):
    """LPIPS by 10, Image2StyleGAN's VGG16 by 1, nothing without a network."""
    networks = {} if network is None else {"perceptual": SimpleNamespace(name=network)}
    recipe = get("f/w+ +noise").for_networks(networks)
    expected = {"pixel": 1.0} | ({} if weight is None else {"perceptual": weight})
    assert {term.name: term.weight for term in recipe.phases[0].terms} == expected
    assert recipe.phases[1] == get("f/w+ +noise").phases[1]
    assert recipe.for_networks({}) == recipe
    assert recipe.has_term("perceptual") == (weight is not None)


def test_a_weight_that_is_missing():
    term = Term("perceptual", {"vgg16": 1.0})
    assert term.weight_for("vgg16") == 1
    with pytest.raises(ValueError, match='no weight for .* "none", only for vgg16; add one'):
        term.weight_for("none")


def test_w_with_noise_is_not_w_plus():
    assert get("w+noise").space == "w"
    assert get("w++noise").space == "w+"


@pytest.mark.parametrize("name", ["", "q", "w+ +noises", "+noise", "w + noise + noise", "F/Z+"])
def test_unknown_recipes(name):
    with pytest.raises(
        ValueError, match="there is no recipe .*choose one of .*, z, z\\+, .* \\+noise"
    ):
        get(name)


def test_with_steps():
    recipe = get("w+ +noise")
    assert [p.steps for p in recipe.phases] == [1200, 720]
    assert [p.steps for p in recipe.with_steps(50).phases] == [50, 30]
    assert recipe.with_steps(50).steps == 80
    assert recipe.with_steps(1200) == recipe
    assert recipe.with_steps(0).steps == 0
    with pytest.raises(ValueError, match='phase "code" has -1 steps; expected 0 or more'):
        recipe.with_steps(-1)


def test_with_weight():
    recipe = get("f/w+ +noise")
    heavy = recipe.with_weight("pixel", 7.0)
    assert [t.weight for p in heavy.phases for t in p.terms if t.name == "pixel"] == [7.0, 7.0]
    assert [t for t in heavy.phases[0].terms if t.name != "pixel"] == list(
        recipe.phases[0].terms[1:]
    )
    light = recipe.with_weight("perceptual", 0)
    assert [t.name for t in light.phases[0].terms] == ["pixel"]
    assert light.phases[1] == recipe.phases[1]
    assert recipe.with_weight("p_norm", 3.0) == recipe


def test_a_phase_wants_something_to_minimise():
    sentence = 'phase "noise" has no term .*weight'
    with pytest.raises(ValueError, match=sentence):
        get("w+ +noise").with_weight("pixel", 0)
    with pytest.raises(ValueError, match=sentence):
        Phase(name="noise", variables=(Variable("noise", 1.0),), terms=(), steps=1)
    zero = (Term("pixel", 0.0),)
    with pytest.raises(ValueError, match=sentence):
        Phase(name="noise", variables=(Variable("noise", 1.0),), terms=zero, steps=1)


def test_with_patience():
    recipe = get("w+ +noise").with_patience(9, min_rel_delta=0.5)
    assert [(p.patience, p.min_rel_delta) for p in recipe.phases] == [(9, 0.5)] * 2
    assert recipe.with_patience(None).phases[0].patience is None


def test_recipes_do_not_change():
    recipe = get("w+")
    with pytest.raises(FrozenInstanceError):
        recipe.name = "other"
    assert recipe == replace(recipe)
    assert repr(recipe.with_steps(3)) != repr(recipe)
