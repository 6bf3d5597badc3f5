"""The runs that a process notes for the workers it starts."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from naiad import spawns


def test_a_program_that_opened_thousands_of_runs_can_still_start_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(spawns.VARIABLE, "")
    for number in range(5_000):
        spawns.note(f"{number:032x}")

    subprocess.run([sys.executable, "-c", "pass"], check=True)
    runs = [each.partition(":")[2] for each in os.environ[spawns.VARIABLE].split("\n")[2:]]
    assert [f"{0:032x}", f"{4_999:032x}"] == [runs[0], runs[-1]]
