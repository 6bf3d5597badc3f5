"""Hooks of a run's life: plugins are notified, and their captures started and stopped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from naiad.background import Capture, Loggable
from naiad.plugins import call_all, guarded


def started(run: Loggable, options: Mapping[str, object]) -> list[Capture]:
    """Start the captures of plugins, notify them of the run, and return the captures."""
    running = []
    for capture in (capture for found in call_all("naiad_captures", options=options) for capture in found):
        with guarded(_title(capture), "to start"):
            capture.start(run)
            running.append(capture)
    call_all("naiad_run_started", run=run)
    return running


def stopping(run: Loggable, captures: Iterable[Capture], exception: BaseException | None) -> None:
    """Notify plugins that a run will stop, and stop their captures. It is still writable."""
    call_all("naiad_run_stopping", run=run, exception=exception)
    for capture in captures:
        with guarded(_title(capture), "to stop"):
            capture.stop()


def stopped(run: Loggable) -> None:
    """Notify plugins that a run was stopped."""
    call_all("naiad_run_stopped", run=run)


def _title(capture: Capture) -> str:
    return f"The capture {(capture.name or type(capture).__name__)!r}"
