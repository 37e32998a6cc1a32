"""A latent space, a recipe, a term, an encoder kind and an edit, each added by one file elsewhere.

Each file registers what it adds; the plan, the commands and the Python object then know it.
Oracles: the formulas in the files.
"""

import importlib.util
import json

import numpy as np
import pytest
import torch
from PIL import Image

import facsimile
from facsimile import editing, encoders, stylegan
from facsimile.cli import main
from facsimile.encoders import KINDS
from facsimile.encoders import kinds as encoder_kinds
from facsimile.refine import recipes, terms
from facsimile.stylegan import Latents, spaces

pytestmark = pytest.mark.usefixtures("small_identity")

SPACE = '''
"""V+: codes of W+ in units of 2."""

from facsimile.stylegan.spaces import Space, register


class V(Space):
    kind = "v"

    def decode(self, generator, code, label=None):
        return generator.broadcast_ws(2 * code)

    def from_w_plus(self, generator, ws):
        return ws / 2

    def mean_code(self, generator, label):
        return super().mean_code(generator, label) / 2


register(V(plus=True))
'''

TERM = '''
"""How large the code is."""

from facsimile.refine.terms import register


@register()
def code_size(inputs, term):
    """mean(code^2)"""
    return inputs.latents.code.square().flatten(1).mean(1)
'''

RECIPE = '''
"""V+ from an encoder, with a term on the size of the code."""

from facsimile.refine import Phase, Recipe, Term, Variable
from facsimile.refine.recipes import register

PHASE = Phase(
    name="code",
    variables=(Variable("code", 0.01),),
    terms=(Term("pixel", 1.0), Term("code_size", 0.5)),
    steps=4,
)
register(Recipe(name="mine", space="v+", encoder="pooled", phases=(PHASE,)))
'''

ENCODER = '''
"""The mean colours of a photo -> a code in W+."""

from dataclasses import dataclass

import torch
from torch import nn

from facsimile.encoders.kinds import EncoderKind
from facsimile.encoders.recipe import EncoderRecipe
from facsimile.encoders.settings import EncoderSettings


@dataclass(frozen=True, kw_only=True)
class PooledConfig:
    fingerprint: str
    img_channels: int
    num_ws: int
    w_dim: int


class PooledEncoder(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        self.dense = nn.Linear(config.img_channels, config.num_ws * config.w_dim)
        self.register_buffer("mean", torch.zeros(config.num_ws, config.w_dim))

    def init_normalization(self, generator, ws):
        self.mean.copy_(ws.mean(0))

    def encode(self, images, synthesize):
        return self(images)

    def forward(self, images):
        return self.mean + self.dense(images.mean((2, 3))).unflatten(1, self.mean.shape)


@dataclass(frozen=True, kw_only=True)
class PooledSettings(EncoderSettings):
    """Train an encoder of mean colours."""

    images: int = 1000


class PooledRecipe(EncoderRecipe):
    betas = (0.9, 0.99)

    def _build(self):
        g = self.generator
        sizes = {"img_channels": g.img_channels, "num_ws": g.num_ws, "w_dim": g.w_dim}
        return PooledEncoder(PooledConfig(fingerprint=g.fingerprint, **sizes))

    def _reconstruct(self, encoder, images, ws):
        return self.generator.synthesize(encoder(images))

    def forward(self, batch):
        with torch.no_grad():
            ws, _ = self._codes(batch)
            return ws, self._sample_images(ws)

    def losses(self, name, batch, shared):
        ws, images = shared
        return {"encoder/code": (self.encoder(images) - ws).square().mean()}


KIND = EncoderKind(
    name="pooled",
    config=PooledConfig,
    network=PooledEncoder,
    settings=PooledSettings,
    recipe=PooledRecipe,
    predicts="w+",
    default_space="w+",
)
'''

EDIT = '''
"""The face on the other side of the mean."""

from facsimile.editing import Edit, Parameter
from facsimile.stylegan.spaces import parse


def opposite(generator, latents, strength):
    space, _ = parse(latents.space)
    mean = space.initial_code(generator, len(latents), "mean")
    code = latents.code + 2 * strength * (mean - latents.code)
    return latents.with_tensors(latents.tensors() | {"code": code})


EDIT = Edit(
    name="opposite",
    summary="The face on the other side of the mean.",
    function=opposite,
    parameters=(Parameter(name="strength", default=1.0, minimum=0, maximum=1, help="Share."),),
)
'''


TABLES = (spaces.SPACES, terms.TERMS, recipes.RECIPES, editing.EDITS)


def run(path):
    """Execute a file as a module, as importing it does."""
    spec = importlib.util.spec_from_file_location(f"page_{path.stem}", path)
    spec.loader.exec_module(importlib.util.module_from_spec(spec))


@pytest.fixture
def pages(tmp_path):
    """The folder of the five files, registered; afterwards the registries are as before."""
    before = [(table, dict(table)) for table in (*TABLES, KINDS._gather())]
    texts = {"space": SPACE, "term": TERM, "recipe": RECIPE, "encoder": ENCODER, "edit": EDIT}
    paths = {name: tmp_path / "pages" / f"{name}.py" for name in texts}
    (tmp_path / "pages").mkdir()
    for name, text in texts.items():
        paths[name].write_text(text)
    for name in ("space", "term", "recipe"):
        run(paths[name])
    encoder_kinds.register_page(paths["encoder"])
    editing.register_page(paths["edit"])
    yield paths
    for table, entries in before:
        table.clear()
        table.update(entries)


@pytest.fixture
def folder(tmp_path, make_generator, make_discriminator):
    """A tiny generator with its discriminator."""
    stylegan.save(make_generator(16, 8, 8), tmp_path / "generator.safetensors")
    stylegan.save(make_discriminator(16), tmp_path / "discriminator.safetensors")
    return tmp_path


@pytest.fixture
def squares(tmp_path):
    """Three pictures "0.png" to "2.png" in a folder."""
    folder = tmp_path / "squares"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for index in range(3):
        pixels = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    return folder


def command(*args):
    with pytest.raises(SystemExit) as left:
        main([str(arg) for arg in args])
    return left.value.code


@pytest.mark.slow
@pytest.mark.usefixtures("pages")
def test_each_is_used(folder, squares, capsys):
    generator = stylegan.load(folder / "generator.safetensors")
    # The encoder kind: trained by its name, saved, found beside its generator.
    out = folder / "run"
    settings = ("--generator", folder, "--images", 8, "--batch", 4, "--device", "cpu")
    settings += ("--bn-group-size", 1, "--perceptual", "none", "--out", out)
    assert command("train", "pooled", *settings) == 0
    (out / encoders.FILE).rename(folder / "pooled.safetensors")
    encoder = encoders.load(folder / "pooled.safetensors", generator)
    assert encoders.kind_of(encoder).name == "pooled"
    capsys.readouterr()

    # The recipe, in the space and with the term, initialised by the encoder.
    options = ("--generator", folder, "--perceptual", "none", "--device", "cpu", "--no-align")
    results = folder / "results"
    assert command("invert", squares, "--out", results, "--recipe", "mine", *options) == 0
    printed = capsys.readouterr().out
    assert "recipe: mine +identity (code until a photo is done, at most 4 steps)" in printed
    assert f"init: the pooled encoder {folder / 'pooled.safetensors'}" in printed
    latents = Latents.load(results / "1" / "latents.safetensors", generator)
    assert latents.space == "v+"
    record = json.loads((results / "1" / "scores.json").read_text())
    assert [t["name"] for t in record["plan"]["recipe"]["phases"][0]["terms"]][1] == "code_size"

    studio = facsimile.load(folder, perceptual="none", device="cpu")
    plan = studio.plan("mine +noise", align=False)
    result = studio.invert(squares / "1.png", plan)
    ws = encoder(result.targets)
    size = (ws / 2).square().mean()
    torch.testing.assert_close(result.history["code/code_size"][0, 0], 0.5 * size)
    image = generator.synthesize(ws)
    pixel = (image - result.targets).square().mean()
    torch.testing.assert_close(result.history["code/pixel"][0, 0], pixel)

    # The edit, of what was inverted.
    edited = folder / "edited"
    assert command("edit", "opposite", results, "--out", edited, *options) == 0
    codes = torch.cat([Latents.load(results / n / "latents.safetensors").code for n in "012"])
    mean = stylegan.init_latents(generator, "v+", 3, init="mean").code
    after = Latents.load(edited / "latents.safetensors", generator)
    torch.testing.assert_close(after.code, 2 * mean - codes)
    half = studio.edit(result, "opposite", strength=0.5)
    torch.testing.assert_close(half.latents.code, mean[:1])


def test_the_registries_are_as_before(pages):
    """What a page adds is there, and its name is taken."""
    assert spaces.parse("f/v+")[1]
    assert recipes.get("mine +noise").steps > 4
    assert terms.get("code_size").networks == ()
    assert KINDS["pooled"].spaces == KINDS["in-domain"].spaces
    assert "v+" in KINDS["pooled"].spaces
    assert editing.get("opposite").inputs == 1
    with pytest.raises(ValueError, match='there is an edit "opposite" already'):
        editing.register_page(pages["edit"])
