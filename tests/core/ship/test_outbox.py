"""The outbox: folded journal files of a run with a remote stay until a server has them."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import pytest

from naiad.errors import StorageWarning
from naiad.ops import Strings
from naiad.storage.local import outbox
from naiad.storage.local.layout import RunDirectory
from naiad.storage.local.reader import Reader
from naiad.storage.local.writer import Writer

REMOTE = b'{"url": "https://naiad.example.org"}'


@pytest.fixture
def folder(store: Path, monkeypatch: pytest.MonkeyPatch) -> RunDirectory:
    """Of a run that nobody has begun, folded every few points."""
    monkeypatch.setenv("NAIAD_FOLD_RECORDS", "500")
    monkeypatch.setenv("NAIAD_SMALL_RUN_RECORDS", "0")
    monkeypatch.setenv("NAIAD_SEGMENT_BYTES", "4096")
    monkeypatch.setenv("NAIAD_SYNC_SECONDS", "0.02")
    return RunDirectory(store / "runs" / "01a2")


def log_some(writer: Writer, start: int, count: int) -> None:
    fid = writer.bind("x")
    writer.points(fid, [step / 3 for step in range(start, start + count)], range(start, start + count), [1.0] * count)
    writer.log([Strings("text", [str(start)], [start], [1.0], False, writer.now())])


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder)) if folder.exists() else []


def numbers(files: list[str], suffix: str) -> list[int]:
    """The numbers of the files with a suffix, in order."""
    return sorted(int(name.split(".")[1]) for name in files if name.split(".")[2] == suffix)


def test_folded_files_of_a_run_with_a_remote_stay_in_the_outbox(folder: RunDirectory) -> None:
    """All of them, from the first to the last, with the bytes that were logged."""
    writer = Writer.open(folder, remote=REMOTE)
    for start in range(0, 3000, 100):
        log_some(writer, start, 100)
    writer.stop()
    kept = names(folder.outbox)

    assert folder.remote.read_bytes() == REMOTE
    assert [1] == numbers(kept, "ops")
    assert list(range(1, len(numbers(kept, "seg")) + 1)) == numbers(kept, "seg")
    records = sum((folder.outbox / name).stat().st_size - 64 for name in kept if name.endswith(".seg")) // 32
    assert 3000 == records
    assert [] == [name for name in names(folder.journal) if name.endswith((".seg", ".ops"))]
    assert 3000 == Reader(folder).count("x")


def test_run_without_a_remote_has_no_outbox(folder: RunDirectory) -> None:
    writer = Writer.open(folder)
    log_some(writer, 0, 1000)
    writer.stop()

    assert not folder.outbox.exists()
    assert 1000 == Reader(folder).count("x")


def test_remote_that_comes_later_keeps_what_is_folded_from_then_on(folder: RunDirectory) -> None:
    writer = Writer.open(folder)
    log_some(writer, 0, 1000)
    until = time.monotonic() + 60
    while not folder.index.exists() and time.monotonic() < until:
        time.sleep(0.01)
    outbox.attach(folder, REMOTE)
    log_some(writer, 1000, 1000)
    writer.stop()

    assert [1] == numbers(names(folder.outbox), "ops")
    assert 2000 == Reader(folder).count("x")


def test_files_of_a_dead_writer_go_to_the_outbox_too(folder: RunDirectory) -> None:
    """The next writer folds them."""
    if not (child := os.fork()):
        writer = Writer.open(folder, remote=REMOTE)
        log_some(writer, 0, 300)
        os._exit(0)  # killed, as far as the run knows
    os.waitpid(child, 0)
    Writer.open(folder).stop()

    assert 2 == len({name.partition(".")[0] for name in names(folder.outbox)})
    assert 300 == Reader(folder).count("x")


def test_confirmed_files_go_after_their_time_and_others_never(folder: RunDirectory) -> None:
    writer = Writer.open(folder, remote=REMOTE)
    log_some(writer, 0, 600)
    writer.stop()
    first, *others = names(folder.outbox)
    outbox.mark_sent(folder, first)
    outbox.remove_sent(folder, time.time() - 60)
    assert [first + outbox.SENT, *others] == names(folder.outbox)
    outbox.remove_sent(folder, time.time() + 60)

    assert others == names(folder.outbox)


def test_server_that_lost_data_gets_confirmed_files_again(folder: RunDirectory) -> None:
    writer = Writer.open(folder, remote=REMOTE)
    log_some(writer, 0, 600)
    writer.stop()
    kept = names(folder.outbox)
    for name in kept:
        outbox.mark_sent(folder, name)
    outbox.unmark(folder)

    assert kept == names(folder.outbox)


def test_disk_that_lists_nothing_frees_nothing_and_ends_no_thread(
    folder: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an XFS disk that died: the thread that would free something also stores what waits in memory."""
    Writer.open(folder, remote=REMOTE).stop()

    def refuse(path: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO), path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", refuse)

        assert 0 == outbox.free(folder)


def test_full_disk_frees_what_a_server_has_and_keeps_the_rest(
    folder: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of all runs of the store; the run that met the full disk goes on."""
    earlier = RunDirectory(folder.path.with_name("00ff"))
    writer = Writer.open(earlier, remote=REMOTE)
    log_some(writer, 0, 600)
    writer.stop()
    first, *others = names(earlier.outbox)
    outbox.mark_sent(earlier, first)
    writer = Writer.open(folder)
    refused = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.warns(StorageWarning, match="cannot be written"):
        writer.journal.directory.trouble(refused)
    until = time.monotonic() + 60
    while first + outbox.SENT in names(earlier.outbox) and time.monotonic() < until:
        time.sleep(0.05)
    writer.stop()

    assert others == names(earlier.outbox)


def test_store_knows_which_runs_a_server_may_lack(folder: RunDirectory) -> None:
    root = folder.path.parent.parent
    assert [] == outbox.unshipped(root)
    Writer.open(folder, remote=REMOTE).stop()
    assert ["01a2"] == outbox.unshipped(root)
    outbox.note_shipped(folder)

    assert [] == outbox.unshipped(root)


@pytest.mark.parametrize("is_known", [True, False], ids=["folded so far", "never folded"])
def test_file_that_is_written_again_counts_up_to_where_it_was_folded(folder: RunDirectory, is_known: bool) -> None:
    """A server must not get the same points in the old file and in the new one."""
    writer = Writer.open(folder, remote=REMOTE)
    log_some(writer, 0, 50)
    name = writer.journal.point_log.segments[0].name
    ops = writer.journal.op_log.files[0]
    writer.journal.start_over()
    end = 64 + 32 * 20 if is_known else 64
    writer.journal.put_again({name: (end, True), ops.name: (ops.size, True)})

    assert end == (folder.outbox / name).stat().st_size
    writer.stop()
