"""Processes beside the program: each is a new Python, which answers requests through two pipes.

program                              helper
-------                              ------
start: a shell, which ends at once   begins; nothing of the program is in it, no thread and no lock
send(requests) --------------------> receive
receive <--------------------------- send(replies)
close, or the program is gone -----> meets the end of the pipe, and ends
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import re
import select
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from naiad import clock

SHELL = "/bin/sh"
REQUESTS, REPLIES = 3, 4
"""The descriptors that a process is started with."""
LOWEST = 64
PROGRAM = """import sys; sys.path[:] = {path!r}
from {module} import main; {call}"""
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""None of them multiplies matrices: threads for that would only take memory."""
ORPHAN_SECONDS = 30.0
"""How often a process looks whether the program lives: a forked child of it may keep the pipe open."""
_length = struct.Struct("<Q")


def can_start() -> bool:
    """Whether there is an interpreter to run one."""
    name = Path(sys.executable or "").name
    is_interpreter = re.fullmatch(r"(python|pypy)[\d.]*[a-z]*", name) is not None and not getattr(sys, "frozen", False)
    return is_interpreter and hasattr(os, "posix_spawn") and os.path.exists(__file__)


def start(module: str, call: str) -> tuple[int, int]:
    """Start one by a shell that ends at once, and return the descriptors for requests and for replies.

    A program that waits for any child of its own must never get this one.

    Args:
        module: the one that has `main`.
        call: the call of it.

    Raises:
        OSError: no process can be started.
    """
    requests, asking = _pipe()
    answers, replies = _pipe()
    program = PROGRAM.format(path=sys.path, module=module, call=call)
    # `-S -s`: no site-packages are searched at the start, since the path of this process is given whole.
    command = [SHELL, "-c", '"$@" &', SHELL, sys.executable, "-S", "-s", "-c", program]
    # Standard streams are the null device: a program that reads its output to the end must not wait for this process.
    actions: list[tuple[int, ...] | tuple[int, int, str, int, int]] = [
        *((os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in range(3)),
        (os.POSIX_SPAWN_DUP2, requests, REQUESTS),
        (os.POSIX_SPAWN_DUP2, replies, REPLIES),
    ]
    try:
        starter = os.posix_spawn(SHELL, command, {**os.environ, **ONE_THREAD}, file_actions=actions)
    except OSError:
        os.close(asking)
        os.close(answers)
        raise
    finally:
        # The ends of the new process are closed here, or the end of the pipe would never be seen when it is gone.
        os.close(requests)
        os.close(replies)
    with contextlib.suppress(ChildProcessError):  # the program's own waiting has come first
        os.waitpid(starter, 0)
    return asking, answers


def _pipe() -> tuple[int, int]:
    """Make a pipe on descriptors above those of the new process."""
    pair = os.pipe()
    # posix_spawn duplicates them one after the other: an end that is itself number 3 or 4 would be overwritten by the
    # first.
    raised = [fcntl.fcntl(each, fcntl.F_DUPFD_CLOEXEC, LOWEST) for each in pair]
    for each in pair:
        os.close(each)
    return raised[0], raised[1]


def send(fd: int, content: object) -> None:
    """Write a message to a pipe."""
    data = msgspec.msgpack.encode(content)
    view = memoryview(_length.pack(len(data)) + data)
    while view:
        view = view[os.write(fd, view) :]


def receive(fd: int, until: float) -> Any:
    """Return the next message; None at the end of the pipe.

    Raises:
        TimeoutError: there was none for so long.
    """
    head = _read(fd, _length.size, until)
    data = head and _read(fd, _length.unpack(head)[0], until)
    return msgspec.msgpack.decode(data) if data else None


def _read(fd: int, size: int, until: float) -> bytes:
    data = bytearray()
    waiting = select.poll()
    waiting.register(fd, select.POLLIN)
    while len(data) < size:
        left = until - clock.monotonic()
        if left <= 0 or not waiting.poll(None if left == math.inf else left * 1000):
            raise TimeoutError("the process does not answer")
        part = os.read(fd, size - len(data))
        if not part:
            return b""
        data += part
    return bytes(data)


def serve(program: int, answer: Callable[[Any], object]) -> None:
    """In the new process: answer requests until the program closes the pipe, or is gone."""
    waiting = select.poll()
    waiting.register(REQUESTS, select.POLLIN)
    while waiting.poll(ORPHAN_SECONDS * 1000) or _is_alive(program):
        if waiting.poll(0):
            request = receive(REQUESTS, math.inf)
            if request is None:
                break
            send(REPLIES, answer(request))
    # Without the interpreter's clean-up, which takes as long as a small fold, and in which nothing is left to do.
    os._exit(0)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
