"""Packages that log to Neptune, exactly as published: each trains something small, and what it documents is read back.

They have an environment of their own, which the script `environment` beside this file makes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

import naiad

pytestmark = pytest.mark.packages

HERE = Path(__file__).parent
PYTHON = Path(os.environ.get("NAIAD_PACKAGES_PYTHON") or HERE.parents[2] / ".venv-packages" / "bin" / "python")
COMMAND = "from naiad.cli import main; main()"

LOGGED: dict[str, dict[str, str | int | float | bool]] = {
    "xgboost": {
        "source_code/integrations/neptune-xgboost": "1.1.1",
        "training/booster_config/learner/gradient_booster/name": "gbtree",
        "training/epoch": "5 numbers",
        "training/booster_config/learner/gradient_booster/tree_train_param/learning_rate": "0.300000012",
        "training/train/rmse": "5 numbers",
        "training/valid/rmse": "5 numbers",
        "training/plots/importance": "png",
        "training/pickled_model": "pkl",
        **({"training/plots/trees": "2 files"} if shutil.which("dot") else {}),  # graphviz draws them
    },
    "lightgbm": {
        "source_code/integrations/neptune-lightgbm": "2.0.0",
        "params/num_leaves": 4,
        "params/env/end_iteration": 5,
        "feature_names": "['Column_0', 'Column_1', 'Column_2', 'Column_3']",
        "train_set/num_rows": 150,
        "valid/binary_logloss": "5 numbers",
        "lgbm_summary/pickled_model": "pkl",
        "lgbm_summary/trees_as_dataframe": "csv",
        "lgbm_summary/visualizations/confusion_matrix": "png",
        "lgbm_summary/visualizations/feature_importances/gain": "png",
        "lgbm_summary/visualizations/feature_importances/split": "png",
    },
    "sklearn": {
        "cls_summary/all_params/n_estimators": 10,
        "cls_summary/integration/about/neptune-sklearn": "2.1.4",
        "cls_summary/pickled_model": "pkl",
        "cls_summary/test/preds": "html",
        "cls_summary/test/preds_proba": "html",
        "cls_summary/test/scores/class_0/precision": 1.0,
        **{
            f"cls_summary/diagnostics_charts/{chart}": "png"
            for chart in (
                "ROC_AUC",
                "class_prediction_error",
                "classification_report",
                "confusion_matrix",
                "precision_recall",
            )
        },
        **{
            f"rfr_summary/diagnostics_charts/{chart}": "png"
            for chart in ("cooks_distance", "feature_importance", "learning_curve", "prediction_error", "residuals")
        },
        "learning_curve": "png",
        "precision_recall": "png",
        "kmeans/labels": "html",
        "params/n_estimators": 10,
        "model": "pkl",
    },
    "optuna": {
        "source_code/integrations/neptune-optuna": "1.4.1",
        "study/storage_type": "InMemoryStorage",
        "study/study": "pkl",
        "study/distributions/x": "FloatDistribution(high=5.0, log=False, low=-5.0, step=None)",
        "best/value": 0.02307168507955883,
        "best/params/x": 2.151893663724195,
        "best/trials/1/value": 0.02307168507955883,
        "trials/values": "6 numbers",
        "trials/params/x": "6 numbers",
        "trials/trials/5/params/x": 1.4589411306665614,
        "visualizations/plot_optimization_history": "html",
        "visualizations/plot_slice": "html",
    },
    "prophet": {
        "prophet_summary/integration/about/neptune-prophet": "1.0.2",
        "prophet_summary/dataframes/forecast": "html",
        "prophet_summary/diagnostics_charts/forecast": "png",
        "prophet_summary/diagnostics_charts/forecast_components": "png",
        "prophet_summary/diagnostics_charts/forecast_changepoints": "png",
        "prophet_summary/diagnostics_charts/residuals_diagnostics_charts/histogram": "png",
        "prophet_summary/diagnostics_charts/residuals_diagnostics_charts/qq_plot": "png",
        "prophet_summary/diagnostics_charts/trend": "60 numbers",
        "prophet_summary/diagnostics_charts/yhat": "60 numbers",
        "prophet_summary/model/serialized_model": "json",
        "model_config/growth": "linear",
        "model_config/history": "html",
    },
    "keras": {
        "source_code/integrations/neptune-tensorflow-keras": "2.2.2",
        "metrics/fit_params/epochs": 2,
        "metrics/model/optimizer_config/name": "adam",
        "metrics/model/learning_rate": "2 numbers",
        "metrics/model/summary": "txt",
        "metrics/train/batch/loss": "4 numbers",
        "metrics/train/epoch/accuracy": "2 numbers",
        "metrics/train/epoch/loss": "2 numbers",
    },
    "transformers": {
        "source_code/integrations/transformers": "5.24.0",
        "finetuning/model_parameters/hidden_size": 8,
        "finetuning/trainer_parameters/num_train_epochs": 2,
        "finetuning/train/loss": "4 numbers",
        "finetuning/train/learning_rate": "4 numbers",
        "finetuning/train/epoch": 2.0,
        "finetuning/eval/loss": "3 numbers",
        "finetuning/checkpoints/last": "files",
    },
    "lightning": {
        "source_code/integrations/pytorch-lightning": "2.6.1",
        "training/hyperparams/lr": 0.1,
        "training/hyperparams/extra": 1,
        "training/train/loss": "8 numbers",
        "training/val/loss": "2 numbers",
        "training/epoch": "10 numbers",
        "training/model/checkpoints/epoch=1-step=8": "ckpt",
        "training/model/summary": "txt",
        "training/status": "success",
        "metadata/note": "written by hand",
    },
    "ignite": {
        "source_code/integrations/neptune-pytorch-ignite": "0.5.5",
        "training/loss": "8 numbers",
        "validation/mse": "2 numbers",
        "lr/group_0": "8 numbers",
        "weights_norm/weight": "8 numbers",
        "grads_norm/bias": "8 numbers",
        "best_model_8.pt": "bin",
    },
    "skorch": {
        "source_code/integrations/skorch": "1.4.0",
        "training/config/optimizer": "SGD",
        "training/config/lr": 0.1,
        "training/model/model_type": "Sequential",
        "training/model/summary": "txt",
        "training/epoch_duration": "3 numbers",
        "training/train/epoch/loss": "3 numbers",
        "training/validation/epoch/loss": "3 numbers",
        "training/validation/epoch/acc": "3 numbers",
    },
}
"""For each program what it logs: a value, how many numbers a series has, or the extension of a file."""


@pytest.fixture(scope="module")
def python() -> str:
    """The Python of the environment of packages."""
    assert PYTHON.exists(), f"{PYTHON} is missing; make it with tests/neptune/packages/environment"
    return str(PYTHON)


def told(run: naiad.Run, path: str) -> str | int | float | bool | None:
    """What a run has at a path, as the table tells it."""
    match run.get_attribute(path):
        case naiad.attributes.FloatSeries():
            return f"{len(run[path].fetch_values())} numbers"
        case naiad.attributes.FileSeries():
            return f"{len(run[path].fetch_values())} files"
        case naiad.attributes.FileSet():
            return "files" if run[path].list_fileset_files() else "no file"
        case naiad.attributes.File():
            return run[path].fetch_extension() if run[path].fetch_content() else "empty"
        case None:
            return None
    found: str | int | float | bool = run[path].fetch()
    return found


@pytest.mark.timeout(300)
@pytest.mark.parametrize("package", LOGGED)
def test_package_logs_what_its_documentation_says(package: str, python: str, store: Path, tmp_path: Path) -> None:
    program = HERE / "programs" / f"use_{package}.py"
    settings = {**os.environ, "MPLBACKEND": "agg", "HF_HUB_OFFLINE": "1"}

    done = subprocess.run(
        [python, "-c", COMMAND, "neptune", str(program)],
        cwd=tmp_path, env=settings, capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip

    assert 0 == done.returncode, done.stderr[-3000:]
    with naiad.init_run(with_id="PACKAGES-1", mode="read-only") as run:
        assert "finished" == run["sys/state"].fetch()
        assert LOGGED[package] == {path: told(run, path) for path in LOGGED[package]}


def test_every_program_has_its_paths() -> None:
    assert set(LOGGED) == {file.stem.removeprefix("use_") for file in (HERE / "programs").glob("use_*.py")}


def test_stand_in_is_announced_once_and_only_after_the_real_import_failed(
    python: str, store: Path, tmp_path: Path
) -> None:
    code = """
import warnings, naiad.as_neptune
with warnings.catch_warnings(record=True) as given:
    warnings.simplefilter("always")
    from neptune.integrations.lightgbm import create_booster_summary
    import neptune.integrations.sklearn
    import scikitplot.metrics, scikitplot.estimators
print(sum("scikit-plot" in str(each.message) for each in given), scikitplot.metrics.plot_confusion_matrix.__module__)
"""
    plain = subprocess.run([python, "-c", "import scikitplot"], capture_output=True, text=True, check=False)
    done = subprocess.run([python, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)

    assert 1 == plain.returncode
    assert "cannot import name 'interp'" in plain.stderr
    assert "1 naiad.as_neptune.scikitplot" == done.stdout.strip()
