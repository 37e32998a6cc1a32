"""The opcodes of pickles, and what each does to the `Machine`."""

from collections.abc import Callable

from .machine import MAX_NUMBER, Fault, Machine, plain_keys, printable


def _value(make: Callable[[], object]) -> Callable[[Machine], None]:
    return lambda machine: machine.push(make())


def _number(form: str) -> Callable[[Machine], None]:
    return lambda machine: machine.push(machine.number(form))


def _bytes(form: str) -> Callable[[Machine], None]:
    return lambda machine: machine.push(machine.take(machine.number(form)))


def _text(form: str, encoding: str = "utf-8") -> Callable[[Machine], None]:
    def run(machine: Machine) -> None:
        machine.push(machine.text(machine.take(machine.number(form)), encoding))

    return run


def _long(form: str) -> Callable[[Machine], None]:
    def run(machine: Machine) -> None:
        count = machine.number(form)
        if count > MAX_NUMBER:
            raise Fault(f"is damaged: an integer of {count} bytes at {machine.position}")
        machine.push(int.from_bytes(machine.take(count), "little", signed=True))

    return run


def _tuple(count: int) -> Callable[[Machine], None]:
    def run(machine: Machine) -> None:
        items = [machine.pop() for _ in range(count)]
        machine.push(tuple(reversed(items)))

    return run


def _decimal(kind: type) -> Callable[[Machine], int | float]:
    def parse(machine: Machine) -> int | float:
        line = machine.line(MAX_NUMBER)
        try:
            return kind(line.removesuffix(b"L") if kind is int else line)
        except ValueError:
            raise Fault(f"is damaged: {printable(line)} is no number") from None

    return parse


_integer, _real = _decimal(int), _decimal(float)


def _protocol(machine: Machine) -> None:
    protocol = machine.number("<B")
    if protocol > 5:
        raise Fault(f"is damaged or newer than this program: a pickle of protocol {protocol}")


def _frame(machine: Machine) -> None:
    size = machine.number("<Q")
    machine.take(size)
    machine.position -= size


def _small_integer(machine: Machine) -> None:
    if bytes(machine.data[machine.position : machine.position + 3]) in (b"00\n", b"01\n"):
        machine.push(machine.line() == b"01")
    else:
        machine.push(_integer(machine))


def _quoted(machine: Machine) -> None:
    line = machine.line()
    if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in (b"'", b'"') or b"\\" in line:
        raise Fault(f"is damaged: {printable(line)} is no quoted text")
    machine.push(machine.text(line[1:-1], "latin-1"))


def _new(machine: Machine) -> None:
    arguments, function = machine.pop(), machine.pop()
    machine.call(function, arguments)


def _new_with_keywords(machine: Machine) -> None:
    keywords = machine.pop()
    if type(keywords) is not dict or keywords:
        raise Fault("asks to make an object with keyword arguments; refused")
    _new(machine)


def _object(machine: Machine) -> None:
    function, *arguments = machine.pop_mark() or [None]
    machine.call(function, tuple(arguments))


def _instance(machine: Machine) -> None:
    function = _named(machine)
    machine.call(function, tuple(machine.pop_mark()))


def _named(machine: Machine) -> object:
    module = machine.text(machine.line())
    return machine.name(module, machine.text(machine.line()))


def _named_by_stack(machine: Machine) -> None:
    name, module = machine.pop(), machine.pop()
    machine.push(machine.name(module, name))


def _marked_dict(machine: Machine) -> None:
    items = machine.pop_mark()
    machine.push({})
    machine.update(items)


def _pop(machine: Machine) -> None:
    # POP also removes a mark.
    machine.pop() if machine.stack or not machine.outer else machine.pop_mark()


def _stop(machine: Machine) -> None:
    machine.stopped = True


def _registered(machine: Machine) -> None:
    raise Fault("asks for an object of Python's extension registry (copyreg); refused")


def _outside(machine: Machine) -> None:
    raise Fault("has its data in another file (out-of-band buffers), so the network is incomplete")


def _text_id(machine: Machine) -> None:
    raise Fault(f"asks for a persistent object {printable(machine.text(machine.line()))}; refused")


OPCODES: dict[int, Callable[[Machine], None]] = {
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
        # Strings of Python 2 are texts or the bytes of an array: this encoding keeps all bytes.
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
        "(": Machine.mark,
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
        "b": Machine.build,
        "Q": Machine.persistent_id,
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
