"""Oracles: own pictures as targets, the best of the history, steps by hand."""

import copy
import gc
from dataclasses import replace

import pytest
import torch
from runs_of_little import MASKED, NAMES, PLAIN, bits, go, one_phase, total

from facsimile import stylegan
from facsimile.refine import Schedule, Term, Variable, refine
from facsimile.refine.recipes import get
from facsimile.stylegan import Latents

SPHERES = [name for name in NAMES if get(name).space.endswith(("z", "z+"))]


@pytest.mark.parametrize("name", SPHERES)
def test_codes_stay_on_the_sphere(little, tmp_path, name):
    strays = []

    def look(step):
        moving = step.state()["moving"]["variables"]
        if "code" in moving:
            strays.append((moving["code"].norm(dim=-1) / 8**0.5 - 1).abs().max().item())

    recipe = get(name).with_steps(20)
    result = go(little, recipe, rows=[0, 1], callback=look)
    assert len(strays) == 21
    assert max(strays) < 1e-5
    path = tmp_path / "latents.safetensors"
    result.latents.to(dtype=torch.float32).save(path)
    again = Latents.load(path, little.generator)
    assert again.deviation(little.generator).max() < 1e-5
    torch.testing.assert_close(again.code.norm(dim=-1), torch.full(again.code.shape[:-1], 8**0.5))
    start = little.start(recipe.space)[:2]
    assert (result.latents.code - start.code).abs().max() > 0.02


@pytest.mark.parametrize("name", NAMES)
def test_its_own_picture_as_target(little, name):
    recipe = get(name).with_steps(5).with_weight("p_n", 0).with_weight("domain", 0)
    start = little.start(recipe.space)[:2]
    if "noise" in name:
        start = replace(start, noise=little.generator.noise_maps(2))
    target = start.retract().draw(little.generator)
    result = refine(little.generator, start, target, recipe, perceptual=little.perceptual)
    for phase in recipe.phases:
        assert total(result, phase.name)[0].tolist() == [0, 0]
    for key, x in result.latents.tensors().items():
        assert torch.equal(x, start.retract().tensors()[key])
    if "z" not in recipe.space:
        # On the sphere the retraction's rounding moves the code by the last digit.
        assert total(result, recipe.phases[0].name).abs().max() == 0


@pytest.mark.parametrize("name", NAMES)
def test_loss_falls(little, name):
    recipe = get(name).with_steps(10)
    result = go(little, recipe, rows=[0, 4])
    for phase in recipe.phases:
        loss = total(result, phase.name)
        assert loss.shape == (phase.steps + 1, 2)
        assert (loss.min(0).values < 0.99 * loss[0]).all()
    assert result.status == ["done"] * 2
    assert result.steps == [recipe.steps] * 2


@pytest.mark.parametrize("name", ["w+", "z", "s", "p_n+", "f/w+"])
def test_the_result_is_the_best_of_the_history(little, name):
    recipe = get(name).with_steps(25)
    (phase,) = recipe.phases
    # So fast that the loss goes up as well.
    fast = tuple(replace(v, lr=40 * v.lr) for v in phase.variables)
    recipe = replace(recipe, phases=(replace(phase, variables=fast),))
    result = go(little, recipe)
    loss = total(result, "code")
    assert (loss[-1] > loss.min(0).values).any()
    assert (loss.diff(dim=0) > 0).any()
    again = go(little, recipe.with_steps(0), start=result.latents)
    found = again.history["code/pixel"][0] + again.history["code/perceptual"][0]
    at = loss.argmin(0)
    kept = sum(result.history[f"code/{t}"][at, range(8)] for t in ("pixel", "perceptual"))
    torch.testing.assert_close(found, kept)
    image = result.latents.draw(little.generator)
    pixel = (image - little.targets).square().mean((1, 2, 3))
    torch.testing.assert_close(pixel.float(), result.history["code/pixel"][at, range(8)])


def test_a_phase_goes_on_from_the_best_of_the_one_before(little):
    recipe = get("w+ +noise").with_steps(25)
    fast = replace(recipe.phases[0], variables=(Variable("code", 0.4),))
    result = go(little, replace(recipe, phases=(fast, recipe.phases[1])))
    at = total(result, "code").argmin(0)
    assert (at < 25).any()
    kept = result.history["code/pixel"][at, range(8)]
    torch.testing.assert_close(result.history["noise/pixel"][0], kept)


def test_the_last_step_counts(little):
    """What the last step made is looked at: a run of one step can be better than none."""
    result = go(little, one_phase(steps=1, lr=0.01))
    loss = total(result, "code")
    assert loss.shape == (2, 8)
    assert (loss[1] < loss[0]).all()
    image = result.latents.draw(little.generator)
    pixel = (image - little.targets).square().mean((1, 2, 3))
    torch.testing.assert_close(pixel.float(), loss[1])


def test_no_steps(little):
    result = go(little, get("w+").with_steps(0))
    assert bits(result, go(little, get("w+").with_steps(0)))
    assert torch.equal(result.latents.code, little.start("w+").code)
    assert (result.status, result.steps) == (["done"] * 8, [0] * 8)


def test_what_goes_in_is_not_changed(little, perceptual):
    recipe = get("f/z+ +joint-noise").with_steps(3)
    start = replace(little.start("f/z+"), noise=little.generator.noise_maps(8))
    before = {name: x.clone() for name, x in start.tensors().items()}
    weights = {name: x.clone() for name, x in little.generator.state_dict().items()}
    targets = little.targets.clone()
    result = go(little, recipe, start=start)
    assert all(torch.equal(x, before[name]) for name, x in start.tensors().items())
    assert all(torch.equal(x, weights[n]) for n, x in little.generator.state_dict().items())
    assert torch.equal(targets, little.targets)
    still = {name for name, x in result.latents.tensors().items() if torch.equal(x, before[name])}
    # What was drawn before the feature stays.
    assert still == {"noise.0"}
    assert not any(x.requires_grad for x in result.latents.tensors().values())


def test_without_gradients_around_it(little):
    """A caller's no_grad does not reach the loop."""
    with torch.no_grad():
        result = go(little, get("w").with_steps(3))
    assert bits(result, go(little, get("w").with_steps(3)))


def test_float32_on_the_default_generator(generator, perceptual, targets):
    recipe = get("f/z+ +noise").with_steps(5)
    start = stylegan.init_latents(generator, recipe.space, 4)
    result = refine(generator, start, targets, recipe, perceptual=perceptual)
    assert result.latents.code.dtype == torch.float32
    before = (start.draw(generator) - targets).square().mean()
    assert (result.latents.draw(generator) - targets).square().mean() < before
    assert len(result.latents.noise) == 7


def test_labels(make_generator, targets):
    generator = make_generator(c_dim=2)
    start = stylegan.init_latents(generator, "z+", 4, label=torch.eye(2)[[0, 1, 0, 1]])
    result = refine(generator, start, targets, one_phase("z+", steps=5))
    assert torch.equal(result.latents.label, start.label)
    loss = total(result, "code")
    assert (loss.min(0).values < loss[0]).all()


def test_what_a_callback_is_told(little):
    recipe = get("w+ +noise").with_steps(5).with_patience(2, gain=0.2)
    told = []
    result = go(little, recipe, callback=told.append)
    assert recipe.steps == 8
    assert {step.total for step in told} == {8}
    done = [step.done for step in told if step.phase == "code"]
    assert done == [min(i + 1, 5) for i in range(len(done))]
    assert {step.phase for step in told} == {"code", "noise"}
    for phase in ("code", "noise"):
        for index, step in enumerate(step for step in told if step.phase == phase):
            for name, values in step.losses.items():
                assert values.shape == step.rows.shape
                expected = result.history[f"{phase}/{name}"][index, step.rows]
                torch.testing.assert_close(values.float(), expected)
    assert torch.equal(told[0].rows, torch.arange(8))


def test_a_callback_can_end_the_run(little):
    class Enough(Exception):
        pass

    seen = []

    def stop(step):
        seen.append(step.done)
        if step.done == 3:
            raise Enough

    with pytest.raises(Enough):
        go(little, get("w+").with_steps(10), callback=stop)
    assert seen == [1, 2, 3]


def test_targets_that_do_not_fit(little):
    start = little.start("w+")
    sentence = r'the images "target" have the shape \(8, 3, 4, 8\); expected \(8, 3, 8, 8\)'
    with pytest.raises(ValueError, match=sentence):
        refine(little.generator, start, little.targets[:, :, :4], one_phase())
    with pytest.raises(ValueError, match="expected .2, 3, 8, 8., as this generator draws 2 images"):
        refine(little.generator, start[:2], little.targets, one_phase())


def test_names_that_are_not_there(little):
    with pytest.raises(ValueError, match='no images "other".*pass targets'):
        go(little, one_phase(terms=(Term("pixel", 1.0, target="other"),)))
    with pytest.raises(ValueError, match='no mask "here".*pass masks'):
        go(little, one_phase(terms=MASKED))
    with pytest.raises(ValueError, match='no term "pixels"; choose one of pixel, noise_pixel'):
        go(little, one_phase(terms=(Term("pixels", 1.0),)))


def test_masks_that_do_not_fit(little):
    for shape in ((1, 1, 8, 8), (8, 8, 8), (8, 3, 8, 8), (8, 1, 4, 4)):
        with pytest.raises(
            ValueError, match=r'the mask "here" has the shape .*expected \(8, 1, 8, 8'
        ):
            go(little, one_phase(terms=MASKED), masks={"here": torch.ones(shape)})


def test_no_perceptual(little):
    with pytest.raises(ValueError, match="has a perceptual term; pass perceptual=..., or weight 0"):
        go(little, get("w+"), perceptual=None)
    recipe = get("w+").with_steps(2)
    without = go(little, recipe.with_weight("perceptual", 0), perceptual=None)
    assert set(without.history) == {"code/pixel"}
    zero = go(
        little, one_phase(steps=2, terms=(PLAIN[0], Term("perceptual", 0.0))), perceptual=None
    )
    assert set(zero.history) == {"code/pixel"}


def test_the_domain_term_wants_an_encoder(little):
    recipe = get("in-domain").with_steps(2)
    with pytest.raises(ValueError, match='"in-domain" has a domain term; pass encoder=.*weight 0'):
        go(little, recipe, encoder=None)
    assert go(little, recipe.with_weight("domain", 0), encoder=None).steps == [2] * 8
    with pytest.raises(ValueError, match="in training mode.*call its eval"):
        go(little, recipe, encoder=copy.deepcopy(little.encoder).train())
    with pytest.raises(ValueError, match='codes in W\\+, and the space of "test" is "s"'):
        go(little, one_phase("s", terms=(Term("domain", 1.0),)))


def test_another_generators_latents(little, generator):
    with pytest.raises(ValueError, match="belong to the generator"):
        refine(
            little.generator, stylegan.init_latents(generator, "w+", 8), little.targets, one_phase()
        )


def test_runs_leave_no_tensors_behind(little):
    recipe = get("f/z+ +noise").with_steps(2).with_patience(1, gain=0.5)
    start = little.start(recipe.space)

    def count():
        gc.collect()
        return sum(issubclass(type(x), torch.Tensor) for x in gc.get_objects())

    def run():
        go(little, recipe, rows=[0, 1], start=start, callback=lambda step: step.state())

    for _ in range(2):
        run()
    before = count()
    for _ in range(20):
        run()
    assert count() <= before


def test_schedule_reaches_the_optimiser(little):
    """Gradient descent with a rise and a fall, two steps by hand."""
    schedule = Schedule(rise=1.0, fall=1.0)
    recipe = one_phase(steps=2, lr=0.3, optimiser="gradient-descent", schedule=schedule)
    code = little.start("w+").code
    for step in range(2):
        code = code.detach().requires_grad_()
        image = little.generator.synthesize(code)
        loss = (image - little.targets).square().mean((1, 2, 3)).sum()
        (gradient,) = torch.autograd.grad(loss, code)
        code = code - 0.3 * schedule.factor(step, 2) * gradient
    assert schedule.factor(0, 2) == 0.5
    result = go(little, recipe)
    assert (total(result, "code").argmin(0) == 2).all()
    torch.testing.assert_close(result.latents.code, code.detach(), atol=1e-12, rtol=0)
