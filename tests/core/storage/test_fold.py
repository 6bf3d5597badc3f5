"""The fold: whatever is folded when, and however often, readers see the same points in the same order."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from naiad.errors import DamagedData, DamageWarning, StorageError
from naiad.ops import Assign, Delete, Strings, Tags
from naiad.slots import pack_int
from naiad.storage.local.index import fold as fold_module
from naiad.storage.local.index import parts
from naiad.storage.local.index.columns import POINTS_LIMIT
from naiad.storage.local.index.fold import Fold
from naiad.storage.local.index.index import Index
from naiad.storage.local.index.parts import PACK_BELOW
from naiad.storage.local.journal.files import JournalFile, Source, list_journal
from naiad.storage.local.layout import RunDirectory
from naiad.storage.local.reader import Reader
from naiad.storage.local.writer import Writer
from naiad.storage.sql import database
from naiad.storage.sql.database import open_for_writing

Point = tuple[int | float, float]


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


def sources(folder: RunDirectory, *, is_final: bool = False) -> list[Source[JournalFile]]:
    return [Source(file, is_final) for file in list_journal(folder.journal)]


def fold(folder: RunDirectory, *, is_final: bool = False) -> None:
    for file in Fold(folder).fold(sources(folder, is_final=is_final)):
        file.path.unlink()


def put(writer: Writer, path: str, steps: list[int | float], values: list[float] | None = None) -> None:
    values = [float(i) for i in range(len(steps))] if values is None else values
    fid = writer.journal.numbers()[0].get(path) or writer.bind(path)
    writer.points(fid, values, steps, [1_700_000_000.0 + i for i in range(len(steps))])


@dataclass(frozen=True)
class Received:
    """A journal file as a server has it: bytes in memory, which came over a wire."""

    writer: str
    number: int
    suffix: str
    data: bytes

    @property
    def name(self) -> str:
        return f"{self.writer}.{self.number:06d}.{self.suffix}"

    @property
    def place(self) -> str:
        return f"received/{self.name}"

    def open(self) -> BinaryIO:
        return io.BytesIO(self.data)


def points_of(folder: RunDirectory, path: str) -> list[Point]:
    points = Reader(folder).points(path)
    return list(zip(points.steps.tolist(), points.values.tolist(), strict=True))


def rows_of(folder: RunDirectory, table: str) -> int:
    with open_for_writing(folder.index).begin() as connection:
        return int(connection.exec_driver_sql(f"select count(*) from {table}").scalar_one())


def test_points_are_the_same_before_and_after(folder: RunDirectory, writer: Writer) -> None:
    put(writer, "loss", [3, 1, 2, 2], [0.1, np.nan, -0.0, np.inf])
    before, facts = Reader(folder).points("loss"), Reader(folder).facts("loss")

    fold(folder)
    after = Reader(folder).points("loss")

    assert [1.0, 2.0, 2.0, 3.0] == after.steps.tolist()
    assert [column.tobytes() for column in before] == [column.tobytes() for column in after]
    assert facts == Reader(folder).facts("loss")


def test_folding_the_same_sources_again_adds_nothing(folder: RunDirectory, writer: Writer) -> None:
    put(writer, "loss", [0, 1, 2])
    writer.log([Strings("log", ["a", "b"], [0, 1], [1.0, 2.0], False, writer.now())])
    same = sources(folder)
    folding = Fold(folder)

    for _ in range(3):
        folding.fold(same)
        Fold(folder).fold(same)  # another process

    assert [(0, 0.0), (1, 1.0), (2, 2.0)] == points_of(folder, "loss")
    assert ["a", "b"] == Reader(folder).texts("log").texts
    assert 3 == Reader(folder).count("loss")


def test_fold_that_waits_in_vain_says_locked_and_is_made_later(
    folder: RunDirectory, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that fails gets other warnings than a reader that keeps folds waiting."""
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.1)  # the time alone
    put(writer, "loss", [0, 1])
    fold(folder)
    put(writer, "loss", [2])
    with contextlib.closing(sqlite3.connect(folder.index, isolation_level=None)) as other:
        other.execute("begin immediate")
        with pytest.raises(StorageError, match="locked") as caught:
            fold(folder)
        seen = points_of(folder, "loss")
    fold(folder)

    assert errno.EBUSY == caught.value.errno
    assert [(0, 0.0), (1, 1.0), (2, 0.0)] == seen == points_of(folder, "loss")


def test_final_sources_are_named_done_and_never_read_again(folder: RunDirectory) -> None:
    writer = Writer.open(folder)
    put(writer, "loss", [0, 1])
    writer.journal.close()

    done = Fold(folder).fold(sources(folder, is_final=True))
    assert sorted(file.name for file in list_journal(folder.journal)) == sorted(file.name for file in done)

    again = Fold(folder).fold(sources(folder, is_final=True))
    assert sorted(again) == sorted(done)
    assert [(0, 0.0), (1, 1.0)] == points_of(folder, "loss")


@pytest.mark.parametrize("error", [OSError("disk"), sqlite3.OperationalError("disk I/O error")])
def test_fold_that_fails_half_way_changes_nothing(
    folder: RunDirectory, writer: Writer, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    put(writer, "loss", [0, 1])
    fold(folder)
    put(writer, "loss", [2, 3])
    put(writer, "new", [0])
    writer.log([Strings("log", ["a"], [0], [1.0], False, writer.now())])
    folding = Fold(folder)
    commit = Index.commit

    def fail(*given: object) -> None:
        commit(*given)  # type: ignore[arg-type]  # everything is in the transaction, but for its end
        raise error

    before = rows_of(folder, "pack"), rows_of(folder, "field"), rows_of(folder, "position")
    with monkeypatch.context() as patch:
        patch.setattr(Index, "commit", fail)
        with pytest.raises(OSError, match="disk") as problem:
            folding.fold(sources(folder))

    assert isinstance(problem.value, StorageError) == isinstance(error, sqlite3.OperationalError)
    assert before == (rows_of(folder, "pack"), rows_of(folder, "field"), rows_of(folder, "position"))
    for _ in range(2):
        assert [(0, 0.0), (1, 1.0), (2, 0.0), (3, 1.0)] == points_of(folder, "loss")
        assert ["a"] == Reader(folder).texts("log").texts
        folding.fold(sources(folder))


def test_index_that_could_not_be_made_is_not_there(
    folder: RunDirectory, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process killed between making the file and its tables left a run that nobody could read."""
    put(writer, "loss", [0])

    def die(_self: Index) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Index, "create", die)
        with pytest.raises(KeyboardInterrupt):
            fold(folder)

    assert not folder.index.exists()
    assert [(0, 0.0)] == points_of(folder, "loss")
    fold(folder)
    assert [(0, 0.0)] == points_of(folder, "loss")


def test_damaged_index_takes_no_more(folder: RunDirectory, writer: Writer) -> None:
    put(writer, "loss", [0])
    fold(folder)
    with open_for_writing(folder.index).begin() as connection:
        connection.exec_driver_sql("update field set facts = x'90'")
    put(writer, "loss", [1])

    with pytest.raises(DamagedData, match="nothing is folded into it"):
        fold(folder)
    with open_for_writing(folder.index).begin() as connection:  # so that the writer can end without a warning
        connection.exec_driver_sql("delete from head")
    folder.index.unlink()


# Holes: a record that was reserved and is not written yet


def test_late_record_is_not_lost(folder: RunDirectory, writer: Writer) -> None:
    """A thread stops between reserving a record and writing it, others go on, the segment is folded: it must not be
    folded past the hole, or the late record is passed over for ever."""
    put(writer, "loss", list(range(50)))
    fid = writer.journal.numbers()[0]["loss"]
    offsets, page = writer.journal.point_log.slot
    late = next(offsets)
    put(writer, "loss", list(range(51, 151)))

    fold(folder)
    assert [step for step in range(151) if step != 50] == [step for step, _value in points_of(folder, "loss")]
    assert 50 == rows_of_points(folder), "folded up to the hole and no further"

    pack_int(page, late, 50, 0.5, 1.0, fid, late)
    assert list(range(151)) == [step for step, _value in points_of(folder, "loss")]
    fold(folder)
    assert 151 == rows_of_points(folder)
    assert list(range(151)) == [step for step, _value in points_of(folder, "loss")]


def rows_of_points(folder: RunDirectory) -> int:
    index = Index(folder, open_for_writing(folder.index))
    with index.snapshot() as connection:
        return index.head(connection).points


def test_later_segments_wait_for_an_earlier_hole(folder: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise points of equal steps would change places: what was written later would be kept first."""
    monkeypatch.setenv("NAIAD_SEGMENT_BYTES", str(64 + 32 * 8))
    writer = Writer.open(folder)
    fid = writer.bind("loss")
    writer.points(fid, [0.0, 1.0], [7, 7], [1.0, 2.0])
    offsets, page = writer.journal.point_log.slot
    late = next(offsets)
    writer.points(fid, [float(i) for i in range(3, 30)], [7] * 27, [3.0] * 27)
    expected = [0.0, 1.0, *map(float, range(3, 30))]

    for _ in range(2):
        fold(folder)
        assert expected == [value for _step, value in points_of(folder, "loss")]
    pack_int(page, late, 7, 2.0, 2.5, fid, late)
    fold(folder)
    assert [float(i) for i in range(30)] == [value for _step, value in points_of(folder, "loss")]
    writer.stop()
    assert [float(i) for i in range(30)] == [value for _step, value in points_of(folder, "loss")]


def test_hole_that_stays_costs_nothing_else(folder: RunDirectory) -> None:
    """Of a writer that was killed between reserving and writing, all other records are kept."""
    child = os.fork()
    if not child:
        writer = Writer.open(folder)
        put(writer, "loss", [0, 1, 2])
        next(writer.journal.point_log.slot[0])
        put(writer, "loss", [4, 5])
        os._exit(0)
    assert 0 == os.waitpid(child, 0)[1]

    fold(folder, is_final=True)
    assert [0, 1, 2, 4, 5] == [step for step, _value in points_of(folder, "loss")]
    assert [] == list_journal(folder.journal)


# Steps


def test_integer_steps_are_exact_to_64_bits(folder: RunDirectory, writer: Writer) -> None:
    steps: list[int | float] = [2**63 - 1, -(2**63), 2**53 + 1, 2**53, 0]
    put(writer, "loss", steps)
    for _ in range(2):
        assert sorted(steps) == Reader(folder).points("loss").steps.tolist()
        assert np.int64 == Reader(folder).points("loss").steps.dtype
        last = Reader(folder).last("loss")
        assert last is not None
        assert 2**63 - 1 == last.step
        fold(folder)


def test_fractional_steps_may_mix_with_whole_ones(folder: RunDirectory, writer: Writer) -> None:
    put(writer, "loss", [2, 0.5, 1, 0.25, 0.5])
    put(writer, "other", [0, 1])
    for _ in range(2):
        assert [(0.25, 3.0), (0.5, 1.0), (0.5, 4.0), (1, 2.0), (2, 0.0)] == points_of(folder, "loss")
        fold(folder)
    put(writer, "loss", [0.5, 0], [5.0, 6.0])
    expected = [(0, 6.0), (0.25, 3.0), (0.5, 1.0), (0.5, 4.0), (0.5, 5.0), (1, 2.0), (2, 0.0)]
    for _ in range(2):
        assert expected == points_of(folder, "loss")
        fold(folder)


def test_wide_steps_beside_fractional_ones_are_the_nearest_doubles(folder: RunDirectory, writer: Writer) -> None:
    put(writer, "loss", [2**60 + 1, 0.5, 2**60, 1])
    for _ in range(2):
        assert [(0.5, 1.0), (1.0, 3.0), (2.0**60, 0.0), (2.0**60, 2.0)] == points_of(folder, "loss")
        fold(folder)


def test_steps_of_texts_are_exact_whatever_is_beside_them(folder: RunDirectory, writer: Writer) -> None:
    steps = [2**60 + 1, 0.5, 2**60, -(2**63), 3]
    writer.log([Strings("log", list("abcde"), steps, [1.0] * 5, False, writer.now())])
    for _ in range(2):
        texts = Reader(folder).texts("log")
        assert (sorted(steps), ["d", "b", "e", "c", "a"]) == (texts.steps, texts.texts)
        fold(folder)


# Chunks and packs


@pytest.mark.parametrize("count", [1, PACK_BELOW - 1, PACK_BELOW, PACK_BELOW + 1])
def test_short_series_share_a_pack_and_long_ones_have_chunks(folder: RunDirectory, writer: Writer, count: int) -> None:
    for path in ("a", "b", "c"):
        put(writer, path, list(range(count)))
    fold(folder)

    is_short = count < PACK_BELOW
    assert (1 if is_short else 0, 0 if is_short else 3) == (rows_of(folder, "pack"), rows_of(folder, "chunk"))
    for path in ("a", "b", "c"):
        assert [(i, float(i)) for i in range(count)] == points_of(folder, path)


@pytest.mark.parametrize("count", [POINTS_LIMIT, POINTS_LIMIT + 1, 2 * POINTS_LIMIT + 3])
def test_long_series_are_cut_into_chunks(folder: RunDirectory, writer: Writer, count: int) -> None:
    put(writer, "loss", list(range(count)), [i / 3 for i in range(count)])
    fold(folder)

    assert -(-count // POINTS_LIMIT) == rows_of(folder, "chunk")
    assert [(i, i / 3) for i in range(count)] == points_of(folder, "loss")


def test_many_short_series_fill_several_packs_and_each_is_whole_in_one(folder: RunDirectory, writer: Writer) -> None:
    for i in range(300):
        put(writer, f"s/{i}", list(range(400 + i % 3)))
    fold(folder)

    assert 1 < rows_of(folder, "pack") <= 3
    assert 0 == rows_of(folder, "chunk")
    reader = Reader(folder)
    for i in range(0, 300, 7):
        assert list(range(400 + i % 3)) == reader.points(f"s/{i}").values.tolist()


def test_equal_steps_keep_the_order_in_which_they_came_through_packs_and_chunks(
    folder: RunDirectory, writer: Writer
) -> None:
    """A pack, a chunk, a pack and a tail: what came first is read first, whatever holds it."""
    expected: list[float] = []
    for count in (100, PACK_BELOW + 100, 50, 3):
        values = [float(len(expected) + i) for i in range(count)] if expected else [float(i) for i in range(count)]
        put(writer, "loss", [7] * count, values)
        expected += values
        assert expected == [value for _step, value in points_of(folder, "loss")]
        if count > 3:
            fold(folder)
    last = Reader(folder).last("loss")

    assert expected == [value for _step, value in points_of(folder, "loss")]
    assert last is not None
    assert expected[-1] == last.value


def test_large_texts_are_cut_into_chunks_and_the_last_one_is_found(
    folder: RunDirectory, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "TEXT_BYTES", 10_000)
    texts = ["é" * (i * 50) for i in range(100)]
    writer.log([Strings("log", texts, list(range(100)), [1.0] * 100, False, writer.now())])
    for _ in range(2):
        last = Reader(folder).last("log")
        assert texts == Reader(folder).texts("log").texts
        assert last is not None
        assert texts[-1] == last.value
        fold(folder)
    assert 10 < rows_of(folder, "chunk")


# Several writers


def test_late_points_of_another_writer_are_kept_and_early_ones_are_gone(folder: RunDirectory, writer: Writer) -> None:
    other = Writer.open(folder)
    fid = other.bind("loss")
    other.points(fid, [1.0], [0], [time.time()])
    writer.log([Delete("loss", writer.now())])
    assert "loss" not in Reader(folder).kinds()

    other.points(fid, [2.0], [1], [time.time() + 0.01])
    for _ in range(3):
        assert "float_series" == Reader(folder).kinds()["loss"]
        assert [(1, 2.0)] == points_of(folder, "loss")
        fold(folder)
    writer.log([Delete("loss", writer.now() + 1)])
    for _ in range(2):
        assert "loss" not in Reader(folder).kinds()
        fold(folder)
    other.stop()


def test_points_of_a_deleted_series_bring_no_empty_one_back(folder: RunDirectory, writer: Writer) -> None:
    other = Writer.open(folder)
    put(other, "loss", [0, 1])
    writer.log([Delete("loss", writer.now())])

    fold(folder)
    assert "loss" not in Reader(folder).kinds()
    other.stop()


def test_ops_of_all_writers_take_effect_in_the_order_of_their_time(folder: RunDirectory, writer: Writer) -> None:
    other = Writer.open(folder)
    for i in range(5):
        one, two = (writer, other) if i % 2 else (other, writer)
        one.log([Tags("sys/tags", [], [], True, one.now()), Assign("x", "int", i, one.now())])
        two.log([Tags("sys/tags", [f"tag-{i}"], [], False, two.now())])
        assert ({f"tag-{i}"}, i) == (Reader(folder).tags("sys/tags"), Reader(folder).value("x"))
        fold(folder)
        assert ({f"tag-{i}"}, i) == (Reader(folder).tags("sys/tags"), Reader(folder).value("x"))
    other.stop()


batches = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "c"]),
        st.lists(st.integers(-3, 3) | st.sampled_from([0.5, 2**60, -1.25, 2**53 + 1]), max_size=5),
        st.sampled_from([1, 1, 600]),
        st.sampled_from(["", "fold", "fold", "crash"]),
    ),
    max_size=10,
)


@settings(deadline=None, max_examples=20, suppress_health_check=list(HealthCheck))
@given(batches)
def test_points_are_the_same_however_they_are_folded(steps: list[tuple[str, list[int | float], int, str]]) -> None:
    """Property: folded at any moments, by any process, also where a fold fails before its end."""
    with tempfile.TemporaryDirectory() as place, pytest.MonkeyPatch.context() as patch:
        patch.setenv("NAIAD_FOLD_RECORDS", "1000000000")
        patch.setenv("NAIAD_SYNC_SECONDS", "600")
        folder = RunDirectory(Path(place) / "run")
        writer = Writer.open(folder)
        expected: dict[str, list[Point]] = {}
        for path, some, times, action in steps:
            put(writer, path, some * times)
            expected.setdefault(path, []).extend((step, float(i)) for i, step in enumerate(some * times))
            if action == "fold":
                fold(folder)
            if action == "crash":
                with patch.context() as broken:
                    broken.setattr(Fold, "_load", _refuse)
                    with pytest.raises(OSError, match="no"):
                        fold(folder)
        for path, points in expected.items():
            is_rounded = any(isinstance(step, float) for step, _value in points)
            points = [(float(step), value) if is_rounded else (step, value) for step, value in points]
            assert sorted(points, key=lambda point: point[0]) == points_of(folder, path)
            assert len(points) == Reader(folder).count(path)
        writer.stop()


def _refuse(*_given: object) -> None:
    raise OSError("no")


def test_index_is_one_file_when_its_writer_has_stopped(folder: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAIAD_SMALL_RUN_RECORDS", "0")
    writer = Writer.open(folder)
    put(writer, "loss", list(range(5000)))
    writer.stop()

    assert {"run.db", "journal", "seal.json", ".lock"} >= set(os.listdir(folder.path))
    assert [] == os.listdir(folder.journal)


def test_nothing_of_a_writer_with_a_damaged_file_is_folded(folder: RunDirectory, writer: Writer) -> None:
    """Where a definition is lost, its points would go nowhere; in the journal they wait for a repair."""
    put(writer, "kept", [1])
    ours, theirs = os.pipe()
    child = os.fork()
    if not child:
        other = Writer.open(folder)
        put(other, "loss", [0, 1, 2])
        put(other, "more", [0, 1, 2])
        os.write(theirs, other.journal.directory.writer.encode())
        os._exit(0)
    name = os.read(ours, 100).decode()
    os.waitpid(child, 0)
    os.close(ours)
    os.close(theirs)
    [ops] = folder.journal.glob(f"{name}.*.ops")
    content = bytearray(ops.read_bytes())
    content[content.index(b"loss")] ^= 1
    ops.write_bytes(content)

    files = {file.name for file in list_journal(folder.journal)}
    done = Fold(folder).fold([Source(file, file.writer == name) for file in list_journal(folder.journal)])

    assert [] == done
    assert files <= {file.name for file in list_journal(folder.journal)}  # the living writer may have begun another
    reader = Reader(folder)
    with pytest.warns(DamageWarning):
        assert {"kept", "more"} == {path for path in reader.kinds() if not path.startswith("sys/")}
    with pytest.warns(DamageWarning):
        assert [(1, 0.0)] == points_of(folder, "kept")
    ops.unlink()


def test_forked_child_does_not_bring_back_what_another_process_deleted(folder: RunDirectory, writer: Writer) -> None:
    """It inherits the number of the series, and says so only when it first writes."""
    put(writer, "gone", [0])
    put(writer, "kept", [0])
    other = Writer.open(folder)
    other.log([Delete("gone", other.now())])

    child = os.fork()
    if not child:
        put(writer, "kept", [1])
        os._exit(0)
    assert 0 == os.waitpid(child, 0)[1]

    for _ in range(2):
        assert "gone" not in Reader(folder).kinds()
        assert [(0, 0.0), (1, 0.0)] == points_of(folder, "kept")
        fold(folder)
    other.stop()


def test_variance_is_kept_over_folds_and_the_tail_wherever_the_values_lie(folder: RunDirectory, writer: Writer) -> None:
    values = 1e9 + np.random.default_rng(0).normal(0, 0.01, 1200)
    for part in np.array_split(values, 3)[:2]:
        put(writer, "x", list(range(len(part))), part.tolist())
        put(writer, "short", [0, 1, 2], [1.0, float("nan"), 3.0])
        fold(folder)
    put(writer, "x", list(range(400)), values[800:].tolist())
    facts = Reader(folder).facts("x")

    assert float(values.var()) == pytest.approx(facts.variance, rel=1e-6)
    assert float(values.mean()) == pytest.approx(facts.mean)
    assert 1.0 == Reader(folder).facts("short").variance


@pytest.mark.parametrize("is_in_parts", [False, True], ids=["at once", "as it arrives"])
def test_bytes_that_lie_in_no_file_are_folded_like_files(
    is_in_parts: bool, folder: RunDirectory, writer: Writer, tmp_path: Path
) -> None:
    """A server folds what it received; its index then has the points and fields of the run that was sent."""
    put(writer, "loss", list(range(200)))
    writer.log([Assign("lr", "float", 0.1, writer.now()), Tags("tags", ["a"], [], False, writer.now())])
    put(writer, "loss", [200.5, 201.5])
    sent = [
        Received(file.writer, file.number, file.suffix, file.path.read_bytes()) for file in list_journal(folder.journal)
    ]
    server = RunDirectory(tmp_path / "server")
    server.path.mkdir()
    folding = Fold(server)
    if is_in_parts:
        half = [replace(file, data=file.data[: 64 + 32 * 50]) for file in sent if file.suffix == "seg"]
        ops = [file for file in sent if file.suffix == "ops"]
        assert [] == folding.fold([Source(file, is_final=False) for file in [*half, *ops]])
    done = folding.fold([Source(file, is_final=True) for file in sent])

    assert sent == done
    assert [] == list_journal(server.journal)
    assert points_of(folder, "loss") == points_of(server, "loss")
    assert Reader(folder).kinds() == Reader(server).kinds()
    assert (("float", 0.1), {"a"}) == (Reader(server).atom("lr"), set(Reader(server).tags("tags")))


def test_first_fold_beside_that_of_another_process_adds_nothing_twice(
    folder: RunDirectory, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(writer, "loss", [1, 2, 3])
    absorb = fold_module._absorb

    def absorb_while_another_folds(*given: Any) -> Any:
        found = absorb(*given)
        monkeypatch.setattr(fold_module, "_absorb", absorb)
        put(writer, "loss", [4])
        Fold(folder).fold(sources(folder))
        return found

    monkeypatch.setattr(fold_module, "_absorb", absorb_while_another_folds)
    late = Fold(folder)
    late.fold(sources(folder))

    assert [(1, 0.0), (2, 1.0), (3, 2.0), (4, 0.0)] == points_of(folder, "loss")
    assert (2, 4, 1) == late.counts
    assert [] == [*folder.path.glob(".run.db.*")]


def test_first_fold_without_hard_links_is_complete(
    folder: RunDirectory, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_given: object, **_options: object) -> None:  # as FAT and exFAT do, which no test can mount everywhere
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    put(writer, "loss", [1, 2])
    monkeypatch.setattr(os, "link", refuse)
    fold(folder)
    put(writer, "loss", [3])
    fold(folder)

    assert [(1, 0.0), (2, 1.0), (3, 0.0)] == points_of(folder, "loss")
    assert [] == [*folder.path.glob(".run.db.*")]


REPLACES_LATE = """
import errno, os, sys
from pathlib import Path
from naiad.storage.local.index.fold import Fold
from naiad.storage.local.journal.files import Source, list_journal
from naiad.storage.local.layout import RunDirectory
folder = RunDirectory(Path(sys.argv[1]))
rename = Path.rename
def refuse(*given, **options):
    raise OSError(errno.EPERM, os.strerror(errno.EPERM))
def rename_late(*given):
    print("late", flush=True)
    sys.stdin.readline()
    return rename(*given)
os.link, Path.rename = refuse, rename_late
Fold(folder).fold([Source(file, False) for file in list_journal(folder.journal)])
"""


def test_first_fold_without_hard_links_replaces_no_index_with_a_fold_in_it(
    folder: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other process removes the journal after its fold, and nothing else has those points."""

    def refuse(*_given: object, **_options: object) -> None:  # as above
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    writer = Writer.open(folder)
    put(writer, "loss", [1, 2, 3])
    writer.journal.close()
    late = subprocess.Popen(
        [sys.executable, "-c", REPLACES_LATE, str(folder.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert late.stdout is not None
    assert b"late\n" == late.stdout.readline()
    monkeypatch.setattr(os, "link", refuse)
    folding = threading.Thread(target=fold, args=[folder], kwargs={"is_final": True})
    folding.start()
    folding.join(0.5)  # it waits for the other process, or is done
    late.communicate(b"go on\n")
    folding.join()

    assert 0 == late.returncode
    assert [(1, 0.0), (2, 1.0), (3, 2.0)] == points_of(folder, "loss")


def test_first_fold_that_fails_leaves_nothing(
    folder: RunDirectory, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(writer, "loss", [1, 2])
    with monkeypatch.context() as patched:  # the disk may be full at any call; this is the last before the new name
        patched.setattr(os, "fsync", lambda _stream: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
        with pytest.raises(OSError, match="full"):
            fold(folder)

    assert not folder.index.exists()
    assert [] == [*folder.path.glob(".run.db.*")]
    fold(folder)
    assert [(1, 0.0), (2, 1.0)] == points_of(folder, "loss")


FOLDED_AND_KILLED = """
import os, signal, sys
from pathlib import Path
from naiad.storage.local.index import new_index
from naiad.storage.local.index.fold import Fold
from naiad.storage.local.journal.files import Source, list_journal
from naiad.storage.local.layout import RunDirectory
folder = RunDirectory(Path(sys.argv[1]))
new_index.finish_new = lambda _path: os.kill(os.getpid(), signal.SIGKILL)
Fold(folder).fold([Source(file, False) for file in list_journal(folder.journal)])
"""


def test_rest_of_a_first_fold_that_was_killed_is_removed_when_the_run_stops(
    folder: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NAIAD_SMALL_RUN_RECORDS", "0")
    writer = Writer.open(folder)
    put(writer, "loss", list(range(300)))
    killed = subprocess.run([sys.executable, "-c", FOLDED_AND_KILLED, str(folder.path)], check=False)
    assert -signal.SIGKILL == killed.returncode
    assert [*folder.path.glob(".run.db.*")]

    writer.stop()

    assert [(step, float(step)) for step in range(300)] == points_of(folder, "loss")
    assert [] == [*folder.path.glob(".run.db.*")]
