"""Oracle: the same network unwrapped. State dicts as people save them, with all that is beside."""

import argparse
import collections
import datetime
import enum
import pathlib
import sys

import numpy as np
import pytest
import torch
from containers import golden, originals, rosinality_discriminator
from opcodes import a_dict, a_pickle, call, look_up, push, zipped

from facsimile import stylegan
from facsimile.stylegan import files

PREFIXES = ["", "module.", "net.", "_orig_mod.", "module._orig_mod.", "model.generator_x.module."]


@pytest.fixture(scope="module")
def nvidia():
    _, state, arrays = golden("stylegan2_generator")
    return state, arrays


@pytest.fixture(scope="module")
def rosinality():
    _, state, arrays = golden("stylegan2_rosinality_generator")
    return state, arrays["latent_avg"]


def wrapped(state, prefix):
    return {prefix + name: x for name, x in state.items()}


def read(path, tree, network="generator"):
    torch.save(tree, path)
    config, tensors = files.read(path, network)
    # The next file of this name would change what is a view of this one.
    return config, {name: x.clone() for name, x in tensors.items()}


def assert_same(got, expected):
    assert got[0] == expected[0]
    assert got[1].keys() == expected[1].keys()
    assert all(torch.equal(x, got[1][name]) for name, x in expected[1].items())


# NVIDIA's names -----------------------------------------------------------------------------------


def test_a_state_dict_of_nvidia_makes_its_images(tmp_path, nvidia):
    state, arrays = nvidia
    torch.save({"G_ema": state, "step": 3}, tmp_path / "x.pt")
    generator = stylegan.load(tmp_path / "x.pt")
    torch.testing.assert_close(
        generator.synthesize(arrays["ws"]), arrays["image_const"], atol=1e-4, rtol=0
    )


@pytest.mark.parametrize("letter", ["t", "r"])
def test_a_state_dict_of_stylegan3(tmp_path, letter):
    _, state, arrays = golden(f"stylegan3_{letter}_generator")
    torch.save(wrapped(state, "module."), tmp_path / "x.pt")
    generator = stylegan.load(tmp_path / "x.pt")
    torch.testing.assert_close(
        generator.synthesize(arrays["ws"]), arrays["image"], atol=1e-3, rtol=0
    )


@pytest.mark.parametrize("prefix", PREFIXES[1:])
def test_prefixes_of_nvidias_names(tmp_path, nvidia, prefix):
    state, _ = nvidia
    expected = read(tmp_path / "x.pt", state)
    assert_same(read(tmp_path / "x.pt", wrapped(state, prefix)), expected)
    assert_same(read(tmp_path / "x.pt", {"state_dict": wrapped(state, prefix)}), expected)


def test_a_discriminator(tmp_path, nvidia):
    _, state, _ = golden("stylegan2_discriminator")
    both = wrapped(nvidia[0], "G_ema.") | wrapped(state, "D.")
    expected = read(tmp_path / "x.pt", {"D": state}, "discriminator")
    assert_same(read(tmp_path / "x.pt", {"state_dict": both}, "discriminator"), expected)
    assert files.kinds(tmp_path / "x.pt") == ("generator", "discriminator")


def test_a_part_that_was_compiled_alone(tmp_path, nvidia):
    state, _ = nvidia
    compiled = {name.replace("synthesis.", "synthesis._orig_mod."): x for name, x in state.items()}
    assert_same(read(tmp_path / "x.pt", compiled), read(tmp_path / "y.pt", state))


# rosinality's names -------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("key", ["g_ema", "state_dict", "net"])
def test_prefixes_of_rosinalitys_names(tmp_path, rosinality, prefix, key):
    state, mean = rosinality
    expected = read(tmp_path / "x.pt", {"g_ema": state, "latent_avg": mean})
    tree = {key: wrapped(state, prefix), "latent_avg": mean}
    assert_same(read(tmp_path / "x.pt", tree), expected)


def test_a_wrapped_discriminator(tmp_path):
    state = rosinality_discriminator()
    expected = read(tmp_path / "x.pt", {"d": state}, "discriminator")
    got = read(tmp_path / "x.pt", {"d": wrapped(state, "module.")}, "discriminator")
    assert_same(got, expected)


@pytest.mark.parametrize("repeat", [1, 8])
@pytest.mark.parametrize("to", [np.asarray, torch.as_tensor, lambda x: x.double().numpy()])
def test_the_mean_may_be_an_array(tmp_path, rosinality, repeat, to):
    state, mean = rosinality
    tree = {"g_ema": state, "latent_avg": to(mean.reshape(1, -1).repeat(repeat, 1))}
    _, tensors = read(tmp_path / "x.pt", tree)
    torch.testing.assert_close(tensors["mapping.w_avg"], mean.flatten())


@pytest.mark.parametrize("mean", [torch.zeros(5), "mean", torch.zeros(64, dtype=torch.int64)])
def test_a_mean_of_another_kind_is_refused(tmp_path, rosinality, mean):
    with pytest.raises(ValueError, match="as its mean w; expected 64 numbers"):
        read(tmp_path / "x.pt", {"g_ema": rosinality[0], "latent_avg": mean})


@pytest.mark.parametrize(
    ("size", "reason"), [((4, 2), "pictures that are not square"), ((8, 8), "a constant of 8x8")]
)
def test_a_constant_of_another_size_is_the_reason(tmp_path, rosinality, nvidia, size, reason):
    other = rosinality[0] | {"input.input": torch.zeros(1, 16, *size)}
    with pytest.raises(ValueError, match=reason):
        read(tmp_path / "x.pt", {"g_ema": other})
    other = nvidia[0] | {"synthesis.b4.const": torch.zeros(16, *size)}
    with pytest.raises(ValueError, match=reason):
        read(tmp_path / "x.pt", other)


# Which one ----------------------------------------------------------------------------------------


def test_averaged_weights_go_first_and_nothing_is_guessed(tmp_path, rosinality):
    state, mean = rosinality
    zeros = {name: torch.zeros_like(x) for name, x in state.items()}
    expected = read(tmp_path / "x.pt", {"g_ema": state, "latent_avg": mean})
    for tree in (
        {"g": zeros, "g_ema": state},
        {"state_dict": wrapped(zeros, "generator.") | wrapped(state, "generator_ema.")},
        {"net": {"generator": wrapped(zeros, "module."), "g_ema": wrapped(state, "module.")}},
    ):
        inner = tree.get("net", tree)
        inner["latent_avg"] = mean
        assert_same(read(tmp_path / "x.pt", tree), expected)
    two = {"first": state, "second": zeros}
    with pytest.raises(ValueError, match=r"2 networks of this kind \(first\., second\.\); save"):
        read(tmp_path / "x.pt", two)


def test_names_that_only_end_alike_are_no_prefix(tmp_path, rosinality):
    state, _ = rosinality
    with pytest.raises(ValueError, match="no StyleGAN generator in a supported format"):
        read(tmp_path / "x.pt", wrapped(state, "my_"))


# What stands beside -------------------------------------------------------------------------------


class Mode(enum.Enum):
    FAST = "fast"
    SLOW = 2


ARGUMENTS = {
    "path": (pathlib.PurePosixPath("/data/a/b"), "/data/a/b"),
    "relative": (pathlib.PurePosixPath("a/b"), "a/b"),
    "windows": (pathlib.PureWindowsPath(r"C:\a\b"), "C:\\a/b"),
    "here": (pathlib.Path("runs"), "runs"),
    "day": (datetime.date(2026, 2, 3), "2026-02-03"),
    "moment": (datetime.datetime(2026, 2, 3, 4, 5, 6, 7), "2026-02-03T04:05:06.000007"),
    "zone": (
        datetime.datetime(2026, 2, 3, tzinfo=datetime.timezone.utc), "2026-02-03T00:00:00.000000"
    ),
    "duration": (datetime.timedelta(1, 2, 500_000), 86402.5),
    "slice": (slice(1, None, 2), (1, None, 2)),
    "range": (range(3, 9), (3, 9, 1)),
    "default": (collections.defaultdict(list, {"a": [1]}), {"a": [1]}),
    "default of sets": (collections.defaultdict(set), {}),
    "type": (int, "int"),
    "counter": (collections.Counter("aab"), {"a": 2, "b": 1}),
    "deque": (collections.deque([1, 2], 5), [1, 2]),
    "frozen set": (frozenset({1}), {1}),
    "enum": (Mode.SLOW, ("options.Mode", 2)),
    "enum in a list": ([Mode.FAST], [("options.Mode", "fast")]),
    "namespace": (argparse.Namespace(n=argparse.Namespace(x=Mode.FAST)), None),
}  # fmt: skip


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_arguments_of_every_kind_are_plain_data(tmp_path, protocol):
    path = tmp_path / "x.pt"
    with originals({"options": Mode}):
        torch.save(
            {"args": {name: value for name, (value, _) in ARGUMENTS.items()}},
            path,
            pickle_protocol=protocol,
        )
    assert "options" not in sys.modules
    read_back = files.contents(path)["args"]
    for name, (_, expected) in ARGUMENTS.items():
        if expected is not None:
            assert read_back[name] == expected, name
    assert read_back["namespace"].state["n"].state == {"x": ("options.Mode", "fast")}
    kinds = (str, float, tuple, dict, list, set, files.Network)
    assert all(isinstance(value, kinds) for value in read_back.values())


def test_a_checkpoint_with_such_arguments_opens(tmp_path, rosinality):
    state, mean = rosinality
    arguments = argparse.Namespace(**{k.replace(" ", "_"): v for k, (v, _) in ARGUMENTS.items()})
    expected = read(tmp_path / "x.pt", {"g_ema": state, "latent_avg": mean})
    with originals({"options": Mode}):
        torch.save({"g_ema": state, "latent_avg": mean, "args": arguments}, tmp_path / "x.pt")
    assert_same(files.read(tmp_path / "x.pt", "generator"), expected)


class AttributeDict(dict):
    """Lightning's."""


def test_a_checkpoint_of_lightning(tmp_path, nvidia):
    state, _ = nvidia
    expected = read(tmp_path / "x.pt", state)
    wrapped_twice = wrapped(state, "ema.") | wrapped(state, "generator.module.")
    tree = {
        "epoch": 3,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": wrapped_twice | {"loss.weight": torch.zeros(1)},
        "callbacks": {"ModelCheckpoint{'monitor': None}": {"best": torch.tensor(1.0)}},
        "lr_schedulers": [{"milestones": collections.Counter([1, 2]), "last_epoch": 3}],
        "hparams_name": "kwargs",
        "hyper_parameters": AttributeDict(lr=0.1, mode=Mode.FAST, out=pathlib.PurePosixPath("a")),
    }
    with originals({"lightning_fabric.utilities.data": AttributeDict, "options": Mode}):
        torch.save(tree, tmp_path / "x.ckpt")
    assert_same(files.read(tmp_path / "x.ckpt", "generator"), expected)
    plain = files.contents(tmp_path / "x.ckpt")["hyper_parameters"]
    assert plain == {"lr": 0.1, "mode": ("options.Mode", "fast"), "out": "a"}


@pytest.mark.parametrize(
    ("module", "name", "body"),
    [
        ("options", "Mode", push(1)),  # not among the arguments
        ("options", "mode", push(1)),
        ("options", "Mode", push(1) + push(2)),
        ("options", "Mode", push([1])),
        ("subprocess", "Popen", push("touch canary")),
        ("popen2", "Popen3", push("touch canary")),
        ("torch.hub", "Load", push("x")),
        ("a b", "Mode", push(1)),
    ],
)
def test_an_unknown_name_is_no_enum(tmp_path, module, name, body):
    made = call(module, name, body)
    key = "g_ema" if (name, body) == ("Mode", push(1)) and module == "options" else "args"
    (tmp_path / "x.pt").write_bytes(zipped(a_dict(**{key: made})))
    with pytest.raises(ValueError, match=rf"asks to run {module}\.{name}; refused"):
        files.contents(tmp_path / "x.pt")


def test_an_enum_class_itself_is_refused(tmp_path):
    (tmp_path / "x.pkl").write_bytes(a_pickle(a_dict(args=look_up("options", "Mode"))))
    with pytest.raises(ValueError, match=r"it holds options\.Mode as a value"):
        files.contents(tmp_path / "x.pkl")
