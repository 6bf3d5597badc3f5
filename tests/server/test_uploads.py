"""Large content that programs send to the object store themselves, beside a server over PostgreSQL and SeaweedFS."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import anyio.to_thread
import msgspec
import pytest
from cluster_client import ask, status
from postgres_server import Cluster, Replica, SeaweedFS, free_port, wait_for
from server_client import QUIET
from starlette.requests import Request

import naiad
from naiad.errors import NaiadValueError
from naiad.ship import presigned, shipper
from naiad.storage.opening import database, database_upkeep
from naiad.storage.postgres import multipart_uploads
from naiad.storage.postgres.multipart_uploads import MultipartUploads
from naiad.storage.postgres.objects import Objects
from naiad.storage.postgres.receiver import Receiver
from naiad.storage.postgres.sent_content import SentContent
from naiad.storage.receiving import Upload
from naiad_server.app import _life
from naiad_server.database import Database
from naiad_server.intake import Intake
from naiad_server.metrics import Metrics
from naiad_server.quotas import Quotas
from naiad_server.server import Server
from naiad_server.shipments import take_blob

MIB = 1024 * 1024
CONTENT = bytes(range(256)) * 40_000
NAME = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(scope="module")
def direct(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Replicas whose clients may reach the object store, which checks signatures."""
    folder = tmp_path_factory.mktemp("direct")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NAIAD_SERVER_PRESIGNED", "1")
        found = Cluster.start(folder, objects=SeaweedFS(folder))
    yield found
    found.stop()


@pytest.fixture
def receiver(direct: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """One more replica in this process, with parts of 1 MiB."""
    monkeypatch.setattr(multipart_uploads, "PART", MIB)
    for name, value in {**direct.objects.environment, "NAIAD_SERVER_PRESIGNED": "1"}.items():
        monkeypatch.setenv(name, value)
    store, found = database(direct.postgres.url, direct.objects.url)
    assert isinstance(found, Receiver)
    yield found
    store.close()
    found.close()


@pytest.fixture
def logging(direct: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A program with a token and a folder of its own."""
    monkeypatch.setenv("NAIAD_API_TOKEN", direct.token)
    monkeypatch.setenv("NAIAD_LOCAL_STORE", str(tmp_path / "local"))
    monkeypatch.setattr(presigned, "_unreachable", {})
    yield
    shipper.of_process.close()


def put(url: str, data: bytes) -> int:
    headers = {"Content-Type": "application/octet-stream"}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers, method="PUT"), timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()  # it has the connection
        return error.code


def next_of(receiver: Receiver, project: str, content: bytes) -> Upload:
    """Return how far content is, and begin to join it if all of it is there, as the route of the server does."""
    assert receiver.uploads is not None
    asked = project, hashlib.sha256(content).hexdigest(), len(content)
    found = receiver.uploads.next(*asked)
    if found.is_complete:
        receiver.uploads.join(*asked)
    return found


def sent(upload: Upload, content: bytes) -> int:
    for start, length, url in upload.parts:
        assert 200 == put(url, content[start : start + length])
    return len(upload.parts)


def joined(receiver: Receiver, project: str, content: bytes) -> None:
    """Wait until content is there."""
    wait_for(lambda: next_of(receiver, project, content).is_there, "the end of the upload")


def names(direct: Cluster, folder: str) -> list[str]:
    return sorted(name for name, _data in direct.objects.all() if name.startswith(f"test/{folder}/"))


def parts(direct: Cluster, project: str) -> list[str]:
    """Return the names of the objects of a project's uploads."""
    return names(direct, f"uploads/{hashlib.sha256(project.encode()).hexdigest()[:32]}")


def counted(url: str, route: str) -> int:
    """How many requests of a route a replica has answered."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=30) as answer:
        lines = answer.read().decode().splitlines()
    return sum(int(float(line.split()[-1])) for line in lines if f'requests_total{{route="{route}",' in line)


def content_of(url: str, uid: str) -> bytes:
    with naiad.init_run(store=url, with_id=uid, mode="read-only", **QUIET) as run:
        found: bytes = run["model"].fetch_content()
    return found


@pytest.mark.usefixtures("logging")
def test_large_file_of_a_program_goes_to_the_object_store_itself(direct: Cluster) -> None:
    content = b"large" * 2_000_000
    with naiad.init_run(store=direct.url, project="line", **QUIET) as run:
        run["model"].upload(naiad.types.File.from_content(content))
        run["small"].upload(naiad.types.File.from_content(b"small" * 100_000))
        run.sync(remote=True)
        uid = run._run.uid

    assert content == content_of(direct.url, uid)
    assert 1 == sum(counted(each.url, "/api/v1/blobs/{sha256}") for each in direct.replicas)
    assert [] == parts(direct, "line")
    quota = "select used from naiad.usage where project = 'line' and kind = 'content-bytes'"
    wait_for(lambda: [(10_500_000,)] == direct.ask(quota), "the count of its bytes")


@pytest.mark.usefixtures("logging")
def test_object_store_that_programs_cannot_reach_leaves_the_way_through_the_server(
    direct: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The address that an operator gives is wrong: after three failures the store is left alone for a while."""
    monkeypatch.setattr(presigned, "PAUSE_SECONDS", 0.01)
    wrong = {**direct.objects.environment, "NAIAD_SERVER_PRESIGNED": f"http://127.0.0.1:{free_port()}"}
    one = Replica(direct.postgres.url, direct.objects.url, wrong, tmp_path).start()
    try:
        with naiad.init_run(store=one.url, project="unreachable", **QUIET) as run:
            for number in range(2):
                run[f"model{number}"].upload(naiad.types.File.from_content(CONTENT + bytes([number])))
            run.sync(remote=True)
            uid = run._run.uid
        asked = counted(one.url, "/api/v1/blobs/{sha256}/upload")
        with naiad.init_run(store=one.url, with_id=uid, mode="read-only", **QUIET) as again:
            assert CONTENT + b"\x01" == again["model1"].fetch_content()
        assert 2 == counted(one.url, "/api/v1/blobs/{sha256}")
    finally:
        one.stop()

    assert presigned.MOST_FAILURES == asked
    assert [] == parts(direct, "unreachable")


def test_interrupted_upload_goes_on_with_the_parts_that_are_there(receiver: Receiver, direct: Cluster) -> None:
    content = b"again" * 700_000
    first = next_of(receiver, "again", content)
    assert 200 == put(first.parts[1].url, content[MIB : 2 * MIB])
    assert 200 == put(first.parts[2].url, content[:10])  # as of a program that was cut off, were that possible

    rest = next_of(receiver, "again", content)
    sent(rest, content)
    joined(receiver, "again", content)
    joined(receiver, "again", content)

    assert receiver.uploads is not None
    uploads, counted = receiver.uploads, list[tuple[str, int]]()
    # The content is there a moment before its parts are removed and it is counted.
    wait_for(lambda: counted.extend(uploads.joined()) or counted, "the count of the upload")
    assert [("again", len(content))] == counted
    assert [] == uploads.joined()
    assert [0, MIB, 2 * MIB, 3 * MIB] == [each.start for each in first.parts]
    assert [0, 2 * MIB, 3 * MIB] == [each.start for each in rest.parts]
    assert content == receiver.content_bytes("again", hashlib.sha256(content).hexdigest())
    assert [] == parts(direct, "again")


def test_other_content_than_that_of_the_hash_is_refused_and_never_referred_to(
    receiver: Receiver, direct: Cluster
) -> None:
    content = b"right" * 600_000
    upload = next_of(receiver, "wrong", content)
    sent(upload, content[:-1] + b"!")

    with pytest.raises(NaiadValueError, match="has the SHA-256"):
        wait_for(lambda: next_of(receiver, "wrong", content).is_there, "nothing")
    sha256 = hashlib.sha256(content).hexdigest()

    assert [] == [name for name in names(direct, "blobs") if name.endswith(sha256)]
    assert [] == parts(direct, "wrong")
    assert [] == direct.ask("select 1 from naiad.content where sha256 = %s", sha256)
    assert receiver.uploads is not None
    assert [] == receiver.uploads.joined()
    assert [0, MIB, 2 * MIB] == [each.start for each in next_of(receiver, "wrong", content).parts]
    assert not direct.objects.client().list_multipart_uploads(Bucket=direct.objects.bucket).get("Uploads")


def test_content_is_the_bytes_that_were_hashed_if_parts_change_meanwhile(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part is replaced just after it was read, by its address, which is still valid."""
    content = b"once!" * 600_000
    upload = next_of(receiver, "changed", content)
    sent(upload, content)
    read = Objects.get

    def replaced(self: Objects, name: str, start: int = 0, length: int | None = None) -> bytes:
        found = read(self, name, start, length)
        for part in upload.parts:
            if name.endswith(f"/{part.start}") and name.startswith("uploads/"):
                assert 200 == put(part.url, bytes(part.length))
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Objects, "get", replaced)
        joined(receiver, "changed", content)

    assert content == receiver.content_bytes("changed", hashlib.sha256(content).hexdigest())


def test_replica_that_ends_while_it_joins_leaves_the_parts_to_another_one(
    receiver: Receiver, direct: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = b"ended" * 600_000
    sent(next_of(receiver, "ended", content), content)
    read, is_reading = Objects.get, threading.Event()

    def slow(self: Objects, name: str, start: int = 0, length: int | None = None) -> bytes:
        is_reading.set()
        time.sleep(0.2)
        return read(self, name, start, length)

    other = database(direct.postgres.url, direct.objects.url)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Objects, "get", slow)
        next_of(other[1], "ended", content)  # type: ignore[arg-type]  # of a database
        assert is_reading.wait(30)
        assert not next_of(receiver, "ended", content).parts  # the other one joins them
        other[1].close()
    other[0].close()
    assert 3 == len(parts(direct, "ended"))  # and no claim, or this one would wait for half a minute
    joined(receiver, "ended", content)

    assert content == receiver.content_bytes("ended", hashlib.sha256(content).hexdigest())


def test_replica_that_dies_while_it_joins_holds_no_other_one_up_for_long(
    receiver: Receiver, direct: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its claim stands still."""
    content = b"died!" * 600_000
    sent(next_of(receiver, "died", content), content)
    folder = parts(direct, "died")[0].rpartition("/")[0].removeprefix("test/")
    Objects(direct.objects.url).put(f"{folder}/claim", b"")
    assert not next_of(receiver, "died", content).is_complete
    monkeypatch.setattr(multipart_uploads, "CLAIM_SECONDS", 0.0)
    joined(receiver, "died", content)

    assert content == receiver.content_bytes("died", hashlib.sha256(content).hexdigest())
    assert [] == parts(direct, "died")


def test_join_holds_no_transaction_open_and_no_other_join_up(
    direct: Cluster, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database ends transactions that idle; one upload is joined for longer than two others need."""
    contents = [bytes([number]) * (3 * MIB) for number in range(3)]
    held, is_held, goes_on = hashlib.sha256(contents[0]).hexdigest(), threading.Event(), threading.Event()
    read = Objects.get

    def slow(self: Objects, name: str, start: int = 0, length: int | None = None) -> bytes:
        if held in name:
            is_held.set()
            assert goes_on.wait(30)
        return read(self, name, start, length)

    monkeypatch.setattr(Objects, "get", slow)
    limit = "options=-c%20idle_in_transaction_session_timeout%3D200"
    one = database(f"{direct.postgres.url}{'&' if '?' in direct.postgres.url else '?'}{limit}", direct.objects.url)
    assert isinstance(one[1], Receiver)
    try:
        for content in contents:
            sent(next_of(one[1], "held", content), content)
        next_of(one[1], "held", contents[0])
        assert is_held.wait(30)
        for content in contents[1:]:
            joined(one[1], "held", content)
        time.sleep(0.5)  # longer than the limit of the database
        assert not next_of(receiver, "held", contents[0]).is_complete  # no other replica begins with it meanwhile
        goes_on.set()
        joined(one[1], "held", contents[0])
        assert contents[0] == one[1].content_bytes("held", held)
    finally:
        goes_on.set()
        one[0].close()
        one[1].close()


def test_addresses_of_one_project_give_nothing_of_another_one(receiver: Receiver, direct: Cluster) -> None:
    """Both send the same content; one has no part, name or content of the other, and none can be read by an address."""
    content = b"same!" * 600_000
    one, two = next_of(receiver, "one", content), next_of(receiver, "two", content)
    sent(one, content)
    joined(receiver, "one", content)
    sha256 = hashlib.sha256(content).hexdigest()

    assert {each.url.partition("?")[0] for each in one.parts}.isdisjoint(
        each.url.partition("?")[0] for each in two.parts
    )
    assert 3 == len(next_of(receiver, "two", content).parts)
    with pytest.raises(NaiadValueError, match="was not sent"):
        receiver.content_bytes("two", sha256)
    part = two.parts[0]
    assert 403 == put(part.url.replace("/uploads/", "/blobs/"), b"x")
    for method in ("GET", "DELETE"):
        with pytest.raises(urllib.error.HTTPError, match="403") as found:
            urllib.request.urlopen(urllib.request.Request(part.url, method=method), timeout=30)
        found.value.close()
    assert content == receiver.content_bytes("one", sha256)


def test_address_ends_after_300_seconds(receiver: Receiver, direct: Cluster) -> None:
    upload = next_of(receiver, "ends", CONTENT)
    short = Objects(direct.objects.url).link("uploads/ends/0", seconds=2, method="PUT")

    assert {"300"} == {part.url.partition("X-Amz-Expires=")[2].partition("&")[0] for part in upload.parts}
    assert 200 == put(short, b"x")
    wait_for(lambda: put(short, b"y") == 403, "its end")
    assert 200 == put(upload.parts[0].url, CONTENT[:MIB])


def test_gc_removes_parts_of_uploads_that_do_not_go_on(receiver: Receiver, direct: Cluster) -> None:
    content = b"left!" * 600_000
    sent(Upload(next_of(receiver, "left", content).parts[:2]), content)
    upkeep = database_upkeep(direct.postgres.url, direct.objects.url)
    try:
        kept = [name for name, _size in upkeep.collect() if name.startswith("uploads/")]
        would = [name for name, _size in upkeep.collect(0.0, is_dry=True) if name.startswith("uploads/")]
        still = len(names(direct, "uploads"))
        freed = [name for name, _size in upkeep.collect(0.0) if name.startswith("uploads/")]
    finally:
        upkeep.close()

    assert [] == kept
    assert freed == would
    assert 2 <= len(freed) == still
    assert [] == names(direct, "uploads")


def test_routes_need_the_project_and_the_quota(direct: Cluster) -> None:
    body = {"project": "quota", "size": 10 * MIB}
    assert 1 == len(ask(direct, f"/api/v1/blobs/{NAME}/upload", body)["parts"])
    assert 409 == refused(direct, NAME, {**body, "size": 1000})
    assert 400 == refused(direct, "x" * 64, body)
    token = direct.command("token", "add", "ana", "--project", "other").split()[-1]
    assert 404 == refused(direct, NAME, body, token)
    direct.command("quota", "set", "content-bytes", "1000", "--project", "quota")
    wait_for(lambda: [429] * 2 == [refused(direct, NAME, body) for _replica in range(2)], "the quota")


def test_uploads_at_once_are_over_the_quota_by_one_of_them_at_most(direct: Cluster) -> None:
    """All have their addresses before any counts, and their parts before any is joined."""
    replica = direct.replicas[0].url
    direct.command("quota", "set", "content-bytes", str(10 * MIB), "--project", "bounded")
    contents = [bytes([number]) * (9 * MIB) for number in range(4)]

    def asked(content: bytes) -> dict[str, Any] | int:
        name, body = hashlib.sha256(content).hexdigest(), {"project": "bounded", "size": len(content)}
        headers = {"Authorization": f"Bearer {direct.token}", "Content-Type": "application/json"}
        request = urllib.request.Request(
            f"{replica}/api/v1/blobs/{name}/upload", msgspec.json.encode(body), headers, method="POST"
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return dict(msgspec.json.decode(answer.read()))
        except urllib.error.HTTPError as error:
            error.close()
            return error.code

    wait_for(lambda: asked(b"?" * (11 * MIB)) == 429, "the quota")
    for content in contents:
        answer = asked(content)
        assert isinstance(answer, dict)
        assert 200 == put(answer["parts"][0][2], content)
    joins = {"have": False, "parts": list[object]()}
    wait_for(lambda: joins not in map(asked, contents), "the joins")

    assert [429, 429, 429, {"have": True, "parts": []}] == sorted(map(asked, contents), key=str)


def test_quota_counts_the_joins_of_every_replica(direct: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also for content that goes through a replica."""
    direct.command("quota", "set", "content-bytes", str(15 * MIB), "--project", "shared")
    for name, value in {**direct.objects.environment, "NAIAD_SERVER_PRESIGNED": "1"}.items():
        monkeypatch.setenv(name, value)
    objects, folder = Objects(direct.objects.url), f"{multipart_uploads._folder('shared')}/{NAME}"
    objects.put(f"{folder}/0", bytes(10 * MIB))
    body = {"project": "shared", "size": 9 * MIB}
    others = [hashlib.sha256(content).hexdigest() for content in (bytes(9 * MIB), bytes(6 * MIB))]

    def asked(replica: Replica) -> list[int]:
        """The answers to content whose parts are all there, and to some that goes through the replica."""
        headers = {"Authorization": f"Bearer {direct.token}", "Content-Type": "application/msgpack"}
        upload = urllib.request.Request(
            f"{replica.url}/api/v1/blobs/{others[0]}/upload", msgspec.msgpack.encode(body), headers
        )
        through = urllib.request.Request(
            f"{replica.url}/api/v1/blobs/{others[1]}?project=shared", bytes(6 * MIB), headers, method="PUT"
        )
        return [status(upload), status(through)]

    before = [status_of_too_much(each, direct) for each in direct.replicas]
    objects.put(f"{multipart_uploads._folder('shared')}/{others[0]}/0", bytes(9 * MIB))
    objects.put(f"{folder}/claim", b"")  # as by a replica that joins
    during = [asked(each) for each in direct.replicas]
    objects.delete([f"{folder}/claim"])

    assert [429, 429] == before
    assert [[429, 429], [429, 429]] == during
    wait_for(lambda: asked(direct.replicas[0])[0] == 200, "the end of the claim")


def test_claim_of_content_that_its_project_has_does_not_count(
    receiver: Receiver, direct: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a replica that was killed between the row of the content and the end of its claim."""
    monkeypatch.setattr(multipart_uploads, "CLAIMED_SECONDS", 0.0)
    uploads = receiver.uploads
    assert uploads is not None
    with receiver.content("claims", NAME) as content:
        content.write(CONTENT)
    other = hashlib.sha256(b"other").hexdigest()
    for sha256 in (NAME, other):
        claim(direct, "claims", sha256)
    claimed = uploads.claimed("claims")

    assert {other: len(CONTENT)} == claimed
    assert len(CONTENT) == uploads.joining("claims", NAME, claimed)
    assert 0 == uploads.joining("claims", other, claimed)
    monkeypatch.setattr(multipart_uploads, "CLAIM_SECONDS", 0.0)
    assert {} == uploads.claimed("claims")


def test_join_of_another_replica_that_ended_after_the_list_of_claims_does_not_count(
    receiver: Receiver, direct: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The replica that joined it counts it."""
    monkeypatch.setattr(multipart_uploads, "CLAIMED_SECONDS", 600.0)
    claim(direct, "ended since", NAME)
    assert receiver.uploads is not None
    before = receiver.uploads.claimed("ended since")
    with receiver.content("ended since", NAME) as content:
        content.write(CONTENT)

    assert {NAME: len(CONTENT)} == before
    assert {} == receiver.uploads.claimed("ended since")


def test_join_of_another_replica_that_ends_while_content_of_unknown_size_comes_counts_once(
    receiver: Receiver, direct: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(multipart_uploads, "CLAIMED_SECONDS", 600.0)
    pieces, size = [bytes(MIB), bytes(4 * MIB)], 5 * MIB
    claim(direct, "ends", NAME)

    async def body() -> dict[str, Any]:
        """Return the next piece; the join of the other replica ends before the last one."""
        piece = pieces.pop(0)
        if not pieces:
            with receiver.content("ends", NAME) as content:
                content.write(CONTENT)
            server.quotas.add("ends", "content-bytes", len(CONTENT))
        return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

    own = hashlib.sha256(bytes(size)).hexdigest()
    scope = {"type": "http", "method": "PUT", "query_string": b"project=ends", "headers": []}
    request = Request({**scope, "path_params": {"sha256": own}}, body)
    grant: Any = SimpleNamespace(project=None)
    with replica_of(direct, receiver) as server, ThreadPoolExecutor(1) as thread:
        server.quotas.set("ends", "content-bytes", size + len(CONTENT))
        answer = thread.submit(asyncio.run, take_blob(server, request, grant)).result()

    assert {"sha256": own, "size": size} == answer


def claim(direct: Cluster, project: str, sha256: str) -> None:
    """Put parts and a claim, as of another replica that joins them."""
    objects, folder = Objects(direct.objects.url), f"{multipart_uploads._folder(project)}/{sha256}"
    objects.put(f"{folder}/0", CONTENT)
    objects.put(f"{folder}/claim", b"")


def test_claims_of_a_project_are_listed_once_for_many_requests(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(multipart_uploads, "CLAIMED_SECONDS", 600.0)
    listed, every = list[str](), Objects.all

    def listing(self: Objects, folder: str, **options: bool) -> Iterator[Any]:
        listed.append(folder)
        return every(self, folder, **options)

    monkeypatch.setattr(Objects, "all", listing)
    assert receiver.uploads is not None
    for _ in range(3):
        receiver.uploads.claimed("often")

    assert [multipart_uploads._folder("often")] == listed


def status_of_too_much(replica: Replica, direct: Cluster) -> int:
    """Wait until a replica knows the quota."""
    headers = {"Authorization": f"Bearer {direct.token}", "Content-Type": "application/msgpack"}
    request = urllib.request.Request(
        f"{replica.url}/api/v1/blobs/{NAME}/upload",
        msgspec.msgpack.encode({"project": "shared", "size": 16 * MIB}),
        headers,
    )
    wait_for(lambda: status(request) == 429, "the quota")
    return 429


def test_join_that_ends_with_its_replica_is_counted(
    receiver: Receiver, direct: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = b"last!" * 600_000
    sent(next_of(receiver, "last", content), content)
    add, close = SentContent.add, MultipartUploads.close
    is_added, goes_on = threading.Event(), threading.Event()

    def slow(self: SentContent, *arguments: Any) -> bool:
        is_added.set()
        assert goes_on.wait(30)
        return add(self, *arguments)

    def closed(self: MultipartUploads) -> None:
        goes_on.set()
        close(self)

    monkeypatch.setattr(SentContent, "add", slow)
    monkeypatch.setattr(MultipartUploads, "close", closed)

    async def live(server: Server) -> None:
        async with _life(server):
            next_of(receiver, "last", content)
            assert await asyncio.to_thread(is_added.wait, 30)

    with replica_of(direct, receiver) as server, ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, live(server)).result()

    assert [(len(content),)] == direct.ask("select used from naiad.usage where project = 'last'")


@contextlib.contextmanager
def replica_of(direct: Cluster, receiver: Receiver) -> Iterator[Server]:
    """The parts of a replica in this process, of which nobody asks who may do what."""
    place = Database(direct.postgres.url, direct.objects.url, "web")
    tokens, metrics = place.tokens(), Metrics()
    store, worker = place.open()[0], place.worker(metrics)
    parts: Any = None
    quotas = Quotas(tokens.engine, is_made=True)
    yield Server(
        store, receiver, tokens, metrics, Intake(receiver, worker, metrics), worker, parts, parts, quotas
    )  # fmt: skip
    store.close()
    tokens.engine.dispose()


def test_use_of_quotas_is_saved_before_a_replica_waits_for_its_joins(
    receiver: Receiver, direct: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A supervisor kills a replica that takes too long to end."""
    close = MultipartUploads.close
    used = "select used from naiad.usage where project = 'early'"
    found = list[list[tuple[Any, ...]]]()

    def closed(self: MultipartUploads) -> None:
        found.append(direct.ask(used))
        close(self)

    monkeypatch.setattr(MultipartUploads, "close", closed)

    async def live(server: Server) -> None:
        async with _life(server):
            # Requests of the last moment: the looks at the database have not saved them.
            server.quotas.add("early", "content-bytes", 7)

    with replica_of(direct, receiver) as server, ThreadPoolExecutor(1) as thread:
        monkeypatch.setattr(server.quotas, "look", lambda: None)
        thread.submit(asyncio.run, live(server)).result()

    assert [(7,)] == found[0]
    assert [(7,)] == direct.ask(used)


def test_replica_looks_at_quotas_while_requests_hold_all_threads(receiver: Receiver, direct: Cluster) -> None:
    """As those that wait for an object store which does not answer; revoked tokens end by the same look."""
    goes_on = threading.Event()

    async def live(server: Server) -> float | None:
        async with _life(server):
            threads = anyio.to_thread.current_default_thread_limiter().total_tokens = 2
            async with anyio.create_task_group() as waiting:
                for _ in range(threads):
                    waiting.start_soon(anyio.to_thread.run_sync, goes_on.wait, 60)
                await asyncio.to_thread(direct.command, "quota", "set", "content-bytes", "9", "--project", "looked")
                with anyio.move_on_after(30):
                    while server.quotas.most("looked", "content-bytes") is None:
                        await asyncio.sleep(0.05)
                goes_on.set()
        return server.quotas.most("looked", "content-bytes")

    with replica_of(direct, receiver) as server, ThreadPoolExecutor(1) as thread:
        found = thread.submit(asyncio.run, live(server)).result()

    assert 9 == found


def refused(direct: Cluster, sha256: str, body: dict[str, Any], token: str = "") -> int:
    headers = {"Authorization": f"Bearer {token or direct.token}", "Content-Type": "application/msgpack"}
    return status(
        urllib.request.Request(f"{direct.url}/api/v1/blobs/{sha256}/upload", msgspec.msgpack.encode(body), headers)
    )
