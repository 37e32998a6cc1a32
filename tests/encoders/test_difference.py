"""The latent difference encoder, the naive one, and the critics of image and landmarks."""

import math

import pytest
import torch

from facsimile import encoders, stylegan
from facsimile.encoders.difference import FIRST, SHAPE, SOURCE, DifferenceConfig, DifferenceEncoder
from facsimile.encoders.difference.critics import ConcatCritic, ProjectionCritic
from facsimile.encoders.difference.landmark_cnn import landmark_coordinates
from facsimile.encoders.layers import GhostBatchNorm
from facsimile.training.keyed_sampler import interleave_groups

KINDS = ("difference", "keypoint", "naive")
VARIANTS = [
    *(("difference", norm, resolution) for norm in ("batch", "layer") for resolution in (None, 8)),
    ("keypoint", "batch", None),
    ("keypoint", "layer", None),
]


def codes(generator, n=3):
    label = torch.eye(generator.c_dim)[[0] * n] if generator.c_dim else None
    return generator.map(torch.randn(n, generator.z_dim, dtype=generator.dtype), label)


@pytest.mark.parametrize(
    "told",
    [{}, {"side": 64}, {"img_channels": 1}, {"img_channels": 4}, {"c_dim": 3}, {"latent": 12}]
    + [{"architecture": "stylegan1", "w_per_layer": True}, {"architecture": "stylegan3"}],
    ids=str,
)
@pytest.mark.parametrize("kind", KINDS)
def test_every_generator(make_generator, make_encoder, predict, told, kind):
    generator = make_generator(**({"side": 16, "width": 8, "latent": 8} | told))
    encoder = make_encoder(kind, generator)
    side = generator.resolution
    images = torch.rand(2, generator.img_channels, side, side)
    label = torch.eye(3)[:2] if "c_dim" in told else None
    found = predict(encoder, generator, images, label)
    assert found.code.shape == (2, generator.num_ws, generator.w_dim)
    assert found.synthesize(generator).shape == images.shape
    if kind == "difference":
        assert len(encoder.tower.blocks) == side.bit_length() - 3


def test_the_sizes_of_the_paper(make_generator):
    """At 128 px: 64, 128, 256, 512, 1024, 1024 channels, 160 numbers of the face, 32 of each w."""
    generator = make_generator(128, 4, 4)
    with torch.device("meta"):
        encoder = DifferenceEncoder(
            DifferenceConfig.for_generator(generator, "difference", 64, 1024)
        )
    stages = [encoder.tower.first, *(block.main[1] for block in encoder.tower.blocks)]
    assert [len(stage[0].weight) for stage in stages] == [64, 128, 256, 512, 1024, 1024]
    assert encoder.shape[0].weight.shape == (SHAPE, 1024 * 4 * 4) == (160, 1024 * 4 * 4)
    assert encoder.inward.weight.shape == (generator.num_ws, 4, SOURCE)
    assert encoder.outward.weight.shape == (generator.num_ws, 32 + 160, 4)


@pytest.mark.parametrize(("kind", "norm", "resolution"), VARIANTS)
def test_a_matrix_for_each_input(generator64, make_encoder, make_landmarks, kind, norm, resolution):
    """Difference i depends on w_i and on the landmarks, and on no other w."""
    encoder = make_encoder(kind, generator64, norm=norm, resolution=resolution)
    ws = codes(generator64, 1).clone().requires_grad_()
    landmarks = make_landmarks(1, 32, torch.float64).requires_grad_()
    d = encoder(ws, landmarks) - ws
    for index in range(generator64.num_ws):
        slope, moved = torch.autograd.grad(d[0, index].square().sum(), (ws, landmarks), None, True)
        others = slope[0, torch.arange(generator64.num_ws) != index]
        # Normalised image by image, the numbers of all inputs share a mean and a spread.
        assert bool((others == 0).all()) == (norm == "batch")
        assert slope[0, index].abs().sum() > 0
        assert moved.abs().sum() > 0


@pytest.mark.parametrize("hidden", [0, 6])
def test_whether_landmarks_move_every_face_alike(generator64, make_encoder, make_landmarks, hidden):
    """They do in the paper's sum; with a layer that sees both, every w and the landmarks count."""
    encoder = make_encoder("difference", generator64, hidden=hidden)
    ws, landmarks = codes(generator64, 2), make_landmarks(2, 32, torch.float64)
    moved = [encoder(ws, x.expand(2, -1, -1)) - ws for x in landmarks]
    one, other = moved[1] - moved[0]
    assert (one.abs() > 1e-6).all()
    assert torch.allclose(one, other, rtol=1e-9, atol=1e-12) == (hidden == 0)
    w = ws[:1].clone().requires_grad_()
    d = encoder(w, landmarks[:1]) - w
    (slope,) = torch.autograd.grad(d[0, 0].sum(), w)
    assert bool(slope[0, 1:].any()) == bool(hidden)


@pytest.mark.parametrize(("kind", "norm", "resolution"), VARIANTS)
def test_it_begins_near_the_source(make_generator, make_landmarks, kind, norm, resolution):
    """The first differences of a batch are a tenth of w's standard deviation, in every input."""
    generator = make_generator(16, 8, 8)
    told = DifferenceConfig.for_generator(generator, kind, 8, 32, resolution, norm)
    encoder = DifferenceEncoder(told, bn_group_size=64)
    ws = codes(generator, 64)
    encoder.init_normalization(generator, ws)
    d = encoder(ws, make_landmarks(64, 16)) - ws
    size = (d / encoder.scale).square().mean((0, 2)).sqrt()
    assert bool((size > FIRST / 3).all())
    assert bool((size < FIRST * 1.5).all())


@pytest.mark.parametrize("kind", ["difference", "keypoint"])
def test_a_scale_of_w_does_not_matter(generator64, make_encoder, make_landmarks, kind):
    """Codes, mean and deviation three times as large: so is the difference."""
    encoder = make_encoder(kind, generator64)
    ws, landmarks = codes(generator64), make_landmarks(3, 32, torch.float64)
    d = encoder(ws, landmarks) - ws
    for held in (encoder.mean, encoder.scale):
        held.mul_(3)
    larger = encoder(3 * ws, landmarks) - 3 * ws
    torch.testing.assert_close(larger, 3 * d)


@pytest.mark.parametrize("kind", KINDS)
def test_faces_do_not_influence_one_another(generator64, make_encoder, make_landmarks, kind):
    encoder = make_encoder(kind, generator64)
    landmarks = make_landmarks(3, 32, torch.float64)
    source = torch.rand(3, 3, 32, 32).double() if kind == "naive" else codes(generator64)
    alone = [encoder(source[i : i + 1], landmarks[i : i + 1]) for i in range(3)]
    assert (encoder(source, landmarks) - torch.cat(alone)).abs().max() < 1e-12


def test_coordinates():
    corners = torch.zeros(1, 68, 2)
    corners[0, 1], corners[0, 2] = torch.tensor([32.0, 0.0]), torch.tensor([16.0, 24.0])
    found = landmark_coordinates(corners, 32)
    assert found[0, :6].tolist() == [-1, -1, 1, -1, 0, 0.5]


# What they are for --------------------------------------------------------------------------------


def test_latents_of_every_space(generator64, make_encoder, make_landmarks):
    """The face may be in any space that leads to W+; noise and labels stay, truncation is taken."""
    encoder = make_encoder("difference", generator64)
    landmarks = make_landmarks(4, 32, torch.float64)
    for space in ("z", "z+", "w", "w+", "p_n", "p_n+"):
        source = stylegan.init_latents(
            generator64, space, 1, init="random", truncation_psi=0.5, truncation_cutoff=3
        )
        noise = tuple(torch.randn_like(x) for x in generator64.noise_maps(1))
        source = source.with_tensors(
            source.tensors() | {f"noise.{i}": x for i, x in enumerate(noise)}
        )
        found = encoders.reenact_codes(encoder, generator64, source, landmarks)
        inner = stylegan.spaces.parse(space)[0]
        ws = generator64.truncate(inner.decode(generator64, source.code), 0.5, 3)
        wanted = encoder(ws.expand(4, -1, -1), landmarks)
        assert (found.code - wanted).abs().max() < 1e-12
        assert (found.space, found.truncation_psi, len(found)) == ("w+", 1.0, 4)
        assert all(torch.equal(x, y.expand_as(x)) for x, y in zip(found.noise, noise, strict=True))


@pytest.mark.parametrize("kind", ["difference", "keypoint"])
def test_own_landmarks_move_nothing(generator64, make_encoder, make_landmarks, kind):
    """Told of them, those near them hardly anything, and far ones as if not told."""
    encoder, ws = make_encoder(kind, generator64), codes(generator64)
    own = make_landmarks(3, 32, torch.float64)
    told = (encoder, generator64, ws)
    stayed = encoders.reenact_codes(*told, own, own=own)
    assert (stayed.code - ws).abs().max() < 1e-12
    for pixels, share in ((0.01, 1.0), (0.8, math.exp(-0.5)), (32.0, 0.0)):
        others = own + torch.tensor([0.6, -0.8]) * pixels  # 0.8 of 32 are a fortieth
        moved = encoders.reenact_codes(*told, others, own=own).code
        wanted = encoder(ws, others) - share * (encoder(ws, own) - ws)
        assert (moved - wanted).abs().max() < 1e-3 * (encoder(ws, own) - ws).abs().max()

    # One face, and landmarks of which each point goes elsewhere, each time another way.
    others = own[:1] + torch.randn(3, 68, 2) * torch.tensor([0.3, 0.6, 0.9])[:, None, None]
    apart = (others - own[:1]).square().sum(2).sqrt().mean(1) / 32
    share = (-(apart**2) / (2 * 0.025**2)).exp()[:, None, None]
    w = ws[:1].expand(3, -1, -1)
    wanted = encoder(w, others) - share * (encoder(ws[:1], own[:1]) - ws[:1])
    moved = encoders.reenact_codes(encoder, generator64, ws[:1], others, own=own[:1])
    torch.testing.assert_close(moved.code, wanted)


def test_refusals(generator, targets, make_encoder, make_landmarks):
    encoder, naive = (make_encoder(kind, generator) for kind in ("difference", "naive"))
    ws, landmarks = codes(generator, 2), make_landmarks(2, 32)
    broken = landmarks.clone()
    broken[1, 5, 0] = math.nan
    in_f, in_w = (
        stylegan.init_latents(generator, space, 2, init="mean") for space in ("f/w+", "w+")
    )
    for given, told, said in (
        ((encoder, generator, ws, landmarks[:, :5]), ValueError, r"expected \(N, 68, 2\)"),
        ((encoder, generator, ws, broken), ValueError, "of 2 faces, the first is number 1"),
        ((encoder, generator, ws, landmarks[[0, 1, 1]]), ValueError, "2 faces and landmarks of 3"),
        ((encoder, generator, ws[:, :4], landmarks), ValueError, r"takes \(N, 8, 32\) in W\+"),
        ((encoder, generator, in_f, landmarks), ValueError, 'got latents in "f/w\\+"'),
        ((naive, generator, in_w, landmarks), ValueError, "a naive encoder takes images"),
        ((make_encoder("in-domain", generator), generator, ws, landmarks), ValueError, "no landm"),
    ):
        with pytest.raises(told, match=said):
            encoders.reenact_codes(*given)
    images = torch.rand(2, 3, 32, 32)
    for given, own in (
        ((encoder, generator, ws), landmarks[:1]),
        ((naive, generator, images), landmarks),
    ):
        with pytest.raises(ValueError, match="expected those of every face, and a difference enc"):
            encoders.reenact_codes(*given, landmarks, own=own)
    with pytest.raises(ValueError, match="needs landmarks beside a face"):
        encoders.encode(encoder, generator, targets)
    for told, said in (
        ({"resolution": 24}, "resolution is 24; it must be a power of two"),
        ({"norm": "none"}, 'norm is "none"; it must be batch or layer'),
    ):
        with pytest.raises(ValueError, match=said):
            make_encoder("difference", generator, **told)


# Critics ------------------------------------------------------------------------------------------

ARCHITECTURES = pytest.mark.parametrize(
    "told",
    [{}, {"architecture": "stylegan1"}, {"c_dim": 3}, {"img_channels": 1}]
    + [{"architecture": "stylegan1", "c_dim": 3}],
    ids=str,
)


@ARCHITECTURES
@pytest.mark.parametrize("form", ["projection", "concat"])
def test_they_begin_as_the_discriminator(make_discriminator, told, form):
    """Whatever the landmarks; the landmarks' weights get a gradient."""
    own = make_discriminator(16, 8, **told).double()
    critic = ConcatCritic(own) if form == "concat" else ProjectionCritic(own, 4, 8, 4)
    critic.double()
    image = torch.randn(4, own.img_channels, 16, 16).double()
    pictures = torch.rand(4, 3, 16, 16).double()
    label = torch.eye(3).double()[[0, 1, 2, 0]] if "c_dim" in told else None
    found = critic(image, critic.embed_landmarks(pictures), label)
    assert (found - own(image, label)).abs().max() < 1e-10
    found.square().sum().backward()
    if form == "concat":
        first = getattr(critic.own, critic.own.blocks[0]).fromrgb
        new = first.weight.grad[:, own.img_channels :]
    else:
        new = critic.dense.weight.grad
    assert new.abs().sum() > 0
    assert not any(weight.requires_grad for weight in own.parameters())


@ARCHITECTURES
def test_projection(make_discriminator, told):
    """D(x, c) = D(x) + <phi(x), psi(c)> / sqrt(d), where psi is a known vector."""
    own = make_discriminator(16, 8, **told).double()
    critic = ProjectionCritic(own, 4, 8, 4).double()
    psi = torch.arange(8.0).double()
    with torch.no_grad():
        critic.dense.bias.copy_(psi)
    image = torch.randn(4, own.img_channels, 16, 16).double()
    label = torch.eye(3).double()[[0, 1, 2, 0]] if "c_dim" in told else None
    phi = {}
    own.b4.out.register_forward_pre_hook(lambda module, args: phi.update(x=args[0]))
    plain = own(image, label)
    found = critic(image, critic.embed_landmarks(torch.rand(4, 3, 16, 16).double()), label)
    wanted = plain + (phi["x"] * psi).sum(1, keepdim=True) / math.sqrt(8)
    assert (found - wanted).abs().max() < 1e-10


def test_psi_is_of_a_group(make_discriminator):
    """Wherever that lies; its tower is reached by gradients, and keeps no statistics."""
    critic = ProjectionCritic(make_discriminator(16, 8), 4, 8, 3).double()
    with torch.no_grad():
        critic.dense.weight.normal_()
    pictures = torch.rand(6, 3, 16, 16).double()
    psi = critic.embed_landmarks(pictures)
    # Two groups of three, as `together` lays them out.
    groups = [critic.embed_landmarks(pictures[number::2]) for number in range(2)]
    assert (psi - interleave_groups(groups)).abs().max() < 1e-9
    assert (psi[0] - psi[2]).abs().max() > 0.01
    psi.square().sum().backward()
    assert all(weight.grad.abs().sum() > 0 for weight in critic.tower.parameters())
    assert not any(
        module.drawn for module in critic.modules() if isinstance(module, GhostBatchNorm)
    )
