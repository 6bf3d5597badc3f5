"""The journal of one writer on a disk that works; tests/crash has the others."""

from __future__ import annotations

import errno
import math
import os
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from naiad.ops import Assign, Delete, Open, Strings
from naiad.settings import Tuning
from naiad.slots import RECORD, SEGMENT_HEADER, pack_int
from naiad.storage.local.journal.files import list_journal
from naiad.storage.local.journal.journal import Journal, JournalClosed
from naiad.storage.local.journal.records import pack_records
from naiad.storage.local.layout import RunDirectory
from naiad.storage.local.reader import Reader
from naiad.storage.results import PointColumns


@pytest.fixture
def folder(tmp_path: Path) -> RunDirectory:
    folder = RunDirectory(tmp_path)
    folder.journal.mkdir()
    return folder


@pytest.fixture(params=[True, False], ids=["mmap", "write"])
def journal(request: pytest.FixtureRequest, folder: RunDirectory) -> Iterator[Journal]:
    """One with segments of five records."""
    directory = os.open(folder.journal, os.O_RDONLY)
    journal = Journal(directory, "1-a", Tuning(segment_bytes=SEGMENT_HEADER + 5 * RECORD), is_mapped=request.param)
    journal.write([Open("1-a", 1, "host", "boot", 1, "owner", 1.0)])
    yield journal
    if not journal.is_closed:
        journal.close()
    journal.release()
    os.close(directory)


def strings(number: int) -> Strings:
    return Strings("text", [str(number)], [number], [1.0], False, float(number))


def test_points_over_many_segments_are_read_in_order(journal: Journal, folder: RunDirectory) -> None:
    fid = journal.bind("x", 1.0, fresh=False)
    journal.point_log.append(fid, [step / 3 for step in range(23)], list(range(23)), [1.0] * 23)
    points = Reader(folder).points("x")

    assert 5 == len(journal.point_log.segments)
    assert list(range(23)) == points.steps.tolist()
    assert [step / 3 for step in range(23)] == points.values.tolist()
    assert 23 == journal.point_log.pending()


def append_block(journal: Journal, fid: int, steps: list[int]) -> None:
    """Add points whose values are their steps, at most three in a segment."""
    whole: Any = np.array(steps)
    columns = PointColumns(whole.astype(np.float64), whole, np.ones(len(steps)))
    for records in pack_records([(fid, columns)], 3):
        journal.point_log.append_block(records)


def test_block_becomes_segments_of_its_own_in_the_order_of_arrival(journal: Journal, folder: RunDirectory) -> None:
    fid = journal.bind("x", 1.0, fresh=False)
    journal.point_log.append(fid, [-1.0], [0], [1.0])
    append_block(journal, fid, [0, 1, 2, 2**60 + 1])
    journal.point_log.append(fid, [-2.0], [0], [1.0])
    points = Reader(folder).points("x")

    assert 4 == len(journal.point_log.segments)
    assert [0, 0, 0, 1, 2, 2**60 + 1] == points.steps.tolist()
    assert [-1.0, 0.0, -2.0, 1.0, 2.0, float(2**60)] == points.values.tolist()
    assert 6 == journal.point_log.pending()


def test_points_behind_a_block_are_read_behind_it_though_a_segment_was_ready(
    journal: Journal, folder: RunDirectory
) -> None:
    fid = journal.bind("x", 1.0, fresh=False)
    journal.point_log.append(fid, [-1.0], [0], [1.0])
    journal.point_log.prepare_spare()
    append_block(journal, fid, [0])
    journal.point_log.append(fid, [-2.0], [0], [1.0])

    assert [-1.0, 0.0, -2.0] == Reader(folder).points("x").values.tolist()


def test_block_waits_in_memory_while_the_disk_refuses(journal: Journal, folder: RunDirectory) -> None:
    fid = journal.bind("x", 1.0, fresh=False)
    journal.directory.trouble(OSError(errno.ENOSPC, "full"))
    append_block(journal, fid, [0, 1, 2, 3])
    waiting = journal.unstored()

    assert journal.recover()
    assert 4 == waiting
    assert [0, 1, 2, 3] == Reader(folder).points("x").steps.tolist()


def test_recovery_after_the_end_begins_nothing_anew(journal: Journal) -> None:
    """A thread that a stop did not wait for still has to give the lease back, and must not end in an error."""
    begun: list[str] = []

    def begin_anew() -> None:
        journal.write([])
        begun.append("anew")

    journal.on_recovery = begin_anew
    journal.directory.trouble(OSError(errno.ENOSPC, "full"))
    journal.close()

    assert not journal.recover()
    assert [] == begun


@pytest.mark.parametrize("step", [0, -1, 2**63 - 1, -(2**63), 0.5, -1e300, 2**53 + 1])
@pytest.mark.parametrize("value", [0.0, -0.0, math.inf, -math.inf, math.nan, 5e-324, 1 / 3])
def test_any_step_and_value_comes_back_bit_for_bit(
    step: float, value: float, journal: Journal, folder: RunDirectory
) -> None:
    journal.point_log.append(journal.bind("x", 1.0, fresh=False), [value], [step], [1.0])
    points = Reader(folder).points("x")

    assert step == points.steps.tolist()[0]
    assert value.hex() == points.values.tolist()[0].hex()


@pytest.mark.parametrize("step", [2**63, -(2**63) - 1])
def test_point_that_fits_no_record_is_refused_and_uses_no_segment(step: int, journal: Journal) -> None:
    fid = journal.bind("x", 1.0, fresh=False)
    journal.point_log.append(fid, [1.0], [1], [1.0])

    with pytest.raises(Exception, match=r"int too large|argument out of range|format requires"):
        journal.point_log.append(fid, [1.0], [step], [1.0])
    assert 1 == len(journal.point_log.segments)


def test_frames_of_a_writer_are_numbered_over_all_its_files(
    journal: Journal, folder: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("naiad.storage.local.journal.op_log.LARGEST_OPS_FILE", 500)  # else the files would have 4 MiB
    for number in range(40):
        journal.write([strings(number)])
    reader = Reader(folder)

    assert 3 < len(journal.op_log.files)
    assert [str(number) for number in range(40)] == reader.texts("text").texts
    assert [] == reader.damages


def test_ops_of_one_write_take_effect_together(journal: Journal, folder: RunDirectory) -> None:
    journal.write([Assign("a", "int", 1, 1.0), Assign("b", "int", 2, 1.0)])
    (file,) = folder.journal.glob("*.ops")
    os.truncate(file, file.stat().st_size - 1)

    assert set() == {"a", "b"} & Reader(folder).kinds().keys()


def test_closed_journal_refuses_everything(journal: Journal) -> None:
    fid = journal.bind("x", 1.0, fresh=False)
    journal.point_log.append(fid, [1.0], [1], [1.0])
    offsets, page = journal.point_log.slot
    journal.close()

    with pytest.raises(JournalClosed):
        journal.write([strings(1)])
    with pytest.raises(JournalClosed):
        journal.point_log.append(fid, [1.0], [2], [1.0])
    with pytest.raises(JournalClosed):
        journal.bind("y", 1.0, fresh=False)
    with pytest.raises((TypeError, ValueError, struct.error)):
        pack_int(page, at := next(offsets), 1, 1.0, 1.0, fid, at)


def test_closing_seals_segments_and_removes_the_spare(journal: Journal, folder: RunDirectory) -> None:
    fid = journal.bind("x", 1.0, fresh=False)
    journal.point_log.append(fid, [1.0] * 7, list(range(7)), [1.0] * 7)
    journal.point_log.prepare_spare()
    assert 3 == len(list(folder.journal.glob("*.seg")))
    journal.close()

    assert [SEGMENT_HEADER + 5 * RECORD, SEGMENT_HEADER + 2 * RECORD] == [
        file.stat().st_size for file in sorted(folder.journal.glob("*.seg"))
    ]
    assert 7 == Reader(folder).count("x")


def test_rotation_uses_the_spare_and_asks_for_another(journal: Journal) -> None:
    asked = []
    fid = journal.bind("x", 1.0, fresh=False)
    journal.point_log.append(fid, [1.0], [0], [1.0])
    journal.directory.on_rotation = lambda: asked.append(1)
    journal.point_log.prepare_spare()
    journal.point_log.prepare_spare()
    journal.point_log.append(fid, [1.0] * 5, list(range(5)), [1.0] * 5)

    assert ["1-a.000001.seg", "1-a.000002.seg"] == [segment.name for segment in journal.point_log.segments]
    assert [1] == asked


def test_deleted_path_is_bound_to_a_new_number(journal: Journal, folder: RunDirectory) -> None:
    first = journal.bind("x", 1.0, fresh=False)
    journal.point_log.append(first, [1.0], [1], [1.0])
    journal.write([Delete("x", 2.0)])
    second = journal.bind("x", 3.0, fresh=False)
    journal.point_log.append(second, [2.0], [2], [3.0])

    assert first != second
    assert [2.0] == Reader(folder).points("x").values.tolist()


def test_eight_threads_share_a_journal_without_a_hole_or_a_double(journal: Journal, folder: RunDirectory) -> None:
    fid = journal.bind("x", 1.0, fresh=False)

    def log(thread: int) -> None:
        for i in range(400):
            journal.point_log.append(fid, [thread * 1000.0 + i], [i], [1.0])
            if i % 50 == 0:
                journal.write([strings(thread * 1000 + i)])

    threads = [threading.Thread(target=log, args=(thread,)) for thread in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    reader = Reader(folder)

    assert sorted(t * 1000.0 + i for t in range(8) for i in range(400)) == sorted(reader.points("x").values.tolist())
    assert 64 == reader.count("text")
    assert [] == reader.damages


def test_sync_skips_what_has_not_grown(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    fid = journal.bind("x", 1.0, fresh=False)
    journal.point_log.append(fid, [1.0], [1], [1.0])
    for _ in range(3):
        journal.sync()
    synced: list[int] = []
    monkeypatch.setattr("naiad.storage.local.journal.log_file.put_on_disk", synced.append)  # only counted
    journal.sync()
    assert [] == synced
    journal.point_log.append(fid, [1.0], [2], [1.0])
    journal.sync()

    assert 1 == len(synced)


def test_full_segments_that_are_on_disk_keep_no_descriptor(journal: Journal, folder: RunDirectory) -> None:
    fid = journal.bind("x", 1.0, fresh=False)
    journal.point_log.append(fid, [1.0] * 23, list(range(23)), [1.0] * 23)
    for segment in journal.point_log.segments[:-1]:
        segment.retired_at = -10.0
    journal.sync()
    journal.sync()
    journal.point_log.rest()

    assert [True] * 4 + [False] == [segment.fd < 0 for segment in journal.point_log.segments]
    journal.close()
    assert 23 == Reader(folder).count("x")


def test_forked_child_leaves_the_files_to_its_parent(journal: Journal, folder: RunDirectory) -> None:
    """What a fork does to the journal, without one: `abandon`, and `begin` at the first write."""
    fid = journal.bind("x", 1.0, fresh=False)
    journal.point_log.append(fid, [1.0] * 3, [0, 1, 2], [1.0] * 3)
    directory = os.open(folder.journal, os.O_RDONLY)

    def begin() -> None:
        definitions, (_numbers, last) = journal.definitions(), journal.numbers()
        journal.begin("2-b", directory)
        journal.write([Open("2-b", 2, "host", "boot", 1, "guest", 4.0)])
        journal.inherit(definitions, last)

    journal.abandon(begin)
    assert not journal.has_begun
    journal.point_log.append(fid, [2.0] * 3, [3, 4, 5], [1.0] * 3)

    assert journal.has_begun
    assert [0, 1, 2, 3, 4, 5] == Reader(folder).points("x").steps.tolist()
    assert {"1-a", "2-b"} == {name.split(".")[0] for name in os.listdir(folder.journal)}
    os.close(directory)


WRITER = """
import os, sys
for number in range(1, 6001):
    os.close(os.open(f"{sys.argv[1]}/1-abcdefgh.{number:06d}.seg", os.O_CREAT))
"""


def test_listing_has_no_segment_without_the_earlier_ones(folder: RunDirectory) -> None:
    """A long folder is listed by several calls of the kernel, between which a writer makes files."""
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(folder.journal)])
    listings, gaps = 0, []
    while writer.poll() is None:
        numbers = [file.number for file in list_journal(folder.journal)]
        listings += 1
        if numbers != list(range(1, len(numbers) + 1)):
            gaps.append((len(numbers), numbers[-1]))

    assert 0 == writer.returncode
    assert listings > 3
    assert [] == gaps
    assert 6000 == len(list_journal(folder.journal))
