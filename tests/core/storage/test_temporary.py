"""The temporary folder of a server's process: removed with it, or by the next one if it was killed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from naiad.storage.postgres import temporary

PROGRAM = """
import sys
from naiad.storage.postgres import temporary

(temporary.folder() / "fold-1").mkdir()
print(temporary.folder(), flush=True)
sys.stdin.readline()
"""


def begun(folder: Path) -> tuple[subprocess.Popen[str], Path]:
    """A process with a temporary folder, and that folder."""
    child = subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdin=-1, stdout=-1, text=True, env={**os.environ, "TMPDIR": str(folder)}
    )
    assert child.stdout is not None
    return child, Path(child.stdout.readline().strip())


def ended(child: subprocess.Popen[str]) -> None:
    child.communicate("\n", timeout=60)


def test_folder_of_a_killed_process_is_removed_by_the_next_one_and_that_of_a_living_one_stays(tmp_path: Path) -> None:
    other = tmp_path / "naiad-other"
    other.mkdir()
    (tmp_path / f"{temporary.PREFIX}link").symlink_to(other)
    living, kept = begun(tmp_path)
    killed, left = begun(tmp_path)
    killed.kill()
    killed.communicate()
    assert (left / "fold-1").is_dir()
    last, own = begun(tmp_path)

    assert (False, True, True, True) == tuple(each.is_dir() for each in (left, kept, own, other))
    ended(living)
    ended(last)
    assert [False, False] == [each.exists() for each in (kept, own)]


def test_folder_that_was_cleaned_away_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(temporary, "_made", [])
    first = temporary.folder()
    assert first == temporary.folder()
    first.rmdir()

    assert temporary.folder().is_dir()
