"""Compression of stored bytes: zstd where it is installed, else zlib of the standard library."""

from __future__ import annotations

import importlib
import threading
import zlib
from typing import Any

from naiad.errors import NaiadError

Buffer = bytes | bytearray | memoryview

STORED, ZSTD, ZLIB = 0, 1, 2
LEVEL = 1  # of both; higher levels find nothing more in shuffled columns
UNKNOWN_SIZE = -1
SMALLEST = 64  # below this, compressing costs more time than it saves bytes


class CompressionError(ValueError):
    """The bytes cannot be decompressed."""


class MissingZstandard(NaiadError, ImportError):
    """The bytes were compressed by zstd, and the package zstandard is not installed here."""


def _zstandard() -> Any:  # the module, or None
    try:
        return importlib.import_module("zstandard")
    except ImportError:
        return None


zstandard = _zstandard()


class _Contexts(threading.local):
    """The zstd contexts of one thread: dear to make, and not to be shared between threads."""

    def __init__(self) -> None:
        self.compress = zstandard and zstandard.ZstdCompressor(level=LEVEL).compress
        self.decompress = zstandard and zstandard.ZstdDecompressor().decompress


_contexts = _Contexts()


def compress(raw: bytes) -> tuple[int, bytes]:
    """Return the number of the compressor and its result; 0 and the bytes if nothing is gained."""
    if len(raw) < SMALLEST:
        return STORED, raw
    if zstandard is None:
        compressor, stored = ZLIB, zlib.compress(raw, LEVEL)
    else:
        compressor, stored = ZSTD, _contexts.compress(raw)
    return (compressor, stored) if len(stored) < len(raw) else (STORED, raw)


def decompress(compressor: int, stored: Buffer, length: int) -> Buffer:
    """Return the `length` bytes that were compressed.

    Raises:
        CompressionError: the stored bytes are damaged, or do not give that length.
        MissingZstandard: zstd is needed and not installed.
    """
    raw = _unpack(compressor, stored, length)
    if len(raw) != length:
        raise _wrong_length(len(raw), length)
    return raw


def _unpack(compressor: int, stored: Buffer, length: int) -> Buffer:
    if compressor == STORED:
        return stored
    if compressor == ZSTD:
        return _unpack_zstd(stored, length)
    if compressor != ZLIB:
        raise CompressionError(f"there is no compressor {compressor}")
    stream = zlib.decompressobj()
    try:
        raw = stream.decompress(stored, length + 1)  # not more, as a few bytes can stand for gigabytes
    except zlib.error as error:
        raise CompressionError(str(error)) from error
    if not stream.eof and len(raw) <= length:
        raise CompressionError("its end is missing")
    return raw


def _unpack_zstd(stored: Buffer, length: int) -> bytes:
    if zstandard is None:
        raise MissingZstandard(
            "This data was compressed by zstd, and the package zstandard is not installed.\n"
            "Install it with: pip install zstandard"
        )
    try:
        # Looked at before decompressing: a damaged frame may name any size, and memory for it would be taken.
        size = zstandard.frame_content_size(stored)
        if size not in (length, UNKNOWN_SIZE):
            raise _wrong_length(size, length)
        # Room is taken for the size that the frame names, and for `length` bytes if it names none.
        raw: bytes = _contexts.decompress(stored, max_output_size=length)
    except zstandard.ZstdError as error:
        raise CompressionError(str(error)) from error
    return raw


def _wrong_length(found: int, length: int) -> CompressionError:
    return CompressionError(f"{found} bytes were found where {length} had been written")
