"""Encoders of every kind as files: versions, and files that are refused."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from facsimile import encoders, stylegan
from facsimile.encoders import KINDS
from facsimile.encoders.files import FILE, VERSION, file_names, kind_in
from facsimile.stylegan import files

GOLDEN = Path(__file__).parents[1] / "golden"
PREDICTING = [name for name, kind in KINDS.items() if kind.predicts != "feature edit"]


def assert_same_predictions(predict, generator, images, one, other):
    first, second = (predict(x, generator, images).tensors() for x in (one, other))
    assert first.keys() == second.keys()
    assert all(torch.equal(x, second[name]) for name, x in first.items())


@pytest.mark.parametrize(
    ("kind", "changes"),
    [("base", {"rgb_skip": "zero"}), ("base", {"rgb_skip": "keep"})]
    + [("base", {"iterations": 2}), ("in-domain", {}), ("in-domain", {"iterations": 2})]
    + [("feature", {})]
    + [("difference", {}), ("difference", {"norm": "layer", "hidden": 6})]
    + [("keypoint", {}), ("naive", {})],
    ids=str,
)
def test_save_and_load(tmp_path, generator, targets, make_encoder, predict, kind, changes):
    encoder = make_encoder(kind, generator, **changes)
    encoders.save(encoder, tmp_path / FILE)
    for path in (tmp_path, tmp_path / FILE):
        loaded = encoders.load(path, generator)
        assert encoders.kind_of(loaded) is KINDS[kind]
        assert loaded.config == encoder.config
        assert not loaded.training
        assert not any(weight.requires_grad for weight in loaded.parameters())
        assert_same_predictions(predict, generator, targets, encoder, loaded)
    assert kind_in(tmp_path / FILE) == kind


# Versions -----------------------------------------------------------------------------------------


def write_version_0(encoder, path):
    """As files were before they had a version: names of kinds and of fields."""
    names = {"keypoint": "difference"}
    fields = {"iterations": "passes", "feature_net": "eyes"}
    encoders.save(encoder, path)
    metadata, tensors = files.read_tensors(path)
    kind, config = metadata.pop("kind"), json.loads(metadata["config"])
    config = {fields.get(name, name): value for name, value in config.items()}
    if kind in ("difference", "keypoint"):
        config["variant"] = kind
    assert metadata.pop("version") == str(VERSION)
    metadata |= {"kind": names.get(kind, kind), "config": json.dumps(config)}
    files.write_tensors(path, tensors, metadata)


@pytest.mark.parametrize(
    ("kind", "changes"),
    [("base", {}), ("base", {"iterations": 2}), ("in-domain", {"iterations": 2})]
    + [("difference", {}), ("keypoint", {}), ("naive", {})],
    ids=str,
)
def test_files_without_a_version(
    tmp_path, generator, targets, make_encoder, make_discriminator, predict, kind, changes
):
    if "iterations" in changes:
        changes = changes | {"feature_net": make_discriminator(generator.resolution)}
    encoder = make_encoder(kind, generator, **changes)
    write_version_0(encoder, tmp_path / FILE)
    loaded = encoders.load(tmp_path, generator)
    assert type(loaded) is type(encoder)
    assert loaded.config == encoder.config
    assert_same_predictions(predict, generator, targets, encoder, loaded)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("base", "base"), ("in-domain", "in-domain"), ("difference", "difference")]
    + [("keypoint", "keypoint"), ("naive", "naive")],
)
def test_files_that_an_earlier_program_wrote(name, kind):
    """Oracle: its own predictions, for images and landmarks that are stored beside the files."""
    generator = stylegan.load(GOLDEN / "version1" / "generator.safetensors")
    expected = load_file(GOLDEN / "encoders_version0" / "predictions.safetensors")
    encoder = encoders.load(GOLDEN / "encoders_version0" / f"{name}.safetensors", generator)
    entry = encoders.kind_of(encoder)
    assert entry.name == kind
    images, ws = expected["images"], expected["ws"]
    if entry.default_space is None:
        source = ws if entry.source == "w+" else images
        prediction = encoder(source, expected["landmarks"])
    else:
        label = torch.eye(generator.c_dim)
        latents = encoders.encode(encoder, generator, images, seed=3, label=label)
        prediction = latents.code if latents.feature is None else latents.feature
    torch.testing.assert_close(prediction, expected[name], rtol=0, atol=1e-5)


def test_files_of_a_newer_version(tmp_path, generator, make_encoder):
    encoders.save(make_encoder("in-domain", generator), tmp_path / FILE)
    metadata, tensors = files.read_tensors(tmp_path / FILE)
    for version in (str(VERSION + 1), "2.0"):
        files.write_tensors(tmp_path / FILE, tensors, metadata | {"version": version})
        with pytest.raises(ValueError, match=f"written by a newer version .* {version}"):
            encoders.load(tmp_path, generator)


def test_names_beside_a_generator():
    assert file_names("base") == ("base.safetensors", "feature.safetensors")
    assert file_names("naive") == ("naive.safetensors",)


# Images -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["base", "in-domain"])
def test_images_do_not_influence_one_another(generator64, make_encoder, kind):
    encoder = make_encoder(kind, generator64)
    images = torch.rand(3, 3, 32, 32, dtype=torch.float64) * 2 - 1
    single = torch.cat([encoder(image[None]) for image in images])
    assert (encoder(images) - single).abs().max() < 1e-12


@pytest.mark.parametrize("kind", ["base", "in-domain"])
def test_any_square(generator, make_encoder, kind):
    """An image enlarged twice by repeating its pixels is the same image."""
    encoder = make_encoder(kind, generator)
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    larger = images.repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(encoder(larger), encoder(images))
    assert encoder(images[..., :24, :24]).shape == encoder(images).shape


# Refusals -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", PREDICTING)
def test_another_generator(tmp_path, generator, make_generator, make_encoder, predict, kind):
    encoder, other = make_encoder(kind, generator), make_generator(seed=5)
    encoders.save(encoder, tmp_path / FILE)
    fingerprints = f"{generator.fingerprint}.*{other.fingerprint}"
    with pytest.raises(ValueError, match=fingerprints):
        encoders.load(tmp_path, other)
    with pytest.raises(ValueError, match=fingerprints):
        predict(encoder, other, torch.zeros(1, 3, 32, 32))


@pytest.mark.parametrize("kind", [k for k in PREDICTING if KINDS[k].source == "image"])
def test_other_images(generator, make_encoder, predict, kind):
    encoder = make_encoder(kind, generator)
    with pytest.raises(ValueError, match="32x16 pixels"):
        predict(encoder, generator, torch.zeros(1, 3, 16, 32))
    with pytest.raises(ValueError, match=r"takes \(N, 3, R, R\)"):
        predict(encoder, generator, torch.zeros(1, 1, 32, 32))


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files(tmp_path, generator, make_encoder, kind):
    """A missing tensor, another shape, a configuration of no network, half a file."""
    encoders.save(make_encoder(kind, generator), tmp_path / FILE)
    metadata, tensors = files.read_tensors(tmp_path / FILE)
    config = json.loads(metadata["config"])
    fewer = dict(list(tensors.items())[1:])
    size = "channels" if "channels" in config else "w_dim"
    for changed, content in (
        (config, fewer),
        (config | {size: 2 * config[size]}, tensors),
        (config | {size: -1}, tensors),
        (config | {"unknown": 1}, tensors),
        ({}, tensors),
    ):
        files.write_tensors(tmp_path / FILE, content, metadata | {"config": json.dumps(changed)})
        with pytest.raises(ValueError, match="is damaged"):
            encoders.load(tmp_path, generator)
    content = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="damaged .safetensors"):
        encoders.load(tmp_path, generator)


def test_other_files(tmp_path, generator, make_encoder):
    with pytest.raises(FileNotFoundError, match="expected an encoder's file"):
        encoders.load(tmp_path / "none", generator)
    stylegan.save(generator, tmp_path / "generator.safetensors")
    with pytest.raises(ValueError, match="is not an encoder"):
        encoders.load(tmp_path / "generator.safetensors", generator)
    assert kind_in(tmp_path / "generator.safetensors") is None
    assert kind_in(tmp_path / "none") is None
    encoders.save(make_encoder("naive", generator), tmp_path / FILE)
    metadata, tensors = files.read_tensors(tmp_path / FILE)
    files.write_tensors(tmp_path / FILE, tensors, metadata | {"kind": "clever"})
    with pytest.raises(ValueError, match='of the kind "clever"; the kinds here are .*in-domain'):
        encoders.load(tmp_path, generator)


def test_a_resolution_that_is_not_a_power_of_two(generator, make_encoder):
    encoder = make_encoder("in-domain", generator)
    with pytest.raises(ValueError, match="resolution is 24; it must be a power of two"):
        replace(encoder.config, resolution=24)
    with pytest.raises(ValueError, match="resolution is 24; it must be a power of two"):
        make_encoder("in-domain", generator, resolution=24)
