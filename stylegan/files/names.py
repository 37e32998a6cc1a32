"""The names that a pickle may look up, and the plain values that they become.

`NAMES` is an allow-list: any other name is refused. Every size is checked against the available
bytes before a value is built from them. Tensors and arrays are views of the file.
"""

import math
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from . import settings
from .pickles import Fault, Function, Network, Unbuilt, plain_keys, printable

TENSOR_TYPES = {
    "Double": torch.float64,
    "Float": torch.float32,
    "Half": torch.float16,
    "BFloat16": torch.bfloat16,
    "Long": torch.int64,
    "Int": torch.int32,
    "Short": torch.int16,
    "Char": torch.int8,
    "Byte": torch.uint8,
    "Bool": torch.bool,
}
ARRAY_TYPES = {f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8)} | {"f2", "f4", "f8", "b1"}
MAX_DIMENSIONS = 32
MAX_NUMBERS = 2**40
"""In one tensor; also of every side of an empty one."""
Bytes = memoryview | bytearray


@dataclass(frozen=True, eq=False)
class Storage:
    """The numbers of a tensor before they have a shape."""

    dtype: torch.dtype
    count: int
    values: Tensor | None
    """(count,); None if they are not read yet."""


def storage(data: Bytes, dtype: torch.dtype) -> Storage:
    """A view of bytes. Raises Fault if they are no whole number of items."""
    if len(data) % dtype.itemsize:
        raise Fault(f"is damaged: {len(data)} bytes hold no whole number of {dtype}")
    # PyTorch cannot make a tensor from an empty buffer.
    values = torch.frombuffer(data, dtype=dtype) if len(data) else torch.empty(0, dtype=dtype)
    return Storage(dtype, len(values), values)


def _sizes(value: object) -> tuple[int, ...]:
    is_list = isinstance(value, tuple | list) and len(value) <= MAX_DIMENSIONS
    if not is_list or not all(type(x) is int and 0 <= x <= MAX_NUMBERS for x in value):
        sizes = ", ".join(map(printable, value[:8])) if is_list else printable(value)
        raise Fault(f"is damaged or made to deceive: an array of the size {sizes}")
    return tuple(value)


def _shape(value: object) -> tuple[int, ...]:
    sizes = _sizes(value)
    # Empty arrays too: a side of 0 must not hide others.
    if math.prod(max(size, 1) for size in sizes) > MAX_NUMBERS:
        raise Fault(f"is damaged or made to deceive: an array of the shape {sizes}")
    return sizes


def _is_one_of(value: object, texts: Collection[str]) -> bool:
    return isinstance(value, str) and value in texts


def _tensor(
    storage: object,
    offset: object,
    size: object,
    stride: object,
    requires_grad: object = None,
    hooks: object = None,
    metadata: object = None,
) -> Tensor:
    if not isinstance(storage, Storage):
        raise Fault("is damaged: a tensor without its storage")
    size, stride = _shape(size), _sizes(stride)
    (offset,) = _sizes((offset,))
    count = math.prod(size)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=False))
    if len(size) != len(stride) or count > storage.count or (count and last >= storage.count):
        raise Fault(
            f"is damaged: a tensor of shape {size}, strides {stride} and offset {offset} "
            f"in a storage of {storage.count} numbers"
        )
    if not count:
        return torch.empty(size, dtype=storage.dtype)
    if storage.values is None:
        return torch.empty(0, dtype=storage.dtype)
    return storage.values.as_strided(size, stride, offset)


def _parameter(tensor: object, requires_grad: object, hooks: object) -> Tensor:
    if not isinstance(tensor, Tensor):
        raise Fault("is damaged: a parameter without its tensor")
    return tensor


def _persistent(meta: object) -> Network:
    """A network of NVIDIA's. Its source text, `module_src`, is ignored."""
    meta = meta if type(meta) is dict else {}
    name, state = meta.get("class_name"), meta.get("state")
    if not isinstance(name, str) or type(state) is not dict:
        raise Fault("is damaged: a network without its class name or its state")
    return Network(name, state)


def _dict(items: object = ()) -> dict:
    if not isinstance(items, list | tuple) or not all(
        isinstance(item, list | tuple) and len(item) == 2 for item in items
    ):
        raise Fault("is damaged: a dict that is not made of pairs")
    plain_keys([key for key, _ in items])
    return dict(items)


def _set(items: object = ()) -> set:
    if not isinstance(items, list | tuple):
        raise Fault("is damaged: a set that is not made of a list")
    return set(plain_keys(list(items)))


def _size(items: object) -> tuple[int, ...]:
    return _shape(items)


def _device(*parts: object) -> str:
    return ":".join(map(printable, parts))


def _encoded(text: object, encoding: object) -> bytearray:
    """Bytes, in the form that Python 3 writes for protocol 2 and lower."""
    if not isinstance(text, str) or not _is_one_of(encoding, ("latin1", "latin-1")):
        raise Fault(
            f"asks for _codecs.encode with {printable(encoding)}; refused: only latin1 is known"
        )
    return bytearray(_latin(text))


def _latin(text: str) -> bytes:
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        raise Fault("is damaged: a text in place of bytes") from None


def _array_type(name: object, align: object = False, copy: object = True) -> Unbuilt:
    if not _is_one_of(name, ARRAY_TYPES):
        raise Fault(f"holds a numpy array of type {printable(name)}; only plain numbers are read")
    return Unbuilt("numpy.dtype", lambda state: _checked_type(name, state))


def _checked_type(name: str, state: object) -> np.dtype:
    # (version, byte order, subtype, names, fields, item size, alignment, flags)
    rest = state[2:8] if isinstance(state, tuple) else ()
    if [x if x is None or type(x) is int else "" for x in rest] != [None, None, None, -1, -1, 0]:
        raise Fault("holds a numpy array that is not one of plain numbers; refused")
    if not _is_one_of(state[1], "<|="):
        raise Fault(f"holds big-endian numbers ({printable(state[1])}), which are not read")
    return np.dtype(name)


def _empty_array(kind: object, shape: object, letter: object) -> Unbuilt:
    if kind is not np.ndarray:
        raise Fault("asks for an array of an unknown type; refused")
    return Unbuilt("numpy.ndarray", _built_array)


def _built_array(state: object) -> np.ndarray:
    if not isinstance(state, tuple) or len(state) != 5:
        raise Fault("is damaged: a numpy array without its state")
    _, shape, dtype, by_columns, data = state
    return _array(data, dtype, shape, "F" if by_columns is True else "C")


def _array(data: object, dtype: object, shape: object, order: object) -> np.ndarray:
    if isinstance(data, str):
        data = bytearray(_latin(data))  # Python 2
    if (
        not isinstance(dtype, np.dtype)
        or not isinstance(data, Bytes)
        or not _is_one_of(order, "CF")
    ):
        raise Fault("is damaged: a numpy array that is not one of plain numbers")
    shape = _shape(shape)
    if math.prod(shape) * dtype.itemsize != len(data):
        raise Fault(
            f"is damaged: a numpy array of shape {shape} and type {dtype} in {len(data)} bytes"
        )
    flat = np.frombuffer(data, dtype) if len(data) else np.empty(0, dtype)
    return flat.reshape(shape, order=order)


def _scalar(dtype: object, data: object) -> np.generic:
    return _array(data, dtype, (1,), "C")[0]


NAMES: dict[str, object] = {
    **settings.NAMES,
    # Plain values, which are not called.
    **{f"torch.{name}Storage": dtype for name, dtype in TENSOR_TYPES.items()},
    **{str(dtype): dtype for dtype in TENSOR_TYPES.values()},
    "torch.storage.UntypedStorage": torch.uint8,
    "numpy.ndarray": np.ndarray,
}
for _names, _run in {
    ("torch_utils.persistence._reconstruct_persistent_obj",): _persistent,
    ("dnnlib.tflib.network.Network",): lambda: Network("dnnlib.tflib.network.Network", {}),
    ("argparse.Namespace",): lambda: Network("argparse.Namespace", {}),
    ("dnnlib.util.EasyDict", "dnnlib.EasyDict", "collections.OrderedDict"): _dict,
    tuple(f"{m}.{x}" for m in ("builtins", "__builtin__") for x in ("set", "frozenset")): _set,
    ("builtins.bytes", "__builtin__.bytes", "builtins.bytearray"): lambda: bytearray(),
    ("_codecs.encode",): _encoded,
    ("torch._utils._rebuild_tensor_v2",): _tensor,
    ("torch._utils._rebuild_parameter",): _parameter,
    ("torch.Size",): _size,
    ("torch.device",): _device,
    ("numpy.dtype",): _array_type,
    **{
        tuple(f"{package}.{module}.{name}" for package in ("numpy.core", "numpy._core")): run
        for (module, name), run in {
            ("multiarray", "_reconstruct"): _empty_array,
            ("multiarray", "scalar"): _scalar,
            ("numeric", "_frombuffer"): _array,
        }.items()
    },
}.items():
    NAMES.update({_name: Function(_name, _run) for _name in _names})
