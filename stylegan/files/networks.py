"""The network in a file, whatever the format."""

from pathlib import Path
from types import ModuleType

from torch import Tensor

from . import native
from .containers import contents, opened
from .trees import describe

FORMATS: tuple[ModuleType, ...] = ()
"""Each with recognise(tree) -> bool and read(tree, network, path) -> (config, tensors)."""


def read(path: str | Path, network: str) -> tuple[dict, dict[str, Tensor]]:
    """(config, tensors) of the `network`, "generator" or "discriminator", in a file.

    The format is told by the content. Tensors may be views of the file, as `contents` says. Raises
    FileNotFoundError, or ValueError with what was found.
    """
    path = Path(path)
    if native.recognise(bytes(opened(path)[:16])):
        return native.read(path, network)
    tree = contents(path)
    for known in FORMATS:
        if known.recognise(tree):
            return known.read(tree, network, path)
    raise ValueError(
        f"{path} holds {describe(tree)}: no StyleGAN {network} in a format that is known here "
        "(NVIDIA's .pkl, rosinality's .pt, genforce's .pth, .safetensors)"
    )
