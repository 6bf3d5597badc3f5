"""A Kedro project whose code is imported once, with a configuration and a store of each test's own."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

import naiad
from naiad.errors import forget_warnings
from naiad.storage.local.reader import Reader
from naiad.storage.local.store import Store

CODE = Path(__file__).parent / "project"
CATALOG = """
raw:
  type: naiad_kedro.NaiadArtifactDataset
  dataset: {type: pandas.CSVDataset, filepath: data/raw.csv}
numbers: {type: pandas.CSVDataset, filepath: data/numbers.csv}
totals: {type: json.JSONDataset, filepath: data/totals.json, metadata: {naiad: metric}}
curve: {type: json.JSONDataset, filepath: data/curve.json, metadata: {naiad: series}}
model: {type: pickle.PickleDataset, filepath: data/model.pkl, metadata: {naiad: file}}
"raw@naiad": {type: naiad_kedro.NeptuneFileDataset, filepath: data/raw.csv}
processes: {type: json.JSONDataset, filepath: data/processes.json}
"""
PARAMETERS = "{factor: 2.0, options: {name: sum, depth: {limit: 3}}, n0: 0, n1: 1, n2: 2, n3: 3}"


@dataclass
class Project:
    """A folder with a configuration and data; the code is that of `project/`."""

    path: Path

    def configure(self, name: str, text: str) -> None:
        """Write a file of the configuration."""
        (self.path / "conf" / "base" / name).write_text(text)

    def remark(self, mark: str, other: str) -> None:
        """Change a mark in the catalog."""
        assert mark in CATALOG
        self.configure("catalog.yml", CATALOG.replace(mark, other))

    def run(self, pipeline: str = "__default__", runner: Any = None, **options: Any) -> dict[str, Any]:
        """Run a pipeline in a session of its own."""
        with KedroSession.create(self.path, **options) as session:
            return session.run(pipeline_names=[pipeline], runner=runner)

    def read(self, number: int = 1) -> Reader:
        """Return what was logged to a run."""
        return Reader(Store(self.path / ".naiad").find_directory(f"{self.path.name.upper()}-{number}"))

    def text(self, path: str, number: int = 1) -> list[str]:
        """Return the texts of a series."""
        return list(self.read(number).texts(path).texts)

    def opened(self, number: int = 1) -> naiad.Run:
        """Return a run for reading."""
        name = f"{self.path.name.upper()}-{number}"
        return naiad.init_run(with_id=name, mode="read-only", store=self.path / ".naiad")


@pytest.fixture(autouse=True)
def warnings_are_given_again() -> None:
    """What one test was warned of is news to the next."""
    forget_warnings()


@pytest.fixture(scope="session")
def code() -> Iterator[None]:
    """The project's package, known to Kedro; what that changes in this process is put back."""
    before = list(sys.path), os.environ.get("PYTHONPATH")
    bootstrap_project(CODE)
    yield
    sys.path[:] = before[0]
    if before[1] is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = before[1]


@pytest.fixture
def bare(code: None, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project that does not use naiad."""
    monkeypatch.setenv("DO_NOT_TRACK", "1")
    monkeypatch.delenv("NAIAD_STORE")
    project = Project(tmp_path / "tiny")
    for folder in ("conf/base", "conf/local", "data"):
        (project.path / folder).mkdir(parents=True)
    (project.path / "data" / "raw.csv").write_text("a\n1\n2\n3\n")
    project.configure("catalog.yml", "raw: {type: pandas.CSVDataset, filepath: data/raw.csv}")
    project.configure("parameters.yml", PARAMETERS)
    return project


@pytest.fixture
def project(bare: Project) -> Project:
    """A project that uses everything there is for the catalog."""
    bare.configure("catalog.yml", CATALOG)
    bare.configure("naiad.yml", "naiad: {}")
    return bare
