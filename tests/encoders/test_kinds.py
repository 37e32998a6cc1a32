"""A new encoder kind is one page: training, files, spaces and the registry of networks follow."""

import re
import shutil
import sys

import pytest
import torch

from facsimile import checkpoints, encoders
from facsimile.commands.train import main
from facsimile.encoders import KINDS
from facsimile.stylegan import spaces

PAGE = '''
"""An encoder of the images' mean colours: images (N, C, R, R) -> codes (N, L, D)."""

from dataclasses import dataclass

import torch
from torch import nn

from facsimile.encoders.in_domain.objective import InDomainRecipe
from facsimile.encoders.in_domain.settings import InDomainSettings
from facsimile.encoders.kinds import EncoderKind
from facsimile.encoders.layers import GhostBatchNorm


@dataclass(frozen=True, kw_only=True)
class MeanColourConfig:
    fingerprint: str
    channels: int
    num_ws: int
    w_dim: int


class MeanColourEncoder(nn.Module):
    def __init__(self, config, bn_group_size=2):
        super().__init__()
        self.config = config
        self.dense = nn.Linear(config.channels, config.num_ws * config.w_dim)
        self.norm = GhostBatchNorm(config.num_ws * config.w_dim, bn_group_size)
        self.register_buffer("mean", torch.zeros(config.num_ws, config.w_dim))

    def init_normalization(self, generator, ws):
        self.mean.copy_(ws.mean(0))

    def forward(self, images):
        x = self.norm(self.dense(images.mean((2, 3))))
        return self.mean + x.unflatten(1, self.mean.shape)

    def encode(self, images, synthesize):
        return self(images)


@dataclass(frozen=True, kw_only=True)
class MeanColourSettings(InDomainSettings):
    """Train an encoder of mean colours."""


class MeanColourRecipe(InDomainRecipe):
    def _build(self):
        generator = self.generator
        config = MeanColourConfig(
            fingerprint=generator.fingerprint,
            channels=generator.img_channels,
            num_ws=generator.num_ws,
            w_dim=generator.w_dim,
        )
        return MeanColourEncoder(config, self.settings.bn_group_size)


KIND = EncoderKind(
    name="mean-colour",
    config=MeanColourConfig,
    network=MeanColourEncoder,
    settings=MeanColourSettings,
    recipe=MeanColourRecipe,
    predicts="w+",
    default_space="w+",
)
'''


@pytest.fixture
def own_registry(monkeypatch):
    """Kinds that are added in a test are gone after it."""
    monkeypatch.setattr(KINDS, "_kinds", dict(KINDS))


@pytest.fixture
def add_page(tmp_path, monkeypatch, own_registry):
    """add_page(way) -> the kind of `PAGE`, found in the folder of the kinds or registered."""

    def added(way):
        page = tmp_path / "pages" / "mean_colour.py"
        page.parent.mkdir()
        page.write_text(PAGE)
        if way == "registered":
            return encoders.register_page(page)
        monkeypatch.setattr(encoders, "__path__", [*encoders.__path__, str(page.parent)])
        monkeypatch.setattr(KINDS, "_is_complete", False)
        return KINDS["mean-colour"]

    yield added
    sys.modules.pop("facsimile.encoders.mean_colour", None)


def test_the_pages_of_the_folder():
    names = ["base", "difference", "editor", "feature", "in-domain", "keypoint", "naive"]
    assert list(KINDS) == names
    for name, kind in KINDS.items():
        assert kind.name == name
        assert kind.default_space in (*kind.spaces, None)
    assert set(KINDS["in-domain"].spaces) == {"w+", "p_n+", "s"}
    for kind in ("base", "feature"):
        assert set(KINDS[kind].spaces) == {f"f/{name}" for name in spaces.SPACES}
    assert KINDS["naive"].spaces == ()
    with pytest.raises(ValueError, match="Linear is not the network of an encoder kind"):
        encoders.kind_of(torch.nn.Linear(1, 1))


@pytest.mark.parametrize("way", ["found in the folder", "registered"])
def test_one_page_adds_a_kind(tmp_path, arguments, folder, add_page, way):
    kind = add_page(way)
    assert KINDS["mean-colour"] is kind
    assert kind.spaces == KINDS["in-domain"].spaces

    # Training, on the command line.
    _, *flags = arguments("in-domain", tmp_path / "run", images=8, iterations=0)
    assert main(["mean-colour", *flags]) == 0

    # Files, and the encoders beside a generator.
    for name in ("generator", "discriminator"):
        shutil.copy(folder / f"{name}.safetensors", tmp_path)
    shutil.copy(tmp_path / "run" / encoders.FILE, tmp_path / "mean-colour.safetensors")
    networks = checkpoints.find(tmp_path)
    assert networks.encoders.kinds == ("mean-colour",)
    encoder = networks.encoders.get("mean-colour")
    assert encoders.kind_of(encoder.network) is kind

    # Latents in every space that contains W+ have the images of the predicted codes.
    images = torch.rand(2, 3, 16, 16)
    expected = networks.generator.synthesize(encoder.network(images))
    for space in kind.spaces:
        latents = encoders.encode(encoder.network, networks.generator, images, space)
        image = latents.synthesize(networks.generator)
        torch.testing.assert_close(image, expected, rtol=0, atol=1e-4)


def test_names_are_unique(own_registry, tmp_path):
    page = tmp_path / "other.py"
    page.write_text(PAGE.replace('"mean-colour"', '"in-domain"'))
    with pytest.raises(ValueError, match='two encoder kinds called "in-domain"'):
        encoders.register_page(page)


def test_pages_without_a_kind(tmp_path):
    (tmp_path / "empty.py").write_text("")
    with pytest.raises(ValueError, match=re.escape("must end in KIND = EncoderKind(...)")):
        encoders.register_page(tmp_path / "empty.py")
    with pytest.raises(FileNotFoundError, match="expected the page of an encoder kind"):
        encoders.register_page(tmp_path / "none.py")
