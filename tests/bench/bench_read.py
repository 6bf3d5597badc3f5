"""Reading a run: whole series, charts, last values, the live tail, and opening a run of many fields.

    python tests/bench/bench_read.py [--quick] [--json]

"fetch_values()" is the call of a user, beside pandas on a CSV file. The other figures are the CPU time of a reader that
has the run open, except where "opening" is said: then of a new reader. A series is read as
three columns: steps, values and times. Floors: copying the same arrays in memory, loading them from an uncompressed
.npz, and the same points as rows of SQLite. Parquet is one of the floors where pyarrow is installed, and is not needed.
"""

from __future__ import annotations

import importlib.util
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from figures import Figure, folder, in_turns, main, seconds

import naiad
from naiad.storage.local.reader import Reader

Columns = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.int64]]
RNG = np.random.default_rng(0)
PATH = "train/loss"
START = 1_700_000_000.0


def columns(count: int) -> Columns:
    """Even steps, a noisy curve of float32 origin, a clock that jitters."""
    values = np.exp(-np.arange(count) / count * 4) + RNG.normal(size=count) * 0.01
    times = np.cumsum(RNG.integers(20, 80, count)) + int(START * 1000)
    return np.arange(count, dtype=np.float64), values.astype(np.float32).astype(np.float64), times


def written_run(store: Path, points: Columns, *, is_folded: bool = True) -> naiad.Run:
    """A run with one series; all of it stays in the journal unless `is_folded`."""
    os.environ["NAIAD_FOLD_RECORDS"] = str(262_144 if is_folded else 1 << 40)
    run = naiad.init_run(store=store, project="bench")
    steps, values, times = points
    for at in range(0, len(values), 1_000_000):
        part = slice(at, at + 1_000_000)
        run[PATH].extend(
            values[part].tolist(), steps=steps[part].astype(int).tolist(), timestamps=(times[part] / 1000).tolist()
        )
    return run


def stopped_reader(store: Path, points: Columns) -> Reader:
    """A reader of a stopped run that has been read once."""
    run = written_run(store, points)
    run.stop()
    reader = Reader(run._store.directory(run._run))
    reader.points(PATH)
    return reader


def raw_file(place: Path, points: Columns) -> Callable[[], object]:
    """Loading the columns as numpy itself keeps them."""
    path = place / f"{len(points[0])}.npz"
    np.savez(path, *points)

    def load() -> list[object]:
        with np.load(path) as stored:
            return [stored[name] for name in stored.files]

    return load


def rows_of_sqlite(place: Path, points: Columns) -> Callable[[], object]:
    """Reading rows into arrays."""
    connection = sqlite3.connect(place / f"{len(points[0])}.db")
    connection.execute("create table point (step real, value real, time integer)")
    with connection:
        connection.executemany("insert into point values (?, ?, ?)", zip(*(c.tolist() for c in points), strict=True))
    return lambda: np.array(connection.execute("select step, value, time from point").fetchall())


def parquet(place: Path, points: Columns) -> Callable[[], object] | None:
    """Reading a file of Parquet, zstd and byte-stream split, where pyarrow is there."""
    if importlib.util.find_spec("pyarrow") is None:
        return None
    import pyarrow
    import pyarrow.parquet

    path = place / f"{len(points[0])}.parquet"
    table = pyarrow.table(dict(zip(("step", "value", "time"), points, strict=True)))
    pyarrow.parquet.write_table(table, path, compression="zstd", use_dictionary=False, use_byte_stream_split=["value"])
    return lambda: [column.to_numpy() for column in pyarrow.parquet.read_table(path).columns]


def floors(place: Path, points: Columns, *, with_rows: bool) -> dict[str, Callable[[], object]]:
    """Other ways to get the same arrays."""
    found = {
        "np.copy of the arrays": lambda: [column.copy() for column in points],
        "np.load of an .npz": raw_file(place, points),
    }
    other = parquet(place, points)
    if other is not None:
        found["Parquet"] = other
    if with_rows:
        found["rows of SQLite"] = rows_of_sqlite(place, points)
    return found


def timed(repeats: int, ours: Callable[[], object], others: dict[str, Callable[[], object]]) -> dict[str, list[float]]:
    """Milliseconds of CPU time, by name; "ours" is first."""
    calls = {name: lambda call=call: seconds(call) * 1e3 for name, call in {"ours": ours, **others}.items()}
    return in_turns(repeats, calls)


def figure(name: str, goal: str, found: dict[str, list[float]]) -> Figure:
    """A figure from what `timed` found."""
    return Figure(name, "ms", found["ours"], goal, {key: values for key, values in found.items() if key != "ours"})


def whole_series(place: Path, *, quick: bool) -> list[Figure]:
    """1 M and 10 M points, and what can be had without reading all of them."""
    million = 1_000 if quick else 1_000_000
    repeats = 1 if quick else 9
    points = columns(million)
    reader = stopped_reader(place / "store", points)
    others = floors(place, points, with_rows=True)
    arrays = timed(repeats, lambda: reader.points(PATH), others)
    chart = timed(repeats, lambda: reader.chart(PATH, 1_000), {"reduceat over decoded arrays": lambda: drawn(points)})
    last = timed(repeats * 10, lambda: reader.last(PATH), {})
    opened = timed(repeats, lambda: Reader(reader.folder).last(PATH), {})
    points = columns(10 * million)
    large = stopped_reader(place / "store", points)
    many = timed(max(1, repeats // 2), lambda: large.points(PATH), floors(place, points, with_rows=False))
    return [
        figure("1 M points to numpy", "<= 30", arrays),
        figure("1,000 buckets of 1 M points", "<= 2", chart),
        figure("last value", "<= 0.1", last),
        figure("last value, opening the run", "", opened),
        figure("10 M points to numpy", "", many),
        figure("1,000 buckets of 10 M points", "", timed(repeats, lambda: large.chart(PATH, 1_000), {})),
    ]


FIRST = """
import sys, time, numpy, pandas, naiad
run = naiad.init_run(store=sys.argv[1], project="bench", with_id=sys.argv[2], mode="read-only")
began = time.process_time()
run[sys.argv[3]].fetch_values(progress_bar=False)
print(time.process_time() - began)
"""


def first_call(store: Path, run_id: str) -> float:
    """Milliseconds of CPU of the first `fetch_values` of a process that has opened the run."""
    command = [sys.executable, "-c", FIRST, str(store), run_id, PATH]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout) * 1e3


def public_calls(place: Path, *, quick: bool) -> list[Figure]:
    """`fetch_values()` of a stopped run by a user, first in a process and again, beside pandas on a CSV file.

    numpy and pandas are imported before the clock starts, and the run is open.
    """
    found = []
    for count, first, warm in ((100_000, "<= 20", "<= 3"), (1_000_000, "<= 60", "<= 25")):
        points = columns(count // 1_000 if quick else count)
        written = written_run(place / "public", points)
        run_id = written["sys/id"].fetch()
        written.stop()
        path = place / f"{count}.csv"
        pd.DataFrame(dict(zip(("step", "value", "time"), points, strict=True))).to_csv(path, index=False)
        with naiad.init_run(store=place / "public", project="bench", with_id=run_id, mode="read-only") as run:
            series = run[PATH]
            series.fetch_values(progress_bar=False)
            series.fetch_chart()
            calls = {
                "first": lambda run_id=run_id: first_call(place / "public", run_id),
                "warm": lambda series=series: seconds(lambda: series.fetch_values(progress_bar=False)) * 1e3,
                "chart": lambda series=series: seconds(series.fetch_chart) * 1e3,
                "np.copy of the arrays": lambda points=points: seconds(lambda: [each.copy() for each in points]) * 1e3,
                "pandas on CSV": lambda path=path: seconds(lambda: pd.read_csv(path)) * 1e3,
            }
            taken = in_turns(1 if quick else 7, calls)
        others = {name: taken[name] for name in ("np.copy of the arrays", "pandas on CSV")}
        found += [
            Figure(f"fetch_values() of {count:,} points, first in a process", "ms", taken["first"], first, others),
            Figure(f"fetch_values() of {count:,} points, again", "ms", taken["warm"], warm, others),
            Figure(f"fetch_chart() of {count:,} points", "ms", taken["chart"], "<= 1.5", others),
        ]
    return found


def drawn(points: Columns) -> object:
    """Extremes and sums of 1,000 stretches of arrays that are decoded already."""
    starts = np.linspace(0, len(points[1]), 1_000, endpoint=False, dtype=np.int64)
    return [operation.reduceat(points[1], starts) for operation in (np.minimum, np.maximum, np.add)]


def live_tail(place: Path, *, quick: bool) -> list[Figure]:
    """A run whose points all lie in the journal of a living writer."""
    count = 1_000 if quick else 1_000_000
    repeats = 1 if quick else 5
    points = columns(count)
    run = written_run(place / "live", points, is_folded=False)
    warm = Reader(run._store.directory(run._run))
    warm.last(PATH)
    records = np.zeros(count, "i8, f8, f8, u4, u4")
    others = {"np.copy of 1 M records": records.copy}
    found = [
        figure(
            "live tail of 1 M records to numpy, opening", "", timed(repeats, lambda: opened(run).points(PATH), others)
        ),
        figure("live tail of 1 M records to numpy", "", timed(repeats, lambda: warm.points(PATH), others)),
        figure("last value of a live run with 1 M records", "", timed(repeats, lambda: warm.last(PATH), {})),
    ]
    run[PATH].append(0.5)
    run.stop()
    return found


def opened(run: naiad.Run) -> Reader:
    """A new reader of a run."""
    return Reader(run._store.directory(run._run))


def many_fields(place: Path, *, quick: bool) -> list[Figure]:
    """Opening a run that has 50,000 parameters."""
    count = 500 if quick else 50_000
    repeats = 1 if quick else 5
    with naiad.init_run(store=place / "store", project="bench") as run:
        run["parameters"] = {f"group{number % 100}/{number}": number / 7 for number in range(count)}

    def again() -> None:
        naiad.init_run(store=place / "store", with_id=run._id, mode="read-only").stop()

    others: dict[str, Callable[[], object]] = {}
    if run._store.directory(run._run).index.exists():  # a short run has none
        rows = sqlite3.connect(run._store.directory(run._run).index)
        others["its rows out of SQLite"] = lambda: rows.execute("select * from field").fetchall()
    read = timed(repeats, lambda: opened(run).kinds(), others)
    return [
        figure("opening a run of 50,000 fields, reader", "", read),
        figure("opening a run of 50,000 fields, init_run(mode='read-only')", "", timed(repeats, again, others)),
    ]


def measure(quick: bool) -> list[Figure]:
    """All figures of this file."""
    with folder() as place:
        return [
            *public_calls(place, quick=quick),
            *whole_series(place, quick=quick),
            *live_tail(place, quick=quick),
            *many_fields(place, quick=quick),
        ]


if __name__ == "__main__":
    main(measure)
