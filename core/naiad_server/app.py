"""The application: the routes of the server around those of the pages. core/docs/server-protocol.md describes them.

A mistake in one part concerns that part alone; the others of the request are stored.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import re
import shutil
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

import anyio.to_thread
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route as PathRoute
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from naiad import clock, trash
from naiad.container_kinds import KINDS, RUN, RunId, is_project_key
from naiad.errors import ModelKeyTaken, NaiadError, NaiadValueError, NameTaken, NewerFormat, StorageError, shown
from naiad.ids import is_uid
from naiad.slots import RECORD
from naiad.storage.base import Store
from naiad.storage.receiving import Accepted, Piece, Receiver, Registered, Sealing
from naiad_server import bodies
from naiad_server.access import Proxies, ServerGrant, ServerRules
from naiad_server.bodies import BlobsBody, JournalBody, MemberBody, ProjectBody, RunBody, TokenBody
from naiad_server.folding import Folding
from naiad_server.intake import Intake
from naiad_server.metrics import Metrics
from naiad_server.quotas import LOOK_SECONDS, Exceeded, Quotas
from naiad_server.tokens import ROLES, Token, Tokens
from naiad_server.view import StoreView
from naiad_server.workers import Worker
from naiad_web.server.answers import PROBLEM, Problem
from naiad_web.server.answers import encoded as as_json
from naiad_web.server.app import application as pages_application
from naiad_web.server.problems import problem_of
from naiad_web.server.routes import API

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Serve = Callable[["Server", Request, ServerGrant], Awaitable[Any]]

CONTENT = 2
"""The codec of a part whose bytes are content, named by its SHA-256."""
FORMAT = 1
"""The newest version of core/FORMAT.md that is accepted."""
SMALL = 256 * 1024
"""Bytes that are checked at once; more would keep other requests waiting, and are checked in a thread."""
REFERENCE = re.compile(rb'\\?"blob\\?": ?\\?"([0-9a-f]{64})(?![0-9a-f])')
"""A reference to content, as it stands in ops."""
LEAST_FREE = 16 * 1024 * 1024
"""Free bytes of the disk below which the server is not ready: a group may not fit."""
SHA256 = re.compile(r"[0-9a-f]{64}")
DRAIN_SECONDS = 10.0
"""How long an error waits for the rest of the body that it refuses."""
RETRY_SECONDS = {503: "1"}
LONGEST_RETRY = 60.0
"""Seconds after which a client asks again at the latest: a quota may have been raised."""
_log = logging.getLogger("naiad_server")


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
        proxies: addresses or networks of the proxies whose X-Forwarded headers are believed.
    """
    metrics = Metrics()
    folding = Folding(str(store), metrics) if worker is None else worker(metrics)
    intake = Intake(receiver, folding, metrics)
    rules = ServerRules(
        tokens,
        hosts,
        lambda of, project: StoreView(of, receiver, project, url),
        lambda token: {"server": _facts(token, receiver)},
    )
    trusted, quotas = Proxies(proxies), Quotas(tokens.engine, is_made=tokens.is_made)
    server = Server(store, receiver, tokens, metrics, intake, folding, rules, trusted, quotas)

    @contextlib.asynccontextmanager
    async def life() -> AsyncIterator[None]:
        folding.begin(receiver)
        tasks = [
            asyncio.create_task(each) for each in (intake.commit_groups(), folding.fold_runs(), _follow(tokens, quotas))
        ]
        try:
            yield
        finally:
            # The loops first, then the rest of the queue: what was accepted but not committed would be lost to
            # clients that wait for their answers.
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await intake.end()
            await folding.end()
            with contextlib.suppress(StorageError):
                quotas.save()

    own = [PathRoute(path, Endpoint(server, serve, role), methods=[method]) for method, path, serve, role in ROUTES]
    operation = [
        PathRoute("/readyz", _Plain(_ready, server), methods=["GET", "HEAD"]),
        PathRoute("/metrics", _Plain(_metrics, server), methods=["GET", "HEAD"]),
    ]
    app: Starlette = pages_application(store, rules, first=[*operation, *own], life=life)
    counted: Any = _Counted(app, server)
    if proxies:
        counted = ProxyHeadersMiddleware(counted, [*proxies])
    return _Peer(counted)


class _Peer:
    """Middleware that keeps the address of a request's sender, which the headers of a proxy may replace."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        await self._app({**scope, "naiad.peer": str((scope.get("client") or ("", 0))[0])}, receive, send)


class _Counted:
    """Middleware of every answer: the epoch, the counters, and the version of the protocol."""

    def __init__(self, app: Starlette, server: Server) -> None:
        self._app = app
        self._server = server

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        epoch = self._server.receiver.epoch.encode()
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
    disk = _disk(server.store)
    if disk is not None:
        server.metrics.disk.set(disk.total)
        server.metrics.disk_free.set(disk.free)
    return Response(server.metrics.text(), media_type="text/plain; version=0.0.4")


def _refused(problem: Problem) -> Response:
    headers = {"Retry-After": RETRY_SECONDS[problem.status]} if problem.status in RETRY_SECONDS else None
    return Response(as_json(problem.as_json()), problem.status, headers, PROBLEM)


def _facts(token: Token, receiver: Receiver) -> dict[str, Any]:
    return {
        "protocols": list(bodies.PROTOCOLS),
        "format": FORMAT,
        "role": token.role,
        "project": token.project,
        "epoch": receiver.epoch,
        "limits": {
            "body": bodies.LARGEST,
            "unpacked": bodies.LARGEST_UNPACKED,
            "parts": bodies.MOST_PARTS,
            "blob": bodies.LARGEST_BLOB,
        },
    }


# Writing


async def _body(request: Request, kind: type[bodies.T], *, is_binary: bool = False) -> bodies.T:
    body = await bodies.received(request)
    encoding = request.headers.get("content-encoding", "").strip().lower()
    media = request.headers.get("content-type", "")

    def read() -> bodies.T:
        return bodies.decoded(bodies.unpacked(body, encoding), media, kind, is_binary=is_binary)

    return read() if len(body) < SMALL and not encoding else await anyio.to_thread.run_sync(read)


async def _follow(tokens: Tokens, quotas: Quotas) -> None:
    """Look at tokens and quotas every few seconds. While the database is away, those known before count."""
    while True:
        for each in (tokens, quotas):
            with contextlib.suppress(StorageError):
                await anyio.to_thread.run_sync(each.look)
        await asyncio.sleep(LOOK_SECONDS)


async def register(server: Server, request: Request, grant: ServerGrant) -> Any:
    """Register a container."""
    takes = await _body(request, RunBody)
    if takes.format > FORMAT:
        what = f"This server reads runs up to format {FORMAT}, and this one has format {takes.format}."
        raise Problem(426, "NewerFormat", what)
    if not is_uid(takes.uid):
        raise Problem(400, "BadRequest", f"{shown(takes.uid)} is not a uid.", argument="uid")
    kind = next((each for each in KINDS if each.name == takes.kind), None)
    if kind is None:
        raise Problem(400, "BadRequest", f"There is no kind {shown(takes.kind)}.", argument="kind")
    project = server.project(takes.project, grant)
    # A uid of another project is answered as one that does not exist: a 403 would say that it does.
    known = server.receiver.find(takes.uid)
    if known is not None and grant.project not in (None, known.project):
        raise Problem(404, "RunNotFound", f"There is no {kind.noun} {takes.uid}.")

    def made() -> tuple[Registered, bool]:
        if known is None and server.quotas.most(project, "runs") is not None:
            server.quotas.require(project, "runs", 1, server.receiver.count(project))
        return server.receiver.register(
            RunId(takes.uid, kind),
            project,
            custom_run_id=takes.custom_run_id if kind is RUN else None,
            wish=takes.id,
            parent=takes.parent,
            is_exact=takes.is_exact,
        )

    try:
        found, is_new = await anyio.to_thread.run_sync(made)
    except NameTaken as error:
        kind_of_error = "ModelKeyTaken" if isinstance(error, ModelKeyTaken) else "Conflict"
        facts = {name: fact for name, fact in error.facts.items() if isinstance(fact, str)}
        raise Problem(409, kind_of_error, str(error), **facts) from None
    if grant.project not in (None, found.project):  # it lay in the folder already
        raise Problem(404, "RunNotFound", f"There is no {kind.noun} {takes.uid}.")
    names = {"uid": found.run.uid, "id": found.id, "kind": found.run.kind.name, "project": found.project}
    return {**names, "is_new": is_new}


@dataclass
class _Checked:
    """The parts of a request after they were checked."""

    pieces: list[Piece]
    sealings: list[Sealing]
    writers: dict[tuple[RunId, str], bool]
    refused: list[tuple[str, str, str, str]]


async def journal(server: Server, request: Request, grant: ServerGrant) -> Any:
    """Take bytes of journal files."""
    # The room is asked for before the body is read: a server that is behind refuses a request while it is still
    # small.
    length = request.headers.get("content-length", "0")
    server.intake.require_room(int(length) if length.isdigit() else bodies.LARGEST)
    takes = await _body(request, JournalBody, is_binary=True)
    size = sum(len(part[5]) for part in takes.parts)
    if size < SMALL and not any(part[3] == CONTENT for part in takes.parts):
        checked = _checked(server, grant, takes)
    else:
        checked = await anyio.to_thread.run_sync(_checked, server, grant, takes)
    points: dict[str, int] = {}
    for piece in checked.pieces:
        known = server.receiver.find(piece.run.uid)
        if known is not None and piece.file.endswith(".seg"):
            points[known.project] = points.get(known.project, 0) + len(piece.data) // RECORD
    # Before the queue, so that nothing of a request over the quota is stored.
    for project, count in points.items():
        server.quotas.require(project, "points-per-day", count)
    accepted = await server.intake.accept(checked.pieces, checked.sealings, checked.writers)
    if accepted.parts:  # a repeat counts as little as it stores
        for project, count in points.items():
            server.quotas.add(project, "points-per-day", count)
    server.metrics.parts.labels("refused").inc(len(checked.refused))
    return _answer(server, grant, takes, checked, accepted)


def _checked(server: Server, grant: ServerGrant, takes: JournalBody) -> _Checked:
    found = _Checked([], [], {}, [])
    missing: set[str] = set()

    def run_of(uid: str) -> RunId | None:
        known = server.registered(uid, grant)
        if known is None and uid not in missing:
            missing.add(uid)
            found.refused.append((uid, "", "RunNotFound", f"There is no run {uid[:100]!r}: register it first."))
        return None if known is None else known.run

    for uid, writer, is_alive in takes.writers:
        run = run_of(uid)
        if run is not None and is_uid(writer):  # the same letters
            found.writers[run, writer] = is_alive
    # A file with a broken part gets none of the parts behind it: they would be refused anyway, as they do not
    # continue it.
    broken: set[tuple[str, str]] = set()
    for uid, file, start, codec, crc, data in takes.parts:
        run = run_of(uid)
        if run is None or (uid, file) in broken:
            continue
        try:
            if not server.receiver.is_name(file):
                raise Problem(400, "BadName", f"{shown(file)} is not the name of a journal file.")
            if codec == CONTENT:
                data, codec = _content(server, uid, grant, data), 0
            data = _undone(data, codec, crc, file)
            _require_own_content(server, uid, grant, file, data)
            found.pieces.append(server.receiver.checked(run, file, start, data))
        except (Problem, NaiadValueError, NewerFormat) as error:
            kind = error.kind if isinstance(error, Problem) else "BadPart"
            kind = "NewerFormat" if isinstance(error, NewerFormat) else kind
            broken.add((uid, file))
            found.refused.append((uid, file, kind, str(error)))
    for uid, file, end, crc in takes.sealed:
        run = run_of(uid)
        if run is not None and (uid, file) not in broken and server.receiver.is_name(file):
            found.sealings.append(Sealing(run, file, end, crc))
    return found


def _content(server: Server, uid: str, grant: ServerGrant, sha256: bytes) -> bytes:
    """The bytes of a part that was sent as content, because it is larger than a request may be.

    Raises:
        NaiadValueError: the project has no such content.
    """
    known = server.registered(uid, grant)
    return server.receiver.content_bytes("" if known is None else known.project, sha256.hex())


def _require_own_content(server: Server, uid: str, grant: ServerGrant, file: str, data: bytes) -> None:
    """Raise if ops refer to content of another project, which they would make readable: a hash gives no right to it.

    Raises:
        Problem: they do.
    """
    names = {match.decode() for match in REFERENCE.findall(data)} if file.endswith(".ops") else set()
    known = server.registered(uid, grant) if names else None
    if known is not None and server.receiver.foreign_content(known.project, names):
        raise Problem(400, "BadPart", f"{shown(file)} refers to content that this project has not sent.")


def _undone(data: bytes, codec: int, crc: int, file: str) -> bytes:
    """The bytes of a part as they lie in the file.

    Raises:
        NaiadValueError: the codec is not known, or the crc is another one.
    """
    if codec == 1 and len(data) % RECORD == 0:
        import numpy as np  # twice as fast as slices

        data = np.frombuffer(data, np.uint8).reshape(RECORD, -1).T.tobytes()
    elif codec != 0:
        raise NaiadValueError(f"A part of {shown(file)} has codec {codec} and {len(data)} bytes.")
    if zlib.crc32(data) != crc:
        raise NaiadValueError(f"The CRC of a part of {shown(file)} does not match its bytes.")
    return data


def _answer(server: Server, grant: ServerGrant, takes: JournalBody, checked: _Checked, accepted: Accepted) -> Any:
    refused = [*checked.refused]
    upto: list[tuple[str, str, int, bool]] = []
    known: dict[str, Any] = {}
    named = [*((part[0], part[1]) for part in takes.parts), *((each[0], each[1]) for each in takes.sealed)]
    for uid, file in dict.fromkeys(named):
        found = server.registered(uid, grant)
        if found is None:
            # Known when the parts were checked, and deleted by another replica before they were stored.
            if (uid, "") not in {(each[0], each[1]) for each in refused}:
                refused.append((uid, "", "RunNotFound", f"There is no run {uid[:100]!r}: it was deleted."))
            continue
        position = accepted.files.get((found.run, file))
        if position is None and server.receiver.is_name(file):  # all its parts were refused
            if uid not in known:
                known[uid] = server.receiver.received(found.run)
            position = known[uid].get(file)
        if position is not None:
            upto.append((uid, file, position.upto, position.is_sealed))
        if (found.run, file) in accepted.mismatched:
            refused.append((uid, file, "Mismatch", "The server has other bytes of this file than its client."))
    return {"after": server.intake.after, "now": clock.now(), "upto": upto, "refused": refused}


async def positions(server: Server, request: Request, grant: ServerGrant) -> Any:
    """How far each file of a container was received."""
    uid = request.path_params["uid"]
    found = server.registered(uid, grant)
    if found is None:
        raise Problem(404, "RunNotFound", f"There is no run {uid[:100]!r}.")
    known = await anyio.to_thread.run_sync(server.receiver.received, found.run)
    return {
        "uid": uid,
        "upto": {file: each.upto for file, each in known.items()},
        "sealed": [file for file, each in known.items() if each.is_sealed],
    }


async def take_blob(server: Server, request: Request, grant: ServerGrant) -> Any:
    """Take in content."""
    sha256 = request.path_params["sha256"]
    if not SHA256.fullmatch(sha256):
        raise Problem(400, "BadRequest", f"{shown(sha256[:100])} is not a SHA-256 in hexadecimal.")
    project = server.project(request.query_params.get("project"), grant)
    length = request.headers.get("content-length", "0")
    await anyio.to_thread.run_sync(
        server.quotas.require, project, "content-bytes", int(length) if length.isdigit() else 0
    )
    size = 0
    # The context ends in a thread, because its end hashes, syncs and links. Left by an error, it ends here and
    # removes the file.
    with contextlib.ExitStack() as stack:
        try:
            content = stack.enter_context(server.receiver.content(project, sha256))
            async for data in request.stream():
                if data:
                    await anyio.to_thread.run_sync(content.write, data)
                    size += len(data)
            await anyio.to_thread.run_sync(stack.pop_all().close)
        except NaiadValueError as error:
            raise Problem(422, "Mismatch", str(error)) from None
    server.metrics.blobs.inc(size)
    server.quotas.add(project, "content-bytes", size)
    return {"sha256": sha256, "size": size}


async def ask_blobs(server: Server, request: Request, grant: ServerGrant) -> Any:
    """List the content that a project has, of some hashes."""
    takes = await _body(request, BlobsBody)
    project = server.project(takes.project, grant)
    return {"have": await anyio.to_thread.run_sync(server.receiver.content_of, project, takes.blobs)}


# Administration


async def list_tokens(server: Server, _request: Request, grant: ServerGrant) -> Any:
    """The tokens that an owner may see: those of the project, or all."""
    return {
        "tokens": [
            {
                "id": token.id,
                "principal": token.principal,
                "role": token.role,
                "project": token.project,
                "created": token.created,
                "expires": token.expires,
                "last_used": token.last_used or None,
                "is_revoked": token.is_revoked,
            }
            for token in await anyio.to_thread.run_sync(server.tokens.all, grant.project)
        ]
    }


async def add_token(server: Server, request: Request, grant: ServerGrant) -> Any:
    """Make a token."""
    takes = await _body(request, TokenBody)
    project = takes.project
    if grant.role != "admin":
        project = server.project(takes.project, grant)
    # An owner makes no admin: a token never gives more than it has.
    if takes.role in ROLES and ROLES.index(takes.role) > ROLES.index(grant.role):
        raise Problem(403, "Forbidden", grant.refusal)
    token, text = await anyio.to_thread.run_sync(
        lambda: server.tokens.add(takes.principal, takes.role, project, takes.days, by=grant.principal)
    )
    return {"id": token.id, "token": text}


async def revoke_token(server: Server, request: Request, grant: ServerGrant) -> Any:
    """End a token."""
    name = request.path_params["id"]
    known = server.tokens.find(name)
    if known is None or grant.project not in (None, known.project):
        raise Problem(404, "NotFound", f"There is no token {name[:100]!r}.")
    if ROLES.index(known.role) > ROLES.index(grant.role):
        raise Problem(403, "Forbidden", grant.refusal)
    await anyio.to_thread.run_sync(lambda: server.tokens.revoke(name, by=grant.principal))
    return {"id": name}


async def list_members(server: Server, _request: Request, _grant: ServerGrant) -> Any:
    """The people and groups that have a role."""
    members = await anyio.to_thread.run_sync(server.tokens.members)
    return {"members": [{"name": each.name, "role": each.role, "project": each.project} for each in members]}


async def set_member(server: Server, request: Request, grant: ServerGrant) -> Any:
    """Give a person or a group a role."""
    takes = await _body(request, MemberBody)
    member = await anyio.to_thread.run_sync(
        lambda: server.tokens.set_member(takes.name, takes.role, takes.project, by=grant.principal)
    )
    return {"name": member.name, "role": member.role, "project": member.project}


async def remove_member(server: Server, request: Request, grant: ServerGrant) -> Any:
    """End a membership."""
    name = request.path_params["name"]
    if not await anyio.to_thread.run_sync(lambda: server.tokens.remove_member(name, by=grant.principal)):
        raise Problem(404, "NotFound", f"There is no member {name[:100]!r}.")
    return {"name": name}


async def list_audit(server: Server, _request: Request, _grant: ServerGrant) -> Any:
    """The latest changes of tokens, members, projects and the trash."""
    entries = await anyio.to_thread.run_sync(server.tokens.audit)
    return {
        "entries": [
            {"at": each.at, "principal": each.principal, "action": each.action, "subject": each.subject}
            for each in entries
        ]
    }


async def add_project(server: Server, request: Request, grant: ServerGrant) -> Any:
    """Make a project."""
    takes = await _body(request, ProjectBody)
    if takes.key is not None and not is_project_key(takes.key):
        raise Problem(400, "BadRequest", f"{shown(takes.key)} is not a key of a project.", argument="key")
    key = await anyio.to_thread.run_sync(server.receiver.add_project, takes.name, takes.key)
    server.tokens.note(grant.principal, "project.add", takes.name)
    return {"name": takes.name, "key": key}


async def delete_container(server: Server, request: Request, grant: ServerGrant) -> Any:
    """Delete a container that is in the trash, for good."""
    view = server.rules.view(server.store, grant)

    def delete() -> list[str]:
        items = trash.find(view, [request.path_params["id"]])
        trash.require_in_trash(view, items)
        return [item.id for item in trash.delete(view, items)]

    deleted = await anyio.to_thread.run_sync(delete)
    server.tokens.note(grant.principal, "container.delete", ", ".join(deleted))
    return {"deleted": deleted}


ROUTES: tuple[tuple[str, str, Serve, str], ...] = (
    ("POST", f"{API}/runs", register, "contributor"),
    ("POST", f"{API}/journal", journal, "contributor"),
    ("GET", f"{API}/runs/{{uid}}/journal", positions, "viewer"),
    ("PUT", f"{API}/blobs/{{sha256}}", take_blob, "contributor"),
    ("POST", f"{API}/blobs", ask_blobs, "contributor"),
    ("GET", f"{API}/tokens", list_tokens, "owner"),
    ("POST", f"{API}/tokens", add_token, "owner"),
    ("DELETE", f"{API}/tokens/{{id}}", revoke_token, "owner"),
    ("POST", f"{API}/projects", add_project, "admin"),
    ("GET", f"{API}/members", list_members, "admin"),
    ("POST", f"{API}/members", set_member, "admin"),
    ("DELETE", f"{API}/members/{{name}}", remove_member, "admin"),
    ("GET", f"{API}/audit", list_audit, "admin"),
    ("DELETE", f"{API}/containers/{{id}}", delete_container, "owner"),
)
"""Method, path, function and least role of each route that the server adds."""
