"""The records of an uncompressed zip file, as torch.save writes it.

They are views of the file: nothing is copied, and no record can be larger than the file.
"""

import struct

from .pickles import Fault, printable

END, END64, LOCATOR64, ENTRY, LOCAL = b"PK\5\6", b"PK\6\6", b"PK\6\7", b"PK\1\2", b"PK\3\4"
LONGEST_COMMENT = 2**16
MOST_RECORDS = 100_000
ENCRYPTED = 1
IN_EXTRA = 2**32 - 1
"""In place of a size or offset of 8 bytes, which is in the extra field."""


def records(data: memoryview) -> dict[str, memoryview]:
    """name -> bytes. Raises Fault for compressed, encrypted, duplicate or missing records."""
    count, position = _directory(data)
    if count > MOST_RECORDS:
        raise Fault(f"is no network: a zip file of {count:,} records")
    contents = {}
    for _ in range(count):
        name, content, position = _entry(data, position)
        if name in contents:
            raise Fault(f"is damaged or made to deceive: two records are named {printable(name)}")
        contents[name] = content
    return contents


def _directory(data: memoryview) -> tuple[int, int]:
    """(records, position of the first one's entry), from the end of the file."""
    tail = bytes(data[-LONGEST_COMMENT - 22 :])
    end = tail.rfind(END)
    if end < 0 or len(tail) < end + 22:
        raise Fault(
            f"is cut short: a zip file whose end is missing after {len(data):,} bytes; "
            "download it again"
        )
    end += len(data) - len(tail)
    count, _, position = _unpack(data, end + 10, "<HII")
    if end >= 20 and bytes(data[end - 20 : end - 16]) == LOCATOR64:
        (position,) = _unpack(data, end - 12, "<Q")
        _expect(data, position, END64)
        count, _, position = _unpack(data, position + 32, "<QQQ")
    return count, position


def _entry(data: memoryview, position: int) -> tuple[str, memoryview, int]:
    """(name, content, position of the next entry) of an entry of the directory."""
    _expect(data, position, ENTRY)
    flags, method = _unpack(data, position + 8, "<HH")
    packed, size, *lengths = _unpack(data, position + 20, "<IIHHH")
    (local,) = _unpack(data, position + 42, "<I")
    begin = position + 46
    name = _slice(data, begin, lengths[0])
    extra = _slice(data, begin + lengths[0], lengths[1])
    try:
        name = str(name, "utf-8")
    except UnicodeDecodeError:
        raise Fault("is damaged: the name of a record in a zip file") from None
    if method or flags & ENCRYPTED or packed != size:
        how = "encrypted" if flags & ENCRYPTED else "compressed"
        raise Fault(
            f"is a zip file whose record {printable(name)} is {how}, unlike those of torch.save: "
            "unpack the file, and pass the network that is in it"
        )
    if IN_EXTRA in (size, local):
        size, local = _large(extra, size, packed, local)
    _expect(data, local, LOCAL)
    _check_local(data, local, name, flags)
    content = local + 30 + sum(_unpack(data, local + 26, "<HH"))
    return name, _slice(data, content, size), begin + sum(lengths)


def _check_local(data: memoryview, local: int, name: str, flags: int) -> None:
    """Fault if the header before a record says something else than the directory.

    Another program would read another file then.
    """
    local_flags, method = _unpack(data, local + 6, "<HH")
    length, _ = _unpack(data, local + 26, "<HH")
    if bytes(_slice(data, local + 30, length)) != name.encode():
        raise Fault(f"is damaged or made to deceive: two names for a record, {printable(name)}")
    if method or (flags ^ local_flags) & ENCRYPTED:
        raise Fault(
            f"is damaged or made to deceive: its record {printable(name)} is said to be stored in "
            "two ways"
        )


def _large(extra: memoryview, size: int, packed: int, local: int) -> tuple[int, int]:
    """(size, local), read from the extra field if they do not fit into 4 bytes."""
    position = 0
    while position < len(extra):
        kind, length = _unpack(extra, position, "<HH")
        if kind == 1:
            field = _slice(extra, position + 4, length)
            is_large = [x == IN_EXTRA for x in (size, packed, local)]
            numbers = iter(_unpack(field, 0, f"<{sum(is_large)}Q"))
            size, packed, local = (
                next(numbers) if large else x
                for x, large in zip((size, packed, local), is_large, strict=True)
            )
            if size != packed:
                raise Fault("is a zip file with a compressed record, which torch.save never writes")
            return size, local
        position += 4 + length
    raise Fault("is damaged: a record of a zip file without its size")


def _expect(data: memoryview, position: int, sign: bytes) -> None:
    if bytes(_slice(data, position, len(sign))) != sign:
        raise Fault(
            f"is damaged: a zip file without {sign!r} at byte {position}; download it again"
        )


def _unpack(data: memoryview, position: int, form: str) -> tuple[int, ...]:
    return struct.unpack(form, _slice(data, position, struct.calcsize(form)))


def _slice(data: memoryview, position: int, size: int) -> memoryview:
    if position + size > len(data):
        raise Fault(
            f"is cut short or damaged: bytes {position} to {position + size} of a zip file with "
            f"{len(data)} bytes; download it again"
        )
    return data[position : position + size]
