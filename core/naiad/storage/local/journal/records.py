"""Records: the points of float series as a segment holds them, read as numpy arrays."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator, Sequence
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from naiad.slots import FLOAT_STEP, RECORD, SEGMENT_FORM, SEGMENT_HEADER, SEGMENT_MAGIC, SEGMENT_VERSION
from naiad.storage.local.journal.bit_errors import BLOCK, correct_single_bit
from naiad.storage.local.journal.files import JournalSource
from naiad.storage.local.journal.sums import FileCover, Range
from naiad.storage.local.layout import newer_format
from naiad.storage.results import Damage, PointColumns

RECORD_TYPE = np.dtype([("step", "<i8"), ("value", "<f8"), ("time", "<f8"), ("fid", "<u4"), ("commit", "<u4")])
Records = npt.NDArray[np.void]
EARLIEST, LATEST = -62_135_596_800.0, 253_402_300_800.0  # years 1 to 9999
READ = 64 * 1024
NOBODY = (1, 0)
"""The field numbers that damage concerns which is mended: none."""


def pack_records(parts: Sequence[tuple[int, PointColumns]], most: int) -> Iterator[bytes]:
    """Yield the records of points of many series, each piece as the whole content of a segment of at most so many."""
    columns: list[list[npt.NDArray[np.int64]]] = [[], [], [], []]
    for number, points in parts:
        steps = np.asarray(points.steps)
        is_float = steps.dtype.kind == "f"
        bits = [np.ascontiguousarray(each, np.float64).view(np.int64) for each in (points.values, points.times)]
        places = np.full(len(steps), number | FLOAT_STEP if is_float else number)
        steps = np.ascontiguousarray(steps, np.float64).view(np.int64) if is_float else steps.astype(np.int64)
        for column, own in zip(columns, (steps, *bits, places), strict=True):
            column.append(own)
    steps, values, times, places = (np.concatenate(column) for column in columns)
    for start in range(0, len(steps), most):
        rows = slice(start, start + most)
        records = np.empty(len(steps[rows]), RECORD_TYPE)
        records["step"], records["value"] = steps[rows], values[rows].view(np.float64)
        records["time"], records["fid"] = times[rows].view(np.float64), places[rows]
        records["commit"] = SEGMENT_HEADER + RECORD * np.arange(len(records))
        yield records.tobytes()


def read_records(
    file: JournalSource, start: int, bad: Sequence[int] = (), cover: FileCover | None = None
) -> tuple[Records, int, list[Damage]]:
    """Return the committed records from byte `start`, the end of those without a hole, and the damage.

    `bad` are the offsets of blocks that the run's seal found damaged: their records are left out. Without a seal
    `cover` has the ranges whose crc32 is known: one flipped bit is read as it was written, bytes damaged
    beyond that is left out. Without either, a sealed segment whose crc fails is given as it is; the damage means that
    none of its points can be used. The header of a file of which some is folded, `start` is not 0, may be damaged: it
    only says that this is a segment, and a writer that was declared dead may still have it open.

    Raises:
        FileNotFoundError: it was folded meanwhile.
        NewerFormat: a later release wrote it.
    """
    damages: list[Damage] = []
    of_header: list[Damage] = [] if start else damages
    ranges = [] if cover is None else [one for one in cover.ranges.values() if one.end > start]
    start = max(start, SEGMENT_HEADER)
    with file.open() as stream:
        # Ranges are finer than the one checksum of the seal: with them a single damaged block costs its own points
        # only.
        sealed = () if 0 in bad or ranges else _sealed(stream.read(SEGMENT_HEADER), file, of_header)
        is_whole = bool(sealed or bad)
        least = max((one.end for one in ranges), default=0)
        stream.seek(start)
        data = stream.read() if is_whole else _committed_bytes(stream, start, least)
        if sealed and not bad:
            damages += _seal_damage(stream, file, *sealed)
        data, lost = _check_ranges(stream, file, data, start, ranges, damages)
    records = np.frombuffer(data[: len(data) // RECORD * RECORD], RECORD_TYPE)
    offsets = np.arange(start, start + len(records) * RECORD, RECORD, dtype=np.uint32)
    # The commit word of a record is its own offset, so a record that was moved, copied or half written does not
    # match.
    is_there = records["commit"] == offsets
    if bad:
        is_there &= ~np.isin(offsets // BLOCK, np.array(bad) // BLOCK)
        damages.append(Damage(file.place, "some of its points are not those that were sealed", offset=bad[0]))
    for one in lost:
        is_there &= (offsets < one.start) | (offsets >= one.end)
    # A checksum proves that bytes are as written, not that they make sense; a step or time that no calendar has would
    # break every reader further on.
    are_points = (records["time"] >= EARLIEST) & (records["time"] < LATEST)
    is_float = records["fid"] >= FLOAT_STEP
    if is_float.any():
        are_points &= ~is_float | np.isfinite(records["step"].view("<f8"))
    if not are_points[is_there].all():
        odd = records["fid"][is_there & ~are_points] & np.uint32(FLOAT_STEP - 1)
        what = f"{len(odd)} points have a step or a time that no point has"
        damages.append(Damage(file.place, what, numbers=(int(odd.min()), int(odd.max()))))
        is_there &= are_points
    # The position that a fold stores ends before the first hole: a thread may still fill it.
    holes = np.flatnonzero(~is_there)
    contiguous = int(holes[0]) if len(holes) else len(records)
    return (records[is_there] if len(holes) else records), start + contiguous * RECORD, damages


def read_header(data: bytes) -> tuple[int, int, int]:
    """`(version, sealed bytes, crc32)` of a segment.

    Raises:
        ValueError: these are not the first 64 bytes of a segment.
    """
    if len(data) < SEGMENT_HEADER:
        raise ValueError(f"a segment's header has {SEGMENT_HEADER} bytes, this file only {len(data)}")
    magic, version, record, _pid, _created, sealed, crc = SEGMENT_FORM.unpack(data[: SEGMENT_FORM.size])
    if magic != SEGMENT_MAGIC or record != RECORD:
        raise ValueError("its header is not that of a segment")
    return version, sealed, crc


def _check_ranges(
    stream: BinaryIO, file: JournalSource, data: bytes, start: int, ranges: list[Range], damages: list[Damage]
) -> tuple[bytes, list[Range]]:
    """The data with single turned bits turned back, and the ranges in which more is damaged."""
    lost: list[Range] = []
    view = memoryview(data)
    for one in ranges:
        size, at = one.end - one.start, one.start - start
        is_inside = 0 <= at <= len(data) - size and size >= 0
        if is_inside:
            content: bytes | memoryview = view[at : at + size]
        else:
            most = stream.seek(0, os.SEEK_END)
            stream.seek(one.start)
            content = stream.read(max(0, min(one.end, most) - one.start))
        if len(content) == size and zlib.crc32(content) == one.crc:
            continue
        mended = mended_range(bytes(content), one)
        if mended is None:
            what = f"bytes {one.start} to {one.end - 1} are not those that were written: {one.points} points are lost"
            damages.append(Damage(file.place, what, offset=one.start, numbers=(one.low, one.high)))
            lost.append(one)
            continue
        at = next(i for i, (was, now) in enumerate(zip(mended, content, strict=True)) if was != now)
        what = "one bit has turned over, and is read as it was written"
        damages.append(Damage(file.place, what, offset=one.start + at, numbers=NOBODY))
        if one.end > start:
            skip = max(0, start - one.start)
            head = one.start + skip - start
            data = data[:head] + mended[skip:] + data[head + len(mended) - skip :]
            view = memoryview(data)
    return data, lost


def mended_range(content: bytes, one: Range) -> bytes | None:
    """The bytes of a range with one bit turned back; None where that is not all that is wrong with it."""
    if len(content) != one.end - one.start or len(content) > BLOCK:
        return None
    mended = correct_single_bit(content, one.crc)
    first = max(one.start, SEGMENT_HEADER)
    if mended is None or one.end <= first:
        return mended
    commits = np.frombuffer(mended[first - one.start :], RECORD_TYPE)["commit"]
    offsets = np.arange(first, one.end, RECORD, dtype=np.uint32)
    # The second check that `correct_single_bit` asks for: where more than one bit is damaged, a commit word most
    # likely is too.
    return mended if bool(((commits == offsets) | (commits == 0)).all()) else None


def _committed_bytes(stream: BinaryIO, start: int, least: int) -> bytes:
    """Read on until a block holds no commit word: the rest of a mapped segment is allocated but unwritten.

    Before `least`, where there must be records, such a block is damage. Threads store records while a read copies
    them: one read alone may have a record without those before it, or its commit word with bytes from before it was
    written. One that begins after that has them all, so what was read is compared with the file until it is the same.
    """
    blocks: list[bytes] = []
    at, size = start, BLOCK
    while True:
        stream.seek(at)
        block = stream.read(size)
        whole = block[: len(block) // RECORD * RECORD]
        is_empty = at >= least and not np.frombuffer(whole, RECORD_TYPE)["commit"].any()
        if not whole or is_empty:
            break
        blocks.append(whole)
        at += len(whole)
        size = min(size * 2, 16 * READ)
    data = b"".join(blocks)
    written = np.flatnonzero(np.frombuffer(data, RECORD_TYPE)["commit"])
    end = (int(written[-1]) + 1) * RECORD if len(written) else 0
    data = data[: max(end, least - start)]  # what is written behind it meanwhile is for the next reader
    at = 0
    while at < len(data):
        stream.seek(start + at)
        piece = data[at : at + READ]
        if stream.read(len(piece)) == piece:
            at += READ
            continue
        stream.seek(start)
        data, at = stream.read(len(data)), 0
    return data


def _sealed(header: bytes, file: JournalSource, damages: list[Damage]) -> tuple[int, int] | tuple[()]:
    """`(end, crc)` of a sealed segment, `()` of an open one and of one whose header cannot be read."""
    try:
        version, end, crc = read_header(header)
    except ValueError as error:
        if header.strip(b"\0"):  # else it is just being made, or a power cut took all of it
            damages.append(Damage(file.place, str(error), offset=0))
        return ()
    if version > SEGMENT_VERSION:
        raise newer_format(version, SEGMENT_VERSION, file)
    return (end, crc) if end else ()


def _seal_damage(stream: BinaryIO, file: JournalSource, end: int, crc: int) -> list[Damage]:
    size = stream.seek(0, os.SEEK_END)  # a damaged header may claim any
    stream.seek(SEGMENT_HEADER)
    content = stream.read(end - SEGMENT_HEADER) if SEGMENT_HEADER < end <= size else b""
    if len(content) == end - SEGMENT_HEADER and zlib.crc32(content) == crc:
        return []
    return [Damage(file.place, "its points are not those that were sealed", offset=SEGMENT_HEADER)]
