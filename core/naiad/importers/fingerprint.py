"""Fingerprints: numbers by which the points of a source are compared with those of a run.

Each point has a 64-bit number, and a collection the sum of them modulo 2**64. So it does not depend on the order,
points can be added one after the other, and equal points count as often as they are there.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Numbers: TypeAlias = npt.NDArray[np.uint64]
MASK = (1 << 64) - 1
UNNUMBERED = np.uint64(0x9E3779B97F4A7C15)
"""In the place of a step that the source does not have."""
_SHIFTS, _FACTORS = np.array([30, 27, 31], np.uint64), np.array([0xBF58476D1CE4E5B9, 0x94D049BB133111EB], np.uint64)
_WHOLE, _PARTIAL, _NAN = np.uint64(0x51), np.uint64(0xA3), np.uint64(0x7FF8000000000001)


def _mixed(numbers: Numbers) -> Numbers:
    """Return well distributed numbers: the finalizer of SplitMix64."""
    # In place, and with constants made once: most series of a dump are short, and each of these lines is 1 us of them.
    numbers = numbers ^ (numbers >> _SHIFTS[0])
    numbers *= _FACTORS[0]
    numbers ^= numbers >> _SHIFTS[1]
    numbers *= _FACTORS[1]
    numbers ^= numbers >> _SHIFTS[2]
    return numbers


def of_steps(steps: Any) -> Numbers:
    """Return a number for each step; the integer 2 and the float 2.0 are one step."""
    # Kept apart by kind of array: a step of 2**60 + 1 is exact as an integer and would be another number as a float.
    array = np.asarray(steps)
    if array.dtype.kind in "iu":
        return _mixed(array.astype(np.int64).view(np.uint64) + _WHOLE)
    if array.dtype.kind != "f":  # ints beyond 64 bits are none, so these are objects
        whole = [isinstance(step, int) for step in steps]
        if all(whole):
            return of_steps(np.array(steps, np.int64))
        found = of_steps(np.array([float(step) for step in steps], np.float64))
        for place, is_whole in enumerate(whole):
            if is_whole:
                found[place] = of_steps(np.array([steps[place]], np.int64))[0]
        return found
    reals = array.astype(np.float64)
    with np.errstate(invalid="ignore"):
        is_whole = (np.floor(reals) == reals) & (np.abs(reals) < 2.0**63)
        as_whole = np.where(is_whole, reals, 0.0).astype(np.int64).view(np.uint64) + _WHOLE
    return _mixed(np.where(is_whole, as_whole, reals.view(np.uint64) ^ _PARTIAL))


def of_reals(values: Any) -> Numbers:
    """Return a number for each value, bit for bit; every NaN is the same."""
    # NaN has 2**52 bit patterns, and formats give one or another for the same value.
    reals = np.ascontiguousarray(values, np.float64)
    return _mixed(np.where(np.isnan(reals), _NAN, reals.view(np.uint64)))


def of_texts(texts: Iterable[str | bytes]) -> Numbers:
    """Return a number for each text."""
    return np.frombuffer(b"".join(map(_digest, texts)), np.uint64)


def _digest(text: str | bytes) -> bytes:
    content = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(content, digest_size=8).digest()


def milliseconds(times: Any) -> npt.NDArray[np.int64]:
    """Return seconds as an index stores them."""
    return np.rint(np.asarray(times, np.float64) * 1000.0).astype(np.int64)


def of_points(steps: Numbers, contents: Numbers, times: npt.NDArray[np.int64]) -> Numbers:
    """Return a number for each point, from the numbers of its parts."""
    return _mixed(_mixed(steps + np.uint64(1)) + contents + _mixed(times.view(np.uint64) + np.uint64(2)))


def total(numbers: Numbers) -> int:
    """Return the fingerprint of a collection."""
    return int(np.add.reduce(numbers, dtype=np.uint64)) if len(numbers) else 0


def of_one(*parts: object) -> int:
    """Return the fingerprint of a value, from parts of it."""
    text = "\0".join([part if isinstance(part, str) else repr(part) for part in parts])
    return int.from_bytes(_digest(text), sys.byteorder)  # the number that of_texts() gives


class Stock:
    """The points of a stored series, each to be matched with one of the source."""

    def __init__(self, numbers: Numbers) -> None:
        self._known, counts = np.unique(numbers, return_counts=True)
        self._left = counts.astype(np.int64)

    def take(self, numbers: Numbers) -> npt.NDArray[np.bool_]:
        """Return which of the points are there, and take these out."""
        if not len(self._known) or not len(numbers):
            return np.zeros(len(numbers), bool)
        # Two equal points of the source need two equal ones in the store: a set would take one for both.
        wanted, which, counts = np.unique(numbers, return_inverse=True, return_counts=True)
        places = np.minimum(np.searchsorted(self._known, wanted), len(self._known) - 1)
        there = np.where(self._known[places] == wanted, self._left[places], 0)
        taken = np.minimum(there, counts)
        np.subtract.at(self._left, places, taken)
        order = np.argsort(which, kind="stable")
        starts = np.concatenate(([0], np.cumsum(counts)[:-1]))
        rank = np.empty(len(numbers), np.int64)
        rank[order] = np.arange(len(numbers)) - np.repeat(starts, counts)
        found: npt.NDArray[np.bool_] = rank < taken[which]
        return found


def shown(number: int) -> str:
    """Return a fingerprint for a report."""
    return f"{number & MASK:016x}"


def summed(numbers: Sequence[int]) -> int:
    """Return the fingerprint of several collections together."""
    return sum(numbers) & MASK
