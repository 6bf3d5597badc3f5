"""What a run costs that captures: a printed line, 100 MB of lines, looking at the hardware, the start and end of it.

    python tests/bench/bench_capture.py [--quick] [--json]

Lines go to a regular file; the floor is the same program without naiad, run in turns with it, each in a process of its
own. A flushed line is the best of 20 equal parts of a program, since a machine that does other things takes parts of
the time. Hardware is CPU time of all threads for one look, as a share of the ten seconds between two.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeAlias

from figures import CPU, Figure, folder, in_turns, main, seconds

LINES = 20_000
BULK_LINES = 1_250_000
PROGRAM = """
import json, sys, time
flushed, count, is_watched = sys.argv[1] == "flushed", int(sys.argv[2]), sys.argv[3] == "naiad"
if is_watched:
    import naiad
    run = naiad.init_run(source_files=[], git_ref=False, capture_hardware_metrics=False)
line, found = "x" * 79, []
for _ in range(20):
    began, cpu = time.perf_counter(), time.thread_time()
    for i in range(count // 20):
        print(line, flush=flushed)
    found.append([time.perf_counter() - began, time.thread_time() - cpu])
if is_watched:
    run.stop()
print(json.dumps(found), file=sys.stderr)
"""
Printing: TypeAlias = tuple[float, list[tuple[float, float]]]
BEGIN_AND_END = "import naiad; naiad.init_run(source_files=[], git_ref=False).stop()"


def looks(count: int) -> list[float]:
    """CPU of each of some looks at the hardware, in percent of a core that looks every ten seconds."""
    from naiad.capture.hardware import Hardware

    hardware = Hardware()
    return [seconds(hardware.read, CPU) / 10 * 100 for _ in range(count)]


def printing(place: Path, kind: str, lines: int, who: str) -> Printing:
    """Seconds that the whole program took, and wall time and CPU of each part in the thread that prints."""
    environment = {**os.environ, "NAIAD_CAPTURES": "on", "NAIAD_STORE": str(place / ".naiad"), "PYTHONUNBUFFERED": ""}
    with (place / "output").open("wb") as output:
        command = [sys.executable, "-c", PROGRAM, kind, str(lines), who]
        began = time.perf_counter()
        done = subprocess.run(command, check=True, stdout=output, stderr=subprocess.PIPE, env=environment, cwd=place)
    return time.perf_counter() - began, json.loads(done.stderr.splitlines()[-1])


def whole(place: Path, captures: str) -> float:
    """CPU milliseconds of a program that begins and ends a run, and of all its children."""
    environment = {**os.environ, "NAIAD_CAPTURES": captures, "NAIAD_STORE": str(place / ".naiad")}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", BEGIN_AND_END], check=True, env=environment, cwd=place)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1e3


def measure(quick: bool) -> list[Figure]:
    """All figures of this file."""
    repeats, lines, bulk_lines = (1, 100, 1000) if quick else (7, LINES, BULK_LINES)
    with folder() as place:
        flushed = in_turns(repeats, _both(place, "flushed", lines))
        bulk = in_turns(repeats, _both(place, "bulk", bulk_lines))
        ends = in_turns(repeats, {each: lambda each=each: whole(place, each) for each in ("on", "off")})

    def best(who: str, which: int) -> list[float]:
        return [min(part[which] for part in parts) / (lines // 20) * 1e6 for _, parts in flushed[who]]

    def loops(who: str, which: int) -> list[float]:
        return [sum(part[which] for part in parts) for _, parts in bulk[who]]

    def wholes(who: str) -> list[float]:
        return [wall for wall, _ in bulk[who]]

    return [
        Figure("a flushed line, until print() returns", "us", best("naiad", 0), "+10", {"without": best("plain", 0)}),
        Figure("a flushed line, CPU of its thread", "us", best("naiad", 1), "+10", {"without": best("plain", 1)}),
        Figure("100 MB of lines of 80 bytes", "s", loops("naiad", 0), "x 2", {"without": loops("plain", 0)}),
        Figure("100 MB of lines, CPU of the thread", "s", loops("naiad", 1), "x 2", {"without": loops("plain", 1)}),
        Figure("100 MB of lines, the whole program", "s", wholes("naiad"), "x 2", {"without": wholes("plain")}),
        Figure("looking at the hardware every 10 s", "% core", looks(3 if quick else 100), "<= 0.1"),
        Figure("a run begun and ended, CPU of the process", "ms", ends["on"], "", {"captures off": ends["off"]}),
    ]


def _both(place: Path, kind: str, lines: int) -> dict[str, Callable[[], Printing]]:
    return {who: partial(printing, place, kind, lines, who) for who in ("naiad", "plain")}


if __name__ == "__main__":
    main(measure)
