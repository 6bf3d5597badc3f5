"""Correction of single bit errors in blocks with a known crc32.

The crc32 of a block of up to 4,096 bytes changes differently for each bit that flips, so the difference identifies the
bit. In a block with more damage it identifies one by accident in 8 of a million cases; callers need a second check.
"""

from __future__ import annotations

import functools
import zlib

BLOCK = 4096
"""Bytes that have one crc32 in a seal, and the most in which the crc32 names the bit."""
POLYNOMIAL = 0xEDB88320  # that of zlib, its bits reversed


def correct_single_bit(block: bytes, crc: int) -> bytes | None:
    """Return the block with the one bit flipped that gives it this crc; None if no single bit does."""
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
        # crc32 is linear: flipping a bit changes it by the same value whatever the other bits are. That value depends
        # only on how many bits follow, each of which shifts the register once.
        change = change >> 1 ^ (POLYNOMIAL if change & 1 else 0)
        found[change] = shifts
    return found
