"""What naiad asks about this integration: hooks only. Nothing here imports Keras."""

from __future__ import annotations

from naiad.hookspecs import hookimpl
from naiad.mapping import Integration, Row

__all__ = ["INTEGRATION", "naiad_integration"]

INTEGRATION = Integration(
    name="keras",
    framework="Keras 3",
    packages={"keras": "keras"},
    versions=">=3,<4",
    extra="keras",
    adapter="naiad_keras.callback:NaiadCallback",
    base="training",
    rows=(
        Row(
            "constructor",
            "source_code/integrations/neptune-tensorflow-keras",
            "string",
            "assign",
            "the version of naiad, on the run itself",
        ),
        Row(
            "on_train_begin",
            "{base}/model/optimizer_config/{option:path}",
            "atom",
            "assign",
            "the optimizer's configuration",
        ),
        Row(
            "on_train_begin",
            "{base}/fit_params/{parameter}",
            "int",
            "assign",
            "`verbose`, `epochs` and `steps` of the fit",
        ),
        Row(
            "on_epoch_begin", "{base}/model/learning_rate", "float_series", "append", "the learning rate of each epoch"
        ),
        Row(
            "on_train_batch_end",
            "{base}/train/batch/{metric:path}",
            "float_series",
            "append",
            "loss and metrics, as running means within the epoch",
            when="log_on_batch",
        ),
        Row(
            "on_epoch_end", "{base}/train/epoch/{metric:path}", "float_series", "append", "loss and metrics of an epoch"
        ),
        Row(
            "on_test_batch_end",
            "{base}/validation/batch/{metric:path}",
            "float_series",
            "append",
            "loss and metrics, as running means within the evaluation",
            when="validation_data and log_on_batch",
        ),
        Row(
            "on_test_end",
            "{base}/validation/epoch/{metric:path}",
            "float_series",
            "append",
            "loss and metrics of an evaluation, within a fit or alone",
            when="validation_data",
        ),
        Row(
            "on_train_end",
            "{base}/model/summary",
            "file",
            "upload",
            "the model's summary, as text",
            when="log_model_summary",
        ),
        Row(
            "on_train_end",
            "{base}/model/visualization",
            "file",
            "upload",
            "a diagram, as PNG",
            when="log_model_diagram",
        ),
    ),
)


@hookimpl
def naiad_integration() -> Integration:
    """Connect Keras."""
    return INTEGRATION
