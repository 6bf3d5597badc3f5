"""The registry of MLflow: names that cannot be ids, models whose ids are taken, deleted versions.

Stores that MLflow itself wrote are in test_foreign_tools.py.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

import naiad
from naiad.importers import Report, import_runs

TABLES = """
    CREATE TABLE experiments (experiment_id, name);
    CREATE TABLE runs (run_uuid, name, user_id, status, start_time, end_time, lifecycle_stage, artifact_uri,
                       experiment_id);
    CREATE TABLE metrics (key, value, timestamp, run_uuid, step, is_nan);
    CREATE TABLE params (key, value, run_uuid);
    CREATE TABLE tags (key, value, run_uuid);
    CREATE TABLE registered_models (name, creation_time, description);
    CREATE TABLE model_versions (name, version, creation_time, description, user_id, current_stage, source, run_id);
    INSERT INTO experiments VALUES (0, 'digits');
    INSERT INTO runs VALUES ('a1', 'r', 'u', 'FINISHED', 1000, 2000, 'active', '', 0);
"""


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Two models whose names have one key, the first with two versions and a deleted one."""
    place = tmp_path / "mlflow.db"
    connection = sqlite3.connect(place)
    connection.executescript(TABLES)
    names = ["iris net", "iris/net"]
    connection.executemany("INSERT INTO registered_models VALUES (?, 5000, 'text')", [(name,) for name in names])
    versions = [(1, "Production"), (3, "None"), (4, "Deleted_Internal")]
    connection.executemany("INSERT INTO model_versions VALUES ('iris net', ?, 6000, '', 'ann', ?, '', 'a1')", versions)
    connection.commit()
    connection.close()
    return place


def ids(report: Report) -> list[str]:
    return [each.id for each in report.runs if each.container != "run"]


def test_models_and_versions_keep_their_numbers(store: Path, database: Path) -> None:
    report = import_runs("mlflow", database, store=store)

    assert report.is_whole
    assert ["DIGITS-IRIS_NET", "MLFLOW-IRIS_NET", "DIGITS-IRIS_NET-1", "DIGITS-IRIS_NET-3"] == ids(report)
    with naiad.init_model_version(with_id="DIGITS-IRIS_NET-1", store=store, mode="read-only") as version:
        assert ("production", "ann", "a1") == tuple(
            version[path].fetch() for path in ("sys/stage", "sys/owner", "run_id")
        )
        assert ("DIGITS-IRIS_NET", 6.0) == (
            version["sys/model_id"].fetch(),
            version["sys/creation_time"].fetch().timestamp(),
        )
    with naiad.init_model(with_id="MLFLOW-IRIS_NET", store=store, mode="read-only") as model:
        assert "iris/net" == model["sys/name"].fetch()


def test_versions_go_with_a_model_whose_id_is_taken(store: Path, database: Path) -> None:
    naiad.init_model(project="digits", key="IRIS_NET", store=store).stop()

    report = import_runs("mlflow", database, store=store)

    model, _other, first, third = ids(report)
    assert "DIGITS-IRIS_NET" != model
    assert [f"{model}-1", f"{model}-3"] == [first, third]
    assert ["unchanged"] * 5 == [each.status for each in import_runs("mlflow", database, store=store).runs]
    with naiad.init_model(with_id="DIGITS-IRIS_NET", store=store, mode="read-only") as own:
        assert 0 == len(own.fetch_model_versions_table().to_pandas())


def test_names_of_one_project_with_one_key_are_told_apart(store: Path, database: Path) -> None:
    connection = sqlite3.connect(database)
    connection.execute("DELETE FROM model_versions")
    connection.commit()
    connection.close()

    assert ["MLFLOW-IRIS_NET", "MLFLOW-IRIS_NET_2"] == ids(import_runs("mlflow", database, store=store))


def test_version_of_a_folder_that_is_damaged_costs_no_run(store: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mlruns" / "models" / "net"
    (folder / "version-2").mkdir(parents=True)
    (folder / "version-x").mkdir()
    (folder / "aliases").mkdir()
    (folder / "aliases" / "best").write_text("no number")
    (folder / "meta.yaml").write_bytes(b"\xff\xfe\x00")

    report = import_runs("mlflow", tmp_path / "mlruns", store=store)

    assert ["MLFLOW-NET", "MLFLOW-NET-2"] == ids(report)
