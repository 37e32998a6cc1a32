"""Feature transport. Oracles: the formula by hand, single images, and edits that change nothing."""

from dataclasses import replace

import pytest
import torch

from facsimile import editing
from facsimile.editing.codes import to_w_plus
from facsimile.editing.feature_transport import FeatureTransport


def test_the_formula(generator64, make_latents, transport):
    latents = make_latents(generator64, "f/w+", 3)
    images = latents.synthesize(generator64).clamp(-1, 1)
    ws = transport.in_domain_ws(generator64, latents)
    torch.testing.assert_close(ws, transport.predict_ws(images))
    change = 0.5 * torch.randn_like(ws)
    moved = transport.move(generator64, latents, ws, change)
    before, after = (generator64.synthesize(x, stop=transport.layer) for x in (ws, ws + change))
    torch.testing.assert_close(moved.code, latents.code + change)
    expected = 1.1 * latents.feature + 2 * (after.x - before.x)
    torch.testing.assert_close(moved.feature, expected)
    torch.testing.assert_close(moved.rgb, latents.rgb + after.rgb - before.rgb)
    assert (moved.space, moved.layer) == ("f/w+", transport.layer)


def test_an_image_does_not_influence_another(generator64, make_latents, transport):
    latents = make_latents(generator64, "f/z+", 10)
    ws = transport.in_domain_ws(generator64, latents)
    change = 0.5 * torch.randn_like(ws)
    change[3] = 0
    moved = transport.move(generator64, latents, ws, change)
    for i in (0, 3, 9):
        one = transport.move(generator64, latents[i], ws[i : i + 1], change[i : i + 1])
        for name, x in one.tensors().items():
            torch.testing.assert_close(moved.tensors()[name][i : i + 1], x, rtol=0, atol=1e-12)
    # Where nothing changes, the editor is not asked.
    plus = to_w_plus(generator64, latents)
    assert torch.equal(moved.feature[3], plus.feature[3])
    assert torch.equal(moved.rgb[3], plus.rgb[3])
    assert not torch.equal(moved.feature[4], plus.feature[4])


def test_codes_after_the_layer_leave_the_feature(generator64, make_latents, transport):
    latents = make_latents(generator64, "f/w+")
    ws = transport.in_domain_ws(generator64, latents)
    change = torch.zeros_like(ws)
    change[:, generator64.first_ws_index(transport.layer) :] = 1
    moved = transport.move(generator64, latents, ws, change)
    assert torch.equal(moved.feature, latents.feature)
    assert torch.equal(moved.rgb, latents.rgb)
    assert torch.equal(moved.code, latents.code + change)


def test_without_an_rgb_skip(generator64, make_latents, transport):
    latents = make_latents(generator64, "f/w+", rgb_skip="zero")
    ws = transport.in_domain_ws(generator64, latents)
    moved = transport.move(generator64, latents, ws, torch.ones_like(ws))
    assert latents.rgb is None
    assert moved.rgb is None
    assert not torch.equal(moved.feature, latents.feature)


@pytest.mark.parametrize("edit", ["style", "direction"])
@pytest.mark.parametrize("space", ["f/w+", "f/z+"])
def test_strength_0_changes_no_image(generator64, make_latents, transport, edit, space):
    latents = [make_latents(generator64, space, seed=seed) for seed in (1, 2)]
    edit = editing.get(edit)
    given = latents[: edit.inputs]
    same = edit(generator64, *given, transport=transport, strength=0.0)
    image = latents[0].synthesize(generator64)
    assert torch.equal(same.synthesize(generator64), image)
    other = edit(generator64, *given, transport=transport, strength=1.0)
    assert not torch.allclose(other.synthesize(generator64), image, atol=1e-3)


def test_a_share_of_the_in_domain_code(generator64, make_latents, transport):
    """Everywhere: the image of the edited in-domain code; in a part: linear; by an image's own."""
    latents = make_latents(generator64, "f/z+", 2)
    ws = transport.in_domain_ws(generator64, latents)
    change = 0.5 * torch.randn_like(ws)

    def moved(share):
        gated = replace(transport, in_domain_share=lambda delta: share.expand_as(delta[:, :1]))
        return gated.move(generator64, latents, ws, change)

    ones = torch.ones(2, 1, 1, 1, dtype=torch.float64)
    expected = generator64.synthesize(ws + change)
    torch.testing.assert_close(moved(ones).synthesize(generator64), expected)
    none, part, whole = (moved(x * ones).tensors() for x in (0, 0.25, 1))
    plain = transport.move(generator64, latents, ws, change).tensors()
    for name, x in none.items():
        assert torch.equal(x, plain[name])
        torch.testing.assert_close(part[name], 0.75 * x + 0.25 * whole[name])
    other = moved(torch.tensor([0.0, 1.0], dtype=torch.float64)[:, None, None, None]).tensors()
    for name, x in other.items():
        torch.testing.assert_close(x, torch.stack([none[name][0], whole[name][1]]))


def test_what_does_not_fit(generator64, make_latents, transport):
    latents = make_latents(generator64, "f/w+")
    assert transport.fits(generator64, latents)
    assert not transport.fits(generator64, make_latents(generator64, "f/s"))
    assert not transport.fits(generator64, make_latents(generator64, "w+"))
    other = FeatureTransport("b16.conv0", transport.predict_ws, transport.edit_feature)
    assert not other.fits(generator64, latents)
    ws = torch.zeros_like(latents.code)
    with pytest.raises(ValueError, match=r"a feature of b8.conv1, and .* those of b16.conv0"):
        other.move(generator64, latents, ws, ws)
