"""The logger of Ignite, and the handlers that it attaches to engines. They never raise into an engine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from naiad.errors import InvalidArgument, NaiadTypeError, shown
from naiad.guard import SILENCE, Attempt, Place, place
from naiad.names import Names
from naiad.reservation import reserve
from naiad.watch import check, histogram
from naiad_ignite.plugin import INTEGRATION

with INTEGRATION.needed_by("NaiadLogger"):
    import ignite
    import ignite.distributed as idist
    from ignite.handlers.base_logger import (
        BaseLogger,
        BaseOptimizerParamsHandler,
        BaseOutputHandler,
        BaseWeightsHandler,
        BaseWeightsScalarHandler,
    )
    from ignite.handlers.checkpoint import BaseSaveHandler

import torch

WEIGHTS, GRADS = "weights", "grads"


class NaiadLogger(BaseLogger):
    """Logs engines of Ignite to a run, or to a namespace of one. Only rank 0 logs, others may call everything.

    `close()`, or leaving the `with` block, stops a run that the logger opened; a run that you pass is never stopped.
    Verbs of the run work on the logger too: `logger["seed"] = 7`.

    Args:
        api_token: not needed.
        project: the project of a new run.
        run: a run, or a handler of a namespace in it.
        base_namespace: the namespace to log to, below the run; "" for the run itself.
        run_arguments: arguments of `init_run` for a new run, such as `tags=`, or `with_id=` to resume a run.

    Raises:
        MissingPackage: Ignite is not installed.
        NaiadTypeError: `run` is neither a container nor a handler.
        InvalidArgument: `run` is combined with arguments for a new run.

    >>> logger = NaiadLogger(run=run)
    >>> logger.attach_output_handler(
    ...     trainer, Events.ITERATION_COMPLETED, tag="training", output_transform=lambda loss: {"loss": loss}
    ... )
    """

    def __init__(
        self,
        api_token: str | None = None,
        project: str | None = None,
        *,
        run: Place | None = None,
        base_namespace: str = "",
        **run_arguments: Any,
    ) -> None:
        arguments = {"api_token": api_token, "project": project, **run_arguments}
        self._is_own = run is None
        self._is_silent: bool = idist.get_rank() > 0
        self.experiment: Any = SILENCE
        if run is not None and any(value is not None for value in run_arguments.values()):
            raise InvalidArgument(
                f"run= is already open, so it cannot be combined with {', '.join(sorted(run_arguments))}."
            )
        # After the checks, so that a mistake is an error on every rank.
        if self._is_silent:
            return
        self.experiment = reserve("NaiadLogger", arguments).open() if run is None else run
        self._base = place("NaiadLogger", self.experiment, base_namespace)
        self._names = Names(self._base)
        with self.attempt("log the version"):
            self._base.get_root_object()["source_code/integrations/pytorch-ignite"] = ignite.__version__

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "experiment":  # while it is made
            raise AttributeError(name)
        return getattr(self.experiment, name)

    def __getitem__(self, path: str) -> Any:
        return self.experiment[path]

    def __setitem__(self, path: str, value: Any) -> None:
        self.experiment[path] = value

    @property
    def is_silent(self) -> bool:
        """Whether this process logs nothing."""
        return self._is_silent

    @property
    def base(self) -> Place:
        """The namespace below which everything goes, in the process that logs."""
        return self._base

    def attempt(self, doing: str) -> Attempt:
        """Return the guard of something that is logged."""
        return Attempt("NaiadLogger", self._base, doing)

    def append(self, values: Mapping[str, Any], step: int) -> None:
        """Append values to their series."""
        self._names.append_each(values, step, self.attempt)

    def close(self) -> None:
        """Stop the run if it was opened here."""
        if self._is_own:
            self.experiment.stop()

    def _create_output_handler(self, *args: Any, **options: Any) -> OutputHandler:
        return OutputHandler(*args, **options)

    def _create_opt_params_handler(self, *args: Any, **options: Any) -> OptimizerParamsHandler:
        return OptimizerParamsHandler(*args, **options)


NeptuneLogger = NaiadLogger
"""The same class, by the name that Ignite gives its logger for Neptune."""


class OutputHandler(BaseOutputHandler):
    """Logs metrics, outputs and attributes of an engine; its arguments are those of Ignite's own."""

    def __call__(self, engine: Any, logger: NaiadLogger, event_name: Any) -> None:
        """Log the state of the engine."""
        if not _of(logger).is_silent:
            found = self._setup_output_metrics_state_attrs(engine, log_text=True, key_tuple=False)
            logger.append(found, self.global_step_transform(engine, event_name))


class OptimizerParamsHandler(BaseOptimizerParamsHandler):
    """Logs a parameter of the optimizer, the learning rate by default, for each of its groups."""

    def __call__(self, engine: Any, logger: NaiadLogger, event_name: Any) -> None:
        """Log the parameter."""
        if not _of(logger).is_silent:
            groups = enumerate(self.optimizer.param_groups)
            name = _tagged(self.tag, self.param_name)
            found = {f"{name}/group_{number}": float(group[self.param_name]) for number, group in groups}
            logger.append(found, engine.state.get_event_attrib_value(event_name))


class _ScalarHandler(BaseWeightsScalarHandler):
    what: str

    def __call__(self, engine: Any, logger: NaiadLogger, event_name: Any) -> None:
        """Log each tensor, reduced to a number."""
        if not _of(logger).is_silent:
            prefix = _tagged(self.tag, f"{self.what}_{self.reduction.__name__}")
            with logger.attempt(f"log {prefix}"):
                found = {f"{prefix}/{name}": self.reduction(each) for name, each in _tensors(self)}
                logger.append(found, engine.state.get_event_attrib_value(event_name))


class WeightsScalarHandler(_ScalarHandler):
    """Logs the norm, or another reduction, of the weights that have gradients."""

    what = WEIGHTS


class GradsScalarHandler(_ScalarHandler):
    """Logs the norm, or another reduction, of the gradients."""

    what = GRADS


class _HistHandler(BaseWeightsHandler):
    what: str

    def __init__(self, model: torch.nn.Module, tag: str | None = None, whitelist: Any = None, bins: int = 64) -> None:
        check("all", 1, bins)
        super().__init__(model, tag=tag, whitelist=whitelist)
        self._bins = bins

    def __call__(self, engine: Any, logger: NaiadLogger, event_name: Any) -> None:
        """Log a histogram of each tensor."""
        if not _of(logger).is_silent:
            prefix = _tagged(self.tag, f"{self.what}_histogram")
            with logger.attempt(f"log {prefix}"):
                found = {f"{prefix}/{name}": histogram(each, self._bins) for name, each in _tensors(self)}
                logger.append(found, engine.state.get_event_attrib_value(event_name))


class WeightsHistHandler(_HistHandler):
    """Logs histograms of the weights that have gradients."""

    what = WEIGHTS


class GradsHistHandler(_HistHandler):
    """Logs histograms of the gradients."""

    what = GRADS


class NaiadSaver(BaseSaveHandler):
    """Keeps the checkpoints of Ignite's `Checkpoint` in the run, and removes those that it drops.

    >>> Checkpoint({"model": model}, NaiadSaver(logger), n_saved=2, score_name="accuracy", score_function=score)
    """

    def __init__(self, logger: NaiadLogger) -> None:
        self._logger = _of(logger)

    def __call__(self, checkpoint: Mapping[str, Any], filename: str, metadata: Any = None) -> None:  # noqa: ARG002 (of Ignite)
        """Upload a checkpoint."""
        if self._logger.is_silent:
            return
        with self._logger.attempt("keep a checkpoint"), TemporaryDirectory(prefix="naiad-") as folder:
            file = Path(folder, filename)
            # The name may hold folders: Checkpoint puts its prefix before it.
            file.parent.mkdir(parents=True, exist_ok=True)
            torch.save(checkpoint, file)
            self._logger.base[filename].upload(str(file), progress_bar=False)

    def remove(self, filename: str) -> None:
        """Remove a checkpoint."""
        if not self._logger.is_silent:
            with self._logger.attempt("remove a checkpoint"):
                self._logger.base[filename].pop()


NeptuneSaver = NaiadSaver
"""The same class, by the name that Ignite gives its own for Neptune."""


def _of(logger: Any) -> NaiadLogger:
    """Check the user's mistake of mixing loggers and handlers of two packages."""
    if not isinstance(logger, NaiadLogger):
        raise NaiadTypeError(f"Handlers of naiad_ignite need its NaiadLogger, not {shown(logger)}.", value=logger)
    return logger


def _tagged(tag: str | None, name: str) -> str:
    return f"{tag}/{name}" if tag else name


def _tensors(handler: _ScalarHandler | _HistHandler) -> Iterator[tuple[str, Any]]:
    for name, parameter in handler.weights:
        # Frozen parameters, and those that no loss has reached yet, have nothing to show.
        if parameter.grad is not None:
            yield name.replace(".", "/"), parameter.grad if handler.what == GRADS else parameter.detach()
