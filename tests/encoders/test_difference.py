"""Encoders that take landmarks: the networks, the latents they give, and the critics."""

import math

import pytest
import torch

from facsimile import encoders, stylegan
from facsimile.editing import reenact_latents
from facsimile.encoders import KINDS
from facsimile.encoders.difference.critics import ConcatCritic, ProjectionCritic
from facsimile.encoders.difference.landmark_cnn import landmark_coordinates
from facsimile.encoders.difference.network import (
    INITIAL_DIFFERENCE,
    LANDMARK_FEATURES,
    SOURCE_FEATURES,
    DifferenceConfig,
    DifferenceEncoder,
)
from facsimile.encoders.layers import GhostBatchNorm
from facsimile.training.keyed_sampler import interleave_groups

FACE_KINDS = [name for name, kind in KINDS.items() if kind.predicts == "w+ given landmarks"]
VARIANTS = [
    *(("difference", norm, resolution) for norm in ("batch", "layer") for resolution in (None, 8)),
    ("keypoint", "batch", None),
    ("keypoint", "layer", None),
]


def codes(generator, n=3):
    label = torch.eye(generator.c_dim)[[0] * n] if generator.c_dim else None
    return generator.map(torch.randn(n, generator.z_dim, dtype=generator.dtype), label)


def test_kinds():
    assert FACE_KINDS == ["difference", "keypoint", "naive"]


@pytest.mark.parametrize(
    "changes",
    [{}, {"side": 64}, {"img_channels": 1}, {"img_channels": 4}, {"c_dim": 3}, {"latent": 12}]
    + [{"architecture": "stylegan1", "w_per_layer": True}, {"architecture": "stylegan3"}],
    ids=str,
)
@pytest.mark.parametrize("kind", FACE_KINDS)
def test_every_generator(make_generator, make_encoder, predict, changes, kind):
    generator = make_generator(**({"side": 16, "width": 8, "latent": 8} | changes))
    encoder = make_encoder(kind, generator)
    side = generator.resolution
    images = torch.rand(2, generator.img_channels, side, side)
    label = torch.eye(3)[:2] if "c_dim" in changes else None
    latents = predict(encoder, generator, images, label)
    assert latents.code.shape == (2, generator.num_ws, generator.w_dim)
    assert latents.synthesize(generator).shape == images.shape
    if kind == "difference":
        assert len(encoder.landmark_net.blocks) == side.bit_length() - 3


def test_the_sizes_of_the_paper(make_generator):
    """At 128 px: 64, 128, 256, 512, 1024, 1024 channels, 160 landmark features, 32 of each w."""
    generator = make_generator(128, 4, 4)
    with torch.device("meta"):
        encoder = DifferenceEncoder(DifferenceConfig.for_generator(generator, 64, 1024))
    network = encoder.landmark_net
    stages = [network.first, *(block.main[1] for block in network.blocks)]
    assert [len(stage[0].weight) for stage in stages] == [64, 128, 256, 512, 1024, 1024]
    weight = encoder.landmark_features[0].weight
    assert weight.shape == (LANDMARK_FEATURES, 1024 * 4 * 4) == (160, 1024 * 4 * 4)
    assert encoder.source_linear.weight.shape == (generator.num_ws, 4, SOURCE_FEATURES)
    assert encoder.output_linear.weight.shape == (generator.num_ws, 32 + 160, 4)


def test_names_in_files(generator, make_encoder):
    """The first part of every weight's name, as in all files so far."""
    names = {
        name.split(".")[0] for name in make_encoder("difference", generator, hidden=4).state_dict()
    }
    expected = {"tower", "shape", "inward", "source", "joint", "outward", "last", "mean", "scale"}
    assert names == expected
    names = {name.split(".")[0] for name in make_encoder("keypoint", generator).state_dict()}
    assert names == expected - {"tower", "joint"}
    assert {x.split(".")[0] for x in make_encoder("naive", generator).state_dict()} == {"tower"}


@pytest.mark.parametrize(("kind", "norm", "resolution"), VARIANTS)
def test_a_matrix_for_each_input(generator64, make_encoder, make_landmarks, kind, norm, resolution):
    """Difference i depends on w_i and on the landmarks, and on no other w."""
    encoder = make_encoder(kind, generator64, norm=norm, resolution=resolution)
    ws = codes(generator64, 1).clone().requires_grad_()
    landmarks = make_landmarks(1, 32, torch.float64).requires_grad_()
    d = encoder(ws, landmarks) - ws
    for index in range(generator64.num_ws):
        by_ws, by_landmarks = torch.autograd.grad(
            d[0, index].square().sum(), (ws, landmarks), None, True
        )
        others = by_ws[0, torch.arange(generator64.num_ws) != index]
        # Normalised image by image, the features of all inputs share a mean and a deviation.
        assert bool((others == 0).all()) == (norm == "batch")
        assert by_ws[0, index].abs().sum() > 0
        assert by_landmarks.abs().sum() > 0


@pytest.mark.parametrize("hidden", [0, 6])
def test_whether_landmarks_move_every_face_alike(generator64, make_encoder, make_landmarks, hidden):
    """They do in the paper's sum; with a layer that sees both, every w and the landmarks count."""
    encoder = make_encoder("difference", generator64, hidden=hidden)
    ws, landmarks = codes(generator64, 2), make_landmarks(2, 32, torch.float64)
    differences = [encoder(ws, x.expand(2, -1, -1)) - ws for x in landmarks]
    one, other = differences[1] - differences[0]
    assert (one.abs() > 1e-6).all()
    assert torch.allclose(one, other, rtol=1e-9, atol=1e-12) == (hidden == 0)
    w = ws[:1].clone().requires_grad_()
    d = encoder(w, landmarks[:1]) - w
    (gradient,) = torch.autograd.grad(d[0, 0].sum(), w)
    assert bool(gradient[0, 1:].any()) == bool(hidden)


@pytest.mark.parametrize(("kind", "norm", "resolution"), VARIANTS)
def test_initial_differences(make_generator, make_landmarks, kind, norm, resolution):
    """Those of a batch are a tenth of w's standard deviation, in every input."""
    generator = make_generator(16, 8, 8)
    config = DifferenceConfig.for_generator(generator, 8, 32, resolution, norm)
    encoder = KINDS[kind].network(config, bn_group_size=64)
    ws = codes(generator, 64)
    encoder.init_normalization(generator, ws)
    d = encoder(ws, make_landmarks(64, 16)) - ws
    size = (d / encoder.scale).square().mean((0, 2)).sqrt()
    assert bool((size > INITIAL_DIFFERENCE / 3).all())
    assert bool((size < INITIAL_DIFFERENCE * 1.5).all())


@pytest.mark.parametrize("kind", ["difference", "keypoint"])
def test_a_scale_of_w_does_not_matter(generator64, make_encoder, make_landmarks, kind):
    """Codes, mean and deviation three times as large: so is the difference."""
    encoder = make_encoder(kind, generator64)
    ws, landmarks = codes(generator64), make_landmarks(3, 32, torch.float64)
    d = encoder(ws, landmarks) - ws
    for buffer in (encoder.mean, encoder.scale):
        buffer.mul_(3)
    larger = encoder(3 * ws, landmarks) - 3 * ws
    torch.testing.assert_close(larger, 3 * d)


@pytest.mark.parametrize("kind", FACE_KINDS)
def test_faces_do_not_influence_one_another(generator64, make_encoder, make_landmarks, kind):
    encoder = make_encoder(kind, generator64)
    landmarks = make_landmarks(3, 32, torch.float64)
    takes_codes = KINDS[kind].source == "w+"
    source = codes(generator64) if takes_codes else torch.rand(3, 3, 32, 32).double()
    single = [encoder(source[i : i + 1], landmarks[i : i + 1]) for i in range(3)]
    assert (encoder(source, landmarks) - torch.cat(single)).abs().max() < 1e-12


def test_landmark_coordinates():
    corners = torch.zeros(1, 68, 2)
    corners[0, 1], corners[0, 2] = torch.tensor([32.0, 0.0]), torch.tensor([16.0, 24.0])
    assert landmark_coordinates(corners, 32)[0, :6].tolist() == [-1, -1, 1, -1, 0, 0.5]


# Reenacted latents --------------------------------------------------------------------------------


def test_latents_of_every_space(generator64, make_encoder, make_landmarks):
    """The source may be in any space that leads to W+; noise stays, truncation is applied."""
    encoder = make_encoder("difference", generator64)
    landmarks = make_landmarks(4, 32, torch.float64)
    for space in ("z", "z+", "w", "w+", "p_n", "p_n+"):
        truncation = {"truncation_psi": 0.5, "truncation_cutoff": 3}
        source = stylegan.init_latents(generator64, space, 1, init="random", **truncation)
        noise = tuple(torch.randn_like(x) for x in generator64.noise_maps(1))
        maps = {f"noise.{i}": x for i, x in enumerate(noise)}
        source = source.with_tensors(source.tensors() | maps)
        latents = reenact_latents(encoder, generator64, source, landmarks)
        inner = stylegan.spaces.parse(space)[0]
        ws = generator64.truncate(inner.decode(generator64, source.code), 0.5, 3)
        expected = encoder(ws.expand(4, -1, -1), landmarks)
        assert (latents.code - expected).abs().max() < 1e-12
        assert (latents.space, latents.truncation_psi, len(latents)) == ("w+", 1.0, 4)
        pairs = zip(latents.noise, noise, strict=True)
        assert all(torch.equal(x, y.expand_as(x)) for x, y in pairs)


@pytest.mark.parametrize("kind", ["difference", "keypoint"])
def test_source_landmarks_change_nothing(generator64, make_encoder, make_landmarks, kind):
    """With them given, they have no effect; close ones hardly any, and distant ones their full."""
    encoder, ws = make_encoder(kind, generator64), codes(generator64)
    own = make_landmarks(3, 32, torch.float64)
    given = (encoder, generator64, ws)
    unchanged = reenact_latents(*given, own, source_landmarks=own)
    assert (unchanged.code - ws).abs().max() < 1e-12
    for pixels, k in ((0.01, 1.0), (0.8, math.exp(-0.5)), (32.0, 0.0)):
        others = own + torch.tensor([0.6, -0.8]) * pixels  # 0.8 of 32 are a fortieth
        code = reenact_latents(*given, others, source_landmarks=own).code
        expected = encoder(ws, others) - k * (encoder(ws, own) - ws)
        assert (code - expected).abs().max() < 1e-3 * (encoder(ws, own) - ws).abs().max()

    # One face, and landmarks whose points move in different directions.
    others = own[:1] + torch.randn(3, 68, 2) * torch.tensor([0.3, 0.6, 0.9])[:, None, None]
    distance = (others - own[:1]).square().sum(2).sqrt().mean(1) / 32
    k = (-(distance**2) / (2 * 0.025**2)).exp()[:, None, None]
    w = ws[:1].expand(3, -1, -1)
    expected = encoder(w, others) - k * (encoder(ws[:1], own[:1]) - ws[:1])
    latents = reenact_latents(encoder, generator64, ws[:1], others, source_landmarks=own[:1])
    torch.testing.assert_close(latents.code, expected)


def test_refusals(generator, targets, make_encoder, make_landmarks):
    encoder, naive = (make_encoder(kind, generator) for kind in ("difference", "naive"))
    ws, landmarks = codes(generator, 2), make_landmarks(2, 32)
    broken = landmarks.clone()
    broken[1, 5, 0] = math.nan
    in_f, in_w = (
        stylegan.init_latents(generator, space, 2, init="mean") for space in ("f/w+", "w+")
    )
    for given, message in (
        ((encoder, generator, ws, landmarks[:, :5]), r"expected \(N, 68, 2\)"),
        ((encoder, generator, ws, broken), "of 2 faces, the first is number 1"),
        ((encoder, generator, ws, landmarks[[0, 1, 1]]), "2 faces and landmarks of 3"),
        ((encoder, generator, ws[:, :4], landmarks), r"takes \(N, 8, 32\) in W\+"),
        ((encoder, generator, in_f, landmarks), 'got latents in "f/w\\+"'),
        ((naive, generator, in_w, landmarks), "this encoder takes images"),
    ):
        with pytest.raises(ValueError, match=message):
            reenact_latents(*given)
    images = torch.rand(2, 3, 32, 32)
    for given, own in (
        ((encoder, generator, ws), landmarks[:1]),
        ((naive, generator, images), landmarks),
    ):
        with pytest.raises(ValueError, match="expected those of every face, and a difference enc"):
            reenact_latents(*given, landmarks, source_landmarks=own)
    with pytest.raises(ValueError, match="kind difference needs landmarks beside a face"):
        encoders.encode(encoder, generator, targets)
    for changes, message in (
        ({"resolution": 24}, "resolution is 24; it must be a power of two"),
        ({"norm": "none"}, 'norm is "none"; it must be batch or layer'),
        ({"hidden": -1}, "hidden is -1; it must be at least 0"),
    ):
        with pytest.raises(ValueError, match=message):
            make_encoder("difference", generator, **changes)


# Critics ------------------------------------------------------------------------------------------

ARCHITECTURES = pytest.mark.parametrize(
    "changes",
    [{}, {"architecture": "stylegan1"}, {"c_dim": 3}, {"img_channels": 1}]
    + [{"architecture": "stylegan1", "c_dim": 3}],
    ids=str,
)


@ARCHITECTURES
@pytest.mark.parametrize("form", ["projection", "concat"])
def test_initial_critics(make_discriminator, changes, form):
    """They are the discriminator, whatever the landmarks, whose weights get a gradient."""
    discriminator = make_discriminator(16, 8, **changes).double()
    critic = (
        ConcatCritic(discriminator)
        if form == "concat"
        else ProjectionCritic(discriminator, 4, 8, 4)
    )
    critic.double()
    image = torch.randn(4, discriminator.img_channels, 16, 16).double()
    pictures = torch.rand(4, 3, 16, 16).double()
    label = torch.eye(3).double()[[0, 1, 2, 0]] if "c_dim" in changes else None
    logits = critic(image, critic.embed_landmarks(pictures), label)
    assert (logits - discriminator(image, label)).abs().max() < 1e-10
    logits.square().sum().backward()
    if form == "concat":
        first = getattr(critic.discriminator, critic.discriminator.blocks[0]).fromrgb
        new = first.weight.grad[:, discriminator.img_channels :]
    else:
        new = critic.dense.weight.grad
    assert new.abs().sum() > 0
    assert not any(weight.requires_grad for weight in discriminator.parameters())


@ARCHITECTURES
def test_projection(make_discriminator, changes):
    """D(x, c) = D(x) + <phi(x), psi(c)> / sqrt(d), where psi is a given vector."""
    discriminator = make_discriminator(16, 8, **changes).double()
    critic = ProjectionCritic(discriminator, 4, 8, 4).double()
    psi = torch.arange(8.0).double()
    with torch.no_grad():
        critic.dense.bias.copy_(psi)
    image = torch.randn(4, discriminator.img_channels, 16, 16).double()
    label = torch.eye(3).double()[[0, 1, 2, 0]] if "c_dim" in changes else None
    phi = {}
    discriminator.b4.out.register_forward_pre_hook(lambda module, args: phi.update(x=args[0]))
    plain = discriminator(image, label)
    logits = critic(image, critic.embed_landmarks(torch.rand(4, 3, 16, 16).double()), label)
    expected = plain + (phi["x"] * psi).sum(1, keepdim=True) / math.sqrt(8)
    assert (logits - expected).abs().max() < 1e-10


def test_psi_depends_on_its_group(make_discriminator):
    """Wherever that lies in a batch; its network gets gradients and keeps no statistics."""
    critic = ProjectionCritic(make_discriminator(16, 8), 4, 8, 3).double()
    with torch.no_grad():
        critic.dense.weight.normal_()
    pictures = torch.rand(6, 3, 16, 16).double()
    psi = critic.embed_landmarks(pictures)
    # Two groups of three, interleaved.
    groups = [critic.embed_landmarks(pictures[number::2]) for number in range(2)]
    assert (psi - interleave_groups(groups)).abs().max() < 1e-9
    assert (psi[0] - psi[2]).abs().max() > 0.01
    psi.square().sum().backward()
    assert all(weight.grad.abs().sum() > 0 for weight in critic.landmark_net.parameters())
    assert not any(
        module.batch_stats for module in critic.modules() if isinstance(module, GhostBatchNorm)
    )
