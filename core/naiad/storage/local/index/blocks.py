"""Blocks: some columns in one piece of bytes that can be checked.

Nothing of a block is believed before its CRC has been compared. Every number is little-endian.

    offset  type   header, 8 bytes; their meaning stays the same in every later version
         0  u8     kind: "P" points, "K" pack, "T" texts, "Y" pyramid
         1  u8     version of the format, now 1
         2  u8     number of columns
         3  u8     0
         4  u32    CRC-32 (zlib's) of bytes 0 to 3 followed by bytes 8 to the end of the block

The descriptors of the columns follow at offset 8, 28 bytes each, then the stored bytes of the columns in the
same order. There are no gaps, and the last stored byte is the last of the block. `columns` describes both.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence

from naiad.errors import NewerFormat
from naiad.storage.local.index.columns import DESCRIPTOR, WIDTHS, ChunkDamaged, Column
from naiad.storage.local.index.compression import Buffer

VERSION = 1
HEADER = struct.Struct("<BBBBI")


def join_block(kind: bytes, columns: Sequence[Column]) -> bytes:
    """Return the bytes of a block. The kind is one letter."""
    parts: list[Buffer] = [DESCRIPTOR.pack(*column[:8]) for column in columns]
    parts += [column.stored for column in columns]
    body = b"".join(parts)
    start = bytes([kind[0], VERSION, len(columns), 0])
    return start + zlib.crc32(body, zlib.crc32(start)).to_bytes(4, "little") + body


def split_block(data: Buffer, kind: bytes, modes: Sequence[tuple[int, ...]]) -> list[Column]:
    """Check a block of that kind, with the modes each column may have; return its columns, still packed.

    Raises:
        ChunkDamaged: the bytes are not those that were written, or are a block of another kind.
        NewerFormat: a later release wrote the block.
    """
    view = memoryview(data)
    if len(view) < HEADER.size:
        raise ChunkDamaged(f"A block of {len(view)} bytes is too short to have a header.", what="length")
    found, version, columns, _, crc = HEADER.unpack_from(view)
    if crc != zlib.crc32(view[HEADER.size :], zlib.crc32(view[:4])):
        raise ChunkDamaged(f"The CRC of a block of {len(view)} bytes does not match them.", what="crc")
    if version > VERSION:
        raise NewerFormat(f"A block has format {version}, and this naiad reads up to {VERSION}. Install a later one.")
    if (found, version, columns) != (kind[0], VERSION, len(modes)):
        raise ChunkDamaged(f"A block of kind {bytes([found])!r} is where {kind!r} should be.", what="kind")
    return list(_columns(view, modes))


def _columns(view: memoryview, modes: Sequence[tuple[int, ...]]) -> Iterator[Column]:
    at = HEADER.size + len(modes) * DESCRIPTOR.size
    if len(view) < at:
        raise ChunkDamaged(f"A block of {len(view)} bytes is too short for {len(modes)} columns.", what="length")
    for number, allowed in enumerate(modes):
        mode, compressor, width, flags, items, length, first, reference = DESCRIPTOR.unpack_from(
            view, HEADER.size + number * DESCRIPTOR.size
        )
        if mode not in allowed or width not in WIDTHS[mode]:
            raise ChunkDamaged(f"Column {number} has mode {mode} and width {width}.", what="column")
        stored = view[at : at + length]
        yield Column(mode, compressor, width, flags, items, length, first, reference, stored)
        at += length
    if at != len(view):
        raise ChunkDamaged(f"A block of {len(view)} bytes has columns up to {at}.", what="length")
