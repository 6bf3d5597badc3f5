"""Summaries: all facts of an estimator as a dict for one assignment. The estimator is not changed.

run["summary"] = create_classifier_summary(model, X_train, X_test, y_train, y_test)
"""

from __future__ import annotations

from typing import Any

import sklearn
from sklearn.base import is_classifier, is_regressor
from sklearn.exceptions import NotFittedError

import naiad
from naiad.guard import Place
from naiad.names import apart, replace
from naiad.types import File, FileSeries
from naiad.utils import stringify_unsupported
from naiad_sklearn import classifier_charts, cluster_charts, regressor_charts
from naiad_sklearn.estimators import (
    describe_estimator,
    found_or_warned,
    get_estimator_params,
    get_pickled_model,
    require,
    unfitted,
)
from naiad_sklearn.importances import permutation_importances
from naiad_sklearn.predictions import get_test_preds, get_test_preds_proba, is_kmeans, label_table
from naiad_sklearn.scores import get_metrics, get_scores, is_model
from naiad_sklearn.searches import create_search_summary, is_search
from naiad_sklearn.watching import unseen


def create_classifier_summary(
    classifier: Any,
    X_train: Any,
    X_test: Any,
    y_train: Any,
    y_test: Any,
    nrows: int = 1000,
    log_charts: bool = True,
) -> dict[str, Any]:
    """Return parameters, pickled model, test predictions, scores and charts of a classifier.

    Args:
        classifier: a fitted classifier; a pipeline or search that ends in one is one too.
        X_train: the data it was fitted to.
        X_test: the test data.
        y_train: the classes of the training data.
        y_test: the classes of the test data.
        nrows: how many rows of predictions to keep.
        log_charts: draw the charts, which may take a while.
    """
    require(classifier, "create_classifier_summary", "a classifier", is_classifier)
    found = _head(classifier) | _test(classifier, X_test, y_test, nrows)
    if log_charts and "test" in found:
        data = (classifier, X_train, X_test, y_train, y_test)
        found |= _charts(
            classification_report=classifier_charts.create_classification_report_chart(*data),
            confusion_matrix=classifier_charts.create_confusion_matrix_chart(*data),
            ROC_AUC=classifier_charts.create_roc_auc_chart(*data),
            precision_recall=classifier_charts.create_precision_recall_chart(classifier, X_test, y_test),
            class_prediction_error=classifier_charts.create_class_prediction_error_chart(*data),
        )
    return found


def create_regressor_summary(
    regressor: Any,
    X_train: Any,
    X_test: Any,
    y_train: Any,
    y_test: Any,
    nrows: int = 1000,
    log_charts: bool = True,
) -> dict[str, Any]:
    """Return parameters, pickled model, test predictions, scores and charts of a regressor.

    Args:
        regressor: a fitted regressor; a pipeline or search that ends in one is one too.
        X_train: the data it was fitted to.
        X_test: the test data.
        y_train: the values of the training data.
        y_test: the values of the test data.
        nrows: how many rows of predictions to keep.
        log_charts: draw the charts, which may take a while: for the learning curve, copies are fitted 15 times.
    """
    require(regressor, "create_regressor_summary", "a regressor", is_regressor)
    found = _head(regressor) | _test(regressor, X_test, y_test, nrows)
    if log_charts and "test" in found:
        data = (regressor, X_train, X_test, y_train, y_test)
        found |= _charts(
            learning_curve=regressor_charts.create_learning_curve_chart(regressor, X_train, y_train),
            feature_importance=regressor_charts.create_feature_importance_chart(regressor, X_train, y_train),
            residuals=regressor_charts.create_residuals_chart(*data),
            prediction_error=regressor_charts.create_prediction_error_chart(*data),
            cooks_distance=regressor_charts.create_cooks_distance_chart(regressor, X_train, y_train),
        )
    return found


def create_permutation_importance(
    estimator: Any, X_test: Any, y_test: Any, n_repeats: int = 5, nrows: int = 1000
) -> dict[str, Any]:
    """Return by how much the score of an estimator falls when the values of a feature are permuted, and a chart.

    Unlike importances of trees it is about data that the estimator was not fitted to, and works for any estimator with
    a score. It takes a prediction for each feature and repeat.

    Args:
        estimator: a fitted classifier or regressor, or a pipeline or search that ends in one.
        X_test: the test data.
        y_test: the true values.
        n_repeats: how often each feature is permuted.
        nrows: how many rows to use, taken at random; the same ones each time.

    Returns:
        `mean/{feature}` and `std/{feature}` over the repeats, and `chart`, to be assigned to a path.
    """
    require(estimator, "create_permutation_importance", "a classifier or regressor", is_model)
    return permutation_importances(estimator, X_test, y_test, n_repeats, nrows)


def create_kmeans_summary(model: Any, X: Any, nrows: int = 1000, **kwargs: Any) -> dict[str, Any]:
    """Fit a copy of a KMeans, and return its parameters, itself pickled, the clusters of the data, and charts.

    Args:
        model: a KMeans, fitted or not; it stays as it is.
        X: the samples.
        nrows: how many rows of labels to keep.
        **kwargs: parameters to change in the copy.
    """
    require(model, "create_kmeans_summary", "a KMeans", is_kmeans)
    # The copy's fit belongs to the summary; autolog would log it as one of the program's.
    with unseen():
        fitted = unfitted(model, **kwargs).fit(X)
    silhouettes = cluster_charts.create_silhouette_chart(model, X, **kwargs)
    charts = _charts(
        kelbow=cluster_charts.create_kelbow_chart(model, X, **kwargs),
        # None where no chart could be drawn: an empty series would be a field that promises one.
        silhouette=silhouettes if silhouettes.values else None,
    )
    return _head(fitted) | {"cluster_labels": label_table(fitted.labels_, nrows)} | charts


def log_estimator(
    place: Place, estimator: Any, X: Any = None, y: Any = None, *, nrows: int = 1000, sample_weight: Any = None
) -> None:
    """Write a summary without charts to a run or namespace, for any estimator.

    Args:
        place: where to write. Values of an earlier call are replaced.
        estimator: fitted or not; the results of a search are written too.
        X: data that it was not fitted to.
        y: true values; with both, classifiers and regressors get predictions and scores.
        nrows: how many rows of predictions to keep.
        sample_weight: how much each sample counts in the metrics; all the same if None.
    """
    found = _head(estimator, pickled=is_model(estimator) or is_kmeans(estimator))
    if X is not None and y is not None and is_model(estimator):
        found |= _test(estimator, X, y, nrows, sample_weight)
    # One by one: `replace` clears what an earlier call left at each, and nothing beside them.
    for path, values in found.items():
        replace(place[path], values)


def _head(estimator: Any, pickled: bool = True) -> dict[str, Any]:
    """Return the part that all summaries share."""
    found: dict[str, Any] = {
        "all_params": apart(stringify_unsupported(get_estimator_params(estimator))),
        "estimator": describe_estimator(estimator),
        "integration/about": {"neptune-sklearn": naiad.__version__, "scikit-learn": sklearn.__version__},
    }
    model = found_or_warned("The pickled model", lambda: get_pickled_model(estimator)) if pickled else None
    if model is not None:
        found["pickled_model"] = model
    if is_search(estimator):
        found["search"] = create_search_summary(estimator)
    return found


@unseen()
def _test(model: Any, X: Any, y: Any, nrows: int, weights: Any = None) -> dict[str, Any]:
    """Return test predictions and scores; nothing for an estimator that cannot predict."""
    if not hasattr(model, "predict"):
        return {}
    # A pipeline that is not fitted has `predict` all the same.
    try:
        predicted = model.predict(X)
    except NotFittedError:
        return {}
    found = {
        "preds": get_test_preds(model, X, y, y_pred=predicted, nrows=nrows),
        "scores": get_scores(model, X, y, y_pred=predicted),
        "metrics": get_metrics(model, X, y, y_pred=predicted, sample_weight=weights),
    }
    odds = get_test_preds_proba(model, X, nrows=nrows) if is_classifier(model) else None
    return {"test": found if odds is None else found | {"preds_proba": odds}}


def _charts(**charts: File | FileSeries | None) -> dict[str, File | FileSeries]:
    return {f"diagnostics_charts/{name}": chart for name, chart in charts.items() if chart is not None}
