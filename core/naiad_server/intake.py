"""Intake: the queue of journal requests, committed in groups.

    request      check, wait ----.                         .---- answer
    request      check, wait ----+-- group -- one commit --+---- answer
    request      check, wait ----'   (a thread)            '---- answer
    request      check, wait ------- next group, while the first is committing

All requests that come during a commit, and for a moment after its begin, share the next commit and its wait for the
disk: a commit costs a database as much as the bytes of many requests. Large requests have a lane of their own: their
bytes go into the object store first, for which the others do not wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from naiad import clock
from naiad.container_kinds import RunId
from naiad.errors import NaiadError
from naiad.storage.receiving import Accepted, Piece, Receiver, Sealing
from naiad_server.folding import Folding
from naiad_server.metrics import Metrics
from naiad_server.workers import Worker
from naiad_web.server.answers import Problem

MOST_QUEUED = 64 * 1024 * 1024
MOST_PARTS = 1_000
MOST_BYTES = 16 * 1024 * 1024
SPACING_SECONDS = 0.01
"""The time between the begins of two commits of small requests; the first one after a pause begins at once. It is a
fifth of the time in which a flush of a hundred clients is to be answered."""
MOST_SPACINGS = 2.5
"""The factor by which that time grows where several requests come in it, as of a thousand clients: half as many commits
take a third less CPU time, and each flush is still answered in the tenth of a second that it may take."""
MEMORY = 0.1
"""The weight of the last group in the average size of groups."""
LARGE_BYTES = 256 * 1024
"""The size from which a request is committed with other large ones only."""
CHECKPOINT_SECONDS = 30.0
CHECKPOINT_BYTES = 256 * 1024 * 1024
SLOWER = ((0.9, 30.0), (0.75, 10.0), (0.5, 4.0), (0.25, 2.0))
"""A share of time that commits take, and the seconds after which clients send again above it."""
SOONEST = 1.0
BUSY_SECONDS = 5.0
"""The time over which that share is averaged."""


@dataclass
class _Waiting:
    """One request that waits for its group."""

    pieces: Sequence[Piece]
    sealings: Sequence[Sealing]
    writers: Mapping[tuple[RunId, str], bool]
    answer: asyncio.Future[Accepted]
    size: int = field(init=False)

    def __post_init__(self) -> None:
        self.size = sum(len(piece.data) for piece in self.pieces)


class _Lane:
    """Requests that are committed one group after the other, and the thread that does it.

    A thread and not a task of the event loop with a pool: each group would wake both several times, and each time
    costs as much as the work on a small request.
    """

    def __init__(self, name: str, spacing: float, commit: Callable[[list[_Waiting]], None]) -> None:
        self.busy = 0.0
        """The share of time that commits take."""
        self._spacing = spacing
        self._requests = 1.0
        """How many a group has, on average."""
        self._waiting: list[_Waiting] = []
        self._commit = commit
        self._lock = threading.Lock()
        self._is_wanted = threading.Event()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._commit_groups, name=name, daemon=True)

    def begin(self) -> None:
        """Begin to commit."""
        self._thread.start()

    def end(self) -> None:
        """Commit the rest, and stop."""
        self._is_over.set()
        self._is_wanted.set()
        self._thread.join()

    def add(self, waiting: _Waiting) -> None:
        """Add a request to the queue of the next group."""
        with self._lock:
            self._waiting.append(waiting)
        if not self._is_wanted.is_set():  # it wakes the thread
            self._is_wanted.set()

    def _next_group(self) -> list[_Waiting]:
        """Take the requests that have waited longest, as many as a group may have."""
        group: list[_Waiting] = []
        parts = size = 0
        with self._lock:
            # A group ends at the limit, and has at least one request, however large that is.
            for each in self._waiting:
                parts, size = parts + len(each.pieces), size + each.size
                if group and (parts > MOST_PARTS or size > MOST_BYTES):
                    break
                group.append(each)
            self._waiting = self._waiting[len(group) :]
            if not self._waiting:
                self._is_wanted.clear()
        return group

    def _commit_groups(self) -> None:
        """Commit group after group, until it is over."""
        idle_since, began = clock.monotonic(), -math.inf
        while True:
            # The time limit is for the checkpoint, which is due without any request too.
            self._is_wanted.wait(0 if self._is_over.is_set() else CHECKPOINT_SECONDS)
            spacing = self._spacing * min(self._requests, MOST_SPACINGS)
            if (early := began + spacing - clock.monotonic()) > 0:
                self._is_over.wait(early)
            is_over = self._is_over.is_set()  # read first: all that was added before is in this group or a later one
            group = self._next_group()
            if group:
                self._requests += MEMORY * (len(group) - self._requests)
            began = clock.monotonic()
            self._commit(group)
            ended = clock.monotonic()
            self._note_busy(ended - began, max(ended - idle_since, 1e-6))
            idle_since = ended
            if is_over and not group:
                return

    def _note_busy(self, took: float, passed: float) -> None:
        """Count the duration of a commit, and the time since the one before."""
        # An exponential average over some seconds, weighted by the time that passed: rounds may take a millisecond
        # or half a minute.
        self.busy += (1 - math.exp(-passed / BUSY_SECONDS)) * (took / passed - self.busy)


class Intake:
    """Takes checked requests and lets a receiver accept them, many at once."""

    def __init__(self, receiver: Receiver, folding: Folding | Worker, metrics: Metrics) -> None:
        self._receiver = receiver
        self._folding = folding
        self._metrics = metrics
        self._small = _Lane("naiad-commit", SPACING_SECONDS, self._commit)
        self._large = _Lane("naiad-commit-large", 0.0, self._commit)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._queued = 0
        self._uncopied = 0
        self._checked_at = clock.monotonic()
        self._copying = ThreadPoolExecutor(1, "naiad-checkpoint")
        self._lock = threading.Lock()

    @property
    def after(self) -> float:
        """The seconds after which a client shall send again."""
        busy = max(self._small.busy, self._large.busy)
        return next((seconds for share, seconds in SLOWER if busy > share), SOONEST)

    def require_room(self, size: int) -> None:
        """Raise if so many bytes more do not fit into the queue.

        Raises:
            Problem: they do not.
        """
        # Refused, not queued: memory is bounded, and a client that gets 503 keeps its bytes and comes back.
        if self._queued + size > MOST_QUEUED:
            raise Problem(503, "Busy", "The server is busy. Try again soon.")

    async def accept(
        self, pieces: Sequence[Piece], sealings: Sequence[Sealing], writers: Mapping[tuple[RunId, str], bool]
    ) -> Accepted:
        """Return how far each file is once all of it is safe.

        Raises:
            StorageError: the disk takes nothing.
        """
        waiting = _Waiting(pieces, sealings, writers, asyncio.get_running_loop().create_future())
        self._queued += waiting.size
        self._metrics.queue.set(self._queued)
        (self._large if waiting.size >= LARGE_BYTES else self._small).add(waiting)
        return await waiting.answer

    def begin(self) -> None:
        """Begin to commit; answers go to the event loop that runs now."""
        self._loop = asyncio.get_running_loop()
        for lane in (self._small, self._large):
            lane.begin()

    async def end(self) -> None:
        """Commit the rest of the queue, and stop."""
        # Requests that were taken are answered, also while the server ends.
        for lane in (self._small, self._large):
            await asyncio.to_thread(lane.end)
        await asyncio.to_thread(self._copying.shutdown)
        await asyncio.to_thread(self._store_all)

    def _commit(self, group: list[_Waiting]) -> None:
        """Commit a group, in the thread of its lane; without one, only see whether a checkpoint is due."""
        assert self._loop is not None
        if group:
            self._loop.call_soon_threadsafe(self._tell, group, self._accepted(group))
        size = sum(each.size for each in group)
        now = clock.monotonic()
        with self._lock:
            self._uncopied += size
            is_old = now > self._checked_at + CHECKPOINT_SECONDS
            is_due = self._uncopied > 0 and (is_old or self._uncopied > CHECKPOINT_BYTES)
            if is_due:
                self._uncopied, self._checked_at = 0, now
        if is_due:
            self._copying.submit(self._store_all)  # beside the commits, which it need not delay

    def _accepted(self, group: list[_Waiting]) -> Accepted | Exception:
        """Let the receiver accept a group; the error if that was not possible."""
        pieces = [piece for each in group for piece in each.pieces]
        sealings = [sealing for each in group for sealing in each.sealings]
        writers = {key: is_alive for each in group for key, is_alive in each.writers.items()}
        try:
            with self._metrics.commit_seconds.time():
                accepted = self._receiver.accept(pieces, sealings, writers)
        except Exception as error:  # noqa: BLE001 (also a fault of ours, or the lane would end with it)
            return error
        self._metrics.group_parts.observe(len(pieces))
        self._metrics.bytes.inc(sum(accepted.grown.values()))
        self._metrics.points.inc(accepted.points)
        self._metrics.parts.labels("accepted").inc(accepted.parts)
        self._metrics.parts.labels("repeated").inc(len(pieces) - accepted.parts)
        return accepted

    def _tell(self, group: list[_Waiting], found: Accepted | Exception) -> None:
        """Answer the requests of a group, in the event loop."""
        self._queued -= sum(each.size for each in group)
        self._metrics.queue.set(self._queued)
        if isinstance(found, Accepted):
            self._folding.note(found)
        for each in group:
            if each.answer.done():  # the client may have hung up; what it sent is committed all the same
                continue
            # All of the group fail together, since they share one transaction. Each client sends its parts again.
            if isinstance(found, Exception):
                each.answer.set_exception(found)
            else:
                each.answer.set_result(found)

    def _store_all(self) -> None:
        with contextlib.suppress(NaiadError, OSError):  # it stays in the inbox, and the next one tries again
            self._receiver.checkpoint()
