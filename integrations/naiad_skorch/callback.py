"""The callback that logs fits of skorch. It never raises into a fit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from naiad.file import File
from naiad.guard import Attempt, Place, place
from naiad.names import Names, replace
from naiad.types import Float
from naiad.utils import stringify_unsupported
from naiad_skorch.plugin import INTEGRATION

with INTEGRATION.needed_by("NaiadCallback"):
    import skorch
    from skorch.callbacks import Callback

KINDS = {"valid": "validation"}


class NaiadCallback(Callback):
    """Logs the history of a net, epoch by epoch, to a run or to a namespace of one.

    Put it last, so that it gets the values of other callbacks. `partial_fit` and further fits continue the curves. Nets
    that a search clones, also into other processes, log to the same namespace; give each a namespace of its own to keep
    them apart.

    Args:
        run: the run, or a handler of a namespace in it.
        log_on_batch_end: log each batch too.
        close_after_train: stop the run after training, as skorch's own NeptuneLogger does by default.
        keys_ignored: a key or keys of the history to leave out, besides `event_*` and `*_best`.
        base_namespace: the namespace to log to, below `run`; "" for `run` itself.
        log_model: upload the state of the module after training.

    Raises:
        MissingPackage: skorch is not installed.
        NaiadTypeError: `run` is neither a container nor a handler; raised when the net is initialized.

    >>> NeuralNetClassifier(Module, callbacks=[NaiadCallback(run)]).fit(x, y)
    """

    def __init__(
        self,
        run: Place,
        *,
        log_on_batch_end: bool = False,
        close_after_train: bool = False,
        keys_ignored: str | Iterable[str] | None = None,
        base_namespace: str = "training",
        log_model: bool = False,
    ) -> None:
        self.run = run  # the names of attributes are those of arguments: scikit-learn clones by them
        self.log_on_batch_end = log_on_batch_end
        self.close_after_train = close_after_train
        self.keys_ignored = keys_ignored
        self.base_namespace = base_namespace
        self.log_model = log_model

    def initialize(self) -> NaiadCallback:
        """Check the arguments; skorch calls this when a net is initialized."""
        base = place("NaiadCallback", self.run, self.base_namespace.rstrip("/"))
        given = [self.keys_ignored] if isinstance(self.keys_ignored, str) else self.keys_ignored
        # The rows of batches are nested in that of their epoch, and are logged by themselves.
        self._ignored = {"batches", *(given or ())}
        self._base = base
        self._attempt = partial(Attempt, "NaiadCallback", base)
        self._names = Names(base)
        return self

    def on_train_begin(self, net: Any, X: Any = None, y: Any = None, **_: Any) -> None:  # noqa: ARG002 (of the hook)
        """Describe the net."""
        with self._attempt("describe the net"):
            self._base.get_root_object()["source_code/integrations/skorch"] = skorch.__version__
            self._base["status"] = "running"
            self._base["model/model_type"] = type(net.module_).__name__
            self._base["model/summary"].upload(File.from_content(str(net.module_), extension="txt"))
            config = {
                "optimizer": type(net.optimizer_).__name__,
                "criterion": type(net.criterion_).__name__,
                "lr": net.lr,
                "epochs": net.max_epochs,
                "batch_size": net.batch_size,
                "device": str(net.device),
            }
            replace(self._base["config"], stringify_unsupported(config))

    def on_batch_end(self, net: Any, **_: Any) -> None:
        """Log a batch."""
        # skorch numbers no batches over epochs; without a step the points are counted by the series itself.
        if self.log_on_batch_end:
            self._log(net.history[-1]["batches"][-1], "batch")

    def on_epoch_end(self, net: Any, **_: Any) -> None:
        """Log an epoch."""
        row = net.history[-1]
        self._log(row, "epoch")
        if "event_lr" in row:
            self._names.append_each({"train/epoch/event_lr": row["event_lr"]}, None, self._attempt)

    def on_train_end(self, net: Any, X: Any = None, y: Any = None, **_: Any) -> None:  # noqa: ARG002 (of the hook)
        """Log the best values and the end. An exception, of which skorch informs no callback, fails the run."""
        with self._attempt("log the end of the training"):
            for metric, (epoch, value) in best_of(net.history).items():
                self._names.put(f"best/{metric}", {"epoch": epoch, "value": Float(value)})
            if self.log_model:
                self._upload(net.module_)
            self._base["status"] = "done"
        if self.close_after_train:
            self._base.get_root_object().stop()

    def _log(self, row: Mapping[str, Any], granularity: str) -> None:
        names = [name for name in row if name not in self._ignored and not name.startswith("event_")]
        found = {metric_path(name, granularity): row[name] for name in names if not name.endswith("_best")}
        self._names.append_each(found, None, self._attempt)

    def _upload(self, module: Any) -> None:
        import torch

        with TemporaryDirectory(prefix="naiad-") as folder:
            file = Path(folder, "state.pt")
            torch.save(module.state_dict(), file)
            self._base["model/state"].upload(str(file), progress_bar=False)


NeptuneLogger = NaiadCallback
"""The same class, by the name that skorch gives its callback for Neptune."""


def metric_path(name: str, granularity: str) -> str:
    """Return the path of a value of the history.

    >>> metric_path("valid_acc", "epoch"), metric_path("dur", "epoch"), metric_path("train_batch_size", "batch")
    ('validation/epoch/acc', 'epoch_duration', 'train/batch/batch_size')
    """
    kind, _, key = name.partition("_")
    if not key:
        return "epoch_duration" if kind == "dur" else kind
    return f"{KINDS.get(kind, kind)}/{granularity}/{key}"


def best_of(history: Iterable[Mapping[str, Any]]) -> dict[str, tuple[int, float]]:
    """Return epoch and value of the best of each metric that skorch has compared.

    >>> best_of([{"epoch": 1, "acc": 0.5, "acc_best": True}, {"epoch": 2, "acc": 0.4, "acc_best": False}])
    {'acc': (1, 0.5)}
    """
    found = {}
    for row in history:
        # The later one replaces the earlier: skorch marks each epoch that was the best so far.
        for name in row:
            if name.endswith("_best") and row[name]:
                metric = name.removesuffix("_best")
                found[metric] = (int(row["epoch"]), float(row[metric]))
    return found
