"""The journal of one writer: points go to segments, ops to frames; both have reached the kernel when a call returns.

The one rule: nothing that the disk does ever raises out of here into training. When it refuses, points and frames wait
in memory, in order and bounded, until it takes them again; what had to be dropped is counted and recorded.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import struct
import threading
from collections import deque
from collections.abc import Callable, Sequence

from naiad import clock
from naiad.errors import NaiadValueError
from naiad.ops import Define, Delete, End, Op, Open, encode_ops
from naiad.settings import Tuning
from naiad.storage.base import DEAD_SLOT, FLOAT_STEP, RECORD, Page, Slot, pack_float, pack_int
from naiad.storage.local.journal.frames import LARGEST
from naiad.storage.local.journal.reserve import Reserve
from naiad.storage.local.journal.retry_buffer import RetryBuffer, WaitingFrame
from naiad.storage.local.journal.rotation import weight
from naiad.storage.local.journal.sums import Sums
from naiad.storage.local.journal.upkeep import Upkeep, unlink

VITAL = {Open, End, Define, Delete}
LOCK_SECONDS = 1.0
"""How long what is printed waits for another thread that is writing."""


class JournalClosed(RuntimeError):
    """The writer has stopped; callers turn this into an error that names the run."""


class Journal(Upkeep):
    """What one process has written to one run and has not yet handed to the index."""

    def __init__(self, directory: int, writer: str, tuning: Tuning, *, is_mapped: bool) -> None:
        super().__init__(directory, writer, tuning, is_mapped=is_mapped)
        self._definitions: dict[str, Define] = {}  # by path, as far as they still mean something
        self._last_number = 0
        self._arrived: deque[tuple[bytes, Sequence[Op]]] = deque()  # about to be written, by this thread
        self._is_putting = False
        self._begin: Callable[[], object] | None = None

    def name(self) -> str:
        """That of this writer; a forked child gets its own at its first write, which this counts as.

        Raises:
            JournalClosed: the writer has stopped.
        """
        with self.lock:
            self._refuse_if_closed()
            return self.writer

    @property
    def series(self) -> int:
        """How many float series this writer appends to."""
        return len(self._definitions)

    @property
    def has_begun(self) -> bool:
        """False in a forked child that has not written yet."""
        return self._begin is None

    def write(self, ops: Sequence[Op]) -> None:
        """Add one frame; readers see all of its ops or none.

        Raises:
            JournalClosed: the writer has stopped.
        """
        if not ops:
            return
        payload = encode_ops(ops)
        if len(payload) > LARGEST:
            raise NaiadValueError(f"One call cannot write {len(payload)} bytes; {LARGEST} are the limit. Use several.")
        with self.lock:
            if self.is_closed or self._begin is not None:
                self._refuse_if_closed()
            self._arrived.append((payload, ops))
            self._put_arrived()
            for op in ops:
                if isinstance(op, Delete):
                    self._definitions.pop(op.path, None)
                elif isinstance(op, Define):
                    self._definitions[op.path] = op

    def write_soon(self, ops: Sequence[Op]) -> None:
        """Add one frame; where another thread keeps the journal for long, that one adds it.

        That thread may be about to print a warning, and wait for the stream that this one is printing to.

        Raises:
            JournalClosed: the writer has stopped.
        """
        self._arrived.append((encode_ops(ops), ops))
        if self.lock.acquire(timeout=LOCK_SECONDS):
            try:
                self._refuse_if_closed()
                self._put_arrived()
            finally:
                self.lock.release()

    def bind(self, path: str, at: float, *, fresh: bool) -> int:
        """Give the float series at `path` a number for this writer's records.

        Raises:
            JournalClosed: the writer has stopped.
        """
        number = self.next_number()
        self.write([Define(number, path, fresh, at)])
        return number

    def next_number(self) -> int:
        """A number for a series; nothing may carry it before a `Define` with it is written."""
        with self.lock:
            self._last_number += 1
            return self._last_number

    def numbers(self) -> tuple[dict[str, int], int]:
        """The field number of each path, and the last one given."""
        return {path: define.fid for path, define in self._definitions.items()}, self._last_number

    def definitions(self) -> list[Define]:
        """What the field numbers mean, for a forked child that goes on using them.

        Each is as old as it was, and just behind one that began anew: what anybody deletes later stays deleted.
        """
        known = sorted(self._definitions.values(), key=lambda define: define.at)
        return [Define(define.fid, define.path, False, math.nextafter(define.at, math.inf)) for define in known]

    def inherit(self, definitions: Sequence[Define], last: int) -> None:
        """In a forked child: say again what the inherited numbers mean."""
        with self.lock:
            self._definitions, self._last_number = {}, last
            if definitions:
                self.write(definitions)

    def points(self, fid: int, values: Sequence[float], steps: Sequence[int | float], times: Sequence[float]) -> None:
        """Add points of one series, already checked; also the way out of a full, dead or foreign page.

        Raises:
            JournalClosed: the writer has stopped.
        """
        for value, step, time in zip(values, steps, times, strict=True):
            while not self._add(fid, value, step, time):
                pass

    def close(self) -> None:
        """Refuse everything from now on, and put what there is into its final form.

        Raises:
            OSError: the disk refuses that form; what it holds is as good without.
        """
        errors = []
        with self.lock:
            self.is_closed = True
            self.slot = DEAD_SLOT
            spare, self._spare = self._spare, None
            for segment in self.segments:
                segment.retired_at = segment.retired_at or clock.monotonic()
                segment.shut()
                try:
                    if segment.is_stored:
                        segment.seal(self._directory)
                except OSError as error:
                    errors.append(error)
        self.reserve.give_back()
        if spare is not None:
            spare.shut()
            spare.close()
            with contextlib.suppress(OSError):  # it is empty, and nobody minds it
                unlink(spare.name, self._directory)
        if errors:
            raise errors[0]

    def release(self) -> None:
        """Give all descriptors back."""
        for segment in self.segments:
            segment.close()
        for file in self.ops_files:
            file.close()
        self.sums.close()

    def abandon(self, begin: Callable[[], object]) -> None:
        """In a forked child: leave all files to the parent. `begin` is called before the first write here."""
        self.slot = DEAD_SLOT
        self.lock = threading.RLock()
        self.release()  # the child's copies of the descriptors; the parent keeps its own
        self.segments, self.ops_files, self._spare = [], [], None
        self._waiting = RetryBuffer(self._tuning.memory_bytes)
        self._arrived, self._is_putting = deque(), False
        self.dropped_points = self.recorded = 0
        self.is_troubled = self.is_barred = False
        self._begin = begin

    def begin(self, writer: str, directory: int) -> None:
        """Start over under another writer's name."""
        self.writer, self._directory = writer, directory
        self.reserve = Reserve(directory, writer)
        self.sums = Sums(directory, writer)
        self._segment_number = self._ops_number = 0

    def _put_arrived(self) -> None:
        """Write the frames that have arrived, in their order.

        A signal handler may log while its thread is in here: the interrupted call then writes the handler's frame too,
        after its own.
        """
        if self._is_putting:
            return
        self._is_putting = True
        try:
            while self._arrived:
                payload, ops = self._arrived.popleft()
                frame = WaitingFrame(payload, not VITAL.isdisjoint(map(type, ops)), weight(ops))
                if self.is_troubled and (self._waiting or self.is_barred):
                    self._waiting.add(frame)
                    continue
                try:
                    self._active_ops_file().append(payload, frame.weight)
                except OSError as error:
                    self._keep_waiting(frame, error)
        finally:
            self._is_putting = False

    def _keep_waiting(self, frame: WaitingFrame, error: OSError) -> None:
        self._waiting.add(frame)
        try:
            self._trouble(error)
        except OSError:  # the caller is told instead
            self._waiting.clear()
            raise

    def _add(self, fid: int, value: float, step: int | float, time: float) -> bool:
        """Add one point, or make room for it and return False; pages in memory are packed into in either mode."""
        add = self._pack if self._is_mapped or self.slot is not DEAD_SLOT else self._write
        return add(fid, value, step, time)

    def _pack(self, fid: int, value: float, step: int | float, time: float) -> bool:
        reserve, page = slot = self.slot
        at = reserve()
        try:
            if step.__class__ is int:
                pack_int(page, at, step, value, time, fid, at)
            else:
                pack_float(page, at, step, value, time, fid | FLOAT_STEP, at)
        except (struct.error, ValueError, TypeError):  # the last is what a closed page gives
            if _has_room(page, at):
                raise  # the point itself fits no record: not to be tried again
            self._next_segment(slot)
            return False
        return True

    def _write(self, fid: int, value: float, step: int | float, time: float) -> bool:
        """The same record through `pwrite()`, where mappings are not coherent: 1.5 us instead of 0.3."""
        with self.lock:
            self._refuse_if_closed()
            segment = self.segments[-1] if self.segments else None
            if self.slot is not DEAD_SLOT:
                return False  # a page in memory came meanwhile
            if segment is None or segment.used() >= segment.size:
                self._next_segment(self.slot)
                return False
            at = segment.slot[0]()
            try:
                if os.pwrite(segment.fd, record(fid, value, step, time, at), at) < RECORD:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), segment.name)
            except OSError as error:
                segment.take_back(at)
                self._trouble(error)
                self._install(self._replacement())
                return False
            return True

    def _next_segment(self, full: Slot) -> None:
        with self.lock:
            self._refuse_if_closed()
            if self.slot is not full:
                return  # another thread was faster
            self._install(self._replacement())
        if len(self.segments) > 1:  # a run that never fills its first segment needs no spare at once
            self.on_rotation()

    def _refuse_if_closed(self) -> None:
        if self.is_closed:
            raise JournalClosed
        begin, self._begin = self._begin, None
        if begin is not None:
            try:
                begin()
            except BaseException:  # only to clean up: whatever it is goes on
                self._begin = begin
                raise


def record(fid: int, value: float, step: int | float, time: float, at: int) -> bytes:
    """One record, for writing it by `pwrite()`."""
    page = bytearray(RECORD)
    if step.__class__ is int:
        pack_int(page, 0, step, value, time, fid, at)
    else:
        pack_float(page, 0, step, value, time, fid | FLOAT_STEP, at)
    return bytes(page)


def _has_room(page: Page, at: int) -> bool:
    try:
        return at + RECORD <= len(page)
    except ValueError:  # a mapping that was closed
        return False
