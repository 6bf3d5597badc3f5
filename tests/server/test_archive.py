"""The archive of a server over a database: rows of runs that are over go into objects, whatever is killed meanwhile."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from postgres_server import Cluster, free_port, wait_for
from sqlalchemy.engine import Engine

import naiad
from naiad import clock
from naiad.container_kinds import RUN, RunId
from naiad.errors import DamagedData, forget_warnings
from naiad.ops import Delete
from naiad.ship import shipper
from naiad.storage.base import Change
from naiad.storage.edits import edit
from naiad.storage.local.index.compact import rewrite
from naiad.storage.local.layout import Layout
from naiad.storage.opening import database, database_upkeep
from naiad.storage.postgres.archive import Archive
from naiad.storage.postgres.connection import open_database, transaction
from naiad.storage.postgres.folding import Folder, OpenFold
from naiad.storage.postgres.objects import Objects
from naiad.storage.postgres.reader import Place
from naiad.storage.postgres.registrar import Registrar
from naiad.storage.postgres.store import PostgresStore
from naiad.storage.receiving import Upkeep

PLAIN: dict[str, Any] = {
    "capture_hardware_metrics": False, "capture_stdout": False, "capture_stderr": False, "capture_traceback": False,
    "git_ref": False, "source_files": [],
}  # fmt: skip
POINTS = 100_000
LEFT = """
select (select count(*) from naiad.run_chunk where run = %s and data is not null)
    + (select count(*) from naiad.run_pack where run = %s and data is not null)
"""
OBJECTS = """
select distinct object from naiad.run_chunk where run = %s and object is not null
union select object from naiad.run_pack where run = %s and object is not null
"""


@pytest.fixture(autouse=True)
def token(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("NAIAD_API_TOKEN", cluster.token)
    monkeypatch.setenv("NAIAD_LOCAL_STORE", str(tmp_path / "local"))
    for name, value in cluster.objects.environment.items():
        monkeypatch.setenv(name, value)
    forget_warnings()
    yield
    shipper.of_process.close()
    forget_warnings()


@pytest.fixture
def engine(cluster: Cluster) -> Iterator[Engine]:
    found = open_database(cluster.postgres.url)
    yield found
    found.dispose()


@pytest.fixture
def archive(cluster: Cluster, engine: Engine) -> Archive:
    return Archive(engine, Objects(cluster.objects.url))


@pytest.fixture
def upkeep(cluster: Cluster, token: None) -> Iterator[Upkeep]:
    found = database_upkeep(cluster.postgres.url, cluster.objects.url)
    yield found
    found.close()


@pytest.fixture
def number(cluster: Cluster, token: None) -> int:
    """A run that is over: a long series, short ones and texts."""
    with naiad.init_run(store=cluster.url, project="archive", **PLAIN) as run:
        run["loss"].extend([float(step % 977) for step in range(POINTS)])
        run["acc"].extend([0.25, 0.5])
        run["notes"].extend([f"line {each}" for each in range(100)])
        run.sync(remote=True)
        uid = run._run.uid
    wait_for(lambda: cluster.is_settled(uid), "the fold")
    [(found,)] = cluster.ask("select number from naiad.run where uid = %s", uid)
    return int(found)


def content(cluster: Cluster, number: int) -> tuple[Any, ...]:
    """All that a reader without copies has of the run."""
    store, receiver = database(cluster.postgres.url, cluster.objects.url)
    try:
        reader = store.reader(run_of(cluster, number))
        points = [reader.points(path) for path in ("loss", "acc")]
        texts = reader.texts("notes")
        chart = reader.chart("loss", 100)
        return (
            *(each.values.tolist() for each in points),
            *(each.steps.tolist() for each in points),
            texts.texts,
            reader.point_page("loss", 70_000, 2).points.values.tolist(),
            [column.tolist() for column in chart],
            reader.value("sys/size"),
        )
    finally:
        store.close()  # type: ignore[attr-defined]  # of a database
        receiver.close()


def run_of(cluster: Cluster, number: int) -> RunId:
    [(uid,)] = cluster.ask("select uid from naiad.run where number = %s", number)
    return RunId(uid, RUN)


def left(cluster: Cluster, number: int) -> int:
    """How many rows have their bytes in the database."""
    [(count,)] = cluster.ask(LEFT, number, number)
    return int(count)


def objects_of(cluster: Cluster, number: int) -> set[str]:
    return {name for (name,) in cluster.ask(OBJECTS, number, number)}


def move_all(archive: Archive, number: int) -> None:
    while archive.move(number):
        pass


def test_archived_run_is_as_it_was_and_its_object_stays_until_it_is_deleted(
    cluster: Cluster, archive: Archive, upkeep: Upkeep, number: int
) -> None:
    before, rows = content(cluster, number), left(cluster, number)
    move_all(archive, number)
    [name] = objects_of(cluster, number)
    assert rows >= 4
    assert 0 == left(cluster, number)
    assert before == content(cluster, number)
    run = run_of(cluster, number)
    assert [] == [what for each, what in upkeep.verify() if each in (run.uid, name_of(cluster, number))]
    assert name not in {each for each, _size in upkeep.collect(0, is_dry=True)}
    store, receiver = database(cluster.postgres.url, cluster.objects.url)
    store.delete([(run.uid, run)])
    store.close()  # type: ignore[attr-defined]  # of a database
    receiver.close()

    assert name in {each for each, _size in upkeep.collect(0)}


def name_of(cluster: Cluster, number: int) -> str:
    [(name,)] = cluster.ask("select id from naiad.run where number = %s", number)
    return str(name)


def test_object_that_lost_most_of_its_rows_is_packed_anew_and_freed_later(
    cluster: Cluster, archive: Archive, upkeep: Upkeep, number: int
) -> None:
    """As a deletion of series leaves it."""
    move_all(archive, number)
    [name] = objects_of(cluster, number)
    run = run_of(cluster, number)
    store, receiver = database(cluster.postgres.url, cluster.objects.url)
    edit(store, run, [Change("loss", "", (Delete("loss"),))])
    receiver.fold(run)
    reader = store.reader(run)
    before = reader.points("acc").values.tolist(), reader.texts("notes").texts
    assert {name} == objects_of(cluster, number)
    assert name not in {each for each, _size in upkeep.collect(7)}
    [packed] = objects_of(cluster, number)
    [fresh, _receiver] = database(cluster.postgres.url, cluster.objects.url)
    again = fresh.reader(run)

    assert packed != name
    assert before == (again.points("acc").values.tolist(), again.texts("notes").texts)
    assert [] == [what for each, what in upkeep.verify() if each in (run.uid, name_of(cluster, number))]
    assert name in {each for each, _size in upkeep.collect(0)}
    assert before == (reader.points("acc").values.tolist(), reader.texts("notes").texts)
    assert {packed} == objects_of(cluster, number)
    for each in (store, fresh, receiver, _receiver):
        each.close()  # type: ignore[attr-defined]  # of a database


KILLED = """
import os, sys
from naiad.storage.postgres.archive import Archive
from naiad.storage.postgres.connection import open_database
from naiad.storage.postgres.objects import Objects

put, moved = Objects.put, Archive._moved
def killed(*_arguments):
    os._exit(9)
def put_and_killed(*arguments):
    put(*arguments)
    os._exit(9)
def moved_and_killed(*arguments):
    moved(*arguments)
    os._exit(9)
steps = {"before the object": (killed, moved), "after the object": (put_and_killed, moved),
         "before the commit": (put, moved_and_killed)}
Objects.put, Archive._moved = steps[sys.argv[1]]
Archive(open_database(os.environ["DATABASE"]), Objects(os.environ["OBJECTS"])).move(int(sys.argv[2]))
"""


@pytest.mark.parametrize("step", ["before the object", "after the object", "before the commit"])
def test_worker_that_is_killed_has_moved_nothing_and_the_next_one_moves_all(
    cluster: Cluster, archive: Archive, upkeep: Upkeep, number: int, step: str
) -> None:
    before, rows = content(cluster, number), left(cluster, number)
    place = {"DATABASE": cluster.postgres.url, "OBJECTS": cluster.objects.url}
    done = subprocess.run(
        [sys.executable, "-c", KILLED, step, str(number)], check=False, env={**os.environ, **place}, timeout=60
    )
    assert 9 == done.returncode
    assert (rows, set()) == (left(cluster, number), objects_of(cluster, number))
    assert before == content(cluster, number)
    move_all(archive, number)
    uid = run_of(cluster, number).uid
    freed = {name for name, _size in upkeep.collect(0) if name.startswith(f"runs/{uid}/")}

    assert (step == "before the object") == (not freed)
    assert before == content(cluster, number)
    assert 0 == left(cluster, number)


class Held(Objects):
    """Objects that do something before they store one."""

    def __init__(self, url: str, meanwhile: Callable[[], object]) -> None:
        super().__init__(url)
        self._meanwhile = meanwhile

    def put(self, name: str, content: Any) -> None:
        self._meanwhile()
        super().put(name, content)


def test_two_workers_at_once_move_a_run_once(cluster: Cluster, archive: Archive, engine: Engine, number: int) -> None:
    before = content(cluster, number)
    others: list[bool] = []
    thread = threading.Thread(target=lambda: others.append(archive.move(number)))

    def meanwhile() -> None:
        thread.start()
        thread.join(60)

    first = Archive(engine, Held(cluster.objects.url, meanwhile))
    assert first.move(number)
    move_all(archive, number)

    assert [False] == others
    assert 1 == len(objects_of(cluster, number))
    assert before == content(cluster, number)


def go_on(cluster: Cluster, number: int) -> None:
    """Let a program resume the run, and log some points more."""
    uid = run_of(cluster, number).uid
    with naiad.init_run(store=cluster.url, with_id=uid, **PLAIN) as run:
        run["loss"].extend([-1.0] * 600)
        run["acc"].append(0.75)
    wait_for(lambda: cluster.is_settled(uid), "the fold")


def test_rows_that_a_fold_rewrites_meanwhile_are_moved_later(
    cluster: Cluster, archive: Archive, engine: Engine, number: int, tmp_path: Path
) -> None:
    """Some of them are others then, under the same keys."""
    go_on(cluster, number)
    before = content(cluster, number)

    def meanwhile() -> None:
        with transaction(engine) as raw:
            place = Place(engine, archive._objects, Layout(tmp_path), run_of(cluster, number), number, raw)
            rewrite(OpenFold(place)._open())

    first = Archive(engine, Held(cluster.objects.url, meanwhile))
    assert not first.move(number)
    assert left(cluster, number)
    assert before[:-2] == content(cluster, number)[:-2]
    move_all(archive, number)

    assert 0 == left(cluster, number)
    assert before[:-2] == content(cluster, number)[:-2]


def test_damaged_rows_stay_where_verify_finds_them(
    cluster: Cluster, archive: Archive, upkeep: Upkeep, number: int
) -> None:
    cluster.ask(
        "update naiad.run_pack set data = set_byte(data, length(data) / 2, 255 - get_byte(data, length(data) / 2))"
        " where run = %s",
        number,
    )
    move_all(archive, number)

    assert set() == objects_of(cluster, number)
    assert name_of(cluster, number) in {name for name, _what in upkeep.verify()}


def test_lost_object_is_damage_that_verify_names(
    cluster: Cluster, archive: Archive, upkeep: Upkeep, number: int
) -> None:
    move_all(archive, number)
    [name] = objects_of(cluster, number)
    archive._objects.delete([name])
    with pytest.raises(DamagedData, match="missing"):
        content(cluster, number)

    assert name_of(cluster, number) in {each for each, what in upkeep.verify() if name in what}


def test_worker_moves_the_rows_of_a_run_that_was_over_for_a_while(cluster: Cluster, number: int) -> None:
    before = content(cluster, number)
    [(at,)] = cluster.ask("select archived_at > now() from naiad.run where number = %s", number)
    assert at in (True, None)  # None of one that is too small
    cluster.ask("update naiad.run set archived_at = now() where number = %s", number)
    wait_for(lambda: left(cluster, number) == 0, "the archive")

    wait_for(lambda: cluster.ask("select archived_at from naiad.run where number = %s", number) == [(None,)], "its end")
    assert before == content(cluster, number)


def test_run_that_goes_on_after_it_was_archived_is_whole(cluster: Cluster, archive: Archive, number: int) -> None:
    move_all(archive, number)
    go_on(cluster, number)
    loss, acc, *_ = content(cluster, number)

    assert [float(step % 977) for step in range(POINTS)] + [-1.0] * 600 == loss
    assert [0.25, 0.5, 0.75] == acc


def test_fold_waits_while_the_objects_are_away_and_its_run_is_not_set_aside(
    cluster: Cluster, archive: Archive, engine: Engine, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run goes on, and its bytes wait; the fold reads what was archived of it."""
    move_all(archive, number)
    uid = run_of(cluster, number).uid
    with naiad.init_run(store=cluster.url, with_id=uid, **PLAIN) as run:
        run["sys/tags"].add("again")
        hurry = "update naiad.due set at = now() where run = %s returning run"
        wait_for(lambda: cluster.ask(hurry, number) is None or cluster.is_settled(uid), "the fold")
        cluster.ask("insert into naiad.inbox (run, file, start, upto, object, place, length, crc)"
                    " values (%s, 'lost.0.seg', 64, 96, 'inbox/none', 0, 32, 0)", number)  # fmt: skip
        cluster.ask("insert into naiad.received values (%s, 'lost.0.seg', 96, 0, false)", number)
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
        away = Folder(engine, Objects(cluster.objects.url))
        problems = [away.fold(number, until=clock.monotonic() + 30)]
        # A worker of a replica, whose objects are there, may find that this one is lost, and count that.
        [(counted,)] = cluster.ask("select problem from naiad.run where number = %s", number)
        cluster.ask("delete from naiad.inbox where file = 'lost.0.seg' and run = %s", number)
        cluster.ask("delete from naiad.received where file = 'lost.0.seg' and run = %s", number)

    assert ["cannot be used now" in each for each in problems] == [True]
    assert "cannot be used now" not in (counted or "")


def test_run_that_is_folded_while_its_archive_ends_is_archived_again(
    cluster: Cluster, archive: Archive, engine: Engine, number: int
) -> None:
    move_all(archive, number)
    # Of a failed run, since the workers of the replicas leave it alone.
    cluster.ask("update naiad.run set archived_at = now(), failures = 1 where number = %s", number)
    thread = threading.Thread(target=lambda: archive.move(number))
    waiting = (
        "select 1 from pg_stat_activity where wait_event_type = 'Lock' and query like 'update naiad.run set arch%%'"
    )
    with transaction(engine) as raw:  # as a fold, which has added rows
        raw.execute("update naiad.run set archived_at = now() + interval '1 hour' where number = %s", [number])
        thread.start()
        wait_for(lambda: cluster.ask(waiting), "the wait for the fold")
    thread.join()

    assert [(True,)] == cluster.ask("select archived_at is not null from naiad.run where number = %s", number)


class Slow(Objects):
    """Objects that answer when they are let go on."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.is_asked, self.may_answer = threading.Event(), threading.Event()

    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        self.is_asked.set()
        self.may_answer.wait(60)
        return super().get(name, start, length)


def test_reader_that_waits_for_an_object_holds_no_connection(
    cluster: Cluster, archive: Archive, engine: Engine, number: int
) -> None:
    """A few of them would hold all, and the replica would accept nothing."""
    move_all(archive, number)
    slow = Slow(cluster.objects.url)
    store = PostgresStore(engine, slow, Registrar(engine))
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(store.reader(run_of(cluster, number)).points("loss")))
    thread.start()
    try:
        assert slow.is_asked.wait(60)
        assert 0 == engine.pool.checkedout()  # type: ignore[attr-defined]  # of the pool that an engine has
    finally:
        slow.may_answer.set()
        thread.join()
        store.close()

    assert [POINTS] == [len(each.values) for each in found]
