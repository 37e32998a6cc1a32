"""The in-domain encoder's two networks, and its recipe with each of them."""

import pytest
import torch
from torch.nn import functional as F

from facsimile import encoders, stylegan
from facsimile.encoders.in_domain import DescentWeights, InDomainConfig

architectures = pytest.mark.parametrize("architecture", ["levels", "resnet"])


@pytest.mark.parametrize(
    "changes",
    [{}, {"side": 64}, {"img_channels": 1}, {"img_channels": 4}, {"c_dim": 3}]
    + [{"architecture": "stylegan1", "w_per_layer": True}, {"architecture": "stylegan3"}],
    ids=str,
)
@pytest.mark.parametrize("resolution", [None, 8])
@architectures
def test_every_generator(make_generator, make_encoder, changes, resolution, architecture):
    generator = make_generator(**({"side": 16, "width": 8, "latent": 8} | changes))
    fields = {"resolution": resolution, "architecture": architecture}
    encoder = make_encoder("in-domain", generator, **fields)
    halvings = encoder.blocks if architecture == "resnet" else encoder.codes.stages
    assert len(halvings) == (1 if resolution else generator.resolution.bit_length() - 3)
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


def test_the_resnet_by_hand(make_generator, make_encoder):
    """The arithmetic of every file written so far, from the tensors by their names."""
    generator = make_generator(16, 8, 8)
    encoder = make_encoder("in-domain", generator).double()
    rng = torch.Generator().manual_seed(0)
    for name, x in encoder.state_dict().items():
        if "variance" not in name:
            x += 0.1 * torch.randn(x.shape, generator=rng)
    weights = encoder.state_dict()

    def conv(x, name, padding):
        return F.conv2d(x, weights[f"{name}.weight"], weights.get(f"{name}.bias"), padding=padding)

    def norm(x, name):
        names = ("mean", "variance", "weight", "bias")
        return F.batch_norm(x, *(weights[f"{name}.{part}"] for part in names))

    def conv_block(x, name, index, padding):
        x = F.leaky_relu(conv(x, f"{name}.{index}", padding), 0.2)
        return norm(x, f"{name}.{index + 2}")

    images = torch.rand(2, 3, 16, 16, generator=rng).double() * 2 - 1
    x = conv_block(images, "first", 0, 2)
    for block in range(2):
        x = F.avg_pool2d(x, 2)
        skip, name = x, f"blocks.{block}"
        if f"{name}.skip.0.weight" in weights:
            skip = norm(conv(x, f"{name}.skip.0", 0), f"{name}.skip.1")
        x = conv_block(conv_block(x, f"{name}.main", 0, 1), f"{name}.main", 3, 1) + skip
    x = norm(x.flatten(1) @ weights["dense.weight"].T, "norm").view(2, generator.num_ws, 8)
    expected = weights["mean"] + weights["scale"] * x
    torch.testing.assert_close(encoder(images), expected, rtol=1e-9, atol=1e-9)


def test_a_configuration_must_be_consistent(make_generator):
    fields = {"fingerprint": "", "img_channels": 3, "resolution": 16, "num_ws": 6, "w_dim": 8}
    with pytest.raises(ValueError, match='"levels", and sizes of a codes network are not given'):
        InDomainConfig(**fields, width=4, max_width=8, architecture="levels")
    with pytest.raises(ValueError, match="resolution is 4; it must be a power of two, at least 8"):
        InDomainConfig.for_generator(make_generator(8, 4, 4), 4, 8, 4, architecture="levels")


@architectures
def test_a_file_holds_everything(tmp_path, make_generator, make_encoder, architecture):
    """Configuration and codes are the same again; statistics keep their digits at half size."""
    generator = make_generator(16, 8, 8)
    optimizer = {"iterations": 1, "hidden": 8, "turn_rank": 2, "initial_step": 0.1}
    optimizer |= {"descent": DescentWeights(perceptual=1.0, latent=0.5)}
    encoder = make_encoder_with(make_encoder, generator, architecture, **optimizer)
    images = torch.rand(2, 3, 16, 16)
    for half in (False, True):
        encoders.save(encoder, tmp_path / "encoder.safetensors", half=half)
        again = encoders.load(tmp_path, generator)
        assert again.config == encoder.config
        for one, other in zip(again.statistics, encoder.statistics, strict=True):
            assert torch.equal(one, other)
        same = (encoders.encode(x, generator, images).code for x in (again, encoder))
        error = (next(same) - next(same)).abs().max()
        assert error < 0.05 if half else error == 0


def make_encoder_with(make_encoder, generator, architecture, *, hidden, **optimizer):
    """A tiny encoder with such a learned optimizer."""
    built = make_encoder("in-domain", generator)
    config = InDomainConfig.for_generator(
        generator, 4, 8, architecture=architecture, hidden=hidden, **optimizer
    )
    encoder = type(built)(config)
    encoder.init_normalization(generator, generator.map(torch.randn(8, generator.z_dim)))
    return stylegan.freeze(encoder)


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
