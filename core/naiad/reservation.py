"""Reserved runs: ids and names of runs before they are opened, for adapters that need the name first."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from naiad import options
from naiad.container_kinds import RUN, RunId
from naiad.errors import MissingField
from naiad.run import Run, init_run
from naiad.settings import setting
from naiad.storage.base import Store
from naiad.storage.opening import locate


@dataclass(frozen=True)
class ReservedRun:
    """The arguments of `init_run`, complete: they mean one run, wherever and how often they are used.

    It crosses to other processes, which then open the same run.

    >>> reserved = reserve("NaiadLogger", {"project": "digits"}, custom_run_id=lambda: "job-7")
    >>> reserved.names()
    ('DIGITS-1', 'Untitled')
    >>> run = reserved.open()
    """

    arguments: Mapping[str, Any]

    def open(self) -> Run:
        """Open the run: begin it, or go on with it."""
        return init_run(**self.arguments)

    def names(self) -> tuple[str | None, str | None]:
        """Return the id and the name of the run without opening it, taking an id if necessary.

        For processes that must not write. Both are None where this process cannot determine which run it is.
        """
        store: Store = self.arguments["store"]
        with_id, custom = self.arguments.get("with_id"), self.arguments.get("custom_run_id")
        name = self.arguments.get("name")
        if with_id is not None:
            run = store.find(with_id, RUN)
            return _text(store, run, "sys/id") or with_id, name or _text(store, run, "sys/name")
        if custom is None:
            return None, None
        project = options.project_name(self.arguments.get("project")) or store.default_project()
        reservation = store.reserve_run(project, custom)
        own = _text(store, reservation.run, "sys/id") or reservation.id  # it may have been moved since it was named
        return own, name or _text(store, reservation.run, "sys/name") or "Untitled"


def reserve(
    caller: str,
    arguments: Mapping[str, Any],
    *,
    custom_run_id: Callable[[], str | None] = lambda: None,
    start: Path | None = None,
) -> ReservedRun:
    """Reserve a run for these `init_run` arguments, resolving now those that depend on the moment.

    Args:
        caller: the function that the user gave the arguments to, for errors.
        arguments: of `init_run`; None counts as not given.
        custom_run_id: called for a name of the run if neither the arguments nor the environment have one, so that all
            processes that answer alike open the same run. None leaves a new run without one.
        start: the folder where the search for a store begins; the working directory if None.

    Raises:
        TypeError, InvalidArgument: arguments that `init_run` does not take.
    """
    given = {name: value for name, value in arguments.items() if value is not None}
    accepted = set(inspect.signature(Run).parameters) - {"unknown"}
    options.refuse_unknown(caller, {name: given[name] for name in given.keys() - accepted})
    options.check(**given)
    custom = None
    if given.get("with_id") is None and options.mode_of(given.get("mode")) != "debug":
        custom = given.get("custom_run_id") or setting("CUSTOM_RUN_ID") or custom_run_id()
    # The place is found now: in another process the working directory may be another one.
    store = locate(given.get("store"), start)
    return ReservedRun({**given, "store": store, **({"custom_run_id": custom} if custom else {})})


def _text(store: Store, run: RunId, path: str) -> str | None:
    try:
        return str(store.reader(run).value(path))
    except MissingField:  # nobody has begun the run yet
        return None
