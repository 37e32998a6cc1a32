"""Oracle: arrays that the original implementation computed, in tests/golden."""

import pytest
import torch
from containers import golden

from facsimile import stylegan
from facsimile.stylegan import files


def close(got, expected):
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=0)


@pytest.fixture(params=["stylegan2_generator", "stylegan2_conditional_generator"])
def release(request, tmp_path):
    """(generator, arrays)"""
    config, state, arrays = golden(request.param)
    path = tmp_path / "generator.safetensors"
    files.write(path, "generator", config, state)
    return stylegan.load(path), arrays


def test_sizes(release):
    generator, arrays = release
    assert (generator.resolution, generator.img_channels) == (32, 3)
    assert (generator.num_ws, generator.w_dim) == arrays["ws"].shape[1:]
    assert generator.c_dim == (3 if "c" in arrays else 0)
    assert generator.config["conv_clamp"] == (256 if "c" in arrays else None)


def test_mapping(release):
    generator, arrays = release
    z, c = arrays["z"], arrays.get("c")
    close(generator.map(z, c), arrays["ws"])
    close(generator.map(z, c, truncation_psi=0.7, truncation_cutoff=4), arrays["ws_psi0.7_cutoff4"])


def test_one_z_for_each_input(release):
    generator, arrays = release
    z, c = arrays["z"], arrays.get("c")
    z_plus_of_one = z[:, None].expand(-1, generator.num_ws, -1)
    close(generator.map(z_plus_of_one, c), arrays["ws"])
    mixed = z.roll(1, 0)
    z_plus = torch.stack([z, *[mixed] * (generator.num_ws - 1)], 1)
    close(generator.map(z_plus, c)[:, 0], arrays["ws"][:, 0])
    if c is None:
        close(generator.map(z_plus)[:, 1:], arrays["ws"].roll(1, 0)[:, 1:])


def test_images(release):
    generator, arrays = release
    close(generator.synthesize(arrays["ws"]), arrays["image_const"])
    close(generator.synthesize(arrays["w_plus"], "const"), arrays["image_w_plus_const"])
    close(generator.synthesize(arrays["w_plus"], "none"), arrays["image_w_plus_none"])
    assert (arrays["image_w_plus_const"] - arrays["image_w_plus_none"]).abs().max() > 0.01


@pytest.mark.parametrize("name", ["discriminator", "conditional_discriminator"])
def test_logits(name, tmp_path):
    config, state, arrays = golden(f"stylegan2_{name}")
    path = tmp_path / "discriminator.safetensors"
    files.write(path, "discriminator", config, state)
    discriminator = stylegan.load_discriminator(path)
    close(discriminator(arrays["image"], arrays.get("c")), arrays["logits"])
    assert not any(p.requires_grad for p in discriminator.parameters())
