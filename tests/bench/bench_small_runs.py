"""Many small runs: 20 parameters and 5 series of 10 points each, opened and stopped in order.

    python tests/bench/bench_small_runs.py [--quick] [--json]

Runs a second by the clock on the wall, where waiting for the disk counts, because `stop()` returns when everything is
on it; and of one core, from CPU time of all threads and of the git commands that defaults run. Beside them: the CSV
logger of Lightning, where it is installed, which syncs nothing; a folder with one file of the same bytes in it, and the
same with the file and the folder synced, which is the least that a promise of durability can cost.
"""

from __future__ import annotations

import importlib.util
import itertools
import os
import resource
import subprocess
from collections.abc import Callable
from pathlib import Path

from figures import WALL, Figure, folder, in_turns, main

import naiad

PARAMETERS = {f"parameter{number}": number / 7 for number in range(20)}
CAPTURES = ("capture_stdout", "capture_stderr", "capture_traceback", "capture_hardware_metrics", "git_ref")
OFF: dict[str, object] = {**dict.fromkeys(CAPTURES, False), "source_files": []}
_numbers = itertools.count()


def small_run(store: Path, **options: object) -> None:
    """One run as a search over parameters makes it."""
    run = naiad.init_run(store=store, project="bench", **options)  # type: ignore[arg-type]  # options of a test
    run["parameters"] = PARAMETERS
    for name in ("a", "b", "c", "d", "e"):
        series = run[f"metrics/{name}"]
        for step in range(10):
            series.append(step / 7, step=step)
    run.stop()


def csv_run(place: Path, logger_class: type) -> None:
    """The same by the CSV logger of Lightning, which puts nothing on the disk itself."""
    logger = logger_class(place, name="csv")
    logger.log_hyperparams(PARAMETERS)
    for step in range(10):
        logger.log_metrics(dict.fromkeys(("a", "b", "c", "d", "e"), step / 7), step)
    logger.save()
    logger.finalize("success")


def repository(place: Path) -> Path:
    """A git repository with one commit."""
    place.mkdir()
    (place / "train.py").write_text("print()\n")
    who = ["-c", "user.name=bench", "-c", "user.email=bench@example.org"]
    for command in (["init", "-q"], ["add", "."], [*who, "commit", "-q", "-m", "one"]):
        subprocess.run(["git", *command], check=True, cwd=place, stdout=subprocess.DEVNULL)
    return place


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


def spent() -> float:
    """CPU seconds of this process and of the children that have ended, such as git."""
    ours, theirs = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return ours.ru_utime + ours.ru_stime + theirs.ru_utime + theirs.ru_stime


def rate(call: Callable[[], object], count: int) -> tuple[float, float]:
    """Calls a second of CPU time, and of wall time."""
    cpu, wall = spent(), WALL()
    for _ in range(count):
        call()
    return count / (spent() - cpu), count / (WALL() - wall)


def measure(quick: bool) -> list[Figure]:
    """All figures of this file."""
    count, repeats = (2, 1) if quick else (40, 25)
    with folder() as place:
        checkout = repository(place / "checkout")
        calls: dict[str, Callable[[], object]] = {
            "captures off": lambda: small_run(place / "store", **OFF),
            "defaults in a git repository": lambda: small_run(checkout / ".naiad"),
            "a folder and a file": lambda: folder_and_file(place),
            "a folder and a file, synced": lambda: synced_folder_and_file(place),
        }
        if not quick and importlib.util.find_spec("lightning"):
            from lightning.pytorch.loggers import CSVLogger

            calls["CSVLogger of Lightning"] = lambda: csv_run(place / "csv", CSVLogger)
        before = os.getcwd()
        os.chdir(checkout)
        try:
            for call in calls.values():
                call()
            timed = {name: lambda call=call: rate(call, count) for name, call in calls.items()}
            found = in_turns(repeats, timed)
        finally:
            os.chdir(before)
    figures = []
    floors = [name for name in calls if "CSV" in name or "folder" in name]
    for at, unit in ((1, "wall time"), (0, "CPU time, with that of git")):
        rates = {name: [pair[at] for pair in pairs] for name, pairs in found.items()}
        beside = {name: rates[name] for name in floors}
        for name, goal in (("captures off", "CSVLogger"), ("defaults in a git repository", ">= 200")):
            title = f"small runs a second, {name}, {unit}"
            figures.append(Figure(title, "1/s", rates[name], goal if at else "", beside, is_rate=True))
    return figures


if __name__ == "__main__":
    main(measure)
