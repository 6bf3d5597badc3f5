"""Progress bars: one for each long operation, on a terminal or in a notebook, or one of the user's own."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Protocol

from naiad.errors import InvalidArgument
from naiad.typing import ProgressBarCallback, ProgressBarType

LONG_UPLOAD = 64 * 2**20
"""Bytes from which on an upload shows a bar: less is copied before anybody could look at it."""


class Report(Protocol):
    """Takes how much more is done and, where that was not known before, how much there is to do."""

    def __call__(self, by: int, of: int | None = None, /) -> object:
        """Show it."""


class NullProgressBar(ProgressBarCallback):
    """A bar that shows nothing."""

    def update(self, *, by: int, total: int | None = None) -> None:
        """Show nothing."""


class TqdmProgressBar(ProgressBarCallback):
    """The standard bar: tqdm's, in a notebook as a widget."""

    def __init__(self, *args: Any, description: str | None = None, unit: str = "B", **kwargs: Any) -> None:
        super().__init__(*args, description=description, **kwargs)
        from tqdm.auto import tqdm

        self._bar = tqdm(desc=description, unit=unit, unit_scale=True, leave=False)

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Take it from the screen."""
        self._bar.close()

    def update(self, *, by: int, total: int | None = None) -> None:
        """Draw progress."""
        self._bar.total = total
        self._bar.update(by)


@contextlib.contextmanager
def showing(
    progress_bar: ProgressBarType | None, description: str, total: int | None = None, *, unit: str = "B"
) -> Iterator[Report]:
    """Show the progress of an operation, and yield a function that adds progress from any thread.

    Args:
        progress_bar: the user's argument. None and True mean the standard bar, on a terminal or in a notebook.
        description: the name of the operation.
        total: how much there is to do, in `unit`, if that is known.
        unit: of the standard bar.

    Raises:
        InvalidArgument: `progress_bar` is neither a bool nor a class derived from ProgressBarCallback.
    """
    made_of = _class_of(progress_bar)
    if made_of is NullProgressBar:
        yield _nothing
        return
    lock = threading.Lock()
    with made_of(description=description, **({"unit": unit} if made_of is TqdmProgressBar else {})) as bar:

        def report(by: int, of: int | None = None, /) -> None:
            with lock:
                bar.update(by=by, total=total if of is None else of)

        yield report


def _class_of(progress_bar: object) -> type[ProgressBarCallback]:
    if progress_bar is None or progress_bar is True:
        return TqdmProgressBar if _is_seen() else NullProgressBar
    if progress_bar is False:
        return NullProgressBar
    if isinstance(progress_bar, type) and issubclass(progress_bar, ProgressBarCallback):
        return progress_bar
    raise InvalidArgument("progress_bar= takes True, False or a class derived from ProgressBarCallback.")


def is_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")  # whoever runs in a notebook has it
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


def _is_seen() -> bool:
    """Whether there is a terminal or a notebook: a bar in a log file is noise."""
    return is_notebook() or (sys.stderr is not None and sys.stderr.isatty())


def _nothing(_by: int, _of: int | None = None, /) -> None:
    pass
