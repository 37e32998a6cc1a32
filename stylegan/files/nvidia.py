"""NVIDIA's PyTorch pickles: StyleGAN2-ADA, and StyleGAN2 and 3 of the StyleGAN3 repository.

A file holds the networks' own source text too. It is never looked at: their names, shapes and plain
attributes say enough.
"""

import re

import torch
from torch import Tensor

from .configs import STYLEGAN3, describe
from .pickles import Fault, Network, shown
from .translation import LR_MULTIPLIER, number, scale_mapping

NAME = "NVIDIA's networks for PyTorch (.pkl)"
CLASSES = {"generator": "Generator", "discriminator": "Discriminator"}


def find(tree: object) -> dict[str, Network]:
    """The networks in a tree: {"generator": .., "discriminator": ..}, as `read` takes them."""
    if isinstance(tree, Network):
        # A network on its own; what it is, its class says.
        kinds = [kind for kind, name in CLASSES.items() if name == tree.name]
        return {kinds[0]: tree} if kinds else {}
    if not isinstance(tree, dict):
        return {}
    generators = [tree[key] for key in ("G_ema", "G") if isinstance(tree.get(key), Network)]
    found = {"generator": generators[0]} if generators else {}
    if isinstance(tree.get("D"), Network):
        found["discriminator"] = tree["D"]
    return found


def read(found: Network, network: str) -> tuple[dict, dict[str, Tensor]]:
    """(config, tensors) of what `find` found."""
    if found.name != CLASSES[network]:
        raise Fault(
            f'holds a {network} of the class "{shown(found.name)}", which is newer or another '
            "architecture; this version reads StyleGAN2 and StyleGAN3"
        )
    tensors, modules = flatten(found)
    if "synthesis.input.freqs" in tensors:
        tensors = {_short_name(name): x for name, x in tensors.items()}
        stored = _stylegan3_settings(modules)
    else:
        _refuse_variants(modules, "resnet" if network == "discriminator" else "skip")
        tensors |= _silent_noise(modules)
        stored = _stylegan2_settings(modules, network)
    multiplier = modules.get("mapping.fc0", {}).get("bias_gain", LR_MULTIPLIER)
    tensors = scale_mapping(tensors, number(multiplier))
    return describe(tensors, stored), tensors


def flatten(network: Network) -> tuple[dict[str, Tensor], dict[str, dict]]:
    """(tensors, attributes of every module), both under flat names; "" is the network itself."""
    tensors, modules, seen = {}, {}, set()
    waiting = [("", network)]
    while waiting:
        name, module = waiting.pop()
        if not isinstance(module, Network) or id(module) in seen:
            raise Fault(f'is damaged: its part "{shown(name)}" is no module of its own')
        seen.add(id(module))
        modules[name] = module.state
        prefix = f"{name}." if name else ""
        for key in ("_parameters", "_buffers"):
            for own, tensor in module.state[key].items():
                if tensor is None:
                    continue
                if not isinstance(tensor, Tensor):
                    raise Fault(f'is damaged: its part "{shown(prefix + own)}" is no tensor')
                tensors[prefix + own] = tensor.detach()
        waiting += [
            (prefix + own, part)
            for own, part in module.state["_modules"].items()
            if part is not None
        ]
    return tensors, modules


def _refuse_variants(modules: dict[str, dict], architecture: str) -> None:
    """Fault for settings with which the layers are not those of our StyleGAN2."""
    for state in modules.values():
        found = state.get("architecture", architecture)
        if found != architecture:
            raise Fault(
                f'holds a network of the architecture "{shown(found)}"; this version reads '
                f'"{architecture}"'
            )
        if state.get("activation", "lrelu") not in ("lrelu", "linear"):
            raise Fault(
                f'holds a network with the activation "{shown(state["activation"])}"; this version '
                'reads "lrelu"'
            )


def _stylegan2_settings(modules: dict[str, dict], network: str) -> dict:
    if network == "generator":
        return {"conv_clamp": number(modules["synthesis.b4.conv1"].get("conv_clamp"))}
    group = modules["b4.mbstd"].get("group_size", 4) if "b4.mbstd" in modules else 4
    return {
        "conv_clamp": number(modules["b4.conv"].get("conv_clamp")),
        # None is the whole batch, however large.
        "mbstd_group": 2**31 if group is None else number(group),
    }


def _silent_noise(modules: dict[str, dict]) -> dict[str, Tensor]:
    """Noise of strength 0 for convolutions that were built without any."""
    tensors = {}
    for name, state in modules.items():
        side = re.fullmatch(r"synthesis\.b(\d{1,4})\.conv[01]", name)
        if side and state.get("use_noise") is False:
            tensors[f"{name}.noise_strength"] = torch.zeros([])
            tensors[f"{name}.noise_const"] = torch.zeros(int(side[1]), int(side[1]))
    return tensors


def _short_name(name: str) -> str:
    """StyleGAN3's layers without the side and width that NVIDIA puts into their names."""
    return re.sub(r"^synthesis\.(L\d+)_\d+_\d+\.", r"synthesis.\1.", name)


def _stylegan3_settings(modules: dict[str, dict]) -> dict:
    """What no shape tells, from the constructor's arguments and from the attributes."""
    arguments = modules[""].get("_init_kwargs", {})
    synthesis = modules["synthesis"]
    known = {
        **arguments,
        **arguments.get("synthesis_kwargs", {}),
        **synthesis.get("_init_kwargs", {}),
        **synthesis,
        "img_resolution": modules[""]["img_resolution"],
    }
    wanted = (*STYLEGAN3, "img_resolution")
    return {key: number(known[key]) for key in wanted if key in known}
