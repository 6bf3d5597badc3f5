"""The callback that logs trainings, evaluations and predictions of Transformers' Trainer. It never raises into them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from typing import Any

from naiad.errors import InvalidArgument, shown
from naiad.guard import SILENCE, Attempt, Place, place
from naiad.names import Names, replace
from naiad.reservation import ReservedRun, reserve
from naiad.run import Run
from naiad.types import FileSet
from naiad.utils import stringify_unsupported
from naiad.watch import What, check, points
from naiad_transformers.plugin import INTEGRATION

with INTEGRATION.needed_by("NaiadCallback"):
    import transformers
    from transformers.trainer_callback import TrainerCallback

PREFIXES = {"eval_": "eval/", "test_": "test/"}
POLICIES = (None, "same", "last", "best")


class NaiadCallback(TrainerCallback):
    """Logs the trainings, evaluations and predictions of a Trainer to a run, or to a namespace of one.

    Without `run=` each training begins a run of its own, which stays open for evaluations after it and is stopped by
    the next training or the end of the program; `NaiadCallback.get_run(trainer)` returns it. A run that is given is
    never stopped; the trials of `hyperparameter_search` are children of it. Only the first
    process of a distributed training logs.

    Args:
        api_token: not needed.
        project: the project of new runs.
        name: the name of new runs; by default `run_name` of the training arguments.
        base_namespace: the namespace to log to, below the run; "" for the run itself.
        run: a run, or a handler of a namespace in it.
        log_parameters: log the training arguments, the configuration of the model and its modules.
        log_checkpoints: keep the checkpoints that the trainer saves: "same" for all of them, "last", or "best", which
            needs `load_best_model_at_end` or `metric_for_best_model`.
        watch: log norm, mean and standard deviation of "gradients", "parameters" or "all".
        watch_freq: the number of steps between two of these points.
        bins: also log histograms with this many bins.
        run_arguments: arguments of `init_run` for a new run, such as `tags=`, or `with_id=` to resume a run.

    Raises:
        MissingPackage: Transformers is not installed.
        NaiadTypeError: `run` is neither a container nor a handler.
        InvalidArgument: an argument is out of range.

    >>> Trainer(
    ...     model, TrainingArguments("out", report_to="naiad"), train_dataset=data
    ... )  # after import naiad_transformers
    >>> Trainer(
    ...     model, TrainingArguments("out", report_to="none"), train_dataset=data, callbacks=[NaiadCallback(run=run)]
    ... )
    """

    def __init__(
        self,
        *,
        api_token: str | None = None,
        project: str | None = None,
        name: str | None = None,
        base_namespace: str = "finetuning",
        run: Place | None = None,
        log_parameters: bool = True,
        log_checkpoints: str | None = None,
        watch: What | None = None,
        watch_freq: int = 100,
        bins: int = 0,
        **run_arguments: Any,
    ) -> None:
        super().__init__()
        if log_checkpoints not in POLICIES:
            raise InvalidArgument(
                f'log_checkpoints= takes None, "same", "last" or "best", not {shown(log_checkpoints)}.'
            )
        check(watch or "all", watch_freq, bins)
        self._base_namespace = base_namespace
        self._policy = log_checkpoints
        self._has_parameters = log_parameters
        self._watch = watch
        self._every = watch_freq
        self._bins = bins
        self._name = name
        self._reserved: ReservedRun | None = None
        self._own: Run | None = None  # opened here
        self._place: Place | None = None
        self._is_fresh = True  # whether no training has begun in the run
        self._given = None if run is None else place("NaiadCallback", run, base_namespace)
        if self._given is None:
            self._reserved = reserve("NaiadCallback", {"api_token": api_token, "project": project, **run_arguments})
        else:
            self._enter(self._given)

    @classmethod
    def get_run(cls, trainer: Any) -> Any:
        """Return the run of a trainer's callback; in processes that do not log, an object that does nothing.

        Raises:
            InvalidArgument: the trainer has no such callback.
        """
        for callback in trainer.callback_handler.callbacks:
            if isinstance(callback, cls):
                return callback.run if trainer.is_world_process_zero() else SILENCE
        raise InvalidArgument(f"The trainer has no {cls.__name__}. Give it one in callbacks=[...].")

    @property
    def run(self) -> Any:
        """The run."""
        return self._base().get_root_object()

    # Hooks of the trainer

    def on_init_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002 (of the hook)
        """Reject arguments that do not fit together, before the training begins."""
        if self._policy == "best" and not args.metric_for_best_model:
            remedy = "load_best_model_at_end=True or metric_for_best_model= in TrainingArguments"
            raise InvalidArgument(f'log_checkpoints="best" needs {remedy}.')

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:  # noqa: ARG002
        """Open the run, and describe training and model."""
        if not state.is_world_process_zero:
            return
        # Opened by an evaluation before the training, it is fresh and is used; of an earlier training it has ended.
        if self._own is not None and not self._is_fresh:
            self._own.stop()
            self._own = self._place = None
        if self._given is not None:
            self._enter(self._given)
            if state.is_hyper_param_search:  # each trial has a run, and the given one is the parent of all
                self._reserved = reserve("NaiadCallback", {"parent": self._given.get_root_object()})
                self._place = None
        base = self._base(args, state.trial_name)
        self._is_fresh = False
        with self._attempt("log the version"):
            self.run["source_code/integrations/transformers"] = transformers.__version__
            base["status"] = "running"
        if self._has_parameters:
            self._describe(args, model)
        if state.is_hyper_param_search:
            with self._attempt("log the trial"):
                base["trial"] = str(state.trial_name)
                if state.trial_params:
                    replace(base["trial_params"], stringify_unsupported(state.trial_params))

    def on_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:  # noqa: ARG002
        """Log gradients and weights."""
        if self._watch is not None and state.global_step % self._every == 0 and state.is_world_process_zero:
            with self._attempt("log gradients and weights"):
                trained = {name: each for name, each in model.named_parameters() if each.requires_grad}
                found = points(trained, self._watch, self._bins)
                self._names.append_each(found, state.global_step + 1, self._attempt)  # as the loss of this step

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **_: Any) -> None:  # noqa: ARG002
        """Log the metrics of the trainer."""
        if logs and state.is_world_process_zero:
            self._log(logs, state.global_step, args)

    def on_predict(self, args: Any, state: Any, control: Any, metrics: Mapping[str, Any], **_: Any) -> None:  # noqa: ARG002
        """Log the metrics of a prediction."""
        if state.is_world_process_zero:
            self._log(metrics, state.global_step, args)

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        """Keep a checkpoint."""
        if self._policy is None or not state.is_world_process_zero:
            return
        # The trainer sets this before it saves, so that the checkpoint is the best if the steps are equal.
        if self._policy == "best" and state.best_global_step != state.global_step:
            return
        with self._attempt("keep a checkpoint"):
            folder = os.path.join(args.output_dir, f"checkpoint-{state.global_step}")
            # All of them in one set, by the names of their files; of the others the set is replaced.
            if self._policy == "same":
                self._base()["checkpoints"].upload_files(folder, progress_bar=False)
            else:
                self._base()[f"checkpoints/{self._policy}"].assign(FileSet(folder))

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        """Log how the training ended. An exception, of which the trainer informs no callback, fails the run."""
        if state.is_world_process_zero:
            with self._attempt("log the end of the training"):
                facts = {
                    "global_step": int(state.global_step),
                    "is_stopped_early": bool(state.global_step < state.max_steps),
                    "best_metric": None if state.best_metric is None else float(state.best_metric),
                    "best_step": state.best_global_step,
                    "best_checkpoint": state.best_model_checkpoint,
                }
                replace(self._base()["result"], {name: value for name, value in facts.items() if value is not None})
                self._base()["status"] = "done"

    def _base(self, args: Any = None, trial: str | None = None) -> Place:
        """Return the namespace below which all is logged, and open the run if it is not."""
        if self._place is None:
            assert self._reserved is not None
            self._own = self._reserved.open()
            name = self._name or trial or getattr(args, "run_name", None)
            if name:
                self._own["sys/name"] = name
            self._enter(place("NaiadCallback", self._own, self._base_namespace))
            self._is_fresh = True
        assert self._place is not None
        return self._place

    def _enter(self, base: Place) -> None:
        self._place = base
        self._attempt = partial(Attempt, "NaiadCallback", base)
        self._names = Names(base)

    def _log(self, metrics: Mapping[str, Any], step: int, args: Any) -> None:
        base = self._base(args)
        found = {metric_path(name): value for name, value in metrics.items()}
        # The trainer adds it to every log, a fraction that depends on the step alone: one value says as much as a
        # curve.
        epoch = found.pop("train/epoch", None)
        if epoch is not None:
            with self._attempt("log the epoch"):
                base["train/epoch"] = float(epoch)
        self._names.append_each(found, step, self._attempt)

    def _describe(self, args: Any, model: Any) -> None:
        base = self._base()
        with self._attempt("log the training arguments"):
            replace(base["trainer_parameters"], args.to_sanitized_dict())
        if getattr(model, "config", None) is not None:
            with self._attempt("log the configuration of the model"):
                config = model.config if isinstance(model.config, dict) else model.config.to_dict()
                replace(base["model_parameters"], stringify_unsupported(config))
        if getattr(model, "peft_config", None):
            with self._attempt("log the configuration of the adapters"):
                adapters = {name: each.to_dict() for name, each in model.peft_config.items()}
                replace(base["peft_parameters"], stringify_unsupported(adapters))
        if model is not None:
            with self._attempt("describe the model"):
                sizes = [(each.numel(), each.requires_grad) for each in model.parameters()]
                base["model/summary"] = str(model)
                base["model/num_parameters"] = sum(size for size, _ in sizes)
                base["model/num_trainable_parameters"] = sum(size for size, is_trained in sizes if is_trained)


NeptuneCallback = NaiadCallback
"""The same class, by the name that Neptune's users know."""


def metric_path(name: str) -> str:
    """Return the path of a metric; Transformers marks those that are not of the training by a prefix.

    >>> metric_path("eval_loss"), metric_path("grad_norm")
    ('eval/loss', 'train/grad_norm')
    """
    for prefix, namespace in PREFIXES.items():
        if name.startswith(prefix):
            return namespace + name.removeprefix(prefix)
    return f"train/{name}"
