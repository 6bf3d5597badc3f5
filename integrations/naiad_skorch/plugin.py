"""The hooks and the mapping of the integration. Nothing here imports skorch."""

from __future__ import annotations

from naiad.hookspecs import hookimpl
from naiad.integration import TROUBLE, Integration, Row

INTEGRATION = Integration(
    name="skorch",
    framework="skorch 1",
    packages={"skorch": "skorch"},
    versions=">=1,<2",
    extra="skorch",
    adapter="naiad_skorch.callback:NaiadCallback",
    base="training",
    rows=(
        Row(
            "on_train_begin",
            "source_code/integrations/skorch",
            "string",
            "assign",
            "the version of skorch, on the run itself",
        ),
        Row("on_train_begin", "{base}/status", "string", "assign", '"running"; "done" after training'),
        Row("on_train_begin", "{base}/model/model_type", "string", "assign", "the class of the module"),
        Row("on_train_begin", "{base}/model/summary", "file", "upload", "the modules of the network, as text"),
        Row("on_train_begin", "{base}/config/{setting}", "atom", "assign", "optimizer, criterion, lr, epochs, ..."),
        Row("on_epoch_end", "{base}/epoch", "float_series", "append", "the number of each epoch"),
        Row(
            "on_epoch_end", "{base}/epoch_duration", "float_series", "append", "the duration of each epoch, in seconds"
        ),
        Row("on_epoch_end", "{base}/train/epoch/{metric:path}", "float_series", "append", "`train_*` of the history"),
        Row(
            "on_epoch_end",
            "{base}/train/epoch/event_lr",
            "float_series",
            "append",
            "the learning rate",
            when="LRScheduler",
        ),
        Row(
            "on_epoch_end",
            "{base}/validation/epoch/{metric:path}",
            "float_series",
            "append",
            "`valid_*` of the history",
            when="train_split",
        ),
        Row(
            "on_epoch_end",
            "{base}/{kind}/epoch/{metric:path}",
            "float_series",
            "append",
            "other values of the history",
            when="scoring",
        ),
        Row(
            "on_batch_end",
            "{base}/train/batch/{metric:path}",
            "float_series",
            "append",
            "the loss and the size of each training batch",
            when="log_on_batch_end",
        ),
        Row(
            "on_batch_end",
            "{base}/validation/batch/{metric:path}",
            "float_series",
            "append",
            "the loss and the size of each validation batch",
            when="log_on_batch_end and train_split",
        ),
        Row(
            "on_train_end", "{base}/best/{metric}/epoch", "int", "assign", "the epoch with the best value", when="best"
        ),
        Row("on_train_end", "{base}/best/{metric}/value", "float", "assign", "the best value", when="best"),
        Row(
            "on_train_end",
            "{base}/model/state",
            "file",
            "upload",
            "the state of the module, as `torch.save` writes it",
            when="log_model",
        ),
        *TROUBLE,
    ),
)


@hookimpl
def naiad_integration() -> Integration:
    """Connect skorch."""
    return INTEGRATION
