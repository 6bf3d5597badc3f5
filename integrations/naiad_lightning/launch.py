"""The launch: values shared by all processes of a distributed training before they can communicate.

Each of them builds the logger anew, so they need a name for the run that all of them find by themselves.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import MutableMapping
from contextlib import suppress
from hashlib import sha256
from itertools import count
from pathlib import Path
from tempfile import gettempdir
from uuid import uuid4

VARIABLE = "NAIAD_LIGHTNING_LAUNCH"
"""How Lightning's own launcher passes our name on: it starts the script again with the same environment."""
DONE = "done"
RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")  # where Lightning looks, in that order
INTERACTIVE = ("bash", "interactive")  # jobs in whose shell many trainings may be started, as Lightning sees it

Environment = MutableMapping[str, str]

_runs: tuple[int, str | None, count[int]] | None = None  # of this process, by its id: a fork begins anew
_ticket: Path | None = None  # of this process, in a job that may be requeued


def next_run(environment: Environment = os.environ) -> str | None:
    """Return a name for the run of the next logger; the same for the n-th logger of every process of a launch.

    None where the processes cannot find each other: then only rank 0 has the run.
    """
    global _runs
    if _runs is None or _runs[0] != os.getpid():
        _runs = os.getpid(), launch(environment), count(1)
    _, name, numbers = _runs
    number = next(numbers)
    # Lightning's launcher starts the other ranks from this environment, so that they find the name there.
    if name and rank_of(environment) == 0:
        environment[VARIABLE] = name
    return name and f"lightning-{name}-{number}"


def launch(environment: Environment) -> str | None:
    """Return a name for this launch; `next_run` leaves it in the environment for processes started from here."""
    if "TORCHELASTIC_RUN_ID" in environment:
        return _of_torchrun(environment)
    is_job = "SLURM_JOB_ID" in environment and environment.get("SLURM_JOB_NAME") not in INTERACTIVE
    if is_job and int(environment.get("SLURM_NTASKS", 1)) > 1:
        return f"slurm-{environment['SLURM_JOB_ID']}-{environment.get('SLURM_STEP_ID', 0)}"
    if rank_of(environment) > 0:
        return environment.get(VARIABLE)
    return (_of_job(environment) if is_job else None) or uuid4().hex


def end(is_done: bool) -> None:
    """A call of the trainer has ended. One that is done is not gone on with by the next equal command of its job."""
    os.environ.pop(VARIABLE, None)  # what is started from here on belongs to no launch, until there is another logger
    if is_done and _ticket is not None:
        with suppress(OSError):
            _ticket.write_text(DONE)


def rank_of(environment: Environment) -> int:
    """Return the rank of this process from its launcher's environment, 0 if unset."""
    return next((int(environment[name]) for name in RANKS if name in environment), 0)


def _of_job(environment: Environment) -> str | None:
    """Return a name for the one task of a job of SLURM, which it has again when the job is requeued.

    The job has its id again then, and its commands come again in the same order. Equal commands of one job are kept
    apart by tickets, files in the temporary folder of the machine: the first process takes number 0. A ticket
    is free again when its process has ended without being done.
    """
    global _ticket
    words = [environment.get("SLURM_STEP_ID", ""), os.getcwd(), *sys.orig_argv]
    command = sha256("\0".join(words).encode("utf-8", "surrogateescape")).hexdigest()[:12]
    job = f"slurm-{environment['SLURM_JOB_ID']}-{command}"
    restart = environment.get("SLURM_RESTART_COUNT", "0")
    for number in count():
        ticket = Path(gettempdir(), f"naiad-{os.getuid()}-{job}-{restart}-{number}")
        try:
            if _is_taken(ticket):
                continue
            # Of a process that has ended without being done: the requeued job takes its number, and with it its run.
            ticket.unlink(missing_ok=True)
            with ticket.open("x") as stream:
                stream.write(str(os.getpid()))
        except OSError:  # no ticket can be had here
            break
        _ticket = ticket
        return f"{job}-{number}"
    return None


def _is_taken(ticket: Path) -> bool:
    """Whether a process has a ticket: one that is running, or was done."""
    try:
        holder = ticket.read_text()
    except FileNotFoundError:
        return False
    if not holder.isdecimal():
        return True
    try:
        os.kill(int(holder), 0)
    except ProcessLookupError:
        return False
    return True


def _of_torchrun(environment: Environment) -> str | None:
    """Return an identifier of a torchrun launch.

    On one machine all processes have one parent. Across machines only user-given values are shared.
    """
    if int(environment.get("GROUP_WORLD_SIZE", 1)) > 1:
        return None
    parent = os.getppid()
    try:
        began = Path(f"/proc/{parent}/stat").read_text().rpartition(")")[2].split()[19]  # its number may come again
    except OSError:
        return None
    return f"torchrun-{socket.gethostname()}-{parent}-{began}"
