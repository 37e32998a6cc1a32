"""Hostile network files, and small valid ones.

`everything(canary)` gives name -> (content, what the refusal must say). Payloads that run anything
would create the file `canary`.
"""

import io
import pickle
import struct

import numpy as np
import torch
from opcodes import (
    CONTAINERS,
    a_pickle,
    call,
    from_bytes,
    from_tensor,
    look_up,
    look_up_by_stack,
    persistent,
    push,
    raw,
    tensor,
    zipped,
)
from payloads_of_data import arrays, legacies, tensors, zips


def everything(canary):
    payloads = {}
    run = running(canary)
    for name, (body, expected) in run.items():
        payloads[f"{name} in a pickle"] = (a_pickle(body), f"asks to run {expected}; refused")
    for form, wrap in CONTAINERS.items():
        for name in ("os.system", "builtins.eval", "copyreg._reconstructor"):
            body, expected = run[name]
            payloads[f"{name} in {form}"] = (wrap(body), f"asks to run {expected}; refused")
    plain = {**disguised(canary), **damaged(), **arrays()}
    payloads |= {name: (a_pickle(body), match) for name, (body, match) in plain.items()}
    source = f"open({str(canary)!r}, 'w').close()"
    payloads["source text"] = (a_pickle(persistent(push({}), source)), str(canary.parent))
    return payloads | tensors() | legacies() | zips()


def networks():
    """form -> content of small valid files, with every kind of value that networks hold."""
    weights = {
        "weight": torch.linspace(-1, 1, 24).reshape(2, 3, 4),
        "half": torch.linspace(0, 1, 5).half(),
        "view": torch.arange(12.0).reshape(3, 4).t()[1:3],
        "empty": torch.zeros(0, 3),
        "count": torch.tensor(7),
    }
    plain = {"name": "tiny", "sizes": (4, 8), "gain": 0.5, "large": 10**20, "flags": [True, None]}
    stored = np.arange(6, dtype=np.float32).reshape(2, 3)
    payloads = {}
    for form, new in (("zip", True), ("legacy", False)):
        file = io.BytesIO()
        torch.save({"g_ema": weights, "args": plain}, file, _use_new_zipfile_serialization=new)
        payloads[form] = file.getvalue()
    for protocol in (0, 2, 4, 5):
        tree = {"weights": weights, "array": stored, "scalar": np.float64(2), "plain": plain}
        payloads[f"pickle {protocol}"] = pickle.dumps(tree, protocol)
    return payloads


def running(canary):
    """name -> (opcodes that run something, the name that the refusal must give)."""
    text = push(str(canary))
    touch, program = push(f"touch '{canary}'"), push(f"open({str(canary)!r}, 'w').close()")
    calls = {
        ("os", "system"): touch,
        ("posix", "system"): touch,
        ("subprocess", "check_output"): push(["touch", str(canary)]),
        ("builtins", "eval"): program,
        ("builtins", "exec"): program,
        ("builtins", "open"): text + push("w"),
        ("builtins", "__import__"): push("antigravity"),
        ("builtins", "getattr"): look_up("os", "path") + push("os"),
        ("__builtin__", "eval"): program,
        ("runpy", "run_path"): text,
        ("importlib", "import_module"): push("antigravity"),
        ("functools", "partial"): look_up("os", "system") + touch,
        ("operator", "attrgetter"): push("system"),
        ("types", "FunctionType"): b"",
        ("marshal", "loads"): raw(b"N"),
        ("pickle", "loads"): raw(a_pickle(call("os", "system", touch))),
        ("ctypes", "CDLL"): push("libc.so.6"),
        ("socket", "create_connection"): push(("127.0.0.1", 9)),
        ("urllib.request", "urlopen"): push("http://127.0.0.1:9/"),
        ("pathlib", "Path"): text,
        ("sys", "exit"): b"",
        ("os", "_exit"): push(1),
        ("copyreg", "_reconstructor"): look_up("os", "system") + touch + b"N",
        ("copyreg", "__newobj__"): look_up("os", "system") + touch,
        ("copyreg", "add_extension"): push("os") + push("system") + push(7),
        ("torch", "load"): text,
        ("torch.hub", "load"): text,
        ("torch.jit", "load"): text,
        ("torch._utils", "_rebuild_tensor"): b"",
        ("torch._tensor", "_rebuild_from_type_v2"): look_up("os", "system") + touch,
        ("torch.nn.modules.linear", "Linear"): push(2) + push(2),
        ("numpy", "load"): text,
        ("numpy", "memmap"): text,
        ("numpy.core.multiarray", "fromfile"): text,
        ("dnnlib.util", "open_url"): push("http://127.0.0.1:9/"),
        ("dnnlib.util", "get_obj_by_name"): push("os.system"),
        ("torch_utils.persistence", "import_hook"): b"",
    }
    return {
        f"{module}.{name}": (call(module, name, arguments), f"{module}.{name}")
        for (module, name), arguments in calls.items()
    }


def disguised(canary):
    """name -> (opcodes, match): other ways to reach a name, or to run what was reached."""
    touch = push(f"touch '{canary}'")
    rebuild = ("torch._utils", "_rebuild_tensor_v2")
    return {
        "stack global": (look_up_by_stack("os", "system") + b"(" + touch + b"tR", "os.system"),
        "stack global of no text": (push(["os"]) + push("system") + b"\x93", "asks to run a list"),
        "stack global of a circle": (b"]q\0h\0ah\0\x93", "asks to run|its stack is empty"),
        "inst": (b"(" + touch + b"ios\nsystem\n", "os.system"),
        "obj": (b"(" + look_up("os", "system") + touch + b"o", "os.system"),
        "newobj": (look_up("os", "system") + b"(" + touch + b"t\x81", "os.system"),
        "newobj with keywords": (look_up("os", "system") + b")" + touch + b"\x92", "os.system"),
        "keywords of an allowed name": (
            look_up("collections", "OrderedDict") + b")" + push({"a": 1}) + b"\x92",
            "keyword arguments",
        ),
        "dotted name": (look_up(rebuild[0], f"{rebuild[1]}.__globals__"), "__globals__; refused"),
        "dotted by stack": (look_up_by_stack("numpy", "ndarray.__reduce__"), "ndarray.__reduce__"),
        "name split elsewhere": (look_up("torch", "_utils._rebuild_tensor_v2"), "refused"),
        "empty module": (look_up("", "os.system"), "os.system"),
        "empty name": (look_up("os.system", ""), "os.system"),
        "line feed in a module": (look_up_by_stack("os\n", "system"), r"os\\nsystem|os\\n.system"),
        "build on a function": (look_up(*rebuild) + push({"__code__": 1}) + b"b", "asks to change"),
        "build on a type": (look_up("numpy", "ndarray") + push({"x": 1}) + b"b", "asks to change"),
        "setstate": (b"]" + push({"__setstate__": 1}) + b"b", "asks to change a list"),
        "call of a dict": (b"})R", "asks to call a dict"),
        "call of a text": (push("os.system") + b"(" + touch + b"tR", "asks to call a str"),
        "call of a type": (look_up("numpy", "ndarray") + push((4,)) + b"R", "asks to call a type"),
        "call with a list": (look_up("collections", "OrderedDict") + b"]R", "with a list"),
        "wrong arguments": (call("numpy", "dtype"), "it gives numpy.dtype 0 arguments"),
        "a function as a value": (look_up(*rebuild), "holds torch._utils._rebuild"),
        "reduce in a reduce": (
            call("torch", "Size", call("builtins", "set", call("os", "system", touch))),
            "os.system",
        ),
        "default of a dict": (
            call("collections", "defaultdict", look_up("os", "system")), "asks to run os.system"
        ),
        "codecs": (call("_codecs", "encode", push("x"), push("zip")), "_codecs.encode with zip"),
        "extension 1": (b"\x82\x07", "extension registry"),
        "extension 2": (b"\x83\x07\x07", "extension registry"),
        "extension 4": (b"\x84\x07\x07\x07\x07", "extension registry"),
        "persistent text": (b"Pos.system\n", "persistent object os.system"),
        "out of band": (b"\x97", "out-of-band"),
        "tensor of no bytes": (
            call("torch.storage", "_load_from_bytes", b"N"), "without its bytes"
        ),
        "tensor in a tensor": (
            from_bytes(call("torch.storage", "_load_from_bytes", raw(b"N."))),
            "torch.storage._load_from_bytes",
        ),
        "zip in a tensor": (
            call("torch.storage", "_load_from_bytes", raw(zipped(push({})))),
            "a zip file lies in the place of a pickle",
        ),
        "persistence without a state": (
            call("torch_utils.persistence", "_reconstruct_persistent_obj", push({"a": 1})),
            "without its class name",
        ),
    }  # fmt: skip


def damaged():
    """name -> (opcodes, match): what is wrong with the stack, the memo, the lengths, the depth."""
    long = 2**62
    lies = {
        "short text": b"\x8c\xff",
        "text": b"X" + struct.pack("<I", 2**32 - 1),
        "long text": b"\x8d" + struct.pack("<Q", long),
        "short bytes": b"C\xff",
        "bytes": b"B" + struct.pack("<I", 2**32 - 1),
        "long bytes": b"\x8e" + struct.pack("<Q", long),
        "bytearray": b"\x96" + struct.pack("<Q", 2**64 - 1),
        "short string": b"U\xff",
        "string": b"T" + struct.pack("<I", 2**31),
        "frame": b"\x95" + struct.pack("<Q", 2**40),
        "integer": b"\x8a\xff",
    }
    levels = 40
    laughs = b"]q\0" + b"".join(
        b"](" + b"h" + bytes([i]) + b"h" + bytes([i]) + b"eq" + bytes([i + 1])
        for i in range(levels)
    )
    twice = b"]" + b"2\x86" * 60
    return {
        **{f"length of {name}": (body, "announces") for name, body in lies.items()},
        "integer of 2 GB": (b"\x8b" + struct.pack("<I", 2**31), "an integer of"),
        "text without an end": (b"V" + b"a" * 100_000, "has no end"),
        "number without an end": (b"I" + b"9" * 100_000 + b"\n", "has no end"),
        "no number": (b"Ixyz\n", "is no number"),
        "no real number": (b"F1e\n", "is no number"),
        "no quotes": (b"Sabc\n", "no quoted text"),
        "no text": (b"X\4\0\0\0\xff\xfe\xfd\xfc", "is no text"),
        "unknown opcode": (b"\xff", "0xff"),
        "null opcode": (b"\0", "0x00"),
        "protocol 6": (b"\x80\6N", "newer than this program: a pickle of protocol 6"),
        "recalls nothing": (b"h\7", "was never stored"),
        "recalls 2**31": (b"j" + struct.pack("<I", 2**31), "was never stored"),
        "remembers -1": (b"Np-1\n", "under -1"),
        "remembers nothing": (b"q\0", "its stack is empty"),
        "an empty pickle": (b"", "its stack is empty"),
        **{f"nothing for {code}": (code.encode(), "its stack is empty") for code in "Rb2a"},
        **{f"no mark for {code}": (f"N{code}".encode(), "a mark is missing") for code in "tlduoe1"},
        "a list as a key": (b"}]Ns", "a list as a key"),
        "a tuple as a key": (b"})Ns", "a tuple as a key"),
        "a deep tuple as a key": (b"})" + b"\x85" * 100_000 + b"Ns", "a tuple as a key"),
        "a circle as a key": (b"}q\0(]h\0ls", "a list as a key|its stack is empty"),
        "a list in a set": (b"\x8f(]\x90", "a list as a key"),
        "a list in a frozen set": (b"(]\x91", "a list as a key"),
        "a list in a called set": (call("builtins", "set", b"]]a"), "a list as a key"),
        "appends to a dict": (b"}Na", "appends to a dict"),
        "sets items of a list": (b"]NNs", "of a list"),
        "sets half an item": (b"}(Nu", "sets 1 items"),
        "adds to a list": (b"](N\x90", "adds to a list"),
        "a list in itself": (b"]q\0h\0a", "contains itself"),
        "a dict in itself": (b"}q\0Nh\0s", "contains itself"),
        "a tuple in itself": (b"]q\0h\0\x85a", "contains itself"),
        "a network in itself": (
            look_up("argparse", "Namespace") + b")\x81q\7}" + push("x") + b"h\7sb",
            "contains itself",
        ),
        "a million lists": (b"]" * 1_000_000 + b"a" * 999_999, "operations"),
        "many tuples": (b")" + b"\x85" * 300_000, "nested more than"),
        "many dicts": (b"}N" * 100_000 + b"N" + b"s" * 100_000, "nested more than"),
        "a million marks": (b"(" * 1_000_000, "nested more than"),
        "many operations": (b"N0" * 600_000 + b"N", "more than 1,000,000 operations"),
        "many lists": (b"]" * 100_000 + b"a" * 99_999, "nested more than"),
        "a million laughs": (laughs, "again and again"),
        "laughs by DUP": (twice, "again and again"),
        "laughs of tensors": (
            b"](" + tensor(from_tensor(25_000), size=push((25_000,)), stride=push((1,))) + b"q\1"
            + b"h\1" * 5000 + b"e",
            "again and again",
        ),
    }  # fmt: skip
