"""Promises of the callbacks and loggers of all frameworks: lazy imports, the error of an absent one, the examples."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

import naiad
from naiad.plugins import results
from naiad.testing.mapping import check_mapping

EXAMPLES = Path(__file__).parents[2] / "examples"
INTEGRATIONS = {each.name: each for each in results("naiad_integration")}


class Example(NamedTuple):
    """A program with naiad, `NAME_train.py`, and the same without it, `NAME_plain.py`."""

    adapter: str
    changed: list[str]
    """The lines of the plain one that the other has not."""
    when: set[str]
    """The options and occasions of its training, as in the rows of the mapping."""
    besides: tuple[str, ...] = ()
    run: str = "CANCER-1"


EVERY = {
    "accelerate": Example("NaiadTracker", ["accelerator = Accelerator(cpu=True)"], {"config"}, run="DIGITS-1"),
    "hydra": Example(
        "NaiadCallback",
        ['CONFIG = {"alpha": 0.001, "epochs": 5}'],
        {"job", "returned"},
        besides=("train/accuracy",),
        run="DIGITS-1",
    ),
    "ignite": Example("NaiadLogger", [], set(), run="DIGITS-1"),
    "lightgbm": Example(
        "NaiadCallback",
        ["callbacks=[lightgbm.early_stopping(10, verbose=False)],"],
        {"valid_sets", "booster"},
        besides=("training/summary/*",),
    ),
    "optuna": Example(
        "NaiadCallback",
        ["study.optimize(objective, n_trials=10)"],
        {"study", "one objective", "study_update_freq", "memory", "plots"},
    ),
    "pytorch": Example(
        "NaiadLogger",
        [],
        {"log_summary", "log_learning_rate", "log_gradients", "log_parameters", "bins", "log_checkpoint"},
        besides=("training/loss", "training/accuracy"),
        run="DIGITS-1",
    ),
    "skorch": Example("NaiadCallback", ["callbacks=[],"], {"train_split", "best"}, run="DIGITS-1"),
    "transformers": Example(
        "NaiadCallback",
        ['report_to="none",'],
        {"log_parameters", "config", "evaluation"},
        besides=("note",),
        run="DIGITS-1",
    ),
    "xgboost": Example(
        "NaiadCallback",
        ["callbacks=[],"],
        {"evals", "early stopping", "log_importance", "matplotlib", "log_model"},
    ),
}


@pytest.mark.parametrize("name", EVERY)
def test_an_absent_framework_is_an_error_that_tells_how_to_install_it(name: str) -> None:
    """Importing the package itself needs no framework."""
    absent = "".join(f"sys.modules[{module!r}] = None\n" for module in INTEGRATIONS[name].packages)
    script = f"import sys\n{absent}import naiad_{name}\nprint('imported')\nnaiad_{name}.{EVERY[name].adapter}"

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)

    assert "imported\n" == done.stdout
    assert f'pip install "naiad[{name}]"' in done.stderr


@pytest.mark.parametrize("name", EVERY)
def test_an_example_runs_and_fills_the_mapping(name: str, store: Path, tmp_path: Path) -> None:
    for module in INTEGRATIONS[name].packages:
        pytest.importorskip(module, reason=f'it is not installed: pip install "naiad[{name}]"')
        break

    done = subprocess.run(
        [sys.executable, EXAMPLES / f"{name}_train.py"],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1", "NAIAD_PROJECT": "digits"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (0, "") == (done.returncode, done.stderr)
    with naiad.init_run(with_id=EVERY[name].run, mode="read-only") as run:
        check_mapping(INTEGRATIONS[name], run, when=EVERY[name].when, besides=EVERY[name].besides)


@pytest.mark.parametrize("name", EVERY)
def test_the_plain_example_differs_by_the_adapter_alone(name: str) -> None:
    plain, logged = ((EXAMPLES / f"{name}_{end}.py").read_text().splitlines() for end in ("plain", "train"))

    assert EVERY[name].changed == [line.strip() for line in plain[7:] if line not in logged]
