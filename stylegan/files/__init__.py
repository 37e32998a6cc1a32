"""Network files: a reader per format, each path -> (config, tensors); none executes anything."""

from pathlib import Path

from torch import Tensor

from . import native
from .native import read_tensors, write, write_tensors

__all__ = ["read", "read_tensors", "write", "write_tensors"]


def read(path: str | Path, network: str) -> tuple[dict, dict[str, Tensor]]:
    """(config, tensors) of the `network`, "generator" or "discriminator", in a file.

    The format is told by the content. Raises FileNotFoundError, or ValueError with what was found.
    """
    path = Path(path)
    if not path.is_file():
        found = "is a folder" if path.is_dir() else "does not exist"
        raise FileNotFoundError(
            f"{path} {found}; expected the file of a StyleGAN {network}, e.g. generator.safetensors"
        )
    with path.open("rb") as file:
        head = file.read(16)
    if not native.recognise(head):
        raise ValueError(
            f"{path} is not a .safetensors file (it starts with {head[:8]!r}); "
            "this version reads StyleGAN2 networks with NVIDIA's tensor names in .safetensors"
        )
    return native.read(path, network)
