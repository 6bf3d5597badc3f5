"""Forks wait for SQLite: a child forked while another thread is inside it inherits a mutex that nobody will release.

Users of a database pass the gate together, a fork passes it alone. Nobody waits long: a fork that has waited for
`FORK_SECONDS` goes on, because a training that stands still is worse than a child that may not read.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator

__all__ = ["inside_database"]

FORK_SECONDS = 2.0


class _Gate:
    """How many threads are inside a database, and whether a fork is waiting for them."""

    def __init__(self) -> None:
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
def inside_database() -> Iterator[None]:
    """Keep other threads from forking meanwhile."""
    gate = _gate
    with gate.changed:
        gate.changed.wait_for(lambda: not gate.is_forking, FORK_SECONDS)
        gate.inside += 1
    try:
        yield
    finally:
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
