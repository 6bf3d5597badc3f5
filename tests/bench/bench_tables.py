"""Tables and queries over very many runs.

    python tests/bench/bench_tables.py [--quick] [--json]

The runs are entries put into a real catalog, 50 numbers each, and each has a folder with a seal, so that the look
whether any run has changed is a part of what is timed. Each figure is the CPU time of a user's call,
`project.fetch_runs_table(...)`, with `to_pandas()`. "First in a process" is that call in a fresh interpreter in which
numpy and pandas are imported; beside it, pandas reads a CSV file of the same numbers. Beside the other calls are a
SQLite table with one JSON column, and a pandas DataFrame that is in memory already. The run of 50,000 fields is a real
one.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from figures import Figure, folder, in_turns, main, seconds

import naiad
from naiad.storage.local.catalog import look_at, seal_stamp
from naiad.storage.local.store import Store
from naiad.storage.sql.values import LIST, Entry, Stamp, put
from naiad.table import fetch_table

FIELDS = 50
SORT = "m/1"
FILTERS = "`m/2`:float < 0.1 AND `m/3`:float > 0.5"
RARE = "`m/2`:float < 0.01 AND `m/3`:float > 0.99"
MANY = "`m/2`:float < 0.15"


def filled(place: Path, numbers: np.ndarray[Any, np.dtype[np.float64]]) -> Store:
    """A store whose catalog has a run for each row of numbers."""
    store = Store(place)
    store.create()
    (place / "runs").mkdir()
    for n in range(len(numbers)):
        (place / "runs" / str(n)).mkdir()
        (place / "runs" / str(n) / "seal.json").touch()
    os.utime(place / "runs", (1, 1))
    catalog = store.catalog()
    for start in range(0, len(numbers), 10_000):
        with catalog._transaction(is_writing=True) as connection:
            put(connection, list(entries(place, start, numbers[start : start + 10_000])))
    with catalog._transaction(is_writing=True) as connection:
        connection.run(LIST, listed=catalog._listed())
    return store


def entries(place: Path, start: int, numbers: np.ndarray[Any, np.dtype[np.float64]]) -> Iterator[Entry]:
    """What the catalog would have read of so many runs."""
    keys = [(f"m/{field}", "float") for field in range(1, FIELDS)]
    for n, row in enumerate(numbers.tolist(), start):
        cells = {("sys/creation_time", "datetime"): n, **dict(zip(keys, row, strict=True))}
        folder = f"{place}/runs/{n}"
        stamp = Stamp(look_at(folder).stamp.files, seal_stamp(folder))
        yield Entry(f"{n}", "runs", f"B-{n}", "bench", "finished", n, stamp, cells)


def with_json(numbers: np.ndarray[Any, np.dtype[np.float64]]) -> sqlite3.Connection:
    """The same in a table with one column of JSON."""
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE run (number INTEGER PRIMARY KEY, data TEXT)")
    frame = pd.DataFrame(numbers, columns=[f"m/{field}" for field in range(1, FIELDS)])
    texts = frame.to_json(orient="records", lines=True, double_precision=15).splitlines()
    connection.executemany("INSERT INTO run (data) VALUES (?)", ((text,) for text in texts))
    return connection


class Goals(NamedTuple):
    """The milliseconds that each figure may take."""

    first: str
    again: str
    many: str


FIRST = """
import sys, time, numpy, pandas, naiad
began = time.process_time()
project = naiad.init_project(store=sys.argv[1], project="bench", mode="read-only")
assert len(project.fetch_runs_table(limit=int(sys.argv[2]), progress_bar=False).to_pandas())
print(time.process_time() - began)
"""
FIRST_OF_PEER = """
import sys, time, numpy, pandas
began = time.process_time()
assert len(pandas.read_csv(sys.argv[1]).nlargest(int(sys.argv[2]), "m/1"))
print(time.process_time() - began)
"""


def first_call(code: str, place: Path, limit: int) -> float:
    """Milliseconds of CPU of the first table in a process."""
    command = [sys.executable, "-c", code, str(place), str(limit)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout) * 1e3


def queries(place: Path, count: int, repeats: int, limit: int | None, goals: Goals) -> list[Figure]:
    """The first table of a process, then filters, sorting and a limit, or all rows."""
    numbers = np.random.default_rng(0).random((count, FIELDS - 1))
    filled(place, numbers)
    as_json = with_json(numbers)
    frame = pd.DataFrame(numbers, columns=[f"m/{field}" for field in range(1, FIELDS)])
    csv = place.with_suffix(".csv")
    frame.to_csv(csv, index=False)
    most = limit or count
    first = in_turns(
        min(repeats, 5),
        {"ours": lambda: first_call(FIRST, place, most), "pandas on CSV": lambda: first_call(FIRST_OF_PEER, csv, most)},
    )
    named, cut = f"{count:,} runs x {FIELDS} fields", f" + limit {limit}" if limit else ""
    figures = [figure(f"{named}, {most:,} rows, first in a process", goals.first, first)]
    questions: list[tuple[str, str, str | None, str, Callable[[], pd.DataFrame]]] = [
        ("sort", goals.again, None, "1", lambda: frame),
        ("two filters + sort", goals.again, FILTERS, f"{M2} < 0.1 AND {M3} > 0.5", lambda: chosen(frame, 0.1, 0.5)),
        ("rare filters + sort", goals.again, RARE, f"{M2} < 0.01 AND {M3} > 0.99", lambda: chosen(frame, 0.01, 0.99)),
    ]
    with naiad.init_project(store=place, project="bench", mode="read-only") as project:

        def fetch(query: str | None, rows: int | None) -> pd.DataFrame:
            return project.fetch_runs_table(query=query, sort_by=SORT, limit=rows, progress_bar=False).to_pandas()

        for name, goal, query, where, scan in questions:
            calls = {
                "ours": lambda query=query: fetch(query, limit),
                "JSON column": lambda where=where: as_json.execute(json_query(where, most)).fetchall(),
                "pandas scan": lambda scan=scan: scan().nlargest(most, SORT),
            }
            figures.append(figure(f"{named}, {name}{cut}", goal, timed(repeats, calls)))
        calls = {
            "ours": lambda: fetch(MANY, None),
            "JSON column": lambda: as_json.execute(json_query(f"{M2} < 0.15", count)).fetchall(),
            "pandas scan": lambda: frame[frame["m/2"] < 0.15].sort_values(SORT),
        }
        hits = int((numbers[:, 1] < 0.15).sum())
        figures.append(figure(f"{named}, all {hits:,} hits of a filter", goals.many, timed(repeats, calls)))
    return figures


M2, M3 = (f"json_extract(data, '$.m/{field}')" for field in (2, 3))


def json_query(where: str, limit: int) -> str:
    """The rows with the largest values of the first field."""
    return f"SELECT * FROM run WHERE {where} ORDER BY json_extract(data, '$.m/1') DESC LIMIT {limit}"


def chosen(frame: pd.DataFrame, below: float, above: float) -> pd.DataFrame:
    """The rows that two filters leave."""
    return frame[(frame["m/2"] < below) & (frame["m/3"] > above)]


def timed(repeats: int, calls: dict[str, Callable[[], object]]) -> dict[str, list[float]]:
    """Milliseconds of CPU time of each call."""
    return in_turns(repeats, {name: lambda call=call: seconds(call) * 1e3 for name, call in calls.items()})


def figure(name: str, goal: str, found: dict[str, list[float]]) -> Figure:
    """A figure of the calls that were timed."""
    return Figure(name, "ms", found.pop("ours"), goal, found)


def wide_run(place: Path, *, quick: bool) -> list[Figure]:
    """A run of very many fields, listed and found while its series are not read."""
    count = 20 if quick else 50_000
    with naiad.init_run(store=place, project="wide") as run:
        run["p"] = {str(n): n / 7 for n in range(count // 2)}
        for n in range(0, count // 2, 500):
            run["s"].append({str(i): 0.5 for i in range(n, min(n + 500, count // 2))})
    store = Store(place)

    def cold() -> float:
        for file in place.glob("catalog.db*"):
            file.unlink()
        return seconds(lambda: store.catalog().summaries())

    found = in_turns(1 if quick else 3, {
        "cold": cold,
        "warm": lambda: seconds(lambda: store.catalog().summaries()),
        "table": lambda: seconds(lambda: fetch_table(store, "wide", columns=["p/1", "s/1:min"]).to_pandas()),
    })  # fmt: skip
    return [
        Figure("a run of 50,000 fields read into the catalog", "s", found["cold"]),
        Figure("    listed again", "s", found["warm"]),
        Figure("    fetch_runs_table of two columns of it", "s", found["table"]),
    ]


def measure(quick: bool) -> list[Figure]:
    """All figures of this file."""
    sizes = [(20, 1, None), (40, 1, 5)] if quick else [(1_000, 15, None), (100_000, 9, 50)]
    goals = [Goals("<= 150", "<= 5", ""), Goals("<= 100", "<= 30", "<= 200")]
    with folder() as place:
        found = wide_run(place / "wide", quick=quick)
        for (count, repeats, limit), each in zip(sizes, goals, strict=True):
            found += queries(place / str(count), count, repeats, limit, each)
        return found


if __name__ == "__main__":
    main(measure)
