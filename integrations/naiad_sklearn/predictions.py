"""Predictions of an estimator as tables: classes, probabilities, clusters. The first rows only."""

from __future__ import annotations

from typing import Any

import pandas as pd
from sklearn.base import is_classifier
from sklearn.cluster import KMeans

from naiad.errors import InvalidArgument, NaiadTypeError, NaiadWarning, shown, warn_once
from naiad.types import File
from naiad_sklearn.estimators import require, targets, unfitted
from naiad_sklearn.scores import is_model
from naiad_sklearn.watching import unseen


@unseen()
def get_test_preds(estimator: Any, X_test: Any, y_test: Any, y_pred: Any = None, nrows: int = 1000) -> File:
    """Return true and predicted values of samples, as a table in HTML.

    Args:
        estimator: a fitted classifier or regressor.
        X_test: the samples.
        y_test: true values.
        y_pred: predicted values, if they are known already.
        nrows: how many rows, from the first.
    """
    require(estimator, "get_test_preds", "a classifier or regressor", is_model)
    _require_count(nrows)
    predicted = targets(estimator.predict(X_test) if y_pred is None else y_pred)
    true = targets(y_test)
    # The index of the true values, with which rows are found again in the user's own table.
    if predicted.ndim == 1:
        index = y_test.index if isinstance(y_test, pd.Series | pd.DataFrame) else None
        return _page(pd.DataFrame({"y_true": true, "y_pred": predicted}, index=index), nrows)
    table: dict[str, Any] = {}
    for j in range(predicted.shape[1]):
        table |= {f"y_test_output_{j}": true[:, j], f"y_pred_output_{j}": predicted[:, j]}
    return _page(pd.DataFrame(table), nrows)


@unseen()
def get_test_preds_proba(
    classifier: Any,
    X_test: Any = None,
    y_pred_proba: Any = None,
    nrows: int = 1000,
) -> File | None:
    """Return how probable a classifier holds each class for samples, as a table in HTML.

    Without probabilities, as of a linear SVM, there is a warning and None. The columns are the classes; with several
    outputs, `output_<j>/<class>`.

    Args:
        classifier: a fitted classifier.
        X_test: the samples; or else
        y_pred_proba: their probabilities, if they are known already.
        nrows: how many rows, from the first.
    """
    require(classifier, "get_test_preds_proba", "a classifier", is_classifier)
    _require_count(nrows)
    if (X_test is None) == (y_pred_proba is None):
        raise InvalidArgument("get_test_preds_proba takes X_test or y_pred_proba.\nGive one of them.")
    if y_pred_proba is None:
        if not hasattr(classifier, "predict_proba"):
            name = type(classifier).__name__
            warn_once(("no probabilities", name), f"This {name} has no probabilities.", NaiadWarning)
            return None
        y_pred_proba = classifier.predict_proba(X_test)
    return _page(_odds(y_pred_proba, classifier.classes_), nrows)


@unseen()
def get_cluster_labels(model: Any, X: Any, nrows: int = 1000, **kwargs: Any) -> File:
    """Return the cluster of each sample, as a table in HTML. The model stays as it is: a copy of it is fitted.

    Args:
        model: a KMeans.
        X: the samples.
        nrows: how many rows, from the first.
        **kwargs: parameters to change in the copy.
    """
    require(model, "get_cluster_labels", "a KMeans", is_kmeans)
    _require_count(nrows)
    return label_table(unfitted(model, **kwargs).fit_predict(X), nrows)


def label_table(labels: Any, nrows: int) -> File:
    """Return clusters that are known already."""
    return _page(pd.DataFrame({"cluster_labels": labels}), nrows)


def is_kmeans(subject: object) -> bool:
    """Whether something is a KMeans."""
    return isinstance(subject, KMeans)


def _odds(odds: Any, classes: Any) -> pd.DataFrame:
    if not isinstance(odds, list):
        return pd.DataFrame(odds, columns=classes)
    outputs = enumerate(zip(odds, classes, strict=True))
    return pd.concat(
        [pd.DataFrame(each, columns=[f"output_{j}/{name}" for name in of]) for j, (each, of) in outputs], axis=1
    )


def _page(table: pd.DataFrame, rows: int) -> File:
    return File.as_html(table.head(rows))


def _require_count(nrows: object) -> None:
    if not isinstance(nrows, int):
        raise NaiadTypeError(f"nrows= takes a number of rows, not {shown(nrows)}.", value=nrows)
