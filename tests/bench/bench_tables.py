"""Tables and queries over very many runs.

    python tests/bench/bench_tables.py [--quick] [--json]

The runs are entries put into a real catalog, 50 numbers each, and each has a folder with a seal, so that the look
whether any run has changed is a part of what is timed: `fetch_runs_table` from call to result, CPU time. "first in a
process" is that call in a fresh interpreter in which numpy and pandas are imported. "the SQL alone" is what SQLite
itself needs. The floors hold the same numbers: a table with one JSON column, sorted and filtered by
json_extract, and a pandas DataFrame that is in memory already. The run of 50,000 fields is a real one.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from figures import CPU, Figure, folder, in_turns, main, seconds

import naiad
from naiad.container_kinds import RUN
from naiad.query.parser import parse
from naiad.storage.local.catalog import seal_stamp, stamp_of
from naiad.storage.local.layout import RunDirectory
from naiad.storage.local.store import Store
from naiad.storage.sql.values import LIST, Entry, Stamp, put
from naiad.table import Table, fetch_table

FIELDS = 50
SORT = "m/1"
FILTERS = "`m/2`:float < 0.1 AND `m/3`:float > 0.5"
RARE = "`m/2`:float < 0.01 AND `m/3`:float > 0.99"


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
        folder = RunDirectory(place / "runs" / str(n))
        stamp = Stamp(stamp_of(folder).files, seal_stamp(str(folder.path)))
        yield Entry(f"{n}", "runs", f"B-{n}", "bench", "finished", n, stamp, cells)


def with_json(numbers: np.ndarray[Any, np.dtype[np.float64]]) -> sqlite3.Connection:
    """The same in a table with one column of JSON."""
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE run (number INTEGER PRIMARY KEY, data TEXT)")
    frame = pd.DataFrame(numbers, columns=[f"m/{field}" for field in range(1, FIELDS)])
    texts = frame.to_json(orient="records", lines=True, double_precision=15).splitlines()
    connection.executemany("INSERT INTO run (data) VALUES (?)", ((text,) for text in texts))
    return connection


def json_query(where: str = "") -> str:
    """The 50 rows with the largest value of the first field."""
    return f"SELECT * FROM run {where} ORDER BY json_extract(data, '$.m/1') DESC LIMIT 50"


JSON_FILTERS = "WHERE json_extract(data, '$.m/2') < 0.1 AND json_extract(data, '$.m/3') > 0.5"


def queries(place: Path, count: int, repeats: int, goals: tuple[str, str]) -> list[Figure]:
    """Sorting and filtering, and the whole as a DataFrame."""
    numbers = np.random.default_rng(0).random((count, FIELDS - 1))
    store = filled(place, numbers)
    as_json = with_json(numbers)
    frame = pd.DataFrame(numbers, columns=[f"m/{field}" for field in range(1, FIELDS)])
    catalog = store.catalog()
    catalog.refresh()

    def fetch(query: str | None = None) -> Table:
        return fetch_table(store, "bench", query=query, sort_by=SORT, limit=50, trashed=None)

    def alone(query: str | None = None) -> float:
        tree = parse(query) if query else None
        spent: list[float] = []
        read = catalog.read
        catalog.read = lambda ask: read(lambda connection: timed(ask, connection, spent))  # type: ignore[method-assign]
        try:
            catalog.search(RUN, "bench", tree, sort_by=SORT, limit=50)
        finally:
            catalog.read = read  # type: ignore[method-assign]
        return spent[0] * 1e3

    def chosen() -> pd.DataFrame:
        return frame[(frame["m/2"] < 0.1) & (frame["m/3"] > 0.5)]

    figures = []
    for name, goal, query, where, scan in (
        ("sort + limit", goals[0], None, "", lambda: frame.nlargest(50, SORT)),
        ("two filters + sort", goals[1], FILTERS, JSON_FILTERS, lambda: chosen().nlargest(50, SORT)),
        ("two rare filters + sort", goals[1], RARE, JSON_FILTERS, lambda: chosen().nlargest(50, SORT)),
    ):
        found = in_turns(
            repeats,
            {
                "call": lambda query=query: seconds(lambda: fetch(query)) * 1e3,
                "ours": lambda query=query: alone(query),
                "JSON column": lambda where=where: seconds(lambda: as_json.execute(json_query(where)).fetchall()) * 1e3,
                "pandas scan": lambda scan=scan: seconds(scan) * 1e3,
            },
        )
        floors = {floor: found[floor] for floor in ("JSON column", "pandas scan")}
        figures.append(Figure(f"{count:,} runs x {FIELDS} fields, {name}", "ms", found["ours"], goal, floors))
        figures.append(Figure("    from call to Table", "ms", found["call"], "", floors))
    first = [first_call(place) for _ in range(min(repeats, 3))]
    figures.append(Figure(f"{count:,} runs, limit 50, first in a process", "ms", first, "<= 100"))
    if count <= 10_000:
        figures.append(whole(store, as_json, repeats))
    return figures


FIRST = """
import sys, time, numpy, pandas, naiad
began = time.process_time()
project = naiad.init_project(store=sys.argv[1], project="bench", mode="read-only")
assert 0 < len(project.fetch_runs_table(limit=50, progress_bar=False).to_pandas())
print(time.process_time() - began)
"""


def first_call(place: Path) -> float:
    """Milliseconds of CPU of the first table in a process."""
    command = [sys.executable, "-c", FIRST, str(place)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout) * 1e3


def timed(ask: Any, connection: Any, spent: list[float]) -> Any:
    """Ask, and note how long that took."""
    began = CPU()
    answer = ask(connection)
    spent.append(CPU() - began)
    return answer


def whole(store: Store, as_json: sqlite3.Connection, repeats: int) -> Figure:
    """Every run with every column."""

    def from_json() -> pd.DataFrame:
        texts = [text for (text,) in as_json.execute("SELECT data FROM run")]
        return pd.DataFrame(__import__("msgspec").json.decode(f"[{','.join(texts)}]"))

    found = in_turns(
        max(1, repeats // 3),
        {
            "ours": lambda: seconds(lambda: fetch_table(store, "bench").to_pandas()) * 1e3,
            "JSON column": lambda: seconds(from_json) * 1e3,
        },
    )
    floors = {"JSON column": found["JSON column"]}
    return Figure("fetch_runs_table().to_pandas() of that, all columns", "ms", found["ours"], "<= 300", floors)


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
    sizes = [(20, 1), (40, 1)] if quick else [(10_000, 15), (100_000, 9)]
    goals = [("<= 1", "<= 15"), ("<= 1", "<= 30")]
    with folder() as place:
        found = wide_run(place / "wide", quick=quick)
        for (count, repeats), each in zip(sizes, goals, strict=True):
            found += queries(place / str(count), count, repeats, each)
        return found


if __name__ == "__main__":
    main(measure)
