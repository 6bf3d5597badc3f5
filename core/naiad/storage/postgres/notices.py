"""Notices of changes between the processes over one database, by LISTEN and NOTIFY.

    replica that takes bytes, fold, deletion       replica with a page that is open, worker
    1 commit                                       1 LISTEN, on a connection of its own
    2 NOTIFY, if it has sent none just now         2 look at the database
                                                   3 wait for a notice; look when it comes, and once more a little later

A notice may be lost, with its connection or behind a pooler (PgBouncer), so a waiting process also looks without one,
less often. Notices only shorten the delay.
"""

from __future__ import annotations

import contextlib
import math
from typing import Any

import psycopg
from sqlalchemy.engine import Engine

from naiad import clock
from naiad.errors import StorageError
from naiad.storage.postgres.connection import OPTIONS, autocommit, refusal

CHANGED = "naiad_changed"
"""Something that readers see may have changed."""
DUE = "naiad_due"
"""A run may be due for a fold."""
SPARE_SECONDS = 0.5
"""The least time between two notices of a kind: PostgreSQL commits transactions with notices one after the other."""
AGAIN_SECONDS = 0.6
"""The time after which a listener counts a notice once more: its sender may have left out a later one."""
RETRY_SECONDS = 5.0
ECHO_SECONDS = 2.0
"""The time in which a connection must receive its own notice; otherwise a pooler between loses notices."""
SEND = "select set_config('synchronous_commit', 'off', true), pg_notify(channel, '') from unnest(%s::text[]) channel"
"""In a transaction of its own, after the commit of the change: other senders would wait for its wait for the disk."""


class Sender:
    """Sends the notices of one process."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._sent: dict[str, float] = {}

    def send(self, *channels: str) -> None:
        """Send notices on some channels, after a commit; none is sent while the database is away."""
        now = clock.monotonic()
        left = [each for each in channels if now >= self._sent.get(each, -math.inf) + SPARE_SECONDS]
        if not left:
            return
        self._sent.update(dict.fromkeys(left, now))
        # The change is committed, so an error here must not be reported as its failure.
        with contextlib.suppress(StorageError), autocommit(self._engine) as raw:
            raw.execute(SEND, [left])


class Listener:
    """Receives the notices on one channel; see `naiad.storage.base.Listener`. For one thread."""

    def __init__(self, engine: Engine, channel: str) -> None:
        self._address = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
        self._channel = channel
        self._connection: psycopg.Connection[Any] | None = None
        self._again_at = math.inf
        self._retry_at = -math.inf

    def wait(self, seconds: float) -> bool:
        """Wait for a notice, at most so many seconds; return whether there was one.

        Raises:
            StorageError: none can be received now; the next call tries again.
        """
        began = clock.monotonic()
        if self._connection is None and began < self._retry_at:
            raise StorageError("The database announces no changes now.")
        try:
            if self._connection is None:
                self._connection = self._connected()
                return True  # one may have been sent before
            left = max(0.0, min(began + seconds, self._again_at) - clock.monotonic())
            for _ in self._connection.notifies(timeout=left, stop_after=1):
                self._again_at = clock.monotonic() + AGAIN_SECONDS
                return True
        except psycopg.Error as error:
            self.close()
            self._retry_at = clock.monotonic() + RETRY_SECONDS
            raise refusal(error) from error
        is_again = clock.monotonic() >= self._again_at
        if is_again:
            self._again_at = math.inf
        return is_again

    def _connected(self) -> psycopg.Connection[Any]:
        """Connect, and listen.

        Raises:
            psycopg.Error: that is not possible.
        """
        # Not from the pool, whose connections are for statements; keepalives detect a connection that was cut off.
        connection = psycopg.connect(
            self._address,
            autocommit=True,
            **OPTIONS,
            application_name="naiad notices",
            keepalives_idle=15,
            keepalives_interval=5,
            keepalives_count=3,
        )
        try:
            connection.execute(f"listen {self._channel}")  # a name of this module
            connection.execute(SEND, [[self._channel]])
            if not any(True for _ in connection.notifies(timeout=ECHO_SECONDS, stop_after=1)):
                raise psycopg.OperationalError("a pooler between loses the notices of the database")
        except psycopg.Error:
            connection.close()
            raise
        return connection

    def close(self) -> None:
        """Stop listening."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
