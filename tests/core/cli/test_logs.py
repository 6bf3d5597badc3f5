"""`naiad logs`: the lines that a run printed, at once or while they come."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import Result

import naiad

COMMAND = [sys.executable, "-c", "from naiad.cli import main; main()", "logs"]
TRAINING = """
import os, signal, sys
import naiad
run = naiad.init_run(project="p", monitoring_namespace="monitoring/m", git_ref=False, source_files=[])
print("begun", file=sys.__stdout__, flush=True)
for word in sys.stdin:
    if word.startswith("kill"):
        os.kill(os.getpid(), signal.SIGKILL)
    print(word.strip(), flush=True)
    print("of " + word.strip(), file=sys.stderr, flush=True)
run.stop()
"""


@pytest.fixture
def training(store: Path) -> Iterator[subprocess.Popen[str]]:
    """A run in another process: each line that it is sent is printed on both streams; `kill` ends it with SIGKILL."""
    environment = {**os.environ, "NAIAD_QUIET": "1"}
    environment.pop("NAIAD_CAPTURES")
    command = [sys.executable, "-c", TRAINING]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment, text=True
    ) as process:
        assert process.stdout
        assert "begun" == process.stdout.readline().strip()
        yield process
        process.kill()


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_following_shows_lines_as_they_come_and_ends_with_the_run(training: subprocess.Popen[str], end: str) -> None:
    assert training.stdin
    command = [*COMMAND, "P-1", "-f", "--stream", "stdout"]
    following = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert following.stdout
    try:
        assert "begun\n" == following.stdout.readline()
        for word in ("first", "second", "\x1b[31mthird"):
            training.stdin.write(f"{word}\n")
            training.stdin.flush()
            assert f"{word}\n".replace("\x1b", "\\x1b") == following.stdout.readline()
        if end == "kill":
            training.stdin.write("kill\n")
        training.stdin.close()
        training.wait(timeout=60)

        assert "" == following.stdout.read()
        assert 0 == following.wait(timeout=60)
    finally:
        following.kill()
        following.communicate()


def test_interrupt_ends_following_quietly(run: naiad.Run) -> None:
    run["monitoring/m/stdout"].append("a line")
    command = [*COMMAND, run["sys/id"].fetch(), "-f"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as following:
        assert following.stdout
        assert "a line\n" == following.stdout.readline()
        following.send_signal(signal.SIGINT)

        assert ("", "") == following.communicate(timeout=60)
        assert 130 == following.returncode


def test_streams_are_merged_by_time_cut_and_chosen(cli: Callable[..., Result]) -> None:
    def fail() -> None:
        with naiad.init_run(project="p", monitoring_namespace="monitoring/m") as run:
            run["monitoring/m/stdout"].extend(["out 1", "out 2"], timestamps=[1.0, 3.0])
            run["monitoring/m/stderr"].append("err 1", timestamp=2.0)
            raise RuntimeError("loss is NaN")

    with pytest.raises(RuntimeError):
        fail()

    assert ["out 1", "err 1", "out 2"] == cli("logs", "P-1").stdout.splitlines()[:3]
    assert "RuntimeError: loss is NaN" == cli("logs", "P-1", "-n", "1").stdout.splitlines()[-1]
    assert "err 1\n" == cli("logs", "P-1", "--stream", "stderr").stdout
    none = cli("logs", "P-1", "-n", "0")
    assert ("", "", 0) == (none.stdout, none.stderr, none.exit_code)
    documents = json.loads(cli("logs", "P-1", "--stream", "stdout", "--json").stdout)
    assert [("stdout", "out 1"), ("stdout", "out 2")] == [(each["stream"], each["text"]) for each in documents]


def test_run_without_lines_says_so(cli: Callable[..., Result]) -> None:
    with naiad.init_run(project="p"):
        pass
    result = cli("logs", "P-1")

    assert ("", "P-1 has no captured output.\n", 0) == (result.stdout, result.stderr, result.exit_code)
