"""torch.save's format before PyTorch 1.6, which NVIDIA's pickles also use for their tensors."""

import re
import struct
from collections.abc import Callable

import torch

from . import pickles
from .names import NAMES, TENSOR_TYPES, Storage, storage
from .pickles import Budget, Fault, printable

MAGIC = 0x1950A86A20F9469CFC6C
VERSION = 1001
SINGLE_STORAGE = re.compile(
    rb"\x80\x02\(X\x07\0\0\0storageq\0ctorch\n(\w{1,20})Storage\nq\x01X(.)\0\0\0(\d{1,20})q\x02"
    rb"X\x03\0\0\0cpuq\x03(K.|M..|J...[\0-\x7f])Ntq\x04Q\.\x80\x02]q\0X\2\0\0\0\3q\x01a\.",
    re.DOTALL,
)
"""The two pickles of a single storage, as files of NVIDIA hold them for each tensor: its type, the
length of its key and the key, the opcode and bytes of its count; then the key again."""


class Legacy:
    """A reader of this format; one pickle can hold hundreds of such files.

    A file is a sequence of pickles: a magic number, a version, the machine, the value and the keys
    of its storages. The storages follow, each after its count.
    """

    def __init__(self, budget: Budget):
        self.budget = budget
        self.head = b""
        """The first three pickles of the last file: usually the same in all, and slow to read."""

    def read(self, data: memoryview) -> object:
        """The value of a file. Raises Fault.

        The value comes before the storages that it needs. So it is read twice, the first time for
        their keys and types.
        """
        if not self.head or bytes(data[: len(self.head)]) != self.head:
            self.head = bytes(data[: self._head(data)])
        position = len(self.head)
        # Ten times as fast as the pickle reader, which reads whatever does not match exactly.
        match = SINGLE_STORAGE.match(data, position)
        if match is not None and match[2][0] == len(match[3]):
            dtype = TENSOR_TYPES.get(match[1].decode())
            if dtype is not None:
                count = int.from_bytes(match[4][1:], "little")
                return _read_storages(data, match.end(), {"": Storage(dtype, count, None)})[""]
        empty: dict[str, Storage] = {}

        def add(persistent_id: object) -> Storage:
            dtype, key, count = parse_persistent_id(persistent_id)
            if count * dtype.itemsize > len(data) - position:
                raise Fault(
                    f"is cut short or damaged: storage {printable(key)} of {count} x {dtype} is "
                    "longer than the rest of the file; download it again"
                )
            first = empty.setdefault(key, Storage(dtype, count, None))
            if (first.dtype, first.count) != (dtype, count):
                raise Fault(f"is damaged: storage {printable(key)} has two sizes or types")
            return first

        value, end = self._pickle(data, position, NAMES, add)
        keys, end = self._pickle(data, end, {})
        are_texts = type(keys) is list and all(type(key) is str for key in keys)
        if not are_texts or sorted(keys) != sorted(empty):
            raise Fault("is damaged: its list of storages is not that of its tensors")
        storages = _read_storages(data, end, {key: empty[key] for key in keys})
        if isinstance(value, Storage):
            return next(storages[key] for key in keys if empty[key] is value)
        return self._pickle(data, position, NAMES, lambda identity: storages[identity[2]])[0]

    def _pickle(
        self,
        data: memoryview,
        start: int,
        names: dict[str, object],
        persistent: Callable[[object], Storage] | None = None,
    ) -> tuple[object, int]:
        return pickles.read(data, names, persistent=persistent, start=start, budget=self.budget)

    def _head(self, data: memoryview) -> int:
        """Position after the magic number, the version and the machine."""
        position, head = 0, []
        for _ in range(3):
            value, position = self._pickle(data, position, {})
            head.append(value)
        magic, version, machine = head
        types = isinstance(magic, int) and isinstance(version, int) and type(machine) is dict
        if not types or (magic, version) != (MAGIC, VERSION):
            raise Fault(
                f"is no file of torch.save, or one of another version ({printable(version)})"
            )
        check_little_endian(machine.get("little_endian") is True)
        return position


def _read_storages(
    data: memoryview, position: int, empty: dict[str, Storage]
) -> dict[str, Storage]:
    """The storages with their values, which begin at a position in the order of `empty`."""
    storages = {}
    for key, described in empty.items():
        begin = position + 8
        position = begin + described.count * described.dtype.itemsize
        if position > len(data):
            raise Fault(
                f"is cut short: storage {printable(key)} ends at byte {position:,}, the file at "
                f"{len(data):,}; download it again"
            )
        (count,) = struct.unpack("<q", data[begin - 8 : begin])
        if count != described.count:
            raise Fault(
                f"is damaged: storage {printable(key)} has {count} and not {described.count} "
                "numbers"
            )
        storages[key] = storage(data[begin:position], described.dtype)
    return storages


def parse_persistent_id(identity: object) -> tuple[torch.dtype, str, int]:
    """(type, key, numbers) from ("storage", type, key, device, numbers[, view])."""
    if type(identity) is tuple and len(identity) in (5, 6):
        kind, dtype, key, _, count, *view = identity
        types = isinstance(dtype, torch.dtype) and type(key) is str and type(count) is int
        is_storage = isinstance(kind, str) and kind == "storage"
        if types and is_storage and count >= 0 and all(x is None for x in view):
            return dtype, key, count
    raise Fault("is damaged: a persistent object that is no storage of a tensor")


def check_little_endian(is_little: bool) -> None:
    if not is_little:
        raise Fault("was written on a big-endian machine; save it again on another one")
