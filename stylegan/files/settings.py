"""What programs keep beside networks, in `args` and the like, read as plain values.

Paths and dates become texts, slices and ranges tuples of three, and members of enums their names
with their values. None of these classes is imported, and none is made.
"""

import re
import sys
from typing import NamedTuple

from .machine import OTHER_NAMES, PLAIN_KEYS, Fault, Function, printable, refused_name

BUILTIN_TYPES = ("bool", "dict", "float", "int", "list", "str", "tuple")
"""Types that stand for themselves: of a command line's argument, or the default of a dict."""
PACKAGES = sys.stdlib_module_names | {
    *("numpy", "torch", "torchvision", "dnnlib", "torch_utils", "pip", "setuptools"),
    *("__builtin__", "copy_reg", "commands", "popen2", "distutils", "imp", "pkg_resources"),
}
"""Modules of which no name is that of a program's own enum; the last are Python's former ones."""
LIGHTNING = (
    *("lightning_fabric.utilities.data", "lightning.fabric.utilities.data"),
    *("pytorch_lightning.utilities.parsing", "lightning.pytorch.utilities.parsing"),
)
"""Modules of the dict in which Lightning keeps hyperparameters."""
CLASS_NAME = re.compile(r"[A-Z]\w*", re.ASCII)
MODULE_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)


class Member(NamedTuple):
    """A member of an enum of the program that wrote the file."""

    enum: str
    value: str | int | float | bool | None


def own_class(module: str, name: str) -> Function | None:
    """Stands for an enum of the program that wrote a file, which gives its members by value.

    No other name of such a module is read: None.
    """
    known = module.split(".")[0] in PACKAGES
    if known or not MODULE_NAME.fullmatch(module) or not CLASS_NAME.fullmatch(name):
        return None
    full = f"{module}.{name}"

    def member(*values: object) -> Member:
        if len(values) != 1 or type(values[0]) not in PLAIN_KEYS:
            raise refused_name(module, name)
        return Member(full, values[0])

    return Function(full, member)


def _path(*parts: object) -> str:
    if not all(isinstance(part, str) for part in parts):
        raise Fault("is damaged: a path that is not made of texts")
    # The first part of an absolute path ends with a slash.
    return re.sub(r"^([A-Za-z]:)?([/\\])/", r"\1\2", "/".join(parts))


def _triple(start: object, stop: object, step: object) -> tuple:
    if not all(type(x) in PLAIN_KEYS for x in (start, stop, step)):
        raise Fault("is damaged: a slice or range that is not made of numbers")
    return start, stop, step


def _bytes(data: object, count: int) -> bytes:
    if not isinstance(data, memoryview | bytearray) or len(data) != count:
        raise Fault(f"is damaged: a date that is not made of {count} bytes")
    return bytes(data)


def _date(data: object) -> str:
    high, low, month, day = _bytes(data, 4)
    return f"{256 * high + low:04}-{month:02}-{day:02}"


def _time(data: object, zone: object = None) -> str:
    hour, minute, second, *rest = _bytes(data, 6)
    return f"{hour & 127:02}:{minute:02}:{second:02}.{int.from_bytes(rest, 'big'):06}"


def _datetime(data: object, zone: object = None) -> str:
    content = _bytes(data, 10)
    # The highest bit of the month says which of two equal hours in autumn is meant.
    day = _date(bytearray((*content[:2], content[2] & 127, content[3])))
    return f"{day}T{_time(bytearray(content[4:]))}"


def _duration(days: object = 0, seconds: object = 0, microseconds: object = 0) -> float:
    if not all(type(x) is int and abs(x) < 2**40 for x in (days, seconds, microseconds)):
        raise Fault("is damaged: a duration that is not made of numbers")
    return 86_400 * days + seconds + microseconds / 1e6


def _zone(offset: object, name: object = None) -> str:
    return f"{printable(offset)} s from UTC"


def _plain_dict(counts: object) -> dict:
    if type(counts) is not dict:
        raise Fault("is damaged: a Counter that is not made of a dict")
    return dict(counts)


def _plain_list(items: object) -> list:
    if not isinstance(items, list | tuple):
        raise Fault("is damaged: a deque that is not made of a list")
    return list(items)


def _default_dict(factory: object = None) -> dict:
    types = isinstance(factory, str) and factory in BUILTIN_TYPES
    is_set = isinstance(factory, Function) and factory.name.endswith(".set")
    if factory is not None and not types and not is_set:
        raise Fault("asks to call something for the default of a dict; refused")
    return {}


_PATHS = ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath")
NAMES: dict[str, object] = {
    OTHER_NAMES: own_class,
    **{f"{module}.{x}": x for module in ("builtins", "__builtin__") for x in BUILTIN_TYPES},
    # What Python 3 calls these two for readers of protocol 2.
    **{"__builtin__.long": "int", "__builtin__.unicode": "str"},
    **{
        name: Function(name, run)
        for names, run in {
            tuple(f"{m}.{x}" for m in ("pathlib", "pathlib._local") for x in _PATHS): _path,
            (
                "builtins.slice",
                "__builtin__.slice",
                "builtins.range",
                "__builtin__.xrange",
            ): _triple,
            ("collections.defaultdict",): _default_dict,
            ("collections.Counter",): lambda counts=None: _plain_dict(
                {} if counts is None else counts
            ),
            tuple(f"{module}.AttributeDict" for module in LIGHTNING): lambda: {},
            ("collections.deque",): lambda items=(), maxlen=None: _plain_list(items),
            ("datetime.date",): _date,
            ("datetime.time",): _time,
            ("datetime.datetime",): _datetime,
            ("datetime.timedelta",): _duration,
            ("datetime.timezone",): _zone,
        }.items()
        for name in names
    },
}
"""The names in the table of `names`."""
