"""The guard: whatever goes wrong while logging costs one warning and a note in the run, and training goes on."""

from __future__ import annotations

import warnings
from contextlib import suppress
from traceback import format_exception_only
from types import TracebackType
from typing import TYPE_CHECKING

from naiad.errors import NaiadError, NaiadWarning, PluginWarning

if TYPE_CHECKING:
    from naiad.handler import Handler

__all__ = ["Guard"]


class Guard:
    """Stands between an adapter and its framework.

    >>> with guard("log the model's summary"):
    ...     base["model/summary"].upload(summary(model))
    """

    def __init__(self, adapter: str, notes: Handler) -> None:
        self._adapter = adapter
        self._notes = notes
        self._said: set[str] = set()

    def __call__(self, doing: str) -> Attempt:
        """Return a context for doing this; the words go into the warning."""
        return Attempt(self, doing)

    def note(self, doing: str, problem: Exception) -> None:
        """Warn of a problem and record it in the run; of problems in doing one thing, or of one cause, the first."""
        cause = format_exception_only(problem)[-1].strip()
        is_said = not self._said.isdisjoint((doing, cause))
        self._said |= {doing, cause}
        if is_said:
            return
        message = f"{self._adapter} could not {doing}: {cause}"
        with suppress(NaiadError, OSError):  # the run itself may be what fails
            self._notes.append(message)
        warnings.warn(f"{message}\nTraining goes on, and this is said once.", PluginWarning, stacklevel=3)


class Attempt:
    """One thing that may fail. A class and no generator, because it is entered for every batch that is logged."""

    __slots__ = ("_doing", "_guard")

    def __init__(self, guard: Guard, doing: str) -> None:
        self._guard = guard
        self._doing = doing

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if not isinstance(error, Exception) or isinstance(error, NaiadWarning):  # those: where warnings are errors
            return False
        self._guard.note(self._doing, error)
        return True
