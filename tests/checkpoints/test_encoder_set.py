"""The encoders of a generator: which is found, and that a bad one stops only who asks for it."""

import shutil

import pytest
import torch

from facsimile import checkpoints, encoders, stylegan


@pytest.fixture(scope="module")
def made(tmp_path_factory, make_generator, make_encoder):
    """A folder of runs: base/, other/ (a second base), in-domain/, foreign/ (another generator)."""
    folder = tmp_path_factory.mktemp("runs")
    generator = make_generator(16, 8, 8)
    stylegan.save(generator, folder / "generator.safetensors")
    owner = {"foreign": make_generator(16, 8, 8, seed=5)}
    for index, name in enumerate(("base", "other", "in-domain", "foreign")):
        torch.manual_seed(index)
        kind = "in-domain" if name == "in-domain" else "base"
        encoder = make_encoder(kind, owner.get(name, generator))
        (folder / name).mkdir()
        encoders.save(encoder, folder / name / encoders.FILE)
    return folder


@pytest.fixture
def beside(made, tmp_path):
    """beside(**kind=run) -> a generator's folder with these runs' encoders in it."""

    def laid(**runs):
        shutil.copy(made / "generator.safetensors", tmp_path)
        for kind, run in runs.items():
            name = kind.replace("_", "-")
            shutil.copy(made / run / encoders.FILE, tmp_path / f"{name}.safetensors")
        return tmp_path

    return laid


def test_both_kinds_are_found_beside_the_generator(beside, made):
    folder = beside(base="base", in_domain="in-domain")
    for name in (folder, folder / "generator.safetensors"):
        found = checkpoints.find(name).encoders
        for kind, network in (
            ("base", encoders.FeatureEncoder),
            ("in-domain", encoders.InDomainEncoder),
        ):
            assert found.has(kind)
            encoder = found.get(kind)
            assert isinstance(encoder.network, network)
            assert (encoder.kind, encoder.path) == (kind, folder / f"{kind}.safetensors")
            assert found.get(kind) is encoder
    assert not checkpoints.find(made).encoders.has("base")


def test_none_says_where_it_was_looked_for_and_how_to_get_one(beside):
    folder = beside()
    with pytest.raises(ValueError, match="no base encoder") as told:
        checkpoints.find(folder).encoders.get("base")
    assert str(folder / "base.safetensors") in str(told.value)
    assert "train.py base --generator" in str(told.value)


def test_named_ones_take_the_place_of_those_beside(beside, made):
    folder = beside(base="base", in_domain="in-domain")
    plain = checkpoints.find(folder).encoders
    for name in (made / "other", made / "other" / encoders.FILE):
        named = checkpoints.find(folder, encoders=[name]).encoders
        assert named.get("base").fingerprint != plain.get("base").fingerprint
        assert named.get("base").path == name
        assert named.get("in-domain").fingerprint == plain.get("in-domain").fingerprint
    again = checkpoints.find(folder, encoders=str(made / "base")).encoders
    assert again.get("base").fingerprint == plain.get("base").fingerprint
    with pytest.raises(ValueError, match="are both base encoders; name one of each kind"):
        checkpoints.find(folder, encoders=[made / "base", made / "other"])


def corrupt(path):
    path.write_bytes(path.read_bytes()[:1000])


def test_what_is_beside_may_be_bad_until_it_is_asked_for(beside):
    folder = beside(base="base", in_domain="foreign")
    corrupt(folder / "base.safetensors")
    found = checkpoints.find(folder).encoders
    assert found.has("base")
    with pytest.raises(ValueError, match=r"base\.safetensors is no .safetensors file, or a damag"):
        found.get("base")
    with pytest.raises(ValueError, match=r"in-domain\.safetensors: this encoder was trained for"):
        found.get("in-domain")


def test_what_is_named_is_opened_at_once(made, tmp_path):
    with pytest.raises(ValueError, match="foreign: this encoder was trained for the generator"):
        checkpoints.find(made, encoders=[made / "foreign"])
    with pytest.raises(FileNotFoundError, match="expected an encoder's file"):
        checkpoints.find(made, encoders=[tmp_path / "nothing"])
    with pytest.raises(ValueError, match="is no encoder"):
        checkpoints.find(made, encoders=[made / "generator.safetensors"])


def test_an_encoder_of_another_kind_under_a_name(beside):
    found = checkpoints.find(beside(base="in-domain")).encoders
    with pytest.raises(ValueError, match="of the kind in-domain; call it in-domain.safetensors"):
        found.get("base")
