"""A piece of a journal file as it lies in an object: one byte for its form, then its bytes, compressed."""

from __future__ import annotations

from naiad.compression import CompressionError, compress, decompress
from naiad.planes import records_of
from naiad.slots import RECORD
from naiad.storage.receiving import Piece

PLANES = 0x10
"""Set in the byte if the records are transposed; its other bits name the compressor."""


def stored(piece: Piece) -> bytes:
    """Return the bytes that an object keeps of a piece, a fifth of the points that came as planes."""
    compressor, data = compress(piece.planes or piece.data)
    return bytes([compressor | (PLANES if piece.planes else 0)]) + data


def restored(data: bytes, length: int) -> bytes:
    """Return the bytes of the piece, which are so many.

    Raises:
        CompressionError: they cannot be decompressed.
    """
    if not data:
        raise CompressionError("there are no bytes")
    found = bytes(decompress(data[0] & ~PLANES, memoryview(data)[1:], length))
    if not data[0] & PLANES:
        return found
    if length % RECORD:
        raise CompressionError(f"{length} bytes are no whole records")
    return records_of(found)
