"""An emulated Apple GPU: tensors that say that they are on "mps", and refuse what such a GPU lacks.

Their numbers lie on the CPU. A tensor comes there by .to("mps") or device="mps", and what is
computed of it stays there, until .cpu(). Refused, as by PyTorch on a Mac: float64 and complex128,
operators that it lacks there, operations on tensors of two devices, and .numpy().
"""

import contextlib
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

MPS, CPU = torch.device("mps"), torch.device("cpu")
LACKING = {
    "_linalg_eigh",
    "_linalg_eigvals",
    "_linalg_svd",
    "_upsample_bicubic2d_aa_backward",
    "kaiser_window",
    "linalg_eig",
    "linalg_lstsq",
}
"""Operators of the CPU that a version of PyTorch which we support has not for MPS."""
READING = {
    "_local_scalar_dense",
    "_to_copy",
    "copy_",
    "index",
    "index_put",
    "index_put_",
    "_index_put_impl_",
}
"""May have tensors of two devices."""


class AppleTensor(torch.Tensor):
    """Says that it is on MPS. `held`: its numbers."""

    @staticmethod
    def __new__(cls, held):
        if held.dtype in (torch.float64, torch.complex128):
            raise TypeError(
                f"Cannot convert a MPS Tensor to {str(held.dtype).removeprefix('torch.')} dtype as "
                "the MPS framework doesn't support it"
            )
        return torch.Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=CPU,  # autograd would ask for the driver of another one
        )

    def __init__(self, held):
        self.held = held

    def __repr__(self):
        return f"AppleTensor({self.held})"

    @property
    def device(self):
        return MPS

    def data_ptr(self):
        return self.held.data_ptr()

    def tolist(self):
        return self.held.tolist()

    def numpy(self, **_):
        raise TypeError("can't convert mps:0 device type tensor to numpy. Use Tensor.cpu() first")

    def __array__(self, *_):
        self.numpy()

    def __deepcopy__(self, memo):
        copied = self.detach().clone().requires_grad_(self.requires_grad)
        return torch.nn.Parameter(copied, self.requires_grad) if _is_parameter(self) else copied

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        return dispatch(function, args, kwargs or {})


class Factories(TorchDispatchMode):
    """What is asked for on "mps" is made there."""

    @classmethod
    def _should_skip_dynamo(cls):
        return False  # so that it is not imported, which takes seconds

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        return dispatch(function, args, kwargs or {})


class Move(torch.autograd.Function):
    """From one device to the other, with the gradient the other way."""

    @staticmethod
    def forward(ctx, x, device):
        ctx.back = x.device
        return moved(x, device)

    @staticmethod
    def backward(ctx, gradient):
        return moved(gradient, ctx.back), None


class Moves(TorchFunctionMode):
    """x.to("mps"), for which PyTorch would ask for the driver, and the way back."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if function is torch.Tensor.cpu and isinstance(args[0], AppleTensor):
            return Move.apply(args[0], CPU)
        if function in (torch.tensor, torch.as_tensor) and _is_apple(kwargs.get("device")):
            return moved(function(*args, **kwargs | {"device": CPU}), MPS)
        if function is not torch.Tensor.to:
            return function(*args, **kwargs)
        x, *rest = args
        other = kwargs.get("other", rest[0] if rest else None)
        if isinstance(other, torch.Tensor):
            device, dtype, layout = other.device, other.dtype, None
        else:
            given = {k: v for k, v in kwargs.items() if k != "copy"}
            device, dtype, _, layout = torch._C._nn._parse_to(*rest, **given)
        device, dtype = device or x.device, dtype or x.dtype
        if device.type == "mps" != x.device.type and dtype == x.dtype == torch.float64:
            return moved(x, device)  # refuses
        options = {} if layout is None else {"memory_format": layout}
        if device.type == "mps" and dtype != x.dtype:  # converted before it is copied
            x = x.to(dtype, **options)
        if device.type != x.device.type and "mps" in (device.type, x.device.type):
            x = Move.apply(x, device)
        return x if dtype == x.dtype and not options else function(x, dtype, **options)


def moved(x, device):
    if isinstance(x, AppleTensor) == (device.type == "mps"):
        return x
    with torch.no_grad():
        return AppleTensor(x.detach().clone()) if device.type == "mps" else x.held.clone()


def dispatch(function, args, kwargs):
    name = function._schema.name.removeprefix("aten::")
    given = []
    tree_map_only(torch.Tensor, given.append, (args, kwargs))
    held = {id(x.held): x for x in given if isinstance(x, AppleTensor)}
    asked = kwargs.get("device")
    there = bool(held) or _is_apple(asked)
    if not there:
        return function(*args, **kwargs)
    if name not in READING:
        _check_operator(name, given if held else [])
    if asked is not None:
        kwargs = kwargs | {"device": CPU}
    inner, options = tree_map_only(AppleTensor, lambda x: x.held, (args, kwargs))
    result = function(*inner, **options)
    if name == "copy_":
        return args[0]
    return tree_map_only(
        torch.Tensor, lambda x: held[id(x)] if id(x) in held else AppleTensor(x), result
    )


def _check_operator(name, given):
    if name.rstrip("_") in LACKING or name in LACKING:
        raise NotImplementedError(f"The operator 'aten::{name}' is not implemented for MPS")
    for x in given:
        # A number on the CPU may meet any tensor. Zeros that second derivatives add are made by
        # autograd, which takes these tensors for ones of the CPU.
        zeros = name == "add" and not isinstance(x, AppleTensor) and not x.any()
        if not isinstance(x, AppleTensor) and x.ndim and not zeros:
            raise RuntimeError(
                f"Expected all tensors to be on the same device, but found mps:0 and cpu ({name})"
            )


def _is_apple(device):
    return device is not None and torch.device(device).type == "mps"


def _is_parameter(x):
    return isinstance(x, torch.nn.Parameter)


class CpuGenerator(torch.Generator):
    def __new__(cls, device="cpu"):
        return super().__new__(cls, "cpu")


@contextlib.contextmanager
def apple(monkeypatch):
    """This machine is a Mac with an Apple GPU."""
    monkeypatch.setattr(torch.backends.mps, "is_available", cache(lambda: True))
    # Random numbers of the device are drawn on the CPU.
    monkeypatch.setattr(torch, "Generator", CpuGenerator)
    submit = ThreadPoolExecutor.submit

    def submit_there(self, function, *args, **options):
        def work():  # modes are of one thread
            with Moves(), Factories():
                return function(*args, **options)

        return submit(self, work)

    monkeypatch.setattr(ThreadPoolExecutor, "submit", submit_there)
    overwrite = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    try:
        with Moves(), Factories():
            yield
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(overwrite)
