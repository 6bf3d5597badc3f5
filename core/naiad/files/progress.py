"""Progress over many files at once: any thread reports its bytes, and one at a time is passed on with the total."""

from __future__ import annotations

import threading
from collections.abc import Callable

from naiad.files.tracked import Progress


def quiet(_by: int, _total: int) -> None:
    """Show no progress."""


def counted(progress: Progress, total: int) -> Callable[[int], None]:
    """A report that any thread may call."""
    lock = threading.Lock()

    def report(count: int) -> None:
        with lock:
            progress(count, total)

    return report
