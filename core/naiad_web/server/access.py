"""Access: permissions, the token of a store, the tickets made from it, and the hosts that are served.

A ticket is for one target, path and query of a URL, and for one minute. It is a hash of both under a key that follows
from the token, so that nothing has to be remembered, and a server that was started anew accepts it.

    ticket = base64url(expiry, 6 bytes of milliseconds || first 18 bytes of HMAC-SHA256(key, expiry || target))
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from naiad import clock
from naiad.address import state_folder, store_key
from naiad.errors import NotPermitted
from naiad.storage.base import Store

TICKET_SECONDS = 60.0
TICKET = re.compile(r"[A-Za-z0-9_-]{32}")
LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]"})


@dataclass(frozen=True)
class Grant:
    """The permissions of a request, by its token or ticket."""

    key: str
    """Of the token that it was given for, so that tickets end with it."""
    is_editable: bool = False
    may_delete: bool = False
    project: str | None = None
    """The one project that it is for; None for all of the store."""
    refusal: str = "This server was started without --edit, so it changes nothing."
    """Why a change is not permitted."""
    facts: Mapping[str, object] | None = None
    """Further members of `GET /api/v1`."""


class Rules(Protocol):
    """The access rules of a server: permissions by token and ticket."""

    def serves(self, host: str) -> bool:
        """Whether a `Host` header names this server."""

    def grant(self, token: str) -> Grant | None:
        """Return the permissions of a token; None if it is not known."""

    def is_at_hand(self, token: str) -> bool:
        """Whether `grant` answers at once, without a database."""

    def ticket(self, target: str, grant: Grant) -> str:
        """Return a ticket for a target."""

    def admitted(self, ticket: str, target: str) -> Grant | None:
        """Return the permissions of a ticket; None if it is over, or for another target."""

    def view(self, store: Store, grant: Grant) -> Store:
        """Return a store as a grant shows it."""


@dataclass(frozen=True)
class Access:
    """The rules of `naiad ui`: one token, the names of the server, and whether changes are possible."""

    token: str
    hosts: frozenset[str] = LOOPBACK
    is_editable: bool = False

    def grant(self, token: str) -> Grant | None:
        """Return the permissions of a token; None if it is not known."""
        return self._own if self.knows(token) else None

    def is_at_hand(self, _token: str) -> bool:
        """Return True: the token is in memory."""
        return True

    def admitted(self, ticket: str, target: str) -> Grant | None:
        """Return the permissions of a ticket; None if it is over, or for another target."""
        return replace(self._own, is_editable=False, may_delete=False) if self.admits(ticket, target) else None

    @property
    def _own(self) -> Grant:
        return Grant(self.token, self.is_editable, self.is_editable)

    def view(self, store: Store, _grant: Grant) -> Store:
        """Return the whole store."""
        return store

    def knows(self, token: str) -> bool:
        """Whether it is the token; the time does not depend on how much of it is right."""
        return hmac.compare_digest(token.encode("utf-8", "replace"), self.token.encode())

    def serves(self, host: str) -> bool:
        """Whether a `Host` header names this server; the port may be any."""
        name = host.lower().rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host.lower()
        return name in self.hosts

    def ticket(self, target: str, grant: Grant | None = None) -> str:
        """Return a ticket for a target."""
        return make_ticket((grant or self._own).key, target)

    def admits(self, ticket: str, target: str) -> bool:
        """Whether a ticket is for this target and not over."""
        return is_ticket(self.token, ticket, target)


def make_ticket(key: str, target: str) -> str:
    """Return a ticket for a target, made with a key."""
    until = round((clock.now() + TICKET_SECONDS) * 1000).to_bytes(6, "big")
    return base64.urlsafe_b64encode(until + _mark(key, until, target)).decode()


def is_ticket(key: str, ticket: str, target: str) -> bool:
    """Whether a ticket was made with a key, is for this target and not over."""
    # the decoder ignores foreign characters, so that "x&path=y" would be the same ticket
    if not TICKET.fullmatch(ticket):
        return False
    data = base64.urlsafe_b64decode(ticket)
    until, mark = data[:6], data[6:]
    # The upper limit too: a clock that was set back must not make a ticket valid for years.
    return hmac.compare_digest(mark, _mark(key, until, target)) and (
        clock.now() * 1000 < int.from_bytes(until, "big") <= (clock.now() + TICKET_SECONDS + 1) * 1000
    )


def _mark(key: str, until: bytes, target: str) -> bytes:
    # A key of its own, derived from the token: a mark never reveals anything that serves as the token.
    own = hashlib.sha256(b"naiad ticket 1\0" + key.encode()).digest()
    return hmac.digest(own, until + target.encode("utf-8", "surrogateescape"), "sha256")[:18]


def own_token(store: str, *, is_new: bool = False) -> str:
    """Return the token of this user for a store, and make it the first time.

    It lies in a file of mode 0600 outside of the store.

    Args:
        store: the address of the store.
        is_new: replace it.

    Raises:
        NotPermitted: the file belongs to another user, or others may read it.
    """
    file = state_folder() / "tokens" / store_key(store)
    if not is_new:
        known = _read(file)
        if known:
            return known
    token = secrets.token_urlsafe(32)
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    part = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    # made under another name with its mode, so that nobody can open it before it is private
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(token + "\n")
    if is_new:
        os.replace(part, file)
        return token
    try:
        os.link(part, file)  # of two that begin at once one wins
    except FileExistsError:
        if not _read(file):  # what is there is no token
            os.replace(part, file)
            return token
    finally:
        part.unlink(missing_ok=True)
    return _read(file) or token


def _read(file: Path) -> str:
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return ""
    with os.fdopen(descriptor) as stream:
        # of the open file, since the name may mean another one by now
        found = os.fstat(stream.fileno())
        if found.st_uid != os.geteuid() or found.st_mode & 0o077:
            raise NotPermitted(
                f"The token in {file} can be read by other users, so it is not used.\n"
                "Replace it with: naiad ui --new-token",
                errno=13,
                filename=str(file),
            )
        token = stream.read(200).strip()
    return token if len(token) >= 32 and token.isascii() and token.isprintable() else ""
