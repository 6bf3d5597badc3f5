"""The catalog: the first look at a store whose runs were all killed, and the reading commands of 1,000 finished runs.

    python tests/bench/bench_catalog.py [--quick] [--json]

The 1,000 runs are real; the writers of the killed ones are forked and die without a word. "Cold" is without a
catalog.db, wall time; the floor reads every file below the runs once. The commands read runs of 30 parameters and 10
metrics; theirs is the CPU time of the whole process, interpreter included. Run it from an installed copy with bytecode
and the required dependencies alone for the figures of a user.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

from figures import WALL, Figure, folder, in_turns, main, seconds

import naiad
from naiad.storage.local.store import Store


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
    rows = Store.locate(store).catalog().summaries(state="killed")
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


def finish_runs(store: Path, count: int) -> None:
    """Runs of 30 parameters and 10 metrics, each of ten points."""
    for number in range(count):
        with naiad.init_run(store=store, project="bench", name=f"trial {number}") as run:
            run["params"] = {f"p{each}": number / (each + 1) for each in range(30)}
            for each in range(10):
                run[f"metrics/m{each}"].extend([number / (step + 1) for step in range(10)])


def command_cpu(*words: str) -> float:
    """Milliseconds of CPU of a Python program, its interpreter included."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1e3


def commands(place: Path, *, quick: bool) -> list[Figure]:
    """`naiad ls`, `query`, `show` and `compare` of 1,000 finished runs, the catalog up to date."""
    count, repeats = (3, 1) if quick else (1_000, 15)
    store = place / "finished"
    finish_runs(store, count)
    ls(store)
    calls = {
        "ls": ["ls"],
        "ls -n 50": ["ls", "-n", "50"],
        "query": ["query", "metrics/m1 < 10"],
        "show": ["show", "BENCH-2"],
        "compare": ["compare", "BENCH-2", "BENCH-3"],
    }
    code = "from naiad.cli import main; main()"
    found = in_turns(
        repeats,
        {
            name: lambda words=words: command_cpu("-c", code, "--store", str(store), *words)
            for name, words in calls.items()
        }
        | {
            "the interpreter alone": lambda: command_cpu("-c", "pass"),
            "import numpy": lambda: command_cpu("-c", "import numpy"),
        },
    )
    floors = {name: found[name] for name in ("the interpreter alone", "import numpy")}
    return [Figure(f"`naiad {name}` of 1,000 runs, CPU", "ms", found[name], "<= 150", floors) for name in calls]


def measure(quick: bool) -> list[Figure]:
    """All figures of this file."""
    with folder() as place:
        return [*killed_runs(place, quick=quick), *commands(place, quick=quick)]


if __name__ == "__main__":
    main(measure)
