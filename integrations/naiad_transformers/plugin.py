"""The hooks and the mapping of the integration. Nothing here imports Transformers."""

from __future__ import annotations

from naiad.hookspecs import hookimpl
from naiad.integration import TROUBLE, Integration, Row

INTEGRATION = Integration(
    name="transformers",
    framework="Transformers",
    packages={"transformers": "transformers"},
    versions=">=4.46,<6",
    extra="transformers",
    adapter="naiad_transformers.callback:NaiadCallback",
    base="finetuning",
    rows=(
        Row(
            "on_train_begin",
            "source_code/integrations/transformers",
            "string",
            "assign",
            "the version of Transformers, on the run itself",
        ),
        Row(
            "on_train_begin",
            "{base}/status",
            "string",
            "assign",
            "`running`, then `done` at the end of the training",
        ),
        Row(
            "on_train_begin",
            "{base}/trainer_parameters/{name:path}",
            "atom",
            "assign",
            "the training arguments, in place of those of an earlier training; tokens are left out",
            when="log_parameters",
        ),
        Row(
            "on_train_begin",
            "{base}/model_parameters/{name:path}",
            "atom",
            "assign",
            "the configuration of the model",
            when="log_parameters and config",
        ),
        Row(
            "on_train_begin",
            "{base}/peft_parameters/{adapter}/{name:path}",
            "atom",
            "assign",
            "the configuration of each adapter, such as LoRA",
            when="log_parameters and peft",
        ),
        Row(
            "on_train_begin",
            "{base}/model/summary",
            "string",
            "assign",
            "the modules of the model",
            when="log_parameters",
        ),
        Row(
            "on_train_begin",
            "{base}/model/num_parameters",
            "int",
            "assign",
            "the number of parameters",
            when="log_parameters",
        ),
        Row(
            "on_train_begin",
            "{base}/model/num_trainable_parameters",
            "int",
            "assign",
            "the number of parameters that have gradients",
            when="log_parameters",
        ),
        Row(
            "on_train_begin", "{base}/trial", "string", "assign", "the name of the trial", when="hyperparameter_search"
        ),
        Row(
            "on_train_begin",
            "{base}/trial_params/{name:path}",
            "atom",
            "assign",
            "the parameters of the trial",
            when="hyperparameter_search",
        ),
        Row(
            "on_log",
            "{base}/train/{metric:path}",
            "float_series",
            "append",
            "what the trainer logs: loss, learning rate, norm of the gradients; at the end runtime and speed",
        ),
        Row("on_log", "{base}/train/epoch", "float", "assign", "the epoch of the last log"),
        Row(
            "on_log",
            "{base}/eval/{metric:path}",
            "float_series",
            "append",
            "metrics of evaluations",
            when="evaluation",
        ),
        Row(
            "on_predict",
            "{base}/test/{metric:path}",
            "float_series",
            "append",
            "metrics of `predict()`",
            when="prediction",
        ),
        Row(
            "on_optimizer_step",
            "{base}/gradients/{parameter}/{statistic}",
            "float_series",
            "append",
            "`norm`, `mean` and `std` of the gradients that the optimizer used",
            when="watch gradients",
        ),
        Row(
            "on_optimizer_step",
            "{base}/parameters/{parameter}/{statistic}",
            "float_series",
            "append",
            "`norm`, `mean` and `std` of the weights",
            when="watch parameters",
        ),
        Row(
            "on_optimizer_step",
            "{base}/gradients/{parameter}/histogram",
            "histogram_series",
            "append",
            "the distribution of the gradients",
            when="watch gradients and bins",
        ),
        Row(
            "on_optimizer_step",
            "{base}/parameters/{parameter}/histogram",
            "histogram_series",
            "append",
            "the distribution of the weights",
            when="watch parameters and bins",
        ),
        Row(
            "on_save",
            "{base}/checkpoints",
            "file_set",
            "upload_files",
            "all checkpoints that the trainer saves",
            when="log_checkpoints=same",
        ),
        Row(
            "on_save",
            "{base}/checkpoints/last",
            "file_set",
            "upload_files",
            "the last checkpoint",
            when="log_checkpoints=last",
        ),
        Row(
            "on_save",
            "{base}/checkpoints/best",
            "file_set",
            "upload_files",
            "the checkpoint with the best metric",
            when="log_checkpoints=best",
        ),
        Row("on_train_end", "{base}/result/global_step", "int", "assign", "the number of steps made"),
        Row("on_train_end", "{base}/result/is_stopped_early", "bool", "assign", "True if more steps were planned"),
        Row(
            "on_train_end",
            "{base}/result/best_metric",
            "float",
            "assign",
            "the best value of `metric_for_best_model`",
            when="metric_for_best_model",
        ),
        Row(
            "on_train_end",
            "{base}/result/best_step",
            "int",
            "assign",
            "the step of the best value",
            when="metric_for_best_model",
        ),
        Row(
            "on_train_end",
            "{base}/result/best_checkpoint",
            "string",
            "assign",
            "the folder of the best checkpoint",
            when="metric_for_best_model and save",
        ),
        *TROUBLE,
    ),
)


@hookimpl
def naiad_integration() -> Integration:
    """Connect Transformers."""
    return INTEGRATION
