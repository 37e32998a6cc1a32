"""The encoders of a generator: which are found, and that a damaged one stops only its users."""

import shutil

import pytest
import torch

from facsimile import checkpoints, encoders, stylegan
from facsimile.encoders import KINDS
from facsimile.stylegan import files


@pytest.fixture(scope="module")
def runs(tmp_path_factory, make_generator, make_encoder):
    """A folder of runs: one of each kind, other/ (a second base encoder), foreign/ (in-domain,
    of another generator)."""
    folder = tmp_path_factory.mktemp("runs")
    generator = make_generator(16, 8, 8)
    stylegan.save(generator, folder / "generator.safetensors")
    owner = {"foreign": make_generator(16, 8, 8, seed=5)}
    kinds = {name: name for name in KINDS} | {"other": "base", "foreign": "in-domain"}
    for seed, (name, kind) in enumerate(kinds.items()):
        torch.manual_seed(seed)
        encoder = make_encoder(kind, owner.get(name, generator))
        (folder / name).mkdir()
        encoders.save(encoder, folder / name / encoders.FILE)
    return folder


@pytest.fixture
def beside(runs, tmp_path):
    """beside(kind=run) -> a generator's folder with these runs' encoders as KIND.safetensors."""

    def copied(**kinds):
        shutil.copy(runs / "generator.safetensors", tmp_path)
        for kind, run in kinds.items():
            name = kind.replace("_", "-")
            shutil.copy(runs / run / encoders.FILE, tmp_path / f"{name}.safetensors")
        return tmp_path

    return copied


def test_every_kind_is_found_beside_the_generator(beside, runs):
    folder = beside(**{kind.replace("-", "_"): kind for kind in KINDS})
    for name in (folder, folder / "generator.safetensors"):
        encoder_set = checkpoints.find(name).encoders
        assert encoder_set.kinds == tuple(KINDS)
        for kind in KINDS:
            encoder = encoder_set.get(kind)
            assert encoders.kind_of(encoder.network) is KINDS[kind]
            assert (encoder.kind, encoder.path) == (kind, folder / f"{kind}.safetensors")
            assert encoder_set.get(kind) is encoder
    assert checkpoints.find(runs).encoders.kinds == ()


def test_former_names_beside_the_generator(beside):
    """feature.safetensors may hold a base encoder, difference.safetensors a keypoint encoder."""
    folder = beside(feature="base", difference="keypoint")
    encoder_set = checkpoints.find(folder).encoders
    assert encoder_set.kinds == ("base", "keypoint")
    assert encoder_set.get("base").path == folder / "feature.safetensors"
    assert encoder_set.get("keypoint").path == folder / "difference.safetensors"
    with pytest.raises(ValueError, match="no difference encoder"):
        encoder_set.get("difference")
    # The file says which kind it is of.
    shutil.copy(folder / "feature.safetensors", folder / "base.safetensors")
    folder = beside(feature="feature", difference="keypoint")
    encoder_set = checkpoints.find(folder).encoders
    assert encoder_set.kinds == ("base", "feature", "keypoint")
    for kind in ("base", "feature"):
        assert encoder_set.get(kind).path == folder / f"{kind}.safetensors"
    (folder / "base.safetensors").unlink()
    assert checkpoints.find(folder).encoders.kinds == ("feature", "keypoint")
    # The name of today comes first.
    folder = beside(base="other", keypoint="keypoint", difference="difference")
    encoder_set = checkpoints.find(folder).encoders
    for kind in ("base", "keypoint", "difference"):
        assert encoder_set.get(kind).path == folder / f"{kind}.safetensors"


def test_no_encoder(beside):
    """The message says where it was looked for, and how to train one."""
    folder = beside()
    with pytest.raises(ValueError, match="no feature encoder") as error:
        checkpoints.find(folder).encoders.get("feature")
    assert str(folder / "feature.safetensors") in str(error.value)
    assert "facsimile train feature --generator" in str(error.value)


def test_named_encoders_replace_those_beside(beside, runs):
    folder = beside(base="base", in_domain="in-domain")
    plain = checkpoints.find(folder).encoders
    for name in (runs / "other", runs / "other" / encoders.FILE):
        named = checkpoints.find(folder, encoders=[name]).encoders
        assert named.get("base").fingerprint != plain.get("base").fingerprint
        assert named.get("base").path == name
        assert named.get("in-domain").fingerprint == plain.get("in-domain").fingerprint
    again = checkpoints.find(folder, encoders=str(runs / "base")).encoders
    assert again.get("base").fingerprint == plain.get("base").fingerprint
    with pytest.raises(ValueError, match="are both base encoders; name one of each kind"):
        checkpoints.find(folder, encoders=[runs / "base", runs / "other"])


def truncate(path):
    path.write_bytes(path.read_bytes()[:1000])


def test_files_beside_are_opened_when_they_are_asked_for(beside):
    folder = beside(base="base", difference="difference", in_domain="foreign")
    for name in ("base", "difference"):
        truncate(folder / f"{name}.safetensors")
    encoder_set = checkpoints.find(folder).encoders
    assert encoder_set.kinds == ("base", "difference", "in-domain")
    for name in ("base", "difference"):
        with pytest.raises(ValueError, match=rf"{name}\.safetensors .*damaged"):
            encoder_set.get(name)
    with pytest.raises(ValueError, match=r"in-domain\.safetensors: this encoder was trained for"):
        encoder_set.get("in-domain")


def test_named_files_are_opened_at_once(runs, tmp_path):
    with pytest.raises(ValueError, match="foreign: this encoder was trained for the generator"):
        checkpoints.find(runs, encoders=[runs / "foreign"])
    with pytest.raises(FileNotFoundError, match="expected an encoder's file"):
        checkpoints.find(runs, encoders=[tmp_path / "nothing"])
    with pytest.raises(ValueError, match="is not an encoder"):
        checkpoints.find(runs, encoders=[runs / "generator.safetensors"])


@pytest.mark.parametrize("name", ["base", "difference"])
def test_another_kind_under_a_name(beside, name):
    encoder_set = checkpoints.find(beside(**{name: "in-domain"})).encoders
    with pytest.raises(ValueError, match="of the kind in-domain; call it in-domain.safetensors"):
        encoder_set.get(name)


def test_a_newer_file(beside):
    folder = beside(naive="naive")
    metadata, tensors = files.read_tensors(folder / "naive.safetensors")
    files.write_tensors(folder / "naive.safetensors", tensors, metadata | {"version": "99"})
    with pytest.raises(ValueError, match="written by a newer version of facsimile"):
        checkpoints.find(folder).encoders.get("naive")
