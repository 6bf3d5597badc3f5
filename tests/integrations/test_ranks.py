"""Two ranks of one training leave one run each, whatever the framework: rank 0 logs, the other may call everything."""

from __future__ import annotations

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
}


@pytest.mark.timeout(300)  # five frameworks, and two ranks on a busy machine
def test_two_ranks_leave_one_run_each(store: Path, tmp_path: Path) -> None:
    for package in ("accelerate", "ignite", "lightning", "torch", "transformers"):
        pytest.importorskip(package, reason=f"{package} is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])

    done = subprocess.run(
        [sys.executable, "-W", "ignore", PROGRAM, tmp_path, port],
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
            if project != "pytorch":  # there the run is the user's
                assert 7 == run["seed"].fetch()
