"""Intake: the queue of journal requests, committed in groups.

    request      check, wait ----.                         .---- answer
    request      check, wait ----+-- group -- one commit --+---- answer
    request      check, wait ----'   (a thread)            '---- answer
    request      check, wait ------- next group, while the first is committing

So a commit's wait for the disk is shared by all requests that came during the one before, and by those of a moment
after its begin: each commit costs a database as much as the bytes of many. Large requests have a lane of their own:
their bytes go into the store of objects first, whose wait the others need not share.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Mapping, Sequence
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
"""Between the begins of two commits of small requests; the first one after a pause begins at once. A fifth of the time
in which a flush of a hundred clients is to be answered; with 25 ms, they waited longer than that on a busy machine."""
LARGE_BYTES = 256 * 1024
"""A request with as many bytes is committed with other large ones alone."""
CHECKPOINT_SECONDS = 30.0
CHECKPOINT_BYTES = 256 * 1024 * 1024
SLOWER = ((0.9, 30.0), (0.75, 10.0), (0.5, 4.0), (0.25, 2.0))
"""By the share of time that commits take, when a client shall come back."""
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
    """Requests that are committed one group after the other, and the thread that does it."""

    def __init__(self, name: str, spacing: float) -> None:
        self.spacing = spacing
        self.waiting: list[_Waiting] = []
        self.is_wanted = asyncio.Event()
        # One thread, so that groups are committed in the order in which they came.
        self.pool = ThreadPoolExecutor(1, name)
        self.busy = 0.0
        """The share of time that commits take."""

    def add(self, waiting: _Waiting) -> None:
        """Let a request wait for the next group."""
        self.waiting.append(waiting)
        self.is_wanted.set()

    def next_group(self) -> list[_Waiting]:
        """Take the requests that have waited longest, as many as a group may have."""
        group: list[_Waiting] = []
        parts = size = 0
        # A group ends at the limit, and has at least one request, however large that is.
        for each in self.waiting:
            parts, size = parts + len(each.pieces), size + each.size
            if group and (parts > MOST_PARTS or size > MOST_BYTES):
                break
            group.append(each)
        self.waiting = self.waiting[len(group) :]
        if not self.waiting:
            self.is_wanted.clear()
        return group

    def note_busy(self, took: float, passed: float) -> None:
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
        self._small, self._large = _Lane("naiad-commit", SPACING_SECONDS), _Lane("naiad-commit-large", 0.0)
        self._queued = 0
        self._uncopied = 0
        self._checked_at = clock.monotonic()

    @property
    def after(self) -> float:
        """Seconds until a client shall come back."""
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

    async def commit_groups(self) -> None:
        """Commit group after group, for ever."""
        await asyncio.gather(self._commit_lane(self._small), self._commit_lane(self._large))

    async def _commit_lane(self, lane: _Lane) -> None:
        loop = asyncio.get_running_loop()
        idle_since, began = clock.monotonic(), -math.inf
        while True:
            # The time limit is for the checkpoint, which is due without any request too.
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(lane.is_wanted.wait(), CHECKPOINT_SECONDS)
            if (early := began + lane.spacing - clock.monotonic()) > 0:
                await asyncio.sleep(early)
            group = lane.next_group()
            began = clock.monotonic()
            if group:
                await loop.run_in_executor(lane.pool, self._commit, group, loop)
            ended = clock.monotonic()
            lane.note_busy(ended - began, max(ended - idle_since, 1e-6))
            idle_since = ended
            self._queued -= sum(each.size for each in group)
            self._metrics.queue.set(self._queued)
            self._uncopied += sum(each.size for each in group)
            is_old = ended > self._checked_at + CHECKPOINT_SECONDS
            if self._uncopied and (is_old or self._uncopied > CHECKPOINT_BYTES):
                self._uncopied, self._checked_at = 0, ended
                # beside the commits, which it need not delay; the pool of the loop has threads for it
                self._checkpoint = loop.run_in_executor(None, self._store_all)

    async def end(self) -> None:
        """Commit the rest of the queue, and stop."""
        loop = asyncio.get_running_loop()
        # Requests that were taken are answered, also while the server ends.
        for lane in (self._small, self._large):
            while group := lane.next_group():
                await loop.run_in_executor(lane.pool, self._commit, group, loop)
            lane.pool.shutdown(wait=True)
        await loop.run_in_executor(None, self._store_all)

    def _commit(self, group: list[_Waiting], loop: asyncio.AbstractEventLoop) -> None:
        pieces = [piece for each in group for piece in each.pieces]
        sealings = [sealing for each in group for sealing in each.sealings]
        writers = {key: is_alive for each in group for key, is_alive in each.writers.items()}
        try:
            with self._metrics.commit_seconds.time():
                accepted = self._receiver.accept(pieces, sealings, writers)
        # All of the group fail together, since they share one transaction. Each client sends its parts again.
        except Exception as error:  # noqa: BLE001 (also a fault of ours, or the lane would end with it)
            for each in group:
                loop.call_soon_threadsafe(_fail, each, error)
            return
        self._metrics.group_parts.observe(len(pieces))
        self._metrics.bytes.inc(sum(accepted.grown.values()))
        self._metrics.points.inc(accepted.points)
        self._metrics.parts.labels("accepted").inc(accepted.parts)
        self._metrics.parts.labels("repeated").inc(len(pieces) - accepted.parts)
        loop.call_soon_threadsafe(self._tell, group, accepted)

    def _tell(self, group: list[_Waiting], accepted: Accepted) -> None:
        self._folding.note(accepted)
        for each in group:
            # The client may have hung up; what it sent is committed all the same.
            if not each.answer.done():
                each.answer.set_result(accepted)

    def _store_all(self) -> None:
        with contextlib.suppress(NaiadError, OSError):  # it stays in the inbox, and the next one tries again
            self._receiver.checkpoint()


def _fail(waiting: _Waiting, error: Exception) -> None:
    if not waiting.answer.done():
        waiting.answer.set_exception(error)
