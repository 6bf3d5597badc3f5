"""Types for annotating code that uses naiad."""

from __future__ import annotations

from abc import abstractmethod
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any

__all__ = ["ProgressBarCallback", "ProgressBarType"]


class ProgressBarCallback(AbstractContextManager["ProgressBarCallback"]):
    """A progress bar of your own: derive from this and pass the class as `progress_bar=`.

    naiad makes one for each long operation, enters it, reports to `update` and leaves it.
    """

    def __init__(
        self,
        *args: Any,  # noqa: ARG002 (a bar of yours may be given more)
        description: str | None = None,
        **kwargs: Any,  # noqa: ARG002 (likewise)
    ) -> None:
        self.description = description

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the bar; an exception goes on to the caller."""

    @abstractmethod
    def update(self, *, by: int, total: int | None = None) -> None:
        """Report progress.

        Args:
            by: how much was done since the last call.
            total: how much there is to do, if that is known.
        """


ProgressBarType = bool | type[ProgressBarCallback]
"""What `progress_bar=` takes: True and False switch the standard bar on and off."""
