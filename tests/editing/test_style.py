"""Style. Oracles: style mixing by hand, and that what a layer range leaves out does not change."""

import pytest
import torch

from facsimile import editing, stylegan
from facsimile.editing.codes import parse_layers


@pytest.fixture
def faces(generator64):
    """Codes (2, L, D) in W+ of two faces."""
    rng = torch.Generator().manual_seed(4)
    z = torch.randn(2, generator64.z_dim, generator=rng, dtype=torch.float64)
    return generator64.map(z)


def latents_of(generator, ws, **fields):
    latents = stylegan.init_latents(generator, "w+", len(ws), **fields)
    return latents.with_tensors({"code": ws})


def test_layers_of_another_face(generator64, faces):
    first, second = (latents_of(generator64, faces[i : i + 1]) for i in (0, 1))
    edit = editing.get("style")
    mixed = edit(generator64, first, second, layers="3-5")
    expected = faces[0].clone()
    expected[3:6] = faces[1, 3:6]
    assert torch.equal(mixed.code[0], expected)
    halfway = edit(generator64, first, second, layers="3-5", strength=0.5)
    torch.testing.assert_close(halfway.code[0, 4], faces[:, 4].mean(0))
    assert torch.equal(edit(generator64, first, second, strength=0).code, first.code)
    whole = edit(generator64, first, second, layers=f"0-{generator64.num_ws - 1}")
    torch.testing.assert_close(whole.synthesize(generator64), generator64.synthesize(faces[1:]))


def test_features_and_noise_stay(generator64):
    rng = torch.Generator().manual_seed(5)
    start = stylegan.init_latents(generator64, "f/z+", 2)
    tensors = {
        name: x + 0.3 * torch.randn(x.shape, generator=rng, dtype=x.dtype)
        for name, x in start.tensors().items()
    }
    faces = start.with_tensors(tensors).retract()
    mixed = editing.get("style")(generator64, faces[0], faces[1], layers="6-")
    assert mixed.space == "f/z+"
    assert torch.equal(mixed.feature, faces[0].feature)
    torch.testing.assert_close(mixed.code[0, 6:], faces.code[1, 6:])
    torch.testing.assert_close(mixed.code[0, :6], faces.code[0, :6])


def test_single_codes_become_codes_per_layer(generator64):
    first, second = (
        stylegan.init_latents(generator64, "z", 1, seed=seed, truncation_psi=0.7) for seed in (1, 2)
    )
    mixed = editing.get("style")(generator64, first, second, layers="4-")
    assert (mixed.space, mixed.truncation_psi) == ("w+", 1.0)
    ws = [generator64.truncate(generator64.map(x.code), 0.7, None) for x in (first, second)]
    torch.testing.assert_close(mixed.code, torch.cat([ws[0][:, :4], ws[1][:, 4:]], 1))


@pytest.mark.parametrize(
    ("text", "expected"), [("2-5", (2, 6)), ("3", (3, 4)), ("6-", (6, 8)), ("", (4, 8))]
)
def test_layers(text, expected):
    assert parse_layers(text, 8, default=4) == expected


@pytest.mark.parametrize("text", ["8", "5-2", "-3", "a-b", "0-8", "1-2-3"])
def test_no_such_layers(text):
    with pytest.raises(ValueError, match="expected style inputs from 0 to 7, as"):
        parse_layers(text, 8, default=4)


def test_styles_of_another_face(generator64, faces):
    """S of the mixed codes is the mixed S; styles and codes do not mix."""
    s = stylegan.spaces.SPACES["s"]
    edit = editing.get("style")
    first, second = (latents_of(generator64, faces[i : i + 1]) for i in (0, 1))
    start = stylegan.init_latents(generator64, "s", 1)
    in_s = [
        start.with_tensors({"code": s.from_w_plus(generator64, x.code)}) for x in (first, second)
    ]
    mixed = edit(generator64, *in_s, layers="2-5", strength=0.7)
    expected = edit(generator64, first, second, layers="2-5", strength=0.7).code
    torch.testing.assert_close(mixed.code, s.from_w_plus(generator64, expected))
    with pytest.raises(ValueError, match=r'a code of "s" holds styles, which have no code in W\+'):
        edit(generator64, in_s[0], second)


def test_features_follow_the_in_domain_codes(generator64, make_latents, transport):
    first, second = (make_latents(generator64, "f/z+", seed=seed) for seed in (1, 2))
    mixed = editing.get("style")(
        generator64, first, second, layers="1-5", strength=0.5, transport=transport
    )
    w1, w2 = (transport.in_domain_ws(generator64, x) for x in (first, second))
    change = torch.zeros_like(w1)
    change[:, 1:6] = (w2 - w1)[:, 1:6] / 2
    torch.testing.assert_close(mixed.code, generator64.map(first.code) + change)
    before, after = (generator64.synthesize(x, stop=transport.layer).x for x in (w1, w1 + change))
    expected = transport.edit_feature(first.feature, after - before)
    torch.testing.assert_close(mixed.feature, expected)
    # The second face needs no feature.
    plain = make_latents(generator64, "w+")
    mixed = editing.get("style")(generator64, first, plain, transport=transport)
    assert mixed.space == "f/w+"
