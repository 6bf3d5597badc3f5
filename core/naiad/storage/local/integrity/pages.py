"""Pages: the rows of a SQLite file whose trees are broken, read from its leaf pages one by one.

Only the parts of https://www.sqlite.org/fileformat2.html on table leaves, overflow pages and the list of free pages are
needed. No row is used before its own crc has been compared.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

Row = tuple[int, list[Any]]
"""The key and the columns of a row, as the types that SQLite gave them."""

LEAF = 0x0D
WIDTHS = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}
FIRST_TEXT = 12


class _Broken(ValueError):
    """These bytes are no row."""


def free_pages(data: bytes) -> set[int] | None:
    """The pages that are in use no more and may hold rows of long ago; None when their list is broken."""
    size = _page_size(data)
    if size is None:
        return None
    trunk, count = struct.unpack_from(">II", data, 32)
    found: set[int] = set()
    # A damaged list may lead in a circle or beyond the file.
    while trunk and trunk not in found and trunk * size <= len(data):
        at = (trunk - 1) * size
        found.add(trunk)
        trunk, leaves = struct.unpack_from(">II", data, at)
        found.update(struct.unpack_from(f">{min(leaves, size // 4 - 2)}I", data, at + 8))
    return found if len(found) == count else None


def leaf_rows(data: bytes, without: set[int]) -> Iterator[Row]:
    """Yield every row of every readable leaf of a table, except on the given pages."""
    size = _page_size(data)
    if size is None:
        return
    pages = _Pages(data, size, size - data[20])
    for number in range(1, len(data) // size + 1):
        if number not in without:
            yield from pages.rows(number)


def _page_size(data: bytes) -> int | None:
    if len(data) < 512 or data[:16] != b"SQLite format 3\0":
        return None
    size = int.from_bytes(data[16:18], "big")
    size = 65536 if size == 1 else size
    return size if size >= 512 and size & (size - 1) == 0 and data[20] < 64 else None


class _Pages:
    """The pages of a file; `usable` bytes of each hold data of SQLite."""

    def __init__(self, data: bytes, size: int, usable: int) -> None:
        self._data = data
        self._size = size
        self._usable = usable

    def rows(self, number: int) -> Iterator[Row]:
        start = (number - 1) * self._size
        at = start + (100 if number == 1 else 0)  # the first page begins with the header of the file
        if self._data[at] != LEAF:
            return
        # Damaged numbers are limited by what a page can hold, before anything is read by them.
        count = min(int.from_bytes(self._data[at + 3 : at + 5], "big"), self._usable // 4)
        for (offset,) in struct.iter_unpack(">H", self._data[at + 8 : at + 8 + 2 * count]):
            try:
                yield self._row(start + offset, start + self._usable)
            except (_Broken, IndexError, struct.error):
                continue

    def _row(self, at: int, end: int) -> Row:
        length, at = _varint(self._data, at)
        key, at = _varint(self._data, at)
        if length > len(self._data) or at >= end:
            raise _Broken
        return key - (1 << 64 if key >> 63 else 0), _columns(self._payload(at, end, length))

    def _payload(self, at: int, end: int, length: int) -> bytes:
        """The payload of a cell: all of it on its page, or its beginning there and the rest on overflow pages."""
        usable = self._usable
        if length <= usable - 35:
            return self._data[at : at + length]
        least = (usable - 12) * 32 // 255 - 23
        # Section 1.6 of the format: so much of a long payload lies on the page itself that its last overflow page is
        # full.
        local = least + (length - least) % (usable - 4)
        local = local if local <= usable - 35 else least
        if at + local + 4 > end:
            raise _Broken
        parts, left = [self._data[at : at + local]], length - local
        (page,) = struct.unpack_from(">I", self._data, at + local)
        while left > 0:
            if not 0 < page <= len(self._data) // self._size:
                raise _Broken
            start = (page - 1) * self._size
            (page,) = struct.unpack_from(">I", self._data, start)
            parts.append(self._data[start + 4 : start + 4 + min(left, usable - 4)])
            left -= usable - 4
        return b"".join(parts)


def _columns(payload: bytes) -> list[Any]:
    size, at = _varint(payload, 0)
    body, found = size, []
    while at < size:
        kind, at = _varint(payload, at)
        length = WIDTHS.get(kind, 8 if kind == 7 else (kind - FIRST_TEXT) // 2 if kind >= FIRST_TEXT else 0)
        if body + length > len(payload):
            raise _Broken
        found.append(_value(kind, payload[body : body + length]))
        body += length
    return found


def _value(kind: int, raw: bytes) -> Any:
    if kind >= FIRST_TEXT:
        return raw.decode("utf-8", "surrogateescape") if kind & 1 else raw
    if kind == 7:
        return struct.unpack(">d", raw)[0]
    if kind in (8, 9):
        return kind - 8
    return int.from_bytes(raw, "big", signed=True) if kind else None


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number of 1 to 9 bytes and the offset after it."""
    value = 0
    for i in range(8):
        byte = data[at + i]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + i + 1
    return value << 8 | data[at + 8], at + 9
