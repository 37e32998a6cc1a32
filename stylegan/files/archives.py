"""Plain pickles, and files of torch.save, read as plain values."""

from . import pickles, zips
from .legacy import MAGIC, Legacy, check_little_endian, parse_persistent_id
from .names import NAMES, Storage, storage
from .pickles import Budget, Fault, Function, printable


def read_pickle(data: memoryview) -> object:
    """The value of a plain pickle, or of a file of torch.save before PyTorch 1.6. Raises Fault.

    Such a file begins with a pickle. A plain pickle holds tensors as bytes in the same format.
    """
    budget = Budget()
    legacy = Legacy(budget)
    name = "torch.storage._load_from_bytes"
    names = NAMES | {name: Function(name, lambda content: _tensor_bytes(content, legacy))}
    value, end = pickles.read(data, names, budget=budget)
    if isinstance(value, int) and value == MAGIC:
        return legacy.read(data)
    if end != len(data):
        raise Fault(f"is damaged: {len(data) - end} bytes follow the end of its pickle")
    return value


def _tensor_bytes(content: object, legacy: Legacy) -> object:
    if not isinstance(content, memoryview | bytearray):
        raise Fault("is damaged: a tensor without its bytes")
    return legacy.read(memoryview(content))


def read_zip(data: memoryview) -> object:
    """The value of a file of torch.save from PyTorch 1.6 on. Raises Fault."""
    records = zips.records(data)
    roots = [name[: -len("data.pkl")] for name in records if name.endswith("/data.pkl")]
    if len(roots) != 1:
        raise Fault(
            "is a zip file, but not one that torch.save wrote "
            f"(it holds {printable(', '.join(list(records)[:3]) or 'nothing')}); "
            "unpack it, and pass the network that is in it"
        )
    (root,) = roots
    if any(name.startswith((f"{root}code/", f"{root}constants.pkl")) for name in records):
        raise Fault(
            "is a TorchScript archive, a program with its weights; programs are never run: "
            "pass the .pkl or .pt file from which it was made"
        )
    check_little_endian(bytes(records.get(f"{root}byteorder", b"little")) == b"little")

    def read_storage(persistent_id: object) -> Storage:
        dtype, key, count = parse_persistent_id(persistent_id)
        content = records.get(f"{root}data/{key}")
        if content is None or len(content) != count * dtype.itemsize:
            size = "missing" if content is None else f"{len(content)} bytes long"
            raise Fault(f"is damaged: storage {printable(key)}, {count} x {dtype}, is {size}")
        return storage(content, dtype)

    return pickles.read(records[f"{root}data.pkl"], NAMES, persistent=read_storage)[0]
