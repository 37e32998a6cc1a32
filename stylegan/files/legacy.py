"""torch.save's format before PyTorch 1.6, in which NVIDIA's pickles hold their tensors too."""

import re
import struct
from collections.abc import Callable

import torch

from . import pickles
from .names import NAMES, TENSOR_TYPES, Storage, storage
from .pickles import Budget, Fault, shown

MAGIC = 0x1950A86A20F9469CFC6C
VERSION = 1001
USUAL = re.compile(
    rb"\x80\x02\(X\x07\0\0\0storageq\0ctorch\n(\w{1,20})Storage\nq\x01X(.)\0\0\0(\d{1,20})q\x02"
    rb"X\x03\0\0\0cpuq\x03(K.|M..|J...[\0-\x7f])Ntq\x04Q\.\x80\x02]q\0X\2\0\0\0\3q\x01a\.",
    re.DOTALL,
)
"""The two pickles of a single storage, as every file of NVIDIA's has them for each tensor: its
type, the length of its key and the key, the opcode and bytes of its count; the key once more."""


class Legacy:
    """Reads files in this format, of which a pickle can hold hundreds.

    Pickles of a magic number, a version, the machine, the value and the keys of its storages; then
    the storages, each with its count.
    """

    def __init__(self, budget: Budget):
        self.budget = budget
        self.head = b""
        """Of the file before: it is the same in all, and takes the most time."""

    def read(self, data: memoryview) -> object:
        """The value of a file. Raises Fault.

        The storages lie behind the value that names them, so it is read twice: first for their
        keys and types.
        """
        if not self.head or bytes(data[: len(self.head)]) != self.head:
            self.head = bytes(data[: self._head(data)])
        position = len(self.head)
        # Takes a tenth of the time of the machine; what differs in the least goes there.
        usual = USUAL.match(data, position)
        if usual is not None and usual[2][0] == len(usual[3]):
            dtype = TENSOR_TYPES.get(usual[1].decode())
            if dtype is not None:
                count = int.from_bytes(usual[4][1:], "little")
                return _storages(data, usual.end(), {"": Storage(dtype, count, None)})[""]
        wanted: dict[str, Storage] = {}

        def note(identity: object) -> Storage:
            dtype, key, count = identify(identity)
            if count * dtype.itemsize > len(data) - position:
                raise Fault(
                    f"is cut short or damaged: storage {shown(key)} of {count} x {dtype} is longer "
                    "than the rest of the file; download it again"
                )
            known = wanted.setdefault(key, Storage(dtype, count, None))
            if (known.dtype, known.count) != (dtype, count):
                raise Fault(f"is damaged: storage {shown(key)} has two sizes or types")
            return known

        value, behind = self._pickle(data, position, NAMES, note)
        keys, behind = self._pickle(data, behind, {})
        listed = type(keys) is list and all(type(key) is str for key in keys)
        if not listed or sorted(keys) != sorted(wanted):
            raise Fault("is damaged: its list of storages is not that of its tensors")
        found = _storages(data, behind, {key: wanted[key] for key in keys})
        if isinstance(value, Storage):
            return next(found[key] for key in keys if wanted[key] is value)
        return self._pickle(data, position, NAMES, lambda identity: found[identity[2]])[0]

    def _pickle(
        self,
        data: memoryview,
        start: int,
        names: dict[str, object],
        persistent: Callable[[object], Storage] | None = None,
    ) -> tuple[object, int]:
        return pickles.read(data, names, persistent=persistent, start=start, budget=self.budget)

    def _head(self, data: memoryview) -> int:
        """Position behind the magic number, the version and the machine."""
        position, head = 0, []
        for _ in range(3):
            value, position = self._pickle(data, position, {})
            head.append(value)
        magic, version, machine = head
        numbers = isinstance(magic, int) and isinstance(version, int) and type(machine) is dict
        if not numbers or (magic, version) != (MAGIC, VERSION):
            raise Fault(f"is no file of torch.save, or of another version of it ({shown(version)})")
        check_little(machine.get("little_endian") is True)
        return position


def _storages(data: memoryview, position: int, wanted: dict[str, Storage]) -> dict[str, Storage]:
    found = {}
    for key, noted in wanted.items():
        begin = position + 8
        position = begin + noted.count * noted.dtype.itemsize
        if position > len(data):
            raise Fault(
                f"is cut short: storage {shown(key)} ends at byte {position:,}, the file at "
                f"{len(data):,}; download it again"
            )
        (counted,) = struct.unpack("<q", data[begin - 8 : begin])
        if counted != noted.count:
            raise Fault(
                f"is damaged: storage {shown(key)} has {counted} and not {noted.count} numbers"
            )
        found[key] = storage(data[begin:position], noted.dtype)
    return found


def identify(identity: object) -> tuple[torch.dtype, str, int]:
    """(type, key, numbers) from ("storage", type, key, device, numbers[, view])."""
    if type(identity) is tuple and len(identity) in (5, 6):
        kind, dtype, key, _, count, *view = identity
        types = isinstance(dtype, torch.dtype) and type(key) is str and type(count) is int
        named = isinstance(kind, str) and kind == "storage"
        if types and named and count >= 0 and all(x is None for x in view):
            return dtype, key, count
    raise Fault("is damaged: a persistent object that is no storage of a tensor")


def check_little(little: bool) -> None:
    if not little:
        raise Fault("was written on a big-endian machine; save it again on another one")
