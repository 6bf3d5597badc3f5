"""Running a server: people behind a proxy, quotas, the audit, verify and gc, TLS, and clients in trouble.

Trouble is one clear warning: training goes on, nothing is lost, and `naiad sync` repairs it later.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import itertools
import os
import select
import shutil
import socket
import subprocess
import sys
import threading
import time
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import psutil
import pytest
from places import of_a_folder
from server_client import COMMAND, PROXY, QUIET, AnyServer, Reply, Server, environment, part, ship
from test_network import certificate
from test_writing import sealed, values, wait_for, wait_until

import naiad
from naiad.errors import ServerUnreachable, ServerWarning, forget_warnings
from naiad.ops import Assign, Open, encode_ops
from naiad.ship import shipper
from naiad.ship.client import Client
from naiad.storage.local.journal.frames import encode_frame
from naiad.storage.local.layout import Layout
from naiad.storage.local.store import Store as Folder
from naiad.storage.remote.store import RemoteStore

Log = Callable[..., Path]


@pytest.fixture
def url(server: AnyServer, store: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of the server; what is shipped lies in the test's own folder."""
    monkeypatch.delenv("NAIAD_STORE")
    monkeypatch.setenv("NAIAD_LOCAL_STORE", str(store))
    monkeypatch.setenv("NAIAD_API_TOKEN", server.token)
    forget_warnings()
    yield f"http://127.0.0.1:{server.port}"
    shipper.of_process.close()
    forget_warnings()


def sync(store: Path, **more: str) -> subprocess.CompletedProcess[str]:
    settings = {**environment(), **more}
    return subprocess.run(
        [*COMMAND, "sync", str(store)], check=False, capture_output=True, text=True, env=settings, timeout=100
    )


# People behind a proxy


def as_person(
    server: AnyServer, user: str, groups: str = "", *, method: str = "GET", path: str = "", **more: str
) -> Reply:
    """A request as the proxy sends it for somebody whom it has signed in."""
    body = more.pop("body", None)
    data = msgspec.json.encode(body) if body is not None else None
    headers = {"X_Forwarded_User": user, "X_Forwarded_Groups": groups, **more}
    if data is not None:
        headers["Content_Type"] = "application/json"
    return server.send(method, f"/api/v1{path}", data, token=None, sender=PROXY, **headers)


def test_person_has_the_role_of_the_membership(server: AnyServer, logged: Log) -> None:
    """Their own before that of a group, and the highest of the groups; a project's member sees that project alone."""
    folder = logged("seen")
    server.register(folder.name, "seen")
    ship(server, folder)
    own = f"http://127.0.0.1:{server.port}"
    for name, role, project in (
        ("group:lab", "viewer", None),
        ("group:boss", "owner", None),
        ("ana", "contributor", "seen"),
        ("ben", "viewer", "other"),
    ):
        body = {"name": name, "role": role, "project": project}
        assert 200 == server.send("POST", "/api/v1/members", body).status

    def role(user: str, groups: str = "") -> object:
        return role_of(server, user, groups)

    wait_until(lambda: ["contributor"] * 2 == [role("ana") for _replica in range(2)])
    assert (401, "viewer", "owner", "contributor") == (
        role("eve"), role("eve", "lab"), role("eve", "lab, boss"), role("ana", "boss"),
    )  # fmt: skip
    without = as_person(server, "ana", Authorization="Bearer ")  # as the pages ask if they have no token
    assert (200, "contributor") == (without.status, without.data["server"]["role"])
    place = f"/containers/{folder.name}"
    assert [200, 404] == [as_person(server, user, path=place).status for user in ("ana", "ben")]
    changes = {"method": "PATCH", "path": place, "body": {"name": "x"}, "Origin": own}
    assert [200, 403] == [
        as_person(server, user, group, **changes).status for user, group in (("ana", ""), ("e", "lab"))
    ]
    assert "ana\tcontributor\tseen" in server.command("member", "list")
    assert 200 == server.send("DELETE", "/api/v1/members/ben").status
    wait_until(lambda: [401] * 2 == [role("ben") for _replica in range(2)])


def role_of(server: AnyServer, user: str, groups: str = "") -> object:
    reply = as_person(server, user, groups)
    return reply.data["server"]["role"] if reply.status == 200 else reply.status


def test_page_of_another_site_changes_nothing_by_the_browser_of_a_person(server: AnyServer) -> None:
    """The proxy's cookie goes with every request of the browser, so a change has to come from a page of ours."""
    server.send("POST", "/api/v1/members", {"name": "root", "role": "admin"})
    wait_until(lambda: ["admin"] * 2 == [role_of(server, "root") for _replica in range(2)])
    own, foreign = f"http://127.0.0.1:{server.port}", "https://evil.example"
    wanted = {"method": "POST", "path": "/tokens", "body": {"principal": "x", "role": "viewer"}}

    found = [as_person(server, "root", **wanted, **more).status for more in ({}, {"Origin": foreign}, {"Origin": own})]

    assert [403, 403, 200] == found


def test_mark_of_a_person_can_be_made_by_the_server_alone(server: AnyServer) -> None:
    forged = ["proxied.", "proxied.WyJyb290Il0=.", "proxied.WyJyb290Il0=." + "0" * 64, "proxied.é." + "0" * 64]

    assert [401] * 4 == [server.send("GET", "/api/v1", token=each.encode().decode("latin-1")).status for each in forged]


def test_program_behind_the_proxy_keeps_its_own_token(server: AnyServer) -> None:
    reply = server.send("GET", "/api/v1", token=server.token, sender=PROXY, X_Forwarded_User="stranger")

    assert "admin" == reply.data["server"]["role"]


# Quotas


def test_full_quota_is_one_warning_and_sync_repairs_it(server: AnyServer, url: str, store: Path) -> None:
    server.command("quota", "set", "points-per-day", "150", "--project", "full")
    wait_until(lambda: _answers(server, "full") == {429})
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        run = naiad.init_run(store=url, project="full")
        run["loss"].extend([0.5] * 100)
        run.sync(remote=True)
        wait_until(
            lambda: _answers(server, "full", 100) == {429}
        )  # other replicas count these points some seconds later
        run["loss"].extend([0.25] * 100)
        with pytest.raises(naiad.errors.SyncFailed, match="points-per-day"):
            run.sync(remote=True)
        run["loss"].extend([0.125] * 100)
        run.stop(seconds=1)
    said = [str(each.message) for each in warned if issubclass(each.category, ServerWarning)]
    assert 1 == sum("150 points-per-day" in text for text in said), said
    assert 100 == len(values(server, run._run.uid))
    full = sync(store)
    server.command("quota", "remove", "points-per-day", "--project", "full")
    wait_until(lambda: _answers(server, "full") == {200})
    repaired = sync(store)

    assert (1, 0) == (full.returncode, repaired.returncode), full.stdout + repaired.stdout + repaired.stderr
    assert 300 == len(values(server, run._run.uid))


@pytest.mark.parametrize(("quota", "most"), [("runs", "1"), ("points-per-day", "5")])
def test_every_warning_about_a_full_quota_is_the_one_of_the_documentation(
    server: AnyServer, url: str, quota: str, most: str
) -> None:
    """At the begin of a run, and for its points."""
    project = f"crowded-{quota}"
    server.register(f"first-{quota}", project)  # the only one that `runs` admits
    server.command("quota", "set", quota, most, "--project", project)
    numbers = itertools.count()
    wait_until(
        lambda: (
            [429] * 2 == [server.register(f"more-{next(numbers)}", project).status for _replica in range(2)]
            if quota == "runs"
            else _answers(server, project) == {429}
        )
    )
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        run = naiad.init_run(store=url, project=project)
        run["loss"].extend([0.5] * 10)
        run.stop(seconds=1)
    said = [str(each.message) for each in warned if f" {quota}, and" in str(each.message)]
    text = (Path(__file__).parents[2] / "core/docs/how-to/ship.md").read_text()
    [documented] = [line.split("|")[1].strip() for line in text.splitlines() if "ask the owner of the server;" in line]

    assert said, [str(each.message) for each in warned]
    assert all(documented in each for each in said), said


def _answers(server: AnyServer, project: str, points: int = 1000) -> set[int]:
    """What the replicas answer to so many points of a project, without storing one."""
    uid = f"probe-{project}"
    server.register(uid, project)
    data = b"\0" * 32 * points
    name = "1-probe.000001.seg"
    # behind a gap: it would not be stored, whatever the quota is
    part = [uid, name, 64 + 32 * 9999, 0, zlib.crc32(data), data]
    return {server.journal(parts=[part]).status for _replica in range(4)}


def test_other_quotas_are_429_with_the_time_of_the_next_try(server: AnyServer) -> None:
    server.command("quota", "set", "runs", "1", "--project", "small")
    server.command("quota", "set", "content-bytes", "10", "--project", "small")
    numbers = itertools.count()

    def put() -> Reply:
        data = b"x%098d" % next(numbers)  # content that the project has is taken
        return server.send("PUT", f"/api/v1/blobs/{hashlib.sha256(data).hexdigest()}?project=small", data)

    wait_until(lambda: [429] * 2 == [put().status for _replica in range(2)])
    many = server.register("many-1", "small"), server.register("many-2", "small")

    assert [200, 429] == [each.status for each in many]
    assert {"OverQuota"} == {each.data["type"] for each in (put(), many[1])}
    assert 1 <= int(many[1].headers["retry-after"]) <= 60
    assert "small\truns\t1" in server.command("quota", "list")


def test_content_above_the_documented_limit_is_refused_before_it_is_sent(server: AnyServer) -> None:
    """By the announced size; of the body no more is read than of that of any refused request, and no more is sent here.

    If there is more on its way, a proxy may answer 502 itself.
    """
    limit = server.send("GET", "/api/v1").data["server"]["limits"]["blob"]
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        head = f"PUT /api/v1/blobs/{'0' * 64}?project=huge HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        head += f"Authorization: Bearer {server.token}\r\nContent-Length: {limit + 1}\r\n\r\n"
        connection.sendall(head.encode())
        with contextlib.suppress(ConnectionError):  # the answer ends the connection
            for _ in range(64):
                connection.sendall(bytes(1 << 20))
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        found = answer.status, msgspec.json.decode(answer.read())["type"]

    assert (413, "TooLarge") == found


def test_content_that_a_project_sends_twice_counts_once(server: AnyServer) -> None:
    """As the same file of many programs that begin together."""
    server.command("quota", "set", "content-bytes", "1000000", "--project", "twice")
    data = b"twice" * 100
    for _ in range(4):
        assert 200 == server.send("PUT", f"/api/v1/blobs/{hashlib.sha256(data).hexdigest()}?project=twice", data).status
    more = b"more"
    server.send("PUT", f"/api/v1/blobs/{hashlib.sha256(more).hexdigest()}?project=twice", more)
    row = "twice\tcontent-bytes\t1000000\t"

    def used() -> list[str]:
        listed = server.command("quota", "list").splitlines()
        return [line.removeprefix(row) for line in listed if line.startswith(row)]

    wait_until(lambda: ["504"] == used())


def test_content_that_a_project_has_is_taken_while_its_quota_is_full(server: AnyServer) -> None:
    """A program sends it again if it had no answer."""

    def put(data: bytes) -> int:
        return server.send("PUT", f"/api/v1/blobs/{hashlib.sha256(data).hexdigest()}?project=resent", data).status

    assert 200 == put(b"again" * 100)
    server.command("quota", "set", "content-bytes", "600", "--project", "resent")
    numbers = itertools.count()
    wait_until(lambda: {429} == {put(b"other%0500d" % next(numbers)) for _replica in range(4)})

    assert {200} == {put(b"again" * 100) for _replica in range(4)}


def test_content_of_unknown_size_counts_as_it_comes(server: AnyServer) -> None:
    """A chunked body has no Content-Length; it is refused as soon as it is over the quota, and nothing of it stays."""

    def put(pieces: list[bytes], name: str = "") -> tuple[int, str]:
        name = name or hashlib.sha256(b"".join(pieces)).hexdigest()
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        headers = {"Authorization": f"Bearer {server.token}"}
        with contextlib.closing(connection):
            connection.request(
                "PUT", f"/api/v1/blobs/{name}?project=chunked", iter(pieces), headers, encode_chunked=True
            )
            answer = connection.getresponse()
            answer.read()
            return answer.status, answer.getheader("Retry-After", "")

    server.command("quota", "set", "content-bytes", "1000000", "--project", "chunked")
    # Under a name that is not its own, so that nothing of it is kept, and counts, before the quota is known everywhere.
    wait_until(lambda: {429} == {put([bytes(2_000_000)], "0" * 64)[0] for _replica in range(4)})
    large = [bytes([each]) * 300_000 for each in range(5)]
    refused = {put(large) for _replica in range(4)}
    names = [[hashlib.sha256(b"".join(large)).hexdigest(), 1_500_000]]
    have = server.send("POST", "/api/v1/blobs", {"blobs": names, "project": "chunked"}).data["have"]

    assert {(429, "60")} == refused
    assert [] == have
    assert (200, "") == put(large[:3])


def test_run_with_too_many_fields_gets_no_more(server: AnyServer, logged: Log) -> None:
    folder = logged("wide", **{f"p{number}": number for number in range(10)})
    server.register(folder.name, "wide")
    ship(server, folder)
    sealed(server, folder.name)

    def sent(number: int) -> Reply:
        writer, at = f"9-wide{number}", time.time()
        ops = [Open(writer, 1, "h", "b", 1, "owner", at), Assign(f"q{number}", "int", 1, at)]
        return server.journal(
            parts=[part(folder.name, f"{writer}.000001.ops", 16, encode_frame(0, encode_ops(ops)))],
            writers=[[folder.name, writer, True]],
        )

    server.command("quota", "set", "fields-per-run", "5", "--project", "wide")
    numbers = itertools.count()
    wait_until(lambda: [429] * 2 == [sent(next(numbers)).status for _replica in range(2)])
    refused = sent(next(numbers))
    server.command("quota", "remove", "fields-per-run", "--project", "wide")

    assert "OverQuota" == refused.data["type"]
    assert "5 fields-per-run" in refused.data["detail"]
    wait_until(lambda: [200] * 2 == [sent(next(numbers)).status for _replica in range(2)])


def test_run_with_as_many_fields_as_its_quota_goes_on(tmp_path: Path) -> None:
    """It could not even end otherwise. Tried on the class, as below."""
    from naiad_server.quotas import Exceeded, Quotas
    from naiad_server.tokens import open_tokens

    quotas = Quotas(open_tokens(tmp_path / "server").engine)
    quotas.set("wide", "fields-per-run", 5)
    quotas.require_fields("wide", 5)
    quotas.require_fields("another", 6)
    with pytest.raises(Exceeded, match="has 6 fields, more than the quota of 5 fields-per-run"):
        quotas.require_fields("wide", 6)


def test_token_that_asks_too_often_is_slowed_down(tmp_path: Path) -> None:
    """Counted in memory, so it is tried on the class: a server of its own would cost more than it shows."""
    from naiad_server.quotas import Exceeded, Quotas
    from naiad_server.tokens import open_tokens

    quotas = Quotas(open_tokens(tmp_path / "server").engine)
    quotas.set("*", "requests-per-second", 2)
    for _ in range(20):
        quotas.require_rate("one")
    with pytest.raises(Exceeded, match="2 times a second") as caught:
        quotas.require_rate("one")
    quotas.require_rate("another")

    assert 0 < caught.value.seconds <= 0.5


# Looking after it


def test_audit_verify_and_gc(server: AnyServer, logged: Log) -> None:
    folder = logged("old")
    uid = folder.name
    registered = server.register(uid, "old")
    name = registered.data["id"]
    ship(server, folder)
    wait_for(server, uid, "finished")
    sealed(server, uid)
    assert [] == server.damages(registered)
    own = f"http://127.0.0.1:{server.port}"
    asked = msgspec.json.encode({"ids": [uid]})
    server.send("POST", "/api/v1/trash", asked, Content_Type="application/json", Origin=own)

    kept = server.command("gc", "--trash-days", "1")
    would = server.command("gc", "--trash-days", "0", "--project", "old", "--dry-run")
    there = server.has(uid)
    gone = server.command("gc", "--trash-days", "0", "--project", "old")

    assert (False, True, True) == tuple(f"deleted\t{name}" in text for text in (kept, would, gone))
    assert (True, False) == (there, server.has(uid))
    wait_until(lambda: ["RunNotFound"] == [each[2] for each in ship(server, folder).data["refused"]])
    assert f"container.delete\t{name}" in server.command("audit")
    entries = server.send("GET", "/api/v1/audit").data["entries"]
    assert any((each["action"], each["subject"]) == ("container.delete", name) for each in entries)


def test_gc_deletes_the_monitoring_of_old_runs_alone_and_only_if_asked(
    server: AnyServer, url: str, tmp_path: Path
) -> None:
    gone = {f"monitoring/abc/{each}" for each in ("gpu", "picture", "stdout")}
    runs = [naiad.init_run(store=url, project="watched", **QUIET) for _ in range(2)]
    for run in runs:
        for path in ("monitoring/abc/gpu", "monitored", "other/monitoring/cpu"):
            run[path].extend([0.5] * 1_000)
        run["monitoring/abc/stdout"].extend(["a line"] * 10)
        run["monitoring/abc/picture"].append(naiad.types.File.from_content(b"png", extension="png"))
        run["monitoring/abc/hostname"] = run["monitors/cpu"] = "x"
        run.sync(remote=True)
    run, going_on = runs
    name, uid = run["sys/id"].fetch(), run._run.uid
    run.stop()
    wait_for(server, uid, "finished")
    sealed(server, uid)
    remote = RemoteStore(url, Folder(tmp_path / "empty"))

    def paths(run: naiad.Run) -> set[str]:
        return set(remote.reader(run._run).kinds())

    before = paths(run)
    assert gone < before
    of_watched = ("--monitoring-days", "1", "--project", "watched")  # other tests leave older runs in other projects
    for options in ((), of_watched, ("--monitoring-days", "0", "--project", "another")):
        assert "monitoring/" not in server.command("gc", *options)
    would = server.command("gc", "--monitoring-days", "0", "--project", "watched", "--dry-run")
    assert {f"deleted\t{name}\t{path}" for path in gone} == {each for each in would.splitlines() if "deleted" in each}
    assert before == paths(run)
    server.command("gc", "--monitoring-days", "0", "--project", "watched")

    assert before - gone == paths(run)
    assert gone < paths(going_on)
    assert 1_000 == len(values(server, uid, "monitored"))
    assert f"monitoring.delete\t{name}" in server.command("audit")
    assert "monitoring/" not in server.command("gc", "--monitoring-days", "0", "--project", "watched")
    going_on.stop()


@of_a_folder
def test_content_that_gc_has_freed_is_sent_again_when_it_is_named_again(
    server: Server, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program uploads a file, another in its place, and the first one again after a while."""
    monkeypatch.setattr("naiad.ship.content.KNOWN_SECONDS", 0.0)
    run = naiad.init_run(store=url, project="again", **QUIET)
    first, second = (naiad.types.File.from_content(each * 100_000, extension="bin") for each in (b"1", b"2"))
    name = hashlib.sha256(b"1" * 100_000).hexdigest()
    place = server.store / "blobs" / name[:2] / name
    for each in (first, second):
        run["best"].upload(each)
        run.sync(remote=True)
    os.utime(place, (0, 0))
    assert name in server.command("gc")
    run["best"].upload(first)
    run.stop()
    wait_for(server, run._run.uid, "finished")

    assert b"1" * 100_000 == place.read_bytes()


@of_a_folder
def test_verify_names_a_damage(server: Server, logged: Log, tmp_path: Path) -> None:
    folder = logged("broken", points=50)
    registered = server.register(folder.name, "broken")
    ship(server, folder)
    wait_for(server, folder.name, "finished")
    sealed(server, folder.name)
    copy = Server(tmp_path / "store")
    shutil.copytree(server.store, copy.store, ignore=shutil.ignore_patterns(".lock"))
    (segment, *_rest) = [*(copy.store / "runs" / folder.name / "journal").glob("*.seg")]
    data = bytearray(segment.read_bytes())
    data[64 + 9] ^= 1
    segment.write_bytes(data)

    assert folder.name in copy.command("verify", code=1)
    assert 'points in this file are damaged (field "loss")' in copy.damages(registered)[-1]


def test_no_token_in_a_process_listing(server: AnyServer, url: str) -> None:
    listed = server.processes()
    with naiad.init_run(store=url, project="listed") as run:
        run["x"] = 1
        listed.append(os.getpid())
        lines = [" ".join(psutil.Process(pid).cmdline()) for pid in listed]

    assert not any(server.token[-43:] in line for line in lines)


# TLS, and clients in trouble


def test_tls_is_served_and_used_and_an_unknown_authority_is_one_warning(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cert, key = certificate(tmp_path)
    own = Server(tmp_path / "served").start("--init", "--tls-cert", str(cert), "--tls-key", str(key))
    try:
        monkeypatch.delenv("NAIAD_STORE")
        monkeypatch.setenv("NAIAD_LOCAL_STORE", str(store))
        monkeypatch.setenv("NAIAD_API_TOKEN", own.token)
        monkeypatch.delenv("SSL_CERT_FILE", raising=False)
        forget_warnings()
        url = f"https://127.0.0.1:{own.port}"
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            run = naiad.init_run(store=url, project="safe")
            run["loss"].extend([0.5] * 100)
            run.stop(seconds=1)
        said = [str(each.message) for each in warned if "certificate" in str(each.message)]
        monkeypatch.setenv("SSL_CERT_FILE", str(cert))
        repaired = sync(store, SSL_CERT_FILE=str(cert))
        with naiad.init_run(store=url, project="safe") as other:
            other["x"] = 1
            other.sync(remote=True)
        with naiad.init_run(store=url, with_id=run._run.uid, mode="read-only") as found:
            assert 100 == len(found["loss"].fetch_values())
        assert (1, 0) == (len(said), repaired.returncode), (said, repaired.stdout)
        assert "SSL_CERT_FILE" in said[0]
        assert other.get_url() == f"{url}/p/safe/runs/{other.id}"
    finally:
        shipper.of_process.close()
        forget_warnings()
        own.stop()


def test_address_with_the_other_scheme_is_named_with_the_remedy(
    server: AnyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`http://` of a server with TLS, and `https://` of one without."""
    monkeypatch.setenv("NAIAD_API_TOKEN", server.token)
    cert, key = certificate(tmp_path)
    own = Server(tmp_path / "served").start("--init", "--tls-cert", str(cert), "--tls-key", str(key))
    try:
        with pytest.raises(ServerUnreachable, match=f"(?s)its port uses TLS.*Use https://127.0.0.1:{own.port}"):
            Client(f"http://127.0.0.1:{own.port}").get("")
    finally:
        own.stop()
    with pytest.raises(ServerUnreachable, match=f"(?s)its port uses plain HTTP.*http://127.0.0.1:{server.port}"):
        Client(f"https://127.0.0.1:{server.port}").get("")


def test_newer_server_is_one_warning_and_sync_repairs_it(
    server: AnyServer, url: str, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It speaks no version of the protocol that this program speaks."""
    monkeypatch.setattr("naiad.ship.client.PROTOCOL", "0")
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        run = naiad.init_run(store=url, project="later")
        run["loss"].extend([0.5] * 100)
        run.stop(seconds=1)
    said = [str(each.message) for each in warned if "protocol" in str(each.message)]
    repaired = sync(store)

    assert (1, 0) == (len(said), repaired.returncode), (said, repaired.stdout)
    assert 100 == len(values(server, run._run.uid))


class Relay(threading.Thread):
    """Passes connections on to a server. Before the answer to a journal comes back, it kills the client."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self._port = port
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.pid = 0
        self.journals = 0

    def run(self) -> None:
        """Take connections until the listener is closed."""
        while True:
            try:
                client, _peer = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._pass_on, args=(client,), daemon=True).start()

    def _pass_on(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self._port)) as server:
            while True:
                ready, _writable, _odd = select.select([client, server], [], [])
                if client in ready:
                    asked = client.recv(1 << 20)
                    if not asked:
                        return
                    self.journals += asked.count(b"POST /api/v1/journal")
                    server.sendall(asked)
                if server in ready:
                    answer = server.recv(1 << 20)
                    if self.journals >= 2 and self.pid:
                        psutil.Process(self.pid).kill()
                        return
                    if not answer:
                        return
                    client.sendall(answer)


KILLED = """
import naiad, sys
run = naiad.init_run(project="killed", capture_hardware_metrics=False, git_ref=False)
step = 0
while True:
    run["loss"].append(float(step), step=step)
    run["text"].append(str(step), step=step)
    step += 1
    if step % 500 == 0:
        run.sync(remote=True)
"""


def test_client_that_is_killed_between_sending_and_the_answer_doubles_nothing(
    server: AnyServer, url: str, store: Path
) -> None:
    relay = Relay(server.port)
    relay.start()
    settings = {**environment(), "NAIAD_STORE": f"http://127.0.0.1:{relay.port}", "NAIAD_LOCAL_STORE": str(store)}
    process = subprocess.Popen([sys.executable, "-c", KILLED], env=settings, stderr=subprocess.DEVNULL)
    relay.pid = process.pid
    try:
        assert -9 == process.wait(60)
    finally:
        process.kill()
        relay.listener.close()
    (folder,) = Layout(store).folders()
    text = folder.remote.read_text()
    folder.remote.write_text(text.replace(str(relay.port), str(server.port)))  # the relay is gone
    done = sync(store)
    found = values(server, folder.uid)

    assert 0 == done.returncode, done.stdout + done.stderr
    assert [float(step) for step in range(len(found))] == found
    assert len(found) >= 500


UNFORESEEN = """
from naiad_server.intake import Intake

accept, failed = Intake.accept, []

async def fails(self, *arguments):
    if not failed:
        failed.append(True)
        raise RuntimeError("no one has foreseen this")
    return await accept(self, *arguments)

Intake.accept = fails
from naiad.cli import main

main()
"""


def test_unforeseen_error_of_a_journal_is_answered_counted_and_logged_and_the_next_one_is_taken(
    tmp_path: Path, logged: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Journals pass Starlette by, whose middleware does that for all other routes."""
    monkeypatch.setattr("server_client.COMMAND", [sys.executable, "-c", UNFORESEEN])
    server = Server(tmp_path / "server").start("--init")
    monkeypatch.undo()
    folder = logged("p")
    server.register(folder.name)
    failed, taken = ship(server, folder), ship(server, folder)
    healthy = server.send("GET", "/readyz", token=None)
    metrics = server.send("GET", "/metrics", token=None).body.decode().splitlines()
    stored = values(server, folder.name)
    server.stop()

    assert (500, b"Internal Server Error") == (failed.status, failed.body)
    assert failed.headers["naiad-epoch"] == healthy.headers["naiad-epoch"] != ""
    assert 200 == taken.status
    assert {
        'naiad_requests_total{route="/api/v1/journal",status="500"} 1.0',
        'naiad_requests_total{route="/api/v1/journal",status="200"} 1.0',
    } <= set(metrics)
    assert 1 == server.said.count("RuntimeError: no one has foreseen this"), server.said
    assert 100 == len(stored)


def test_store_option_takes_the_address_of_the_server(server: AnyServer, url: str, tmp_path: Path) -> None:
    """Every command that reads takes it as `naiad --store URL`, and after its name."""
    run = naiad.init_run(store=url, project="optioned", custom_run_id="optioned")
    run["loss"].extend([0.5, 0.25])
    run["params/lr"] = 0.1
    name = run["sys/id"].fetch()
    run.stop()
    wanted = {
        "ls": ["--project", "optioned"],
        "query": ["--project", "optioned"],
        "projects": [],
        "show": [name],
        "compare": [name, name],
        "plot": [name, "loss"],
        "export": [name, "--to", str(tmp_path / "out")],
    }

    for command, arguments in wanted.items():
        for line in (["--store", url, command, *arguments], [command, "--store", url, *arguments]):
            done = subprocess.run([*COMMAND, *line], capture_output=True, text=True, check=False, env=environment())

            assert 0 == done.returncode, (line, done.stderr)
            assert command in ("export", "plot", "compare") or "optioned" in done.stdout.lower()
    doctor = subprocess.run([*COMMAND, "--store", url, "doctor"], capture_output=True, text=True, check=False)
    left = subprocess.run([*COMMAND, "--store", url, "sync"], capture_output=True, text=True, check=False)

    assert "by --store" in doctor.stdout
    assert 0 == left.returncode, left.stderr
