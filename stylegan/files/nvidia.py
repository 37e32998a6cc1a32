"""NVIDIA's PyTorch pickles: StyleGAN2-ADA, and StyleGAN2 and 3 of the StyleGAN3 repository.

A file also holds the source text of the networks, which is ignored: names, shapes and plain
attributes are enough.
"""

import re

import torch
from torch import Tensor

from .configs import STYLEGAN3, describe
from .pickles import Fault, Network, printable
from .translation import LR_MULTIPLIER, number, scale_mapping

NAME = "NVIDIA's networks for PyTorch (.pkl)"
CLASSES = {"generator": "Generator", "discriminator": "Discriminator"}


def find(tree: object) -> dict[str, Network]:
    """The networks in a tree: {"generator": .., "discriminator": ..}, for `read`."""
    if isinstance(tree, Network):
        # A single network, of the kind that its class says.
        kinds = [kind for kind, name in CLASSES.items() if name == tree.name]
        return {kinds[0]: tree} if kinds else {}
    if not isinstance(tree, dict):
        return {}
    generators = [tree[key] for key in ("G_ema", "G") if isinstance(tree.get(key), Network)]
    networks = {"generator": generators[0]} if generators else {}
    if isinstance(tree.get("D"), Network):
        networks["discriminator"] = tree["D"]
    return networks


def read(module: Network, network: str) -> tuple[dict, dict[str, Tensor]]:
    """(config, tensors) of a network that `find` returned. Raises Fault."""
    if module.name != CLASSES[network]:
        raise Fault(
            f'holds a {network} of the class "{printable(module.name)}", which is newer or another '
            "architecture; this version reads StyleGAN2 and StyleGAN3"
        )
    tensors, modules = flatten(module)
    if "synthesis.input.freqs" in tensors:
        tensors = {short_name(name): x for name, x in tensors.items()}
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
    tensors, modules, visited = {}, {}, set()
    pending = [("", network)]
    while pending:
        name, module = pending.pop()
        if not isinstance(module, Network) or id(module) in visited:
            raise Fault(f'is damaged: its part "{printable(name)}" is no module, or used twice')
        visited.add(id(module))
        modules[name] = module.state
        prefix = f"{name}." if name else ""
        for key in ("_parameters", "_buffers"):
            for attribute, tensor in module.state[key].items():
                if tensor is None:
                    continue
                if not isinstance(tensor, Tensor):
                    part = printable(prefix + attribute)
                    raise Fault(f'is damaged: its part "{part}" is no tensor')
                tensors[prefix + attribute] = tensor.detach()
        pending += [
            (prefix + attribute, part)
            for attribute, part in module.state["_modules"].items()
            if part is not None
        ]
    return tensors, modules


def _refuse_variants(modules: dict[str, dict], architecture: str) -> None:
    """Fault for settings with which the layers differ from our StyleGAN2."""
    for state in modules.values():
        variant = state.get("architecture", architecture)
        if variant != architecture:
            raise Fault(
                f'holds a network of the architecture "{printable(variant)}"; this version reads '
                f'"{architecture}"'
            )
        activation = state.get("activation", "lrelu")
        if activation not in ("lrelu", "linear"):
            raise Fault(
                f'holds a network with the activation "{printable(activation)}"; this version '
                'reads "lrelu"'
            )


def _stylegan2_settings(modules: dict[str, dict], network: str) -> dict:
    if network == "generator":
        return {"conv_clamp": number(modules["synthesis.b4.conv1"].get("conv_clamp"))}
    group = modules["b4.mbstd"].get("group_size", 4) if "b4.mbstd" in modules else 4
    return {
        "conv_clamp": number(modules["b4.conv"].get("conv_clamp")),
        # None is the whole batch, of any size.
        "mbstd_group": 2**31 if group is None else number(group),
    }


def _silent_noise(modules: dict[str, dict]) -> dict[str, Tensor]:
    """Noise of strength 0 for convolutions without noise."""
    tensors = {}
    for name, state in modules.items():
        match = re.fullmatch(r"synthesis\.b(\d{1,4})\.conv[01]", name)
        if match and state.get("use_noise") is False:
            resolution = int(match[1])
            tensors[f"{name}.noise_strength"] = torch.zeros([])
            tensors[f"{name}.noise_const"] = torch.zeros(resolution, resolution)
    return tensors


def short_name(name: str) -> str:
    """The name of a StyleGAN3's layer without the resolution and width that NVIDIA adds."""
    return re.sub(r"^synthesis\.(L\d+)_\d+_\d+\.", r"synthesis.\1.", name)


def _stylegan3_settings(modules: dict[str, dict]) -> dict:
    """Settings that no shape contains, from the constructor's arguments and the attributes."""
    arguments = modules[""].get("_init_kwargs", {})
    synthesis = modules["synthesis"]
    settings = {
        **arguments,
        **arguments.get("synthesis_kwargs", {}),
        **synthesis.get("_init_kwargs", {}),
        **synthesis,
        "img_resolution": modules[""]["img_resolution"],
    }
    keys = (*STYLEGAN3, "img_resolution")
    return {key: number(settings[key]) for key in keys if key in settings}
