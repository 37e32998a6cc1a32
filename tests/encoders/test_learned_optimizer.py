"""The in-domain encoder's learned optimizer: its gradients, and how it is trained.

In two forms: that of older files, and the leaner one, with an identity term and a low rank.
"""

import math

import pytest
import torch

from facsimile import encoders, metrics
from facsimile.commands.train import main
from facsimile.encoders.files import FILE
from facsimile.encoders.in_domain import DescentWeights
from facsimile.metrics.backbones import discriminator_features


@pytest.fixture
def feature_net(make_discriminator, generator64):
    return make_discriminator(generator64.resolution).double()


LEAN = {
    "architecture": "levels",
    "turn_rank": 3,
    "initial_step": 0.08,
    "descent": DescentWeights(pixel=0.7, perceptual=0.3, identity=0.4, latent=0.05),
    "identity": "dlib",
}


@pytest.fixture(
    params=[pytest.param({}, marks=pytest.mark.exhaustive), LEAN], ids=["former", "lean"]
)
def fields(request, tiny_identity):
    """Fields of the encoder's configuration."""
    return request.param


@pytest.fixture
def encoder(make_encoder, generator64, feature_net, fields):
    flags = {"iterations": 3, "feature_net": feature_net}
    encoder = make_encoder("in-domain", generator64, **flags, **fields)
    encoder.optimizer.feature_net.load_state_dict(feature_net.state_dict())
    return perturbed(encoder)


@pytest.fixture
def images(generator64):
    rng = torch.Generator().manual_seed(3)
    side = generator64.resolution
    return torch.rand(2, 3, side, side, generator=rng, dtype=torch.float64) * 2 - 1


def perturbed(encoder):
    """With weights as after training: none is 0 or close to 0."""
    rng = torch.Generator().manual_seed(5)
    for name, weight in encoder.optimizer.named_parameters():
        if not name.startswith("eyes."):
            weight.data += 0.05 * torch.randn(weight.shape, generator=rng).to(weight)
    return encoder


def initial(encoder, generator, images):
    """(code in standard deviations, what is compared, how it is current) of the first predict."""
    code = encoder.normalize(encoder(images))
    return code, encoder.optimizer.extract(images), encoder.from_normalized(generator.synthesize)


def losses_by_hand(encoder, phi, identity, code, current, images):
    """The loss (N,) of pictures of a code, by the distances of `metrics`."""
    weights = encoder.config.descent
    loss = weights.pixel * metrics.mse(current, images)
    distance = metrics.distance(phi.features(current), phi.features(images))
    loss = loss + weights.perceptual * distance
    error = identity.embed(current) - identity.embed(images)
    loss = loss + weights.identity * error.square().sum(1)
    return loss + weights.latent * code.square().mean((1, 2))


def test_the_gradient_is_that_of_the_losses(
    encoder, generator64, images, feature_net, tiny_identity
):
    """By the distances of `metrics`, and by differences along a few directions."""
    code, photo, synthesize = initial(encoder, generator64, images)
    loss, gradient = encoder.optimizer.loss_and_grad(code, photo, synthesize)
    phi = discriminator_features(feature_net)
    mean, scale = encoder.statistics

    def by_hand(code):
        current = generator64.synthesize(mean + code * scale)
        return losses_by_hand(encoder, phi, tiny_identity, code, current, images)

    torch.testing.assert_close(loss, by_hand(code))
    for seed in range(3):
        rng = torch.Generator().manual_seed(seed)
        direction = torch.randn(code.shape, generator=rng, dtype=torch.float64)
        direction /= direction.norm()
        rise = (by_hand(code + 1e-5 * direction) - by_hand(code - 1e-5 * direction)) / 2e-5
        torch.testing.assert_close((gradient * direction).sum((1, 2)), rise, rtol=1e-4, atol=1e-9)


def test_it_begins_as_plain_descent(make_encoder, generator64, feature_net, images, fields):
    flags = {"iterations": 1, "feature_net": feature_net}
    encoder = make_encoder("in-domain", generator64, **flags, **fields)
    code, photo, synthesize = initial(encoder, generator64, images)
    gradient = encoder.optimizer.loss_and_grad(code, photo, synthesize).gradient
    after, _ = encoder.optimizer.run(images, code, synthesize)
    plain = -encoder.config.initial_step * gradient / gradient.square().mean(2, keepdim=True).sqrt()
    assert (after - code - plain).abs().max() < 0.2 * encoder.config.initial_step


def test_losses_and_their_gradients(encoder, generator64, images, feature_net, tiny_identity):
    """Against iterations that are written out, each with its own graph through the generator."""
    code, photo, synthesize = initial(encoder, generator64, images)
    weights = [x for x in encoder.optimizer.parameters() if x.numel()]
    mine = [x for n, x in encoder.optimizer.named_parameters() if not n.startswith("eyes.")]
    assert len(weights) > len(mine)
    for weight in mine:
        weight.requires_grad_(True)
    phi = discriminator_features(feature_net)
    end, losses = encoder.optimizer.run(images, code, synthesize)
    got = torch.autograd.grad(torch.stack(losses).mean(), mine)

    x, last_change, expected = code, torch.zeros_like(code), []
    for number in range(3):
        change = encoder.optimizer(
            number, x, encoder.optimizer.loss_and_grad(x, photo, synthesize).gradient, last_change
        )
        after = (x + change, synthesize(x + change), images)
        expected.append(losses_by_hand(encoder, phi, tiny_identity, *after))
        last_change = change.detach()
        x = x + last_change
    torch.testing.assert_close(end, x)
    torch.testing.assert_close(torch.stack(losses), torch.stack(expected))
    for one, two in zip(got, torch.autograd.grad(torch.stack(expected).mean(), mine), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("space", ["w+", "p_n+", "s"])
def test_latents_are_those_after_the_iterations(encoder, generator64, images, space):
    latents = encoders.encode(encoder, generator64, images, space)
    code, _, synthesize = initial(encoder, generator64, images)
    end, _ = encoder.optimizer.run(images, code, synthesize)
    assert (latents.synthesize(generator64) - synthesize(end)).abs().max() < 1e-6
    assert (synthesize(end) - synthesize(code)).abs().max() > 1e-2


def test_the_gradient_of_an_iteration_goes_to_its_own_output(encoder, generator64, images):
    """The step's length is a weight of one iteration: only that iteration's loss moves it."""
    code, _, synthesize = initial(encoder, generator64, images)
    length = encoder.optimizer.length.requires_grad_(True)
    _, losses = encoder.optimizer.run(images, code, synthesize)
    for number, loss in enumerate(losses):
        (gradient,) = torch.autograd.grad(loss.sum(), length, retain_graph=True)
        moved = gradient.flatten(1).abs().sum(1) > 0
        assert moved.tolist() == [number == other for other in range(3)]


def test_a_low_rank_matrix_turns_as_its_product(make_encoder, generator64):
    """Random factors, and a full matrix that is their product: the same change."""
    low, full = (
        perturbed(make_encoder("in-domain", generator64, iterations=1, turn_rank=rank)).optimizer
        for rank in (3, None)
    )
    assert low.turn_in.shape == (generator64.num_ws, generator64.w_dim, 3)
    factors = ("turn_in", "turn_out")
    rest = {name: x for name, x in low.state_dict().items() if name not in factors}
    full.load_state_dict(rest | {"turn": low.turn_in @ low.turn_out})
    inputs = torch.randn(3, 2, generator64.num_ws, generator64.w_dim, dtype=torch.float64)
    torch.testing.assert_close(low(0, *inputs), full(0, *inputs))
    full.turn.data.zero_()
    assert (low(0, *inputs) - full(0, *inputs)).abs().max() > 1e-4


def test_images_do_not_influence_one_another(encoder, generator64):
    """Eight at once are eight alone."""
    side = generator64.resolution
    images = torch.rand(8, 3, side, side, dtype=torch.float64) * 2 - 1
    whole = encoders.encode(encoder, generator64, images).code
    alone = [encoders.encode(encoder, generator64, x[None]).code for x in images]
    assert (whole - torch.cat(alone)).abs().max() < 1e-10


def test_a_perfect_code_stays(encoder, generator64, images):
    """A code that synthesizes the photo itself: loss, gradient and plain descent are those of the
    latent term alone, which are exactly 0 without it."""
    code, _, synthesize = initial(encoder, generator64, images)
    photo = synthesize(code)
    loss, gradient = encoder.optimizer.loss_and_grad(
        code, encoder.optimizer.extract(photo), synthesize
    )
    weight = encoder.config.descent.latent
    torch.testing.assert_close(loss, weight * code.square().mean((1, 2)), rtol=1e-12, atol=0)
    torch.testing.assert_close(gradient, 2 * weight * code / code[0].numel(), rtol=1e-9, atol=0)
    if weight:
        return
    end, _ = encoder.optimizer.run(photo, code, synthesize)
    assert bool(end.isfinite().all())
    encoder.optimizer.out.data.zero_()  # leaves plain descent
    end, _ = encoder.optimizer.run(photo, code, synthesize)
    assert torch.equal(end, code)


@pytest.mark.parametrize(
    "changes",
    [{}, {"img_channels": 1}, {"c_dim": 3}, {"architecture": "stylegan1"}]
    + [{"architecture": "stylegan3"}],
    ids=str,
)
def test_every_generator_without_a_feature_net(make_generator, make_encoder, changes, fields):
    """Without a discriminator only pixels and people are compared."""
    generator = make_generator(**({"side": 16, "width": 8, "latent": 8} | changes))
    if generator.img_channels != 3:
        fields = {name: x for name, x in fields.items() if name != "identity"}
    encoder = make_encoder("in-domain", generator, iterations=2, **fields)
    assert encoder.config.feature_net is None
    images = torch.rand(2, generator.img_channels, generator.resolution, generator.resolution)
    latents = encoders.encode(encoder, generator, images).code
    assert latents.shape == (2, generator.num_ws, generator.w_dim)
    _, scale = encoder.statistics
    assert 0 < (latents - encoder(images)).abs().max() < scale.max()


def test_the_feature_net_is_in_the_file(tmp_path, encoder, generator64, images):
    encoders.save(encoder, tmp_path / FILE)
    again = encoders.load(tmp_path, generator64)
    assert again.config == encoder.config
    mine, others = (encoders.encode(x, generator64, images).code for x in (encoder, again))
    assert torch.equal(mine, others)
    for weight in again.optimizer.feature_net.parameters():
        weight.data.neg_()
    assert not torch.equal(encoders.encode(again, generator64, images).code, mine)


def test_a_file_in_half_precision_is_as_good(tmp_path, encoder, generator64, images):
    encoders.save(encoder, tmp_path / FILE, half=True)
    again = encoders.load(tmp_path, generator64)
    mine, others = (encoders.encode(x, generator64, images).code for x in (encoder, again))
    assert (mine - others).abs().max() < 0.01 * (mine - encoder(images)).abs().max()


def test_the_identity_network_is_not_in_the_file(tmp_path, encoder, generator64, images, fields):
    """Its name is; the network is read when it is first used, and moved to the encoder."""
    encoders.encode(encoder, generator64, images)
    assert not [name for name in encoder.state_dict() if "identity" in name]
    assert not [x for x in encoder.modules() if isinstance(x, metrics.IdentityNetwork)]
    encoders.save(encoder, tmp_path / FILE)
    again = encoders.load(tmp_path, generator64)
    assert again.config.identity == fields.get("identity")
    same = (encoders.encode(x, generator64, images).code for x in (encoder, again))
    assert torch.equal(next(same), next(same))


def test_an_identity_network_that_is_not_there(make_encoder, generator64, monkeypatch):
    """The sentence says which network, what for, and how to get it."""

    def missing(name):
        raise FileNotFoundError("it comes with the package P; run: pip install P")

    monkeypatch.setattr(metrics, "build_identity", missing)
    config = {"iterations": 1, "identity": "dlib"}
    with pytest.raises(FileNotFoundError, match='learned optimizer .* "dlib", .*: .*pip install P'):
        make_encoder("in-domain", generator64, **config)
    monkeypatch.setattr(metrics, "build_identity", lambda name: None)
    with pytest.raises(ValueError, match='names the identity network "off"; expected one that'):
        make_encoder("in-domain", generator64, **config | {"identity": "off"})


@pytest.mark.parametrize("architecture", ["levels", "resnet"])
def test_the_learned_optimizer_alone_is_trained(tmp_path, arguments, pictures, architecture):
    """With --freeze the network stays bit for bit, its statistics too; the iterations learn."""
    one, more = tmp_path / "one", tmp_path / "more"
    flags = {"architecture": architecture}
    assert main(arguments("in-domain", one, images=8, iterations=0, **flags)) == 0
    flags |= {"init_from": one, "data": pictures, "real_fraction": 0.5, "lr": 1e-2}
    assert main([*arguments("in-domain", more, **flags), "--freeze"]) == 0
    one, more = (encoders.read(path) for path in (one, more))
    assert (one.config.iterations, more.config.iterations) == (0, 2)
    weights = more.state_dict()
    assert all(torch.equal(weights[name], value) for name, value in one.state_dict().items())
    assert float(more.optimizer.turn_out.detach().abs().max()) > 0
    lengthened = more.optimizer.length.detach() - math.log(more.config.initial_step)
    assert float(lengthened.abs().max()) > 1e-3


def test_freeze_is_for_the_learned_optimizer(tmp_path, arguments, capsys):
    for changes in ({"iterations": 0, "init_from": tmp_path}, {"iterations": 2}):
        with pytest.raises(SystemExit):
            main([*arguments("in-domain", tmp_path / "run", **changes), "--freeze"])
        assert "name that as --init-from" in " ".join(
            capsys.readouterr().err.replace("│", " ").split()
        )
