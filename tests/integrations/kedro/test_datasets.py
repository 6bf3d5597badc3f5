"""The datasets by themselves, and what becomes of them in a pipeline."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from kedro.io import DatasetError
from kedro.io.core import Version
from kedro.runner import ParallelRunner
from kedro_datasets.pandas import CSVDataset

import naiad
from naiad_kedro import NaiadArtifactDataset, NaiadFileDataset, NaiadMetricDataset, NeptuneFileDataset
from naiad_kedro.config import Config
from naiad_kedro.run_dataset import RunDataset


def test_file_dataset_keeps_bytes(tmp_path: Path) -> None:
    dataset = NaiadFileDataset(str(tmp_path / "new" / "model.bin"))

    assert not dataset.exists()
    dataset.save(b"\x00\xff")

    assert dataset.exists()
    assert b"\x00\xff" == dataset.load()
    assert "bin" == dataset._describe()["extension"]


def test_file_dataset_writes_text_as_utf8(tmp_path: Path) -> None:
    NeptuneFileDataset(str(tmp_path / "a.txt")).save("é")

    assert "é".encode() == (tmp_path / "a.txt").read_bytes()


def test_file_on_another_file_system_is_uploaded_through_it(project: Any) -> None:
    import fsspec

    fsspec.filesystem("memory").pipe("/tiny/notes.txt", b"remote")
    entry = "notes: {type: naiad_kedro.NaiadFileDataset, filepath: 'memory:///tiny/notes.txt'}"
    project.configure("catalog_more.yml", entry)

    project.run("twins")

    with project.opened() as run:
        run["kedro/catalog/files/notes"].download(str(project.path / "notes"))
    assert b"remote" == (project.path / "notes").read_bytes()


def test_artifact_dataset_is_the_one_it_wraps(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": [1, 2]})
    dataset = NaiadArtifactDataset({"type": "pandas.CSVDataset", "filepath": str(tmp_path / "a.csv")})

    assert not dataset.exists()
    dataset.save(frame)

    assert frame.equals(dataset.load())
    assert dataset.exists()
    assert "CSVDataset" == dataset._describe()["dataset"]


def test_artifact_dataset_keeps_versions(tmp_path: Path) -> None:
    entry = {"type": CSVDataset, "filepath": str(tmp_path / "a.csv")}

    NaiadArtifactDataset(entry, version=Version(None, "first")).save(pd.DataFrame({"a": [1]}))

    assert (tmp_path / "a.csv" / "first" / "a.csv").is_file()


def test_versioned_artifact_in_a_pipeline_is_the_version_that_was_saved(project: Any) -> None:
    project.remark(
        "numbers: {type: pandas.CSVDataset, filepath: data/numbers.csv}",
        "numbers: {type: naiad_kedro.NaiadArtifactDataset, versioned: true, "
        "dataset: {type: pandas.CSVDataset, filepath: data/numbers.csv}}",
    )

    project.run()

    with project.opened() as run:
        (tracked,) = run["kedro/catalog/artifacts/numbers"].fetch_files_list()
    (version,) = (project.path / "data/numbers.csv").iterdir()
    assert f"file://{version / 'numbers.csv'}" == tracked.metadata["file_path"]


@pytest.mark.parametrize("runner", [None, ParallelRunner], ids=["sequential", "processes"])
def test_metric_dataset_lives_in_the_run(runner: Any, project: Any) -> None:
    project.configure(
        "catalog_more.yml",
        "{accuracy: {type: naiad_kedro.NaiadMetricDataset}, half: {type: json.JSONDataset, filepath: data/half.json}}",
    )

    project.run("metrics", runner=runner and runner(max_workers=2))

    assert 1.0 == project.read().value("kedro/metrics/accuracy")
    assert "0.5" == (project.path / "data/half.json").read_text()


def test_metric_dataset_without_naiad_stays_in_memory(project: Any) -> None:
    project.configure("naiad.yml", "naiad: {enabled: false}")
    project.configure("catalog_more.yml", "accuracy: {type: naiad_kedro.NaiadMetricDataset}")

    assert 0.5 == project.run("metrics")["half"].load()


@pytest.mark.parametrize(
    ("series", "saved", "loaded"),
    [
        (False, [1, 0.5], 0.5),
        (False, [{"a": 1, "b": {"c": 2.5}}], {"a": 1.0, "b": {"c": 2.5}}),
        (True, [1, 0.5], 0.5),
        (True, [[1.0, 2.0]], 2.0),
        (True, [{"a": 1}, {"a": 3}], {"a": 3.0}),
    ],
)
def test_metric_dataset_reads_back_what_it_wrote(series: bool, saved: Any, loaded: Any, run: naiad.Run) -> None:
    dataset = NaiadMetricDataset(to="scores/best", series=series)
    dataset.bind("accuracy", run["kedro"])

    assert not dataset.exists()
    with pytest.raises(DatasetError, match="No metric was saved yet"):
        dataset.load()
    for value in saved:
        dataset.save(value)

    assert loaded == dataset.load()
    assert dataset.exists()
    assert run.exists("kedro/scores/best")


@pytest.mark.parametrize("is_bound", [True, False])
def test_metric_dataset_keeps_a_history(is_bound: bool, run: naiad.Run) -> None:
    dataset = NaiadMetricDataset(history=True)
    if is_bound:
        dataset.bind("loss", run["kedro"])

    dataset.save([0.9, 0.7])
    dataset.save({2: 0.5, 2.5: 0.4})

    assert {0: 0.9, 1: 0.7, 2: 0.5, 2.5: 0.4} == dataset.load()
    if is_bound:
        assert [0, 1, 2, 2.5] == run["kedro/metrics/loss"].fetch_values()["step"].tolist()


def test_metric_dataset_is_a_series_or_a_history() -> None:
    with pytest.raises(DatasetError, match="not both"):
        NaiadMetricDataset(series=True, history=True)


def test_run_of_a_pipeline_may_be_a_child(project: Any) -> None:
    with naiad.init_run(project="p", store=project.path / ".naiad") as parent:
        project.configure("naiad.yml", f"naiad: {{enabled: true, parent: {parent.id}}}")
        project.run()
        children = [child.id for child in parent.children()]

    assert 1 == len(children)


def test_run_dataset_opens_one_run_when_it_is_first_loaded(store: Path, tmp_path: Path) -> None:
    dataset = RunDataset(Config(tmp_path))

    assert not store.exists()
    base = dataset.load()
    dataset.save({"a": 1})
    dataset.load()["b"] = 2

    assert {"a": 1, "b": 2} == base.fetch()
    assert 1 == len(list((store / "runs").iterdir()))
    base.container.stop()


def test_run_dataset_takes_dicts_only(store: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="Only a dict"):
        RunDataset(Config(tmp_path)).save(0.5)


def test_run_dataset_that_was_not_opened_here_is_not_opened_elsewhere(store: Path, tmp_path: Path) -> None:
    copy = pickle.loads(pickle.dumps(RunDataset(Config(tmp_path))))

    assert copy.load() is None
    assert not store.exists()
