"""Events: changes of a store, sent to every browser by one thread that looks for all.

    watcher, one a project                  stream, one a browser tab
    1 is there any stream? else wait        1 hello, with the mark to resume from
    2 get changes of the catalog            2 wait for events of the watcher
    3 read the watched runs that did        3 send it, with the mark as its id
    4 put it into the streams               4 nothing for 15 s: a comment, so that the connection stays
    5 wait until the store announces a change, or half a second if it announces none

The id of an event is the catalog's mark, which another process understands too: so a stream resumes after the server
was started anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Annotated, Any

import msgspec
from starlette.requests import Request
from starlette.responses import StreamingResponse

from naiad import clock
from naiad.container_kinds import RunId
from naiad.errors import ContainerNotFound, NaiadError
from naiad.kinds import ATOMS, DERIVED, KINDS, SERIES
from naiad.storage.base import Store
from naiad.storage.catalog import Changes, Summary
from naiad_web.server.about import now
from naiad_web.server.answers import Json, Problem, encoded
from naiad_web.server.parameters import Parameters
from naiad_web.server.problems import problem_of
from naiad_web.server.routes import Route
from naiad_web.server.site import Site, gone

LOOK_SECONDS = 0.5
"""How often the store is looked at while something changes; a point that was logged is drawn a second later."""
IDLE_SECONDS = 1.0
"""How often it is looked at after nothing has changed for `QUIET_SECONDS`."""
QUIET_SECONDS = 10.0
ANNOUNCED_SECONDS = 10.0
"""How often a store that announces its changes is looked at without an announcement, which may be lost."""
HEAR_SECONDS = 1.0
"""How long a thread waits for announcements at once; the end of the server waits for it."""
MARGIN_SECONDS = 2.0
"""Added to the age of a page: the end of a run is noted a moment before its last files are written."""
RECENT_SECONDS = 30.0
"""A run that was written to so short a time before a stream began may be newer than the page that opened it."""
ALIVE_SECONDS = 15.0
MOST_STREAMS = 200
MOST_WAITING = 100
"""Events that wait for a browser that does not read; it is cut off then, and resumes from its last id."""
STOP, NOTHING = object(), object()


class EventsWanted(Parameters, frozen=True, kw_only=True):
    """The subject of a stream."""

    project: list[str] = []
    run: Annotated[list[str], msgspec.Meta(max_length=400)] = []
    prefix: list[str] = []
    last_event_id: str = ""
    age: Annotated[float, msgspec.Meta(ge=0)] | None = None
    """Seconds since the page began to read, for a first stream: a run that ended before is not told to it."""


@dataclass(eq=False)
class Subscription:
    """One stream: its subject, and the events that wait to be sent."""

    projects: frozenset[str]
    runs: frozenset[RunId]
    prefixes: tuple[str, ...]
    waiting: asyncio.Queue[Any] = field(default_factory=lambda: asyncio.Queue(MOST_WAITING))

    def put(self, kind: str, data: Json, mark: str) -> None:
        """Let an event wait; of a browser that does not read, the stream ends."""
        with contextlib.suppress(asyncio.QueueFull):
            self.waiting.put_nowait((kind, data, mark))
            return
        # What waited is of no use any more: the browser reconnects with its last id, and gets everything since in one
        # event.
        while not self.waiting.empty():
            self.waiting.get_nowait()
        self.waiting.put_nowait(STOP)

    def concerns(self, row: Summary) -> bool:
        """Whether a container is of a project that it is about."""
        return not self.projects or row.project in self.projects

    def wants(self, path: str) -> bool:
        """Whether a field is one that it is about."""
        return not self.prefixes or any(path == each or path.startswith(f"{each}/") for each in self.prefixes)


@dataclass
class Seen:
    """The fields of a run as they were seen last."""

    counts: dict[str, int] = field(default_factory=dict)
    others: dict[str, Any] = field(default_factory=dict)
    state: str = ""


class Announcements:
    """The changes that a store announces, heard by one thread for all watchers while there is a stream."""

    def __init__(self, store: Store) -> None:
        self._listener = store.listener()
        self._is_heard = False
        self._waiting: set[asyncio.Event] = set()
        self._is_wanted = asyncio.Event()
        self._pool = ThreadPoolExecutor(1, "naiad-hear")

    async def hear(self) -> None:
        """Hear for ever."""
        listener, loop = self._listener, asyncio.get_running_loop()
        if listener is None:
            return
        while True:
            if not self._is_wanted.is_set():
                # Closed: notices that nobody reads would fill the connection, and then the queue of the database.
                await loop.run_in_executor(self._pool, listener.close)
                self._is_heard = False
                await self._is_wanted.wait()
            try:
                is_changed = await loop.run_in_executor(self._pool, listener.wait, HEAR_SECONDS)
                self._is_heard = True
            except (NaiadError, OSError):  # watchers look by themselves until it can be heard again
                is_changed = self._is_heard
                self._is_heard = False
                await asyncio.sleep(LOOK_SECONDS)
            for each in self._waiting if is_changed else ():
                each.set()

    def join(self, changed: asyncio.Event) -> None:
        """Set an event at each announcement."""
        self._waiting.add(changed)
        self._is_wanted.set()

    def leave(self, changed: asyncio.Event) -> None:
        """Set it no longer."""
        self._waiting.discard(changed)
        if not self._waiting:
            self._is_wanted.clear()

    async def wait(self, changed: asyncio.Event, seconds: float) -> None:
        """Wait for an announcement; where none can be heard, so many seconds."""
        if not self._is_heard:
            await asyncio.sleep(seconds)
            return
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(changed.wait(), ANNOUNCED_SECONDS)

    def end(self) -> None:
        """Hear no longer; it may be called again."""
        listener, self._listener = self._listener, None
        if listener is not None:
            self._pool.submit(listener.close)  # in the thread that may still wait for it
        self._pool.shutdown(wait=False)


class Watcher:
    """Looks at a store while there are streams, and sends them its changes."""

    def __init__(self, site: Site, announcements: Announcements) -> None:
        self.site = site
        self._announcements = announcements
        self._changed = asyncio.Event()
        self.name = secrets.token_hex(4)
        self.streams: set[Subscription] = set()
        self._is_wanted = asyncio.Event()
        self._seen: dict[RunId, Seen] = {}
        self._mark: str | None = None
        self._pool = ThreadPoolExecutor(1, "naiad-events")

    async def watch(self) -> None:
        """Look for ever."""
        loop, changed_at = asyncio.get_running_loop(), 0.0
        while True:
            await self._is_wanted.wait()
            self._changed.clear()  # before the look, which a change during it may escape
            # One thread for all streams of a project: a hundred open tabs cost one look at the store.
            looked = await loop.run_in_executor(self._pool, self._look)
            if self._tell(looked):
                changed_at = clock.monotonic()
            # looking costs a transaction of the catalog, also when nothing happens
            is_quiet = clock.monotonic() > changed_at + QUIET_SECONDS
            await asyncio.sleep(LOOK_SECONDS)  # no more often, however many changes there are
            await self._announcements.wait(self._changed, IDLE_SECONDS - LOOK_SECONDS if is_quiet else 0.0)

    async def join(self, stream: Subscription, since: str, age: float) -> tuple[str, list[tuple[str, Json]]]:
        """Let a stream begin: return the mark it begins at, and the events since another one, or of so many seconds.

        Raises:
            Problem: there are too many streams.
        """
        # each holds a connection, and a browser opens a new one when it is refused
        if len(self.streams) >= MOST_STREAMS:
            raise Problem(429, "TooManyStreams", f"There are {MOST_STREAMS} event streams already.")
        loop = asyncio.get_running_loop()
        self.streams.add(stream)  # first, so that nothing falls between what it begins with and what it is told then
        self._is_wanted.set()
        self._announcements.join(self._changed)
        try:
            return await loop.run_in_executor(self._pool, self._begin, stream, since, age)
        except BaseException:  # also of a request that is cancelled: the stream would hold its place for ever
            self.leave(stream)
            raise

    def leave(self, stream: Subscription) -> None:
        """Let a stream end; without one nothing is looked at."""
        self.streams.discard(stream)
        if not self.streams:
            self._is_wanted.clear()
            self._announcements.leave(self._changed)
            self._seen.clear()
            self._mark = None

    def end(self) -> None:
        """End all streams."""
        for stream in [*self.streams]:
            stream.put("", None, "")
        self._pool.shutdown(wait=False, cancel_futures=True)

    # In the thread of the watcher

    def _begin(self, stream: Subscription, since: str, age: float) -> tuple[str, list[tuple[str, Json]]]:
        found = self.site.catalog.changes(since.partition("@")[2] or None if since else None)
        if self._mark is None:
            self._mark = found.mark
        missed: list[tuple[str, Json]] = []
        if since and not found.is_all:
            event = _of_runs(found, stream)
            missed += [("runs", event)] if event else []
        elif since:
            missed.append(("runs", {"changed": [], "removed": [], "all": True}))
        touched = {RunId(row.uid, row.kind) for row in found.rows}
        for run in stream.runs:
            seen = self._read(run)
            if seen is not None:
                self._seen.setdefault(run, seen)
            if seen is None:
                continue
            # Compared with nothing: which points the browser has is not known here, so each series counts as grown.
            event = self._of_fields(run, Seen(), seen)
            # A stream begins after a page has read the run, and what was written between is told here; also to one that
            # goes on, as another tab may have brought the run into it, which has read it before the last event.
            # The last sign of life of one that is over is its end; of one that runs, points may be younger.
            recent = RECENT_SECONDS if seen.state == "running" else min(age + MARGIN_SECONDS, RECENT_SECONDS)
            is_missed = since and (found.is_all or run in touched)
            if is_missed or (event["seen_age"] or 0.0) < recent:
                missed.append(("fields", _for(stream, event)))
        return found.mark, missed

    def _look(self) -> Any:
        try:
            if not self.site.store.has_begun():
                return gone(self.site.store)
            found = self.site.catalog.changes(self._mark)
            is_first, self._mark = self._mark is None, found.mark
            touched = {RunId(row.uid, row.kind) for row in found.rows}
            events = []
            for run in {run for stream in [*self.streams] for run in stream.runs}:
                # The catalog says which runs have changed; the others are not opened, however many are watched.
                if run in touched or run not in self._seen or found.is_all:
                    seen, before = self._read(run), self._seen.get(run)
                    if seen is None:
                        continue
                    self._seen[run] = seen
                    event = None if before is None else self._of_fields(run, before, seen)
                    if event and (
                        event["grown"] or event["changed"] or event["removed"] or seen.state != (before or seen).state
                    ):
                        events.append((run, event))
            return (None if is_first else found), events, found.mark
        except (NaiadError, OSError) as error:
            if not self.site.store.has_begun():
                return gone(self.site.store)
            return Problem(503, type(error).__name__, str(error))

    def _read(self, run: RunId) -> Seen | None:
        """The fields as they are now; None of a run that cannot be read."""
        try:
            reader = self.site.reader(run)
            kinds = reader.kinds()
            counts = reader.counts()
            atoms = reader.atoms()
            others: dict[str, Any] = {path: value for path, (_kind, value) in atoms.items() if path not in SIGNS}
            for path, kind in kinds.items():
                if kind not in ATOMS and kind not in SERIES and path not in DERIVED:
                    others[path] = _stored(reader, path, kind)
            return Seen(counts, others, reader.state())
        except (NaiadError, OSError):
            return None

    def _of_fields(self, run: RunId, before: Seen, seen: Seen) -> dict[str, Any]:
        row_age = None
        with contextlib.suppress(NaiadError, OSError):
            ping = self.site.reader(run).value("sys/ping_time")
            row_age = max(0.0, round(clock.now() - ping / 1e6, 3)) if isinstance(ping, int) else None
        return {
            "run": self.site.id_of(run),
            "uid": run.uid,
            "grown": {path: count for path, count in seen.counts.items() if count != before.counts.get(path)},
            "changed": sorted(
                path for path, value in seen.others.items() if path not in before.others or before.others[path] != value
            ),
            "removed": sorted({*before.counts, *before.others} - {*seen.counts, *seen.others}),
            "state": seen.state,
            "seen_age": row_age,
        }

    # In the loop

    def _tell(self, looked: Any) -> bool:
        """Put changes into the streams; return whether there were any."""
        if isinstance(looked, Problem):
            for stream in [*self.streams]:
                stream.put("gone" if looked.kind == "StoreGone" else "failed", looked.as_json(), "")
                if looked.kind == "StoreGone":
                    stream.put("", None, "")
            return False
        found, events, mark = looked
        told = False
        for stream in [*self.streams]:
            event = _of_runs(found, stream) if found is not None else None
            if event:
                stream.put("runs", event, mark)
                told = True
            for run, fields in events:
                own = _for(stream, fields) if run in stream.runs else None
                if own:
                    stream.put("fields", own, mark)
                    told = True
        return told


SIGNS = ("sys/ping_time", "sys/running_time", "sys/size")
"""Fields that change all the time while a run lives."""


def _stored(reader: Any, path: str, kind: str) -> Any:
    shape = KINDS[kind].shape
    if shape == "tags":
        return frozenset(reader.tags(path))
    if shape == "members":
        return tuple(sorted(reader.members(path).items()))
    return reader.atom(path)[1]


def _of_runs(found: Changes, stream: Subscription) -> dict[str, Json] | None:
    if found.is_all:
        return {"changed": [], "removed": [], "all": True}
    changed = [
        {
            "id": row.id, "uid": row.uid, "kind": row.kind.name, "project": row.project, "name": row.name,
            "state": row.state, "is_new": row.uid in found.new,
        }
        for row in found.rows if stream.concerns(row)
    ]  # fmt: skip
    removed = [{"id": name, "uid": uid} for uid, name in found.removed]
    return {"changed": changed, "removed": removed} if changed or removed else None


def _for(stream: Subscription, event: dict[str, Any]) -> dict[str, Any]:
    if not stream.prefixes:
        return event
    return event | {
        "grown": {path: count for path, count in event["grown"].items() if stream.wants(path)},
        "changed": [path for path in event["changed"] if stream.wants(path) or path.startswith("sys/")],
        "removed": [path for path in event["removed"] if stream.wants(path)],
    }


def stream(_site: Site, _takes: EventsWanted) -> Json:
    """Changes as server-sent events."""
    raise AssertionError("events are answered in the loop")  # `response` below does it, as it never ends


async def response(site: Site, takes: EventsWanted, request: Request) -> StreamingResponse:
    """Begin a stream.

    Raises:
        Problem: there are too many streams; the store cannot be read.
    """
    watchers: Watchers = request.state.watchers
    watcher = watchers.of(site)
    since = takes.last_event_id or request.headers.get("last-event-id", "")
    loop = asyncio.get_running_loop()
    runs, missing = await loop.run_in_executor(None, _found, site, takes.run)
    own = Subscription(frozenset(takes.project), frozenset(runs), tuple(takes.prefix))
    mark, missed = await watcher.join(own, since, RECENT_SECONDS if takes.age is None else takes.age)
    hello = {"now": now(), "server": watcher.name, "resumed": bool(since), "missing": missing}
    first = [_event("hello", hello, mark), *(_event(kind, data, mark) for kind, data in missed)]
    # nginx would gather the stream until its buffer is full, and deliver nothing for minutes.
    headers = {"X-Accel-Buffering": "no"}
    return StreamingResponse(_sent(watcher, own, first), 200, headers, "text/event-stream")


def _found(site: Site, names: Sequence[str]) -> tuple[list[RunId], list[Json]]:
    """The runs with these names, and the names that no run has.

    All tabs of a browser share a stream. One that still shows a deleted run must not end the events of the others.
    """
    found: list[RunId] = []
    missing: list[Json] = []
    for name in names:
        try:
            found.append(site.find(name))
        except ContainerNotFound:
            missing.append(name)
        except (NaiadError, OSError) as error:
            raise problem_of(error, site.store) from None
    return found, missing


async def _sent(watcher: Watcher, own: Subscription, first: Sequence[bytes]) -> AsyncIterator[bytes]:
    try:
        yield b"".join(first)
        while True:
            try:
                event = await asyncio.wait_for(own.waiting.get(), ALIVE_SECONDS)
            except asyncio.TimeoutError:
                # Proxies close connections without traffic, and only a write shows that a browser has gone.
                yield b": alive\n\n"
                continue
            if event is STOP or not event[0]:
                return
            yield _event(*event)
    finally:
        watcher.leave(own)


def _event(kind: str, data: Json, mark: str) -> bytes:
    """One event; its id holds the time, for people, and the mark."""
    name = f"id: {round(clock.now() * 1000)}@{mark}\n".encode() if mark else b""
    return name + f"event: {kind}\ndata: ".encode() + encoded(data) + b"\n\n"


class Watchers:
    """The watchers of an application: one for each project that tokens are for, and one for the whole store."""

    def __init__(self, store: Store) -> None:
        self._announcements = Announcements(store)
        self._hearing = asyncio.create_task(self._announcements.hear())
        self._by_project: dict[str | None, tuple[Watcher, asyncio.Task[None]]] = {}

    def of(self, site: Site) -> Watcher:
        """Return the watcher of a site, which begins when it is first needed."""
        known = self._by_project.get(site.grant.project)
        if known is None:
            watcher = Watcher(site, self._announcements)
            known = self._by_project[site.grant.project] = watcher, asyncio.create_task(watcher.watch())
        return known[0]

    async def end(self) -> None:
        """End all streams."""
        for watcher, task in self._by_project.values():
            watcher.end()
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._hearing.cancel()
        self._announcements.end()


def _warm(store: Store) -> None:
    """Bring the catalog up to date, so that the first request need not wait for that."""
    with contextlib.suppress(NaiadError, OSError):  # who asks is told
        store.catalog().changes()


@contextlib.asynccontextmanager
async def polling(store: Store) -> AsyncIterator[Watchers]:
    """The life of an application: its watchers run while it does."""
    watchers = Watchers(store)
    warming = asyncio.get_running_loop().run_in_executor(None, _warm, store)
    try:
        yield watchers
    finally:
        warming.cancel()
        await watchers.end()


ROUTES = (Route("GET", "/events", stream, EventsWanted, "What changes, as it happens", media=("text/event-stream",)),)
