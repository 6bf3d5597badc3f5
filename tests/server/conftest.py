"""A server of the module's own, and runs that programs have logged into a folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from server_client import Server

import naiad

PLAIN = {
    "capture_hardware_metrics": False,
    "capture_stdout": False,
    "capture_stderr": False,
    "capture_traceback": False,
    "git_ref": False,
    "source_files": [],
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    own = Server(tmp_path_factory.mktemp("server") / "store").start("--init")
    yield own
    own.stop()


@pytest.fixture
def logged(tmp_path: Path) -> Callable[..., Path]:
    """Log a stopped run of 100 points, and return its folder."""

    def log(project: str = "p", points: int = 100, **fields: object) -> Path:
        folder = tmp_path / "logged/runs"
        before = set(folder.iterdir()) if folder.exists() else set()
        run = naiad.init_run(store=tmp_path / "logged", project=project, **PLAIN)
        run["loss"].extend([float(each) for each in range(points)])
        for path, value in fields.items():
            run[path.replace("__", "/")] = value
        run.stop()
        (new,) = set(folder.iterdir()) - before
        return new

    return log
