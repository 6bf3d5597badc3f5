"""Blocks and their columns: arrays as bytes, as small as they go without losing a bit.

A block is some columns in one piece of bytes that can be checked.

Nothing of a block is used before its CRC has been compared. Every number on disk is little-endian.

    offset  type   header, 8 bytes; their meaning stays the same in every later version
         0  u8     kind: "P" points, "K" pack, "T" texts, "Y" pyramid
         1  u8     version of the format, now 1
         2  u8     number of columns
         3  u8     0
         4  u32    CRC-32 (zlib's) of bytes 0 to 3 followed by bytes 8 to the end of the block

The descriptors of the columns follow at offset 8, 28 bytes each, then the stored bytes of the columns in the
same order. There are no gaps, and the last stored byte is the last of the block.
A column is decoded on its own. Its descriptor and its stored bytes:

    offset  type   descriptor, 28 bytes
         0  u8     mode: 1 integers, 2 floats, 3 bytes
         1  u8     compressor: 0 none, 1 zstd (a frame), 2 zlib (a stream)
         2  u8     width: number of planes
         3  u8     flags: bit 0 is set where some integer lies beyond +-2**53
         4  u32    items
         8  u32    length of the stored bytes
        12  i64    first
        20  i64    reference

The stored bytes keep n elements of `width` bytes each as planes of n bytes: plane 0 has the lowest byte of
each element, plane 1 the next, and so on. Without a compressor the planes follow one another. With one, the
length of each plane as stored comes first (`width` times u32), then the planes; a plane of n bytes is stored
as it is, a shorter one is compressed. The mode decides the type of the elements:

    integers   Items are i64. n = items - 1 (0 where items is 0) unsigned residuals; width is 0, 1, 2, 4 or 8.
               item[0] = first, item[k] = item[k - 1] + reference + residual[k - 1], all modulo 2**64.
               Width 0 stores nothing and its residuals are 0: an even stride, or a constant.
    floats     Items are f64. n = items; width 8: the items, width 4: IEEE singles, each equal to its double,
               width 0: nothing is stored and every item has the bits of `first`.
    bytes      n = items bytes, width 1.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from naiad.compression import STORED, Buffer, CompressionError, compress, decompress
from naiad.errors import DamagedData, NewerFormat
from naiad.integers import EXACT

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Numbers = Integers | Floats

INTEGERS, FLOATS, BYTES = 1, 2, 3
"""The modes a column may have."""
WIDTHS = {INTEGERS: (0, 1, 2, 4, 8), FLOATS: (0, 4, 8), BYTES: (1,)}
"""The widths that each mode may have."""
POINTS_LIMIT = 65_536
"""Points that one chunk may hold: few enough for a processor's cache, enough to make calls cheap."""
MOST_ITEMS = {b"P": POINTS_LIMIT, b"T": POINTS_LIMIT + 1, b"Y": POINTS_LIMIT, b"K": 1 << 20}
"""Items that a column of each kind of block may have. A column of one repeated value takes no bytes for any number of
them, so a few bytes could ask for gigabytes."""
MOST_TEXT = 1 << 28
"""Bytes that one column of texts may have: a chunk is closed at 4 MiB, and its last text has up to 16 MiB."""
WIDE = 1
VERSION = 1
BLOCK_HEADER = struct.Struct("<BBBBI")

DESCRIPTOR = struct.Struct("<BBBBIIqq")
"""The fields of a Column without its stored bytes, in their order."""
BELOW_SINGLE = np.uint64(0x1FFF_FFFF)  # the bits of a double that a single has no room for
LEAST_NORMAL = 1 << 24  # the bits of the least normal single, shifted left by one


class ChunkDamaged(DamagedData):
    """The bytes of a block differ from those written. The reader adds the name of the file."""


class Column(NamedTuple):
    """One column of a block: its descriptor, and its stored bytes."""

    mode: int
    compressor: int
    width: int
    flags: int
    items: int
    length: int
    first: int
    reference: int
    stored: Buffer

    @property
    def is_integer(self) -> bool:
        """The items are integers, exact to 64 bit."""
        return self.mode == INTEGERS

    @property
    def is_wide(self) -> bool:
        """Some integer lies beyond +-2**53, where float64 has gaps."""
        return bool(self.flags & WIDE)


def encode_integers(values: npt.NDArray[Any], *, is_dense: bool = True) -> Column:
    """Keep integers as differences above the smallest difference, in as few bytes each as the largest needs.

    Nothing is compressed where `is_dense` is false, for columns that must be read quickly.
    """
    if not len(values):
        return _column(INTEGERS, [])
    values = values.astype(np.int64, casting="safe", copy=False)
    first, low, high = int(values[0]), 0, 0
    deltas = values[1:] - values[:-1]  # differences beyond 64 bit wrap, and wrap back when they are summed
    if len(deltas):
        low, high = int(deltas.min()), int(deltas.max())
        deltas -= low
    # An upper bound from what is known already; the items themselves are looked at only where it passes the limit.
    reach = abs(first) + len(deltas) * max(abs(low), abs(high))
    flags = WIDE if reach > EXACT and _is_wide(values) else 0
    planes = _shuffle(deltas, _width(high - low))
    return _column(INTEGERS, planes, len(values), first, low, flags=flags, is_dense=is_dense)


def encode_steps(steps: npt.NDArray[Any], *, is_dense: bool = True) -> Column:
    """Keep steps as integers, or as floats where their array is one of floats."""
    encode = encode_floats if steps.dtype.kind == "f" else encode_integers
    return encode(steps, is_dense=is_dense)


def encode_floats(values: npt.NDArray[Any], *, is_dense: bool = True) -> Column:
    """Keep doubles bit for bit: one where all are the same, singles where each survives that, else whole.

    Nothing is compressed where `is_dense` is false, for columns that must be read quickly.
    """
    if not len(values):
        return _column(FLOATS, [])
    values = np.ascontiguousarray(values.astype(np.float64, casting="safe", copy=False))
    # Compared as bits: NaN differs from itself, and -0.0 equals 0.0, and both have to come back as they were.
    bits = values.view(np.int64)
    if bits[0] == bits[-1] and (bits == bits[0]).all():
        return _column(FLOATS, [], len(values), int(bits[0]))
    singles = _as_singles(values)
    planes = _shuffle(values, 8) if singles is None else _shuffle(singles, 4)
    return _column(FLOATS, planes, len(values), is_dense=is_dense)


def encode_bytes(raw: bytes) -> Column:
    """Keep bytes as they are."""
    return _column(BYTES, [raw], len(raw))


def decode_numbers(column: Column, out: Numbers) -> None:
    """Fill `out`, int64 or float64, with the items of a column; float64 takes the nearest doubles.

    Raises:
        ValueError: an array of another type, or int64 for floats.
    """
    if out.dtype != np.float64 and not (column.is_integer and out.dtype == np.int64):
        name = "integers" if column.is_integer else "floats"
        raise ValueError(f"A column of {name} cannot be decoded into an array of {out.dtype}.")
    if column.is_integer:
        _decode_integers(column, out)
    elif column.width:
        out[...] = _unshuffle(column, column.items, f"<f{column.width}")
    else:
        out.view(np.int64)[...] = column.first


def read_integers(column: Column) -> Integers:
    """Return the integers of a column in a new array."""
    out = np.empty(column.items, np.int64)
    decode_numbers(column, out)
    return out


def read_floats(column: Column) -> Floats:
    """Return the numbers of a column in a new array of float64."""
    out = np.empty(column.items, np.float64)
    decode_numbers(column, out)
    return out


def read_numbers(column: Column) -> Numbers:
    """Return the numbers of a column in a new array of int64 or float64, whichever was encoded."""
    return read_integers(column) if column.is_integer else read_floats(column)


def require_equal_items(*columns: Column) -> None:
    """Raise if columns of one block have different numbers of items."""
    items = {column.items for column in columns}
    if len(items) > 1:
        raise ChunkDamaged(f"The columns of a block have {sorted(items)} items each.", what="items")


def read_bounds(column: Column, pieces: int, total: int) -> Integers:
    """Return where each of some pieces begins among `total` items; the last bound is the end of the last piece."""
    bounds = read_integers(column)
    if len(bounds) != pieces + 1 or bounds[0] != 0 or bounds[-1] != total or bool((bounds[1:] < bounds[:-1]).any()):
        raise ChunkDamaged(f"{len(bounds)} bounds do not divide {total} items into {pieces} pieces.", what="bounds")
    return bounds


def decode_bytes(column: Column) -> bytes:
    """Return the bytes of a column."""
    return b"".join(_planes(column, column.items))


def _column(
    mode: int,
    planes: list[bytes],
    items: int = 0,
    first: int = 0,
    reference: int = 0,
    *,
    flags: int = 0,
    is_dense: bool = True,
) -> Column:
    compressor, parts = STORED, planes
    if is_dense and planes:
        packed = [compress(plane) for plane in planes]
        # One compressor for the column; a plane that does not shrink is stored, and shows it by its full length.
        compressor = max(number for number, _ in packed)
        if compressor != STORED:
            parts = [struct.pack(f"<{len(packed)}I", *(len(part) for _, part in packed))]
            parts += [part for _, part in packed]
    stored = b"".join(parts)
    return Column(mode, compressor, len(planes), flags, items, len(stored), first, reference, stored)


def _width(span: int) -> int:
    if span == 0:
        return 0
    return 1 if span < 1 << 8 else 2 if span < 1 << 16 else 4 if span < 1 << 32 else 8


def _is_wide(values: Integers) -> bool:
    return int(values.max()) > EXACT or int(values.min()) < -EXACT


def _as_singles(values: Floats) -> npt.NDArray[np.float32] | None:
    """Return the values as singles where each comes back bit for bit, else None.

    Subnormal singles count as lost: a thread that takes them for zero (torch.set_flush_denormal) reads zeros.
    """
    bits = values.view(np.uint64)
    # One pass over the bits settles most columns of true doubles, before the two conversions below.
    if np.bitwise_or.reduce(bits) & BELOW_SINGLE:
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        singles = values.astype(np.float32)
        if not (singles.astype(np.float64).view(np.uint64) == bits).all():
            return None
    magnitudes = singles.view(np.uint32) << np.uint32(1)  # without the sign
    magnitudes -= np.uint32(1)  # zeros become the largest, so that only subnormals stay below the limit
    return None if magnitudes.min() < LEAST_NORMAL - 1 else singles


def _shuffle(elements: npt.NDArray[Any], width: int) -> list[bytes]:
    little = elements.astype(elements.dtype.newbyteorder("<"), copy=False)
    octets = little.view(np.uint8).reshape(len(elements), elements.itemsize)
    return [octets[:, number].tobytes() for number in range(width)]


def _unshuffle(column: Column, count: int, dtype: str) -> npt.NDArray[Any]:
    if column.compressor == STORED and column.length == count * column.width:
        planes = np.frombuffer(column.stored, np.uint8).reshape(column.width, count)
        return np.frombuffer(planes.T.tobytes(), dtype)
    if column.width == 1:
        [plane] = _planes(column, count)
        return np.frombuffer(plane, dtype)
    octets = np.empty((count, column.width), np.uint8)
    for number, plane in enumerate(_planes(column, count)):
        octets[:, number] = np.frombuffer(plane, np.uint8)
    return octets.reshape(-1).view(dtype)


def _planes(column: Column, count: int) -> Iterator[Buffer]:
    """Give the planes of a column, `count` bytes each, unpacked."""
    lengths, at = (count,) * column.width, 0
    if column.compressor != STORED:
        at = 4 * column.width
        lengths = struct.unpack(f"<{column.width}I", bytes(column.stored[:at]).ljust(at, b"\0"))
    if at + sum(lengths) != column.length:
        raise ChunkDamaged(f"Planes of {lengths} bytes are not a column of {column.length}.", what="column")
    for length in lengths:
        plane = column.stored[at : at + length]
        at += length
        try:
            yield plane if length == count else decompress(column.compressor, plane, count)
        except CompressionError as error:
            raise ChunkDamaged(f"A column cannot be unpacked: {error}.", what="column") from error


def _decode_integers(column: Column, out: Numbers) -> None:
    if not column.items:
        return
    sums = out if out.dtype == np.int64 else np.empty(column.items, np.int64)
    if column.width:
        # Residuals of 8 bytes may be taken as signed: sums are modulo 2**64.
        dtype = "<i8" if column.width == 8 else f"<u{column.width}"
        sums[0] = column.first
        np.add(_unshuffle(column, column.items - 1, dtype), column.reference, out=sums[1:], dtype=np.int64)
        np.add.accumulate(sums, out=sums)
    else:
        np.multiply(np.arange(column.items), np.int64(column.reference), out=sums)
        sums += np.int64(column.first)
    if sums is not out:
        out[...] = sums


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
    if len(view) < BLOCK_HEADER.size:
        raise ChunkDamaged(f"A block of {len(view)} bytes is too short to have a header.", what="length")
    found, version, columns, _, crc = BLOCK_HEADER.unpack_from(view)
    # The checksum before anything else: the version and kind of damaged bytes mean nothing.
    if crc != zlib.crc32(view[BLOCK_HEADER.size :], zlib.crc32(view[:4])):
        raise ChunkDamaged(f"The CRC of a block of {len(view)} bytes does not match them.", what="crc")
    if version > VERSION:
        raise NewerFormat(
            f"A block has format {version}, and this release of naiad reads up to {VERSION}. Install a later release."
        )
    if (found, version, columns) != (kind[0], VERSION, len(modes)):
        raise ChunkDamaged(f"A block of kind {bytes([found])!r} is where {kind!r} should be.", what="kind")
    return list(_columns(view, modes, MOST_ITEMS[kind]))


def _columns(view: memoryview, modes: Sequence[tuple[int, ...]], most: int) -> Iterator[Column]:
    at = BLOCK_HEADER.size + len(modes) * DESCRIPTOR.size
    if len(view) < at:
        raise ChunkDamaged(f"A block of {len(view)} bytes is too short for {len(modes)} columns.", what="length")
    for number, allowed in enumerate(modes):
        mode, compressor, width, flags, items, length, first, reference = DESCRIPTOR.unpack_from(
            view, BLOCK_HEADER.size + number * DESCRIPTOR.size
        )
        if mode not in allowed or width not in WIDTHS[mode]:
            raise ChunkDamaged(f"Column {number} has mode {mode} and width {width}.", what="column")
        if items > (MOST_TEXT if mode == BYTES else most):
            raise ChunkDamaged(f"Column {number} has {items} items, more than any that is written.", what="items")
        stored = view[at : at + length]
        yield Column(mode, compressor, width, flags, items, length, first, reference, stored)
        at += length
    # Bytes behind the last column are covered by the checksum, so a release that writes them has another version.
    if at != len(view):
        raise ChunkDamaged(f"A block of {len(view)} bytes has columns up to {at}.", what="length")
