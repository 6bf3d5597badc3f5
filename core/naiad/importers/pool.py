"""The pool: worker processes that import containers of one source at the same time.

A worker is a new Python (`python -m naiad.importers.worker`), which shares nothing with the program that started it.
Both sides exchange lines of JSON:

    to a worker      {"format": ..., "container": ..., "path": ..., "store": ..., "project": ..., "is_dry": ...}, then
                     containers
    from a worker    {"progress": bytes} any number of times, then {"report": ...} for each container
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any

import msgspec

from naiad.importer import Foreign, Progress
from naiad.importers.report import RunReport


@dataclass(frozen=True)
class Task:
    """The facts that all containers of an import share."""

    format: str
    container: tuple[str, str]
    """Module and name of the class of its containers: finding the importer again would load all plugins, 0.3 s."""
    path: str
    store: str
    project: str | None
    is_dry: bool


def import_all(task: Task, containers: Sequence[Foreign], count: int, tell: Progress) -> Iterator[RunReport]:
    """Import containers in so many processes, and yield their reports as they come."""
    waiting: queue.SimpleQueue[Foreign] = queue.SimpleQueue()
    for each in containers:
        waiting.put(each)
    done: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
    threads = [
        threading.Thread(target=_serve, args=(task, waiting, done), name="naiad-import", daemon=True)
        for _number in range(count)
    ]
    for thread in threads:
        thread.start()
    left = len(containers)
    while left:
        name, value = done.get()
        if name == "progress":
            tell(value)
        else:
            left -= 1
            yield value
    for thread in threads:
        thread.join()


def _serve(task: Task, waiting: queue.SimpleQueue[Foreign], done: queue.SimpleQueue[tuple[str, Any]]) -> None:
    """Keep one worker busy until no container waits."""
    worker: subprocess.Popen[bytes] | None = None
    while True:
        try:
            foreign = waiting.get_nowait()
        except queue.Empty:
            break
        # One that died is replaced. A fork would be faster to start, but threads of the program hold locks.
        if worker is None or worker.poll() is not None:
            worker = _started(task)
        done.put(("report", _imported(worker, foreign, done)))
    if worker is not None:
        assert worker.stdin is not None
        worker.stdin.close()
        worker.wait()
        _close(worker)


def _started(task: Task) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(each for each in sys.path if each)}
    command = [sys.executable, "-m", "naiad.importers.worker"]
    worker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
    _send(worker, json.dumps(vars(task)).encode())
    return worker


def _imported(worker: subprocess.Popen[bytes], foreign: Foreign, done: queue.SimpleQueue[tuple[str, Any]]) -> RunReport:
    """Let a worker import one container. One that dies over it costs this container only."""
    try:
        _send(worker, msgspec.json.encode(foreign))
        stream: IO[bytes] = worker.stdout  # type: ignore[assignment]  # it is a pipe
        for line in stream:
            answer = json.loads(line)
            if "report" in answer:
                return msgspec.convert(answer["report"], RunReport)
            done.put(("progress", answer["progress"]))
    except (OSError, ValueError):
        pass
    code = worker.wait()
    _close(worker)
    error = f"the process that imported it has died (exit status {code}); import again to continue"
    return RunReport("", "", foreign.kind, status="failed", error=error, lost=1)


def _close(worker: subprocess.Popen[bytes]) -> None:
    for stream in (worker.stdin, worker.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):  # what was to be written to a dead worker
                stream.close()


def _send(worker: subprocess.Popen[bytes], line: bytes) -> None:
    assert worker.stdin is not None
    worker.stdin.write(line + b"\n")
    worker.stdin.flush()
