"""Records: the points of float series as a segment holds them, read as numpy arrays."""

from __future__ import annotations

import os
import zlib

import numpy as np
import numpy.typing as npt

from naiad.store import segment
from naiad.store.segment import HEADER, RECORD
from naiad.store.tails import Damage, JournalFile, refuse_newer

__all__ = ["RECORD_TYPE", "Records", "read_records"]

RECORD_TYPE = np.dtype([("step", "<i8"), ("value", "<f8"), ("time", "<f8"), ("fid", "<u4"), ("commit", "<u4")])
Records = npt.NDArray[np.void]
BLOCK = 64 * 1024


def read_records(file: JournalFile, start: int) -> tuple[Records, int, list[Damage]]:
    """The committed records from byte `start` on, the end of those without a hole before them, and what is damaged.

    Raises:
        FileNotFoundError: it was folded meanwhile.
    """
    damages: list[Damage] = []
    start = max(start, HEADER)
    with file.path.open("rb") as stream:
        header = os.pread(stream.fileno(), HEADER, 0)
        sealed = _sealed(header, file, damages)
        if sealed is None:
            return np.empty(0, RECORD_TYPE), start, damages
        data = _committed_bytes(stream.fileno(), start)
        if sealed:
            damages += _seal_damage(stream.fileno(), file, *sealed)
    records = np.frombuffer(data[: len(data) // RECORD * RECORD], RECORD_TYPE)
    expected = np.arange(start, start + len(records) * RECORD, RECORD, dtype=np.uint32)
    is_there = records["commit"] == expected
    holes = np.flatnonzero(~is_there)
    contiguous = int(holes[0]) if len(holes) else len(records)
    return records[is_there], start + contiguous * RECORD, damages


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
        size = min(size * 2, 16 * BLOCK)


def _sealed(header: bytes, file: JournalFile, damages: list[Damage]) -> tuple[int, int] | tuple[()] | None:
    """`(end, crc)` of a sealed segment, `()` of an open one, None when it cannot be read."""
    try:
        version, end, crc = segment.read_header(header)
    except ValueError as error:
        damages.append(Damage(file.name, str(error), offset=0))
        return None
    refuse_newer(version, segment.VERSION, file)
    return (end, crc) if end else ()


def _seal_damage(fd: int, file: JournalFile, end: int, crc: int) -> list[Damage]:
    content = os.pread(fd, end - HEADER, HEADER) if end > HEADER else b""
    if len(content) == end - HEADER and zlib.crc32(content) == crc:
        return []
    return [Damage(file.name, "its points are not those that were sealed", offset=HEADER)]
