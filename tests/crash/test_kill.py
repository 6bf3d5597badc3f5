"""kill -9 at random moments. A thousand of them: `python tests/crash/kill.py 1000`, or `-m slow` here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

HARNESS = Path(__file__).with_name("kill.py")


@pytest.mark.parametrize(
    ("kills", "journal"),
    [
        pytest.param(16, "mmap", id="mmap", marks=pytest.mark.timeout(600)),  # 50 s on two busy cores
        pytest.param(6, "write", id="write"),
        pytest.param(1000, "mmap", id="a-thousand", marks=[pytest.mark.slow, pytest.mark.timeout(7200)]),
    ],
)
def test_nothing_acknowledged_is_lost_by_kill_9(kills: int, journal: str, tmp_path: Path) -> None:
    """One and four threads, rotation and folding all the time, kills while opening, logging and stopping."""
    done = subprocess.run(
        [sys.executable, str(HARNESS), str(kills), "--journal", journal, "--folder", str(tmp_path)],
        check=False,
        capture_output=True,
        text=True,
        timeout=7200,
    )

    assert 0 == done.returncode, done.stdout + done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    print(figures)
    assert kills <= figures["kills"]
    assert [0] * 5 == [figures[name] for name in ("lost", "duplicated", "wrong", "unreadable", "not shown as killed")]
