"""kill -9 while files are uploaded. A hundred of them: `python tests/crash/kill_files.py 100`, or `-m slow` here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HARNESS = Path(__file__).with_name("kill_files.py")


@pytest.mark.parametrize(
    "kills", [8, pytest.param(100, id="a-hundred", marks=[pytest.mark.slow, pytest.mark.timeout(1800)])]
)
def test_files_are_whole_or_absent_after_kill_9_and_gc_leaves_no_orphan(kills: int) -> None:
    done = subprocess.run(
        [sys.executable, str(HARNESS), str(kills)], check=False, capture_output=True, text=True, timeout=1800
    )

    assert 0 == done.returncode, done.stdout + done.stderr
    assert done.stdout.startswith(f"kills {kills}, ")
