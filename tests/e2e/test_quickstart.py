"""The first thing a newcomer runs: it trains, logs, and shows what it logged."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import naiad

EXAMPLE = Path(__file__).parents[2] / "examples" / "quickstart.py"
CLI = [sys.executable, "-c", "from naiad.cli import main; main()"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder where the example was run, empty before; tests only look at it."""
    return tmp_path_factory.mktemp("quickstart")


@pytest.fixture(scope="module")
def printed(folder: Path) -> str:
    """What the example prints, without any setting."""
    settings = {name: value for name, value in os.environ.items() if not name.startswith(("NAIAD_", "NEPTUNE_"))}
    environment = {**settings, "NAIAD_CAPTURES": "off", "PYTHONUTF8": "1"}
    done = subprocess.run(
        [sys.executable, EXAMPLE], cwd=folder, env=environment, capture_output=True, encoding="utf-8", check=False
    )
    assert (0, "") == (done.returncode, done.stderr)
    return done.stdout


@pytest.fixture
def output(printed: str, folder: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The same, with its folder as the working folder."""
    monkeypatch.delenv("NAIAD_STORE")
    monkeypatch.chdir(folder)
    return printed


def test_quickstart_is_short() -> None:
    assert 60 > len(EXAMPLE.read_text(encoding="utf-8").splitlines())


def test_quickstart_shows_tree_table_and_curve(output: str) -> None:
    lines = output.splitlines()

    assert "'train':" in output
    assert "    'loss': FloatSeries" in output
    assert ["step", "value", "timestamp"] in [line.split() for line in lines]
    assert any(line.startswith("* train/loss  20 points, last 0.2") for line in lines)
    assert "Look at it again with: naiad show DIGITS-1" == lines[-1]


def test_quickstart_is_kept_in_the_working_folder(output: str, folder: Path) -> None:
    with naiad.init_run(with_id="DIGITS-1", mode="read-only", store=folder / ".naiad") as run:
        fetched = run.fetch()
        losses = run["train/loss"].fetch_values()
        accuracies = run["validation/accuracy"].fetch_values()
        tags = run["sys/tags"].fetch()

    assert "finished" == fetched["sys"]["state"]
    assert {"quickstart", "sgd", "good"} == tags
    assert {"eta0": 0.01, "epochs": 20, "loss": "log_loss"}.items() <= fetched["parameters"].items()
    assert accuracies["value"].max() == fetched["score"]
    assert list(range(20)) == losses["step"].tolist()
    assert losses["value"].is_monotonic_decreasing


def test_commands_show_the_quickstart(output: str) -> None:
    def call(*arguments: str) -> str:
        return subprocess.run([*CLI, *arguments], check=True, capture_output=True, encoding="utf-8").stdout

    (row,) = json.loads(call("ls", "--json", "--tag", "quickstart"))
    assert ("DIGITS-1", "finished", "linear baseline") == (row["id"], row["state"], row["name"])
    assert "train/loss\tfloat_series\t0.2" in call("show", "DIGITS-1")
    assert "epoch 0: " in call("tail", "DIGITS-1", "notes", "-n", "100")
    assert "" == call("verify")
