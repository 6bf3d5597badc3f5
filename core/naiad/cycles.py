"""Pauses of Python's search for reference cycles, while very many objects are made that are in none."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.RLock()
_paused_by: set[object] = set()
"""The blocks that run now, if the search was on when the first of them began."""


@contextmanager
def search_paused() -> Iterator[None]:
    """Pause the search, in all threads, for a block of at most seconds; with several at once, until the last has ended.

    Each pass of it looks at all objects that were made since the last one, and now and then at all there are. While
    100,000 rows are read, that takes a third of the time. If the program has switched the search off, it stays off.
    """
    own = object()
    # The search goes on however the block ends: an interrupt that comes anywhere below finds the mark, or no pause.
    try:
        with _lock:
            if gc.isenabled():
                _paused_by.clear()
                _paused_by.add(own)
                gc.disable()
            elif _paused_by:
                _paused_by.add(own)
        yield
    finally:
        with _lock:
            if own in _paused_by:
                if len(_paused_by) == 1:
                    gc.enable()
                _paused_by.discard(own)


def _go_on() -> None:
    """In a forked child, which has none of the threads whose blocks run."""
    global _lock
    _lock = threading.RLock()
    if _paused_by:
        _paused_by.clear()
        gc.enable()


os.register_at_fork(after_in_child=_go_on)
