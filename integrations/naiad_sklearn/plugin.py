"""What naiad asks about this integration: hooks only. Nothing here imports scikit-learn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from naiad.conversions.origin import is_from
from naiad.hookspecs import hookimpl
from naiad.mapping import Integration, Row
from naiad.utils import stringify_unsupported

__all__ = ["INTEGRATION", "naiad_describe", "naiad_integration"]

CLASSIFIER, REGRESSOR, KMEANS = (f"create_{name}_summary" for name in ("classifier", "regressor", "kmeans"))

INTEGRATION = Integration(
    name="sklearn",
    framework="scikit-learn",
    packages={"sklearn": "scikit-learn"},
    versions=">=1.6,<2",
    extra="sklearn",
    adapter="naiad_sklearn.summaries:create_classifier_summary",
    rows=(
        Row("create_*_summary", "{base}/all_params/{parameter}", "string", "assign", "the estimator's parameters"),
        Row("create_*_summary", "{base}/pickled_model", "file", "assign", "the estimator, pickled"),
        Row(
            "create_*_summary",
            "{base}/integration/about/neptune-sklearn",
            "string",
            "assign",
            "the version",
        ),
        Row(
            CLASSIFIER, "{base}/test/preds", "file", "assign", "true and predicted values, as HTML", when="predictions"
        ),
        Row(CLASSIFIER, "{base}/test/preds_proba", "file", "assign", "probabilities, as HTML", when="classifier"),
        Row(
            CLASSIFIER,
            "{base}/test/scores/class_{i}/{score}",
            "float",
            "assign",
            "scores of a class",
            when="classifier",
        ),
        Row(REGRESSOR, "{base}/test/scores/{score}", "float", "assign", "scores", when="regressor"),
        Row(KMEANS, "{base}/cluster_labels", "file", "assign", "the cluster of each sample, as HTML", when="kmeans"),
        Row(
            "create_*_summary",
            "{base}/diagnostics_charts/{chart}",
            "file",
            "assign",
            "a chart, as PNG",
            when="log_charts",
        ),
        Row(
            KMEANS,
            "{base}/diagnostics_charts/silhouette",
            "file_series",
            "assign",
            "a chart for each number of clusters",
            when="kmeans and log_charts",
        ),
    ),
)


@hookimpl
def naiad_integration() -> Integration:
    """Connect scikit-learn."""
    return INTEGRATION


@hookimpl
def naiad_describe(subject: Any) -> Mapping[str, object] | None:
    """Describe an estimator by its class and its parameters."""
    if not is_from(subject, "sklearn", "BaseEstimator"):
        return None
    return {"class": type(subject).__name__, "params": stringify_unsupported(subject.get_params())}
