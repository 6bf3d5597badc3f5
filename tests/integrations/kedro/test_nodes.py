"""Nodes: each has one name, pieces that it yields are counted together, and its metrics are all kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from kedro.framework.session import KedroSession

import naiad

CHUNKS = """
chunks:
  type: pandas.CSVDataset
  filepath: data/chunks.csv
  fs_args: {open_args_save: {mode: ab}}
  save_args: {header: false, index: false}
  metadata: {naiad: file}
raw: {type: pandas.CSVDataset, filepath: data/raw.csv}
numbers: {type: pandas.CSVDataset, filepath: data/numbers.csv}
"""


def test_pieces_that_a_node_yields_are_counted_together(project: Any) -> None:
    project.configure("catalog.yml", CHUNKS)

    project.run("pieces")

    run = project.read()
    facts = {name: run.value(f"kedro/catalog/datasets/chunks/{name}") for name in ("rows", "columns", "bytes")}
    assert {"rows": 3, "columns": 1, "bytes": (project.path / "data/chunks.csv").stat().st_size} == facts
    assert 3 == run.value("kedro/catalog/datasets/numbers/rows")
    assert ["Running pieces", "Finished pieces"] == [text for text in project.text("kedro/log") if "pieces" in text]
    saved = run.value("kedro/catalog/datasets/chunks/save_seconds")
    assert 0 < saved < run.value("kedro/nodes/pieces/execution_time")


def test_node_has_one_name_also_if_only_a_part_is_run(project: Any) -> None:
    project.run("spaces")
    with KedroSession.create(project.path) as session:
        session.run(pipeline_names=["spaces"], node_names=["a.make"])

    assert {"a.make", "b.make"} == set(project.opened().get_structure()["kedro"]["nodes"])
    assert {"a.make"} == set(project.opened(2).get_structure()["kedro"]["nodes"])
    assert ["Running a.make", "Finished a.make", "Finished pipeline"] == project.text("kedro/log", 2)


@pytest.mark.parametrize("mark", ["metric", "series"])
def test_metrics_whose_names_exclude_each_other_are_all_kept(project: Any, mark: str) -> None:
    entry = "{type: json.JSONDataset, filepath: data/scores.json, metadata: {naiad: %s}}"
    project.configure("catalog.yml", f"scores: {entry % mark}")

    project.run("scores")

    place = project.opened()["kedro/metrics/scores"]
    found = [getattr(place[name], "fetch" if mark == "metric" else "fetch_last")() for name in ("acc", "acc_top")]
    assert [0.5, 0.75] == found
    assert "acc/top" == place["integration/renamed/acc_top"].fetch()


def test_runs_of_a_store_that_projects_share_keep_the_name_of_their_project(
    project: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NAIAD_STORE", str(tmp_path / "shared"))
    project.run("scores")
    monkeypatch.setenv("NAIAD_PROJECT", "given")
    project.run("scores")

    assert {"tiny", "given"} == set(naiad.management.get_project_list())
