"""Slots: where the next point of a run may be packed, and the layout there: a header, then a record for each point.

`Handler.append` packs a record into the page of a slot by itself, so the layout is a part of the storage interface.
"""

from __future__ import annotations

import bisect
import functools
import itertools
import mmap
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

RECORD = 32
"""Bytes of a record: step, f64 value, f64 seconds since 1970 UTC, u32 number of the series, u32 commit word."""

FLOAT_STEP = 1 << 31
"""Set in the number when the step is a float64; else it is an int64."""

SEGMENT_HEADER = 64
"""Bytes of a segment, a file of records, before its first record."""

SEGMENT_MAGIC = b"NAIADSEG"
SEGMENT_VERSION = 1
SEGMENT_FORM = struct.Struct("<8sIIQdQI20x")
"""The header of a segment: magic, version, bytes of a record, process, time, bytes once sealed, their crc32."""

RECORD_FORM = "qddII"
"""Step, value, time, number of the series and commit word, for `struct`."""
pack_int = struct.Struct(f"@{RECORD_FORM}").pack_into
pack_float = struct.Struct("@dddII").pack_into

Page = mmap.mmap | bytearray

Slot = tuple[Iterator[int], Page]
"""`(offsets, page)`: `next(offsets)` returns the byte offset of a record that no other caller gets.

`offsets` is an iterator written in C without an end, of which a caller may take several at once.

The offset is also the record's commit word, which is packed last: a record without it does not exist.
"""

# An empty page refuses every record by itself, so that `append` needs no question for a back end without one.
DEAD_SLOT: Slot = (itertools.count(), bytearray())
"""A slot that takes nothing: every pack into it fails, and the caller turns to `RunWriter.points`.

A back end without memory that outlives the process gives this one for good.
"""


@functools.lru_cache(8)
def _packing(count: int) -> Callable[..., None]:
    """Return the call that packs so many records with integer steps, one after the other."""
    return struct.Struct(f"@{RECORD_FORM * count}").pack_into


def pack_row(
    slot: Slot, numbers: Sequence[int], values: Sequence[float], steps: Sequence[int], times: Sequence[float]
) -> int:
    """Pack a record for each of several points, in a tenth of the time of one by one; how many had room.

    Raises:
        struct.error: a step fits no record.
    """
    offsets, page = slot
    taken = [*itertools.islice(offsets, len(numbers))]  # in C, so that no thread comes between
    try:
        count = bisect.bisect_right(taken, len(page) - RECORD)
        if count and taken[count - 1] - taken[0] == RECORD * (count - 1):
            records: list[float] = [0] * (5 * count)
            records[0::5], records[1::5], records[2::5] = steps[:count], values[:count], times[:count]
            records[3::5], records[4::5] = numbers[:count], taken[:count]
            _packing(count)(page, taken[0], *records)
        else:
            for at, *point in zip(taken[:count], steps, values, times, numbers, strict=False):
                pack_int(page, at, *point, at)
    except (ValueError, TypeError):  # a page that was closed
        return 0
    return count


class PointLog(Protocol):
    """Where the points of a writer go. The slot is read anew for each point, because a full page is replaced."""

    slot: Slot
