"""Sync: shipping the runs of a folder to a server, whatever has become of the processes that wrote them.

For each run, in the order in which they were made:

    attach -------- no remote yet: remote.json; a run that was folded before gets a replay of its index
    aim ----------- the user names another address than that of its remote: it goes there if that is safe
    register ------ with its custom id, if it has one
    settle -------- a killed writer left content that is not hashed, or files to be folded: its next writer is this one
    replay -------- the files of a writer are gone, and the server has nothing of it, because it is a new one or was set
                    back to a time before it: it gets a replay of the index
    ship ---------- all journal files, those of other writers that live too
    account ------- other files that are gone before the server had all of them are counted as dropped

A server that does not answer gets one request of 3 s at most, and is left alone then: runs of other servers do not
wait.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from naiad import clock
from naiad.container_kinds import MODEL, MODEL_VERSION, PROJECT, RunId
from naiad.errors import (
    BeingWritten,
    DamagedData,
    NaiadError,
    NotAuthorized,
    RunNotFound,
    ServerError,
    ServerUnreachable,
)
from naiad.ops import Dropped
from naiad.scalars import unpack_text
from naiad.settings import Tuning
from naiad.ship.client import Client
from naiad.ship.server import Server, is_silence
from naiad.ship.shipment import Shipment, Waiting, points_in
from naiad.ship.shipper import address_remedy, keep_seconds
from naiad.storage.local import outbox
from naiad.storage.local.files import stored_files
from naiad.storage.local.index.fold import Fold
from naiad.storage.local.index.replay import PREFIX, Replay, make_replay
from naiad.storage.local.ingest import left_behind
from naiad.storage.local.journal.files import list_journal
from naiad.storage.local.layout import Layout, RunDirectory
from naiad.storage.local.maintenance import Maintenance
from naiad.storage.local.reader import Reader
from naiad.storage.local.remote import Remote, read_remote
from naiad.storage.local.writer import Writer
from naiad.storage.remote.asking import ask

LOCK_SECONDS = 10.0
WATCH_SECONDS = 2.0
LOOK_SECONDS = 60.0
"""Between two looks at whether servers were set back."""
TRIES = 5
"""Requests without an answer, one after the other, after which a run is left for the next time."""
LONGEST_WAIT = 8.0


class Progress(Protocol):
    """Called while a run is shipped."""

    def __call__(self, run: str, sent: int) -> object:
        """Note that so many more bytes of a run are shipped."""


@dataclass(frozen=True)
class Result:
    """The result for one run."""

    uid: str
    id: str
    """Its id on the server; its own one where it is not registered."""
    url: str
    sent: int
    """Bytes of the journal that were shipped now."""
    waiting: Waiting
    """The rest."""
    lost: tuple[int, int] = (0, 0)
    """Points and ops that no machine has any more, found now."""
    problem: str = ""
    is_confirmed: bool = False
    """Whether the server has all of it."""
    is_left: bool = False
    """Whether the problem is a server that does not answer, which was announced."""


class Sync:
    """Ships the runs of one store."""

    def __init__(
        self,
        store: Layout,
        url: str | None = None,
        *,
        limit: float | None = None,
        is_dry: bool = False,
        verifies: bool = False,
        progress: Progress = lambda _run, _sent: None,
        announce: Callable[[str], object] = lambda _text: None,
    ) -> None:
        """Begin.

        Args:
            store: the store that has the runs.
            url: the server for runs that have none, and for those that were never registered at the one they name;
                those that are registered at another one go there unless they are named themselves.
            limit: at most so many bytes a second.
            is_dry: only compare.
            verifies: compare the checksums of all journal files with those of the server.
            progress: called with the bytes of each request.
            announce: called with a sentence when a server does not answer, and when it answers again.
        """
        self._store = store
        self._url = url
        self._limit = limit
        self._is_dry = is_dry
        self._verifies = verifies
        self._progress = progress
        self._announce = announce
        self._servers: dict[str, Server] = {}
        self._looked_at = -1e9
        self._named: frozenset[str] = frozenset()
        """Runs that the user names, which may go to another server than their own."""
        self._is_mixed = False
        """Whether a run of the folder is registered at another server than the one that the user names."""
        self.is_repeated = False
        """Whether each run is shipped again soon, so that nothing waits for a server that goes away meanwhile."""

    def folders(self, uids: Sequence[str] = ()) -> list[RunDirectory]:
        """Return the runs to ship: those named, else all that a server may lack, models before their versions."""
        self._named = frozenset(uids)
        wanted = set(uids) or (None if self._url or self._verifies else self._unshipped())
        self._is_mixed = self._url is not None and not uids and self._has_registered_elsewhere(self._url)
        found = [folder for folder in self._store.folders() if wanted is None or folder.uid in wanted]
        found = [each for each in found if self._url or each.remote.exists() or uids]
        # A version is registered under its model, whose id on the server has to be known by then.
        order = {PROJECT: 0, MODEL: 1, MODEL_VERSION: 2}
        return sorted(found, key=lambda folder: (order.get(folder.kind, 3), folder.uid))

    def _has_registered_elsewhere(self, url: str) -> bool:
        """Whether a run here is registered at another server, as far as its remote can be read."""
        own = self._server(url).client.url
        for folder in self._store.folders():
            with contextlib.suppress(DamagedData):  # shipping it names that
                remote = read_remote(folder)
                if remote is not None and remote.uid and remote.url != own:
                    return True
        return False

    def _unshipped(self) -> set[str]:
        """Return the runs of which a server may lack something, those among them that it had before it was set back."""
        found = set(outbox.unshipped(self._store.root))
        if clock.monotonic() - self._looked_at < LOOK_SECONDS:
            return found
        self._looked_at = clock.monotonic()
        shipped: dict[str, list[tuple[RunDirectory, Remote]]] = {}
        for folder in self._store.folders():
            with contextlib.suppress(DamagedData):  # `--verify` names it
                remote = None if folder.uid in found else read_remote(folder)
                if remote is not None and remote.uid:
                    shipped.setdefault(remote.url, []).append((folder, remote))
        for url, runs in shipped.items():
            epoch = self._epoch(url, runs[0][1].uid)
            for folder, _remote in [each for each in runs if epoch not in ("", each[1].epoch)]:
                found.add(folder.uid)
                if not self._is_dry:
                    outbox.note_unshipped(folder)  # until the server has all of it again
        return found

    def _epoch(self, url: str, uid: str) -> str:
        """Return the epoch of a server, the last one if it does not answer; an empty text if it never did."""
        server = self._server(url)
        with contextlib.suppress(ServerError):  # every answer has it, also that the run is not there
            server.look(uid)
            server.note_answers()
        return server.client.epoch

    def is_away(self, folder: RunDirectory) -> bool:
        """Whether the server of a run did not answer the last time."""
        found = self._server_of(folder)
        return found is not None and found.problem is not None

    def is_left_alone(self, folder: RunDirectory) -> bool:
        """Whether the server of a run did not answer, and gets no request yet."""
        found = self._server_of(folder)
        return found is not None and found.is_left_alone()

    def _server_of(self, folder: RunDirectory) -> Server | None:
        """Return the server of a run, if there was a request to it."""
        with contextlib.suppress(DamagedData):
            remote = read_remote(folder)
            return None if remote is None else self._servers.get(remote.url)
        return None

    def ship(self, folder: RunDirectory) -> Result:
        """Ship one run as far as possible; a problem is part of the result."""
        sent = 0
        remote = server = shipment = None
        try:
            remote = read_remote(folder)
            is_attached = remote is None  # just now
            remote = remote or self._attach(folder)
            if remote is None:
                return Result(
                    folder.uid, folder.uid, "", 0, Waiting(0, 0), problem="it has no server; name one by --to"
                )
            if self._url is not None and not is_attached:
                server = self._server(self._url)
                remote = self._aimed(folder, remote, server)
            server = self._server(remote.url)
            shipment = Shipment(
                folder, remote, server.client, is_whole=True, is_dry=self._is_dry, pace=self._pace(folder)
            )
            if self._is_dry:
                if remote.uid:
                    server.look(remote.uid)
                return self._compared(shipment)
            server.look(remote.uid or folder.uid)
            shipment.register()
            # After the registration, since it makes this process a writer of the run, and its ops are to be shipped
            # too.
            self._settle(folder)
            problem = "" if is_attached else self._replay(shipment)
            sent = self._sent(shipment, server)
            lost = self._account(shipment)
            # Losses are noted as an op of the run, which has to be shipped as well.
            if any(lost):
                sent += self._sent(shipment, server)
            if self._verifies:
                verify(shipment)
        except (NaiadError, OSError) as error:
            waiting = Waiting(0, 0) if shipment is None else shipment.waiting()
            is_left = server is not None and self._leaves_alone(server, error)
            is_own = remote is not None and isinstance(error, ServerError) and remote.url != self._url
            remedy = address_remedy(remote, folder) if is_own and remote is not None else ""
            return self._result(folder, remote, sent, waiting, f"{error}{remedy}", is_left=is_left)
        server.note_answers()
        return self._finished(shipment, sent, lost, problem)

    def _leaves_alone(self, server: Server, problem: Exception) -> bool:
        """Whether a server is left alone after a problem."""
        if server.is_left_alone():
            return True
        if not isinstance(problem, ServerError) or not is_silence(problem):
            return False
        if self.is_repeated:
            server.leave_alone(problem)
            return True
        # It answered a moment ago, and this run may be the reason: the next one looks.
        server.answered_at = -1e9
        return False

    def _finished(self, shipment: Shipment, sent: int, lost: tuple[int, int], problem: str) -> Result:
        refused = [f"{name}: {reason}" for name, reason in sorted(shipment.refused.items())]
        problem = "; ".join([problem] * bool(problem) + refused)
        is_done = shipment.is_done() if problem else shipment.note_done()
        outbox.remove_sent(shipment.folder, clock.now() - keep_seconds())
        remote, waiting = shipment.remote, shipment.waiting()
        is_whole = is_done or not waiting.bytes
        return Result(
            shipment.folder.uid, remote.id, remote.url, sent, waiting, lost, problem, is_whole and not problem
        )

    def _result(
        self, folder: RunDirectory, remote: Remote | None, sent: int, waiting: Waiting, problem: str, *, is_left: bool
    ) -> Result:
        name, url = (remote.id or folder.uid, remote.url) if remote is not None else (folder.uid, self._url or "")
        return Result(folder.uid, name, url, sent, waiting, problem=problem, is_left=is_left)

    def _compared(self, shipment: Shipment) -> Result:
        """Compare without changing anything, here or there."""
        waiting, remote = shipment.lacking(), shipment.remote
        if not shipment.folder.remote.exists() and shipment.folder.index.exists():
            size = shipment.folder.index.stat().st_size  # a journal will be made of it
            waiting = Waiting(sum(Reader(shipment.folder).counts().values()), waiting.bytes + size)
        return Result(
            shipment.folder.uid, remote.id or shipment.folder.uid, remote.url, 0, waiting,
            is_confirmed=bool(remote.uid) and not waiting.bytes,
        )  # fmt: skip

    def _server(self, url: str) -> Server:
        if url not in self._servers:
            self._servers[url] = Server(Client(url), self._announce)
        return self._servers[url]

    def _pace(self, folder: RunDirectory) -> Callable[[int], None]:
        def pace(size: int) -> None:
            self._progress(folder.uid, size)
            if self._limit:
                clock.sleep(size / self._limit)

        return pace

    # A run without a remote

    def _attach(self, folder: RunDirectory) -> Remote | None:
        """Give a run this server for its remote; one that was folded before gets a replay of its index.

        Raises:
            BeingWritten: it was folded, and a process writes it: the rest of its journal is on the move.
            DamagedData: its index is damaged.
        """
        if self._url is None:
            return None
        remote = _facts(folder, self._server(self._url).client.url)
        if self._is_dry:
            return remote
        with folder.lock(LOCK_SECONDS):
            if not folder.index.exists():
                remote.save(folder)
                return remote
            if _is_written(folder):
                raise _being_written(folder)
            if list_journal(folder.journal):
                Maintenance(folder, Tuning.from_environment()).fold(None)
            before = _state(folder)
        with _made(folder) as made, folder.lock(LOCK_SECONDS):
            if not made.is_whole() or _state(folder) != before or _is_written(folder):
                raise _being_written(folder)
            # The replay before the remote: a kill in between leaves files that the next attempt writes again, byte for
            # byte.
            made.show()
            remote.save(folder)
        return remote

    # A run with another address

    def _aimed(self, folder: RunDirectory, remote: Remote, server: Server) -> Remote:
        """Return the remote of a run at the server that the user names, its own one where the run is not to go there.

        An address that does not answer changes nothing: the new one is saved when its server has the run.

        Raises:
            BeingWritten: a process sends the run to its own server.
            ServerError: the server that the user names does not answer, or is another one that has the run too.
        """
        url = server.client.url
        if remote.url == url:
            return remote
        is_named = folder.uid in self._named
        if remote.uid and is_named:
            server.look(remote.uid)
            if self._is_same(folder, remote, server):
                moved = msgspec.structs.replace(remote, url=url)
                if not self._is_dry:
                    moved.save(folder)
                return moved
            # Its process would mark files as sent that the new server lacks.
            if _is_written(folder):
                raise BeingWritten(
                    f"The run in {folder.path} is being written, and sent to {remote.url}.\n"
                    f"Send it to {url} after it has stopped.",
                    run_id=folder.uid,
                )
        elif remote.uid or (self._is_mixed and not is_named):
            return remote
        if not self._is_dry:
            outbox.unmark(folder)  # the new server has confirmed nothing
        return msgspec.structs.replace(
            remote, url=url, uid="", id="", epoch="", parent=_model_of(folder, remote.parent)
        )

    def _is_same(self, folder: RunDirectory, remote: Remote, server: Server) -> bool:
        """Whether a server is that of a run under another name; False if it is another one that lacks the run.

        Raises:
            ServerError: it does not answer, or is another one that has the run.
        """
        url, is_known = server.client.url, True
        try:
            server.find_journal(remote.uid)
        except RunNotFound:
            is_known = False
        if remote.epoch and server.client.epoch == remote.epoch:
            return True
        if not is_known:
            return False
        # The epoch changes when a server is restored. Then the old address leads nowhere any more, or to the same one.
        old = self._server(remote.url)
        with contextlib.suppress(NaiadError):
            old.find_journal(remote.uid)
        if old.client.epoch in ("", server.client.epoch):
            return True
        raise ServerError(
            f"The run {remote.id} belongs to {remote.url}. {url} is another server, which has this run too.\n"
            f"To go on with {remote.url}: naiad sync {folder.uid}. To use {url}, delete the run there first.",
            url=url, status=409, name="Conflict", retry_after=None,
        )  # fmt: skip

    # A run of killed writers

    def _settle(self, folder: RunDirectory) -> None:
        """Finish content that dead writers took in, as the next writer of the run would.

        Raises:
            OSError: the folder cannot be written.
        """
        if left_behind(folder):
            Writer.open(folder, role="editor").stop()

    # A run whose files are gone

    def _replay(self, shipment: Shipment) -> str:
        """Make the journals of writers again whose files are gone, if the server has nothing of them.

        Their points and values are in the index. While a process writes the run, they wait; return that as a text then.

        Raises:
            DamagedData: the index is damaged.
            ServerError: the server cannot be reached.
        """
        folder = shipment.folder
        gone = shipment.gone_writers()
        if not gone and not outbox.unfinished(folder):
            return ""
        later = "the server lost data that can be sent again after the run has stopped"
        with folder.lock(LOCK_SECONDS):
            if _is_written(folder):
                return later
            if any(file.writer in gone for file in list_journal(folder.journal)):
                Maintenance(folder, Tuning.from_environment()).fold(None)
                if any(file.writer in gone for file in list_journal(folder.journal)):  # as where the disk is full
                    return later
            # Of an interrupted replay that is no longer wanted, as the server has some of the original by now. Those of
            # its files that are shown already would be shipped without the rest; the server has some of a whole one.
            unwanted = outbox.unfinished(folder).difference(f"{PREFIX}{each}" for each in gone)
            there = {name.partition(".")[0] for name in (*shipment.positions, *shipment.sealed)}
            begins = [*(f".{name}." for name in unwanted), *(f"{name}." for name in unwanted - there)]
            outbox.discard(folder, tuple(begins))
            before = _state(folder)
        if not gone:
            return ""
        with _made(folder, gone) as made:
            # Without the lock, as the server may not answer: another machine may have sent a copy of the run meanwhile.
            shipment.forget_positions()
            if shipment.gone_writers() != gone:
                return later
            with folder.lock(LOCK_SECONDS):
                # A program that went on with the run meanwhile may have sent what is left of the original.
                if not made.is_whole() or _state(folder) != before or _is_written(folder):
                    return later
                made.show()
        return ""

    # Shipping

    def _sent(self, shipment: Shipment, server: Server) -> int:
        """Ship everything that is there, and return how many bytes that was.

        Raises:
            ServerError: the server gives no answer any more, or an error.
        """
        sent, failures = 0, 0
        shipment.look_again()
        while True:
            try:
                if failures:  # a server that hangs would otherwise take the time of a large request each time
                    server.ask(shipment.remote.uid)
                done = shipment.step()
            except ServerError as error:
                failures += 1
                is_left = self.is_repeated and isinstance(error, ServerUnreachable)
                if is_left or not _may_pass(error) or failures >= TRIES:
                    raise
                clock.sleep(min(LONGEST_WAIT, getattr(error, "retry_after", None) or 0.5 * 2**failures))
                continue
            failures, sent = 0, sent + done.sent
            if not done.has_more:
                return sent

    def _account(self, shipment: Shipment) -> tuple[int, int]:
        """Count files that are gone before the server had them as dropped, once; return points and ops.

        Raises:
            ServerError: the server cannot be reached.
        """
        gone = shipment.gone_writers()  # of which the journal can be made again
        gaps = {name: size for name, size in shipment.gaps().items() if name.partition(".")[0] not in gone}
        if not gaps:
            return 0, 0
        points, ops = points_in(gaps)
        writer = Writer.open(shipment.folder, role="editor")
        try:
            writer.log([Dropped(points, ops, writer.now())])
        finally:
            writer.stop()
        shipment.note_lost([*gaps])
        return points, ops


def verify(shipment: Shipment) -> None:
    """Compare counts, checksums and content of a run with the server, and send content again that it lacks.

    Raises:
        DamagedData: the server has something else.
        ServerError: the server cannot be reached.
    """
    folder, remote = shipment.folder, shipment.remote
    different = shipment.differing_files()
    reader = Reader(folder)
    there: dict[str, int] = ask(shipment.client, "reader", "counts", {}, RunId(remote.uid, folder.kind))
    different += [path for path, count in reader.counts().items() if remote.began and there.get(path, 0) < count]
    names = {reader.resolve(file.blob) for _path, file in stored_files(reader) if file.blob}
    different += [f"blobs/{name}" for name in shipment.missing_content(sorted(names))]
    if different:
        shown = ", ".join(sorted(different)[:5])
        raise DamagedData(
            f"The server {remote.url} has different data of the run {remote.id}: {shown}",
            file=str(folder.path), offset=0, what=shown,
        )  # fmt: skip


def watch(sync: Sync, uids: Sequence[str] = (), stopped: threading.Event | None = None) -> Iterator[list[Result]]:
    """Ship again and again, and yield the results of each round, those of runs with news only.

    A problem that lasts is news once.
    """
    ends = stopped or threading.Event()
    sync.is_repeated = True
    left: set[str] = set()
    problems: dict[str, str] = {}  # of each run in its last round
    while not ends.is_set():
        # Those of a server that is away come last, as it may be asked again.
        found = sorted(sync.folders(uids), key=sync.is_away)
        done = [sync.ship(folder) for folder in found if folder.uid not in left or not sync.is_left_alone(folder)]
        new = {each.uid for each in done if each.problem not in ("", problems.get(each.uid))} - left
        problems.update((each.uid, each.problem) for each in done)
        yield [each for each in done if each.sent or any(each.lost) or each.uid in new]
        left.difference_update(each.uid for each in done if not each.is_left)
        left.update(each.uid for each in done if each.is_left)
        ends.wait(WATCH_SECONDS)


@contextlib.contextmanager
def _made(folder: RunDirectory, writers: Collection[str] = ()) -> Iterator[Replay]:
    """Context in which a replay lies hidden in the outbox; if it is not shown, it is gone afterwards.

    Nothing is locked while it is made, which may take minutes: a program can go on with the run.
    """
    made = make_replay(folder, writers)
    try:
        yield made
    finally:
        made.discard()


def _is_written(folder: RunDirectory) -> bool:
    return any(not each.is_dead for each in Reader(folder).candidates().values())


def _being_written(folder: RunDirectory) -> BeingWritten:
    return BeingWritten(
        f"The run in {folder.path} is being written, and was partly folded before it had a server.\n"
        "Send it after it has stopped.",
        run_id=folder.uid,
    )


def _state(folder: RunDirectory) -> tuple[object, ...]:
    """Return how far the files of a run are folded, and which are not; any writer that comes changes that."""
    return Fold(folder).known_positions(), [file.name for file in list_journal(folder.journal)]


def _may_pass(error: ServerError) -> bool:
    return not isinstance(error, NotAuthorized) and getattr(error, "name", "") != "OverQuota"


def _model_of(folder: RunDirectory, name: str | None) -> str | None:
    """Return the uid of a version's model in the same store; its id if it is not there."""
    for each in Layout(folder.path.parent.parent).folders():
        if each.kind is MODEL and Reader(each).values("sys").get("sys/id") == name:
            known = read_remote(each)
            return known.uid if known is not None and known.uid else each.uid
    return name


def _facts(folder: RunDirectory, url: str) -> Remote:
    """Return the remote of a run, by its own fields.

    Raises:
        DamagedData: they cannot be read.
    """
    values = Reader(folder).values("sys")

    def text(name: str) -> str | None:
        found = values.get(f"sys/{name}")
        return str(unpack_text(found)) if isinstance(found, str | bytes) else None

    created = values.get("sys/creation_time")
    own = text("id")
    project = text("name") if folder.kind is PROJECT else text("project")
    return Remote(
        url,
        project or "project",
        created / 1e6 if isinstance(created, int) else 0.0,
        custom_run_id=text("custom_run_id"),
        wish=own if folder.kind in (MODEL, MODEL_VERSION) else None,
        parent=_model_of(folder, text("model_id")) if folder.kind is MODEL_VERSION else None,
        began=True,
    )
