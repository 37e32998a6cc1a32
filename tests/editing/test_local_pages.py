"""Edits by refinement on the smallest world. Oracles: what must not change, and single runs."""

import pytest
import torch

from facsimile import editing
from facsimile.editing import building_blocks, inpaint, scribble, seamless
from facsimile.editing.activations import activation
from facsimile.editing.expression import w_deviation
from facsimile.editing.local_edit import EditInputs, LocalEdit, blur, enlarge
from facsimile.refine.recipe import BEFORE
from facsimile.refine.terms.style import gram
from facsimile.stylegan import init_latents


def left(text, images, invert):
    """The left half, whatever is asked for."""
    mask = torch.zeros_like(images[:, :1])
    mask[..., : images.shape[-1] // 2] = 1
    return 1 - mask if invert else mask


@pytest.fixture
def world(tiny, monkeypatch):
    """.edit(name, rows, ..): an edit of the tiny pictures, of a few steps."""
    steps = {"code": 12, "noise": 8}

    def shorten(recipe):
        phases = tuple(
            building_blocks.replace(x, steps=steps[x.name], patience=None, halvings=0)
            for x in recipe.phases
        )
        return building_blocks.replace(recipe, phases=phases)

    run = editing.local_edit.run
    for page in ("crossover", "inpaint", "scribble", "local_style", "style_embedding"):
        module = getattr(editing, page)
        monkeypatch.setattr(
            module,
            "run",
            lambda g, s, i, recipe, **o: run(g, s, i, shorten(recipe), **o),
        )

    def edit(name, rows, pictures=None, **parameters):
        start = tiny.start("w+")
        inputs = EditInputs(
            targets=tuple(tiny.targets[list(x)] for x in rows),
            networks={"perceptual": tiny.perceptual, "style": tiny.perceptual},
            read_mask=left,
            read_picture=lambda text: pictures,
        )
        latents = [start[list(x)] for x in rows]
        return editing.get(name)(tiny.generator, *latents, inputs=inputs, **parameters)

    tiny.edit = edit
    return tiny


def error(world, result, target, mask):
    image = result.latents.synthesize(world.generator)
    return ((image - target) * mask).square().sum() / mask.expand_as(target).sum()


def test_crossover_takes_each_part_from_its_picture(world):
    result = world.edit("crossover", ([0], [1]), mask="left", feather=0.0, residual=True)
    assert isinstance(result, LocalEdit)
    first, second, inside = world.targets[:1], world.targets[1:2], result.mask
    assert torch.equal(inside, left("", first, False))
    assert error(world, result, first, 1 - inside) < error(world, result, second, 1 - inside)
    assert error(world, result, second, inside) < error(world, result, first, inside)
    assert torch.equal(result.background, first)
    # Elsewhere, of the mask's inverse.
    other = world.edit("crossover", ([0], [1]), mask="left", feather=0.0, invert_mask=True)
    assert error(world, other, first, inside) < error(world, other, second, inside)


def test_inpainting_does_not_see_the_hole(world):
    before = world.targets.clone()
    results = []
    for value in (0.0, 0.9):
        world.targets[:, :, :, :4] = value
        results.append(world.edit("inpaint", ([0, 1],), mask="left", feather=0.0, solutions=2))
    world.targets.copy_(before)
    assert torch.equal(results[0].latents.code, results[1].latents.code)
    for one, other in zip(results[0].latents.noise, results[1].latents.noise, strict=True):
        assert torch.equal(one, other)
    assert len(results[0].latents) == 4
    assert results[0].solutions == 2


@pytest.mark.parametrize("paper", [False, True])
def test_solutions_are_of_their_seed_alone(world, paper):
    """Whatever the batch, and however many there are; those that do not move keep their start."""
    options = {"mask": "left", "paper": paper, "seed": 3}
    together = world.edit("inpaint", ([0, 1],), solutions=2, **options)
    alone = world.edit("inpaint", ([1],), solutions=1, **options)
    torch.testing.assert_close(together.latents.code[[2]], alone.latents.code)
    assert not torch.equal(together.latents.code[2], together.latents.code[3])
    other = world.edit("inpaint", ([1],), solutions=1, **(options | {"seed": 4}))
    assert not torch.equal(alone.latents.code, other.latents.code)


def test_initial_codes_of_inpainting(tiny):
    like = tiny.start("w+").code
    codes = inpaint.initial_codes(tiny.generator, 3, 0.4, 0, like)
    assert torch.equal(codes[0], tiny.generator.mapping.w_avg.expand_as(codes[0]))
    offsets = codes - tiny.generator.mapping.w_avg
    assert 0.3 < offsets[1:].abs().max() <= 0.4
    assert torch.equal(inpaint.initial_codes(tiny.generator, 1, 0.4, 0, like), codes[:1])


def test_the_boxes_move_their_layers_alone(tiny):
    """At 1024 px both mappings are the paper's own numbers."""
    for by in ("share", "size"):
        assert building_blocks.first_layers(9, 18, by) == tuple(range(9))
        (code,) = inpaint.recipe(18, by, False).phases[0].variables
        assert code.inputs == (*range(9), 16, 17)
    assert building_blocks.first_layers(9, 12, "share") == tuple(range(6))
    assert building_blocks.first_layers(9, 12, "size") == tuple(range(9))
    assert building_blocks.first_layers(5, 4, "size") == (0, 1, 2, 3)
    with pytest.raises(ValueError, match='layers_by: got "depth", expected share or size'):
        building_blocks.first_layers(9, 12, "depth")
    code, noise = inpaint.recipe(18, "share", True).phases
    assert (code.optimiser, code.steps, code.variables[0].lr) == ("gradient-descent", 200, 0.8)
    assert (noise.steps, noise.patience) == (1000, None)
    assert [(x.target, x.weight) for x in noise.terms] == [("photo", 1.0), (BEFORE, 10.0)]


def test_strokes_are_found_and_laid_over(world):
    photo = world.targets[:1]
    drawn = photo.clone()
    drawn[..., 2:4, 2:4] = 1.0
    found = scribble.strokes(photo, drawn)
    expected = (drawn != photo).any(1, keepdim=True).double()
    assert torch.equal(found, expected)
    opacity = torch.zeros(1, 1, 8, 8)
    opacity[..., 2:4, 2:4] = 1
    assert torch.equal(scribble.lay_over(photo, torch.ones(1, 3, 8, 8), opacity), drawn)
    result = world.edit("scribble", ([0],), (drawn, torch.ones(1, 1, 8, 8)), scribble="x.png")
    code = world.start("w+").code[:1]
    moved = (result.latents.code != code).any(2)[0]
    assert moved.tolist() == [True, False, False, False]  # 5 of 18 inputs are 1 of 4
    with pytest.raises(ValueError, match='the scribble "x.png" is the picture itself'):
        world.edit("scribble", ([0],), (photo, torch.ones(1, 1, 8, 8)), scribble="x.png")
    with pytest.raises(ValueError, match="got no scribble; pass --scribble"):
        world.edit("scribble", ([0],))


def test_local_style_keeps_what_is_outside(world):
    """The more style, the farther inside from the photo, and hardly so outside."""
    weak, strong = (
        world.edit("local-style", ([0], [1]), mask="left", feather=0.0, strength=x)
        for x in (1e-11, 1e-5)
    )
    photo, inside = world.targets[:1], weak.mask
    assert error(world, strong, photo, 1 - inside) < error(world, strong, photo, inside)
    assert not torch.equal(weak.latents.code, strong.latents.code)


def test_masks_and_latents_that_do_not_fit(world):
    with pytest.raises(ValueError, match="got no mask; pass --mask"):
        world.edit("crossover", ([0], [1]))
    inputs = EditInputs(
        targets=(world.targets[:1],), networks={}, read_mask=left, read_picture=None
    )
    for space in ("f/w+", "s"):
        with pytest.raises(ValueError, match='the edit "inpaint" moves codes of W+.*--recipe w+'):
            editing.get("inpaint")(
                world.generator, world.start(space)[:1], inputs=inputs, mask="left"
            )


def test_blurred_masks():
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., 24:40, 24:40] = 1
    assert torch.equal(blur(mask, 0.0), mask)
    assert blur(mask, -1.0)[0, 0, 24, 32] == pytest.approx(0.6, abs=0.1)
    assert (enlarge(mask, 4.0)[mask == 1] > 0.97).all()
    assert torch.equal(enlarge(mask, 0.0), mask)


def test_a_membrane_carries_a_slope_on():
    """A plane solves Laplace's equation, and one value around a hole fills it."""
    y, x = torch.meshgrid(torch.arange(12.0), torch.arange(12.0), indexing="ij")
    plane = torch.stack([x + 2 * y, 1 - y])[None].double()
    hole = torch.zeros(1, 1, 12, 12, dtype=torch.bool)
    hole[..., 3:8, 2:9] = True
    spoilt = torch.where(hole, torch.nan, plane)
    torch.testing.assert_close(seamless.membrane(spoilt, hole), plane)
    # A hole at the border, where nothing flows.
    hole[..., 3:8, :9] = True
    flat = torch.full_like(plane, 0.3)
    torch.testing.assert_close(seamless.membrane(torch.where(hole, 9.0, flat), hole), flat)
    both = seamless.membrane(torch.cat([plane, flat]), hole.expand(2, -1, -1, -1))
    torch.testing.assert_close(both[:1], seamless.membrane(plane, hole))


def test_seamless_pictures_keep_their_gradients(world):
    outer, inner = world.targets[:1], world.targets[1:2]
    hole = left("", outer, False)
    joined = seamless.seamless(outer, inner + 0.4, hole)
    assert torch.equal(joined[..., 4:], outer[..., 4:])
    torch.testing.assert_close(joined, seamless.seamless(outer, inner, hole))  # no offset is left
    with_itself = seamless.seamless(outer, outer - 0.7, hole)
    torch.testing.assert_close(with_itself, outer)


def test_expression_transfer(generator, make_latents):
    face, neutral, smiling = (make_latents(generator, "w+", seed=i) for i in range(3))
    edit = editing.get("expression")
    d = smiling.code - neutral.code
    whole = edit(generator, face, neutral, smiling, threshold=0.0, strength=0.5)
    torch.testing.assert_close(whole.code, face.code + 0.5 * d)
    assert torch.equal(edit(generator, face, neutral, smiling, threshold=1e9).code, face.code)
    unit = edit(generator, face, neutral, smiling, threshold=0.0, normalise=True, strength=2.0)
    assert float((unit.code - face.code).norm()) == pytest.approx(2.0, rel=1e-4)
    # The threshold is a share of the spread: just above the smallest change, one input stays.
    sizes = d.norm(dim=2)[0]
    share = float(sizes.min() / w_deviation(generator)) * 1.001
    some = edit(generator, face, neutral, smiling, threshold=share)
    assert ((some.code != face.code).any(2)[0] == (sizes > sizes.min())).all()


def test_transfer_puts_activations_together(generator, make_latents):
    base, donor, other = (make_latents(generator, "w+", seed=i) for i in range(3))
    layer = "b8.conv1"
    pictures = torch.cat([x.synthesize(generator) for x in (base, donor)])
    inputs = EditInputs(
        targets=tuple(pictures.split(1)), networks={}, read_mask=left, read_picture=None
    )

    def transfer(*latents, **options):
        options = {"layer": layer} | options
        return editing.get("transfer")(generator, *latents, inputs=inputs, **options).latents

    a, b, c = (activation(generator, x, layer).x for x in (donor, base, other))
    itself = transfer(base, base, mask="left")
    torch.testing.assert_close(itself.synthesize(generator), pictures[:1], atol=1e-4, rtol=0)
    once = transfer(base, donor, mask="left")
    torch.testing.assert_close(once.feature[..., :4], a[..., :4])
    torch.testing.assert_close(once.feature[..., 4:], b[..., 4:])
    # A second donor, with a mask of its own.
    twice = transfer(once, other, mask="left", invert_mask=True)
    torch.testing.assert_close(twice.feature[..., :4], a[..., :4])
    torch.testing.assert_close(twice.feature[..., 4:], c[..., 4:])
    torch.testing.assert_close(transfer(base, donor, share=0.5).feature, (a + b) / 2)
    with pytest.raises(ValueError, match='has no layer "b9"'):
        transfer(base, donor, layer="b9")
    # Half of the way from the base's code, by hand; frames are the steps to it.
    codes = (base.code + donor.code) / 2
    half = activation(generator, base.with_tensors(base.tensors() | {"code": codes}), layer).x
    torch.testing.assert_close(transfer(base, donor, strength=0.5).feature, half)
    film = transfer(base, donor, frames=3).feature
    torch.testing.assert_close(film, torch.cat([b, half, a]))
    with pytest.raises(ValueError, match='got a donor in "f/w\\+", whose feature no code moves'):
        transfer(base, once, strength=0.5)


def test_a_style_embedding_has_the_style_and_not_the_picture(world):
    """Its style comes closer than the mean's; the input's code is not where it begins."""
    result = world.edit("style-embedding", ([0, 1],))
    start = init_latents(world.generator, "w+", 2)
    styles = [
        gram(world.perceptual.features(x)[0])
        for x in (
            world.targets[:2],
            start.synthesize(world.generator),
            result.latents.synthesize(world.generator),
        )
    ]
    before, after = ((x - styles[0]).square().flatten(1).sum(1) for x in styles[1:])
    assert (after < before).all()
    alone = world.edit("style-embedding", ([1],))
    torch.testing.assert_close(alone.latents.code[0], result.latents.code[1])


def test_channels_are_copied(generator, make_latents):
    base, donor = (make_latents(generator, "w+", seed=i) for i in range(2))
    inputs = EditInputs(
        targets=(base.synthesize(generator),), networks={}, read_mask=left, read_picture=None
    )

    def channels(text, **options):
        edit = editing.get("channels")
        return edit(generator, base, donor, inputs=inputs, channels=text, **options).latents

    a, b = (activation(generator, x, "b8.conv1").x for x in (donor, base))
    for text, chosen in (("0-1,3", [0, 1, 3]), ("", list(range(a.shape[1] // 2)))):
        others = [c for c in range(a.shape[1]) if c not in chosen]
        got = channels(text).feature
        torch.testing.assert_close(got[:, chosen], a[:, chosen])
        torch.testing.assert_close(got[:, others], b[:, others])
    torch.testing.assert_close(channels("2", share=0.5).feature[:, 2], (a + b)[:, 2] / 2)
    with pytest.raises(ValueError, match='channels: got "0-99", expected numbers and ranges'):
        channels("0-99")
