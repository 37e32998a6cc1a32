"""Oracles: runs without masks, and pixels that must not count."""

import torch
from refine_helpers import MASKED, PLAIN, bits, go, one_phase

from facsimile.refine import Term, refine


def test_a_mask_of_ones_is_none(tiny):
    ones = torch.ones(8, 1, 8, 8, dtype=torch.float64)
    masked = go(tiny, one_phase(terms=MASKED), masks={"here": ones})
    plain = go(tiny, one_phase(terms=PLAIN))
    torch.testing.assert_close(masked.latents.code, plain.latents.code, atol=1e-9, rtol=0)
    assert set(masked.history) == {"code/pixel[here]", "code/perceptual[here]"}
    torch.testing.assert_close(
        masked.history["code/perceptual[here]"], plain.history["code/perceptual"]
    )


def test_pixels_outside_do_not_count(tiny):
    mask = torch.zeros(8, 1, 8, 8, dtype=torch.float64)
    mask[:, :, :4] = 1
    recipe = one_phase(terms=MASKED[:1])
    start = tiny.start("w+")
    found = []
    for outside in (0.0, 0.9):
        targets = tiny.targets * mask + outside * (1 - mask)
        result = refine(tiny.generator, start, targets, recipe, masks={"here": mask})
        found.append(result)
    assert bits(*found)
    assert not bits(found[0], go(tiny, one_phase()))
    # What is inside is reached better than without the mask.
    inside = [
        ((r.latents.synthesize(tiny.generator) - tiny.targets) * mask).square().mean()
        for r in (found[0], go(tiny, one_phase()))
    ]
    assert inside[0] < inside[1]


def test_masks_stay_with_their_images(tiny):
    """Also once others have stopped: each image has a mask of its own."""
    masks = (torch.rand(8, 1, 8, 8) > 0.5).double()
    recipe = one_phase(terms=MASKED, steps=40, patience=3, min_rel_delta=0.03)
    together = go(tiny, recipe, masks={"here": masks})
    assert len(set(together.steps)) > 1
    for row in (0, 5):
        alone = go(tiny, recipe, rows=[row], masks={"here": masks[[row]]})
        torch.testing.assert_close(together.latents.code[[row]], alone.latents.code)
        assert together.steps[row] == alone.steps[0]


def test_two_targets(tiny):
    """Half of the picture from one image, half from another."""
    mask = torch.zeros(8, 1, 8, 8, dtype=torch.float64)
    mask[..., :4] = 1
    terms = (Term("pixel", 1.0, mask="left"), Term("pixel", 1.0, mask="right", target="other"))
    targets = {"target": tiny.targets, "other": tiny.targets.roll(1, 0)}
    start = tiny.start("w+")
    masks = {"left": mask, "right": 1 - mask}
    result = refine(tiny.generator, start, targets, one_phase(terms=terms), masks=masks)
    both = tiny.targets * mask + targets["other"] * (1 - mask)
    expected = refine(tiny.generator, start, both, one_phase())
    torch.testing.assert_close(result.latents.code, expected.latents.code)
