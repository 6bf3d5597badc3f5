"""The project, for reading a store's runs."""

from __future__ import annotations

from pathlib import Path

import pytest

import naiad
from naiad.errors import InactiveProject, NaiadError, ProjectNotFound, ReadOnlyWarning


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
        assert {"sys": {"id": "VISION", "name": "team/vision", "visibility": "priv"}} == project.fetch()
        assert project.exists("sys/id")
        assert "<Project team/vision>" == repr(project)


@pytest.mark.usefixtures("store")
def test_writing_to_a_project_says_that_nothing_is_stored() -> None:
    naiad.init_run(project="p").stop()
    with naiad.init_project("p") as project:
        with pytest.warns(ReadOnlyWarning):
            project["facts"] = {"a": 1}

        assert not project.exists("facts")


@pytest.mark.usefixtures("store")
def test_unknown_project_names_the_known_ones() -> None:
    naiad.init_run(project="mine").stop()

    with pytest.raises(ProjectNotFound, match="'mine'"):
        naiad.init_project("yours")


def test_project_of_an_empty_store_has_no_runs_and_makes_nothing(store: Path) -> None:
    with naiad.init_project() as project:
        assert [] == list(project.runs())
    assert not store.exists()


@pytest.mark.usefixtures("store")
def test_project_cannot_be_offline() -> None:
    with pytest.raises(NaiadError, match="offline"):
        naiad.init_project(mode="offline")


@pytest.mark.usefixtures("store")
def test_stopped_project_is_inactive() -> None:
    project = naiad.init_project()
    project.stop()

    with pytest.raises(InactiveProject):
        project["sys/id"]
    with pytest.raises(InactiveProject):
        list(project.runs())
