"""Checkpoints of rosinality/stylegan2-pytorch, and the generators inside pSp and e4e encoders."""

import numpy as np
import torch
from torch import Tensor

from ..mapping import Mapping, mean_w
from ..randomness import keyed_generator
from . import states
from .configs import describe
from .pickles import Fault
from .states import State
from .translation import blocks, check_all_used, check_constant, count, prefixed
from .trees import describe as describe_value

NAME = "rosinality's StyleGAN2 (.pt)"


def find(tree: object) -> dict[str, list[State]]:
    """The networks in a tree: {"generator": .., "discriminator": ..}, for `read`."""
    networks = {
        "generator": states.find(tree, "input.input", "conv1.conv.modulation.weight"),
        "discriminator": states.find(tree, "final_linear.1.weight", "convs.0.0.weight"),
    }
    return {network: candidates for network, candidates in networks.items() if candidates}


def read(source: list[State], network: str) -> tuple[dict, dict[str, Tensor]]:
    """(config, tensors) of a network that `find` returned. Raises Fault."""
    state = states.only(source)
    if network == "discriminator":
        tensors = _discriminator(dict(state.tensors))
        return describe(tensors, {}), tensors
    tensors = _generator(dict(state.tensors))
    mean = state.beside.get("latent_avg")
    if mean is None:
        tensors["mapping.w_avg"] = _mean_w(tensors)
    else:
        tensors["mapping.w_avg"] = _stored_mean(mean, tensors["mapping.fc0.weight"].shape[0])
    return describe(tensors, {"w_avg_computed": mean is None}), tensors


def _stored_mean(mean: object, w_dim: int) -> Tensor:
    """The mean (w_dim,), stored as a tensor or array; files of encoders hold it per style input."""
    values = torch.as_tensor(mean) if isinstance(mean, Tensor | np.ndarray) else torch.empty(0)
    if not values.is_floating_point() or values.ndim < 1 or values.shape[-1] != w_dim:
        raise Fault(f"holds {describe_value(mean)} as its mean w; expected {w_dim} numbers")
    return values.float().reshape(-1, w_dim)[0]


def _mean_w(tensors: dict[str, Tensor]) -> Tensor:
    """The mean (w_dim,) of f(z) over z of a fixed seed, for files without it."""
    layers = count(tensors, r"mapping\.fc\d+\.weight")
    w_dim, z_dim = tensors["mapping.fc0.weight"].shape
    # In float64 the mean has the same float32 digits on every machine, and so the fingerprint too.
    mapping = Mapping(z_dim, 0, w_dim, layers).double()
    mapping.load_state_dict({"w_avg": torch.zeros(w_dim)} | prefixed(tensors, "mapping."))
    return mean_w(mapping, dtype=torch.float64).float()


def _generator(remaining: dict[str, Tensor]) -> dict[str, Tensor]:
    check_constant(remaining["input.input"].shape)
    tensors = {"synthesis.b4.const": remaining.pop("input.input")[0]}
    for index in range(count(remaining, r"style\.\d+\.weight")):
        for part in ("weight", "bias"):
            # style.0 is the normalisation of z
            tensors[f"mapping.fc{index}.{part}"] = remaining.pop(f"style.{index + 1}.{part}")
    for index, size in enumerate(blocks(1 + count(remaining, r"to_rgbs\.\d+\.bias"))):
        ours = f"synthesis.b{size}"
        if index == 0:
            _convolution(remaining, "conv1", f"{ours}.conv1", 0, size, tensors)
            _to_rgb(remaining, "to_rgb1", f"{ours}.torgb", tensors)
            continue
        first = 2 * index - 2
        _convolution(remaining, f"convs.{first}", f"{ours}.conv0", first + 1, size, tensors)
        _convolution(remaining, f"convs.{first + 1}", f"{ours}.conv1", first + 2, size, tensors)
        _to_rgb(remaining, f"to_rgbs.{index - 1}", f"{ours}.torgb", tensors)
    check_all_used(remaining, r".*\.kernel", "rosinality's generator")
    return tensors


def _convolution(
    remaining: dict[str, Tensor], theirs: str, ours: str, noise: int, size: int, tensors: dict
) -> None:
    _modulation(remaining, theirs, ours, tensors)
    tensors[f"{ours}.bias"] = remaining.pop(f"{theirs}.activate.bias").flatten()
    tensors[f"{ours}.noise_strength"] = remaining.pop(f"{theirs}.noise.weight").reshape([])
    constant = remaining.pop(f"noises.noise_{noise}", None)
    if constant is None:
        # A file older than constant noise in that repository: use any, but always the same.
        constant = torch.randn(size, size, generator=keyed_generator("cpu", noise, "noise"))
    tensors[f"{ours}.noise_const"] = constant.reshape(size, size)


def _to_rgb(remaining: dict[str, Tensor], theirs: str, ours: str, tensors: dict) -> None:
    _modulation(remaining, theirs, ours, tensors)
    tensors[f"{ours}.bias"] = remaining.pop(f"{theirs}.bias").flatten()


def _modulation(remaining: dict[str, Tensor], theirs: str, ours: str, tensors: dict) -> None:
    tensors[f"{ours}.weight"] = remaining.pop(f"{theirs}.conv.weight")[0]
    for part in ("weight", "bias"):
        tensors[f"{ours}.affine.{part}"] = remaining.pop(f"{theirs}.conv.modulation.{part}")


def _discriminator(remaining: dict[str, Tensor]) -> dict[str, Tensor]:
    resolutions = blocks(1 + count(remaining, r"convs\.\d+\.skip\.1\.weight"))
    names = {
        f"b{resolutions[-1]}.fromrgb.weight": "convs.0.0.weight",
        f"b{resolutions[-1]}.fromrgb.bias": "convs.0.1.bias",
        "b4.conv.weight": "final_conv.0.weight",
        "b4.conv.bias": "final_conv.1.bias",
    }
    for index, size in enumerate(reversed(resolutions[1:]), start=1):
        names |= {
            f"b{size}.conv0.weight": f"convs.{index}.conv1.0.weight",
            f"b{size}.conv0.bias": f"convs.{index}.conv1.1.bias",
            f"b{size}.conv1.weight": f"convs.{index}.conv2.1.weight",
            f"b{size}.conv1.bias": f"convs.{index}.conv2.2.bias",
            f"b{size}.skip.weight": f"convs.{index}.skip.1.weight",
        }
    for index, ours in enumerate(("b4.fc", "b4.out")):
        for part in ("weight", "bias"):
            names[f"{ours}.{part}"] = f"final_linear.{index}.{part}"
    tensors = {ours: remaining.pop(theirs) for ours, theirs in names.items()}
    check_all_used(remaining, r".*\.kernel", "rosinality's discriminator")
    return tensors
