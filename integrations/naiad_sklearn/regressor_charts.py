"""Charts of a regressor that is fitted; none of them changes it. Several outputs are drawn beside each other."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
from sklearn.base import is_regressor
from sklearn.metrics import PredictionErrorDisplay
from sklearn.model_selection import LearningCurveDisplay, ShuffleSplit
from sklearn.utils import _safe_indexing

from naiad.types import File
from naiad_sklearn.drawing import drawn
from naiad_sklearn.estimators import require, targets, unfitted

LEARNING_ROWS = 1000
"""A learning curve fits 15 times; on more rows than these that is a training of its own."""
MOST_POINTS = 2000
MOST_FEATURES = 30

# Neptune's functions take data that not every chart needs.
# ruff: noqa: ARG001


def create_learning_curve_chart(regressor: Any, X_train: Any, y_train: Any) -> File | None:
    """Draw the score over the number of samples, up to a thousand of them, from copies that are fitted to them."""
    require(regressor, "create_learning_curve_chart", "a regressor", is_regressor)

    def draw(axes: Any) -> None:
        true = targets(y_train)
        # Both shares as counts: as fractions they would be of all the rows, and not of a thousand.
        rows = min(len(true), LEARNING_ROWS)
        folds = ShuffleSplit(3, train_size=int(0.8 * rows), test_size=rows - int(0.8 * rows), random_state=0)
        LearningCurveDisplay.from_estimator(
            unfitted(regressor), X_train, true, cv=folds, ax=axes, score_type="both", std_display_style="errorbar"
        )

    return drawn("Learning curve", draw)


def create_feature_importance_chart(regressor: Any, X_train: Any, y_train: Any) -> File | None:
    """Draw the features that count most.

    By the importances or the size of the coefficients of the regressor; where it has neither, by how much its score
    falls when the values of a feature are permuted, for at most a thousand rows.
    """
    require(regressor, "create_feature_importance_chart", "a regressor", is_regressor)

    def draw(axes: Any) -> None:
        weights, names, label = _importances(regressor, X_train, y_train)
        # Ascending, since barh draws from the bottom up and the most important belongs on top.
        order = np.argsort(weights)[-MOST_FEATURES:]
        axes.barh(range(len(order)), weights[order])
        axes.set_yticks(range(len(order)), [str(names[i]) for i in order])
        axes.set(xlabel=label)

    return drawn("Feature importance", draw)


def create_residuals_chart(regressor: Any, X_train: Any, X_test: Any, y_train: Any, y_test: Any) -> File | None:
    """Draw residuals over predictions, for training and test data."""
    require(regressor, "create_residuals_chart", "a regressor", is_regressor)
    data = {"train": (X_train, y_train), "test": (X_test, y_test)}
    return _errors("Residuals", "residual_vs_predicted", regressor, data)


def create_prediction_error_chart(
    regressor: Any,
    X_train: Any,
    X_test: Any,
    y_train: Any,
    y_test: Any,
) -> File | None:
    """Draw true over predicted values."""
    require(regressor, "create_prediction_error_chart", "a regressor", is_regressor)
    return _errors("Prediction error", "actual_vs_predicted", regressor, {"test": (X_test, y_test)})


def create_cooks_distance_chart(regressor: Any, X_train: Any, y_train: Any) -> File | None:
    """Draw Cook's distance of each sample in a linear fit of the data.

    The regressor itself is not used.
    """
    require(regressor, "create_cooks_distance_chart", "a regressor", is_regressor)

    def draw(axes: Any) -> None:
        samples = X_train.toarray() if hasattr(X_train, "toarray") else X_train
        distances = _cooks_distances(np.asarray(samples, float), targets(y_train).astype(float))
        # The usual threshold for samples that are worth a look.
        limit = 4 / len(distances)
        axes.vlines(range(len(distances)), 0, distances, linewidth=0.8)
        axes.axhline(limit, linestyle="--", color="C3", label=f"{(distances > limit).mean():.1%} above 4/n")
        axes.set(xlabel="sample", ylabel="Cook's distance")
        axes.legend()

    return drawn("Cook's distance", draw)


def _errors(title: str, kind: str, regressor: Any, data: dict[str, tuple[Any, Any]]) -> File | None:
    true = {name: targets(y) for name, (_, y) in data.items()}
    outputs = max(y.reshape(len(y), -1).shape[1] for y in true.values())

    def draw(axes: Any) -> None:
        for (name, (samples, _)), color in zip(data.items(), ("C0", "C1"), strict=False):
            said = np.asarray(regressor.predict(samples)).reshape(len(true[name]), -1)
            actual = true[name].reshape(len(said), -1)
            for j, each in enumerate(np.atleast_1d(axes)):
                PredictionErrorDisplay.from_predictions(
                    actual[:, j],
                    said[:, j],
                    kind=kind,
                    subsample=min(MOST_POINTS, len(said)),
                    random_state=0,
                    ax=each,
                    scatter_kwargs={"alpha": 0.6, "label": name, "color": color},
                )
                each.legend()

    return drawn(title, draw, beside=outputs)


def _importances(regressor: Any, X: Any, y: Any) -> tuple[Any, Any, str]:
    """Return the importances of features, the features' names, and the name of the measure."""
    last, names = _predictor(regressor, X)
    weights = getattr(last, "feature_importances_", None)
    if weights is not None:
        return np.asarray(weights), names, "importance"
    sizes = getattr(last, "coef_", None)
    if sizes is not None:
        dense = sizes.toarray() if hasattr(sizes, "toarray") else sizes
        # The mean over outputs, each of which has a row of coefficients.
        return np.abs(np.atleast_2d(dense)).mean(axis=0), names, "size of the coefficient"
    from sklearn.inspection import permutation_importance

    rows = np.random.default_rng(0).permutation(X.shape[0] if hasattr(X, "shape") else len(X))[:LEARNING_ROWS]
    samples, true = _safe_indexing(X, rows), targets(y)[rows]
    found = permutation_importance(regressor, samples, true, n_repeats=5, random_state=0)
    names = getattr(X, "columns", [f"x{i}" for i in range(len(found.importances_mean))])
    return found.importances_mean, names, "fall of the score when permuted"


def _predictor(regressor: Any, X: Any) -> tuple[Any, Any]:
    """Return the predictor inside searches and pipelines, and its feature names."""
    steps: list[Any] = []
    while True:
        if hasattr(regressor, "best_estimator_"):
            regressor = regressor.best_estimator_
        elif hasattr(regressor, "regressor_"):  # of a TransformedTargetRegressor
            regressor = regressor.regressor_
        elif hasattr(regressor, "steps"):
            steps, regressor = [regressor[:-1]], regressor[-1]
        else:
            break
    names = getattr(regressor, "feature_names_in_", None)
    # Steps before the predictor may make and drop features, so that the names of X fit no more.
    if names is None and steps:
        with suppress(AttributeError, ValueError):  # not every transformer can say
            names = steps[-1].get_feature_names_out()
    if names is None:
        names = getattr(X, "columns", None) if not steps else None
    if names is None:
        names = [f"x{i}" for i in range(getattr(regressor, "n_features_in_", 0))]
    return regressor, names


def _cooks_distances(samples: Any, values: Any) -> Any:
    """Return the distances: residuals and leverages of a linear fit, the latter from the QR decomposition."""
    design = np.column_stack([np.ones(len(samples)), samples])
    orthonormal, triangle = np.linalg.qr(design)
    diagonal = np.abs(np.diag(triangle))
    orthonormal = orthonormal[:, diagonal > 1e-10 * diagonal.max()]  # columns that add nothing have no direction
    freedom = orthonormal.shape[1]
    residuals = (values - orthonormal @ (orthonormal.T @ values)).reshape(len(samples), -1)
    # Below 1: a sample that determines a column alone would divide by zero.
    leverage = np.clip((orthonormal**2).sum(axis=1), 0, 1 - 1e-12)
    variance = (residuals**2).sum(axis=0) / max(len(samples) - freedom, 1)
    return ((residuals**2 / (freedom * variance)).mean(axis=1) * leverage) / (1 - leverage) ** 2
