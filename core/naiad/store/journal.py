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
from naiad.ops import Define, Delete, Dropped, End, Op, Open, encode_ops
from naiad.settings import Tuning
from naiad.store.frames import LARGEST
from naiad.store.opsfile import OpsFile
from naiad.store.segment import (
    DEAD_SLOT,
    FLOAT_STEP,
    HEADER,
    RECORD,
    Page,
    Segment,
    Slot,
    pack_float,
    pack_int,
    save,
    whole_records,
)

__all__ = ["Journal", "JournalClosed", "is_deleted"]

FIRST_SEGMENT = 64 * 1024
SEGMENT = 1024 * 1024
LARGEST_SEGMENT = 16 * 1024 * 1024
LARGEST_OPS_FILE = 4 * 1024 * 1024
FAST_ROTATION_SECONDS = 0.25
VITAL = (Open, End, Define, Delete)


class JournalClosed(RuntimeError):
    """The writer has stopped; callers turn this into an error that names the run."""


class Journal:
    """What one process has written to one run and has not yet handed to the index."""

    def __init__(self, directory: int, writer: str, tuning: Tuning, *, is_mapped: bool) -> None:
        self.slot: Slot = DEAD_SLOT
        self.writer = writer
        self.segments: list[Segment] = []  # in order; the last one is the active one
        self.ops_files: list[OpsFile] = []
        self.is_troubled = False
        self.is_barred = False  # nothing may reach the disk, because this writer could not say that it lives
        self.is_closed = False
        self.dropped_points = 0
        self.dropped_frames = 0
        self.on_rotation: Callable[[], object] = lambda: None
        self.on_trouble: Callable[[OSError], object] = lambda _error: None
        self.on_recovery: Callable[[], object] = lambda: None
        self._directory = directory
        self._tuning = tuning
        self._is_mapped = is_mapped
        self._lock = threading.RLock()
        self._definitions: dict[str, Define] = {}  # by path, as far as they still mean something
        self._last_number = 0
        self._arrived: deque[tuple[bytes, bool]] = deque()  # about to be written, by this thread
        self._is_putting = False
        self._waiting: deque[tuple[bytes, bool]] = deque()  # payloads of frames, and whether they are vital
        self._waiting_bytes = 0
        self._segment_number = 0
        self._ops_number = 0
        self._segment_size = FIRST_SEGMENT
        self._rotated_at = 0.0
        self._spare: Segment | None = None
        self._has_new_files = True
        self._begin: Callable[[], object] | None = None

    def name(self) -> str:
        """That of this writer; a forked child gets its own at its first write, which this counts as.

        Raises:
            JournalClosed: the writer has stopped.
        """
        with self._lock:
            self._refuse_if_closed()
            return self.writer

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
        with self._lock:
            self._refuse_if_closed()
            self._put_in_turn(payload, any(isinstance(op, VITAL) for op in ops))
            for op in ops:
                if isinstance(op, Delete):
                    self._definitions.pop(op.path, None)
                elif isinstance(op, Define):
                    self._definitions[op.path] = op

    def _put_in_turn(self, payload: bytes, is_vital: bool) -> None:
        """A signal handler may log while its thread is writing a frame: that one is ended first."""
        self._arrived.append((payload, is_vital))
        if self._is_putting:
            return  # the interrupted call goes on when the handler is done, and writes this one too
        self._is_putting = True
        try:
            while self._arrived:
                payload, is_vital = self._arrived.popleft()
                self._put(payload, is_vital=is_vital)
        finally:
            self._is_putting = False

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
        with self._lock:
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
        with self._lock:
            self._definitions, self._last_number = {}, last
            if definitions:
                self.write(definitions)

    def _put(self, payload: bytes, *, is_vital: bool) -> None:
        if self._waiting or self.is_barred:
            return self._keep(payload, is_vital)
        try:
            self._append(payload)
        except OSError as error:
            self._keep(payload, is_vital)
            try:
                self._trouble(error)
            except OSError:  # the caller is told instead
                self._waiting.clear()
                self._waiting_bytes = 0
                raise

    def _keep(self, payload: bytes, is_vital: bool) -> None:
        self._waiting.append((payload, is_vital))
        self._waiting_bytes += len(payload)
        if self._waiting_bytes > self._tuning.memory_bytes:
            self._forget_oldest_frames()

    def _append(self, payload: bytes) -> None:
        self._active_ops_file().append(payload)

    def _sequence(self) -> int:
        """That of the last frame that is surely in a file."""
        if not self.ops_files:
            return 0
        self.ops_files[-1].settle()
        return self.ops_files[-1].sequence

    def _forget_oldest_frames(self) -> None:
        """Make room, a quarter at once. Vital frames stay: without them later points and ops would mean nothing."""
        kept: deque[tuple[bytes, bool]] = deque()
        for payload, is_vital in self._waiting:
            if is_vital or self._waiting_bytes <= self._tuning.memory_bytes * 3 // 4:
                kept.append((payload, is_vital))
            else:
                self._waiting_bytes -= len(payload)
                self.dropped_frames += 1
        self._waiting = kept

    def _active_ops_file(self) -> OpsFile:
        if not self.ops_files or self.ops_files[-1].size > LARGEST_OPS_FILE:
            self._has_new_files = True
            self._ops_number += 1
            name = f"{self.writer}.{self._ops_number:06d}.ops"
            self.ops_files.append(OpsFile(self._directory, name, self._sequence()))
            if self._ops_number > 1:
                self.on_rotation()
        return self.ops_files[-1]

    def points(self, fid: int, values: Sequence[float], steps: Sequence[int | float], times: Sequence[float]) -> None:
        """Add points of one series, already checked; also the way out of a full, dead or foreign page.

        Raises:
            JournalClosed: the writer has stopped.
        """
        for value, step, time in zip(values, steps, times, strict=True):
            while not self._add(fid, value, step, time):
                pass

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
        with self._lock:
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
                self._trouble(error)
                self._install(self._replacement())
                return False
            return True

    def _next_segment(self, full: Slot) -> None:
        with self._lock:
            self._refuse_if_closed()
            if self.slot is not full:
                return  # another thread was faster
            self._install(self._replacement())
        if len(self.segments) > 1:  # a run that never fills its first segment needs no spare at once
            self.on_rotation()

    def _install(self, segment: Segment) -> None:
        now = clock.monotonic()
        if self.segments and self.segments[-1].retired_at is None:
            self.segments[-1].retired_at = now
        if now - self._rotated_at < FAST_ROTATION_SECONDS:
            self._segment_size = min(max(self._segment_size * 2, SEGMENT), LARGEST_SEGMENT)
        self._rotated_at = now
        self._has_new_files = True
        self.segments.append(segment)
        self.slot = segment.slot if self._is_mapped or not segment.is_stored else DEAD_SLOT

    def _replacement(self) -> Segment:
        spare, self._spare = self._spare, None
        if spare is not None:
            return spare
        if not self.is_troubled and not self.is_barred:
            try:
                return self._new_segment()
            except OSError as error:
                self._trouble(error)
        return self._memory_segment()

    def _new_segment(self) -> Segment:
        name = self._segment_name()
        try:
            segment = Segment.create(self._directory, name, self._size())
        except OSError as error:
            if error.errno != errno.ENOSPC or self._size() <= FIRST_SEGMENT:
                raise
            self._segment_size = FIRST_SEGMENT  # a disk that is nearly full may have room for a small one
            segment = Segment.create(self._directory, name, self._size())
        if self.segments and self._is_mapped:  # of a short run most pages are never written
            segment.warm()
        return segment

    def _memory_segment(self) -> Segment:
        """A page in memory. When all memory that may be used is full, the oldest page gives way and is counted."""
        size = whole_records(min(self._size(), self._tuning.memory_bytes // 4))
        in_memory = [segment for segment in self.segments if not segment.is_stored]
        if in_memory and sum(segment.size for segment in in_memory) + size > self._tuning.memory_bytes:
            oldest = in_memory[0]
            self.segments.remove(oldest)
            oldest.shut()
            self.dropped_points += _points(oldest)
            oldest.close()
        return Segment.in_memory(self._segment_name(), size)

    def _segment_name(self) -> str:
        self._segment_number += 1
        return f"{self.writer}.{self._segment_number:06d}.seg"

    def _size(self) -> int:
        return whole_records(self._tuning.segment_bytes or self._segment_size)

    def prepare_spare(self) -> None:
        """Make the next segment ahead of time, so that rotating is a swap. Called by the background thread."""
        with self._lock:
            is_wanted = self._spare is None and self.segments and not self.is_closed
            if is_wanted and not self.is_troubled and not self.is_barred:
                with contextlib.suppress(OSError):  # rotating will meet it again, and say so
                    self._spare = self._new_segment()

    def rest(self) -> None:
        """Close the files of segments that were full a while ago and are on the disk. Called by the background thread.

        The fold opens them by name. If it cannot keep up, or fails, the process must not run out of descriptors.
        """
        with self._lock:
            for segment in self.segments:
                if segment.fd >= 0 and segment.synced is not None and segment.is_retired():
                    segment.rest()

    @property
    def series(self) -> int:
        """How many float series this writer appends to."""
        return len(self._definitions)

    @property
    def has_begun(self) -> bool:
        """False in a forked child that has not written yet."""
        return self._begin is None

    def unstored(self) -> int:
        """Points and frames that are not on disk: still in memory, or dropped and not even counted there."""
        waiting = sum(_points(segment) for segment in self.segments if not segment.is_stored)
        return waiting + len(self._waiting) + self.dropped_points + self.dropped_frames

    def pending_records(self) -> int:
        """Points not yet handed to the index."""
        return sum((segment.used() - segment.folded) // RECORD for segment in tuple(self.segments))

    def pending_ops(self) -> int:
        """Bytes of ops not yet handed to the index."""
        return sum(file.size - file.folded for file in tuple(self.ops_files))

    def _trouble(self, error: OSError) -> None:
        if error.errno is None:
            raise error  # not of the disk: the handler of a signal raised it
        self.is_troubled = True
        self.on_trouble(error)

    def bar(self, error: OSError) -> None:
        """Keep everything in memory until `on_recovery` can say to other processes that this writer lives."""
        self.is_barred = True
        self._trouble(error)

    def recover(self) -> bool:
        """Try to put on disk what waits in memory; True when nothing waits any more."""
        with self._lock:
            try:
                self.on_recovery()
                self.is_barred = False
                self._rewrite_lost_ops()
                self._store_frames()
                self._store_segments()
                self._record_drops()
                os.fsync(self._directory)
            except OSError:
                return False
            self.is_troubled = False
            return True

    def give_up(self) -> int:
        """At the end: say on disk, if it takes that, how much could not be stored; the number."""
        with self._lock:
            lost = self.unstored()
            if lost:
                for payload, is_vital in self._waiting:
                    with contextlib.suppress(OSError):
                        if is_vital:
                            self._append(payload)
                self.dropped_points += sum(_points(segment) for segment in self.segments if not segment.is_stored)
                self.dropped_frames += len(self._waiting)
                with contextlib.suppress(OSError):
                    self._record_drops()
            return lost

    def look_for_files(self) -> None:
        """Notice that somebody deleted the files: the kernel goes on taking what nobody will ever read.

        What they hold can still be read here, so it goes back to disk as soon as there is a folder again.
        """
        with self._lock:
            lost = [file for file in self.segments if file.is_stored and is_deleted(file.fd)]
            if not lost and not any(is_deleted(file.fd) for file in self.ops_files):
                return
            self.is_barred = True
            try:
                self._trouble(FileNotFoundError(errno.ENOENT, "its files were deleted"))
            finally:
                for segment in lost:
                    segment.is_stored = False
                if self.segments and self.segments[-1] in lost:
                    self._install(self._memory_segment())

    def _rewrite_lost_ops(self) -> None:
        for file in self.ops_files:
            if is_deleted(file.fd):
                self._save_again(file)

    def _store_frames(self) -> None:
        while self._waiting:
            sequence = self._sequence()
            try:
                self._append(self._waiting[0][0])
            finally:  # an interrupt may come right after the write
                if self._sequence() > sequence:
                    self._waiting_bytes -= len(self._waiting.popleft()[0])

    def _store_segments(self) -> None:
        if self.segments and not self.segments[-1].is_stored:
            spare, self._spare = self._spare, None
            self._install(spare or self._new_segment())
        for segment in self.segments:
            if not segment.is_stored:
                segment.shut()
                segment.store(self._directory)

    def _record_drops(self) -> None:
        if self.dropped_points or self.dropped_frames:
            self._append(encode_ops([Dropped(self.dropped_points, self.dropped_frames, clock.now())]))
            self.dropped_points = self.dropped_frames = 0

    def sync(self) -> None:
        """Return when all that was written before is on the disk itself.

        Raises:
            OSError: it is not. The files concerned were written anew from memory where the disk allowed it, because
                a second fdatasync would claim success for pages that the kernel has already given up.
        """
        with self._lock:
            files: list[OpsFile | Segment] = [*self.ops_files, *(one for one in self.segments if one.is_stored)]
            has_new_files, self._has_new_files = self._has_new_files, False
            waits = self.is_troubled
        try:
            for file in files:
                self._sync_file(file)
            if has_new_files:
                os.fsync(self._directory)
        except OSError:
            self._has_new_files = True
            raise
        if waits and not self.recover():
            raise OSError(errno.EIO, "the disk still refuses what waits in memory")

    def _sync_file(self, file: OpsFile | Segment) -> None:
        """Skip what has not grown, but only once two syncs saw it alike: a record is counted before it is packed."""
        used = file.used()
        if file.synced == used:
            return
        try:
            if file.is_doubtful:
                self._rewrite(file)
            put_on_disk(file.fd)
        except OSError as error:
            if file.fd < 0:
                return  # it was folded and closed meanwhile
            if not file.is_doubtful:
                file.is_doubtful = True
                with contextlib.suppress(OSError):  # the next sync tries again
                    self._rewrite(file)
            self._trouble(error)
            raise
        file.synced = used if file.seen == used else None
        file.seen = used

    def _rewrite(self, file: OpsFile | Segment) -> None:
        with self._lock:
            if isinstance(file, Segment):
                file.retired_at = file.retired_at or clock.monotonic()
                if file is self.segments[-1]:
                    self._install(self._replacement())
                file.shut()
            self._save_again(file)

    def _save_again(self, file: OpsFile | Segment) -> None:
        is_ops = isinstance(file, OpsFile)
        size = os.fstat(file.fd).st_size if is_ops else file.used()  # one may have been interrupted, one is allocated
        fd = save(self._directory, file.name, os.pread(file.fd, size, 0), os.O_APPEND if is_ops else 0)
        os.close(file.fd)
        file.fd = fd
        file.is_doubtful = False
        self._has_new_files = True

    def forget(self, file: OpsFile | Segment) -> None:
        """The index has all of this file: remove it."""
        with self._lock:
            if isinstance(file, Segment):
                self.segments.remove(file)
            else:
                self.ops_files.remove(file)
            file.close()
        _unlink(file.name, self._directory)

    def close(self) -> None:
        """Refuse everything from now on, and put what there is into its final form.

        Raises:
            OSError: the disk refuses that form; what it holds is as good without.
        """
        errors = []
        with self._lock:
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
        if spare is not None:
            spare.shut()
            spare.close()
            _unlink(spare.name, self._directory)
        if errors:
            raise errors[0]

    def release(self) -> None:
        """Give all descriptors back."""
        for segment in self.segments:
            segment.close()
        for file in self.ops_files:
            file.close()

    def abandon(self, begin: Callable[[], object]) -> None:
        """In a forked child: leave all files to the parent. `begin` is called before the first write here."""
        self.slot = DEAD_SLOT
        self._lock = threading.RLock()
        self.release()  # the child's copies of the descriptors; the parent keeps its own
        self.segments, self.ops_files, self._spare = [], [], None
        self._waiting, self._waiting_bytes = deque(), 0
        self._arrived, self._is_putting = deque(), False
        self.dropped_points = self.dropped_frames = 0
        self.is_troubled = self.is_barred = False
        self._begin = begin

    def begin(self, writer: str, directory: int) -> None:
        """Start over under another writer's name."""
        self.writer, self._directory = writer, directory
        self._segment_number = self._ops_number = 0

    def _refuse_if_closed(self) -> None:
        if self.is_closed:
            raise JournalClosed
        begin, self._begin = self._begin, None
        if begin is not None:
            try:
                begin()
            except BaseException:
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


def _points(segment: Segment) -> int:
    return (segment.used() - HEADER) // RECORD


put_on_disk: Callable[[int], None] = getattr(os, "fdatasync", os.fsync)  # macOS has no fdatasync


def is_deleted(fd: int) -> bool:
    """Whether a file or folder that is still open here has no name any more."""
    return fd >= 0 and os.fstat(fd).st_nlink == 0


def _has_room(page: Page, at: int) -> bool:
    try:
        return at + RECORD <= len(page)
    except ValueError:  # a mapping that was closed
        return False


def _unlink(name: str, directory: int) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=directory)
