"""The callback that logs Keras fits, evaluations and predictions to a run.

It translates, and never raises into training: each thing it logs is an attempt.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

from naiad import __version__, clock
from naiad.errors import InvalidArgument, MissingField, MissingPackage, NaiadTypeError, shown
from naiad.file import File
from naiad.guard import Attempt, Place, place
from naiad.names import Names, replace
from naiad.types import Float
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

Logs = Mapping[str, Any] | None


class NaiadCallback(keras.callbacks.Callback):
    """Logs fits, evaluations and predictions to a run or to a namespace of one.

    Put it after callbacks that change the learning rate. One object may serve several fits, and several objects one
    run: curves continue where the fit before ended, and the description of the model is replaced. The run is never
    stopped. In distributed training (`torch.distributed`, `jax.distributed`) only rank 0 logs; all ranks may create the
    callback, and `log_predictions` is called on each of them.

    Args:
        run: the run, or a handler of a namespace in it.
        base_namespace: the namespace to log to, below `run`; "" for `run` itself.
        log_model_diagram: draw the model as an image; a warning if pydot or graphviz is missing.
        log_on_batch: log each batch too; a number n logs every n-th. Keras reports means since the start of the epoch.
        log_model_summary: log the text of `model.summary()`.
        log_architecture: store the architecture of the model as JSON.
        log_checkpoints: store models after epochs: "last", "best" or "all" of them.
        monitor: the metric by which the best model is chosen.
        mode: whether the best model has the lowest ("min") or the highest ("max") value; "auto" is correct for the
            metrics of Keras.
        log_final_model: store the model at the end of a fit.
        log_predictions: called as `log_predictions(model, epoch)` after each epoch; returns values to append below
            `predictions`, by name: numbers, texts, or objects that convert to files, such as figures and data frames.
        log_predict_calls: log samples, batches and seconds of each `predict()`.
        separate_evaluate: log each `evaluate()` outside of a fit to `evaluation/<n>`, and not to the validation curves.

    Raises:
        MissingPackage: Keras is not installed, or its back end.

    >>> model.fit(x, y, epochs=5, callbacks=[NaiadCallback(run)])
    """

    def __init__(
        self,
        run: Place,
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
        base = place("NaiadCallback", run, base_namespace)
        self._base = base
        self._attempt = partial(Attempt, "NaiadCallback", base)
        self._names = Names(base)
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
        self._is_fitting = False  # also after a fit that failed
        self._is_within = False  # whether an evaluation or prediction is going on that a fit's callback has begun
        self._validated: frozenset[str] = frozenset()  # what Keras will call the metrics of this epoch's validation
        self._began, self._batches, self._samples = clock.monotonic(), 0, 0  # of the prediction that is going on
        every = _every(log_on_batch)
        self._trained, self._tested = Batches(every), Batches(every)
        # Hooks of batches are only there if they are needed: Keras waits for each batch because of them.
        if every:
            self.on_train_batch_end = self._log_train_batch
            self.on_test_batch_end = self._log_test_batch
        if log_predict_calls:
            self.on_predict_begin = self._begin_predict
            self.on_predict_batch_end = self._count_predict_batch
            self.on_predict_end = self._log_predict  # type: ignore[method-assign]  # it does the same and more
        # After the checks, so that a mistake is an error on every rank.
        if _logs_here():
            run.get_root_object()["source_code/integrations/neptune-tensorflow-keras"] = __version__

    def __getstate__(self) -> dict[str, Any]:
        """Cross to another process without the model: the run is opened there when it is first used."""
        return {**self.__dict__, "_model": None}

    def set_model(self, model: Any) -> None:
        """Keras does this when a fit, an evaluation or a prediction begins, but not for the validation of a fit."""
        self._is_within = self._is_fitting and _is_fitted_now(self.model)
        if not self._is_within:
            super().set_model(model)

    def set_params(self, params: Mapping[str, Any]) -> None:
        """Keras does this after `set_model`; the fit before may have failed."""
        if not self._is_within:
            super().set_params(params)
            self._epochs.current = None
            self._is_fitting = False

    @property
    def _fit_params(self) -> Mapping[str, Any]:
        """The parameters of the fit that Keras passes; empty if hooks are called by hand."""
        return self.params or {}

    # Fits

    def on_train_begin(self, logs: Logs = None) -> None:  # noqa: ARG002 (Keras gives it)
        """Describe the fit and the model."""
        model = self.model
        self._epochs.begin_fit()
        self._is_fitting = True
        if not _logs_here():
            return
        with self._attempt("log the settings of the fit"):
            self._base["status"] = "running"
            self._base["fit_params"] = {name: value for name, value in self._fit_params.items() if value is not None}
        if getattr(model, "compiled", False):
            with self._attempt("log how the model was compiled"):
                replace(self._base["model/compile_config"], descriptions.compile_config(model))
        # None in a model that is not compiled, where the hooks are called by hand.
        if getattr(model, "optimizer", None) is not None:
            with self._attempt("log the optimizer's configuration"):
                replace(self._base["model/optimizer_config"], descriptions.optimizer_config(model))
            with self._attempt("count batches"):
                self._trained.start(_updates(model.optimizer) or last_step(self._base["train/batch/loss"]) or 0)
        with self._attempt("keep checkpoints"):
            self._checkpoints.begin_fit(model)
        # A model that is built by its first batch has no layers to describe yet; on_train_end does it then.
        self._is_described = bool(getattr(model, "built", False))
        if self._is_described:
            self._describe(model)

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:  # noqa: ARG002 (Keras gives it)
        """Log the learning rate."""
        self._trained.begin(self._fit_params.get("steps"))
        self._validated = frozenset()
        self._is_within = False  # such an evaluation may have failed
        if not _logs_here():
            return
        with self._attempt("log the learning rate"):
            step = self._epochs.begin(epoch)
            if getattr(self.model, "optimizer", None) is not None:
                self._base["model/learning_rate"].append(descriptions.learning_rate(self.model), step=step)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Log the metrics of an epoch, predictions and the model itself."""
        step = self._epochs.end(epoch)
        trained, validated = split(logs, self._validated, is_by_hand=not self._fit_params)
        self._append("train/epoch", trained, step)
        self._append("validation/epoch", validated, step)
        if self._predictions is not None:
            with self._attempt("log predictions"):
                # On every rank: a model that is spread over processes predicts in all of them or in none.
                found = _named(self._predictions(self.model, epoch))
                if _logs_here():
                    self._names.append({f"predictions/{name}": value for name, value in found.items()}, step=step)
        with self._attempt("keep a checkpoint"):
            self._checkpoints.save(step, logs or {})

    def on_train_end(self, logs: Logs = None) -> None:  # noqa: ARG002 (Keras gives it)
        """Log the final state of the fit and the model."""
        model = self.model
        self._is_fitting = False
        if not _logs_here():
            return
        if not self._is_described and model is not None:
            self._describe(model)
        history = getattr(model, "history", None)
        if history is not None:
            with self._attempt("log the history"):
                text = json.dumps({"epoch": history.epoch, **history.history}, default=str)
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
        if not _logs_here():
            return
        for name, value in (logs or {}).items():
            with self._attempt(f"log {path}/{name}"):
                self._base[self._names.path(f"{path}/{name}")].append(value, step=step)

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
        # Made by another callback in the middle of an epoch: in the validation curve it would look like an epoch's
        # own.
        if self._is_within:
            self._append("evaluation/within_fit", logs, self._epochs.latest)
            self._is_within = False
        elif self._is_separate and self._epochs.current is None and _logs_here():
            with self._attempt("log an evaluation"):
                number = self._next_evaluation()
                for name, value in (logs or {}).items():
                    self._names.put(f"evaluation/{number}/{name}", Float(value))
        else:
            self._validated = frozenset(f"val_{name}" for name in logs or {})
            self._append("validation/epoch", logs, self._epochs.current)

    def _log_test_batch(self, batch: int, logs: Logs = None) -> None:
        is_of_curve = not (self._is_within or (self._is_separate and self._epochs.current is None))
        if self._tested.is_due(batch) and is_of_curve:
            self._append("validation/batch", logs)

    def _next_evaluation(self) -> int:
        """Return the number after those of the evaluations that the run has."""
        try:
            kept = self._base["evaluation"].fetch()
        except MissingField:
            return 0
        return 1 + max((int(name) for name in kept if name.isdecimal()), default=-1)

    # Predictions

    def on_predict_end(self, logs: Logs = None) -> None:  # noqa: ARG002 (Keras gives it)
        """Go on with the fit, if there is one around it."""
        self._is_within = False

    def _begin_predict(self, logs: Logs = None) -> None:  # noqa: ARG002 (Keras gives it)
        self._began, self._batches, self._samples = clock.monotonic(), 0, 0

    def _count_predict_batch(self, batch: int, logs: Logs = None) -> None:
        with self._attempt("count predictions"):
            self._batches = batch + 1
            outputs = keras.tree.flatten(dict(logs or {}))  # "outputs", or the outputs of a model by their names
            self._samples += len(outputs[0]) if outputs else 0

    def _log_predict(self, logs: Logs = None) -> None:  # noqa: ARG002 (Keras gives it)
        NaiadCallback.on_predict_end(self)
        taken = clock.monotonic() - self._began
        if not _logs_here():
            return
        with self._attempt("log a prediction"):
            self._base["prediction"].append({"samples": self._samples, "batches": self._batches, "seconds": taken})


NeptuneCallback = NaiadCallback
"""The same class, by the name that Neptune's users know."""


def split(logs: Logs, validated: Collection[str] = (), is_by_hand: bool = False) -> tuple[Logs, Logs]:
    """Return the metrics of training, and those of validation that are not logged yet, at the end of an epoch.

    A metric of training may be called "val_..." too. Only metrics that the validation has just reported are none; and
    where the hooks are called by hand, "val_loss" beside "loss".

    >>> split({"loss": 0.5, "val_loss": 0.7, "val_like": 0.1}, {"val_loss"})
    ({'loss': 0.5, 'val_like': 0.1}, {})
    >>> split({"loss": 0.5, "val_loss": 0.7}, is_by_hand=True)
    ({'loss': 0.5}, {'loss': 0.7})
    """
    rest = {name: value for name, value in (logs or {}).items() if name not in validated}
    validation = {name[4:] for name in rest if name.startswith("val_") and name[4:] in rest} if is_by_hand else set()
    trained = {name: value for name, value in rest.items() if name[4:] not in validation or not name.startswith("val_")}
    return trained, {name: rest[f"val_{name}"] for name in sorted(validation)}


def _logs_here() -> bool:
    """Whether this process logs: other ranks of a distributed training have the same metrics."""
    if keras.backend.backend() == "jax":
        jax = sys.modules["jax"]
        # Not without the question: the index would start the devices, after which `initialize` is an error. Old
        # releases lack the question.
        is_distributed = getattr(jax.distributed, "is_initialized", lambda: False)()
        return not is_distributed or jax.process_index() == 0
    distributed = getattr(sys.modules.get("torch"), "distributed", None)
    if distributed is None or not (distributed.is_available() and distributed.is_initialized()):
        return True
    return bool(distributed.get_rank() == 0)


def _is_fitted_now(model: Any) -> bool:
    """Whether the code that runs was called by the fit of this model; after a fit that failed it was not."""
    frame = sys._getframe(1)
    # By the stack: Keras gives a callback no sign of who calls its hooks, and a fit that failed ends without one.
    while frame.f_back is not None:
        frame = frame.f_back
        if frame.f_code.co_name == "fit" and model is not None and frame.f_locals.get("self") is model:
            return True
    return False


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
        raise NaiadTypeError(f"log_predictions= must return a dict of values to log, not {shown(predictions)}.")
    return predictions


def _updates(optimizer: Any) -> int:
    """Return the number of batches a model was trained on before.

    The callback counts batches from the optimizer's count of updates.
    """
    return int(keras.ops.convert_to_numpy(optimizer.iterations)) * (optimizer.gradient_accumulation_steps or 1)
