"""Lightning's logger in Fabric: loops of the user's own, which call no hook of a trainer."""

from __future__ import annotations

import difflib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import naiad
from naiad import Run
from naiad.errors import PluginWarning
from naiad.testing.mapping import check_mapping
from naiad_lightning.plugin import INTEGRATION

fabric = pytest.importorskip("lightning.fabric", reason='not installed: pip install "naiad[lightning]"')
torch = pytest.importorskip("torch")
NaiadLogger = pytest.importorskip("naiad_lightning").NaiadLogger

EXAMPLES = Path(__file__).parents[3] / "examples"
QUIET = pytest.mark.filterwarnings("ignore:.*LeafSpec")
pytestmark = [QUIET, pytest.mark.filterwarnings("ignore:.*does not have many workers")]


def train(logger: Any, steps: int = 3, first: int = 0, **options: Any) -> Any:
    """Three steps of a linear model; gives back the Fabric."""
    loop = fabric.Fabric(accelerator="cpu", devices=1, loggers=logger)
    model = torch.nn.Linear(3, 1)
    if options:
        logger.watch(model, **options)
    model, optimizer = loop.setup(model, torch.optim.SGD(model.parameters(), lr=0.1))
    for step in range(first, first + steps):
        loss = model(torch.ones(2, 3)).square().mean()
        optimizer.zero_grad()
        loop.backward(loss)
        optimizer.step()
        loop.log_dict({"loss": loss, "lr": 0.1}, step=step)
    return loop


def test_a_loop_fills_the_rows_and_nothing_else(run: Run) -> None:
    logger = NaiadLogger(run=run)
    logger.log_hyperparams({"lr": 0.1})
    train(logger, log="all", log_freq=1, bins=4)
    logger.finalize("success")

    absent = {"training/epoch"}
    rows = [row for row in INTEGRATION.rows if row.path.replace("{base}", "training") not in absent]
    mapping = naiad.integration.Integration(**{**vars(INTEGRATION), "rows": tuple(rows)})
    check_mapping(mapping, run, when={"watch gradients", "watch parameters", "bins"})
    assert [0, 1, 2] == run["training/loss"].fetch_values()["step"].tolist()
    assert [0, 1, 2] == run["training/gradients/weight/norm"].fetch_values()["step"].tolist()


def test_a_resumed_run_continues_the_curves(store: Path) -> None:
    for first in (0, 3):
        logger = NaiadLogger(custom_run_id="same")
        train(logger, first=first)
        logger.experiment.stop()

    with naiad.init_run(custom_run_id="same", mode="read-only") as run:
        assert list(range(6)) == run["training/loss"].fetch_values()["step"].tolist()


def test_a_failing_loop_leaves_a_failed_run(store: Path) -> None:
    with pytest.raises(RuntimeError, match="does not require grad"), naiad.init_run(project="p") as run:
        train(NaiadLogger(run=run)).backward(torch.ones(1))

    with naiad.init_run(with_id="P-1", mode="read-only") as run:
        assert "failed" == run["sys/state"].fetch()


def test_trouble_of_logging_does_not_reach_the_loop(run: Run) -> None:
    run["training/loss"] = "taken"

    with pytest.warns(PluginWarning, match="could not do all of log_metric"):
        train(NaiadLogger(run=run))

    assert 3 == len(run["training/lr"].fetch_values())


def test_the_example_runs_and_differs_from_the_plain_one_by_the_logger(store: Path, tmp_path: Path) -> None:
    texts = [(EXAMPLES / f"fabric_{end}.py").read_text().splitlines()[6:] for end in ("plain", "train")]
    changed = [line[1:].strip() for line in difflib.ndiff(*texts) if line[0] in "+-" and line[1:].strip()]
    assert 4 == len(changed)

    done = subprocess.run(
        [sys.executable, EXAMPLES / "fabric_train.py"],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert 0 == done.returncode, done.stderr
    with naiad.init_run(with_id="DIGITS-1", mode="read-only") as run:
        assert 10 == len(run["training/train/loss"].fetch_values())
        assert 0.01 == run["training/hyperparams/lr"].fetch()
