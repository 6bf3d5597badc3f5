"""What a run costs that captures: looking at the hardware, a printed line, and the start and end of it.

    python tests/bench/bench_capture.py [--quick] [--json]

Hardware is CPU time of all threads for one look, as a share of the ten seconds between two. Lines go to a pipe that is
read at once; the floor is the same program with `NAIAD_CAPTURES=off`. All in fresh processes, the relay's CPU included.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

from figures import CPU, Figure, folder, in_turns, main, seconds

LINES = 20_000
PRINTING = """
import sys, time, json, naiad
lines = int(sys.argv[1])
run = naiad.init_run(source_files=[], git_ref=False, capture_hardware_metrics=False)
began, cpu = time.perf_counter(), time.process_time()
for i in range(lines):
    print("epoch", i, "loss", 0.125, flush=True)
wall, cpu = time.perf_counter() - began, time.process_time() - cpu
run.stop()
print(json.dumps([wall, cpu]), file=sys.stderr)
"""
BEGIN_AND_END = "import naiad; naiad.init_run(source_files=[], git_ref=False).stop()"


def looks(count: int) -> list[float]:
    """CPU of each of some looks at the hardware, in percent of a core that looks every ten seconds."""
    from naiad.capture.hardware import Hardware

    hardware = Hardware()
    return [seconds(hardware.read, CPU) / 10 * 100 for _ in range(count)]


def printing(place: Path, lines: int, captures: str) -> tuple[float, float]:
    """Microseconds of waiting and of CPU in the program for each printed line."""
    environment = {**os.environ, "NAIAD_CAPTURES": captures, "NAIAD_STORE": str(place / ".naiad")}
    command = [sys.executable, "-c", PRINTING, str(lines)]
    done = subprocess.run(command, check=True, capture_output=True, env=environment, cwd=place)
    wall, cpu = json.loads(done.stderr)
    return wall / lines * 1e6, cpu / lines * 1e6


def whole(place: Path, captures: str) -> float:
    """CPU milliseconds of a program that begins and ends a run, and of all its children."""
    environment = {**os.environ, "NAIAD_CAPTURES": captures, "NAIAD_STORE": str(place / ".naiad")}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", BEGIN_AND_END], check=True, env=environment, cwd=place)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1e3


def measure(quick: bool) -> list[Figure]:
    """All figures of this file."""
    repeats, lines = (1, 100) if quick else (7, LINES)
    with folder() as place:
        calls = {captures: lambda captures=captures: printing(place, lines, captures) for captures in ("on", "off")}
        found = in_turns(repeats, calls)
        ends = in_turns(repeats, {each: lambda each=each: whole(place, each) for each in ("on", "off")})
    return [
        Figure("looking at the hardware every 10 s", "% core", looks(3 if quick else 100), "<= 0.1"),
        Figure("a printed line, until print() returns", "us", _nth(found["on"], 0), "", {"off": _nth(found["off"], 0)}),
        Figure("a printed line, CPU in the program", "us", _nth(found["on"], 1), "", {"off": _nth(found["off"], 1)}),
        Figure("a run begun and ended, CPU of the process", "ms", ends["on"], "", {"captures off": ends["off"]}),
    ]


def _nth(pairs: list[tuple[float, float]], place: int) -> list[float]:
    return [pair[place] for pair in pairs]


if __name__ == "__main__":
    main(measure)
