"""Attempts: work of an adapter whose errors become warnings, so that the framework goes on."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from traceback import format_exception_only
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeAlias

from naiad.errors import NaiadError, NaiadTypeError, NaiadWarning, PluginWarning, is_first, shown, warn_once
from naiad.secrets import redacted

if TYPE_CHECKING:
    from naiad.container import Container
    from naiad.handler import Handler

Place: TypeAlias = "Container | Handler"
ERRORS = "integration/errors"
"""Where an adapter's trouble is noted, below the place it writes to."""


def place(adapter: str, run: Any, base_namespace: str = "") -> Place:
    """Return the namespace that an adapter writes to: `base_namespace` below a run or handler, or that itself.

    Raises:
        NaiadTypeError: `run` is neither a container nor a handler.
    """
    # The class is asked, because a mock and a lazy object answer to every name.
    if not hasattr(type(run), "get_root_object"):
        remedy = 'Give it a run, run = naiad.init_run(), or a namespace of one, run["fold/1"].'
        raise NaiadTypeError(f"{adapter} cannot log to {shown(run)}.\n{remedy}", value=run)
    found: Place = run[base_namespace] if base_namespace else run
    return found


class Attempt:
    """One thing that may fail: it costs one warning, and a line in the run, for each thing done and for each cause.

    A class and no generator, because it is entered for every batch that is logged.

    Args:
        adapter: the name of the user's object, for the warning.
        place: the namespace that the adapter writes to.
        doing: the attempted action, as a verb: "log the model's summary".
        besides: exceptions that are raised as ever.
        hide: makes the text of an exception one that may be written; it may hold a password.

    >>> with Attempt("NaiadCallback", run["training"], "log the model's summary"):
    ...     run["training/model/summary"].upload(summary(model))
    """

    __slots__ = ("_adapter", "_besides", "_doing", "_hide", "_place")

    def __init__(
        self,
        adapter: str,
        place: Place,
        doing: str,
        besides: type[Exception] | tuple[type[Exception], ...] = (),
        hide: Callable[[str], str] = redacted,
    ) -> None:
        self._adapter = adapter
        self._place = place
        self._doing = doing
        self._besides = besides
        self._hide = hide

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if not isinstance(error, Exception) or isinstance(error, NaiadWarning):  # those: where warnings are errors
            return False
        if isinstance(error, self._besides):
            return False
        self._note(error)
        return True

    def _note(self, error: Exception) -> None:
        cause = self._hide(format_exception_only(error)[-1].strip())
        about = self._adapter, self._place.get_root_object()._session.key
        known = {what for what in (self._doing, cause) if not is_first((*about, what), PluginWarning)}
        if known:
            return
        message = f"{self._adapter} could not {self._doing}: {cause}"
        with suppress(NaiadError, OSError):  # the run itself may be what fails
            self._place[ERRORS].append(message)
        said = f"{message}\nThe program continues. This warning is given once; errors are logged at {ERRORS!r}."
        warn_once((*about, self._doing, cause), said, PluginWarning)


class Silence:
    """Stands for the run where nothing may be logged: takes every verb, path and value, and does nothing."""

    __iter__ = None

    def __getattr__(self, name: str) -> Silence:
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __call__(self, *_args: object, **_options: object) -> None:
        """Do nothing, whichever verb it is."""

    def __getitem__(self, path: object) -> Silence:
        return self

    def __setitem__(self, path: object, value: object) -> None: ...

    def __delitem__(self, path: object) -> None: ...

    def __enter__(self) -> Silence:
        return self

    def __exit__(self, *_: object) -> None: ...


SILENCE = Silence()
