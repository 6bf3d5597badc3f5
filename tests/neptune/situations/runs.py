"""Situations of runs, models and projects: begun, begun again, by several processes at once, listed, trashed."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import Barrier
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import neptune
import pytest
from containers import KINDS, PROJECT, QUIET, begun
from neptune.exceptions import NeptuneCannotChangeStageManually, NeptuneModelKeyAlreadyExistsError
from neptune.management import clear_trash, create_project, delete_project, get_project_list, trash_objects
from neptune.management.exceptions import ProjectNotFound
from neptune.types import GitRef

VALUES = [7, 0.25, True, "word"]


# Begun


def test_custom_run_id(key: str) -> None:
    custom = key.replace("/", "-")
    with begun("run", custom_run_id=custom) as run:
        run["k"] = "v"
    with begun("run", custom_run_id=custom) as again:
        assert "v" == again["k"].fetch()


def test_send_source_code() -> None:
    Path("train.py").write_text("1")
    with begun("run", source_files="**/*.py", name="source code") as run:
        run.sync()
        run["source_code/files"].download()

    with ZipFile("files.zip") as files:
        assert "train.py" in files.namelist()


def _repository() -> None:
    subprocess.run(["git", "init", "-q"], check=True)
    named = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", *named, "commit", "-q", "--allow-empty", "-m", "x"], check=True)


@pytest.mark.parametrize(("git_ref", "is_there"), [(GitRef(repository_path="."), True), (GitRef.DISABLED, False)])
def test_git_client_repository(git_ref: Any, is_there: bool) -> None:
    """And test_git_disabled."""
    _repository()
    with begun("run", git_ref=git_ref) as run:
        run.sync()

        assert is_there is run.exists("source_code/git")


def test_infer_dependencies() -> None:
    with begun("run", dependencies="infer") as run:
        run.sync()

        assert run.exists("source_code/requirements")


def test_upload_dependency_file() -> None:
    Path("needed.txt").write_text("some-dependency==1.0.0")
    with begun("run", dependencies="needed.txt") as run:
        run.sync()
        run["source_code/requirements"].download("there")

    assert "some-dependency==1.0.0" == Path("there").read_text()


def test_tracking_uncommitted_changes() -> None:
    _repository()
    Path("file.txt").write_text("some-content\n")
    subprocess.run(["git", "add", "file.txt"], check=True)
    with begun("run", git_ref=GitRef(repository_path=".")) as run:
        run.sync()
        run["source_code/diff"].download()

    assert "some-content" in Path("diff.patch").read_text()


def test_init_and_readonly(key: str) -> None:
    """And test_resuming_project."""
    with begun("project") as project:
        project[key] = "v"
    read_only = begun("project", mode="read-only")
    read_only.sync()

    assert {"creation_time", "id", "modification_time", "name", "size", "state", "tags", "visibility"} <= set(
        read_only.get_structure()["sys"]
    )
    assert "v" == read_only[key].fetch()


def test_fail_reused_model_key() -> None:
    with begun("model") as model:
        taken = model["sys/id"].fetch().split("-")[1]

    with pytest.raises(NeptuneModelKeyAlreadyExistsError):
        neptune.init_model(key=taken, project=PROJECT)


def _again(kind: str, name: str, **options: Any) -> Any:
    if kind == "project":
        return neptune.init_project(project=PROJECT, **options)
    open_again = {"run": neptune.init_run, "model": neptune.init_model, "model_version": neptune.init_model_version}
    return open_again[kind](with_id=name, project=PROJECT, **options)


@pytest.mark.parametrize("kind", KINDS)
def test_resuming_container(kind: str, key: str) -> None:
    with begun(kind) as container:
        name = container["sys/id"].fetch()
        container[key] = "v"
    with _again(container.container_type.value, name) as again:
        assert "v" == again[key].fetch()


# Stages


def test_transitions() -> None:
    with begun("model_version") as version:
        found = [version["sys/stage"].fetch()]
        for stage in ("staging", "production", "none"):
            version.change_stage(stage)
            version.sync()
            found.append(version["sys/stage"].fetch())

    assert ["none", "staging", "production", "none"] == found


def test_fail_on_unknown_stage_value(containers: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="unknown"):
        containers["model_version"].change_stage("unknown")


def test_fail_on_manual(containers: dict[str, Any]) -> None:
    with pytest.raises(NeptuneCannotChangeStageManually):
        containers["model_version"]["sys/stage"] = "staging"


# Several at once


def _store(name: str, path: str) -> None:
    with _again("run", name, **QUIET) as run:
        run[path] = "colour"


def test_single_thread(the_run: Any, key: str) -> None:
    again = [_again("run", the_run["sys/id"].fetch(), **QUIET) for _number in range(5)]
    for number, each in enumerate([the_run, *again]):
        each[f"{key}/{number}"] = "colour"
    for each in [*again, the_run]:
        each.sync()

    assert 6 == len(the_run[key].fetch())
    for each in again:
        each.stop()


@pytest.mark.parametrize("pool", [ProcessPoolExecutor, ThreadPoolExecutor])
def test_multiple(the_run: Any, key: str, pool: Callable[[int], Executor]) -> None:
    """Both test_multiple_processes and test_multiple_threads."""
    the_run[f"{key}/own"] = "colour"
    with pool(3) as executor:
        for future in [executor.submit(_store, the_run["sys/id"].fetch(), f"{key}/{number}") for number in range(10)]:
            future.result()
    the_run.sync()

    assert 11 == len(the_run[key].fetch())


@pytest.mark.parametrize("value", VALUES)
def test_forked_assign_and_fetch(container: Any, key: str, value: object) -> None:
    """`test_simple_assign_and_fetch` of its tests of processes: parent and child go on with one container."""
    child = os.fork()
    path = f"{key}/{'child' if child == 0 else 'parent'}"
    container[path] = value
    container.sync()
    is_there = container[path].fetch() == value
    if child == 0:
        os._exit(0 if is_there else 1)

    assert is_there
    assert 0 == os.waitpid(child, 0)[1]


@pytest.mark.parametrize("kind", KINDS)
def test_forking_child_parent_exchange(kind: str) -> None:
    barrier = Barrier(2)
    with begun(kind) as container:
        child = os.fork()
        mine, its = ("child", "parent") if child == 0 else ("parent", "child")
        container[f"{mine}_key"] = f"{mine}_value"
        container.wait()
        barrier.wait(60)
        container.sync()
        is_there = container[f"{its}_key"].fetch() == f"{its}_value"
        if child == 0:
            os.kill(os.getpid(), signal.SIGTERM if is_there else signal.SIGKILL)

        assert is_there
        assert signal.SIGTERM == os.waitpid(child, 0)[1]


# Tables


def test_fetch_runs_by_tag(containers: dict[str, Any], key: str) -> None:
    with begun("run", tags=[f"{key}/1", f"{key}/2"]) as run:
        name = run["sys/id"].fetch()
    begun("run", tags=[f"{key}/2"]).stop()
    [row] = containers["project"].fetch_runs_table(tag=[f"{key}/1", f"{key}/2"]).to_rows()

    assert name == row.get_attribute_value("sys/id")


def test_fetch_model_versions_with_correct_ids() -> None:
    with begun("model") as model:
        name = model["sys/id"].fetch()
        for _number in range(5):
            neptune.init_model_version(model=name, project=PROJECT).stop()
        rows = model.fetch_model_versions_table().to_rows()
        entries = list(model.fetch_model_versions_table())

    assert {f"{name}-{number}" for number in range(1, 6)} == {row.get_attribute_value("sys/id") for row in rows}
    assert [(row._id, row._container_type) for row in rows] == [(each._id, each._container_type) for each in entries]


@pytest.mark.parametrize("kind", ["run", "model", "model_version"])
def test_fetch_table(containers: dict[str, Any], kind: str) -> None:
    """Three tests of the client: test_fetch_runs_table, test_fetch_models_table, test_fetch_model_versions_table."""
    with begun("model") as model:
        parent = model["sys/id"].fetch()
        project = containers["project"]
        fetch = {
            "run": project.fetch_runs_table, "model": project.fetch_models_table,
            "model_version": model.fetch_model_versions_table,
        }[kind]  # fmt: skip
        names = []
        for fields in ({"one": 5, "two/deep": "n"}, {"one": 5}):
            own = neptune.init_model_version(model=parent, project=PROJECT) if kind == "model_version" else begun(kind)
            with own:
                names.append(own["sys/id"].fetch())
                for path, value in fields.items():
                    own[path] = value

        def cell(name: str, path: str, **options: Any) -> Any:
            [row] = [each for each in fetch(**options).to_rows() if each.get_attribute_value("sys/id") == name]
            try:
                return row.get_attribute_value(path)
            except ValueError:
                return None

        found = [
            (cell(names[0], "one", **options), cell(names[0], "two/deep", **options))
            for options in ({}, {"columns": None}, {"columns": []}, {"columns": ["one"]}, {"columns": ["two/deep"]})
        ]
        other = cell(names[1], "one"), cell(names[1], "two/deep")

    assert [(5, "n"), (5, "n"), (None, None), (5, None), (None, "n")] == found
    assert (5, None) == other


def test_fetch_runs_table_by_state(containers: dict[str, Any], key: str) -> None:
    found = []
    with begun("run", tags=key) as run:
        run["value"] = 0.125
        found.append(containers["project"].fetch_runs_table(state="active").to_pandas())
    found.append(containers["project"].fetch_runs_table(state="inactive").to_pandas())

    assert [True, True] == [key in frame["sys/tags"].values for frame in found]
    assert [True, True] == [0.125 in frame["value"].values for frame in found]


def test_fetch_runs_table_sorting() -> None:
    own = "team/sorting"
    for name, accuracy, text in (("run1", 0.95, "b"), ("run2", 0.9, "a")):
        with begun("run", own, custom_run_id=name) as run:
            run["metrics/accuracy"], run["text"] = accuracy, text
    with begun("project", own) as project:
        found = {
            by: project.fetch_runs_table(sort_by=by, ascending=True).to_pandas()["sys/custom_run_id"].to_list()
            for by in ("sys/creation_time", "metrics/accuracy", "text")
        }
        with begun("run", own) as run:
            run["metrics/accuracy"].log(0.95)
        with pytest.raises(ValueError, match="metrics/accuracy"):
            list(project.fetch_runs_table(sort_by="metrics/accuracy"))

    backwards = ["run2", "run1"]
    assert {"sys/creation_time": ["run1", "run2"], "metrics/accuracy": backwards, "text": backwards} == found


# Projects and their trash


def _ids(table: Any) -> set[str]:
    return {row.get_attribute_value("sys/id") for row in table.to_rows()}


def test_create_project() -> None:
    name = create_project(name="made", workspace="team")
    is_listed = name in get_project_list()
    delete_project(name)

    assert "team/made" == name
    assert is_listed
    assert name not in get_project_list()


def test_trash_objects_wrong_project() -> None:
    with pytest.raises(ProjectNotFound):
        trash_objects("team/not-there", ["RUN-1", "RUN-2"])


def test_trash_runs_and_models() -> None:
    """And test_trash_runs, test_trash_model_version and test_delete_from_trash."""
    own = "team/trash"
    names = {}
    for kind in ("run", "run", "model", "model"):
        with begun(kind, own) as container:
            names.setdefault(kind, []).append(container["sys/id"].fetch())
    parent = names["model"][1]
    for _number in range(2):
        neptune.init_model_version(model=parent, project=own).stop()
    trash_objects(own, [names["run"][0], names["model"][0], f"{parent}-1"])
    with begun("project", own) as project, neptune.init_model(with_id=parent, project=own, mode="read-only") as model:
        left = [_ids(project.fetch_runs_table()), _ids(project.fetch_models_table())]
        versions = _ids(model.fetch_model_versions_table())
        trashed = _ids(project.fetch_runs_table(trashed=True)), _ids(project.fetch_models_table(trashed=True))
        clear_trash(own)
        cleared = _ids(project.fetch_runs_table(trashed=True)), _ids(project.fetch_models_table(trashed=True))

    assert [{names["run"][1]}, {parent}] == left
    assert {f"{parent}-2"} == versions
    assert ({names["run"][0]}, {names["model"][0]}) == trashed
    assert (set(), set()) == cleared
