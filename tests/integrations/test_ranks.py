"""Two ranks of one training leave one run each, whatever the framework: rank 0 logs, the other may call everything."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import naiad

PROGRAM = Path(__file__).with_name("ranks.py")
FIELDS = {
    "pytorch": {"training/plots/gradients/weight": 2, "training/learning_rate/SGD/0": 2},
    "ignite": {"t/output": 2},
    "accelerate": {"loss": 1},
    "transformers": {"finetuning/train/loss": 2},
    "fabric": {"training/loss": 1},
    "keras": {
        "training/train/epoch/loss": 4,
        "training/train/batch/loss": 8,
        "training/predictions/first": 4,
        "training/prediction/samples": 1,
    },
    "lightgbm": {"training/training/auc": 3, "training/learning_rate": 3},
    "xgboost": {"training/training/auc": 3, "training/learning_rate": 3},
}


OF_THE_USER = ("pytorch", "keras", "lightgbm", "xgboost")
"""Frameworks whose adapters are given a run, which the user opens on each rank."""


@pytest.mark.timeout(300)  # eight frameworks, and two ranks on a busy machine
def test_two_ranks_leave_one_run_each(store: Path, tmp_path: Path) -> None:
    for package in ("accelerate", "ignite", "keras", "lightgbm", "lightning", "torch", "transformers", "xgboost"):
        if (
            importlib.util.find_spec(package) is None
        ):  # importing them takes seconds, and each process does it for itself
            pytest.skip(f"{package} is not installed")
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    ports = [str(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()

    done = subprocess.run(
        [sys.executable, "-W", "ignore", PROGRAM, tmp_path, *ports],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert 0 == done.returncode, done.stderr
    for project, fields in FIELDS.items():
        with naiad.init_project(project, mode="read-only") as found:
            (key,) = found.fetch_runs_table().to_pandas()["sys/id"]
        with naiad.init_run(with_id=key, mode="read-only") as run:
            assert fields == {path: len(run[path].fetch_values()) for path in fields}
            if project not in OF_THE_USER:
                assert 7 == run["seed"].fetch()
            elif project == "keras":
                assert {"0": 4, "1": 4} == run["calls"].fetch()
                assert ["0", "1"] == sorted(run["training/evaluation"].fetch())
