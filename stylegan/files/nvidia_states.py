"""State dicts of NVIDIA's networks for PyTorch: torch.save(G_ema.state_dict()), wrapped or not.

They hold neither source text nor settings. What no shape and no name says is as in the releases.
"""

import re

from torch import Tensor

from . import states
from .configs import describe
from .nvidia import short_name
from .states import State

NAME = "a state dict with NVIDIA's names (.pt)"
GENERATORS = ("synthesis.b4.const", "synthesis.input.freqs")
"""A tensor that only this architecture has: StyleGAN2 and 3."""


def find(tree: object) -> dict[str, list[State]]:
    """The networks in a tree: {"generator": .., "discriminator": ..}, for `read`."""
    networks = {
        "generator": [x for name in GENERATORS for x in states.find(tree, name, "mapping.w_avg")],
        "discriminator": states.find(tree, "b4.out.weight", "b4.fc.weight"),
    }
    return {network: candidates for network, candidates in networks.items() if candidates}


def read(source: list[State], network: str) -> tuple[dict, dict[str, Tensor]]:
    """(config, tensors) of a network that `find` returned. Raises Fault."""
    tensors = states.only(source).tensors
    stored = _stylegan3_settings(tensors) if "synthesis.input.freqs" in tensors else {}
    tensors = {short_name(name): x for name, x in tensors.items()}
    return describe(tensors, stored), tensors


def _stylegan3_settings(tensors: dict[str, Tensor]) -> dict:
    """The resolution, from the name of the last layer, and the kind of filters, from their shape.

    NVIDIA's layers are called L0_36_512: number, resolution, channels.
    """
    layers = [re.match(r"synthesis\.L(\d+)_(\d+)_\d+\.weight$", name) for name in tensors]
    sizes = {int(layer[1]): int(layer[2]) for layer in layers if layer}
    if not sizes:
        return {}
    radial = any(x.ndim == 2 for name, x in tensors.items() if name.endswith("_filter"))
    return {"img_resolution": sizes[max(sizes)], "use_radial_filters": radial}
