"""Who may do what: every route without a token, with a wrong one, one of another project, and one of too low a role."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import http.client
import inspect
import json
import os
import select
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import msgspec
import pytest
from places import of_a_folder
from server_client import COMMAND, QUIET, AnyServer, Reply, Server, part, run_apart, ship
from sqlalchemy import Connection, Engine, insert, update
from test_writing import wait_until

import naiad
from naiad.errors import NotAuthorized, ProjectNotFound
from naiad.ids import new_uid
from naiad.ops import Assign, Delete, Open, encode_ops
from naiad.refs import FileRef
from naiad.storage.base import Store
from naiad.storage.catalog import Catalog
from naiad.storage.local.journal.frames import encode_frame
from naiad.storage.local.layout import Layout
from naiad_server.app import ROUTES as OWN_ROUTES
from naiad_server.app import _Body as Body
from naiad_server.tokens import audit_table, connected, open_tokens, token_table
from naiad_server.view import CatalogView, StoreView
from naiad_web.server.app import ROUTES
from naiad_web.server.parameters import Parameters
from naiad_web.server.routes import API

NAMES = {"run", "id", "ids", "project", "left", "hash", "model"}
"""Parameters that name a container, or something of one."""
SECRET = "zebra-crossing"

TARGETS = {
    ("GET", ""): "",
    ("GET", "/usage"): "",
    ("GET", "/projects"): "",
    ("GET", "/table"): "?column=*&column=secret&column=sys/id&column=sys/project",
    ("GET", "/groups"): "?by=secret",
    ("GET", "/columns"): "?search=zebra",
    ("GET", "/values"): "?path=secret",
    ("GET", "/query"): "?query=zebra&at=5",
    ("GET", "/compare"): "?run={uid}&run={id}",
    ("GET", "/containers/{id}"): "",
    ("GET", "/containers/{id}/tree"): "",
    ("GET", "/containers/{id}/fields"): "",
    ("GET", "/containers/{id}/value"): "?path=secret",
    ("GET", "/containers/{id}/attributes"): "",
    ("GET", "/containers/{id}/monitoring"): "",
    ("GET", "/containers/{id}/source"): "",
    ("GET", "/containers/{id}/versions"): "",
    ("GET", "/series"): "?run={uid}&path=loss",
    ("GET", "/chart"): "?run={uid}&path=loss&format=json",
    ("GET", "/nearest"): "?run={uid}&path=loss&at=1",
    ("GET", "/lines"): "?run={uid}&path=log",
    ("GET", "/histograms"): "?run={uid}&path=h",
    ("GET", "/entries"): "?run={uid}&path=entries",
    ("GET", "/file"): "?run={uid}&path=file",
    ("GET", "/files"): "?run={uid}&path=file",
    ("GET", "/zip"): "?run={uid}&path=file",
    ("GET", "/archive"): "?run={uid}&path=file",
    ("GET", "/preview"): "?run={uid}&path=file",
    ("GET", "/artifact"): "?run={uid}&path=a",
    ("GET", "/artifact/users"): "?hash={hash}",
    ("GET", "/diff"): "?left={uid}&right={id}&left_path=file",
    ("GET", "/views"): "?project=hidden",
}
"""A request of each reading route for something of another project."""

BODIES: dict[tuple[str, str], Any] = {
    ("PATCH", "/containers/{id}"): {"name": "taken"},
    ("POST", "/trash"): {"ids": ["{uid}"]},
    ("POST", "/restore"): {"ids": ["{uid}"]},
    ("PUT", "/views"): {"project": "hidden", "name": "mine", "url": "/p/x"},
    ("DELETE", "/views"): {"project": "hidden", "name": "mine"},
    ("POST", "/runs"): {"uid": "{uid}", "kind": "run", "project": "own", "created": 0.0},
    ("GET", "/runs/{uid}/journal"): None,
    ("PUT", "/blobs/{sha256}"): b"x",
    ("POST", "/blobs"): {"project": "hidden", "blobs": [["0" * 64, 1]]},
    ("POST", "/tokens"): {"principal": "x", "role": "viewer", "project": "hidden"},
    ("DELETE", "/tokens/{id}"): None,
    ("DELETE", "/containers/{id}"): None,
    ("POST", "/projects"): {"name": "hidden"},
    ("POST", "/members"): {"name": "x", "role": "viewer"},
    ("DELETE", "/members/{name}"): None,
}
"""A change of something of another project, by each route that makes one."""
HIDDEN_CHANGES = ("/runs", "/trash", "/restore", "/containers/{id}", "/tokens/{id}", "/blobs", "/views")
LEAST = {(method, path.removeprefix(API)): role for method, path, _serve, role in OWN_ROUTES}
ALL = sorted({(route.method, route.path) for route in ROUTES} | set(LEAST))
ROLES = ("viewer", "contributor", "owner", "admin")


class Scene(NamedTuple):
    """A server with a hidden run, and tokens of another project."""

    server: AnyServer
    uid: str
    id: str
    hash: str
    tokens: dict[str, str]
    hidden: str
    """The id of a token of the hidden project."""
    revoked: str
    """A token of the hidden project that was revoked."""

    def filled(self, text: str) -> str:
        for name, value in (("uid", self.uid), ("id", self.id), ("hash", self.hash), ("sha256", "0" * 64)):
            text = text.replace(f"{{{name}}}", quote(value, safe=""))
        return text

    def ask(self, method: str, path: str, token: str | None, **headers: str) -> Reply:
        """Send the request of the tables above."""
        place = path.replace("{id}", self.hidden) if path.startswith("/tokens/") else path
        target = API + self.filled(place + TARGETS.get((method, path), ""))
        body = BODIES.get((method, path))
        if isinstance(body, bytes):
            target += "?project=hidden"
        elif body is not None:
            body = json.loads(self.filled(json.dumps(body)))
            headers |= {"Content-Type": "application/json", "Origin": f"http://127.0.0.1:{self.server.port}"}
            body = msgspec.json.encode(body)
        return self.server.send(method, target, body, token=token, **headers)


@pytest.fixture(scope="module")
def scene(server: AnyServer, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    folder = tmp_path_factory.mktemp("access")
    (folder / "data.txt").write_text(SECRET)
    run = naiad.init_run(store=folder / "logged", project="hidden", name=SECRET, **QUIET)
    run["secret"] = SECRET
    run["loss"].extend([1.0, 2.0, 3.0])
    run["log"].extend([SECRET, SECRET])
    run["file"].upload(naiad.types.File.from_content(SECRET))
    run["a"].track_files(str(folder / "data.txt"))
    digest = run["a"].fetch_hash()
    run.stop()
    (place,) = (folder / "logged/runs").iterdir()
    known = server.register(place.name, "hidden").data
    for blob in (folder / "logged").glob("blobs/*/*"):
        server.send("PUT", f"/api/v1/blobs/{blob.name}?project=hidden", blob.read_bytes())
    ship(server, place)
    until = time.monotonic() + 60
    while SECRET.encode() not in server.send("GET", "/api/v1/table?column=secret&project=hidden").body:
        assert time.monotonic() < until
        time.sleep(0.1)

    def token(role: str, project: str) -> str:
        body = {"principal": role, "role": role, "project": project}
        return str(server.send("POST", "/api/v1/tokens", body).data["token"])

    tokens = {role: token(role, "own") for role in ROLES[:3]} | {"admin": server.token}
    hidden, revoked = token("owner", "hidden"), server.add_token("owner", "hidden")
    server.command("token", "revoke", revoked.split("_")[1])
    return Scene(server, place.name, known["id"], digest, tokens, hidden.split("_")[1], revoked)


@pytest.mark.parametrize(("view", "protocol"), [(StoreView, Store), (CatalogView, Catalog)])
def test_view_has_every_method_of_the_interface(view: type, protocol: type) -> None:
    """One that is missing would answer for all projects, or with nothing; a view needs none of those for programs."""
    of_programs = {"waits_in", "find_to_write", "note_to_write", "goes_on_here", "reader_here"}
    wanted = {name for name in vars(protocol) if not name.startswith("_")} - of_programs
    if protocol is Catalog:  # `answer` narrows each call that names a project, and raises for every other
        wanted = {name for name in wanted if "project" not in inspect.signature(getattr(protocol, name)).parameters}

    assert set() == wanted - vars(view).keys()


def test_tables_have_every_route() -> None:
    """A new route is to be asked for here too."""

    def names_something(takes: type[Parameters]) -> bool:
        return bool(NAMES & {each.encode_name for each in msgspec.structs.fields(takes)})

    ours = {(route.method, route.path) for route in ROUTES if "{id}" in route.path or names_something(route.takes)}

    assert set() == ours - TARGETS.keys() - BODIES.keys() - {("GET", "/events")}


@pytest.mark.parametrize(("method", "path"), ALL)
def test_no_route_answers_without_a_valid_token(scene: Scene, method: str, path: str) -> None:
    """Whether it is missing, malformed, wrong, revoked, or a user name that only a proxy could vouch for."""
    name = scene.server.token.split("_")[1]
    wrong = [None, "x", "naiad_aaaaaaaa_" + "a" * 43, f"naiad_{name}_" + "a" * 43, scene.revoked]

    found = [scene.ask(method, path, token).status for token in wrong]
    forged = scene.ask(method, path, None, X_Forwarded_User="admin", X_Forwarded_Groups="admins").status

    assert [401] * 6 == [*found, forged]


def test_journals_pass_the_gate_of_all_routes(scene: Scene) -> None:
    """Though they take a shorter way."""
    paths = ("/api/v1/journal", "/api/v1/runs")
    foreign = [scene.server.send("POST", path, b"", sec_fetch_site="cross-site") for path in paths]
    answers = [scene.server.send("POST", path, b"\x80", Content_Type="application/msgpack") for path in paths]
    counts = scene.server.send("GET", "/metrics", token=None).body.decode()

    assert [403, 403, 400, 400] == [each.status for each in (*foreign, *answers)]
    for journal, other in (foreign, answers):
        assert set(other.headers) == set(journal.headers)
    assert 'naiad_requests_total{route="/api/v1/journal",status="400"}' in counts


def test_project_of_another_token_is_not_found_as_any_other(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the projects that the token may see."""
    scene.server.register(new_uid(), "shown")
    monkeypatch.setenv("NAIAD_API_TOKEN", scene.server.add_token("viewer", "shown"))

    with pytest.raises(ProjectNotFound, match=r"has no project 'hidden'\. It has: 'shown'\."):
        naiad.init_project("hidden", store=f"http://127.0.0.1:{scene.server.port}", mode="read-only")


@pytest.mark.parametrize(("method", "path"), ALL)
def test_another_project_does_not_exist(scene: Scene, method: str, path: str) -> None:
    """An owner of one project neither sees nor changes anything of another."""
    if path == "/events":
        pytest.skip("it never ends; test_events_of_another_project_are_not_told reads it")

    reply = scene.ask(method, path, scene.tokens["owner"])

    assert reply.status not in (401, 500)
    for secret in (SECRET, scene.uid, scene.id, '"hidden"'):
        told = reply.body.decode("utf-8", "replace")
        # an answer may repeat the name that it was asked for, as that of a missing run
        assert secret not in told or reply.status == 404 or '"type":"RunNotFound"' in told
    if method != "GET" and path in (
        "/runs",
        "/trash",
        "/restore",
        "/containers/{id}",
        "/tokens/{id}",
        "/blobs",
        "/views",
    ):
        assert 404 == reply.status


def test_hidden_run_is_unchanged_after_all_of_that(scene: Scene) -> None:
    facts = scene.server.send("GET", f"/api/v1/containers/{scene.uid}").data

    assert (SECRET, False, "hidden") == (facts["name"], facts["is_trashed"], facts["project"])


def test_events_of_another_project_are_not_told(scene: Scene, tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:

        def stream(token: str) -> http.client.HTTPResponse:
            connection = http.client.HTTPConnection("127.0.0.1", scene.server.port, timeout=60)
            stack.callback(connection.close)
            connection.request("GET", "/api/v1/events", headers={"Authorization": f"Bearer {token}"})
            return stack.enter_context(connection.getresponse())

        def told_until(events: http.client.HTTPResponse, uid: str) -> str:
            told = ""
            while uid not in told:
                told += events.readline().decode()
            return told

        foreign, own = stream(scene.tokens["viewer"]), stream(scene.tokens["admin"])
        told_until(foreign, "hello")
        uids = []
        for project in ("hidden", "own"):
            run = naiad.init_run(store=tmp_path / project, project=project, **QUIET)
            run.stop()
            (place,) = (tmp_path / project / "runs").iterdir()
            uids.append(place.name)
            scene.server.register(place.name, project)
            ship(scene.server, place)
            told_until(own, place.name)
        told = told_until(foreign, uids[1])

    assert uids[0] not in told


def facts_of(server: AnyServer, uid: str) -> dict[str, Any]:
    return dict(server.send("GET", f"/api/v1/containers/{uid}").data)


def audited(server: AnyServer, action: str, principal: str) -> list[str]:
    entries = server.send("GET", "/api/v1/audit").data["entries"]
    return [each["subject"] for each in entries if (action, principal) == (each["action"], each["principal"])]


def test_trash_of_a_program_needs_an_owner_and_is_audited(
    server: AnyServer, logged: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`naiad trash` of a contributor raises at its line, and writes nothing."""
    monkeypatch.setenv("NAIAD_LOCAL_STORE", str(tmp_path / "here"))
    place, address = logged("trash-route"), f"http://127.0.0.1:{server.port}"
    name = server.register(place.name, "trash-route").data["id"]
    ship(server, place)
    wait_until(lambda: "trash-route" == facts_of(server, place.name)["project"])
    for role, may in (("contributor", False), ("owner", True)):
        token = server.send(
            "POST", "/api/v1/tokens", {"principal": f"t-{role}", "role": role, "project": "trash-route"}
        )
        monkeypatch.setenv("NAIAD_API_TOKEN", token.data["token"])
        with contextlib.nullcontext() if may else pytest.raises(NotAuthorized, match="does not permit"):
            naiad.management.trash_objects("trash-route", name, store=address)
        assert may is facts_of(server, place.name)["is_trashed"]

    assert [] == audited(server, "container.trash", "t-contributor")
    assert [name] == [each.replace(place.name, name) for each in audited(server, "container.trash", "t-owner")]


@pytest.mark.parametrize("role", ["contributor", "owner"])
def test_journal_puts_a_run_into_the_trash_only_if_its_sender_may(
    server: AnyServer, logged: Callable[..., Path], role: str
) -> None:
    """All else of such a journal arrives."""
    project = f"trash-{role}"
    place = logged(project)
    server.register(place.name, project)
    ship(server, place)
    wait_until(lambda: project == facts_of(server, place.name)["project"])
    token = server.send("POST", "/api/v1/tokens", {"principal": project, "role": role, "project": project}).data[
        "token"
    ]
    now = time.time() + 30
    ops = [
        Open("9-bin", 1, "h", "b", 1, "editor", now),
        Assign("sys/trashed", "bool", True, now),
        Assign("beside", "int", 7, now),
    ]
    data = encode_frame(1, encode_ops(ops))
    reply = server.journal(parts=[part(place.name, "9-bin.000001.ops", 16, data)], token=token)
    value = server.send("GET", f"/api/v1/containers/{place.name}/value?path=beside").data

    assert ([], role == "owner") == (reply.data["refused"], facts_of(server, place.name)["is_trashed"])
    assert 7 == value["value"]
    assert [place.name] * (role == "contributor") == audited(server, "container.trash-refused", project)


def frame_of(writer: str, *ops: Any, sequence: int = 1, at: float = 0.0) -> bytes:
    first = [Open(writer, 1, "h", "b", 1, "editor", at)] if sequence == 1 else []
    return encode_frame(sequence, encode_ops([*first, *ops]))


@pytest.mark.parametrize("role", ["contributor", "owner"])
@pytest.mark.parametrize("how", ["assigned", "deleted", "another kind"])
def test_journal_takes_a_run_out_of_the_trash_only_if_its_sender_may(
    server: AnyServer, logged: Callable[..., Path], role: str, how: str
) -> None:
    """Whichever op it uses."""
    project = f"restore-{role}-{how.partition(' ')[0]}"
    place, name = logged(project), f"r-{role}"
    server.register(place.name, project)
    ship(server, place)
    wait_until(lambda: project == facts_of(server, place.name)["project"])
    server.send("POST", "/api/v1/trash", {"ids": [place.name]})
    body = {"principal": f"{name}-{how}", "role": role, "project": project}
    token = server.send("POST", "/api/v1/tokens", body).data["token"]
    now = time.time() + 30
    ops: dict[str, list[Any]] = {
        "assigned": [Assign("sys/trashed", "bool", False, now)],
        "deleted": [Delete("sys/trashed", now)],
        "another kind": [Delete("sys/trashed", now), Assign("sys/trashed", "int", 7, now)],
    }
    data = frame_of("9-out", *ops[how], Assign("beside", "int", 7, now), at=now)
    reply = server.journal(parts=[part(place.name, "9-out.000001.ops", 16, data)], token=token)
    value = server.send("GET", f"/api/v1/containers/{place.name}/value?path=beside").data
    refused = audited(server, "container.restore-refused", f"{name}-{how}")

    assert ([], role == "contributor") == (reply.data["refused"], facts_of(server, place.name)["is_trashed"])
    assert 7 == value["value"]
    assert [place.name] * (role == "contributor") == refused


def test_run_stays_outside_the_trash_if_a_server_is_killed_after_it_took_the_journal_of_a_contributor(
    logged: Callable[..., Path], tmp_path: Path
) -> None:
    """Until the next server has started, `gc` does not delete the run either."""
    place = logged("killed")
    server = Server(tmp_path / "store").start("--init")
    server.register(place.name, "killed")
    ship(server, place)
    wait_until(lambda: "killed" == facts_of(server, place.name)["project"])
    token, file = server.add_token("contributor", "killed"), "9-cut.000001.ops"
    at = time.time() - 9 * 86_400
    first, second = (
        frame_of("9-cut", at=at),
        frame_of("9-cut", Assign("sys/trashed", "bool", True, time.time() + 30), sequence=2),
    )
    server.journal(parts=[part(place.name, file, 16, first)], token=token)
    folder = Layout(server.store).find(place.name)
    assert folder is not None

    def positions() -> dict[str, int]:
        return dict(server.send("GET", f"/api/v1/runs/{place.name}/journal").data["upto"])

    with folder.lock():  # which keeps the server from taking it out of the trash
        sending = threading.Thread(target=quietly(server.journal), kwargs={
            "parts": [part(place.name, file, 16 + len(first), second)], "token": token,
        })  # fmt: skip
        sending.start()
        wait_until(lambda: positions()[file] == 16 + len(first) + len(second))
        was = facts_of(server, place.name)["is_trashed"]
        server.kill()
    sending.join()
    kept = server.command("gc", "--trash-days", "0")
    server.start()
    again = server.journal(parts=[part(place.name, file, 16 + len(first), second)], token=token)
    now = facts_of(server, place.name)["is_trashed"]
    entries = server.send("GET", "/api/v1/audit").data["entries"]
    actions = [each["action"] for each in entries if each["subject"] == place.name]
    server.stop()

    assert (True, "", False) == (was, kept, now)
    assert (200, []) == (again.status, again.data["refused"])
    assert ["container.trash-settled", "container.trash-refused"] == actions[-2:]


def quietly(call: Callable[..., object]) -> Callable[..., None]:
    def called(**arguments: Any) -> None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            call(**arguments)

    return called


@pytest.mark.parametrize(("method", "path"), sorted(BODIES))
def test_roles_permit_what_they_say(scene: Scene, method: str, path: str) -> None:
    least = LEAST.get((method, path)) or ("owner" if path in ("/trash", "/restore") else "contributor")
    below = [role for role in ROLES[:3] if ROLES.index(role) < ROLES.index(least)]

    found = {role: scene.ask(method, path, scene.tokens[role]).status for role in below}

    assert dict.fromkeys(below, 403) == found
    if least in ROLES[:3]:
        assert 403 != scene.ask(method, path, scene.tokens[least]).status


def test_revoked_and_expired_tokens_end(scene: Scene) -> None:
    made = scene.server.send("POST", "/api/v1/tokens", {"principal": "ana", "role": "viewer", "project": "own"}).data
    short = {"principal": "ben", "role": "viewer", "project": "own", "days": 1e-9}
    over = scene.server.send("POST", "/api/v1/tokens", short).data
    before = scene.server.send("GET", "/api/v1", token=made["token"]).status
    revoked = scene.server.send("DELETE", f"/api/v1/tokens/{made['id']}").status
    listed = {each["id"]: each for each in scene.server.send("GET", "/api/v1/tokens").data["tokens"]}

    assert (200, 200) == (before, revoked)
    until_refused(lambda: scene.server.send("GET", "/api/v1", token=made["token"]).status)
    assert 401 == scene.server.send("GET", "/api/v1", token=over["token"]).status
    assert (True, "ana", "viewer") == tuple(listed[made["id"]][name] for name in ("is_revoked", "principal", "role"))


def test_token_that_is_revoked_while_it_is_looked_up_is_not_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was read before the change would count for 30 s more, though the change was noticed."""
    server, other = open_tokens(tmp_path), open_tokens(tmp_path)
    token, text = other.add("ana", "viewer")
    assert other.known(text)

    @contextlib.contextmanager
    def slowly(engine: Engine) -> Iterator[Connection]:
        with connected(engine) as connection:
            yield connection
        monkeypatch.undo()
        other.revoke(token.id)
        server.look()

    monkeypatch.setattr("naiad_server.tokens.connected", slowly)
    found = server.find(token.id)

    assert found is not None
    assert found.is_valid
    assert server.known(text) is None


def test_change_that_is_committed_after_a_later_one_is_noticed(tmp_path: Path) -> None:
    """Of two changes at once the one with the smaller number may come last."""
    server = open_tokens(tmp_path)
    token, text = server.add("ana", "viewer")
    server.look()
    assert server.known(text)  # which notes the day of its use, and so forgets it
    assert server.known(text)

    with server.engine.begin() as connection:
        connection.execute(update(token_table).where(token_table.c.id == token.id), {"is_revoked": True})
        row = {"number": 0, "at": 0.0, "principal": "command", "action": "token.revoke", "subject": token.id}
        connection.execute(insert(audit_table), row)
    server.look()

    assert server.known(text) is None


def until_refused(status: Callable[[], int]) -> None:
    """Wait until no replica takes a revoked token any more: the others notice within 5 s."""
    wait_until(lambda: [401] * 2 == [status() for _replica in range(2)])


def test_refusal_does_not_wait_for_a_body_that_never_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client may hold it back until it has the answer, and one without a token must not hold a connection."""
    monkeypatch.setattr("naiad_server.app.DRAIN_SECONDS", 0.01)

    async def receive() -> dict[str, object]:
        return await asyncio.Future()

    async def drained() -> bool:
        await asyncio.wait_for(Body(receive).drain(), 30)
        return True

    assert run_apart(drained())


def test_ticket_ends_with_its_token_and_sees_its_project_alone(scene: Scene) -> None:
    made = scene.server.send("POST", "/api/v1/tokens", {"principal": "cy", "role": "viewer", "project": "own"}).data
    targets = [f"/api/v1/file?run={scene.uid}&path=file", "/api/v1/projects"]
    asked = msgspec.json.encode({"targets": targets})
    found = scene.server.send("POST", "/api/v1/tickets", asked, token=made["token"], Content_Type="application/json")
    ticketed = [
        f"{target}{'&' if '?' in target else '?'}ticket={ticket}"
        for target, ticket in zip(targets, found.data["tickets"], strict=True)
    ]

    before = [scene.server.send("GET", target, token=None).status for target in ticketed]
    scene.server.send("DELETE", f"/api/v1/tokens/{made['id']}")

    assert [404, 200] == before
    for target in ticketed:
        until_refused(lambda target=target: scene.server.send("GET", target, token=None).status)


def test_none_makes_a_token_above_its_own_role(scene: Scene) -> None:
    def asked(role: str, project: str | None) -> int:
        body = {"principal": "x", "role": role, "project": project}
        return scene.server.send("POST", "/api/v1/tokens", body, token=scene.tokens["owner"]).status

    assert (403, 404, 200) == (asked("admin", None), asked("viewer", "hidden"), asked("owner", "own"))


def test_token_is_in_no_store_no_log_and_no_message(scene: Scene) -> None:
    """But for the line that shows the first one."""
    secrets = {text[-43:].encode() for text in [*scene.tokens.values(), scene.revoked]}
    bad = scene.server.send("GET", "/api/v1", token=scene.tokens["viewer"][:-1] + "A")
    listed = scene.server.command("token", "list")
    stored = dict(scene.server.texts())

    assert any(hashlib.sha256(secret).hexdigest().encode() in text for secret in secrets for text in stored.values())
    assert [] == [name for name, text in stored.items() if any(secret in text for secret in secrets)]
    assert not any(secret in bad.body + listed.encode() for secret in secrets)
    assert "contributor" in listed


@of_a_folder  # before a database stands a proxy with limits of its own
@pytest.mark.parametrize(
    "head", [b"GET /" + bytes(300_000).hex().encode(), b"GET / HTTP/1.1\r\na: " + bytes(300_000).hex().encode()]
)
def test_head_of_a_request_that_does_not_end_is_refused(server: Server, head: bytes) -> None:
    """Any client may connect, and the server would keep all of it in memory."""
    with socket.create_connection(("127.0.0.1", server.port), 60) as connection:
        sent = 0
        with contextlib.suppress(OSError):  # the server may end the connection between the question and the bytes
            while sent < len(head) and not select.select([connection], [], [], 0)[0]:
                sent += connection.send(head[sent : sent + 16_384])
        answer = connection.recv(12)

    assert b"HTTP/1.1 400" == answer


@of_a_folder
def test_tokens_are_readable_to_their_user_alone(server: Server) -> None:
    folder = server.store / "server"

    assert 0o700 == folder.stat().st_mode & 0o777
    assert 0o600 == (folder / "tokens.db").stat().st_mode & 0o777


def test_changes_are_in_the_audit(scene: Scene) -> None:
    scene.server.send("POST", "/api/v1/projects", {"name": "audited", "key": "AUD"})
    found = [tuple(line.split("\t")[1:3]) for line in scene.server.command("audit").splitlines()]

    assert ("admin", "project.add") in found
    assert ("admin", "token.add") in found
    assert ("command", "token.revoke") in found


Start = Callable[..., subprocess.CompletedProcess[str]]


def start(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, "server", "--store", str(folder / "store"), "--port", "0", *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60, env={**os.environ})


def test_other_machines_are_not_served_without_tls_unless_that_is_accepted(tmp_path: Path) -> None:
    refused = start(tmp_path, "--init", "--host", "0.0.0.0")
    half = start(tmp_path, "--init", "--tls-cert", str(Path(__file__)))
    server = Server(tmp_path / "store").start("--init", "--host", "0.0.0.0", "--insecure-http")
    server.stop()

    assert (2, 2) == (refused.returncode, half.returncode)
    assert "--insecure-http" in refused.stderr
    assert any(line.startswith("--insecure-http: ") for line in server.said)


@of_a_folder
def test_store_is_served_by_one_server(server: Server) -> None:
    second = start(server.store.parent)

    assert 1 == second.returncode
    assert "Another naiad server serves the store" in second.stderr


def test_store_without_a_server_names_the_first_step(tmp_path: Path) -> None:
    found = start(tmp_path)

    assert 1 == found.returncode
    assert "--init" in found.stderr


def test_content_of_another_project_is_not_had_by_naming_its_hash(scene: Scene) -> None:
    """A run of one's own that refers to it would make it readable."""
    secret = SECRET.encode() * 1000
    name = hashlib.sha256(secret).hexdigest()
    assert 200 == scene.server.send("PUT", f"/api/v1/blobs/{name}?project=hidden", secret).status
    token = scene.tokens["contributor"]
    scene.server.register("thief-1", "own", token=token)
    now = time.time()
    ref = FileRef(len(secret), "txt", blob=name)
    ops = [Open("9-thief", 1, "h", "b", 1, "owner", now), Assign("stolen", "file", ref.to_text(), now)]
    data = encode_frame(0, encode_ops(ops))

    reply = scene.server.journal(parts=[part("thief-1", "9-thief.000001.ops", 16, data)], token=token)
    read = scene.server.send("GET", "/api/v1/file?run=thief-1&path=stolen", token=token)

    assert ["BadPart"] == [each[2] for each in reply.data["refused"]]
    assert SECRET.encode() not in read.body
