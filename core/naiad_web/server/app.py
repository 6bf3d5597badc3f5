"""The application: from a request to a route and back, and everything that holds for every answer."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import anyio.to_thread
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route as PathRoute

from naiad.errors import StorageError
from naiad.storage.base import Store
from naiad_web.server import (
    about,
    artifacts,
    changes,
    containers,
    diffs,
    events,
    fields,
    files,
    series,
    storage,
    tables,
    texts,
    views,
)
from naiad_web.server.access import Grant, Rules
from naiad_web.server.answers import (
    JSON,
    PROBLEM,
    SMALLEST_GZIPPED,
    Answer,
    Problem,
    Stream,
    compressed,
    encoded,
    etag,
)
from naiad_web.server.openapi import document
from naiad_web.server.pages import FOLDER, Pages
from naiad_web.server.parameters import LARGEST_BODY, Packed, Parameters, from_body, from_query
from naiad_web.server.problems import problem_of
from naiad_web.server.routes import API, MSGPACK, Route
from naiad_web.server.site import Site, Sites

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

THREADS = 6
"""Requests that read the store at once: more would only wait for each other, and hold memory meanwhile."""

ROUTES: tuple[Route, ...] = (
    *about.ROUTES,
    *tables.ROUTES,
    *containers.ROUTES,
    *fields.ROUTES,
    *series.ROUTES,
    *texts.ROUTES,
    *files.ROUTES,
    *artifacts.ROUTES,
    *diffs.ROUTES,
    *events.ROUTES,
    *views.ROUTES,
    *changes.ROUTES,
    *storage.ROUTES,
)
"""All routes below `/api/v1` but `openapi.json`, which describes them."""

SAFE = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
"""Headers of every answer."""

NOTHING_RUNS = "default-src 'none'; frame-ancestors 'none'"
"""The policy of what is data: nothing in it is ever shown as a document."""
ADDED = tuple(
    (name.lower().encode(), value.encode())
    for name, value in {**SAFE, "Content-Security-Policy": NOTHING_RUNS, "Cache-Control": "no-store"}.items()
)
"""The headers that an answer gets where it has none of that name."""


def application(
    store: Store,
    access: Rules,
    pages: Path = FOLDER,
    *,
    more: Sequence[Route] = (),
    first: Sequence[PathRoute] = (),
    life: Callable[[], AbstractAsyncContextManager[None]] = contextlib.nullcontext,
) -> Starlette:
    """Make the application that serves a store.

    Args:
        store: the store, of any back end.
        access: the tokens and the hosts.
        pages: the folder of the pages.
        more: further routes of the interface, as a server has them.
        first: routes that come before all others.
        life: a context around the life of the application.
    """
    sites = Sites(store, access)
    own = Pages(pages)
    by_path: dict[str, list[Route]] = {}
    for route in (*ROUTES, *more):
        by_path.setdefault(API + route.path, []).append(route)

    async def page(request: Request) -> Response:
        known, encodings = (request.headers.get(name, "") for name in ("if-none-match", "accept-encoding"))
        return await anyio.to_thread.run_sync(own.answer, request.url.path, known, encodings)

    async def openapi(_request: Request) -> Response:
        return _sent(Answer(encoded(document([*ROUTES, *more]))))

    async def alive(_request: Request) -> Response:
        return Response("ok", media_type="text/plain")

    async def nothing(request: Request) -> Response:
        return _refused(Problem(404, "NotFound", f"There is no route {request.url.path[:200]!r}."))

    @contextlib.asynccontextmanager
    async def living(_app: Starlette) -> AsyncIterator[dict[str, events.Watchers]]:
        async with life(), events.polling(store) as watchers:
            yield {"watchers": watchers}

    served = [PathRoute(path, _Endpoint(sites, routes), methods=None) for path, routes in by_path.items()]
    app = Starlette(
        routes=[
            *first,
            PathRoute("/healthz", alive),
            PathRoute(f"{API}/openapi.json", openapi),
            *served,
            # Before the pages, which answer every other path: an unknown route of the interface must not be a page
            # with the status 200.
            PathRoute("/api/{rest:path}", nothing, methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]),
            PathRoute("/{rest:path}", page, methods=["GET", "HEAD"]),
        ],
        lifespan=living,
    )
    # Around everything, so that no route can be added without its checks and headers.
    app.add_middleware(Gate, access=access)
    return app


class Gate:
    """The gate of every request: it checks the host, and gives every answer its security headers."""

    def __init__(self, app: Any, access: Rules) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or let the application do it."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        # latin-1 decodes every byte, so that no header can raise here
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        problem = self._refusal(scope, headers)
        answer = self._app if problem is None else _refused(problem)

        async def send_safely(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                present = {name.lower() for name, _value in message["headers"]}
                message["headers"] = [*message["headers"], *(each for each in ADDED if each[0] not in present)]
            await send(message)

        await answer(scope, receive, send_safely)

    def _refusal(self, scope: Scope, headers: dict[str, str]) -> Problem | None:
        # DNS rebinding: a page of another site may give its own name the address 127.0.0.1, but the browser still
        # sends that name.
        host = headers.get("host", "")
        if not self._access.serves(host):
            return Problem(421, "Misdirected", f"This server is not known as {host[:200]!r}; see --allowed-host.")
        # Browsers send this by themselves, and no page can change it. "same-site" is another port of localhost:
        # another program.
        is_foreign = headers.get("sec-fetch-site") in ("cross-site", "same-site")
        if is_foreign and scope["path"].startswith("/api/"):
            return Problem(403, "Forbidden", "Requests from pages of other sites are refused.")
        return None


class _Endpoint:
    """The routes of one path, by their method. An instance is an ASGI application, as Starlette wants it."""

    def __init__(self, sites: Sites, routes: list[Route]) -> None:
        self._sites = sites
        self._by_method = {method: route for route in routes for method in route.methods}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        response: Response | None = None
        # The server ends and waits no longer: raised on, uvicorn would print that with its stack.
        try:
            try:
                response = await self._response(request)
            except Problem as problem:
                response = _refused(problem)
            await response(scope, receive, send)
        except asyncio.CancelledError:
            # A stream, or another answer that is being sent, ends where it is.
            if response is None:
                await _refused(Problem(503, "Stopping", "The server is stopping."))(scope, receive, send)

    async def _response(self, request: Request) -> Response:
        route = self._by_method.get(request.method)
        if route is None:
            names = ", ".join(sorted(self._by_method))
            return _refused(
                Problem(405, "MethodNotAllowed", f"This route takes {names}, not {request.method}."),
                {"Allow": names},
            )
        try:
            grant = await self._grant(request, route)
        except StorageError as error:  # the database of the tokens is away
            return _refused(problem_of(error, self._sites.store))
        if route.is_change:
            self._require_edit(request, route, grant)
        takes = await self._parameters(request, route)
        site = self._sites.site(grant)
        if route.serve is events.stream:
            site.require_store()
            return await events.response(site, takes, request)  # type: ignore[arg-type]  # its own parameters
        return await anyio.to_thread.run_sync(
            functools.partial(self._served, site, route, request.path_params.get("id"), takes, request),
            limiter=_threads(),
        )

    async def _grant(self, request: Request, route: Route) -> Grant:
        """Return the permissions of a request; in a thread if a database has them, so that no other request waits."""
        _scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if self._sites.access.is_at_hand(token.strip()):
            return self._granted(request, route)
        return await anyio.to_thread.run_sync(self._granted, request, route)

    def _granted(self, request: Request, route: Route) -> Grant:
        access = self._sites.access
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if token:
            granted = access.grant(token.strip()) if scheme.lower() == "bearer" else None
            if granted is not None:
                return granted
            raise Problem(401, "Unauthorized", "This token is not valid for this server.")
        query = request.scope["query_string"].decode("latin-1")
        # of the raw query: two spellings of one parameter are two targets
        target, found, ticket = query.rpartition("ticket=")
        # Tickets are for links and images, which send no header; they stand in URLs and logs, so they never permit a
        # change.
        if found and request.method in ("GET", "HEAD") and not route.is_change:
            path = request.scope.get("raw_path", request.scope["path"].encode()).decode("latin-1")
            whole = f"{path}?{target[:-1]}" if target else path
            granted = access.admitted(ticket, whole) if target[-1:] in ("", "&") else None
            if granted is not None:
                return granted
            raise Problem(401, "Unauthorized", "The ticket has expired, or is for another target.")
        raise Problem(
            401,
            "Unauthorized",
            "A token is needed: Authorization: Bearer TOKEN. naiad ui prints it at its start; for the server of a "
            "team, ask the owner of the project.",
        )

    def _require_edit(self, request: Request, route: Route, grant: Grant) -> None:
        if not (grant.may_delete if route.is_deletion else grant.is_editable):
            raise Problem(403, "Forbidden", grant.refusal)
        origin = request.headers.get("origin")
        own = f"{request.url.scheme}://{request.headers.get('host', '')}"
        # a browser cannot be made to leave out Origin on such a request, so its word comes first
        is_ours = origin == own if origin is not None else request.headers.get("sec-fetch-site") == "same-origin"
        if not is_ours:
            raise Problem(403, "Forbidden", "A change needs Sec-Fetch-Site: same-origin, or the server's own Origin.")

    async def _parameters(self, request: Request, route: Route) -> Parameters:
        query = request.scope["query_string"].decode("latin-1")
        pairs = [pair for pair in parse_qsl(query, keep_blank_values=True) if pair[0] != "ticket"]
        if request.method in ("GET", "HEAD"):
            return from_query(route.takes, pairs)
        if pairs:
            raise Problem(400, "BadRequest", f"{request.method} takes its parameters as JSON in the body.")
        media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        wanted = MSGPACK if route.packs else JSON
        if media != wanted:
            raise Problem(415, "UnsupportedMediaType", f"The body must be {wanted}, not {media[:100] or 'nothing'}.")
        body = bytearray()
        async for part in request.stream():
            body += part
            if len(body) > LARGEST_BODY:
                raise Problem(413, "TooLarge", f"A body has at most {LARGEST_BODY:,} bytes.")
        return Packed(content=bytes(body)) if route.packs else from_body(route.takes, bytes(body))

    def _served(self, site: Site, route: Route, name: str | None, takes: Parameters, request: Request) -> Response:
        """Serve a request, in a thread; every failure becomes one sentence."""
        try:
            # a deleted store would look like an empty one
            site.require_store()
            arguments = (site, takes) if name is None else (site, name, takes)
            found = route.serve(*arguments, request.headers) if route.wants_headers else route.serve(*arguments)
            # readers follow by themselves; answers of the last moment do not
            if route.is_change:
                self._sites.forget()
            if isinstance(found, Stream):
                return StreamingResponse(found.parts, found.status, dict(found.headers), found.media)
            answer = found if isinstance(found, Answer) else Answer(encoded(found))
            return _sent(answer, request, is_gzipped=answer.media.startswith(("application/json", "text/csv")))
        except Problem as problem:
            return _refused(problem)
        except Exception as error:  # noqa: BLE001 (the edge of HTTP: whatever failed, the client gets a sentence)
            return _refused(problem_of(error, site.store))


@functools.cache
def _threads() -> anyio.CapacityLimiter:
    return anyio.CapacityLimiter(THREADS)


def _sent(answer: Answer, request: Request | None = None, *, is_gzipped: bool = False) -> Response:
    headers = dict(answer.headers)
    body = answer.body
    if request is not None and answer.status == 200 and request.method in ("GET", "HEAD", "POST"):
        # Of the body before compression, whose bytes differ from one release of zlib to the next.
        tag = headers.setdefault("ETag", etag(body))
        if tag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers={"ETag": tag})
        if is_gzipped:
            headers["Vary"] = "Accept-Encoding"
            if len(body) > SMALLEST_GZIPPED and "gzip" in request.headers.get("accept-encoding", ""):
                body = compressed(body)
                headers["Content-Encoding"] = "gzip"
    return Response(body, answer.status, headers, answer.media)


def _refused(problem: Problem, headers: dict[str, str] | None = None) -> Response:
    return Response(encoded(problem.as_json()), problem.status, headers, PROBLEM)
