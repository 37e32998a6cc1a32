"""Oracles: what goes into a file comes out of it, and what is no network is refused."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from facsimile import stylegan
from facsimile.stylegan import files
from facsimile.stylegan.generator import fingerprint


@pytest.fixture
def saved(generator, tmp_path):
    path = tmp_path / "generator.safetensors"
    stylegan.save(generator, path)
    return path


def picture(generator):
    z = torch.randn(2, generator.z_dim, generator=torch.Generator().manual_seed(0))
    c = torch.eye(generator.c_dim)[[0, 1]] if generator.c_dim else None
    return generator.synthesize(generator.map(z, c, truncation_psi=0.7))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"c_dim": 3, "latent": 24},
        {"img_channels": 1, "conv_clamp": 1.5},
        {"channels": [9, 8, 7, 6]},
        {"architecture": "stylegan1", "channels": [9, 8, 7, 6]},
        {"architecture": "stylegan1", "fused_from": 16, "w_per_layer": True, "img_channels": 1},
    ],
)
def test_files_keep_everything(make_generator, tmp_path, options):
    generator = make_generator(**options)
    path = tmp_path / "generator.safetensors"
    stylegan.save(generator, path)
    again = stylegan.load(path)
    assert again.config == generator.config
    assert again.fingerprint == generator.fingerprint
    assert torch.equal(picture(again), picture(generator))
    assert again.path == path
    assert not again.training
    assert not any(p.requires_grad for p in again.parameters())
    assert [p.name for p in tmp_path.iterdir()] == ["generator.safetensors"]


@pytest.mark.parametrize(
    "options",
    [
        {"c_dim": 3, "conv_clamp": 256},
        {"mbstd_group": 2, "downsampling": "mean", "mapping_layers": 0},
        {"architecture": "stylegan1", "mapping_layers": 0},
        {"architecture": "stylegan1", "mapping_layers": 0, "c_dim": 3, "img_channels": 1},
    ],
)
def test_files_keep_everything_of_a_discriminator(make_discriminator, tmp_path, options):
    discriminator = make_discriminator(**options)
    path = tmp_path / "discriminator.safetensors"
    stylegan.save(discriminator, path)
    again = stylegan.load_discriminator(path)
    assert again.config == discriminator.config
    image = torch.randn(4, again.img_channels, 32, 32)
    c = torch.eye(3)[[0, 1, 2, 0]] if again.config.c_dim else None
    assert torch.equal(again(image, c), discriminator(image, c))


def test_half_precision_is_another_generator(generator, tmp_path, saved):
    path = tmp_path / "half.safetensors"
    stylegan.save(generator, path, half=True)
    half = stylegan.load(path)
    assert path.stat().st_size < 0.6 * saved.stat().st_size
    assert half.dtype == torch.float32
    assert half.fingerprint != generator.fingerprint
    torch.testing.assert_close(picture(half), picture(generator), atol=0.02, rtol=0)


def test_half_precision_holds_every_number(make_generator, tmp_path):
    generator = make_generator(8)
    with torch.no_grad():
        generator.mapping.fc1.bias[0] = 1e5
    with pytest.raises(ValueError, match="mapping.fc1.bias has numbers above what float16 holds"):
        stylegan.save(generator, tmp_path / "half.safetensors", half=True)
    assert list(tmp_path.iterdir()) == []


def test_fingerprint(generator):
    tensors = generator.state_dict()
    assert fingerprint(tensors) == generator.fingerprint
    assert fingerprint(dict(reversed(tensors.items()))) == generator.fingerprint
    without = {k: v for k, v in tensors.items() if not k.endswith("resample_filter")}
    assert fingerprint(without) == generator.fingerprint
    assert len(generator.fingerprint) == 16
    assert int(generator.fingerprint, 16) >= 0


@pytest.mark.parametrize(
    "name", ["mapping.w_avg", "synthesis.b4.const", "synthesis.b32.conv1.noise_const"]
)
def test_fingerprint_sees_one_weight(generator, name):
    tensors = {k: v.clone() for k, v in generator.state_dict().items()}
    tensors[name].flatten()[3] += 1e-3
    assert fingerprint(tensors) != generator.fingerprint


def test_fingerprint_is_that_of_float64_too(generator, generator64):
    assert generator64.fingerprint == generator.fingerprint


def test_foreign_filters_are_no_fault(generator, saved, tmp_path):
    """NVIDIA's files hold filters of layers that do not resample; others hold none."""
    tensors = load_file(saved)
    with_more = tensors | {"synthesis.b8.torgb.resample_filter": torch.ones(4, 4)}
    with_none = {k: v for k, v in tensors.items() if not k.endswith("resample_filter")}
    for changed in (with_more, with_none):
        path = tmp_path / "other.safetensors"
        files.write(path, "generator", {}, changed)
        assert torch.equal(picture(stylegan.load(path)), picture(generator))


def test_missing_and_unexpected_tensors_are_named(saved, tmp_path):
    tensors, path = load_file(saved), tmp_path / "other.safetensors"
    lacking = {k: v for k, v in tensors.items() if k != "synthesis.b16.conv0.bias"}
    files.write(path, "generator", {}, lacking)
    with pytest.raises(ValueError, match=r"missing \['synthesis.b16.conv0.bias'\]"):
        stylegan.load(path)
    files.write(path, "generator", {}, tensors | {"synthesis.b16.extra": torch.ones(1)})
    with pytest.raises(ValueError, match=r"unexpected \['synthesis.b16.extra'\]"):
        stylegan.load(path)
    files.write(path, "generator", {}, tensors | {"synthesis.b16.conv0.bias": torch.ones(3)})
    with pytest.raises(ValueError, match=r"of another shape \['synthesis.b16.conv0.bias'\]"):
        stylegan.load(path)
    del tensors["mapping.w_avg"]
    files.write(path, "generator", {}, tensors)
    with pytest.raises(ValueError, match="not a complete StyleGAN2 generator.*mapping.w_avg"):
        stylegan.load(path)


def test_residual_generators_are_refused(saved, tmp_path):
    path = tmp_path / "other.safetensors"
    files.write(
        path, "generator", {}, load_file(saved) | {"synthesis.b8.skip.weight": torch.ones(1)}
    )
    with pytest.raises(ValueError, match='architecture "resnet"'):
        stylegan.load(path)


def test_what_is_no_generator(generator, discriminator, tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist; expected the file of a StyleGAN"):
        stylegan.load(tmp_path / "none.safetensors")
    with pytest.raises(FileNotFoundError, match="is a folder"):
        stylegan.load(tmp_path)
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"GIF89a" + bytes(100))
    with pytest.raises(ValueError, match="is a picture, not a network; pass the file"):
        stylegan.load(path)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="is empty; download or copy it again"):
        stylegan.load(path)
    stylegan.save(discriminator, path)
    with pytest.raises(ValueError, match="holds discriminator; expected a generator"):
        stylegan.load(path)
    stylegan.save(generator, path)
    with pytest.raises(ValueError, match="holds generator; expected a discriminator"):
        stylegan.load_discriminator(path)
    stylegan.init_latents(generator, "w+", 1).save(path)
    with pytest.raises(ValueError, match="holds latents"):
        stylegan.load(path)
    save_file({"x": torch.ones(2)}, path)
    with pytest.raises(ValueError, match="holds no StyleGAN network"):
        stylegan.load(path)


def test_a_damaged_file(saved):
    content = saved.read_bytes()
    saved.write_bytes(content[: len(content) // 2])
    expected = f"cut short, {len(content) // 2:,} of {len(content):,} bytes are there"
    with pytest.raises(ValueError, match="damaged .safetensors file.*copy or download it again"):
        stylegan.load(saved)
    with pytest.raises(ValueError, match=expected):
        stylegan.load(saved)


@pytest.mark.parametrize("culprit", ["write_bytes", "replace"])
def test_a_failed_write_leaves_the_old_file(generator, saved, monkeypatch, culprit):
    before = saved.read_bytes()

    def fail(path, *arguments):
        if culprit == "write_bytes":
            with open(path, "wb") as file:
                file.write(b"half a file")
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, culprit, fail)
    with pytest.raises(OSError, match="no space left"):
        stylegan.save(generator, saved)
    assert saved.read_bytes() == before
    assert [p.name for p in saved.parent.iterdir()] == [saved.name]


def test_configuration_is_plain_json(generator, saved):
    config, _ = files.read(saved, "generator")
    assert json.loads(json.dumps(config)) == generator.config
