"""Foreign processes: each job opens the run by its id in a process of its own, does verbs there, and ends or is killed.

Run as a script it waits for jobs and forks for each, which is much faster than starting an interpreter every time.
"""

from __future__ import annotations

import os
import pickle
import struct
import subprocess
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from verbs import Clock, Done, Verb, end, perform

import naiad
import naiad.storage.local.index.compact  # with all that it needs, so that each forked process need not import it anew


@dataclass(frozen=True)
class Job:
    """What a process shall do to a run, and how it shall end."""

    store: str
    run: str
    verbs: list[Verb]
    ending: str
    time: float
    environment: dict[str, str]


@dataclass(frozen=True)
class Report:
    """What it was acknowledged before its end, or what went wrong."""

    done: list[Done]
    time: float
    problem: str = ""


class Foreman:
    """Starts processes for jobs, one after the other."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__))], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def do(self, job: Job) -> Report:
        """Return when the process of the job is gone."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        send(self._process.stdin, job)
        report: Report = receive(self._process.stdout)
        receive(self._process.stdout)  # its end
        return report

    def dismiss(self) -> None:
        """Let it go."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)
        self._process.stdout.close()


def send(stream: IO[bytes], message: Any) -> None:
    """Write a message, whole."""
    data = pickle.dumps(message)
    stream.write(struct.pack("<I", len(data)) + data)
    stream.flush()


def receive(stream: IO[bytes]) -> Any:
    """Read a message; None at the end of the stream."""
    head = stream.read(4)
    return pickle.loads(stream.read(struct.unpack("<I", head)[0])) if len(head) == 4 else None


def work(job: Job, stream: IO[bytes]) -> None:
    """Do a job in this process. It reports before it ends, so that everything reported was acknowledged."""
    time = Clock(job.time)
    time.put_in_place()
    os.environ.update(job.environment)
    try:
        run = naiad.init_run(with_id=job.run, store=job.store)
        done = [perform(run, verb, time) for verb in job.verbs]
        if job.ending == "stop":
            run.stop()
        send(stream, Report(done, time.highest))
        end(job.ending, run)
    except BaseException:  # noqa: BLE001 (whoever gave the job raises it)
        send(stream, Report([], time.highest, traceback.format_exc()))
    os._exit(0)


def main() -> None:
    """Do jobs until there are no more."""
    while (job := receive(sys.stdin.buffer)) is not None:
        child = os.fork()
        if not child:
            work(job, sys.stdout.buffer)
        os.waitpid(child, 0)
        send(sys.stdout.buffer, "gone")


if __name__ == "__main__":
    import worker  # so that both ends know the messages by the same names

    worker.main()
