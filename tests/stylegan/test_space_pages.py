"""Oracles: images of the same code in another space; a space that a temporary file adds."""

import re

import pytest
import torch

from facsimile import stylegan
from facsimile.stylegan import spaces


@pytest.fixture(scope="module")
def ws(generator64):
    z = torch.randn(3, 32, generator=torch.Generator().manual_seed(9)).double()
    return generator64.map(z)


@pytest.mark.parametrize("name", ["w+", "p_n+", "s"])
def test_from_w_plus(generator64, ws, name):
    """The code in another space redraws the image of the code in W+."""
    space, some = spaces.SPACES[name], ws[:3].clone()
    some[:, 2:] += 0.3
    assert space.contains_w_plus
    code = space.from_w_plus(generator64, some)
    assert code.shape == (3, *space.shape(generator64))
    images = generator64.synthesize(space.decode(generator64, code))
    torch.testing.assert_close(images, generator64.synthesize(some), atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ["z", "z+", "w", "p_n"])
def test_spaces_that_do_not_contain_w_plus(generator64, ws, name):
    space = spaces.SPACES[name]
    assert not space.contains_w_plus
    sentence = (
        f'"{re.escape(name)}" cannot hold a different w for every .*; use one of p_n\\+, s, w\\+'
    )
    with pytest.raises(ValueError, match=sentence):
        space.from_w_plus(generator64, ws[:1])


@pytest.mark.parametrize("name", spaces.SPACES)
def test_to_w_plus(make_generator, name):
    """What `decode` gives, truncated as the latents say; styles have no code in W+."""
    generator = make_generator(c_dim=2)
    options = {"init": "random", "truncation_psi": 0.6, "truncation_cutoff": 3}
    latents = stylegan.init_latents(generator, name, 2, label=torch.eye(2), **options)
    if name == "s":
        with pytest.raises(ValueError, match='a code of "s" holds styles, which have no code in W'):
            latents.to_w_plus(generator)
        return
    ws = latents.to_w_plus(generator)
    assert ws.shape == (2, 8, 32)
    assert torch.equal(generator.synthesize(ws), latents.synthesize(generator))


PAGE = """
import torch
from facsimile.stylegan import spaces

class Tanh(spaces.Space):
    kind = "tanh"
    def decode(self, generator, code, label=None):
        return generator.broadcast_ws(torch.tanh(code))
    def from_w_plus(self, generator, ws):
        return torch.atanh(super().from_w_plus(generator, ws))

spaces.register(Tanh(), Tanh(plus=True))
"""


def test_a_page_anywhere_adds_a_space(generator, tmp_path, monkeypatch):
    """Initial codes, images, deviation and files of a space that a file in a new folder adds."""
    (tmp_path / "tanh_page.py").write_text(PAGE)
    monkeypatch.setattr(spaces, "__path__", [*spaces.__path__, str(tmp_path)])
    monkeypatch.setattr(spaces.space, "SPACES", dict(spaces.SPACES))
    spaces.load_pages()
    space, has_feature = spaces.parse("f/tanh+")
    assert (space.name, space.contains_w_plus, has_feature) == ("tanh+", True, True)
    latents = stylegan.init_latents(generator, "f/tanh+", 2, init="random", seed=1)
    images = latents.synthesize(generator)
    assert torch.equal(latents.to_w_plus(generator), latents.code.tanh())
    assert latents.deviation(generator).shape == (2,)
    latents.save(tmp_path / "latents.safetensors")
    again = stylegan.Latents.load(tmp_path / "latents.safetensors", generator)
    assert torch.equal(again.synthesize(generator), images)
    ws = torch.rand(1, 8, 32) - 0.5
    torch.testing.assert_close(space.decode(generator, space.from_w_plus(generator, ws)), ws)


def test_names_that_cannot_be_registered():
    class Unnamed(spaces.Space):
        pass

    class Feature(spaces.Space):
        kind = "f/x"

    class Other(spaces.Space):
        kind = "w"

    for space in (Unnamed(), Feature()):
        with pytest.raises(ValueError, match=f'cannot be named "{space.name}"; set `kind`'):
            spaces.register(space)
    with pytest.raises(ValueError, match='there are two spaces "w", W.* and .*Other.*; rename one'):
        spaces.register(Other())
    spaces.register(spaces.SPACES["w"])  # a page that is imported again
