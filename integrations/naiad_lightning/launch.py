"""The launch: what the processes of one distributed training have in common before they can talk to each other.

Each of them builds the logger anew, so they need a name for the run that all of them find by themselves.
"""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping
from itertools import count
from pathlib import Path
from uuid import uuid4

__all__ = ["next_run", "rank_of"]

VARIABLE = "NAIAD_LIGHTNING_LAUNCH"
"""How Lightning's own launcher passes our name on: it starts the script again with the same environment."""
RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")  # where Lightning looks, in that order
INTERACTIVE = ("bash", "interactive")  # jobs in whose shell many trainings may be started, as Lightning sees it

Environment = MutableMapping[str, str]

_runs: tuple[int, str | None, count[int]] | None = None  # of this process, by its id: a fork begins anew


def next_run(environment: Environment = os.environ) -> str | None:
    """Return a name for the run of the next logger; the same for the n-th logger of every process of a launch.

    None where the processes cannot know each other: then only rank 0 knows the run.
    """
    global _runs
    if _runs is None or _runs[0] != os.getpid():
        _runs = os.getpid(), launch(environment), count(1)
    _, name, numbers = _runs
    number = next(numbers)
    return name and f"lightning-{name}-{number}"


def launch(environment: Environment) -> str | None:
    """Return a name for this launch, and leave it in the environment for processes that are started from here."""
    if "TORCHELASTIC_RUN_ID" in environment:
        return _of_torchrun(environment)
    if int(environment.get("SLURM_NTASKS", 1)) > 1 and environment.get("SLURM_JOB_NAME") not in INTERACTIVE:
        return f"slurm-{environment.get('SLURM_JOB_ID')}-{environment.get('SLURM_STEP_ID', 0)}"
    if rank_of(environment) > 0:
        return environment.get(VARIABLE)
    environment[VARIABLE] = name = uuid4().hex
    return name


def rank_of(environment: Environment) -> int:
    """Return the rank of this process as its launcher has said it; 0 if nobody did."""
    return next((int(environment[name]) for name in RANKS if name in environment), 0)


def _of_torchrun(environment: Environment) -> str | None:
    """On one machine all processes have one parent. Across machines nothing but what the user gives is common."""
    if int(environment.get("GROUP_WORLD_SIZE", 1)) > 1:
        return None
    parent = os.getppid()
    try:
        began = Path(f"/proc/{parent}/stat").read_text().rpartition(")")[2].split()[19]  # its number may come again
    except OSError:
        return None
    return f"torchrun-{socket.gethostname()}-{parent}-{began}"
