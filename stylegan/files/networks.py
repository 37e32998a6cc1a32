"""The networks in a file of any format: finds its reader, or describes what the file holds."""

from pathlib import Path

from torch import Tensor

from . import genforce, native, nvidia, nvidia_states, rosinality, tensorflow
from .containers import contents, map_file
from .pickles import Fault, Network, printable
from .trees import describe

FORMATS = (nvidia, tensorflow, nvidia_states, rosinality, genforce)
"""The readers. Each has a NAME, `find` (networks in a tree) and `read` (config and tensors)."""
ERRORS_OF_DAMAGE = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""Raised by a reader of a file that is damaged or malicious."""


def read(path: str | Path, network: str) -> tuple[dict, dict[str, Tensor]]:
    """(config, tensors) of the `network`, "generator" or "discriminator", in a file.

    The content decides the format. Tensors can be views of the file: see `contents`. Raises
    FileNotFoundError, or ValueError that says what the file holds.
    """
    path = Path(path)
    if native.is_safetensors(bytes(map_file(path)[:16])):
        return native.read(path, network)
    tree = contents(path)
    try:
        return read_tree(tree, network)
    except Fault as fault:
        raise ValueError(f"{path} {fault}") from None


def kinds(path: str | Path) -> tuple[str, ...]:
    """Which of "generator" and "discriminator" a file holds. Raises the errors of `read`."""
    path = Path(path)
    if native.is_safetensors(bytes(map_file(path)[:16])):
        return native.kinds(path)
    _, networks = _find(contents(path))
    return tuple(sorted(networks, reverse=True))


def read_tree(tree: object, network: str) -> tuple[dict, dict[str, Tensor]]:
    """(config, tensors) of the `network` in what `contents` returned. Raises Fault."""
    reader, networks = _find(tree)
    if reader is None:
        raise Fault(
            f"holds {_describe(tree)}: no StyleGAN {network} in a supported format "
            "(NVIDIA's .pkl, its state dict, rosinality's .pt, genforce's .pth, .safetensors)"
        )
    if network not in networks:
        reason = " (discriminators of genforce are not read)" if reader is genforce else ""
        raise Fault(f"holds a {next(iter(networks))} only{reason}; expected a {network}")
    try:
        return reader.read(networks[network], network)
    except Fault:
        raise
    except KeyError as error:
        raise Fault(f"holds an incomplete {network}: {printable(str(error))} is missing") from error
    except ERRORS_OF_DAMAGE as error:
        raise Fault(
            f"looks like a file of {reader.NAME}, but its {network} is damaged "
            f"({printable(str(error))}); download it again"
        ) from error


def _find(tree: object) -> tuple:
    """(reader, networks in the tree); (None, {}) for an unknown format."""
    for reader in FORMATS:
        try:
            networks = reader.find(tree)
        except ERRORS_OF_DAMAGE:
            continue
        if networks:
            return reader, networks
    return None, {}


def _describe(tree: object) -> str:
    """A few words about a tree that holds no known network."""
    if isinstance(tree, Network):
        name = printable(tree.name)
        return f'a network of the class "{name}", which is newer or another architecture'
    inner = tree.get("state_dict", tree) if isinstance(tree, dict) else None
    if isinstance(inner, dict) and any(str(name).startswith("encoder.") for name in inner):
        return "an encoder, without the generator that it belongs to"
    return describe(tree)
