"""The parts of a server that its routes share, and the body of a request to one of them."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import anyio
import anyio.to_thread
from starlette.requests import Request

from naiad.errors import shown
from naiad.storage.base import Store
from naiad.storage.receiving import Receiver, Registered
from naiad_server import bodies
from naiad_server.access import Proxies, ServerGrant, ServerRules
from naiad_server.folding import Folding
from naiad_server.intake import Intake
from naiad_server.metrics import Metrics
from naiad_server.quotas import Quotas
from naiad_server.tokens import Tokens
from naiad_server.workers import Worker
from naiad_web.server.answers import Problem

SMALL = 256 * 1024
"""The size from which a body is checked in a thread, as other requests would wait meanwhile."""
LISTINGS = 4
"""Threads that list claims, beside those of requests, all of which a silent object store would hold."""
NO_CLAIMS: Mapping[str, int] = MappingProxyType({})


@dataclass
class Server:
    """A server: its store, its receiving end, and who may use it."""

    store: Store
    receiver: Receiver
    tokens: Tokens
    metrics: Metrics
    intake: Intake
    folding: Folding | Worker
    rules: ServerRules
    proxies: Proxies
    quotas: Quotas
    epoch: str = ""
    """The epoch of the receiving end; empty while its database has not been reached yet."""
    joins: threading.RLock = field(default_factory=threading.RLock)
    """Held while joined content is counted, and while the quota is compared with all of it; never during a request to
    the database or the objects, for which the look at tokens and quotas would wait too."""
    listings: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(LISTINGS))

    def look(self) -> None:
        """Read the epoch, and count content that was joined from parts."""
        self.epoch = self.receiver.epoch or self.epoch
        self.count_joined()

    def count_joined(self) -> None:
        """Count content that was joined from parts since the last call."""
        uploads = self.receiver.uploads
        if uploads is not None:
            with self.joins:
                for project, size in uploads.joined():
                    self.metrics.blobs.inc(size)
                    self.quotas.add(project, "content-bytes", size)

    async def claimed(self, project: str) -> Mapping[str, int]:
        """Return the bytes of the content that other replicas join for a project with a quota, by SHA-256.

        Raises:
            StorageError: the objects or the database cannot be used now.
        """
        uploads = self.receiver.uploads
        if uploads is None or self.quotas.most(project, "content-bytes") is None:
            return NO_CLAIMS
        return await anyio.to_thread.run_sync(uploads.claimed, project, limiter=self.listings)

    def require_content(self, project: str, sha256: str, size: int, claimed: Mapping[str, int] = NO_CLAIMS) -> None:
        """Raise if a project may not get so many bytes of content, beside those that are being joined from parts.

        Args:
            project: the name of the project.
            sha256: of the content.
            size: of the content.
            claimed: the content that other replicas join.

        Raises:
            Exceeded: it may not.
        """
        uploads = self.receiver.uploads
        with self.joins:
            self.count_joined()
            joining = 0 if uploads is None else uploads.joining(project, sha256, claimed)
            self.quotas.require(project, "content-bytes", size + joining)

    def registered(self, uid: str, grant: ServerGrant) -> Registered | None:
        """Return a container that a token may write; None if there is none."""
        found = self.receiver.find(uid)
        return found if found is not None and grant.project in (None, found.project) else None

    def project(self, name: str | None, grant: ServerGrant) -> str:
        """Return the project that a request means.

        Raises:
            Problem: it names none, or one that the token is not for.
        """
        found = name or grant.project
        if found is None:
            raise Problem(
                400, "BadRequest", "Name the project: this token is valid for all projects.", argument="project"
            )
        if grant.project not in (None, found):
            raise Problem(404, "ProjectNotFound", f"There is no project {shown(found)}.")
        return found


Serve = Callable[[Server, Request, ServerGrant], Awaitable[Any]]
"""A route: it returns the answer to a request whose token has its role."""


async def body_of(request: Request, kind: type[bodies.T], *, is_binary: bool = False) -> bodies.T:
    """Return the body of a request, checked.

    Raises:
        Problem: it is not what the route takes.
    """
    body = await bodies.received(request)
    encoding = request.headers.get("content-encoding", "").strip().lower()
    media = request.headers.get("content-type", "")

    def read() -> bodies.T:
        return bodies.decoded(bodies.unpacked(body, encoding), media, kind, is_binary=is_binary)

    return read() if len(body) < SMALL and not encoding else await anyio.to_thread.run_sync(read)
