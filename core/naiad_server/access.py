"""Access: the permissions of a token, and the store as it shows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from naiad.storage.base import Store
from naiad_server.tokens import Token, Tokens
from naiad_server.view import StoreView
from naiad_web.server.access import Grant, is_ticket, make_ticket

DOT = "."


@dataclass(frozen=True)
class ServerGrant(Grant):
    """The permissions of a token of the server."""

    role: str = "viewer"
    principal: str = ""


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

    def serves(self, host: str) -> bool:
        """Whether a `Host` header names this server; the port may be any."""
        name = host.lower().rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host.lower()
        return self._hosts is None or name in self._hosts

    def grant(self, token: str) -> ServerGrant | None:
        """Return the permissions of a token; None if it is not known or over."""
        known = self._tokens.known(token)
        return None if known is None else self._granted(known)

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
