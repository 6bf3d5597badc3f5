"""`naiad trash`, `naiad restore`, `naiad purge`, and what else the terminal shows of models and projects."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from click.testing import Result

import naiad

Cli = Callable[..., Result]


@pytest.fixture
def several(store: object) -> None:
    """Two runs, and a model with a version."""
    naiad.init_run(project="digits").stop()
    naiad.init_run(project="digits").stop()
    naiad.init_model(key="CNN", name="small", project="digits").stop()
    with naiad.init_model_version(model="DIGITS-CNN", name="first") as version:
        version["accuracy"] = 0.98
        version.change_stage("staging")


def ids(result: Result) -> list[str]:
    assert 0 == result.exit_code, result.stderr
    return [line.split("\t")[0] for line in result.stdout.splitlines()]


@pytest.mark.usefixtures("several")
def test_trash_restore_purge(cli: Cli) -> None:
    done = cli("trash", "DIGITS-1", "DIGITS-CNN", "DIGITS-1")
    assert "1 run and 1 model are in the trash now." in done.stderr
    assert ["DIGITS-2"] == ids(cli("ls"))
    assert ["DIGITS-1"] == ids(cli("ls", "--trashed"))
    assert [] == ids(cli("ls", "models"))
    assert ["DIGITS-CNN"] == ids(cli("ls", "models", "--trashed"))

    assert "1 model is listed again." in cli("restore", "DIGITS-CNN").stderr
    assert ["DIGITS-CNN"] == ids(cli("ls", "models"))

    assert "1 run is deleted." in cli("purge", "--yes").stderr
    assert "The trash is empty." in cli("purge").stderr
    assert [] == ids(cli("ls", "--trashed"))
    assert 1 == cli("show", "DIGITS-1").exit_code


@pytest.mark.usefixtures("several")
def test_purge_says_what_it_leaves_to_gc(cli: Cli) -> None:
    with naiad.init_run(with_id="DIGITS-1") as run:
        run["weights"].upload(naiad.File.from_content(b"x" * 2_000_000))
    cli("trash", "DIGITS-1", "DIGITS-2")

    assert "frees them" not in cli("purge", "--yes", "DIGITS-2").stderr
    assert "2.0 MB (2,000,000 bytes) of files were used in the last minutes" in cli("purge", "--yes").stderr


@pytest.mark.usefixtures("several")
def test_purge_asks_and_takes_no_for_an_answer(cli: Cli) -> None:
    cli("trash", "DIGITS-1")

    refused = cli("purge")
    assert 1 == refused.exit_code
    assert "Delete DIGITS-1 for good?" in refused.stderr
    assert ["DIGITS-1"] == ids(cli("ls", "--trashed"))


@pytest.mark.usefixtures("several")
def test_purge_refuses_what_is_not_in_the_trash_or_is_written(cli: Cli) -> None:
    wrong = cli("purge", "--yes", "DIGITS-1")
    assert (1, "") == (wrong.exit_code, wrong.stdout)
    assert "Run DIGITS-1 is not in the trash" in wrong.stderr

    with naiad.init_run(with_id="DIGITS-1"):
        cli("trash", "DIGITS-1")
        busy = cli("purge", "--yes", "DIGITS-1")
        assert 1 == busy.exit_code
        assert "is being written" in busy.stderr
    assert 1 == cli("trash", "DIGITS-9").exit_code
    assert 2 == cli("trash").exit_code


@pytest.mark.usefixtures("several")
def test_models_and_versions_are_listed_and_shown(cli: Cli) -> None:
    (line,) = cli("ls", "versions").stdout.splitlines()
    assert ["DIGITS-CNN-1", "staging"] == line.split("\t")[:2]

    [version] = json.loads(cli("ls", "versions", "--json").stdout)
    expected = {"kind": "model_version", "stage": "staging", "model_id": "DIGITS-CNN", "trashed": False}
    assert expected == {name: version[name] for name in expected}
    [model] = json.loads(cli("ls", "models", "--json").stdout)
    assert ("model", "small") == (model["kind"], model["name"])
    assert "accuracy\tfloat\t0.98" in cli("show", "DIGITS-CNN-1").stdout
    assert cli("path", "DIGITS-CNN-1").stdout.strip().endswith(f"versions/{version['uid']}")
    assert 0 == cli("verify").exit_code


@pytest.mark.usefixtures("several")
def test_projects_are_listed_with_what_they_have(cli: Cli) -> None:
    naiad.init_run(project="another one").stop()
    cli("trash", "DIGITS-1")

    assert ["AO\tanother one\t1\t0", "DIGITS\tdigits\t1\t1"] == cli("projects").stdout.splitlines()
    assert {"key": "DIGITS", "name": "digits", "runs": 1, "models": 1} in json.loads(cli("projects", "--json").stdout)
