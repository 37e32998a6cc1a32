"""The stack machine that reads pickles: its stack, its memo, and the values of names."""

import inspect
import math
import struct
from collections.abc import Callable
from dataclasses import dataclass, field

MAX_DEPTH = 1000
"""Open marks: structures that are not finished."""
MAX_LINE = 2**26
"""Bytes of a text line (protocol 0)."""
MAX_NUMBER = 1000
"""Bytes of an integer: Python prints at most 4300 digits."""
OTHER_NAMES = "*"
"""In the table of names: a function of the module and name of any other, to its value or None."""
PLAIN_KEYS = (str, int, float, bool, type(None))


class Fault(ValueError):
    """An error in a file. The message is a sentence without its subject, the file's name."""


@dataclass(frozen=True, eq=False)
class Network:
    """Stands for an object with code: the name of its class, and its attributes."""

    name: str
    state: dict = field(repr=False)


class Function:
    """A function that a pickle may call, under its name in the table."""

    def __init__(self, name: str, run: Callable):
        self.name, self._run = name, run
        parameters = inspect.signature(run).parameters.values()
        variadic = any(x.kind == x.VAR_POSITIONAL for x in parameters)
        self._min = sum(x.default is x.empty and x.kind != x.VAR_POSITIONAL for x in parameters)
        self._max = math.inf if variadic else len(parameters)

    def __call__(self, *arguments: object) -> object:
        if not self._min <= len(arguments) <= self._max:
            raise Fault(f"is damaged: it gives {self.name} {len(arguments)} arguments")
        return self._run(*arguments)


class Unbuilt:
    """An object that becomes a value by its BUILD opcode, `build(state)`."""

    def __init__(self, name: str, build: Callable[[object], object]):
        self.name, self.build = name, build
        self.memo_keys: list[int] = []


def printable(value: object) -> str:
    """A short printable text for a text or number from a file; for other values, their type."""
    if not isinstance(value, str | bytes | int | float | None):
        return f"a {type(value).__name__}"
    text = str(value[:100]) if isinstance(value, str | bytes) else str(value)
    text = text if text.isprintable() else ascii(text)[1:-1]
    return text if len(text) < 100 else f"{text[:100]}..."


def refused_name(module: object, name: object) -> Fault:
    """The error for a name that is not in the table."""
    return Fault(
        f"asks to run {printable(module)}.{printable(name)}; refused: nothing in a file is "
        "executed, and no StyleGAN network needs it"
    )


LAYOUTS = {form: struct.Struct(form) for form in ("<B", "<H", "<i", "<I", "<Q", ">d")}
"""Of the numbers after opcodes."""


class Machine:
    """The state of a pickle that is being read. Its methods raise Fault."""

    def __init__(self, data: memoryview, names: dict, persistent: Callable | None, start: int):
        self.data, self.position = data, start
        self.names, self.persistent = names, persistent
        self.stack: list = []
        self.outer: list[list] = []
        """The stacks below each open mark."""
        self.memo: dict[int, object] = {}
        self.stopped = False

    def skip(self, count: int) -> int:
        """Advance by `count` bytes; returns the position before."""
        begin, available = self.position, len(self.data) - self.position
        if not 0 <= count <= available:
            raise Fault(
                f"is cut short or damaged: at byte {begin} it announces {count} more bytes, and "
                f"{available} follow; download it again"
            )
        self.position += count
        return begin

    def take(self, count: int) -> memoryview:
        """The next bytes."""
        begin = self.skip(count)
        return self.data[begin : begin + count]

    def number(self, form: str) -> int | float:
        """The next number, in a form of `LAYOUTS`."""
        layout = LAYOUTS[form]
        return layout.unpack_from(self.data, self.skip(layout.size))[0]

    def line(self, longest: int = MAX_LINE) -> bytes:
        """The next bytes, up to the end of a line."""
        # In growing pieces, so that a short line needs no search through the whole file.
        size = 64
        while True:
            piece = bytes(self.data[self.position : self.position + size])
            end = piece.find(b"\n")
            if 0 <= end <= longest:
                self.position += end + 1
                return piece[:end]
            if size > len(piece) or size > longest:
                raise Fault(f"is cut short or damaged: the line at {self.position} has no end")
            size *= 16

    def text(self, data: memoryview | bytes, encoding: str = "utf-8") -> str:
        """Bytes that were read, as a text."""
        try:
            return str(data, encoding, "surrogatepass" if encoding == "utf-8" else "strict")
        except UnicodeDecodeError:
            raise Fault(f"is damaged: the text before byte {self.position} is no text") from None

    def push(self, value: object) -> None:
        self.stack.append(value)

    def pop(self) -> object:
        if not self.stack:
            raise Fault(f"is damaged: its stack is empty at byte {self.position}")
        return self.stack.pop()

    def top(self) -> object:
        """The value that `pop` would return."""
        if not self.stack:
            self.pop()  # raises
        return self.stack[-1]

    def mark(self) -> None:
        """Begin a new stack above the current one."""
        if len(self.outer) >= MAX_DEPTH:
            raise Fault(f"is no network: it is nested more than {MAX_DEPTH} deep")
        self.outer.append(self.stack)
        self.stack = []

    def pop_mark(self) -> list:
        """All values since the last mark; removes the mark too."""
        if not self.outer:
            raise Fault(f"is damaged: a mark is missing at byte {self.position}")
        items, self.stack = self.stack, self.outer.pop()
        return items

    def remember(self, key: int) -> None:
        """Store the top value in the memo."""
        if key < 0:
            raise Fault(f"is damaged: it stores a value under {key}")
        value = self.memo[key] = self.top()
        if isinstance(value, Unbuilt):
            value.memo_keys.append(key)

    def recall(self, key: int) -> None:
        """Push a value of the memo."""
        if key not in self.memo:
            raise Fault(f"is damaged: it reads a value {key} that was never stored")
        self.stack.append(self.memo[key])

    def name(self, module: object, name: object) -> object:
        """The value of a name in the table; no module is imported."""
        # A dot in the name would lead from an allowed object to one of its attributes.
        if isinstance(module, str) and isinstance(name, str) and "." not in name:
            if f"{module}.{name}" in self.names:
                return self.names[f"{module}.{name}"]
            other = self.names.get(OTHER_NAMES)
            if other is not None and (value := other(module, name)) is not None:
                return value
        raise refused_name(module, name)

    def call(self, function: object, arguments: object) -> None:
        """Push the result of a function of the table."""
        if not isinstance(function, Function) or type(arguments) is not tuple:
            raise Fault(f"asks to call {described(function)} with {described(arguments)}; refused")
        self.stack.append(function(*arguments))

    def build(self) -> None:
        """Set the state of the value below the top to the top value."""
        state, target = self.pop(), self.pop()
        if isinstance(target, Unbuilt):
            value = target.build(state)
            for key in target.memo_keys:
                self.memo[key] = value
        elif isinstance(target, Network) and type(state) is dict:
            target.state.update(state)
            value = target
        elif type(target) is dict and type(state) is dict:
            value = target  # attributes of an OrderedDict, e.g. the _metadata of a state dict
        else:
            raise Fault(f"asks to change {described(target)} by {described(state)}; refused")
        self.stack.append(value)

    def persistent_id(self) -> None:
        """Replace a persistent id by its value."""
        identity = self.pop()
        if self.persistent is None:
            raise Fault(f"asks for a persistent object {printable(described(identity))}; refused")
        self.stack.append(self.persistent(identity))

    def extend(self, items: list) -> None:
        """Append to the list on top."""
        target = self.top()
        if type(target) is not list:
            raise Fault(f"is damaged: it appends to {described(target)}")
        target.extend(items)

    def update(self, items: list) -> None:
        """Set items, a key and a value each, of the dict on top."""
        target = self.top()
        if type(target) is not dict or len(items) % 2:
            raise Fault(f"is damaged: it sets {len(items)} items of {described(target)}")
        target.update(zip(plain_keys(items[::2]), items[1::2], strict=True))

    def add(self, items: list) -> None:
        """Add to the set on top."""
        target = self.top()
        if type(target) is not set:
            raise Fault(f"is damaged: it adds to {described(target)}")
        target.update(plain_keys(items))


def plain_keys(values: list) -> list:
    """The values, if all can be keys of a dict. A tuple cannot: its hash is recursive."""
    for value in values:
        if type(value) not in PLAIN_KEYS:
            raise Fault(f"is no network: it uses {described(value)} as a key")
    return values


def described(value: object) -> str:
    """The name or type of a value, for a message."""
    has_name = isinstance(value, Function | Unbuilt | Network)
    return printable(value.name) if has_name else f"a {type(value).__name__}"
