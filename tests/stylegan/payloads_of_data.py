"""Hostile arrays, tensors, storages and zip files: name -> (opcodes or a file, match)."""

import struct
import zipfile

from opcodes import (
    MACHINE,
    a_pickle,
    a_zip,
    array,
    call,
    legacy,
    look_up,
    push,
    raw,
    storage_id,
    tensor,
    tensor_file,
    zipped,
)


def arrays():
    """name -> (opcodes, match) of numpy arrays."""
    shape, data = push((2,)), raw(bytes(8))
    return {
        "array of objects": (array("O8", shape, data), "type O8"),
        "array of void": (array("V1000000000", shape, data), "type V1000000000"),
        "array of texts": (array("U4", shape, data), "type U4"),
        "array of dates": (array("M8", shape, data), "type M8"),
        "array of a list type": (array([("a", "f4")], shape, data), "type a list"),
        "array with flags": (array("f4", shape, data, flags=63), "not one of plain numbers"),
        "array without a type": (array("f4", shape, data, rest=b""), "not one of plain numbers"),
        "big-endian array": (array("f4", shape, data, order=">"), "big-endian"),
        "array too long": (array("f4", push((3,)), data), r"shape \(3,\) .* in 8 bytes"),
        "array too short": (array("f4", push((1,)), data), "in 8 bytes"),
        "huge array": (array("f4", push((2**30, 2**30)), data), "made to deceive"),
        "huge empty array": (array("f4", push((0, 2**39, 2**39)), raw(b"")), "made to deceive"),
        "negative array": (array("f4", push((-2, -1)), data), "of the size -2, -1"),
        "array of many sides": (array("f4", push((1,) * 100), data), "made to deceive"),
        "array of half a side": (array("f4", push((2.5,)), data), "made to deceive"),
        "array without bytes": (array("f4", shape, push([1.0])), "not one of plain numbers"),
        "array of a matrix": (array("f4", shape, data, kind=("numpy", "matrix")), "numpy.matrix"),
        "array of another type": (
            array("f4", shape, data, kind=("torch", "FloatStorage")), "of an unknown type"
        ),
        "scalar of nothing": (
            call("numpy.core.multiarray", "scalar", b"N", data), "not one of plain numbers"
        ),
        "unbuilt array": (
            call("numpy.core.multiarray", "_reconstruct", look_up("numpy", "ndarray"), push((0,)),
                 raw(b"b")),
            "holds numpy.ndarray as a value",
        ),
    }  # fmt: skip


def tensors():
    """name -> (file, match) of tensors in a torch zip."""
    sizes = {
        "huge tensor": {"size": push((2**30, 2**30)), "stride": push((2**30, 1))},
        "expanded tensor": {"size": push((30_000, 30_000)), "stride": push((0, 0))},
        "tensor past its end": {"offset": push(1)},
        "tensor of long strides": {"stride": push((2**39, 1))},
        "tensor of negative strides": {"stride": push((-2, -1))},
        "tensor before its start": {"offset": push(-1)},
        "tensor of many sides": {"size": push((1,) * 100), "stride": push((1,) * 100)},
        "tensor of texts": {"size": push(("a", "b"))},
        "tensor of a list": {"size": push(([], []))},
        "tensor of no size": {"size": b"N"},
        "tensor with too few strides": {"stride": push((1,))},
        "huge empty tensor": {"size": push((0, 2**39, 2**39)), "stride": push((1, 1, 1))},
    }
    files = {name: tensor_file(**options) for name, options in sizes.items()}
    storages = {
        "storage of 2**62 numbers": storage_id(count=push(2**62)),
        "storage of -1 numbers": storage_id(count=push(-1)),
        "storage of 4.0 numbers": storage_id(count=push(4.0)),
        "storage of another type": storage_id(kind="DoubleStorage"),
        "storage that is not there": storage_id(key=push("1")),
        "storage outside": storage_id(key=push("../data.pkl")),
        "storage by a list": storage_id(key=push([])),
        "storage by an array": storage_id(key=array("f4", push((2,)), raw(bytes(8)))),
        "no storage": push(("module", 1, 2, 3, 4)) + b"Q",
        "persistent nothing": b"NQ",
    }
    files |= {name: zipped(tensor(body), {"data/0": bytes(16)}) for name, body in storages.items()}
    files["tensor of no storage"] = zipped(tensor(b"N"))
    files["parameter of nothing"] = zipped(
        call("torch._utils", "_rebuild_parameter", b"N", b"N", b"N")
    )
    files["tensor by BUILD"] = zipped(
        tensor(storage_id()) + push({"grad": 1}) + b"b", {"data/0": bytes(16)}
    )
    match = "is damaged|made to deceive|without its|asks to change"
    return {name: (content, match) for name, content in files.items()}


def legacies():
    """name -> (file, match) of torch.save's older format."""
    body, data = tensor(storage_id()), bytes(16)
    bomb = tensor(storage_id(count=push(2**60)))
    return {
        "legacy of 2**60 numbers": (legacy(bomb, [("0", 2**60, data)]), "longer than the rest"),
        "legacy of other numbers": (legacy(body, [("0", 2**60, data)]), "has 1152921504606846976"),
        "legacy cut short": (legacy(body, [("0", 4, data[:9])]), "cut short"),
        "legacy without a storage": (legacy(body), "is not that of its tensors"),
        "legacy with another storage": (legacy(body, [("1", 4, data)]), "not that of its tensors"),
        "legacy of two sizes": (
            legacy(b"(" + body + tensor(storage_id(count=push(3))) + b"t", [("0", 4, data)]),
            "has two sizes",
        ),
        "legacy of another version": (legacy(body, [("0", 4, data)], version=1002), "1002"),
        "legacy of no version": (legacy(body, version=[[]]), "or one of another version"),
        "legacy of a big-endian machine": (
            legacy(body, [("0", 4, data)], machine=push(MACHINE | {"little_endian": False})),
            "big-endian machine",
        ),
        "legacy of no machine": (legacy(body, machine=b"N"), "or one of another version"),
        "legacy with keys of lists": (legacy(body, keys=push([[]])), "not that of its tensors"),
    }


def zips():
    """name -> (file, match) of zip files that torch.save does not write."""
    good, data = tensor(storage_id()), {"data/0": bytes(16)}
    whole = zipped(good, data)
    end = whole.rindex(b"PK\5\6")
    entry = whole.index(b"PK\1\2")
    local = bytearray(whole)
    local[entry + 42 : entry + 46] = struct.pack("<I", len(whole) - 2)
    locked = bytearray(whole)
    locked[entry + 8] |= 1
    large = bytearray(whole)
    large[entry + 20 : entry + 28] = struct.pack("<II", 2**31, 2**31)
    many = bytearray(whole)
    many[end + 10 : end + 12] = b"\xff\xff"
    million = whole[:end] + struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, 2**40, 2**40,
                                        2**40, entry)  # fmt: skip
    million += struct.pack("<4sIQI", b"PK\6\7", 0, end, 1) + whole[end:]
    elsewhere = million.replace(struct.pack("<QI", end, 1), struct.pack("<QI", 2**63, 1))
    inner = a_zip({"network.pkl": a_pickle(b"}")})
    twin = zipped(good, {"data/0": bytes(16), "data/1": bytes(16)}).replace(b"data/1", b"data/0")
    return {
        "zip bomb": (
            zipped(good, {"data/0": bytes(50_000_000)}, compression=zipfile.ZIP_DEFLATED),
            "is compressed",
        ),
        "zip with a record twice": (twin, "two records are named archive/data/0"),
        "encrypted zip": (bytes(locked), "is encrypted"),
        "zip with a large record": (bytes(large), "cut short or damaged"),
        "zip with a record outside": (bytes(local), "cut short or damaged|is damaged"),
        "zip that counts too many": (bytes(many), "without b'PK"),
        "zip of 2**40 records": (million, "1,099,511,627,776 records"),
        "zip with an end elsewhere": (elsewhere, "cut short or damaged"),
        "zip cut short": (whole[:-30], "end is missing|is damaged"),
        "zip of a pickle": (inner, r"not one that torch.save wrote \(it holds network"),
        "zip in a zip": (a_zip({"archive/data.pkl": inner}), "a zip file lies in the place of"),
        "TorchScript": (zipped(good, data | {"constants.pkl": b"N."}), "TorchScript archive"),
        "TorchScript code": (zipped(good, {"code/x.py": b"1"}), "TorchScript archive"),
        "big-endian zip": (whole.replace(b"little", b"big   "), "big-endian machine"),
    }
