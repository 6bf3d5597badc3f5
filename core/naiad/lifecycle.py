"""The end of a container without `stop()`: end of the process, or an uncaught exception."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import threading
from types import FrameType, TracebackType
from typing import Protocol

from naiad import exits


class Stoppable(Protocol):
    """A container as far as its end goes."""

    def stop(self) -> None:
        """Store everything and end."""

    def _fail(self, error: BaseException) -> None: ...

    def _exit(self, code: int) -> None: ...

    def _terminate(self) -> None: ...

    def _disown(self) -> None: ...


_open: dict[int, Stoppable] = {}  # by identity; keeps a run alive whose last reference the program dropped
_is_watching = False
_watched_by = 0  # the process whose SIGTERM is handled
_is_interrupted = False  # the process is ending by a KeyboardInterrupt that nobody caught


def begin(container: Stoppable) -> None:
    """Register a container to be stopped when the process ends, and failed by an uncaught exception."""
    global _is_watching
    _open[id(container)] = container
    if not _is_watching:
        _is_watching = True
        atexit.register(_stop_all)
        _chain_excepthook()
        exits.watch()
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
    if type(error).__name__ == "SIGTERMException":  # Lightning's, which is a SystemExit
        return "terminated"
    cause = error.__context__ if isinstance(error, SystemExit) else error  # many turn Ctrl-C into sys.exit(1)
    return "terminated" if isinstance(cause, KeyboardInterrupt) else "failed"


def _stop_with_worker(container: Stoppable) -> None:
    """Stop it with a process of `multiprocessing`, which up to Python 3.12 ends without `atexit`."""
    if "multiprocessing.process" in sys.modules:  # else this process is none of them
        from multiprocessing import parent_process, util

        if parent_process() is not None:
            util.Finalize(container, _stop_in_worker, args=(container,), exitpriority=0)


def _stop_in_worker(container: Stoppable) -> None:
    error = sys.exc_info()[1]  # up to Python 3.12 this runs while the exception leaves the process's function
    if error is not None:
        container._fail(error)
    container.stop()


def _stop_all() -> None:
    error = exits.reason()
    for container in open_containers():
        if exits.is_orderly() or (error is not None and exits.code_of(error) == 0):
            container._exit(0)
        elif error is not None:
            container._fail(error)
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
    # Chained, not replaced: IPython, Sentry and debuggers have one of their own, which goes on to print the error.
    earlier = sys.excepthook

    def mark_failed(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        global _is_interrupted
        _is_interrupted = isinstance(error, KeyboardInterrupt)
        try:
            for container in open_containers():
                container._fail(error)
                container._exit(1)
        finally:
            earlier(kind, error, traceback)

    sys.excepthook = mark_failed


# SIGTERM, which schedulers send some time before they kill. The handler runs in the main thread, between any two of its
# steps, so it takes no lock and waits for nothing: each run gets one record in a file of its own.
#
#     still ours            restore the default and raise the signal again: the process ends as without naiad
#     chained by others     return: whoever chained it, as Lightning does, decides how the program goes on
#     in a forked child     the default is back, or nothing happens if it was chained; a signal meanwhile waits for it


def watch_termination() -> None:
    """Handle SIGTERM in this process, if nothing else does."""
    global _watched_by
    if threading.current_thread() is not threading.main_thread() or os.getpid() == 1:
        return  # the kernel spares the first process of a container from signals that it does not handle
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        with contextlib.suppress(ValueError):  # in a subinterpreter
            signal.signal(signal.SIGTERM, _on_termination)
            _watched_by = os.getpid()


def _on_termination(_number: int, _frame: FrameType | None) -> None:
    if os.getpid() == _watched_by:
        for container in open_containers():
            container._terminate()
    if signal.getsignal(signal.SIGTERM) is _on_termination:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.raise_signal(signal.SIGTERM)


def _restore_termination() -> None:
    """Restore the default of SIGTERM in a forked child."""
    if signal.getsignal(signal.SIGTERM) is _on_termination:
        with contextlib.suppress(ValueError):
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


# Python forgets the signals that arrive in a child before its own work after a fork is done, where the system's default
# would end the child. So SIGTERM waits while the handler is there that the child is going to remove.


def _hold_termination() -> None:
    """Before a fork: keep a SIGTERM for the child waiting until the child has the default again."""
    if signal.getsignal(signal.SIGTERM) is _on_termination:
        _held.mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})


def _release_termination() -> None:
    """After a fork: let SIGTERM come, as before."""
    mask = getattr(_held, "mask", None)
    if mask is not None:
        _held.mask = None
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


_held = threading.local()  # of the thread that forks: the signals that it had blocked


def _disown() -> None:
    """Keep a forked child's uncaught exceptions from marking the parent's runs."""
    _restore_termination()
    _release_termination()
    for container in open_containers():
        container._disown()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_hold_termination, after_in_parent=_release_termination, after_in_child=_disown)
