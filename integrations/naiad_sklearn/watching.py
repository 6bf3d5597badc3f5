"""Fits that are seen: of fits within fits only the outermost is logged, and none of those that naiad makes itself."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any


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


@contextmanager
def unseen() -> Iterator[None]:
    """Hide naiad's own fits and predictions within this context from MLflow's autolog.

    Also a decorator, for functions that fit copies of an estimator, or let it predict.
    """
    with unwatched(), _mlflow_looking_away():
        yield


def is_watched() -> bool:
    """Whether a fit that begins here and now is one that the user began; those in workers of joblib are not."""
    if _depth.value:
        return False
    from joblib.parallel import get_active_backend  # comes with scikit-learn, and is loaded by it

    backend, _ = get_active_backend()
    return not getattr(backend, "nesting_level", 0)


def _mlflow_looking_away() -> Any:
    """Return MLflow's own context for that, if the program uses MLflow."""
    utils = sys.modules.get("mlflow.utils.autologging_utils")
    disable = getattr(utils, "disable_autologging", None)
    return nullcontext() if disable is None else disable()
