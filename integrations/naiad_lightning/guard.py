"""What keeps a training safe from its logger: silence on all ranks but one, and a word instead of an exception."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from typing import Any, Protocol, TypeVar, cast

from naiad.errors import InactiveContainer, NaiadError, NaiadWarning, warn_once

__all__ = ["SILENCE", "Silence", "guarded", "on_rank_zero"]

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


def on_rank_zero(method: Method) -> Method:
    """Let a method do nothing on the other ranks, nor while Lightning only tries the validation out."""

    @wraps(method)
    def silent(self: Logger, *args: Any, **options: Any) -> None:
        if not self.is_silent:
            method(self, *args, **options)

    return cast("Method", silent)


def guarded(method: Method) -> Method:
    """Let a hook of the framework act on rank 0, and never end a training by what goes wrong in logging.

    One warning says what it was, and the run keeps it. A run that was stopped takes nothing, and that is no trouble.
    """

    @wraps(method)
    def safe(self: Logger, *args: Any, **options: Any) -> None:
        if self.is_silent:
            return
        try:
            method(self, *args, **options)
        except InactiveContainer:
            pass
        except (NaiadError, OSError) as problem:
            _note(self, method.__name__, problem)

    return cast("Method", safe)


def _note(logger: Logger, doing: str, problem: Exception) -> None:
    what = f"{doing}: {problem}"
    key = ("naiad_lightning", logger.version, doing, type(problem))
    warn_once(key, f"NaiadLogger could not do all of {what}\nThe training goes on.", NaiadWarning)
    with suppress(NaiadError, OSError):  # where the disk is the trouble, this fails too
        logger.place["integration/errors"].append(what)
