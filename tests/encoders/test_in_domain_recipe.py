"""The recipe of the in-domain encoder, with each of its networks."""

import numpy as np
import pytest
import torch
from PIL import Image

from facsimile import checkpoints, metrics
from facsimile.commands.train import WRONG_USE, main
from facsimile.encoders.adversarial import r1_gamma
from facsimile.encoders.in_domain.settings import DEFAULTS, InDomainSettings
from facsimile.stylegan import spaces
from facsimile.training import BatchSlice, R1Settings
from facsimile.training.keyed_sampler import interleave_groups
from facsimile.training.settings import to_dict

architectures = pytest.mark.parametrize("architecture", ["levels", "resnet"])


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
    flags = {"data": (str(photos),), "real_fraction": 0.4, "architecture": "resnet"}
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


@pytest.mark.parametrize("fraction", [None, 1.0, 0.0])
@architectures
def test_one_source(make_recipe, losses_of, photos, fraction, architecture):
    """Photos alone, or samples alone, with or without photos at hand: no term needs the other."""
    flags = {"architecture": architecture}
    if fraction is not None:
        flags |= {"data": (str(photos),), "real_fraction": fraction}
    recipe = make_recipe("in-domain", **flags)
    target = recipe._targets(BatchSlice(0, 0, 4))
    only_photos = fraction == 1
    assert bool((target.is_sample != only_photos).all())
    losses = losses_of(recipe, "encoder", BatchSlice(0, 0, 4))
    assert ("encoder/latent" in losses) != only_photos


@architectures
def test_the_share_of_photos(make_recipe, photos, architecture):
    recipe = make_recipe("in-domain", data=(str(photos),), architecture=architecture)
    share = 0.6 if architecture == "levels" else 1.0
    assert recipe.settings.photos.fraction == share
    is_photo = ~recipe._targets(BatchSlice(0, 0, 20)).is_sample
    assert float(is_photo.float().mean()) == pytest.approx(share)


# The terms ----------------------------------------------------------------------------------------


def assert_terms(actual, expected):
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(actual[name], value, msg=name)


def test_losses_by_hand(make_recipe, losses_of, photos):
    """Every term by its formula, in float64, of a batch in which photos and samples are mixed."""
    flags = {"data": (str(photos),), "real_fraction": 0.5, "precision": "fp64", "bn_group_size": 4}
    flags |= {"architecture": "resnet", "iterations": 0}
    recipe = make_recipe("in-domain", **flags, r1_gamma=10.0)
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


def test_the_losses_of_levels_by_hand(make_recipe, losses_of, photos, tiny_identity):
    """With the frozen critic, the person, and codes in standard deviations of w; in float64."""
    flags = {"data": (str(photos),), "real_fraction": 0.5, "precision": "fp64", "bn_group_size": 4}
    flags |= {"identity": "auto", "critic": "frozen", "code_size_weight": 0.3}
    recipe = make_recipe("in-domain", **flags)
    assert [x.name for x in recipe.trainables] == ["encoder"]
    assert not any(weight.requires_grad for weight in recipe.critic.parameters())
    batch = BatchSlice(0, 0, 8)
    target, code, image = recipe.forward(batch)
    x = target.image
    assert target.is_sample.sum() == 4
    phi = metrics.distance(recipe.perceptual.features(image), recipe.perceptual.features(x))
    tiny_identity.float()  # as everywhere outside of the learned optimizer
    person = (tiny_identity.embed(image) - tiny_identity.embed(x)).square().sum(1)
    mean = spaces.SPACES["w+"].mean_code(recipe.generator, None)
    samples = torch.randn(20_000, recipe.generator.z_dim, dtype=torch.float64)
    scale = recipe.generator.map(samples).std(0)
    error = ((code - target.ws) / scale).square()[target.is_sample]
    expected = {
        "encoder/pixel": (image - x).square().mean(),
        "encoder/perceptual": 0.3 * phi.mean(),
        "encoder/identity": 0.1 * person.mean(),
        "encoder/adversarial": 0.1 * (1 + (-recipe.critic(image)).exp()).log().mean(),
        "encoder/latent": 0.1 * error.mean((1, 2)).sum() / 8,
        "encoder/code size": 0.3 * ((code - mean) / scale).square().mean(),
    }
    actual = losses_of(recipe, "encoder", batch)
    _, after = recipe.encoder.optimize(x, code, recipe.generator.synthesize)
    expected["encoder/learned optimizer"] = torch.stack(after).mean()
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        # The recipe measures standard deviations on other samples.
        rtol = 0.1 if name in ("encoder/latent", "encoder/code size") else 1e-6
        torch.testing.assert_close(actual[name], value, rtol=rtol, atol=1e-12, msg=name)


def test_the_identity_network_of_the_learned_optimizer(make_recipe, tiny_identity):
    """Its name is in the configuration, if the term is on."""
    assert make_recipe("in-domain", identity="auto").encoder.config.identity == "dlib"
    without = {"descent_identity_weight": 0.0}, {"identity": "off"}, {"iterations": 0}
    for flags in without:
        recipe = make_recipe("in-domain", **({"identity": "auto"} | flags))
        assert recipe.encoder.config.identity is None


def test_defaults_of_each_architecture(tmp_path):
    """A flag has the value given, or the architecture's own."""
    for name, defaults in DEFAULTS.items():
        flags = {"architecture": name, "out": tmp_path}
        flat = to_dict(InDomainSettings(**flags))
        assert all(flat[key.replace("_", "-")] == value for key, value in defaults.items())
        changed = to_dict(InDomainSettings(**flags, latent_weight=7.0, width=8))
        assert {k for k in flat if flat[k] != changed[k]} == {"latent-weight", "width"}
    assert DEFAULTS["levels"].keys() | {"lr_decay_images"} == DEFAULTS["resnet"].keys()


def test_learning_rates_follow_the_images_seen(make_recipe):
    """0.8 after a quarter of the paper's run, whatever --images is; the critic's fall alike."""
    for images in (40, 400):
        flags = {"images": images, "lr": 0.5, "lr_decay_images": 100, "architecture": "resnet"}
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
