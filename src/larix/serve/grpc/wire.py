"""Messages cut open where tensors lie in them, so that these are not copied. Knows protobuf's encoding, and no message.

A message is fields one after the other, each a key (its number and how it is encoded) and a value; numbers are in groups of
7 bits, the lowest first, https://protobuf.dev/programming-guides/encoding.
"""

from collections.abc import Iterable

from larix.errors import DataError

Buffer = bytes | memoryview
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
MOST = 1 << 14
"""Fields of a message: many more than it has tensors; megabytes of tiny ones would keep everybody else waiting for seconds."""


def split(data: bytes, number: int) -> tuple[Buffer, list[memoryview]]:
    """The values of the repeated bytes field ``number``, in place and in order, and the message without them.

    DataError if ``data`` is no message, or one of more than ``MOST`` fields.
    """
    view = memoryview(data)
    wanted = number << 3 | _BYTES
    rest: list[memoryview] = []
    found: list[memoryview] = []
    at = kept = 0
    end = len(data)
    try:
        for _ in range(MOST):
            if at == end:
                break
            start = at
            key, at = (data[at], at + 1) if data[at] < 128 else _number(data, at)
            kind = key & 7
            if kind == _BYTES:
                size, at = (data[at], at + 1) if data[at] < 128 else _number(data, at)
                at += size
            elif kind == _VARINT:
                _, at = _number(data, at)
            elif kind in (_FIXED32, _FIXED64):
                at += 4 if kind == _FIXED32 else 8
            else:
                raise DataError(f"the message has a field of an unknown encoding, {kind}, at byte {start}")
            if at > end:
                raise DataError(f"the message ends {at - end} bytes before its field at byte {start} does")
            if key == wanted:
                found.append(view[at - size : at])
                if kept < start:
                    rest.append(view[kept:start])
                kept = at
    except IndexError as error:
        raise DataError("the message is cut off") from error
    if at < end:
        raise DataError(
            f"the message has more than {MOST} fields; send tensors as raw_input_contents, one each"
        )
    if not found:
        return data, found
    if kept < end:
        rest.append(view[kept:])
    return rest[0] if len(rest) == 1 else b"".join(rest), found


def joined(message: bytes, number: int, values: Iterable[Buffer]) -> bytes:
    """``message`` with ``values`` of the repeated bytes field ``number`` behind it, which copies them once."""
    key = _encoded(number << 3 | _BYTES)
    parts: list[Buffer] = [message]
    for value in values:
        parts += (key, _encoded(memoryview(value).nbytes), value)
    return b"".join(parts)


def _number(data: bytes, at: int) -> tuple[int, int]:
    """A number of up to 64 bits, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise DataError(f"the message has a number of more than 64 bits before byte {at}")


def _encoded(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    found.append(value)
    return bytes(found)
