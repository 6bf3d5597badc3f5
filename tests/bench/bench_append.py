"""What one append costs the training loop, while the fold thread is folding.

    python tests/bench/bench_append.py [--quick] [--json]

The floors have the same meaning as an append: a slot is counted, the clock is read, a record is packed where it
survives `kill -9`. "inline" does that in the body of the loop, with local names and no call at all. "in a method" does
it in the smallest method that takes the arguments of `append`: what Python asks for any call of this shape. Both go on
through a fresh file, as a journal does, so that they too touch a new page now and then. Means are over bursts of 2,000
calls, wall time; the loop's own turn is in all of them. The percentiles time each call alone, so the reading of a clock
is in each.

Settings are the defaults. How many folds there were meanwhile is printed on stderr.
"""

from __future__ import annotations

import importlib.util
import itertools
import mmap
import os
import sqlite3
import statistics
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from figures import WALL, Figure, folder, in_turns, main

import naiad
from naiad.slots import pack_int
from naiad.storage.local.maintenance import Maintenance

Append = Callable[[int], object]
METRICS = {f"metric{i}": 0.5 + i for i in range(10)}
FIVE = {f"five{i}": 0.5 + i for i in range(5)}
WIDE = {f"wide{i}": 0.5 + i for i in range(1_000)}
FLOORS = (
    "an empty method call", "a bare mmap, inline", "a bare mmap, in a method", "write() of a record",
    "SQLite autocommit",
)  # fmt: skip
UNUSUAL = {
    "a np.float32": "<= 0.8",
    "a fractional step": "<= 0.8",
    "a timestamp": "<= 0.8",
    "an int": "",
    "a torch scalar": "<= 1.5",
}


class Bare:
    """A mapped file and the least that a method with the arguments of `append` can do with it."""

    __slots__ = ("slot",)

    def __init__(self, path: Path, records: int) -> None:
        """Allocate the file."""
        with path.open("w+b") as stream:
            os.posix_fallocate(stream.fileno(), 0, 64 + 32 * records)
            self.slot = (itertools.count(64, 32), mmap.mmap(stream.fileno(), 0))

    def append(self, value, *, step=None, timestamp=None, wait=False, name=None, description=None):
        """The record, and nothing else."""
        offsets, page = self.slot
        at = next(offsets)
        pack_int(page, at, step, value, time.time(), 1, at)

    def nothing(self, value, *, step=None, timestamp=None, wait=False, name=None, description=None):
        """The call alone."""


def database(path: Path) -> sqlite3.Connection:
    """A table of points in which each insert is its own transaction."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("pragma journal_mode=WAL")
    connection.execute("pragma synchronous=NORMAL")
    connection.execute("create table point (field integer, step integer, value real, time real)")
    return connection


def bursts(run: naiad.Run, bare: Bare, file: int, rows: sqlite3.Connection, count: int) -> dict[str, Append]:
    """Loops by name, each given how many calls it shall make."""
    steps = itertools.count()
    held, group = run["train/loss"], run["train"]
    record, now, insert = bytes(32), time.time, "insert into point values (1, ?, ?, ?)"

    def inline(count: int) -> None:
        offsets, page = bare.slot
        for step in range(count):
            at = next(offsets)
            pack_int(page, at, step, 0.5, now(), 1, at)

    def method(count: int) -> None:
        for step in range(count):
            bare.append(0.5, step=step)

    def nothing(count: int) -> None:
        for step in range(count):
            bare.nothing(0.5, step=step)

    def write(count: int) -> None:
        for _ in range(count):
            os.write(file, record)

    def autocommit(count: int) -> None:
        for step in range(count // 20):
            rows.execute(insert, (step, 0.5, now()))

    def with_handle(count: int) -> None:
        first = next(steps) * count
        for step in range(first, first + count):
            held.append(0.5, step=step)

    def with_path(count: int) -> None:
        first = next(steps) * count
        for step in range(first, first + count):
            run["train/loss"].append(0.5, step=step)

    def without_step(count: int) -> None:
        for _ in range(count):
            held.append(0.5)

    def ten_at_once(count: int) -> None:
        first = next(steps) * count
        for step in range(first, first + count // 10):
            run["train"].append(METRICS, step=step)

    def wide(count: int) -> None:
        for step in range(count // 1_000 or 1):
            group.append(WIDE, step=step)

    def five_in_a_dict(count: int) -> None:
        for step in range(count // 5):
            group.append(FIVE, step=step)

    fives = [group[name] for name in FIVE]

    def five_appends(count: int) -> None:
        first, second, third, fourth, fifth = fives
        for step in range(count // 5):
            first.append(0.5, step=step)
            second.append(1.5, step=step)
            third.append(2.5, step=step)
            fourth.append(3.5, step=step)
            fifth.append(4.5, step=step)

    def single(count: int, value: object = np.float32(0.5)) -> None:
        for step in range(count):
            held.append(value, step=step)

    def fractional(count: int) -> None:
        for step in range(count):
            held.append(0.5, step=step + 0.5)

    def timed(count: int, at: float = time.time()) -> None:
        for step in range(count):
            held.append(0.5, step=step, timestamp=at)

    def tensor() -> dict[str, Append]:
        if not importlib.util.find_spec("torch"):
            return {}
        import torch

        value = torch.tensor(0.5)
        return {"a torch scalar": lambda count: single(count, value)}

    for values in (METRICS, FIVE, WIDE):
        group.append(values, step=0)
    held.append(0.5)
    return {
        "an empty method call": nothing,
        "a bare mmap, inline": inline,
        "a bare mmap, in a method": method,
        "write() of a record": write,
        "SQLite autocommit": autocommit,
        "handle": with_handle,
        "path": with_path,
        "auto": without_step,
        "dict": ten_at_once,
        "wide dict": wide,
        "five in a dict": five_in_a_dict,
        "five appends": five_appends,
        "a np.float32": single,
        "a fractional step": fractional,
        "a timestamp": timed,
        "an int": lambda count: single(count, 3),
        **tensor(),
    }


def timed_bursts(run: naiad.Run, bare: Bare, file: int, rows: sqlite3.Connection, *, quick: bool) -> list[Figure]:
    """Means of bursts, in microseconds a point."""
    count, repeats = (100, 2) if quick else (2_000, 400)
    loops = bursts(run, bare, file, rows, count)

    def timed(loop: Append, calls: int) -> float:
        began = WALL()
        loop(count)
        return (WALL() - began) / calls * 1e6

    parts = {"SQLite autocommit": count // 20, "five in a dict": count // 5, "five appends": count // 5}
    parts["wide dict"] = max(count, 1_000)
    points = {name: parts.get(name, count) for name in loops}
    calls = {name: lambda name=name: timed(loops[name], points[name]) for name in loops}
    found = in_turns(repeats, calls)
    floors = {
        name: found[name]
        for name in (
            "an empty method call",
            "a bare mmap, inline",
            "a bare mmap, in a method",
            "write() of a record",
            "SQLite autocommit",
        )
    }
    bare_floors = {name: values for name, values in floors.items() if "bare" in name}
    return [
        Figure("handle.append(v, step=s)", "us", found["handle"], "<= 0.40", floors),
        Figure("run[path].append(v, step=s)", "us", found["path"], "<= 0.45", bare_floors),
        Figure("handle.append(v)", "us", found["auto"], "", bare_floors),
        Figure("run[path].append({10 metrics}, step=s), a point", "us", found["dict"], "<= 0.30", bare_floors),
        Figure("run[path].append({1,000 metrics}, step=s), a point", "us", found["wide dict"], "", bare_floors),
        Figure("run[path].append({5 metrics}, step=s), a call", "us", found["five in a dict"], "", {
            "five appends": found["five appends"]}),
        *(
            Figure(f"handle.append of {name}", "us", found[name], goal, bare_floors)
            for name, goal in UNUSUAL.items()
            if name in found
        ),
    ]  # fmt: skip


def latencies(append: Callable[[int], object], count: int) -> list[int]:
    """Nanoseconds of each call."""
    clock = time.perf_counter_ns
    taken = [0] * count
    for step in range(count):
        began = clock()
        append(step)
        taken[step] = clock() - began
    return taken


def percentiles(run: naiad.Run, bare: Bare, file: int, rows: sqlite3.Connection, *, quick: bool) -> list[Figure]:
    """The median and the slow ends of single calls, with 1 and 4 threads of our own beside the fold thread."""
    count, repeats = (200, 1) if quick else (100_000, 5)
    handles = [run[f"thread{number}/loss"] for number in range(4)]
    record = bytes(32)

    def alone(append: Append) -> Callable[[], list[int]]:
        return lambda: latencies(append, count)

    def ours(handle: naiad.handler.Handler) -> Append:
        return lambda step: handle.append(0.5, step=step)

    def threads() -> list[int]:
        found: list[list[int]] = []
        group = [
            threading.Thread(target=lambda handle=handle: found.append(latencies(ours(handle), count // 4)))
            for handle in handles
        ]
        for thread in group:
            thread.start()
        for thread in group:
            thread.join()
        return [each for part in found for each in part]

    def bare_append() -> list[int]:
        return latencies(lambda step: bare.append(0.5, step=step), count)

    def autocommit() -> list[int]:
        insert = "insert into point values (1, ?, ?, ?)"
        return latencies(lambda step: rows.execute(insert, (step, 0.5, time.time())), count // 100)

    for handle in handles:
        handle.append(0.5)
    names = {
        "1": alone(ours(handles[0])),
        "4": threads,
        "an empty call": alone(lambda step: bare.nothing(0.5, step=step)),
        "a bare mmap, in a method": bare_append,
        "write() of a record": alone(lambda _step: os.write(file, record)),
        "SQLite autocommit": autocommit,
    }
    found = in_turns(repeats, names)
    figures = []
    for share, label, goal in ((0.5, "p50", ""), (0.99, "p99", "<= 1"), (0.999, "p99.9", "")):
        at = {name: [quantile(values, share) / 1e3 for values in taken] for name, taken in found.items()}
        floors = {name: at[name] for name in names if not name.isdigit()}
        for number in ("1", "4"):
            title = f"handle.append(v, step=s), {label}, {number} thread{'s' * (number != '1')}"
            figures.append(Figure(title, "us", at[number], goal, floors if number == "1" else {}))
    return figures


def quantile(values: list[int], share: float) -> int:
    """The value that such a share of the others does not exceed."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def count_folds() -> list[float]:
    """A list that gets the duration of each fold of this process from now on."""
    taken: list[float] = []
    original = Maintenance.fold

    def fold(self: Maintenance, *arguments: Any, **options: Any) -> None:
        began = WALL()
        original(self, *arguments, **options)
        taken.append(WALL() - began)

    Maintenance.fold = fold  # type: ignore[method-assign]
    return taken


def measure(quick: bool) -> list[Figure]:
    """All figures of this file."""
    if quick:
        os.environ["NAIAD_FOLD_RECORDS"] = "200"
    folds = count_folds()
    with folder() as place:
        file = os.open(place / "records", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        rows = database(place / "rows.db")
        bare = Bare(place / "bare", 10_000 if quick else 2_200_000)
        with naiad.init_run(store=place / "store", project="bench") as run:
            found = timed_bursts(run, bare, file, rows, quick=quick)
            found += percentiles(run, bare, file, rows, quick=quick)
            during = len(folds)
        rows.close()
        os.close(file)
    slowest = max(folds, default=0.0)
    print(f"{during} folds while appending, {statistics.median(folds or [0.0]):.3f} s each, at most {slowest:.3f} s",
          file=sys.stderr)  # fmt: skip
    return found


if __name__ == "__main__":
    main(measure)
