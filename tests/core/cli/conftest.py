"""Calling the commands: in this process for what they print, in a pseudo terminal for how they look."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import naiad
from naiad.cli import main

COMMAND = [sys.executable, "-c", "from naiad.cli import main; main()"]


@pytest.fixture
def cli(store: Path) -> Callable[..., Result]:
    """Call `naiad` with arguments, its output going to a pipe."""

    def call(*arguments: str) -> Result:
        return CliRunner().invoke(main, arguments)

    return call


@pytest.fixture
def terminal(store: Path) -> Callable[..., str]:
    """Call `naiad` in a terminal of 24 lines and return what appears there."""

    def call(*arguments: str, columns: int = 80, **environment: str) -> str:
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        hidden = {"NO_COLOR", "COLUMNS", "LINES", "FORCE_COLOR"}
        inherited = {name: value for name, value in os.environ.items() if name not in hidden}
        settings = inherited | {"TERM": "xterm-256color", "TZ": "UTC", "PYTHONUTF8": "1", "PAGER": "cat"} | environment
        command = [*COMMAND, *arguments]
        process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=settings)
        os.close(theirs)
        shown = b""
        try:
            while part := os.read(ours, 65536):
                shown += part
        except OSError:  # Linux's word for the end of a terminal
            pass
        os.close(ours)
        process.wait(timeout=60)
        return shown.decode().replace("\r\n", "\n")

    return call


@pytest.fixture
def digits(store: Path) -> str:
    """The id of a stopped run with a field of every kind."""
    facts = {"name": "baseline", "description": "first try", "tags": ["good", "sgd"]}
    with naiad.init_run(project="digits", **facts) as run:
        run["parameters"] = {"lr": 0.1, "epochs": 3, "shuffle": True, "optimizer": "sgd"}
        run["train/loss"].extend([0.9, 0.5, 0.25], steps=[0, 1, 2], timestamps=[1.0, 2.0, 3.5])
        run["train/notes"].extend(["begun", "half way\nto the end\n"], steps=[0, 5], timestamps=[1.0, 2.0])
        return run["sys/id"].fetch()
