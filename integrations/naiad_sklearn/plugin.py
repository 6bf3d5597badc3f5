"""The hooks and the mapping of the integration. Nothing here imports scikit-learn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from naiad.conversions.origin import is_from
from naiad.hookspecs import hookimpl
from naiad.integration import Integration, Row
from naiad.utils import stringify_unsupported

SUMMARY = "create_*_summary"
SEARCH = "GridSearchCV and the like"

INTEGRATION = Integration(
    name="sklearn",
    framework="scikit-learn",
    packages={"sklearn": "scikit-learn"},
    versions=">=1.6,<2",
    extra="sklearn",
    adapter="naiad_sklearn:NaiadCallback",
    rows=(
        Row(SUMMARY, "{base}/all_params/{parameter:path}", "atom", "assign", "the estimator's parameters", "summary"),
        Row(SUMMARY, "{base}/pickled_model", "file", "assign", "the estimator, pickled", "model"),
        Row(
            SUMMARY, "{base}/integration/about/{package}", "string", "assign", "the versions of the packages", "summary"
        ),
        Row(SUMMARY, "{base}/estimator/class", "string", "assign", "the class of the estimator", "summary"),
        Row(SUMMARY, "{base}/estimator/html", "file", "assign", "the diagram of the estimator, as HTML", "summary"),
        Row(
            SUMMARY,
            "{base}/estimator/classes",
            "string",
            "assign",
            "the classes that the estimator was fitted to, as JSON",
            "classifier",
        ),
        Row(
            SUMMARY,
            "{base}/estimator/features",
            "string",
            "assign",
            "the features that the estimator was fitted to, as JSON",
            "frame",
        ),
        Row(SUMMARY, "{base}/test/preds", "file", "assign", "true and predicted values, as HTML", "predictions"),
        Row(SUMMARY, "{base}/test/preds_proba", "file", "assign", "probabilities, as HTML", "probabilities"),
        Row(
            SUMMARY, "{base}/test/scores/class_{i}/{score}", "float", "assign", "the scores of each class", "classifier"
        ),
        Row(SUMMARY, "{base}/test/scores/{score}", "float", "assign", "the scores of the regressor", "regressor"),
        Row(
            SUMMARY,
            "{base}/test/scores/output_{i}/{score:path}",
            "float",
            "assign",
            "the scores of each output",
            "multioutput",
        ),
        Row(
            SUMMARY,
            "{base}/test/metrics/{metric}",
            "float",
            "assign",
            "metrics over all of the test data",
            "predictions",
        ),
        Row(SUMMARY, "{base}/cluster_labels", "file", "assign", "the cluster of each sample, as HTML", "kmeans"),
        Row(SUMMARY, "{base}/diagnostics_charts/{chart}", "file", "assign", "a chart, as PNG", "log_charts"),
        Row(
            SUMMARY,
            "{base}/diagnostics_charts/silhouette",
            "file_series",
            "assign",
            "a chart for each number of clusters",
            "kmeans and log_charts",
        ),
        Row(SEARCH, "{base}/search/cv_results", "file", "assign", "all results of the search, as CSV", "search"),
        Row(SEARCH, "{base}/search/cv_results_table", "file", "assign", "all results of the search, as HTML", "search"),
        Row(SEARCH, "{base}/search/best_params/{parameter:path}", "atom", "assign", "the best parameters", "search"),
        Row(SEARCH, "{base}/search/best_score", "float", "assign", "the score of the best parameters", "search"),
        Row(
            SEARCH,
            "{base}/search/best_index",
            "int",
            "assign",
            "the row of the best parameters in the results",
            "search",
        ),
        Row(
            SEARCH,
            "{base}/search/candidates/{i}/{result}",
            "atom",
            "assign",
            "the results of one of the best candidates",
            "search",
        ),
        Row(
            SEARCH, "{base}/search/candidates/{i}/params/{parameter:path}", "atom", "assign", "its parameters", "search"
        ),
        Row(
            "setup",
            "source_code/integrations/scikit-learn",
            "string",
            "assign",
            "the version of scikit-learn, on the run itself",
            "fit",
        ),
        Row("setup", "{base}/fit/estimator", "string", "assign", "the class of the estimator that is fitted", "fit"),
        Row("setup", "{base}/fit/params/{parameter:path}", "atom", "assign", "its parameters", "fit"),
        Row(
            "setup", "{base}/fit/status", "string", "assign", "`running`, then `done`, `failed` or `interrupted`", "fit"
        ),
        Row("on_fit_task_begin", "{base}/fit/data/{size}", "int", "assign", "numbers of samples and features", "fit"),
        Row("on_fit_task_end", "{base}/fit/seconds", "float", "assign", "the duration of the fit, in seconds", "fit"),
        Row(
            "on_fit_task_end",
            "{base}/fit/tasks/{task:path}/seconds",
            "float_series",
            "append",
            "the duration of each task, in seconds",
            "tasks",
        ),
        Row(
            "on_fit_task_end",
            "{base}/fit/tasks/{task:path}/scores/{score}",
            "float_series",
            "append",
            "the scores of each iteration, on the training data",
            "scoring",
        ),
        Row(
            "on_fit_task_end",
            "{base}/fit/scores/{score}",
            "float",
            "assign",
            "the scores at the end of the fit",
            "scoring and single",
        ),
        Row("teardown", "{base}/fit/exception/type", "string", "assign", "the class of the exception", "exception"),
        Row(
            "teardown", "{base}/fit/exception/message", "string", "assign", "the message of the exception", "exception"
        ),
        Row(
            "teardown",
            "{base}/fit/exception/traceback",
            "string",
            "assign",
            "the traceback of the exception",
            "exception",
        ),
        Row(
            "autolog",
            "{base}/train/metrics/{metric}",
            "float",
            "assign",
            "metrics on the training data",
            "log_train_metrics",
        ),
        Row(
            "any",
            "{base}/integration/errors",
            "string_series",
            "append",
            "errors of logging, with their reasons",
            "trouble",
        ),
    ),
)
"""The rows of a fit are those of NaiadCallback and of `autolog`, which gives each fit a namespace."""


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
