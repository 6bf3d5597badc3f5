"""Two replicas over one database at the same moment: bytes of one file, deletions, folds, and statements that wait."""

from __future__ import annotations

import contextlib
import threading
import zlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from postgres_server import Cluster, wait_for

from naiad import clock
from naiad.container_kinds import RUN, RunId
from naiad.errors import RunNotFound, StorageError
from naiad.ids import new_uid
from naiad.ops import Assign, Define, Open, encode_ops
from naiad.storage.base import Change
from naiad.storage.local.journal.frames import encode_frame
from naiad.storage.postgres import folding
from naiad.storage.postgres import receiver as postgres_receiver
from naiad.storage.postgres import store as postgres_store
from naiad.storage.postgres.connection import CATALOG_LOCK, RUN_LOCKS, transaction
from naiad.storage.postgres.folding import drop
from naiad.storage.postgres.receiver import Receiver
from naiad.storage.postgres.store import PostgresStore
from naiad.storage.receiving import Piece, Sealing

SEG, OPS = "writer.0.seg", "writer.0.ops"


@pytest.fixture
def replicas(opened: list[tuple[PostgresStore, Receiver]]) -> tuple[Receiver, Receiver]:
    """The receiving ends of two replicas, in this process."""
    [(_, first), (_, second)] = opened
    return first, second


def registered(receiver: Receiver, project: str = "races") -> RunId:
    run = RunId(new_uid(), RUN)
    receiver.register(run, project)
    return run


def points(run: RunId, first: int, count: int) -> Piece:
    """Bytes of some points, which differ by their place."""
    at = 64 + 32 * first
    return Receiver.checked(run, SEG, at, b"".join((at + 32 * each).to_bytes(32, "little") for each in range(count)))


def rows(cluster: Cluster, run: RunId, table: str = "inbox") -> int:
    """How many rows a table has for the number that a run had, whether or not the run is still there."""
    [(count,)] = cluster.ask(f"select count(*) from naiad.{table} where run = %s", NUMBERS[run])
    return int(count)


NUMBERS: dict[RunId, int] = {}


def numbered(cluster: Cluster, run: RunId) -> int:
    [(number,)] = cluster.ask("select number from naiad.run where uid = %s", run.uid)
    NUMBERS[run] = number
    return int(number)


class Meanwhile:
    """Lets something happen between the two statements of a replica: after it has read how far the files are."""

    def __init__(self, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
        self._read = receiver._known
        self._steps: list[Any] = []
        monkeypatch.setattr(receiver, "_known", self._known)

    def do(self, *steps: Any) -> None:
        """Do these, one after each reading."""
        self._steps += steps

    def _known(self, *arguments: Any) -> Mapping[RunId, Any]:
        found = self._read(*arguments)
        if self._steps:
            self._steps.pop(0)()
        return found


def test_file_that_another_replica_moves_meanwhile_is_decided_anew_and_the_others_are_stored(
    cluster: Cluster, replicas: tuple[Receiver, Receiver], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same bytes are stored once, and bytes behind them are stored behind them."""
    first, second = replicas
    moved, other = registered(first), registered(first)
    numbered(cluster, moved)
    meanwhile = Meanwhile(first, monkeypatch)
    meanwhile.do(lambda: second.accept([points(moved, 0, 10)]), lambda: second.accept([points(moved, 10, 5)]))
    accepted = first.accept([points(moved, 0, 10), points(moved, 10, 5), points(moved, 15, 1), points(other, 0, 3)])

    assert {(moved, SEG): 64 + 32 * 16, (other, SEG): 64 + 32 * 3} == {
        key: each.upto for key, each in accepted.files.items()
    }
    assert (2, 4) == (accepted.parts, accepted.points)
    stored = "select start, upto from naiad.inbox where run = %s order by start"
    assert [(64, 384), (384, 544), (544, 576)] == cluster.ask(stored, NUMBERS[moved])


def asked(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """A list that grows with each statement by which a replica asks how far files are."""
    read, found = receiver._known, list[None]()

    def known(*arguments: Any) -> Any:
        found.append(None)
        return read(*arguments)

    monkeypatch.setattr(receiver, "_known", known)
    return found


def test_file_that_goes_on_where_the_replica_has_left_it_is_stored_by_one_statement(
    cluster: Cluster, replicas: tuple[Receiver, Receiver], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _second = replicas
    run = registered(first)
    first.accept([points(run, 0, 10)])
    asks = asked(first, monkeypatch)
    positions = [first.accept([points(run, at, 5)]).files[run, SEG].upto for at in (10, 15, 20)]

    assert [64 + 32 * each for each in (15, 20, 25)] == positions
    assert [] == asks


def test_replica_that_remembers_an_old_position_answers_with_the_one_of_the_database(
    cluster: Cluster, replicas: tuple[Receiver, Receiver]
) -> None:
    """Another replica has taken bytes since; a repeat of these stores nothing, and what follows them is stored."""
    first, second = replicas
    run = registered(first)
    numbered(cluster, run)
    first.accept([points(run, 0, 10)])
    second.accept([points(run, 10, 5)])
    repeated = first.accept([points(run, 10, 5)])
    second.accept([points(run, 15, 5)])
    later = first.accept([points(run, 20, 1)])
    gap = first.accept([points(run, 30, 1)])

    assert (0, 1, 0) == (repeated.parts, later.parts, gap.parts)
    assert [64 + 32 * each for each in (15, 21, 21)] == [each.files[run, SEG].upto for each in (repeated, later, gap)]
    stored = "select start, upto from naiad.inbox where run = %s order by start"
    assert [(64, 384), (384, 544), (544, 704), (704, 736)] == cluster.ask(stored, NUMBERS[run])


def test_replica_that_remembers_more_than_a_restored_database_has_asks_for_the_rest(
    cluster: Cluster, replicas: tuple[Receiver, Receiver]
) -> None:
    first, _second = replicas
    run = registered(first)
    number = numbered(cluster, run)
    first.accept([points(run, 0, 10)])
    first.accept([points(run, 10, 5)])
    cluster.ask("update naiad.received set upto = 384, crc = 0 where run = %s", number)
    cluster.ask("delete from naiad.inbox where run = %s and start = 384", number)

    assert 384 == first.accept([points(run, 15, 5)]).files[run, SEG].upto
    assert 544 == first.accept([points(run, 10, 5)]).files[run, SEG].upto


def test_running_replicas_name_the_epoch_of_a_restored_database(cluster: Cluster) -> None:
    """`naiad server restored` need not be followed by a restart of all replicas for programs to notice it."""

    def epochs() -> set[str]:
        return {cluster.send("GET", "/api/v1").headers["naiad-epoch"] for _ in cluster.replicas}

    def are_told() -> bool:
        return [(each,) for each in epochs()] == cluster.ask("select epoch from naiad.about")

    wait_for(are_told, "the epoch in replicas that have just begun")
    before = epochs()
    cluster.command("restored")
    wait_for(are_told, "the new epoch in both replicas")

    assert epochs().isdisjoint(before)


def test_bytes_of_a_run_that_was_deleted_after_its_position_was_remembered_are_left_out(
    cluster: Cluster, replicas: tuple[Receiver, Receiver]
) -> None:
    """Also when this replica has looked for the run since; the other runs of the group go on."""
    first, _second = replicas
    gone, forgotten, other = (registered(first) for _ in range(3))
    first.accept([points(run, 0, 10) for run in (gone, forgotten, other)])
    for run in (gone, forgotten):
        cluster.ask("delete from naiad.run where uid = %s", run.uid)
    first.forget(forgotten)
    accepted = first.accept([points(run, 10, 5) for run in (gone, forgotten, other)])

    assert {(other, SEG): 64 + 32 * 15} == {key: each.upto for key, each in accepted.files.items()}
    assert 1 == accepted.parts


def test_files_that_are_moved_again_and_again_are_refused_and_their_bytes_come_again(
    cluster: Cluster, replicas: tuple[Receiver, Receiver], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = replicas
    run = registered(first)
    numbered(cluster, run)
    meanwhile = Meanwhile(first, monkeypatch)
    tries = postgres_receiver.MOST_TRIES
    meanwhile.do(*(lambda at=at: second.accept([points(run, at, 1)]) for at in range(tries)))
    with pytest.raises(StorageError, match="Try again"):
        first.accept([points(run, at, 1) for at in range(tries + 1)])
    first.accept([points(run, at, 1) for at in range(tries + 1)])

    assert 64 + 32 * (tries + 1) == first.received(run)[SEG].upto
    assert tries + 1 == rows(cluster, run)


def test_empty_file_is_sealed(replicas: tuple[Receiver, Receiver]) -> None:
    """A writer that logged no point has a segment without records."""
    first, second = replicas
    run = registered(first)
    accepted = first.accept([], [Sealing(run, SEG, 64, 0)])

    assert (64, True) == accepted.files[run, SEG]
    assert (64, True) == second.received(run)[SEG]


@pytest.mark.parametrize("is_alone", [True, False])
def test_run_that_is_deleted_meanwhile_takes_nothing_and_leaves_nothing(
    is_alone: bool, cluster: Cluster, replicas: tuple[Receiver, Receiver], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether or not the group has bytes of a run that is there."""
    first, second = replicas
    run, other = registered(first), registered(first)
    numbered(cluster, run)
    Meanwhile(first, monkeypatch).do(lambda: delete(second, run))
    others = [] if is_alone else [points(other, 0, 1)]
    accepted = first.accept([points(run, 0, 10), *others], writers={(run, "writer"): True})

    assert {each.run for each in others} == {run for run, _file in accepted.files}
    assert [0, 0, 0, 0] == [rows(cluster, run, table) for table in ("inbox", "received", "writer", "due")]


def test_bytes_that_arrive_while_a_run_is_deleted_leave_nothing(
    cluster: Cluster, replicas: tuple[Receiver, Receiver]
) -> None:
    """The deletion waits for bytes that are being stored, and deletes them too."""
    first, second = replicas
    run = registered(first)
    number = numbered(cluster, run)
    first.accept([points(run, 0, 10)])
    deletion = threading.Thread(target=delete, args=(second, run))
    with psycopg.connect(cluster.postgres.url) as replica:
        # as `naiad.take` of another replica, whose commit takes a while
        replica.execute("select from naiad.run where number = %s for key share", [number])
        deletion.start()
        wait_for(lambda: waits(cluster), "the deletion's wait for the replica")
        row = "insert into naiad.inbox (run, file, start, upto, data) values (%s, 'late.0.seg', 64, 96, %s)"
        replica.execute(row, [number, bytes(32)])
        replica.execute("insert into naiad.received values (%s, 'late.0.seg', 96, 0, false)", [number])
    deletion.join(60)

    assert [0, 0, 0] == [rows(cluster, run, table) for table in ("inbox", "received", "due")]


def delete(receiver: Receiver, *runs: RunId) -> None:
    """Delete runs, as the store does once it has looked that nobody writes them."""
    with transaction(receiver._engine) as raw:
        drop(raw, {NUMBERS[run]: run.uid for run in runs})


def waits(cluster: Cluster) -> bool:
    """Whether any process of the database waits for a lock."""
    return cluster.ask("select count(*) from pg_stat_activity where wait_event_type = 'Lock'") != [(0,)]


def test_runs_are_deleted_while_a_worker_folds_one_of_them(
    cluster: Cluster, replicas: tuple[Receiver, Receiver]
) -> None:
    """Fold and deletion take the lock of a run before that of the catalog, so neither is ended as a deadlock."""
    first, second = replicas
    runs = [registered(first) for _ in range(2)]
    numbers = [numbered(cluster, run) for run in runs]
    for run in runs:
        first.accept([begun(run), points(run, 0, 10)])
    failures: list[Exception] = []

    def caught(call: Any, *arguments: Any) -> None:
        try:
            call(*arguments)
        except Exception as error:  # noqa: BLE001 (of a thread: the assertion shows it)
            failures.append(error)

    # The fold of the second run waits behind this, with its lock taken, until the deletion has begun.
    with psycopg.connect(cluster.postgres.url) as holder:
        holder.execute("lock table naiad_catalog.container in access exclusive mode")
        fold = threading.Thread(target=caught, args=(second.fold, runs[1]))
        fold.start()
        held = "select count(*) from pg_locks where locktype = 'advisory' and classid = %s and objid = %s and granted"
        wait_for(lambda: cluster.ask(held, RUN_LOCKS, numbers[1]) == [(1,)], "the fold's lock")
        deletion = threading.Thread(target=caught, args=(delete, first, *runs))
        deletion.start()
        wait_for(lambda: cluster.ask(held, RUN_LOCKS, numbers[0]) == [(1,)], "the deletion's lock")
    fold.join(60)
    deletion.join(60)

    assert [] == failures
    tables = ("inbox", "received", "due", "run_head", "run_field", "run_chunk", "run_pack")
    assert [0] * 14 == [rows(cluster, run, table) for run in runs for table in tables]
    left = "select count(*) from naiad_catalog.container where uid = any(%s)"
    assert [(0,)] == cluster.ask(left, [run.uid for run in runs])


def test_replicas_that_take_the_same_files_lock_them_in_one_order(
    cluster: Cluster, replicas: tuple[Receiver, Receiver]
) -> None:
    """Each would else hold one file and wait for the other, until the database ends one of them as a deadlock."""
    runs = [registered(replicas[0]) for _ in range(2)]
    numbers = sorted(numbered(cluster, run) for run in runs)
    replicas[0].accept([points(run, 0, 1) for run in runs])
    found: list[Any] = []

    def take(receiver: Receiver, *order: RunId) -> None:
        try:
            signs = {(run, "writer"): True for run in order}
            found.append(receiver.accept([points(run, 1, 1) for run in order], writers=signs))
        except StorageError as error:
            found.append(error)

    with psycopg.connect(cluster.postgres.url) as holder:
        # Both wait for the first file, with those locked that they lock before it.
        holder.execute("select from naiad.received where run = %s for update", [numbers[0]])
        orders = zip(replicas, (runs, runs[::-1]), strict=True)
        threads = [threading.Thread(target=take, args=(receiver, *order)) for receiver, order in orders]
        for each in threads:
            each.start()
        waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock'"
        wait_for(lambda: cluster.ask(waiting) == [(2,)], "both replicas' wait for the file")
    for each in threads:
        each.join(60)

    assert [{(run, SEG): 128 for run in runs}] * 2 == [
        {key: file.upto for key, file in each.files.items()} for each in found
    ]
    assert [2, 2] == [rows(cluster, run) for run in runs]


def test_replicas_that_take_few_and_many_of_the_same_files_lock_them_in_one_order(
    cluster: Cluster, replicas: tuple[Receiver, Receiver]
) -> None:
    """Few are taken one by one, many by one statement: new files come before those that go on in both."""
    known, new, *others = (registered(replicas[0]) for _ in range(12))
    [number, _new] = [numbered(cluster, run) for run in (known, new)]
    for receiver in replicas:
        receiver.accept([points(known, 0, 1)])
    found: dict[str, Any] = {}

    def take(receiver: Receiver, *runs: RunId) -> None:
        name = "many" if len(runs) > 8 else "few"
        try:
            found[name] = receiver.accept([points(run, 1 if run == known else 0, 1) for run in runs])
        except StorageError as error:
            found[name] = error

    waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock'"
    threads = []
    with psycopg.connect(cluster.postgres.url) as holder:
        holder.execute("select from naiad.received where run = %s for update", [number])
        for count, runs in enumerate(((known, new), (known, new, *others)), 1):
            threads.append(threading.Thread(target=take, args=(replicas[count - 1], *runs)))
            threads[-1].start()
            wait_for(lambda count=count: cluster.ask(waiting) == [(count,)], "the wait for a file")  # type: ignore[misc]
    for each in threads:
        each.join(60)

    assert {(known, SEG): 128, (new, SEG): 96} == {key: file.upto for key, file in found["few"].files.items()}
    assert {96, 128} == {file.upto for file in found["many"].files.values()}
    assert [2, 1] == [rows(cluster, run) for run in (known, new)]


def test_edit_of_a_run_that_was_deleted_is_refused_and_leaves_nothing(
    cluster: Cluster, opened: list[tuple[PostgresStore, Receiver]]
) -> None:
    """Its rows would stay for ever, since nothing else is left of the run."""
    [(store, first), (_, second)] = opened
    run = registered(first)
    numbered(cluster, run)
    first.accept([begun(run)])
    writer = store.writer(run)
    delete(second, run)
    with pytest.raises(RunNotFound):
        writer.write([Change("lr", "float", (Assign("lr", "float", 0.5),))])

    assert [0, 0, 0] == [rows(cluster, run, table) for table in ("inbox", "received", "due")]


def test_read_whose_fold_waits_for_a_lock_is_refused_in_the_time_of_a_statement(
    cluster: Cluster, opened: list[tuple[PostgresStore, Receiver]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker may wait longer; a reader has somebody who waits for it."""
    [(store, receiver), _] = opened
    monkeypatch.setattr(postgres_store, "STATEMENT_SECONDS", 0.2)
    run = registered(receiver)
    number = numbered(cluster, run)
    # Of other tests: those that were set aside never fold.
    hurry = "update naiad.due set at = now() where waiting > 0 and at < 'infinity' and run <> %s returning run"
    wait_for(lambda: not cluster.ask(hurry, number), "the folds of others")
    receiver.accept([begun(run)])
    with psycopg.connect(cluster.postgres.url) as worker:
        worker.execute("select pg_advisory_xact_lock(%s, %s)", [RUN_LOCKS, number])
        reading = ThreadPoolExecutor(1).submit(store.catalog().summaries, "races")
        wait_for(reading.done, "the refusal", 8)
        with pytest.raises(StorageError, match="lock timeout"):
            reading.result()
    assert run.uid in {row.run.uid for row in store.catalog().summaries("races")}


def begun(run: RunId) -> Piece:
    """The first frame of a writer, which defines its series."""
    ops: list[Any] = [Open("writer", 1, "host", "b", 1, "owner", 1.0), Define(1, "loss", False, 1.0)]
    return Receiver.checked(run, OPS, 16, encode_frame(0, encode_ops(ops)))


def test_statement_that_an_operator_limits_in_time_is_refused_and_its_bytes_come_again(
    cluster: Cluster, replicas: tuple[Receiver, Receiver]
) -> None:
    """The database ends statements that wait too long; the client gets 503, and what it sends again is stored once."""
    uid, other = new_uid(), new_uid()
    for each in (uid, other):
        cluster.register(each, "limited")
    body = bytes(32 * 10)
    parts = {each: [[each, SEG, 64, 0, zlib.crc32(body), body]] for each in (uid, other)}
    with limited(cluster, "200ms"):
        with psycopg.connect(cluster.postgres.url) as operator:
            operator.execute("set statement_timeout = 0")
            operator.execute("lock table naiad.inbox in access exclusive mode")
            assert 503 == cluster.journal(parts=parts[uid]).status
        wait_for(lambda: cluster.journal(parts=parts[other]).status == 200, "the bytes of another run")
    # A connection that `limited` ended may still be in use: that request is refused too, and its client sends it again.
    wait_for(lambda: cluster.journal(parts=parts[uid]).status == 200, "the bytes that were refused")
    assert 64 + 320 == cluster.journal(parts=parts[uid]).data["upto"][0][2]

    stored = "select count(*), sum(upto - start) from naiad.inbox join naiad.run on number = run where uid = any(%s)"
    assert [(2, 640)] == cluster.ask(stored, [uid, other])


@pytest.mark.slow  # up to 15 s: pytest -m slow tests/server/test_postgres_races.py
def test_read_that_takes_too_long_is_refused_with_a_reason_and_holds_no_connection(cluster: Cluster) -> None:
    cluster.register(new_uid(), "slow")
    with psycopg.connect(cluster.postgres.url) as operator:
        operator.execute("lock table naiad_catalog.container in access exclusive mode")
        refused = cluster.send("GET", "/api/v1/table?project=slow")
        busy = "select count(*) from pg_stat_activity where wait_event_type = 'Lock'"
        left = cluster.ask(busy)
    again = cluster.send("GET", "/api/v1/table?project=slow")

    assert (503, [(0,)], 200) == (refused.status, left, again.status)
    assert "timeout" in refused.body.decode()


@contextlib.contextmanager
def limited(cluster: Cluster, limit: str) -> Iterator[None]:
    """Let no statement of the replicas take longer, as their operator may decide."""
    with psycopg.connect(cluster.postgres.url, autocommit=True) as connection:

        def set_all(change: str) -> None:
            connection.execute(f"alter database {connection.info.dbname} {change}")  # type: ignore[arg-type]
            # The setting is that of new connections.
            others = "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid()"
            connection.execute(f"{others} and datname = current_database()")  # type: ignore[arg-type]

        set_all(f"set statement_timeout = '{limit}'")
        try:
            yield
        finally:
            set_all("reset statement_timeout")


def test_long_fold_of_a_reader_is_not_lost_for_a_lock_that_is_held_a_moment(
    cluster: Cluster, opened: list[tuple[PostgresStore, Receiver]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each reader would do the work anew, and no worker while one of them does."""
    receiver = opened[0][1]
    monkeypatch.setattr(folding, "LAST_SECONDS", 60.0)  # of a busy machine
    run = registered(receiver)
    number = numbered(cluster, run)
    receiver.accept([begun(run)])
    waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and query like '%%xact_lock(%%'"
    with psycopg.connect(cluster.postgres.url) as other:
        other.execute("select pg_advisory_xact_lock(%s)", [CATALOG_LOCK])
        reading = ThreadPoolExecutor(1).submit(receiver._folder.fold, number, until=clock.monotonic())
        wait_for(lambda: reading.done() or cluster.ask(waiting) != [(0,)], "the wait for the catalog")

    assert "" == reading.result(60)
    assert 0 == rows(cluster, run)
