"""The containers of all situations: one of each kind, in which each test has a namespace of its own."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import neptune
import pytest

PROJECT = "team/situations"
QUIET: dict[str, Any] = {
    "capture_stdout": False, "capture_stderr": False, "capture_traceback": False, "capture_hardware_metrics": False,
}  # fmt: skip
KINDS = ("run", "project", "model", "model_version")
_numbers = itertools.count(1)


def begun(kind: str, project: str = PROJECT, **options: Any) -> Any:
    """Begin a container of a kind."""
    if kind == "run":
        return neptune.init_run(project=project, **{**QUIET, **options})
    if kind == "project":
        return neptune.init_project(project=project, **options)
    model = neptune.init_model(project=project, key=f"M{next(_numbers)}")
    if kind == "model":
        return model
    with model:
        return neptune.init_model_version(project=project, model=model["sys/id"].fetch())


@pytest.fixture(scope="session")
def containers() -> Iterator[dict[str, Any]]:
    found = {kind: begun(kind) for kind in KINDS}
    yield found
    for each in found.values():
        each.stop()


@pytest.fixture(params=KINDS)
def container(request: pytest.FixtureRequest, containers: dict[str, Any]) -> Any:
    return containers[request.param]


@pytest.fixture
def the_run(containers: dict[str, Any]) -> Any:
    """The run; `run` is a fixture of naiad's own plugin for pytest."""
    return containers["run"]


@pytest.fixture
def key() -> str:
    """A path that no other test has."""
    return f"situation/{next(_numbers)}"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let each test work in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
