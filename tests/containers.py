"""Writers of foreign files: what the original programs save, made from the golden arrays.

The classes of those programs stand here as empty shells under their own names, which exist while a
file is written and not when it is read.
"""

import argparse
import json
import math
import pickle
import sys
import types
from collections import OrderedDict
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open

GOLDEN = Path(__file__).parent / "golden"
SOURCE = "raise SystemExit('the source text in the file was run')\n"
BUFFERS = ("noise_const", "resample_filter", "w_avg", "transform", "freqs", "phases")
BUFFERS += ("magnitude_ema", "up_filter", "down_filter")


def golden(name):
    """(config, state, arrays) of a golden file."""
    with safe_open(GOLDEN / f"{name}.safetensors", "pt") as file:
        metadata = file.metadata()
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    config = json.loads(metadata.get("config") or metadata["static_kwargs"])
    state = {key.partition("/")[2]: x for key, x in tensors.items() if "/" in key}
    return config, state, {key: x for key, x in tensors.items() if "/" not in key}


@contextmanager
def originals(things):
    """The modules of NVIDIA's programs that a pickle names, while it is written.

    things: module -> what it defines.
    """
    modules = {}
    for name, thing in things.items():
        for end in [i for i, letter in enumerate(name) if letter == "."] + [None]:
            modules.setdefault(name[:end], types.ModuleType(name[:end]))
        thing.__module__ = name
        setattr(modules[name], thing.__name__, thing)
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name in modules:
            del sys.modules[name]


# NVIDIA for PyTorch -------------------------------------------------------------------------------


class EasyDict(dict):
    """Of dnnlib.util."""


def _reconstruct_persistent_obj(meta):
    raise AssertionError("a file was read with its own code")


class Persistent(torch.nn.Module):
    """A module as `torch_utils.persistence` pickles it: its source text, and its attributes."""

    def __init__(self, attributes):
        super().__init__()
        self.__dict__.update(attributes)

    def __reduce__(self):
        meta = {
            "type": "class",
            "version": 6,
            "module_src": SOURCE,
            "class_name": type(self).__name__,
            "state": dict(self.__dict__),
        }
        return _reconstruct_persistent_obj, (meta,), None


def write_nvidia(
    path,
    generator="stylegan2_generator",
    discriminator=None,
    *,
    protocol=4,
    edit=None,
    only=None,
    by_torch=False,
):
    """A snapshot .pkl of stylegan2-ada-pytorch or stylegan3.

    edit(name, attributes): changes the attributes of a module before it is written. only: a single
    key of the snapshot. by_torch: with torch.save, as PTI saves its generators.
    """
    nothing = {"training_set_kwargs": EasyDict(path="dataset.zip", use_labels=False)}
    snapshot = {"G": None, "D": None, "G_ema": None, "augment_pipe": None, **nothing}
    if generator:
        config, state, _ = golden(generator)
        # The weights of the last step, which are not the ones to use.
        zeros = {name: torch.zeros_like(x) for name, x in state.items()}
        snapshot["G"] = nvidia_module("Generator", config, zeros, edit)
        snapshot["G_ema"] = nvidia_module("Generator", config, state, edit)
    if discriminator:
        config, state, _ = golden(discriminator)
        snapshot["D"] = nvidia_module("Discriminator", config, state, edit)
    names = {"torch_utils.persistence": _reconstruct_persistent_obj, "dnnlib.util": EasyDict}
    snapshot = snapshot[only] if only else snapshot
    with originals(names), open(path, "wb") as file:
        if by_torch:
            torch.save(snapshot, file)
        else:
            pickle.dump(snapshot, file, protocol=protocol)


def nvidia_module(class_name, config, state, edit=None):
    """The tree of modules that has this state."""
    modules = {}

    def module(name):
        if name not in modules:
            kind = _class_name(name, class_name)
            attributes = _attributes(name, kind, config, state)
            if edit:
                edit(name, attributes)
            modules[name] = type(kind, (Persistent,), {})(attributes)
            if name:
                above, _, part = name.rpartition(".")
                module(above).add_module(part, modules[name])
        return modules[name]

    module("")
    for name, tensor in state.items():
        above, _, part = name.rpartition(".")
        if part in BUFFERS:
            module(above).register_buffer(part, tensor)
        else:
            module(above).register_parameter(part, torch.nn.Parameter(tensor, requires_grad=False))
    if class_name == "Discriminator":
        module("b4.mbstd")
    return modules[""]


def _class_name(name, root):
    part = name.rpartition(".")[2]
    if not part:
        return root
    if part in ("affine", "embed", "out") or part.startswith("fc"):
        return "FullyConnectedLayer"
    classes = {"mapping": "MappingNetwork", "synthesis": "SynthesisNetwork", "torgb": "ToRGBLayer"}
    classes |= {"input": "SynthesisInput", "mbstd": "MinibatchStdLayer"}
    if part in classes:
        return classes[part]
    if root == "Generator":
        return "SynthesisBlock" if part.startswith("b") else "SynthesisLayer"
    if part == "b4":
        return "DiscriminatorEpilogue"
    return "DiscriminatorBlock" if part.startswith("b") else "Conv2dLayer"


def _attributes(name, kind, config, state):
    """What the constructors of the original leave in the objects."""
    nested = config.get("synthesis_kwargs", config)
    clamp = nested.get("conv_clamp")
    if kind == "FullyConnectedLayer":
        multiplier = 0.01 if name.startswith("mapping.fc") else 1
        inputs = state[f"{name}.weight"].shape[1]
        activation = "linear" if name.endswith(("affine", "embed", "out")) else "lrelu"
        gain = multiplier / np.sqrt(inputs)
        return {"activation": activation, "weight_gain": gain, "bias_gain": multiplier}
    if kind in ("SynthesisLayer", "Conv2dLayer") and "num_layers" not in nested:
        layer = {"activation": "lrelu", "conv_clamp": clamp, "act_gain": np.sqrt(2)}
        return layer | ({"use_noise": True, "up": 1} if kind == "SynthesisLayer" else {})
    if kind == "SynthesisLayer":
        size = np.broadcast_to(np.asarray(36), [2])
        return {"conv_clamp": clamp, "in_size": size, "in_cutoff": np.float64(2), "up_factor": 2}
    if kind == "MinibatchStdLayer":
        return {"group_size": 4, "num_channels": 1}
    if kind.endswith(("Block", "Epilogue")):
        return {"architecture": "skip" if kind == "SynthesisBlock" else "resnet"}
    if kind == "SynthesisNetwork":
        attributes = {k: nested[k] for k in ("num_layers",) if k in nested}
        if attributes:
            attributes |= {"num_critical": 2, "margin_size": 10, "output_scale": 0.25}
        inner = {k: x for k, x in nested.items() if k not in ("z_dim", "c_dim", "mapping_kwargs")}
        return {"_init_args": (), "_init_kwargs": EasyDict(inner), **attributes}
    if not name:
        arguments = {k: EasyDict(x) if isinstance(x, dict) else x for k, x in config.items()}
        sizes = {k: x for k, x in config.items() if isinstance(x, int)}
        return {"_init_args": (), "_init_kwargs": EasyDict(arguments), **sizes}
    return {}


# torch.save: rosinality, genforce, IDInvert, encoders ---------------------------------------------


def _state_dict(state):
    """As `Module.state_dict` returns it."""
    renamed = OrderedDict(state)
    renamed._metadata = OrderedDict({"": {"version": 1}})
    return renamed


def _save(value, path, legacy):
    torch.save(value, path, _use_new_zipfile_serialization=not legacy)


def write_rosinality(path, *, legacy=False, trained=False, bare=False, discriminator=True):
    """A .pt of rosinality/stylegan2-pytorch: converted from TensorFlow, or trained there.

    trained: without the mean, with optimisers and arguments. bare: the generator's state alone.
    """
    _, state, arrays = golden("stylegan2_rosinality_generator")
    saved = {"g_ema": _state_dict(state)}
    if discriminator:
        saved["d"] = _state_dict(rosinality_discriminator())
    if trained:
        zeros = _state_dict({name: torch.zeros_like(x) for name, x in state.items()})
        optimiser = {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 0.002}]}
        arguments = argparse.Namespace(size=32, latent=64, n_mlp=4, path="dataset")
        saved = {"g": zeros, **saved, "g_optim": optimiser, "args": arguments, "ada_aug_p": 0.0}
    else:
        saved["latent_avg"] = arrays["latent_avg"]
    _save(saved["g_ema"] if bare else saved, path, legacy)


def rosinality_discriminator(name="stylegan2_discriminator"):
    """rosinality's state of a golden StyleGAN2 discriminator."""
    _, state, _ = golden(name)
    largest = max(int(k[1:].split(".")[0]) for k in state)
    layers = {"conv0": ("conv1.0", "conv1.1"), "conv1": ("conv2.1", "conv2.2")}
    layers["skip"] = ("skip.1", None)
    renamed = {}
    for key, x in state.items():
        block, layer, tail = (*key.split("."), "")[:3]
        side = int(block[1:])
        index = int(math.log2(largest // side)) + 1
        if tail not in ("weight", "bias"):
            continue
        second = tail == "bias"
        if layer == "fromrgb":
            renamed[f"convs.0.{int(second)}.{tail}"] = x
        elif layer == "conv":
            renamed[f"final_conv.{int(second)}.{tail}"] = x
        elif layer in ("fc", "out"):
            renamed[f"final_linear.{int(layer == 'out')}.{tail}"] = x
        else:
            renamed[f"convs.{index}.{layers[layer][second]}.{tail}"] = x
            if layer == "conv1":
                renamed[f"convs.{index}.conv2.0.kernel"] = torch.ones(4, 4)
    return renamed


def write_genforce(path, name="stylegan2_genforce_generator", *, legacy=False, bare=False):
    """A .pth of genforce; bare: the generator's state alone."""
    _, state, _ = golden(name)
    zeros = {key: torch.zeros_like(x) for key, x in state.items()}
    saved = {"generator_smooth": _state_dict(state), "generator": _state_dict(zeros)}
    saved["discriminator"] = _state_dict({"input0.weight": torch.zeros(4, 3, 1, 1)})
    _save(saved["generator_smooth"] if bare else saved, path, legacy)


def idinvert_state(name="stylegan1_genforce_128_generator"):
    """The golden StyleGAN1 as IDInvert names it; its last mapping layer is repeated per layer."""
    config, state, _ = golden(name)
    inputs = 2 * (int(math.log2(config["resolution"])) - 1)
    last, renamed = f"mapping.dense{config['mapping_layers'] - 1}", {}
    for key, x in state.items():
        if key.startswith(last):
            x = x.repeat(inputs, *[1] * (x.ndim - 1))
        if key.startswith("mapping."):
            key = key.replace(".weight", ".fc.weight").replace(".bias", ".wscale.bias")
        elif key.startswith("synthesis.output"):
            key = key.replace(".weight", ".conv.weight")
        elif key.startswith("synthesis.layer"):
            index = int(key.split(".")[1][5:])
            module, tail = f"synthesis.layer{index}", key.split(".", 2)[2]
            fused = index >= 10 and index % 2 == 0
            style = {"style.weight": "dense.fc.weight", "style.bias": "dense.wscale.bias"}
            if tail == "weight":
                x = x.permute(2, 3, 1, 0).contiguous() if fused else x
                key = f"{module}.weight" if fused else f"{module}.conv.weight"
            elif tail in style:
                key = f"{module}.epilogue.style_mod.{style[tail]}"
            elif tail == "const":
                key = f"{module}.first_layer"
            elif not tail.startswith("blur"):
                key = f"{module}.epilogue.{tail}"
        renamed[key] = x
    renamed["truncation.truncation"] = torch.ones(1, inputs, 1)
    return renamed


def write_idinvert(path, *, legacy=False):
    """A generator's .pth of IDInvert: a bare state."""
    _save(_state_dict(idinvert_state()), path, legacy)


def write_encoder(path, *, decoder=True, legacy=False):
    """A checkpoint of pSp or e4e: an encoder, and with `decoder` its generator."""
    _, state, arrays = golden("stylegan2_rosinality_generator")
    inner = {"encoder.input_layer.0.weight": torch.zeros(8, 3, 3, 3)}
    if decoder:
        inner |= {f"decoder.{name}": x for name, x in state.items()}
    saved = {"state_dict": _state_dict(inner), "latent_avg": arrays["latent_avg"].repeat(8, 1)}
    _save(saved | {"opts": {"encoder_type": "GradualStyleEncoder"}}, path, legacy)
