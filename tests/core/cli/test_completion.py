"""Completion through the shells themselves: commands, options, run ids and paths."""

from __future__ import annotations

import os
import pty
import re
import select
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

import naiad

LINES = [
    ("naiad sho", "show"),
    ("naiad ls --sta", "--state"),
    ("naiad show D", "DIGITS-1"),
    ("naiad compare DIGITS-1 D", "DIGITS-2"),
    ("naiad tail DIGITS-1 train/l", "train/loss"),
    ("naiad plot DIGITS-1 DIGITS-2 train/l", "train/loss"),
    ("naiad query --columns par", "parameters/lr"),
    ("naiad ls --project d", "digits"),
    ("naiad ls --sto", "--store"),
]

BASH = """
eval "$(naiad completion bash)"
words=({line}) ; COMP_WORDS=("${{words[@]}}") ; COMP_CWORD=$(( ${{#words[@]}} - 1 )) ; COMP_LINE={quoted}
COMP_POINT=${{#COMP_LINE}}
_naiad_completion naiad
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.fixture
def environment(store: Path, tmp_path: Path) -> dict[str, str]:
    """Two runs, and the command `naiad` on the path."""
    for _ in range(2):
        with naiad.init_run(project="digits", name="a run: with colon") as run:
            run["parameters/lr"] = 0.1
            run["train/loss"].append(0.5)
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "naiad"
    call = "from naiad.cli import main; main(prog_name='naiad')"
    program.write_text(f'#!/bin/sh\nexec {shlex.join([sys.executable, "-c", call])} "$@"\n')
    program.chmod(0o755)
    return {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "NAIAD_STORE": str(store)}


@pytest.mark.parametrize(("line", "expected"), LINES, ids=[line for line, _expected in LINES])
def test_bash_completes(environment: dict[str, str], line: str, expected: str) -> None:
    script = BASH.format(line=line, quoted=shlex.quote(line))
    command = ["bash", "--norc", "--noprofile", "-c", script]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)

    assert expected in {word.partition(":")[0] for word in done.stdout.splitlines()}, done.stdout + done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_tab_completes_in_a_shell_on_a_terminal(environment: dict[str, str], tmp_path: Path, shell: str) -> None:
    """The set-up that `naiad completion --help` names, and the Tab key: a command, a run, a custom id and a path."""
    if shutil.which(shell) is None:
        pytest.skip(f"this machine has no {shell}")
    with naiad.init_run(project="digits", custom_run_id="my-trial"):
        pass
    start = f"autoload -Uz compinit && compinit -u -d {tmp_path}/dump; " if shell == "zsh" else ""
    (tmp_path / "rc").write_text(f'{start}eval "$(naiad completion {shell})"; PS1="ready> "\n')
    command = [shell, "-f", "-i"] if shell == "zsh" else ["bash", "--rcfile", str(tmp_path / "rc"), "-i"]
    environment |= {"TERM": "dumb", "INPUTRC": "/dev/null", "HISTFILE": str(tmp_path / "history")}
    with Terminal(command, environment) as terminal:
        if shell == "zsh":
            terminal.type(f". {tmp_path}/rc\n")
        terminal.wait_for("ready> ")
        for typed, completed in (
            ("naiad compa\t", "naiad compare "),
            ("naiad ls --sta\t", "naiad ls --state "),
            ("naiad show my-\t", "naiad show my-trial "),
            ("naiad tail DIGITS-1 train/l\t", "naiad tail DIGITS-1 train/loss "),
            ("naiad files DIG\t2\t", "naiad files DIGITS-2 "),
        ):
            terminal.type(typed)
            terminal.wait_for(completed)
            terminal.type("\x15")  # Ctrl-U: an empty line again


class Terminal:
    """A program in a pseudo terminal, and what has appeared there."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._ours, theirs = pty.openpty()
        self._process = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True
        )
        os.close(theirs)
        self._shown = ""

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_error: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._ours)

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self._ours, text.encode())

    def wait_for(self, text: str, seconds: float = 60) -> None:
        """Read until a text has appeared, and forget all before its end."""
        limit = time.monotonic() + seconds
        while text not in self._shown:
            assert select.select([self._ours], [], [], max(limit - time.monotonic(), 0))[0], self._shown
            self._shown += re.sub(r"\x1b\[[\d;?]*[A-Za-z]|[\r\x07]", "", os.read(self._ours, 65536).decode())
            self._shown = re.sub(r"[^\b]\x08", "", self._shown)
        self._shown = self._shown.partition(text)[2]


def test_nothing_is_offered_without_a_store(tmp_path: Path) -> None:
    environment = {**os.environ, "NAIAD_STORE": str(tmp_path / "none"), "COMP_WORDS": "naiad show ", "COMP_CWORD": "2"}
    command = [sys.executable, "-c", "from naiad.cli import main; main(prog_name='naiad')"]
    done = subprocess.run(
        command,
        env={**environment, "_NAIAD_COMPLETE": "bash_complete"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert ("", "") == (done.stdout.strip(), done.stderr)
