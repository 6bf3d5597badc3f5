"""From `append` to a stopped run with everything in its index: points a second of one core, and bytes a point.

    python tests/bench/bench_fold.py [--quick] [--json]

CPU time of all threads, over the appends, the folds and `stop()` with its compaction and seal. Folds are made in a
thread here, so that their CPU time counts. One figure is `stop()` alone, of a run of which nothing was folded before:
to define 100,000 paths, as the first appends do, costs half as much again. numpy makes the values and is imported
before the clock starts; what that costs a program that has not imported it is the last figure. Floors: the same rows
into SQLite by one `executemany`, in one transaction, without any index; nothing of our call or journal is in them. Each
case is a run of its own; the cases are measured in turns.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from figures import CPU, Figure, folder, in_turns, main

import naiad
from naiad.storage.local import processes

processes.can_start = lambda: False

RNG = np.random.default_rng(0)
Values = npt.NDArray[np.float64]


def curve(count: int, *, single: bool) -> Values:
    """A noisy loss curve, from float32 as training makes it, or with all digits of float64."""
    values = np.exp(-np.arange(count) / count * 4) + RNG.normal(size=count) * 0.01
    return values.astype(np.float32).astype(np.float64) if single else values


def one_by_one(run: naiad.Run, series: int, points: int, values: list[float]) -> None:
    """Append to each series in turn, step after step, through handles that are held."""
    handles = [run[f"metrics/{number}"] for number in range(series)]
    following = iter(values)
    for step in range(points):
        for handle in handles:
            handle.append(next(following), step=step)


def by_dict(run: naiad.Run, series: int, points: int, values: list[float]) -> None:
    """Append a dict of all series at each step."""
    names = [str(number) for number in range(series)]
    for step in range(points):
        run["metrics"].append(dict(zip(names, values[step * series : (step + 1) * series], strict=True)), step=step)


def finished_run(store: Path, write: Callable[[naiad.Run], None]) -> tuple[float, Path]:
    """CPU seconds from the first append to the end of `stop()`, and the run's folder."""
    run = naiad.init_run(store=store, project="bench")
    began = CPU()
    write(run)
    run.stop()
    return CPU() - began, Path(run._store.directory(run._run).path)


def folded_at_the_end(store: Path, write: Callable[[naiad.Run], None]) -> float:
    """CPU seconds of a `stop()` in which everything is folded."""
    run = naiad.init_run(store=store, project="bench")
    write(run)
    if Path(run._store.directory(run._run).path, "run.db").exists():
        raise SystemExit("Some points were folded before stop(): log fewer.")
    began = CPU()
    run.stop()
    return CPU() - began


def rows_into_sqlite(place: Path, values: list[float]) -> float:
    """CPU seconds of inserting as many points as rows."""
    path = place / f"{time.time_ns()}.db"
    connection = sqlite3.connect(path)
    connection.execute("pragma journal_mode=WAL")
    connection.execute("pragma synchronous=NORMAL")
    connection.execute("create table point (field integer, step integer, value real, time real)")

    def rows() -> Iterator[tuple[int, int, float, float]]:
        return ((step % 10, step, value, 1.7e9) for step, value in enumerate(values))

    began = CPU()
    with connection:
        connection.executemany("insert into point values (?, ?, ?, ?)", rows())
    taken = CPU() - began
    connection.close()
    path.unlink()
    return taken


def rates(place: Path, *, quick: bool) -> list[Figure]:
    """Millions of points a second of one core."""
    scale, repeats = (100, 1) if quick else (1, 3)
    cases = [
        ("1 series of 1,000,000", 1, 1_000_000, one_by_one, ">= 1"),
        ("10 series of 100,000", 10, 100_000, one_by_one, ">= 1"),
        ("1,000 series of 1,000", 1_000, 1_000, one_by_one, ">= 1"),
        ("100,000 series of 10, a dict a step", 100_000, 10, by_dict, ">= 0.4"),
        ("100,000 series of 5, a dict a step", 100_000, 5, by_dict, ">= 0.4"),
        ("100,000 series of 10, a handle each", 100_000, 10, one_by_one, ">= 0.4"),
    ]
    values = curve(1_000_000, single=True).tolist()
    calls: dict[str, Callable[[], float]] = {}
    for name, series, points, write, _goal in cases:
        series, points = (series // scale, points) if series > 1_000 else (series, max(1, points // scale))

        def call(series: int = series, points: int = points, write: Callable[..., None] = write) -> float:
            taken, _path = finished_run(place / "store", lambda run: write(run, series, points, values))
            return series * points / taken / 1e6

        calls[name] = call
    wide, points = 100_000 // scale, 5
    alone = "stop() with all of the fold, 100,000 series of 5"
    calls[alone] = lambda: (
        wide * points / folded_at_the_end(place / "store", lambda run: by_dict(run, wide, points, values)) / 1e6
    )
    floor = "executemany of rows into SQLite"
    calls[floor] = lambda: len(values) // scale / rows_into_sqlite(place, values[: len(values) // scale]) / 1e6
    found = in_turns(repeats, calls)
    return [
        Figure(f"append to stopped run, {name}", "M/s", found[name], goal, {floor: found[floor]}, is_rate=True)
        for name, _series, _points, _write, goal in cases
    ] + [Figure(alone, "M/s", found[alone], ">= 0.5", {floor: found[floor]}, is_rate=True)]


def sizes(place: Path, *, quick: bool) -> list[Figure]:
    """Bytes a point of all files of a stopped run of 10 series."""
    count = 10_000 if quick else 1_000_000
    figures = []
    for name, single, goal in (("float32 origin", True, "<= 4.5"), ("float64", False, "<= 8.5")):
        values = curve(count, single=single).tolist()
        _taken, path = finished_run(
            place / "store", lambda run, values=values: one_by_one(run, 10, count // 10, values)
        )
        size = sum(os.path.getsize(os.path.join(base, name)) for base, _, names in os.walk(path) for name in names)
        figures.append(Figure(f"bytes a point, {name}", "B", [size / count], goal, {"a record of the journal": [32.0]}))
    return figures


def numpy_alone(repeats: int) -> Figure:
    """CPU seconds of importing numpy, which the first fold of a program pays if nothing else has."""
    code = "import time; began = time.process_time(); import numpy; print(time.process_time() - began)"
    taken = [float(subprocess.check_output([sys.executable, "-c", code])) for _ in range(repeats)]
    return Figure("import numpy, not in the figures above", "s", taken)


def measure(quick: bool) -> list[Figure]:
    """All figures of this file."""
    with folder() as place:
        return rates(place, quick=quick) + sizes(place, quick=quick) + [numpy_alone(1 if quick else 5)]


if __name__ == "__main__":
    main(measure)
