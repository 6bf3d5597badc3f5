"""Files that the real tools write: Neptune's client, MLflow and W&B, in an environment of their own.

tests/core/importers/environment && .venv/bin/python -m pytest -m packages tests/core/importers
"""

from __future__ import annotations

import os
import signal
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import naiad
from naiad.importers import Report, RunReport, import_runs

ROOT = Path(__file__).parents[3]
PYTHON = Path(os.environ.get("NAIAD_FOREIGN_PYTHON") or ROOT / ".venv-foreign" / "bin" / "python")
PROGRAMS = Path(__file__).parent / "programs"
pytestmark = pytest.mark.packages


def write(program: str, folder: Path, *arguments: str) -> int:
    """Run a program of the other environment in a folder, and return its exit status."""
    assert PYTHON.exists(), "make the environment first: tests/core/importers/environment"
    folder.mkdir(parents=True, exist_ok=True)
    command = [PYTHON, PROGRAMS / program, *arguments]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, timeout=110).returncode  # noqa: PLW1510 (some are killed)


def only(report: Report) -> RunReport:
    [run] = report.runs
    return run


def opened(store: Path, run: RunReport) -> naiad.Run:
    return naiad.init_run(with_id=run.id, store=store, mode="read-only")


@pytest.mark.parametrize(("mode", "end"), [("offline", []), ("offline", ["kill"]), ("async", ["kill"])])
def test_folder_of_the_real_client(store: Path, tmp_path: Path, mode: str, end: list[str]) -> None:
    status = write("neptune_client.py", tmp_path / "work", mode, *end)

    report = import_runs("neptune-offline", tmp_path / "work" / ".neptune", store=store)

    assert (-signal.SIGKILL if end else 0) == status
    is_cut = mode == "offline" and bool(end)  # the client had its last operations in memory only
    assert is_cut is any("they were not written" in each.reason for each in only(report).skipped)
    with opened(store, only(report)) as run:
        loss = run["loss"].fetch_values()
        count = len(loss)
        assert count > 900 if is_cut else count == 1000
        assert np.array_equal(np.arange(count), loss["step"])
        assert np.array_equal([1 / (step + 1) for step in range(count)], loss["value"])
        assert {"lr": 0.1, "layers": 3, "deep": True} == run["params"].fetch()
        assert {"t1"} == run["sys/tags"].fetch()
        assert mode == run["sys/import/neptune-offline/client/mode"].fetch()
        if not is_cut:
            assert np.array_equal(np.arange(1000), run["free"].fetch_values()["step"])
            assert b"a,b" == run["file"].fetch_content()
            assert report.is_whole or mode == "async", only(report).skipped
    assert only(report).checks.are_equal
    assert "unchanged" == only(import_runs("neptune-offline", tmp_path / "work", store=store)).status


@pytest.mark.parametrize(("tool", "place"), [("mlflow-sqlite", "mlflow.db"), ("mlflow-folder", "mlruns")])
def test_store_of_mlflow(store: Path, tmp_path: Path, tool: str, place: str) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    assert 0 == write("trackers.py", folder, tool, str(folder))
    before = {each: each.read_bytes() for each in folder.rglob("*") if each.is_file()}

    report = import_runs("mlflow", folder / place, store=store)

    assert report.is_whole
    first, second = (next(each for each in report.runs if name(store, each) == title) for title in ("first", "second"))
    with opened(store, first) as run:
        assert "digits" == run["sys/project"].fetch()
        assert {"lr": "0.1", "net": {"depth": "3"}} == run["params"].fetch()
        assert "a" == run["tags/team"].fetch()
        assert [1 / (step + 1) for step in range(5)] == run["metrics/loss"].fetch_values()["value"].tolist()
        assert np.isnan(run["metrics/val/acc"].fetch_values()["value"][2])
        assert ["model"] == [each.name for each in run["artifacts"].list_fileset_files()]
    with opened(store, second) as run:
        assert "failed" == run["sys/state"].fetch()
    ids = {each.id: each for each in report.runs if each.container != "run"}
    assert {"DIGITS-DIGITS_CNN", "DIGITS-DIGITS_CNN-1", "DIGITS-DIGITS_CNN-2"} == ids.keys()  # the third was deleted
    with naiad.init_model(with_id="DIGITS-DIGITS_CNN", store=store, mode="read-only") as model:
        assert ("digits cnn", "d") == (model["sys/name"].fetch(), model["sys/description"].fetch())
        assert ("vision", "1") == (model["tags/task"].fetch(), model["aliases/champion"].fetch())
        assert 2 == len(model.fetch_model_versions_table().to_pandas())
    with naiad.init_model_version(with_id="DIGITS-DIGITS_CNN-1", store=store, mode="read-only") as version:
        assert ("production", {"champion"}) == (version["sys/stage"].fetch(), version["sys/tags"].fetch())
        assert ("v", "yes") == (version["sys/description"].fetch(), version["tags/ok"].fetch())
        assert ["model.txt"] == [each.name for each in version["model"].list_fileset_files()]
    assert before == {each: each.read_bytes() for each in folder.rglob("*") if each.is_file()}
    assert {"unchanged"} == {each.status for each in import_runs("mlflow", folder / place, store=store).runs}


def test_offline_run_of_wandb(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    assert 0 == write("trackers.py", folder, "wandb", str(folder))

    refused = import_runs("wandb", folder / "wandb", store=tmp_path / "other")
    monkeypatch.setenv("WANDB_DATA_DIR", str(folder / "data"))

    report = import_runs("wandb", folder / "wandb", store=store)

    assert ["'net.pt'", "'net.pt'", "'other'"] == sorted(each.reason.split(":")[0] for each in only(refused).skipped)
    [reference] = only(report).skipped
    assert "it is a reference to 'file:///etc/hostname'" in reference.reason
    with opened(store, only(report)) as run:
        assert ("digits", "first") == (run["sys/project"].fetch(), run["sys/name"].fetch())
        assert {"a", "b"} == run["sys/tags"].fetch()
        assert {"lr": 0.1, "net": {"depth": 3}, "s": "x"} == run["config"].fetch()
        assert [1 / (step + 1) for step in range(5)] == run["loss"].fetch_values()["value"].tolist()
        assert np.isnan(run["val/acc"].fetch_values()["value"][2])
        assert "text 4" == run["note"].fetch_last()
        assert 10 == sum(run["grads"].fetch_last().counts)
        image: dict[str, Any] = run["img"].fetch_values().iloc[0].to_dict()
        assert ("png", "c", 5) == (image["extension"], image["description"], image["step"])
        assert 0.5 == run["summary/best"].fetch()
        assert ("model", '["best", "latest"]') == (
            run["artifacts/net/type"].fetch(),
            run["artifacts/net/aliases"].fetch(),
        )
        for path, content in (("artifacts/net", b"weights"), ("artifacts/net_2", b"better")):
            archived = tmp_path / f"{path.rpartition('/')[2]}.zip"
            run[f"{path}/files"].download(str(archived))
            with zipfile.ZipFile(archived) as archive:
                assert content == archive.read("net.pt")
    assert "unchanged" == only(import_runs("wandb", folder, store=store)).status


def name(store: Path, report: RunReport) -> str:
    with opened(store, report) as run:
        return str(run["sys/name"].fetch())
