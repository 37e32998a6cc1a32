"""Oracles: runs without masks, and pixels that must not count."""

import torch
from runs_of_little import MASKED, PLAIN, bits, go, one_phase

from facsimile.refine import Term, refine


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
