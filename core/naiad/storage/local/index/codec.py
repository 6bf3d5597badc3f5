"""Series as bytes: chunks of points, packs of many short series, texts, and pyramids for charts.

Pure functions between numpy arrays and blocks. `blocks` and `columns` describe the bytes; these are the
columns that each kind of block has, in order:

    "P" points    steps    integers, or floats where some step is fractional
                  values   floats
                  times    integers, milliseconds since 1970 UTC
    "K" pack      ids      integers, ascending, one a series
                  starts   integers, one more than ids: series i has the points starts[i] .. starts[i + 1] - 1
                  steps, values, times     as in points, those of the first series first
    "T" texts     steps, times             as in points
                  starts   integers, one more than texts: text i is the bytes starts[i] .. starts[i + 1] - 1
                  blob     bytes of all texts
    "Y" pyramid   steps    as in points, of the first of each 256 points (the last item: of the rest)
                  minimum, maximum, total  floats, of the finite values among these points; minimum and
                           maximum are NaN where no value is finite
                  finite   integers, how many values are finite

The steps, values and times of a block have an item for each point or text, in order of arrival.
"""

from __future__ import annotations

from collections.abc import Sequence, Sized
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from msgspec import Struct

from naiad.compression import Buffer
from naiad.storage.local.index.columns import (
    BYTES,
    FLOATS,
    INTEGERS,
    POINTS_LIMIT,
    Column,
    Floats,
    Integers,
    Numbers,
    decode_bytes,
    decode_numbers,
    encode_bytes,
    encode_floats,
    encode_integers,
    encode_steps,
    join_block,
    read_bounds,
    read_floats,
    read_integers,
    read_numbers,
    require_equal_items,
    split_block,
)

STEP = (INTEGERS, FLOATS)
POINT_MODES = (STEP, (FLOATS,), (INTEGERS,))
PACK_MODES = ((INTEGERS,), (INTEGERS,), *POINT_MODES)
TEXT_MODES = (STEP, (INTEGERS,), (INTEGERS,), (BYTES,))


class PointsHeader(Struct, frozen=True):
    """The header of a chunk: the room its points need, and their types.

    Attributes:
        count: how many points there are.
        is_integer: the steps are integers, which an int64 array takes exactly.
        is_wide: some step is an integer beyond +-2**53, which a float64 array would round.
    """

    count: int
    is_integer: bool
    is_wide: bool


class PackedPoints(NamedTuple):
    """The columns of a chunk whose bytes have been checked, still packed."""

    steps: Column
    values: Column
    times: Column

    @property
    def header(self) -> PointsHeader:
        """The room its points need, and their types."""
        return PointsHeader(self.values.items, self.steps.is_integer, self.steps.is_wide)

    def unpack(self, steps_out: Numbers | None, values_out: Floats | None, times_out: Integers | None) -> None:
        """Fill the given arrays; see `decode_points`."""
        for column, out in zip(self, (steps_out, values_out, times_out), strict=True):
            if out is not None:
                _require_room(column, out)
                decode_numbers(column, out)


class Pack(NamedTuple):
    """Many short series: series `ids[i]` has the points from `starts[i]` to before `starts[i + 1]`."""

    ids: Integers
    starts: Integers
    steps: Numbers
    values: Floats
    times: Integers

    def slice_of(self, series: int) -> slice:
        """Return where the points of a series are; an empty slice where the pack has none of it."""
        # The ids ascend, which `encode_pack` has checked.
        at = int(np.searchsorted(self.ids, series))
        if at == len(self.ids) or self.ids[at] != series:
            return slice(0, 0)
        return slice(int(self.starts[at]), int(self.starts[at + 1]))


def encode_points(steps: Numbers, values: Floats, times: Integers) -> bytes:
    """Return a chunk of up to 65,536 points, which come back bit for bit.

    Steps of an integer type come back as int64, steps of a float type as float64.

    Raises:
        ValueError: too many points, or columns of different lengths.
        TypeError: steps that int64 or float64 cannot hold, times that are no integers.
    """
    # Readers refuse a block with more items, since they allocate by that number.
    if len(values) > POINTS_LIMIT:
        raise ValueError(f"A chunk holds {POINTS_LIMIT} points, and {len(values)} were given.")
    _require_equal_lengths(steps, values, times)
    return join_block(b"P", _point_columns(steps, values, times))


def read_header(data: Buffer) -> PointsHeader:
    """Check a chunk of points and return its header.

    Raises:
        ChunkDamaged: the bytes are not those that were written.
        NewerFormat: a later release wrote the chunk.
    """
    return split_points(data).header


def split_points(data: Buffer) -> PackedPoints:
    """Check a chunk of points and return its columns.

    Raises:
        ChunkDamaged: the bytes are not those that were written.
        NewerFormat: a later release wrote the chunk.
    """
    columns = split_block(data, b"P", POINT_MODES)
    require_equal_items(*columns)
    return PackedPoints(*columns)


def decode_points(
    data: Buffer, steps_out: Numbers | None, values_out: Floats | None, times_out: Integers | None
) -> None:
    """Fill the given arrays, each as long as the chunk has points; the column of a None is not decoded.

    Give slices of the arrays that hold the whole series, and nothing has to be joined afterwards. The array
    for steps may be float64, which takes the nearest doubles, or int64, which takes only integer steps.

    Raises:
        ChunkDamaged: the bytes are not those that were written.
        NewerFormat: a later release wrote the chunk.
        ValueError: an array has another length, or is int64 where steps are fractional.
    """
    split_points(data).unpack(steps_out, values_out, times_out)


def encode_pack(ids: Integers, steps: Numbers, values: Floats, times: Integers) -> bytes:
    """Return the points of many short series as one block. `ids` has the series of each point, ascending.

    To read one series is to decode all of them, so some 65,536 points are a good size. All steps of a pack
    are integers or all are floats: keep series with fractional steps in a pack of their own.

    Raises:
        ValueError: ids that descend, or columns of different lengths.
        TypeError: steps that int64 or float64 cannot hold, ids or times that are no integers.
    """
    _require_equal_lengths(ids, steps, values, times)
    if (ids[1:] < ids[:-1]).any():
        raise ValueError("The points of a pack are sorted by series, and an id is below the one before it.")
    is_start = np.ones(len(ids) + 1, np.bool_)  # the last one is the end of the last series
    np.not_equal(ids[1:], ids[:-1], out=is_start[1:-1])
    starts = np.flatnonzero(is_start)
    columns = [encode_integers(ids[starts[:-1]]), encode_integers(starts)]
    return join_block(b"K", columns + _point_columns(steps, values, times))


def decode_pack(data: Buffer) -> Pack:
    """Return all points of a pack, and where each series is in it.

    Raises:
        ChunkDamaged: the bytes are not those that were written.
        NewerFormat: a later release wrote the pack.
    """
    ids, starts, steps, values, times = split_block(data, b"K", PACK_MODES)
    require_equal_items(steps, values, times)
    series, bounds = read_integers(ids), read_bounds(starts, ids.items, values.items)
    return Pack(series, bounds, read_numbers(steps), read_floats(values), read_integers(times))


def encode_texts(steps: Numbers, times: Integers, texts: Sequence[bytes]) -> bytes:
    """Return a chunk of texts with their steps and times. All texts together have less than 4 GiB.

    Raises:
        ValueError: columns of different lengths, or too much text for one chunk.
        TypeError: steps that int64 or float64 cannot hold, times that are no integers.
    """
    _require_equal_lengths(steps, times, texts)
    # One more than texts, so that the end of the last needs no case of its own.
    starts = np.zeros(len(texts) + 1, np.int64)
    np.cumsum([len(text) for text in texts], out=starts[1:])
    if starts[-1] >= 2**32:
        raise ValueError(f"A chunk holds less than 4 GiB of text, and {starts[-1]} bytes were given.")
    return encode_joined_texts(steps, times, starts, b"".join(texts))


def encode_joined_texts(steps: Numbers, times: Integers, starts: Integers, texts: bytes) -> bytes:
    """Do the same for texts that lie one behind the other, each from its start to the start of the next."""
    columns = [encode_steps(steps), encode_integers(times), encode_integers(starts)]
    return join_block(b"T", [*columns, encode_bytes(texts)])


def decode_texts(data: Buffer) -> tuple[Numbers, Integers, list[bytes]]:
    """Return the steps, times and texts of a chunk.

    Raises:
        ChunkDamaged: the bytes are not those that were written.
        NewerFormat: a later release wrote the chunk.
    """
    steps, times, starts, blob = split_block(data, b"T", TEXT_MODES)
    require_equal_items(steps, times)
    raw = decode_bytes(blob)
    bounds = read_bounds(starts, steps.items, len(raw)).tolist()
    texts = [raw[start:stop] for start, stop in pairwise(bounds)]
    return read_numbers(steps), read_integers(times), texts


def _point_columns(steps: Numbers, values: Floats, times: Integers) -> list[Column]:
    return [encode_steps(steps), encode_floats(values), encode_integers(times)]


def _require_equal_lengths(*columns: Sized) -> None:
    lengths = [len(column) for column in columns]
    if len(set(lengths)) > 1:
        raise ValueError(f"Every column has an item for each point, and these have {lengths} items.")


def _require_room(column: Column, out: Numbers) -> None:
    if len(out) != column.items:
        raise ValueError(f"A chunk of {column.items} points cannot fill an array of {len(out)} items.")
