"""The in-domain encoder's network, and what its recipe trains on."""

import numpy as np
import pytest
import torch
from PIL import Image

from facsimile import checkpoints, encoders, metrics
from facsimile.commands.train import WRONG_USE, main
from facsimile.encoders.in_domain import InDomainConfig
from facsimile.training import BatchSlice
from facsimile.training.keyed_sampler import interleave_groups


@pytest.mark.parametrize(
    "told",
    [{}, {"side": 64}, {"img_channels": 1}, {"img_channels": 4}, {"c_dim": 3}]
    + [{"architecture": "stylegan1", "w_per_layer": True}, {"architecture": "stylegan3"}],
    ids=str,
)
@pytest.mark.parametrize("resolution", [None, 8])
def test_every_generator_redraws(make_generator, make_encoder, told, resolution):
    generator = make_generator(**({"side": 16, "width": 8, "latent": 8} | told))
    encoder = make_encoder("in-domain", generator, resolution=resolution)
    assert len(encoder.blocks) == (1 if resolution else generator.resolution.bit_length() - 3)
    images = torch.rand(2, generator.img_channels, generator.resolution, generator.resolution)
    found = encoders.encode(encoder, generator, images)
    assert found.space == "w+"
    assert found.code.shape == (2, generator.num_ws, generator.w_dim)
    assert found.synthesize(generator).shape == images.shape


def test_the_widths_of_the_paper(make_generator):
    """At 256 px: 64, 128, 256, 512 and then no wider."""
    generator = make_generator(256, 4, 4)
    with torch.device("meta"):
        encoder = encoders.InDomainEncoder(InDomainConfig.for_generator(generator, 64, 512))
    assert [len(block.main[3].weight) for block in encoder.blocks] == [128, 256, 512, 512, 512, 512]
    assert encoder.dense.weight.shape == (generator.num_ws * 4, 512 * 4 * 4)
    # Where the widths are alike there is no layer beside the block.
    assert [len(block.skip) for block in encoder.blocks] == [2, 2, 2, 0, 0, 0]


def test_it_begins_at_the_mean(generator64, make_encoder):
    """With the last layer's gain at 0 it gives the generator's mean code."""
    encoder = make_encoder("in-domain", generator64)
    images = torch.rand(3, 3, 32, 32, dtype=torch.float64)
    wanted = generator64.mapping.w_avg
    with torch.no_grad():
        spread = (encoder(images) - wanted).std()
        encoder.norm.weight.zero_()
    assert spread > 0
    # 10,000 samples and the 1,000 of w_avg give nearly the same mean.
    assert (encoder(images) - wanted).abs().max() < 0.2 * generator64.map(
        torch.randn(100, 32, dtype=torch.float64)
    ).std()


@pytest.mark.parametrize("space", ["w+", "p_n+", "s"])
def test_spaces_of_one_code(generator64, make_encoder, space):
    """The code's picture is the same in every space that holds W+."""
    encoder = make_encoder("in-domain", generator64)
    images = torch.rand(2, 3, 32, 32, dtype=torch.float64) * 2 - 1
    found = encoders.encode(encoder, generator64, images, space)
    wanted = generator64.synthesize(encoder(images))
    assert (found.synthesize(generator64) - wanted).abs().max() < 1e-6


@pytest.mark.parametrize("space", ["w", "z", "z+", "p_n", "f/w+", "f/z+"])
def test_spaces_that_hold_no_such_code(generator, targets, make_encoder, space):
    encoder = make_encoder("in-domain", generator)
    with pytest.raises(ValueError, match=r"take w\+, p_n\+ or s"):
        encoders.encode(encoder, generator, targets, space)


# What it is trained on ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Ten photos of 16 px: the first channel of each says which it is, its left half is darker."""
    folder = tmp_path_factory.mktemp("photos")
    for index in range(10):
        pixels = np.full((16, 16, 3), 20 * index, dtype=np.uint8)
        pixels[:, 8:, 1] = 255
        Image.fromarray(pixels).save(folder / f"{index}.png")
    return folder


def test_a_mixture(make_recipe, photos, folder):
    """Photos as they are or mirrored, samples of the generator; a function of the place alone."""
    told = {"data": (str(photos),), "real_fraction": 0.4}
    recipe, again = (make_recipe("in-domain", **told) for _ in range(2))
    drawn = recipe._drawn(BatchSlice(3, 64, 64))
    halves = [again._drawn(BatchSlice(3, first, 32)) for first in (64, 96)]
    # 16 groups of two each; laid out with the groups beside one another.
    groups = [half.target[number::16] for half in halves for number in range(16)]
    assert (interleave_groups(groups) - drawn.target).abs().max() < 1e-6
    real = drawn.target[~drawn.sampled]
    assert 10 < len(real) < 45
    photo = recipe.images.batch(
        ((real[:, 0, 0, 0] + 1) * 127.5 / 20).round().long(), torch.device("cpu"), torch.float32
    )
    as_they_are = (real == photo).flatten(1).all(1)
    mirrored = (real == photo.flip(3)).flatten(1).all(1)
    assert bool((as_they_are ^ mirrored).all())
    assert 0 < mirrored.sum() < len(real)
    made = recipe.generator.synthesize(drawn.ws[drawn.sampled]).clamp(-1, 1)
    assert (made - drawn.target[drawn.sampled]).abs().max() < 1e-5


@pytest.mark.parametrize("told", [{}, {"data": True}, {"data": True, "real_fraction": 0.0}])
def test_one_source(make_recipe, photos, told):
    """Photos alone with --data, samples alone without: neither draws what it does not need."""
    told = told | ({"data": (str(photos),)} if "data" in told else {})
    recipe = make_recipe("in-domain", **told)
    drawn = recipe._drawn(BatchSlice(0, 0, 4))
    only_photos = told.get("real_fraction") is None and "data" in told
    assert (drawn.ws is None) == only_photos
    assert bool((drawn.sampled != only_photos).all())
    assert ("encoder/latent" in recipe.losses("encoder", BatchSlice(0, 0, 4))) != only_photos


def test_losses_by_hand(make_recipe, photos):
    """Every term by its formula, in float64, of a batch in which photos and samples are mixed."""
    told = {"data": (str(photos),), "real_fraction": 0.5, "precision": "fp64", "bn_group_size": 4}
    recipe = make_recipe("in-domain", **told, r1_gamma=10, iterations=0)
    place = BatchSlice(0, 0, 8)
    drawn = recipe._drawn(place)
    x, image = drawn.target, drawn.image
    losses = recipe.losses("encoder", place)
    phi = metrics.distance(recipe.perceptual.features(image), recipe.perceptual.features(x))
    logits = recipe.critic(image)
    code = (drawn.code - drawn.ws).square()[drawn.sampled]
    wanted = {
        "encoder/pixel": (image - x).square().mean(),
        "encoder/perceptual": 0.8 * phi.mean(),
        "encoder/adversarial": 0.1 * (1 + (-logits).exp()).log().mean(),
        "encoder/latent": 0.1 * code.mean((1, 2)).sum() / 8,
    }
    assert losses.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(losses[name], value, msg=name)
    of_critic = recipe.losses("critic", place)
    real = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(recipe.critic(real).sum(), real)
    wanted = {
        "critic/fake": (1 + logits.exp()).log().mean(),
        "critic/real": (1 + (-recipe.critic(x)).exp()).log().mean(),
        "critic/r1": 10 / 2 * 2 * slope.square().sum() / 8,  # every second step
    }
    assert of_critic.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(of_critic[name], value, msg=name)
    assert "critic/r1" not in recipe.losses("critic", BatchSlice(1, 8, 8))


def test_the_rate_follows_the_images_seen(make_recipe):
    """0.8 after a quarter of the paper's run, whatever --images says."""
    for images in (40, 400):
        run = make_recipe("in-domain", images=images, lr=0.5, lr_decay_images=100).run
        rates = [run.rate(seen) for seen in (0, 50, 100, 400)]
        assert rates == pytest.approx([0.5, 0.5 * 0.8**0.5, 0.4, 0.5 * 0.8**4])


def test_gamma(make_recipe):
    """The paper's 10 is for its 256 px: a sum over (256 / 16)^2 times the pixels."""
    assert make_recipe("in-domain").gamma == 10 / 256
    assert make_recipe("in-domain", r1_gamma=3.0).gamma == 3


def test_the_critic_begins_as_the_discriminator(make_recipe, folder):
    recipe = make_recipe("in-domain")
    own = checkpoints.find(folder).discriminator
    assert all(
        torch.equal(a, b) for a, b in zip(recipe.critic.parameters(), own.parameters(), strict=True)
    )
    assert all(weight.requires_grad for weight in recipe.critic.parameters())
    # What measures the perceptual distance is no part of the game.
    assert not any(weight.requires_grad for weight in recipe.perceptual.parameters())
    names = [
        trainable.name for trainable in make_recipe("in-domain", adversarial_weight=0.0).trainables
    ]
    assert names == ["encoder"]


def test_no_discriminator(tmp_path, arguments, folder, capsys):
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "generator.safetensors").write_bytes((folder / "generator.safetensors").read_bytes())
    told = {"generator": alone, "perceptual": "none", "images": 4}
    assert main(arguments("in-domain", tmp_path / "run", **told)) == WRONG_USE
    assert "--adversarial-weight 0" in capsys.readouterr().err
    without = arguments("in-domain", tmp_path / "run", adversarial_weight=0, **told)
    assert main(without) == 0
