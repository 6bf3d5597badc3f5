"""Charts: series cut to the width of a screen, without losing a spike, and the bytes in which they travel.

core/docs/http-api.md describes the bytes. Of a long series the extremes of buckets are drawn, which are the same
for all series of an answer; of a short one its points. Smoothing is computed before anything is left
out, so that it does not depend on the width.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from naiad_web.server.answers import Json, encoded, number

Reals = npt.NDArray[np.float64]
Bytes = npt.NDArray[np.uint8]
Array = npt.NDArray[Any]

MAGIC = b"NCH1"
MEDIA = "application/vnd.naiad.chart"
MIN_FIRST, HAS_NAN, HAS_PLUS, HAS_MINUS = 1, 2, 4, 8
FINER = 2
"""Stretches of a pyramid that a bucket must hold on average to be made of them."""
COARSE = 1000.0
"""How many times larger than their spread values may be before float32 is too coarse to draw them."""
LARGEST_SINGLE, SMALLEST_SINGLE = 1e38, 1e-30


class Curve(NamedTuple):
    """Points of one series in order of x. `smooth` is empty if none was requested."""

    x: Reals
    y: Reals
    smooth: Reals
    is_sorted: bool = True


class Heights(NamedTuple):
    """Stretches of a series in order of x: the first x of each, extremes, mean and number of its finite values."""

    x: Reals
    minimum: Reals
    maximum: Reals
    mean: Reals
    finite: Array


@dataclass
class Drawn:
    """One series as it is drawn: its facts, and its columns of numbers."""

    facts: dict[str, Json]
    columns: dict[str, Array] = field(default_factory=dict)


def extent(curve: Curve | Heights) -> tuple[float, float] | None:
    """The first and the last x; None of an empty series."""
    return (float(curve.x[0]), float(curve.x[-1])) if len(curve.x) else None


def window(curve: Curve, start: float, stop: float) -> slice:
    """The points from `start` to `stop`, both included."""
    return slice(int(np.searchsorted(curve.x, start, "left")), int(np.searchsorted(curve.x, stop, "right")))


def draw(curve: Curve, start: float, stop: float, buckets: int, *, most_points: int) -> Drawn:
    """Draw points: each one if there are few in the range, else the extremes of buckets."""
    inside = window(curve, start, stop)
    shown = inside.stop - inside.start
    y = curve.y[inside]
    drawn = Drawn(_facts(curve.x[inside], y) | {"source": "points", "is_sorted": curve.is_sorted})
    if shown <= most_points:
        # one more on either side, so that lines reach the edges of the plot
        around = slice(max(inside.start - 1, 0), inside.stop + 1)
        drawn.facts |= {"mode": "points", "shown": len(curve.x[around])}
        drawn.columns = {"x": curve.x[around], "y": curve.y[around]}
        if len(curve.smooth):
            drawn.columns["smooth"] = curve.smooth[around]
        return drawn
    drawn.facts |= {"mode": "buckets", "shown": shown}
    drawn.columns = _bucketed(curve.x[inside], y, start, stop, buckets)
    if len(curve.smooth):
        drawn.columns["smooth"] = _means(curve.x[inside], curve.smooth[inside], start, stop, buckets)
    return drawn


def draw_heights(heights: Heights, start: float, stop: float, buckets: int, shown: int) -> Drawn:
    """Draw the stretches of a pyramid, all of whose values are finite."""
    inside = slice(int(np.searchsorted(heights.x, start, "left")), int(np.searchsorted(heights.x, stop, "right")))
    x, low, high = heights.x[inside], heights.minimum[inside], heights.maximum[inside]
    starts, places = _starts(x, start, stop, buckets)
    columns = _empty(buckets)
    columns["min"][places] = np.minimum.reduceat(low, starts)
    columns["max"][places] = np.maximum.reduceat(high, starts)
    # Means are weighted by their number of points, since the last stretch of a chunk may be short.
    finite = heights.finite[inside].astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        total = np.add.reduceat(heights.mean[inside] * finite, starts)
        columns["mean"][places] = total / np.add.reduceat(finite, starts)
    columns["flags"][places] = np.where(
        _first(low, starts, np.minimum) < _first(high, starts, np.maximum), MIN_FIRST, 0
    )
    facts: dict[str, Json] = {
        "first": float(x[0]), "last": float(x[-1]), "min": number(float(low.min())), "max": number(float(high.max())),
        "not_finite": 0, "source": "pyramid", "is_sorted": True, "mode": "buckets", "shown": shown,
    }  # fmt: skip
    return Drawn(facts, columns)


def band(curves: Sequence[Curve], start: float, stop: float, buckets: int, how: str) -> dict[str, Array]:
    """Mean and band of several series."""
    same = all(len(each.x) == len(curves[0].x) and np.array_equal(each.x, curves[0].x) for each in curves)
    few = all(len(each.x[window(each, start, stop)]) <= 2 * buckets for each in curves)
    if same and few:
        inside = window(curves[0], start, stop)
        rows = np.stack([each.smooth[inside] if len(each.smooth) else each.y[inside] for each in curves])
        return {"x": curves[0].x[inside], **_spread(rows, how)}
    middle = start + (np.arange(buckets) + 0.5) * ((stop - start) / buckets)
    rows = np.full((len(curves), buckets), np.nan)
    for row, curve in zip(rows, curves, strict=True):
        inside = window(curve, start, stop)
        values = curve.smooth if len(curve.smooth) else curve.y
        if inside.stop > inside.start:
            row[:] = _means(curve.x[inside], values[inside], start, stop, buckets)
        # runs log at different steps, and a mean over those that happen to meet would jump
        is_there = np.isfinite(row)
        own = np.isfinite(values)
        if own.any():  # between neighbours a line, also to those outside of the range
            x, y = np.append(middle[is_there], curve.x[own]), np.append(row[is_there], values[own])
            order = np.argsort(x, kind="stable")
            is_within = (middle >= curve.x[0]) & (middle <= curve.x[-1]) & ~is_there
            row[is_within] = np.interp(middle[is_within], x[order], y[order])
    return _spread(rows, how)


def _spread(rows: Reals, how: str) -> dict[str, Array]:
    masked = np.where(np.isfinite(rows), rows, np.nan)
    n = np.isfinite(masked).sum(axis=0)
    # NumPy warns of columns without any value, and such columns are usual at the edges.
    is_there = n > 0
    mean, low, high = (np.full(masked.shape[1], np.nan) for _ in range(3))
    some = masked[:, is_there]
    if some.size:
        mean[is_there] = np.nanmean(some, axis=0)
        if how == "quartiles":
            low[is_there], high[is_there] = np.nanquantile(some, [0.25, 0.75], axis=0)
        elif how == "deviation":
            spread = np.nanstd(some, axis=0)
            low[is_there], high[is_there] = mean[is_there] - spread, mean[is_there] + spread
        else:
            low[is_there], high[is_there] = np.nanmin(some, axis=0), np.nanmax(some, axis=0)
    return {"mean": mean, "low": low, "high": high, "n": n.astype(np.float64)}


def _facts(x: Reals, y: Reals) -> dict[str, Json]:
    finite = y[np.isfinite(y)]
    return {
        "first": number(float(x[0])) if len(x) else None,
        "last": number(float(x[-1])) if len(x) else None,
        "min": float(finite.min()) if len(finite) else None,
        "max": float(finite.max()) if len(finite) else None,
        "not_finite": len(y) - len(finite),
    }


def _empty(buckets: int) -> dict[str, Array]:
    columns: dict[str, Array] = {name: np.full(buckets, np.nan) for name in ("min", "max", "mean")}
    columns["flags"] = np.zeros(buckets, np.uint8)
    return columns


def _starts(x: Reals, start: float, stop: float, buckets: int) -> tuple[Array, Array]:
    """Where the points of each bucket begin that has any, and which bucket that is."""
    edges = start + np.arange(buckets) * ((stop - start) / buckets)
    starts = np.searchsorted(x, edges, "left")
    # rounding of the first edge must not lose the first point
    starts[0] = 0
    is_filled = np.diff(starts, append=len(x)) > 0
    return starts[is_filled], np.flatnonzero(is_filled)


def _first(values: Reals, starts: Array, extreme: Any) -> Array:
    """Where in each stretch its extreme is met first."""
    # The extreme of each stretch, repeated over its points; where a value equals it, and first so, is its place.
    best = np.repeat(extreme.reduceat(values, starts), np.diff(starts, append=len(values)))
    places = np.flatnonzero(values == best)
    at = np.searchsorted(places, starts, "left")
    return np.where(at < len(places), places[np.minimum(at, len(places) - 1)], -1) if len(places) else starts


def _bucketed(x: Reals, y: Reals, start: float, stop: float, buckets: int) -> dict[str, Array]:
    starts, places = _starts(x, start, stop, buckets)
    columns = _empty(buckets)
    is_finite = np.isfinite(y)
    is_all = bool(is_finite.all())
    low = y if is_all else np.where(is_finite, y, np.inf)
    high = y if is_all else np.where(is_finite, y, -np.inf)
    count = np.diff(starts, append=len(y)) if is_all else np.add.reduceat(is_finite, starts, dtype=np.int64)
    has_any = count > 0
    filled = places[has_any]
    columns["min"][filled] = np.minimum.reduceat(low, starts)[has_any]
    columns["max"][filled] = np.maximum.reduceat(high, starts)[has_any]
    with np.errstate(over="ignore", invalid="ignore"):
        total = np.add.reduceat(y if is_all else np.where(is_finite, y, 0.0), starts)
        columns["mean"][filled] = total[has_any] / count[has_any]
    flags = np.where(_first(low, starts, np.minimum) < _first(high, starts, np.maximum), MIN_FIRST, 0).astype(np.uint8)
    if not is_all:
        for is_so, flag in ((np.isnan(y), HAS_NAN), (np.isposinf(y), HAS_PLUS), (np.isneginf(y), HAS_MINUS)):
            flags |= np.where(np.logical_or.reduceat(is_so, starts), flag, 0).astype(np.uint8)
    columns["flags"][places] = flags
    return columns


def _means(x: Reals, y: Reals, start: float, stop: float, buckets: int) -> Reals:
    """The mean of the finite values in each bucket."""
    starts, places = _starts(x, start, stop, buckets)
    found = np.full(buckets, np.nan)
    if not len(starts):
        return found
    is_finite = np.isfinite(y)
    count = np.add.reduceat(is_finite, starts, dtype=np.int64)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        found[places] = np.where(count > 0, np.add.reduceat(np.where(is_finite, y, 0.0), starts) / count, np.nan)
    return found


# The bytes


def as_bytes(head: dict[str, Json], drawn: Sequence[Drawn]) -> bytes:
    """The chart format. Columns of equal bytes are there once."""
    body: list[bytes] = []
    places: dict[tuple[str, bytes], int] = {}
    length = 0

    def place(kind: str, column: Array) -> int:
        nonlocal length
        data = column.tobytes()
        at = places.get((kind, data))
        if at is None:
            at = places[kind, data] = length
            padded = data + bytes(-len(data) % 8)
            body.append(padded)
            length += len(padded)
        return at

    series = []
    for each in drawn:
        base, scale, columns = _single(each.columns)
        named = {name: [place(kind, column), kind, len(column)] for name, (kind, column) in columns.items()}
        series.append({**each.facts, **({"base": base, "scale": scale, "columns": named} if named else {})})
    text = encoded({**head, "series": series})
    text += b" " * (-len(text) % 8)
    return b"".join((MAGIC, struct.pack("<I", len(text)), text, *body))


def as_json(head: dict[str, Json], drawn: Sequence[Drawn], numbers: Callable[[Array], Json]) -> Json:
    """The same for people: each column as a list of numbers."""
    series = [
        {**each.facts, "columns": {name: numbers(column) for name, column in each.columns.items()}} for each in drawn
    ]
    return {**head, "series": series}


def _single(columns: dict[str, Array]) -> tuple[float, float, dict[str, tuple[str, Array]]]:
    """The columns as float32 around a base: exact x and flags stay as they are."""
    drawn = [column for name, column in columns.items() if name not in ("x", "flags", "n")]
    # losses near 1e9 or 1e-40 would be a flat line in float32
    base, scale = _base_and_scale(drawn)
    found: dict[str, tuple[str, Array]] = {}
    for name, column in columns.items():
        if name == "x":
            found[name] = ("f8", column.astype("<f8", copy=False))
        elif name == "flags":
            found[name] = ("u1", column)
        elif name == "n":
            found[name] = ("f4", column.astype("<f4"))
        else:
            with np.errstate(over="ignore", invalid="ignore"):
                found[name] = ("f4", ((column - base) / scale if base or scale != 1.0 else column).astype("<f4"))
    return base, scale, found


def _base_and_scale(columns: Sequence[Array]) -> tuple[float, float]:
    finite = [column[np.isfinite(column)] for column in columns]
    finite = [each for each in finite if len(each)]
    if not finite:
        return 0.0, 1.0
    low, high = min(float(each.min()) for each in finite), max(float(each.max()) for each in finite)
    largest, spread = max(abs(low), abs(high)), high - low
    # the difference of two finite numbers may be infinite
    if not math.isfinite(spread):
        return 0.0, largest
    if 0 < spread < largest / COARSE:
        scale = spread if spread > LARGEST_SINGLE or spread < SMALLEST_SINGLE else 1.0
        return low + spread / 2, scale
    return 0.0, largest if largest > LARGEST_SINGLE or 0 < largest < SMALLEST_SINGLE else 1.0
