"""The appends of this tree beside those of another checkout, in pairs of processes.

    python tests/bench/bench_against.py --other ../older/core [--pairs 20] [--quick] [--json]

Each process times 200,000 appends one by one, in default settings with captures off. `--other` is the folder that
holds the other `naiad`; without it the tree is compared with itself, which shows what differences mean nothing.

A core that shares its execution units with another one runs at half the speed while that one is busy, which changes
several times a second and is not of our making. So figures are taken of stretches of 2,000 appends, and those of full
and of half speed are compared apart: medians of all stretches of one speed in all processes of a tree.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from figures import Figure, folder, print_table

import naiad

APPENDS = """
import json, sys, time
sys.path.insert(0, sys.argv[1])
import naiad
place, count, part = sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
run = naiad.init_run(store=place, capture_stdout=False, capture_stderr=False, capture_hardware_metrics=False,
                     capture_traceback=False, git_ref=False, source_files=[])
handle, clock, taken = run["train/loss"], time.perf_counter_ns, [0] * count
handle.append(0.5, step=0)
for step in range(count):
    at = clock()
    handle.append(0.5, step=step)
    taken[step] = clock() - at
run.stop()
parts = [sorted(taken[start : start + part]) for start in range(0, count, part)]
print(json.dumps([(each[part // 2], each[part * 99 // 100]) for each in parts]))
"""
SLOWER = 1.4
"""A stretch whose median is so many times that of the fastest one ran at half speed."""

Stretch = tuple[int, int]
"""Median and 99th percentile of some appends, in nanoseconds."""


def stretches(core: Path, place: Path, count: int, part: int) -> list[Stretch]:
    """Time one process of the tree in `core`."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("NAIAD_", "NEPTUNE_"))}
    command = [sys.executable, "-c", APPENDS, str(core), str(place), str(count), str(part)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    return [(middle, slow) for middle, slow in json.loads(done.stdout.splitlines()[-1])]


def compare(ours: Sequence[Stretch], other: Sequence[Stretch]) -> list[Figure]:
    """Return medians of all stretches, and of those at full and at half speed where both trees ran at it."""
    limit = SLOWER * min(middle for middle, _slow in (*ours, *other))
    figures = []
    for speed, wanted in (("any", (False, True)), ("full", (False,)), ("half", (True,))):
        found = [[each for each in side if (each[0] >= limit) in wanted] for side in (ours, other)]
        if not all(found):
            continue
        for at, label, goal in ((0, "p50", "<= 1.03"), (1, "p99", "<= 1.10")):
            taken = [statistics.median(each[at] for each in side) / 1e3 for side in found]
            title = f"handle.append(v, step=s), {label}, {speed} speed ({len(found[0])}, {len(found[1])} stretches)"
            figures.append(Figure(title, "us", [taken[0]], goal, {"the other tree": [taken[1]]}))
    return figures


def measure(other: Path | None, pairs: int, *, quick: bool) -> list[Figure]:
    """All figures of this file."""
    count, part = (400, 100) if quick else (200_000, 2_000)
    own = Path(naiad.__file__).parents[1]
    trees = (own, other or own)
    found: tuple[list[Stretch], list[Stretch]] = ([], [])
    with folder() as place:
        for pair in range(pairs):
            for side in (0, 1) if pair % 2 else (1, 0):
                found[side].extend(stretches(trees[side], place / f"store{pair}-{side}", count, part))
    return compare(*found)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--other", type=Path, help="the folder that holds the naiad to compare with")
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it runs")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()
    figures = measure(options.other, 1 if options.quick else options.pairs, quick=options.quick)
    if options.json:
        print(json.dumps([vars(figure) for figure in figures]))
    else:
        print_table(figures)
