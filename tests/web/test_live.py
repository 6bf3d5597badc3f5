"""Live: a run of another process, watched through the event stream, killed, and the server started anew."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.web.conftest import COMMAND, Server, start, target

import naiad

LATEST_SECONDS = 1.5
"""From logging a point to the event about it."""
TRAINING = """
import sys, time, naiad
run = naiad.init_run(project="live", store=sys.argv[1], capture_stdout=False, capture_stderr=False,
                     capture_hardware_metrics=False, git_ref=False, source_files=[])
print(run["sys/id"].fetch(), flush=True)
for step in range(100_000):
    run["train/loss"].append(step / 10, step=step)
    time.sleep(0.05)
"""
QUIET = {
    "capture_stdout": False, "capture_stderr": False, "capture_hardware_metrics": False, "git_ref": False,
    "source_files": [],
}  # fmt: skip


class Events:
    """An event stream, read event by event."""

    def __init__(self, server: Server, **parameters: Any) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        self._connection.request(
            "GET", target("/events", **parameters), headers={"Authorization": f"Bearer {server.token}"}
        )
        self._answer = self._connection.getresponse()
        assert self._answer.status == 200, self._answer.read()
        assert self._answer.getheader("content-type", "").startswith("text/event-stream")
        self.last_id = ""

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        kind = ""
        while line := self._answer.readline().decode():
            name, _, value = line.rstrip("\n").partition(": ")
            if name == "id":
                self.last_id = value
            elif name == "event":
                kind = value
            elif name == "data":
                yield kind, json.loads(value)

    def until(self, kind: str, seconds: float = 60.0, **facts: Any) -> Any:
        """Return the first event of a kind for which a fact holds."""
        until = time.monotonic() + seconds
        for found, data in self:
            if found == kind and all(fits(data) for fits in facts.values()):
                return data
            assert time.monotonic() < until, f"no such event {kind}"
        raise AssertionError("the stream has ended")

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store with one run that has ended."""
    with naiad.init_run(project="live", store=tmp_path / "store", **QUIET) as run:
        run["x"] = 1
    return tmp_path / "store"


@pytest.fixture
def live(store: Path, tmp_path: Path) -> Iterator[Server]:
    """A server of it."""
    running = start(store, tmp_path / "state")
    yield running
    running.stop()


@pytest.fixture
def training(store: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process that trains, and the id of its run."""
    process = subprocess.Popen([sys.executable, "-c", TRAINING, str(store)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    yield process, process.stdout.readline().strip()
    process.kill()
    process.wait()
    process.stdout.close()


def test_run_in_training_is_watched_killed_and_watched_by_a_new_server(
    store: Path, tmp_path: Path, live: Server, training: tuple[subprocess.Popen[str], str]
) -> None:
    process, name = training
    events = Events(live, run=name, prefix="train")
    assert next(iter(events))[0] == "hello"
    delays, before = [], events.until("fields", of=lambda data: "train/loss" in data["grown"])["grown"]["train/loss"]
    for _ in range(5):
        grown = events.until("fields", of=lambda data: "train/loss" in data["grown"])
        now = time.time()
        [series] = live.get("/series", run=name, path="train/loss", from_=before, to=before)["series"]
        delays.append(now - series["times"][0] / 1000)  # of the first point that this event is about
        before = grown["grown"]["train/loss"]
    assert grown["state"] == "running"
    os.kill(process.pid, signal.SIGKILL)
    events.until("fields", of=lambda data: data["state"] == "killed")
    count = live.get("/series", run=name, path="train/loss")["series"][0]["total"]
    last = events.last_id
    events.close()
    live.stop()
    with naiad.init_run(with_id=name, store=store, **QUIET) as again:  # while no server looks
        again["train/loss"].append(1.0)
        again["later"] = "x"
    with naiad.init_run(project="live", store=store, name="new", **QUIET):
        pass
    second = start(store, tmp_path / "state")
    try:
        resumed = Events(second, run=name, last_event_id=last)
        hello = resumed.until("hello")
        runs = resumed.until("runs")
        fields = resumed.until("fields")
        resumed.close()
    finally:
        second.stop()

    assert hello["resumed"]
    assert {run["name"] for run in runs["changed"] if run["is_new"]} == {"new"}
    assert fields["grown"]["train/loss"] == count + 1
    assert "later" in fields["changed"]
    assert sorted(delays)[2] <= LATEST_SECONDS, delays


def test_points_between_the_reading_of_a_run_and_its_first_stream_are_told(store: Path, live: Server) -> None:
    with naiad.init_run(project="live", store=store, **QUIET) as run:
        name = run["sys/id"].fetch()
        run["loss"].append(1.0)
        run.sync()
        live.get("/series", run=name, path="loss")
        run["loss"].append(2.0)
        run["note"] = "x"
        run.sync()
        events = Events(live, run=name)
        told = events.until("fields")
        events.close()

    assert 2 == told["grown"]["loss"]
    assert "note" in told["changed"]


def test_run_that_another_tab_brings_into_a_stream_is_told_what_was_written_since_it_was_read(
    store: Path, live: Server
) -> None:
    """The stream of all tabs goes on from its own last event, which may be later than the reading of the new tab."""
    with naiad.init_run(project="live", store=store, **QUIET) as run:
        name = run["sys/id"].fetch()
        run["loss"].append(1.0)
        run.sync()
        shared = Events(live, project="live")
        shared.until("hello")
        live.get("/series", run=name, path="loss")
        run["loss"].append(2.0)
        run.sync()
        shared.until("runs", of=lambda data: any(each["id"] == name for each in data["changed"]))
        shared.close()
        both = Events(live, project="live", run=name, last_event_id=shared.last_id)
        told = both.until("fields")
        both.close()

    assert 2 == told["grown"]["loss"]


def test_run_that_ended_long_ago_is_not_told_to_a_first_stream(
    store: Path, live: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = time.time() - 3600
    with monkeypatch.context() as patch:
        patch.setattr("naiad.clock.now", lambda: ended)
        with naiad.init_run(project="live", store=store, **QUIET) as run:
            name = run["sys/id"].fetch()
    for path in store.rglob("*"):
        os.utime(path, (ended, ended))
    events = Events(live, run=name)
    first = next(iter(events))[0]
    with naiad.init_run(project="live", store=store, **QUIET) as new:
        new["x"] = 1
    second = next(iter(events))[0]
    events.close()

    assert ["hello", "runs"] == [first, second]


def test_run_that_ended_before_its_page_was_opened_is_not_told_to_a_first_stream(
    store: Path, live: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would load its charts once more. One that may have ended since is told."""
    ended = time.time() - 10
    with monkeypatch.context() as patch:
        patch.setattr("naiad.clock.now", lambda: ended)
        with naiad.init_run(project="live", store=store, **QUIET) as run:
            name = run["sys/id"].fetch()
            run["loss"].append(1.0)
    for path in store.rglob("*"):
        os.utime(path, (ended, ended))
    told = []
    for age in (1, 20):
        events = Events(live, run=name, age=age)
        with naiad.init_run(project="live", store=store, **QUIET) as new:
            new["x"] = 1
        kinds = (kind for kind, _data in events)
        told.append([next(kinds), next(kinds)])
        events.close()

    assert [["hello", "runs"], ["hello", "fields"]] == told


def test_new_and_deleted_runs_are_told(store: Path, live: Server) -> None:
    events = Events(live, project="live")
    other = Events(live, project="elsewhere")
    events.until("hello")
    with naiad.init_run(project="live", store=store, name="<b>new</b>", **QUIET) as run:
        name = run["sys/id"].fetch()
    found = events.until("runs", of=lambda data: any(each["id"] == name for each in data["changed"]))
    naiad.management.trash_objects("live", [name], store=store)
    naiad.management.delete_objects_from_trash("live", [name], store=store)
    gone = events.until("runs", of=lambda data: bool(data["removed"]))
    told = next(iter(other))
    events.close()
    other.close()

    assert found["changed"][0]["name"] == "<b>new</b>"
    assert [each["id"] for each in gone["removed"]] == [name]
    assert told[0] == "hello"


def test_stream_needs_a_ticket_or_the_token(live: Server) -> None:
    place = target("/events", project="live")
    [ticket] = live.send("POST", "/api/v1/tickets", {"targets": [place]}).json["tickets"]
    connection = http.client.HTTPConnection("127.0.0.1", live.port, timeout=60)
    connection.request("GET", f"{place}&ticket={ticket}")
    answer = connection.getresponse()
    first = answer.readline() + answer.readline()
    connection.close()

    assert (answer.status, b"event: hello" in first) == (200, True)
    assert live.send("GET", place, token=None).status == 401


def test_stream_goes_on_for_the_runs_that_exist(store: Path, live: Server) -> None:
    """All tabs of a browser share a stream, and one of them may still show a run that was deleted."""
    run = naiad.init_run(store=store, project="live", **QUIET)
    name = run["sys/id"].fetch()
    events = Events(live, run=["LIVE-99", name])
    hello = events.until("hello")
    run["train/loss"].append(0.5)
    run.stop()
    told = events.until("fields", of=lambda data: "train/loss" in data["grown"])
    events.close()

    assert ["LIVE-99"] == hello["missing"]
    assert name == told["run"]


def test_store_that_is_gone_is_said_in_one_sentence(store: Path, live: Server) -> None:
    events = Events(live, project="live")
    events.until("hello")
    live.get("/table")
    shutil.move(store, store.with_name("elsewhere"))
    told = events.until("gone")
    replies = [live.send("GET", f"/api/v1{route}") for route in ("/table", "/projects", "/containers/LIVE-1", "/usage")]
    shutil.move(store.with_name("elsewhere"), store)
    back = live.get("/table")
    events.close()

    assert told["type"] == "StoreGone"
    for reply in replies:
        assert (reply.status, reply.json["type"]) == (503, "StoreGone")
        assert reply.json["detail"] == f"The store {store} is not there any more: it was deleted or moved."
    assert back["total"] == 1
    assert not any("Traceback" in line for line in live.said)


def test_damaged_run_takes_nothing_else_down(store: Path, live: Server) -> None:
    with naiad.init_run(project="live", store=store, name="whole", **QUIET) as run:
        run["loss"].extend([float(n) for n in range(10_000)])
        whole = run["sys/id"].fetch()
    with naiad.init_run(project="live", store=store, name="damaged", **QUIET) as run:
        run["loss"].extend([float(n) for n in range(10_000)])
        run["note"] = "still readable"
        damaged = run["sys/id"].fetch()
        uid = run._session.key
    for file in (store / "runs" / uid).rglob("*"):
        if file.suffix in (".db", ".seg"):  # points lie in one of them
            data = bytearray(file.read_bytes())
            data[len(data) // 3 : len(data) // 3 * 2] = bytes(len(data) // 3)
            file.write_bytes(data)
    reply = live.send("GET", target("/chart", run=[whole, damaged], path="loss", format="json"))
    series = live.send("GET", target("/series", run=[whole, damaged], path="loss"))
    head = live.send("GET", f"/api/v1/containers/{damaged}")
    table = live.get("/table", project="live", column="sys/name")

    assert reply.status == series.status == 200
    assert (reply.json["series"][0]["mode"], reply.json["series"][0]["max"]) == ("buckets", 9_999.0)
    assert series.json["series"][0]["count"] == 10_000
    assert reply.json["series"][1]["error"]["type"] == "DamagedData"
    assert head.status in (200, 422)
    assert head.status == 422 or head.json["damages"]
    assert {whole, damaged} <= set(table["ids"])
    assert not any("Traceback" in line for line in live.said)


# The command


def test_address_of_a_run_is_its_page_while_a_server_runs(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))

    def addresses() -> list[str]:
        with naiad.init_run(with_id="LIVE-1", store=store, mode="read-only") as run:
            project = naiad.init_project(project="live", store=store, mode="read-only")
            found = [run.get_url(), project.get_url()]
            project.stop()
        return [*found, run.get_url()]

    before = addresses()
    server = start(store, tmp_path / "state")
    while_it_runs = addresses()
    server.process.kill()
    server.process.wait()
    after = addresses()
    monkeypatch.setenv("NAIAD_UI_URL", "https://pages.example/naiad/")
    named = addresses()
    server.reading.join(5)
    server.process.stdout.close()  # type: ignore[union-attr]  # it was asked for

    assert all(each.startswith("file://") for each in before)
    assert while_it_runs[0] == f"{server.url}/p/live/runs/LIVE-1" == while_it_runs[2]
    assert while_it_runs[1] == f"{server.url}/p/live"
    assert before == after
    assert named[0] == "https://pages.example/naiad/p/live/runs/LIVE-1"
    assert not any(server.token in each for each in while_it_runs)


def test_first_request_is_answered_soon_and_one_line_printed(store: Path, tmp_path: Path) -> None:
    """The budget is a second on a quiet machine; here others work too."""
    seconds = []
    for _ in range(3):
        began = time.monotonic()
        server = start(store, tmp_path / "state")
        status = server.send("GET", "/api/v1").status
        seconds.append(time.monotonic() - began)
        server.stop()
        assert (status, server.said) == (200, [])

    assert min(seconds) < 6.0, seconds


SLOW = """
import sys, time
from naiad_web.server import tables
tables._page = lambda *_arguments: time.sleep(6)
from naiad.cli import main
main()
"""


def test_request_that_the_end_of_the_server_cuts_off_is_answered(store: Path, tmp_path: Path) -> None:
    """Who stops a server that is at work sees no stack trace, and the page gets a sentence."""
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path)}
    command = [sys.executable, "-c", SLOW, "--store", str(store), "ui", "--port", "0", "--no-browser"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        address, _, token = process.stdout.readline().strip().partition("/#token=")
        connection = http.client.HTTPConnection(address.rpartition("//")[2], timeout=60)
        connection.request("GET", "/api/v1/table", headers={"Authorization": f"Bearer {token}"})
        time.sleep(1)  # until it is being answered
        process.send_signal(signal.SIGINT)
        answer = connection.getresponse()
        told = json.loads(answer.read())
        connection.close()
        _said, complaints = process.communicate(timeout=60)

    assert (503, "The server is stopping.") == (answer.status, told["detail"])
    assert "Traceback" not in complaints


def test_end_of_the_server_ends_its_event_streams_without_a_message(store: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path)}
    command = [*COMMAND, "--store", str(store), "ui", "--port", "0", "--no-browser"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        address, _, token = process.stdout.readline().strip().partition("/#token=")
        connection = http.client.HTTPConnection(address.rpartition("//")[2], timeout=60)
        connection.request("GET", "/api/v1/events", headers={"Authorization": f"Bearer {token}"})
        stream = connection.getresponse()
        begun = stream.readline() + stream.readline()
        process.send_signal(signal.SIGINT)
        stream.read()  # an end that is not one of the protocol raises
        connection.close()
        _said, complaints = process.communicate(timeout=60)

    assert b"event: hello" in begun
    assert "" == complaints


def test_command_without_a_store_says_what_to_do(tmp_path: Path) -> None:
    done = subprocess.run(
        [*COMMAND, "--store", str(tmp_path / "nothing"), "ui", "--no-browser"],
        check=False, capture_output=True, text=True, timeout=60,
    )  # fmt: skip

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"There is no store at {tmp_path / 'nothing'}.\n")
    assert "Traceback" not in done.stderr


def test_port_that_is_taken_is_said(store: Path, live: Server) -> None:
    done = subprocess.run(
        [*COMMAND, "--store", str(store), "ui", "--no-browser", "--port", str(live.port)],
        check=False, capture_output=True, text=True, timeout=60,
    )  # fmt: skip

    assert done.returncode == 1
    assert f"Cannot listen on 127.0.0.1, port {live.port}" in done.stderr
