"""Pipelines that end in the middle: Ctrl-C, kill -9, sys.exit(). What was logged is kept; the run says how it ended."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import pytest
from kedro.runner import ParallelRunner

CODE = Path(__file__).parent / "project"

SESSION = """
import sys
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

bootstrap_project(sys.argv[1])
with KedroSession.create(sys.argv[2]) as session:
    session.run(pipeline_names=[sys.argv[3]])
"""


def start(command: list[str], project: Any, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


def in_the_middle(child: subprocess.Popen[str], place: Path) -> int:
    """Wait until the node runs, and return the process it runs in."""
    until = time.monotonic() + 60
    while not (place.exists() and place.read_text()):
        assert child.poll() is None, child.communicate()
        assert time.monotonic() < until
        time.sleep(0.02)
    return int(json.loads(place.read_text())["pid"])


def begin(project: Any, pipeline: str) -> subprocess.Popen[str]:
    project.configure("parameters.yml", json.dumps({"place": str(project.path / "place")}))
    return start([sys.executable, "-c", SESSION, str(CODE), str(project.path), pipeline], project)


def test_killed_pipeline_leaves_a_killed_run_with_its_data(project: Any) -> None:
    child = begin(project, "waiting")
    os.kill(in_the_middle(child, project.path / "place"), signal.SIGKILL)
    child.communicate()
    found = project.read()

    assert "killed" == found.state()
    assert ["running", "running"] == [found.value(f"kedro/{path}") for path in ("status", "nodes/waits/status")]
    assert [0.5] == found.points("kedro/loss").values.tolist()


def test_interrupted_script_leaves_a_terminated_run(project: Any) -> None:
    child = begin(project, "waiting")
    os.kill(in_the_middle(child, project.path / "place"), signal.SIGINT)
    child.communicate()

    check_interrupted(project)
    (traceback,) = [path for path in project.read().kinds() if path.endswith("/traceback")]
    assert "KeyboardInterrupt" == project.text(traceback)[-1]


def test_interrupted_command_leaves_a_terminated_run(project: Any) -> None:
    """The program `kedro` turns Ctrl-C into sys.exit(1), and hooks are told of nothing."""
    shutil.copytree(CODE, project.path, dirs_exist_ok=True)
    project.configure("parameters.yml", json.dumps({"place": str(project.path / "place")}))
    child = start([sys.executable, "-m", "kedro", "run", "--pipelines=waiting"], project, cwd=project.path)

    os.kill(in_the_middle(child, project.path / "place"), signal.SIGINT)
    child.communicate()

    assert 1 == child.returncode
    check_interrupted(project)


def check_interrupted(project: Any) -> None:
    found = project.read()
    assert "terminated" == found.state()
    assert found.value("sys/failed") is True
    assert ["interrupted"] * 2 == [found.value(f"kedro/{path}") for path in ("status", "nodes/waits/status")]
    assert [0.5] == found.points("kedro/loss").values.tolist()
    assert "Interrupted pipeline" == project.text("kedro/log")[-1]


def test_node_that_exits_interrupts_the_pipeline(project: Any) -> None:
    child = begin(project, "exiting")
    child.communicate(timeout=60)

    assert 3 == child.returncode
    assert "terminated" == project.read().state()
    assert "interrupted" == project.read().value("kedro/nodes/exits/status")


def test_worker_that_is_killed_fails_the_pipeline(project: Any) -> None:
    with pytest.raises(BrokenProcessPool):
        project.run("dying", runner=ParallelRunner(max_workers=1))
    found = project.read()

    assert "failed" == found.state()
    assert ["failed", "interrupted"] == [found.value(f"kedro/{path}") for path in ("status", "nodes/dies/status")]
    assert "BrokenProcessPool" == found.value("kedro/error/type")


@pytest.mark.parametrize("hook", ["kedro.hooks", "kedro.project_commands"])
def test_kedro_finds_the_integration_by_itself(hook: str) -> None:
    from importlib.metadata import entry_points

    (found,) = entry_points(group=hook, name="naiad")

    assert found.dist.name == "naiad"
    assert found.load() is not None
