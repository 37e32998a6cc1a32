"""In what precision networks compute on this device.

fp32: exact single precision, also in matrix products and convolutions. tf32: these round their
inputs to 10 bits, on GPUs that can. bf16: encoder and generator compute in 16 bits; losses,
networks that measure, optimiser and latents stay in single precision, with the products of tf32.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Literal, get_args

import torch

Precision = Literal["fp32", "tf32", "bf16"]
PRECISIONS = get_args(Precision)


def checked(precision: Precision | None) -> Precision | None:
    """The same; ValueError where there is no such precision."""
    if precision not in (None, *PRECISIONS):
        raise ValueError(f'got the precision "{precision}"; choose {", ".join(PRECISIONS)}')
    return precision


@contextmanager
def computing_in(precision: Precision | None) -> Iterator[None]:
    """Sets how products of single precision are computed; None: as PyTorch has it."""
    if precision is None:
        yield
        return
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    before = products.allow_tf32, convolutions.allow_tf32
    try:
        products.allow_tf32 = convolutions.allow_tf32 = precision != "fp32"
        yield
    finally:
        products.allow_tf32, convolutions.allow_tf32 = before


def network_dtype(precision: Precision | None) -> torch.dtype | None:
    """The dtype of autocast for encoders and generators; None: they compute in their own."""
    return torch.bfloat16 if precision == "bf16" else None


def lay_out(network: torch.nn.Module, device: torch.device, precision: Precision | None) -> None:
    """Weights with the channels last where that helps: in 16 bits on CUDA. Values stay."""
    if device.type == "cuda" and network_dtype(precision) is not None:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def autocast(device: torch.device, dtype: torch.dtype | None) -> AbstractContextManager:
    """Autocast to a dtype; None: nothing changes."""
    return torch.autocast(device.type, dtype or torch.bfloat16, enabled=dtype is not None)
