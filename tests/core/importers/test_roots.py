"""Files that a source names: those outside of its folder are read only from folders that the user names."""

from __future__ import annotations

import sqlite3
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from neptune_queue import NAIAD, OTHER, imported, only, op, opened, queue

from naiad.importers import import_runs, roots

NAMED: Mapping[str, Mapping[str, Any]] = {
    "upload": {"type": "UploadFile", "ext": "txt", "file_path": "{place}", "tmp_file_name": None},
    "set": {"type": "UploadFileSet", "file_globs": ["{place}"], "reset": "False"},
    "glob": {"type": "UploadFileSet", "file_globs": ["{folder}/*.txt"], "reset": "False"},
    "artifact": {"type": "TrackFilesToArtifact", "entries": [["{folder}", None]], "project_id": OTHER},
    "url": {"type": "TrackFilesToArtifact", "entries": [["file://{folder}", None]], "project_id": OTHER},
    "linked": {"type": "UploadFile", "ext": "txt", "file_path": "{home}/a[1].txt", "tmp_file_name": None},
    "linked folder": {"type": "TrackFilesToArtifact", "entries": [["{home}/inside", None]], "project_id": OTHER},
    "relative": {"type": "UploadFile", "ext": "txt", "file_path": "../private/key.txt", "tmp_file_name": None},
}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The folder of a program, with links to a private file outside of it."""
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "key.txt").write_text("secret" * 2000)  # too long to lie in an op as base64
    home = tmp_path / "program"
    (home / "inside").mkdir(parents=True)
    (home / "a[1].txt").symlink_to(tmp_path / "private" / "key.txt")
    (home / "inside" / "key.txt").symlink_to(tmp_path / "private" / "key.txt")
    return home


def filled(value: Any, home: Path) -> Any:
    """Return an operation with the paths of this test."""
    if isinstance(value, dict):
        return {key: filled(each, home) for key, each in value.items()}
    if isinstance(value, list):
        return [filled(each, home) for each in value]
    private = home.parent / "private"
    return value.format(place=private / "key.txt", folder=private, home=home) if isinstance(value, str) else value


def stored(store: Path) -> bytes:
    return b"".join(each.read_bytes() for each in store.rglob("*") if each.is_file())


@pytest.mark.parametrize("name", NAMED)
def test_file_outside_is_not_read(store: Path, home: Path, name: str) -> None:
    queue(home, [{"path": ["f"], **filled(dict(NAMED[name]), home)}, op("AssignFloat", "lr", value=0.1)])

    report = imported(home / ".neptune", store)

    [reason] = [each.reason for each in only(report).skipped]
    assert f"lies outside {str(home)!r}, and is not read; --files-from FOLDER allows it" in reason
    assert not report.is_whole
    assert b"secret" not in stored(store)
    with opened(store, only(report)) as run:
        assert 0.1 == run["lr"].fetch()


@pytest.mark.parametrize("name", NAMED)
def test_file_outside_is_read_from_a_named_folder(store: Path, home: Path, name: str) -> None:
    """The run was imported without them before, and gets them now."""
    queue(home, [{"path": ["f"], **filled(dict(NAMED[name]), home)}])
    imported(home, store)

    report = imported(home, store, files_from=[str(home.parent / "private")])

    assert report.is_whole, only(report).skipped
    with opened(store, only(report)) as run:
        assert run.exists("f")
    if NAMED[name]["type"] != "TrackFilesToArtifact":
        assert b"secret" in stored(store)


def test_pattern_that_goes_up_behind_a_wildcard_is_not_read(store: Path, home: Path) -> None:
    queue(home, [op("UploadFileSet", "f", file_globs=[f"{home}/*/../../private/*.txt"], reset="False")])

    report = imported(home, store, files_from=["/"])

    assert "goes up again behind a wildcard" in only(report).skipped[0].reason
    assert b"secret" not in stored(store)


def test_option_of_the_command_may_be_repeated(store: Path, home: Path) -> None:
    queue(home, [{"path": ["f"], **filled(dict(NAMED["upload"]), home)}])
    command = [*NAIAD, "--store", str(store), "import", "neptune-offline", str(home)]
    named = ["--files-from", str(home), "--files-from", "/"]

    done = [subprocess.run([*command, *more], capture_output=True, text=True, check=False) for more in ([], named)]

    assert [1, 0] == [each.returncode for each in done]
    assert "--files-from FOLDER allows it" in done[0].stdout


@pytest.mark.parametrize("place", ["~", "/"])
def test_home_and_the_whole_disk_are_no_folder_of_a_source(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, place: str
) -> None:
    """`.neptune` of a stranger, put into the home directory, gives no access to the keys there."""
    monkeypatch.setenv("HOME", str(tmp_path))
    own = tmp_path if place == "~" else Path(place)

    found = roots.of(own, {})

    assert [] == found
    assert "lies outside the folders that may be read" in roots.refusal(str(own / "key"), found)
    assert "" == roots.refusal(str(own / "key"), roots.of(own, {"files-from": place}))


def test_artifacts_of_mlflow_outside_are_not_read(store: Path, home: Path) -> None:
    with sqlite3.connect(home / "mlflow.db") as database:
        database.executescript(
            f"""
            CREATE TABLE experiments (experiment_id, name);
            CREATE TABLE runs (run_uuid, name, user_id, status, start_time, end_time, lifecycle_stage, artifact_uri,
                               experiment_id);
            CREATE TABLE metrics (key, value, timestamp, run_uuid, step, is_nan);
            CREATE TABLE params (key, value, run_uuid);
            CREATE TABLE tags (key, value, run_uuid);
            INSERT INTO runs VALUES ('a1', 'r', 'u', 'FINISHED', 1000, 2000, 'active',
                                     'file://{home.parent}/private', 0);
            """
        )
    database.close()

    report = import_runs("mlflow", home, store=store)

    assert ["artifacts"] == [each.path for each in only(report).skipped]
    assert b"secret" not in stored(store)
    assert import_runs("mlflow", home, store=store, files_from=["/"]).is_whole
    assert b"secret" in stored(store)


def test_link_in_a_folder_of_mlflow_is_not_read(store: Path, home: Path) -> None:
    folder = home / "mlruns" / "0" / ("a" * 32)
    (folder / "tags").mkdir(parents=True)
    (folder.parent / "meta.yaml").write_text("name: digits\n")
    (folder / "meta.yaml").write_text(f"run_id: {'a' * 32}\nstatus: 3\n")
    (folder / "tags" / "mlflow.runName").symlink_to(home.parent / "private" / "key.txt")

    import_runs("mlflow", home / "mlruns", store=store)

    assert b"secret" not in stored(store)
