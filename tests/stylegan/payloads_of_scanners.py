"""Files in the shapes by which scanners of 2025 and 2026 were passed: name -> (content, match).

Each is what a published bypass of a scanner looked like: names that no list had, calls whose result
is thrown away, archives that two programs read differently, files under another's name.
"""

import io
import json
import pickle
import struct
import tarfile

from opcodes import (
    a_dict,
    a_pickle,
    a_zip,
    array,
    call,
    from_bytes,
    legacy,
    look_up,
    look_up_by_stack,
    persistent,
    push,
    raw,
    storage_id,
    tensor,
    zipped,
)


def everything(canary):
    touch = push(f"touch '{canary}'")
    program = push(f"open({str(canary)!r}, 'w').close()")
    bodies = names(touch, program) | thrown_away(touch) | circles(touch) | frames(touch)
    files = {name: (a_pickle(body), match) for name, (body, match) in bodies.items()}
    return files | archives(touch) | polyglots(touch) | other_formats(touch)


def names(touch, program):
    """Functions that run something, in modules that no list of dangerous ones held."""
    calls = {
        "pkgutil.resolve_name": push("os:system"),
        "pip.main": push(["install", "x"]),
        "pip._internal.cli.main.main": push(["install", "x"]),
        "asyncio.unix_events._UnixSubprocessTransport": touch,
        "torch.utils.bottleneck.__main__.run_cprofile": program + push({}),
        "torch.utils.collect_env.run": touch,
        "torch._inductor.codecache.compile_file": touch,
        "torch.serialization.load": touch,
        "numpy.f2py.crackfortran.myeval": program,
        "numpy.testing._private.utils.runstring": program + push({}),
        "cProfile.runctx": program + push({}) + push({}),
        "profile.run": program,
        "timeit.timeit": program,
        "doctest.debug_script": program,
        "pydoc.pipepager": push("") + touch,
        "pty.spawn": touch,
        "code.interact": b"",
        "trace.Trace": b"",
        "ensurepip._run_pip": push(["x"]),
        "uuid._get_command_stdout": touch,
        "_osx_support._find_build_tool": touch,
        "logging.config.listen": push(9),
        "multiprocessing.util.spawnv_passfds": touch,
        "ctypes.util.find_library": touch,
        "distutils.file_util.write_file": touch + push([]),
        "lib2to3.pgen2.pgen.ParserGenerator": touch,
        "builtins.breakpoint": b"",
        "builtins.compile": program + push("x") + push("exec"),
        "builtins.__build_class__": b"",
        "builtins.globals": b"",
        "__builtin__.execfile": touch,
        "operator.methodcaller": push("system") + touch,
        "functools.reduce": look_up("os", "system") + push([1]),
        "itertools.starmap": look_up("builtins", "exec") + push([]),
        "nt.system": touch,
        "site.execsitecustomize": b"",
    }
    split = {name: name.rpartition(".") for name in calls}
    bodies = {
        name: (call(module, last, calls[name]), f"asks to run {name}; refused")
        for name, (module, _, last) in split.items()
    }
    for name in ("os.path.os.system", "idlelib.run.Executive.runcode", "numpy.ndarray.tofile"):
        # By STACK_GLOBAL, an attribute of an attribute, which GLOBAL of older protocols lacks.
        module, _, attribute = name.partition(".")
        body = look_up_by_stack(module, attribute) + b"(" + touch + b"tR"
        bodies[f"{name} by attributes"] = (body, f"asks to run {name}; refused")
    for letter, name in {"о": "оs", "\u200b": "os\u200b", "\r": "os\r"}.items():
        shown = name if name.isprintable() else ascii(name)[1:-1].replace("\\", "\\\\")
        body = look_up_by_stack(name, "system") + b"(" + touch + b"tR"
        bodies[f"a name with {ascii(letter)}"] = (body, f"asks to run {shown}.system")
    return bodies


def thrown_away(touch):
    """Calls of which nothing is left in the value: its program shows none of them."""
    run, good = call("os", "system", touch), push({"g_ema": {}})
    refused = "asks to run os.system; refused"
    return {
        "a popped call": (run + b"0" + good, refused),
        "a call popped with its mark": (b"(" + run + b"1" + good, refused),
        "a call in the memo alone": (run + b"q\x070" + good, refused),
        "a memoized call": (run + b"\x940" + good, refused),
        "a call as a key": (b"}" + run + b"Ns0" + good, refused),
        "a call among the arguments of a call": (
            call("collections", "OrderedDict", b"](" + run + b"Ne") + b"0" + good, refused
        ),
        "a call in the state of a BUILD": (
            look_up("argparse", "Namespace") + b")\x81}" + push("x") + run + b"sb0" + good, refused
        ),
        "a call before a stop and no value": (run + b"0.", refused),
        "a call before a broken stream": (run + b"\xff\xff", refused),
        "a call after the stop": (good + b"." + a_pickle(run)[2:-1], "bytes follow the end"),
        "a function kept and called later": (
            look_up("posix", "system") + b"q\x050h\x05(" + touch + b"tR", "asks to run posix.system"
        ),
        "a module of two parts of the memo": (
            b"\x8c\2os\x94\x8c\6system\x9400h\0h\1\x93(" + touch + b"tR", refused
        ),
    }  # fmt: skip


def circles(touch):
    """Values that contain themselves, on which walks through a program do not end."""
    run = call("os", "system", touch)
    refused = "asks to run os.system; refused"
    return {
        "a circle before a call": (b"]q\0h\0a0" + run, refused),
        "a circle as the arguments": (
            b"]q\0h\0a0" + look_up("collections", "OrderedDict") + b"h\0\x85R", "not made of pairs"
        ),
        "a circle of a tuple and a list": (b"]q\0h\0\x85q\1ah\1", "contains itself"),
        "a circle through a state": (
            look_up("argparse", "Namespace") + b")\x81q\7}" + push("x") + b"h\7sb", "itself"
        ),
        "a circle through the memo of a set": (b"\x8fq\0(h\0\x90", "as a key"),
        "a circle of names": (b"]q\0h\0ah\0h\0\x93", "asks to run a list|contains itself"),
    }  # fmt: skip


def frames(touch):
    """Frames and lengths that lie, so that a scanner stops before what a reader runs."""
    run = call("os", "system", touch)
    refused = "asks to run os.system; refused"
    return {
        "a frame of 0 bytes": (b"\x95" + bytes(8) + run, refused),
        "a frame in a frame": (b"\x95" + struct.pack("<Q", 9 + len(run)) + b"\x95"
                               + struct.pack("<Q", len(run)) + run, refused),
        "a frame of 2**63 bytes": (b"\x95" + struct.pack("<Q", 2**63) + run, "announces"),
        "a frame that ends in an opcode": (b"\x95" + struct.pack("<Q", 3) + run, refused),
        "protocol 255": (b"\x80\xff" + run, "a pickle of protocol 255"),
        "a text of 2**63 bytes": (b"\x8d" + struct.pack("<Q", 2**63) + run, "announces"),
        "an integer of 2**31 bytes": (b"\x8b" + struct.pack("<i", -1) + run, "an integer of"),
    }  # fmt: skip


def archives(touch):
    """Zips that a scanner cannot open, or opens otherwise than PyTorch does."""
    refused = "asks to run os.system; refused"
    hostile = zipped(a_dict(g_ema=call("os", "system", touch)))
    good = zipped(tensor(storage_id()), {"data/0": bytes(16)})
    entry, local = hostile.index(b"PK\1\2"), hostile.index(b"PK\3\4")
    pickled = a_pickle(call("os", "system", touch))

    def changed(content, position, new):
        return content[:position] + new + content[position + len(new) :]

    name = b"archive/data.pkl"
    other = changed(hostile, hostile.index(name), b"archive/data.txt")
    return {
        "a broken CRC": (changed(hostile, entry + 16, b"\0\0\0\0"), refused),
        "a broken CRC in the local header": (changed(hostile, local + 14, b"abcd"), refused),
        "another name in the local header": (other, "two names for a record"),
        "a local header that says encrypted": (changed(hostile, local + 6, b"\1"), "two ways"),
        "a local header that says compressed": (changed(hostile, local + 8, b"\x08"), "two ways"),
        "a directory that says encrypted": (changed(hostile, entry + 8, b"\1"), "is encrypted"),
        "a compressed pickle": (
            a_zip({name.decode(): pickled}, compression=8), "is compressed, unlike"
        ),
        "two zips, one behind the other": (good + hostile, "without b'PK"),
        "a zip in the comment of a zip": (
            changed(good, len(good) - 2, struct.pack("<H", len(hostile))) + hostile, "without b'PK"
        ),
        "two data.pkl": (
            a_zip({"a/data.pkl": a_pickle(b"}"), "b/data.pkl": pickled}), "not one that torch.save"
        ),
        "data.pkl in capitals": (a_zip({"archive/DATA.PKL": pickled}), "not one that torch.save"),
        "a pickle under another extension": (
            a_zip({"archive/model.bin": pickled}), "not one that torch.save wrote"
        ),
        "object arrays in .npz": (a_zip({"w.npy": b"\x93NUMPY\1\0"}), "not one that torch.save"),
        "a zip in data.pkl": (a_zip({name.decode(): hostile}), "in the place of a pickle"),
        "a program for TorchScript": (
            a_zip({name.decode(): pickled, "archive/code/x.py": b""}), "TorchScript archive"
        ),
    }  # fmt: skip


def polyglots(touch):
    """Files that are of one format at their beginning, and of another at their end."""
    hostile = zipped(a_dict(g_ema=call("os", "system", touch)))
    run = call("os", "system", touch)
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()

    def safetensors(content, data=bytes(4), size=None):
        return struct.pack("<Q", len(content) if size is None else size) + content + data

    unfit = "damaged .safetensors file"
    overlap = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    return {
        "safetensors and a zip": (safetensors(header) + hostile, unfit),
        "safetensors and a pickle": (safetensors(header) + a_pickle(run), unfit),
        "a pickle with the head of safetensors": (b"\x80\4]\x940000{" + run + b".", "damaged"),
        "safetensors of a header of 100 MB": (safetensors(header, size=10**8), "cut short"),
        "safetensors of a header of 2**63 bytes": (
            safetensors(header, size=2**63), "in an unknown format"
        ),
        "safetensors of deep lists": (safetensors(b'{"a":' + b"[" * 100_000), unfit),
        "safetensors with a key twice": (
            safetensors(b'{"w":' + header[5:-1] + b"," + header[1:]), "damaged|holds no StyleGAN"
        ),
        "safetensors of tensors in one another": (
            safetensors(json.dumps({"a": overlap, "b": overlap}).encode(), bytes(8)), unfit
        ),
        "safetensors of 2**62 numbers": (
            safetensors(json.dumps({"w": {"dtype": "F32", "shape": [2**31, 2**31],
                                          "data_offsets": [0, 4]}}).encode()), unfit
        ),
        "safetensors whose configuration is deep": (
            safetensors(json.dumps({"__metadata__": {"config": "[" * 100_000}, "w": overlap})
                        .encode(), bytes(8)), "holds no StyleGAN|damaged"
        ),
        "a pickle and a zip": (a_pickle(run) + hostile, "asks to run os.system; refused"),
        "a good pickle and a zip": (a_pickle(b"}") + hostile, "bytes follow the end of its pickle"),
        "a picture and a zip": (b"\x89PNG\r\n\x1a\n" + hostile, "is a picture"),
    }  # fmt: skip


def other_formats(touch):
    """What a reader of PyTorch would fall back to, or take by its extension."""
    run = call("os", "system", touch)
    refused = "asks to run os.system; refused"
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        member = tarfile.TarInfo("pickle")
        member.size = len(a_pickle(run))
        archive.addfile(member, io.BytesIO(a_pickle(run)))
    objects = io.BytesIO()
    described = b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"
    objects.write(b"\x93NUMPY\1\0" + struct.pack("<H", len(described)) + described + a_pickle(run))
    return {
        "PyTorch's format in a tar": (tar.getvalue(), "is a tar archive"),
        "an array of objects in .npy": (objects.getvalue(), "is a single numpy array"),
        "a 7z archive": (b"7z\xbc\xaf\x27\x1c" + a_pickle(run), "is a compressed archive"),
        "legacy with a call in its storages": (
            legacy(tensor(storage_id()), [("0", 4, bytes(16))], keys=run), refused
        ),
        "legacy in a tensor, with a call": (a_pickle(a_dict(G_ema=from_bytes(run))), refused),
        "a network whose source runs": (
            a_pickle(persistent(push({}), "import os; os.system('touch canary')")), "is missing"
        ),
        "an array of objects in a pickle": (
            a_pickle(array("O8", push((1,)), raw(pickle.dumps(1)))), "type O8"
        ),
        "protocol 0, with a call": (b"cos\nsystem\n(" + touch + b"tR.", refused),
        "an instance of protocol 0": (b"(" + touch + b"ios\nsystem\n.", refused),
    }  # fmt: skip
