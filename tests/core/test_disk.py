"""The disk: syncs of several files at once."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from naiad import disk


def test_files_are_synced_at_the_same_time_and_each_error_is_returned(tmp_path: Path) -> None:
    files = [tmp_path / f"{number}" for number in range(6)]
    for file in files[:5]:
        file.write_bytes(b"x")

    (error,) = disk.sync_all([*files, tmp_path])
    assert isinstance(error, FileNotFoundError)
    assert [] == disk.sync_all([])


def test_files_are_synced_though_no_thread_can_be_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(disk, "_syncing", set())
    monkeypatch.setattr(threading.Thread, "start", refuse)

    assert [] == disk.sync_all([tmp_path] * 5)


def test_a_forked_child_syncs_by_itself(tmp_path: Path) -> None:
    assert [] == disk.sync_all([tmp_path] * 5)
    child = os.fork()
    if child == 0:
        os._exit(len(disk.sync_all([tmp_path] * 5)))

    assert 0 == os.waitpid(child, 0)[1]
