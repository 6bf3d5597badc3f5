"""Access: the permissions of a token or of a person that a trusted proxy names, and the store as they show it.

    browser --- cookie ---> oauth2-proxy, ingress --- X-Forwarded-User: ana ---> server
                            (signs in, by OIDC)       X-Forwarded-Groups: a,b    from --trusted-proxy alone

A request of a proxy gets a mark in place of a token, which only this process can make, so that all that follows
handles tokens alone. A person has the role of their membership; there are no passwords and no sessions here.
"""

from __future__ import annotations

import base64
import hmac
import ipaddress
import json
import logging
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from naiad.storage.base import Store
from naiad_server.tokens import Token, Tokens
from naiad_server.view import StoreView
from naiad_web.server.access import Grant, is_ticket, make_ticket

DOT = "."
MARK = "proxied."
LONGEST_NAME = 500
_log = logging.getLogger("naiad_server")


class Proxies:
    """The proxies that may name the person behind a request."""

    def __init__(self, networks: Sequence[str]) -> None:
        """`networks`: addresses or networks, as in 10.0.0.0/8.

        Raises:
            ValueError: one of them is none.
        """
        self._networks = [ipaddress.ip_network(each, strict=False) for each in networks]
        self._ignored: set[str] = set()

    def has(self, peer: str) -> bool:
        """Whether a request from an address comes from one of them."""
        try:
            place = ipaddress.ip_address(peer)
        except ValueError:
            return False
        return any(place in network for network in self._networks)

    def note_forged(self, peer: str) -> None:
        """Log, once, an address that names a person and is no trusted proxy."""
        # Bounded: requests from many addresses could otherwise fill the memory.
        if peer not in self._ignored and len(self._ignored) < 1000:
            self._ignored.add(peer)
            _log.warning("X-Forwarded-User from %s is ignored: it is no --trusted-proxy.", peer)


@dataclass(frozen=True)
class ServerGrant(Grant):
    """The permissions of a token of the server."""

    role: str = "viewer"
    principal: str = ""
    is_proxied: bool = False
    """Whether a browser adds it to every request, also to one that a page of another site causes."""


class ServerRules:
    """The access rules of a server; see `naiad_web.server.access.Rules`."""

    def __init__(
        self,
        tokens: Tokens,
        hosts: frozenset[str] | None,
        view: Callable[[Store, str | None], StoreView],
        facts: Callable[[Token], dict[str, object]],
    ) -> None:
        """Make the rules.

        Args:
            tokens: the tokens of the server.
            hosts: the names by which it is known; None: any.
            view: makes the view of a project.
            facts: the members that `GET /api/v1` has beyond those of `naiad ui`.
        """
        self._tokens = tokens
        self._hosts = hosts
        self._view = view
        self._facts = facts
        # Of this process alone: a request is marked and answered by the same one, so no replica has to share it.
        self._key = secrets.token_bytes(32)

    def serves(self, host: str) -> bool:
        """Whether a `Host` header names this server; the port may be any."""
        name = host.lower().rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host.lower()
        return self._hosts is None or name in self._hosts

    def grant(self, token: str) -> ServerGrant | None:
        """Return the permissions of a token; None if it is not known or over."""
        if token.startswith(MARK):
            return self._proxied(token)
        known = self._tokens.known(token)
        return None if known is None else self._granted(known)

    def is_at_hand(self, token: str) -> bool:
        """Whether `grant` needs no database for a token."""
        return self._tokens.is_at_hand(token)

    def mark(self, user: str, groups: Sequence[str]) -> str:
        """Return the mark of a request that a trusted proxy has made for a person."""
        text = base64.urlsafe_b64encode(json.dumps([user[:LONGEST_NAME], *groups[:100]]).encode()).decode()
        return f"{MARK}{text}{DOT}{self._signed(text)}"

    def _signed(self, text: str) -> str:
        return hmac.new(self._key, text.encode(), "sha256").hexdigest()

    def _proxied(self, mark: str) -> ServerGrant | None:
        text, _, signature = mark.removeprefix(MARK).partition(DOT)
        if not hmac.compare_digest(self._signed(text).encode(), signature.encode("utf-8", "replace")):
            return None
        user, *groups = json.loads(base64.urlsafe_b64decode(text))
        member = self._tokens.member(user, groups)
        if member is None:
            return None
        token = Token("", secrets.token_hex(16), user, member.role, member.project, 0.0, None, "", False)
        return replace(self._granted(token), is_proxied=True)

    def ticket(self, target: str, grant: Grant) -> str:
        """Return a ticket for a target. It ends with the token that it was made with."""
        name, _, key = grant.key.partition(DOT)
        return f"{name}{DOT}{make_ticket(key, target)}"

    def admitted(self, ticket: str, target: str) -> ServerGrant | None:
        """Return the permissions of a ticket; None if it or its token is over, or it is for another target."""
        # The id of the token stands before the ticket, so that it ends with its token: revoked means that no ticket
        # works any more.
        name, _, mark = ticket.partition(DOT)
        known = self._tokens.find(name)
        if known is None or not known.is_valid or not is_ticket(known.secret_sha256, mark, target):
            return None
        return self._granted(known)

    def view(self, store: Store, grant: Grant) -> Store:
        """Return the store as a grant shows it."""
        return self._view(store, grant.project)

    def _granted(self, token: Token) -> ServerGrant:
        return ServerGrant(
            key=f"{token.id}{DOT}{token.secret_sha256}",
            is_editable=token.has_role("contributor"),
            may_delete=token.has_role("owner"),
            project=token.project,
            refusal=f"The role {token.role!r} of this token does not permit that.",
            facts=self._facts(token),
            role=token.role,
            principal=token.principal,
        )
