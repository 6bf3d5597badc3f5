"""naiad for scikit-learn: summaries, charts, a callback, `autolog`. Importing it loads no framework; using it does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from naiad.lazy import fetched

if TYPE_CHECKING:
    from naiad_sklearn.callback import NaiadCallback, NeptuneCallback
    from naiad_sklearn.classifier_charts import (
        create_calibration_chart,
        create_class_prediction_error_chart,
        create_classification_report_chart,
        create_confusion_matrix_chart,
        create_precision_recall_chart,
        create_roc_auc_chart,
    )
    from naiad_sklearn.cluster_charts import create_kelbow_chart, create_silhouette_chart
    from naiad_sklearn.estimators import get_estimator_params, get_pickled_model
    from naiad_sklearn.patches import Autolog, autolog
    from naiad_sklearn.predictions import get_cluster_labels, get_test_preds, get_test_preds_proba
    from naiad_sklearn.regressor_charts import (
        create_cooks_distance_chart,
        create_feature_importance_chart,
        create_learning_curve_chart,
        create_prediction_error_chart,
        create_residuals_chart,
    )
    from naiad_sklearn.scores import get_metrics, get_scores
    from naiad_sklearn.searches import create_search_summary
    from naiad_sklearn.summaries import (
        create_classifier_summary,
        create_kmeans_summary,
        create_permutation_importance,
        create_regressor_summary,
        log_estimator,
    )

__all__ = [
    "Autolog",
    "NaiadCallback",
    "NeptuneCallback",
    "autolog",
    "create_calibration_chart",
    "create_class_prediction_error_chart",
    "create_classification_report_chart",
    "create_classifier_summary",
    "create_confusion_matrix_chart",
    "create_cooks_distance_chart",
    "create_feature_importance_chart",
    "create_kelbow_chart",
    "create_kmeans_summary",
    "create_learning_curve_chart",
    "create_permutation_importance",
    "create_precision_recall_chart",
    "create_prediction_error_chart",
    "create_regressor_summary",
    "create_residuals_chart",
    "create_roc_auc_chart",
    "create_search_summary",
    "create_silhouette_chart",
    "get_cluster_labels",
    "get_estimator_params",
    "get_metrics",
    "get_pickled_model",
    "get_scores",
    "get_test_preds",
    "get_test_preds_proba",
    "log_estimator",
]

HOMES = {
    "patches": "Autolog autolog",
    "callback": "NaiadCallback NeptuneCallback",
    "classifier_charts": "create_calibration_chart create_class_prediction_error_chart "
    "create_classification_report_chart create_confusion_matrix_chart create_precision_recall_chart "
    "create_roc_auc_chart",
    "cluster_charts": "create_kelbow_chart create_silhouette_chart",
    "estimators": "get_estimator_params get_pickled_model",
    "predictions": "get_cluster_labels get_test_preds get_test_preds_proba",
    "regressor_charts": "create_cooks_distance_chart create_feature_importance_chart create_learning_curve_chart "
    "create_prediction_error_chart create_residuals_chart",
    "scores": "get_metrics get_scores",
    "searches": "create_search_summary",
    "summaries": "create_classifier_summary create_kmeans_summary create_permutation_importance "
    "create_regressor_summary log_estimator",
}

if not TYPE_CHECKING:
    _fetch, __dir__ = fetched(
        __name__, {name: f"{__name__}.{home}" for home, names in HOMES.items() for name in names.split()}
    )

    def __getattr__(name: str) -> Any:
        """Import a public name, with an install hint if scikit-learn is missing."""
        if name not in __all__:
            return _fetch(name)  # which knows none but these
        from naiad_sklearn.plugin import INTEGRATION

        with INTEGRATION.needed_by(name):
            return _fetch(name)
