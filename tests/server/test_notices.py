"""Notices of PostgreSQL: replicas learn of the bytes that others take, and workers of the runs that are due."""

from __future__ import annotations

import http.client
import json
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from places import OPTIONS
from postgres_server import Cluster, Replica, wait_for

from naiad.container_kinds import RUN, RunId
from naiad.errors import StorageError
from naiad.ids import new_uid
from naiad.ops import Assign, Define, End, Open, encode_ops
from naiad.storage.base import Change
from naiad.storage.local.journal.frames import encode_frame
from naiad.storage.postgres import notices
from naiad.storage.postgres.folding import Folder
from naiad.storage.postgres.notices import Listener
from naiad.storage.postgres.receiver import Receiver
from naiad.storage.postgres.store import PostgresStore
from naiad.storage.receiving import Sealing

Opened = list[tuple[PostgresStore, Receiver]]
OPS = "writer.0.ops"
LISTENERS = "select pid from pg_stat_activity where application_name = 'naiad notices'"


def begun(receiver: Receiver, project: str = "notices") -> RunId:
    """A run with a writer and a series."""
    run = RunId(new_uid(), RUN)
    receiver.register(run, project)
    return run


def frame(run: RunId, start: int, number: int, *ops: Any) -> Any:
    return Receiver.checked(run, OPS, start, encode_frame(number, encode_ops([*ops])))


def first(run: RunId) -> Any:
    return frame(run, 16, 0, Open("writer", 1, "host", "b", 1, "owner", 1.0), Define(1, "loss", False, 1.0))


def end(receiver: Receiver, run: RunId) -> None:
    """Let the only writer of a run end, of which `first` is there."""
    began = first(run).data
    piece = frame(run, 16 + len(began), 1, End("finished", 2.0))
    sealing = Sealing(run, OPS, 16 + len(began + piece.data), zlib.crc32(began + piece.data))
    receiver.accept([piece], [sealing], {(run, "writer"): False})


def listening(listener: Listener) -> Listener:
    """The listener, connected, once nothing is announced any more: other tests have left runs that are folded."""
    assert listener.wait(30)
    wait_for(lambda: not listener.wait(1.5), "silence")
    return listener


@pytest.fixture
def changes(opened: Opened) -> Iterator[Listener]:
    """What the second replica hears."""
    listener = opened[1][0].listener()
    yield listening(listener)
    listener.close()


def test_bytes_that_one_replica_takes_are_announced_to_another(opened: Opened, changes: Listener) -> None:
    receiver = opened[0][1]
    run = begun(receiver)
    receiver.accept([first(run)])

    assert changes.wait(30)


def test_change_whose_notice_was_left_out_soon_after_another_one_is_heard(opened: Opened, changes: Listener) -> None:
    """A busy replica sends few notices, and each stands for what comes right after it too."""
    receiver = opened[0][1]
    run = begun(receiver)
    piece = first(run)
    receiver.accept([piece])
    receiver.accept([frame(run, 16 + len(piece.data), 1, Assign("lr", "float", 0.5, 2.0))])
    assert changes.wait(30)

    assert changes.wait(30)


def test_edit_and_deletion_are_announced(opened: Opened, changes: Listener) -> None:
    [(store, receiver), _] = opened
    run = begun(receiver)
    receiver.accept([first(run)])
    end(receiver, run)
    wait_for(lambda: not changes.wait(1.5), "silence")
    store.writer(run).write([Change("lr", "float", (Assign("lr", "float", 0.5),))])
    assert changes.wait(30)
    wait_for(lambda: not changes.wait(1.5), "silence")
    store.delete([(run.uid, run)])

    assert changes.wait(30)


def test_worker_is_told_of_a_run_that_ends_and_knows_when_others_are_due(opened: Opened, cluster: Cluster) -> None:
    receiver = opened[0][1]
    folder = Folder(receiver._engine, receiver._objects)
    listener = listening(folder.listener())
    try:
        run = begun(receiver)
        receiver.accept([first(run)])
        [(number,)] = cluster.ask("select number from naiad.run where uid = %s", run.uid)
        cluster.ask("update naiad.due set at = now() + interval '1 hour' where run = %s", number)
        due, seconds = folder.due()
        assert all(number not in each for each in due)
        assert seconds <= 3_600
        assert not listener.wait(0.1)
        end(receiver, run)

        assert listener.wait(30)
    finally:
        listener.close()


def test_lost_connection_is_an_error_once_and_opened_again(
    changes: Listener, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was announced meanwhile may be missing, so the new connection counts as a notice."""
    monkeypatch.setattr(notices, "RETRY_SECONDS", 0.0)
    cut_off(cluster)
    with pytest.raises(StorageError):
        changes.wait(30)

    assert changes.wait(0)


def test_pooler_that_loses_notices_is_noticed(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through one that shares connections LISTEN seems to work, and nothing is ever heard."""
    monkeypatch.setattr(notices, "ECHO_SECONDS", 0.1)
    monkeypatch.setattr(notices, "SEND", "select 1 where %s::text[] is not null")  # as it would be lost there
    listener = opened[0][0].listener()
    with pytest.raises(StorageError, match="pooler"):
        listener.wait(30)
    with pytest.raises(StorageError, match="announces no changes"):  # it is not tried at each call
        listener.wait(30)


def cut_off(cluster: Cluster) -> None:
    cluster.ask(f"select pg_terminate_backend(pid) from ({LISTENERS}) listener")


class Stream:
    """An event stream of one replica."""

    def __init__(self, replica: Replica, token: str, project: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", replica.port, timeout=60)
        headers = {"Authorization": f"Bearer {token}"}
        self._connection.request("GET", f"/api/v1/events?project={project}", headers=headers)
        self._answer = self._connection.getresponse()
        assert 200 == self._answer.status

    def until(self, kind: str, uid: str = "") -> Any:
        """The next event of a kind, about a run."""
        found = ""
        while line := self._answer.readline().decode():
            name, _, value = line.rstrip("\n").partition(": ")
            found = value if name == "event" else found
            if name == "data" and found == kind and uid in value:
                return json.loads(value)
        raise AssertionError("the stream has ended")

    def close(self) -> None:
        self._connection.close()


def test_page_of_one_replica_shows_what_another_takes_also_after_lost_connections(cluster: Cluster) -> None:
    stream = Stream(cluster.replicas[1], cluster.token, "told")
    try:
        stream.until("hello")
        for _ in range(2):
            uid = new_uid()
            cluster.register(uid, "told")
            data = first(RunId(uid, RUN)).data
            cluster.journal(parts=[[uid, OPS, 16, 0, zlib.crc32(data), data]])
            assert [uid] == [each["uid"] for each in stream.until("runs", uid)["changed"]]
            cut_off(cluster)
        wait_for(lambda: len(cluster.ask(LISTENERS)) >= 3, "new connections of two workers and of a replica")
        cluster.replicas[1].stop()  # with the page open
        assert "Traceback" not in cluster.replicas[1].log.read_text()
    finally:
        stream.close()
        cluster.replicas[1].stop()
        cluster.replicas[1].start("--url", cluster.url, *OPTIONS)


def test_replica_listens_no_longer_than_a_page_is_open(cluster: Cluster) -> None:
    """Notices that nobody reads would fill the connection, and after it the queue of the database."""
    wait_for(lambda: len(cluster.ask(LISTENERS)) >= 2, "the connections of both workers")
    others = {pid for (pid,) in cluster.ask(LISTENERS)}
    stream = Stream(cluster.replicas[0], cluster.token, "closed")
    try:
        stream.until("hello")
        wait_for(lambda: {pid for (pid,) in cluster.ask(LISTENERS)} - others, "the connection of the page")
    finally:
        stream.close()

    wait_for(lambda: not {pid for (pid,) in cluster.ask(LISTENERS)} - others, "its end")
