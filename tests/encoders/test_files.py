"""Encoders of every kind as files, and what both refuse."""

import json

import pytest
import torch

from facsimile import encoders, stylegan
from facsimile.encoders.files import FILE, KINDS
from facsimile.stylegan import files


@pytest.mark.parametrize(
    ("kind", "told"),
    [("base", {"rgb_skip": "zero"}), ("base", {"rgb_skip": "keep"}), ("base", {"passes": 2})]
    + [("in-domain", {})]
    + [("difference", {}), ("difference", {"norm": "layer"}), ("keypoint", {}), ("naive", {})],
    ids=str,
)
def test_there_and_back(tmp_path, generator, targets, make_encoder, guess, kind, told):
    encoder = make_encoder(kind, generator, **told)
    encoders.save(encoder, tmp_path / FILE)
    for path in (tmp_path, tmp_path / FILE):
        again = encoders.load(path, generator)
        assert type(again) is type(encoder)
        assert again.config == encoder.config
        assert not again.training
        assert not any(weight.requires_grad for weight in again.parameters())
        mine, theirs = (guess(x, generator, targets) for x in (encoder, again))
        assert mine.tensors().keys() == theirs.tensors().keys()
        assert all(torch.equal(x, theirs.tensors()[name]) for name, x in mine.tensors().items())


@pytest.mark.parametrize("kind", ["base", "in-domain"])
def test_images_do_not_influence_one_another(generator64, make_encoder, kind):
    encoder = make_encoder(kind, generator64)
    images = torch.rand(3, 3, 32, 32, dtype=torch.float64) * 2 - 1
    alone = torch.cat([encoder(image[None]) for image in images])
    assert (encoder(images) - alone).abs().max() < 1e-12


@pytest.mark.parametrize("kind", ["base", "in-domain"])
def test_any_square(generator, make_encoder, kind):
    """A picture enlarged twice by repeating its pixels is the same picture."""
    encoder = make_encoder(kind, generator)
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    larger = images.repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(encoder(larger), encoder(images))
    assert encoder(images[..., :24, :24]).shape == encoder(images).shape


@pytest.mark.parametrize("kind", KINDS)
def test_refusals(tmp_path, generator, make_generator, make_encoder, guess, kind):
    encoder = make_encoder(kind, generator)
    encoders.save(encoder, tmp_path / FILE)
    other = make_generator(seed=5)
    both = f"{generator.fingerprint}.*{other.fingerprint}"
    with pytest.raises(ValueError, match=both):
        encoders.load(tmp_path, other)
    with pytest.raises(ValueError, match=both):
        guess(encoder, other, torch.zeros(1, 3, 32, 32))
    if kind != "difference":
        with pytest.raises(ValueError, match="32x16 pixels"):
            guess(encoder, generator, torch.zeros(1, 3, 16, 32))
        with pytest.raises(ValueError, match=r"takes \(N, 3, R, R\)"):
            guess(encoder, generator, torch.zeros(1, 1, 32, 32))
    # A tensor too few, another shape, a configuration that makes no network.
    metadata, tensors = files.read_tensors(tmp_path / FILE)
    config = json.loads(metadata["config"])
    fewer = dict(list(tensors.items())[1:])
    for told, held in (
        (config, fewer),
        (config | {"width": 2 * config["width"]}, tensors),
        (config | {"width": -1}, tensors),
        ({}, tensors),
    ):
        files.write_tensors(tmp_path / FILE, held, metadata | {"config": json.dumps(told)})
        with pytest.raises(ValueError, match="is damaged"):
            encoders.load(tmp_path, generator)
    whole = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="damaged .safetensors"):
        encoders.load(tmp_path, generator)


def test_what_is_no_encoder(tmp_path, generator):
    with pytest.raises(FileNotFoundError, match="expected an encoder's file"):
        encoders.load(tmp_path / "none", generator)
    stylegan.save(generator, tmp_path / "generator.safetensors")
    with pytest.raises(ValueError, match="is no encoder"):
        encoders.load(tmp_path / "generator.safetensors", generator)


def test_a_resolution_that_is_no_power_of_two(generator, make_encoder):
    with pytest.raises(ValueError, match="resolution is 24; it must be a power of two"):
        make_encoder("in-domain", generator, resolution=24)
