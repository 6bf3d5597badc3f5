"""The gate for forks: a fork waits while another thread is inside SQLite or a late import.

A child forked at such a moment inherits a locked mutex, or a module half made, that no thread of its own will ever
release or finish. Waiting is bounded: after `FORK_SECONDS` the fork proceeds, because training that stands still is
worse than a child that may not read.

    thread in SQLite, stop(), fold       forking thread                    child
    ------------------------------       --------------                    -----
    holding_forks(): inside = 1
      use SQLite                         os.fork() -> close the gate,
    inside = 0, notify  -------------->    wait until inside == 0
    next one waits at the gate           fork                     ----->   a gate of its own, open
    goes on  <--------------------------  open the gate                    followers: forked(), which gives
                                                                           each run a journal of its own
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import sys
import threading
import weakref
from collections.abc import Iterator
from typing import Protocol

from naiad import clock
from naiad.lazy import when_imported

FORK_SECONDS = 5.0
IMPORT_SECONDS = 5.0


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
    # Counted for each thread: one that holds forks back and enters again would wait at the gate for itself.
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


class Follower(Protocol):
    """Who goes on in a forked child."""

    def forked(self) -> None:
        """In the child: begin anew there."""


_followers: weakref.WeakSet[Follower] = weakref.WeakSet()


def follow(follower: Follower) -> None:
    """Call `forked()` of a follower in each forked child from now on."""
    _permit_forks()
    _followers.add(follower)


@functools.cache
def _permit_forks() -> None:
    """Silence Python 3.12's warning at each fork beside a thread.

    naiad's own threads cause it in programs that had none, and they are safe: the gate above keeps a fork from coming
    between, and each child begins with locks of its own.
    """
    if sys.version_info >= (3, 12):
        import warnings

        warnings.filterwarnings("ignore", r"This process \(pid=\d+\) is multi-threaded", DeprecationWarning)


def unfollow(follower: Follower) -> None:
    """Stop calling a follower in forked children."""
    _followers.discard(follower)


def _renew() -> None:
    """Replace the gate in a forked child, whose only thread holds no part of it."""
    global _gate
    _gate = _Gate()


def _close() -> None:
    _gate.close()


def _open() -> None:
    _gate.open()


os.register_at_fork(before=_close, after_in_parent=_open, after_in_child=_renew)


def _after_fork() -> None:
    for follower in list(_followers):
        follower.forked()


def _before_fork() -> None:
    """Wait while another thread imports a module that naiad loads late.

    A child forked during such an import could never finish it.
    """
    until = clock.monotonic() + IMPORT_SECONDS
    while len(_followers) and _is_importing() and clock.monotonic() < until:
        clock.sleep(0.001)


def _is_importing() -> bool:
    # A module that another thread is importing has `_initializing` set. Only naiad's late ones are looked at: a
    # program's own imports were as unsafe before.
    specs = (getattr(sys.modules.get(name), "__spec__", None) for name in list(sys.modules) if _late(name))
    return any(getattr(spec, "_initializing", False) for spec in specs)


_late = re.compile(
    r"(naiad|numpy|pandas|sqlalchemy|sqlite3|zstandard|_?hashlib|tempfile|shutil|zipfile|concurrent|pickle)\b"
).match

os.register_at_fork(before=_before_fork, after_in_child=_after_fork)  # after the gate's: it is waited for before that

# `logging` takes its lock in a hook of its own. A thread that holds the gate may need that lock, so the gate is closed
# before it: what is registered last comes first. Closing it twice is closing it once.
when_imported("logging", lambda _logging: os.register_at_fork(before=_close))
