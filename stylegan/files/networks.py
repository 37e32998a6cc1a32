"""The networks in a file, whatever its format: which reader takes it, and what a misfit holds."""

from pathlib import Path

from torch import Tensor

from . import genforce, native, nvidia, rosinality, tensorflow
from .containers import contents, opened
from .pickles import Fault, Network, shown
from .trees import describe

FORMATS = (nvidia, tensorflow, rosinality, genforce)
# What a reader meets in a file that is damaged, or made to hurt.
DAMAGE = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


def read(path: str | Path, network: str) -> tuple[dict, dict[str, Tensor]]:
    """(config, tensors) of the `network`, "generator" or "discriminator", in a file.

    The format is told by the content. Tensors may be views of the file, as `contents` says. Raises
    FileNotFoundError, or ValueError with what was found.
    """
    path = Path(path)
    if native.recognise(bytes(opened(path)[:16])):
        return native.read(path, network)
    tree = contents(path)
    try:
        return read_tree(tree, network)
    except Fault as fault:
        raise ValueError(f"{path} {fault}") from None


def kinds(path: str | Path) -> tuple[str, ...]:
    """Which of "generator" and "discriminator" a file holds; raises as `read` does."""
    path = Path(path)
    if native.recognise(bytes(opened(path)[:16])):
        return native.kinds(path)
    _, found = _find(contents(path))
    return tuple(sorted(found, reverse=True))


def read_tree(tree: object, network: str) -> tuple[dict, dict[str, Tensor]]:
    """The same of what `contents` returned. Raises Fault."""
    form, found = _find(tree)
    if form is None:
        raise Fault(
            f"holds {_misfit(tree)}: no StyleGAN {network} in a format that is known here "
            "(NVIDIA's .pkl, rosinality's .pt, genforce's .pth, .safetensors)"
        )
    if network not in found:
        also = " (discriminators of genforce are not read)" if form is genforce else ""
        raise Fault(f"holds a {next(iter(found))} only{also}; expected a {network}")
    try:
        return form.read(found[network], network)
    except Fault:
        raise
    except KeyError as error:
        raise Fault(f"holds an incomplete {network}: {shown(str(error))} is missing") from error
    except DAMAGE as error:
        raise Fault(
            f"looks like a file of {form.NAME}, but its {network} is damaged "
            f"({shown(str(error))}); download it again"
        ) from error


def _find(tree: object) -> tuple:
    """(reader, networks that it found); (None, {}) for what is of no known format."""
    for form in FORMATS:
        try:
            found = form.find(tree)
        except DAMAGE:
            continue
        if found:
            return form, found
    return None, {}


def _misfit(tree: object) -> str:
    """A few words on a tree that holds no network that we know."""
    if isinstance(tree, Network):
        return (
            f'a network of the class "{shown(tree.name)}", which is newer or another architecture'
        )
    inner = tree.get("state_dict", tree) if isinstance(tree, dict) else None
    if isinstance(inner, dict) and any(str(name).startswith("encoder.") for name in inner):
        return "an encoder, without the generator that it belongs to"
    return describe(tree)
