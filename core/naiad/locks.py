"""Waiting for a lock a limited time, without losing it to Ctrl-C.

`with lock:` has no limit of time. `lock.acquire(timeout=...)` followed by `try:` has a gap: Python raises
KeyboardInterrupt at the end of a call, here after the lock is taken and before the block that would release it begins.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any


def run_locked(lock: threading.RLock, seconds: float, action: Callable[[], object]) -> bool:
    """Call `action` while this thread holds the lock; return False without a call if it is not free in time.

    A thread that holds the lock already, such as one in a signal handler, does not wait.
    """
    owned: Any = lock._is_owned  # type: ignore[attr-defined]  # `threading.Condition` uses it too
    if owned():
        with lock:
            action()
        return True
    try:
        # Without a time first: a lock that is free is had in half the time that way.
        if not (lock.acquire(blocking=False) or lock.acquire(timeout=seconds)):
            return False
        action()
    except BaseException:  # only to clean up
        if owned():
            lock.release()
        raise
    lock.release()
    return True
