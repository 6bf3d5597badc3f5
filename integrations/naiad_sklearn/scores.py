"""How well an estimator does on data: Neptune's scores by class or output, and metrics over all of it."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn import metrics
from sklearn.base import is_classifier, is_regressor
from sklearn.utils.multiclass import type_of_target, unique_labels

from naiad_sklearn.estimators import require, targets
from naiad_sklearn.watching import unseen

REGRESSION = ("explained_variance_score", "max_error", "mean_absolute_error", "r2_score")
"""Neptune's, for one output."""
ERRORS = ("mean_absolute_error", "mean_squared_error", "root_mean_squared_error", "r2_score")


def is_model(subject: object) -> bool:
    """Whether something predicts: a classifier or a regressor."""
    return bool(is_classifier(subject) or is_regressor(subject))


@unseen()
def get_scores(estimator: Any, X: Any, y: Any, y_pred: Any = None) -> dict[str, Any]:
    """Return the scores of a fitted estimator, as Neptune names them.

    A regressor has explained variance, max error, mean absolute error and R2; with several outputs R2 over all, and
    all four below `output_<j>`. A classifier has precision, recall, F-score and support below `class_<i>`, where `i`
    counts the classes as the estimator does; with several outputs, below `output_<j>/class_<i>`.

    Args:
        estimator: a fitted classifier or regressor.
        X: the samples.
        y: true values.
        y_pred: predicted values, if they are known already.
    """
    require(estimator, "get_scores", "a classifier or regressor", is_model)
    true, predicted = targets(y), targets(estimator.predict(X) if y_pred is None else y_pred)
    if is_classifier(estimator):
        return _of_classes(estimator, true, predicted)
    if predicted.ndim == 1:
        return _of_values(true, predicted)
    columns = enumerate(zip(true.T, predicted.T, strict=True))
    return {"r2_score": float(metrics.r2_score(true, predicted))} | {
        f"output_{j}": _of_values(*column) for j, column in columns
    }


@unseen()
def get_metrics(estimator: Any, X: Any, y: Any, y_pred: Any = None, *, sample_weight: Any = None) -> dict[str, float]:
    """Return numbers about all of the data: how often right for classifiers, how far off for regressors.

    Of several classes, precision, recall, F1 and ROC AUC are means weighted by how frequent each is. Log loss and ROC
    AUC need probabilities; without them, or with several outputs, they are left out.

    Args:
        estimator: a fitted classifier or regressor.
        X: the samples.
        y: true values.
        y_pred: predicted values, if they are known already.
        sample_weight: how much each sample counts; all the same if None.
    """
    require(estimator, "get_metrics", "a classifier or regressor", is_model)
    true, predicted = targets(y), targets(estimator.predict(X) if y_pred is None else y_pred)
    weights = None if sample_weight is None else targets(sample_weight)
    # The four of them take several outputs as they are, as the mean over them.
    if not is_classifier(estimator):
        return {name: float(getattr(metrics, name)(true, predicted, sample_weight=weights)) for name in ERRORS}
    if _has_many_outputs(true, predicted):
        return {"accuracy_score": float(np.average((true == predicted).all(axis=1), weights=weights))}
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(
        true, predicted, average="weighted", zero_division=0, sample_weight=weights
    )
    found = {"accuracy_score": metrics.accuracy_score(true, predicted, sample_weight=weights)}
    found |= {"precision_score": precision, "recall_score": recall, "f1_score": f1}
    found |= _of_odds(estimator, X, true, weights)
    return {name: float(value) for name, value in found.items()}


def _of_values(true: Any, predicted: Any) -> dict[str, float]:
    return {name: float(getattr(metrics, name)(true, predicted)) for name in REGRESSION}


def _of_classes(classifier: Any, true: Any, predicted: Any) -> dict[str, Any]:
    """Score each class of a classifier, or of each of its outputs."""
    if _has_many_outputs(true, predicted):
        columns = zip(_classes_by_output(classifier, predicted), true.T, predicted.T, strict=True)
        return {f"output_{j}": _by_class(*column) for j, column in enumerate(columns)}
    classes = getattr(classifier, "classes_", None)
    is_flat = predicted.ndim == 1 and isinstance(classes, np.ndarray)
    return _by_class(classes if is_flat else None, true, predicted)


def _has_many_outputs(*labels: Any) -> bool:
    """Whether each sample has several classes, each of a set of its own; several labels are another thing."""
    return any(type_of_target(each) == "multiclass-multioutput" for each in labels)


def _classes_by_output(classifier: Any, predicted: Any) -> Any:
    classes = getattr(classifier, "classes_", None)
    return classes if isinstance(classes, list) else [None] * predicted.shape[1]


def _by_class(classes: Any, true: Any, predicted: Any) -> dict[str, dict[str, float]]:
    """Return the scores of each class, taken from the data if the estimator has none."""
    # Data with classes that the estimator never saw are scored by their own; in its numbering they would be missing.
    labels = None if classes is None or set(unique_labels(true)) - set(classes) else classes
    columns = metrics.precision_recall_fscore_support(true, predicted, labels=labels, zero_division=0)
    names = ("precision", "recall", "fbeta_score", "support")
    return {
        f"class_{i}": dict(zip(names, map(float, scores), strict=True))
        for i, scores in enumerate(zip(*columns, strict=True))
    }


def _of_odds(classifier: Any, X: Any, true: Any, weights: Any) -> dict[str, float]:
    """Return the scores that need class probabilities."""
    classes = getattr(classifier, "classes_", None)
    if not hasattr(classifier, "predict_proba") or not isinstance(classes, np.ndarray) or true.ndim > 1:
        return {}
    # There are no odds for a class that it does not know.
    if set(unique_labels(true)) - set(classes):
        return {}
    odds = classifier.predict_proba(X)
    found = {"log_loss": float(metrics.log_loss(true, odds, labels=classes, sample_weight=weights))}
    if len(unique_labels(true)) == len(classes) > 1:  # else no curve can be drawn for the class that is missing
        # Of two classes roc_auc_score takes one column, that of the second.
        scores = odds[:, 1] if len(classes) == 2 else odds
        auc = metrics.roc_auc_score(true, scores, average="weighted", multi_class="ovr", sample_weight=weights)
        found["roc_auc_score"] = float(auc)
    return found
