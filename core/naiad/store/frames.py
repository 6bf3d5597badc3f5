"""Frames: how ops lie in an ops file. One frame is one `write()`, and its ops take effect together or not at all.

Frame, little-endian: u32 length of the payload, u32 crc32 over (length, sequence, payload), u64 sequence, payload.
Sequences of a writer rise by one over all its files. A frame that fails its crc is skipped: the next true frame is
searched for and the bytes between are reported, so a flipped bit in a length can never pass for the end of the file.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from naiad.ops import Op, decode_ops

__all__ = ["FILE_HEADER", "Frame", "Gap", "encode_frame", "file_header", "read_frames"]

MAGIC = b"NAIADOPS"
VERSION = 1
FILE_HEADER = 16
LARGEST = 1 << 30

_head = struct.Struct("<IIQ")


@dataclass(frozen=True)
class Frame:
    """Ops that belong together; `end` is the offset of the byte after them."""

    sequence: int
    ops: list[Op]
    end: int


@dataclass(frozen=True)
class Gap:
    """Bytes between `start` and `end` that are no frame. At the end of a file it may be a write cut short."""

    start: int
    end: int
    is_tail: bool


def file_header() -> bytes:
    """First 16 bytes of an ops file: magic, u32 version, u32 spare."""
    return struct.pack("<8sII", MAGIC, VERSION, 0)


def header_version(data: bytes) -> int:
    """The version in a file header.

    Raises:
        ValueError: these are not the first bytes of an ops file.
    """
    if len(data) < FILE_HEADER or data[:8] != MAGIC:
        raise ValueError("its header is not that of an ops file")
    version: int = struct.unpack_from("<I", data, 8)[0]
    return version


def encode_frame(sequence: int, payload: bytes) -> bytes:
    """One frame, ready for one `write()`."""
    return _head.pack(len(payload), _crc(len(payload), sequence, payload), sequence) + payload


def read_frames(data: bytes, start: int = 0) -> Iterator[Frame | Gap]:
    """All frames of `data` from offset `start`, and every gap between and after them."""
    at = start
    while at < len(data):
        frame = _frame_at(data, at)
        if frame is None:
            after = _next_frame(data, at + 1)
            yield Gap(at, after, is_tail=after == len(data))
            at = after
        else:
            yield frame
            at = frame.end


def _crc(length: int, sequence: int, payload: bytes) -> int:
    return zlib.crc32(payload, zlib.crc32(struct.pack("<IQ", length, sequence)))


def _frame_at(data: bytes, at: int) -> Frame | None:
    if at + _head.size > len(data):
        return None
    length, crc, sequence = _head.unpack_from(data, at)
    begin = at + _head.size
    if length == 0 or length > LARGEST or begin + length > len(data):
        return None
    payload = data[begin : begin + length]
    if _crc(length, sequence, payload) != crc:
        return None
    try:
        return Frame(sequence, decode_ops(payload), begin + length)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _next_frame(data: bytes, at: int) -> int:
    while at < len(data):
        if _frame_at(data, at) is not None:
            return at
        at += 1
    return at
