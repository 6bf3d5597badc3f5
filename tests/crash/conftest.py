"""What the crash tests share: child processes that never outlive a test, and small file systems of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import pytest
from disks import mounted
from programs import PRELUDE

HARD_LIMIT = 100
Start = Callable[..., "subprocess.Popen[str]"]
Mount = Callable[..., Path]


@pytest.fixture
def start(store: Path) -> Iterator[Start]:
    """Start a child that runs a program text after PRELUDE; keywords are settings: SEGMENT_BYTES=4096."""
    children = []

    def begin(program: str, *arguments: object, **settings: object) -> subprocess.Popen[str]:
        environment = os.environ | {f"NAIAD_{name}": str(value) for name, value in settings.items()}
        child = subprocess.Popen(
            [sys.executable, "-c", PRELUDE + program, *map(str, arguments)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        children.append(child)
        return child

    yield begin
    for child in children:
        if child.poll() is None:  # else its number may be somebody else's by now
            os.killpg(child.pid, signal.SIGKILL)
        child.communicate()


@pytest.fixture
def finish(start: Start) -> Callable[..., tuple[int, str, str]]:
    """Run a child to its end: return code, output, errors."""

    def run(program: str, *arguments: object, **settings: object) -> tuple[int, str, str]:
        child = start(program, *arguments, **settings)
        try:
            output, errors = child.communicate(timeout=HARD_LIMIT)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGUSR1)  # where does it hang?
            time.sleep(1)
            os.killpg(child.pid, signal.SIGKILL)
            output, errors = child.communicate()
        return child.returncode, output, errors

    return run


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    """Mount a file system of some size in a folder of the test; see `disks.mounted`."""
    with ExitStack() as stack:
        numbers = count()
        yield lambda size, kind="tmpfs": stack.enter_context(mounted(tmp_path / f"disk{next(numbers)}", size, kind))
