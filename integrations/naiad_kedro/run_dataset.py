"""The dataset that hands the run to nodes: `naiad_run`, or `neptune_run` as Neptune called it.

It is also where hooks find the run. Each execution has a catalog of its own, and a catalog goes wherever its nodes
run, so sessions, threads and worker processes cannot be confused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from kedro.io import AbstractDataset, DatasetError

from naiad.errors import PluginWarning, warn_once
from naiad.secrets import Secrets
from naiad_kedro.config import Config
from naiad_kedro.facts import NO_SECRETS
from naiad_kedro.pipeline_log import PipelineLog

if TYPE_CHECKING:
    from naiad.handler import Handler
    from naiad.run import Run

NAMES = ("naiad_run", "neptune_run")

_given: ContextVar[Run | Handler | None] = ContextVar("naiad_kedro_run", default=None)


@contextmanager
def log_to(run: Run | Handler) -> Iterator[None]:
    """Let pipelines that are started within this log to a run, or a namespace of one, that you have opened.

    They leave it open, and its end is yours.

        with naiad.init_run() as run, log_to(run["trial/3"]):
            session.run()
    """
    token = _given.set(run)
    try:
        yield
    finally:
        _given.reset(token)


class RunDataset(AbstractDataset[Mapping[str, Any], Any]):
    """Hands nodes the namespace that the integration logs to, or None where it is disabled.

    Saving a dict to it logs the values in it.

    Args:
        config: how the project is logged.
        marked: names of the catalog's entries with a mark.
        secrets: values that must not be written.
    """

    def __init__(self, config: Config, marked: Iterable[str] = (), secrets: Secrets = NO_SECRETS) -> None:
        self.marked = tuple(marked)
        self.is_enabled = config.is_enabled
        self._config = config
        self._secrets = secrets
        # Taken now: nodes may run in other threads, which do not have the context of this one.
        self._given = _given.get()
        self._is_open = False
        self._log: PipelineLog | None = None

    @classmethod
    def is_wanted(cls, config: Config) -> bool:
        """Whether pipelines are configured to be logged."""
        return config.is_written or _given.get() is not None

    @classmethod
    def of(cls, catalog: Any) -> RunDataset | None:
        """Return the one that a catalog has, or None. Asking costs no more than looking."""
        known = getattr(catalog, "_datasets", {})  # a catalog makes a dataset of any name it is asked for
        return next((known[name] for name in NAMES if isinstance(known.get(name), cls)), None)

    def put_into(self, catalog: Any) -> None:
        """Take both names in a catalog, except where the user has given one to something else."""
        free = set(NAMES) - set(catalog.keys())
        for name in free:
            catalog[name] = self
        if not free:
            message = f"The catalog has entries of its own for {' and '.join(NAMES)}, so its pipelines are not logged."
            warn_once(("kedro", "names"), message, PluginWarning)

    @property
    def log(self) -> PipelineLog | None:
        """Where hooks log, or None. A run is opened the first time.

        Raises:
            NaiadError: the user's arguments are invalid, such as the id of a run that does not exist.
        """
        # Marked before it is tried: a run that cannot be opened is not tried again for each node.
        if not self._is_open:
            self._is_open = True
            if self.is_enabled:
                self._log = self._opened()
        return self._log

    def load(self) -> Handler | None:
        """Return the namespace, or None."""
        return self.log.base if self.log else None

    def save(self, data: Mapping[str, Any]) -> None:
        """Log the values of a dict."""
        if not isinstance(data, Mapping):
            raise DatasetError("Only a dict of values can be saved to the run.")
        if self.log:
            self.log.base.assign(data)

    def _opened(self) -> PipelineLog | None:
        try:
            run = self._config.open_run() if self._given is None else self._given
        except OSError as problem:  # the machine's trouble is no reason to stop a pipeline
            warn_once(("kedro", "open"), f"The pipeline is not logged: {problem}", PluginWarning)
            return None
        base = self._config.base_namespace
        return PipelineLog(run[base], self._given is None, self._secrets)

    def _exists(self) -> bool:
        return self.is_enabled

    def _describe(self) -> dict[str, Any]:
        return {"base_namespace": self._config.base_namespace}

    def __getstate__(self) -> dict[str, Any]:
        """Pickle without a run that this process has not opened."""
        return {**self.__dict__, "_is_open": True}
