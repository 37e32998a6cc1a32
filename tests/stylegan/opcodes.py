"""Pickles put together opcode by opcode, and the containers that torch.save and NVIDIA write."""

import io
import pickle
import struct
import zipfile

MAGIC = 0x1950A86A20F9469CFC6C
DATE = (1980, 1, 1, 0, 0, 0)
MACHINE = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4}}


def push(value):
    """Opcodes that push a plain value."""
    return pickle.dumps(value, 2)[2:-1]


def raw(data):
    return b"B" + struct.pack("<I", len(data)) + data


def look_up(module, name):
    return f"c{module}\n{name}\n".encode()


def look_up_by_stack(module, name):
    return push(module) + push(name) + b"\x93"


def call(module, name, *arguments):
    """arguments: opcodes of each."""
    return look_up(module, name) + b"(" + b"".join(arguments) + b"tR"


def a_dict(**values):
    return b"}(" + b"".join(push(k) + body for k, body in values.items()) + b"u"


def a_pickle(body, protocol=4):
    return b"\x80" + bytes([protocol]) + body + b"."


# Containers around opcodes that push a value ------------------------------------------------------


def zipped(body, records=None, *, compression=zipfile.ZIP_STORED, root="archive"):
    whole = {"data.pkl": a_pickle(body, 2), "byteorder": b"little", "version": b"3\n"}
    whole |= records or {}
    return a_zip({f"{root}/{name}": x for name, x in whole.items()}, compression)


def a_zip(records, compression=zipfile.ZIP_STORED):
    """A zip file of the same bytes whenever it is made."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in records.items():
            entry = zipfile.ZipInfo(name, DATE)
            entry.compress_type = compression
            archive.writestr(entry, content)
    return file.getvalue()


def legacy(body, storages=(), *, machine=None, version=1001, keys=None):
    """storages: (key, stated count, bytes)."""
    keys = push([key for key, _, _ in storages]) if keys is None else keys
    machine = push(MACHINE) if machine is None else machine
    heads = [push(MAGIC), push(version), machine, body, keys]
    content = b"".join(a_pickle(head, 2) for head in heads)
    return content + b"".join(struct.pack("<q", count) + data for _, count, data in storages)


def persistent(body, source="class Generator: pass"):
    meta = a_dict(
        type=push("class"),
        version=push(6),
        module_src=push(source),
        class_name=push("Generator"),
        state=a_dict(z_dim=push(4), _buffers=body),
    )
    return a_dict(
        G_ema=call("torch_utils.persistence", "_reconstruct_persistent_obj", meta),
        training_set_kwargs=call("dnnlib.util", "EasyDict"),
    )


def tensorflow(body):
    state = a_dict(version=push(4), static_kwargs=push({}), components=body, variables=push([]))
    network = look_up("dnnlib.tflib.network", "Network") + b")\x81" + state + b"b"
    return b"(" + network * 3 + b"t"


def from_bytes(body, **options):
    return call("torch.storage", "_load_from_bytes", raw(legacy(body, **options)))


CONTAINERS = {
    "pickle": lambda body: a_pickle(a_dict(G_ema=body)),
    "protocol 0": lambda body: body + b".",
    "zip": lambda body: zipped(a_dict(g_ema=body)),
    "legacy": lambda body: legacy(a_dict(g_ema=body)),
    "legacy, machine": lambda body: legacy(push({}), machine=body),
    "legacy, keys": lambda body: legacy(push({}), keys=body),
    "bytes of a tensor": lambda body: a_pickle(a_dict(G_ema=from_bytes(body))),
    "persistence": lambda body: a_pickle(persistent(body)),
    "tensorflow": lambda body: a_pickle(tensorflow(body)),
    "namespace": lambda body: zipped(
        a_dict(args=look_up("argparse", "Namespace") + b")\x81" + a_dict(x=body) + b"b")
    ),
    "key of a storage": lambda body: zipped(storage_id(key=body)),
}


def storage_id(key=None, count=None, kind="FloatStorage"):
    """Opcodes for a storage; None: the key "0", of 4 numbers."""
    key = push("0") if key is None else key
    count = push(4) if count is None else count
    return (
        b"(" + push("storage") + look_up("torch", kind) + key + push("cpu") + count + b"t"
    ) + b"Q"


def tensor(storage, size=None, stride=None, offset=None):
    """Opcodes for a tensor; None: 2x2, row by row, from the beginning."""
    size, stride = size or push((2, 2)), stride or push((2, 1))
    return call(
        *("torch._utils", "_rebuild_tensor_v2", storage, offset or push(0), size, stride),
        push(False),
        call("collections", "OrderedDict"),
    )


def tensor_file(**options):
    return zipped(tensor(storage_id(), **options), {"data/0": bytes(16)})


def array(dtype, shape, data, *, kind=("numpy", "ndarray"), order="<", rest=None, flags=0):
    rest = push((None, None, None, -1, -1, flags)) if rest is None else rest
    typed = call("numpy", "dtype", push(dtype), push(False), push(True))
    items = b"".join(push(x) for x in (None, None, None, -1, -1, flags)) if rest else b""
    typed += b"(" + push(3) + push(order) + items + b"tb"
    made = call("numpy.core.multiarray", "_reconstruct", look_up(*kind), push((0,)), raw(b"b"))
    return made + b"(" + push(1) + shape + typed + push(False) + data + b"tb"


def from_tensor(count):
    """Opcodes for a storage of floats in the bytes of a pickle."""
    return from_bytes(storage_id(count=push(count)), storages=[("0", count, bytes(4 * count))])
