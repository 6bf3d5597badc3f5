"""`naiad sync` with a real server: folders arrive complete, whatever has become of the processes that wrote them."""

from __future__ import annotations

import base64
import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from server_client import Server

import naiad
from naiad.cli import main
from naiad.cli.sync import rate
from naiad.errors import RunNotFound, ServerWarning, forget_warnings
from naiad.ship import shipper
from naiad.ship.client import Client
from naiad.ship.shipment import Shipment
from naiad.ship.sync import Sync, watch
from naiad.storage.local import outbox
from naiad.storage.local.index import replay
from naiad.storage.local.journal.parts import sources
from naiad.storage.local.layout import Layout, RunDirectory
from naiad.storage.local.reader import Reader
from naiad.storage.local.registrar import renew_epoch
from naiad.storage.local.remote import read_remote
from naiad.types import File

Cli = Callable[..., Result]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    own = Server(tmp_path_factory.mktemp("server") / "store").start("--init")
    yield own
    own.stop()


@pytest.fixture
def url(served: Server, store: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of the server; what is shipped lies in the test's own folder."""
    monkeypatch.delenv("NAIAD_STORE")
    monkeypatch.setenv("NAIAD_LOCAL_STORE", str(store))
    monkeypatch.setenv("NAIAD_API_TOKEN", served.token)
    forget_warnings()
    yield f"http://127.0.0.1:{served.port}"
    shipper.of_process.close()
    forget_warnings()


@pytest.fixture
def cli(url: str) -> Cli:
    def call(*arguments: str) -> Result:
        return CliRunner().invoke(main, [*arguments])

    return call


def log(project: str, points: int = 100, **options: Any) -> naiad.Run:
    """Log a run of every form of data, and stop it."""
    run = naiad.init_run(project=project, **options)
    run["lr"] = 0.1
    run["loss"].extend([1 / (1 + step) for step in range(points)], steps=range(points))
    run["log"].extend(["one", "two"])
    run["sys/tags"].add(["good"])
    run["model"].upload(File.from_content(project.encode() * 5000, extension="bin"))
    run.stop()
    return run


def facts(url: str, name: str, project: str, folder: Path) -> tuple[Any, ...]:
    """What the server shows of such a run."""
    with naiad.init_run(store=url, with_id=name, mode="read-only", project=project) as run:
        steps = run["loss"].fetch_values(progress_bar=False)["step"].tolist()
        run["model"].download(str(folder / "model.bin"), progress_bar=False)
        content = (folder / "model.bin").read_bytes()
        return (
            len(steps), steps == sorted(set(steps)), run["lr"].fetch(), run["log"].fetch_values()["value"].tolist(),
            run["sys/tags"].fetch(), content == project.encode() * 5000, run["sys/state"].fetch(),
        )  # fmt: skip


WHOLE = (100, True, 0.1, ["one", "two"], {"good"}, True, "finished")


def rows(result: Result) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(result.stdout)
    return found


def test_offline_runs_arrive_complete(url: str, cli: Cli, tmp_path: Path) -> None:
    run = log("offline", store=url, mode="offline")
    result = cli("sync", "--json")
    [row] = rows(result)

    assert (0, True, None) == (result.exit_code, row["confirmed"], row["problem"])
    assert run.id == run._run.uid != row["id"]
    assert WHOLE == facts(url, row["id"], "offline", tmp_path)
    assert WHOLE == facts(url, run._run.uid, "offline", tmp_path), "both names work"
    assert "OFFLINE-1" == row["id"]


def test_server_that_was_set_back_to_a_backup_gets_everything_again(
    url: str, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one run the backup has nothing, of the other one only its beginning."""
    own = Server(tmp_path / "own").start("--init")
    address = f"http://127.0.0.1:{own.port}"
    monkeypatch.setenv("NAIAD_API_TOKEN", own.token)
    run = naiad.init_run(store=address, project="before")
    run["loss"].append(1.0)
    assert run.sync(remote=True) is None
    own.stop()
    shutil.copytree(tmp_path / "own", tmp_path / "backup")
    own.start()
    run["loss"].extend([1 / (2 + step) for step in range(99)])
    run.stop()
    after = log("after", store=address)
    own.stop()
    shutil.rmtree(tmp_path / "own")
    shutil.copytree(tmp_path / "backup", tmp_path / "own")
    own.start()
    result = cli("sync", "--verify", "--json")

    assert (0, [True, True]) == (result.exit_code, [row["confirmed"] for row in rows(result)]), result.output
    assert WHOLE == facts(address, after._run.uid, "after", tmp_path)
    with naiad.init_run(store=address, with_id=run._run.uid, mode="read-only") as back:
        assert 100 == len(back["loss"].fetch_values(progress_bar=False))
    own.stop()


def test_folder_that_was_folded_long_ago_arrives_complete(
    url: str, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It never had a server, so its journal is made again from its index."""
    monkeypatch.setenv("NAIAD_SMALL_RUN_RECORDS", "0")
    old = tmp_path / "old"
    log("folded", 5000, store=old)
    [folder] = Layout(old).folders()
    assert folder.index.exists()
    result = cli("sync", str(old), "--to", url, "--verify", "--json")
    [row] = rows(result)

    assert 0 == result.exit_code, result.output
    assert (5000, *WHOLE[1:]) == facts(url, row["id"], "folded", tmp_path)


@pytest.mark.parametrize("is_offline", [False, True], ids=["shipped", "offline"])
def test_run_that_was_sealed_stays_as_it_was_sealed(
    is_offline: bool, url: str, cli: Cli, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NAIAD_SMALL_RUN_RECORDS", "0")
    log("sealed", 3000, store=url, **({"mode": "offline"} if is_offline else {}))
    before = folder_in(store).index.read_bytes()
    sent = cli("sync", "--verify")

    assert 0 == sent.exit_code, sent.output
    assert before == folder_in(store).index.read_bytes()
    assert 0 == cli("--store", str(store), "verify").exit_code


ELSEWHERE = """
import os, sys, naiad
run = naiad.init_run(custom_run_id="elsewhere", project="elsewhere", capture_hardware_metrics=False, git_ref=False,
    mode=sys.argv[2], **({"name": "first", "description": "of another machine"} if sys.argv[1] == "0" else {}))
run["loss"].extend([float(int(sys.argv[1]) + step) for step in range(100)], steps=range(100))
run["last"] = int(sys.argv[1])
run.stop()
"""


def test_run_of_another_machine_goes_on_while_its_server_is_away_and_keeps_its_facts(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job is started again on a machine that has written the run before: without a server, and offline."""
    own = Server(tmp_path / "own").start("--init")
    address = f"http://127.0.0.1:{own.port}"
    monkeypatch.setenv("NAIAD_API_TOKEN", own.token)

    def log_in(place: str, number: int, mode: str = "async") -> subprocess.CompletedProcess[str]:
        settings = {"NAIAD_STORE": address, "NAIAD_LOCAL_STORE": str(tmp_path / place), "NAIAD_CONNECT_SECONDS": "30"}
        command = [sys.executable, "-c", ELSEWHERE, str(number), mode]
        environment = {**os.environ, **settings}
        return subprocess.run(command, env=environment, check=False, capture_output=True, text=True, timeout=60)

    def facts_of() -> list[Any]:
        with naiad.init_run(store=address, custom_run_id="elsewhere", project="elsewhere", mode="read-only") as run:
            return [run[f"sys/{each}"].fetch() for each in ("id", "name", "description", "creation_time", "owner")]

    log_in("a", 0)
    log_in("b", 100)
    before = facts_of()
    own.stop()
    done = [log_in("b", 200), log_in("b", 300, "offline")]
    own.start()
    synced = cli("sync", str(tmp_path / "b"), "--json")
    with naiad.init_run(store=address, with_id=str(before[0]), mode="read-only") as run:
        values = sorted(run["loss"].fetch_values(progress_bar=False)["value"].tolist())
        last = run["last"].fetch()

    assert [0, 0] == [each.returncode for each in done], done
    assert "cannot be reached" in done[0].stderr
    assert (0, [True]) == (synced.exit_code, [row["confirmed"] for row in rows(synced)]), synced.output
    assert (before, "first") == (facts_of(), before[1])
    assert ([float(each) for each in range(400)], 300) == (values, last)
    own.stop()


RESUMED = """
import os, sys, naiad
run = naiad.init_run(custom_run_id="again", project=sys.argv[1], capture_hardware_metrics=False, git_ref=False)
run["loss"].extend([float(step) for step in range(100, 200)])
run.wait()
os._exit(9) if sys.argv[1] == "killed" else run.stop()
"""


@pytest.mark.parametrize("end", ["stopped", "killed", "alone"])
def test_run_that_is_resumed_after_it_was_shipped_is_found(
    end: str, url: str, cli: Cli, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its program has no token meanwhile, or writes to the folder alone."""
    monkeypatch.setenv("NAIAD_SMALL_RUN_RECORDS", "0")
    run = naiad.init_run(store=url, custom_run_id="again", project=end, git_ref=False)
    run["loss"].extend([float(step) for step in range(100)])
    run.stop()
    assert [] == rows(cli("sync", "--json"))
    place = str(store) if end == "alone" else url
    environment = {**os.environ, "NAIAD_STORE": place, "NAIAD_API_TOKEN": ""}
    command = [sys.executable, "-c", RESUMED, end]
    subprocess.run(command, env=environment, check=False, capture_output=True, timeout=60)
    [row] = rows(cli("sync", "--json"))
    with naiad.init_run(store=url, with_id=row["id"], mode="read-only") as found:
        values = found["loss"].fetch_values(progress_bar=False)["value"].tolist()

    assert (True, None) == (row["confirmed"], row["problem"])
    assert [float(step) for step in range(200)] == values
    assert [] == rows(cli("sync", "--json"))


def test_same_folder_again_and_a_copy_of_it_add_nothing(
    url: str, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once too: the server has each byte of a journal once, whoever brings it."""
    monkeypatch.setenv("NAIAD_SMALL_RUN_RECORDS", "0")
    old, copy = tmp_path / "old", tmp_path / "copy"
    log("twice", 3000, store=old)
    shutil.copytree(old, copy)
    done: list[Result] = []
    threads = [
        threading.Thread(target=lambda place=place: done.append(Sync(Layout(place), url).ship(folder_in(place))))  # type: ignore[misc]  # of a default
        for place in (old, copy)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    again = cli("sync", str(copy), "--to", url, "--json")

    assert [True, True] == [each.is_confirmed for each in done]  # type: ignore[attr-defined]  # of naiad.ship.sync
    assert (0, 0) == (again.exit_code, rows(again)[0]["sent"])
    assert (3000, *WHOLE[1:]) == facts(url, rows(again)[0]["id"], "twice", tmp_path)


def folder_in(place: Path) -> RunDirectory:
    [found] = Layout(place).folders()
    return found


KILLED = """
import os, naiad
run = naiad.init_run(store=os.environ["URL"], project="killed", mode="offline")
run["lr"] = 0.1
for step in range(1000):
    run["loss"].append(step / 7, step=step)
os._exit(9)
"""


def test_run_of_a_killed_writer_arrives_with_every_point(url: str, cli: Cli, store: Path) -> None:
    subprocess.run([sys.executable, "-c", KILLED], env={**os.environ, "URL": url}, check=False)
    result = cli("sync", "--json")
    [row] = rows(result)
    with naiad.init_run(store=url, with_id=row["id"], mode="read-only") as run:
        steps = run["loss"].fetch_values(progress_bar=False)["step"].tolist()
        state = run["sys/state"].fetch()

    assert 0 == result.exit_code, result.output
    assert [float(step) for step in range(1000)] == steps
    assert "killed" == state


def test_outbox_that_was_deleted_is_counted_as_dropped_once(
    url: str, cli: Cli, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server has the beginning of that journal, which therefore cannot be made again from the index."""
    monkeypatch.setenv("NAIAD_SMALL_RUN_RECORDS", "0")
    monkeypatch.setenv("NAIAD_SEGMENT_BYTES", "4096")
    log("gap", 3000, store=url, mode="offline")
    folder = folder_in(store)
    gone = sorted(path for path in folder.outbox.iterdir() if path.suffix == ".seg")[2]
    with monkeypatch.context() as patch:
        patch.setattr("naiad.ship.shipment.BATCH", 4096)
        remote = read_remote(folder)
        assert remote is not None
        Shipment(folder, remote, Client(url), is_whole=True).step()
    points = (gone.stat().st_size - 64) // 32
    gone.unlink()
    first, second = (cli("sync", "--json") for _ in range(2))
    with naiad.init_run(store=url, with_id=rows(first)[0]["id"], mode="read-only") as run:
        values = run["loss"].fetch_values(progress_bar=False)
        lost = run._session.reader.is_incomplete()

    assert (0, [points, 0]) == (first.exit_code, rows(first)[0]["lost"])
    assert 3000 - points == len(values)
    assert points == lost
    assert [] == rows(second), "nothing is left to be shipped"


@pytest.mark.parametrize("lacks", ["some files", "all files", "the first session"])
def test_run_whose_journal_is_gone_arrives_whole_at_a_server_that_has_nothing_of_it(
    lacks: str, url: str, cli: Cli, tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The index in the folder has all of it. A server was set back or lost its store, and `naiad sync` finds that."""
    monkeypatch.setenv("NAIAD_SMALL_RUN_RECORDS", "0")
    monkeypatch.setenv("NAIAD_SEGMENT_BYTES", "4096")
    own = Server(tmp_path / "own").start("--init")
    address = f"http://127.0.0.1:{own.port}"
    monkeypatch.setenv("NAIAD_API_TOKEN", own.token)
    run = log("gone", 3000, store=address)
    folder = folder_in(store)
    sent = sorted(folder.outbox.iterdir())
    assert len(sent) > 9
    assert all(each["confirmed"] for each in rows(cli("sync", "--json")))  # its note may be left
    for path in sent[3:6] if lacks == "some files" else sent:
        path.unlink()
    if lacks == "the first session":
        with naiad.init_run(store=address, with_id=run._run.uid, git_ref=False) as again:
            again["loss"].extend([0.5] * 500, steps=range(3000, 3500))
    own.stop()
    shutil.rmtree(tmp_path / "own")
    own.start("--init")
    monkeypatch.setenv("NAIAD_API_TOKEN", own.token)
    files = sorted(folder.path.rglob("*"))
    [dry] = rows(cli("sync", "--dry-run", "--json"))
    assert (False, True) == (dry["confirmed"], dry["waiting_points"] >= 3000)
    assert files == sorted(folder.path.rglob("*"))
    done = cli("sync", "--json")
    [row] = rows(done)
    monkeypatch.setenv("NAIAD_KEEP_SHIPPED", "0")
    again_done = [cli("sync", "--verify", "--json") for _ in range(2)]

    count = 3500 if lacks == "the first session" else 3000
    assert (0, True, None, [0, 0]) == (done.exit_code, row["confirmed"], row["problem"], row["lost"]), done.output
    assert [0, 0] == [each.exit_code for each in again_done], again_done[0].output
    assert (count, *WHOLE[1:]) == facts(address, row["id"], "gone", tmp_path)
    assert 0 == cli("--store", str(store), "verify").exit_code
    assert 0 == Reader(folder).is_incomplete()
    assert [] == rows(cli("sync", "--json"))
    own.stop()


def test_replay_that_is_interrupted_is_not_shipped_in_part(
    url: str, cli: Cli, tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody ships the files that are there already, and the next `naiad sync` makes all of them anew."""
    monkeypatch.setenv("NAIAD_SMALL_RUN_RECORDS", "0")
    monkeypatch.setenv("NAIAD_SEGMENT_BYTES", "4096")
    log("half", 3000, store=url, mode="offline")
    folder = folder_in(store)
    for path in folder.outbox.iterdir():
        path.unlink()
    shown: list[Path] = []

    def show_one(hidden: Path) -> Path:
        if shown:
            raise OSError(errno.EIO, "the process is killed here")  # a real kill would hit this moment by chance alone
        shown.append(show(hidden))
        return shown[0]

    show = replay._show
    with monkeypatch.context() as patch:
        patch.setattr(replay, "_show", show_one)
        assert 1 == cli("sync", "--json").exit_code
    assert shown[0].exists()
    assert [] == [each.name for each in sources(folder) if each.file.writer.startswith("index-")]
    done = cli("sync", "--json")
    [row] = rows(done)

    assert (0, True, None, [0, 0]) == (done.exit_code, row["confirmed"], row["problem"], row["lost"]), done.output
    assert (3000, *WHOLE[1:]) == facts(url, row["id"], "half", tmp_path)
    assert [] == rows(cli("sync", "--json"))
    assert 0 == Reader(folder).is_incomplete()


@pytest.mark.parametrize("gone", ["first files", "points"])
def test_rest_of_a_journal_waits_until_all_of_it_is_made_again(
    gone: str, url: str, cli: Cli, tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest of a journal, once the server had it, would pass for all of it, and the points before for lost."""
    monkeypatch.setenv("NAIAD_SMALL_RUN_RECORDS", "0")
    monkeypatch.setenv("NAIAD_SEGMENT_BYTES", "4096")
    log("rest", 3000, store=url, mode="offline")
    folder = folder_in(store)
    for path in sorted(folder.outbox.glob("*.seg"))[: 5 if gone == "first files" else None]:
        path.unlink()
    with naiad.init_run(store=store, with_id=folder.uid, capture_hardware_metrics=False, git_ref=False) as run:
        run["loss"].extend([0.5] * 500, steps=range(3000, 3500))
        run.wait()
        assert 1 == cli("sync", "--json").exit_code
    done = cli("sync", "--json")
    [row] = rows(done)

    assert (0, True, None, [0, 0]) == (done.exit_code, row["confirmed"], row["problem"], row["lost"]), done.output
    assert (3500, *WHOLE[1:]) == facts(url, row["id"], "rest", tmp_path)
    assert 0 == Reader(folder).is_incomplete()


def test_program_at_a_server_that_lost_its_run_ships_no_rest_of_a_journal(
    tmp_path: Path, cli: Cli, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own data goes at once; the journal of the session before is made again when nobody writes the run."""
    monkeypatch.setenv("NAIAD_SMALL_RUN_RECORDS", "0")
    monkeypatch.setenv("NAIAD_SEGMENT_BYTES", "4096")
    own = Server(tmp_path / "own").start("--init")
    address = f"http://127.0.0.1:{own.port}"
    monkeypatch.setenv("NAIAD_API_TOKEN", own.token)
    log("lost", 3000, store=address, custom_run_id="same")
    folder = folder_in(store)
    for path in sorted(folder.outbox.glob("*.seg*"))[:5]:
        path.unlink()
    own.stop()
    shutil.rmtree(tmp_path / "own")
    own.start("--init")
    monkeypatch.setenv("NAIAD_API_TOKEN", own.token)
    with naiad.init_run(
        store=address, project="lost", custom_run_id="same", capture_hardware_metrics=False, git_ref=False
    ) as run:
        run["loss"].extend([0.5] * 500, steps=range(3000, 3500))
        run.sync(remote=True)
    assert run._run.uid == folder.uid
    done = cli("sync", "--json")
    [row] = rows(done)

    assert (0, True, None, [0, 0]) == (done.exit_code, row["confirmed"], row["problem"], row["lost"]), done.output
    assert (3500, *WHOLE[1:]) == facts(address, row["id"], "lost", tmp_path)
    own.stop()


RESUMED_MEANWHILE = """
import os, sys, naiad
run = naiad.init_run(store=sys.argv[1], with_id=sys.argv[2], capture_hardware_metrics=False, git_ref=False)
run["loss"].extend([0.5] * 500, steps=range(3000, 3500))
run.wait()
os._exit(0) if sys.argv[3] == "killed" else run.stop()
"""


@pytest.mark.parametrize("end", ["stopped", "killed"])
@pytest.mark.parametrize("remote", ["server lost it", "no server before"])
def test_program_resumes_a_run_while_its_journal_is_made_again(
    remote: str, end: str, url: str, cli: Cli, tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not wait, which for long runs takes minutes; `naiad sync` repeats its work then, and nothing is lost."""
    monkeypatch.setenv("NAIAD_SMALL_RUN_RECORDS", "0")
    monkeypatch.setenv("NAIAD_SEGMENT_BYTES", "4096")
    is_new = remote == "no server before"
    run = log("meanwhile", 3000, **({"store": store} if is_new else {"store": url, "mode": "offline"}))
    folder = folder_in(store)
    for path in [] if is_new else folder.outbox.iterdir():
        path.unlink()
    to = ("--to", url) if is_new else ()
    resumed: list[subprocess.CompletedProcess[str]] = []
    write = replay._write

    def resume(*arguments: Any) -> Iterator[Path]:
        if not resumed:
            command = [sys.executable, "-c", RESUMED_MEANWHILE, str(store), run._run.uid, end]
            resumed.append(subprocess.run(command, check=False, capture_output=True, text=True, timeout=60))
        yield from write(*arguments)

    monkeypatch.setattr(replay, "_write", resume)
    first = cli("sync", str(store), *to, "--json")
    assert ["0 "] == [f"{each.returncode} {each.stderr}" for each in resumed]
    done = cli("sync", str(store), *to, "--json")
    [row] = rows(done)

    assert 1 == first.exit_code
    assert (0, True, None, [0, 0]) == (done.exit_code, row["confirmed"], row["problem"], row["lost"]), done.output
    state = "killed" if end == "killed" else "finished"
    assert (3500, *WHOLE[1:-1], state) == facts(url, run._run.uid, "meanwhile", tmp_path)
    assert [] == [path.name for path in folder.outbox.iterdir() if path.name.startswith(".")]
    assert 0 == Reader(folder).is_incomplete()
    assert 0 == cli("sync", str(store), "--verify", "--json").exit_code


@pytest.mark.parametrize("resumes", [False, True])
def test_replay_that_is_killed_before_it_is_shown_is_not_shipped(
    resumes: bool, url: str, cli: Cli, tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that goes on with the run ships its own data alone, and `naiad sync` makes the journal anew."""
    monkeypatch.setenv("NAIAD_SMALL_RUN_RECORDS", "0")
    monkeypatch.setenv("NAIAD_SEGMENT_BYTES", "4096")
    run = log("hidden", 3000, store=url, mode="offline")
    folder = folder_in(store)
    [writer] = {path.name.partition(".")[0] for path in folder.outbox.iterdir()}
    for path in folder.outbox.iterdir():
        path.unlink()
    replay.make_replay(folder, [writer])
    assert {f"index-{writer}"} == outbox.unfinished(folder)
    if resumes:
        command = [sys.executable, "-c", RESUMED_MEANWHILE, str(store), run._run.uid, "stopped"]
        assert 0 == subprocess.run(command, check=False, timeout=60).returncode
    done = cli("sync", "--json")
    [row] = rows(done)

    assert (0, True, None, [0, 0]) == (done.exit_code, row["confirmed"], row["problem"], row["lost"]), done.output
    assert (3500 if resumes else 3000, *WHOLE[1:]) == facts(url, row["id"], "hidden", tmp_path)
    assert [] == [path.name for path in folder.outbox.iterdir() if path.name.startswith(".")]


def test_two_syncs_that_make_the_same_journal_again_send_it_once(
    url: str, cli: Cli, tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NAIAD_SMALL_RUN_RECORDS", "0")
    monkeypatch.setenv("NAIAD_SEGMENT_BYTES", "4096")
    log("twice", 3000, store=url, mode="offline")
    folder = folder_in(store)
    for path in folder.outbox.iterdir():
        path.unlink()
    others: list[subprocess.CompletedProcess[str]] = []
    save = replay._save

    def beside(*arguments: Any) -> Path:
        saved: Path = save(*arguments)
        if not others:
            command = [sys.executable, "-c", "from naiad.cli import main; main()", "sync", str(store)]
            others.append(subprocess.run(command, check=False, capture_output=True, text=True, timeout=60))
        return saved

    monkeypatch.setattr(replay, "_save", beside)
    first = cli("sync", "--json")
    done = cli("sync", str(store), "--verify", "--json")
    [row] = rows(done)

    assert [0] == [each.returncode for each in others], others
    assert "Traceback" not in first.output
    assert (0, True, None, [0, 0]) == (done.exit_code, row["confirmed"], row["problem"], row["lost"]), done.output
    assert (3000, *WHOLE[1:]) == facts(url, row["id"], "twice", tmp_path)
    assert [] == [path.name for path in folder.outbox.iterdir() if path.name.startswith(".")]


def test_dry_run_changes_nothing_anywhere(url: str, cli: Cli, store: Path, served: Server) -> None:
    log("dry", store=url, mode="offline")
    before = {path: path.stat().st_mtime_ns for path in store.rglob("*") if path.is_file()}
    result = cli("sync", "--dry-run", "--json")
    [row] = rows(result)

    assert (1, False, 100) == (result.exit_code, row["confirmed"], row["waiting_points"])
    assert before == {path: path.stat().st_mtime_ns for path in store.rglob("*") if path.is_file()}


def test_server_that_is_away_leaves_everything_and_exits_with_one(cli: Cli, url: str, tmp_path: Path) -> None:
    log("away", store=tmp_path / "old")
    result = cli("sync", str(tmp_path / "old"), "--to", "http://127.0.0.1:9", "--json")

    assert 1 == result.exit_code
    assert "cannot be reached" in rows(result)[0]["problem"]


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """A server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        yield listening


def address_of(listening: socket.socket) -> str:
    return f"http://127.0.0.1:{listening.getsockname()[1]}"


def connections_to(listening: socket.socket) -> int:
    """How many connections have come since the last look."""
    count = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            listening.accept()[0].close()
            count += 1
    return count


def test_servers_that_do_not_answer_are_asked_once_and_hold_up_no_other_one(
    url: str, served: Server, silent: socket.socket, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One hangs and one is killed, until it comes back."""
    monkeypatch.setattr("naiad.ship.server.LEAST_ALONE", 3600.0)  # no test takes so long
    monkeypatch.setattr("naiad.ship.server.MOST_ALONE", 10_000.0)
    killed = Server(tmp_path / "killed").start("--init")
    away = f"http://127.0.0.1:{killed.port}"
    first = naiad.init_run(store=away, project="away", mode="offline")
    [naiad.init_run(store=address_of(silent), project="silent", mode="offline").stop() for _ in range(2)]
    last = naiad.init_run(store=away, project="away", mode="offline")
    run = naiad.init_run(store=url, project="there", mode="offline")
    killed.kill()
    announced: list[str] = []
    rounds = watch(Sync(Layout(store), announce=announced.append))
    begun = {each.uid: each for each in next(rounds)}
    asked = connections_to(silent)
    arrived = []
    for value in (1.0, 2.0):
        run["loss"].append(value)
        arrived.append([(each.uid, each.problem) for each in next(rounds)])
    killed.start()
    [first.stop(), last.stop()]
    assert ([(run._run.uid, "")] * 2, 1, 0) == (arrived[0] + arrived[1], asked, connections_to(silent))
    assert [(away, 1), (address_of(silent), 1)] == [
        (each, "".join(announced).count(each)) for each in (away, address_of(silent))
    ]
    assert 5 == len(begun)
    monkeypatch.setattr("naiad.clock.monotonic", lambda: time.monotonic() + 3601)
    monkeypatch.setenv("NAIAD_API_TOKEN", killed.token)  # which the other server refuses
    back = {each.uid: each.problem for each in next(rounds) if each.uid != run._run.uid}
    again = connections_to(silent)
    monkeypatch.setattr("naiad.clock.monotonic", lambda: time.monotonic() + 2 * 3601)
    next(rounds)
    run.stop()
    killed.kill()

    assert ({first._run.uid: "", last._run.uid: ""}, 1) == (back, again)
    assert 0 == connections_to(silent), "it is left alone for longer each time"
    assert [f"The server {away} answers again."] == announced[2:]


def test_address_that_does_not_answer_is_named_once_for_all_its_runs(url: str, silent: socket.socket, cli: Cli) -> None:
    [naiad.init_run(store=address_of(silent), project="silent", mode="offline").stop() for _ in range(3)]
    log("beside", store=url, mode="offline")
    done = cli("sync")
    states = [line.split("\t")[4].strip() for line in done.stdout.splitlines()]

    assert (1, ["failed"] * 3 + ["confirmed"]) == (done.exit_code, states), done.output
    assert (1, 1) == (done.stderr.count(address_of(silent)), connections_to(silent)), done.stderr


def test_runs_are_named_by_id_and_folder(url: str, cli: Cli, tmp_path: Path) -> None:
    old = tmp_path / "old"
    first, second = log("named", store=old), log("named", store=old)
    by_id = cli("sync", "--store", str(old), first.id, "--to", url, "--json")
    by_folder = cli("sync", str(old / "runs" / second._run.uid), "--to", url, "--json")

    assert [first._run.uid] == [row["uid"] for row in rows(by_id)]
    assert [second._run.uid] == [row["uid"] for row in rows(by_folder)]


def test_watch_ships_a_run_that_another_process_is_writing(url: str, store: Path) -> None:
    """As on a cluster whose nodes have no network, and one that has."""
    run = naiad.init_run(store=url, project="watched", mode="offline")
    stopped = threading.Event()
    rounds = watch(Sync(Layout(store)), stopped=stopped)
    run["loss"].append(1.0)
    [first] = next(rounds)
    run["loss"].append(2.0)
    until = time.monotonic() + 60
    while not next(rounds) and time.monotonic() < until:
        pass
    with naiad.init_run(store=url, with_id=first.id, mode="read-only") as seen:
        values = seen["loss"].fetch_values(progress_bar=False)["value"].tolist()
        state = seen["sys/state"].fetch()
    stopped.set()
    run.stop()

    assert ([1.0, 2.0], "running") == (values, state)


def test_watch_names_a_lasting_problem_once_and_again_when_it_has_changed(
    url: str, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a token that is refused: each round would print it, for as long as nobody is there to mend it."""
    monkeypatch.setattr("naiad.ship.sync.WATCH_SECONDS", 0.0)
    token = os.environ["NAIAD_API_TOKEN"]
    run = naiad.init_run(store=url, project="refused", mode="offline")
    run.stop()
    monkeypatch.setenv("NAIAD_API_TOKEN", "naiad_none_" + "x" * 43)
    rounds = watch(Sync(Layout(store)))
    first, *later = [next(rounds) for _ in range(4)]
    (store / "runs" / run._run.uid / "remote.json").rename(store / "remote.json")
    (store / "runs" / run._run.uid / "remote.json").write_text("{")
    changed, *same = [next(rounds) for _ in range(3)]
    (store / "remote.json").rename(store / "runs" / run._run.uid / "remote.json")
    back, *_ = [next(rounds) for _ in range(2)]
    monkeypatch.setenv("NAIAD_API_TOKEN", token)
    [done] = next(watch(Sync(Layout(store))))

    assert [1, 1, 1] == [len(each) for each in (first, changed, back)]
    assert [[]] * 5 == later + same
    assert ["token" in first[0].problem, "remote.json" in changed[0].problem] == [True, True]
    assert (back[0].problem, "") == (first[0].problem, done.problem)


def test_run_begun_without_a_server_is_repaired_by_sync(url: str, cli: Cli, tmp_path: Path, store: Path) -> None:
    """The server was away from before `init_run` to after `stop()`."""
    with pytest.warns(ServerWarning):
        run = log("late", store="http://127.0.0.1:9")
    remote = folder_in(store).remote
    remote.write_text(remote.read_text().replace("http://127.0.0.1:9", url))
    result = cli("sync", "--json")

    assert 0 == result.exit_code, result.output
    assert WHOLE == facts(url, run._run.uid, "late", tmp_path)


def wrong() -> str:
    """The address of a port at which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return address_of(listening)


def test_run_of_a_wrong_address_names_the_command_that_sends_it_to_the_right_one(
    url: str, cli: Cli, tmp_path: Path, store: Path
) -> None:
    away = wrong()
    with pytest.warns(ServerWarning) as warned:
        run = log("wrong", store=away)
    uid = run._run.uid
    remedy = f"naiad sync {uid} --to URL"
    assert remedy in str(warned[0].message), warned[0].message
    unsent = cli("sync", "--json")
    assert (1, True) == (unsent.exit_code, remedy in rows(unsent)[0]["problem"]), unsent.output
    assert "naiad sync RUN... --to URL" in cli("sync").stderr
    compared = cli("sync", uid, "--to", url, "--dry-run", "--json")
    assert (1, url, 100) == (compared.exit_code, rows(compared)[0]["server"], rows(compared)[0]["waiting_points"])
    refused = cli("sync", uid, "--to", wrong(), "--json")
    assert 1 == refused.exit_code
    assert away == url_of(folder_in(store)), "an address that does not answer changes nothing"
    result = cli("sync", uid, "--to", url, "--json")

    assert (0, url, url) == (result.exit_code, rows(result)[0]["server"], url_of(folder_in(store))), result.output
    assert WHOLE == facts(url, uid, "wrong", tmp_path)
    assert [] == rows(cli("sync", "--json")), "nothing waits any more"


@pytest.mark.parametrize("mode", ["async", "read-only"])
def test_run_of_a_wrong_address_that_is_resumed_at_the_right_one_names_the_command(
    mode: Any, url: str, cli: Cli, tmp_path: Path
) -> None:
    with pytest.warns(ServerWarning):
        run = log("resumed", store=wrong())
    uid = run._run.uid
    with pytest.raises(RunNotFound) as raised:
        naiad.init_run(store=url, with_id=uid, mode=mode)
    [command] = re.findall("naiad (sync .*)", str(raised.value))
    result = cli(*command.split())

    assert 0 == result.exit_code, result.output
    assert WHOLE == facts(url, uid, "resumed", tmp_path)


def url_of(folder: RunDirectory) -> str:
    remote = read_remote(folder)
    assert remote is not None
    return remote.url


def test_folder_of_runs_of_wrong_addresses_is_sent_whole(
    url: str, cli: Cli, tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of programs with such an address, and those that an earlier `--to` sent there: folded runs, models, versions."""
    monkeypatch.setenv("NAIAD_SMALL_RUN_RECORDS", "0")
    run = log("astray", 3000, store=wrong(), mode="offline")
    with naiad.init_model(key="CNN", project="astray", store=store) as model:
        model["size"] = 7
    with naiad.init_model_version(model=model.id, project="astray", store=store) as version:
        version["accuracy"] = 0.9
    old = log("astray", 3000, store=store)
    assert 1 == cli("sync", str(store), "--to", wrong()).exit_code
    result = cli("sync", str(store), "--to", url, "--json")

    assert (0, [True] * 4) == (result.exit_code, [row["confirmed"] for row in rows(result)]), result.output
    for each in (run, old):
        assert (3000, *WHOLE[1:]) == facts(url, each._run.uid, "astray", tmp_path)
    with naiad.init_model(store=url, with_id="ASTRAY-CNN", mode="read-only") as found:
        assert 1 == len(found.fetch_model_versions_table(progress_bar=False).to_pandas())


def test_folder_with_a_run_of_another_server_sends_each_to_its_own(
    url: str, cli: Cli, store: Path, tmp_path: Path
) -> None:
    """A run that is registered elsewhere shows that the folder belongs to several servers: their runs are named."""
    run, away = log("several", store=url), wrong()
    astray = log("several", store=away, mode="offline")
    other = Server(tmp_path / "other").start("--init")
    address = f"http://127.0.0.1:{other.port}"
    result = cli("sync", str(store), "--to", address, "--json")
    found = {row["uid"]: (row["server"], row["confirmed"]) for row in rows(result)}
    other.stop()

    assert {run._run.uid: (url, True), astray._run.uid: (away, False)} == found
    assert f"naiad sync {astray._run.uid} --to URL" in result.output


def test_run_that_is_sent_to_one_server_under_two_names_is_one_run(
    url: str, cli: Cli, store: Path, tmp_path: Path
) -> None:
    """Its epoch shows that it is the same server."""
    run = log("two-names", store=url)
    name = url.replace("127.0.0.1", "localhost")
    result = cli("sync", run._run.uid, "--to", name, "--json")
    [row] = rows(result)
    again = cli("sync", run._run.uid, "--to", url, "--verify", "--json")

    assert (0, name, 0, run.id) == (result.exit_code, row["server"], row["sent"], row["id"]), result.output
    assert (0, 0, url) == (again.exit_code, rows(again)[0]["sent"], url_of(folder_in(store))), again.output
    assert WHOLE == facts(url, run._run.uid, "two-names", tmp_path)
    with naiad.init_project("two-names", store=url, mode="read-only") as project:
        assert 1 == len(project.fetch_runs_table(progress_bar=False).to_pandas())


def test_run_goes_to_another_server_only_if_it_is_named_and_not_there(
    url: str, cli: Cli, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NAIAD_SMALL_RUN_RECORDS", "0")
    monkeypatch.setenv("NAIAD_KEEP_SHIPPED", "0")
    run = log("goes", 3000, store=url)
    shutil.copytree(store, tmp_path / "copy")
    other = Server(tmp_path / "other").start("--init")
    address = f"http://127.0.0.1:{other.port}"
    monkeypatch.setenv("NAIAD_API_TOKEN", other.token)
    moved = cli("sync", run._run.uid, "--to", address, "--json")
    assert (0, address) == (moved.exit_code, url_of(folder_in(store))), moved.output
    assert (3000, *WHOLE[1:]) == facts(address, run._run.uid, "goes", tmp_path)
    assert 0 == cli("sync", str(store), "--verify").exit_code
    refused = cli("sync", "--store", str(tmp_path / "copy"), run._run.uid, "--to", address, "--json")
    other.stop()

    problem = rows(refused)[0]["problem"]
    assert (1, True, True) == (refused.exit_code, url in problem, address in problem), refused.output
    assert "delete the run there first" in problem
    assert url == url_of(folder_in(tmp_path / "copy"))


def test_restored_server_under_a_new_name_takes_its_runs(
    url: str, cli: Cli, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its epoch is a new one, the old address leads nowhere, and it has the run."""
    own = Server(tmp_path / "own").start("--init")
    monkeypatch.setenv("NAIAD_API_TOKEN", own.token)
    run = log("restored", store=f"http://127.0.0.1:{own.port}")
    own.stop()
    renew_epoch(tmp_path / "own")
    renamed = Server(tmp_path / "own").start()
    address = f"http://127.0.0.1:{renamed.port}"
    result = cli("sync", run._run.uid, "--to", address, "--json")

    assert (0, address) == (result.exit_code, url_of(folder_in(store))), result.output
    assert WHOLE == facts(address, run._run.uid, "restored", tmp_path)
    renamed.stop()


def test_program_follows_its_run_to_the_address_that_sync_gave_it(url: str, cli: Cli, store: Path) -> None:
    """It writes the run meanwhile, and sends the rest itself."""
    with pytest.warns(ServerWarning):
        run = naiad.init_run(store=wrong(), project="follows")
    run["loss"].append(1.0)
    run.wait()
    moved = cli("sync", run._run.uid, "--to", url, "--json")
    run["loss"].append(2.0)
    run.sync(remote=True)
    run.stop()
    with naiad.init_run(store=url, with_id=run._run.uid, mode="read-only") as found:
        values = found["loss"].fetch_values(progress_bar=False)["value"].tolist()

    assert (0, [1.0, 2.0]) == (moved.exit_code, values), moved.output
    assert [] == rows(cli("sync", "--json"))


def test_program_that_is_started_again_with_the_right_address_sends_its_run_there(
    url: str, cli: Cli, store: Path, tmp_path: Path
) -> None:
    log("corrected", store=wrong(), custom_run_id="corrected", mode="offline")
    with naiad.init_run(store=url, custom_run_id="corrected", project="corrected") as run:
        run["second"] = 2
        uid = run._run.uid

    assert url == url_of(folder_in(store))
    assert 0 == cli("sync", str(store), "--verify").exit_code
    assert WHOLE == facts(url, uid, "corrected", tmp_path)


def test_models_and_versions_arrive_with_their_runs(url: str, cli: Cli, tmp_path: Path) -> None:
    old = tmp_path / "old"
    with naiad.init_model(key="CNN", project="shelf", store=old) as model:
        model["size"] = 7
    with naiad.init_model_version(model=model.id, project="shelf", store=old) as version:
        version["accuracy"] = 0.9
        version.change_stage("production")
    result = cli("sync", str(old), "--to", url, "--json")
    with naiad.init_model(store=url, with_id="SHELF-CNN", mode="read-only") as found:
        table = found.fetch_model_versions_table(progress_bar=False).to_pandas()

    assert 0 == result.exit_code, result.output
    assert [("SHELF-CNN-1", "production", 0.9)] == list(
        table[["sys/id", "sys/stage", "accuracy"]].itertuples(index=False, name=None)
    )


def test_plain_output_is_a_table_and_holds_no_token(url: str, cli: Cli, served: Server) -> None:
    log("plain", store=url, mode="offline")
    result = cli("sync")

    assert "confirmed" == result.stdout.split("\t")[4].strip()
    assert served.token not in result.output


@pytest.mark.parametrize(("text", "expected"), [("20MB/s", 2e7), ("1.5k", 1500.0), ("3GiB", 3e9)])
def test_rates_are_read(text: str, expected: float) -> None:
    assert expected == rate(text)


@pytest.mark.parametrize("text", ["", "fast", "-1", "0"])
def test_what_is_no_rate_is_refused(cli: Cli, text: str, tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()

    assert 2 == cli("sync", str(tmp_path / "s"), "--limit", text).exit_code


def test_verify_compares_confirmed_files_of_the_outbox_too(
    url: str, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are the only copy beside the server's, and one that is damaged is no copy."""
    monkeypatch.setenv("NAIAD_SMALL_RUN_RECORDS", "0")
    run = log("verified", 3000, store=url)
    folder = Layout(Path(os.environ["NAIAD_LOCAL_STORE"])).find(run._run.uid)
    assert folder is not None
    place = str(folder.path.parent.parent)
    assert 0 == cli("sync", place, "--verify").exit_code
    (segment, *_rest) = sorted(folder.outbox.glob("*.seg.sent"))
    data = bytearray(segment.read_bytes())
    data[64 + 8] ^= 1
    segment.write_bytes(data)

    found = cli("sync", place, "--verify")

    assert (1, True) == (found.exit_code, segment.name.removesuffix(".sent") in found.output), found.output


def test_verify_sends_content_again_that_the_server_lacks(url: str, cli: Cli, served: Server, tmp_path: Path) -> None:
    run = log("lacking", store=url)
    name = hashlib.sha256(b"lacking" * 5000).hexdigest()
    (blob,) = served.store.rglob(name)
    blob.unlink()

    place = os.environ["NAIAD_LOCAL_STORE"]
    first, second = cli("sync", place, "--verify"), cli("sync", place, "--verify")

    assert (0, 0) == (first.exit_code, second.exit_code), first.output
    assert WHOLE == facts(url, run.id, "lacking", tmp_path)


def test_value_larger_than_a_request_arrives(url: str, served: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call whose texts cannot be compressed enough: its frame goes as content. 30 MB of them take 12 s."""
    monkeypatch.setattr("naiad.storage.local.journal.parts.LARGEST_PART", 100_000)
    texts = [base64.b64encode(os.urandom(75_000)).decode() for _ in range(3)]
    with naiad.init_run(store=url, project="huge", capture_hardware_metrics=False, git_ref=False) as run:
        run["before"] = 1
        run["text"].extend(texts)
        run["loss"].extend([1.0, 2.0])
        run.sync(remote=True)
        name = run.id
    with naiad.init_run(store=url, with_id=name, mode="read-only") as found:
        assert texts == found["text"].fetch_values()["value"].tolist()
        assert (1, 2) == (found["before"].fetch(), len(found["loss"].fetch_values()))
