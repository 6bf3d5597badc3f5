"""The reader: index and live tail are one, from any process and at any moment; charts lose no spike."""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import naiad
from naiad.errors import DamagedData, DamageWarning, MissingField, StorageError
from naiad.kinds import DERIVED
from naiad.ops import Assign, Configure, Delete, Strings, Tags
from naiad.settings import Tuning
from naiad.storage.local.index import series, snapshot, tail
from naiad.storage.local.index import snapshot as view_module
from naiad.storage.local.index.index import Index, without_folds
from naiad.storage.local.index.snapshot import Snapshot
from naiad.storage.local.index.tail import Tail
from naiad.storage.local.integrity.seal import write_seal
from naiad.storage.local.layout import RunDirectory
from naiad.storage.local.maintenance import Maintenance
from naiad.storage.local.reader import Reader
from naiad.storage.local.writer import Writer
from naiad.storage.sql import database
from naiad.storage.sql.connection import Connection
from naiad.storage.sql.database import open_for_writing


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDirectory:
    monkeypatch.setenv("NAIAD_FOLD_RECORDS", "1000000000")  # nothing is folded but by the test
    monkeypatch.setenv("NAIAD_SYNC_SECONDS", "600")
    return RunDirectory(tmp_path / "run")


@pytest.fixture
def writer(folder: RunDirectory) -> Iterator[Writer]:
    writer = Writer.open(folder)
    yield writer
    writer.stop()


def put(writer: Writer, path: str, steps: list[int | float], values: Any = None) -> None:
    values = [float(step) for step in steps] if values is None else list(values)
    fid = writer.journal.numbers()[0].get(path) or writer.bind(path)
    writer.points(fid, values, steps, [1.0] * len(steps))


def fold(writer: Writer) -> None:
    Maintenance(writer.folder, Tuning.from_environment()).fold(writer.journal)


def write_and_die(folder: RunDirectory) -> None:
    """Three points by a process that is gone."""
    child = os.fork()
    if not child:
        put(Writer.open(folder), "loss", [0, 1, 2])
        os._exit(0)
    assert 0 == os.waitpid(child, 0)[1]


def test_folder_without_anything_is_an_empty_run(folder: RunDirectory) -> None:
    reader = Reader(folder)

    assert {"sys/state", "sys/size"} < set(reader.kinds())
    assert 5 == len(reader.kinds())
    with pytest.raises(MissingField, match='has no field "loss"'):
        reader.points("loss")


def test_entry_that_cannot_be_looked_at_hides_no_file_of_a_run(folder: RunDirectory, writer: Writer) -> None:
    put(writer, "loss", [0])
    writer.stop("finished")
    before = [Reader(folder).value(path) for path in ("sys/size", "sys/ping_time")]
    for place in (folder.path, folder.journal):
        for number in range(20):  # listed in any order, some of them first
            (place / f"{number}.circle").symlink_to(f"{number}.circle")

    assert before == [Reader(folder).value(path) for path in ("sys/size", "sys/ping_time")]


def test_everything_acknowledged_before_the_call_is_seen(folder: RunDirectory, writer: Writer) -> None:
    reader = Reader(folder)
    for i in range(5):
        put(writer, "loss", [i])
        writer.log([Assign("x", "int", i, writer.now()), Strings("log", [f"{i}"], [i], [1.0], False, writer.now())])

        assert list(range(i + 1)) == reader.points("loss").steps.tolist()
        assert (i, i + 1, i + 1) == (reader.value("x"), reader.count("log"), reader.count("loss"))
        if i == 2:
            fold(writer)


def test_damaged_frame_of_very_many_fields_is_one_warning(folder: RunDirectory, writer: Writer) -> None:
    """As one assigned dict is one frame; each of its fields is still listed as damaged."""
    paths = [f"layers/{number:04d}" for number in range(3_000)]
    writer.log([Assign(path, "int", 1, writer.now()) for path in paths])
    writer.log([Assign("lr", "float", 0.1, writer.now())])
    (file,) = folder.journal.glob("*.ops")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    file.write_bytes(content)
    reader = Reader(folder)

    with pytest.warns(DamageWarning) as caught:
        assert 0.1 == reader.value("lr")
    told = [str(each.message) for each in caught if "are not ops" in str(each.message)]
    assert 1 == len(told)
    assert told[0].endswith('(field "layers/0000") and 2,999 more.')
    assert set(paths) <= {damage.path for damage in reader.damages}


def test_live_tail_is_read_on_from_where_it_was(
    folder: RunDirectory, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[int] = []
    read_records = tail.read_records

    def watched(file: Any, start: int, *more: Any) -> Any:
        found = read_records(file, start, *more)
        reads.append(len(found[0]))
        return found

    monkeypatch.setattr(tail, "read_records", watched)
    reader = Reader(folder)
    put(writer, "loss", list(range(1000)))
    assert 1000 == reader.count("loss")
    put(writer, "loss", list(range(1000, 1010)))
    assert 1010 == reader.count("loss")
    assert list(range(1010)) == reader.points("loss").steps.tolist()

    assert [1000, 10, 0] == reads


def test_record_behind_a_hole_is_seen_at_once_and_the_hole_when_filled(folder: RunDirectory, writer: Writer) -> None:
    from naiad.slots import pack_int

    reader = Reader(folder)
    put(writer, "loss", [0, 1])
    fid = writer.journal.numbers()[0]["loss"]
    offsets, page = writer.journal.point_log.slot
    late = next(offsets)
    put(writer, "loss", [3, 4])
    assert [0, 1, 3, 4] == reader.points("loss").steps.tolist()

    pack_int(page, late, 2, 2.0, 1.0, fid, late)
    assert [0, 1, 2, 3, 4] == reader.points("loss").steps.tolist()


def test_files_folded_between_listing_and_reading_are_found_in_the_index(
    folder: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_and_die(folder)
    reader = Reader(folder)
    listing = view_module.list_journal
    folds = iter([True])

    def list_then_fold(place: Path) -> Any:
        found = listing(place)
        if next(folds, False):
            Maintenance(folder, Tuning.from_environment()).fold(None)
        return found

    monkeypatch.setattr(view_module, "list_journal", list_then_fold)
    assert [0, 1, 2] == reader.points("loss").steps.tolist()
    assert next(folds, "folded") == "folded"
    assert [] == [name for name in os.listdir(folder.journal) if name.endswith((".seg", ".ops"))]


def test_files_folded_while_they_are_read_are_found_in_the_index(
    folder: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_and_die(folder)
    reader = Reader(folder)
    assert "loss" in reader.kinds()
    update = Tail.update
    folds = iter([True])

    def fold_first(tail: Tail, *files: Any) -> Any:
        if next(folds, False):
            Maintenance(folder, Tuning.from_environment()).fold(None)
        return update(tail, *files)

    monkeypatch.setattr(Tail, "update", fold_first)
    assert [0, 1, 2] == reader.points("loss").steps.tolist()


def test_fold_between_picture_and_rows_is_noticed(
    folder: RunDirectory, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(writer, "loss", [0, 1])
    fold(writer)
    put(writer, "loss", [2])
    reader = Reader(folder)
    rows = Snapshot.rows
    folds = iter([True])

    def fold_first(self: Snapshot, state: Any, table: str) -> Any:
        if next(folds, False):
            fold(writer)
        return rows(self, state, table)

    monkeypatch.setattr(Snapshot, "rows", fold_first)
    assert [0, 1, 2] == reader.points("loss").steps.tolist()


def test_journal_that_names_vanished_files_for_ever_is_an_error(
    folder: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_and_die(folder)
    found = view_module.list_journal(folder.journal)
    for file in found:
        file.path.unlink()
    monkeypatch.setattr(view_module, "list_journal", lambda _place: found)

    with pytest.raises(DamagedData, match="names files that are not there"):
        Reader(folder).kinds()


FOLDS_AGAIN_AND_AGAIN = """
import naiad, os, sys, threading, time

def log(name):
    for i in range(10_000_000):
        run[name].append(i)
        if i % 20 == 0:  # at full speed a fold has much to do, and fewer end in a second
            time.sleep(0.001)

run = naiad.init_run(store=sys.argv[1])
for name in "abc":
    threading.Thread(target=log, args=(name,), daemon=True).start()
run.wait()
print(run["sys/id"].fetch(), flush=True)
log("loss")
"""


def test_run_is_read_by_a_busy_process_while_it_is_folded_all_the_time(store: Path) -> None:
    """Another thread that computes makes each call of the disk wait for 5 ms: many folds end in one look at the run."""
    tuning = {"CAPTURES": "off", "SEGMENT_BYTES": "4096", "FOLD_RECORDS": "300", "SYNC_SECONDS": "0.02"}
    environment = {**os.environ, **{f"NAIAD_{name}": value for name, value in tuning.items()}}
    is_over = threading.Event()

    def compute() -> None:
        while not is_over.is_set():
            sum(range(1000))

    arguments = [sys.executable, "-c", FOLDS_AGAIN_AND_AGAIN, store]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, env=environment) as program:
        assert program.stdout is not None
        uid = program.stdout.readline().decode().strip()
        thread = threading.Thread(target=compute)
        thread.start()
        try:
            with naiad.init_run(with_id=uid, mode="read-only", store=store) as run:
                found = [run[name].fetch_values()["value"].tolist() for name in ("a", "b", "c", "loss")]
        finally:
            is_over.set()
            thread.join()
            program.kill()

    assert [[*range(len(values))] for values in found] == found
    assert all(found)


def test_run_that_changes_all_the_time_is_not_called_damaged_where_its_folds_cannot_wait(
    folder: RunDirectory, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user without permission to write cannot keep the index as it is; root always can, so the lock is taken here."""
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.001)
    put(writer, "loss", [*range(2000)])
    fold(writer)
    reader = Reader(folder)
    holder = sqlite3.connect(folder.index, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")

    def fold_and_lose(*_given: object) -> None:
        holder.execute("ROLLBACK")
        put(writer, "loss", [3000])
        fold(writer)
        holder.execute("BEGIN IMMEDIATE")
        raise FileNotFoundError

    monkeypatch.setattr(Snapshot, "rows", fold_and_lose)
    with pytest.raises(StorageError, match="changed each time that it was read") as caught:
        reader.points("loss")
    assert not isinstance(caught.value, DamagedData)
    holder.close()


def test_child_that_is_forked_while_folds_wait_for_a_reader_folds_itself(folder: RunDirectory, writer: Writer) -> None:
    """A child that inherits a held lock of SQLite would never get it: the fork waits until it is free."""
    put(writer, "loss", [0])
    fold(writer)
    is_held, is_over = threading.Event(), threading.Event()

    def hold() -> None:
        with without_folds(folder) as is_alone:
            assert is_alone
            is_held.set()
            is_over.wait(0.3)

    thread = threading.Thread(target=hold)
    thread.start()
    is_held.wait()
    if (child := os.fork()) == 0:
        try:
            with Index(folder, open_for_writing(folder.index)).snapshot():
                os._exit(7)
        finally:
            os._exit(1)
    _pid, status = os.waitpid(child, 0)
    is_over.set()
    thread.join()

    assert 7 == os.waitstatus_to_exitcode(status)


def test_run_that_is_resumed_under_a_reader_is_followed(folder: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAIAD_SMALL_RUN_RECORDS", "0")
    reader = Reader(folder)
    for i in range(4):
        writer = Writer.open(folder)
        put(writer, "loss", list(range(1000 * i, 1000 * i + 1000)))
        assert ("running", 1000 * i + 1000) == (reader.state(), reader.count("loss"))
        writer.stop()
        assert ("finished", 1000 * i + 1000) == (reader.state(), len(reader.points("loss").steps))
    assert [] == reader.damages


def test_readers_in_threads_see_growing_prefixes_while_it_is_folded(folder: RunDirectory) -> None:
    writer = Writer.open(folder)
    problems: list[BaseException] = []
    is_over = threading.Event()

    def look() -> None:
        reader, seen = Reader(folder), 0
        try:
            while not is_over.is_set():
                if "loss" in reader.kinds():
                    steps = reader.points("loss").steps
                    assert list(range(len(steps))) == steps.tolist()
                    assert seen <= len(steps)
                    seen = len(steps)
        except BaseException as error:  # noqa: BLE001 (it is raised below, outside the thread)
            problems.append(error)

    threads = [threading.Thread(target=look) for _ in range(2)]
    for thread in threads:
        thread.start()
    for i in range(40):
        put(writer, "loss", list(range(100 * i, 100 * i + 100)))
        if i % 4 == 0:
            fold(writer)
    is_over.set()
    for thread in threads:
        thread.join()
    writer.stop()

    assert [] == problems


def test_values_below_a_namespace_come_in_one_pass(folder: RunDirectory, writer: Writer) -> None:
    at = writer.now()
    writer.log([Assign(path, "int", i, at) for i, path in enumerate(["aa", "a/b", "a/c", "ab", "sys/id"])])
    reader = Reader(folder)

    assert {"a/b": 1, "a/c": 2} == reader.values("a")
    assert {"aa", "a/b", "a/c", "ab", "sys/id"} < reader.values().keys()
    assert "sys/state" in reader.values("sys")
    assert {} == reader.values("nothing")


def test_reader_goes_on_after_a_fork(folder: RunDirectory, writer: Writer) -> None:
    put(writer, "loss", [0, 1])
    fold(writer)
    reader = Reader(folder)
    assert 2 == reader.count("loss")

    child = os.fork()
    if not child:
        is_fine = [0.0, 1.0] == reader.points("loss").steps.tolist()
        os._exit(0 if is_fine else 1)
    assert 0 == os.waitpid(child, 0)[1]
    assert [0, 1] == reader.points("loss").steps.tolist()


def test_deleted_fields_are_missing_whether_folded_or_not(folder: RunDirectory, writer: Writer) -> None:
    put(writer, "loss", [0])
    writer.log([Assign("x", "int", 1, writer.now()), Tags("sys/tags", ["a"], [], False, writer.now())])
    for is_folded in (False, True):
        if is_folded:
            fold(writer)
            writer.log([Delete("loss", writer.now()), Delete("x", writer.now())])
        for _ in range(2):
            assert is_folded == ("loss" not in Reader(folder).kinds())
            assert {"a"} == Reader(folder).tags("sys/tags")
            if is_folded:
                fold(writer)
                for path in ("loss", "x"):
                    with pytest.raises(MissingField):
                        Reader(folder).value(path)


# Charts

doubles = st.floats(width=64) | st.sampled_from([0.0, 1.0, 1e308, -1e308, math.nan, math.inf])


@settings(deadline=None, max_examples=30, suppress_health_check=list(HealthCheck))
@given(
    parts=st.lists(hnp.arrays(np.float64, st.integers(1, 700), elements=doubles, fill=st.floats(-5, 5)), max_size=4),
    buckets=st.integers(1, 40),
    folded=st.lists(st.booleans(), min_size=4, max_size=4),
    stride=st.sampled_from([1, 3, 0]),
)
def test_charts_lose_no_spike(parts: list[Any], buckets: int, folded: list[bool], stride: int) -> None:
    """Property: every finite value lies in a stretch that reaches as far, and means are those of the values in it."""
    with tempfile.TemporaryDirectory() as place, pytest.MonkeyPatch.context() as patch:
        patch.setenv("NAIAD_FOLD_RECORDS", "1000000000")
        patch.setenv("NAIAD_SYNC_SECONDS", "600")
        patch.setattr(series, "DECODED_PER_BUCKET", 4)  # so that a few hundred points are drawn from pyramids
        patch.setattr("naiad.storage.local.index.fold.PACK_BELOW", 8)
        writer = Writer.open(RunDirectory(Path(place) / "run"))
        writer.bind("loss")
        count = 0
        for part, is_folded in zip(parts, folded, strict=False):
            put(writer, "loss", [stride * i for i in range(count, count + len(part))], part.tolist())
            count += len(part)
            if is_folded:
                fold(writer)
        reader = Reader(writer.folder)
        chart, points = reader.chart("loss", buckets), reader.points("loss")
        writer.stop()

    check_chart(chart, points, buckets)


def check_chart(chart: Any, points: Any, buckets: int) -> None:
    values = points.values[np.isfinite(points.values)]
    assert len(chart.steps) <= buckets
    assert len(values) == chart.finite.sum()
    if len(points.steps):
        assert points.steps[0] == chart.steps[0]
        assert (np.diff(chart.steps) >= 0).all()
    if not len(values):
        assert np.isnan(chart.minimum).all()
        return
    assert values.min() == np.nanmin(chart.minimum)
    assert values.max() == np.nanmax(chart.maximum)
    has_some = chart.finite > 0
    assert (chart.minimum[has_some] <= chart.maximum[has_some]).all()
    with np.errstate(over="ignore", invalid="ignore"):
        total, found = values.sum(), (chart.mean * chart.finite)[has_some].sum()
        scale = np.abs(values).sum()
    if np.isfinite(scale) and np.isfinite(found):
        assert abs(total - found) <= 1e-9 * scale
    bounds = np.append(np.searchsorted(points.steps, chart.steps, "left"), len(points.steps))
    if len(np.unique(points.steps)) == len(points.steps):
        for i, (start, stop) in enumerate(itertools.pairwise(bounds)):
            some = points.values[start:stop]
            some = some[np.isfinite(some)]
            assert len(some) == chart.finite[i]
            if len(some):
                assert (some.min(), some.max()) == (chart.minimum[i], chart.maximum[i])


@pytest.mark.parametrize("order", ["ascending", "descending", "overlapping"])
def test_long_series_are_drawn_alike_from_pyramids_and_from_points(
    folder: RunDirectory, writer: Writer, order: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 40_000
    values = np.sin(np.arange(2 * count) / 50)
    values[[77, 3 * count // 2]] = -100, 100
    first = {"ascending": 0, "descending": count, "overlapping": 0}[order]
    second = {"ascending": count, "descending": 0, "overlapping": count // 2}[order]
    put(writer, "loss", list(range(first, first + count)), values[:count].tolist())
    fold(writer)
    put(writer, "loss", list(range(second, second + count)), values[count:].tolist())
    reader = Reader(folder)
    for is_folded in (False, True):
        if is_folded:
            fold(writer)
        chart, points = reader.chart("loss", 50), reader.points("loss")

        assert (-100.0, 100.0) == (chart.minimum.min(), chart.maximum.max())
        assert 2 * count == chart.finite.sum()
        assert 25 <= len(chart.steps) <= 50
        if order != "overlapping":
            check_chart(chart, points, 50)


LEAVES_A_JOURNAL = """
import os, signal, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA journal_mode=DELETE")
connection.execute("PRAGMA cache_size=2")
connection.execute("BEGIN IMMEDIATE")
connection.execute("DELETE FROM chunk")
connection.execute("CREATE TABLE more AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 900)"
                   " SELECT randomblob(500) FROM n")  # more than the cache holds, so pages are written early
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_index_whose_writer_was_killed_while_it_changed_the_file_itself_is_read_as_before(
    writer: Writer, folder: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader may not apply the rollback journal that such a writer leaves, and changes nothing in the folder.

    It reads a copy, which is gone at once: a page that is open for days reads many such runs.
    """
    copies = tmp_path / "copies"
    copies.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(copies))
    put(writer, "loss", [*range(2000)])
    fold(writer)
    subprocess.run([sys.executable, "-c", LEAVES_A_JOURNAL, folder.index], check=False)
    log = folder.path / "run.db-journal"
    before = folder.index.read_bytes(), log.read_bytes()

    reader = Reader(folder)

    assert [*range(2000)] == reader.points("loss").values.tolist()
    assert before == (folder.index.read_bytes(), log.read_bytes())
    assert [] == [*copies.iterdir()]


def test_index_that_a_suspended_process_keeps_locked_is_read(
    writer: Writer, folder: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.1)
    put(writer, "loss", [*range(2000)])
    fold(writer)
    holder = sqlite3.connect(folder.index, isolation_level=None)
    holder.execute("PRAGMA locking_mode=EXCLUSIVE")
    holder.execute("BEGIN EXCLUSIVE")

    assert [*range(2000)] == Reader(folder).points("loss").values.tolist()
    holder.close()


def test_look_that_failed_half_way_leaves_out_no_ops(folder: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    writers = [Writer.open(folder) for _ in range(2)]
    for number, writer in enumerate(writers):
        writer.log([Assign(f"a{number}", "int", number)])
    calls: list[object] = []
    read_ops = snapshot.read_ops

    def failing_once(*arguments: object, **options: object) -> object:
        calls.append(arguments)
        if len(calls) == 2:
            raise FileNotFoundError
        return read_ops(*arguments, **options)  # type: ignore[arg-type]  # as they were given

    monkeypatch.setattr(snapshot, "read_ops", failing_once)
    kinds = Reader(folder).kinds()
    for writer in writers:
        writer.stop()

    assert {"a0", "a1"} <= kinds.keys()


@pytest.fixture
def sealed(folder: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> RunDirectory:
    """A sealed run of 300 fields, more than are read where one is asked for."""
    monkeypatch.setattr(snapshot, "MANY_FIELDS", 100)
    writer = Writer.open(folder, first_ops=[Assign("sys/id", "string", "R-1", 1.0)])
    for number in range(300):
        put(writer, f"a/{number}", [0, 1], [number / 2, number / 4])
    put(writer, "b/deep/er", [3])
    put(writer, "gone", [3])
    writer.journal.write([Delete("gone", writer.now())])
    fold(writer)
    writer.stop()
    return folder


def loads(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each following load of an index reads its fields."""
    found: list[bool] = []
    load = Index.load

    def loaded(index: Index, connection: Connection, *, has_fields: bool = True) -> Any:
        found.append(has_fields)
        return load(index, connection, has_fields=has_fields)

    monkeypatch.setattr(Index, "load", loaded)
    return found


def test_fields_of_a_sealed_index_are_read_as_they_are_needed(
    sealed: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = loads(monkeypatch)
    reader = Reader(sealed)

    assert "R-1" == reader.value("sys/id")
    assert 74.75 == reader.points("a/299").values[1]
    assert [3.0] == list(reader.points("b/deep/er").values)
    with pytest.raises(MissingField):
        reader.last("a/300")
    assert "finished" == reader.state()
    assert [False] == found
    assert 303 + len(DERIVED) - 1 == len(reader.kinds())
    assert [False, True] == found
    assert 74.75 == reader.points("a/299").values[1]


def test_field_where_something_was_deleted_or_lies_below_is_read_with_all_others(
    sealed: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = loads(monkeypatch)
    for path in ("gone", "a"):
        with pytest.raises(MissingField):
            Reader(sealed).last(path)

    assert [False, True] * 2 == found


def test_path_with_a_lone_surrogate_is_missing_in_a_sealed_index(sealed: RunDirectory) -> None:
    """SQLite takes no such text."""
    with pytest.raises(MissingField):
        Reader(sealed).last("a\ud800")


def test_program_that_reads_many_fields_of_a_sealed_index_reads_them_all_at_once(
    sealed: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = loads(monkeypatch)
    reader = Reader(sealed)
    lasts = [reader.last(f"a/{number}") for number in range(20)]

    assert [number / 4 for number in range(20)] == [last.value for last in lasts if last is not None]
    assert [False, True] == found


@pytest.mark.parametrize("share", [0.3, 0.5, 0.7])
def test_damage_of_a_sealed_index_is_found_as_the_run_is_opened(
    sealed: RunDirectory, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    content = bytearray(sealed.index.read_bytes())
    content[content.index(b"a/%d" % (300 * share)) + 1] ^= 0x55
    sealed.index.write_bytes(content)
    found = loads(monkeypatch)
    reader = Reader(sealed)

    with pytest.warns(DamageWarning):
        assert "R-1" == reader.value("sys/id")
    assert [True] == found
    assert reader.damages


@pytest.fixture
def simple(folder: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> RunDirectory:
    """The same without a deletion."""
    monkeypatch.setattr(snapshot, "MANY_FIELDS", 100)
    writer = Writer.open(folder, first_ops=[Assign("sys/id", "string", "R-1", 1.0)])
    for number in range(300):
        put(writer, f"a/{number}", [0, 1], [number / 2, number / 4])
    fold(writer)
    writer.stop()
    return folder


def test_fields_of_a_resumed_run_stay_unread_until_something_is_written(
    simple: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = Reader(simple)
    assert "finished" == reader.state()
    found = loads(monkeypatch)
    writer = Writer.open(simple)

    assert "running" == reader.state()
    assert 301 + len(DERIVED) == len(reader.kinds())
    assert 74.75 == reader.points("a/299").values[1]
    assert "running" == {path: value for path, _kind, value in reader.shown()[0]}["sys/state"]
    assert False in found
    assert True not in found
    put(writer, "a/7", [2], [9.0])
    put(writer, "new", [0], [8.0])
    assert [3.5, 1.75, 9.0] == reader.points("a/7").values.tolist()
    assert 302 + len(DERIVED) == len(reader.kinds())
    assert 1 == found.count(True)
    fold(writer)
    assert 302 + len(DERIVED) == len(reader.kinds())
    assert [8.0] == reader.points("new").values.tolist()
    writer.stop()
    assert reader.is_partial == Reader(simple).is_partial
    assert 302 + len(DERIVED) == len(reader.kinds())
    assert not reader.damages


def test_only_series_of_writers_with_points_in_the_journal_are_looked_at_for_these(simple: RunDirectory) -> None:
    reader = Reader(simple)
    writer = Writer.open(simple)
    put(writer, "a/7", [2], [9.0])
    put(writer, "new", [0], [8.0])
    found = [reader.last(path) for path in ("a/7", "new", "a/8")]

    assert [9.0, 8.0, 2.0] == [last.value for last in found if last is not None]
    assert {"a/7", "a/8"} == {state.path for state in reader.projection().made.values()} - {"sys/id"}
    writer.stop()


def test_fields_of_a_resumed_run_are_not_trusted_by_a_reader_that_did_not_see_the_seal(
    simple: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = Writer.open(simple)
    found = loads(monkeypatch)

    assert 301 + len(DERIVED) == len(Reader(simple).kinds())
    assert [True] == found
    writer.stop()


def test_run_that_is_resumed_while_its_fields_are_not_read_yet_is_followed(
    sealed: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    around = Index.fields_around
    coming = iter([True])

    def resume_first(index: Index, connection: Connection, path: str) -> Any:
        if next(coming, False):
            writer = Writer.open(sealed)
            put(writer, "a/7", [2], [9.0])
            put(writer, "new", [0], [8.0])
            fold(writer)
        return around(index, connection, path)

    monkeypatch.setattr(Index, "fields_around", resume_first)
    reader = Reader(sealed)

    assert [3.5, 1.75, 9.0] == reader.points("a/7").values.tolist()
    assert [8.0] == reader.points("new").values.tolist()
    assert "running" == reader.state()


def test_path_that_is_no_text_any_more_is_left_to_the_reading_of_all_fields(simple: RunDirectory) -> None:
    with sqlite3.connect(simple.index) as connection:
        connection.execute("UPDATE field SET path = CAST(x'612FFF' AS TEXT) WHERE path = 'a/5'")
    connection.close()
    write_seal(simple)
    reader = Reader(simple)

    assert "R-1" == reader.value("sys/id")
    assert reader.is_partial
    with pytest.warns(DamageWarning):
        kinds = reader.kinds()
    with pytest.warns(DamageWarning):
        found, _losses = Reader(simple).shown()
    assert not reader.is_partial
    assert ("a/4" in kinds, "a/5" in kinds) == (True, False)
    assert ["its field row fails its crc"] == [damage.what for damage in reader.damages]
    assert ("a/4", "float_series", [1.0, 1.0, 2.0, 1.5, 0.25]) in found


UNUSUAL: dict[str, list[Any]] = {
    "nothing": [],
    "a deletion": [Delete("a/5", 5.0)],
    "a field below a field": [Assign("a/5/below", "float", 0.5, 5.0)],
    "two kinds at a path": [Assign("a/5", "string", "text", 5.0)],
    "a file": [Assign("file", "file", '{"name": "x", "size": 3}', 5.0)],
    "a rewind": [Strings("sys/rewinds", ['{"step": 0}'], [0], [5.0], False, 5.0)],
    "a value of a derived field": [Assign("sys/size", "float", 0.5, 5.0)],
}


@pytest.mark.parametrize("unusual", UNUSUAL)
def test_line_of_a_run_with_very_many_series_is_the_one_that_states_give(
    folder: RunDirectory, monkeypatch: pytest.MonkeyPatch, unusual: str
) -> None:
    writer = Writer.open(folder, first_ops=[Assign("sys/id", "string", "R-1", 1.0), Assign("n", "int", 3, 1.0)])
    for number in range(120):
        put(writer, f"a/{number}", [0, 2, 1], [number / 2, number / 4, number / 8])
    put(writer, "nan", [0, 1], [math.nan, math.nan])
    put(writer, "huge", [0, 1], [1e308, -1e308])
    put(writer, "infinite", [0, 1, 2], [1.0, 2.0, math.inf])
    writer.journal.write(
        [
            Strings("log", ["begun", "x" * 20_000], [0, 1], [2.0, 3.0], False, 2.0),
            Tags("sys/tags", ["b", "a"], [], False, 2.0),
            Configure("empty", None, None, "m", 2.0),
            *UNUSUAL[unusual],
        ]
    )
    fold(writer)
    writer.stop()
    with monkeypatch.context() as patched:
        patched.setattr(snapshot, "MANY_FIELDS", 100)
        reader = Reader(folder)
        found, losses = reader.shown()
        is_partial = reader.is_partial
    expected, none = Reader(folder).shown()

    # By their texts, as NaN does not equal itself.
    assert sorted(map(repr, expected)) == sorted(map(repr, found))
    assert none == losses
    assert (unusual == "nothing") == is_partial


def test_reader_that_met_a_locked_index_follows_it_afterwards(
    folder: RunDirectory, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that stalls for seconds in a fold is enough. What was read then must not be read for ever."""
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.1)  # the time alone
    maintenance = Maintenance(folder, Tuning.from_environment())
    put(writer, "loss", [1])
    maintenance.fold(writer.journal)
    with contextlib.closing(sqlite3.connect(folder.index, isolation_level=None)) as holder:
        holder.execute("PRAGMA journal_mode=DELETE")
        holder.execute("BEGIN EXCLUSIVE")
        reader = Reader(folder)
        assert [1.0] == reader.points("loss").steps.tolist()
        holder.execute("ROLLBACK")
    put(writer, "loss", [2])
    maintenance.fold(writer.journal)
    put(writer, "loss", [3])
    maintenance.fold(writer.journal)

    assert [1.0, 2.0, 3.0] == reader.points("loss").steps.tolist()
    assert [] == reader.damages
