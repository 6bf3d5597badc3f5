"""Pyramids: first step, minimum, maximum, sum and number of every 256 points, so that a chart need not read points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from naiad.compression import Buffer
from naiad.storage.local.index.columns import (
    FLOATS,
    INTEGERS,
    Floats,
    Integers,
    Numbers,
    encode_floats,
    encode_integers,
    encode_steps,
    join_block,
    read_floats,
    read_integers,
    read_numbers,
    require_equal_items,
    split_block,
)

BUCKET = 256
"""Points that one item of a pyramid stands for; the last stands for what is left."""
COARSE = 64
"""Items of pyramids that one of a coarser pyramid stands for, for series of very many points."""
MODES = ((INTEGERS, FLOATS), (FLOATS,), (FLOATS,), (FLOATS,), (INTEGERS,))


class Pyramid(NamedTuple):
    """An item for each 256 points, of their finite values; the extremes are NaN where no value is finite."""

    steps: Numbers
    minimum: Floats
    maximum: Floats
    total: Floats
    finite: Integers


def pyramid(steps: Numbers, values: Floats) -> bytes:
    """Return the pyramid of points as a block. Keep it apart from the chunk: who draws never reads points.

    A total may be infinite although all values are finite: sums can leave the range of float64.
    """
    if not len(values):
        return _join(steps, [values] * 3, np.empty(0, np.int64))
    starts = np.arange(0, len(values), BUCKET)
    is_finite = np.isfinite(values)
    if is_finite.all():
        finite = np.diff(starts, append=len(values))
        low = high = rest = values
    else:
        finite = np.add.reduceat(is_finite, starts, dtype=np.int64)
        low, high, rest = (np.where(is_finite, values, neutral) for neutral in (np.inf, -np.inf, 0.0))
    with np.errstate(over="ignore", invalid="ignore"):
        total = np.add.reduceat(rest, starts)
    extremes = [np.minimum.reduceat(low, starts), np.maximum.reduceat(high, starts)]
    for extreme in extremes:
        extreme[finite == 0] = np.nan
    return _join(steps[starts], [*extremes, total], finite)


def decode_pyramid(data: Buffer) -> Pyramid:
    """Return the pyramid of a chunk.

    Raises:
        ChunkDamaged: the bytes are not those that were written.
        NewerFormat: a later release wrote the pyramid.
    """
    steps, low, high, total, finite = split_block(data, b"Y", MODES)
    require_equal_items(steps, low, high, total, finite)
    return Pyramid(read_numbers(steps), read_floats(low), read_floats(high), read_floats(total), read_integers(finite))


def coarser(pyramids: Sequence[Pyramid]) -> bytes | None:
    """Return the pyramid with an item for each 64 of others that follow each other; None where steps go back."""
    steps, low, high, total, finite = (np.concatenate(column) for column in zip(*pyramids, strict=True))
    if bool((steps[1:] < steps[:-1]).any()):
        return None
    starts = np.arange(0, len(steps), COARSE)
    # Those that ignore NaN, which stands for items without finite values.
    extremes = [np.fmin.reduceat(low, starts), np.fmax.reduceat(high, starts)]
    with np.errstate(over="ignore", invalid="ignore"):
        total = np.add.reduceat(total, starts)
    return _join(steps[starts], [*extremes, total], np.add.reduceat(finite, starts))


def _join(steps: Numbers, floats: list[npt.NDArray[Any]], finite: Integers) -> bytes:
    columns = [
        encode_steps(steps, is_dense=False),
        *(encode_floats(column, is_dense=False) for column in floats),
    ]
    return join_block(b"Y", [*columns, encode_integers(finite, is_dense=False)])
