"""Oracle: files that an earlier program wrote, with the images that it drew from them.

tests/golden/version1 holds a tiny conditional generator, its statistics, latents of two images in
every space, and the images. Those files have no version, and the first names for truncation.
"""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from facsimile import stylegan
from facsimile.stylegan import Latents, files, latents, spaces, statistics

FOLDER = Path(__file__).parents[1] / "golden" / "version1"
NAMES = [prefix + name for prefix in ("", "f/") for name in spaces.SPACES]


@pytest.fixture
def old_generator(monkeypatch):
    """Its statistics come from their file, or not at all."""
    monkeypatch.setattr(statistics, "compute", None)
    generator = stylegan.load(FOLDER / "generator.safetensors")
    generator.statistics_cache = (FOLDER / "generator.statistics.safetensors",)
    return generator


def old_latents(space, generator=None):
    return Latents.load(FOLDER / f"{space.replace('/', '_')}.safetensors", generator)


@pytest.mark.parametrize("space", NAMES)
def test_old_latents_give_the_same_images(old_generator, tmp_path, space):
    codes = old_latents(space, old_generator)
    assert codes.space == space
    expected = load_file(FOLDER / "images.safetensors")[space.replace("/", "_")]
    images = codes.synthesize(old_generator)
    torch.testing.assert_close(images, expected, atol=1e-5, rtol=0)
    assert (images[0] - images[1]).abs().max() > 0.01
    codes.save(tmp_path / "new.safetensors")
    again = Latents.load(tmp_path / "new.safetensors", old_generator)
    assert torch.equal(again.synthesize(old_generator), images)
    assert (again.truncation_psi, again.truncation_cutoff) == (
        codes.truncation_psi,
        codes.truncation_cutoff,
    )


def test_old_names_of_truncation_are_translated():
    """In these files psi is 1 or 0.7, and the cutoff 2 or none."""
    truncations = {
        space: (codes.truncation_psi, codes.truncation_cutoff)
        for space in NAMES
        if (codes := old_latents(space))
    }
    assert set(truncations.values()) == {(1.0, None), (0.7, None), (0.7, 2)}
    for space, truncation in truncations.items():
        text = files.read_tensors(FOLDER / f"{space.replace('/', '_')}.safetensors")[0]["latents"]
        stored = json.loads(text)
        assert (stored["truncation"], stored["cutoff"]) == truncation


def rewrite(path, **metadata):
    """The same file with other metadata; None takes an entry away."""
    stored, tensors = files.read_tensors(path)
    stored = {name: x for name, x in (stored | metadata).items() if x is not None}
    save_file(tensors, path, stored)


@pytest.fixture
def saved(generator, discriminator, tmp_path):
    """(what writes the version, its file, what reads it) of every format of this room."""
    stylegan.init_latents(generator, "w+", 1).save(tmp_path / "latents.safetensors")
    stylegan.save(generator, tmp_path / "generator.safetensors")
    stylegan.save(discriminator, tmp_path / "discriminator.safetensors")
    return {
        "latents": (latents.VERSION, tmp_path / "latents.safetensors", Latents.load),
        "generator": (files.native.VERSION, tmp_path / "generator.safetensors", stylegan.load),
        "discriminator": (
            files.native.VERSION,
            tmp_path / "discriminator.safetensors",
            stylegan.load_discriminator,
        ),
    }


@pytest.mark.parametrize("kind", ["latents", "generator", "discriminator"])
def test_versions(saved, kind):
    version, path, load = saved[kind]
    assert files.read_tensors(path)[0]["version"] == str(version)
    load(path)
    rewrite(path, version=str(version + 1))
    sentence = (
        f"{path.name} was written by a newer version of facsimile: its format has the version "
        f"{version + 1}, and this program reads up to {version}; update facsimile"
    )
    with pytest.raises(ValueError, match=sentence):
        load(path)
    for damaged in ("0", "-1", "new", "1.5", ""):
        rewrite(path, version=damaged)
        with pytest.raises(ValueError, match=f'damaged: its format has the version "{damaged}"'):
            load(path)


def test_networks_without_a_version_are_read(saved, generator):
    _, path, load = saved["generator"]
    rewrite(path, version=None)
    assert load(path).fingerprint == generator.fingerprint


@pytest.mark.parametrize(
    "description",
    [None, "", "no JSON", "[]", "{}", '{"space": "w+", "fingerprint": "x", "glow": 1}'],
)
def test_a_damaged_description_of_latents(saved, description):
    _, path, load = saved["latents"]
    rewrite(path, latents=description)
    with pytest.raises(ValueError, match="latents.safetensors is damaged: its description of the"):
        load(path)
