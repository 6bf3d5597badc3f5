"""The hooks and the mapping of the integration. Nothing here imports Keras."""

from __future__ import annotations

from naiad.hookspecs import hookimpl
from naiad.integration import Integration, Row

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
        Row("on_train_begin", "{base}/status", "string", "assign", '"running"; "done" when a fit has come to its end'),
        Row(
            "on_train_begin",
            "{base}/fit_params/{parameter}",
            "int",
            "assign",
            "`verbose`, `epochs` and `steps` of the fit",
        ),
        Row(
            "on_train_begin",
            "{base}/model/optimizer_config/{option:path}",
            "atom",
            "assign",
            "the optimizer's configuration, in place of that of an earlier fit",
        ),
        Row(
            "on_train_begin",
            "{base}/model/compile_config/{option:path}",
            "atom",
            "assign",
            "the arguments of `compile()`, in place of those of an earlier fit",
        ),
        Row(
            "on_train_begin",
            "{base}/model/summary",
            "file",
            "upload",
            "the model's summary, as text; on_train_end for models that are built late",
            when="log_model_summary",
        ),
        Row(
            "on_train_begin",
            "{base}/model/architecture",
            "file",
            "upload",
            "the model without its weights, as JSON; on_train_end for models that are built late",
            when="log_architecture",
        ),
        Row(
            "on_train_begin",
            "{base}/model/visualization",
            "file",
            "upload",
            "a diagram, as PNG; on_train_end for models that are built late",
            when="log_model_diagram",
        ),
        Row(
            "on_epoch_begin", "{base}/model/learning_rate", "float_series", "append", "the learning rate of each epoch"
        ),
        Row(
            "on_train_batch_end",
            "{base}/train/batch/{metric:path}",
            "float_series",
            "append",
            "loss and metrics, as means since the epoch began; steps count batches",
            when="log_on_batch",
        ),
        Row(
            "on_epoch_end", "{base}/train/epoch/{metric:path}", "float_series", "append", "loss and metrics of an epoch"
        ),
        Row(
            "on_epoch_end",
            "{base}/predictions/{name:path}",
            "file_series",
            "append",
            "figures, tables and other files that the function returns",
            when="log_predictions",
        ),
        Row(
            "on_epoch_end",
            "{base}/predictions/{name:path}",
            "float_series",
            "append",
            "numbers that the function returns",
            when="log_predictions",
        ),
        Row(
            "on_epoch_end",
            "{base}/predictions/{name:path}",
            "string_series",
            "append",
            "texts that the function returns",
            when="log_predictions",
        ),
        Row(
            "on_epoch_end",
            "{base}/model/checkpoints/{name}",
            "file",
            "upload",
            'the model after an epoch: "last", "best" or "epoch_N"',
            when="log_checkpoints",
        ),
        Row(
            "on_epoch_end",
            "{base}/model/best_score",
            "float",
            "assign",
            "the monitored metric of the best model",
            when="log_checkpoints=best",
        ),
        Row(
            "on_epoch_end",
            "{base}/model/best_epoch",
            "int",
            "assign",
            "the epoch of the best model",
            when="log_checkpoints=best",
        ),
        Row(
            "on_test_batch_end",
            "{base}/validation/batch/{metric:path}",
            "float_series",
            "append",
            "loss and metrics, as means since the evaluation began",
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
            "on_test_end",
            "{base}/evaluation/{number}/{metric:path}",
            "float",
            "assign",
            "loss and metrics of an evaluation outside of a fit",
            when="separate_evaluate",
        ),
        Row(
            "on_test_end",
            "{base}/evaluation/within_fit/{metric:path}",
            "float_series",
            "append",
            "loss and metrics of evaluations that another callback makes during a fit, at the step of the epoch",
            when="evaluate within a fit",
        ),
        Row(
            "on_predict_end",
            "{base}/prediction/{count}",
            "float_series",
            "append",
            "`samples`, `batches` and `seconds` of each `predict()`",
            when="log_predict_calls",
        ),
        Row("on_train_end", "{base}/model/history", "file", "upload", "the result of `fit()`, as JSON"),
        Row(
            "on_train_end",
            "{base}/model/final",
            "file",
            "upload",
            "the model at the end of a fit",
            when="log_final_model",
        ),
        Row(
            "any",
            "{base}/integration/errors",
            "string_series",
            "append",
            "errors of logging, with their reasons",
            when="error",
        ),
        Row(
            "any",
            "{base}/integration/renamed/{path:path}",
            "string",
            "assign",
            "the original name of a value whose own path is taken: `acc` beside `acc/top`",
            when="taken names",
        ),
    ),
)


@hookimpl
def naiad_integration() -> Integration:
    """Connect Keras."""
    return INTEGRATION
