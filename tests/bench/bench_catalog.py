"""The catalog: the first look at a store whose runs were all killed, and queries over very many runs.

    python tests/bench/bench_catalog.py [--quick] [--json]

The 1,000 runs are real; their writers are forked and die without a word. "Cold" is without a catalog.db, wall time; the
floor reads every file below the runs once. The 10,000 runs of 50 fields are rows put into the catalog's own tables,
because the queries are what is timed: SQL over that schema, CPU time. Its floor is the same by a full scan, without the
indexes.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from figures import WALL, Figure, folder, in_turns, main, seconds
from sqlalchemy import Connection, create_engine, insert, select

import naiad
from naiad.store import catalog
from naiad.store.store import Store

RNG = np.random.default_rng(0)


def kill_writers(store: Path, count: int) -> None:
    """Leave as many runs behind as a machine that lost its power."""
    for _ in range(0, count, 100):
        child = os.fork()
        if not child:
            for number in range(min(count, 100)):
                run = naiad.init_run(store=store, project="bench")
                run["parameters"] = {"lr": number / 7, "epochs": number}
                run["loss"].append(0.5)
            os._exit(9)
        os.waitpid(child, 0)


def forget_catalog(store: Path) -> None:
    """Remove the catalog, as if nobody had ever listed these runs."""
    for path in store.glob("catalog.db*"):
        path.unlink()


def listed(store: Path, count: int) -> None:
    """List all runs, and see that they are known to be dead."""
    rows = Store.locate(store).catalog().rows(state="killed")
    if len(rows) < count:
        raise SystemExit(f"{len(rows)} of {count} runs are shown as killed")


def ls(store: Path) -> None:
    """List them as a user does."""
    code = "import sys; sys.argv = ['naiad', '--store', sys.argv[1], 'ls']; from naiad.cli import main; main()"
    subprocess.run([sys.executable, "-c", code, str(store)], check=True, stdout=subprocess.DEVNULL)


def read_files(store: Path) -> None:
    """Read every file of every run."""
    for base, _folders, names in os.walk(store / "runs"):
        for name in names:
            Path(base, name).read_bytes()


def killed_runs(place: Path, *, quick: bool) -> list[Figure]:
    """The first and the second look at 1,000 killed runs."""
    count, repeats = (3, 1) if quick else (1_000, 3)
    store = place / "killed"
    kill_writers(store, count)

    def cold(call: Any, *arguments: Any) -> float:
        forget_catalog(store)
        return seconds(lambda: call(*arguments), WALL)

    found = in_turns(
        repeats,
        {
            "cold": lambda: cold(listed, store, count),
            "warm": lambda: seconds(lambda: listed(store, count), WALL),
            "ls": lambda: cold(ls, store),
            "reading every file": lambda: seconds(lambda: read_files(store), WALL),
        },
    )
    floor = {"reading every file": found["reading every file"]}
    return [
        Figure("1,000 killed runs listed, cold", "s", found["cold"], "<= 2", floor),
        Figure("1,000 killed runs listed again", "s", found["warm"], "", floor),
        Figure("`naiad ls` of 1,000 killed runs, cold", "s", found["ls"], "<= 2", floor),
    ]


def filled(count: int, fields: int, *, with_indexes: bool) -> Connection:
    """A catalog in memory with as many runs, each with as many numbers."""
    connection = create_engine("sqlite://").connect()
    catalog.metadata.create_all(connection)
    if not with_indexes:
        for index in catalog.attr.indexes:
            index.drop(connection)
    runs = [
        {"number": n, "uid": str(n), "id": f"B-{n}", "project": "bench", "state": "finished", "stamp": ""}
        for n in range(1, count + 1)
    ]
    connection.execute(insert(catalog.run), runs)
    connection.execute(insert(catalog.path), [{"number": n, "path": f"m/{n}"} for n in range(1, fields + 1)])

    def attributes() -> Iterator[dict[str, Any]]:
        for n in range(1, count + 1):
            for field, value in enumerate(RNG.random(fields).tolist(), 1):
                yield {"run": n, "path": field, "kind": "float", "num": value}

    connection.execute(insert(catalog.attr), list(attributes()))
    return connection


def best(field: int) -> Any:
    """The 50 runs with the least value of a field."""
    attr = catalog.attr
    return select(attr.c.run).where(attr.c.path == field).order_by(attr.c.num).limit(50)


def filtered() -> Any:
    """The 50 runs with the least value of one field, of those that two others admit."""
    first, second = catalog.attr.alias(), catalog.attr.alias()
    query = best(1).join(first, first.c.run == catalog.attr.c.run).join(second, second.c.run == catalog.attr.c.run)
    return query.where(first.c.path == 2, first.c.num < 0.1, second.c.path == 3, second.c.num > 0.5)


def queries(*, quick: bool) -> list[Figure]:
    """What the tables make possible."""
    count, repeats = (20, 1) if quick else (10_000, 21)
    indexed, plain = (filled(count, 50, with_indexes=is_indexed) for is_indexed in (True, False))
    figures = []
    for name, query, goal in (("sort + limit", best(1), "<= 1"), ("two filters + sort", filtered(), "<= 15")):
        found = in_turns(
            repeats,
            {
                "ours": lambda query=query: seconds(lambda: indexed.execute(query).fetchall()) * 1e3,
                "without the indexes": lambda query=query: seconds(lambda: plain.execute(query).fetchall()) * 1e3,
            },
        )
        floor = {"without the indexes": found["without the indexes"]}
        figures.append(Figure(f"10,000 runs x 50 fields, {name}", "ms", found["ours"], goal, floor))
    return figures


def measure(quick: bool) -> list[Figure]:
    """All figures of this file."""
    with folder() as place:
        return [*killed_runs(place, quick=quick), *queries(quick=quick)]


if __name__ == "__main__":
    main(measure)
