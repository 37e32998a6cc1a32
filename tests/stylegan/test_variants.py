"""Oracles: what a variant of a network must compute, and the sentence with which one is refused."""

import pickle

import pytest
import tensorflow_files as tf
import torch
from containers import golden, originals, write_encoder, write_nvidia

from facsimile import stylegan
from facsimile.stylegan import files
from facsimile.stylegan.files import Network, nvidia


def close(got, expected, tolerance=1e-4):
    torch.testing.assert_close(got, expected, atol=tolerance, rtol=0)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "network.any"


def test_a_mapping_of_another_learning_rate(path):
    """The multiplier and the stored weights only count together."""
    _, _, arrays = golden("stylegan2_generator")

    def edit(name, attributes):
        if name.startswith("mapping.fc"):
            attributes["bias_gain"] = 0.02

    write_nvidia(path, edit=edit)
    config, tensors = files.read(path, "generator")
    _, state, _ = golden("stylegan2_generator")
    assert torch.equal(tensors["mapping.fc1.bias"], 2 * state["mapping.fc1.bias"])
    assert torch.equal(tensors["mapping.fc1.weight"], 2 * state["mapping.fc1.weight"])
    assert torch.equal(tensors["synthesis.b4.const"], state["synthesis.b4.const"])


def test_layers_without_noise(path, monkeypatch):
    _, _, arrays = golden("stylegan2_generator")
    config, state, _ = golden("stylegan2_generator")
    silent = {k: x for k, x in state.items() if "conv1.noise" not in k}
    monkeypatch.setattr("containers.golden", lambda name: (config, silent, arrays))

    def edit(name, attributes):
        if name.endswith("conv1"):
            attributes["use_noise"] = False

    write_nvidia(path, edit=edit)
    generator = stylegan.load(path)
    close(generator.synthesize(arrays["w_plus"], "none"), arrays["image_w_plus_none"])
    strengths = generator.noise_strengths
    assert strengths[::2] == (0,) * 4
    assert min(strengths[1::2]) > 0


@pytest.mark.parametrize(("fused", "side"), [(True, 4), (False, 2**31), ("auto", 128)])
def test_which_layers_are_fused(path, fused, side):
    variables = tf.tensorflow_stylegan1("stylegan1_genforce_128_generator")
    tf.write_tensorflow(path, variables, settings={"fused_scale": fused})
    generator = stylegan.load(path)
    assert generator.config["fused_from"] == side
    _, _, arrays = golden("stylegan1_genforce_128_generator")
    error = (generator.synthesize(arrays["w_plus"]) - arrays["image_w_plus"]).abs().max()
    assert (error < 1e-4) == (fused == "auto")


def test_minibatch_statistics_over_the_whole_batch(path):
    """A group of None; of 4, six images would not divide."""
    write_nvidia(path, None, "stylegan2_discriminator", edit=change("mbstd", group_size=None))
    discriminator = stylegan.load_discriminator(path)
    images = torch.randn(6, 3, 32, 32)
    assert discriminator(images).shape == (6, 1)
    write_nvidia(path, None, "stylegan2_discriminator")
    with pytest.raises(ValueError, match="multiple of 4"):
        stylegan.load_discriminator(path)(images)


def test_encoders_of_idinvert_come_with_the_generator(path):
    """(E, G, D, Gs): networks are told by what they hold, and not by their place."""
    _, variables, arrays = golden("stylegan2_tensorflow_variables")
    zeros = {name: torch.zeros_like(x) for name, x in variables.items()}
    encoder = tf.Network("E", {"256x256/Conv/weight": torch.zeros(3, 3, 3, 4)}, {})
    generators = [tf.tensorflow_network(name, x, {}) for name, x in [("G", zeros), ("", variables)]]
    with originals({"dnnlib.tflib.network": tf.Network}), path.open("wb") as file:
        pickle.dump((encoder, *generators), file)
    close(stylegan.load(path).synthesize(arrays["w_plus"]), arrays["image_w_plus_const"])


def test_labels_that_are_not_projected(path):
    variables = tf.tensorflow_discriminator()
    variables |= {"Output/weight": torch.zeros(32, 5), "Output/bias": torch.zeros(5)}
    tf.write_tensorflow(path, discriminator=variables)
    with pytest.raises(ValueError, match="holds a discriminator with an output for each of 5 lab"):
        stylegan.load_discriminator(path)
    assert stylegan.load(path).resolution == 32


def test_modules_in_a_circle():
    state = {"_parameters": {}, "_buffers": {}, "_modules": {}}
    network = Network("Generator", state)
    state["_modules"]["mapping"] = network
    with pytest.raises(
        ValueError, match='is damaged: its part "mapping" is no module, or used twice'
    ):
        nvidia.read(network, "generator")


def forget(key):
    def edit(name, attributes):
        attributes.pop(key, None)

    return edit


def change(kind, **changed):
    def edit(name, attributes):
        if kind in name:
            attributes.update(changed)

    return edit


REFUSED = {
    "residual": (lambda p: write_nvidia(p, edit=change("b8", architecture="resnet")), '"resnet"'),
    "original": (lambda p: write_nvidia(p, edit=change("b8", architecture="orig")), '"orig"'),
    "activation": (lambda p: write_nvidia(p, edit=change("conv0", activation="swish")), '"swish"'),
    "clamp": (
        lambda p: write_nvidia(p, edit=change("b4.conv1", conv_clamp="x")),
        "is damaged: 'x' is in the place of a number",
    ),
    "no size": (
        lambda p: write_nvidia(p, "stylegan3_t_generator", edit=forget("img_resolution")),
        "incomplete generator: 'img_resolution' is missing",
    ),
    "kernel": (
        lambda p: tf.write_tensorflow(p, settings={"resample_kernel": [1, 4, 1]}),
        r"resample_kernel=\[1, 4, 1\]; this version reads \[1, 3, 3, 1\]",
    ),
    "config d": (
        lambda p: tf.write_tensorflow(
            p,
            golden("stylegan2_tensorflow_variables")[1]
            | {"synthesis/ToRGB_lod0/weight": torch.zeros(1, 1, 4, 3)},
        ),
        "configurations A to D",
    ),
    "old labels": (
        lambda p: tf.write_tensorflow(
            p,
            golden("stylegan2_tensorflow_variables")[1]
            | {"mapping/LabelConcat/weight": torch.zeros(4, 64)},
        ),
        "LabelConcat",
    ),
    "encoder": (lambda p: write_encoder(p, decoder=False), "holds an encoder, without the gen"),
    "discriminator only": (
        lambda p: write_nvidia(p, None, "stylegan2_discriminator"),
        "holds a discriminator only; expected a generator",
    ),
    "discriminator alone": (
        lambda p: write_nvidia(p, None, "stylegan2_discriminator", only="D"),
        "holds a discriminator only; expected a generator",
    ),
    "nothing": (
        lambda p: torch.save({"x": torch.ones(2)}, p),
        "the keys x: no StyleGAN generator in",
    ),
    "a tensor": (lambda p: torch.save(torch.ones(2), p), r"an array of shape \(2,\)"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(path, name):
    write, message = REFUSED[name]
    write(path)
    with pytest.raises(ValueError, match=message) as caught:
        stylegan.load(path)
    assert str(caught.value).startswith(f"{path} ")


@pytest.mark.parametrize("only", [None, "G_ema"])
def test_newer_classes_are_named(path, only, monkeypatch):
    monkeypatch.setattr("containers._class_name", lambda name, root: "TriPlaneGenerator")
    write_nvidia(path, only=only)
    with pytest.raises(ValueError, match='class "TriPlaneGenerator", which is newer or another'):
        stylegan.load(path)


def test_missing_and_unknown_tensors_are_named(path):
    _, state, _ = golden("stylegan2_rosinality_generator")
    torch.save({"g_ema": state | {"attention.weight": torch.ones(2)}}, path)
    with pytest.raises(ValueError, match="rosinality's generator does not have .attention.weight"):
        stylegan.load(path)
    torch.save({"g_ema": {k: x for k, x in state.items() if k != "convs.2.noise.weight"}}, path)
    with pytest.raises(ValueError, match="incomplete generator: 'convs.2.noise.weight' is missing"):
        stylegan.load(path)


def test_rosinality_before_constant_noise(path):
    _, state, arrays = golden("stylegan2_rosinality_generator")
    older = {k: x for k, x in state.items() if not k.startswith("noises.")}
    torch.save({"g_ema": older, "latent_avg": arrays["latent_avg"]}, path)
    generator = stylegan.load(path)
    assert generator.fingerprint == stylegan.load(path).fingerprint
    maps = generator.noise_maps(1)
    assert 0.8 < maps[-1].std() < 1.2
    assert not torch.equal(maps[-1], maps[-2])
