"""The stack machine that reads pickles: its stack, its memo, and what a name may stand for."""

import inspect
import math
import struct
from collections.abc import Callable
from dataclasses import dataclass, field

DEPTH = 1000
"""Open marks: structures begun and not yet finished."""
LONGEST_LINE = 2**26
"""Bytes of a text line (protocol 0)."""
LONGEST_NUMBER = 1000
"""Bytes of an integer: Python prints no more than 4300 digits."""
PLAIN_KEYS = (str, int, float, bool, type(None))


class Fault(ValueError):
    """What is wrong with a file: a sentence without its subject, which is the file."""


@dataclass(frozen=True, eq=False)
class Network:
    """What a file holds in place of an object with code: its class's name and its attributes."""

    name: str
    state: dict = field(repr=False)


class Function:
    """An entry of the table of names that a pickle may call."""

    def __init__(self, name: str, run: Callable):
        self.name, self._run = name, run
        taken = inspect.signature(run).parameters.values()
        self._least = sum(x.default is x.empty and x.kind != x.VAR_POSITIONAL for x in taken)
        self._most = math.inf if any(x.kind == x.VAR_POSITIONAL for x in taken) else len(taken)

    def __call__(self, *arguments: object) -> object:
        if not self._least <= len(arguments) <= self._most:
            raise Fault(f"is damaged: it gives {self.name} {len(arguments)} arguments")
        return self._run(*arguments)


class Unbuilt:
    """An object that waits for its BUILD opcode, `build(state)`, to become a value."""

    def __init__(self, name: str, build: Callable[[object], object]):
        self.name, self.build = name, build
        self.places: list[int] = []


def shown(value: object) -> str:
    """A text or number from a file, for a message: printable and short; of all else its type."""
    if not isinstance(value, str | bytes | int | float | None):
        return f"a {type(value).__name__}"
    text = str(value[:100]) if isinstance(value, str | bytes) else str(value)
    text = text if text.isprintable() else ascii(text)[1:-1]
    return text if len(text) < 100 else f"{text[:100]}..."


LAYOUTS = {form: struct.Struct(form) for form in ("<B", "<H", "<i", "<I", "<Q", ">d")}
"""Of the numbers behind opcodes."""


class Machine:
    def __init__(self, data: memoryview, names: dict, persistent: Callable | None, start: int):
        self.data, self.position = data, start
        self.names, self.persistent = names, persistent
        self.stack: list = []
        self.outer: list[list] = []
        """The stacks below each open mark."""
        self.memo: dict[int, object] = {}
        self.stopped = False

    # Bytes ----------------------------------------------------------------------------------------

    def skip(self, count: int) -> int:
        """Go past some bytes; returns where they begin."""
        begin, left = self.position, len(self.data) - self.position
        if not 0 <= count <= left:
            raise Fault(
                f"is cut short or damaged: at byte {begin} it announces {count} bytes more "
                f"and {left} are left; download it again"
            )
        self.position += count
        return begin

    def take(self, count: int) -> memoryview:
        begin = self.skip(count)
        return self.data[begin : begin + count]

    def number(self, form: str) -> int | float:
        layout = LAYOUTS[form]
        return layout.unpack_from(self.data, self.skip(layout.size))[0]

    def line(self, longest: int = LONGEST_LINE) -> bytes:
        # In growing pieces, so that a short line is not searched for in the whole file.
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
        try:
            return str(data, encoding, "surrogatepass" if encoding == "utf-8" else "strict")
        except UnicodeDecodeError:
            raise Fault(f"is damaged: the text before byte {self.position} is no text") from None

    # Values ---------------------------------------------------------------------------------------

    def push(self, value: object) -> None:
        self.stack.append(value)

    def pop(self) -> object:
        if not self.stack:
            raise Fault(f"is damaged: nothing is there to take at byte {self.position}")
        return self.stack.pop()

    def top(self) -> object:
        if not self.stack:
            self.pop()  # says what is wrong
        return self.stack[-1]

    def mark(self) -> None:
        if len(self.outer) >= DEPTH:
            raise Fault(f"is no network: it is nested more than {DEPTH} deep")
        self.outer.append(self.stack)
        self.stack = []

    def pop_mark(self) -> list:
        if not self.outer:
            raise Fault(f"is damaged: no mark is there at byte {self.position}")
        items, self.stack = self.stack, self.outer.pop()
        return items

    def remember(self, key: int) -> None:
        if key < 0:
            raise Fault(f"is damaged: it remembers a value under {key}")
        value = self.memo[key] = self.top()
        if isinstance(value, Unbuilt):
            value.places.append(key)

    def recall(self, key: int) -> None:
        if key not in self.memo:
            raise Fault(f"is damaged: it recalls a value {key} that was never there")
        self.stack.append(self.memo[key])

    # Names and calls ------------------------------------------------------------------------------

    def name(self, module: object, name: object) -> object:
        texts = isinstance(module, str) and isinstance(name, str)
        # A dot in the name would lead from an allowed object to one of its attributes.
        if texts and "." not in name and f"{module}.{name}" in self.names:
            return self.names[f"{module}.{name}"]
        raise Fault(
            f"asks to run {shown(module)}.{shown(name)}; refused: nothing in a file is executed "
            "here, and no StyleGAN network needs it"
        )

    def call(self, function: object, arguments: object) -> None:
        if not isinstance(function, Function) or type(arguments) is not tuple:
            raise Fault(f"asks to call {described(function)} with {described(arguments)}; refused")
        self.stack.append(function(*arguments))

    def build(self) -> None:
        state, target = self.pop(), self.pop()
        if isinstance(target, Unbuilt):
            value = target.build(state)
            for key in target.places:
                self.memo[key] = value
        elif isinstance(target, Network) and type(state) is dict:
            target.state.update(state)
            value = target
        elif type(target) is dict and type(state) is dict:
            value = target  # attributes of an OrderedDict, as the _metadata of a state dict
        else:
            raise Fault(f"asks to change {described(target)} by {described(state)}; refused")
        self.stack.append(value)

    def persistent_id(self) -> None:
        identity = self.pop()
        if self.persistent is None:
            raise Fault(f"asks for a persistent object {shown(described(identity))}; refused")
        self.stack.append(self.persistent(identity))

    # Containers -----------------------------------------------------------------------------------

    def extend(self, items: list) -> None:
        target = self.top()
        if type(target) is not list:
            raise Fault(f"is damaged: it appends to {described(target)}")
        target.extend(items)

    def update(self, items: list) -> None:
        target = self.top()
        if type(target) is not dict or len(items) % 2:
            raise Fault(f"is damaged: it sets {len(items)} items of {described(target)}")
        target.update(zip(plain_keys(items[::2]), items[1::2], strict=True))

    def add(self, items: list) -> None:
        target = self.top()
        if type(target) is not set:
            raise Fault(f"is damaged: it adds to {described(target)}")
        target.update(plain_keys(items))


def plain_keys(values: list) -> list:
    """The values where all can be the keys of a dict. A tuple cannot: its hash recurses."""
    for value in values:
        if type(value) not in PLAIN_KEYS:
            raise Fault(f"is no network: it uses {described(value)} as a key")
    return values


def described(value: object) -> str:
    named = isinstance(value, Function | Unbuilt | Network)
    return shown(value.name) if named else f"a {type(value).__name__}"
