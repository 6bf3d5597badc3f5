"""Many small runs: 20 parameters and 5 series of 10 points each, opened and stopped in order.

    python tests/bench/bench_small_runs.py [--quick] [--json]

Runs a second of one core, from CPU time of all threads; and by the clock on the wall, where waiting for the disk
counts, because `stop()` returns when everything is on it. Floors: a folder with one file of the same bytes in it, and
the same with the file and the folder synced, which is the least that a promise of durability can cost.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from pathlib import Path

from figures import CPU, WALL, Figure, folder, in_turns, main

import naiad

PARAMETERS = {f"parameter{number}": number / 7 for number in range(20)}
_numbers = itertools.count()


def small_run(store: Path) -> None:
    """One run as a search over parameters makes it."""
    run = naiad.init_run(store=store, project="bench")
    run["parameters"] = PARAMETERS
    for name in ("a", "b", "c", "d", "e"):
        series = run[f"metrics/{name}"]
        for step in range(10):
            series.append(step / 7, step=step)
    run.stop()


def folder_and_file(place: Path) -> Path:
    """The same number of bytes in a file in a folder."""
    made = place / str(next(_numbers))
    made.mkdir()
    (made / "run").write_bytes(bytes(4_096))
    return made


def synced_folder_and_file(place: Path) -> None:
    """The same, on the disk itself."""
    made = folder_and_file(place)
    for path in (made / "run", made):
        fd = os.open(path, os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)


def rate(call: Callable[[], object], count: int) -> tuple[float, float]:
    """Calls a second of CPU time, and of wall time."""
    cpu, wall = CPU(), WALL()
    for _ in range(count):
        call()
    return count / (CPU() - cpu), count / (WALL() - wall)


def measure(quick: bool) -> list[Figure]:
    """All figures of this file."""
    count, repeats = (2, 1) if quick else (20, 25)
    with folder() as place:
        small_run(place / "store")
        found = in_turns(
            repeats,
            {
                "ours": lambda: rate(lambda: small_run(place / "store"), count),
                "a folder and a file": lambda: rate(lambda: folder_and_file(place), count),
                "a folder and a file, synced": lambda: rate(lambda: synced_folder_and_file(place), count),
            },
        )
    figures = []
    for at, unit, goal in ((0, "CPU time", ">= 400"), (1, "wall time", "")):
        ours, *floors = ({name: [pair[at] for pair in pairs]} for name, pairs in found.items())
        merged = {name: values for each in floors for name, values in each.items()}
        figures.append(Figure(f"small runs a second, {unit}", "1/s", ours["ours"], goal, merged, is_rate=True))
    return figures


if __name__ == "__main__":
    main(measure)
