"""Doing one thing to many files at the same time: hashing and copying leave the interpreter to other threads."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")
MOST = 16
BATCH = 32
"""Items that a thread is given at once, so that small ones cost more than their handing over."""


def in_threads(do: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """Return the results in the order of the items; the first error cancels the rest."""
    todo = list(items)
    if len(todo) < 2:
        return [do(item) for item in todo]
    from concurrent.futures import ThreadPoolExecutor

    workers = min(MOST, len(todo), 2 * (os.cpu_count() or 1))
    size = max(1, min(BATCH, len(todo) // (4 * workers)))
    batches = [todo[start : start + size] for start in range(0, len(todo), size)]
    pool = ThreadPoolExecutor(workers, thread_name_prefix="naiad")
    try:
        return [
            result for results in pool.map(lambda batch: [do(item) for item in batch], batches) for result in results
        ]
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
