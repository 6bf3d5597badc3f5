"""Runs of scripts that spawned workers import again: the worker joins the run that its parent has opened there.

`multiprocessing` starts a worker by importing the script anew, and a script that opens its run at the top level would
begin another one in each worker. So a process notes its runs in its environment, which workers inherit, by the line of
the script that opened each.
"""

from __future__ import annotations

import os
import sys
from types import FrameType

VARIABLE = "NAIAD_OPENED"
PREPARING = {"prepare", "import_main_path"}  # of multiprocessing.spawn, in a worker and in the server that forks them
MOST = 64
"""Runs of one line that are noted: the system starts no program with a variable of 128 KiB."""
_counts: dict[int, int] = {}


def note(uid: str) -> None:
    """Note a run that this process has opened, for its workers."""
    script, line = _place("__main__")
    # With pid and script, since the variable is inherited by any program that is started from here, also those that
    # only open runs of their own.
    known = os.environ.get(VARIABLE, "").split("\n")
    runs = known[2:] if known[:2] == [str(os.getpid()), script] else []  # others are inherited
    here = [each for each in runs if each.startswith(f"{line}:")]
    if len(here) >= MOST:  # then the first ones and the newest are noted
        runs.remove(here[-1])
    os.environ[VARIABLE] = "\n".join([str(os.getpid()), script, *runs, f"{line}:{uid}"])


def run_of_parent() -> str | None:
    """Return the run to join if a worker is just importing its parent's script; None anywhere else."""
    if not _is_importing():
        return None
    script, line = _place("__mp_main__")
    _pid, known_script, *known = os.environ.get(VARIABLE, "\n").split("\n")
    here = [uid for number, _, uid in (each.partition(":") for each in known) if number == str(line)]
    place = _counts[line] = _counts.get(line, -1) + 1  # a loop may open several
    return here[min(place, len(here) - 1)] if here and script == known_script else None


def _is_importing() -> bool:
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_code.co_name in PREPARING and frame.f_globals.get("__name__") == "multiprocessing.spawn":
            return True
        frame = frame.f_back
    return False


def _place(module: str) -> tuple[str, int]:
    """Return the name of the script and the line of it that is being executed; line 0 if there is none."""
    frame, found = sys._getframe(), ("", 0)
    while frame.f_back is not None:
        frame = frame.f_back
        if frame.f_code.co_name == "<module>" and frame.f_globals.get("__name__") == module:
            found = os.path.basename(frame.f_code.co_filename), frame.f_lineno
    return found
