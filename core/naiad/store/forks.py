"""Forks wait for SQLite and for late imports.

A child forked while another thread is inside one inherits a mutex, or a module half made, that nobody will ever release
or finish. Who holds forks back passes the gate together, a fork passes it alone. Nobody waits long: a fork that has
waited for `FORK_SECONDS` goes on, because a training that stands still is worse than a child that may not read.
"""

from __future__ import annotations

import contextlib
import logging  # noqa: F401 - its own fork hooks have to be there before ours, so that its lock is taken after our wait
import os
import threading
from collections.abc import Iterator

__all__ = ["holding_forks"]

FORK_SECONDS = 5.0


class _Gate:
    """How many threads hold forks back, and whether a fork is waiting for them."""

    def __init__(self) -> None:
        self.mine = threading.local()
        self.changed = threading.Condition()
        self.inside = 0
        self.is_forking = False

    def close(self) -> None:
        with self.changed:
            self.is_forking = True
            self.changed.wait_for(lambda: self.inside == 0, FORK_SECONDS)

    def open(self) -> None:
        with self.changed:
            self.is_forking = False
            self.changed.notify_all()


_gate = _Gate()


@contextlib.contextmanager
def holding_forks() -> Iterator[None]:
    """Keep other threads from forking meanwhile. A thread that does already does not wait."""
    gate = _gate
    depth = getattr(gate.mine, "depth", 0)
    if depth == 0:
        with gate.changed:
            gate.changed.wait_for(lambda: not gate.is_forking, FORK_SECONDS)
            gate.inside += 1
    gate.mine.depth = depth + 1
    try:
        yield
    finally:
        gate.mine.depth = depth
        if depth == 0:
            with gate.changed:
                gate.inside -= 1
                gate.changed.notify_all()


def _renew() -> None:
    """In the child no other thread exists, so nobody is inside."""
    global _gate
    _gate = _Gate()


def _close() -> None:
    _gate.close()


def _open() -> None:
    _gate.open()


os.register_at_fork(before=_close, after_in_parent=_open, after_in_child=_renew)
