"""Tokens and their roles. A token is shown once; its SHA-256 is stored.

    naiad_<id, 8 characters>_<secret, 43 characters>

The secret has 256 bits of its own, so one round of SHA-256 is enough. Tokens are looked up by their ids and compared in
constant time.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import re
import secrets
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timezone
from datetime import datetime as DateTime
from pathlib import Path
from typing import NamedTuple

import sqlalchemy
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Float,
    MetaData,
    Table,
    Text,
    delete,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.engine import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from naiad import clock
from naiad.errors import InvalidArgument, StorageError
from naiad.storage.receiving import NO_TABLES, lacks_tables

ROLES = ("viewer", "contributor", "owner", "admin")
"""Each may do all that the ones before it may."""
CACHE_SECONDS = 30.0
MOST_CACHED = 10_000
DAY = 24 * 3600.0
_form = re.compile(r"naiad_([a-z0-9]{8})_([A-Za-z0-9_-]{43})\Z")
_letters = "abcdefghijklmnopqrstuvwxyz0123456789"

metadata = MetaData()

token_table = Table(
    "token",
    metadata,
    Column("id", Text, primary_key=True),
    Column("secret_sha256", Text, nullable=False),
    Column("principal", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("project", Text),  # null: all projects
    Column("created", Float, nullable=False),
    Column("expires", Float),
    Column("last_used", Text, nullable=False, default=""),  # a date
    Column("is_revoked", Boolean, nullable=False, default=False),
)

audit_table = Table(
    "audit",
    metadata,
    Column("number", BigInteger().with_variant(sqlalchemy.Integer, "sqlite"), primary_key=True),
    Column("at", Float, nullable=False),
    Column("principal", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("subject", Text, nullable=False),
)


member_table = Table(
    "member",
    metadata,
    Column("name", Text, primary_key=True),  # of a person, as the proxy names it; "group:NAME"; "*" for everybody
    Column("role", Text, nullable=False),
    Column("project", Text),  # null: all projects
)


REFUSED = {False: "container.trash-refused", True: "container.restore-refused"}
"""The action in the audit of a journal whose sender may not move runs, by whether the run is in the trash."""
SETTLED = "container.trash-settled"
"""The action after which the run is where it was."""


class Refused(NamedTuple):
    """A journal that would have moved a run to the trash or out of it, and whose sender may not."""

    was_in_trash: bool
    principal: str
    at: float


@dataclass(frozen=True)
class Member:
    """A person or a group that a trusted proxy names, and its role."""

    name: str
    role: str
    project: str | None


@dataclass(frozen=True)
class Entry:
    """One line of the audit."""

    at: float
    principal: str
    action: str
    subject: str


@dataclass(frozen=True)
class Token:
    """One token, without its secret."""

    id: str
    secret_sha256: str
    principal: str
    role: str
    project: str | None
    created: float
    expires: float | None
    last_used: str
    is_revoked: bool

    def has_role(self, role: str) -> bool:
        """Whether it may do all that a role may."""
        return ROLES.index(self.role) >= ROLES.index(role)

    @property
    def is_valid(self) -> bool:
        """Whether it is neither revoked nor expired."""
        return not self.is_revoked and (self.expires is None or clock.now() < self.expires)


@contextlib.contextmanager
def connected(engine: Engine) -> Iterator[Connection]:
    """Begin a transaction with tokens and quotas.

    Raises:
        StorageError: the database is away, or has no tables; a client gets 503 for it and comes back.
    """
    try:
        with engine.begin() as connection:
            yield connection
    except SQLAlchemyError as error:
        if lacks_tables(error):
            raise StorageError(NO_TABLES) from error
        raise StorageError("The tokens and quotas cannot be used now: their database is away.") from error


class Tokens:
    """The tokens of a server, in a database; looked up ones are remembered for some seconds."""

    def __init__(self, engine: Engine, *, is_made: bool = False) -> None:
        """Use a database; its tables are made if need be, unless a migration makes them."""
        self._engine = engine
        self._lock = threading.Lock()
        self._cache: dict[str, tuple[float, Token | None]] = {}
        self._members: dict[str, Member] = {}
        self._members_until = 0.0
        self._latest: tuple[int, int | None] = (0, None)
        """How many changes the audit had at the last look, and the number of the newest."""
        self.is_made = is_made
        """Whether its tables are made elsewhere."""
        if not is_made:
            metadata.create_all(engine)

    @property
    def engine(self) -> Engine:
        """The database of the tokens, which has the quotas too."""
        return self._engine

    def add(
        self, principal: str, role: str, project: str | None = None, days: float | None = None, *, by: str = "command"
    ) -> tuple[Token, str]:
        """Make a token; return it and its text, which is stored nowhere.

        Raises:
            InvalidArgument: there is no such role.
        """
        _require_role(role, project)
        # The id is no secret: it stands in lists and in the audit.
        name = "".join(secrets.choice(_letters) for _ in range(8))
        secret = secrets.token_urlsafe(32)
        created = clock.now()
        expires = None if days is None else created + days * DAY
        token = Token(name, _hashed(secret), principal, role, project, created, expires, "", False)
        with connected(self._engine) as connection:
            connection.execute(insert(token_table), token.__dict__)
            _note(connection, by, "token.add", f"{name} {role} {project or '*'} {principal}")
        return token, f"naiad_{name}_{secret}"

    def known(self, text: str) -> Token | None:
        """Return the token with this text; None if there is none, or it is over."""
        found = _form.match(text)
        token = self.find(found[1]) if found else None
        secret = found[2] if found else ""
        # one comparison whether there is such a token or not
        is_same = hmac.compare_digest(_hashed(secret), token.secret_sha256 if token else "0" * 64)
        if token is None or not is_same or not token.is_valid:
            return None
        self._note_use(token)
        return token

    def is_at_hand(self, text: str) -> bool:
        """Whether `known` needs no database for a text."""
        found = _form.match(text)
        until, token = self._cache.get(found[1], (0.0, None)) if found else (0.0, None)
        return token is not None and clock.monotonic() < until and token.last_used == date.today().isoformat()

    def find(self, name: str) -> Token | None:
        """Return the token with an id, valid or not, as it was some seconds ago at the earliest."""
        now = clock.monotonic()
        with self._lock:
            until, token = self._cache.get(name, (0.0, None))
            latest = self._latest
        # Also that there is none: a client that tries unknown tokens asks the database once for each id.
        if now < until:
            return token
        with connected(self._engine) as connection:
            row = connection.execute(select(token_table).where(token_table.c.id == name)).first()
        token = None if row is None else Token(**row._asdict())
        with self._lock:
            # Emptied as a whole; so many different ids come only from someone who guesses.
            if len(self._cache) >= MOST_CACHED:
                self._cache.clear()
            # After a change meanwhile it may be what was there before it, and no later look would forget it.
            if self._latest == latest:
                self._cache[name] = now + CACHE_SECONDS, token
        return token

    def all(self, project: str | None = None) -> list[Token]:
        """Return the tokens of a project, or all, the newest first."""
        wanted = select(token_table).order_by(token_table.c.created.desc())
        if project is not None:
            wanted = wanted.where(token_table.c.project == project)
        with connected(self._engine) as connection:
            return [Token(**row._asdict()) for row in connection.execute(wanted)]

    def revoke(self, name: str, *, by: str = "command") -> bool:
        """End a token; False if there is none with this id. Other processes notice at their next `look`."""
        with connected(self._engine) as connection:
            changed = connection.execute(update(token_table).where(token_table.c.id == name).values(is_revoked=True))
            _note(connection, by, "token.revoke", name)
        with self._lock:
            self._cache.pop(name, None)
        return bool(changed.rowcount)

    def look(self) -> None:
        """Empty the cache of tokens if any process has changed tokens or members since the last look.

        Raises:
            StorageError: the database is away.
        """
        # Every change is in the audit, written with it. The newest number alone is not enough: PostgreSQL gives it
        # before the commit, so a change that takes longer than a later one has a smaller number.
        with connected(self._engine) as connection:
            count, newest = connection.execute(select(func.count(), func.max(audit_table.c.number))).one()
        with self._lock:
            if (count, newest) != self._latest:
                self._latest = count, newest
                self._cache.clear()
                self._forget_members()

    def note(self, principal: str, action: str, subject: str) -> None:
        """Note a change in the audit."""
        with connected(self._engine) as connection:
            _note(connection, principal, action, subject)

    def audit(self, limit: int = 1000) -> list[Entry]:
        """Return the latest changes, the newest first."""
        wanted = select(audit_table).order_by(audit_table.c.number.desc()).limit(limit)
        with connected(self._engine) as connection:
            rows = connection.execute(wanted)
            return [Entry(row.at, row.principal, row.action, row.subject) for row in rows]

    def unsettled(self) -> dict[str, Refused]:
        """Return the journals that would have moved runs to the trash or out of it, and are not settled, by uid.

        Raises:
            StorageError: the database is away.
        """
        wanted = select(audit_table).where(audit_table.c.action.in_([*REFUSED.values(), SETTLED]))
        found: dict[str, Refused] = {}
        with connected(self._engine) as connection:
            for row in connection.execute(wanted.order_by(audit_table.c.number)):
                if row.action == SETTLED:
                    found.pop(row.subject, None)
                else:
                    found.setdefault(row.subject, Refused(row.action == REFUSED[True], row.principal, row.at))
        return found

    # People, as a trusted proxy names them

    def members(self) -> list[Member]:
        """Return all members, by name."""
        with connected(self._engine) as connection:
            rows = connection.execute(select(member_table).order_by(member_table.c.name))
            return [Member(row.name, row.role, row.project) for row in rows]

    def set_member(self, name: str, role: str, project: str | None = None, *, by: str = "command") -> Member:
        """Give a person or a group a role, in place of the one before.

        Raises:
            InvalidArgument: there is no such role, or it is for one project where it is of all.
        """
        _require_role(role, project)
        with connected(self._engine) as connection:
            connection.execute(delete(member_table).where(member_table.c.name == name))
            connection.execute(insert(member_table), {"name": name, "role": role, "project": project})
            _note(connection, by, "member.set", f"{role} {project or '*'} {name}")
        self._forget_members()
        return Member(name, role, project)

    def remove_member(self, name: str, *, by: str = "command") -> bool:
        """End a membership; False if there is none. Other processes notice at their next `look`."""
        with connected(self._engine) as connection:
            changed = connection.execute(delete(member_table).where(member_table.c.name == name))
            _note(connection, by, "member.remove", name)
        self._forget_members()
        return bool(changed.rowcount)

    def member(self, user: str, groups: Sequence[str]) -> Member | None:
        """Return the membership that counts for a person: their own, else the highest of their groups, else `*`."""
        now = clock.monotonic()
        if now >= self._members_until:
            latest = self._latest
            self._members = {each.name: each for each in self.members()}
            with self._lock:
                if self._latest == latest:  # as in `find`
                    self._members_until = now + CACHE_SECONDS
        own = self._members.get(user)
        if own is not None:
            return own
        found = [each for name in groups if (each := self._members.get(f"group:{name}")) is not None]
        return max(found, key=lambda each: ROLES.index(each.role), default=self._members.get("*"))

    def _forget_members(self) -> None:
        self._members_until = 0.0

    def _note_use(self, token: Token) -> None:
        today = date.today().isoformat()
        # By day: a row that is written with each request would be the busiest of the server.
        if token.last_used != today:
            with connected(self._engine) as connection:
                connection.execute(update(token_table).where(token_table.c.id == token.id).values(last_used=today))
            with self._lock:
                self._cache.pop(token.id, None)


def open_tokens(folder: Path) -> Tokens:
    """Open the tokens of a folder's server, in a file that its user alone may read."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / "tokens.db"
    # Made with its mode before SQLite opens it, which would make it readable under the usual umask.
    path.touch(mode=0o600)
    engine = sqlalchemy.create_engine(f"sqlite:///{path}", poolclass=NullPool, connect_args={"timeout": 30})
    return Tokens(engine)


def _require_role(role: str, project: str | None) -> None:
    if role not in ROLES:
        raise InvalidArgument(f"There is no role {role!r}. The roles are {', '.join(ROLES)}.", argument="role")
    # An admin may make tokens and delete projects, which no single project can limit.
    if role == "admin" and project is not None:
        raise InvalidArgument("An admin is one of all projects: leave out the project.", argument="project")


def _note(connection: Connection, principal: str, action: str, subject: str) -> None:
    row = {"at": clock.now(), "principal": principal, "action": action, "subject": subject}
    connection.execute(insert(audit_table), row)


def _hashed(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


def as_date(seconds: float | None) -> str:
    """A moment as people read it in a list."""
    return "" if seconds is None else DateTime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d")
