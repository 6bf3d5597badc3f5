"""A run of 100,000 series: opened, read, and put into the first table. Writing it is a case of `bench_fold.py`.

    python tests/bench/bench_series.py [--quick] [--json]

Each figure is the CPU time of a user's call in a fresh interpreter, in default settings without captures; numpy and
pandas are imported before the clock starts. Beside opening is the reading of as many rows of SQLite (path, kind, 100
bytes), beside the table pandas on a CSV file with as many columns.
"""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from figures import Figure, folder, in_turns, main

POINTS = 10
"""Points of each series."""

BEGIN = """
import sys, time, numpy, pandas, naiad
place, size = sys.argv[1], int(sys.argv[2])
OFF = dict(capture_stdout=False, capture_stderr=False, capture_hardware_metrics=False, capture_traceback=False,
           git_ref=False, source_files=[], store=place, project="series")

began = time.process_time()
"""
END = """
print(time.process_time() - began)
"""
WRITE = f"""
run = naiad.init_run(**OFF)
names = [str(number) for number in range(size)]
for step in range({POINTS}):
    run["metrics"].append(dict.fromkeys(names, step / 7), step=step)
run.stop()
"""
OPEN = """
run = naiad.init_run(with_id="SERIES-1", mode="read-only", **OFF)
"""
READ = """
run = naiad.init_run(with_id="SERIES-1", mode="read-only", **OFF)
began = time.process_time()
run[f"metrics/{size - 1}"].fetch_last()
"""
RESUME = """
run = naiad.init_run(with_id="SERIES-1", **OFF)
"""
TABLE = """
with naiad.init_project(store=place, project="series", mode="read-only") as project:
    frame = project.fetch_runs_table(progress_bar=False).to_pandas()
assert frame.shape[1] > size
"""
ROWS = """
import sqlite3
connection = sqlite3.connect(place)
assert len(connection.execute("select * from field").fetchall()) == size
"""
CSV = """
assert pandas.read_csv(place).shape[1] == size
"""


def seconds_of(text: str, place: Path, size: int) -> float:
    """CPU seconds of a program in a fresh interpreter."""
    command = [sys.executable, "-c", BEGIN + text + END, str(place), str(size)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def without_catalog(store: Path) -> Path:
    """The store as it is before its first table."""
    for file in store.glob("catalog.*"):
        file.unlink()
    return store


def copied(store: Path) -> Path:
    """A copy of the store, which a writer changes."""
    copy = store.with_name("copy")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(store, copy)
    return copy


def floors(place: Path, size: int) -> tuple[Path, Path]:
    """A table of SQLite with a row for each series, and a CSV file with a column for each."""
    rows, csv = place / "rows.db", place / "columns.csv"
    with sqlite3.connect(rows) as connection:
        connection.execute("create table field (id integer primary key, path text, kind text, facts blob)")
        values = ((f"metrics/{number}", "float_series", bytes(100)) for number in range(size))
        connection.executemany("insert into field (path, kind, facts) values (?, ?, ?)", values)
    connection.close()
    csv.write_text(f"{','.join(f'metrics/{number}' for number in range(size))}\n{','.join(['0.5'] * size)}\n")
    return rows, csv


def measure(quick: bool) -> list[Figure]:
    """All figures of this file."""
    size, repeats = (1_000, 1) if quick else (100_000, 3)
    with folder() as place:
        store = place / "store"
        rows, csv = floors(place, size)
        seconds_of(WRITE, store, size)
        calls: dict[str, Callable[[], float]] = {
            "open": lambda: seconds_of(OPEN, store, size),
            "rows of SQLite": lambda: seconds_of(ROWS, rows, size),
            "read": lambda: seconds_of(READ, store, size),
            "resume": lambda: seconds_of(RESUME, copied(store), size),
            "table": lambda: seconds_of(TABLE, without_catalog(store), size),
            "table again": lambda: seconds_of(TABLE, store, size),
            "pandas on CSV": lambda: seconds_of(CSV, csv, size),
        }
        found = in_turns(repeats, calls)
    named = f"{size:,} series"
    return [
        Figure(f"{named}, open for reading", "s", found["open"], "<= 0.3", {"rows of SQLite": found["rows of SQLite"]}),
        Figure(f"{named}, first fetch_last() then", "s", found["read"]),
        Figure(f"{named}, resume", "s", found["resume"], "<= 0.3"),
        Figure(
            f"{named}, first table, without a catalog",
            "s",
            found["table"],
            "<= 1",
            {"pandas on CSV": found["pandas on CSV"]},
        ),
        Figure(f"{named}, first table of a process", "s", found["table again"]),
    ]


if __name__ == "__main__":
    main(measure)
