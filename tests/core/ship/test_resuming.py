"""Runs that are resumed by name while their server is away: they go on in the folder here, and all of it arrives."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from server_client import QUIET, Server

import naiad
from naiad.cli import main
from naiad.errors import FieldConflict, RunNotFound, ServerUnreachable, ServerWarning, forget_warnings
from naiad.ship import shipper
from naiad.ship.client import Answer, Client
from naiad.storage.local.layout import Layout
from naiad.storage.local.remote import read_remote
from naiad.types import File


@pytest.fixture
def served(tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server of this test alone, which it kills; runs lie in the test's own folder."""
    own = Server(tmp_path / "served").start("--init")
    monkeypatch.setenv("NAIAD_STORE", f"http://127.0.0.1:{own.port}")
    monkeypatch.setenv("NAIAD_LOCAL_STORE", str(store))
    monkeypatch.setenv("NAIAD_API_TOKEN", own.token)
    monkeypatch.setenv("NAIAD_CONNECT_SECONDS", "30")  # of a busy machine; a killed server refuses at once
    forget_warnings()
    yield own
    shipper.of_process.close()
    own.kill()
    forget_warnings()


JOB = f"""
import sys, naiad
name, first, mode = sys.argv[1:]
options = {{"custom_run_id": "job", "name": "first"}} if name == "new" else {{"with_id": name}}
if name == "joined":
    options = {{"custom_run_id": "job"}}
run = naiad.init_run(mode=mode, project="jobs", **options, **{QUIET!r})
run["loss"].extend([float(first) + step for step in range(100)])
run["last"] = int(first)
run.stop(seconds=2)
print(run._run.uid)
"""


def job(name: str, first: int, mode: str = "async", place: Path | None = None) -> subprocess.CompletedProcess[str]:
    """A job that logs 100 points, on a machine that has its own folder."""
    environment = {**os.environ, **({"NAIAD_LOCAL_STORE": str(place)} if place else {})}
    command = [sys.executable, "-c", JOB, name, str(first), mode]
    return subprocess.run(command, env=environment, check=False, capture_output=True, text=True, timeout=60)


def there(name: str) -> list[Any]:
    """What the server shows of such a run."""
    with naiad.init_run(with_id=name, mode="read-only") as run:
        values = sorted(run["loss"].fetch_values(progress_bar=False)["value"].tolist())
        return [values, run["last"].fetch(), run["sys/name"].fetch(), run["sys/id"].fetch()]


@pytest.mark.parametrize("mode", ["async", "offline"])
@pytest.mark.parametrize("is_by_id", [False, True], ids=["uid", "id"])
@pytest.mark.parametrize("begins_elsewhere", [False, True], ids=["here", "elsewhere"])
def test_job_resumes_its_run_by_name_while_the_server_is_away(
    mode: str, is_by_id: bool, begins_elsewhere: bool, served: Server, store: Path, tmp_path: Path
) -> None:
    begun = job("new", 0, place=tmp_path / "elsewhere" if begins_elsewhere else None)
    uid = begun.stdout.strip()
    points = 100
    if begins_elsewhere:
        job("joined", 100)
        points = 200
    [remote] = [read_remote(each) for each in Layout(store).folders()]
    assert remote is not None
    served.kill()
    done = job(remote.id if is_by_id else uid, points, mode)
    served.start()
    result = CliRunner().invoke(main, ["sync"])

    assert (0, uid) == (done.returncode, done.stdout.strip()), done.stderr
    assert (0 if mode == "offline" else 1) == len(
        re.findall("cannot be reached", done.stderr.partition(" points (")[0])
    )
    assert 0 == result.exit_code, result.output
    assert [[float(each) for each in range(points + 100)], points, "first", "JOBS-1"] == there(remote.id)


def test_resumed_run_arrives_as_soon_as_the_server_is_back(served: Server) -> None:
    uid = job("new", 0).stdout.strip()
    served.kill()
    with pytest.warns(ServerWarning, match="cannot be reached") as caught:
        run = naiad.init_run(with_id="JOBS-1", **QUIET)
    assert 1 == len(caught)
    assert [float(each) for each in range(100)] == run["loss"].fetch_values(progress_bar=False)["value"].tolist()
    run["loss"].extend([float(each) for each in range(100, 200)])
    run["last"] = 100
    served.start()
    run.sync(remote=True)
    run.stop()

    assert uid == run._run.uid
    assert [[float(each) for each in range(200)], 100, "first", "JOBS-1"] == there(uid)


def test_child_of_a_run_begins_while_the_server_is_away(served: Server) -> None:
    parent = job("new", 0).stdout.strip()
    served.kill()
    with pytest.warns(ServerWarning):
        run = naiad.init_run(parent="JOBS-1", **QUIET)
    served.start()
    run.sync(remote=True)
    run.stop()

    with naiad.init_run(with_id=run._run.uid, mode="read-only") as found:
        assert ["JOBS-1", parent] == [found["sys/parent"].fetch(), found["sys/parent_uid"].fetch()]


SPAWNING = f"""
import multiprocessing, os, signal, sys, naiad
run = naiad.init_run(project="jobs", **{QUIET!r})

def work(number):
    run[f"worker/{{number}}"] = number

if __name__ == "__main__":
    run.sync(remote=True)
    os.kill(int(sys.argv[1]), signal.SIGKILL)
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=work, args=(number,)) for number in range(2)]
    [each.start() for each in workers]
    [each.join() for each in workers]
    run.stop(seconds=1)
    print(run._run.uid, [each.exitcode for each in workers])
"""


def test_spawned_workers_join_the_run_of_their_script_while_the_server_is_away(served: Server, tmp_path: Path) -> None:
    assert served.process is not None
    script = tmp_path / "script.py"
    script.write_text(SPAWNING)
    command = [sys.executable, str(script), str(served.process.pid)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=100)
    served.kill()
    served.start()
    result = CliRunner().invoke(main, ["sync"])

    assert "[0, 0]" in done.stdout, done.stderr
    assert 0 == result.exit_code, result.output
    with naiad.init_run(with_id=done.stdout.split()[0], mode="read-only") as run:
        assert {0, 1} == {run[f"worker/{number}"].fetch() for number in (0, 1)}


def test_run_that_is_not_here_is_not_begun_without_the_server(served: Server, store: Path, tmp_path: Path) -> None:
    job("new", 0, place=tmp_path / "elsewhere")
    naiad.init_run(mode="offline", **QUIET).stop()
    served.kill()

    with pytest.raises(ServerUnreachable, match="cannot be reached") as away:
        naiad.init_run(with_id="JOBS-1", **QUIET)
    with pytest.raises(RunNotFound, match="JOBS-1"):
        naiad.init_run(with_id="JOBS-1", mode="offline", **QUIET)
    assert f"is not in {store} either" in str(away.value)


def test_run_of_the_folder_alone_is_not_taken_for_one_of_the_server(served: Server, store: Path) -> None:
    own = naiad.init_run(store=store, project="jobs", **QUIET)
    own.stop()
    served.kill()

    with pytest.raises(RunNotFound, match="was not logged for"):
        naiad.init_run(with_id=own.id, mode="offline", **QUIET)


FACTS = ("id", "name", "description", "owner", "hostname", "creation_time", "tags", "group_tags", "failed", "trashed",
         "custom_run_id", "project")  # fmt: skip


def facts_of(name: str) -> dict[str, Any]:
    with naiad.init_run(with_id=name, mode="read-only") as run:
        return {each: run[f"sys/{each}"].fetch() for each in FACTS}


@pytest.mark.parametrize("way", ["offline", "server away", "folder", "folded folder"])
def test_machine_that_joins_a_run_without_its_server_changes_no_facts_of_it(
    way: str, served: Server, store: Path, tmp_path: Path
) -> None:
    """It has never heard of the run, and takes it for a new one until the server answers."""
    uid = job("new", 0, place=tmp_path / "first").stdout.strip()
    job("joined", 100, place=tmp_path / "second")
    with naiad.init_run(with_id=uid, description="of a job", tags=["good"], **QUIET) as run:
        run["sys/failed"] = True
    before = facts_of(uid)
    if "folder" in way:
        records = "0" if way == "folded folder" else "1000"
        done = subprocess.run(
            [sys.executable, "-c", JOB, "joined", "200", "async"], check=False, capture_output=True, text=True,
            env={**os.environ, "NAIAD_STORE": str(tmp_path / "third"), "NAIAD_SMALL_RUN_RECORDS": records},
        )  # fmt: skip
    elif way == "offline":
        done = job("joined", 200, "offline", place=tmp_path / "third")
    else:
        served.kill()
        done = job("joined", 200, place=tmp_path / "third")
        served.start()
    url = os.environ["NAIAD_STORE"]
    result = CliRunner().invoke(main, ["sync", str(tmp_path / "third"), "--to", url])

    assert (0, 0) == (done.returncode, result.exit_code), done.stderr + result.output
    assert before == facts_of(uid)
    assert [float(each) for each in range(300)] == there(uid)[0]


def test_facts_that_a_program_gives_count_though_it_joins_without_the_server(
    served: Server, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uid = job("new", 0, place=tmp_path / "first").stdout.strip()
    before = facts_of(uid)
    monkeypatch.setenv("NAIAD_LOCAL_STORE", str(tmp_path / "third"))
    given: dict[str, Any] = {"name": "second", "description": "again", "tags": ["new"]}
    naiad.init_run(custom_run_id="job", project="jobs", mode="offline", **given, **QUIET).stop()
    result = CliRunner().invoke(main, ["sync"])

    assert 0 == result.exit_code, result.output
    assert {**before, **given, "tags": {"new"}} == facts_of(uid)


def test_run_that_no_machine_began_with_its_server_has_the_facts_of_its_first_begin(
    served: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In whatever order the folders arrive."""
    times = []
    for place in ("first", "second"):
        monkeypatch.setenv("NAIAD_LOCAL_STORE", str(tmp_path / place))
        run = naiad.init_run(custom_run_id="job", project="jobs", mode="offline", **QUIET)
        times.append(run["sys/creation_time"].fetch())
        run.stop()
    results = [CliRunner().invoke(main, ["sync", str(tmp_path / place)]) for place in ("second", "first")]

    assert [0, 0] == [each.exit_code for each in results], [each.output for each in results]
    assert times[0] == facts_of("JOBS-1")["creation_time"]


@pytest.mark.parametrize("requests", range(1, 5))
@pytest.mark.parametrize("options", [{"with_id": "JOBS-1"}, {"custom_run_id": "job", "project": "jobs"}], ids=str)
def test_server_that_goes_away_while_a_run_is_resumed_stops_no_program(
    options: dict[str, Any], requests: int, served: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It answers the first requests, and is killed before the next one."""
    uid = job("new", 0).stdout.strip()
    asked: list[str] = []
    exchange = Client._exchange

    def counted(client: Client, method: str, target: str, *arguments: Any) -> Answer:
        if threading.current_thread() is threading.main_thread():
            asked.append(target)
            if len(asked) == requests + 1:
                served.kill()
        return exchange(client, method, target, *arguments)

    with monkeypatch.context() as patch, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ServerWarning)
        patch.setattr(Client, "_exchange", counted)
        run = naiad.init_run(**options, **QUIET)
        run["loss"].extend([float(each) for each in range(100, 200)])
        run["last"] = 100
        run.stop(seconds=1)
    if len(asked) > requests:
        served.start()
    result = CliRunner().invoke(main, ["sync"])
    absences = [
        str(each.message) for each in caught if "cannot be reached" in str(each.message).partition(" points (")[0]
    ]

    assert (uid, 0) == (run._run.uid, result.exit_code), result.output
    assert [[float(each) for each in range(200)], 100, "first", "JOBS-1"] == there(uid)
    assert len(absences) <= 1


WRITES: dict[str, Callable[[naiad.Run], object]] = {
    "append": lambda run: run["loss"].append(1.0),
    "extend": lambda run: run["loss"].extend([1.0, 2.0]),
    "append to a known and a new series": lambda run: run["both"].append({"loss": 1.0, "new": 2.0}),
    "append a text": lambda run: run["text"].append("b"),
    "append a file": lambda run: run["images"].append(File.from_content("x", extension="txt")),
    "assign a new field": lambda run: run.__setitem__("fresh", {"a": 1, "b": {"c": 2}}),
    "truncate": lambda run: run["loss"].truncate(50),
    "clear": lambda run: run["loss"].clear(),
    "delete files": lambda run: run["files"].delete_files("a.txt"),
    "pop what is not there": lambda run: run.pop("missing"),
    "exists": lambda run: run.exists("missing"),
    "structure": lambda run: run.get_structure(),
    "sync": lambda run: run.sync(),
}


@pytest.mark.parametrize("is_begun_here", [True, False], ids=["here", "elsewhere"])
@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_server_that_goes_away_after_a_run_was_resumed_stops_no_program(
    write: Callable[[naiad.Run], object],
    is_begun_here: bool,
    served: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """There is one warning, and all of it arrives."""
    begin_job_of_all_kinds(tmp_path)
    if not is_begun_here:
        monkeypatch.setenv("NAIAD_LOCAL_STORE", str(tmp_path / "elsewhere"))
    run = naiad.init_run(with_id="JOBS-1", **QUIET)
    served.kill()

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with contextlib.suppress(FieldConflict):  # the mistake of a pop
            write(run)
        run["loss"].append(7.0)
        run["texts"].append("after")
        run["last"] = 9
        run.stop(seconds=0.5)
    served.start()
    result = CliRunner().invoke(main, ["sync"])

    absences = [each for each in caught if "cannot be reached" in str(each.message).partition(" points (")[0]]
    assert len(absences) <= 1 <= len(caught)
    assert 0 == result.exit_code, result.output
    with naiad.init_run(with_id="JOBS-1", mode="read-only") as stored:
        assert (7.0, "after", 9) == (
            stored["loss"].fetch_values(progress_bar=False)["value"].iloc[-1] if is_begun_here else 7.0,
            stored["texts"].fetch_last(),
            stored["last"].fetch(),
        )
        assert 7.0 in set(stored["loss"].fetch_values(progress_bar=False)["value"])


def test_server_that_hangs_after_a_run_was_resumed_stops_no_program(
    served: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes connections and answers nothing: one warning, whatever is written."""
    begin_job_of_all_kinds(tmp_path)
    run = naiad.init_run(with_id="JOBS-1", **QUIET)
    monkeypatch.setenv("NAIAD_CONNECT_SECONDS", "1")
    assert served.process is not None
    with stopped(served.process.pid), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for write in WRITES.values():
            with contextlib.suppress(FieldConflict):  # the mistake of a pop
                write(run)
        run["last"] = 9
        run.stop(seconds=0.5)
    monkeypatch.setenv("NAIAD_CONNECT_SECONDS", "30")
    result = CliRunner().invoke(main, ["sync"])

    assert 1 == sum("is written to" in str(each.message) for each in caught)
    assert 0 == result.exit_code, result.output
    with naiad.init_run(with_id="JOBS-1", mode="read-only") as stored:
        assert 9 == stored["last"].fetch()


@contextlib.contextmanager
def stopped(process: int) -> Iterator[None]:
    """A process that does nothing meanwhile."""
    os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process, signal.SIGCONT)


def begin_job_of_all_kinds(folder: Path) -> None:
    """A finished run of this server with series, a set of files and a single value."""
    (folder / "a.txt").write_text("a")
    with naiad.init_run(custom_run_id="job", project="jobs", **QUIET) as run:
        run["loss"].extend([float(step) for step in range(100)])
        run["both/loss"].extend([1.0] * 100)
        run["text"].append("a")
        run["images"].append(File.from_content("x", extension="txt"))
        run["files"].upload_files(str(folder / "a.txt"))
        run["last"] = 1
        run.sync(remote=True)
    shipper.of_process.close()


def test_read_of_a_resumed_run_raises_while_its_server_is_away(served: Server, tmp_path: Path) -> None:
    """The folder may have a part of the run, which would be shown as all of it."""
    begin_job_of_all_kinds(tmp_path)
    with naiad.init_run(with_id="JOBS-1", **QUIET) as run:
        served.kill()
        with pytest.warns(ServerWarning, match="is written to"):
            run["loss"].append(1.0)
        with pytest.raises(ServerUnreachable):
            run["loss"].fetch_values(progress_bar=False)
        run.stop(seconds=0.5)


@pytest.mark.parametrize("lacks", [[], ["format"]], ids=["", "of an earlier release"])
@pytest.mark.parametrize("kind", ["model", "version", "project"])
def test_container_of_another_machine_is_written_although_its_server_went_away_before_the_first_write(
    kind: str, lacks: list[str], served: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Models, versions and projects are mostly read, so that their writers begin with the first write."""
    with naiad.init_model(key="CNN", project="late") as model:
        model["loss"].append(1.0)
    with naiad.init_model_version(model=model._id, project="late") as version:
        version["loss"].append(1.0)
    with naiad.init_project("late") as project:
        project["loss"].append(1.0)
    monkeypatch.setenv("NAIAD_LOCAL_STORE", str(tmp_path / "elsewhere"))

    def resumed(**mode: Any) -> Any:
        if kind == "project":
            return naiad.init_project("late", **mode)
        return naiad.init_model(with_id=model._id, **mode) if kind == "model" else naiad.init_model_version(
            with_id=version._id, **mode
        )  # fmt: skip

    container = resumed()
    served.kill()
    with pytest.warns(ServerWarning, match="cannot be reached") as caught:
        container["loss"].append(2.0)
    container["best"] = 0.5
    container["file"].upload(File.from_content("x"))
    container["sys/tags"].add("late")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        container.stop(seconds=1)
    served.start()
    for name in lacks:
        (tmp_path / "elsewhere" / name).unlink()
    result = CliRunner().invoke(main, ["sync", str(tmp_path / "elsewhere"), "--verify"])
    with resumed(mode="read-only") as found:
        values = sorted(found["loss"].fetch_values(progress_bar=False)["value"].tolist())
        facts = [found["best"].fetch(), found["sys/tags"].fetch(), found.exists("file")]

    assert 0 == result.exit_code, result.output
    assert ([1.0, 2.0], [0.5, {"late"}, True]) == (values, facts)
    assert "Reading needs" not in str(caught[0].message)


def test_folder_whose_only_run_began_on_another_machine_is_a_store(
    served: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The warning of `stop()` names it in a command."""
    job("new", 0, place=tmp_path / "begins")
    monkeypatch.setenv("NAIAD_LOCAL_STORE", str(tmp_path / "elsewhere"))
    run = naiad.init_run(with_id="JOBS-1", **QUIET)
    served.kill()
    run["last"] = 100
    with pytest.warns(ServerWarning) as caught:
        run.stop(seconds=0.5)
    served.start()
    [folder] = re.findall("naiad sync (/.*)", str(caught[-1].message))
    result = CliRunner().invoke(main, ["sync", folder])

    assert 0 == result.exit_code, result.output
    assert {"format", ".gitignore"} <= {each.name for each in (tmp_path / "elsewhere").iterdir()}
    assert 100 == there("JOBS-1")[1]
