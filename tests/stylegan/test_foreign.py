"""Oracle: images of the original implementations, through files as the original programs save."""

import pytest
import tensorflow_files as tf
import torch
from containers import (
    golden,
    idinvert_state,
    write_encoder,
    write_genforce,
    write_idinvert,
    write_nvidia,
    write_rosinality,
)

from facsimile import stylegan
from facsimile.stylegan import files
from facsimile.stylegan.generator import fingerprint


def close(got, expected, tolerance=1e-4):
    torch.testing.assert_close(got, expected, atol=tolerance, rtol=0)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "network.any"


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("name", ["stylegan2_generator", "stylegan2_conditional_generator"])
def test_nvidia(path, name, protocol):
    config, state, arrays = golden(name)
    write_nvidia(path, name, protocol=protocol)
    generator = stylegan.load(path)
    c = arrays.get("c")
    close(generator.map(arrays["z"], c), arrays["ws"])
    close(generator.map(arrays["z"], c, 0.7, 4), arrays["ws_psi0.7_cutoff4"])
    close(generator.synthesize(arrays["ws"]), arrays["image_const"])
    close(generator.synthesize(arrays["w_plus"], "none"), arrays["image_w_plus_none"])
    assert generator.config["conv_clamp"] == config["synthesis_kwargs"]["conv_clamp"]
    assert generator.fingerprint == fingerprint(state)


@pytest.mark.parametrize("name", ["discriminator", "conditional_discriminator"])
def test_nvidia_discriminator(path, name):
    _, _, arrays = golden(f"stylegan2_{name}")
    write_nvidia(path, discriminator=f"stylegan2_{name}")
    discriminator = stylegan.load_discriminator(path)
    close(discriminator(arrays["image"], arrays.get("c")), arrays["logits"])
    assert stylegan.load(path).resolution == 32
    assert files.kinds(path) == ("generator", "discriminator")


def test_nvidia_saved_by_torch(path):
    _, _, arrays = golden("stylegan2_generator")
    write_nvidia(path, only="G_ema", by_torch=True)
    close(stylegan.load(path).synthesize(arrays["ws"]), arrays["image_const"])


@pytest.mark.parametrize("letter", ["t", "r"])
def test_nvidia_stylegan3(path, letter):
    _, _, arrays = golden(f"stylegan3_{letter}_generator")
    write_nvidia(path, f"stylegan3_{letter}_generator")
    generator = stylegan.load(path)
    close(generator.map(arrays["z"]), arrays["ws"])
    close(generator.synthesize(arrays["ws"]), arrays["image"], 1e-3)
    close(generator.synthesize(arrays["w_plus"]), arrays["image_w_plus"], 1e-3)


@pytest.mark.parametrize("protocol", [2, 4])
def test_tensorflow(path, protocol):
    _, _, arrays = golden("stylegan2_tensorflow_variables")
    tf.write_tensorflow(path, protocol=protocol)
    generator = stylegan.load(path)
    close(generator.map(arrays["z"]), arrays["ws"])
    close(generator.synthesize(arrays["w_plus"]), arrays["image_w_plus_const"])
    tf.write_tensorflow(path, only=2)
    assert stylegan.load(path).fingerprint == generator.fingerprint


def test_tensorflow_discriminator(path):
    _, _, arrays = golden("stylegan2_discriminator")
    tf.write_tensorflow(path, discriminator=tf.tensorflow_discriminator())
    close(stylegan.load_discriminator(path)(arrays["image"]), arrays["logits"])
    assert files.kinds(path) == ("generator", "discriminator")


@pytest.mark.parametrize("size", ["", "128_"])
@pytest.mark.parametrize("container", ["genforce", "legacy", "tensorflow"])
def test_stylegan1(path, size, container):
    name = f"stylegan1_genforce_{size}generator"
    _, state, arrays = golden(name)
    if container == "tensorflow":
        tf.write_tensorflow(path, tf.tensorflow_stylegan1(name), settings={"label_size": 0})
    else:
        write_genforce(path, name, legacy=container == "legacy")
    generator = stylegan.load(path)
    close(generator.map(arrays["z"])[:, 0], arrays["w"])
    close(generator.synthesize(arrays["w_plus"]), arrays["image_w_plus"])
    assert torch.equal(generator.mapping.w_avg, state["truncation.w_avg"])


@pytest.mark.parametrize("mean", ["one", "one for each", "in a row"])
@pytest.mark.parametrize("container", ["torch", "tensorflow"])
def test_idinvert(path, container, mean):
    """A w of its own per layer: here they are all the same."""
    name = "stylegan1_genforce_128_generator"
    _, state, arrays = golden(name)
    w_avg = state["truncation.w_avg"]
    w_avg = {"one": w_avg, "one for each": w_avg.repeat(12, 1), "in a row": w_avg.repeat(12)}[mean]
    if container == "torch":
        torch.save(idinvert_state(name) | {"truncation.w_avg": w_avg}, path)
    else:
        variables = tf.tensorflow_stylegan1(name) | {"dlatent_avg": w_avg}
        for last, copies in (("weight", (1, 12)), ("bias", (12,))):
            variables[f"mapping/Dense1/{last}"] = variables[f"mapping/Dense1/{last}"].repeat(copies)
        tf.write_tensorflow(path, variables)
    generator = stylegan.load(path)
    ws = generator.map(arrays["z"])
    assert ws.shape == arrays["w_plus"].shape
    close(ws, arrays["w"][:, None].expand_as(ws))
    close(generator.synthesize(arrays["w_plus"]), arrays["image_w_plus"])
    means = generator.map(arrays["z"], truncation_psi=0)
    close(means, state["truncation.w_avg"].expand_as(means))


def test_tensorflow_stylegan1_discriminator(path):
    variables = tf.tensorflow_stylegan1_discriminator()
    tf.write_tensorflow(path, discriminator=variables)
    discriminator = stylegan.load_discriminator(path)
    assert discriminator.config.architecture == "stylegan1"
    logits = discriminator(torch.randn(4, 3, 32, 32))
    assert logits.shape == (4, 1)
    weights = discriminator.state_dict()
    assert torch.equal(weights["b4.fc.weight"], variables["4x4/Dense0/weight"].T)
    expected = variables["8x8/Conv1_down/weight"].permute(3, 2, 0, 1)
    assert torch.equal(weights["b8.conv1.weight"], expected)


@pytest.mark.parametrize("legacy", [False, True])
def test_genforce(path, legacy):
    _, _, arrays = golden("stylegan2_genforce_generator")
    for bare in (False, True):
        write_genforce(path, legacy=legacy, bare=bare)
        generator = stylegan.load(path)
        close(generator.map(arrays["z"])[:, 0], arrays["w"])
        close(generator.synthesize(arrays["w_plus"]), arrays["image_w_plus"])


@pytest.mark.parametrize("legacy", [False, True])
def test_rosinality(path, legacy):
    _, _, arrays = golden("stylegan2_rosinality_generator")
    write_rosinality(path, legacy=legacy)
    generator = stylegan.load(path)
    close(generator.map(arrays["z"])[:, 0], arrays["w"])
    close(generator.synthesize(arrays["w_plus"]), arrays["image_w_plus"])
    assert torch.equal(generator.mapping.w_avg, arrays["latent_avg"])
    assert "w_avg_computed" not in generator.config
    _, _, release = golden("stylegan2_discriminator")
    close(stylegan.load_discriminator(path)(release["image"]), release["logits"])


@pytest.mark.parametrize("bare", [False, True])
def test_rosinality_without_the_mean(path, bare):
    _, _, arrays = golden("stylegan2_rosinality_generator")
    write_rosinality(path, trained=True, bare=bare)
    generator = stylegan.load(path)
    assert generator.config["w_avg_computed"]
    close(generator.synthesize(arrays["w_plus"]), arrays["image_w_plus"])
    # The oracle: other samples.
    z = torch.randn(20_000, generator.z_dim)
    ws = generator.mapping(z)
    error = (generator.mapping.w_avg - ws.mean(0)).abs() / ws.std(0)
    assert error.max() < 5 * (1 / 10_000 + 1 / 20_000) ** 0.5
    assert stylegan.load(path).fingerprint == generator.fingerprint


def test_the_generator_in_an_encoder(path):
    _, _, arrays = golden("stylegan2_rosinality_generator")
    write_encoder(path)
    generator = stylegan.load(path)
    close(generator.synthesize(arrays["w_plus"]), arrays["image_w_plus"])
    assert torch.equal(generator.mapping.w_avg, arrays["latent_avg"])
    with pytest.raises(ValueError, match="holds a generator only; expected a discriminator"):
        stylegan.load_discriminator(path)


WRITERS = {
    "nvidia": lambda path: write_nvidia(path, discriminator="stylegan2_discriminator"),
    "conditional": lambda path: write_nvidia(path, "stylegan2_conditional_generator"),
    "stylegan3": lambda path: write_nvidia(path, "stylegan3_r_generator"),
    "tensorflow": tf.write_tensorflow,
    "rosinality": lambda path: write_rosinality(path, trained=True),
    "genforce": lambda path: write_genforce(path, "stylegan1_genforce_generator"),
    "idinvert": write_idinvert,
}


@pytest.mark.parametrize("name", WRITERS)
def test_saved_again_it_is_the_same(path, tmp_path, name):
    WRITERS[name](path)
    generator = stylegan.load(path)
    ours = tmp_path / "generator.safetensors"
    stylegan.save(generator, ours)
    again = stylegan.load(ours)
    assert again.config == generator.config
    assert again.fingerprint == generator.fingerprint
    assert files.kinds(ours) == ("generator",)
    for network in files.kinds(path)[1:]:
        discriminator = stylegan.load_discriminator(path)
        stylegan.save(discriminator, ours)
        assert stylegan.load_discriminator(ours).config == discriminator.config
        assert files.kinds(ours) == (network,)
