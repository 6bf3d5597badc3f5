"""The logger that Lightning's Trainer is given: it turns each hook of a training into fields below a namespace."""

from __future__ import annotations

import os
import sys
import traceback
import weakref
from argparse import Namespace
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING, Any, Literal

from naiad import lifecycle
from naiad.errors import FieldConflict, InactiveContainer, InvalidArgument, shown
from naiad.file import File
from naiad.handler import Handler
from naiad.names import Names
from naiad.paths import parse
from naiad.reservation import ReservedRun, reserve
from naiad.run import Run
from naiad.types import as_mapping
from naiad.utils import flatten, stringify_unsupported
from naiad.watch import Watch, What, check, points
from naiad_lightning import launch
from naiad_lightning.bases import classes, namespaces, version
from naiad_lightning.checkpoints import Checkpoints
from naiad_lightning.guard import SILENCE, guarded
from naiad_lightning.plugin import RESERVED
from naiad_lightning.samples import captions, frame, image, page, recording, texts

if TYPE_CHECKING:
    import pandas as pd

TRYING_OUT = {id(getattr(stages, "SANITY_CHECKING")) for stages in classes("trainer.states", "RunningStage")}  # noqa: B009
"""Known by identity: to compare it as Lightning does takes as long as to log a step."""

rank_zero_only = namespaces()[0].utilities.rank_zero_only
"""Lightning's decorator, the same in both namespaces; in its attribute `rank` it keeps that of this process."""

INTERRUPTIONS = (KeyboardInterrupt, *classes("utilities.exceptions", "SIGTERMException"))


class NaiadLogger(*classes("loggers", "Logger")):  # type: ignore[misc]  # which there are is known at import
    """Log a training of Lightning to a run: `Trainer(logger=NaiadLogger())`.

    It takes the options and writes the paths of Neptune's logger, in both namespaces of Lightning. The run is opened
    when it is first needed, by rank 0 alone; `version` is its id on every rank. A run that was given is never
    stopped, and one that was opened here ends with the process, or by `logger.experiment.stop()`.

    Args:
        api_key: not needed.
        project: the project of a new run, as for `init_run`.
        name: shown beside the id.
        run: a run that is open, or a namespace of one (`run["fold1"]`), to log to instead of a new run.
        log_model_checkpoints: upload the files that ModelCheckpoint callbacks keep: True mirrors the files kept now,
            "all" leaves in the run also files that a callback has given up, False uploads nothing.
        prefix: the namespace for all that is logged; "" for none.
        log_model_summary: write the model's summary when a training begins.
        init_run_options: everything else that `init_run` takes, such as `with_id` to go on with a run, or `tags`.

    Raises:
        InvalidArgument: a run and arguments for a new one, or something else as a run. It is a ValueError.

    >>> trainer = Trainer(logger=NaiadLogger(project="digits", tags=["baseline"]))
    """

    LOGGER_JOIN_CHAR = "/"
    PARAMETERS_KEY = "hyperparams"
    ARTIFACTS_KEY = "artifacts"

    def __init__(
        self,
        *,
        api_key: str | None = None,
        project: str | None = None,
        name: str | None = None,
        run: Run | Handler | None = None,
        log_model_checkpoints: bool | Literal["all"] | None = True,
        prefix: str = "training",
        log_model_summary: bool = True,
        **init_run_options: Any,
    ) -> None:
        super().__init__()
        if log_model_checkpoints not in (True, False, None, "all"):
            raise InvalidArgument(
                f"log_model_checkpoints= takes True, False or 'all', not {shown(log_model_checkpoints)}."
            )
        arguments = {"api_token": api_key, "project": project, "name": name, **init_run_options}
        self._prefix = prefix
        self._has_checkpoints = bool(log_model_checkpoints)
        self._has_summary = log_model_summary
        self._run = run
        self._place: Any = None  # once the run is open
        self._names: tuple[str | None, str | None] | None = None  # id and name, once they are known
        self._reserved: ReservedRun | None = None
        if run is None:
            self._reserved = reserve("NaiadLogger", arguments, custom_run_id=launch.next_run)
        else:
            _check_alone(run, arguments)
            self._names = _names(run)
        self._is_signed = False
        self._trainer: Any = _nobody
        self._checkpoints = Checkpoints(keeps_all=log_model_checkpoints == "all")
        self._series: Names | None = None  # once the run is open
        self._hyperparameters: dict[str, dict[str, str]] = {}  # what was written, by name, to write it only once
        self._cleared: set[str] = set()  # namespaces of hyperparameters that hold nothing of an earlier process
        self._epoch: object = None  # the last (step, epoch)
        self._summarized: object = None  # the model whose summary is in the run
        self._watches: list[Watch] = []

    def __getstate__(self) -> dict[str, Any]:
        """Pickle by the run's name; the other process opens the run on first use."""
        return {**vars(self), "_trainer": _nobody, "_summarized": None}

    # What the run is

    @property
    def experiment(self) -> Any:
        """The run or namespace that was given; above rank 0, an object that ignores every verb."""
        if rank_zero_only.rank > 0:
            return SILENCE
        # Opened late: Lightning builds loggers on every rank, and some programs build trainers that never fit.
        if self._run is None and self._reserved is not None:
            self._run = self._reserved.open()
            self._names = _names(self._run)
        if not self._is_signed:
            with suppress(InactiveContainer):
                _root(self._run)["source_code/integrations/pytorch-lightning"] = version()
            self._is_signed = True
            _set_aside(os.path.join(self.save_dir, "config.yaml"))
        return self._run

    run = experiment

    @property
    def place(self) -> Any:
        """The namespace below which everything goes."""
        if self._place is None:
            self._place = self.experiment[self._prefix] if self._prefix else self.experiment
        return self._place

    @property
    def _metrics(self) -> Names:
        """The namespace for user-named metrics."""
        if self._series is None:
            self._series = Names(self.place, RESERVED)
        return self._series

    @property
    def version(self) -> str | None:
        """The id of the run, the same on every rank."""
        return self._known_names()[0]

    @property
    def name(self) -> str | None:
        """The name of the run, the same on every rank."""
        return self._known_names()[1]

    @property
    def save_dir(self) -> str:
        """The folder for files of this run, below `.neptune`; it is also the `log_dir` of the trainer."""
        return os.path.join(os.getcwd(), ".neptune", *filter(None, [self.version]))

    @property
    def is_silent(self) -> bool:
        """Whether this is not rank 0, or Lightning only tries the validation out."""
        trainer = self._trainer()
        return rank_zero_only.rank > 0 or (trainer is not None and id(trainer.state.stage) in TRYING_OUT)

    def _known_names(self) -> tuple[str | None, str | None]:
        if self._names is None and rank_zero_only.rank == 0:
            self.experiment  # noqa: B018 (opens the run, which tells them)
        elif self._names is None and self._reserved is not None:
            self._names = self._reserved.names()
        return self._names or (None, None)

    # Hooks of Lightning

    @guarded
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Append each metric to its series. Steps may repeat and go back."""
        # Lightning adds the epoch to each call; the same point of it twice is left out.
        epoch = metrics.get("epoch")
        if epoch is not None:
            known, self._epoch = self._epoch, (step, epoch)
            if known == self._epoch:
                metrics = {key: value for key, value in metrics.items() if key != "epoch"}
        try:
            self._metrics.append(metrics, step)
        except InactiveContainer:
            raise
        except Exception:  # noqa: BLE001 (one of them does not fit; each is tried by itself, under the guard)
            for name, value in metrics.items():
                self._log_metric(name, value, step)

    @guarded
    def _log_metric(self, name: str, value: Any, step: int | None) -> None:
        self._metrics.append({name: value}, step)

    @guarded
    def log_hyperparams(
        self, params: Mapping[str, Any] | Namespace | None = None, *_args: Any, **_options: Any
    ) -> None:
        """Write hyperparameters over those of an earlier process; unsupported values become text."""
        for name, value in (as_mapping(params) or {}).items():
            self._log_hyperparameter(str(name), value)

    @guarded
    def _log_hyperparameter(self, name: str, value: Any) -> None:
        from lightning_fabric.utilities.logger import _sanitize_callable_params

        wanted = stringify_unsupported(_sanitize_callable_params({name: value})[name])
        look = {path: str(leaf) for path, leaf in flatten({"value": wanted}, "")}
        if self._hyperparameters.get(name) == look:  # fit, validate, test and predict all bring them
            return
        # What an earlier process wrote there may have other kinds or names, so it is cleared once, before the first
        # value.
        first = f"{self.PARAMETERS_KEY}/{parse(name).partition('/')[0]}"
        if first not in self._cleared:
            self._cleared.add(first)
            self._metrics.clear(first)
        self._metrics.put(f"{self.PARAMETERS_KEY}/{name}", wanted)
        self._hyperparameters[name] = look

    def log_graph(self, model: Any, input_array: Any = None) -> None:  # noqa: ARG002 (Lightning's hook has it)
        """Write the model's summary, and see which checkpoints to expect. Fabric gives any module of torch."""
        trainer = getattr(model, "_trainer", None)
        if trainer is not None and trainer is not self._trainer():
            self._trainer = weakref.ref(trainer)
            self._checkpoints.expect(trainer.checkpoint_callbacks)
        if self._has_summary and self._summarized is not model:
            self._summarized = model
            self.log_model_summary(model)

    @guarded
    def after_save_checkpoint(self, checkpoint_callback: Any) -> None:
        """Update the checkpoints of the run to those the callback keeps now."""
        if self._has_checkpoints:
            self._checkpoints.mirror(self.place["model"], checkpoint_callback, self._moment())

    def finalize(self, status: str) -> None:
        """Write how the call of the trainer ended, and put all on disk. The run stays open: `test` may follow `fit`."""
        error = sys.exc_info()[1] if status == "failed" else None  # Lightning is handling it at this moment
        if self._run is not None or error is not None:  # else all was logged by processes that have ended
            self._finalize("interrupted" if isinstance(error, INTERRUPTIONS) else status, error)
        launch.end(status == "success")

    @guarded
    def _finalize(self, status: str, error: BaseException | None) -> None:
        self.place["status"] = status
        if error is not None:
            self._log_exception(error)
        else:
            with suppress(FieldConflict):  # there is none of an earlier attempt
                del self.place["exception"]
        self._log_end()
        # A program often ends right after the trainer: what was logged is on the disk by then.
        _root(self._run).wait()

    def _log_exception(self, error: BaseException) -> None:
        self.place["exception"] = {
            "type": type(error).__qualname__,
            "message": str(error),
            "traceback": "".join(traceback.format_exception(error)),
        }
        if isinstance(error, INTERRUPTIONS):  # after which Lightning leaves in a way that looks orderly
            interruption = KeyboardInterrupt()
            interruption.__cause__ = error
            lifecycle.fail(_root(self._run), interruption)

    def _log_end(self) -> None:
        """Log late changes of checkpoints, and the reason for early stopping."""
        trainer = self._trainer()
        if trainer is None or trainer.state.fn != "fit":
            return
        if self._has_checkpoints:
            for callback in trainer.checkpoint_callbacks:
                self._checkpoints.mirror(self.place["model"], callback, self._moment())
        for callback in trainer.early_stopping_callbacks:
            if callback.stopped_epoch or getattr(callback, "stopping_reason_message", None):  # it may be epoch 0
                facts = {"epoch": callback.stopped_epoch, "best_score": float(callback.best_score)}
                self.place["early_stopping"][callback.monitor.replace("/", "_")] = facts

    def _moment(self) -> dict[str, float]:
        """Return epoch and step of now, and the metrics that callbacks can monitor."""
        trainer = self._trainer()
        if trainer is None:
            return {}
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        return {**metrics, "epoch": trainer.current_epoch, "step": trainer.global_step}

    # For the user

    def log_model_summary(self, model: Any, max_depth: int = -1) -> None:
        """Write a model's summary to "model/summary".

        A model that is split among ranks can only be summarized on all of them together.

        Args:
            model: a LightningModule, or another module of torch.
            max_depth: how many levels of modules to list; -1 for all. Of other modules all are listed.
        """
        text, problem = "", None
        try:
            text = _summary(model, max_depth)
        except Exception as error:  # noqa: BLE001 (raised again under the guard, which is for rank 0)
            problem = error
        self._write_summary(text, problem)

    @guarded
    def log_image(self, key: str, images: Sequence[Any], step: int | None = None, **options: Sequence[str]) -> None:
        """Append images to a series of files.

        Args:
            key: the path below the prefix.
            images: paths, arrays, tensors (also with the channels first), figures, pictures.
            step: of all of them.
            options: `caption=`, one for each image.
        """
        for each, caption in zip(images, captions(len(images), options), strict=True):
            self.place[self._metrics.path(key)].append(image(each), step=step, description=caption)

    @guarded
    def log_audio(
        self,
        key: str,
        audios: Sequence[Any],
        step: int | None = None,
        *,
        sample_rate: Sequence[int] | None = None,
        **options: Sequence[str],
    ) -> None:
        """Append sounds to a series of files.

        Args:
            key: the path below the prefix.
            audios: paths, bytes of WAV files, or arrays and tensors of numbers from -1 to 1, with the channels last.
            step: of all of them.
            sample_rate: samples a second, one for each sound; needed for numbers.
            options: `caption=`, one for each sound.
        """
        rates = [None] * len(audios) if sample_rate is None else list(sample_rate)
        notes = captions(len(audios), options, "log_audio")
        for each, rate, caption in zip(audios, rates, notes, strict=True):
            self.place[self._metrics.path(key)].append(recording(each, "wav", rate), step=step, description=caption)

    @guarded
    def log_video(self, key: str, videos: Sequence[Any], step: int | None = None, **options: Sequence[str]) -> None:
        """Append films to a series of files.

        Args:
            key: the path below the prefix.
            videos: paths, or bytes of MP4 files; frames are not encoded.
            step: of all of them.
            options: `caption=`, one for each film.
        """
        for each, caption in zip(videos, captions(len(videos), options, "log_video"), strict=True):
            self.place[self._metrics.path(key)].append(recording(each, "mp4"), step=step, description=caption)

    @guarded
    def log_table(
        self,
        key: str,
        columns: Sequence[str] | None = None,
        data: Sequence[Sequence[Any]] | None = None,
        dataframe: pd.DataFrame | None = None,
        step: int | None = None,
    ) -> None:
        """Append a table, as a page, to a series of files. It is given by `columns` and `data`, or as a DataFrame."""
        self.place[self._metrics.path(key)].append(File.as_html(frame(columns, data, dataframe)), step=step)

    @guarded
    def log_text(
        self,
        key: str,
        columns: Sequence[str] | None = None,
        data: Sequence[Sequence[str]] | None = None,
        dataframe: pd.DataFrame | None = None,
        step: int | None = None,
    ) -> None:
        """Append a text for each row of a table to a series of texts."""
        for text in texts(frame(columns, data, dataframe)):
            self.place[self._metrics.path(key)].append(text, step=step)

    @guarded
    def log_html(self, key: str, html: Any, step: int | None = None) -> None:
        """Append a page, or each of a list of pages, to a series of files.

        Args:
            key: the path below the prefix.
            html: HTML as text, a path of a file, or an object that `File.as_html` takes.
            step: of all of them.
        """
        for each in html if isinstance(html, list | tuple) else [html]:
            self.place[self._metrics.path(key)].append(page(each), step=step)

    def watch(self, model: Any, log: What = "gradients", log_freq: int = 100, bins: int = 0) -> Watch:
        """Log statistics of a model's gradients, parameters or both as series, every `log_freq` steps.

        Args:
            model: a LightningModule, or another module of torch.
            log: "gradients", "parameters" or "all".
            log_freq: how many steps of the optimizer lie between two points.
            bins: also log a histogram of so many bins of each tensor, which is copied to the CPU for it.

        Returns:
            something whose `remove()` ends it.
        """
        check(log, log_freq, bins)
        watch = Watch(_Watched(self, log, bins), model, log_freq)
        self._watches.append(watch)
        return watch

    @guarded
    def log_config(self, text: str) -> None:
        """Write a configuration in YAML, such as LightningCLI's, to "config"."""
        self.place["config"].upload(File.from_content(text, extension="yaml"))

    @guarded
    def _write_summary(self, text: str, problem: Exception | None) -> None:
        if problem is not None:
            raise problem
        self.place["model/summary"].upload(File.from_content(text, extension="txt"))


class _Watched:
    """Receives the parameters of a watched model, and logs them at the trainer's step."""

    def __init__(self, logger: NaiadLogger, log: What, bins: int) -> None:
        self._logger = logger
        self._log = log
        self._bins = bins

    @property
    def is_silent(self) -> bool:
        return self._logger.is_silent

    def log_watched(self, model: Any, _optimizer: Any, parameters: Mapping[str, Any], step: int) -> None:
        trainer = getattr(model, "_trainer", None)
        now = step if trainer is None else trainer.global_step
        self._logger.log_metrics(points(parameters, self._log, self._bins), now)


NeptuneLogger = NaiadLogger
"""The name that code written for Neptune uses."""


def _nobody() -> None:
    """Stand for the trainer as long as none is known."""


def _root(run: Any) -> Any:
    return run.get_root_object()


def _names(run: Run | Handler) -> tuple[str, str]:
    sys_of = _root(run)["sys"]
    return sys_of["id"].fetch(), sys_of["name"].fetch()


def _set_aside(file: str) -> None:
    """Give another name to the configuration that LightningCLI has left for an earlier fit: it would not go on."""
    name, extension = os.path.splitext(file)
    if os.path.isfile(file):
        free = next(other for n in count(1) if not os.path.exists(other := f"{name}-{n}{extension}"))
        os.replace(file, free)


def _check_alone(run: object, arguments: Mapping[str, object]) -> None:
    """Raise if the argument is no run, or comes with arguments for opening one."""
    if not isinstance(run, Run | Handler):
        raise InvalidArgument(f"run= takes a run or a namespace of one, such as run['fold1'], not {shown(run)}.")
    besides = sorted(name for name, value in arguments.items() if value is not None)
    if besides:
        raise InvalidArgument(f"run= is already open, so it cannot be combined with {', '.join(besides)}.")


def _summary(model: Any, max_depth: int) -> str:
    for each in namespaces():
        if isinstance(model, each.LightningModule):
            return str(each.utilities.model_summary.ModelSummary(model, max_depth=max_depth))
    from torch.nn import Module

    if not isinstance(model, Module):
        raise InvalidArgument(f"A summary needs a torch module, not {shown(model)}.")
    counts = [(each.numel(), each.requires_grad) for each in model.parameters()]
    trained = sum(count for count, is_trained in counts if is_trained)
    others = sum(count for count, _ in counts) - trained
    return f"{model}\n\n{trained:,} trainable parameters, {others:,} others"
