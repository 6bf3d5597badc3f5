"""The hooks and the mapping of the integration. Nothing here imports XGBoost."""

from __future__ import annotations

from naiad.hookspecs import hookimpl
from naiad.integration import TROUBLE, Integration, Row

INTEGRATION = Integration(
    name="xgboost",
    framework="XGBoost",
    packages={"xgboost": "xgboost", "xgboost_cpu": "xgboost-cpu"},
    versions=">=2,<4",
    extra="xgboost",
    adapter="naiad_xgboost.callback:NaiadCallback",
    base="training",
    rows=(
        Row(
            "before_training",
            "source_code/integrations/neptune-xgboost",
            "string",
            "assign",
            "the version of naiad, on the run itself",
        ),
        Row("before_training", "{base}/status", "string", "assign", '"running"; "done" after training'),
        Row(
            "before_training",
            "{base}/booster_config/{option:path}",
            "atom",
            "assign",
            "the booster's configuration, in place of that of an earlier training",
        ),
        Row("after_iteration", "{base}/epoch", "float_series", "append", "the number of each iteration"),
        Row("after_iteration", "{base}/learning_rate", "float_series", "append", "the learning rate of each iteration"),
        Row(
            "after_iteration",
            "{base}/{data}/{metric:path}",
            "float_series",
            "append",
            "an evaluation metric of an iteration; `mean` and `std` below it in cross-validation",
            when="evals",
        ),
        Row(
            "after_training",
            "{base}/early_stopping/best_score",
            "float",
            "assign",
            "the metric of the best iteration",
            when="early stopping",
        ),
        Row(
            "after_training",
            "{base}/early_stopping/best_iteration",
            "int",
            "assign",
            "the best iteration",
            when="early stopping",
        ),
        Row(
            "after_training",
            "{base}/importance/{feature:path}",
            "float",
            "assign",
            "the gain of each feature that is used",
            when="log_importance",
        ),
        Row(
            "after_training",
            "{base}/plots/importance",
            "file",
            "upload",
            "a chart of the most important features, where matplotlib is installed",
            when="log_importance and matplotlib",
        ),
        Row("after_training", "{base}/trees/{number}", "file", "upload", "a tree as text", when="log_tree"),
        Row("after_training", "{base}/pickled_model", "file", "upload", "the booster, as UBJSON", when="log_model"),
        *TROUBLE,
    ),
)


@hookimpl
def naiad_integration() -> Integration:
    """Connect XGBoost."""
    return INTEGRATION
