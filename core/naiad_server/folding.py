"""Folding: the runs that are due, and the process that folds them, one after the other.

A fold holds the interpreter for milliseconds, for which answers would wait, so it runs in a process of its own, which
ends with its pipe. A run whose fold fails three times is set aside until the server starts anew, and delays no other.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from dataclasses import dataclass

from naiad import clock
from naiad.container_kinds import RunId
from naiad.storage.receiving import Accepted, Receiver
from naiad_server.metrics import Metrics

FOLD_BYTES = 1024 * 1024
FOLD_SECONDS = 60.0
LOOK_SECONDS = 0.5
MOST_FAILURES = 3
STOP_SECONDS = 5.0
PROGRAM = "import sys; sys.path[:] = {path!r}\nfrom naiad_server.worker import main; main({store!r})"
_log = logging.getLogger("naiad_server")


@dataclass
class Due:
    """The unfolded bytes of one run."""

    since: float
    size: int = 0
    is_urgent: bool = False

    def is_due(self, now: float) -> bool:
        """Whether it is worth a fold."""
        return self.is_urgent or self.size >= FOLD_BYTES or now >= self.since + FOLD_SECONDS


class Folding:
    """Lets a process fold the runs that are due."""

    def __init__(self, store: str, metrics: Metrics) -> None:
        self._store = store
        self._metrics = metrics
        self._due: dict[RunId, Due] = {}
        self._failures: dict[RunId, int] = {}
        self._set_aside: set[RunId] = set()
        self._process: asyncio.subprocess.Process | None = None

    def begin(self, receiver: Receiver) -> None:
        """List the runs that an earlier process has left as due."""
        now = clock.monotonic()
        for run in receiver.waiting():
            self._due.setdefault(run, Due(now, is_urgent=True))

    def note(self, accepted: Accepted) -> None:
        """Count the bytes of a group."""
        now = clock.monotonic()
        for run, size in accepted.grown.items():
            self._due.setdefault(run, Due(now)).size += size
        # A run that ended is finished at once, as people look at it then; a run whose id the client claims is shown
        # wrongly until its fold.
        for run in accepted.ended | accepted.claimed:
            self._due.setdefault(run, Due(now)).is_urgent = True

    async def fold_runs(self) -> None:
        """Fold runs when they are due, for ever."""
        while True:
            now = clock.monotonic()
            ready = [run for run, due in self._due.items() if due.is_due(now) and run not in self._set_aside]
            self._metrics.fold_runs.set(len(self._due))
            self._metrics.fold_wait.set(now - min((due.since for due in self._due.values()), default=now))
            for run in sorted(ready, key=lambda run: not self._due[run].is_urgent):
                await self._fold(run)
            if not ready:
                await asyncio.sleep(LOOK_SECONDS)

    async def _fold(self, run: RunId) -> None:
        # Taken out before the fold: bytes that arrive meanwhile make a new entry, and are not lost with this one.
        due = self._due.pop(run)
        with self._metrics.fold_seconds.time():
            problem = await self._asked(run)
        if not problem:
            self._failures.pop(run, None)
            self._metrics.folds.labels("done").inc()
            return
        self._metrics.folds.labels("failed").inc()
        failures = self._failures[run] = self._failures.get(run, 0) + 1
        _log.warning("Folding %s %s has failed: %s", run.kind.noun, run.uid, problem)
        if failures >= MOST_FAILURES:
            self._set_aside.add(run)
            self._metrics.set_aside.set(len(self._set_aside))
        waiting = self._due.setdefault(run, Due(clock.monotonic()))
        waiting.size += due.size

    async def _asked(self, run: RunId) -> str:
        """Let the process fold a run; return why it has not."""
        process = self._process
        # One that has died is replaced. It has either committed its fold or not begun it.
        if process is None or process.returncode is not None:
            program = PROGRAM.format(path=sys.path, store=self._store)
            pipe = asyncio.subprocess.PIPE
            process = self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", program, stdin=pipe, stdout=pipe
            )
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            process.stdin.write(f"{run.uid} {run.kind.name}\n".encode())
            await process.stdin.drain()
            answer = await process.stdout.readline()
            if answer:
                return answer.decode().strip()
        await process.wait()
        return f"the process that folds has ended with {process.returncode}"

    async def end(self) -> None:
        """Let the process end."""
        if self._process is not None and self._process.returncode is None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            try:
                await asyncio.wait_for(self._process.wait(), STOP_SECONDS)
            except asyncio.TimeoutError:  # a fold happens whole or not at all
                self._process.kill()
                await self._process.wait()
