"""Guards between a training and its logger: silence on all ranks but one, and a warning instead of an exception."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from typing import Any, Protocol, TypeVar, cast

from naiad import guard
from naiad.errors import InactiveContainer
from naiad.guard import Attempt
from naiad_lightning.bases import classes

Method = TypeVar("Method", bound=Callable[..., None])


class Logger(Protocol):
    """A logger as far as a guard goes."""

    @property
    def is_silent(self) -> bool:
        """Whether nothing is logged: on all ranks but one, and while Lightning only tries the validation out."""

    @property
    def version(self) -> Any:
        """The id of the run."""

    @property
    def place(self) -> Any:
        """The namespace below which it logs."""


class Silence(guard.Silence, *classes("loggers.logger", "DummyExperiment")):  # type: ignore[misc]  # known at import
    """Stands for the run where nothing may be logged; libraries report it by Lightning's own class for that."""


SILENCE = Silence()


def guarded(method: Method) -> Method:
    """Decorator that runs a method on rank 0 only and turns logging errors into warnings.

    It does nothing either while Lightning only tries the validation out. One warning has the error, and the
    run keeps it. A run that was stopped takes nothing, and that is no trouble. A run that cannot be opened raises:
    that is a mistake in the arguments of the logger.
    """
    doing = f"do all of {method.__name__.lstrip('_')}"

    @wraps(method)
    def safe(self: Logger, *args: Any, **options: Any) -> None:
        if not self.is_silent:
            with suppress(InactiveContainer), Attempt("NaiadLogger", self.place, doing, besides=InactiveContainer):
                method(self, *args, **options)

    return cast("Method", safe)
