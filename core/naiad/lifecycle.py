"""The end of a container without `stop()`: end of the process, or an uncaught exception."""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
from types import TracebackType
from typing import Protocol


class Stoppable(Protocol):
    """A container as far as its end goes."""

    def stop(self) -> None:
        """Store everything and end."""

    def _fail(self, error: BaseException) -> None: ...

    def _disown(self) -> None: ...


_open: dict[int, Stoppable] = {}  # by identity; keeps a run alive whose last reference the program dropped
_is_watching = False
_is_interrupted = False  # the process is ending by a KeyboardInterrupt that nobody caught


def begin(container: Stoppable) -> None:
    """Register a container to be stopped when the process ends, and failed by an uncaught exception."""
    global _is_watching
    _open[id(container)] = container
    if not _is_watching:
        _is_watching = True
        atexit.register(_stop_all)
        _chain_excepthook()
    _stop_with_worker(container)


def end(container: Stoppable) -> None:
    """The container was stopped."""
    _open.pop(id(container), None)


def fail(container: Stoppable, error: BaseException) -> None:
    """Record an exception that a framework caught and will not re-raise."""
    container._fail(error)


def open_containers() -> list[Stoppable]:
    """Return all containers of this process that were not stopped, the latest first."""
    return list(reversed(_open.values()))


def end_state(error: BaseException) -> str | None:
    """Return how a run ends whose process is left by this exception, or None for an exception that is no failure.

    >>> end_state(KeyboardInterrupt()), end_state(SystemExit(0))
    ('terminated', None)
    """
    if isinstance(error, SystemExit) and error.code in (None, 0):
        return None
    cause = error.__context__ if isinstance(error, SystemExit) else error  # many turn Ctrl-C into sys.exit(1)
    return "terminated" if isinstance(cause, KeyboardInterrupt) else "failed"


def _stop_with_worker(container: Stoppable) -> None:
    """Processes that `multiprocessing` starts end without `atexit`, and have something of their own for it."""
    if "multiprocessing.process" in sys.modules:  # else this process is none of them
        from multiprocessing import parent_process, util

        if parent_process() is not None:
            util.Finalize(container, container.stop, exitpriority=0)


def _stop_all() -> None:
    for container in open_containers():
        container.stop()
    if _is_interrupted:
        _end_by_interrupt()


def _end_by_interrupt() -> None:
    """Let Python still end as after any Ctrl-C, by SIGINT, or a shell would go on with its loop.

    Python remembers that only until some code is compiled, and imports do that; this makes it remember again.
    """
    with contextlib.suppress(KeyboardInterrupt):
        eval("interrupt()", {"interrupt": _interrupt})


def _interrupt() -> None:
    raise KeyboardInterrupt


def _chain_excepthook() -> None:
    earlier = sys.excepthook

    def mark_failed(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        global _is_interrupted
        _is_interrupted = isinstance(error, KeyboardInterrupt)
        try:
            for container in open_containers():
                container._fail(error)
        finally:
            earlier(kind, error, traceback)

    sys.excepthook = mark_failed


def _disown() -> None:
    """Keep a forked child's uncaught exceptions from marking the parent's runs."""
    for container in open_containers():
        container._disown()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_disown)
