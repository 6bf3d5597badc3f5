"""The tail of a run with few points, without numpy: importing that takes longer than reading 30,000 records.

Most runs are short and are never folded, so tables, `naiad show` and `naiad compare` read them like this. The facts of
a series are those that numpy computes, to the last bit: sums are added in the same order. The one rule: whatever is
unusual about a file, damage above all, is left to `tail.py`, which reads everything.
"""

from __future__ import annotations

import math
import operator
import struct
import sys
import zlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import reduce
from itertools import takewhile
from typing import Any, NamedTuple

from naiad.integers import EXACT
from naiad.slots import FLOAT_STEP, RECORD, SEGMENT_FORM, SEGMENT_HEADER, SEGMENT_MAGIC, SEGMENT_VERSION
from naiad.storage.local.index.projection import Projection
from naiad.storage.local.index.states import FieldState
from naiad.storage.local.journal.files import JournalFile
from naiad.storage.local.journal.sums import FileCover

LONGEST = 1024 * 1024
"""Bytes of all files that are read like this."""
EARLIEST, LATEST = -62_135_596_800.0, 253_402_300_800.0  # years 1 to 9999
BLOCK = 128
"""Numbers that numpy adds up in eight sums; of more it adds up the halves."""

Facts = tuple[int, int, float, float, float, int | float, float, int, float, int]
"""The arguments of `Series.add`."""

_from_bits = struct.Struct("<d").unpack
_to_bits = struct.Struct("<q").pack


class Columns(NamedTuple):
    """The points of one segment, and by number the rows that have them."""

    steps: list[Any]
    """As bits, until those of a series with floats are turned into floats."""
    values: list[float]
    times: list[float]
    rows: dict[int, list[int]]
    floats: dict[int, list[int]]
    """Of the rows, those whose step is a float."""


class ShortTail:
    """The points of all segments that are not folded yet, by writer and number."""

    def __init__(self, files: list[tuple[str, Columns]], numbers: dict[int, dict[str, int]]) -> None:
        self._files = files  # in the order in which they were written
        self._numbers = numbers

    def owners(self) -> set[int]:
        """The field states that have points here, by their identity."""
        found = {(writer, number) for writer, columns in self._files for number in columns.rows}
        return {state for state, numbers in self._numbers.items() if not found.isdisjoint(numbers.items())}

    def facts(self, state: FieldState) -> list[tuple[str, Facts]]:
        """The facts of the points of a float series, by writer, of one file after the other."""
        numbers = self._numbers.get(id(state), {})
        wanted = ((writer, columns, numbers.get(writer, -1)) for writer, columns in self._files)
        return [(writer, facts_of(columns, number)) for writer, columns, number in wanted if number in columns.rows]


def read_short_tail(
    files: Sequence[JournalFile],
    folded: Mapping[str, tuple[int, bool]],
    covers: Mapping[str, FileCover],
    projection: Projection,
) -> ShortTail | None:
    """Read these segments; None where they are too long, or something about them is unusual.

    Raises:
        FileNotFoundError: one of them was folded meanwhile.
    """
    numbers = _numbers(projection) if files else {}  # all of them, of which a run that ended needs none
    if numbers is None or sys.byteorder != "little":
        return None
    left = LONGEST
    columns: dict[str, Columns] = {}
    for file in reversed(files):  # as `Tail.update` does
        with file.open() as stream:
            data = stream.read(left + 1)
            stream.seek(0)
            # A segment that a thread writes meanwhile may be read with a part of a record.
            is_still = stream.read(len(data)) == data
        left -= len(data)
        start = folded.get(file.name, (0, False))[0]
        found = read_columns(data, start, covers.get(file.name)) if is_still and left >= 0 else None
        if found is None:
            return None
        columns[file.name] = found
    return ShortTail([(file.writer, columns[file.name]) for file in sorted(files)], numbers)


def _numbers(projection: Projection) -> dict[int, dict[str, int]] | None:
    """The number by which each writer means a field state, by its identity; None where that may have changed."""
    found: dict[int, dict[str, int]] = {}
    for writer in projection.writers.values():
        for number, state in enumerate(writer.fields, 1):
            if isinstance(state, int):
                state = projection.owner_of(writer.name, number)
            if state is None:
                continue
            numbers = found.setdefault(id(state), {})
            if state.path in projection.tombstones or writer.name in numbers:
                return None
            numbers[writer.name] = number
    return found


def read_columns(data: bytes, start: int, cover: FileCover | None) -> Columns | None:
    """The points of a segment; None where anything is unusual."""
    if not _is_sound(data, cover):
        return None
    at = max(start, SEGMENT_HEADER)
    count = (len(data) - at) // RECORD
    whole = memoryview(data)[at : at + count * RECORD]
    numbers, places = whole.cast("I"), range(at, at + count * RECORD, RECORD)
    commits = numbers[7::8].tolist()
    if commits != [*places]:  # the rest of a segment that is being written is allocated, and empty
        count = next(row for row, (commit, place) in enumerate(zip(commits, places, strict=True)) if commit != place)
        if data[at + count * RECORD :].strip(b"\0"):
            return None
    elif data[at + count * RECORD :].strip(b"\0"):
        return None
    reals: Any = whole.cast("d")
    times = reals[2::4].tolist()[:count]
    if not all(map(math.isfinite, times)) or (times and not (min(times) >= EARLIEST and max(times) < LATEST)):
        return None
    steps, fids = whole.cast("q")[0::4].tolist()[:count], numbers[6::8].tolist()[:count]
    rows, floats = defaultdict[int, list[int]](list), defaultdict[int, list[int]](list)
    for row, fid in enumerate(fids):
        rows[fid].append(row)
    for fid in [fid for fid in rows if fid >= FLOAT_STEP]:
        floats[fid - FLOAT_STEP] = rows.pop(fid)
        rows[fid - FLOAT_STEP] = sorted(rows[fid - FLOAT_STEP] + floats[fid - FLOAT_STEP])
    columns = Columns(steps, reals[1::4].tolist()[:count], times, dict(rows), dict(floats))
    return columns if all(_have_one_type(columns, number) for number in floats) else None


def _have_one_type(columns: Columns, number: int) -> bool:
    """Turn the steps of a series into floats, because some are; False where one of them is none."""
    steps, floats = columns.steps, set(columns.floats[number])
    for row in columns.rows[number]:
        if row in floats:
            (step,) = _from_bits(_to_bits(steps[row]))
            if not math.isfinite(step):
                return False
            steps[row] = step
        elif abs(steps[row]) > EXACT:
            return False
        else:
            steps[row] = float(steps[row])
    return True


def _is_sound(data: bytes, cover: FileCover | None) -> bool:
    """Whether a segment has the header and the checksums that it should have."""
    if len(data) < SEGMENT_HEADER:
        return False
    magic, version, record, _pid, _created, end, crc = SEGMENT_FORM.unpack(data[: SEGMENT_FORM.size])
    if (magic, version, record) != (SEGMENT_MAGIC, SEGMENT_VERSION, RECORD) or end > len(data):
        return False
    if end and zlib.crc32(memoryview(data)[SEGMENT_HEADER:end]) != crc:
        return False
    ranges = () if cover is None else cover.ranges.values()
    return all(one.end <= len(data) and zlib.crc32(data[one.start : one.end]) == one.crc for one in ranges)


def facts_of(columns: Columns, number: int) -> Facts:
    """Return the arguments of `Series.add` for the points of a number, as `series.facts_of` does."""
    rows, steps = columns.rows[number], columns.steps
    places = [steps[row] for row in rows]
    if places != sorted(places):
        rows = sorted(rows, key=steps.__getitem__)  # equal steps stay in order of arrival
    values = [columns.values[row] for row in rows]
    finite = values if all(map(math.isfinite, values)) else [value for value in values if math.isfinite(value)]
    total = added(finite)
    mean = total / max(len(finite), 1)
    apart = [value - mean for value in finite]
    spread = added([*map(operator.mul, apart, apart)])
    extremes = (min(finite), max(finite), total) if finite else (0.0, 0.0, 0.0)
    step = steps[rows[-1]]
    equal = takewhile(lambda row: steps[row] == step, reversed(rows))
    times = [round(columns.times[row] * 1000.0) for row in equal]
    return len(values), len(finite), *extremes, step, values[-1], times[0], spread, max(times)


def added(numbers: list[float]) -> float:
    """Return the sum that numpy computes: in pairs, from blocks of eight sums."""
    count = len(numbers)
    if count < 8:
        return reduce(operator.add, numbers, 0.0) if count else 0.0
    if count <= BLOCK:
        whole = count - count % 8
        # Of eight to fifteen, as many series have, the first eight are the sums.
        sums = numbers if whole == 8 else [reduce(operator.add, numbers[k:whole:8]) for k in range(8)]
        total = ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]))
        return reduce(operator.add, numbers[whole:], total)
    half = count // 2
    half -= half % 8
    return added(numbers[:half]) + added(numbers[half:])
