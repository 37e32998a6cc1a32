"""The in-domain encoder's network, and its recipe."""

import numpy as np
import pytest
import torch
from PIL import Image

from facsimile import checkpoints, encoders, metrics
from facsimile.commands.train import WRONG_USE, main
from facsimile.encoders.adversarial import r1_gamma
from facsimile.encoders.in_domain import InDomainConfig
from facsimile.training import BatchSlice, R1Settings
from facsimile.training.keyed_sampler import interleave_groups


@pytest.mark.parametrize(
    "changes",
    [{}, {"side": 64}, {"img_channels": 1}, {"img_channels": 4}, {"c_dim": 3}]
    + [{"architecture": "stylegan1", "w_per_layer": True}, {"architecture": "stylegan3"}],
    ids=str,
)
@pytest.mark.parametrize("resolution", [None, 8])
def test_every_generator(make_generator, make_encoder, changes, resolution):
    generator = make_generator(**({"side": 16, "width": 8, "latent": 8} | changes))
    encoder = make_encoder("in-domain", generator, resolution=resolution)
    assert len(encoder.blocks) == (1 if resolution else generator.resolution.bit_length() - 3)
    images = torch.rand(2, generator.img_channels, generator.resolution, generator.resolution)
    latents = encoders.encode(encoder, generator, images)
    assert latents.space == "w+"
    assert latents.code.shape == (2, generator.num_ws, generator.w_dim)
    assert latents.synthesize(generator).shape == images.shape


def test_the_widths_of_the_paper(make_generator):
    """At 256 px: 64, 128, 256, 512 and then no wider."""
    generator = make_generator(256, 4, 4)
    with torch.device("meta"):
        encoder = encoders.InDomainEncoder(InDomainConfig.for_generator(generator, 64, 512))
    assert [len(block.main[3].weight) for block in encoder.blocks] == [128, 256, 512, 512, 512, 512]
    assert encoder.dense.weight.shape == (generator.num_ws * 4, 512 * 4 * 4)
    # Blocks of equal widths have an identity as their skip connection.
    assert [len(block.skip) for block in encoder.blocks] == [2, 2, 2, 0, 0, 0]


def test_initial_codes(generator64, make_encoder):
    """With the last layer's gain at 0 they are the generator's mean code."""
    encoder = make_encoder("in-domain", generator64)
    images = torch.rand(3, 3, 32, 32, dtype=torch.float64)
    mean = generator64.mapping.w_avg
    with torch.no_grad():
        deviation = (encoder(images) - mean).std()
        encoder.norm.weight.zero_()
    assert deviation > 0
    # 10,000 samples and the 1,000 of w_avg give nearly the same mean.
    assert (encoder(images) - mean).abs().max() < 0.2 * generator64.map(
        torch.randn(100, 32, dtype=torch.float64)
    ).std()


@pytest.mark.parametrize("space", ["w+", "p_n+", "s"])
def test_spaces_of_one_code(generator64, make_encoder, space):
    """The image of the code is the same in every space that contains W+."""
    encoder = make_encoder("in-domain", generator64)
    images = torch.rand(2, 3, 32, 32, dtype=torch.float64) * 2 - 1
    latents = encoders.encode(encoder, generator64, images, space)
    expected = generator64.synthesize(encoder(images))
    assert (latents.synthesize(generator64) - expected).abs().max() < 1e-6


@pytest.mark.parametrize("space", ["w", "z", "z+", "p_n", "f/w+", "f/z+"])
def test_spaces_that_do_not_contain_w_plus(generator, targets, make_encoder, space):
    encoder = make_encoder("in-domain", generator)
    with pytest.raises(ValueError, match=r"kind in-domain cannot start .*; take p_n\+, s, w\+"):
        encoders.encode(encoder, generator, targets, space)


# Training images ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Ten photos of 16 px: the first channel of each is its number, its left half is darker."""
    folder = tmp_path_factory.mktemp("photos")
    for index in range(10):
        pixels = np.full((16, 16, 3), 20 * index, dtype=np.uint8)
        pixels[:, 8:, 1] = 255
        Image.fromarray(pixels).save(folder / f"{index}.png")
    return folder


def test_a_mixture(make_recipe, photos):
    """Photos, some of them mirrored, and samples of the generator; functions of the batch alone."""
    flags = {"data": (str(photos),), "real_fraction": 0.4}
    recipe, again = (make_recipe("in-domain", **flags) for _ in range(2))
    target = recipe._targets(BatchSlice(3, 64, 64))
    halves = [again._targets(BatchSlice(3, start, 32)) for start in (64, 96)]
    # 16 groups of two in each half; groups are interleaved.
    groups = [half.image[number::16] for half in halves for number in range(16)]
    assert (interleave_groups(groups) - target.image).abs().max() < 1e-6
    real = target.image[~target.is_sample]
    assert 10 < len(real) < 45
    photo = recipe.photos.batch(
        ((real[:, 0, 0, 0] + 1) * 127.5 / 20).round().long(), torch.device("cpu"), torch.float32
    )
    unchanged = (real == photo).flatten(1).all(1)
    mirrored = (real == photo.flip(3)).flatten(1).all(1)
    assert bool((unchanged ^ mirrored).all())
    assert 0 < mirrored.sum() < len(real)
    samples = recipe.generator.synthesize(target.ws[target.is_sample]).clamp(-1, 1)
    assert (samples - target.image[target.is_sample]).abs().max() < 1e-5


@pytest.mark.parametrize("changes", [{}, {"data": True}, {"data": True, "real_fraction": 0.0}])
def test_one_source(make_recipe, losses_of, photos, changes):
    """Photos alone with --data, samples alone without: neither computes the other."""
    flags = changes | ({"data": (str(photos),)} if "data" in changes else {})
    recipe = make_recipe("in-domain", **flags)
    target = recipe._targets(BatchSlice(0, 0, 4))
    only_photos = changes == {"data": True}
    assert (target.ws is None) == only_photos
    assert bool((target.is_sample != only_photos).all())
    losses = losses_of(recipe, "encoder", BatchSlice(0, 0, 4))
    assert ("encoder/latent" in losses) != only_photos


# The terms ----------------------------------------------------------------------------------------


def assert_terms(actual, expected):
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(actual[name], value, msg=name)


def test_losses_by_hand(make_recipe, losses_of, photos):
    """Every term by its formula, in float64, of a batch in which photos and samples are mixed."""
    flags = {"data": (str(photos),), "real_fraction": 0.5, "precision": "fp64", "bn_group_size": 4}
    recipe = make_recipe("in-domain", **flags, r1_gamma=10.0, iterations=0)
    batch = BatchSlice(0, 0, 8)
    target, code, image = recipe.forward(batch)
    x = target.image
    phi = metrics.distance(recipe.perceptual.features(image), recipe.perceptual.features(x))
    logits = recipe.critic(image)
    error = (code - target.ws).square()[target.is_sample]
    expected = {
        "encoder/pixel": (image - x).square().mean(),
        "encoder/perceptual": 0.8 * phi.mean(),
        "encoder/adversarial": 0.1 * (1 + (-logits).exp()).log().mean(),
        "encoder/latent": 0.1 * error.mean((1, 2)).sum() / 8,
    }
    assert_terms(losses_of(recipe, "encoder", batch), expected)
    real = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(recipe.critic(real).sum(), real)
    expected = {
        "critic/fake": (1 + logits.exp()).log().mean(),
        "critic/real": (1 + (-recipe.critic(x)).exp()).log().mean(),
        "critic/r1": 10 / 2 * 2 * gradient.square().sum() / 8,  # every second step
    }
    assert_terms(losses_of(recipe, "critic", batch), expected)
    assert "critic/r1" not in losses_of(recipe, "critic", BatchSlice(1, 8, 8))


def test_learning_rates_follow_the_images_seen(make_recipe):
    """0.8 after a quarter of the paper's run, whatever --images is; the critic's fall alike."""
    for images in (40, 400):
        flags = {"images": images, "lr": 0.5, "lr_decay_images": 100}
        recipe = make_recipe("in-domain", **flags, critic_lr=0.1)
        rates = [recipe.learning_rates(seen) for seen in (0, 50, 100, 400)]
        factors = [1, 0.8**0.5, 0.8, 0.8**4]
        assert [x["encoder"] for x in rates] == pytest.approx([0.5 * x for x in factors])
        assert [x["critic"] for x in rates] == pytest.approx([0.1 * x for x in factors])


def test_r1_gamma():
    """The paper's 10 is for its 256 px: a sum over (256 / 16)^2 times the pixels."""
    assert r1_gamma(R1Settings(), 16) == 10 / 256
    assert r1_gamma(R1Settings(), 256) == r1_gamma(R1Settings(), 512) == 10
    assert r1_gamma(R1Settings(r1_gamma=3.0), 16) == 3


def test_the_critic_is_initialised_with_the_discriminator(make_recipe, folder):
    recipe = make_recipe("in-domain")
    weights = checkpoints.find(folder).discriminator.state_dict()
    assert all(torch.equal(x, weights[name]) for name, x in recipe.critic.state_dict().items())
    assert all(weight.requires_grad for weight in recipe.critic.parameters())
    # The network of the perceptual distance is not trained.
    assert not any(weight.requires_grad for weight in recipe.perceptual.parameters())
    trainables = make_recipe("in-domain", adversarial_weight=0.0).trainables
    assert [x.name for x in trainables] == ["encoder"]


def test_no_discriminator(tmp_path, arguments, folder, capsys):
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "generator.safetensors").write_bytes((folder / "generator.safetensors").read_bytes())
    flags = {"generator": alone, "perceptual": "none", "images": 4}
    assert main(arguments("in-domain", tmp_path / "run", **flags)) == WRONG_USE
    assert "--adversarial-weight 0" in capsys.readouterr().err
    without = arguments("in-domain", tmp_path / "run", adversarial_weight=0, **flags)
    assert main(without) == 0
