"""A database that is locked, crowded or full: requests wait or are refused, and each is stored once."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from cluster_client import ask, points, sent, status, stored_bytes
from disks import mounted, remount
from postgres_server import Cluster, wait_for

from naiad.ids import new_uid

pytestmark = pytest.mark.usefixtures("cluster_token")


@pytest.fixture
def cluster(own_cluster: Cluster) -> Cluster:
    return own_cluster


def test_token_that_has_to_be_looked_up_keeps_no_other_request_waiting(cluster: Cluster) -> None:
    """Also by the routes of the pages: a database that does not answer must not stop `/healthz`."""
    [replica, _other] = cluster.replicas
    found: list[int] = []
    asked = urllib.request.Request(
        f"{replica.url}/api/v1/projects", headers={"Authorization": f"Bearer naiad_bbbbbbbb_{'b' * 43}"}
    )
    thread = threading.Thread(target=lambda: found.append(status(asked)))
    with psycopg.connect(cluster.postgres.url) as connection:
        connection.execute("lock table public.token in access exclusive mode")
        thread.start()
        waiting = "select count(*) from pg_locks where not granted"
        wait_for(lambda: cluster.ask(waiting) == [(1,)], "the question")
        assert 200 == status(f"{replica.url}/healthz")
        assert [] == found
    thread.join(60)

    assert [401] == found


def test_requests_wait_for_a_locked_table_and_are_stored_once(cluster: Cluster) -> None:
    """As an operator's command may lock it; programs notice nothing but a slow answer."""
    uid = new_uid()
    ask(cluster, "/api/v1/runs", {"uid": uid, "kind": "run", "project": "locked", "created": 1.0})
    answers: list[Any] = []
    with psycopg.connect(cluster.postgres.url) as connection:
        connection.execute("lock table naiad.inbox, naiad.received in access exclusive mode")
        threads = [
            threading.Thread(
                target=lambda at=at: answers.append(ask(cluster, "/api/v1/journal", points(uid, at), at % 2))
            )
            for at in range(8)
        ]
        for each in threads:
            each.start()
        time.sleep(2)
        assert [] == answers
    for each in threads:
        each.join(60)

    assert 8 == len(answers)
    stored = "select count(*), sum(upto - start) from naiad.inbox join naiad.run on number = run where uid = %s"
    assert [(8, 8 * 3_200)] == cluster.ask(stored, uid)


def test_database_without_a_free_connection_refuses_for_a_while_and_loses_nothing(cluster: Cluster) -> None:
    uid = new_uid()
    ask(cluster, "/api/v1/runs", {"uid": uid, "kind": "run", "project": "crowded", "created": 1.0})

    def send(writer: int) -> None:
        while True:
            try:
                ask(cluster, "/api/v1/journal", points(uid, writer), writer % 2)
                return
            except urllib.error.HTTPError as error:
                error.close()  # it has the connection
                if error.code != 503:
                    raise
                time.sleep(0.2)

    threads = [threading.Thread(target=send, args=(writer,)) for writer in range(20)]
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(psycopg.OperationalError):
            while True:
                stack.enter_context(contextlib.closing(psycopg.connect(cluster.postgres.url)))
        for each in threads:
            each.start()
        time.sleep(1)
    for each in threads:
        each.join(60)

    stored = "select count(*), sum(upto - start) from naiad.inbox join naiad.run on number = run where uid = %s"
    assert [(20, 20 * 3_200)] == cluster.ask(stored, uid)


@pytest.fixture
def small_disk(cluster: Cluster) -> Iterator[Path]:
    """A disk of 2 MiB, with the inbox of the database on it, which is empty at first."""
    place = Path(tempfile.mkdtemp(prefix="naiad-small-"))  # as of the database, not below the folder of the test
    with mounted(place, "2m"), psycopg.connect(cluster.postgres.url, autocommit=True) as connection:
        if cluster.postgres.as_user:
            shutil.chown(place, cluster.postgres.user)
        connection.execute(f"create tablespace small location '{place}'")  # type: ignore[arg-type]  # a test's own
        cluster.empty()  # rows that other tests have left would fill it
        try:
            move_inbox(connection, "small")
            yield place
        finally:
            move_inbox(connection, "pg_default")
            connection.execute("drop tablespace small")
    place.rmdir()


def move_inbox(connection: psycopg.Connection[Any], tablespace: str) -> None:
    for number in range(16):
        connection.execute(f"alter table naiad.inbox_{number} set tablespace {tablespace}")  # type: ignore[arg-type]


def test_full_disk_of_the_database_refuses_and_loses_nothing(cluster: Cluster, small_disk: Path) -> None:
    """What was confirmed is there, what was refused is not; runs are read meanwhile, and all of it is taken later."""
    uid = new_uid()
    ask(cluster, "/api/v1/runs", {"uid": uid, "kind": "run", "project": "full", "created": 1.0})
    codes = [sent(cluster, points(uid, writer, 10_000), writer % 2) for writer in range(12)]
    assert {200, 503} == set(codes)
    confirmed = {f"writer{writer}.0.seg" for writer, code in enumerate(codes) if code == 200}
    assert confirmed == set(stored_bytes(cluster, uid))
    assert uid == ask(cluster, f"/api/v1/containers/{uid}")["uid"]
    remount(small_disk, "size=32m")
    for writer in range(12):
        ask(cluster, "/api/v1/journal", points(uid, writer, 10_000), writer % 2)

    assert {f"writer{each}.0.seg": 320_000 for each in range(12)} == stored_bytes(cluster, uid)
    rows = "select sum(upto - start) from naiad.inbox join naiad.run on number = run where uid = %s"
    assert [(12 * 320_000,)] == cluster.ask(rows, uid)


def test_request_that_the_database_ends_as_a_deadlock_is_refused_and_stored_once_later(cluster: Cluster) -> None:
    """Two commands of an operator may lock in any order; the replica locks in that of the keys, and is the victim."""
    uid = new_uid()
    ask(cluster, "/api/v1/runs", {"uid": uid, "kind": "run", "project": "deadlock", "created": 1.0})
    for writer in (0, 1):
        ask(cluster, "/api/v1/journal", points(uid, writer))
    lock = """
        select 1 from naiad.received where file = %s and run = (select number from naiad.run where uid = %s) for update
    """
    body = points(uid, 0)
    body["parts"] = [points(uid, writer, at=64 + 3_200)["parts"][0] for writer in (0, 1)]
    codes: list[int] = []
    with psycopg.connect(cluster.postgres.url) as connection:
        connection.execute("set deadlock_timeout = '60s'")  # the other one looks first, and is ended
        connection.execute(lock, ["writer1.0.seg", uid])
        thread = threading.Thread(target=lambda: codes.append(sent(cluster, body, 0)))
        thread.start()
        waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock'"
        wait_for(lambda: cluster.ask(waiting) != [(0,)], "the replica's wait for a row")
        connection.execute(lock, ["writer0.0.seg", uid])
    thread.join(60)
    assert [503] == codes
    assert {f"writer{each}.0.seg": 3_200 for each in (0, 1)} == stored_bytes(cluster, uid)
    ask(cluster, "/api/v1/journal", body, 1)
    ask(cluster, "/api/v1/journal", body, 0)

    assert {f"writer{each}.0.seg": 6_400 for each in (0, 1)} == stored_bytes(cluster, uid)
