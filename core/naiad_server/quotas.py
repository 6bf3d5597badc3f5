"""Quotas: the limits of projects and tokens, and how much of them is used.

A client above one gets 429 with a reason and Retry-After; nothing is stored of the request, and the client keeps it.
A quota is set for one project, or for all that have none of their own: `*`. Without one there is no limit.

    points and bytes     counted in memory, added to the database every few seconds (by several replicas alike)
    requests a second    of each token, counted in the memory of each replica
"""

from __future__ import annotations

import threading
from datetime import datetime, timezone

from sqlalchemy import BigInteger, Column, Connection, Float, MetaData, Table, Text, delete, insert, select, update
from sqlalchemy.engine import Engine
from sqlalchemy.exc import IntegrityError

from naiad import clock
from naiad.errors import InvalidArgument, StorageError, shown
from naiad_server.tokens import connected

KINDS = {
    "runs": "runs, models and versions of a project",
    "fields-per-run": "fields of each run of a project, as they are counted when its data is folded",
    "points-per-day": "points that a project gets in a day (UTC)",
    "content-bytes": "bytes of files that a project has sent",
    "requests-per-second": "requests of a token, on average over ten seconds",
}
EVERY = "*"
LOOK_SECONDS = 1.0
"""The time between two looks at the database, each a few short queries; a revoked token ends within it."""
BURST_SECONDS = 10.0
MOST_TOKENS = 10_000
TOTAL = ""
"""In the column of the day: for a use that counts for all time."""

metadata = MetaData()

quota_table = Table(
    "quota",
    metadata,
    Column("project", Text, primary_key=True),  # "*": of all that have none of their own
    Column("kind", Text, primary_key=True),
    Column("most", Float, nullable=False),
)

usage_table = Table(
    "usage",
    metadata,
    Column("project", Text, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("day", Text, primary_key=True),
    Column("used", BigInteger, nullable=False),
)


class Exceeded(Exception):
    """A quota that is used up: the reason, and the seconds after which it is worth another try."""

    def __init__(self, reason: str, seconds: float, kind: str) -> None:
        super().__init__(reason)
        self.seconds = seconds
        self.kind = kind


class Quotas:
    """The quotas of a server, and their use."""

    def __init__(self, engine: Engine, *, is_made: bool = False) -> None:
        """`is_made`: whether its tables are made elsewhere, as those of a database are."""
        self._engine = engine
        self._lock = threading.Lock()
        self._limits: dict[tuple[str, str], float] = {}
        self._used: dict[tuple[str, str, str], int] = {}
        self._new: dict[tuple[str, str, str], int] = {}
        self._buckets: dict[str, tuple[float, float]] = {}
        if not is_made:
            metadata.create_all(engine)

    def set(self, project: str, kind: str, most: float | None) -> None:
        """Set a quota of a project, or of `*`; None ends it.

        Raises:
            InvalidArgument: there is no such quota, or it is below zero.
            StorageError: the database is away.
        """
        if kind not in KINDS or (most is not None and not most >= 0):
            raise InvalidArgument(f"A quota is a number of {', '.join(KINDS)}, not {shown(kind)} {most}.")
        with connected(self._engine) as connection:
            own = (quota_table.c.project == project) & (quota_table.c.kind == kind)
            connection.execute(delete(quota_table).where(own))
            if most is not None:
                connection.execute(insert(quota_table), {"project": project, "kind": kind, "most": most})
        self.look()

    def all(self) -> list[tuple[str, str, float, int]]:
        """Return project, kind, limit and use of every quota.

        Raises:
            StorageError: the database is away.
        """
        self.look()
        return [
            (project, kind, most, self._used.get((project, kind, _day(kind)), 0))
            for (project, kind), most in sorted(self._limits.items())
        ]

    def most(self, project: str, kind: str) -> float | None:
        """Return the quota of a project; None if there is none."""
        found = self._limits.get((project, kind))
        return found if found is not None else self._limits.get((EVERY, kind))

    def require(self, project: str, kind: str, more: float, used: float | None = None) -> None:
        """Raise if a project may not get so much more.

        Raises:
            Exceeded: it may not.
        """
        most = self.most(project, kind)
        if most is None:
            return
        # Counted before it is stored: two requests at once may both pass, and are over by one request at most.
        now = self._used_of(project, kind) if used is None else used
        if now + more > most:
            seconds = _left_of_day() if kind == "points-per-day" else 3600.0
            reason = (
                f"The project {shown(project)} has {now:,.0f} of {most:,.0f} {kind}, and {more:,.0f} more are too many."
            )
            raise Exceeded(reason, seconds, "OverQuota")

    def require_fields(self, project: str, count: int) -> None:
        """Raise if a run of a project has more fields than it may; one that has as many goes on and can end.

        Raises:
            Exceeded: it has.
        """
        most = self.most(project, "fields-per-run")
        if most is not None and count > most:
            what = f"has {count:,} fields, more than the quota of {most:,.0f} fields-per-run."
            raise Exceeded(f"A run of the project {shown(project)} {what}", 3600.0, "OverQuota")

    def add(self, project: str, kind: str, more: int) -> None:
        """Count the points or bytes that a project got."""
        if more:
            with self._lock:
                key = project, kind, _day(kind)
                self._new[key] = self._new.get(key, 0) + more

    def require_rate(self, token: str) -> None:
        """Raise if a token makes too many requests.

        Raises:
            Exceeded: it does.
        """
        rate = self.most(EVERY, "requests-per-second")
        if rate is None:
            return
        now = clock.monotonic()
        with self._lock:
            # A full bucket is what a token without one gets, so dropping all forgives at most one burst.
            if len(self._buckets) >= MOST_TOKENS:
                self._buckets.clear()
            left, at = self._buckets.get(token, (rate * BURST_SECONDS, now))
            left = min(rate * BURST_SECONDS, left + (now - at) * rate)
            self._buckets[token] = (left - 1 if left >= 1 else left), now
        if left < 1:
            wait = (1 - left) / rate if rate else BURST_SECONDS
            raise Exceeded(
                f"This token asks more often than {rate:g} times a second, which is its quota.", wait, "TooManyRequests"
            )

    def save(self) -> None:
        """Add the new counts to the database.

        Raises:
            StorageError: it is away; they are added later.
        """
        with self._lock:
            new, self._new = self._new, {}
        try:
            if new:
                with connected(self._engine) as connection:
                    for key, more in new.items():
                        self._add(connection, key, more)
        except StorageError:
            # Taken back, so that what came while the database was away counts later.
            with self._lock:
                for key, more in new.items():
                    self._new[key] = self._new.get(key, 0) + more
            raise

    def _add(self, connection: Connection, key: tuple[str, str, str], more: int) -> None:
        project, kind, day = key
        row = usage_table.c
        own = (row.project == project) & (row.kind == kind) & (row.day == day)
        changed = connection.execute(update(usage_table).where(own).values(used=row.used + more))
        if not changed.rowcount:
            values = {"project": project, "kind": kind, "day": day, "used": more}
            try:
                with connection.begin_nested():
                    connection.execute(insert(usage_table), values)
            except IntegrityError:  # another replica was faster
                connection.execute(update(usage_table).where(own).values(used=row.used + more))

    def _used_of(self, project: str, kind: str) -> int:
        key = project, kind, _day(kind)
        with self._lock:
            return self._used.get(key, 0) + self._new.get(key, 0)

    def look(self) -> None:
        """Read limits and use anew.

        Raises:
            StorageError: the database is away.
        """
        self.save()
        days = {TOTAL, _day("points-per-day")}
        with connected(self._engine) as connection:
            limits = connection.execute(select(quota_table)).all()
            used = connection.execute(select(usage_table).where(usage_table.c.day.in_(days))).all()
        self._limits = {(row.project, row.kind): row.most for row in limits}
        with self._lock:
            self._used = {(row.project, row.kind, row.day): row.used for row in used}


def _day(kind: str) -> str:
    return datetime.fromtimestamp(clock.now(), timezone.utc).date().isoformat() if kind.endswith("-day") else TOTAL


def _left_of_day() -> float:
    return 86_400.0 - clock.now() % 86_400.0
