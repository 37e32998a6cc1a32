"""Morph. Oracles: the inputs at both ends, straight lines, the sphere of Z."""

import math

import pytest
import torch

from facsimile import editing, stylegan
from facsimile.stylegan import spaces


def random_latents(generator, space, seed, **fields):
    """Latents of one image with a code, a feature and, where asked for, noise of their own."""
    rng = torch.Generator().manual_seed(seed)
    latents = stylegan.init_latents(generator, space, 1, **fields)
    tensors = {
        name: x + 0.3 * torch.randn(x.shape, generator=rng, dtype=x.dtype)
        for name, x in latents.tensors().items()
    }
    return latents.with_tensors(tensors).retract()


@pytest.mark.parametrize("space", ["z", "z+", "w", "w+", "p_n+", "s", "f/z+", "f/w+"])
def test_both_ends_are_the_inputs(generator64, space):
    first, second = (random_latents(generator64, space, seed) for seed in (1, 2))
    frames = editing.get("morph")(generator64, first, second, frames=5)
    assert (frames.space, len(frames)) == (space, 5)
    for end, index in ((first, 0), (second, 4)):
        for name, x in frames[index].tensors().items():
            assert torch.equal(x, end.tensors()[name])
    middle = (first.code + second.code) / 2
    expected = spaces.parse(space)[0].retract(middle)
    torch.testing.assert_close(frames[2].code, expected)
    if "z" in space:
        assert (frames.code.norm(dim=-1) - math.sqrt(generator64.z_dim)).abs().max() < 1e-9
    else:
        steps = frames.code.diff(dim=0)
        torch.testing.assert_close(steps, steps[:1].expand_as(steps))


def test_latents_of_different_spaces_meet_in_w_plus(generator64):
    first, second = (random_latents(generator64, space, 3) for space in ("z", "w"))
    frames = editing.get("morph")(generator64, first, second, frames=3)
    assert frames.space == "w+"
    for end, index in ((first, 0), (second, 2)):
        images = frames[index].synthesize(generator64)
        torch.testing.assert_close(images, end.synthesize(generator64))


@pytest.mark.parametrize("spaces", [("f/z+", "w+"), ("z", "f/w+")])
def test_a_face_without_a_feature_gets_that_of_its_code(generator64, spaces):
    first, second = (random_latents(generator64, space, 3) for space in spaces)
    frames = editing.get("morph")(generator64, first, second, frames=3)
    assert frames.space == "f/w+"
    for end, index in ((first, 0), (second, 2)):
        images = frames[index].synthesize(generator64)
        torch.testing.assert_close(images, end.synthesize(generator64))


def test_truncation_is_kept_to(generator64):
    first = random_latents(generator64, "w", 1, truncation_psi=0.5)
    second = random_latents(generator64, "w", 2)
    frames = editing.get("morph")(generator64, first, second, frames=2)
    torch.testing.assert_close(frames[0].synthesize(generator64), first.synthesize(generator64))


def test_what_cannot_be_morphed(generator64):
    plain = random_latents(generator64, "w+", 1)
    layers = generator64.feature_layers[:2]
    features = [random_latents(generator64, "f/w+", 1, layer=layer) for layer in layers]
    with pytest.raises(ValueError, match=r'in "f/w\+" and in "f/w\+".*by the same recipe'):
        editing.get("morph")(generator64, *features)
    with pytest.raises(ValueError, match="frames: got 1, expected 2 to inf"):
        editing.get("morph")(generator64, plain, plain, frames=1)


@pytest.mark.parametrize("space", ["f/w+", "f/z+"])
def test_features_follow_the_codes(generator64, make_latents, transport, space):
    """Both ends are the inputs to the last bit; between them, the formula by hand."""
    first, second = (make_latents(generator64, space, seed=seed) for seed in (1, 2))
    frames = editing.get("morph")(generator64, first, second, frames=5, transport=transport)
    assert (frames.space, frames.layer) == ("f/w+", transport.layer)
    for end, index in ((first, 0), (second, 4)):
        for name in ("feature", "rgb"):
            assert torch.equal(frames[index].tensors()[name], end.tensors()[name])
        if space == "f/w+":
            assert torch.equal(frames[index].code, end.code)
        assert torch.equal(frames[index].synthesize(generator64), end.synthesize(generator64))
    steps = frames.code.diff(dim=0)
    torch.testing.assert_close(steps, steps[:1].expand_as(steps))

    def feature(ws):
        return generator64.synthesize(ws, stop=transport.layer)

    w1, w2 = (transport.in_domain_ws(generator64, x) for x in (first, second))
    w = w1 + 0.25 * (w2 - w1)
    parts = []
    for latents, start, share in ((first, w1, 0.75), (second, w2, 0.25)):
        delta = feature(w).x - feature(start).x
        parts.append(share * transport.edit_feature(latents.feature, delta))
    torch.testing.assert_close(frames[1].feature, sum(parts))
    skips = (x.rgb + feature(w).rgb - feature(y).rgb for x, y in ((first, w1), (second, w2)))
    torch.testing.assert_close(frames[1].rgb, torch.lerp(*skips, 0.25))


def test_a_transport_for_other_latents_is_left_aside(generator64, make_latents, transport):
    pair = [make_latents(generator64, "f/s", seed=seed) for seed in (1, 2)]
    frames = editing.get("morph")(generator64, *pair, frames=3, transport=transport)
    assert frames.space == "f/s"
    torch.testing.assert_close(frames.feature[1], (pair[0].feature[0] + pair[1].feature[0]) / 2)
