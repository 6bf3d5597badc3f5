"""Who is looked at: of fits within fits only the outermost, and none of those that naiad makes for its charts."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["is_watched", "unwatched"]


class _Depth(threading.local):
    """How many of the calls this thread is in hide the fits below them."""

    value = 0


_depth = _Depth()


@contextmanager
def unwatched() -> Iterator[None]:
    """Hide the fits within this from `autolog`."""
    _depth.value += 1
    try:
        yield
    finally:
        _depth.value -= 1


def is_watched() -> bool:
    """Whether a fit that begins here and now is one that the user began; those in workers of joblib are not."""
    if _depth.value:
        return False
    from joblib.parallel import get_active_backend  # comes with scikit-learn, and is loaded by it

    backend, _ = get_active_backend()
    return not getattr(backend, "nesting_level", 0)
