"""Trainings as processes of their own: how they end, and several of them as one distributed training."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from naiad.storage.local.reader import Reader
from naiad.storage.local.store import Store
from naiad.testing.mapping import check_mapping
from naiad_lightning.plugin import INTEGRATION

HERE = Path(__file__).parent
PATIENCE = 100
DISTRIBUTED = {"devices": 2, "max_steps": 6, "enable_checkpointing": True}

Begin = Callable[..., int]


@pytest.fixture(scope="module")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[subprocess.Popen[str]]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("NAIAD_", "NEPTUNE_"))}
    environment["OMP_NUM_THREADS"] = "1"  # threads that wait for each other are slow on a busy machine
    command = [sys.executable, "-W", "ignore", HERE / "nursery.py"]
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        yield process
        process.stdin.close()


@pytest.fixture
def begin(nursery: Any, workplace: Path, tmp_path: Path) -> Iterator[Begin]:
    """Start training.py; gives back its process id."""
    begun: list[int] = []

    def start(**orders: Any) -> int:
        (tmp_path / ".naiad").mkdir(exist_ok=True)
        orders = {"trainer": {}, **orders}
        nursery.stdin.write(json.dumps([str(tmp_path), str(HERE / "training.py"), json.dumps(orders)]) + "\n")
        nursery.stdin.flush()
        begun.append(int(nursery.stdout.readline()))
        return begun[-1]

    start.finish = lambda: int(nursery.stdout.readline())  # type: ignore[attr-defined]
    return start


def told(folder: Path, what: str) -> list[dict[str, Any]]:
    """What processes have told."""
    return [json.loads(file.read_text()) for file in sorted(folder.glob(f"{what}-*.json"))]


def await_told(folder: Path, what: str) -> dict[str, Any]:
    until = time.monotonic() + PATIENCE
    while not told(folder, what):
        assert time.monotonic() < until, (folder / "errors.txt").read_text()
        time.sleep(0.02)
    return told(folder, what)[0]


def only_run(folder: Path) -> Reader:
    (run,) = Store(folder / ".naiad").folders()
    return Reader(run)


@pytest.mark.parametrize(
    ("end", "by", "code", "state", "status"),
    [
        ("", None, 0, "finished", "success"),
        ("error", None, 1, "failed", "failed"),
        ("wait", signal.SIGINT, 1, "terminated", "interrupted"),
        ("wait", signal.SIGTERM, 0, "terminated", "interrupted"),  # Lightning ends in order
        ("wait", signal.SIGKILL, -9, "killed", None),
    ],
)
def test_end_is_told_and_data_kept(
    end: str, by: int | None, code: int, state: str, status: str | None, begin: Any, tmp_path: Path
) -> None:
    begin(end=end)
    if by:
        os.kill(await_told(tmp_path, "waits")["pid"], by)
    assert code == begin.finish(), (tmp_path / "errors.txt").read_text()
    run = only_run(tmp_path)

    assert state == run.state()
    last = {"": 16, "wait": 6 if by == signal.SIGTERM else 5, "error": 5}[end]  # a step is logged once it is over
    assert list(range(last)) == run.points("training/loss").steps.tolist()
    kinds = run.kinds()
    assert status == (run.value("training/status") if "training/status" in kinds else None)
    if status in ("failed", "interrupted"):
        assert "line(batch[0])" not in run.value("training/exception/message")
        assert "fit" in run.value("training/exception/traceback")
    if status == "interrupted":
        name = "KeyboardInterrupt" if by == signal.SIGINT else "SIGTERMException"
        assert name == run.value("training/exception/type")


@pytest.mark.parametrize("strategy", ["ddp", "ddp_spawn", "ddp_fork"])
def test_processes_of_a_training_write_one_run_through_rank_zero(strategy: str, begin: Any, tmp_path: Path) -> None:
    begin(trainer={**DISTRIBUTED, "strategy": strategy})
    assert 0 == begin.finish(), (tmp_path / "errors.txt").read_text()
    run = only_run(tmp_path)
    run_id = run.value("sys/id")

    known = [(each["rank"], each["version"], each["name"]) for each in told(tmp_path, "knows")]
    assert [(0, run_id, "n"), (1, run_id, "n")] == sorted(known)
    assert [run_id] == [each["version"] for each in told(tmp_path, "main")]
    assert list(range(6)) == run.points("training/loss").steps.tolist()
    own = {"seen/0", "after"}
    check_mapping(INTEGRATION, run, when={"log_model_checkpoints", "log_model_summary"}, besides=own)
    assert own <= run.kinds().keys()
    assert "finished" == run.state()


def test_error_in_a_child_fails_the_run(begin: Any, tmp_path: Path) -> None:
    begin(trainer={**DISTRIBUTED, "strategy": "ddp_fork"}, end="error")
    assert 1 == begin.finish()
    run = only_run(tmp_path)

    assert ("failed", "failed") == (run.state(), run.value("training/status"))
    assert "ValueError: on purpose" in run.value("training/exception/message")
    assert list(range(5)) == run.points("training/loss").steps.tolist()
