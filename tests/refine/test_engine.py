"""Oracles: single runs, own pictures as targets, the best of the history, bit-equal resumption."""

import gc
import io
from dataclasses import replace

import pytest
import torch

import stylegan
from refine import Phase, Recipe, Schedule, Term, Variable, refine
from refine.recipes import RECIPES, build
from stylegan import Latents

SUFFIXED = [f"{code}{suffix}" for code in RECIPES for suffix in (" +noise", " +joint-noise")]
NAMES = [*RECIPES, *SUFFIXED]
SPHERES = [name for name in NAMES if build(name).space.endswith(("z", "z+"))]


def go(little, recipe, rows=slice(None), start=None, **options):
    start = little.start(recipe.space) if start is None else start
    options = {"perceptual": little.perceptual} | options
    return refine(little.generator, start[rows], little.targets[rows], recipe, **options)


def bits(a, b):
    """Whether two results are the same, bit for bit."""
    (x, y) = a.latents.tensors(), b.latents.tensors()
    return (
        x.keys() == y.keys()
        and all(torch.equal(x[name], y[name]) for name in x)
        and a.history.keys() == b.history.keys()
        and all(
            torch.equal(a.history[k].nan_to_num(-1), b.history[k].nan_to_num(-1)) for k in a.history
        )
        and (a.status, a.steps) == (b.status, b.steps)
    )


def total(result, phase):
    """(T + 1, N) sum of a phase's terms."""
    return sum(x for name, x in result.history.items() if name.startswith(f"{phase}/"))


PLAIN = (Term("pixel", 1.0), Term("perceptual", 2.0))
MASKED = (Term("pixel", 1.0, mask="here"), Term("perceptual", 2.0, mask="here"))


def one_phase(space="w+", steps=20, lr=0.05, terms=PLAIN[:1], **options):
    phase = Phase(
        name="code", variables=(Variable("code", lr),), terms=terms, steps=steps, **options
    )
    return Recipe(name="test", space=space, phases=(phase,))


# Images of a batch never influence one another ----------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_is_its_single_runs(little, name):
    """Early stopping included: images leave at different steps."""
    # Some recipes go down faster than others.
    gain = 0.05 if "joint" in name else 0.03
    recipe = build(name).with_steps(50).with_patience(3, gain=gain)
    together = go(little, recipe)
    images = together.latents.draw(little.generator)
    assert len(set(together.steps)) > 1
    assert len(images) == 8
    # Every image where the code alone moves; with noise maps a few of them.
    for row in range(8) if name in RECIPES else (0, 6):
        alone = go(little, recipe, rows=[row])
        image = alone.latents.draw(little.generator)
        torch.testing.assert_close(images[row : row + 1], image, atol=1e-6, rtol=0)
        assert together.status[row] == alone.status[0]
        assert together.steps[row] == alone.steps[0]
        for key, values in alone.history.items():
            torch.testing.assert_close(
                together.history[key][:, row], values[:, 0], equal_nan=True, atol=1e-5, rtol=1e-4
            )


def test_images_stop_early_and_say_so(little):
    recipe = build("w+").with_steps(50).with_patience(3, gain=0.02)
    result = go(little, recipe)
    assert set(result.status) == {"done", "stopped early"}
    for row, (status, steps) in enumerate(zip(result.status, result.steps, strict=True)):
        seen = total(result, "code")[:, row].isfinite()
        # One look at the start, and one after every step.
        assert seen.sum() == steps + 1
        assert seen[: steps + 1].all()
        assert (steps == 50) == (status == "done")
    assert go(little, recipe.with_patience(None)).steps == [50] * 8


def test_patience_counts_steps_without_a_gain(little):
    """With a rate of 0 nothing ever gains: `patience` looks after the first."""
    result = go(little, one_phase(lr=0.0, patience=4))
    assert result.steps == [4] * 8
    assert result.status == ["stopped early"] * 8


def test_anchors_hold_each_image_to_its_own_start(little):
    terms = (Term("pixel", 1.0), Term("feature_anchor", 1.0), Term("code_anchor", 1.0))
    variables = (Variable("code", 0.01), Variable("feature", 0.01))
    free = Phase(name="code", variables=variables, terms=terms[:1], steps=40, patience=3, gain=0.03)
    held = replace(free, terms=terms)
    start = little.start("f/w+")
    strays = []
    for phase in (free, held):
        recipe = Recipe(name="test", space="f/w+", phases=(phase,))
        result = go(little, recipe)
        strays.append((result.latents.feature - start.feature).square().mean())
        assert len(set(result.steps)) > 1
        for row in (0, 6):
            alone = go(little, recipe, rows=[row])
            torch.testing.assert_close(result.latents.feature[[row]], alone.latents.feature)
    assert strays[1] < 0.8 * strays[0]


def test_order_does_not_count(little):
    recipe = build("f/z+").with_steps(10)
    order = [3, 0, 7]
    some, all_ = go(little, recipe, rows=order), go(little, recipe)
    images = all_.latents.draw(little.generator)[order]
    torch.testing.assert_close(some.latents.draw(little.generator), images, atol=1e-9, rtol=0)


# Where a run goes ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SPHERES)
def test_codes_stay_on_the_sphere(little, tmp_path, name):
    strays = []

    def look(step):
        moving = step.state()["moving"]["variables"]
        if "code" in moving:
            strays.append((moving["code"].norm(dim=-1) / 8**0.5 - 1).abs().max().item())

    recipe = build(name).with_steps(20)
    result = go(little, recipe, rows=[0, 1], callback=look)
    assert len(strays) == 21
    assert max(strays) < 1e-5
    path = tmp_path / "latents.safetensors"
    result.latents.to(dtype=torch.float32).save(path)
    again = Latents.load(path, little.generator)
    assert again.stray(little.generator).max() < 1e-5
    torch.testing.assert_close(again.code.norm(dim=-1), torch.full(again.code.shape[:-1], 8**0.5))
    start = little.start(recipe.space)[:2]
    assert (result.latents.code - start.code).abs().max() > 0.02


@pytest.mark.parametrize("name", NAMES)
def test_its_own_picture_as_target(little, name):
    recipe = build(name).with_steps(5).with_weight("p_n", 0)
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
    recipe = build(name).with_steps(10)
    result = go(little, recipe, rows=[0, 4])
    for phase in recipe.phases:
        loss = total(result, phase.name)
        assert loss.shape == (phase.steps + 1, 2)
        assert (loss.min(0).values < 0.99 * loss[0]).all()
    assert result.status == ["done"] * 2
    assert result.steps == [recipe.steps] * 2


@pytest.mark.parametrize("name", ["w+", "z", "s", "p_n+", "f/w+"])
def test_the_result_is_the_best_of_the_history(little, name):
    recipe = build(name).with_steps(25)
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
    recipe = build("w+ +noise").with_steps(25)
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
    result = go(little, build("w+").with_steps(0))
    assert bits(result, go(little, build("w+").with_steps(0)))
    assert torch.equal(result.latents.code, little.start("w+").code)
    assert (result.status, result.steps) == (["done"] * 8, [0] * 8)


def test_what_goes_in_is_not_changed(little, perceptual):
    recipe = build("f/z+ +joint-noise").with_steps(3)
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
        result = go(little, build("w").with_steps(3))
    assert bits(result, go(little, build("w").with_steps(3)))


def test_float32_on_the_default_generator(generator, perceptual, targets):
    recipe = build("f/z+ +noise").with_steps(5)
    start = stylegan.start(generator, recipe.space, 4)
    result = refine(generator, start, targets, recipe, perceptual=perceptual)
    assert result.latents.code.dtype == torch.float32
    before = (start.draw(generator) - targets).square().mean()
    assert (result.latents.draw(generator) - targets).square().mean() < before
    assert len(result.latents.noise) == 7


def test_labels(make_generator, targets):
    generator = make_generator(c_dim=2)
    start = stylegan.start(generator, "z+", 4, label=torch.eye(2)[[0, 1, 0, 1]])
    result = refine(generator, start, targets, one_phase("z+", steps=5))
    assert torch.equal(result.latents.label, start.label)
    loss = total(result, "code")
    assert (loss.min(0).values < loss[0]).all()


# Callbacks ----------------------------------------------------------------------------------------


def test_what_a_callback_is_told(little):
    recipe = build("w+ +noise").with_steps(5).with_patience(2, gain=0.2)
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
        go(little, build("w+").with_steps(10), callback=stop)
    assert seen == [1, 2, 3]


# Stopping and going on ----------------------------------------------------------------------------


def states_of(little, recipe, every=1, **options):
    """(result, [what torch.save wrote in the callback])"""
    files = []

    def keep(step):
        if step.done % every == 0:
            file = io.BytesIO()
            torch.save(step.state(), file)
            files.append(file.getvalue())

    return go(little, recipe, callback=keep, **options), files


@pytest.mark.parametrize("name", ["w+ +noise", "f/z+ +joint-noise", "s", "z +noise"])
def test_resumed_runs_are_uninterrupted_ones(little, name):
    """Across the end of a phase too, and with images that have stopped already."""
    recipe = build(name).with_steps(24).with_patience(3, gain=0.05)
    whole, files = states_of(little, recipe)
    assert len(set(whole.steps)) > 1
    phases = set()
    for index in {0, 1, 7, 12, 23, 24, 25, 30, len(files) - 2, len(files) - 1}:
        if not 0 <= index < len(files):
            continue
        state = torch.load(io.BytesIO(files[index]), weights_only=True)
        phases.add(state["phase"])
        assert bits(go(little, recipe, state=state), whole)
    assert len(phases) == len(recipe.phases)


def test_resumption_goes_through_callbacks_again(little):
    recipe = build("w+ +noise").with_steps(6)
    whole, first = states_of(little, recipe)
    state = torch.load(io.BytesIO(first[4]), weights_only=True)
    again, second = states_of(little, recipe, state=state)
    assert bits(again, whole)
    assert len(second) == len(first) - 5


def test_a_state_is_a_snapshot(little):
    """Held in memory while the run goes on, and good for more than one resumption."""
    recipe = build("w+ +noise").with_steps(12).with_patience(3, gain=0.05)
    held = []
    whole = go(little, recipe, callback=lambda step: held.append(step.state()))
    assert "stopped early" in whole.status
    for state in (held[1], held[5], held[-3]):
        assert bits(go(little, recipe, state=state), whole)
        assert bits(go(little, recipe, state=state), whole)


def test_the_state_of_another_recipe(little):
    _, files = states_of(little, build("w+").with_steps(2))
    state = torch.load(io.BytesIO(files[0]), weights_only=True)
    with pytest.raises(ValueError, match="the state is of another recipe: .*; expected Recipe"):
        go(little, build("w+").with_steps(3), state=state)


# Not finite ---------------------------------------------------------------------------------------


class Spoiled:
    """A perceptual distance that spoils one row of its k-th look at the moving images."""

    def __init__(self, inner, row, at, how):
        self.inner, self.row, self.at, self.how, self.looks = inner, row, at, how, -2

    def features(self, image):
        self.looks += 1  # the first look is at the targets
        if self.looks == self.at:
            image = self.how.apply(image, self.row)
        return self.inner.features(image)


class Value(torch.autograd.Function):
    """NaN forwards."""

    @staticmethod
    def forward(context, image, row):
        image = image.clone()
        image[row] = torch.nan
        return image

    @staticmethod
    def backward(context, gradient):
        return gradient, None


class Gradient(torch.autograd.Function):
    """NaN backwards."""

    @staticmethod
    def forward(context, image, row):
        context.row = row
        return image.clone()

    @staticmethod
    def backward(context, gradient):
        gradient = gradient.clone()
        gradient[context.row] = torch.nan
        return gradient, None


@pytest.mark.parametrize("name", ["w+", "z+", "f/z +joint-noise", "f/s +noise"])
@pytest.mark.parametrize("how", [Value, Gradient])
def test_one_image_that_breaks_stops_alone(little, name, how):
    recipe = build(name).with_steps(12)
    whole = go(little, recipe)
    result = go(little, recipe, perceptual=Spoiled(little.perceptual, 2, 5, how))
    assert result.status == ["done"] * 2 + ["not finite"] + ["done"] * 5
    # A gradient that is not finite shows in the loss of the next step.
    assert result.steps[2] == (5 if how is Value else 6)
    assert result.steps[:2] == whole.steps[:2]
    others = [0, 1, 3, 4, 5, 6, 7]
    for key, x in result.latents.tensors().items():
        assert x.isfinite().all()
        expected = whole.latents.tensors()[key]
        torch.testing.assert_close(x[others], expected[others], atol=1e-10, rtol=0)
    # The last good code: as far as a run comes that ends there.
    shorter = recipe.with_steps(4 if how is Value else 5)
    shorter = replace(shorter, phases=shorter.phases[:1])
    before = go(little, shorter)
    for key, x in before.latents.tensors().items():
        got = result.latents.tensors()[key]
        torch.testing.assert_close(got[2], x[2], atol=1e-10, rtol=0)
    assert (result.latents.code[2] - little.start(recipe.space).code[2]).abs().max() > 1e-3


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_target_that_is_not_finite(little, value):
    recipe = build("w+ +noise").with_steps(5)
    targets = little.targets.clone()
    targets[3, 0, 2, 2] = value
    start = little.start("w+")
    result = refine(little.generator, start, targets, recipe, perceptual=little.perceptual)
    assert result.status[3] == "not finite"
    assert result.steps == [8, 8, 8, 0, 8, 8, 8, 8]
    assert torch.equal(result.latents.code[3], start.code[3])
    whole = go(little, recipe)
    others = [0, 1, 2, 4, 5, 6, 7]
    for key, x in result.latents.tensors().items():
        torch.testing.assert_close(
            x[others], whole.latents.tensors()[key][others], atol=1e-10, rtol=0
        )
    constant = [m[3] for m in little.generator.noise_maps(8)]
    assert all(torch.equal(m[3], c) for m, c in zip(result.latents.noise, constant, strict=True))


def test_all_images_break(little):
    recipe = build("w+ +noise").with_steps(5)
    start = little.start("w+")
    targets = torch.full_like(little.targets, torch.nan)
    result = refine(little.generator, start, targets, recipe, perceptual=little.perceptual)
    assert result.status == ["not finite"] * 8
    assert torch.equal(result.latents.code, start.code)


def test_a_broken_image_stays_broken_after_resumption(little):
    recipe = build("w+ +noise").with_steps(8)
    spoiled = Spoiled(little.perceptual, 2, 3, Value)
    whole, files = states_of(little, recipe, perceptual=spoiled)
    assert whole.status[2] == "not finite"
    for index in (5, 9, 11):
        state = torch.load(io.BytesIO(files[index]), weights_only=True)
        assert bits(go(little, recipe, state=state), whole)


# Masks and several targets ------------------------------------------------------------------------


def test_a_mask_of_ones_is_none(little):
    ones = torch.ones(8, 1, 8, 8, dtype=torch.float64)
    masked = go(little, one_phase(terms=MASKED), masks={"here": ones})
    plain = go(little, one_phase(terms=PLAIN))
    torch.testing.assert_close(masked.latents.code, plain.latents.code, atol=1e-9, rtol=0)
    assert set(masked.history) == {"code/pixel[here]", "code/perceptual[here]"}
    torch.testing.assert_close(
        masked.history["code/perceptual[here]"], plain.history["code/perceptual"]
    )


def test_pixels_outside_do_not_count(little):
    mask = torch.zeros(8, 1, 8, 8, dtype=torch.float64)
    mask[:, :, :4] = 1
    recipe = one_phase(terms=MASKED[:1])
    start = little.start("w+")
    found = []
    for outside in (0.0, 0.9):
        targets = little.targets * mask + outside * (1 - mask)
        result = refine(little.generator, start, targets, recipe, masks={"here": mask})
        found.append(result)
    assert bits(*found)
    assert not bits(found[0], go(little, one_phase()))
    # What is inside is reached better than without the mask.
    inside = [
        ((r.latents.draw(little.generator) - little.targets) * mask).square().mean()
        for r in (found[0], go(little, one_phase()))
    ]
    assert inside[0] < inside[1]


def test_masks_stay_with_their_images(little):
    """Also once others have stopped: each image has a mask of its own."""
    masks = (torch.rand(8, 1, 8, 8) > 0.5).double()
    recipe = one_phase(terms=MASKED, steps=40, patience=3, gain=0.03)
    together = go(little, recipe, masks={"here": masks})
    assert len(set(together.steps)) > 1
    for row in (0, 5):
        alone = go(little, recipe, rows=[row], masks={"here": masks[[row]]})
        torch.testing.assert_close(together.latents.code[[row]], alone.latents.code)
        assert together.steps[row] == alone.steps[0]


def test_two_targets(little):
    """Half of the picture from one image, half from another."""
    mask = torch.zeros(8, 1, 8, 8, dtype=torch.float64)
    mask[..., :4] = 1
    terms = (Term("pixel", 1.0, mask="left"), Term("pixel", 1.0, mask="right", target="other"))
    targets = {"target": little.targets, "other": little.targets.roll(1, 0)}
    start = little.start("w+")
    masks = {"left": mask, "right": 1 - mask}
    result = refine(little.generator, start, targets, one_phase(terms=terms), masks=masks)
    both = little.targets * mask + targets["other"] * (1 - mask)
    expected = refine(little.generator, start, both, one_phase())
    torch.testing.assert_close(result.latents.code, expected.latents.code)


# What a user can get wrong ------------------------------------------------------------------------


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
        go(little, build("w+"), perceptual=None)
    recipe = build("w+").with_steps(2)
    without = go(little, recipe.with_weight("perceptual", 0), perceptual=None)
    assert set(without.history) == {"code/pixel"}
    zero = go(
        little, one_phase(steps=2, terms=(PLAIN[0], Term("perceptual", 0.0))), perceptual=None
    )
    assert set(zero.history) == {"code/pixel"}


def test_another_generators_latents(little, generator):
    with pytest.raises(ValueError, match="belong to the generator"):
        refine(little.generator, stylegan.start(generator, "w+", 8), little.targets, one_phase())


# Memory -------------------------------------------------------------------------------------------


def test_runs_leave_no_tensors_behind(little):
    recipe = build("f/z+ +noise").with_steps(2).with_patience(1, gain=0.5)
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
