"""Loading builds no random weights, and leaves a network that needs its file no more."""

import containers
import pytest
import tensorflow_files
import torch

from facsimile import stylegan

WRITERS = {
    "nvidia": containers.write_nvidia,
    "tensorflow": tensorflow_files.write_tensorflow,
    "rosinality": containers.write_rosinality,
    "rosinality, legacy": lambda path: containers.write_rosinality(path, legacy=True),
    "genforce": containers.write_genforce,
}


def test_no_random_numbers_are_drawn(generator, tmp_path):
    path = tmp_path / "generator.safetensors"
    stylegan.save(generator, path)
    before = torch.get_rng_state()
    stylegan.load(path)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("form", ["native", *WRITERS])
def test_a_loaded_network_owns_its_memory(generator, tmp_path, form):
    """The file is emptied in place: views of it would crash."""
    path = tmp_path / "network"
    stylegan.save(generator, path) if form == "native" else WRITERS[form](path)
    loaded, again = stylegan.load(path), stylegan.load(path)
    path.write_bytes(b"")
    assert loaded.fingerprint == again.fingerprint
    memory = {}
    for network in (loaded, again):
        for name, x in network.state_dict().items():
            assert x.dtype == torch.float32
            assert x.is_contiguous()
            assert x.untyped_storage().nbytes() == x.nbytes, name
            memory[x.data_ptr()] = name
    assert len(memory) == 2 * len(loaded.state_dict())


def test_a_loaded_network_can_be_trained(generator, tmp_path):
    path = tmp_path / "generator.safetensors"
    stylegan.save(generator, path)
    loaded = stylegan.load(path).requires_grad_(True)
    ws = torch.zeros(1, loaded.num_ws, loaded.w_dim)
    loaded.synthesize(ws).square().mean().backward()
    assert loaded.synthesis.b32.conv1.weight.grad.abs().sum() > 0
    assert loaded.double().synthesis.b4.const.dtype == torch.float64


def test_a_huge_claim_takes_no_memory(generator, tmp_path):
    """Weights of a million by a million channels, by the widths of two layers."""
    state = dict(generator.state_dict())
    for name in ("synthesis.b8.conv1.weight", "synthesis.b16.conv1.weight"):
        state[name] = torch.zeros(1_000_000, 1, 1, 1)
    path = tmp_path / "generator.safetensors"
    stylegan.files.write(path, "generator", {}, state)
    with pytest.raises(ValueError, match="of another shape"):
        stylegan.load(path)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("conv_clamp", "much"),
        ("filter_size", 10**9),
        ("num_critical", None),
        ("img_resolution", 2**40),
        ("first_cutoff", 0),
        ("margin_size", "wide"),
    ],
)
def test_settings_of_a_file_are_not_trusted(tmp_path, setting, value):
    path = tmp_path / "generator.safetensors"
    name = "stylegan2_generator" if setting == "conv_clamp" else "stylegan3_t_generator"
    containers.write_nvidia(path, name)
    config, tensors = stylegan.files.read(path, "generator")
    tensors = {name: x.clone() for name, x in tensors.items()}
    stylegan.files.write(path, "generator", config | {setting: value}, tensors)
    with pytest.raises(ValueError, match=str(path)):
        stylegan.load(path)
