"""Short runs folded in one transaction. Each test has a database without workers, beside that of the server."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from postgres_server import Cluster
from sqlalchemy.engine import Engine
from test_objects_away import Journal, ask, end, opened, seal

from naiad.errors import RunNotFound
from naiad.ids import new_uid
from naiad.kinds import ATOM_OF
from naiad.ops import Assign, Define, Delete
from naiad.storage.base import Change
from naiad.storage.opening import database
from naiad.storage.postgres import folding
from naiad.storage.postgres.connection import RUN_LOCKS, open_database, transaction
from naiad.storage.postgres.folding import Folder
from naiad.storage.postgres.objects import Objects
from naiad.storage.postgres.receiver import Receiver
from naiad.storage.postgres.scratch import Scratch

TABLES = (
    "naiad.run, naiad.due, naiad.run_head, naiad.run_position, naiad.run_field, naiad.run_pack, naiad.run_chunk, "
    "naiad.run_writer, naiad.inbox, naiad.received, naiad.writer, naiad.counter, naiad_catalog.container, "
    "naiad_catalog.cell, naiad_catalog.field"
)
"""Those with runs."""


@pytest.fixture
def url(cluster: Cluster) -> Iterator[str]:
    name = f"batch_{new_uid().replace('-', '_').lower()}"
    with psycopg.connect(cluster.postgres.url, autocommit=True) as connection:
        connection.execute(f"create database {name}")  # type: ignore[call-overload]  # a name made here
    yield cluster.postgres.url.rpartition("/")[0] + f"/{name}"
    with psycopg.connect(cluster.postgres.url, autocommit=True) as connection:
        connection.execute(f"drop database {name} with (force)")  # type: ignore[call-overload]  # a name made here


@pytest.fixture
def receiver(url: str, tmp_path: Path) -> Iterator[Receiver]:
    found = opened(url, (tmp_path / "objects").as_uri())
    yield found
    found.close()


@pytest.fixture
def engine(url: str, receiver: Receiver) -> Iterator[Engine]:
    found = open_database(url)
    yield found
    found.dispose()


@pytest.fixture
def folder(engine: Engine, tmp_path: Path) -> Folder:
    return Folder(engine, Objects((tmp_path / "objects").as_uri()))


def begun(receiver: Receiver, count: int) -> list[Journal]:
    journals = [Journal(receiver) for _ in range(count)]
    for each in journals:
        each.accept(each.begin(), each.points(10))
    return journals


def folded(folder: Folder, engine: Engine) -> list[str]:
    """Fold all runs, together."""
    ask(engine, "update naiad.due set at = now()")
    groups, _seconds = folder.due()
    return [problem for each in groups for problem in folder.fold_all(each)]


def transactions(engine: Engine) -> int:
    """How many transactions have written the heads of the indexes last."""
    [(count,)] = ask(engine, "select count(distinct xmin::text) from naiad.run_head")
    return int(count)


def rows(engine: Engine) -> dict[str, list[tuple[Any, ...]]]:
    """What folds write, but for what differs between two writers by chance."""
    return {
        table: ask(engine, f"select {columns} from {table} order by 1, 2")
        for table, columns in {
            "naiad.run_head": "run, id, format, facts",
            "naiad.run_position": "run, upto, is_done",
            "naiad.run_field": "run, id, path, kind",
            "naiad.run_pack": "run, id, first_field, last_field, count",
            "naiad.inbox": "run, start",
            "naiad_catalog.container": "id, kind, state",
            "naiad.run": "number, failures, bytes > 0, archived_at is null",
        }.items()
    }


def test_runs_that_are_due_are_folded_in_one_transaction(receiver: Receiver, engine: Engine, folder: Folder) -> None:
    journals = begun(receiver, 5)

    assert [""] * 5 == folded(folder, engine)
    assert 1 == transactions(engine)
    assert [] == ask(engine, "select from naiad.inbox")
    for each in journals:
        each.accept(each.points(7))
    assert [""] * 5 == folded(folder, engine)
    assert 1 == transactions(engine)
    assert [(5, 17.0)] == ask(
        engine, "select count(*), max(total) from (select sum(count) as total from naiad.run_pack group by run) each"
    )


def test_batch_writes_the_rows_that_each_run_alone_gets(
    receiver: Receiver, engine: Engine, folder: Folder, url: str, tmp_path: Path
) -> None:
    """New and known fields, a second writer's end, deleted series, and a fold without new bytes."""
    found = []
    for is_together in (True, False):
        ask(engine, f"truncate {TABLES} restart identity")
        own = opened(url, (tmp_path / "objects").as_uri())
        journals = begun(own, 4)
        for turn in range(4):
            if turn == 1:
                for each in journals[:3]:
                    each.accept(each.points(600), each.ops(Assign("lr", "float", 0.5, 3.0)))
            if turn == 2:
                journals[0].accept(journals[0].ops(Delete("loss", 4.0)))
                journals[1].accept(journals[1].ops(Define(9, "more", False, 4.0)))
                end(journals[2])
            if is_together:
                assert [""] * 4 == folded(folder, engine)
            else:
                assert [""] * 4 == [folder.fold(number) for (number,) in ask(engine, "select number from naiad.run")]
        found.append(rows(engine))
        own.close()

    assert found[0]["naiad.run_pack"]
    assert found[1] == found[0]


def test_run_that_another_worker_has_is_left_to_it(receiver: Receiver, engine: Engine, folder: Folder) -> None:
    journals = begun(receiver, 3)
    [(number,)] = ask(engine, "select number from naiad.run where uid = %s", journals[1].run.uid)
    with transaction(engine) as raw:
        raw.execute("select pg_advisory_xact_lock(%s, %s)", [RUN_LOCKS, number])

        assert ["", ""] == folded(folder, engine)
        assert [] == folder.fold_all([number, number + 1_000])
    assert [(number,)] == ask(engine, "select distinct run from naiad.inbox")


def test_run_that_was_folded_just_before_is_not_folded_again(
    receiver: Receiver, engine: Engine, folder: Folder
) -> None:
    begun(receiver, 3)
    ask(engine, "update naiad.due set at = now()")
    groups, _seconds = folder.due()
    assert [""] * 3 == folder.fold_all(groups[0])

    assert [] == folder.fold_all(groups[0])


def test_run_that_cannot_be_folded_delays_no_other(receiver: Receiver, engine: Engine, folder: Folder) -> None:
    """It is folded alone, which notes its failure; the next batches are without it."""
    journals = begun(receiver, 3)
    assert [""] * 3 == folded(folder, engine)
    for each in journals:
        each.accept(each.points(10))
    [(number,)] = ask(engine, "select number from naiad.run where uid = %s", journals[1].run.uid)
    ask(engine, "update naiad.run_field set crc = crc + 1 where run = %s", number)

    problems = folded(folder, engine)
    assert ["", ""] == problems[:2]
    assert "damaged" in problems[2]
    assert [(number,)] == ask(engine, "select distinct run from naiad.inbox")
    assert [(number, 1)] == ask(engine, "select number, failures from naiad.run where failures > 0")


def test_batch_that_fails_half_way_is_undone_and_its_runs_are_folded_alone(
    receiver: Receiver, engine: Engine, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun(receiver, 3)
    put, calls = folding.put, []

    def failing(connection: Any, entries: list[Any]) -> None:
        calls.append(len(entries))
        put(connection, entries)
        if len(entries) > 1:
            connection.own.execute("select 1 / 0")

    monkeypatch.setattr(folding, "put", failing)

    assert [""] * 3 == folded(folder, engine)
    assert [3, 1, 1, 1] == calls
    assert 3 == transactions(engine)
    assert [(3,)] == ask(engine, "select count(*) from naiad_catalog.container")


def test_runs_with_many_waiting_bytes_are_folded_alone(receiver: Receiver, engine: Engine, folder: Folder) -> None:
    begun(receiver, 70)
    ask(engine, "update naiad.due set at = now() - make_interval(secs => run)")
    ask(engine, "update naiad.due set waiting = 300000 where run in (35, 70)")
    groups, _seconds = folder.due()

    assert [1, 64, 1, 4] == [len(each) for each in groups]


def test_database_store_reads_what_a_batch_has_folded(
    receiver: Receiver, engine: Engine, folder: Folder, url: str, tmp_path: Path
) -> None:
    journals = begun(receiver, 3)
    journals[0].accept(journals[0].ops(Assign("lr", "float", 0.5, 3.0)))
    assert [""] * 3 == folded(folder, engine)
    store, reading = database(url, (tmp_path / "objects").as_uri())
    try:
        readers = [store.reader(each.run) for each in journals]

        assert 0.5 == readers[0].value("lr")
        assert [10] * 3 == [len(each.points("loss").values) for each in readers]
    finally:
        reading.close()


@pytest.mark.parametrize("count", [1, 3])
def test_end_that_comes_while_its_run_is_folded_is_folded_next(
    receiver: Receiver, engine: Engine, folder: Folder, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """With no new bytes nothing else would bring a worker back to the run."""
    journals = begun(receiver, count)
    put = folding.put

    def ending(connection: Any, entries: list[Any]) -> None:
        monkeypatch.setattr(folding, "put", put)
        seal(journals[0])
        put(connection, entries)

    monkeypatch.setattr(folding, "put", ending)
    assert [""] * count == folded(folder, engine)
    [(number,)] = ask(engine, "select number from naiad.run where uid = %s", journals[0].run.uid)

    groups, _seconds = folder.due()
    assert [[number]] == groups
    assert [""] == folder.fold_all(groups[0])
    assert [(1,)] == ask(engine, "select distinct is_done from naiad.run_position where run = %s", number)


def test_file_that_begins_while_its_run_is_folded_is_folded_next(
    receiver: Receiver, engine: Engine, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(receiver)
    journal.accept(journal.begin())
    rows_of = Scratch.rows

    def late(self: Scratch, raw: Any) -> list[Any]:
        monkeypatch.setattr(Scratch, "rows", rows_of)
        journal.accept(journal.points(10))
        return rows_of(self, raw)

    monkeypatch.setattr(Scratch, "rows", late)
    assert [""] == folded(folder, engine)

    assert [(320, True)] == ask(engine, "select waiting, at < now() + interval '2 seconds' from naiad.due")
    assert [""] == folded(folder, engine)
    assert [] == ask(engine, "select from naiad.inbox")


def test_points_that_come_while_a_change_of_the_pages_is_folded_are_folded_next(
    receiver: Receiver, engine: Engine, folder: Folder, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [journal] = begun(receiver, 1)
    assert [""] == folded(folder, engine)
    store, reading = database(url, (tmp_path / "objects").as_uri())
    store.writer(journal.run).write([Change("note", ATOM_OF[str], (Assign("note", ATOM_OF[str], "seen"),))])
    reading.close()
    put = folding.put

    def late(connection: Any, entries: list[Any]) -> None:
        journal.accept(journal.points(1))
        put(connection, entries)

    monkeypatch.setattr(folding, "put", late)
    assert [""] == folded(folder, engine)

    assert [(32, True)] == ask(engine, "select waiting, at < now() + interval '2 seconds' from naiad.due")


def test_batch_writes_the_cells_that_each_run_alone_gets(
    receiver: Receiver, engine: Engine, folder: Folder, url: str, tmp_path: Path
) -> None:
    """Also of texts with the characters that a copy into a table has a meaning for, and of numbers that are none."""
    values: dict[str, tuple[str, Any]] = {
        "text": ("string", "tab\t line\n return\r back\\slash \\N \\. zero\0 quote' \N{SNOWMAN}"),
        "null": ("string", "\\N"),
        "empty": ("string", ""),
        "long": ("string", "\\t" * 5_000),
        "nan": ("float", float("nan")),
        "inf": ("float", float("-inf")),
        "int": ("int", -(1 << 63)),
        "bool": ("bool", True),
    }
    found = []
    for is_together in (True, False):
        ask(engine, f"truncate {TABLES} restart identity")
        own = opened(url, (tmp_path / "objects").as_uri())
        for each in begun(own, 12):
            each.accept(each.ops(*(Assign(path, *value, 3.0) for path, value in values.items())))
        numbers = [number for (number,) in ask(engine, "select number from naiad.run order by 1")]
        problems = folded(folder, engine) if is_together else [folder.fold(number) for number in numbers]
        assert [""] * 12 == problems
        found.append(
            ask(
                engine,
                "select container, path, kind, num, integer, txt, whole, min, max, average, variance "
                "from naiad_catalog.cell join naiad_catalog.field on number = field "
                "where path not like 'sys/%%' order by container, path",
            )
        )
        own.close()

    assert 12 * (len(values) + 1) == len(found[0])
    assert found[1] == found[0]


@pytest.mark.parametrize("is_folded", [False, True])
def test_run_that_is_deleted_and_registered_anew_is_read_as_it_is_now_by_every_replica(
    receiver: Receiver, folder: Folder, engine: Engine, url: str, tmp_path: Path, *, is_folded: bool
) -> None:
    """A folder can be sent again. Its writers have the names that they had, or others."""
    [journal] = begun(receiver, 1)
    objects = (tmp_path / "objects").as_uri()
    (store, own), (other, reading) = database(url, objects), database(url, objects)
    try:
        assert [10] * 2 == [len(each.reader(journal.run).points("loss").values) for each in (store, other)]
        ask(engine, "update naiad.writer set state = 'dead'")
        store.delete([("AWAY-1", journal.run)])
        for name in (journal.writer, new_uid()):
            again = Journal(receiver)
            again.run, again.writer = journal.run, name
            receiver.forget(journal.run)
            receiver.register(journal.run, "away")
            again.accept(again.begin(), again.points(5))
            if is_folded:
                assert [""] == folded(folder, engine)
            for each in (store, other):
                with contextlib.suppress(RunNotFound):  # a replica that has just noticed that the run is gone
                    each.reader(journal.run).points("loss")
                assert [0, 1, 2, 3, 4] == each.reader(journal.run).points("loss").steps.tolist()
            ask(engine, "update naiad.writer set state = 'dead'")
            store.delete([("AWAY-2", journal.run)])
    finally:
        own.close()
        reading.close()
