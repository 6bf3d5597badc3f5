"""`naiad top`: how long until its first screen, and how much of a processor an idle screen takes.

    python tests/bench/bench_top.py [--quick] [--json]

The program runs in a pseudo terminal of 80 by 24. Nothing changes in the store while the idle screen is measured.
"""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import psutil
from figures import Figure, folder, main

import naiad

QUIET = {"git_ref": False, "source_files": [], "capture_hardware_metrics": False, "capture_stdout": False}
COMMAND = [sys.executable, "-c", "from naiad.cli import main; main()", "top", "--store"]


def fill(store: Path, count: int) -> None:
    """Log runs of two short series, and list them once, as any store that is looked at was."""
    for number in range(count):
        with naiad.init_run(project="p", store=store, name=f"trial {number}", capture_stderr=False, **QUIET) as run:
            run["train/loss"].extend([1.0 / (step + 1) for step in range(20)])
            run["val/acc"].extend([step / 20 for step in range(20)])
    subprocess.run([*COMMAND[:3], "ls", "-n", "1", "--store", str(store)], check=True, stdout=subprocess.DEVNULL)


def shown(store: Path, idle: float) -> tuple[float, float]:
    """Return the seconds until the first run is on the screen, and the share of a processor of the idle screen."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    begun = time.perf_counter()
    settings = os.environ | {"TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}
    process = subprocess.Popen([*COMMAND, str(store)], stdin=theirs, stdout=theirs, stderr=theirs, env=settings)
    os.close(theirs)
    screen = b""
    while b"P-1" not in screen:
        screen += os.read(ours, 65536)
    first = time.perf_counter() - begun
    time.sleep(1.0)  # the sparklines of the first screen
    clock = psutil.Process(process.pid)
    before, start = sum(clock.cpu_times()[:2]), time.perf_counter()
    time.sleep(idle)
    used = (sum(clock.cpu_times()[:2]) - before) / (time.perf_counter() - start)
    os.write(ours, b"q")
    process.wait(30)
    os.close(ours)
    return first, used


def measure(is_quick: bool) -> list[Figure]:
    """Measure a small store and a large one."""
    found = []
    for count in (3,) if is_quick else (3, 2_000):
        with folder() as place:
            fill(place / ".naiad", count)
            taken = [shown(place / ".naiad", 0.2 if is_quick else 20.0) for _ in range(1 if is_quick else 3)]
        found += [
            Figure(f"first screen of naiad top, {count:,} runs", "s", [each[0] for each in taken]),
            Figure(f"an idle screen, {count:,} runs", "% core", [max(100 * each[1], 1e-6) for each in taken], "1"),
        ]
    return found


if __name__ == "__main__":
    main(measure)
