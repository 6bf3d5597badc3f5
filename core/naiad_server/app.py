"""The application: the routes of the server around those of the pages. core/docs/server-protocol.md describes them."""

from __future__ import annotations

import asyncio
import contextlib
import math
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping, Sequence
from functools import partial
from typing import Any

import anyio
import anyio.to_thread
from starlette.applications import Starlette
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route as PathRoute
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from naiad import clock
from naiad.errors import NaiadError, NewerFormat, StorageError
from naiad.storage.base import Store
from naiad.storage.receiving import Receiver
from naiad_server import administration, bodies, shipments
from naiad_server.access import Proxies, ServerGrant, ServerRules
from naiad_server.folding import Folding
from naiad_server.intake import Intake
from naiad_server.metrics import Metrics
from naiad_server.quotas import LOOK_SECONDS, Exceeded, Quotas
from naiad_server.server import Serve, Server
from naiad_server.server_trash import IN_FLIGHT_SECONDS, settle_left
from naiad_server.shipments import FORMAT
from naiad_server.tokens import ROLES, Token, Tokens
from naiad_server.view import StoreView
from naiad_server.workers import Worker
from naiad_web.server.answers import PROBLEM, Problem
from naiad_web.server.answers import encoded as as_json
from naiad_web.server.app import Gate
from naiad_web.server.app import application as pages_application
from naiad_web.server.problems import problem_of
from naiad_web.server.routes import API

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

JOURNAL = f"{API}/journal"
LEAST_FREE = 16 * 1024 * 1024
"""Free bytes of the disk below which the server is not ready: a group may not fit."""
DRAIN_SECONDS = 10.0
"""How long an error waits for the rest of the body that it refuses."""
RETRY_SECONDS = {503: "1"}
LONGEST_RETRY = 60.0
"""Seconds after which a client asks again at the latest: a quota may have been raised."""


def application(
    store: Store,
    receiver: Receiver,
    tokens: Tokens,
    hosts: frozenset[str] | None,
    url: str,
    worker: Callable[[Metrics], Worker] | None = None,
    proxies: Sequence[str] = (),
) -> Any:
    """Make the application that takes runs for a store and serves them.

    Args:
        store: the store.
        receiver: its receiving end.
        tokens: the tokens of the server.
        hosts: the names by which it is known; None: any.
        url: its address.
        worker: makes the worker of a database; without one, runs are in a folder.
        proxies: addresses or networks of the proxies whose X-Forwarded headers count.
    """
    metrics = Metrics()
    folding = Folding(str(store), metrics) if worker is None else worker(metrics)
    intake = Intake(receiver, folding, metrics)
    rules = ServerRules(
        tokens,
        hosts,
        lambda of, project: StoreView(of, receiver, project, url),
        lambda token: {"server": _facts(token, server.epoch)},
    )
    trusted, quotas = Proxies(proxies), Quotas(tokens.engine, is_made=tokens.is_made)
    server = Server(store, receiver, tokens, metrics, intake, folding, rules, trusted, quotas)

    own = [PathRoute(path, Endpoint(server, serve, role), methods=[method]) for method, path, serve, role in ROUTES]
    [journal] = [route for route in own if route.path == JOURNAL]
    operation = [
        PathRoute("/readyz", _Plain(_ready, server), methods=["GET", "HEAD"]),
        PathRoute("/metrics", _Plain(_metrics, server), methods=["GET", "HEAD"]),
    ]
    app: Starlette = pages_application(store, rules, first=[*operation, *own], life=partial(_life, server))
    counted: Any = _Counted(_Direct(app, journal, ServerErrorMiddleware(Gate(journal.endpoint, rules))), server)
    if proxies:
        counted = ProxyHeadersMiddleware(counted, [*proxies])
    return _Peer(counted)


@contextlib.asynccontextmanager
async def _life(server: Server) -> AsyncIterator[None]:
    """Commit and fold while the server runs."""
    server.folding.begin(server.receiver)
    await anyio.to_thread.run_sync(server.look)
    with contextlib.suppress(StorageError):  # later, then
        await anyio.to_thread.run_sync(settle_left, server)
    server.intake.begin()
    tasks = [asyncio.create_task(each) for each in (server.folding.fold_runs(), _follow(server))]
    try:
        yield
    finally:
        # The loops first, then the rest of the queue: what was accepted but not committed would be lost to
        # clients that wait for their answers.
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.intake.end()
        # Before the rest, which may take longer than the supervisor of the process waits until it kills it.
        await _save_counts(server)
        try:
            await server.folding.end()
            if server.receiver.uploads is not None:  # one that is at its end is taken in still, and counts
                await anyio.to_thread.run_sync(server.receiver.uploads.close)
        finally:
            await _save_counts(server)


async def _save_counts(server: Server) -> None:
    """Save the use of quotas, unless the database is away."""
    server.count_joined()
    with contextlib.suppress(StorageError):
        await anyio.to_thread.run_sync(server.quotas.save)


class _Peer:
    """Middleware that keeps the address of a request's sender, which the headers of a proxy may replace."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        await self._app({**scope, "naiad.peer": str((scope.get("client") or ("", 0))[0])}, receive, send)


class _Direct:
    """Middleware that passes journals to their route at once, and all other requests to Starlette.

    Its layers and its search for the route take a tenth of the time of a small journal, and most requests are such.
    """

    def __init__(self, app: Starlette, route: PathRoute, direct: ServerErrorMiddleware) -> None:
        """`direct`: the endpoint of the route behind the gate; unforeseen errors are answered as by Starlette."""
        self._app = app
        self._route = route
        self._direct = direct

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "http" and scope["method"] == "POST" and scope["path"] == self._route.path:
            scope["route"] = self._route  # by which it is counted
            await self._direct(scope, receive, send)
        else:
            await self._app(scope, receive, send)


class _Counted:
    """Middleware of every answer: the epoch, the counters, and the version of the protocol."""

    def __init__(self, app: _Direct, server: Server) -> None:
        self._app = app
        self._server = server

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        epoch = self._server.epoch.encode()
        metrics = self._server.metrics
        headers = {name.lower(): value for name, value in scope["headers"]}
        scope = self._named(scope, headers)

        async def send_counted(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"naiad-epoch", epoch)]
                # By route, not by path: a label for each run or blob would make a series of Prometheus for each.
                route = getattr(scope.get("route"), "path", "") or scope["path"][:1]
                metrics.requests.labels(route, str(message["status"])).inc()
                if message["status"] == 401:
                    metrics.refused_tokens.inc()
            await send(message)

        version = headers.get(b"naiad-protocol", b"1").decode("latin-1")
        # Before any body is read: a client of another version sends what this one would misread.
        if version not in map(str, bodies.PROTOCOLS) and scope["path"].startswith(API):
            what = f"This server speaks versions {list(bodies.PROTOCOLS)} of the protocol, not {version[:20]!r}."
            problem = Problem(426, "UpgradeRequired", what, protocols=list(bodies.PROTOCOLS))
            await _refused(problem)(scope, receive, send_counted)
            return
        await self._app(scope, receive, send_counted)

    def _named(self, scope: Scope, headers: dict[bytes, bytes]) -> Scope:
        """Return a request with the mark of the person that a trusted proxy names; of others the name is ignored."""
        user = headers.get(b"x-forwarded-user", b"").decode("utf-8", "replace").strip()
        if not user:
            return scope
        peer = scope["naiad.peer"]
        if not self._server.proxies.has(peer):
            self._server.metrics.forged.inc()
            self._server.proxies.note_forged(peer)
            return scope
        # A program behind the proxy has a token of its own; the pages send an empty one if they have none.
        if headers.get(b"authorization", b"").strip().lower() not in (b"", b"bearer"):
            return scope
        names = headers.get(b"x-forwarded-groups", b"").decode("utf-8", "replace").split(",")
        mark = self._server.rules.mark(user, [name.strip() for name in names if name.strip()])
        others = [(name, value) for name, value in scope["headers"] if name.lower() != b"authorization"]
        return {**scope, "headers": [*others, (b"authorization", f"Bearer {mark}".encode())]}


class Endpoint:
    """One route of the server: its token, its role, and its answer. An instance is an ASGI application."""

    def __init__(self, server: Server, serve: Serve, role: str) -> None:
        self._server = server
        self._serve = serve
        self._role = role

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        arriving = _Body(receive)
        request = Request(scope, arriving)
        try:
            grant = await self._granted(request)
            self._server.quotas.require_rate(grant.key)
            found = await self._serve(self._server, request, grant)
            body, media = bodies.encoded(found, request.headers.get("accept", ""))
            response = Response(body, media_type=media)
        except Problem as problem:
            response = _refused(problem)
        except Exceeded as exceeded:
            self._server.metrics.over_quota.labels(exceeded.kind).inc()
            response = _refused(Problem(429, exceeded.kind, str(exceeded)))
            response.headers["Retry-After"] = str(max(1, math.ceil(min(exceeded.seconds, LONGEST_RETRY))))
        except NewerFormat as error:
            response = _refused(Problem(426, "NewerFormat", str(error)))
        except (NaiadError, OSError) as error:
            response = _refused(problem_of(error, self._server.store))
        if response.status_code >= 400:
            await arriving.drain()
        await response(scope, receive, send)

    async def _granted(self, request: Request) -> ServerGrant:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        grant = None
        if scheme.lower() == "bearer" and token:
            # In a thread, as a token that is not in the cache costs a query of the database.
            rules, text = self._server.rules, token.strip()
            # A thread costs more than all of the check, if the token is in memory.
            grant = rules.grant(text) if rules.is_at_hand(text) else await anyio.to_thread.run_sync(rules.grant, text)
        if grant is None:
            raise Problem(401, "Unauthorized", "A valid token is needed: Authorization: Bearer naiad_...")
        if ROLES.index(grant.role) < ROLES.index(self._role):
            raise Problem(403, "Forbidden", grant.refusal)
        if grant.is_proxied and request.method not in ("GET", "HEAD"):
            _require_own_origin(request)
        return grant


class _Body:
    """The body of a request on its way; its rest is read before an error is answered."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._is_over = False

    async def __call__(self) -> MutableMapping[str, Any]:
        """Return the next piece."""
        message = await self._receive()
        self._is_over = message["type"] != "http.request" or not message.get("more_body", False)
        return message

    async def drain(self) -> None:
        """Read the rest, within bounds: a proxy that cannot send it answers 502 itself, in place of the reason."""
        size = 0
        # Also in time: a client may send nothing before it has the answer, and one without a token must not hold a
        # connection for ever.
        with anyio.move_on_after(DRAIN_SECONDS):
            while not self._is_over and size < bodies.LARGEST_UNPACKED:
                size += len((await self()).get("body", b""))


def _require_own_origin(request: Request) -> None:
    """Raise if a page of another site may have made the browser send a request.

    Raises:
        Problem: it may.
    """
    origin = request.headers.get("origin")
    own = {f"{scheme}://{request.headers.get('host', '')}" for scheme in ("http", "https")}
    if not (origin in own if origin is not None else request.headers.get("sec-fetch-site") == "same-origin"):
        raise Problem(403, "Forbidden", "A change needs Sec-Fetch-Site: same-origin, or the server's own Origin.")


class _Plain:
    """A route for operation, without a token."""

    def __init__(self, serve: Callable[[Server], Response], server: Server) -> None:
        self._serve = serve
        self._server = server

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        await (await anyio.to_thread.run_sync(self._serve, self._server))(scope, receive, send)


def _ready(server: Server) -> Response:
    if not server.store.has_begun():
        return Response("the store is gone\n", 503, media_type="text/plain")
    if problem := server.receiver.problem():
        return Response(f"{problem}\n", 503, media_type="text/plain")
    disk = _disk(server.store)
    if disk is not None and disk.free < LEAST_FREE:
        return Response("the disk of the store is full\n", 503, media_type="text/plain")
    return Response("ok", media_type="text/plain")


def _disk(store: Store) -> Any:
    """Return size and free bytes of the disk of a store; None if it is no folder."""
    try:
        return shutil.disk_usage(str(store))
    except OSError:
        return None


def _metrics(server: Server) -> Response:
    backlog = server.receiver.backlog()
    if backlog is not None:
        server.metrics.inbox.set(backlog.size)
        server.metrics.fold_wait.set(backlog.age)
        server.metrics.fold_runs.set(backlog.runs)
        server.metrics.set_aside.set(backlog.set_aside)
    usage = server.receiver.usage()
    if usage is not None:
        server.metrics.note(usage)
    disk = _disk(server.store)
    if disk is not None:
        server.metrics.disk.set(disk.total)
        server.metrics.disk_free.set(disk.free)
    return Response(server.metrics.text(), media_type="text/plain; version=0.0.4")


def _refused(problem: Problem) -> Response:
    headers = {"Retry-After": RETRY_SECONDS[problem.status]} if problem.status in RETRY_SECONDS else None
    return Response(as_json(problem.as_json()), problem.status, headers, PROBLEM)


def _facts(token: Token, epoch: str) -> dict[str, Any]:
    return {
        "protocols": list(bodies.PROTOCOLS),
        "format": FORMAT,
        "role": token.role,
        "project": token.project,
        "epoch": epoch,
        "limits": {
            "body": bodies.LARGEST,
            "unpacked": bodies.LARGEST_UNPACKED,
            "parts": bodies.MOST_PARTS,
            "blob": bodies.LARGEST_BLOB,
        },
    }


async def _follow(server: Server) -> None:
    """Look at tokens and quotas every few seconds. While the database is away, those known before count."""
    # In a thread of its own: requests may hold all those of the others for as long as their objects do not answer.
    own = anyio.CapacityLimiter(1)
    settled_at = clock.monotonic()
    while True:
        if clock.monotonic() - settled_at > IN_FLIGHT_SECONDS:
            settled_at = clock.monotonic()
            with contextlib.suppress(StorageError):
                await anyio.to_thread.run_sync(settle_left, server, limiter=own)
        for each in (server.tokens, server, server.quotas):
            with contextlib.suppress(StorageError):
                await anyio.to_thread.run_sync(each.look, limiter=own)
        await asyncio.sleep(LOOK_SECONDS)


ROUTES: tuple[tuple[str, str, Serve, str], ...] = (
    ("POST", f"{API}/runs", shipments.register, "contributor"),
    ("POST", JOURNAL, shipments.journal, "contributor"),
    ("GET", f"{API}/runs/{{uid}}/journal", shipments.positions, "viewer"),
    ("PUT", f"{API}/blobs/{{sha256}}", shipments.take_blob, "contributor"),
    ("POST", f"{API}/blobs", shipments.ask_blobs, "contributor"),
    ("POST", f"{API}/blobs/{{sha256}}/upload", shipments.upload_blob, "contributor"),
    ("GET", f"{API}/tokens", administration.list_tokens, "owner"),
    ("POST", f"{API}/tokens", administration.add_token, "owner"),
    ("DELETE", f"{API}/tokens/{{id}}", administration.revoke_token, "owner"),
    ("POST", f"{API}/projects", administration.add_project, "admin"),
    ("GET", f"{API}/members", administration.list_members, "admin"),
    ("POST", f"{API}/members", administration.set_member, "admin"),
    ("DELETE", f"{API}/members/{{name}}", administration.remove_member, "admin"),
    ("GET", f"{API}/audit", administration.list_audit, "admin"),
    ("POST", f"{API}/trash", administration.put_into_trash, "owner"),
    ("POST", f"{API}/restore", administration.restore, "owner"),
    ("DELETE", f"{API}/containers/{{id}}", administration.delete_container, "owner"),
)
"""Method, path, function and least role of each route that the server adds."""
