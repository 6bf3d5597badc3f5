"""The Lightning example: a real training, logged by one argument."""

from __future__ import annotations

import difflib
import os
import subprocess
import sys
from pathlib import Path

import naiad
from naiad.testing.mapping import check_mapping
from naiad_lightning.plugin import INTEGRATION

EXAMPLES = Path(__file__).parents[2] / "examples"
EXAMPLE, PLAIN = EXAMPLES / "lightning_fit.py", EXAMPLES / "lightning_plain.py"


def code_of(file: Path) -> list[str]:
    """The lines after the docstring that are not empty."""
    return [line for line in file.read_text(encoding="utf-8").split('"""')[2].splitlines() if line]


def test_example_differs_from_the_same_without_naiad_by_an_import_and_one_argument() -> None:
    changes = [line for line in difflib.ndiff(code_of(PLAIN), code_of(EXAMPLE)) if line[0] in "-+"]

    assert [
        "+ from naiad_lightning import NaiadLogger",
        "-         logger=False,",
        '+         logger=NaiadLogger(project="digits", name="small network"),',
    ] == changes


def test_example_logs_its_training(store: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", EXAMPLE],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert 0 == done.returncode, done.stderr
    assert "of the digits are recognised." in done.stdout

    with naiad.init_run(with_id="DIGITS-1", mode="read-only") as run:
        when = {"log_model_checkpoints", "monitor", "log_model_summary"}
        check_mapping(INTEGRATION, run, when=when)
        losses = run["training/train/loss"].fetch_values()
        accuracies = run["training/val/accuracy"].fetch_values()
        fetched = run.fetch()
        run["training/model/checkpoints/best"].download(str(tmp_path / "best.ckpt"))
        summary = tmp_path / "summary.txt"
        run["training/model/summary"].download(str(summary))

    assert list(range(200)) == losses["step"].tolist()
    assert 10 == len(accuracies)
    assert 0.9 < accuracies["value"].max() == fetched["training"]["model"]["best_model_score"]
    assert {"lr": 0.01, "width": 64} == fetched["training"]["hyperparams"]
    assert ("finished", "small network") == (fetched["sys"]["state"], fetched["sys"]["name"])
    assert Path(fetched["training"]["model"]["best_model_path"]).read_bytes() == (tmp_path / "best.ckpt").read_bytes()
    assert "4.8 K" in summary.read_text(encoding="utf-8")
