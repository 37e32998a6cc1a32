"""Networks from files of any format, and into our own format."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from . import files
from .discriminator import Discriminator, DiscriminatorConfig
from .generator import Generator


def load(path: str | Path, device: torch.device | str = "cpu") -> Generator:
    """The generator in a file, frozen, in float32.

    Raises FileNotFoundError if there is no file, and ValueError that says what the file is if it
    holds no generator.
    """
    config, tensors = files.read(path, "generator")
    generator = _build(lambda: Generator(config), tensors, path)
    generator.path = Path(path)
    return freeze(generator).to(device)


def load_discriminator(path: str | Path, device: torch.device | str = "cpu") -> Discriminator:
    """The discriminator in a file, frozen, in float32. Raises the errors of `load`."""
    settings, tensors = files.read(path, "discriminator")
    names = DiscriminatorConfig.__dataclass_fields__
    config = DiscriminatorConfig(**{k: v for k, v in settings.items() if k in names})
    network = _build(lambda: Discriminator(config), tensors, path)
    return freeze(network).to(device)


class _Unfilled(TorchFunctionMode):
    """Builds networks without their random weights, which takes neither time nor memory.

    A random weight becomes one expanded number, whatever size a file claims. Constants are built as
    usual: a file may leave out filters. (The first use of the meta device would take seconds.)
    """

    def __torch_function__(
        self, function: Callable, types: tuple, args: tuple = (), kwargs: dict | None = None
    ) -> object:
        if function is torch.randn:
            return torch.zeros([]).expand(*args)
        if function is torch.Tensor.div and args[0].ndim and not any(args[0].stride()):
            return args[0]
        return function(*args, **(kwargs or {}))


def _build(
    make: Callable[[], nn.Module], tensors: dict[str, Tensor], path: str | Path
) -> nn.Module:
    """The network that `make` builds, with these tensors. ValueError if it cannot be built."""
    try:
        with _Unfilled():
            network = make()
    except (ArithmeticError, RuntimeError, TypeError, ValueError) as error:
        # The settings come from the file and can be anything.
        raise ValueError(f"{path} describes a network that cannot be built: {error}") from error
    _fill(network, tensors, path)
    return network


def _fill(network: nn.Module, tensors: dict[str, Tensor], path: str | Path) -> None:
    """Put the tensors into a network, in float32. A file may leave out filters.

    Raises ValueError with the names that do not fit.
    """
    state = network.state_dict(keep_vars=True)
    # Files also hold filters of layers that do not resample.
    given = {k: v for k, v in tensors.items() if k in state or not k.endswith("resample_filter")}
    missing = sorted(k for k in state.keys() - given.keys() if not k.endswith("resample_filter"))
    unexpected = sorted(given.keys() - state.keys())
    wrong = [k for k in state.keys() & given.keys() if state[k].shape != given[k].shape]
    if missing or unexpected or wrong:
        raise ValueError(
            f"{path} does not fit the network that its configuration describes: "
            f"missing {missing[:3]}, unexpected {unexpected[:3]}, of another shape {wrong[:3]}"
        )
    for name, tensor in given.items():
        state[name].data = _copy(tensor)


def _copy(tensor: Tensor) -> Tensor:
    """A copy in float32. Readers return views of a file, which could change or be cut short."""
    copy = torch.empty(tensor.shape)
    if tensor.dtype == torch.float32:
        # NumPy copies in one thread: on a busy machine, the threads of PyTorch wait for each other.
        np.copyto(copy.numpy(), tensor.detach().numpy())
        return copy
    return copy.copy_(tensor.detach())


def freeze(network: nn.Module) -> nn.Module:
    """Evaluation mode, no gradient to the weights."""
    return network.eval().requires_grad_(False)


def save(network: Generator | Discriminator, path: str | Path, *, half: bool = False) -> None:
    """Write a network as a self-describing .safetensors file, in float16 with `half`.

    Raises OSError, or ValueError if a number exceeds float16.
    """
    if isinstance(network, Generator):
        kind, config = "generator", network.config
    else:
        kind, config = "discriminator", vars(network.config)
    files.write(path, kind, json.loads(json.dumps(config)), network.state_dict(), half=half)
