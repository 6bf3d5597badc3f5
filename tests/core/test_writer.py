"""The writer: the journal with its thread, its lease and its end."""

from __future__ import annotations

import gc
import os
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import pytest

from naiad.errors import InactiveRun, StorageError, StorageWarning, StoreNotWritable, SyncFailed
from naiad.ops import Assign, Strings
from naiad.settings import Tuning
from naiad.storage.local.journal.leases import read_leases
from naiad.storage.local.layout import RunDirectory
from naiad.storage.local.maintenance import Maintenance
from naiad.storage.local.reader import Reader
from naiad.storage.local.writer import Writer


@pytest.fixture
def folder(store: Path) -> RunDirectory:
    """Of a run that nobody has begun."""
    return RunDirectory(store / "runs" / "01a2")


def log_some(writer: Writer, start: int, count: int) -> None:
    fid = writer.bind("x")
    writer.points(fid, [step / 3 for step in range(start, start + count)], range(start, start + count), [1.0] * count)
    writer.log([Strings("text", [str(start)], [start], [1.0], False, writer.now())])


def test_stopped_run_is_sealed_finished_and_holds_everything(folder: RunDirectory) -> None:
    writer = Writer.open(folder)
    log_some(writer, 0, 100)
    assert "running" == Reader(folder).state()
    writer.stop()
    reader = Reader(folder)

    assert "finished" == reader.state()
    assert folder.seal.exists()
    assert list(range(100)) == reader.points("x").steps.tolist()
    assert {} == read_leases(folder.journal)


def test_long_run_is_folded_while_it_is_written(folder: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAIAD_FOLD_RECORDS", "500")
    monkeypatch.setenv("NAIAD_SEGMENT_BYTES", "4096")
    monkeypatch.setenv("NAIAD_SYNC_SECONDS", "0.02")
    writer = Writer.open(folder)
    for start in range(0, 3000, 100):
        log_some(writer, start, 100)
    until = time.monotonic() + 60
    while not folder.index.exists() and time.monotonic() < until:
        time.sleep(0.01)
    reader = Reader(folder)

    assert folder.index.exists()
    assert list(range(3000)) == reader.points("x").steps.tolist()
    writer.stop()
    assert list(range(3000)) == reader.points("x").steps.tolist()
    assert [] == list(folder.journal.iterdir())
    assert not folder.index.with_name("run.db-wal").exists()


def test_stop_seals_also_while_somebody_reads(folder: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader keeps the index open, and SQLite would not leave its log then."""
    monkeypatch.setenv("NAIAD_FOLD_RECORDS", "100")
    monkeypatch.setenv("NAIAD_SMALL_RUN_RECORDS", "10")
    writer = Writer.open(folder)
    log_some(writer, 0, 1000)
    writer.stop()
    reader = Reader(folder)
    assert 1000 == reader.count("x")
    keeper = Maintenance(folder, Tuning.from_environment())
    before = keeper.positions()
    writer = Writer.open(folder)
    log_some(writer, 1000, 1000)
    until = time.monotonic() + 60
    while keeper.positions() == before and time.monotonic() < until:
        time.sleep(0.01)
    assert keeper.positions() != before
    assert list(range(2000)) == reader.points("x").steps.tolist()
    writer.stop()

    assert folder.seal.exists()
    assert list(range(2000)) == reader.points("x").steps.tolist()
    assert "finished" == reader.state()


def test_of_writers_that_stop_at_once_the_last_one_seals(folder: RunDirectory) -> None:
    writers = [Writer.open(folder) for _ in range(6)]
    for number, writer in enumerate(writers):
        log_some(writer, number * 10, 10)
    threads = [threading.Thread(target=writer.stop) for writer in writers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert folder.seal.exists()
    assert "finished" == Reader(folder).state()
    assert list(range(60)) == Reader(folder).points("x").steps.tolist()


def test_run_stays_running_until_its_last_writer_stops(folder: RunDirectory) -> None:
    one, two = Writer.open(folder), Writer.open(folder)
    one.stop("failed")
    assert "running" == Reader(folder).state()
    assert not folder.seal.exists()
    two.stop()

    assert "failed" == Reader(folder).state()
    assert folder.seal.exists()


def test_resuming_unseals_and_goes_on(folder: RunDirectory) -> None:
    for session in range(3):
        writer = Writer.open(folder)
        assert not folder.seal.exists()
        log_some(writer, session * 10, 10)
        writer.stop()
    reader = Reader(folder)

    assert list(range(30)) == reader.points("x").steps.tolist()
    assert [1, 2, 3] == sorted(writer.session for writer in reader.projection().writers.values())


def test_stopping_twice_does_nothing_and_logging_afterwards_is_refused(folder: RunDirectory) -> None:
    writer = Writer.open(folder)
    fid = writer.bind("x")
    writer.stop()
    writer.stop()

    assert not writer.is_active
    with pytest.raises(InactiveRun):
        writer.log([Assign("a", "int", 1, 1.0)])
    with pytest.raises(InactiveRun):
        writer.points(fid, [1.0], [1], [1.0])
    with pytest.raises(InactiveRun):
        writer.bind("y")


def test_stop_gives_every_descriptor_and_thread_back(folder: RunDirectory) -> None:
    if not Path("/proc/self/fd").exists():
        pytest.skip("this system does not list open descriptors")
    Writer.open(folder).stop()
    gc.collect()
    before, threads = sorted(os.listdir("/proc/self/fd")), threading.active_count()
    for _ in range(5):
        writer = Writer.open(folder)
        log_some(writer, 0, 5000)
        writer.stop()
    gc.collect()  # an engine of SQLAlchemy is a cycle

    assert before == sorted(os.listdir("/proc/self/fd"))
    until = time.monotonic() + 60
    while threading.active_count() > threads and time.monotonic() < until:  # one waited for the first round of all
        time.sleep(0.01)
    assert threads >= threading.active_count()


def test_time_of_ops_always_rises_though_the_clock_goes_back(
    folder: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = Writer.open(folder)
    first = writer.now()
    monkeypatch.setattr("naiad.clock.now", lambda: first - 1000)  # only time is faked
    later = [writer.now() for _ in range(100)]
    writer.log([Assign("a", "int", 1, writer.now())])
    writer.stop()
    writer = Writer.open(folder)
    writer.log([Assign("a", "int", 2, writer.now())])
    writer.stop()

    assert [first, *later] == sorted({first, *later})
    assert 2 == Reader(folder).value("a")


def test_opening_where_nothing_can_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "runs").touch()

    with pytest.raises(StoreNotWritable, match="NAIAD_STORE"):
        Writer.open(RunDirectory(tmp_path / "runs" / "01a2"))
    assert ["runs"] == os.listdir(tmp_path)


def refuse(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """A disk on which these calls fail. Real ones are in tests/crash; here every kind of call has its turn."""

    def fail(*_: Any, **__: Any) -> Any:
        raise OSError(5, "Input/output error")

    for name in names:
        place = "naiad.storage.local.journal.log_file.put_on_disk" if name == "fdatasync" else f"os.{name}"
        monkeypatch.setattr(place, fail)


@pytest.mark.parametrize("name", ["fsync", "fdatasync", "ftruncate", "pwrite", "unlink", "rename", "replace"])
def test_stop_on_a_failing_disk_warns_and_loses_nothing(
    name: str, folder: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = Writer.open(folder)
    log_some(writer, 0, 100)
    with monkeypatch.context() as patch, warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        refuse(patch, name)
        began = time.monotonic()
        writer.stop(seconds=1)
    reader = Reader(folder)

    assert time.monotonic() - began < 8  # and not the 10 of a stop without a limit
    assert {StorageWarning} >= {warning.category for warning in said}
    assert "finished" == reader.state()
    assert list(range(100)) == reader.points("x").steps.tolist()


def test_wait_raises_where_the_disk_does_not_take_it(folder: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAIAD_SYNC_SECONDS", "100")
    writer = Writer.open(folder)
    log_some(writer, 0, 100)
    with monkeypatch.context() as patch:
        refuse(patch, "fdatasync")
        with pytest.warns(StorageWarning, match="Input/output"), pytest.raises(SyncFailed, match="Input/output"):
            writer.wait()
    writer.wait()
    writer.stop()

    assert list(range(100)) == Reader(folder).points("x").steps.tolist()


def test_warnings_that_are_errors_do_not_end_the_background_thread(
    folder: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NAIAD_SYNC_SECONDS", "0.02")
    writer = Writer.open(folder)
    log_some(writer, 0, 100)
    with monkeypatch.context() as patch:
        refuse(patch, "fdatasync", "fsync")
        time.sleep(0.3)
    assert writer._rounds.is_running()
    writer.stop()

    assert list(range(100)) == Reader(folder).points("x").steps.tolist()


def test_on_error_raise_tells_the_caller_and_keeps_nothing_back(
    folder: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NAIAD_SYNC_SECONDS", "100")
    writer = Writer.open(folder, on_error="raise")
    with monkeypatch.context() as patch:
        refuse(patch, "write")
        with pytest.raises(StorageError):
            writer.log([Assign("a", "int", 1, writer.now())])
    writer.log([Assign("b", "int", 2, writer.now())])
    writer.stop()
    reader = Reader(folder)

    assert "a" not in reader.kinds()
    assert 2 == reader.value("b")
    assert [] == reader.damages


def test_run_that_ends_at_once_has_no_thread_of_its_own(folder: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("naiad.storage.local.writer.COVER_SECONDS", 60.0)
    monkeypatch.setenv("NAIAD_SYNC_SECONDS", "60")
    first = Writer.open(folder)  # with the thread that waits for all
    threads = threading.active_count()
    others = [Writer.open(RunDirectory(folder.path.with_name(f"run{number}"))) for number in range(3)]

    assert threads == threading.active_count()
    for writer in (*others, first):
        writer.stop()
        assert writer.folder.seal.exists()


def test_threads_of_runs_that_begin_together_all_come(folder: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("naiad.storage.local.writer.COVER_SECONDS", 0.05)
    writers = [Writer.open(RunDirectory(folder.path.with_name(f"run{number}"))) for number in range(4)]
    sums = [each.folder.journal / f"{each.name}.sums" for each in writers]
    until = time.monotonic() + 60
    while not all(path.exists() for path in sums) and time.monotonic() < until:
        time.sleep(0.01)

    assert [True] * 4 == [path.exists() for path in sums]
    for writer in writers:
        writer.stop()


def test_the_seal_takes_the_room_that_was_reserved(folder: RunDirectory) -> None:
    writer = Writer.open(folder)
    (room,) = [path for path in folder.journal.iterdir() if path.name.endswith(".reserve")]
    inode = room.stat().st_ino
    writer.stop()

    assert inode == folder.seal.stat().st_ino
    assert not any("reserve" in path.name for path in folder.journal.iterdir())


def test_forked_child_that_writes_nothing_leaves_the_reserve_to_its_parent(folder: RunDirectory) -> None:
    writer = Writer.open(folder)
    child = os.fork()
    if child == 0:
        writer.stop()
        os._exit(0)
    os.waitpid(child, 0)

    assert 2 == sum("reserve" in path.name for path in folder.journal.iterdir())
    writer.stop()
