"""Oracle: images of a batch, each placed differently, are refined as each of them alone."""

import torch

from facsimile import stylegan
from facsimile.refine import Phase, Recipe, Term, Variable, refine


def test_a_placement_for_each_image(make_generator):
    """Also when an image stops before the others, and the placements of the rest move up."""
    generator = make_generator(16, 4, 8, architecture="stylegan3").double()
    placement = stylegan.make_placement(torch.tensor([0.0, 30.0, -60.0]), (0.1, 0.0))
    source = torch.Generator().manual_seed(4)
    ws = generator.map(torch.randn(3, 8, generator=source).double())
    targets = generator.synthesize(ws, placement=placement)
    start = stylegan.init_latents(generator, "w+", 3, placement=placement)
    # The first image begins at its target: it cannot gain, and stops first.
    start = start.with_tensors(start.tensors() | {"code": torch.cat([ws[:1], start.code[1:]])})
    phase = Phase(
        name="code", steps=12, variables=(Variable("code", 0.02),), terms=(Term("pixel", 1.0),)
    )
    recipe = Recipe(name="pixels", space="w+", phases=(phase,)).with_patience(4)
    batch = refine(generator, start, targets, recipe)
    assert batch.steps[0] < min(batch.steps[1:])
    assert torch.equal(batch.latents.placement, placement.double())
    for row in range(3):
        rows = slice(row, row + 1)
        alone = refine(generator, start[rows], targets[rows], recipe)
        code = batch.latents.code[rows]
        torch.testing.assert_close(alone.latents.code, code, atol=1e-9, rtol=0)
    before = (start.synthesize(generator) - targets).square().mean((1, 2, 3))
    after = (batch.latents.synthesize(generator) - targets).square().mean((1, 2, 3))
    assert (after[1:] < 0.8 * before[1:]).all()
