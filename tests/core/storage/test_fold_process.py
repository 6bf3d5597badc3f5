"""A busy run is folded by another process; whatever happens to that one, nothing is lost or there twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import naiad
from naiad.storage.local import processes
from naiad.storage.local.fold_process import FoldProcess, FoldProcessLost
from naiad.storage.local.journal.files import list_journal
from naiad.storage.local.layout import RunDirectory
from naiad.storage.local.maintenance import Maintenance

LOOP = """
import os, sys, naiad
run = naiad.init_run()
loss = run["loss"]
for step in range({count}):
    loss.append(step * 0.5, step=step)
{ending}
"""


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, store: Path) -> Path:
    """Folds that are worth a process, of few points."""
    monkeypatch.setenv("NAIAD_FOLD_RECORDS", "70000")
    monkeypatch.setenv("NAIAD_SMALL_RUN_RECORDS", "1000")
    return store


def finished(count: int, ending: str) -> subprocess.CompletedProcess[str]:
    """A program that logs so many points and then does something."""
    program = LOOP.format(count=count, ending=ending)
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120)


def steps(store: Path) -> list[float]:
    """The steps of the one run of the store."""
    project = naiad.init_project(mode="read-only")
    (name,) = project.fetch_runs_table().to_pandas()["sys/id"]
    with naiad.init_run(with_id=name, mode="read-only") as run:
        return list(run["loss"].fetch_values()["step"])


def test_program_that_logs_much_loads_neither_numpy_nor_a_database(settings: Path) -> None:
    done = finished(300_000, "run.stop()\nprint({'numpy', 'sqlalchemy', 'sqlite3'}.isdisjoint(sys.modules))")

    assert ("True\n", "") == (done.stdout, done.stderr)
    assert steps(settings) == list(range(300_000))


def test_points_that_wait_for_a_fold_are_bounded(settings: Path) -> None:
    """No more than the limit and one fold wait when the loop is over, however long it was."""
    done = finished(3_000_000, "print(run._session.writer.journal.point_log.pending())\nrun.stop()")

    assert "" == done.stderr
    assert int(done.stdout) < 1_500_000
    assert len(steps(settings)) == 3_000_000


def test_killed_program_loses_nothing_that_was_being_folded(settings: Path) -> None:
    done = finished(300_000, "os.kill(os.getpid(), 9)")

    assert -signal.SIGKILL == done.returncode
    assert steps(settings) == list(range(300_000))


def test_thread_folds_if_the_process_is_lost(settings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lost = []

    def ask(self: FoldProcess, *_arguments: object) -> None:
        lost.append(self)
        raise FoldProcessLost

    monkeypatch.setattr(FoldProcess, "_ask", ask)
    with naiad.init_run() as run:
        for step in range(100_000):
            run["loss"].append(0.5, step=step)

    assert 1 == len(lost)
    assert steps(settings) == list(range(100_000))


def test_files_that_a_process_has_folded_before_it_was_lost_are_removed(
    settings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that answers the last fold too late: its commit is there, and this process seals the run."""
    ask, lost = FoldProcess._ask, []
    run = naiad.init_run()
    folder = RunDirectory(Path(run._store.directory(run._run).path))
    journal = run._session.writer.journal

    def ask_in_vain(self: FoldProcess, what: str, content: object, until: float) -> object:
        found = ask(self, what, content, until)
        if not journal.is_closed:
            return found
        lost.append(what)
        raise FoldProcessLost

    monkeypatch.setattr(FoldProcess, "_ask", ask_in_vain)
    for step in range(200_000):
        run["loss"].append(0.5, step=step)
    run.stop()

    assert ["fold"] == lost
    assert folder.seal.exists()
    assert [] == list_journal(folder.journal)
    assert steps(settings) == list(range(200_000))


def test_sealed_run_is_read_whole_if_files_that_its_index_has_are_left(
    settings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one is whose process for folds was lost before it answered."""
    monkeypatch.setattr(Maintenance, "_clear", lambda *_arguments: None)
    with naiad.init_run() as run:
        folder = RunDirectory(Path(run._store.directory(run._run).path))
        for step in range(20_000):
            run["loss"].append(0.5, step=step)
    left = list_journal(folder.journal)

    assert folder.seal.exists()
    assert left
    assert steps(settings) == list(range(20_000))


def test_thread_folds_where_no_process_can_be_started(settings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "can_start", lambda: False)
    with naiad.init_run() as run:
        for step in range(100_000):
            run["loss"].append(0.5, step=step)

    assert steps(settings) == list(range(100_000))


def test_process_ends_when_it_is_let_go(store: Path) -> None:
    with naiad.init_run() as run:
        folder = RunDirectory(Path(run._store.directory(run._run).path))
        process = FoldProcess(folder)
        process.fold([], "", time.monotonic() + 60)
        reader = os.dup(process._replies)
        process.close()

        assert b"" == os.read(reader, 1)  # all its descriptors are closed
        os.close(reader)


def test_error_of_the_disk_comes_back_as_it_was(store: Path) -> None:
    process = FoldProcess(RunDirectory(store / "runs" / "absent"))

    with pytest.raises(OSError, match="absent"):
        process.fold([], "", time.monotonic() + 60)
    process.close()
