"""NVIDIA's TensorFlow pickles: StyleGAN1, StyleGAN2 and StyleGAN2-ADA.

Names of variables follow the scopes of the original programs. Convolutions are stored (k, k, I, O)
and linear layers (I, O); ours are (O, I, k, k) and (O, I).
"""

import re

import numpy as np
import torch
from torch import Tensor

from .configs import describe
from .genforce import mean_per_layer
from .pickles import Fault, Network, printable
from .translation import (
    LR_MULTIPLIER,
    blocks,
    check_all_used,
    count,
    gain_before,
    number,
    scale_mapping,
)

NAME = "NVIDIA's networks for TensorFlow (.pkl)"
CLASS = "dnnlib.tflib.network.Network"

# Settings that change what the layers compute, with the values of our layers.
REQUIRED_SETTINGS = {
    "nonlinearity": "lrelu",
    "mapping_nonlinearity": "lrelu",
    "normalize_latents": True,
    "use_noise": True,
    "use_styles": True,
    "use_wscale": True,
    "use_pixel_norm": False,
    "use_instance_norm": True,
    "blur_filter": [1, 2, 1],
    "resample_kernel": [1, 3, 3, 1],
    "mbstd_num_features": 1,
}


def find(tree: object) -> dict[str, Network]:
    """The networks in a tree: {"generator": .., "discriminator": ..}, for `read`.

    The last generator is the one with averaged weights, "Gs".
    """
    networks = {}
    for network in tree if isinstance(tree, (tuple, list)) else [tree]:
        if isinstance(network, Network) and network.name == CLASS:
            names = variables(network)
            if any(name.startswith("synthesis/") for name in names):
                networks["generator"] = network
            elif "4x4/Dense0/weight" in names and "4x4/Conv/weight" in names:
                networks["discriminator"] = network
    return networks


def read(source: Network, network: str) -> tuple[dict, dict[str, Tensor]]:
    """(config, tensors) of a network that `find` returned. Raises Fault."""
    remaining, settings = variables(source), _settings(source)
    if network == "discriminator":
        tensors = _discriminator(remaining)
    elif "synthesis/4x4/Const/StyleMod/weight" in remaining:
        tensors = _stylegan1(remaining)
    else:
        tensors = _stylegan2(remaining, settings)
    tensors = scale_mapping(tensors, number(settings.get("mapping_lrmul", LR_MULTIPLIER)))
    stored = {"conv_clamp": number(settings.get("conv_clamp"))}
    group = settings.get("mbstd_group_size")
    if group is not None:
        stored["mbstd_group"] = number(group)
    fused = settings.get("fused_scale", "auto")
    if isinstance(fused, bool):
        stored["fused_from"] = 4 if fused else 2**31
    return describe(tensors, stored), tensors


def variables(network: Network) -> dict[str, Tensor]:
    """The variables of a network, and those of its components under their names, "mapping/..."."""
    tensors = {name: _tensor(x) for name, x in network.state.get("variables", [])}
    for part, component in network.state.get("components", {}).items():
        tensors |= {f"{part}/{name}": _tensor(x) for name, x in component.state["variables"]}
    return tensors


def _tensor(x: object) -> Tensor:
    return x if isinstance(x, Tensor) else torch.from_numpy(np.ascontiguousarray(x))


def _settings(network: Network) -> dict:
    """static_kwargs of the network and its components. Fault for unsupported ones."""
    parts = [network, *network.state.get("components", {}).values()]
    settings = {}
    for part in reversed(parts):
        settings |= part.state.get("static_kwargs", {})
    for key, value in REQUIRED_SETTINGS.items():
        setting = settings.get(key, value)
        if (list(setting) if isinstance(setting, tuple) else setting) != value:
            raise Fault(
                f"holds a network built with {key}={printable(repr(setting))}; this version reads "
                f"{value!r}"
            )
    return settings


def _convolution(x: Tensor) -> Tensor:
    return x.permute(3, 2, 0, 1)


def _transposed(x: Tensor) -> Tensor:
    """The weight of an up-sampling convolution, which TensorFlow flips."""
    return _convolution(x.flip(0, 1))


def _resolutions(remaining: dict[str, Tensor], prefix: str = "") -> list[int]:
    return blocks(count(remaining, re.escape(prefix) + r"\d+x\d+/Conv(1|1_down)/weight") + 1)


def _take_mapping(remaining: dict[str, Tensor], theirs: str, layer: str) -> dict[str, Tensor]:
    """The label's embedding and the linear layers, under our names."""
    if f"{theirs}LabelConcat/weight" in remaining:
        raise Fault(
            "holds a network that concatenates labels (LabelConcat); this version reads the labels "
            "of StyleGAN2-ADA"
        )
    names = {
        f"mapping.fc{i}": f"{layer}{i}" for i in range(count(remaining, rf"{layer}\d+/weight"))
    }
    if f"{theirs}LabelEmbed/weight" in remaining:
        names["mapping.embed"] = f"{theirs}LabelEmbed"
    return _take_linear(remaining, names)


def _take_linear(remaining: dict[str, Tensor], names: dict[str, str]) -> dict[str, Tensor]:
    tensors = {}
    for ours, name in names.items():
        tensors[f"{ours}.weight"] = remaining.pop(f"{name}/weight").T
        tensors[f"{ours}.bias"] = remaining.pop(f"{name}/bias")
    return tensors


def _stylegan2(remaining: dict[str, Tensor], settings: dict) -> dict[str, Tensor]:
    architecture = settings.get("architecture", "skip")
    if architecture != "skip" or count(remaining, r"synthesis/ToRGB_lod\d+/weight"):
        raise Fault(
            'holds a StyleGAN2 of another architecture ("orig", as in configurations A to D, or '
            '"resnet"); this version reads "skip" (configurations E and F)'
        )
    tensors = _take_mapping(remaining, "mapping/", "mapping/Dense")
    tensors["mapping.w_avg"] = remaining.pop("dlatent_avg")
    tensors["synthesis.b4.const"] = remaining.pop("synthesis/4x4/Const/const")[0]
    noise = 0
    for size in _resolutions(remaining, "synthesis/"):
        names = {"Conv": "conv1"} if size == 4 else {"Conv0_up": "conv0", "Conv1": "conv1"}
        for name, our in {**names, "ToRGB": "torgb"}.items():
            theirs, ours = f"synthesis/{size}x{size}/{name}", f"synthesis.b{size}.{our}"
            weight = remaining.pop(f"{theirs}/weight")
            turn = _transposed if name == "Conv0_up" else _convolution
            tensors[f"{ours}.weight"] = turn(weight)
            tensors[f"{ours}.bias"] = remaining.pop(f"{theirs}/bias")
            tensors[f"{ours}.affine.weight"] = remaining.pop(f"{theirs}/mod_weight").T
            tensors[f"{ours}.affine.bias"] = remaining.pop(f"{theirs}/mod_bias") + 1
            if our != "torgb":
                strength = remaining.pop(f"{theirs}/noise_strength")
                tensors[f"{ours}.noise_strength"] = strength.reshape([])
                constant = remaining.pop(f"synthesis/noise{noise}")
                tensors[f"{ours}.noise_const"] = constant.reshape(size, size)
                noise += 1
    check_all_used(remaining, r"(.*/)?lod", "StyleGAN2 in TensorFlow")
    return tensors


def _stylegan1(remaining: dict[str, Tensor]) -> dict[str, Tensor]:
    tensors = _take_mapping(remaining, "mapping/", "mapping/Dense")
    for name in [name for name in tensors if name.endswith("bias")]:
        tensors[name] = gain_before(tensors[name])
    tensors["synthesis.layer0.const"] = remaining.pop("synthesis/4x4/Const/const")[0]
    names = ["4x4/Const", "4x4/Conv"]
    for size in _resolutions(remaining, "synthesis/")[1:]:
        names += [f"{size}x{size}/Conv0_up", f"{size}x{size}/Conv1"]
    for index, name in enumerate(names):
        theirs, ours = f"synthesis/{name}", f"synthesis.layer{index}"
        if index:
            tensors[f"{ours}.weight"] = _convolution(remaining.pop(f"{theirs}/weight"))
        tensors[f"{ours}.bias"] = remaining.pop(f"{theirs}/bias")
        tensors[f"{ours}.noise_strength"] = remaining.pop(f"{theirs}/Noise/weight")
        tensors[f"{ours}.noise_const"] = remaining.pop(f"synthesis/noise{index}")[0, 0]
        tensors |= _take_linear(remaining, {f"{ours}.affine": f"{theirs}/StyleMod"})
    tensors["synthesis.torgb.weight"] = _convolution(remaining.pop("synthesis/ToRGB_lod0/weight"))
    tensors["synthesis.torgb.bias"] = remaining.pop("synthesis/ToRGB_lod0/bias")
    mean = remaining.pop("dlatent_avg")
    w_dim = tensors["synthesis.layer0.affine.weight"].shape[1]
    last = max((x.shape[0] for k, x in tensors.items() if re.match(r"mapping\.fc", k)), default=0)
    per_layer = last == len(names) * w_dim
    tensors["mapping.w_avg"] = mean_per_layer(mean, len(names), w_dim) if per_layer else mean
    # Smaller toRGB layers served progressive growing.
    check_all_used(remaining, r"(.*/)?lod|synthesis/ToRGB_lod\d+/\w+", "StyleGAN1 in TensorFlow")
    return tensors


def _discriminator(remaining: dict[str, Tensor]) -> dict[str, Tensor]:
    """StyleGAN2's residual discriminator, or StyleGAN1's plain one."""
    plain = "4x4/Dense1/weight" in remaining
    resolutions = _resolutions(remaining)
    largest = f"{resolutions[-1]}x{resolutions[-1]}"
    names = {
        f"b{resolutions[-1]}.fromrgb": "FromRGB_lod0" if plain else f"{largest}/FromRGB",
        "b4.conv": "4x4/Conv",
    }
    for size in resolutions[1:]:
        theirs = f"{size}x{size}"
        names |= {f"b{size}.conv0": f"{theirs}/Conv0", f"b{size}.conv1": f"{theirs}/Conv1_down"}
    tensors = {}
    for ours, theirs in names.items():
        tensors[f"{ours}.weight"] = _convolution(remaining.pop(f"{theirs}/weight"))
        tensors[f"{ours}.bias"] = remaining.pop(f"{theirs}/bias")
    if not plain:
        for size in resolutions[1:]:
            skip = remaining.pop(f"{size}x{size}/Skip/weight", None)
            if skip is None:
                raise Fault(
                    "holds a StyleGAN2 discriminator without residual skips; this version reads "
                    'the architecture "resnet"'
                )
            tensors[f"b{size}.skip.weight"] = _convolution(skip)
        tensors |= _take_mapping(remaining, "", "Mapping")
    output = "4x4/Dense1" if plain else "Output"
    tensors |= _take_linear(remaining, {"b4.fc": "4x4/Dense0", "b4.out": output})
    check_all_used(remaining, r"(.*/)?lod|FromRGB_lod\d+/\w+", "a discriminator in TensorFlow")
    return tensors
