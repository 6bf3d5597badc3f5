"""The callback: hands to a run what Keras tells about fits, evaluations and predictions.

It translates, and never raises into training: each thing it logs is an attempt.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from naiad import __version__, clock
from naiad.attempt import Attempt
from naiad.containers import Container
from naiad.errors import FieldConflict, InvalidArgument, MissingField, MissingPackage, NaiadTypeError, shown
from naiad.file import File
from naiad.handler import Handler
from naiad_keras.counts import Batches, Epochs, last_step
from naiad_keras.plugin import INTEGRATION

try:
    with INTEGRATION.needed_by("NaiadCallback"):
        import keras
except ModuleNotFoundError as problem:  # Keras is here, and what it computes with is not
    raise MissingPackage(
        f"Keras cannot be imported, because its back end is missing: {problem}\n"
        'Choose one that is installed before Keras is imported: os.environ["KERAS_BACKEND"] = "torch", or "jax".',
        package=problem.name,
    ) from problem

from naiad_keras import descriptions
from naiad_keras.checkpoints import Checkpoints

__all__ = ["NaiadCallback", "NeptuneCallback", "metrics"]

Logs = Mapping[str, Any] | None
NOT_METRICS = {"batch", "size"}


class NaiadCallback(keras.callbacks.Callback):
    """Logs fits, evaluations and predictions to a run or to a namespace of one.

    Put it behind callbacks that change the learning rate. One object may serve several fits, and several objects one
    run: curves go on where the fit before ended, and what describes the model is replaced. The run is never stopped.

    Args:
        run: the run, or a handler of a namespace in it.
        base_namespace: where all of it goes, below `run`; "" for `run` itself.
        log_model_diagram: draw the model as an image; a warning if pydot or graphviz, which do it, are not here.
        log_on_batch: log each batch too; a number n logs every n-th. Keras gives means since the epoch began.
        log_model_summary: keep what `model.summary()` prints.
        log_architecture: keep the model's architecture as JSON.
        log_checkpoints: keep models after epochs: "last", "best" or "all" of them.
        monitor: the metric that tells which model is the best.
        mode: whether the best has the lowest ("min") or the highest ("max") value; "auto" knows Keras' own metrics.
        log_final_model: keep the model at the end of a fit.
        log_predictions: called as `log_predictions(model, epoch)` after each epoch; returns what to append below
            `predictions`, by name: numbers, texts, or whatever files can be made of, such as figures and data frames.
        log_predict_calls: log samples, batches and seconds of each `predict()`.
        separate_evaluate: log each `evaluate()` outside of a fit to `evaluation/<n>`, and not to the validation curves.

    Raises:
        MissingPackage: Keras is not installed, or what it computes with.

    >>> model.fit(x, y, epochs=5, callbacks=[NaiadCallback(run)])
    """

    def __init__(
        self,
        run: Container | Handler,
        base_namespace: str = "training",
        log_model_diagram: bool = False,
        log_on_batch: bool | int = False,
        log_model_summary: bool = True,
        *,
        log_architecture: bool = False,
        log_checkpoints: str | None = None,
        monitor: str = "val_loss",
        mode: str = "auto",
        log_final_model: bool = False,
        log_predictions: Callable[[Any, int], Mapping[str, Any] | None] | None = None,
        log_predict_calls: bool = False,
        separate_evaluate: bool = False,
    ) -> None:
        super().__init__()
        base = _namespace(run, base_namespace)
        self._base = base
        self._attempt = partial(Attempt, "NaiadCallback", base)
        self._descriptions: dict[str, Callable[[Any], File]] = {
            path: describe
            for path, describe, is_on in (
                ("model/summary", descriptions.summary, log_model_summary),
                ("model/architecture", descriptions.architecture, log_architecture),
                ("model/visualization", descriptions.diagram, log_model_diagram),
            )
            if is_on
        }
        self._checkpoints = Checkpoints(base["model"], log_checkpoints, monitor, mode)
        self._has_final_model = log_final_model
        self._predictions = _checked(log_predictions)
        self._is_separate = separate_evaluate
        self._epochs = Epochs(base["model/learning_rate"])
        self._is_described = False
        every = _every(log_on_batch)
        self._trained, self._tested = Batches(every), Batches(every)
        # Hooks of batches are only there if they are needed: Keras waits for each batch because of them.
        if every:
            self.on_train_batch_end = self._log_train_batch
            self.on_test_batch_end = self._log_test_batch
        if log_predict_calls:
            self.on_predict_begin = self._begin_predict
            self.on_predict_batch_end = self._count_predict_batch
            self.on_predict_end = self._log_predict
        run.get_root_object()["source_code/integrations/neptune-tensorflow-keras"] = __version__

    def __getstate__(self) -> dict[str, Any]:
        """Cross to another process without the model: the run is opened there when it is first used."""
        return {**self.__dict__, "_model": None}

    def set_params(self, params: Mapping[str, Any]) -> None:
        """Keras does this when a fit, an evaluation or a prediction begins; the one before may have failed."""
        super().set_params(params)
        self._epochs.current = None

    # Fits

    def on_train_begin(self, logs: Logs = None) -> None:  # noqa: ARG002 (Keras gives it)
        """Describe the fit and the model."""
        model = self.model
        self._epochs.begin_fit()
        with self._attempt("log the settings of the fit"):
            self._base["status"] = "running"
            self._base["fit_params"] = {name: value for name, value in self.params.items() if value is not None}
        with self._attempt("log how the model was compiled"):
            _replace(self._base["model/compile_config"], descriptions.compile_config(model))
        if getattr(model, "optimizer", None) is not None:
            with self._attempt("log the optimizer's configuration"):
                _replace(self._base["model/optimizer_config"], descriptions.optimizer_config(model))
            with self._attempt("count batches"):
                self._trained.start(_updates(model.optimizer) or last_step(self._base["train/batch/loss"]) or 0)
        with self._attempt("keep checkpoints"):
            self._checkpoints.begin_fit(model)
        self._is_described = bool(model.built)
        if self._is_described:
            self._describe(model)

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:  # noqa: ARG002 (Keras gives it)
        """Log the learning rate."""
        self._trained.begin(self.params.get("steps"))
        with self._attempt("log the learning rate"):
            step = self._epochs.begin(epoch)
            if getattr(self.model, "optimizer", None) is not None:
                self._base["model/learning_rate"].append(descriptions.learning_rate(self.model), step=step)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Log the metrics of an epoch, predictions and the model itself."""
        step = self._epochs.end(epoch)
        self._append("train/epoch", logs, step)
        if self._predictions is not None:
            with self._attempt("log predictions"):
                self._base["predictions"].append(_named(self._predictions(self.model, epoch)), step=step)
        with self._attempt("keep a checkpoint"):
            self._checkpoints.save(step, logs or {})

    def on_train_end(self, logs: Logs = None) -> None:  # noqa: ARG002 (Keras gives it)
        """Keep what is known at the end."""
        model = self.model
        if not self._is_described:
            self._describe(model)
        with self._attempt("log the history"):
            history = {"epoch": model.history.epoch, **model.history.history}
            text = json.dumps(history, default=str)
            self._base["model/history"].upload(File.from_content(text, extension="json"))
        if self._has_final_model:
            with self._attempt("keep the final model"):
                self._base["model/final"].upload(descriptions.saved(model))
        with self._attempt("find the best model"):
            self._checkpoints.end_fit()
        with self._attempt("log the end of the fit"):
            self._base["status"] = "done"

    def _log_train_batch(self, batch: int, logs: Logs = None) -> None:
        if self._trained.is_due(batch):
            self._append("train/batch", logs, self._trained.count)

    def _append(self, path: str, logs: Logs, step: int | None = None) -> None:
        """Log metrics one by one, so that one that cannot be logged takes no other with it."""
        for name, value in metrics(logs).items():
            with self._attempt(f"log {path}/{name}"):
                self._base[f"{path}/{name}"].append(value, step=step)

    def _describe(self, model: Any) -> None:
        for path, describe in self._descriptions.items():
            with self._attempt(f"log {path}"):
                self._base[path].upload(describe(model))

    # Evaluations, alone and as the validation of a fit

    def on_test_begin(self, logs: Logs = None) -> None:  # noqa: ARG002 (Keras gives it)
        """Go on counting batches."""
        self._tested.begin()

    def on_test_end(self, logs: Logs = None) -> None:
        """Log the metrics of an evaluation."""
        if self._is_own():
            with self._attempt("log an evaluation"):
                self._base[f"evaluation/{self._next_evaluation()}"] = metrics(logs)
        else:
            self._append("validation/epoch", logs, self._epochs.current)

    def _log_test_batch(self, batch: int, logs: Logs = None) -> None:
        if self._tested.is_due(batch) and not self._is_own():
            self._append("validation/batch", logs)

    def _is_own(self) -> bool:
        """Whether the evaluation that is going on is to be kept by itself."""
        return self._is_separate and self._epochs.current is None

    def _next_evaluation(self) -> int:
        """Return the number after those of the evaluations that the run has."""
        try:
            kept = self._base["evaluation"].fetch()
        except MissingField:
            return 0
        return 1 + max((int(name) for name in kept if name.isdecimal()), default=-1)

    # Predictions

    def _begin_predict(self, logs: Logs = None) -> None:  # noqa: ARG002 (Keras gives it)
        self._began, self._batches, self._samples = clock.monotonic(), 0, 0

    def _count_predict_batch(self, batch: int, logs: Logs = None) -> None:
        with self._attempt("count predictions"):
            self._batches = batch + 1
            self._samples += len(keras.tree.flatten((logs or {}).get("outputs"))[0])

    def _log_predict(self, logs: Logs = None) -> None:  # noqa: ARG002 (Keras gives it)
        taken = clock.monotonic() - self._began
        with self._attempt("log a prediction"):
            self._base["prediction"].append({"samples": self._samples, "batches": self._batches, "seconds": taken})


NeptuneCallback = NaiadCallback
"""The same class, by the name that Neptune's users know."""


def metrics(logs: Logs) -> dict[str, Any]:
    """Return what is logged of what Keras tells: no counts, no metrics of validation, which come by themselves.

    >>> metrics({"loss": 0.5, "val_loss": 0.7, "size": 32})
    {'loss': 0.5}
    """
    return {
        name: value for name, value in (logs or {}).items() if name not in NOT_METRICS and not name.startswith("val_")
    }


def _namespace(run: object, name: str) -> Container | Handler:
    """Return the place for everything; a mistake in the arguments raises here, where it was made."""
    if not isinstance(run, Container | Handler):
        remedy = 'Give it a run, run = naiad.init_run(), or a namespace of one, run["fold/1"].'
        raise NaiadTypeError(f"NaiadCallback cannot log to {shown(run)}.\n{remedy}", value=run)
    return run[name] if name else run


def _every(log_on_batch: object) -> int:
    """Return how many batches there are for each that is logged, 0 for none at all."""
    if not isinstance(log_on_batch, int) or log_on_batch < 0:
        raise InvalidArgument(f"log_on_batch= takes True, False or a number of batches, not {shown(log_on_batch)}.")
    return int(log_on_batch)


def _checked(log_predictions: Any) -> Any:
    if not (log_predictions is None or callable(log_predictions)):
        raise NaiadTypeError(
            f"log_predictions= takes a function of a model and an epoch, not {shown(log_predictions)}."
        )
    return log_predictions


def _named(predictions: object) -> Mapping[str, Any]:
    if predictions is None:
        return {}
    if not isinstance(predictions, Mapping):
        raise NaiadTypeError(
            f"log_predictions= has to return a dict of what to log, and returned {shown(predictions)}."
        )
    return predictions


def _replace(place: Handler, values: Mapping[str, Any]) -> None:
    """Store values in place of all that is there: another optimizer has other options, and options of other kinds."""
    with suppress(FieldConflict):  # nothing is there
        place.pop()
    place.assign(values)


def _updates(optimizer: Any) -> int:
    """Return how many batches a model was trained on before: what counts its updates counts batches within."""
    return int(keras.ops.convert_to_numpy(optimizer.iterations)) * (optimizer.gradient_accumulation_steps or 1)
