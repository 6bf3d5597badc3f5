"""Completion through the shells themselves: commands, options, run ids and paths."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
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
ZSH = """
autoload -Uz compinit && compinit -u -d {folder}/zcompdump
eval "$(naiad completion zsh)"
compadd() {{ print -l -- $completions }}
_describe() {{ print -l -- $completions_with_descriptions }}
words=({line}) ; CURRENT=$#words
_naiad_completion
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
@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_shell_completes(environment: dict[str, str], tmp_path: Path, shell: str, line: str, expected: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"this machine has no {shell}")
    script = (BASH if shell == "bash" else ZSH).format(line=line, quoted=shlex.quote(line), folder=tmp_path)
    options = ["--norc", "--noprofile"] if shell == "bash" else ["-f"]
    command = [shell, *options, "-c", script]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)

    assert expected in {word.partition(":")[0] for word in done.stdout.splitlines()}, done.stdout + done.stderr


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
