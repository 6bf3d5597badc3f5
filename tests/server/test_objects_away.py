"""A store of objects that takes connections and never answers: bytes, folds and archives of a server over a database.

Each test has a database without workers of its own, beside that of the shared server.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import os
import struct
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import psycopg
import pytest
from postgres_server import Cluster, Listener, Replica, wait_for
from server_client import run_apart
from sqlalchemy.engine import Engine

from naiad.container_kinds import RUN, RunId
from naiad.errors import StorageError
from naiad.ids import new_uid
from naiad.ops import Define, End, Op, Open, encode_ops
from naiad.storage.local.journal.frames import encode_frame
from naiad.storage.opening import database
from naiad.storage.postgres import objects as postgres_objects
from naiad.storage.postgres import statistics
from naiad.storage.postgres.connection import open_database, transaction
from naiad.storage.postgres.folding import Folder
from naiad.storage.postgres.objects import Objects
from naiad.storage.postgres.receiver import OBJECT_BYTES, Receiver
from naiad.storage.receiving import Piece, Sealing
from naiad_server.database import Database
from naiad_server.folding import Folding
from naiad_server.intake import Intake
from naiad_server.metrics import Metrics
from naiad_server.quotas import Quotas
from naiad_server.server import LISTINGS, Server
from naiad_server.workers import DATABASE, OBJECTS, PROGRAM, _archive_rows

RECORD = 32


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[Listener]:
    """An address that takes connections and never answers, as that of the objects of this process, which waits less."""
    for name, seconds in {"BRIEF_SECONDS": 1.0, "READ_SECONDS": 1.0, "SLOW_SECONDS": 0.5}.items():
        monkeypatch.setattr(postgres_objects, name, seconds)
    with Listener() as found:
        for name, value in found.environment.items():
            monkeypatch.setenv(name, value)
        yield found


@pytest.fixture
def url(cluster: Cluster) -> Iterator[str]:
    """A database beside that of the server, which no worker looks at."""
    name = f"away_{new_uid().replace('-', '_').lower()}"
    with psycopg.connect(cluster.postgres.url, autocommit=True) as connection:
        connection.execute(f"create database {name}")  # type: ignore[call-overload]  # a name made here
    yield cluster.postgres.url.rpartition("/")[0] + f"/{name}"
    with psycopg.connect(cluster.postgres.url, autocommit=True) as connection:
        connection.execute(f"drop database {name} with (force)")  # type: ignore[call-overload]  # a name made here


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    found = open_database(url)
    yield found
    found.dispose()


def opened(url: str, objects: str) -> Receiver:
    """The receiving end of the database, with its tables."""
    _store, receiver = database(url, objects)
    assert isinstance(receiver, Receiver)
    receiver.migrate()
    return receiver


@pytest.fixture
def receiver(url: str, silent: Listener) -> Iterator[Receiver]:
    found = opened(url, silent.url)
    yield found
    found.close()


def ask(engine: Engine, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
    with transaction(engine) as raw:
        cursor = raw.execute(statement, parameters)
        return cursor.fetchall() if cursor.description else []


class Journal:
    """One writer of a run, whose bytes a test gives to a receiver."""

    def __init__(self, receiver: Receiver) -> None:
        self.receiver = receiver
        self.run = RunId(new_uid(), RUN)
        self.writer = new_uid()
        self._at = {"seg": 64, "ops": 16}
        self._frames = 0
        receiver.register(self.run, "away")

    def ops(self, *ops: Op) -> Piece:
        """A frame of ops."""
        data = encode_frame(self._frames, encode_ops(ops))
        self._frames += 1
        return self._piece("ops", data)

    def begin(self) -> Piece:
        """The frame that opens the writer, and defines one series."""
        return self.ops(Open(self.writer, 1, "host", "boot", 1, "owner", 1.0), Define(1, "loss", False, 1.0))

    def points(self, count: int) -> Piece:
        """Points of the series, with the numbers of their records as steps and values."""
        first = (self._at["seg"] - 64) // RECORD
        packed = [
            struct.pack("<qddII", each, float(each), 1.0, 1, 64 + RECORD * each) for each in range(first, first + count)
        ]
        return self._piece("seg", b"".join(packed))

    def _piece(self, suffix: str, data: bytes) -> Piece:
        start = self._at[suffix]
        self._at[suffix] += len(data)
        return Receiver.checked(self.run, f"{self.writer}.0.{suffix}", start, data)

    def accept(self, *pieces: Piece, sealings: Sequence[Sealing] = ()) -> int:
        """Let the receiver take pieces; return how many parts it took."""
        return self.receiver.accept(pieces, sealings, {(self.run, self.writer): True}).parts


def test_bytes_of_many_points_are_kept_in_the_database_while_the_objects_never_answer(
    receiver: Receiver, engine: Engine, silent: Listener
) -> None:
    """The store is tried for seconds at most, and left alone after the second time."""
    journal = Journal(receiver)
    taken = [journal.accept(journal.points(OBJECT_BYTES // RECORD)) for _ in range(4)]

    assert [1] * 4 == taken
    assert [(4, 4 * OBJECT_BYTES)] == ask(engine, "select count(*), sum(octet_length(data)) from naiad.inbox")
    assert postgres_objects.MOST_UNANSWERED == silent.count
    metrics = Metrics()
    for _ in range(2):  # the count grows by what is new
        metrics.note(receiver.usage())
    assert {"naiad_object_errors_total 4.0", "naiad_database_connections 0.0"} <= set(
        metrics.text().decode().split("\n")
    )


def test_store_of_objects_that_answered_again_is_used_again(
    receiver: Receiver, engine: Engine, silent: Listener, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_objects, "REST_SECONDS", 0.0)
    journal = Journal(receiver)
    for _ in range(2):
        journal.accept(journal.points(OBJECT_BYTES // RECORD))
    silent.forward(cluster.objects.port)
    journal.accept(journal.points(OBJECT_BYTES // RECORD))

    assert [(True,), (True,), (False,)] == ask(engine, "select object is null from naiad.inbox order by start")


def test_small_request_is_committed_while_a_large_one_waits_for_the_objects(
    receiver: Receiver, silent: Listener
) -> None:
    large, small = Journal(receiver), Journal(receiver)
    metrics = Metrics()
    intake = Intake(receiver, Folding("", metrics), metrics)

    async def both() -> tuple[int, bool, int]:
        intake.begin()
        waiting = asyncio.create_task(intake.accept([large.points(OBJECT_BYTES // RECORD)], [], {}))
        await asyncio.to_thread(silent.connected.wait, 60)
        first = await intake.accept([small.points(10)], [], {})
        was_waiting = not waiting.done()
        second = await waiting
        await intake.end()
        return first.parts, was_waiting, second.parts

    assert (1, True, 1) == run_apart(both())


def test_text_of_the_s3_client_is_in_the_log_and_not_in_the_warning_of_a_program(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing listens at the address."""
    for name, value in {"ENDPOINT_URL": "http://127.0.0.1:9", "ACCESS_KEY_ID": "k", "SECRET_ACCESS_KEY": "s"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    objects = Objects("s3://gone/naiad")

    for _ in range(2):
        with pytest.raises(StorageError) as caught:
            objects.put("blobs/x", b"x")

        assert "The objects in s3://gone/naiad cannot be used now. The log of the server has the reason." == str(
            caught.value
        )
    [line] = [record.getMessage() for record in caplog.records if record.name == "naiad_server"]
    assert "127.0.0.1:9" in line


def test_readers_of_objects_that_never_answer_are_refused_at_once_after_two(
    silent: Listener,
) -> None:
    """Each of them would hold a thread of its replica for the limit of time."""
    objects, tries = Objects(silent.url), []
    for _ in range(4):
        with pytest.raises(StorageError, match="cannot be used now"):
            objects.get("runs/uid/a.pack", 0, 10)
        tries.append(silent.count)

    assert tries[0] < tries[1] == tries[2] == tries[3]


def folded(folder: Folder, engine: Engine, journal: Journal) -> str:
    [(number,)] = ask(engine, "select number from naiad.run where uid = %s", journal.run.uid)
    return folder.fold(number)


def due_rows(engine: Engine, journal: Journal) -> list[tuple[Any, ...]]:
    return ask(engine, "select octet_length(i.data) from naiad.inbox i join naiad.run on number = run where uid = %s",
               journal.run.uid)  # fmt: skip


def end(journal: Journal) -> None:
    """Let the writer end, with all its files sealed."""
    journal.accept(journal.ops(End("finished", 2.0)))
    seal(journal)


def seal(journal: Journal) -> None:
    """Seal all files of a writer that has ended, of which every byte has come."""
    whole = {"seg": journal._at["seg"], "ops": journal._at["ops"]}
    received = journal.receiver.received(journal.run)
    sealings = []
    with transaction(journal.receiver._engine) as raw:
        for suffix, upto in whole.items():
            name = f"{journal.writer}.0.{suffix}"
            if name in received:
                row = raw.execute("select crc from naiad.received where file = %s", [name]).fetchone()
                assert row is not None
                sealings.append(Sealing(journal.run, name, upto, row[0]))
    journal.receiver.accept([], sealings, {(journal.run, journal.writer): False})


ARCHIVED = """
update naiad.run_chunk set data = null, pyramid = null, object = 'runs/none', place = 0, length = 100,
    pyramid_place = 0, pyramid_length = 0
"""


def scattered(folder: Folder, engine: Engine, journal: Journal, rows: int = 16) -> None:
    """A series in so many chunks, which is to be merged when the run is over."""
    journal.accept(journal.begin())
    for _ in range(rows):
        journal.accept(journal.points(600))
        assert "" == folded(folder, engine, journal)


def test_run_is_folded_while_its_rows_cannot_be_merged_since_the_objects_never_answer(
    receiver: Receiver, engine: Engine, silent: Listener
) -> None:
    """The merge is tried again later, though nothing new comes."""
    folder, journal = Folder(engine, Objects(silent.url)), Journal(receiver)
    scattered(folder, engine, journal)
    ask(engine, ARCHIVED)
    end(journal)
    assert "" == folded(folder, engine, journal)

    assert [] == due_rows(engine, journal)
    assert silent.connected.is_set()
    assert [(True,)] == ask(engine, "select at between now() and now() + interval '1 hour' from naiad.due")


def test_run_is_folded_while_its_rows_cannot_be_merged_since_one_has_no_content(
    receiver: Receiver, engine: Engine, silent: Listener
) -> None:
    """As SQLite reports of a folder whose rows have other types; a worker would end with the error."""
    folder, journal = Folder(engine, Objects(silent.url)), Journal(receiver)
    scattered(folder, engine, journal)
    ask(engine, ARCHIVED.replace("100", "0"))
    end(journal)

    assert "" == folded(folder, engine, journal)
    assert [] == due_rows(engine, journal)


def test_run_whose_fold_waits_for_a_lock_too_long_delays_no_other(
    receiver: Receiver, engine: Engine, silent: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("naiad.storage.postgres.folding.LOCK_SECONDS", 0.2)
    folder, journal, other = Folder(engine, Objects(silent.url)), Journal(receiver), Journal(receiver)
    for each in (journal, other):
        each.accept(each.begin(), each.points(10))
    with transaction(engine) as raw:
        raw.execute("select from naiad.run where uid = %s for update", [journal.run.uid])
        problem = folded(folder, engine, journal)
        assert "" == folded(folder, engine, other)

    assert "lock timeout" in problem
    assert [] == due_rows(engine, other)
    waits = "select at > now(), failures from naiad.due join naiad.run on number = run where uid = %s"
    assert [(True, 0)] == ask(engine, waits, journal.run.uid)


def test_worker_folds_while_its_archive_waits_for_the_objects(
    receiver: Receiver, engine: Engine, silent: Listener, url: str
) -> None:
    folder, journal, other = Folder(engine, Objects(silent.url)), Journal(receiver), Journal(receiver)
    scattered(folder, engine, journal, rows=2)
    ask(engine, "update naiad.run set archived_at = now()")
    ask(engine, "update naiad.due set at = 'infinity'")
    place = {DATABASE: url, OBJECTS: silent.url}
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(path=sys.path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, **place},
    ) as worker:  # fmt: skip
        assert silent.connected.wait(60)
        other.accept(other.begin(), other.points(10))
        ask(engine, "update naiad.due set at = now() where at < 'infinity'")
        wait_for(lambda: due_rows(engine, other) == [], "the fold")
        worker.kill()  # its end would wait for the archive

    assert [(True,)] == ask(engine, "select bool_and(data is not null) from naiad.run_chunk")


def test_archive_that_fails_for_one_run_moves_others(
    receiver: Receiver, engine: Engine, cluster: Cluster, tmp_path: Path, silent: Listener
) -> None:
    folder = Folder(engine, Objects(tmp_path.as_uri()))
    journals = [Journal(receiver) for _ in range(2)]
    for each in journals:
        scattered(folder, engine, each, rows=1)
        ask(engine, "update naiad.run set archived_at = now() - interval '1 minute' where uid = %s", each.run.uid)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / journals[0].run.uid).touch()  # a file in the place of its folder
    with pytest.raises(StorageError):
        folder.archive()
    while folder.archive():
        pass

    chunks = "naiad.run_chunk c join naiad.run r on r.number = c.run"
    left = f"select count(*) from {chunks} where uid = %s and data is not null"
    assert [[(1,)], [(0,)]] == [ask(engine, left, each.run.uid) for each in journals]


def test_rows_are_archived_while_statistics_wait_for_a_lock_too_long(
    receiver: Receiver,
    engine: Engine,
    url: str,
    tmp_path: Path,
    silent: Listener,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As beside a long `vacuum`, in a database whose operator limits waits for locks."""
    monkeypatch.setattr(statistics, "LEAST_ROWS", 0)
    folder = Folder(engine, Objects(tmp_path.as_uri()))
    scattered(folder, engine, Journal(receiver), rows=1)
    ask(engine, "update naiad.run set archived_at = now() - interval '1 minute'")
    ask(engine, f"alter database {url.rpartition('/')[2]} set lock_timeout = '100ms'")
    engine.dispose()  # new connections have it
    looks = itertools.count()

    def is_over() -> bool:
        """Return whether all rows were moved, or the archive has looked for very long."""
        return ask(engine, "select true from naiad.run_chunk where data is not null") == [] or next(looks) > 60

    with transaction(engine) as raw:
        for table in ("container", "cell", "field", "tag"):
            raw.execute(f"lock table naiad_catalog.{table} in share update exclusive mode")
        _archive_rows(folder, is_over)

    assert [(0, 1)] == ask(engine, "select count(data), count(object) from naiad.run_chunk")
    assert "Statistics of the catalog could not be made" in caplog.text


def test_content_of_projects_with_a_quota_is_refused_soon_while_the_objects_never_answer(
    cluster: Cluster, tmp_path: Path
) -> None:
    """Forty threads serve all requests of a replica: more than so many programs send content at once."""
    cluster.command("quota", "set", "content-bytes", "1000", "--project", "silent")
    with Listener() as silent:
        place = {**silent.environment, "NAIAD_SERVER_PRESIGNED": "1"}
        replica = Replica(cluster.postgres.url, silent.url, place, tmp_path).start("--role", "web")

        def put(data: bytes) -> tuple[int, str]:
            name = hashlib.sha256(data).hexdigest()
            headers = {"Authorization": f"Bearer {cluster.token}", "Content-Type": "application/octet-stream"}
            asked = urllib.request.Request(
                f"{replica.url}/api/v1/blobs/{name}?project=silent", data, headers, method="PUT"
            )
            try:
                with urllib.request.urlopen(asked, timeout=60) as answer:
                    return answer.status, ""
            except urllib.error.HTTPError as error:
                error.close()  # it has the connection
                return error.code, error.headers.get("Retry-After", "")

        try:
            wait_for(lambda: put(bytes(2000))[0] == 429, "the quota")
            before = silent.count
            with ThreadPoolExecutor(60) as pool:
                found = set(pool.map(put, [b"content %d" % number for number in range(60)]))
        finally:
            replica.stop()

    assert {(503, "1")} == found
    assert 1 <= silent.count - before <= LISTINGS + postgres_objects.MOST_UNANSWERED


def test_quotas_are_counted_while_the_claims_of_uploads_are_listed(
    url: str, silent: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The look at revoked tokens waits for that count."""
    monkeypatch.setenv("NAIAD_SERVER_PRESIGNED", "1")
    receiver, place, metrics = opened(url, silent.url), Database(url, silent.url, "web"), Metrics()
    place.migrate()
    tokens, worker = place.tokens(), place.worker(metrics)
    quotas, parts = Quotas(tokens.engine, is_made=True), cast("Any", None)  # of who may do what nothing is asked here
    server = Server(
        place.open()[0], receiver, tokens, metrics, Intake(receiver, worker, metrics), worker, parts, parts, quotas
    )
    quotas.set("silent", "content-bytes", 1000)

    async def counted() -> bool:
        asked = asyncio.create_task(server.claimed("silent"))
        await asyncio.to_thread(silent.connected.wait, 60)
        await asyncio.to_thread(server.look)
        was_waiting = not asked.done()
        with pytest.raises(StorageError, match="cannot be used now"):
            await asked
        return was_waiting

    with ThreadPoolExecutor(1) as thread:
        was_waiting = thread.submit(asyncio.run, counted()).result()
    tokens.engine.dispose()
    receiver.close()

    assert was_waiting
