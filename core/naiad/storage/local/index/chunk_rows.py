"""The rows of chunks, and the crc and the types of any row.

Reading points needs no more of the rows: importing `rows`, with SQLite, takes 5 ms, and most short runs have no index.
"""

from __future__ import annotations

import zlib
from typing import Any, NamedTuple

FIELD_SHIFT = 24
"""A chunk's key is its field's id shifted by this, plus its number: the chunks of a series lie together."""
EVERY_CHUNK = range(1 << FIELD_SHIFT)
"""The numbers that the chunks of a field may have."""

Types = tuple[type | tuple[type, ...], ...]
CHUNK_TYPES: Types = (int, int, int, (bytes, type(None)), bytes)


class ChunkRow(NamedTuple):
    """The row of a chunk."""

    key: int
    count: int  # type: ignore[assignment]  # the method of tuples is not used
    crc: int
    pyramid: bytes | None
    data: bytes


def is_whole_chunk(row: Any) -> bool:
    """Whether a row of the chunks is as it was written."""
    return is_typed(row, CHUNK_TYPES) and row.crc == chunk_crc(row.key, row.count, row.pyramid, row.data)


def chunk_key(field_id: int, number: int) -> int:
    """The primary key of chunk `number` of a field."""
    return field_id << FIELD_SHIFT | number


def chunk_crc(key: int, count: int, pyramid: bytes | None, data: bytes) -> int:
    """Return the crc column of a chunk row."""
    return row_crc(key, count, pyramid or b"", data)


def is_typed(row: Any, types: Types) -> bool:
    """Whether a row has these types."""
    # SQLite keeps a type with each value, so damage can turn bytes into a text with the same crc.
    return all(map(isinstance, row, types))


def row_crc(*columns: int | str | bytes) -> int:
    """Crc32 over the columns: integers as decimal text, each column closed by a zero byte, bytes as they are."""
    crc = 0
    for column in columns:
        data = column if isinstance(column, bytes) else str(column).encode("utf-8", "surrogatepass")
        crc = zlib.crc32(b"\0", zlib.crc32(data, crc))
    return crc
