"""Networks from files of any format, and into files of our own."""

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

    Raises FileNotFoundError where there is none, and ValueError with what the file is where it is
    no generator.
    """
    config, tensors = files.read(path, "generator")
    generator = _build(lambda: Generator(config), tensors, path)
    generator.path = Path(path)
    return freeze(generator).to(device)


def load_discriminator(path: str | Path, device: torch.device | str = "cpu") -> Discriminator:
    """The discriminator in a file, frozen, in float32; raises as `load` does."""
    config, tensors = files.read(path, "discriminator")
    known = DiscriminatorConfig.__dataclass_fields__
    config = DiscriminatorConfig(**{k: v for k, v in config.items() if k in known})
    network = _build(lambda: Discriminator(config), tensors, path)
    return freeze(network).to(device)


class _Unfilled(TorchFunctionMode):
    """Networks are built without their random weights: in no time, and in no memory.

    One number stands for all of a weight, whatever size a file claims. What is not random is real:
    filters, which no file need hold. (The meta device would do, but its first use takes seconds.)
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
    """The network that `make` constructs, with these tensors; ValueError where none comes of it."""
    try:
        with _Unfilled():
            network = make()
    except (ArithmeticError, RuntimeError, TypeError, ValueError) as error:
        # The settings are the file's, and may be anything.
        raise ValueError(f"{path} describes a network that cannot be built: {error}") from error
    _fill(network, tensors, path)
    return network


def _fill(network: nn.Module, tensors: dict[str, Tensor], path: str | Path) -> None:
    """Put the tensors into a network, in float32; filters a file may leave out.

    Raises ValueError naming what does not fit.
    """
    own = network.state_dict(keep_vars=True)
    # Files also carry filters of layers that do not resample.
    given = {k: v for k, v in tensors.items() if k in own or not k.endswith("resample_filter")}
    missing = sorted(k for k in own.keys() - given.keys() if not k.endswith("resample_filter"))
    unexpected = sorted(given.keys() - own.keys())
    wrong = [k for k in own.keys() & given.keys() if own[k].shape != given[k].shape]
    if missing or unexpected or wrong:
        raise ValueError(
            f"{path} does not fit the network that its configuration describes: "
            f"missing {missing[:3]}, unexpected {unexpected[:3]}, of another shape {wrong[:3]}"
        )
    for name, tensor in given.items():
        own[name].data = _copy(tensor)


def _copy(tensor: Tensor) -> Tensor:
    """In float32, and always a copy: readers give views of a file, which may change or end."""
    copy = torch.empty(tensor.shape)
    if tensor.dtype == torch.float32:
        # NumPy copies in one thread: on a busy machine PyTorch's wait for each other far longer.
        np.copyto(copy.numpy(), tensor.detach().numpy())
        return copy
    return copy.copy_(tensor.detach())


def freeze(network: nn.Module) -> nn.Module:
    """Evaluation mode, no gradient to the weights."""
    return network.eval().requires_grad_(False)


def save(network: Generator | Discriminator, path: str | Path, *, half: bool = False) -> None:
    """Write a network as a self-describing .safetensors file, in float16 with `half`."""
    if isinstance(network, Generator):
        kind, config = "generator", network.config
    else:
        kind, config = "discriminator", vars(network.config)
    files.write(path, kind, json.loads(json.dumps(config)), network.state_dict(), half=half)
