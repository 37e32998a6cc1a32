"""Pickles, read as data: a small stack machine of our own, in which nothing of a file is run.

A pickle is a program. Its opcodes build plain values, look names up and call what they found. Here
a name is looked up in a table that the caller gives and nowhere else, and only functions of that
table are called. Protocols 0 to 5; the bytes in a pickle stay views of the file.
"""

import inspect
import math
import struct
from collections.abc import Callable
from dataclasses import dataclass, field

STEPS = 1_000_000
"""Opcodes in one file; the largest networks have less than a tenth of it."""
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


class Budget:
    """Opcodes that are left for a file and for all the pickles inside it."""

    def __init__(self, steps: int = STEPS):
        self.left = steps

    def spend(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise Fault(f"is no network: its pickle has more than {STEPS:,} operations")


def read(
    data: memoryview,
    names: dict[str, object],
    *,
    persistent: Callable[[object], object] | None = None,
    start: int = 0,
    budget: Budget | None = None,
) -> tuple[object, int]:
    """(value, position behind it) of the pickle that begins at `start`.

    names: full name -> what it stands for; a Function can be called. persistent: persistent id ->
    value. Raises Fault.
    """
    machine = _Machine(data, names, persistent, start)
    budget = budget or Budget()
    while not machine.stopped:
        budget.spend()
        position = machine.position
        if position == len(data):
            raise Fault(f"is cut short after {position:,} bytes; download it again")
        run = OPCODES.get(data[position])
        if run is None:
            raise Fault(
                f"is damaged or in an unknown format: the byte {data[position]:#04x} at "
                f"{position} is nothing that a network's pickle contains"
            )
        machine.position += 1
        run(machine)
    return machine.pop(), machine.position


def shown(value: object) -> str:
    """A text or number from a file, for a message: printable and short; of all else its type."""
    if not isinstance(value, str | bytes | int | float | None):
        return f"a {type(value).__name__}"
    text = str(value[:100]) if isinstance(value, str | bytes) else str(value)
    text = text if text.isprintable() else ascii(text)[1:-1]
    return text if len(text) < 100 else f"{text[:100]}..."


class _Machine:
    def __init__(self, data: memoryview, names: dict, persistent: Callable | None, start: int):
        self.data, self.position = data, start
        self.names, self.persistent = names, persistent
        self.stack: list = []
        self.outer: list[list] = []
        """The stacks below each open mark."""
        self.memo: dict[int, object] = {}
        self.stopped = False

    # Bytes ----------------------------------------------------------------------------------------

    def take(self, count: int) -> memoryview:
        left = len(self.data) - self.position
        if not 0 <= count <= left:
            raise Fault(
                f"is cut short or damaged: at byte {self.position} it announces {count} bytes more "
                f"and {left} are left; download it again"
            )
        self.position += count
        return self.data[self.position - count : self.position]

    def number(self, form: str) -> int | float:
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

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
        self.push(self.pop())
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
            raise Fault(
                f"asks to call {_described(function)} with {_described(arguments)}; refused"
            )
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
            raise Fault(f"asks to change {_described(target)} by {_described(state)}; refused")
        self.stack.append(value)

    def persistent_id(self) -> None:
        identity = self.pop()
        if self.persistent is None:
            raise Fault(f"asks for a persistent object {shown(_described(identity))}; refused")
        self.stack.append(self.persistent(identity))

    # Containers -----------------------------------------------------------------------------------

    def extend(self, items: list) -> None:
        target = self.top()
        if type(target) is not list:
            raise Fault(f"is damaged: it appends to {_described(target)}")
        target.extend(items)

    def update(self, items: list) -> None:
        target = self.top()
        if type(target) is not dict or len(items) % 2:
            raise Fault(f"is damaged: it sets {len(items)} items of {_described(target)}")
        target.update(zip(plain_keys(items[::2]), items[1::2], strict=True))

    def add(self, items: list) -> None:
        target = self.top()
        if type(target) is not set:
            raise Fault(f"is damaged: it adds to {_described(target)}")
        target.update(plain_keys(items))


def plain_keys(values: list) -> list:
    """The values where all can be the keys of a dict. A tuple cannot: its hash recurses."""
    for value in values:
        if type(value) not in PLAIN_KEYS:
            raise Fault(f"is no network: it uses {_described(value)} as a key")
    return values


def _described(value: object) -> str:
    named = isinstance(value, Function | Unbuilt | Network)
    return shown(value.name) if named else f"a {type(value).__name__}"


# What the opcodes do, by the form of what follows them --------------------------------------------


def _value(make: Callable[[], object]) -> Callable[[_Machine], None]:
    return lambda machine: machine.push(make())


def _number(form: str) -> Callable[[_Machine], None]:
    return lambda machine: machine.push(machine.number(form))


def _bytes(form: str) -> Callable[[_Machine], None]:
    return lambda machine: machine.push(machine.take(machine.number(form)))


def _text(form: str, encoding: str = "utf-8") -> Callable[[_Machine], None]:
    def run(machine: _Machine) -> None:
        machine.push(machine.text(machine.take(machine.number(form)), encoding))

    return run


def _long(form: str) -> Callable[[_Machine], None]:
    def run(machine: _Machine) -> None:
        count = machine.number(form)
        if count > LONGEST_NUMBER:
            raise Fault(f"is damaged: an integer of {count} bytes at {machine.position}")
        machine.push(int.from_bytes(machine.take(count), "little", signed=True))

    return run


def _tuple(count: int) -> Callable[[_Machine], None]:
    def run(machine: _Machine) -> None:
        items = [machine.pop() for _ in range(count)]
        machine.push(tuple(reversed(items)))

    return run


def _decimal(kind: type) -> Callable[[_Machine], int | float]:
    def parse(machine: _Machine) -> int | float:
        line = machine.line(LONGEST_NUMBER)
        try:
            return kind(line.removesuffix(b"L") if kind is int else line)
        except ValueError:
            raise Fault(f"is damaged: {shown(line)} is no number") from None

    return parse


_integer, _real = _decimal(int), _decimal(float)


def _protocol(machine: _Machine) -> None:
    protocol = machine.number("<B")
    if protocol > 5:
        raise Fault(f"is damaged or newer than this program: a pickle of protocol {protocol}")


def _frame(machine: _Machine) -> None:
    size = machine.number("<Q")
    machine.take(size)
    machine.position -= size


def _small_integer(machine: _Machine) -> None:
    if bytes(machine.data[machine.position : machine.position + 3]) in (b"00\n", b"01\n"):
        machine.push(machine.line() == b"01")
    else:
        machine.push(_integer(machine))


def _quoted(machine: _Machine) -> None:
    line = machine.line()
    if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in (b"'", b'"') or b"\\" in line:
        raise Fault(f"is damaged: {shown(line)} is no quoted text")
    machine.push(machine.text(line[1:-1], "latin-1"))


def _new(machine: _Machine) -> None:
    arguments, function = machine.pop(), machine.pop()
    machine.call(function, arguments)


def _new_with_keywords(machine: _Machine) -> None:
    keywords = machine.pop()
    if type(keywords) is not dict or keywords:
        raise Fault("asks to make an object with keyword arguments; refused")
    _new(machine)


def _object(machine: _Machine) -> None:
    function, *arguments = machine.pop_mark() or [None]
    machine.call(function, tuple(arguments))


def _instance(machine: _Machine) -> None:
    function = _named(machine)
    machine.call(function, tuple(machine.pop_mark()))


def _named(machine: _Machine) -> object:
    module = machine.text(machine.line())
    return machine.name(module, machine.text(machine.line()))


def _named_by_stack(machine: _Machine) -> None:
    name, module = machine.pop(), machine.pop()
    machine.push(machine.name(module, name))


def _marked_dict(machine: _Machine) -> None:
    items = machine.pop_mark()
    machine.push({})
    machine.update(items)


def _pop(machine: _Machine) -> None:
    # A mark is taken away by POP too.
    machine.pop() if machine.stack or not machine.outer else machine.pop_mark()


def _stop(machine: _Machine) -> None:
    machine.stopped = True


def _registered(machine: _Machine) -> None:
    raise Fault("asks for an object of Python's extension registry (copyreg); refused")


def _outside(machine: _Machine) -> None:
    raise Fault("keeps its data in another file (out-of-band buffers): it is no whole network")


def _text_id(machine: _Machine) -> None:
    raise Fault(f"asks for a persistent object {shown(machine.text(machine.line()))}; refused")


OPCODES: dict[int, Callable[[_Machine], None]] = {
    ord(code): run
    for code, run in {
        # numbers
        "N": _value(lambda: None),
        "\x88": _value(lambda: True),
        "\x89": _value(lambda: False),
        "K": _number("<B"),
        "M": _number("<H"),
        "J": _number("<i"),
        "G": _number(">d"),
        "\x8a": _long("<B"),
        "\x8b": _long("<I"),
        "I": _small_integer,
        "L": lambda machine: machine.push(_integer(machine)),
        "F": lambda machine: machine.push(_real(machine)),
        # texts and bytes
        "\x8c": _text("<B"),
        "X": _text("<I"),
        "\x8d": _text("<Q"),
        "V": lambda machine: machine.push(machine.text(machine.line(), "raw-unicode-escape")),
        # Python 2's strings are texts, or the bytes of an array: one to one in this encoding.
        "U": _text("<B", "latin-1"),
        "T": _text("<I", "latin-1"),
        "S": _quoted,
        "C": _bytes("<B"),
        "B": _bytes("<I"),
        "\x8e": _bytes("<Q"),
        "\x96": _bytes("<Q"),
        # containers
        "]": _value(list),
        "}": _value(dict),
        ")": _value(tuple),
        "\x8f": _value(set),
        "\x85": _tuple(1),
        "\x86": _tuple(2),
        "\x87": _tuple(3),
        "t": lambda machine: machine.push(tuple(machine.pop_mark())),
        "l": lambda machine: machine.push(machine.pop_mark()),
        "d": _marked_dict,
        "\x91": lambda machine: machine.push(set(plain_keys(machine.pop_mark()))),
        "a": lambda machine: machine.extend([machine.pop()]),
        "e": lambda machine: machine.extend(machine.pop_mark()),
        "s": lambda machine: machine.update([machine.pop(), machine.pop()][::-1]),
        "u": lambda machine: machine.update(machine.pop_mark()),
        "\x90": lambda machine: machine.add(machine.pop_mark()),
        # the stack and the memo
        "(": _Machine.mark,
        "0": _pop,
        "1": lambda machine: machine.pop_mark(),
        "2": lambda machine: machine.push(machine.top()),
        "p": lambda machine: machine.remember(_integer(machine)),
        "q": lambda machine: machine.remember(machine.number("<B")),
        "r": lambda machine: machine.remember(machine.number("<I")),
        "\x94": lambda machine: machine.remember(len(machine.memo)),
        "g": lambda machine: machine.recall(_integer(machine)),
        "h": lambda machine: machine.recall(machine.number("<B")),
        "j": lambda machine: machine.recall(machine.number("<I")),
        # names and calls
        "c": lambda machine: machine.push(_named(machine)),
        "\x93": _named_by_stack,
        "R": _new,
        "\x81": _new,
        "\x92": _new_with_keywords,
        "o": _object,
        "i": _instance,
        "b": _Machine.build,
        "Q": _Machine.persistent_id,
        "P": _text_id,
        "\x82": _registered,
        "\x83": _registered,
        "\x84": _registered,
        "\x97": _outside,
        "\x98": _outside,
        # the frame
        "\x80": _protocol,
        "\x95": _frame,
        ".": _stop,
    }.items()
}
