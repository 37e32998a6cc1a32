"""The in-domain encoder's passes: what slope they are given, and how they are trained."""

import math

import pytest
import torch

import train
from facsimile import encoders, metrics
from facsimile.encoders.descent import FIRST, PERCEPTUAL
from facsimile.encoders.files import FILE
from facsimile.metrics.trunks import discriminator_features


@pytest.fixture
def eyes(make_discriminator, generator64):
    return make_discriminator(generator64.resolution).double()


@pytest.fixture
def encoder(make_encoder, generator64, eyes):
    encoder = make_encoder("in-domain", generator64, passes=3, eyes=eyes)
    encoder.descent.eyes.load_state_dict(eyes.state_dict())
    return taught(encoder)


@pytest.fixture
def images(generator64):
    rng = torch.Generator().manual_seed(3)
    side = generator64.resolution
    return torch.rand(2, 3, side, side, generator=rng, dtype=torch.float64) * 2 - 1


def taught(encoder):
    """As if something had been learned: nothing is 0 or all but 0."""
    rng = torch.Generator().manual_seed(5)
    for name, weight in encoder.descent.named_parameters():
        if not name.startswith("eyes."):
            weight.data += 0.05 * torch.randn(weight.shape, generator=rng).to(weight)
    return encoder


def started(encoder, generator, images):
    """(code in standard deviations, what is compared, how it is drawn) of the first guess."""
    code = (encoder(images) - encoder.mean) / encoder.scale
    return code, encoder.descent.look(images), encoder._drawing(generator.synthesize)


def test_the_slope_is_that_of_the_losses(encoder, generator64, images, eyes):
    """By the distances of `metrics`, and by differences along a few ways."""
    code, photo, draw = started(encoder, generator64, images)
    loss, gradient = encoder.descent.slope(code, photo, draw)
    phi = discriminator_features(eyes)

    def by_hand(code):
        drawn = generator64.synthesize(encoder.mean + code * encoder.scale)
        apart = metrics.distance(phi.features(drawn), phi.features(images))
        return metrics.mse(drawn, images) + PERCEPTUAL * apart

    torch.testing.assert_close(loss, by_hand(code))
    for seed in range(3):
        rng = torch.Generator().manual_seed(seed)
        way = torch.randn(code.shape, generator=rng, dtype=torch.float64)
        way /= way.norm()
        rise = (by_hand(code + 1e-5 * way) - by_hand(code - 1e-5 * way)) / 2e-5
        torch.testing.assert_close((gradient * way).sum((1, 2)), rise, rtol=1e-4, atol=1e-9)


def test_it_begins_as_plain_descent(make_encoder, generator64, eyes, images):
    encoder = make_encoder("in-domain", generator64, passes=1, eyes=eyes)
    code, photo, draw = started(encoder, generator64, images)
    gradient = encoder.descent.slope(code, photo, draw).gradient
    after, _ = encoder.descent.run(images, code, draw)
    plain = -FIRST * gradient / gradient.square().mean(2, keepdim=True).sqrt()
    assert (after - code - plain).abs().max() < 0.2 * FIRST


def test_the_losses_and_their_gradients(encoder, generator64, images):
    """Against passes that are written out, each with its own graph through the generator."""
    code, photo, draw = started(encoder, generator64, images)
    weights = [x for x in encoder.descent.parameters() if x.numel()]
    mine = [x for n, x in encoder.descent.named_parameters() if not n.startswith("eyes.")]
    assert len(weights) > len(mine)
    for weight in mine:
        weight.requires_grad_(True)
    end, losses = encoder.descent.run(images, code, draw)
    got = torch.autograd.grad(torch.stack(losses).mean(), mine)

    x, last, wanted = code, torch.zeros_like(code), []
    for number in range(3):
        change = encoder.descent(number, x, encoder.descent.slope(x, photo, draw).gradient, last)
        drawn = encoder.descent.look(draw(x + change))
        apart = metrics.distance(drawn.features, photo.features)
        wanted.append(metrics.mse(drawn.image, photo.image) + PERCEPTUAL * apart)
        last = change.detach()
        x = x + last
    torch.testing.assert_close(end, x)
    torch.testing.assert_close(torch.stack(losses), torch.stack(wanted))
    for one, two in zip(got, torch.autograd.grad(torch.stack(wanted).mean(), mine), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("space", ["w+", "p_n+", "s"])
def test_latents_have_been_through_the_passes(encoder, generator64, images, space):
    found = encoders.encode(encoder, generator64, images, space)
    code, _, draw = started(encoder, generator64, images)
    end, _ = encoder.descent.run(images, code, draw)
    assert (found.draw(generator64) - draw(end)).abs().max() < 1e-6
    assert (draw(end) - draw(code)).abs().max() > 1e-2


def test_images_do_not_influence_one_another(encoder, generator64, images):
    whole = encoders.encode(encoder, generator64, images).code
    alone = [encoders.encode(encoder, generator64, x[None]).code for x in images]
    assert (whole - torch.cat(alone)).abs().max() < 1e-10


def test_without_a_slope_nothing_breaks(encoder, generator64, images):
    """A code that draws the very photo: the gradient is 0, and so is what is made of it."""
    code, _, draw = started(encoder, generator64, images)
    end, _ = encoder.descent.run(draw(code), code, draw)
    assert bool(end.isfinite().all())


@pytest.mark.parametrize(
    "told",
    [{}, {"img_channels": 1}, {"c_dim": 3}, {"architecture": "stylegan1"}]
    + [{"architecture": "stylegan3"}],
    ids=str,
)
def test_every_generator_without_eyes(make_generator, make_encoder, told):
    """Where there is no discriminator that serves, the pixels alone say the way."""
    generator = make_generator(**({"side": 16, "width": 8, "latent": 8} | told))
    encoder = make_encoder("in-domain", generator, passes=2)
    assert encoder.config.eyes is None
    images = torch.rand(2, generator.img_channels, generator.resolution, generator.resolution)
    found = encoders.encode(encoder, generator, images).code
    assert found.shape == (2, generator.num_ws, generator.w_dim)
    assert 0 < (found - encoder(images)).abs().max() < encoder.scale.max()


def test_the_eyes_are_in_the_file(tmp_path, encoder, generator64, images):
    encoders.save(encoder, tmp_path / FILE)
    again = encoders.load(tmp_path, generator64)
    assert again.config == encoder.config
    mine, theirs = (encoders.encode(x, generator64, images).code for x in (encoder, again))
    assert torch.equal(mine, theirs)
    for weight in again.descent.eyes.parameters():
        weight.data.neg_()
    assert not torch.equal(encoders.encode(again, generator64, images).code, mine)


def test_half_a_file_is_as_good(tmp_path, encoder, generator64, images):
    encoders.save(encoder, tmp_path / FILE, half=True)
    again = encoders.load(tmp_path, generator64)
    mine, theirs = (encoders.encode(x, generator64, images).code for x in (encoder, again))
    assert (mine - theirs).abs().max() < 0.01 * (mine - encoder(images)).abs().max()


def test_passes_alone_are_trained(tmp_path, arguments, pictures):
    """With --freeze the guess stays bit for bit, its statistics too, and the passes learn."""
    one, more = tmp_path / "one", tmp_path / "more"
    assert train.main(arguments("in-domain", one, images=8, passes=0)) == 0
    told = {"from": one, "data": pictures, "real_fraction": 0.5, "lr": 1e-2}
    assert train.main([*arguments("in-domain", more, **told), "--freeze"]) == 0
    one, more = (encoders.read(path) for path in (one, more))
    assert (one.config.passes, more.config.passes) == (0, 2)
    held = more.state_dict()
    assert all(torch.equal(held[name], value) for name, value in one.state_dict().items())
    assert float(more.descent.turn.detach().abs().max()) > 0
    assert float((more.descent.length.detach() - math.log(FIRST)).abs().max()) > 1e-3


def test_freeze_is_for_passes(tmp_path, arguments, capsys):
    for changes in ({"passes": 0, "from": tmp_path}, {"passes": 2}):
        with pytest.raises(SystemExit):
            train.main([*arguments("in-domain", tmp_path / "run", **changes), "--freeze"])
        assert "name one as --from" in " ".join(capsys.readouterr().err.replace("│", " ").split())
