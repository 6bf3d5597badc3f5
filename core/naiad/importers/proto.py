"""Protocol buffers without their library: the fields of a message by number. TensorBoard and W&B write such files."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, Final

import numpy as np

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
DEEPEST: Final = 64


def fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """Yield number and content of each field: an int, or bytes of a text, a message or a fixed number.

    Raises:
        ValueError: it is no message.
    """
    # A wrong length would read on into the next field, so that each is compared with the end of its message.
    place, end = 0, len(data)
    while place < end:
        key, place = _varint(data, place)
        wire = key & 7
        if wire == VARINT:
            value, place = _varint(data, place)
            yield key >> 3, value
            continue
        size = {FIXED64: 8, FIXED32: 4}.get(wire)
        if size is None:
            if wire != BYTES:
                raise ValueError(f"a field has the unknown form {wire}")
            size, place = _varint(data, place)
        if place + size > end:
            raise ValueError("a field ends behind its message")
        yield key >> 3, data[place : place + size]
        place += size


def message(data: bytes) -> dict[int, list[Any]]:
    """Return the fields of a message by number."""
    found: dict[int, list[Any]] = {}
    for number, value in fields(data):
        found.setdefault(number, []).append(value)
    return found


def text(found: dict[int, list[Any]], number: int) -> str:
    """Return a text; empty if it is not there."""
    value = found.get(number, [b""])[-1]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else ""


def inner(found: dict[int, list[Any]], number: int) -> dict[int, list[Any]]:
    """Return the fields of a message within a message."""
    value = found.get(number, [b""])[-1]
    return message(value) if isinstance(value, bytes) else {}


def signed(value: object) -> int:
    """Return a varint as an int64."""
    number = value if isinstance(value, int) else 0
    return number - (1 << 64) if number >= 1 << 63 else number


def double(found: dict[int, list[Any]], number: int) -> float:
    """Return a float64; 0 if it is not there."""
    value = found.get(number, [b""])[-1]
    return float(struct.unpack("<d", value)[0]) if isinstance(value, bytes) and len(value) == 8 else 0.0


def packed(found: dict[int, list[Any]], number: int, form: str) -> list[float]:
    """Return repeated numbers of a format of `struct`, packed or not."""
    data = b"".join(each for each in found.get(number, []) if isinstance(each, bytes))
    size = struct.calcsize(f"<{form}")
    return list(struct.unpack(f"<{len(data) // size}{form}", data[: len(data) // size * size]))


_DTYPES = {1: "<f4", 2: "<f8", 3: "<i4", 4: "u1", 6: "i1", 9: "<i8", 10: "?", 19: "<f2"}


def tensor(data: bytes) -> Any:
    """Return a TensorProto as an array; of texts as a list of bytes.

    Raises:
        ValueError: it has another type.
    """
    found = message(data)
    kind = found.get(1, [0])[-1]
    # 7 is DT_STRING, whose values have a field of their own; all others lie in tensor_content or in one field a type.
    if kind == 7:
        return [each for each in found.get(8, []) if isinstance(each, bytes)]
    if kind not in _DTYPES:
        raise ValueError(f"a tensor has the unknown type {kind}")
    sizes = [signed(message(each).get(1, [0])[-1]) for each in inner(found, 2).get(2, [])]
    content = found.get(4, [b""])[-1]
    if content:
        array = np.frombuffer(content, _DTYPES[kind])
    elif kind == 1:
        array = np.array(packed(found, 5, "f"))
    elif kind == 2:
        array = np.array(packed(found, 6, "d"))
    else:
        array = np.array(_varints(found.get({3: 7, 9: 10, 10: 11, 19: 13}.get(kind, 7), [])))
        # Half floats are stored as the integers of their bits.
        array = array.astype(np.uint16).view(np.float16) if kind == 19 else array
    count = int(np.prod(sizes)) if sizes else 1
    # TensorFlow writes a constant tensor as one value. The limit keeps a few bytes from asking for gigabytes.
    if len(array) == 1 and count > 1 and count < 1 << 24:
        array = np.repeat(array, count)
    return array.reshape(sizes) if len(array) == count else array


def _varints(values: list[Any]) -> list[int]:
    found: list[int] = []
    for each in values:
        if isinstance(each, int):
            found.append(signed(each))
        else:
            place = 0
            while place < len(each):
                number, place = _varint(each, place)
                found.append(signed(number))
    return found


def _varint(data: bytes, place: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        if place >= len(data) or shift > 63:
            raise ValueError("a number ends behind its message")
        byte = data[place]
        place += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, place
        shift += 7
