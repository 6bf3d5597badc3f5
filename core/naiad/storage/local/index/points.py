"""Points in numpy columns: from journal records, grouped by field, in the order in which they are kept."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from naiad.integers import EXACT
from naiad.slots import FLOAT_STEP

Ints = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float64]
Numbers = Ints | Reals


class Columns(NamedTuple):
    """Points: steps (int64, or float64 where some are fractional), values, and times in milliseconds."""

    steps: Numbers
    values: Reals
    times: Ints

    def take(self, rows: Ints | slice | npt.NDArray[np.bool_]) -> Columns:
        """Some of the points."""
        return Columns(self.steps[rows], self.values[rows], self.times[rows])


Part = tuple[str, Columns]
"""Points of one writer, in its order."""
Facts = tuple[int, int, float, float, float, int | float, float, int, float, int]
"""The arguments of `Series.add`."""


def from_records(
    records: npt.NDArray[np.void], rows: npt.NDArray[np.bool_] | None = None
) -> tuple[Ints, npt.NDArray[np.bool_], Columns]:
    """Field numbers, whether each step is a float, and columns whose steps are still the raw 64 bits as int64.

    `rows` selects some of the records: column by column, which takes half as long as copying them whole.
    """
    some = slice(None) if rows is None else rows
    fids = records["fid"][some]
    is_float = (fids & FLOAT_STEP) != 0
    numbers = (fids & (FLOAT_STEP - 1)).astype(np.int64)
    with np.errstate(invalid="ignore"):
        times = np.rint(records["time"][some] * 1000.0).astype(np.int64)
    steps, values = np.ascontiguousarray(records["step"][some]), np.ascontiguousarray(records["value"][some])
    raw = Columns(steps, values, times)
    return numbers, is_float, raw


def split_exact(raw: Columns, is_float: npt.NDArray[np.bool_]) -> list[Columns]:
    """Columns with true steps; more than one only where fractional steps mix with integers that no double holds."""
    if not is_float.any():
        return [raw]
    floats = raw.steps.view(np.float64)
    is_wide = ~is_float & ((raw.steps > EXACT) | (raw.steps < -EXACT))
    if not is_wide.any():
        return [raw._replace(steps=np.where(is_float, floats, raw.steps.astype(np.float64)))]
    bounds = np.flatnonzero(np.diff(is_float)) + 1
    parts = zip(np.split(np.arange(len(floats)), bounds), np.split(is_float, bounds), strict=True)
    return [raw.take(rows)._replace(steps=(floats if flags[0] else raw.steps)[rows]) for rows, flags in parts]


def ordered(points: Columns) -> Columns:
    """By step; equal steps stay in order of arrival."""
    steps = points.steps
    # Nearly always so, and comparing costs a fraction of sorting.
    if len(steps) < 2 or bool((steps[1:] >= steps[:-1]).all()):
        return points
    return points.take(np.argsort(steps, kind="stable"))


def facts_of(points: Columns) -> Facts:
    """Return the arguments of `Series.add` for points in order."""
    # Extremes and means are of finite values: a single NaN would spoil those of the whole series.
    finite = points.values[np.isfinite(points.values)]
    with np.errstate(over="ignore", invalid="ignore"):
        total = float(finite.sum())
        # Around the mean of these points: a sum of squares would lose the digits of a small variance.
        spread = float(np.square(finite - total / max(len(finite), 1)).sum())
    extremes = (float(finite.min()), float(finite.max()), total) if len(finite) else (0.0, 0.0, 0.0)
    # The latest time at the last step: by it the last points of several writers are compared.
    rank = int(points.times[points.steps == points.steps[-1]].max())
    last = (points.steps[-1].item(), float(points.values[-1]), int(points.times[-1]))
    return len(points.values), len(finite), *extremes, *last, spread, rank


def facts_by_writer(parts: list[Part]) -> list[tuple[str, Facts]]:
    """Return the facts of points that are in the order of their writers."""
    return [(writer, facts_of(ordered(part))) for writer, part in parts]


def is_after(times: Reals, since: float) -> npt.NDArray[np.bool_]:
    """Which unix times are later than a deletion, compared as they are kept: in whole milliseconds."""
    with np.errstate(invalid="ignore"):
        late: npt.NDArray[np.bool_] = np.rint(times * 1000.0) > round(since * 1000)
    return late


def merged(points: Columns, writers: Ints) -> Columns:
    """Points of several writers by step. Equal steps of one writer stay in order, between writers they go by time.

    A writer's time is the latest it has given so far to a point of that step, so that its order is never broken.
    """
    # lexsort is stable, and its last key is the first one compared: by step, then writer, then order of arrival.
    by_writer = np.lexsort((writers, points.steps))
    steps, names = points.steps[by_writer], writers[by_writer]
    is_first = np.concatenate(([True], (steps[1:] != steps[:-1]) | (names[1:] != names[:-1])))
    ranks = np.unique(points.times[by_writer], return_inverse=True)[1].reshape(-1)
    # A running maximum within each group of one step and writer, for all groups at once: each group's numbers lie
    # above those of the group before, and the remainder takes that offset off again.
    latest = np.maximum.accumulate(np.cumsum(is_first) * len(ranks) + ranks) % max(1, len(ranks))
    return points.take(by_writer[np.lexsort((names, latest, steps))])


def numbers_array(steps: list[int | float]) -> Numbers:
    """Steps as int64, or float64 where some are fractional."""
    is_integer = all(isinstance(step, int) for step in steps)
    return np.array(steps, np.int64) if is_integer else np.array(steps, np.float64)


def as_bytes(text: str | bytes) -> bytes:
    """UTF-8, lone surrogates passed through."""
    return text if isinstance(text, bytes) else text.encode()


def join(parts: list[Columns]) -> Columns:
    """One after the other. Steps become float64 unless they are all integers."""
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return Columns(np.empty(0, np.int64), np.empty(0), np.empty(0, np.int64))
    return Columns(
        _join_steps([part.steps for part in parts]),
        np.concatenate([part.values for part in parts]),
        np.concatenate([part.times for part in parts]),
    )


def _join_steps(parts: list[Numbers]) -> Numbers:
    is_integer = all(part.dtype == np.int64 for part in parts)
    joined: Numbers = np.concatenate([part if is_integer else part.astype(np.float64) for part in parts])
    return joined
