"""How fast series become bytes and come back, and how many bytes a point takes.

    python tests/bench/bench_codec.py [repeats]

Prints millions of points a second of CPU time, the best and the median of interleaved repeats, beside floors
taken in the same run: copying the same arrays, and compressing them as they are at level 1. Asserts nothing.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from naiad.compression import compress
from naiad.storage.local.index.codec import (
    POINTS_LIMIT,
    decode_pack,
    decode_points,
    encode_pack,
    encode_points,
    read_header,
)
from naiad.storage.local.index.pyramid import decode_pyramid, pyramid

Array = npt.NDArray[Any]
START = 1_700_000_000_000
RNG = np.random.default_rng(0)


class Case(NamedTuple):
    """Something to time, the points it handles a call, and the bytes that these take."""

    name: str
    points: int
    size: int
    call: Callable[[], object]


class Points(NamedTuple):
    """The columns of a chunk."""

    steps: Array
    values: Array
    times: Array


def series(count: int, values: Array) -> Points:
    """Points with even steps and a clock that jitters by some milliseconds."""
    return Points(np.arange(count), values, START + np.cumsum(RNG.integers(20, 80, count)))


def values_by_origin(count: int) -> dict[str, Array]:
    """Values of the origins that the goals name."""
    noise = RNG.normal(size=count)
    curve = np.exp(-np.arange(count) / count * 4) + noise * 0.01
    return {
        "float32 noise": noise.astype(np.float32).astype(np.float64),
        "float32 loss curve": curve.astype(np.float32).astype(np.float64),
        "float64 noise": noise,
        "4 decimals": curve.round(4),
        "constant": np.ones(count),
    }


def chunk_cases(count: int, origin: str, values: Array) -> list[Case]:
    """Coding one chunk, with the floors for the same arrays."""
    points = series(count, values)
    chunk, levels, raw = encode_points(*points), pyramid(points.steps, points.values), b"".join(map(bytes, points))
    out = Points(np.empty(count), np.empty(count), np.empty(count, np.int64))
    label = f"{count:,} {origin}"
    return [
        Case(f"{label}: floor, np.copy", count, len(raw), lambda: [np.copy(column) for column in points]),
        Case(f"{label}: floor, compress raw", count, len(compress(raw)[1]), lambda: compress(raw)),
        Case(f"{label}: encode", count, len(chunk), lambda: encode_points(*points)),
        Case(f"{label}: decode", count, len(chunk), lambda: decode_points(chunk, *out)),
        Case(f"{label}: decode values", count, len(chunk), lambda: decode_points(chunk, None, out.values, None)),
        Case(f"{label}: pyramid", count, len(levels), lambda: pyramid(points.steps, points.values)),
        Case(f"{label}: decode pyramid", count, len(levels), lambda: decode_pyramid(levels)),
    ]


def pack_cases(many: int, each: int) -> list[Case]:
    """Coding many short series in packs of some 65,536 points, and the same as one chunk a series."""
    per_pack = POINTS_LIMIT // each
    values = RNG.normal(size=many * each).astype(np.float32).astype(np.float64)
    ids, steps = np.repeat(np.arange(many), each), np.tile(np.arange(each), many)
    times = START + steps * 5_000 + RNG.integers(0, 5_000, many * each)
    cuts = [slice(at * each, (at + per_pack) * each) for at in range(0, many, per_pack)]
    short = [slice(at * each, (at + 1) * each) for at in range(0, many, 100)]

    def fold() -> list[bytes]:
        return [encode_pack(ids[cut], steps[cut], values[cut], times[cut]) for cut in cuts]

    def singly() -> list[bytes]:
        return [encode_points(steps[cut], values[cut], times[cut]) for cut in short]

    packs, chunks, label = fold(), singly(), f"{many:,} series of {each}"
    return [
        Case(f"{label}: pack", many * each, sum(map(len, packs)), fold),
        Case(
            f"{label}: unpack",
            many * each,
            sum(map(len, packs)),
            lambda: [decode_pack(pack) for pack in packs],
        ),
        Case(f"{label}: a chunk each", len(short) * each, sum(map(len, chunks)), singly),
    ]


def read_cases(count: int) -> list[Case]:
    """Reading a long series of several chunks into one fresh array a column."""
    points = series(count, values_by_origin(count)["float32 noise"])
    cuts = [slice(at, at + POINTS_LIMIT) for at in range(0, count, POINTS_LIMIT)]
    chunks = [encode_points(*(column[cut] for column in points)) for cut in cuts]

    def read() -> Points:
        out = Points(np.empty(count), np.empty(count), np.empty(count, np.int64))
        for cut, chunk in zip(cuts, chunks, strict=True):
            decode_points(chunk, *(column[cut] for column in out))
        return out

    def read_values() -> Array:
        out = np.empty(count)
        for cut, chunk in zip(cuts, chunks, strict=True):
            decode_points(chunk, None, out[cut], None)
        return out

    size = sum(map(len, chunks))
    return [
        Case(f"{count:,} in chunks: floor, np.copy", count, 24 * count, lambda: [c.copy() for c in points]),
        Case(f"{count:,} in chunks: headers", count, size, lambda: [read_header(chunk) for chunk in chunks]),
        Case(f"{count:,} in chunks: read", count, size, read),
        Case(f"{count:,} in chunks: read values", count, size, read_values),
    ]


def measure(cases: list[Case], repeats: int) -> dict[str, list[float]]:
    """Return CPU seconds a call. The repeats are interleaved, so that a busy moment hits all cases alike."""
    seconds: dict[str, list[float]] = {case.name: [] for case in cases}
    for _ in range(repeats):
        for case in cases:
            calls = max(1, 200_000 // case.points)
            began = time.process_time()
            for _ in range(calls):
                case.call()
            seconds[case.name].append((time.process_time() - began) / calls)
    return seconds


def report(cases: list[Case], repeats: int) -> None:
    """Print a line a case."""
    for case, taken in zip(cases, measure(cases, repeats).values(), strict=True):
        best, median = min(taken), statistics.median(taken)
        print(
            f"{case.name:<46}{case.points / best / 1e6:>9.1f}{case.points / median / 1e6:>9.1f}"
            f"{best * 1e3:>11.3f}{case.size / case.points:>9.2f}"
        )


def main(repeats: int) -> None:
    """Measure everything."""
    print(f"{'':<46}{'M/s best':>9}{'median':>9}{'best, ms':>11}{'B/point':>9}")
    for count in (10, 100, 1_000, POINTS_LIMIT):
        for origin, values in values_by_origin(count).items():
            report(chunk_cases(count, origin, values), repeats)
    for many, each in ((100_000, 5), (100_000, 10)):
        report(pack_cases(many, each), repeats)
    for count in (1_000_000, 10_000_000):
        report(read_cases(count), repeats)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 9)
