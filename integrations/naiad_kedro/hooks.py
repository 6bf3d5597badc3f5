"""The hooks that Kedro finds through its entry point. They translate events; `pipeline_log.py` writes."""

from __future__ import annotations

import atexit
import os
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from kedro.framework.hooks import hook_impl

from naiad import clock
from naiad.guard import Attempt
from naiad.secrets import Secrets
from naiad_kedro.config import Config
from naiad_kedro.console import hide, without_secrets
from naiad_kedro.marks import is_marked
from naiad_kedro.pipeline_log import PipelineLog, Saving
from naiad_kedro.plan import Plan, kept
from naiad_kedro.run_dataset import NAMES, RunDataset


@dataclass
class Step:
    """A node that runs, or has run, in this thread."""

    log: PipelineLog
    outputs: dict[str, Any]
    """Its outputs that are kept somewhere or marked."""
    began: float = field(default_factory=clock.monotonic)
    saving: dict[str, Saving] = field(default_factory=lambda: defaultdict(Saving))
    """Of each of its outputs."""
    is_streaming: bool = False
    """Whether it yields its outputs piece by piece, after it has returned."""


@dataclass
class Execution:
    """A pipeline that runs in this process."""

    log: PipelineLog
    plan: Plan
    began: float
    pid: int
    console: AbstractContextManager[None]
    """Hides secrets until the pipeline ends."""

    def leave(self) -> None:
        """Log that the process ends before the pipeline. Kedro has no hook for Ctrl-C."""
        if os.getpid() == self.pid:
            with _attempt(self.log, "log exit"):
                self.log.leave()


class NaiadHooks:
    """Logs every pipeline of a project that uses naiad, and does nothing in any other.

    A project uses naiad if it has a `naiad.yml` or `neptune.yml`, if its catalog uses naiad, or if a node takes
    `naiad_run` or `neptune_run`.
    """

    def __init__(self) -> None:
        self._executions: dict[int, Execution] = {}  # by the identity of its log
        self._loads: dict[tuple[int, str], float] = {}  # when loading began, and then how long it took
        self._here = threading.local()

    # The project

    @hook_impl
    def after_context_created(self, context: Any) -> None:
        """Read how the project is logged."""
        Config.read(context)

    @hook_impl
    def after_catalog_created(self, catalog: Any, conf_catalog: Mapping[str, Any], conf_creds: Any) -> None:
        """Give the catalog of a project that uses naiad its run."""
        config = Config.here()
        marked = [name for name, entry in (conf_catalog or {}).items() if is_marked(entry)]
        if marked or RunDataset.is_wanted(config):
            secrets = Secrets.of(conf_creds or {}, [conf_catalog or {}])
            RunDataset(config, marked, secrets).put_into(catalog)

    # The pipeline

    @hook_impl(tryfirst=True)
    def before_pipeline_run(self, run_params: dict[str, Any], pipeline: Any, catalog: Any) -> None:
        """Open the run and log the plan of the pipeline.

        Raises:
            NaiadError: a mistake in `naiad.yml` or in a mark, raised before anything runs.
        """
        if RunDataset.of(catalog) is None and not pipeline.inputs().isdisjoint(NAMES):
            RunDataset(Config.here()).put_into(catalog)
        source = RunDataset.of(catalog)
        if source is None or not source.is_enabled:
            return
        # Before the run is opened: a mistake in a mark is an error of the project, and leaves no run.
        plan = Plan.of(pipeline, catalog, source.marked)
        log = source.log
        if log is None:
            return
        console = without_secrets(log.secrets)
        console.__enter__()
        execution = Execution(log, plan, clock.monotonic(), os.getpid(), console)
        self._executions[id(log)] = execution
        # Kedro calls no hook for Ctrl-C, and the run would look killed.
        atexit.register(execution.leave)
        with _attempt(log, "log before_pipeline_run"):
            log.begin(run_params, pipeline, plan.datasets)
        with _attempt(log, "log before_pipeline_run"):
            if "parameters" in catalog.keys():  # noqa: SIM118 (a catalog has every name that fits a pattern)
                log.keep_parameters(catalog["parameters"].load())
        with _attempt(log, "log before_pipeline_run"):
            log.keep_files(plan.early)

    @hook_impl(trylast=True)
    def after_pipeline_run(self, catalog: Any) -> None:
        """Log the end, and stop the run if it is ours."""
        self._end(catalog, "after_pipeline_run", None)

    @hook_impl(trylast=True)
    def on_pipeline_error(self, error: Exception, catalog: Any) -> None:
        """Log the error, and stop the run as failed if it is ours."""
        self._end(catalog, "on_pipeline_error", error)

    def _end(self, catalog: Any, event: str, error: Exception | None) -> None:
        log = _log_of(catalog)
        execution = self._executions.pop(id(log), None)
        if log is None or execution is None:
            return
        atexit.unregister(execution.leave)
        # Steps of nodes that failed have no end of their own, and the identity of a node's object may be given again.
        for key in [key for key, step in self._steps.items() if step.log is log]:
            del self._steps[key]
        with _attempt(log, f"log {event}"):
            log.keep_files(execution.plan.late)
            seconds = clock.monotonic() - execution.began
            log.fail(error, seconds) if error else log.end(seconds)
        with _attempt(log, f"log {event}"):
            log.stop(error)
        execution.console.__exit__(None, None, None)

    # Nodes

    @hook_impl(tryfirst=True)
    def before_node_run(self, node: Any, catalog: Any, inputs: dict[str, Any]) -> None:
        """Log that a node begins, with its parameters and how long its inputs took to load."""
        # Taken out in any case: without a log they would be kept for ever, and the identity of a node may be given
        # again.
        loads = {name: self._loads.pop((id(node), name), 0.0) for name in inputs}
        log = _log_of(catalog)
        if log is None:
            return
        # The worker has its own console, and its copy of this object knows no pipeline that began elsewhere.
        if id(log) not in self._executions:
            hide(log.secrets)  # this is a worker of ParallelRunner, and ends with the pipeline
        with _attempt(log, "log before_node_run"):
            self._steps[id(node)] = step = Step(log, kept(catalog, node.outputs))
            log.begin_node(node, inputs)
            for name, dataset in kept(catalog, loads).items():
                log.loaded(name, dataset, inputs[name], loads[name])
            step.began = clock.monotonic()

    @hook_impl(trylast=True)
    def after_node_run(self, node: Any, outputs: dict[str, Any]) -> None:
        """Log that a node is done, and the time it took."""
        step = self._steps.get(id(node))
        if step is not None:
            step.is_streaming = any(isinstance(each, Iterator) for each in outputs.values())
            with _attempt(step.log, "log after_node_run"):
                step.log.end_node(node, outputs, clock.monotonic() - step.began)

    @hook_impl(trylast=True)
    def on_node_error(self, error: Exception, node: Any) -> None:
        """Log that a node has failed, and why."""
        step = self._steps.get(id(node))
        if step is not None:
            with _attempt(step.log, "log on_node_error"):
                step.log.fail_node(node, error, clock.monotonic() - step.began)

    # Datasets

    @hook_impl(trylast=True)
    def before_dataset_loaded(self, dataset_name: str, node: Any) -> None:
        """Take the time."""
        self._loads[id(node), dataset_name] = clock.monotonic()

    @hook_impl(tryfirst=True)
    def after_dataset_loaded(self, dataset_name: str, node: Any) -> None:
        """Take the time; it is logged when the node begins, for only then is the catalog known."""
        key = id(node), dataset_name
        self._loads[key] = clock.monotonic() - self._loads.get(key, clock.monotonic())

    @hook_impl(trylast=True)
    def before_dataset_saved(self, dataset_name: str, node: Any) -> None:
        """Take the time."""
        step = self._steps.get(id(node))
        if step is not None:
            step.saving[dataset_name].began = clock.monotonic()

    @hook_impl(tryfirst=True)
    def after_dataset_saved(self, dataset_name: str, data: Any, node: Any) -> None:
        """Log how long it took, and the dataset itself if it is marked."""
        step = self._steps.get(id(node))
        dataset = step.outputs.get(dataset_name) if step else None
        if step is None or dataset is None:
            return
        saving = step.saving[dataset_name]
        # Added up, since a node that yields saves the same dataset once for each piece.
        saving.seconds += clock.monotonic() - saving.began
        with _attempt(step.log, "log after_dataset_saved"):
            step.log.saved(dataset_name, dataset, data, saving)
            step.log.keep(dataset_name, dataset, data)
            if step.is_streaming:
                step.log.go_on_node(node, clock.monotonic() - step.began)

    @property
    def _steps(self) -> dict[int, Step]:
        """The nodes of this thread: Kedro saves the outputs of a node in the thread that ran it."""
        steps: dict[int, Step] = self._here.__dict__.setdefault("steps", {})
        return steps


hooks = NaiadHooks()
"""What the entry point `kedro.hooks` names."""


def _attempt(log: PipelineLog, doing: str) -> Attempt:
    return Attempt("naiad", log.base, doing, hide=log.secrets.text)


def _log_of(catalog: Any) -> PipelineLog | None:
    dataset = RunDataset.of(catalog)
    return dataset.log if dataset is not None else None
