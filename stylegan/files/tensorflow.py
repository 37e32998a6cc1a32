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
from .pickles import Fault, Network, shown
from .translation import (
    LR_MULTIPLIER,
    blocks,
    count,
    gain_before,
    nothing_left,
    number,
    scale_mapping,
)

NAME = "NVIDIA's networks for TensorFlow (.pkl)"
CLASS = "dnnlib.tflib.network.Network"

# Settings that change what the layers compute, and the values that ours have.
FIXED = {
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
    """The networks in a tree: {"generator": .., "discriminator": ..}, as `read` takes them.

    The last generator is the one with averaged weights, "Gs".
    """
    networks = tree if isinstance(tree, (tuple, list)) else [tree]
    found = {}
    for network in networks:
        if isinstance(network, Network) and network.name == CLASS:
            names = variables(network)
            if any(name.startswith("synthesis/") for name in names):
                found["generator"] = network
            elif "4x4/Dense0/weight" in names and "4x4/Conv/weight" in names:
                found["discriminator"] = network
    return found


def read(found: Network, network: str) -> tuple[dict, dict[str, Tensor]]:
    """(config, tensors) of what `find` found."""
    left, settings = variables(found), _settings(found)
    if network == "discriminator":
        tensors = _discriminator(left)
    elif "synthesis/4x4/Const/StyleMod/weight" in left:
        tensors = _stylegan1(left)
    else:
        tensors = _stylegan2(left, settings)
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
    found = {name: _tensor(x) for name, x in network.state.get("variables", [])}
    for part, component in network.state.get("components", {}).items():
        found |= {f"{part}/{name}": _tensor(x) for name, x in component.state["variables"]}
    return found


def _tensor(x: object) -> Tensor:
    return x if isinstance(x, Tensor) else torch.from_numpy(np.ascontiguousarray(x))


def _settings(network: Network) -> dict:
    """static_kwargs, those of the components too; Fault for those that are not known here."""
    parts = [network, *network.state.get("components", {}).values()]
    settings = {}
    for part in reversed(parts):
        settings |= part.state.get("static_kwargs", {})
    for key, value in FIXED.items():
        found = settings.get(key, value)
        if (list(found) if isinstance(found, tuple) else found) != value:
            raise Fault(
                f"holds a network built with {key}={shown(repr(found))}; this version reads "
                f"{value!r}"
            )
    return settings


def _convolution(x: Tensor) -> Tensor:
    return x.permute(3, 2, 0, 1)


def _transposed(x: Tensor) -> Tensor:
    """The weight of an up-sampling convolution, which TensorFlow flips."""
    return _convolution(x.flip(0, 1))


def _sides(left: dict[str, Tensor], prefix: str = "") -> list[int]:
    return blocks(count(left, re.escape(prefix) + r"\d+x\d+/Conv(1|1_down)/weight") + 1)


def _take_mapping(left: dict[str, Tensor], theirs: str, layer: str) -> dict[str, Tensor]:
    """The label's embedding and the linear layers, under our names."""
    if f"{theirs}LabelConcat/weight" in left:
        raise Fault(
            "holds a network that takes labels in the old way (LabelConcat); this version reads "
            "those of StyleGAN2-ADA"
        )
    names = {f"mapping.fc{i}": f"{layer}{i}" for i in range(count(left, rf"{layer}\d+/weight"))}
    if f"{theirs}LabelEmbed/weight" in left:
        names["mapping.embed"] = f"{theirs}LabelEmbed"
    return _take_linear(left, names)


def _take_linear(left: dict[str, Tensor], names: dict[str, str]) -> dict[str, Tensor]:
    tensors = {}
    for ours, name in names.items():
        tensors[f"{ours}.weight"] = left.pop(f"{name}/weight").T
        tensors[f"{ours}.bias"] = left.pop(f"{name}/bias")
    return tensors


def _stylegan2(left: dict[str, Tensor], settings: dict) -> dict[str, Tensor]:
    architecture = settings.get("architecture", "skip")
    if architecture != "skip" or count(left, r"synthesis/ToRGB_lod\d+/weight"):
        raise Fault(
            'holds a StyleGAN2 of another architecture ("orig", as in configurations A to D, or '
            '"resnet"); this version reads "skip" (configurations E and F)'
        )
    tensors = _take_mapping(left, "mapping/", "mapping/Dense")
    tensors["mapping.w_avg"] = left.pop("dlatent_avg")
    tensors["synthesis.b4.const"] = left.pop("synthesis/4x4/Const/const")[0]
    noise = 0
    for side in _sides(left, "synthesis/"):
        names = {"Conv": "conv1"} if side == 4 else {"Conv0_up": "conv0", "Conv1": "conv1"}
        for name, our in {**names, "ToRGB": "torgb"}.items():
            theirs, ours = f"synthesis/{side}x{side}/{name}", f"synthesis.b{side}.{our}"
            weight = left.pop(f"{theirs}/weight")
            turn = _transposed if name == "Conv0_up" else _convolution
            tensors[f"{ours}.weight"] = turn(weight)
            tensors[f"{ours}.bias"] = left.pop(f"{theirs}/bias")
            tensors[f"{ours}.affine.weight"] = left.pop(f"{theirs}/mod_weight").T
            tensors[f"{ours}.affine.bias"] = left.pop(f"{theirs}/mod_bias") + 1
            if our != "torgb":
                strength = left.pop(f"{theirs}/noise_strength")
                tensors[f"{ours}.noise_strength"] = strength.reshape([])
                constant = left.pop(f"synthesis/noise{noise}")
                tensors[f"{ours}.noise_const"] = constant.reshape(side, side)
                noise += 1
    nothing_left(left, r"(.*/)?lod", "StyleGAN2 in TensorFlow")
    return tensors


def _stylegan1(left: dict[str, Tensor]) -> dict[str, Tensor]:
    tensors = _take_mapping(left, "mapping/", "mapping/Dense")
    for name in [name for name in tensors if name.endswith("bias")]:
        tensors[name] = gain_before(tensors[name])
    tensors["synthesis.layer0.const"] = left.pop("synthesis/4x4/Const/const")[0]
    names = ["4x4/Const", "4x4/Conv"]
    for side in _sides(left, "synthesis/")[1:]:
        names += [f"{side}x{side}/Conv0_up", f"{side}x{side}/Conv1"]
    for index, name in enumerate(names):
        theirs, ours = f"synthesis/{name}", f"synthesis.layer{index}"
        if index:
            tensors[f"{ours}.weight"] = _convolution(left.pop(f"{theirs}/weight"))
        tensors[f"{ours}.bias"] = left.pop(f"{theirs}/bias")
        tensors[f"{ours}.noise_strength"] = left.pop(f"{theirs}/Noise/weight")
        tensors[f"{ours}.noise_const"] = left.pop(f"synthesis/noise{index}")[0, 0]
        tensors |= _take_linear(left, {f"{ours}.affine": f"{theirs}/StyleMod"})
    tensors["synthesis.torgb.weight"] = _convolution(left.pop("synthesis/ToRGB_lod0/weight"))
    tensors["synthesis.torgb.bias"] = left.pop("synthesis/ToRGB_lod0/bias")
    mean = left.pop("dlatent_avg")
    w_dim = tensors["synthesis.layer0.affine.weight"].shape[1]
    last = max((x.shape[0] for k, x in tensors.items() if re.match(r"mapping\.fc", k)), default=0)
    per_layer = last == len(names) * w_dim
    tensors["mapping.w_avg"] = mean_per_layer(mean, len(names), w_dim) if per_layer else mean
    # Smaller toRGB layers served progressive growing.
    nothing_left(left, r"(.*/)?lod|synthesis/ToRGB_lod\d+/\w+", "StyleGAN1 in TensorFlow")
    return tensors


def _discriminator(left: dict[str, Tensor]) -> dict[str, Tensor]:
    """StyleGAN2's residual discriminator, or StyleGAN1's plain one."""
    plain = "4x4/Dense1/weight" in left
    sides = _sides(left)
    largest = f"{sides[-1]}x{sides[-1]}"
    names = {
        f"b{sides[-1]}.fromrgb": "FromRGB_lod0" if plain else f"{largest}/FromRGB",
        "b4.conv": "4x4/Conv",
    }
    for side in sides[1:]:
        theirs = f"{side}x{side}"
        names |= {f"b{side}.conv0": f"{theirs}/Conv0", f"b{side}.conv1": f"{theirs}/Conv1_down"}
    tensors = {}
    for ours, theirs in names.items():
        tensors[f"{ours}.weight"] = _convolution(left.pop(f"{theirs}/weight"))
        tensors[f"{ours}.bias"] = left.pop(f"{theirs}/bias")
    if not plain:
        for side in sides[1:]:
            skip = left.pop(f"{side}x{side}/Skip/weight", None)
            if skip is None:
                raise Fault(
                    "holds a StyleGAN2 discriminator without residual skips; this version reads "
                    'the architecture "resnet"'
                )
            tensors[f"b{side}.skip.weight"] = _convolution(skip)
        tensors |= _take_mapping(left, "", "Mapping")
    output = "4x4/Dense1" if plain else "Output"
    tensors |= _take_linear(left, {"b4.fc": "4x4/Dense0", "b4.out": output})
    nothing_left(left, r"(.*/)?lod|FromRGB_lod\d+/\w+", "a discriminator in TensorFlow")
    return tensors
