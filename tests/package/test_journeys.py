"""How far the main calls travel through the source: files, file changes, functions and depth of one call.

Code below `core/naiad` is counted, in the calling thread. Each ceiling is the present count: lower it when a
change makes the journey shorter, and never raise it.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import NamedTuple

import numpy as np

import naiad
from naiad.periodic import PeriodicThread

ROOT = os.path.dirname(naiad.__file__) + os.sep


class Journey(NamedTuple):
    """What one call crosses."""

    files: int
    changes: int
    """How often the function that runs lies in another file than the one before."""
    functions: int
    depth: int
    """The largest number of naiad's functions that were on the stack at once."""


def journey(call: Callable[[], object]) -> Journey:
    """Count one call."""
    seen: list[tuple[CodeType, int]] = []

    def profile(frame: FrameType, event: str, _argument: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(ROOT):
            seen.append((frame.f_code, depth_of(frame)))

    gc.disable()  # what is collected of earlier tests may have finalizers of naiad, which are no part of the call
    sys.setprofile(profile)
    try:
        call()
    finally:
        sys.setprofile(None)
        gc.enable()
    files = [code.co_filename for code, _ in seen]
    changes = sum(one != before for one, before in zip(files, ["", *files], strict=False))
    return Journey(len(set(files)), changes, len({code for code, _ in seen}), max(depth for _, depth in seen))


def depth_of(frame: FrameType | None) -> int:
    depth = 0
    while frame is not None:
        depth += frame.f_code.co_filename.startswith(ROOT)
        frame = frame.f_back
    return depth


def counted(folder: Path) -> dict[str, Journey]:
    """Count the journeys of a run, after each was made once by another run, so that all modules of naiad are loaded."""
    PeriodicThread.start = lambda _self: None  # type: ignore[method-assign]  # it would change files
    (folder / "x.png").write_bytes(bytes(100_000))  # too large to travel inside an op
    with naiad.init_run() as warm:
        for _, call in journeys(warm, folder, killed_run()):
            call()
    with naiad.init_run() as run:
        run["before"].append(0.5)  # makes the first segment, which is no part of any journey
        time.sleep(0.05)  # until the clock of the folder has moved on: only then is a writer sure to be alone
        run["before it"] = 1
        return {name: journey(call) for name, call in journeys(run, folder, killed_run())}


CEILINGS = {
    "first append": Journey(15, 27, 44, 9),
    "second append": Journey(2, 2, 2, 1),
    "NumPy scalar to a known series": Journey(3, 3, 3, 2),
    "assign": Journey(14, 26, 43, 10),
    "assign a dict": Journey(17, 50, 58, 12),
    "fetch_values": Journey(17, 30, 107, 15),  # with the reader, which opens now
    "upload": Journey(20, 59, 82, 11),  # with the intake, which begins now
    "open a killed run and read it": Journey(35, 122, 216, 19),  # with a look whether it has the id given
    # with the parser, which is ours, the files that sys/size counts, and three runs that the catalog has not seen yet
    "fetch_runs_table": Journey(37, 196, 383, 22),
    "stop": Journey(26, 75, 128, 15),  # with the line on the terminal
}


def journeys(run: naiad.Run, folder: Path, killed: str) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield each call by its name; later ones need the earlier ones."""
    scalar, query = np.float32(0.25), "`c/lr`:float = 0.1"
    project = naiad.init_project(mode="read-only")
    yield "first append", lambda: run["a/b"].append(0.5, step=3)
    yield "second append", lambda: run["a/b"].append(0.6, step=4)
    yield "NumPy scalar to a known series", lambda: run["a/b"].append(scalar, step=5)
    yield "assign", lambda: run["d"].assign(5)
    yield "assign a dict", lambda: run["c"].assign({"lr": 0.1, "name": "x"})
    yield "fetch_values", lambda: len(run["a/b"].fetch_values())
    yield "upload", lambda: run["f"].upload(str(folder / "x.png"))
    yield "open a killed run and read it", lambda: read(killed)
    yield "fetch_runs_table", lambda: project.fetch_runs_table(query=query).to_pandas()
    yield "stop", run.stop


def read(run_id: str) -> None:
    with naiad.init_run(with_id=run_id, mode="read-only") as killed:
        killed["loss"].fetch_values()
        killed["sys/state"].fetch()


def killed_run() -> str:
    """Return the id of a run whose process was killed after two points."""
    code = (
        "import naiad, naiad.periodic, os, signal\n"
        "naiad.periodic.PeriodicThread.start = lambda self: None\n"  # on a busy machine it would write more files
        "run = naiad.init_run()\n"
        "run['loss'].extend([0.5, 0.4])\n"
        "print(run['sys/id'].fetch(), flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=60)
    assert -signal.SIGKILL == done.returncode, done.stderr
    return done.stdout.strip()


def test_no_journey_grows_longer(store: Path, tmp_path: Path) -> None:
    """In an interpreter of its own: modules and open runs of other tests would lengthen some."""
    environment = {**os.environ, "NAIAD_STORE": str(store)}
    command = [sys.executable, __file__, str(tmp_path)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment, cwd=tmp_path)
    found = {name: Journey(*counts) for name, counts in json.loads(done.stdout).items()}

    assert CEILINGS.keys() == found.keys()
    assert {} == {
        name: counts
        for name, counts in found.items()
        if any(count > ceiling for count, ceiling in zip(counts, CEILINGS[name], strict=True))
    }


if __name__ == "__main__":
    print(json.dumps(counted(Path(sys.argv[1]))))
