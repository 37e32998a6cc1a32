"""What torch.save writes, as plain values: the zip format, the older format, and bytes inside."""

import struct

import torch

from . import pickles, zips
from .names import NAMES, Storage, storage
from .pickles import Budget, Fault, Function, shown

MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_VERSION = 1001


def read_pickle(data: memoryview) -> object:
    """The value of a plain pickle, in which tensors are bytes of torch.save's older format, or of
    a file in that older format, which begins with a pickle too. Raises Fault.
    """
    budget = Budget()
    name = "torch.storage._load_from_bytes"
    names = NAMES | {name: Function(name, lambda content: _tensor_bytes(content, budget))}
    value, end = pickles.read(data, names, budget=budget)
    if isinstance(value, int) and value == MAGIC:
        return read_legacy(data, budget)
    if end != len(data):
        raise Fault(f"is damaged: {len(data) - end} bytes follow the end of its pickle")
    return value


def _tensor_bytes(content: object, budget: Budget) -> object:
    if not isinstance(content, memoryview | bytearray):
        raise Fault("is damaged: a tensor without its bytes")
    return read_legacy(memoryview(content), budget)


def read_zip(data: memoryview) -> object:
    """The value of a file of torch.save since PyTorch 1.6. Raises Fault."""
    records = zips.records(data)
    roots = [name[: -len("data.pkl")] for name in records if name.endswith("/data.pkl")]
    if len(roots) != 1:
        raise Fault(
            "is a zip file, but none that torch.save wrote "
            f"(it holds {shown(', '.join(list(records)[:3]) or 'nothing')}); "
            "unpack it, and pass the network that is in it"
        )
    (root,) = roots
    if any(name.startswith((f"{root}code/", f"{root}constants.pkl")) for name in records):
        raise Fault(
            "is a TorchScript archive, a program with its weights; programs are not run here: "
            "pass the .pkl or .pt file that it was made from"
        )
    _little(bytes(records.get(f"{root}byteorder", b"little")) == b"little")

    def find(identity: object) -> Storage:
        dtype, key, count = _identity(identity)
        content = records.get(f"{root}data/{key}")
        if content is None or len(content) != count * dtype.itemsize:
            size = "missing" if content is None else f"{len(content)} bytes long"
            raise Fault(f"is damaged: storage {shown(key)}, {count} x {dtype}, is {size}")
        return storage(content, dtype)

    return pickles.read(records[f"{root}data.pkl"], NAMES, persistent=find)[0]


def read_legacy(data: memoryview, budget: Budget) -> object:
    """The value of a file of torch.save before PyTorch 1.6. Raises Fault.

    Pickles of a magic number, a version, the machine, the value and the keys of its storages; then
    the storages, each with its count. The storages lie behind the value that names them, so it is
    read twice: first for their keys and types.
    """
    position, head = 0, []
    for _ in range(3):
        value, position = pickles.read(data, {}, start=position, budget=budget)
        head.append(value)
    magic, version, machine = head
    numbers = isinstance(magic, int) and isinstance(version, int) and type(machine) is dict
    if not numbers or (magic, version) != (MAGIC, LEGACY_VERSION):
        raise Fault(f"is no file of torch.save, or of another version of it ({shown(version)})")
    _little(machine.get("little_endian") is True)
    wanted: dict[str, tuple[torch.dtype, int]] = {}

    def note(identity: object) -> Storage:
        dtype, key, count = _identity(identity)
        if count * dtype.itemsize > len(data) - position:
            raise Fault(
                f"is cut short or damaged: storage {shown(key)} of {count} x {dtype} is longer "
                "than the rest of the file; download it again"
            )
        if wanted.setdefault(key, (dtype, count)) != (dtype, count):
            raise Fault(f"is damaged: storage {shown(key)} has two sizes or types")
        return Storage(torch.empty(count, dtype=dtype, device="meta"))

    _, behind = pickles.read(data, NAMES, persistent=note, start=position, budget=budget)
    keys, behind = pickles.read(data, {}, start=behind, budget=budget)
    listed = type(keys) is list and all(type(key) is str for key in keys)
    if not listed or sorted(keys) != sorted(wanted):
        raise Fault("is damaged: its list of storages is not that of its tensors")
    found = _storages(data, behind, [(key, *wanted[key]) for key in keys])
    value, _ = pickles.read(
        data, NAMES, persistent=lambda identity: found[identity[2]], start=position, budget=budget
    )
    return value


def _storages(
    data: memoryview, position: int, wanted: list[tuple[str, torch.dtype, int]]
) -> dict[str, Storage]:
    found = {}
    for key, dtype, count in wanted:
        begin = position + 8
        position = begin + count * dtype.itemsize
        if position > len(data):
            raise Fault(
                f"is cut short: storage {shown(key)} ends at byte {position:,}, the file at "
                f"{len(data):,}; download it again"
            )
        (counted,) = struct.unpack("<q", data[begin - 8 : begin])
        if counted != count:
            raise Fault(f"is damaged: storage {shown(key)} has {counted} and not {count} numbers")
        found[key] = storage(data[begin:position], dtype)
    return found


def _identity(identity: object) -> tuple[torch.dtype, str, int]:
    """(type, key, numbers) from ("storage", type, key, device, numbers[, view])."""
    if type(identity) is tuple and len(identity) in (5, 6):
        kind, dtype, key, _, count, *view = identity
        types = isinstance(dtype, torch.dtype) and type(key) is str and type(count) is int
        named = isinstance(kind, str) and kind == "storage"
        if types and named and count >= 0 and all(x is None for x in view):
            return dtype, key, count
    raise Fault("is damaged: a persistent object that is no storage of a tensor")


def _little(little: bool) -> None:
    if not little:
        raise Fault("was written on a big-endian machine; save it again on another one")
