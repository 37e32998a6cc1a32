"""Checkpoints of genforce (StyleGAN1 and StyleGAN2), and IDInvert's StyleGAN1 generators."""

import re

import torch
from torch import Tensor

from . import states
from .configs import describe
from .states import State
from .translation import blocks, check_all_used, check_constant, count, gain_before

NAME = "genforce's StyleGAN (.pth)"


def find(tree: object) -> dict[str, list[State]]:
    """The networks in a tree: {"generator": ..}. Its discriminators are not read."""
    # A state can lack "truncation", but not "mapping".
    networks = states.find(tree, "mapping.dense0.", "synthesis.layer0.")
    return {"generator": networks} if networks else {}


def read(source: list[State], network: str) -> tuple[dict, dict[str, Tensor]]:
    """(config, tensors) of a network that `find` returned. Raises Fault."""
    state = states.only(source).tensors
    if "synthesis.early_layer.const" in state:
        check_constant(state["synthesis.early_layer.const"].shape)
        tensors = _stylegan2(dict(state))
        return describe(tensors, {}), tensors
    remaining, fused_from = _plain_names(state)
    tensors = _stylegan1(remaining)
    return describe(tensors, {"fused_from": fused_from}), tensors


def _stylegan2(remaining: dict[str, Tensor]) -> dict[str, Tensor]:
    tensors = {
        "mapping.w_avg": remaining.pop("truncation.w_avg"),
        "synthesis.b4.const": remaining.pop("synthesis.early_layer.const")[0],
    }
    for index in range(count(remaining, r"mapping\.dense\d+\.weight")):
        for part in ("weight", "bias"):
            tensors[f"mapping.fc{index}.{part}"] = remaining.pop(f"mapping.dense{index}.{part}")
    for index, size in enumerate(blocks(count(remaining, r"synthesis\.output\d+\.bias"))):
        ours = f"synthesis.b{size}"
        names = {f"{ours}.conv1": f"layer{2 * index}", f"{ours}.torgb": f"output{index}"}
        if index:
            names[f"{ours}.conv0"] = f"layer{2 * index - 1}"
        for our, their in names.items():
            _modulated(remaining, f"synthesis.{their}", our, tensors)
            if not our.endswith("torgb"):
                noise = remaining.pop(f"synthesis.{their}.noise")
                tensors[f"{our}.noise_const"] = noise.reshape(size, size)
                strength = remaining.pop(f"synthesis.{their}.noise_strength")
                tensors[f"{our}.noise_strength"] = strength.reshape([])
        if index:
            # There, convolution and correlation are swapped.
            tensors[f"{ours}.conv0.weight"] = tensors[f"{ours}.conv0.weight"].flip(2, 3)
    check_all_used(remaining, r".*\.kernel|.*\blod|truncation\.\w+", "genforce's StyleGAN2")
    return tensors


def _modulated(remaining: dict[str, Tensor], theirs: str, ours: str, tensors: dict) -> None:
    for part in ("weight", "bias"):
        tensors[f"{ours}.{part}"] = remaining.pop(f"{theirs}.{part}")
    tensors[f"{ours}.affine.weight"] = remaining.pop(f"{theirs}.style.weight")
    tensors[f"{ours}.affine.bias"] = remaining.pop(f"{theirs}.style.bias") + 1


def _stylegan1(remaining: dict[str, Tensor]) -> dict[str, Tensor]:
    tensors = {"synthesis.layer0.const": remaining.pop("synthesis.layer0.const")[0]}
    layers = count(remaining, r"mapping\.dense\d+\.weight")
    for index in range(layers):
        tensors[f"mapping.fc{index}.weight"] = remaining.pop(f"mapping.dense{index}.weight")
        bias = remaining.pop(f"mapping.dense{index}.bias")
        tensors[f"mapping.fc{index}.bias"] = gain_before(bias)
    resolutions = blocks(count(remaining, r"synthesis\.output\d+\.weight"))
    for index in range(2 * len(resolutions)):
        size, theirs = resolutions[index // 2], f"synthesis.layer{index}"
        names = {"bias": "bias", "noise_strength": "apply_noise.weight"}
        names |= {"affine.weight": "style.weight", "affine.bias": "style.bias"}
        if index:
            names["weight"] = "weight"
        for ours, their in names.items():
            tensors[f"{theirs}.{ours}"] = remaining.pop(f"{theirs}.{their}")
        noise = remaining.pop(f"{theirs}.apply_noise.noise")
        tensors[f"{theirs}.noise_const"] = noise.reshape(size, size)
    for part in ("weight", "bias"):
        name = f"synthesis.output{len(resolutions) - 1}.{part}"
        tensors[f"synthesis.torgb.{part}"] = remaining.pop(name)
    inputs = 2 * len(resolutions)
    w_dim = tensors["synthesis.layer0.affine.weight"].shape[1]
    per_layer = tensors[f"mapping.fc{layers - 1}.weight"].shape[0] == inputs * w_dim
    mean = remaining.pop("truncation.w_avg")
    tensors["mapping.w_avg"] = mean_per_layer(mean, inputs, w_dim) if per_layer else mean
    # Smaller toRGB layers served progressive growing.
    ignored = r".*\.kernel|.*\blod|truncation\.\w+|synthesis\.output\d+\..*|.*\.scale"
    check_all_used(remaining, ignored, "genforce's StyleGAN1")
    return tensors


def mean_per_layer(mean: Tensor, inputs: int, w_dim: int) -> Tensor:
    """The mean w (inputs, w_dim) of a generator with a different w per layer, from any layout."""
    if mean.numel() == w_dim:
        return mean.reshape(1, w_dim).repeat(inputs, 1)
    return mean.reshape(inputs, w_dim)


def _plain_names(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], int]:
    """(IDInvert's StyleGAN1 under genforce's names, first resolution with fused up-sampling)."""
    shorter = [
        (r"layer0\.first_layer$", "layer0.const"),
        (r"\.epilogue\.", "."),
        (r"\.style_mod\.dense\.", ".style."),
        (r"\.(fc|conv)\.weight$", ".weight"),
        (r"\.wscale\.bias$", ".bias"),
    ]
    renamed, fused_from = {}, 128
    if any(".epilogue." in name for name in state):
        fused = [i for i in range(2, 2 * 12, 2) if f"synthesis.layer{i}.weight" in state]
        # There, convolutions that are not fused are called layer2.conv.
        layers = 2 * count(state, r"synthesis\.output\d+\.(conv\.)?weight")
        fused_from = 4 * 2 ** ((fused[0] if fused else layers) // 2)
    for name, x in state.items():
        for pattern, plain in shorter:
            name = re.sub(pattern, plain, name)
        if re.fullmatch(r"synthesis\.layer\d+\.weight", name) and x.shape[2:] != (3, 3):
            x = x.permute(3, 2, 0, 1)  # fused ones are (k, k, in, out) there
        renamed[name] = torch.as_tensor(x)
    return renamed, fused_from
