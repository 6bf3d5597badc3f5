"""The project: its runs, and fields of its own."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

import naiad
from naiad.container_kinds import PROJECT
from naiad.errors import InactiveProject, NaiadError, ProjectNotFound, ProtectedPath, ReadOnlyWarning
from naiad.storage.local.catalog import Catalog
from naiad.storage.local.store import Store


@pytest.mark.usefixtures("store")
def test_project_lists_its_runs_the_newest_first_and_they_can_be_opened() -> None:
    for number in range(3):
        with naiad.init_run(project="team/vision", name=f"run {number}", tags=["t"]) as run:
            run["number"] = number
    naiad.init_run(project="team/other").stop()

    with naiad.init_project("team/vision") as project:
        found = list(project.runs())
        opened = naiad.init_run(with_id=found[0].id, mode="read-only")

        assert ["run 2", "run 1", "run 0"] == [run.name for run in found]
        assert 2 == opened["number"].fetch()
        opened.stop()


@pytest.mark.usefixtures("store")
def test_project_has_facts_of_its_own() -> None:
    naiad.init_run(project="team/vision").stop()
    with naiad.init_project(project="team/vision") as project:
        assert "team/vision" == project["sys/name"].fetch()
        assert ["VISION", "priv", ""] == [project["sys"][name].fetch() for name in ("id", "visibility", "description")]
        assert project.exists("sys/creation_time")
        assert "<Project team/vision>" == repr(project)


@pytest.mark.usefixtures("store")
def test_project_keeps_fields_of_its_own() -> None:
    naiad.init_run(project="p").stop()
    with naiad.init_project("p") as project:
        project["facts"] = {"a": 1}
        project["loss"].append(0.5, step=3)

    with naiad.init_project("p") as project:
        project["facts/b"] = "added"
        assert {"a": 1, "b": "added"} == project["facts"].fetch()
    with naiad.init_project("p", mode="read-only") as project:
        assert 0.5 == project["loss"].fetch_last()
        with pytest.warns(ReadOnlyWarning):
            project["facts/c"] = 1
        assert not project.exists("facts/c")
    assert ["P-1"] == [run.id for run in naiad.init_project("p").runs()]


@pytest.mark.usefixtures("store")
def test_project_that_was_never_written_can_be_read_and_stays_so() -> None:
    naiad.init_run(project="team/vision").stop()

    with naiad.init_project("team/vision", mode="read-only") as project:
        assert {"sys": {"id": "VISION", "name": "team/vision", "visibility": "priv"}} == project.fetch()
    assert [] == Store.locate().catalog().summaries(kind=PROJECT)


@pytest.mark.usefixtures("store")
def test_who_only_looks_into_a_project_is_no_writer_of_it() -> None:
    naiad.init_run(project="p").stop()
    naiad.init_project("p").stop()
    [folder] = [folder for folder in Store.locate().folders() if folder.kind is PROJECT]
    before = sorted((path.name, path.stat().st_mtime_ns) for path in folder.path.rglob("*"))

    with naiad.init_project("p") as project:
        assert "finished" == project["sys/state"].fetch()
        project.wait()
        project.sync()

    assert before == sorted((path.name, path.stat().st_mtime_ns) for path in folder.path.rglob("*"))


@pytest.mark.usefixtures("store")
def test_name_of_a_project_cannot_be_changed() -> None:
    with naiad.init_project() as project, pytest.raises(ProtectedPath, match="sys/name"):
        project["sys/name"] = "other"


@pytest.mark.usefixtures("store")
def test_unknown_project_names_the_known_ones() -> None:
    naiad.init_run(project="mine").stop()

    with pytest.raises(ProjectNotFound, match="'mine'"):
        naiad.init_project("yours")


def test_project_of_copied_runs_is_opened_without_a_look_at_all_runs(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of runs copied in by hand the project has no key in this store: one of them is enough to know it."""
    for _ in range(3):
        naiad.init_run(project="mine").stop()
    shutil.copytree(store / "runs", tmp_path / "other" / "runs")
    monkeypatch.setenv("NAIAD_STORE", str(tmp_path / "other"))
    asked, find = [], Catalog.answer

    def answer(catalog: Catalog, call: str, **given: Any) -> Any:
        asked.append((call, given["limit"]))
        return find(catalog, call, **given)

    monkeypatch.setattr(Catalog, "answer", answer)

    with naiad.init_project("mine", mode="read-only") as project:
        assert [("summaries", 1)] == asked
        assert 3 == len(project.fetch_runs_table(progress_bar=False))


def test_project_of_an_empty_store_has_no_runs_and_makes_nothing(store: Path) -> None:
    with naiad.init_project(mode="read-only") as project:
        assert [] == list(project.runs())
    assert not store.exists()


@pytest.mark.usefixtures("store")
def test_project_cannot_be_offline() -> None:
    with pytest.raises(NaiadError, match="OFFLINE"):
        naiad.init_project(mode="offline")


@pytest.mark.usefixtures("store")
def test_stopped_project_is_inactive() -> None:
    project = naiad.init_project()
    project.stop()

    with pytest.raises(InactiveProject):
        project["sys/id"]
    with pytest.raises(InactiveProject):
        list(project.runs())
