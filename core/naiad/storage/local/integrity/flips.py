"""Flips: one bit that turned over in a block whose crc32 is known can be found, and turned back.

A crc32 differs in another way for each single bit of a block of up to 4,096 bytes, so the difference names the bit. Of
a block with more damage it names one by accident in 8 of a million cases; whoever relies on it has other checks behind.
"""

from __future__ import annotations

import functools
import zlib

from naiad.storage.local.integrity.seal import BLOCK

POLYNOMIAL = 0xEDB88320  # that of zlib, its bits reversed


def turned_back(block: bytes, crc: int) -> bytes | None:
    """The block with one bit turned so that it has this crc; None when no single bit does that."""
    shifts = _shifts().get(zlib.crc32(block) ^ crc)
    if shifts is None or shifts > 8 * len(block):
        return None
    from_end = (shifts - 1) // 8
    mended = bytearray(block)
    mended[len(block) - 1 - from_end] ^= 1 << (8 * (from_end + 1) - shifts)
    return bytes(mended)


@functools.cache
def _shifts() -> dict[int, int]:
    """By the change of the crc: through how many shifts of its register the turned bit went, 1 for the block's last."""
    found, change = {}, 1
    for shifts in range(1, 8 * BLOCK + 1):
        change = change >> 1 ^ (POLYNOMIAL if change & 1 else 0)
        found[change] = shifts
    return found
