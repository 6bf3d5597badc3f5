"""What naiad asks about this integration: hooks only. Nothing here imports Lightning."""

from __future__ import annotations

from naiad.hookspecs import hookimpl
from naiad.mapping import Integration, Row

__all__ = ["INTEGRATION", "naiad_integration"]

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
            "the version, on the run itself",
        ),
        Row("log_hyperparams", "{base}/hyperparams/{name:path}", "atom", "assign", "the hyperparameters"),
        Row("log_metrics", "{base}/{metric:path}", "float_series", "append", "metrics at the step Lightning gives"),
        Row("log_metrics", "{base}/epoch", "float_series", "append", "the epoch of each step"),
        Row(
            "after_save_checkpoint",
            "{base}/model/checkpoints/{name:path}",
            "file",
            "upload",
            "the checkpoints there are now",
            when="log_model_checkpoints",
        ),
        Row(
            "after_save_checkpoint",
            "{base}/model/best_model_path",
            "string",
            "assign",
            "where the best checkpoint is",
            when="log_model_checkpoints",
        ),
        Row(
            "after_save_checkpoint",
            "{base}/model/best_model_score",
            "float",
            "assign",
            "its score",
            when="log_model_checkpoints and monitor",
        ),
        Row(
            "log_graph",
            "{base}/model/summary",
            "file",
            "upload",
            "the model's summary, as text",
            when="log_model_summary",
        ),
        Row("finalize", "{base}/status", "string", "assign", "`success`, `failed` or `finished`"),
    ),
)


@hookimpl
def naiad_integration() -> Integration:
    """Connect Lightning."""
    return INTEGRATION
