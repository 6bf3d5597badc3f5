"""The catalog: the first look at a store whose runs were all killed.

    python tests/bench/bench_catalog.py [--quick] [--json]

The 1,000 runs are real; their writers are forked and die without a word. "Cold" is without a catalog.db, wall time; the
floor reads every file below the runs once.
"""

from __future__ import annotations

import os
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


def measure(quick: bool) -> list[Figure]:
    """All figures of this file."""
    with folder() as place:
        return killed_runs(place, quick=quick)


if __name__ == "__main__":
    main(measure)
