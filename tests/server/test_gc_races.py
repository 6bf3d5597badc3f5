"""Content that is sent again while gc frees it, step by step, with objects that answer late or never."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from postgres_server import Cluster, Listener, wait_for

from naiad.errors import StorageError
from naiad.ids import new_uid
from naiad.storage.opening import database, database_upkeep
from naiad.storage.postgres import objects as postgres_objects
from naiad.storage.postgres import upkeep as upkeep_module
from naiad.storage.postgres.connection import GC_LOCK
from naiad.storage.postgres.objects import Objects, blob_name
from naiad.storage.postgres.receiver import Receiver
from naiad.storage.postgres.store import PostgresStore
from naiad.storage.receiving import Upkeep

pytestmark = pytest.mark.usefixtures("cluster_token")
Opened = list[tuple[PostgresStore, Receiver]]
UNUSED = "delete from naiad.content where sha256 = %s"
"""As after the days for which content waits for an op that refers to it."""


@pytest.fixture
def relay(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Listener]:
    """An address of the objects, of which a test can keep all requests back."""
    with Listener() as found:
        found.forward(cluster.objects.port)
        yield found


@pytest.fixture
def upkeep(cluster: Cluster, opened: Opened) -> Iterator[Upkeep]:
    """The upkeep of that database; `opened` has set the address of the objects themselves."""
    found = database_upkeep(cluster.postgres.url, cluster.objects.url)
    yield found
    found.close()


@pytest.fixture
def relayed_upkeep(
    cluster: Cluster, opened: Opened, relay: Listener, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Upkeep]:
    """The same with the objects behind the relay."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", relay.environment["AWS_ENDPOINT_URL"])
    found = database_upkeep(cluster.postgres.url, cluster.objects.url)
    yield found
    found.close()


def put(receiver: Receiver, data: bytes) -> str:
    """Send content; return the name of its object."""
    sha256 = hashlib.sha256(data).hexdigest()
    with receiver.content("races", sha256) as content:
        content.write(data)
    return blob_name(sha256)


def unused(cluster: Cluster, receiver: Receiver) -> tuple[bytes, str]:
    """Content that is there without a row, and the name of its object."""
    data = new_uid().encode()
    name = put(receiver, data)
    cluster.ask(UNUSED, name.rpartition("/")[2])
    return data, name


def collect_later(cluster: Cluster, upkeep: Upkeep, monkeypatch: pytest.MonkeyPatch) -> None:
    """Free what is free for a day, two days after all that gc has noted; content waits longer for its op."""
    monkeypatch.setattr(upkeep_module, "STORED_DAYS", 0.0)
    for _ in range(2):
        cluster.ask("update naiad.unreferenced set since = since - interval '2 days'")
        upkeep.collect(1)


def around(
    monkeypatch: pytest.MonkeyPatch, method: str, before: Callable[[], object], after: Callable[[], object]
) -> None:
    """Do something before and after the first call of a method of objects."""
    original = getattr(Objects, method)

    def wrapped(objects: Objects, *arguments: Any) -> Any:
        monkeypatch.setattr(Objects, method, original)
        before()
        found = original(objects, *arguments)
        after()
        return found

    monkeypatch.setattr(Objects, method, wrapped)


def nothing() -> None:
    """Do nothing."""


def test_content_is_taken_while_the_objects_do_not_answer_gc(
    cluster: Cluster, opened: Opened, relay: Listener, relayed_upkeep: Upkeep, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every replica would wait for the lock of gc, and all their threads with it."""
    _data, name = unused(cluster, opened[0][1])
    delete = Objects.delete

    def held(objects: Objects, names: list[str]) -> None:
        if name in names:
            with relay.held():
                delete(objects, names)
        else:
            delete(objects, names)

    monkeypatch.setattr(Objects, "delete", held)
    with ThreadPoolExecutor(1) as thread:
        freeing = thread.submit(relayed_upkeep.collect, 0)
        wait_for(lambda: relay.waits, "the request")
        put(opened[0][1], new_uid().encode())
        was_waiting = not freeing.done()
        relay.release()
        freed = [each for each, _size in freeing.result()]

    assert was_waiting
    assert name in freed
    assert not Objects(cluster.objects.url).has(name)


def test_content_is_not_taken_while_a_deletion_without_an_answer_may_be_carried_out(
    cluster: Cluster, opened: Opened, relay: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """gc gives the request up, and the store of objects carries it out later: after a row it would lose the content."""
    data, name = unused(cluster, opened[0][1])
    monkeypatch.setattr(postgres_objects, "READ_SECONDS", 1.0)
    monkeypatch.setenv("AWS_ENDPOINT_URL", relay.environment["AWS_ENDPOINT_URL"])
    upkeep = database_upkeep(cluster.postgres.url, cluster.objects.url)
    delete, there = Objects.delete, opened[0][1]._objects
    refused = []
    with relay.held():
        relay.release()
        monkeypatch.setattr(Objects, "delete", lambda objects, names: (relay._goes_on.clear(), delete(objects, names)))
        with pytest.raises(StorageError):
            upkeep.collect(0)
        monkeypatch.setattr(Objects, "delete", delete)
        for _ in range(2):
            with pytest.raises(StorageError, match="being freed"):
                put(opened[0][1], data)
            refused.append(there.has(name))
    wait_for(lambda: not there.has(name), "the deletion")
    upkeep.collect(0)  # forgets no mark that counts
    with pytest.raises(StorageError, match="being freed"):
        put(opened[0][1], data)
    cluster.ask("update naiad.unreferenced set deleting_at = deleting_at - interval '1 hour'")
    put(opened[0][1], data)
    collect_later(cluster, upkeep, monkeypatch)
    upkeep.close()

    assert [True, True] == refused
    assert data == there.get(name)


def test_gc_frees_content_while_the_objects_do_not_answer_a_replica(
    cluster: Cluster, opened: Opened, upkeep: Upkeep, relay: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replica asks for an object before it adds the row. Others would wait behind gc, which would wait for it."""
    _data, name = unused(cluster, opened[0][1])
    monkeypatch.setenv("AWS_ENDPOINT_URL", relay.environment["AWS_ENDPOINT_URL"])
    store, receiver = database(cluster.postgres.url, cluster.objects.url)
    assert isinstance(receiver, Receiver)
    around(monkeypatch, "has", relay._goes_on.clear, nothing)
    data = new_uid().encode()
    with ThreadPoolExecutor(1) as thread, relay.held():
        relay.release()
        taking = thread.submit(put, receiver, data)
        wait_for(lambda: relay.waits, "the request")
        locked = cluster.ask("select pg_try_advisory_xact_lock(%s)", GC_LOCK)
        freed = [each for each, _size in upkeep.collect(0)] if locked == [(True,)] else []
        was_waiting = not taking.done()
        relay.release()
        other = taking.result()
    store.close()
    receiver.close()

    assert [(True,)] == locked
    assert was_waiting
    assert name in freed
    assert data == Objects(cluster.objects.url).get(other)


@pytest.mark.parametrize("moment", ["before put", "after put", "before has", "after has"])
def test_gc_at_any_moment_of_a_replica_frees_nothing_that_is_acknowledged(
    cluster: Cluster, opened: Opened, upkeep: Upkeep, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    receiver = opened[0][1]
    data, name = unused(cluster, receiver)
    freed: list[str] = []

    def free() -> None:
        for _ in range(2):
            freed.extend(each for each, _size in upkeep.collect(0))

    when, _, method = moment.partition(" ")
    around(monkeypatch, method, *((free, nothing) if when == "before" else (nothing, free)))
    put(receiver, data)
    collect_later(cluster, upkeep, monkeypatch)

    assert name in freed
    sha256 = name.rpartition("/")[2]
    assert [sha256] == receiver.content_of("races", [(sha256, len(data))])
    assert data == Objects(cluster.objects.url).get(name)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_replica_at_any_moment_of_gc_acknowledges_nothing_that_is_freed(
    cluster: Cluster, opened: Opened, upkeep: Upkeep, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Content that is marked is refused, and taken the next time."""
    receiver = opened[0][1]
    data, name = unused(cluster, receiver)
    refused: list[str] = []

    def send() -> None:
        with pytest.raises(StorageError, match="being freed") as raised:
            put(receiver, data)
        refused.append(str(raised.value))

    delete = Objects.delete

    def beside(objects: Objects, names: list[str]) -> None:
        if name in names and moment == "before":
            send()
        delete(objects, names)
        if name in names and moment == "after":
            send()

    monkeypatch.setattr(Objects, "delete", beside)
    freed = [each for each, _size in upkeep.collect(0)]
    assert [] == receiver.content_of("races", [(name.rpartition("/")[2], len(data))])
    put(receiver, data)
    collect_later(cluster, upkeep, monkeypatch)

    assert len(refused) == 1
    assert name in freed
    assert data == Objects(cluster.objects.url).get(name)
