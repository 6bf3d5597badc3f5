"""`naiad.management`: Neptune's functions for projects and the trash, and why a folder has no members."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import naiad
from naiad import management
from naiad.errors import (
    BeingWritten,
    InvalidArgument,
    ModelNotFound,
    NaiadPathError,
    NaiadTypeError,
    NeedsServer,
    NotInTrash,
    ProjectExists,
    ProjectNotFound,
    RunNotFound,
)
from naiad.management import exceptions, members
from naiad.storage.local.store import Store

pytestmark = pytest.mark.usefixtures("store")


def ids(*, is_trashed: bool | None = False) -> set[str]:
    return {row.id for row in Store.locate().catalog().summaries(kind=None, is_trashed=is_trashed)}


def test_project_is_made_with_its_key_and_found_again(store: Path) -> None:
    assert "team/digits" == management.create_project(
        "digits", workspace="team", key="DG", visibility="pub", description="handwritten"
    )

    assert ["team/digits"] == management.get_project_list(store=store)
    with naiad.init_run(project="team/digits") as run:
        assert "DG-1" == run["sys/id"].fetch()
    with naiad.init_project("team/digits", mode="read-only") as project:
        facts = {name: project[f"sys/{name}"].fetch() for name in ("id", "name", "visibility", "description")}
    assert {"id": "DG", "name": "team/digits", "visibility": "pub", "description": "handwritten"} == facts


def test_projects_of_runs_are_listed_too() -> None:
    naiad.init_run(project="b").stop()
    management.create_project("a")

    assert ["a", "b"] == management.get_project_list()


def test_key_given_to_a_project_stays_its_own() -> None:
    management.create_project("two words", key="XY")
    naiad.init_run(project="two-words").stop()

    with naiad.init_run(project="two words") as run:
        assert "XY-1" == run["sys/id"].fetch()
    assert {"XY": "two words", "TW": "two-words"} == Store.locate().projects()


def test_deleted_project_takes_everything_of_it() -> None:
    for project in ("mine", "yours"):
        naiad.init_run(project=project).stop()
        naiad.init_model(key="CNN", project=project).stop()
        naiad.init_model_version(model=f"{project.upper()}-CNN").stop()
        naiad.init_project(project).stop()
    management.trash_objects("mine", "MINE-1")

    management.delete_project("mine")
    assert {"YOURS", "YOURS-1", "YOURS-CNN", "YOURS-CNN-1"} == ids(is_trashed=None)
    assert ["yours"] == management.get_project_list()
    with pytest.raises(ProjectNotFound):
        naiad.init_project("mine")
    with naiad.init_run(project="mine") as run:
        assert "MINE-1" == run["sys/id"].fetch()


def test_project_that_is_written_is_not_deleted() -> None:
    naiad.init_run(project="p").stop()
    with naiad.init_run(project="p"), pytest.raises(BeingWritten, match="P-2"):
        management.delete_project("p")
    assert {"P-1", "P-2"} == ids()


def test_trash_goes_round() -> None:
    names = []
    for _ in range(3):
        with naiad.init_run(project="p") as run:
            names.append(run["sys/id"].fetch())
    naiad.init_model(key="CNN", project="p").stop()

    management.trash_objects("p", [names[0], names[1], "P-CNN"])
    assert {names[2]} == ids()
    management.restore_objects("p", names[1])
    assert {names[1], names[2]} == ids()
    management.delete_objects_from_trash("p", names[0])
    assert {"P-CNN"} == ids(is_trashed=True)
    management.clear_trash("p")
    assert {names[1], names[2]} == ids(is_trashed=None)
    management.clear_trash("p")


def test_all_ids_are_looked_at_before_anything_is_done() -> None:
    naiad.init_run(project="p").stop()
    naiad.init_run(project="q").stop()

    for wrong, error in (("P-2", RunNotFound), ("Q-1", RunNotFound), ("P-CNN", ModelNotFound)):
        with pytest.raises((error, RunNotFound), match=wrong):
            management.trash_objects("p", ["P-1", wrong])
    with pytest.raises(NotInTrash):
        management.delete_objects_from_trash("p", ["P-1"])
    assert {"P-1", "Q-1"} == ids()


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: management.create_project("known"), ProjectExists),
        (lambda: management.create_project("new", key="KNOWN"), ProjectExists),
        (lambda: management.create_project("new", key="new"), InvalidArgument),
        (lambda: management.create_project("new", key="N" * 11), InvalidArgument),
        (lambda: management.create_project("new", key="12"), InvalidArgument),
        (lambda: management.create_project("new", visibility="all"), InvalidArgument),
        (lambda: management.create_project("new", visibility=["priv"]), InvalidArgument),  # type: ignore[arg-type]
        (lambda: management.create_project("a/new", workspace="b"), InvalidArgument),
        (lambda: management.create_project(""), NaiadPathError),
        (lambda: management.create_project("../up"), NaiadPathError),
        (lambda: management.create_project(None), NaiadTypeError),  # type: ignore[arg-type]
        (lambda: management.create_project("new", description=5), NaiadTypeError),  # type: ignore[arg-type]
        (lambda: management.delete_project("unknown"), ProjectNotFound),
        (lambda: management.delete_project(5), NaiadTypeError),  # type: ignore[arg-type]
        (lambda: management.clear_trash("unknown"), ProjectNotFound),
        (lambda: management.trash_objects("known", 5), NaiadTypeError),  # type: ignore[arg-type]
        (lambda: management.trash_objects("known", ["KNOWN-1", None]), NaiadTypeError),  # type: ignore[list-item]
        (lambda: management.trash_objects("known", "KNOWN-7"), RunNotFound),
        (lambda: management.trash_objects("known", "KNOWN"), RunNotFound),
        (lambda: management.get_project_list(store=5), NaiadTypeError),  # type: ignore[arg-type]
    ],
)
def test_wrong_arguments_change_nothing(call: Callable[[], Any], error: type[Exception]) -> None:
    naiad.init_run(project="known").stop()

    with pytest.raises(error) as problem:
        call()
    assert isinstance(problem.value, exceptions.ManagementOperationFailure)
    assert ["known"] == management.get_project_list()
    assert {"KNOWN-1"} == ids(is_trashed=None)


@pytest.mark.parametrize("name", members.__all__)
def test_what_needs_a_server_says_why(name: str) -> None:
    function = getattr(management, name)
    needed = [each for each in inspect.signature(function).parameters.values() if each.default is each.empty]

    with pytest.raises(NeedsServer, match=r"stores everything in a folder and has no .*\n.*permissions"):
        function(**{each.name: "x" for each in needed})
    with pytest.raises(NotImplementedError):
        function(**{each.name: "x" for each in needed}, api_token="token")
