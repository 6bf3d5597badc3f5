"""Security: who may ask, what logged content may do, and names that try to lead somewhere else."""

from __future__ import annotations

import http.client
import io
import os
import re
import stat
import subprocess
import time
import zipfile
from pathlib import Path

import pytest
from tests.web.conftest import COMMAND, Server, start, target

import naiad
from naiad import clock
from naiad.errors import NotPermitted
from naiad.types import File
from naiad_web.server.access import TICKET_SECONDS, Access, own_token

FULL = "DIGITS-13"
HOSTILE = "<img src=x onerror=alert(1)>"
TRAVERSALS = (
    "../../../../etc/passwd",
    "/etc/passwd",
    "..%2f..%2f..%2fetc%2fpasswd",
    "..%252f..%252fetc%252fpasswd",
    "....//....//etc/passwd",
    "..\\..\\windows\\win.ini",
    "C:\\windows\\win.ini",
    "file:///etc/passwd",
    "train.py\0.png",
    "\u202egnp.py",
    "code/../../../../../etc/passwd",
)
QUIET = {
    "capture_stdout": False, "capture_stderr": False, "capture_hardware_metrics": False, "git_ref": False,
    "source_files": [],
}  # fmt: skip


def routes(server: Server) -> list[tuple[str, str, list[str]]]:
    """Method, path and parameters of every route."""
    document = server.send("GET", "/api/v1/openapi.json", token=None).json
    found = []
    for path, item in document["paths"].items():
        for method, operation in item.items():
            names = [each["name"] for each in operation.get("parameters", ()) if each["in"] == "query"]
            found.append((method.upper(), path.replace("{id}", FULL), names))
    return found


# Who may ask


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:8127", "", "[::2]"])
def test_foreign_host_is_refused(server: Server, host: str) -> None:
    """A page of another site whose name was made to mean this machine asks under that name."""
    for place in ("/", "/healthz", "/static/app.js", "/api/v1"):
        assert server.send("GET", place, Host=host).status == 421


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:1", "LOCALHOST", "[::1]:8127"])
def test_names_of_this_machine_are_served(server: Server, host: str) -> None:
    assert server.send("GET", "/api/v1", Host=host).status == 200


def test_no_route_answers_without_the_token(server: Server) -> None:
    for method, path, _names in routes(server):
        body = {} if method != "GET" else None
        for token in (None, "x" * 43, server.token[:-1]):
            reply = server.send(method, path, body, token=token, Sec_Fetch_Site="same-origin")

            assert (reply.status, reply.json["type"]) == (401, "Unauthorized"), (method, path)
            assert token or "for the server of a team, ask the owner of the project" in reply.json["detail"]
        assert server.send("GET", f"{path}?token={server.token}", token=None).status in (401, 405)


def test_pages_of_other_sites_are_refused(server: Server) -> None:
    for site in ("cross-site", "same-site"):
        assert server.send("GET", "/api/v1", Sec_Fetch_Site=site).status == 403
    assert server.send("OPTIONS", "/api/v1/table", token=None, Origin="https://evil.example").status in (401, 405)
    reply = server.send("GET", "/api/v1", Origin="https://evil.example")
    assert not [name for name in reply.headers if name.startswith("access-control")]


def ticket(server: Server, place: str) -> str:
    return str(server.send("POST", "/api/v1/tickets", {"targets": [place]}).json["tickets"][0])


def test_ticket_is_for_its_target_alone(server: Server) -> None:
    place = target("/file", run=FULL, path="files/page")
    own = ticket(server, place)

    assert server.send("GET", f"{place}&ticket={own}", token=None).status == 200
    assert server.send("HEAD", f"{place}&ticket={own}", token=None).status == 200
    for other in (
        f"{target('/file', run=FULL, path='files/notes')}&ticket={own}",
        f"{place}&ticket={own}&download=true",
        f"{place}&download=true&ticket={own}",
        f"{place}&ticket={own[:-1]}A",
        f"{place}&ticket={own}=",
        f"{place}&ticket=",
        f"/api/v1?ticket={own}",
    ):
        assert server.send("GET", other, token=None).status == 401, other
    assert (
        server.send("POST", f"/api/v1/tickets?ticket={ticket(server, '/api/v1/tickets')}", {}, token=None).status == 401
    )
    whole = ticket(server, "/api/v1")
    assert server.send("GET", f"/api/v1?ticket={whole}", token=None).status == 200


def test_ticket_ends_within_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    access, moment = Access("t" * 43), clock.now()
    own = access.ticket("/a")

    for later, is_valid in ((0, True), (TICKET_SECONDS - 1, True), (TICKET_SECONDS + 1, False), (-120, False)):
        monkeypatch.setattr(clock, "now", lambda later=later: moment + later)
        assert is_valid is access.admits(own, "/a")
    assert not Access("u" * 43).admits(own, "/a")


def test_token_lies_in_a_private_file_and_survives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    token = own_token("file:///a")
    [file] = (tmp_path / "naiad/tokens").iterdir()

    assert (stat.S_IMODE(file.stat().st_mode), len(token) >= 43) == (0o600, True)
    assert token == own_token("file:///a") != own_token("file:///b")
    assert own_token("file:///a", is_new=True) != token
    file.chmod(0o644)
    with pytest.raises(NotPermitted):
        own_token("file:///a")


def test_new_token_ends_the_old_one(demo: Path, tmp_path: Path) -> None:
    first = start(demo, tmp_path)
    first.stop()
    again = start(demo, tmp_path)
    again.stop()
    new = start(demo, tmp_path, "--new-token")
    reply = new.send("GET", "/api/v1", token=first.token)
    new.stop()

    assert first.token == again.token != new.token
    assert reply.status == 401
    assert not any(str(demo) in str(path) for path in tmp_path.rglob("*"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
def test_store_of_another_user_is_shown_only_if_it_is_named(tmp_path: Path) -> None:
    project = tmp_path / "project"
    naiad.init_run(store=project / ".naiad", **QUIET).stop()
    os.chown(project / ".naiad", 12345, 12345)
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path / "state")}
    command = [*COMMAND, "ui", "--no-browser", "--port", "0"]
    done = subprocess.run(
        command, check=False, cwd=project, env=environment, capture_output=True, text=True, timeout=60
    )
    named = start(project / ".naiad", tmp_path / "state")
    named.stop()

    assert (done.returncode, done.stdout) == (1, "")
    assert "belongs to another user" in done.stderr


# Changes


def test_reading_server_changes_nothing(server: Server) -> None:
    for method, route, body in CHANGES:
        reply = server.change(method, route.format(id=FULL), body)

        assert (reply.status, reply.json["type"]) == (403, "Forbidden"), route


CHANGES = (
    ("PATCH", "/containers/{id}", {"name": "x"}),
    ("POST", "/trash", {"ids": ["DIGITS-1"]}),
    ("POST", "/restore", {"ids": ["DIGITS-1"]}),
    ("PUT", "/views", {"project": "digits", "name": "x", "url": "/p/digits/runs"}),
    ("DELETE", "/views", {"project": "digits", "name": "x"}),
)


def test_change_needs_token_origin_and_json(editing: Server) -> None:
    own = f"http://127.0.0.1:{editing.port}"
    for method, route, body in CHANGES:
        place = f"/api/v1{route.format(id='DIGITS-1')}"
        for status, headers in (
            (403, {}),
            (403, {"Sec_Fetch_Site": "cross-site"}),
            (403, {"Sec_Fetch_Site": "none"}),
            (403, {"Origin": "https://evil.example"}),
            (403, {"Origin": "null"}),
            (403, {"Origin": "https://evil.example", "Sec_Fetch_Site": "same-origin"}),
            (415, {"Origin": own, "Content_Type": "text/plain"}),
            (415, {"Origin": own, "Content_Type": "application/x-www-form-urlencoded"}),
        ):
            assert status == editing.send(method, place, body, **headers).status, (route, headers)
        assert editing.send(method, place, body, token=None, Origin=own).status == 401
    assert editing.get("/table", id="DIGITS-1", column="sys/name")["columns"][0]["values"] == ["trial 0"]


def test_names_tags_and_trash_are_changed(editing: Server) -> None:
    body = {"name": HOSTILE, "description": "d", "tags": {"add": ["new"], "remove": ["group-0"]}}
    head = editing.change("PATCH", "/containers/DIGITS-1", body).json
    moved = editing.change("POST", "/trash", {"ids": ["DIGITS-2"]})
    without = editing.get("/table")["ids"]
    editing.change("POST", "/restore", {"ids": ["DIGITS-2"]})

    assert (head["name"], head["description"], "new" in head["tags"], "group-0" in head["tags"]) == (
        HOSTILE,
        "d",
        True,
        False,
    )
    assert head["state"] == "finished"
    assert moved.json == {"moved": ["DIGITS-2"]}
    assert "DIGITS-2" not in without
    assert "DIGITS-2" in editing.get("/table")["ids"]
    assert editing.change("PATCH", "/containers/DIGITS-CNN-1", {"stage": "archived"}).json["stage"] == "archived"
    assert editing.change("PATCH", "/containers/DIGITS-CNN-1", {"stage": "moon"}).status == 400
    assert editing.change("PATCH", "/containers/DIGITS-1", {"name": "kept", "stage": "none"}).status == 409
    assert editing.get("/containers/DIGITS-1")["name"] == HOSTILE


def test_views_are_fields_of_the_project(editing: Server) -> None:
    address = "/p/digits/runs?sort=params%2Flr"
    saved = editing.change("PUT", "/views", {"project": "digits", "name": "best & <b>", "url": address})
    wrong = [
        editing.change("PUT", "/views", {"project": "digits", "name": name, "url": url}).status
        for name, url in (
            ("a/b", "/x"),
            ("", "/x"),
            ("..", "/x"),
            ("x", "https://evil.example"),
            ("x", "//evil.example"),
        )
    ]

    assert saved.status == 200
    assert editing.get("/views", project="digits")["views"] == [
        {"name": "best & <b>", "url": address, "modified": None}
    ]
    assert wrong == [400] * 5
    assert editing.change("DELETE", "/views", {"project": "digits", "name": "best & <b>"}).status == 200
    assert editing.get("/views", project="digits") == {"views": []}
    assert editing.change("PUT", "/views", {"project": "nothing", "name": "x", "url": "/x"}).status == 404


# Logged content


def test_every_answer_has_headers_that_browsers_obey(server: Server) -> None:
    for place in ("/", "/p/digits/runs", "/static/app.js", "/nothing", "/api/v1", "/api/v1/nothing", "/healthz"):
        reply = server.send("GET", place)

        assert reply.header("x-content-type-options") == "nosniff", place
        assert reply.header("referrer-policy") == "no-referrer"
        assert reply.header("cross-origin-opener-policy") == "same-origin"
        policy = reply.header("content-security-policy")
        assert "frame-ancestors 'none'" in policy, place
        assert "unsafe" not in policy
    page = server.send("GET", "/").body.decode()
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\bon\w+=|\bstyle=|javascript:", page)


@pytest.mark.parametrize(("path", "media"), [
    ("files/page", "text/html; charset=utf-8"), ("files/drawing", "image/svg+xml"), ("files/book", "application/json"),
    ("files/notes", "text/plain; charset=utf-8"), ("files/archive", "application/octet-stream"),
    ("files/model", "application/octet-stream"),
])  # fmt: skip
def test_logged_content_is_in_a_sandbox(server: Server, path: str, media: str) -> None:
    """Also when its address is opened by itself."""
    reply = server.send("GET", target("/file", run=FULL, path=path))
    policy = reply.header("content-security-policy")

    assert (reply.status, reply.header("content-type")) == (200, media)
    assert policy.startswith("sandbox allow-scripts; default-src 'none';")
    assert "allow-same-origin" not in policy
    assert reply.header("x-content-type-options") == "nosniff"
    assert ("attachment" in reply.header("content-disposition")) is (media == "application/octet-stream")


def test_markup_in_names_is_data_everywhere(server: Server) -> None:
    for place in (
        f"/api/v1/containers/{FULL}",
        target("/table", column="sys/name"),
        target(f"/containers/{FULL}/tree", prefix="params"),
        target("/lines", run=FULL, path="logs/console"),
        target(f"/containers/{HOSTILE.replace('/', '')}"),
        target("/table", query=HOSTILE),
    ):
        reply = server.send("GET", place.replace(" ", "%20").replace("<", "%3C").replace(">", "%3E"))

        assert reply.header("content-type") in ("application/json", "application/problem+json")


def test_name_of_a_download_cannot_end_its_header(editing: Server) -> None:
    run = naiad.init_run(store=store_of(editing), project="digits", **QUIET)
    run['x"; filename=evil.html; "'].upload(File.from_content(b"\0", extension='b"\r\nX: y'))
    run.stop()
    name = newest(editing)
    [path] = [each["path"] for each in editing.get(f"/containers/{name}/fields", kind="file")["fields"]]
    reply = editing.send("GET", target("/file", run=name, path=path))

    assert reply.status == 200
    assert "set-cookie" not in reply.headers
    assert "x" not in reply.headers


def store_of(server: Server) -> Path:
    return Path(server.get("")["store"])


def newest(server: Server) -> str:
    return str(server.get("/table", limit=1)["ids"][0])


def test_table_for_a_spreadsheet_holds_no_formula(editing: Server) -> None:
    for text in ("=1+1", "+1+1", "-1+1", "@SUM(1)", "\t=1", "-2.5", 'a"b,c\nd'):
        with naiad.init_run(store=store_of(editing), project="formulas", name=text, **QUIET):
            pass
    body = editing.send("GET", target("/table", project="formulas", column="sys/name", format="csv")).body.decode()
    cells = body.split("\r\n")[1:-1]

    assert sorted(cells) == sorted(["'=1+1", "'+1+1", "'-1+1", "'@SUM(1)", "'\t=1", "-2.5", '"a""b,c\nd"'])


# Names that lead somewhere else


def test_no_parameter_of_any_route_is_a_path_of_the_disk(server: Server) -> None:
    secret = Path("/etc/passwd").read_bytes()[:20]
    for method, path, names in routes(server):
        if method != "GET" or path.endswith("/events"):
            continue
        known = {"run": FULL, "path": "source_code/files", "left": FULL, "right": FULL, "left_path": "files/notes"}
        for text in TRAVERSALS:
            for name in names:
                given = {key: value for key, value in known.items() if key in names} | {name: text}
                reply = server.send("GET", target(path.removeprefix("/api/v1"), **given))

                assert reply.status < 500, (path, name, text, reply.body[:200])
                assert secret not in reply.body
            if "/containers/" in path:
                place = path.replace(
                    FULL, text.replace("\0", "%00").replace("\u202e", "%E2%80%AE").replace("\\", "%5C")
                )
                reply = server.send("GET", place)
                assert reply.status in (200, 400, 401, 404, 405), (place, reply.status)
                assert secret not in reply.body


@pytest.mark.parametrize(
    "text", [each for each in TRAVERSALS if each.isascii() and "\0" not in each and "\\" not in each]
)
def test_static_files_are_those_of_the_pages(server: Server, text: str) -> None:
    for place in (f"/static/{text}", f"/static//{text}", f"/static/lib/../../{text}", "/static/../server/app.py"):
        reply = server.send("GET", place)

        assert b"root:" not in reply.body
        assert b"import" not in reply.body[:200]
        assert reply.status == 404


def test_archives_are_read_by_listed_names_that_stay_inside(server: Server) -> None:
    for name in ("../../etc/passwd", "/etc/shadow", "C:\\boot.ini", "a/../../x", "nothing"):
        assert server.send("GET", target("/file", run=FULL, path="files/archive", member=name)).status == 404


def test_bombs_and_links_in_archives_are_refused(editing: Server) -> None:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("bomb", "w", force_zip64=True) as bomb:
            for _ in range(300):
                bomb.write(bytes(2**20))
        link = zipfile.ZipInfo("link")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    lying = sink.getvalue()
    with naiad.init_run(store=store_of(editing), project="digits", **QUIET) as run:
        run["zip"].upload(File.from_content(lying, extension="zip"))
        run["broken"].upload(File.from_content(lying[:-40], extension="zip"))
    name = newest(editing)
    began = time.monotonic()

    assert editing.send("GET", target("/file", run=name, path="zip", member="bomb")).status == 413
    assert editing.send("GET", target("/file", run=name, path="zip", member="link")).status == 404
    assert editing.send("GET", target("/archive", run=name, path="broken")).status == 409
    assert time.monotonic() < began + 10


def test_requests_that_are_too_large_are_refused(server: Server) -> None:
    assert server.send("POST", "/api/v1/table", b'{"query":"' + b"x" * 1_100_000 + b'"}').status == 413
    assert server.send("GET", target("/table", query="x" * 31_000)).status == 400
    assert server.send("POST", "/api/v1/table", b"[" * 100_000).status == 400
    assert server.send("POST", "/api/v1/chart", {"run": [f"A-{n}" for n in range(300)], "path": ["a"]}).status == 400


def test_host_and_allowed_host_are_served_and_no_other(demo: Path, tmp_path: Path) -> None:
    """`--host` names where to listen, and is a name of the server then, beside those of `--allowed-host`."""
    server = start(demo, tmp_path, "--host", "127.0.0.2", "--allowed-host", "Train.example")

    def status(host: str, token: str = server.token) -> int:
        connection = http.client.HTTPConnection("127.0.0.2", server.port, timeout=60)
        connection.request("GET", "/api/v1", headers={"Host": host, "Authorization": f"Bearer {token}"})
        found = connection.getresponse().status
        connection.close()
        return found

    assert server.url == f"http://127.0.0.2:{server.port}"
    assert [200] * 4 == [status(host) for host in ("127.0.0.2", "train.example:80", "TRAIN.example", "localhost")]
    assert [421] * 2 == [status(host) for host in ("other.example", "127.0.0.3")]
    assert 401 == status("train.example", "x" * 43)
    with pytest.raises(ConnectionRefusedError):
        http.client.HTTPConnection("127.0.0.1", server.port, timeout=60).connect()
    server.stop()
