"""The base encoder's iterations: their inputs, and how they are trained."""

import pytest
import torch

from facsimile import encoders
from facsimile.commands.train import main
from facsimile.encoders.base import BaseConfig, BaseEncoder
from facsimile.encoders.files import FILE
from facsimile.stylegan import spaces
from facsimile.training import BatchSlice


@pytest.fixture
def feature_net(make_discriminator, generator):
    return make_discriminator(generator.resolution)


def perturbed(encoder):
    """With a head that changes the feature, which the initial one hardly does."""
    torch.nn.init.normal_(encoder.corrector.head.weight, std=0.1)
    return encoder


@pytest.mark.parametrize(
    "changes",
    [{}, {"side": 64}, {"img_channels": 1}, {"architecture": "stylegan1"}]
    + [{"architecture": "stylegan3"}],
    ids=str,
)
def test_every_layer(make_generator, make_encoder, changes):
    """The initial change is close to 0; it has the feature's shape."""
    generator = make_generator(**({"side": 16, "width": 8, "latent": 8} | changes))
    ws = generator.map(torch.randn(2, generator.z_dim))
    images = generator.synthesize(ws).clamp(-1, 1)
    for layer in generator.feature_layers:
        encoder = make_encoder("base", generator, layer=layer, iterations=2)
        feature = encoder.feature(images)

        def synthesize(x, feature=feature):
            return generator.synthesize(ws, start=feature._replace(x=x))

        refined = encoder.refine(images, feature.x, synthesize)
        assert 0 < (refined - feature.x).abs().max() < 0.2 * encoder.scale
        assert refined.shape == feature.x.shape


@pytest.mark.parametrize("space", ["f/z+", "f/w+"])
def test_iterations_synthesize_with_the_initial_code(
    generator, targets, make_encoder, feature_net, space
):
    encoder = perturbed(make_encoder("base", generator, iterations=3, feature_net=feature_net))
    latents = encoders.encode(encoder, generator, targets, space, seed=3)
    x = encoder(targets)
    photo = encoder.corrector.extract(targets)
    for _ in range(3):
        image = latents.with_tensors(latents.tensors() | {"feature": x}).synthesize(generator)
        x = encoder.refine_once(photo, x, image)
    assert torch.equal(latents.feature, x)
    assert not torch.allclose(x, encoder(targets), atol=1e-2)


def test_images_do_not_influence_one_another(generator64, make_discriminator, make_encoder):
    feature_net = make_discriminator(generator64.resolution).double()
    encoder = perturbed(make_encoder("base", generator64, iterations=2, feature_net=feature_net))
    images = torch.rand(3, 3, 32, 32, dtype=torch.float64) * 2 - 1
    batch = encoders.encode(encoder, generator64, images, "f/w+").feature
    single = [encoders.encode(encoder, generator64, x[None], "f/w+").feature for x in images]
    assert (batch - torch.cat(single)).abs().max() < 1e-10


def test_the_feature_net_is_in_the_file(tmp_path, generator, targets, make_encoder, feature_net):
    encoder = perturbed(make_encoder("base", generator, iterations=1, feature_net=feature_net))
    encoders.save(encoder, tmp_path / FILE)
    loaded = encoders.load(tmp_path, generator)
    assert loaded.config == encoder.config
    one, other = (encoders.encode(x, generator, targets).feature for x in (encoder, loaded))
    assert torch.equal(one, other)
    # And it is used: another network, another feature.
    for weight in loaded.corrector.feature_net.parameters():
        weight.data.neg_()
    assert not torch.equal(encoders.encode(loaded, generator, targets).feature, one)


def test_which_discriminators_are_feature_nets(generator, make_discriminator, make_encoder):
    """Those of StyleGAN2, and only if there are iterations."""
    old = make_discriminator(generator.resolution, architecture="stylegan1")
    new = make_discriminator(generator.resolution)
    for network, iterations in ((old, 1), (new, 0)):
        encoder = make_encoder("base", generator, iterations=iterations, feature_net=network)
        assert encoder.config.feature_net is None


def test_iterations_are_added_to_a_trained_encoder(tmp_path, arguments):
    one, more = tmp_path / "one", tmp_path / "more"
    assert main(arguments("base", one, images=8, iterations=0)) == 0
    flags = {"images": 4, "init_from": one, "lr": 1e-12, "ema_images": 1e9, "ema_rampup": 0}
    assert main(arguments("base", more, **flags)) == 0
    one, more = (encoders.read(path) for path in (one, more))
    assert (one.config.iterations, more.config.iterations) == (0, 2)
    weights = more.state_dict()
    for name, value in one.state_dict().items():
        torch.testing.assert_close(weights[name], value, atol=1e-6, rtol=0)


def test_a_feature_net_is_added(tmp_path, arguments, capsys, make_recipe):
    """Iterations trained without one have no weights for its features: these layers are new."""
    generator = make_recipe("base").generator
    config = BaseConfig.for_generator(generator, "b8.conv0", 4, "zero", iterations=2)
    encoders.save(BaseEncoder(config, bn_group_size=2), tmp_path / FILE)
    flags = {"images": 4, "init_from": tmp_path}
    assert main(arguments("base", tmp_path / "run", **flags)) == 0
    printed, part = capsys.readouterr().out, "feedback.blocks.0.0.weight"
    assert f"but for parts (not in it: feedback.eyes, {part}; does not fit: {part})" in printed


def test_some_samples_are_mixed(make_recipe):
    recipe = make_recipe("base", batch=16, feature_mix_prob=0.5)
    batch = BatchSlice(0, 0, 16)
    ws, _ = recipe._codes(batch)
    change = (recipe._mixed_images(ws, batch) - recipe._sample_images(ws)).abs()
    change = change.amax((1, 2, 3))
    assert 0 < (change < 1e-5).sum() < 16
    assert change.max() > 1e-2


def test_losses_are_means_over_the_iterations(make_recipe, losses_of):
    """If the iterations change nothing, they are those of the first feature, with the code that the
    sample is synthesized with: its own, the mean code, or another."""
    recipe = make_recipe("base", iterations=3, feature_mix_prob=0)
    torch.nn.init.zeros_(recipe.encoder.corrector.head.weight)
    batch = BatchSlice(0, 0, 4)
    losses = {k: float(x.detach()) for k, x in losses_of(recipe, "encoder", batch).items()}
    choice = (3 * recipe.sampler.numbers("drawn with", batch, torch.rand, 1, 1)).long()
    code, others = recipe._codes(batch)[0], recipe._codes(batch, 2)[0]
    mean = spaces.SPACES["w+"].initial_code(recipe.generator, 1, "mean").expand_as(code)
    ws = torch.where(choice == 0, code, torch.where(choice == 1, mean, others))
    target = recipe._sample_images(code)
    image = recipe.generator.synthesize(ws, start=recipe.encoder.feature(target))
    expected = float((image - target).square().mean().detach())
    assert losses["encoder/iteration pixel"] == pytest.approx(expected, rel=1e-4)
    assert losses["encoder/pixel"] != losses["encoder/iteration pixel"]
