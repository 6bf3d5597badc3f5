"""The callback of Hydra: a run for each job, and one for a sweep, to which those of its jobs belong."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any

from naiad import lifecycle
from naiad.errors import InvalidArgument
from naiad.file import File
from naiad.guard import SILENCE, Attempt, Place
from naiad.names import replace
from naiad.reservation import ReservedRun, reserve
from naiad.run import Run
from naiad.types import Float
from naiad.utils import stringify_unsupported
from naiad_hydra.plugin import INTEGRATION

with INTEGRATION.needed_by("NaiadCallback"):
    import hydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.core.utils import JobStatus
    from hydra.experimental.callback import Callback
    from omegaconf import OmegaConf

PARENT = "NAIAD_PARENT"
_current: Run | None = None  # of the job that this process executes


def current_run() -> Any:
    """Return the run of the job that is being executed; where there is none, an object that does nothing.

    >>> @hydra.main(config_path=".", config_name="config")
    ... def main(config):
    ...     current_run()["train/loss"].append(0.5)
    """
    return SILENCE if _current is None else _current


class NaiadCallback(Callback):
    """Opens a run for each job of Hydra and stops it after; `current_run()` is that run.

    A sweep (`--multirun`) has a run of its own, and the runs of its jobs are children of it, also if a launcher
    executes them in other processes. An error of logging never raises into a job.

    Args:
        base_namespace: the namespace of the configuration and other facts; "" for the run itself.
        run_arguments: arguments of `init_run`, such as `project` and `tags`.

    Raises:
        TypeError: `init_run` does not have such an argument.

    In the configuration:

        hydra:
          callbacks:
            naiad:
              _target_: naiad_hydra.NaiadCallback
              project: digits
    """

    def __init__(self, base_namespace: str = "", **run_arguments: Any) -> None:
        given = {
            name: OmegaConf.to_object(each) if OmegaConf.is_config(each) else each
            for name, each in run_arguments.items()
        }
        if "parent" in given:
            raise InvalidArgument(
                f"parent= cannot be set: the parent of the jobs is their sweep. For a single job, set {PARENT}."
            )
        self._base_namespace = base_namespace
        self._reserved = reserve("NaiadCallback", given)  # now, since jobs may change the working directory
        self._sweep: Run | None = None
        self._parent: str | None = None  # the id of the sweep's run
        self._outer: str | None = None  # the parent before the sweep

    def on_multirun_start(self, config: Any, **_: Any) -> None:
        """Open the run of the sweep."""
        self._sweep = run = self._open(f"{config.hydra.job.name} (sweep)")
        with self._attempt(run, "log the sweep"):
            self._describe(run, config.hydra)
            self._base(run)["hydra/sweep_dir"] = os.path.abspath(config.hydra.sweep.dir)
        self._outer = os.environ.get(PARENT)
        # By the environment, for launchers that start programs; and in this object, for those that pickle it and may
        # send it to a process whose environment is that of an earlier sweep.
        self._parent = os.environ[PARENT] = run["sys/id"].fetch()

    def on_job_start(self, config: Any, **_: Any) -> None:
        """Open the run of a job."""
        global _current
        facts = HydraConfig.get()
        # Of a job alone Hydra leaves the number missing, and reading it would raise.
        is_sweep = "num" in facts.job and not OmegaConf.is_missing(facts.job, "num")
        _current = run = self._open(f"{facts.job.name} {facts.job.num}" if is_sweep else facts.job.name)
        with self._attempt(run, "log the job"):
            self._describe(run, facts)
            base = self._base(run)
            if is_sweep:
                base["hydra/job/num"] = int(facts.job.num)
            base["hydra/output_dir"] = facts.runtime.output_dir
            # Hydra's own part is hundreds of settings that are the same for all jobs.
            own = OmegaConf.masked_copy(config, [name for name in config if name != "hydra"])
            base["hydra/config"].upload(File.from_content(OmegaConf.to_yaml(own), extension="yaml"))
            replace(base["config"], stringify_unsupported(OmegaConf.to_container(own, resolve=True)))

    def on_job_end(self, config: Any, job_return: Any, **_: Any) -> None:  # noqa: ARG002 (of the hook)
        """Stop the run of a job; the job's exception fails it."""
        global _current
        # Taken first: whatever fails below, the next job must not log to this run.
        run, _current = _current, None
        if run is None:
            return
        with self._attempt(run, "log the end of the job"):
            self._base(run)["hydra/status"] = job_return.status.name
            if job_return.status == JobStatus.FAILED:
                lifecycle.fail(run, job_return._return_value)
            # What a sweeper optimizes; objects of other kinds are the program's own business.
            elif isinstance(job_return._return_value, int | float):
                self._base(run)["hydra/return_value"] = Float(job_return._return_value)
        run.stop()

    def on_multirun_end(self, config: Any, **_: Any) -> None:  # noqa: ARG002 (of the hook)
        """Stop the run of the sweep."""
        if self._sweep is not None:
            self._sweep.stop()
            self._sweep = self._parent = None
            with suppress(KeyError):
                del os.environ[PARENT]
            # A sweep within the job of another one: the outer is the parent again.
            if self._outer is not None:
                os.environ[PARENT] = self._outer

    def __getstate__(self) -> dict[str, Any]:
        """Cross to the processes of a launcher without the run of the sweep."""
        return {**vars(self), "_sweep": None}

    def _open(self, name: str) -> Run:
        parent = {} if self._parent is None else {"parent": self._parent}
        run = ReservedRun({**self._reserved.arguments, **parent}).open()
        if not self._reserved.arguments.get("name"):
            run["sys/name"] = name
        return run

    def _describe(self, run: Run, facts: Any) -> None:
        run["source_code/integrations/hydra"] = hydra.__version__
        base = self._base(run)
        base["hydra/job/name"] = facts.job.name
        overrides = list(facts.overrides.task)
        if overrides:
            base["hydra/overrides"] = ", ".join(overrides)

    def _base(self, run: Run) -> Place:
        return run[self._base_namespace] if self._base_namespace else run

    def _attempt(self, run: Run, doing: str) -> Attempt:
        return Attempt("NaiadCallback", self._base(run), doing)
