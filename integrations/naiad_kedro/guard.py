"""The guard: whatever goes wrong with logging, the pipeline goes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from naiad.errors import NaiadError, NaiadWarning, PluginWarning, warn_once

if TYPE_CHECKING:
    from naiad.handler import Handler

__all__ = ["guarded"]


@contextmanager
def guarded(event: str, base: Handler) -> Iterator[None]:
    """Log within this: trouble costs one warning for each kind of event, and is recorded in the run.

    Args:
        event: the hook of the framework.
        base: where the integration writes.
    """
    try:
        yield
    except NaiadWarning:  # where the user made warnings errors
        raise
    except Exception as problem:  # noqa: BLE001 (the hook guard: logging must never stop a pipeline)
        what = f"{event}: {type(problem).__name__}: {problem}"
        with suppress(NaiadError, OSError):  # of a run that was stopped, for one; the warning says it
            base["integration/errors"].append(what)
        key = "kedro", repr(base.get_root_object()), event
        warn_once(key, f"naiad could not log {what}\nThe pipeline goes on.", PluginWarning)
