"""The shipper: what a process logs arrives at the server, and nothing that the network does reaches the program."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from journal_server import TOKEN, JournalServer

import naiad
from naiad import api_tokens
from naiad.errors import NotAuthorized, ServerUnreachable, ServerWarning, SyncFailed, forget_warnings
from naiad.refs import FileRef
from naiad.ship import shipper
from naiad.ship.client import Client
from naiad.ship.shipment import Shipment
from naiad.storage.local import outbox
from naiad.storage.local.journal.parts import sources
from naiad.storage.local.layout import Layout, RunDirectory
from naiad.storage.local.maintenance import Maintenance
from naiad.storage.local.outbox import retire_file
from naiad.storage.local.reader import Reader
from naiad.storage.local.remote import read_remote
from naiad.types import File


def folder_of(store: Path) -> RunDirectory:
    """The one run in the folder here."""
    [found] = Layout(store).folders()
    return found


def steps(folder: RunDirectory, path: str = "loss") -> list[int]:
    return Reader(folder).points(path).steps.tolist()


def log(run: naiad.Run, start: int = 0, count: int = 100) -> None:
    for step in range(start, start + count):
        run["loss"].append(1 / (1 + step), step=step)


def test_run_arrives_while_it_is_written(server: JournalServer, store: Path) -> None:
    """Fields, texts, files: everything that was logged before `sync` is at the server when it returns."""
    run = naiad.init_run(store=server.url, project="digits", tags=["good"])
    run["params"] = {"lr": 0.1, "layers": 3}
    run["log"].append("one")
    run["model"].upload(File.from_content(b"m" * 10_000, extension="bin"))
    log(run)
    run.sync(remote=True)
    reader = Reader(server.run(run._run.uid))

    assert "SRV-1" == run.id
    assert list(range(100)) == reader.points("loss").steps.tolist()
    assert (0.1, 3) == (reader.value("params/lr"), reader.value("params/layers"))
    assert ["one"] == reader.texts("log").texts
    assert {"good"} == reader.tags("sys/tags")
    run.stop()
    reader = Reader(server.run(run._run.uid))
    assert "finished" == reader.state()
    assert b"m" * 10_000 == server.blobs[reader.digest(FileRef.from_text(str(reader.value("model"))))]


def test_ops_come_before_the_points_that_need_them(server: JournalServer) -> None:
    run = naiad.init_run(store=server.url)
    log(run)
    run.stop()

    assert server.order[0].endswith(".ops")


def test_stopped_run_is_sealed_and_leaves_no_mark(server: JournalServer, store: Path) -> None:
    run = naiad.init_run(store=server.url)
    log(run)
    run.stop()
    until = time.monotonic() + 60
    while outbox.unshipped(store) and time.monotonic() < until:
        time.sleep(0.02)

    assert {name for _uid, name in server.files} == {name for _uid, name in server.sealed}
    assert [] == outbox.unshipped(store)
    assert {False} == set(server.signs.values())


def test_folded_journal_arrives_whole_and_is_marked(
    server: JournalServer, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Long runs fold while they are shipped; files in the outbox are confirmed one by one."""
    monkeypatch.setenv("NAIAD_FOLD_RECORDS", "500")
    monkeypatch.setenv("NAIAD_SEGMENT_BYTES", "4096")
    monkeypatch.setenv("NAIAD_SMALL_RUN_RECORDS", "0")
    run = naiad.init_run(store=server.url)
    log(run, 0, 20_000)
    run.stop()
    folder = folder_of(store)

    assert list(range(20_000)) == steps(server.run(run._run.uid))
    until = time.monotonic() + 60
    while not all(name.endswith(outbox.SENT) for name in os.listdir(folder.outbox)) and time.monotonic() < until:
        time.sleep(0.02)
    assert {outbox.SENT} == {os.path.splitext(name)[1] for name in os.listdir(folder.outbox)}


def test_files_that_are_folded_after_the_server_confirmed_them_are_marked(
    server: JournalServer, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last fold of a run may come long after its last byte was shipped: until then its shipment is not over."""
    monkeypatch.setenv("NAIAD_SMALL_RUN_RECORDS", "0")
    run = naiad.init_run(store=server.url)
    log(run, 0, 1000)
    finish = Maintenance.finish

    def late(self: Maintenance, *arguments: Any) -> None:
        assert shipper.of_process.flush(run._run.uid, 60) is None
        finish(self, *arguments)

    monkeypatch.setattr(Maintenance, "finish", late)
    run.stop()
    folder = folder_of(store)
    until = time.monotonic() + 60
    while outbox.unshipped(store) and time.monotonic() < until:
        time.sleep(0.02)

    assert [] == outbox.unshipped(store)
    assert {outbox.SENT} == {os.path.splitext(name)[1] for name in os.listdir(folder.outbox)}


def test_file_that_moves_to_the_outbox_while_it_is_looked_for_is_not_taken_for_shipped(
    server: JournalServer, store: Path
) -> None:
    """The round in which it was listed in the journal and not found there is no proof that the server has it."""
    run = naiad.init_run(store=server.url, mode="offline")
    log(run, 0, 10)
    run.stop()
    folder = folder_of(store)
    remote = read_remote(folder)
    assert remote is not None
    shipment = Shipment(folder, remote, Client(server.url), is_whole=True)
    listed, [segment] = sources(folder), folder.journal.glob("*.seg")
    with mock.patch("naiad.ship.shipment.sources", return_value=listed):
        retire_file(segment)
        ends = shipment.ends()
        first = shipment.step()
        has_all = shipment.has(ends)
    second = shipment.step()

    assert (False, False) == (first.is_whole, has_all)
    assert (True, True) == (second.is_whole, shipment.has(ends))
    assert list(range(10)) == steps(server.run(shipment.remote.uid))


def test_everything_is_there_after_sync_also_in_a_segment_that_was_just_begun(server: JournalServer) -> None:
    """The one before it is full, and may still be filled as far as the writer knows."""
    run = naiad.init_run(store=server.url)
    run["loss"].extend([0.5] * 5000, steps=range(5000))
    run.sync(remote=True)

    assert list(range(5000)) == steps(server.run(run._run.uid))
    run.stop()


def test_server_that_is_away_at_first_gets_all_later(
    server: JournalServer, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run goes on under its uid; when the server is there, the id is known here too."""
    server.stop()
    with pytest.warns(ServerWarning, match="cannot be reached"):
        run = naiad.init_run(store=server.url)
    assert run.id == run._run.uid == run["sys/id"].fetch()
    log(run)
    server.start()
    run.sync(remote=True)

    assert list(range(100)) == steps(server.run(run._run.uid))
    until = time.monotonic() + 60
    while run["sys/id"].fetch() != "SRV-1" and time.monotonic() < until:
        time.sleep(0.02)
    assert "SRV-1" == run["sys/id"].fetch()
    run.stop()


def test_server_that_goes_away_in_the_middle_loses_nothing(server: JournalServer) -> None:
    run = naiad.init_run(store=server.url)
    log(run, 0, 100)
    run.sync(remote=True)
    server.stop()
    log(run, 100, 100)
    time.sleep(0.3)
    server.start()
    log(run, 200, 100)
    run.stop()

    assert list(range(300)) == steps(server.run(run._run.uid))


def test_stop_without_a_server_warns_with_the_remedy(
    server: JournalServer, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = naiad.init_run(store=server.url)
    log(run, 0, 10)
    run.sync(remote=True)
    server.stop()
    log(run, 10, 90)
    with pytest.warns(ServerWarning) as caught:
        run.stop()
    said = [str(each.message) for each in caught if "90 points" in str(each.message)]

    assert 1 == len(said)
    assert f"are not on {server.url} yet.\nThey are stored here. Send them with: naiad sync {store}" in said[0]
    assert list(range(100)) == steps(folder_of(store))
    assert [run._run.uid] == outbox.unshipped(store)


def test_answers_that_are_cut_off_duplicate_nothing(server: JournalServer) -> None:
    """The request was taken, and its sender does not know it."""
    run = naiad.init_run(store=server.url)
    log(run, 0, 50)
    run.sync(remote=True)
    server.cuts_answers = True
    log(run, 50, 50)
    until = time.monotonic() + 60
    while len(steps(server.run(run._run.uid))) < 100 and time.monotonic() < until:
        time.sleep(0.05)
    server.cuts_answers = False
    log(run, 100, 50)
    run.stop()

    assert list(range(150)) == steps(server.run(run._run.uid))


def test_refused_token_is_said_once_and_training_goes_on(server: JournalServer, store: Path) -> None:
    run = naiad.init_run(store=server.url)
    log(run, 0, 10)
    run.sync(remote=True)
    server.fault = lambda _method, _path: 401
    log(run, 10, 10)
    with pytest.raises(SyncFailed, match="rejects the token") as caught:
        run.sync(remote=True)
    assert isinstance(caught.value.__cause__, NotAuthorized)
    assert TOKEN not in str(caught.value)
    log(run, 20, 10)
    server.fault = lambda _method, _path: None
    run.stop()

    assert list(range(30)) == steps(server.run(run._run.uid))


def test_large_upload_delays_no_point_of_a_series_that_is_known(
    server: JournalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The upload stands still; points go on, and the file follows when it is done."""
    monkeypatch.setattr("naiad.ship.content.SMALL", 1000)
    goes_on = threading.Event()

    def wait(method: str, _path: str) -> None:
        if method == "PUT":
            assert goes_on.wait(60)

    run = naiad.init_run(store=server.url)
    log(run, 0, 10)
    run.sync(remote=True)
    server.fault = wait
    run["model"].upload(File.from_content(b"m" * 10_000, extension="bin"))
    log(run, 10, 10)
    run["later"].append(0.5)
    wait_until(lambda: list(range(20)) == steps(server.run(run._run.uid)))
    before = [*server.blobs]
    goes_on.set()
    run.stop()
    after = Reader(server.run(run._run.uid))

    assert [] == before
    assert (list(range(20)), 1, "finished") == (steps(server.run(run._run.uid)), after.count("later"), after.state())
    assert b"m" * 10_000 in server.blobs.values()


def test_large_upload_that_fails_is_tried_again(server: JournalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("naiad.ship.content.SMALL", 1000)
    answers = iter([503])
    server.fault = lambda method, _path: next(answers, None) if method == "PUT" else None
    run = naiad.init_run(store=server.url)

    def upload() -> None:
        run["model"].upload(File.from_content(b"m" * 10_000, extension="bin"))
        run.sync(remote=True)

    with pytest.warns(ServerWarning, match="503"):
        upload()
    run.stop()

    assert b"m" * 10_000 in server.blobs.values()
    assert "finished" == Reader(server.run(run._run.uid)).state()


def test_file_arrives_whose_sha_256_was_logged_before_it(server: JournalServer) -> None:
    """The hash as a text names content that is not here yet; it is looked for again when the file names it."""
    data = b"weights" * 1000
    name = hashlib.sha256(data).hexdigest()
    run = naiad.init_run(store=server.url)
    run["checksum"] = name
    run.sync(remote=True)
    run["model"].upload(File.from_content(data, extension="bin"))
    run.stop()

    assert data == server.blobs.get(name)


def wait_until(is_so: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_token_that_the_program_gives_goes_to_its_server_alone(
    server: JournalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`api_token=` comes before the environment, for the store of the same call."""
    monkeypatch.delenv("NAIAD_API_TOKEN")
    monkeypatch.setenv("NAIAD_API_TOKEN_FILE", os.devnull)
    monkeypatch.setattr(api_tokens, "_given", {})
    with naiad.init_run(store=server.url, api_token=TOKEN) as run:
        log(run, 0, 10)
    with pytest.raises(NotAuthorized) as caught:
        naiad.init_run(store=f"{server.url}/other", with_id="X-1", api_token="eyJhcGk-of-another-service")

    assert list(range(10)) == steps(server.run(run._run.uid))
    assert not any(TOKEN in text for text in (str(caught.value), repr(run), repr(run._store)))
    assert {TOKEN} == {headers["Authorization"].split()[1] for _method, _path, headers in server.requests}


def test_busy_server_is_asked_again(server: JournalServer) -> None:
    answers = iter([503, 503])
    run = naiad.init_run(store=server.url)
    server.fault = lambda _method, path: next(answers, None) if path == "journal" else None
    log(run)
    run.sync(remote=True)
    run.stop()

    assert list(range(100)) == steps(server.run(run._run.uid))


def test_server_that_was_set_back_gets_the_rest_again(
    server: JournalServer, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new epoch: files that it had confirmed are compared, and sent again where they are missing."""
    monkeypatch.setenv("NAIAD_FOLD_RECORDS", "500")
    monkeypatch.setenv("NAIAD_SEGMENT_BYTES", "4096")
    run = naiad.init_run(store=server.url)
    log(run, 0, 3000)
    run.sync(remote=True)
    server.files.clear()
    server.sealed.clear()
    server.epoch = "two"
    log(run, 3000, 10)
    run.sync(remote=True)
    log(run, 3010, 10)
    run.stop()

    assert list(range(3020)) == steps(server.run(run._run.uid))


def test_custom_id_that_the_server_knows_means_its_run(server: JournalServer, tmp_path: Path) -> None:
    """Another machine began it; what is logged here goes there."""
    with naiad.init_run(store=server.url, custom_run_id="job", project="digits") as first:
        log(first, 0, 10)
    other = tmp_path / "other"
    os.environ["NAIAD_LOCAL_STORE"] = str(other)  # the fixture's monkeypatch restores it
    run = naiad.init_run(store=server.url, custom_run_id="job", project="digits", mode="offline")
    log(run, 10, 10)
    run.stop()

    assert run._run != first._run
    assert list(range(10)) == steps(server.run(first._run.uid))


def test_several_threads_and_runs_share_one_shipper(server: JournalServer) -> None:
    runs = [naiad.init_run(store=server.url) for _ in range(3)]
    threads = [threading.Thread(target=log, args=(run, 0, 200)) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    names = [thread.name for thread in threading.enumerate()]
    for run in runs:
        run.stop()

    assert 1 == names.count("naiad-ship")
    for run in runs:
        assert list(range(200)) == steps(server.run(run._run.uid))


def test_forked_child_ships_what_it_writes(server: JournalServer) -> None:
    run = naiad.init_run(store=server.url)
    log(run, 0, 50)
    child = os.fork()
    if not child:
        run["child"].extend([0.5, 0.25], steps=[0, 1])
        run.stop()
        os._exit(0)
    os.waitpid(child, 0)
    run.stop()
    folder = server.run(run._run.uid)

    assert list(range(50)) == steps(folder)
    assert [0, 1] == steps(folder, "child")


def test_offline_run_asks_no_server(server: JournalServer, store: Path) -> None:
    run = naiad.init_run(store=server.url, mode="offline")
    log(run, 0, 10)
    run.stop()

    assert [] == server.requests
    assert folder_of(store).remote.exists()
    assert [run._run.uid] == outbox.unshipped(store)


def test_token_is_in_no_file_of_the_store(server: JournalServer, store: Path) -> None:
    with naiad.init_run(store=server.url) as run:
        log(run, 0, 10)
    files = [path for path in store.rglob("*") if path.is_file()]

    assert files
    assert [] == [path for path in files if TOKEN.encode() in path.read_bytes()]


def test_shipper_thread_ends_when_there_is_nothing_to_ship(server: JournalServer) -> None:
    with naiad.init_run(store=server.url) as run:
        log(run, 0, 10)
    until = time.monotonic() + 60
    while any(each.name == "naiad-ship" for each in threading.enumerate()) and time.monotonic() < until:
        time.sleep(0.02)

    assert "naiad-ship" not in [each.name for each in threading.enumerate()]
    assert shipper.of_process.remote(run._run.uid) is None


def test_server_that_is_away_is_one_warning_while_the_run_goes_on(server: JournalServer, store: Path) -> None:
    """`init_run` gives it, and the thread that ships adds none to it."""
    server.stop()

    def tried() -> naiad.Run:
        run = naiad.init_run(store=server.url)
        log(run)
        with pytest.raises(SyncFailed):
            run.sync(remote=True)
        return run

    with pytest.warns(ServerWarning) as caught:
        run = tried()
    with pytest.warns(ServerWarning, match="100 points"):
        run.stop(seconds=0.5)

    assert 1 == len(caught)


def test_wrong_address_is_one_warning_and_training_goes_on(server: JournalServer, store: Path) -> None:
    """Something that is no naiad server answers there."""
    server.fault = lambda _method, _path: 404
    with pytest.warns(ServerWarning) as caught:
        run = naiad.init_run(store=server.url)
    log(run)
    forget_warnings()
    with pytest.warns(ServerWarning):
        run.stop()

    assert 1 == len(caught)
    assert list(range(100)) == steps(folder_of(store))


def test_wait_for_a_server_that_is_away_tells_why_it_is_not_reached(server: JournalServer) -> None:
    run = naiad.init_run(store=server.url, project="p")
    server.stop()
    run["loss"].append(0.5)
    with pytest.warns(ServerWarning):
        problem = shipper.of_process.flush(run._run.uid, 60)
    run.stop(seconds=0.1)
    server.start()

    assert isinstance(problem, ServerUnreachable)
