"""The life of a run: arguments, modes, going on, ending, crossing processes."""

from __future__ import annotations

import inspect
import multiprocessing
import os
import pickle
import re
import shutil
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import pytest

import naiad
from naiad import lifecycle
from naiad.container import first_ops
from naiad.errors import (
    InactiveRun,
    InvalidArgument,
    LimitWarning,
    NaiadPathError,
    NaiadValueError,
    NaiadWarning,
    NeedExistingRun,
    ProtectedPath,
    ReadOnlyWarning,
    RunIdCollision,
    RunNotFound,
    StorageError,
)
from naiad.storage.local.integrity.verify import verify
from naiad.storage.local.store import Store
from naiad.storage.local.writer import Writer
from naiad.types import FloatSeries

NEPTUNES_ARGUMENTS = {
    "with_id": None,
    "project": None,
    "api_token": None,
    "custom_run_id": None,
    "mode": None,
    "name": None,
    "description": None,
    "tags": None,
    "source_files": None,
    "capture_stdout": None,
    "capture_stderr": None,
    "capture_hardware_metrics": None,
    "fail_on_exception": True,
    "monitoring_namespace": None,
    "flush_period": 5,
    "proxies": None,
    "capture_traceback": True,
    "git_ref": None,
    "dependencies": None,
    "async_lag_callback": None,
    "async_lag_threshold": 1800.0,
    "async_no_progress_callback": None,
    "async_no_progress_threshold": 300.0,
}


def test_every_argument_of_neptune_is_there_with_its_default() -> None:
    parameters = inspect.signature(naiad.init_run).parameters
    found = {name: parameters[name].default for name in NEPTUNES_ARGUMENTS}

    assert NEPTUNES_ARGUMENTS == found
    assert naiad.Run is naiad.init_run


@pytest.mark.usefixtures("store")
def test_new_run_has_its_sys_fields() -> None:
    with naiad.init_run(
        name="baseline", description="longer", tags=["a", "b"], custom_run_id="mine", project="my/proj-x"
    ) as run:
        sys_fields = run["sys"].fetch()

        assert {"a", "b"} == run["sys/tags"].fetch()
        assert set() == run["sys/group_tags"].fetch()
    assert "PX-1" == sys_fields["id"]
    assert ("baseline", "longer", "mine") == tuple(sys_fields[key] for key in ("name", "description", "custom_run_id"))
    assert (False, False, "running") == tuple(sys_fields[key] for key in ("failed", "trashed", "state"))
    assert {"owner", "hostname", "creation_time", "modification_time", "ping_time", "running_time", "size"} <= set(
        sys_fields
    )


@pytest.mark.usefixtures("store")
def test_run_without_a_name_is_untitled() -> None:
    with naiad.init_run() as run:
        assert "Untitled" == run["sys/name"].fetch()
        assert "" == run["sys/description"].fetch()


@pytest.mark.usefixtures("store")
def test_going_on_with_a_run_changes_nothing() -> None:
    with naiad.init_run(name="baseline", description="d", tags="t") as run:
        run["a"] = 1
        before = run["sys"].fetch()
    with naiad.init_run(with_id=before["id"]) as run:
        after = run["sys"].fetch()

        assert {"t"} == run["sys/tags"].fetch()
        assert 1 == run["a"].fetch()
    changing = {"state", "modification_time", "ping_time", "running_time", "size"}
    assert {k: v for k, v in before.items() if k not in changing} == {
        k: v for k, v in after.items() if k not in changing
    }


@pytest.mark.usefixtures("store")
def test_going_on_with_a_name_renames() -> None:
    with naiad.init_run(name="old", tags="a") as run:
        name = run["sys/id"].fetch()
    with naiad.init_run(with_id=name, name="new", tags=["b"]) as run:
        assert "new" == run["sys/name"].fetch()
        assert {"a", "b"} == run["sys/tags"].fetch()


@pytest.mark.usefixtures("store")
def test_kinds_are_remembered_when_a_run_goes_on() -> None:
    with naiad.init_run() as run:
        run["n"] = 1
        name = run["sys/id"].fetch()
    with naiad.init_run(with_id=name) as run:
        with pytest.raises(ValueError, match='"n"'):
            run["n"] = 1.5
        with pytest.raises(TypeError):
            run["n/below"] = 1


def test_custom_id_joins_one_run(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEPTUNE_CUSTOM_RUN_ID", "shared-1")
    with naiad.init_run() as one, naiad.init_run(custom_run_id="shared-1") as two:
        one["a"] = 1
        two["b"] = 2
        one.sync()

        assert one["sys/id"].fetch() == two["sys/id"].fetch()
        assert (1, 2) == (two["a"].fetch(), one["b"].fetch())


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("name", ["", " ", "/", "..", "a/b", "a\\b", "a\0b", "a\nb", "x" * 10_000])
def test_hostile_custom_ids_are_refused(name: str) -> None:
    with pytest.raises(NaiadPathError):
        naiad.init_run(custom_run_id=name)


@pytest.mark.usefixtures("store")
def test_ids_that_name_two_runs_collide(monkeypatch: pytest.MonkeyPatch) -> None:
    with naiad.init_run() as run:
        name = run["sys/id"].fetch()
    with pytest.raises(RunIdCollision):
        naiad.init_run(with_id=name, custom_run_id="x")
    monkeypatch.setenv("NAIAD_CUSTOM_RUN_ID", "x")
    with naiad.init_run(with_id=name) as run:
        assert name == run["sys/id"].fetch()


@pytest.mark.usefixtures("store")
def test_unknown_run_is_named() -> None:
    with pytest.raises(RunNotFound, match="ABC-7"):
        naiad.init_run(with_id="ABC-7")


@pytest.mark.usefixtures("store")
def test_bad_arguments_are_refused_before_anything_is_made(store: Path) -> None:
    for arguments, error in (
        ({"mode": "fast"}, ValueError),
        ({"name": 5}, TypeError),
        ({"tags": 5}, TypeError),
        ({"tags": ["a", 5]}, TypeError),
        ({"with_id": 5}, TypeError),
        ({"fail_on_exception": "no"}, TypeError),
        ({"limits": "none"}, InvalidArgument),
        ({"on_error": "ignore"}, InvalidArgument),
        ({"backend": object()}, InvalidArgument),
        ({"project_qualified_name": "a/b"}, InvalidArgument),
    ):
        with pytest.raises(error):
            naiad.init_run(**arguments)
    with pytest.raises(TypeError, match=r"Run\(\) got an unexpected keyword argument 'nam'"):
        naiad.init_run(nam="x")

    assert not store.exists()


def test_bad_mode_names_the_five(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEPTUNE_MODE", "quick")
    with pytest.raises(ValueError, match="'async', 'sync', 'offline', 'read-only', 'debug'"):
        naiad.init_run()


@pytest.mark.usefixtures("store")
def test_arguments_that_ask_for_nothing_are_silent() -> None:
    naiad.init_run(source_files=[], capture_stdout=False, git_ref=False, api_token="ANONYMOUS", flush_period=1).stop()


@pytest.mark.usefixtures("store")
def test_arguments_without_effect_say_so() -> None:
    naiad.errors.forget_warnings()
    with pytest.warns(NaiadWarning, match="proxies= has no effect"):
        naiad.init_run(proxies={}).stop()


@pytest.mark.usefixtures("store")
def test_read_only_needs_a_run() -> None:
    with pytest.raises(NeedExistingRun):
        naiad.init_run(mode="read-only")


@pytest.mark.usefixtures("store")
def test_read_only_run_reads_while_another_writes_and_keeps_nothing(run: naiad.Run) -> None:
    run["a"] = 1
    reader = naiad.init_run(with_id=run["sys/id"].fetch(), mode="read-only")
    run["b/c"] = 2
    run["s"].append(0.5)

    assert (1, 2, [0.5]) == (reader["a"].fetch(), reader["b/c"].fetch(), reader["s"].fetch_values()["value"].tolist())
    with pytest.warns(ReadOnlyWarning):
        reader["mine"] = 1
    reader["s"].append(1.0)
    reader["b"].pop()
    reader["sys/tags"].add("x")
    assert not reader.exists("mine")
    assert not run.exists("mine")
    reader.stop()
    assert "running" == run["sys/state"].fetch()


@pytest.mark.usefixtures("store")
def test_debug_run_lives_in_a_folder_of_its_own_and_leaves_nothing(store: Path) -> None:
    with naiad.init_run(mode="debug", with_id="ANY-1") as run:
        run["a"] = 1
        run["s"].append(0.5)
        folder = run._store.directory(run._run).path

        assert (1, 0.5) == (run["a"].fetch(), run["s"].fetch_last())
        assert folder.exists()
    assert not folder.exists()
    assert not store.exists()


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("mode", ["async", "sync", "offline"])
def test_stopped_run_is_finished_and_can_be_read(mode: str) -> None:
    with naiad.init_run(mode=mode) as run:
        run["a"] = 1
        run["s"].extend([1, 2, 3])
        name = run["sys/id"].fetch()

        assert run["sys/state"].fetch() == "running"
    reader = naiad.init_run(with_id=name, mode="read-only")

    assert ("finished", 1, [1.0, 2.0, 3.0]) == (
        reader["sys/state"].fetch(),
        reader["a"].fetch(),
        reader["s"].fetch_values()["value"].tolist(),
    )
    reader.stop()


def test_stopping_twice_does_nothing(run: naiad.Run) -> None:
    assert "started" == run.get_state()
    run.stop()
    run.stop(seconds=1)

    assert "stopped" == run.get_state()
    with pytest.raises(InactiveRun):
        run["x"]


@pytest.mark.parametrize("seconds", ["x", -1, float("nan")])
def test_stop_refuses_what_is_no_duration_and_changes_nothing(run: naiad.Run, seconds: Any) -> None:
    with pytest.raises(NaiadValueError, match=re.escape(f"not {seconds!r}")):
        run.stop(seconds=seconds)
    run["a"] = 1

    assert "started" == run.get_state()
    assert 1 == run["a"].fetch()


def test_stop_that_raises_has_stopped(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with naiad.init_run(mode="debug", on_error="raise") as broken:
        folder = broken._store.directory(broken._run).path
        monkeypatch.setattr(broken._session.writer.journal, "give_up", lambda: 1)
        with pytest.raises(StorageError, match="could not be stored"):
            broken.stop()

        assert "stopped" == broken.get_state()
        assert not folder.exists()
        assert broken not in lifecycle.open_containers()


def test_run_is_sealed_even_if_what_stop_says_is_an_error(store: Path) -> None:
    run = naiad.init_run(limits="neptune")
    run["s"].append(1.0, step=5)
    with pytest.warns(LimitWarning):
        run["s"].append(2.0, step=4)
    with pytest.raises(LimitWarning, match="left out in all"):
        run.stop()

    assert "stopped" == run.get_state()
    assert run._store.directory(run._run).seal.exists()
    assert [] == verify(run._store.directory(run._run))


def test_what_can_be_asked_after_stop(run: naiad.Run) -> None:
    run["a"] = 1
    run.stop()

    assert run.exists("a")
    assert "a" in run.get_structure()
    assert run.get_url().startswith("file:///")


def test_url_is_the_folder_of_the_run(run: naiad.Run) -> None:
    assert Path(run.get_url().removeprefix("file://")).is_dir()


def test_structure_is_nested_and_printed(run: naiad.Run, capsys: pytest.CaptureFixture[str]) -> None:
    run["b/c"] = 1
    run["a"].append(0.5)
    structure = run.get_structure()
    run.print_structure()
    printed = capsys.readouterr().out

    assert "Integer" == type(structure["b"]["c"]).__name__
    assert "'a': FloatSeries\n'b':\n    'c': Integer\n" in printed
    assert "\033" not in printed


def test_define_makes_a_field_only_where_none_is(run: naiad.Run) -> None:
    field = run.define("a", 1)

    assert 1 == field.fetch()
    with pytest.raises(TypeError):
        run.define("a", 2)


def test_exists_takes_text_only(run: naiad.Run) -> None:
    run["a/b"] = 1

    assert (True, True, True, False) == tuple(run.exists(path) for path in ("a/b", "a", "", "b"))
    with pytest.raises(TypeError):
        run.exists(5)


def test_root_has_every_logging_verb(run: naiad.Run) -> None:
    run.append({"a": 1.0, "b": "x"}, step=3)
    run.extend({"a": [2.0, 3.0]}, steps=[4, 5])
    run.log({"a": 4.0})
    run.assign({"c": {"d": 1}})
    run.pop("c/d")

    assert [3, 4, 5, 6] == run["a"].fetch_values()["step"].tolist()
    assert not run.exists("c")


def test_monitoring_namespace_can_be_named(store: Path) -> None:
    with naiad.init_run(monitoring_namespace="monitoring/0") as run:
        assert "monitoring/0" == run.monitoring_namespace
    with naiad.init_run() as run:
        assert run.monitoring_namespace.startswith("monitoring/")
        assert 8 == len(run.monitoring_namespace.removeprefix("monitoring/"))


FAILURES = [(ValueError("bad news"), "failed"), (KeyboardInterrupt(), "terminated"), (SystemExit(3), "failed")]


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(("error", "state"), FAILURES, ids=repr)
def test_exception_in_the_block_marks_the_run(
    error: BaseException, state: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = naiad.init_run(monitoring_namespace="monitoring/x")
    with pytest.raises(type(error)), run:
        raise error

    reader = naiad.init_run(with_id=run._id, mode="read-only")
    lines = reader["monitoring/x/traceback"].fetch_values()["value"].tolist()
    assert (state, True) == (reader["sys/state"].fetch(), reader["sys/failed"].fetch())
    assert "Marking run as failed" in lines
    assert type(error).__name__ in lines[-1]
    assert ("", "") == tuple(capsys.readouterr())
    reader.stop()


@pytest.mark.usefixtures("store")
def test_exit_without_error_is_success() -> None:
    run = naiad.init_run()
    with pytest.raises(SystemExit), run:
        raise SystemExit(0)

    reader = naiad.init_run(with_id=run._id, mode="read-only")
    assert ("finished", False) == (reader["sys/state"].fetch(), reader["sys/failed"].fetch())
    reader.stop()


@pytest.mark.usefixtures("store")
def test_failing_can_be_switched_off() -> None:
    run = naiad.init_run(fail_on_exception=False, capture_traceback=False)
    with pytest.raises(ValueError, match="bad"), run:
        raise ValueError("bad")

    reader = naiad.init_run(with_id=run._id, mode="read-only")
    assert ("finished", False) == (reader["sys/state"].fetch(), reader["sys/failed"].fetch())
    assert not reader.exists("monitoring")
    reader.stop()


def script(store: Path, text: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "NAIAD_STORE": str(store), "PYTHONPATH": os.pathsep.join(sys.path)}
    code = "import os, naiad\n" + textwrap.dedent(text)
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=60, check=False
    )


@pytest.mark.parametrize(
    ("ending", "state"),
    [
        ("", "finished"),
        ("1 / 0", "failed"),
        ("raise SystemExit(0)", "finished"),
        ("os._exit(0)", "killed"),
        ("raise KeyboardInterrupt", "terminated"),
    ],
)
def test_end_of_the_process_ends_the_run(store: Path, ending: str, state: str) -> None:
    done = script(store, f"run = naiad.init_run()\nrun['a'] = 1\nrun['s'].append(0.5)\n{ending}")
    reader = naiad.init_run(with_id=naiad_ids(store)[0], mode="read-only")

    assert (state, 1, 0.5) == (reader["sys/state"].fetch(), reader["a"].fetch(), reader["s"].fetch_last())
    assert (1 if "1 / 0" in ending else 0) == done.stderr.count("ZeroDivisionError")
    reader.stop()


def naiad_ids(store: Path) -> list[str]:
    return [
        f"{key.name}-{number.name}"
        for key in (store / "ids").iterdir()
        for number in key.iterdir()
        if number.name.isdigit()
    ]


def test_earlier_excepthook_still_runs(store: Path) -> None:
    done = script(store, "import sys\nsys.excepthook = lambda *_: print('mine')\nnaiad.init_run()\n1 / 0")

    assert "mine" in done.stdout


def test_run_and_handler_are_the_same_objects_when_unpickled_here(run: naiad.Run) -> None:
    run["a/b"].append(1.0)

    assert run is pickle.loads(pickle.dumps(run))
    assert run["a/b"] is pickle.loads(pickle.dumps(run["a/b"]))


def write_as_guest(run: naiad.Run, handler: Any, number: int) -> None:
    run[f"child/{number}"] = number
    handler.append(float(number), step=number)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_children_write_the_run_they_are_given(run: naiad.Run, method: str) -> None:
    run["series"].append(-1.0, step=-1)
    context = multiprocessing.get_context(method)
    children = [context.Process(target=write_as_guest, args=(run, run["series"], number)) for number in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join(60)

    assert [0, 0] == [child.exitcode for child in children]
    assert [-1, 0, 1] == run["series"].fetch_values()["step"].tolist()
    assert {"0": 0, "1": 1} == run["child"].fetch()
    assert "running" == run["sys/state"].fetch()


def test_forked_child_goes_on_and_its_end_is_not_the_runs(store: Path) -> None:
    done = script(
        store,
        """
        run = naiad.init_run()
        run["s"].append(0.0)
        pid = os.fork()
        if not pid:
            run["s"].append(1.0, step=10)
            run["child"] = 1
            raise SystemExit(0)
        os.waitpid(pid, 0)
        run["s"].append(2.0)
        run["parent"] = run["sys/state"].fetch()
        print(run["s"].fetch_values()["value"].tolist())
        """,
    )
    reader = naiad.init_run(with_id=naiad_ids(store)[0], mode="read-only")

    assert "" == done.stderr
    assert [0.0, 1.0, 2.0] == sorted(reader["s"].fetch_values()["value"])
    assert (1, "running", "finished") == (
        reader["child"].fetch(),
        reader["parent"].fetch(),
        reader["sys/state"].fetch(),
    )
    reader.stop()


def test_failing_child_does_not_fail_the_run(store: Path) -> None:
    script(
        store,
        """
        run = naiad.init_run()
        pid = os.fork()
        if not pid:
            raise ValueError("child")
        os.waitpid(pid, 0)
        """,
    )
    reader = naiad.init_run(with_id=naiad_ids(store)[0], mode="read-only")

    assert ("finished", False) == (reader["sys/state"].fetch(), reader["sys/failed"].fetch())
    reader.stop()


def test_run_that_was_dropped_is_still_stopped_in_order(store: Path) -> None:
    script(store, "naiad.init_run()['a'] = 1")
    reader = naiad.init_run(with_id=naiad_ids(store)[0], mode="read-only")

    assert ("finished", 1) == (reader["sys/state"].fetch(), reader["a"].fetch())
    reader.stop()


def test_run_knows_its_project_and_keeps_it_when_it_is_copied(tmp_path: Path, store: Path) -> None:
    with naiad.init_run(project="workspace/digits") as run:
        assert "workspace/digits" == run["sys/project"].fetch()
        with pytest.raises(ProtectedPath):
            run["sys/project"] = "other"
        name = run["sys/id"].fetch()
    elsewhere = tmp_path / "elsewhere"
    naiad.init_run(store=elsewhere, project="other").stop()
    shutil.copytree(run._store.directory(run._run).path, elsewhere / "runs" / run._store.directory(run._run).uid)

    assert [name] == [each.id for each in Store.locate(elsewhere).catalog().summaries("workspace/digits")]


@pytest.mark.usefixtures("store")
def test_joining_a_run_waits_until_its_maker_has_begun_it() -> None:
    place = Store.locate()
    reserved = place.reserve_run("digits", "mine")
    folder = place.directory(reserved.run)
    folder.journal.mkdir(parents=True)  # as far as another process came until now
    first = first_ops({"id": reserved.id, "project": "digits", "name": "theirs"})
    maker = threading.Timer(0.3, lambda: Writer.open(folder, first_ops=first).stop())
    maker.start()
    with naiad.init_run(project="digits", custom_run_id="mine") as run:
        assert f"<Run {reserved.id}>" == repr(run)
        assert (reserved.id, "theirs") == (run["sys/id"].fetch(), run["sys/name"].fetch())
    maker.join()


@pytest.mark.usefixtures("store")
def test_joining_a_run_whose_maker_died_begins_it() -> None:
    place = Store.locate()
    reserved = place.reserve_run("digits", "mine")
    folder = place.directory(reserved.run)
    folder.journal.mkdir(parents=True)
    with naiad.init_run(project="digits", custom_run_id="mine", tags="a") as run:
        run["x"].append(1.0)

        assert (reserved.id, "Untitled", "mine") == tuple(
            run[f"sys/{name}"].fetch() for name in ("id", "name", "custom_run_id")
        )
        assert {"a"} == run["sys/tags"].fetch()
    assert [] == verify(run._store.directory(run._run))


@pytest.mark.usefixtures("store")
def test_sync_mode_asks_the_disk_once_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    wait = Writer.wait
    monkeypatch.setattr(Writer, "wait", lambda self: (asked.append(1), wait(self)))
    with naiad.init_run(mode="sync") as run:
        for verb in (
            lambda: run["d"].append({f"m{number}": 0.5 for number in range(10)}),
            lambda: run["d"].append({f"m{number}": 0.5 for number in range(10)}),
            lambda: run["p"].assign({"a": 1, "b": 2}),
            lambda: run["d/m1"].append(0.5, wait=True),
            lambda: run["d/m1"].extend([0.5] * 50),
            lambda: run["s"].assign(FloatSeries([1.0, 2.0], min=0)),
            run["d"].pop,
        ):
            asked.clear()
            verb()
            assert [1] == asked


@pytest.mark.parametrize("seconds", ["x", -1, float("nan"), [1]])
def test_stop_that_is_given_no_seconds_is_refused_and_the_run_goes_on(run: naiad.Run, seconds: Any) -> None:
    with pytest.raises(ValueError, match="seconds="):
        run.stop(seconds=seconds)
    run["a"] = 1

    assert "started" == run.get_state()
    run.stop(seconds=5)
    assert run._store.directory(run._run).seal.exists()


@pytest.mark.parametrize("namespace", ["../x", " ", "a\nb", "x" * 2000])
def test_monitoring_namespace_must_be_a_path(store: Path, namespace: str) -> None:
    with pytest.raises(NaiadPathError):
        naiad.init_run(monitoring_namespace=namespace)
    assert not store.exists()


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(
    "project", ["..", "a/../b", " ", "a\nb", "x" * 200, "\ud800"], ids=lambda name: ascii(name)[:9]
)
def test_odd_projects_are_refused(project: str) -> None:
    with pytest.raises(NaiadPathError, match="name of a project"):
        naiad.init_run(project=project)


def test_project_is_named_by_a_folder_of_any_bytes(tmp_path: Path, store: Path) -> None:
    folder = tmp_path / os.fsdecode(b"f\xff")
    naiad.init_run(store=folder / ".naiad").stop()

    assert ["f\N{REPLACEMENT CHARACTER}"] == [
        row.project for row in Store.locate(folder / ".naiad").catalog().summaries()
    ]


def test_run_with_a_half_character_in_its_project_does_not_hide_the_others(store: Path) -> None:
    naiad.init_run(project="fine").stop()
    place = Store.locate()
    reserved = place.reserve_run("fine")
    folder = place.directory(reserved.run)
    first = first_ops({"id": reserved.id, "project": "f\udcff"})
    Writer.open(folder, first_ops=first).stop()

    assert 2 == len(Store.locate().catalog().summaries())
