"""A run that is written as fast as a loop can, from the first append to the return of `stop()`.

    python tests/bench/bench_load.py [--quick] [--json]

Default settings, captures off, each case in an interpreter of its own, so that all is cold as a script meets it:
nothing of numpy or SQLite is loaded before. Memory is the largest resident set of the program itself, without the
process that folds. The journal is looked at every 50 ms. The percentiles and the longest append time each call alone.

Beside it: the CSV logger of Lightning for the same dicts (`log_metrics` and `save`), where it is installed, and the
same rows into a file by `csv.writer`, the least that a text file costs. Neither survives `kill -9` before it is saved.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from figures import Figure, folder, in_turns, main

OURS = """
import glob, json, os, resource, sys, threading, time
import naiad
place, count, width, is_timed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "timed"
run = naiad.init_run(store=place, capture_stdout=False, capture_stderr=False, capture_hardware_metrics=False,
                     capture_traceback=False, git_ref=False, source_files=[])
journal, is_over = [0], []
def look():
    while not is_over:
        sizes = []
        for path in glob.glob(place + "/runs/*/journal/*"):
            try:
                sizes.append(os.stat(path).st_blocks * 512)
            except OSError:
                pass
        journal[0] = max(journal[0], sum(sizes))
        time.sleep(0.05)
if not is_timed:
    threading.Thread(target=look, daemon=True).start()
handle, taken, clock = run["train"], [], time.perf_counter
names = [f"metric{i}" for i in range(width)]
rows = [dict(zip(names, [0.5 + step / 7 + i for i in range(width)])) for step in range(min(1000, count // width))]
began = clock()
if is_timed:
    append = run["train/loss"].append
    append(0.5, step=0)
    taken = [0.0] * count
    for step in range(1, count):
        at = clock()
        append(0.5, step=step)
        taken[step] = clock() - at
elif width == 1:
    append = run["train/loss"].append
    for step in range(count):
        append(step * 0.5, step=step)
else:
    for step in range(count // width):
        handle.append(rows[step % len(rows)], step=step)
looped = clock()
run.stop()
stopped, is_over = clock(), [True]
taken.sort()
print(json.dumps({"loop": looped - began, "stop": stopped - looped, "rate": count / (stopped - began) / 1e6,
    "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, "journal": journal[0] / 2**20,
    "p99": taken[int(len(taken) * 0.99)] * 1e6 if taken else 0, "longest": taken[-1] * 1e3 if taken else 0,
    "p99.99": taken[int(len(taken) * 0.9999)] * 1e6 if taken else 0}))
"""
LIGHTNING = """
import json, sys, time
from lightning.pytorch.loggers import CSVLogger
place, count, width = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
logger = CSVLogger(place, flush_logs_every_n_steps=10**9)
names = [f"metric{i}" for i in range(width)]
rows = [dict(zip(names, [0.5 + step / 7 + i for i in range(width)])) for step in range(min(1000, count // width))]
began = time.perf_counter()
for step in range(count // width):
    logger.log_metrics(rows[step % len(rows)], step)
logger.save()
print(json.dumps({"rate": count / (time.perf_counter() - began) / 1e6}))
"""
TEXT = """
import csv, json, sys, time
place, count, width = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
rows = [[0.5 + step / 7 + i for i in range(width)] for step in range(min(1000, count // width))]
began = time.perf_counter()
with open(place + ".csv", "w", newline="") as stream:
    writer = csv.writer(stream)
    for step in range(count // width):
        writer.writerow(rows[step % len(rows)])
print(json.dumps({"rate": count / (time.perf_counter() - began) / 1e6}))
"""


def program(text: str, place: Path, count: int, width: int, how: str = "") -> dict[str, float]:
    """The figures that a program prints at its end, in a fresh interpreter."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("NAIAD_", "NEPTUNE_"))}
    command = [sys.executable, "-c", text, str(place / "store"), str(count), str(width), how]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment, cwd=place)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def end_to_end(place: Path, *, quick: bool) -> list[Figure]:
    """Points a second from the first append to the return of `stop()`."""
    figures = []
    goals = {(100_000, 10): ">= 1", (100_000, 1000): ">= 1", (1_000_000, 10): ">= 1.5", (1_000_000, 1000): ">= 2"}
    for (count, width), goal in goals.items():
        size = count // 100 if quick else count
        calls: dict[str, Callable[[], dict[str, float]]] = {
            "ours": lambda size=size, width=width: program(OURS, place, size, width),
            "csv.writer": lambda size=size, width=width: program(TEXT, place, size, width),
        }
        if not quick and importlib.util.find_spec("lightning"):
            calls["CSVLogger of Lightning"] = lambda size=size, width=width: program(LIGHTNING, place, size, width)
        found = in_turns(1 if quick else 5, calls)
        floors = {name: [each["rate"] for each in values] for name, values in found.items() if name != "ours"}
        rates = [each["rate"] for each in found["ours"]]
        title = f"end to end, {count:,} points, a dict of {width:,}"
        figures.append(Figure(title, "M/s", rates, goal, floors, is_rate=True))
        stops = [each["stop"] for each in found["ours"]]
        figures.append(Figure("    its stop()", "s", stops, "<= 0.05" if count == 100_000 else ""))
    return figures


def loops(place: Path, *, quick: bool) -> list[Figure]:
    """Memory, journal and stop() of a tight loop, and its slowest calls."""
    figures = []
    for count in (1_000_000, 10_000_000, 40_000_000):
        size = count // 1000 if quick else count
        found = program(OURS, place, size, 1)
        name = f"{count:,} points in a loop"
        figures += [
            Figure(f"{name}: memory", "MiB", [found["memory"]], "<= 150"),
            Figure("    journal on disk", "MiB", [found["journal"]], "<= 64"),
            Figure("    stop()", "s", [found["stop"]], "<= 1"),
            Figure("    points a second in the loop", "M/s", [size / found["loop"] / 1e6], "", is_rate=True),
        ]
    timed = [program(OURS, place, 10_000 if quick else 3_000_000, 1, "timed") for _ in range(1 if quick else 3)]
    figures.append(Figure("one append while folding, p99", "us", [each["p99"] for each in timed], "<= 1"))
    figures.append(Figure("    p99.99", "us", [each["p99.99"] for each in timed], "<= 50"))
    figures.append(Figure("    longest", "ms", [each["longest"] for each in timed], "<= 5"))
    return figures


def measure(quick: bool) -> list[Figure]:
    """All figures of this file."""
    with folder() as place:
        return end_to_end(place, quick=quick) + loops(place, quick=quick)


if __name__ == "__main__":
    main(measure)
