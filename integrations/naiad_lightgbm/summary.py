"""The summary of a trained booster, as a dict of values that a run stores at one path."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterable
from typing import Any

from naiad.errors import MissingPackage, NaiadTypeError, shown
from naiad.file import File
from naiad_lightgbm.plugin import INTEGRATION

with INTEGRATION.needed_by("create_booster_summary"):
    import lightgbm


def create_booster_summary(
    booster: lightgbm.Booster | lightgbm.LGBMModel,
    log_importances: bool = True,
    max_num_features: int | None = 10,
    list_trees: Iterable[int] | None = None,
    log_trees_as_dataframe: bool = True,
    log_pickled_booster: bool = True,
    y_pred: Any = None,
    y_true: Any = None,
    log_confusion_matrix: bool = False,
) -> dict[str, Any]:
    """Return a description of a trained booster, to assign to a path of a run.

    The charts need matplotlib, and the confusion matrix scikit-learn; without matplotlib the importances are numbers
    only.

    Args:
        booster: a trained booster, or a fitted estimator of LightGBM.
        log_importances: add the importance of each feature by splits and by gain, and a chart of each.
        max_num_features: the number of features in the charts; all of them if None.
        list_trees: the numbers of trees to add as text.
        log_trees_as_dataframe: add a table of all nodes of all trees, as CSV.
        log_pickled_booster: add the model in LightGBM's text format, which `lightgbm.Booster(model_file=)` reads.
        y_pred: predicted classes, for the confusion matrix.
        y_true: true classes, for the confusion matrix.
        log_confusion_matrix: add a chart of the confusion matrix.

    Raises:
        NaiadTypeError: `booster` is neither, or the confusion matrix lacks `y_pred` or `y_true`.
        MissingPackage: the confusion matrix needs scikit-learn or matplotlib, and it is not installed.

    >>> run["summary"] = create_booster_summary(booster, max_num_features=5)
    """
    trained = booster.booster_ if isinstance(booster, lightgbm.LGBMModel) else booster
    if not isinstance(trained, lightgbm.Booster):
        raise NaiadTypeError(f"create_booster_summary() takes a booster of LightGBM, not {shown(booster)}.")
    summary: dict[str, Any] = {"num_trees": trained.num_trees(), "best_iteration": trained.best_iteration}
    if log_importances:
        summary["importances"] = _importances(trained)
        summary["visualizations/feature_importances"] = _importance_charts(trained, max_num_features)
    for number in list_trees or ():
        dump = trained.dump_model(start_iteration=number, num_iteration=1)["tree_info"]
        summary[f"trees/{number}"] = File.from_content(json.dumps(dump, indent=1), extension="json")
    if log_trees_as_dataframe:
        table = trained.trees_to_dataframe().to_csv(index=False)
        summary["trees_as_dataframe"] = File.from_content(table, extension="csv")
    if log_pickled_booster:
        summary["pickled_model"] = File.from_content(trained.model_to_string(), extension="txt")
    if log_confusion_matrix:
        summary["visualizations/confusion_matrix"] = _confusion_matrix(y_true, y_pred)
    return summary


def _importances(booster: lightgbm.Booster) -> dict[str, dict[str, float]]:
    names = [name.replace("/", "_") for name in booster.feature_name()]  # a slash would make namespaces
    return {
        kind: dict(zip(names, booster.feature_importance(importance_type=kind).astype(float).tolist(), strict=True))
        for kind in ("split", "gain")
    }


def _importance_charts(booster: lightgbm.Booster, most: int | None) -> dict[str, File]:
    # LightGBM raises where it has no bar to draw.
    if importlib.util.find_spec("matplotlib") is None or not booster.feature_importance().any():
        return {}
    from matplotlib.figure import Figure

    charts = {}
    for kind in ("split", "gain"):
        axes = Figure(figsize=(8, 6), layout="constrained").subplots()
        lightgbm.plot_importance(booster, ax=axes, importance_type=kind, max_num_features=most)
        charts[kind] = File.as_image(axes.figure)
    return charts


def _confusion_matrix(y_true: Any, y_pred: Any) -> File:
    if y_true is None or y_pred is None:
        raise NaiadTypeError("log_confusion_matrix=True needs y_true= and y_pred=, the true and the predicted classes.")
    for package in ("sklearn", "matplotlib"):
        if importlib.util.find_spec(package) is None:
            raise MissingPackage(f"log_confusion_matrix=True needs {package}, which is not installed.", package=package)
    from matplotlib.figure import Figure
    from sklearn.metrics import ConfusionMatrixDisplay

    axes = Figure(layout="constrained").subplots()
    ConfusionMatrixDisplay.from_predictions(y_true, y_pred, ax=axes)
    return File.as_image(axes.figure)
