"""Compaction: few large rows instead of many small ones, and nothing that a reader could tell."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from sqlite3 import OperationalError
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from naiad.errors import DamagedData, StorageError
from naiad.ops import Assign, Configure, Delete, Strings
from naiad.settings import Tuning
from naiad.storage.local.index import compact as compact_module
from naiad.storage.local.index.compact import compact, compact_if_worth_it
from naiad.storage.local.index.index import Index
from naiad.storage.local.index.merge import MOST_PIECES, merge
from naiad.storage.local.layout import RunDirectory
from naiad.storage.local.maintenance import Maintenance
from naiad.storage.local.reader import Reader
from naiad.storage.local.writer import Writer
from naiad.storage.sql.database import open_for_reading, open_for_writing


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


def put(writer: Writer, path: str, steps: list[int | float], offset: float = 0.0) -> None:
    fid = writer.journal.numbers()[0].get(path) or writer.bind(path)
    writer.points(fid, [offset + i for i in range(len(steps))], steps, [1.0 + i for i in range(len(steps))])


def say(writer: Writer, path: str, steps: list[int | float]) -> None:
    texts = [f"{i}é" for i in range(len(steps))]
    writer.log([Strings(path, texts, steps, [float(i) for i in range(len(steps))], False, writer.now())])


def fold(writer: Writer) -> None:
    Maintenance(writer.folder, Tuning.from_environment()).fold(writer.journal)


def everything(folder: RunDirectory) -> dict[str, Any]:
    """All that a reader says, in a form that can be compared."""
    reader = Reader(folder)
    found: dict[str, Any] = {}
    for path, kind in reader.kinds().items():
        if kind == "float_series":
            chart = reader.chart(path, 20)  # whose stretches follow from the chunks
            found[path] = [column.tobytes() for column in reader.points(path)]
            found[path] += [chart.minimum.min(), chart.maximum.max(), chart.finite.sum()] if reader.count(path) else []
            found[path] += [reader.last(path), reader.facts(path), reader.config(path)]
        elif kind == "string_series":
            found[path] = [reader.texts(path), reader.last(path), reader.facts(path)]
        elif not path.startswith("sys/"):
            found[path] = reader.value(path)
    return found


def opened(folder: RunDirectory) -> Index:
    return Index(folder, open_for_writing(folder.index))


def rows_of(folder: RunDirectory, table: str) -> int:
    with open_for_reading(folder.index, is_final=folder.seal.exists()).begin() as connection:
        return int(connection.exec_driver_sql(f"select count(*) from {table}").scalar_one())


actions = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "c", "log", "notes"]),
        st.lists(st.integers(-3, 3) | st.sampled_from([0.5, 2**60, -1.25, 2**53 + 1]), max_size=4),
        st.sampled_from([1, 1, 1, 300]),
        st.sampled_from(["", "fold", "compact", "merge", "delete"]),
    ),
    max_size=12,
)


@settings(deadline=None, max_examples=20, suppress_health_check=list(HealthCheck))
@given(actions)
def test_everything_is_the_same_before_and_after(steps: list[tuple[str, list[int | float], int, str]]) -> None:
    """Property: whatever lies in chunks, packs and the journal, and wherever it is in between."""
    with tempfile.TemporaryDirectory() as place, pytest.MonkeyPatch.context() as patch:
        patch.setenv("NAIAD_FOLD_RECORDS", "1000000000")
        patch.setenv("NAIAD_SYNC_SECONDS", "600")
        folder = RunDirectory(Path(place) / "run")
        writer = Writer.open(folder)
        long_lived = Reader(folder)
        for path, some, times, action in steps:
            (say if path in ("log", "notes") else put)(writer, path, some * times)
            if action == "delete":
                writer.log([Delete(path, writer.now())])
            if action in ("fold", "compact", "merge"):
                fold(writer)
            if action in ("compact", "merge"):
                before = everything(folder)
                compact(folder) if action == "compact" else merge(opened(folder), 0)
                assert before == everything(folder)
                assert set(before) <= set(long_lived.kinds())
        fold(writer)
        before = everything(folder)
        writer.stop()
        assert before == everything(folder)
        compact(folder)
        assert before == everything(folder)
        assert [] == Reader(folder).damages


def test_many_small_rows_become_few(folder: RunDirectory, writer: Writer) -> None:
    for i in range(30):
        put(writer, "long", list(range(600 * i, 600 * i + 600)))
        put(writer, "short", [i])
        put(writer, "fractional", [i + 0.5])
        say(writer, "log", [i])
        fold(writer)
    writer.log([Configure("long", 0.0, None, "m", writer.now()), Assign("x", "int", 1, writer.now())])
    fold(writer)
    before = everything(folder)
    assert (60, 60) == (rows_of(folder, "chunk"), rows_of(folder, "pack"))

    compact(folder)

    assert (2, 2) == (rows_of(folder, "chunk"), rows_of(folder, "pack"))
    assert before == everything(folder)
    put(writer, "long", [5])
    fold(writer)
    assert 18_001 == Reader(folder).count("long")


def test_pieces_of_a_run_that_goes_on_stay_few_and_its_large_chunks_as_they_are(
    folder: RunDirectory, writer: Writer, tmp_path: Path
) -> None:
    """Also while series are of several writers, and some have texts or few points."""
    before = RunDirectory(tmp_path / "before")
    other = Writer.open(folder)
    put(writer, "long", list(range(70_000)))
    fold(writer)
    with opened(folder).view() as connection:
        [large] = [row for row in opened(folder).chunks(connection, 1) if row.count == 65_536]
    most = 0
    for each in range(1, 101):
        put(writer, "long", list(range(70_000 + 600 * each, 70_600 + 600 * each)))
        put(writer, "short", [each])
        put(writer if each % 2 else other, "shared", [each] * 700)
        say(writer, "log", [each])
        fold(writer if each % 3 else other)
        shutil.copytree(folder.path, before.path)
        is_merged = merge(opened(folder))
        if is_merged:
            assert everything(before) == everything(folder)
        shutil.rmtree(before.path)
        with opened(folder).view() as connection:
            projection, *_rest = opened(folder).load(connection)
        most = max(most, *(state.pieces for state in projection.of_kinds(["float_series", "string_series"])))
        if is_merged:
            assert rows_of(folder, "chunk") < 20
            assert rows_of(folder, "pack") <= MOST_PIECES + 1
    with opened(folder).view() as connection:
        now = opened(folder).chunks(connection, 1)
    other.stop()

    assert most <= 2 + MOST_PIECES + 5
    assert large == now[0]
    assert 70_000 + 100 * 600 == sum(row.count for row in now) == Reader(folder).count("long")
    assert [] == Reader(folder).damages


def test_packs_without_small_pieces_stay_as_they_are_while_another_series_is_merged(
    folder: RunDirectory, writer: Writer
) -> None:
    for each in range(50):
        put(writer, f"short/{each}", list(range(100)))
    fold(writer)
    with opened(folder).view() as connection:
        before = [*opened(folder).all_rows(connection, "pack", range(1, 100), [])]
    for each in range(40):
        put(writer, "long", list(range(600 * each, 600 * each + 600)))
        fold(writer)

    assert merge(opened(folder))
    assert 1 == rows_of(folder, "chunk")
    with opened(folder).view() as connection:
        assert before == [*opened(folder).all_rows(connection, "pack", range(1, 100), [])]
    assert not merge(opened(folder))


def test_chunks_of_long_texts_are_not_written_anew_again_and_again(folder: RunDirectory, writer: Writer) -> None:
    """A bar of progress: megabytes that take kilobytes on the disk."""
    keeper = Maintenance(folder, Tuning.from_environment())  # one, since it starts a process for folds of this size
    for each in range(MOST_PIECES + 3):
        writer.log([Strings("log", ["=" * 4_500_000], [each], [float(each)], False, writer.now())])
        keeper.fold(writer.journal)
    keeper.close()

    assert not merge(opened(folder))
    assert MOST_PIECES + 3 == len(Reader(folder).texts("log").texts)


def test_damaged_run_is_not_merged(folder: RunDirectory, writer: Writer) -> None:
    """The rows stay for verify to name, and for salvage."""
    for each in range(40):
        put(writer, "long", list(range(600 * each, 600 * each + 600)))
        fold(writer)
    with open_for_writing(folder.index).begin() as connection:
        connection.exec_driver_sql("update chunk set data = zeroblob(length(data)) where key % 7 = 3")

    with pytest.raises(DamagedData, match="fails its crc"):
        merge(opened(folder))
    assert 40 == rows_of(folder, "chunk")


def test_whole_steps_stay_integers_beside_which_wide_ones_are_exact(folder: RunDirectory, writer: Writer) -> None:
    put(writer, "loss", [1, 2])
    fold(writer)
    compact(folder)
    put(writer, "loss", [2**60 + 1])

    assert [1, 2, 2**60 + 1] == Reader(folder).points("loss").steps.tolist()


def test_points_of_deleted_series_leave_the_packs(folder: RunDirectory, writer: Writer) -> None:
    put(writer, "gone", list(range(100)))
    put(writer, "kept", [1])
    fold(writer)
    writer.log([Delete("gone", writer.now())])
    fold(writer)
    compact(folder)

    with open_for_writing(folder.index).begin() as connection:
        assert [(1,)] == [tuple(row) for row in connection.exec_driver_sql("select count from pack")]
    assert {"kept"} == everything(folder).keys()


def test_only_runs_in_many_rows_are_worth_it(folder: RunDirectory, writer: Writer) -> None:
    put(writer, "loss", list(range(1000)))
    fold(writer)
    assert not compact_if_worth_it(folder)

    for i in range(20):
        put(writer, "loss", [i])
        fold(writer)
    assert compact_if_worth_it(folder)
    assert not compact_if_worth_it(folder)


def test_run_without_index_is_left_alone(folder: RunDirectory, writer: Writer) -> None:
    put(writer, "loss", [1])

    compact(folder)

    assert not folder.index.exists()
    assert 1 == Reader(folder).count("loss")


def test_sealed_run_is_sealed_again(folder: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAIAD_SMALL_RUN_RECORDS", "0")
    writer = Writer.open(folder)
    for i in range(3):
        put(writer, "loss", list(range(1000 * i, 1000 * i + 1000)))
        fold(writer)
    writer.stop()
    before, seal = everything(folder), folder.seal.read_bytes()
    assert 3 == rows_of(folder, "chunk")

    compact(folder)

    assert seal != folder.seal.read_bytes()
    assert before == everything(folder)
    assert [] == Reader(folder).damages
    assert not folder.index.with_name("run.db-wal").exists()


def test_damaged_run_is_refused_and_stays_as_it_was(folder: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAIAD_SMALL_RUN_RECORDS", "0")
    writer = Writer.open(folder)
    put(writer, "loss", list(range(5000)))
    writer.stop()
    content = bytearray(folder.index.read_bytes())
    content[-3000] ^= 1
    folder.index.write_bytes(content)
    seal = folder.seal.read_bytes()

    with pytest.raises(DamagedData, match="cannot be compacted"):
        compact(folder)
    assert (bytes(content), seal) == (folder.index.read_bytes(), folder.seal.read_bytes())


@pytest.mark.parametrize("table", ["chunk", "pack"])
def test_damage_in_an_open_run_is_refused(folder: RunDirectory, writer: Writer, table: str) -> None:
    put(writer, "long", list(range(1000)))
    put(writer, "short", list(range(10)))
    fold(writer)
    with open_for_writing(folder.index).begin() as connection:
        connection.exec_driver_sql(f"update {table} set crc = crc + 1")

    with pytest.raises(DamagedData):
        compact(folder)
    with open_for_writing(folder.index).begin() as connection:
        connection.exec_driver_sql(f"update {table} set crc = crc - 1")
    assert {"long", "short"} == everything(folder).keys()


def test_compaction_that_fails_half_way_changes_nothing(
    folder: RunDirectory, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(3):
        put(writer, "loss", [i])
        fold(writer)
    before = everything(folder)

    def fail(*_given: object) -> None:
        raise OperationalError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(Index, "commit", fail)
        with pytest.raises(StorageError, match="disk full"):
            compact(folder)
    assert before == everything(folder)
    assert 3 == rows_of(folder, "pack")


def test_huge_runs_are_not_compacted_at_their_end(
    folder: RunDirectory, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(20):
        put(writer, "loss", [i])
        fold(writer)
    monkeypatch.setattr(compact_module, "MOST_POINTS", 10)

    assert not compact_if_worth_it(folder)
