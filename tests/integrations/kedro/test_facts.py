"""What is said of Kedro's objects."""

from __future__ import annotations

import sys
from pathlib import PurePosixPath
from typing import Any

import pytest
from kedro.io import CachedDataset, MemoryDataset
from kedro_datasets.pandas import CSVDataset

from naiad_kedro.facts import command, dataset_facts, location
from naiad_kedro.marks import as_metrics


@pytest.mark.parametrize(
    ("run_params", "text"),
    [
        ({}, "kedro run"),
        ({"runner": "None", "tags": (), "pipeline_names": None}, "kedro run"),
        ({"runner": "<kedro.runner.thread_runner.ThreadRunner object at 0x7f1>"}, "kedro run --runner=ThreadRunner"),
        ({"pipeline_names": ["a", "b"], "tags": ("x",)}, "kedro run --pipelines=a,b --tags=x"),
        ({"runtime_params": {"a": 1, "b": "x y"}}, "kedro run '--params=a=1,b=x y'"),
        ({"load_versions": {"a": "2020"}}, "kedro run --load-versions=a:2020"),
    ],
)
def test_command_of_a_session_is_the_one_that_would_do_the_same(run_params: Any, text: str) -> None:
    assert text == command(run_params)


def test_command_of_the_program_is_what_was_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/bin/kedro", "run", "--pipelines", "a"])

    assert "kedro run --pipelines a" == command({})


def test_passwords_are_left_out(tmp_path: Any) -> None:
    class Odd(CSVDataset):
        def _describe(self) -> dict[str, Any]:
            return {"filepath": PurePosixPath("/a"), "args": {"con": "postgresql://me:secret@host/db"}}

    facts = dataset_facts("odd", Odd(filepath=str(tmp_path / "a.csv")))

    assert "postgresql://***@host/db" == str(facts["args"]["con"])
    assert ["Odd", "odd", "/a"] == [str(facts[name]) for name in ("type", "name", "filepath")]


def test_location_of_a_dataset(tmp_path: Any) -> None:
    csv = CSVDataset(filepath=str(tmp_path / "a.csv"))

    assert str(tmp_path / "a.csv") == location(csv)
    assert str(tmp_path / "a.csv") == location(CachedDataset(csv))
    assert "memory:///a/b.csv" == location(CSVDataset(filepath="memory:///a/b.csv"))
    assert location(MemoryDataset()) is None


def test_metrics_are_floats_and_truths_are_truths() -> None:
    import numpy as np

    found = as_metrics({"a": 1, "b": {"c": np.int64(2)}, "d": True, "e": 0.5})

    assert ["float", "float"] == [found["a"].kind, found["b"]["c"].kind]
    assert (True, 0.5) == (found["d"], found["e"])
