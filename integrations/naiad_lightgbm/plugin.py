"""The hooks and the mapping of the integration. Nothing here imports LightGBM."""

from __future__ import annotations

from naiad.hookspecs import hookimpl
from naiad.integration import TROUBLE, Integration, Row

INTEGRATION = Integration(
    name="lightgbm",
    framework="LightGBM 4",
    packages={"lightgbm": "lightgbm"},
    versions=">=4,<5",
    extra="lightgbm",
    adapter="naiad_lightgbm.callback:NaiadCallback",
    base="training",
    rows=(
        Row(
            "begin",
            "source_code/integrations/neptune-lightgbm",
            "string",
            "assign",
            "the version of naiad, on the run itself",
        ),
        Row(
            "begin",
            "{base}/params/{parameter:path}",
            "atom",
            "assign",
            "the parameters, in place of those of an earlier training",
        ),
        Row("begin", "{base}/feature_names", "string", "assign", "the names of the features", when="booster"),
        Row(
            "begin",
            "{base}/train_set/num_rows",
            "int",
            "assign",
            "the number of rows of the training data",
            when="booster",
        ),
        Row(
            "begin",
            "{base}/train_set/num_features",
            "int",
            "assign",
            "the number of features of the training data",
            when="booster",
        ),
        Row("iteration", "{base}/learning_rate", "float_series", "append", "the learning rate of each iteration"),
        Row(
            "iteration",
            "{base}/{data}/{metric:path}",
            "float_series",
            "append",
            "an evaluation metric of an iteration; `mean` and `std` below it in cross-validation",
            when="valid_sets",
        ),
        *TROUBLE,
    ),
)


@hookimpl
def naiad_integration() -> Integration:
    """Connect LightGBM."""
    return INTEGRATION
