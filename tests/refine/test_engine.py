"""Oracles: own pictures as targets, the best of the history, steps by hand."""

import copy
import gc
from dataclasses import replace

import pytest
import torch
from refine_helpers import MASKED, NAMES, PLAIN, bits, go, one_phase, total

from facsimile import stylegan
from facsimile.refine import Schedule, Term, Variable, refine
from facsimile.refine.recipes import get
from facsimile.stylegan import Latents

NO_PERCEPTUAL = {"perceptual": None}
SPHERES = [name for name in NAMES if get(name).space.endswith(("z", "z+"))]


@pytest.mark.parametrize("name", SPHERES)
def test_codes_stay_on_the_sphere(tiny, tmp_path, name):
    strays = []

    def look(step):
        moving = step.state()["images"]["variables"]
        if "code" in moving:
            strays.append((moving["code"].norm(dim=-1) / 8**0.5 - 1).abs().max().item())

    recipe = get(name).with_steps(20)
    result = go(tiny, recipe, rows=[0, 1], callback=look)
    assert len(strays) == 21
    assert max(strays) < 1e-5
    path = tmp_path / "latents.safetensors"
    result.latents.to(dtype=torch.float32).save(path)
    again = Latents.load(path, tiny.generator)
    assert again.deviation(tiny.generator).max() < 1e-5
    torch.testing.assert_close(again.code.norm(dim=-1), torch.full(again.code.shape[:-1], 8**0.5))
    start = tiny.start(recipe.space)[:2]
    assert (result.latents.code - start.code).abs().max() > 0.02


@pytest.mark.parametrize("name", NAMES)
def test_its_own_picture_as_target(tiny, name):
    recipe = get(name).with_steps(5).with_weight("p_norm", 0).with_weight("domain_reg", 0)
    start = tiny.start(recipe.space)[:2]
    if "noise" in name:
        start = replace(start, noise=tiny.generator.noise_maps(2))
    target = start.retract().synthesize(tiny.generator)
    result = refine(tiny.generator, start, target, recipe, networks={"perceptual": tiny.perceptual})
    for phase in recipe.phases:
        assert total(result, phase.name)[0].tolist() == [0, 0]
    for key, x in result.latents.tensors().items():
        assert torch.equal(x, start.retract().tensors()[key])
    if "z" in recipe.space:
        return  # on the sphere the retraction's rounding moves the code by the last digit
    first = recipe.phases[0].name
    loss = total(result, first)
    assert loss[:-1].abs().max() == 0
    # The last evaluation is without gradients, where a few images take other routines of PyTorch
    # (stylegan.layers.linear): the same sums in another order. Its loss is that of this image.
    with torch.no_grad():
        image = start.retract().synthesize(tiny.generator)
    pixel = (image - target).square().flatten(1).mean(1)
    assert torch.equal(result.history[f"{first}/pixel"][-1], pixel.float())
    # A sum of at most 72 products (8 channels, 3x3) differs from itself in another order by 72 eps
    # of the sum of their magnitudes, which is below 100; here up to ten such sums are in a row.
    rounding = 10 * 72 * 100 * torch.finfo(torch.float64).eps
    assert (image - target).abs().max() < rounding
    # The perceptual term's features have length 1 at most and the weight 10.
    assert loss[-1].max() < 100 * rounding**2


@pytest.mark.parametrize("name", NAMES)
def test_loss_falls(tiny, name):
    recipe = get(name).with_steps(10)
    result = go(tiny, recipe, rows=[0, 4])
    for phase in recipe.phases:
        loss = total(result, phase.name)
        assert loss.shape == (phase.steps + 1, 2)
        assert (loss.min(0).values < 0.99 * loss[0]).all()
    assert result.status == ["done"] * 2
    assert result.steps == [recipe.steps] * 2


@pytest.mark.parametrize("name", ["w+", "z", "s", "p_n+", "f/w+"])
def test_the_result_is_the_best_of_the_history(tiny, name):
    recipe = get(name).with_steps(25)
    (phase,) = recipe.phases
    # So fast that the loss goes up as well.
    fast = tuple(replace(v, lr=40 * v.lr) for v in phase.variables)
    recipe = replace(recipe, phases=(replace(phase, variables=fast),))
    result = go(tiny, recipe)
    loss = total(result, "code")
    assert (loss[-1] > loss.min(0).values).any()
    assert (loss.diff(dim=0) > 0).any()
    again = go(tiny, recipe.with_steps(0), start=result.latents)
    found = again.history["code/pixel"][0] + again.history["code/perceptual"][0]
    at = loss.argmin(0)
    kept = sum(result.history[f"code/{t}"][at, range(8)] for t in ("pixel", "perceptual"))
    torch.testing.assert_close(found, kept)
    image = result.latents.synthesize(tiny.generator)
    pixel = (image - tiny.targets).square().mean((1, 2, 3))
    torch.testing.assert_close(pixel.float(), result.history["code/pixel"][at, range(8)])


def test_a_phase_goes_on_from_the_best_of_the_one_before(tiny):
    recipe = get("w+ +noise").with_steps(25)
    fast = replace(recipe.phases[0], variables=(Variable("code", 0.4),))
    result = go(tiny, replace(recipe, phases=(fast, recipe.phases[1])))
    at = total(result, "code").argmin(0)
    assert (at < 25).any()
    kept = result.history["code/pixel"][at, range(8)]
    torch.testing.assert_close(result.history["noise/pixel"][0], kept)


def test_the_last_step_counts(tiny):
    """What the last step made is looked at: a run of one step can be better than none."""
    result = go(tiny, one_phase(steps=1, lr=0.01))
    loss = total(result, "code")
    assert loss.shape == (2, 8)
    assert (loss[1] < loss[0]).all()
    image = result.latents.synthesize(tiny.generator)
    pixel = (image - tiny.targets).square().mean((1, 2, 3))
    torch.testing.assert_close(pixel.float(), loss[1])


def test_no_steps(tiny):
    result = go(tiny, get("w+").with_steps(0))
    assert bits(result, go(tiny, get("w+").with_steps(0)))
    assert torch.equal(result.latents.code, tiny.start("w+").code)
    assert (result.status, result.steps) == (["done"] * 8, [0] * 8)


def test_what_goes_in_is_not_changed(tiny, perceptual):
    recipe = get("f/z+ +joint-noise").with_steps(3)
    start = replace(tiny.start("f/z+"), noise=tiny.generator.noise_maps(8))
    before = {name: x.clone() for name, x in start.tensors().items()}
    weights = {name: x.clone() for name, x in tiny.generator.state_dict().items()}
    targets = tiny.targets.clone()
    result = go(tiny, recipe, start=start)
    assert all(torch.equal(x, before[name]) for name, x in start.tensors().items())
    assert all(torch.equal(x, weights[n]) for n, x in tiny.generator.state_dict().items())
    assert torch.equal(targets, tiny.targets)
    still = {name for name, x in result.latents.tensors().items() if torch.equal(x, before[name])}
    # What was drawn before the feature stays.
    assert still == {"noise.0"}
    assert not any(x.requires_grad for x in result.latents.tensors().values())


def test_without_gradients_around_it(tiny):
    """A caller's no_grad does not reach the loop."""
    with torch.no_grad():
        result = go(tiny, get("w").with_steps(3))
    assert bits(result, go(tiny, get("w").with_steps(3)))


def test_float32_on_the_default_generator(generator, perceptual, targets):
    recipe = get("f/z+ +noise").with_steps(5)
    start = stylegan.init_latents(generator, recipe.space, 4)
    result = refine(generator, start, targets, recipe, networks={"perceptual": perceptual})
    assert result.latents.code.dtype == torch.float32
    before = (start.synthesize(generator) - targets).square().mean()
    assert (result.latents.synthesize(generator) - targets).square().mean() < before
    assert len(result.latents.noise) == 7


def test_labels(make_generator, targets):
    generator = make_generator(c_dim=2)
    start = stylegan.init_latents(generator, "z+", 4, label=torch.eye(2)[[0, 1, 0, 1]])
    result = refine(generator, start, targets, one_phase("z+", steps=5))
    assert torch.equal(result.latents.label, start.label)
    loss = total(result, "code")
    assert (loss.min(0).values < loss[0]).all()


def test_what_a_callback_is_told(tiny):
    recipe = get("w+ +noise").with_steps(5).with_patience(2, min_rel_delta=0.2)
    told = []
    result = go(tiny, recipe, callback=told.append)
    assert recipe.steps == 8
    assert {step.total for step in told} == {8}
    done = [step.done for step in told if step.phase == "code"]
    assert done == [min(i + 1, 5) for i in range(len(done))]
    assert {step.phase for step in told} == {"code", "noise"}
    for phase in ("code", "noise"):
        for index, step in enumerate(step for step in told if step.phase == phase):
            for name, values in step.losses.items():
                assert values.shape == step.active.shape
                expected = result.history[f"{phase}/{name}"][index, step.active]
                torch.testing.assert_close(values.float(), expected)
    assert torch.equal(told[0].active, torch.arange(8))


def test_a_callback_can_end_the_run(tiny):
    class Enough(Exception):
        pass

    seen = []

    def stop(step):
        seen.append(step.done)
        if step.done == 3:
            raise Enough

    with pytest.raises(Enough):
        go(tiny, get("w+").with_steps(10), callback=stop)
    assert seen == [1, 2, 3]


def test_targets_that_do_not_fit(tiny):
    start = tiny.start("w+")
    sentence = r'the images "target" have the shape \(8, 3, 4, 8\); expected \(8, 3, 8, 8\)'
    with pytest.raises(ValueError, match=sentence):
        refine(tiny.generator, start, tiny.targets[:, :, :4], one_phase())
    with pytest.raises(
        ValueError, match="expected .2, 3, 8, 8., as this generator synthesizes 2 images"
    ):
        refine(tiny.generator, start[:2], tiny.targets, one_phase())


def test_names_that_are_not_there(tiny):
    with pytest.raises(ValueError, match='compares with the images "other".*pass targets'):
        go(tiny, one_phase(terms=(Term("pixel", 1.0, target="other"),)))
    with pytest.raises(ValueError, match='has the mask "here".*pass masks'):
        go(tiny, one_phase(terms=MASKED))
    with pytest.raises(ValueError, match='no term "pixels"; choose one of .*, pixel, noise_pixel'):
        go(tiny, one_phase(terms=(Term("pixels", 1.0),)))


def test_masks_that_do_not_fit(tiny):
    for shape in ((1, 1, 8, 8), (8, 8, 8), (8, 3, 8, 8), (8, 1, 4, 4)):
        with pytest.raises(
            ValueError, match=r'the mask "here" has the shape .*expected \(8, 1, 8, 8'
        ):
            go(tiny, one_phase(terms=MASKED), masks={"here": torch.ones(shape)})


def test_no_perceptual(tiny):
    sentence = 'the term "perceptual", which needs the network "perceptual"; pass networks={"perc'
    with pytest.raises(ValueError, match=sentence):
        go(tiny, one_phase(terms=PLAIN), networks=NO_PERCEPTUAL)
    recipe = get("w+").with_steps(2)
    without = go(tiny, recipe, networks=NO_PERCEPTUAL)
    assert set(without.history) == {"code/pixel"}
    zero = go(
        tiny,
        one_phase(steps=2, terms=(PLAIN[0], Term("perceptual", 0.0))),
        networks=NO_PERCEPTUAL,
    )
    assert set(zero.history) == {"code/pixel"}


def test_the_domain_term_wants_an_encoder(tiny):
    recipe = get("in-domain").with_steps(2)
    with pytest.raises(
        ValueError,
        match='"in-domain" has the term "domain_reg", .* network "encoder"; pass .*weight 0',
    ):
        go(tiny, recipe, networks={"encoder": None})
    assert (
        go(tiny, recipe.with_weight("domain_reg", 0), networks={"encoder": None}).steps == [2] * 8
    )
    with pytest.raises(ValueError, match="in training mode.*call its eval"):
        go(tiny, recipe, networks={"encoder": copy.deepcopy(tiny.encoder).train()})
    with pytest.raises(ValueError, match='codes in W\\+, and the space of "test" is "s"'):
        go(tiny, one_phase("s", terms=(Term("domain_reg", 1.0),)))


def test_another_generators_latents(tiny, generator):
    with pytest.raises(ValueError, match="belong to the generator"):
        refine(tiny.generator, stylegan.init_latents(generator, "w+", 8), tiny.targets, one_phase())


def test_runs_leave_no_tensors_behind(tiny):
    recipe = get("f/z+ +noise").with_steps(2).with_patience(1, min_rel_delta=0.5)
    start = tiny.start(recipe.space)

    def count():
        gc.collect()
        return sum(issubclass(type(x), torch.Tensor) for x in gc.get_objects())

    def run():
        go(tiny, recipe, rows=[0, 1], start=start, callback=lambda step: step.state())

    for _ in range(2):
        run()
    before = count()
    for _ in range(20):
        run()
    assert count() <= before


def test_schedule_reaches_the_optimiser(tiny):
    """Gradient descent with a rise and a fall, two steps by hand."""
    schedule = Schedule(rampup=1.0, rampdown=1.0)
    recipe = one_phase(steps=2, lr=0.3, optimiser="gradient-descent", schedule=schedule)
    code = tiny.start("w+").code
    for step in range(2):
        code = code.detach().requires_grad_()
        image = tiny.generator.synthesize(code)
        loss = (image - tiny.targets).square().mean((1, 2, 3)).sum()
        (gradient,) = torch.autograd.grad(loss, code)
        code = code - 0.3 * schedule.factor(step, 2) * gradient
    assert schedule.factor(0, 2) == 0.5
    result = go(tiny, recipe)
    assert (total(result, "code").argmin(0) == 2).all()
    torch.testing.assert_close(result.latents.code, code.detach(), atol=1e-12, rtol=0)
