"""Records: the points of float series as a segment holds them, read as numpy arrays."""

from __future__ import annotations

import os
import zlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from naiad.store import segment
from naiad.store.seal import BLOCK
from naiad.store.segment import HEADER, RECORD
from naiad.store.tails import Damage, JournalFile, refuse_newer

__all__ = ["RECORD_TYPE", "Records", "read_records"]

RECORD_TYPE = np.dtype([("step", "<i8"), ("value", "<f8"), ("time", "<f8"), ("fid", "<u4"), ("commit", "<u4")])
Records = npt.NDArray[np.void]
READ = 64 * 1024


def read_records(file: JournalFile, start: int, bad: Sequence[int] = ()) -> tuple[Records, int, list[Damage]]:
    """The committed records from byte `start` on, the end of those without a hole before them, and what is damaged.

    `bad` are the offsets of blocks that the run's seal found damaged: their records are left out. Without them a
    sealed segment whose crc fails is given as it is; the damage says that none of its points can be believed.

    Raises:
        FileNotFoundError: it was folded meanwhile.
        NewerFormat: a later release wrote it.
    """
    damages: list[Damage] = []
    start = max(start, HEADER)
    with file.path.open("rb") as stream:
        sealed = () if 0 in bad else _sealed(os.pread(stream.fileno(), HEADER, 0), file, damages)
        is_whole = bool(sealed or bad)
        data = _rest(stream.fileno(), start) if is_whole else _committed_bytes(stream.fileno(), start)
        if sealed and not bad:
            damages += _seal_damage(stream.fileno(), file, *sealed)
    records = np.frombuffer(data[: len(data) // RECORD * RECORD], RECORD_TYPE)
    offsets = np.arange(start, start + len(records) * RECORD, RECORD, dtype=np.uint32)
    is_there = records["commit"] == offsets
    if bad:
        is_there &= ~np.isin(offsets // BLOCK, np.array(bad) // BLOCK)
        damages.append(Damage(file.place, "some of its points are not those that were sealed", offset=bad[0]))
    holes = np.flatnonzero(~is_there)
    contiguous = int(holes[0]) if len(holes) else len(records)
    return records[is_there], start + contiguous * RECORD, damages


def _rest(fd: int, start: int) -> bytes:
    return os.pread(fd, max(0, os.fstat(fd).st_size - start), start)


def _committed_bytes(fd: int, start: int) -> bytes:
    """Read on until a block holds no commit word: the rest of a mapped segment is allocated but unwritten."""
    blocks: list[bytes] = []
    at, size = start, BLOCK
    while True:
        block = os.pread(fd, size, at)
        whole = block[: len(block) // RECORD * RECORD]
        if not whole or not np.frombuffer(whole, RECORD_TYPE)["commit"].any():
            return b"".join(blocks)
        blocks.append(whole)
        at += len(whole)
        size = min(size * 2, 16 * READ)


def _sealed(header: bytes, file: JournalFile, damages: list[Damage]) -> tuple[int, int] | tuple[()]:
    """`(end, crc)` of a sealed segment, `()` of an open one and of one whose header cannot be read."""
    try:
        version, end, crc = segment.read_header(header)
    except ValueError as error:
        if header.strip(b"\0"):  # else it is just being made, or a power cut took all of it
            damages.append(Damage(file.place, str(error), offset=0))
        return ()
    refuse_newer(version, segment.VERSION, file.path)
    return (end, crc) if end else ()


def _seal_damage(fd: int, file: JournalFile, end: int, crc: int) -> list[Damage]:
    content = os.pread(fd, end - HEADER, HEADER) if end > HEADER else b""
    if len(content) == end - HEADER and zlib.crc32(content) == crc:
        return []
    return [Damage(file.place, "its points are not those that were sealed", offset=HEADER)]
