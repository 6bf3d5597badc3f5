"""The hooks and the mapping of the integration. Nothing here imports Lightning."""

from __future__ import annotations

from naiad.hookspecs import hookimpl
from naiad.integration import Integration, Row

SAVED = "after_save_checkpoint"
CHECKPOINTS, SCORED = "log_model_checkpoints", "log_model_checkpoints and monitor"
SEVERAL, SEVERAL_SCORED = f"{CHECKPOINTS} and several callbacks", f"{SCORED} and several callbacks"
"""A second ModelCheckpoint, and those after it, have namespaces of their own, named by what they monitor."""

INTEGRATION = Integration(
    name="lightning",
    framework="Lightning 2",
    packages={"lightning": "lightning", "pytorch_lightning": "pytorch-lightning"},
    versions=">=2.5,<3",
    extra="lightning",
    adapter="naiad_lightning.logger:NaiadLogger",
    base="training",
    rows=(
        Row(
            "experiment",
            "source_code/integrations/pytorch-lightning",
            "string",
            "assign",
            "the version of Lightning, on the run itself",
        ),
        Row("log_hyperparams", "{base}/hyperparams/{name:path}", "atom", "assign", "the hyperparameters"),
        Row(
            "log_metrics",
            "{base}/{metric:path}",
            "float_series",
            "append",
            "the metrics, at the step that Lightning passes",
        ),
        Row("log_metrics", "{base}/epoch", "float_series", "append", "the epoch of each step"),
        Row(
            SAVED,
            "{base}/model/checkpoints/{name:path}",
            "file",
            "upload",
            "the checkpoint files that are kept now",
            when=CHECKPOINTS,
        ),
        Row(
            SAVED,
            "{base}/model/best_model_path",
            "string",
            "assign",
            "the path of the best checkpoint",
            when=CHECKPOINTS,
        ),
        Row(SAVED, "{base}/model/best_model_score", "float", "assign", "the score of the best checkpoint", when=SCORED),
        *(
            Row(SAVED, f"{{base}}/model/checkpoints_info/{{name:path}}/{fact}", kind, "assign", meaning, when=when)
            for fact, kind, meaning, when in (
                ("aliases", "string", "`best`, `last`, both or empty", CHECKPOINTS),
                ("epoch", "int", "the epoch or step at which the checkpoint was saved", CHECKPOINTS),
                ("step", "int", "the epoch or step at which the checkpoint was saved", CHECKPOINTS),
                ("monitor", "string", "the metric that ranks the checkpoints", SCORED),
                ("mode", "string", "`min` or `max`", SCORED),
                ("score", "float", "the score of the checkpoint", SCORED),
            )
        ),
        Row(
            SAVED,
            "{base}/model/{callback}/checkpoints/{name:path}",
            "file",
            "upload",
            "the checkpoint files of a further callback",
            when=SEVERAL,
        ),
        Row(
            SAVED,
            "{base}/model/{callback}/checkpoints_info/{name:path}",
            "atom",
            "assign",
            "as for the first callback",
            when=SEVERAL,
        ),
        Row(
            SAVED,
            "{base}/model/{callback}/best_model_path",
            "string",
            "assign",
            "as for the first callback",
            when=SEVERAL,
        ),
        Row(
            SAVED,
            "{base}/model/{callback}/best_model_score",
            "float",
            "assign",
            "as for the first callback",
            when=SEVERAL_SCORED,
        ),
        Row(
            "log_graph",
            "{base}/model/summary",
            "file",
            "upload",
            "the model's summary, as text",
            when="log_model_summary",
        ),
        Row("finalize", "{base}/status", "string", "assign", "`success`, `failed`, `interrupted` or `finished`"),
        *(
            Row("finalize", f"{{base}}/exception/{fact}", "string", "assign", meaning, when="exception")
            for fact, meaning in (
                ("type", "the class of the exception"),
                ("message", "the message of the exception"),
                ("traceback", "the traceback of the exception"),
            )
        ),
        *(
            Row(
                "finalize", f"{{base}}/early_stopping/{{metric}}/{fact}", kind, "assign", meaning, when="early stopping"
            )
            for fact, kind, meaning in (
                ("epoch", "int", "the epoch at which the training stopped"),
                ("best_score", "float", "the best score"),
            )
        ),
        *(
            Row(
                "watch",
                f"{{base}}/{what}/{{parameter}}/{{statistic}}",
                "float_series",
                "append",
                f"`norm`, `mean` and `std` of the {what}",
                when=f"watch {what}",
            )
            for what in ("gradients", "parameters")
        ),
        *(
            Row(
                "watch",
                f"{{base}}/{what}/{{parameter}}/histogram",
                "histogram_series",
                "append",
                f"the distribution of the {what}",
                when=f"watch {what} and bins",
            )
            for what in ("gradients", "parameters")
        ),
        Row("log_image", "{base}/{key:path}", "file_series", "append", "images, tables and pages", when="log_image"),
        Row("log_text", "{base}/{key:path}", "string_series", "append", "texts", when="log_text"),
        Row("save_config", "{base}/config", "file", "upload", "LightningCLI's configuration, as YAML", when="config"),
        Row(
            "any",
            "{base}/integration/errors",
            "string_series",
            "append",
            "errors of logging, with their reasons",
            when="trouble",
        ),
        Row(
            "any",
            "{base}/integration/renamed/{path:path}",
            "string",
            "assign",
            "the original name of a value whose own path is taken: `loss/top` beside `loss`",
            when="taken names",
        ),
    ),
)

RESERVED = frozenset(
    row.path.removeprefix("{base}/")
    for row in INTEGRATION.rows
    if row.event not in ("log_metrics", "log_image", "log_text") and row.path.startswith("{base}/")
)
"""Paths below the base that no metric may take from the logger itself, such as "status" and what lies in "model"."""


@hookimpl
def naiad_integration() -> Integration:
    """Connect Lightning."""
    return INTEGRATION
