"""Programs in processes of their own, whose output goes to a file, a pipe or a real pseudo terminal."""

from __future__ import annotations

import fcntl
import os
import select
import struct
import subprocess
import sys
import termios
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import naiad

IMPORT = "import ctypes, os, signal, subprocess, sys, time, naiad\n"
BEGIN = (
    IMPORT
    + "way = os.environ['WAY'] or None\n"
    + "run = naiad.init_run(custom_run_id='it', source_files=[], git_ref=False, "
    + "capture_stdout=way, capture_stderr=way)\n"
)
END = "\nrun.stop()\n"


class Printed(NamedTuple):
    """What a program left on its terminal, and how it ended."""

    output: bytes
    code: int


class Programs:
    """Runs programs that begin with a run, and the same programs without one."""

    def __init__(self, folder: Path, store: Path) -> None:
        self.folder = folder
        self.store = store
        self.way = ""  # "fd": with a relay in between

    def start(self, body: str, output: int, errors: int, *, plain: bool = False) -> subprocess.Popen[bytes]:
        begin = IMPORT if plain else BEGIN
        file = self.folder / ("scalars.py" if plain else "program.py")
        file.write_text(begin + textwrap.dedent(body) + ("" if plain else END))
        environment = {**os.environ, "NAIAD_CAPTURES": "on", "NAIAD_STORE": str(self.store)}
        environment |= {"PYTHONUNBUFFERED": "", "WAY": self.way, "NAIAD_QUIET": "1"}  # no line of a run that begins
        command = [sys.executable, str(file)]
        return subprocess.Popen(command, stdout=output, stderr=errors, env=environment, cwd=self.folder)

    def piped(self, body: str, *, plain: bool = False) -> Printed:
        """Run with both streams in one pipe."""
        program = self.start(body, subprocess.PIPE, subprocess.STDOUT, plain=plain)
        output, _ = program.communicate(timeout=60)
        return Printed(output, program.returncode)

    def on_terminal(self, body: str, *, plain: bool = False) -> Printed:
        """Run with both streams on one pseudo terminal."""
        reader, terminal = os.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
        program = self.start(body, terminal, terminal, plain=plain)
        os.close(terminal)
        output = b"".join(chunks(reader))
        os.close(reader)
        return Printed(output, program.wait(60))

    def lines(self, stream: str) -> list[str]:
        """What the run has kept of a stream."""
        run = naiad.init_run(custom_run_id="it", capture_traceback=False)
        try:
            (namespace,) = run.get_structure()["monitoring"]
            return list(run[f"monitoring/{namespace}/{stream}"].fetch_values()["value"])
        finally:
            run.stop()


def chunks(descriptor: int, seconds: float = 60) -> Iterator[bytes]:
    """Read until nobody has the other end open any more."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if not select.select([descriptor], [], [], 0.1)[0]:
            continue
        try:
            data = os.read(descriptor, 65536)
        except OSError:
            return
        if not data:
            return
        yield data


@pytest.fixture
def programs(tmp_path: Path, store: Path) -> Programs:
    """Programs that keep their runs in the test's store."""
    return Programs(tmp_path, store)


@pytest.fixture
def wait_until() -> Callable[[Callable[[], bool]], None]:
    """Waits for something that another thread or process does."""

    def wait(is_so: Callable[[], bool]) -> None:
        until = time.monotonic() + 60
        while not is_so():
            assert time.monotonic() < until
            time.sleep(0.02)

    return wait


@pytest.fixture
def relayed(programs: Programs) -> Programs:
    """The same, with a relay between each program and its pipe or terminal."""
    programs.way = "fd"
    return programs
