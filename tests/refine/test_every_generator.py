"""Every recipe on every kind of generator takes two steps that do what a step does."""

import pytest
import torch
from torch import nn

from facsimile import metrics, stylegan
from facsimile.refine import refine
from facsimile.refine.recipes import RECIPES, get

NAMES = [name + suffix for name in RECIPES for suffix in ("", " +noise")]
SOME = ("w+", "z", "s", "p_n+", "f/z+", "f/z+ +noise", "in-domain", "w+ +noise")
"""What make test runs; make test-all runs every recipe."""
KINDS = {
    "stylegan1": {"architecture": "stylegan1"},
    "stylegan1, a w per layer": {"architecture": "stylegan1", "w_per_layer": True},
    "stylegan1, labels": {"architecture": "stylegan1", "c_dim": 3},
    "stylegan2": {},
    "stylegan3-t": {"architecture": "stylegan3"},
    "stylegan3-r, labels": {"architecture": "stylegan3", "radial": True, "c_dim": 3},
    "grey": {"img_channels": 1},
    "RGBA": {"img_channels": 4},
    "labels": {"c_dim": 3},
}


class World:
    """A tiny generator, its discriminator as perceptual term, pictures, and labels if any."""

    def __init__(self, makers, side, width, *, count=2, **options):
        make_generator, make_discriminator, self.make_toy_encoder = makers
        self.generator = make_generator(side, width, 8, **options)
        channels = self.generator.img_channels
        # StyleGAN3 is trained against StyleGAN2's discriminator.
        architecture = "stylegan1" if options.get("architecture") == "stylegan1" else "stylegan2"
        discriminator = make_discriminator(
            side, width, img_channels=channels, architecture=architecture
        )
        self.perceptual = metrics.discriminator_features(discriminator)
        source = torch.Generator().manual_seed(2)
        self.targets = torch.rand(count, channels, side, side, generator=source) * 2 - 1
        c_dim = self.generator.c_dim
        self.label = torch.eye(c_dim)[[0, c_dim - 1][:count]] if c_dim else None

    def assert_two_steps(self, name):
        """Two steps: everything that the recipe moves has moved, and no loss has risen."""
        recipe = get(name).with_steps(2)
        n = len(self.targets)
        start = stylegan.init_latents(
            self.generator, recipe.space, n, label=self.label, layer=recipe.layer
        )
        networks = {"perceptual": self.perceptual}
        if recipe.has_term("domain_reg"):
            networks["encoder"] = self.make_toy_encoder(self.generator)
        result = refine(self.generator, start, self.targets, recipe, networks=networks)
        assert result.status == ["done"] * n
        image = result.latents.synthesize(self.generator)
        assert image.shape == self.targets.shape
        assert image.isfinite().all()
        maps = self.generator.noise_maps(n)
        before = start.tensors() | {f"noise.{i}": m for i, m in enumerate(maps)}
        kinds = {v.name for phase in recipe.phases for v in phase.variables}
        moved = {kind for kind in kinds if kind != "noise"}
        if "noise" in kinds:
            # The maps up to the feature have no effect any more.
            layers = {layer.name: layer.noise for layer in self.generator.synthesis.layers}
            first = 0 if start.layer is None else layers[start.layer] + 1
            moved |= {f"noise.{i}" for i in range(first, len(maps))}
        for name, x in result.latents.tensors().items():
            changed = (x - before[name]).flatten(1).abs().amax(1) > 0
            assert changed.tolist() == [name in moved] * n, name
        for phase in recipe.phases:
            terms = [x for key, x in result.history.items() if key.startswith(f"{phase.name}/")]
            total = torch.stack(terms).sum(0)
            assert (total.amin(0) < total[0]).all(), (phase.name, total)


@pytest.fixture(scope="module")
def makers(make_generator, make_discriminator, make_toy_encoder):
    return make_generator, make_discriminator, make_toy_encoder


@pytest.fixture(scope="module", params=KINDS)
def world(request, makers):
    return World(makers, 32, 4, **KINDS[request.param])


@pytest.mark.parametrize(
    "name", [x if x in SOME else pytest.param(x, marks=pytest.mark.exhaustive) for x in NAMES]
)
def test_small(world, name):
    if "noise" in name and not world.generator.noise_strengths:
        with pytest.raises(ValueError, match="has no noise inputs; choose a recipe without"):
            world.assert_two_steps(name)
    else:
        world.assert_two_steps(name)


@pytest.mark.slow
@pytest.mark.parametrize(
    "architecture", [pytest.param("stylegan1", marks=pytest.mark.exhaustive), "stylegan2"]
)
def test_large(makers, architecture):
    """1024 px, of two channels."""
    world = World(makers, 1024, 2, count=1, architecture=architecture)
    assert world.generator.num_ws == 18
    for name in ("w+ +noise", "f/z+"):
        world.assert_two_steps(name)


def test_a_generator_without_noise(makers):
    world = World(makers, 8, 2)
    world.generator.synthesis.layers = [
        layer._replace(noise=None, module=Silent(layer.module) if layer.feature else layer.module)
        for layer in world.generator.synthesis.layers
    ]
    world.assert_two_steps("w+")
    with pytest.raises(ValueError, match="has no noise inputs; choose a recipe without \\+noise"):
        world.assert_two_steps("w+ +noise")


class Silent(nn.Module):
    """A layer that adds no noise."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x, style, noise):
        assert noise is None
        return self.layer(x, style, None)
