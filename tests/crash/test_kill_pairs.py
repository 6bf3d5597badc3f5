"""kill -9 of two processes at once. Two hundred: `python tests/crash/kill_pairs.py 200`, or `-m slow` here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

HARNESS = Path(__file__).with_name("kill_pairs.py")


@pytest.mark.parametrize(
    "kills",
    [
        pytest.param(12, marks=pytest.mark.timeout(300)),
        pytest.param(200, id="two-hundred", marks=[pytest.mark.slow, pytest.mark.timeout(3600)]),
    ],
)
def test_nothing_acknowledged_is_lost_or_doubled_when_two_processes_are_killed_at_any_moment(
    kills: int, tmp_path: Path
) -> None:
    """They write, fold, upload, stop, resume, repair, collect garbage and read the table of runs."""
    command = [sys.executable, str(HARNESS), str(kills), "--folder", str(tmp_path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=3600)

    assert 0 == done.returncode, done.stdout + done.stderr
    figures = json.loads(done.stdout.splitlines()[0])
    assert kills <= figures["kills"]
    assert [0] * 5 == [figures[name] for name in ("lost", "doubled", "wrong", "verify untruthful", "died by itself")]
