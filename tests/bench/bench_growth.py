"""How costs grow: a table of each cost at growing sizes, with the exponent between the two largest of them.

    python tests/bench/bench_growth.py [--quick] [--json] [NAME ...]

A NAME is one of points, series, fields, runs, lines and processes; without one all are taken, in about half an
hour. An exponent of 1 is linear growth, 0 is a fixed cost; the goal is at most 1.1 for each, and a memory of the
training program that does not grow with its points. Each cost is the CPU time of a program of its own and of all its
children, through public calls in default settings without captures ("lines" has the capture of standard output), less
that of the same program at size 0: imports, the first fold and its process count there. Fields and series are read
by `fetch()`, `fetch_last()`, `get_structure()` and the first `fetch_runs_table()`; runs by `naiad ls`, without a
catalog and with one. Beside the points of one series is `csv.writer` with as many rows.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import math
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import NamedTuple

from figures import Figure, folder, print_table

BEGIN = """
import csv, os, resource, sys
import naiad
place, size = sys.argv[1], int(sys.argv[2])
OFF = dict(capture_stdout=False, capture_stderr=False, capture_hardware_metrics=False, capture_traceback=False,
           git_ref=False, source_files=[])

def begun(**more):
    return naiad.init_run(store=place, project="growth", **{**OFF, **more})

def opened():
    return naiad.init_run(store=place, with_id="GROWTH-1", mode="read-only")
"""
END = """
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, file=sys.__stderr__)
"""
POINTS = """
run = begun()
append = run["loss"].append
for step in range(size):
    append(step * 0.5, step=step)
run.stop()
"""
ROWS = """
with open(place + ".csv", "w", newline="") as stream:
    writer = csv.writer(stream)
    for step in range(size):
        writer.writerow((step, step * 0.5))
"""
READ_POINTS = """
if size:
    with opened() as run:
        assert len(run["loss"].fetch_values(progress_bar=False)) == size
else:
    import pandas
"""
SERIES = """
run = begun()
rows = [[(f"s{number}", 0.5) for number in range(start, min(start + 1000, size))] for start in range(0, size, 1000)]
for step in range(10):
    for row in rows:
        run["many"].append(dict(row), step=step)
run.stop()
"""
READ_SERIES = """
if size:
    with opened() as run:
        assert run[f"many/s{size - 1}"].fetch_last() == 0.5
        assert len(run.get_structure()["many"]) == size
    with naiad.init_project(store=place, project="growth", mode="read-only") as project:
        frame = project.fetch_runs_table(columns=["many/*"], progress_bar=False).to_pandas()
    assert frame.shape[1] > size
else:
    import pandas
"""
FIELDS = """
run = begun()
for start in range(0, size, 1000):
    run["many"] = {f"f{number}": number / 7 for number in range(start, min(start + 1000, size))}
run.stop()
"""
READ_FIELDS = """
if size:
    with opened() as run:
        assert len(run["many"].fetch()) == size
"""
RUNS = """
for start in range(0, size, 500):
    child = os.fork()
    if not child:
        for number in range(start, min(start + 500, size)):
            run = begun()
            run["parameters"] = {f"p{each}": number / 7 for each in range(10)}
            run["loss"].append(0.5, step=0)
            run.stop()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
"""
LIST_RUNS = """
if size:
    from naiad.cli import main
    sys.argv = ["naiad", "--store", place, "ls", "-n", "20"]
    try:
        main()
    except SystemExit as end:
        assert not end.code
"""
LINES = """
run = begun(capture_stdout=True)
for number in range(size):
    print("line", number, "of", size)
run.stop()
"""
PROCESSES = """
run = begun(custom_run_id="shared")
children = []
for number in range(size):
    child = os.fork()
    if not child:
        own = naiad.init_run(store=place, project="growth", custom_run_id="shared", **OFF)
        for step in range(100_000):
            own[f"rank{number}/loss"].append(step * 0.5, step=step)
        own.stop()
        os._exit(0)
    children.append(child)
for child in children:
    assert os.waitpid(child, 0)[1] == 0
run.stop()
"""


class Cost(NamedTuple):
    """CPU seconds of a program and of all processes it started, and MiB of its own largest memory."""

    seconds: float
    memory: float


def program(text: str, store: Path, size: int) -> Cost:
    """The cost of a program in a fresh interpreter, until the last of its processes has ended."""
    # Unbuffered, a printed line would be as many writes as it has words.
    ours = ("NAIAD_", "NEPTUNE_", "PYTHONUNBUFFERED")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    command = [sys.executable, "-c", BEGIN + text + END, str(store), str(size)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        command,
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=store.parent,
    )
    with suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)  # those that outlive it fall to this process, by adopt_orphans()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(spent, float(done.stderr.splitlines()[-1]))


def adopt_orphans() -> None:
    """Become the parent of processes whose own parent ends, so that their CPU time is counted here; see prctl(2)."""
    subreaper = 36
    if ctypes.CDLL(None, use_errno=True).prctl(subreaper, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER) failed")


def grown(
    name: str, sizes: list[int], costs: list[float], floors: dict[str, list[float]] | None = None
) -> list[Figure]:
    """A row for each size, and one with the exponent between the two largest."""
    beside = floors or {}
    rows = [
        Figure(f"{name}, {size:,}", "s", [cost], "", {label: [values[at]] for label, values in beside.items()})
        for at, (size, cost) in enumerate(zip(sizes, costs, strict=True))
    ]
    growth = math.log(costs[-1] / costs[-2]) / math.log(sizes[-1] / sizes[-2])
    return [*rows, Figure("    exponent", "", [growth], "<= 1.1")]


def costs_of(text: str, stores: list[Path], sizes: list[int]) -> tuple[list[float], list[float]]:
    """CPU seconds of each size beyond those of size 0, and MiB; a program that reads finds its store already there."""
    fixed = min(program(text, stores[0].with_name(f"none-{number}"), 0).seconds for number in range(2))
    found = [program(text, store, size) for store, size in zip(stores, sizes, strict=True)]
    return [max(each.seconds - fixed, 1e-3) for each in found], [each.memory for each in found]


def points(place: Path, sizes: list[int]) -> list[Figure]:
    """One series of so many points, written, then read as a table."""
    stores = [place / f"points-{size}" for size in sizes]
    written, memory = costs_of(POINTS, stores, sizes)
    rows, _memory = costs_of(ROWS, stores, sizes)
    read, held = costs_of(READ_POINTS, stores, sizes)
    return [
        *grown("points of one series, with stop()", sizes, written, {"csv.writer": rows}),
        *(Figure(f"    memory of training, {each:,}", "MiB", [at]) for each, at in zip(sizes, memory, strict=True)),
        *grown("fetch_values() of points", sizes, read),
        *(Figure(f"    memory of reading, {each:,}", "MiB", [at]) for each, at in zip(sizes, held, strict=True)),
    ]


def written_and_read(place: Path, sizes: list[int], noun: str, write: str, read: str) -> list[Figure]:
    """Fields or series of one run, written, then read by a program that opens it."""
    stores = [place / f"{noun}-{size}" for size in sizes]
    written, _memory = costs_of(write, stores, sizes)
    opened, _memory = costs_of(read, stores, sizes)
    return [*grown(f"{noun} written, with stop()", sizes, written), *grown(f"{noun} opened and read", sizes, opened)]


def runs(place: Path, sizes: list[int]) -> list[Figure]:
    """Runs made one after the other, and listed without a catalog and with one."""
    stores = [place / f"runs-{size}" for size in sizes]
    written, _memory = costs_of(RUNS, stores, sizes)
    for store in stores:
        for file in store.glob("catalog.db*"):
            file.unlink()
    cold, _memory = costs_of(LIST_RUNS, stores, sizes)
    warm, _memory = costs_of(LIST_RUNS, stores, sizes)
    return [
        *grown("runs made", sizes, written),
        *grown("naiad ls of runs, no catalog", sizes, cold),
        *grown("naiad ls of runs again", sizes, warm),
    ]


def simple(place: Path, sizes: list[int], noun: str, text: str) -> list[Figure]:
    """One program at each size."""
    costs, _memory = costs_of(text, [place / f"store-{size}" for size in sizes], sizes)
    return grown(noun, sizes, costs)


Measure = Callable[[Path, list[int]], list[Figure]]
MANY = [100, 1_000, 10_000, 100_000]
MEASURED: dict[str, tuple[list[int], Measure]] = {
    "points": ([10**4, 10**5, 10**6, 10**7, 4 * 10**7], points),
    "series": (MANY, partial(written_and_read, noun="series", write=SERIES, read=READ_SERIES)),
    "fields": (MANY, partial(written_and_read, noun="fields", write=FIELDS, read=READ_FIELDS)),
    "runs": (MANY, runs),
    "lines": ([1_000, 10_000, 100_000, 1_000_000], partial(simple, noun="lines captured", text=LINES)),
    "processes": ([1, 2, 4, 8], partial(simple, noun="processes, 100,000 points each", text=PROCESSES)),
}


def measure(names: list[str], quick: bool) -> list[Figure]:
    """The figures of some dimensions, each in a folder that is removed before the next."""
    adopt_orphans()
    found = []
    for name in names:
        sizes, take = MEASURED[name]
        with folder() as place:
            found += take(place, [size // 10 or size for size in sizes[:2]] if quick else sizes)
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(MEASURED))
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it runs")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()
    if unknown := set(options.names) - set(MEASURED):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; the names are {', '.join(MEASURED)}")
    figures = measure(options.names or list(MEASURED), options.quick)
    if options.json:
        print(json.dumps([asdict(figure) for figure in figures]))
    else:
        print_table(figures)
