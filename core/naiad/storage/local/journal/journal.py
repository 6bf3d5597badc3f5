"""The journal of one writer: points go to segments, ops to frames; both have reached the kernel when a call returns.

The one rule: no error of the disk is ever raised from here into training. When it takes nothing, points and frames wait
in memory, in order and bounded, until it takes them again; dropped ones are counted and recorded.

    Journal --- numbers of series, order between the logs, closing, forks
       |-- OpLog      ops files       "number 7 means train/loss"        written before ...
       |-- PointLog   segments        "7: step 3, 0.25"                  ... a point with that number
       '-- LogDirectory  the folder both lie in, its lock, its trouble, its sums
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
from collections.abc import Callable, Mapping, Sequence

from naiad.errors import NaiadValueError
from naiad.locks import run_locked
from naiad.ops import Define, Delete, Op, encode_ops
from naiad.settings import Tuning
from naiad.storage.local.journal.directory import LogDirectory
from naiad.storage.local.journal.frames import LARGEST
from naiad.storage.local.journal.log_file import lost
from naiad.storage.local.journal.op_log import OpLog, OpsFile
from naiad.storage.local.journal.point_log import PointLog
from naiad.storage.local.journal.segment import Segment

LOCK_SECONDS = 1.0
"""How long what is printed waits for another thread that is writing."""


class JournalClosed(RuntimeError):
    """The writer has stopped; callers turn this into an error that names the run."""


class Journal:
    """The data that one process has written to one run and not yet folded."""

    def __init__(self, directory: int, writer: str, tuning: Tuning, *, is_mapped: bool) -> None:
        self.directory = LogDirectory(directory, writer)
        self.op_log = OpLog(self.directory, tuning.memory_bytes)
        self.point_log = PointLog(self.directory, tuning, self._refuse_if_closed, is_mapped=is_mapped)
        self.on_recovery: Callable[[], object] = lambda: None
        self.is_displaced = False
        """Its files were deleted, or another process took them for final: see `start_over`."""
        self.is_closed = False
        self.has_begun = True
        """False in a forked child that has not written yet."""
        self.recorded = 0
        """Points and ops that were dropped, and the disk says so."""
        self._definitions: dict[str, Define] = {}  # by path, as far as they still mean something
        self._last_number = 0
        self._begin: Callable[[], object] | None = None

    @property
    def series(self) -> int:
        """How many float series this writer appends to."""
        return len(self._definitions)

    def name(self) -> str:
        """That of this writer; a forked child gets its own at its first write, which this counts as.

        Raises:
            JournalClosed: the writer has stopped.
        """
        with self.directory.lock:
            self._refuse_if_closed()
            return self.directory.writer

    def write(self, ops: Sequence[Op]) -> None:
        """Add one frame; readers see all of its ops or none.

        Raises:
            JournalClosed: the writer has stopped.
        """
        if not ops:
            return
        payload = encode_ops(ops)
        # Checked before the lock, and before anything is buffered: a frame that no file takes would wait for ever and
        # keep all later ones waiting.
        if len(payload) > LARGEST:
            raise NaiadValueError(f"One call cannot write {len(payload)} bytes; {LARGEST} are the limit. Use several.")
        defined: dict[str, Define] = {}
        deleted = []
        for op in ops:
            if isinstance(op, Define):
                defined[op.path] = op
            elif isinstance(op, Delete):
                deleted.append(op.path)
                defined.pop(op.path, None)
        with self.directory.lock:
            if self.is_closed or self._begin is not None:
                self._refuse_if_closed()
            # Through the queue, though the lock is held: a signal handler that logs in this thread, inside
            # `append_all`, must find its frame written after this one.
            self.op_log.arrived.append((payload, ops))
            self.op_log.append_all()
            # Only after the frame is in its place: a definition that is remembered and not written would be given to
            # a forked child.
            for path in deleted:
                self._definitions.pop(path, None)
            self._definitions.update(defined)

    def write_soon(self, ops: Sequence[Op]) -> None:
        """Add one frame; where another thread keeps the journal for long, that one adds it.

        That thread may be about to print a warning, and wait for the stream that this one is printing to.

        Raises:
            JournalClosed: the writer has stopped.
        """
        # Before the lock is asked for: if the time runs out, the thread that holds it finds the frame in the queue.
        self.op_log.arrived.append((encode_ops(ops), ops))
        run_locked(self.directory.lock, LOCK_SECONDS, self._append_arrived)

    def _append_arrived(self) -> None:
        if self.is_closed or self._begin is not None:
            self._refuse_if_closed()
        self.op_log.append_all()

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
        with self.directory.lock:
            self._last_number += 1
            return self._last_number

    def numbers(self) -> tuple[dict[str, int], int]:
        """The field number of each path, and the last one given."""
        return {path: define.fid for path, define in self._definitions.items()}, self._last_number

    def definitions(self) -> list[Define]:
        """Return the definitions of field numbers, for a forked child that uses them.

        Each is as old as it was, and just behind one that began anew: later deletions stay in effect.
        """
        known = sorted(self._definitions.values(), key=lambda define: define.at)
        return [Define(define.fid, define.path, False, math.nextafter(define.at, math.inf)) for define in known]

    def inherit(self, definitions: Sequence[Define], last: int) -> None:
        """Write the inherited definitions again, in a forked child."""
        with self.directory.lock:
            self._definitions, self._last_number = {}, last
            if definitions:
                self.write(definitions)

    def sync(self) -> None:
        """Return when all that was written before is on the disk itself.

        Raises:
            OSError: it is not. The files concerned were written anew from memory where the disk allowed it, because
                a second fdatasync would claim success for pages that the kernel has already given up.
        """
        # Sums first: the entries so far are about bytes that the syncs below put on the disk, so they count as sure
        # afterwards.
        self.cover()
        covered = self.directory.sums.position()
        waits = self.directory.is_troubled
        # Ops before points: after a power cut between the two, points may be missing, and none lacks the definition
        # of its number.
        self.op_log.sync()
        self.point_log.sync()
        self.directory.sync_names()
        self.directory.sums.note_synced(covered)
        if waits and not self.recover():
            raise OSError(errno.EIO, "the disk still reports an error; the data waits in memory")

    def cover(self) -> None:
        """Write checksums of new data; called by the background thread only.

        A disk that does not take them is tried again the next time: the journal itself is as good without.
        """
        with self.directory.lock:
            # Sizes are taken under the lock, and the bytes summed without it: reading them back may take long beside
            # a busy disk.
            segments = self.point_log.stored()
            ops = [(file.name, file.size, file.sequence) for file in self.op_log.files]
            # A segment without any ops file has no definitions yet, so nothing in it can be read.
            if self.directory.is_barred or not ops:
                return
        with contextlib.suppress(OSError):
            self.directory.sums.cover(segments, ops)

    def mark_sums(self) -> None:
        """Flag the ops files as having sums, once these are on disk. Called by the background thread."""
        sums = self.directory.sums
        if sums.is_made and not sums.is_marked:
            with contextlib.suppress(OSError):
                sums.mark(self.op_log.mark_summed)

    def look_for_files(self) -> None:
        """Detect that the files were deleted, which the kernel does not report to a writer.

        Their content can still be read here, so it goes back to disk as soon as there is a folder again.
        """
        with self.directory.lock:
            gone = lost([*self.point_log.segments, *self.op_log.files], self.directory.fd)
            if not gone:
                return
            # Barred, because a new file beside a deleted folder would be seen by no reader: the lease has to be there
            # again first.
            self.directory.is_barred = self.is_displaced = True
            try:
                self.directory.trouble(FileNotFoundError(errno.ENOENT, "its files were deleted"))
            finally:
                self.point_log.keep_in_memory(gone)

    def bar(self, error: OSError) -> None:
        """Buffer everything in memory until `on_recovery` has renewed the lease."""
        self.directory.is_barred = True
        self.directory.trouble(error)

    def recover(self) -> bool:
        """Try to store the buffered data; True if nothing is left."""
        with self.directory.lock:
            if self.is_closed:  # by a stop that did not wait for the thread that calls this
                return False
            try:
                # The lease comes first: files that appear without one look like those of a dead writer, which another
                # process may fold and remove.
                self.on_recovery()
                self.directory.is_barred = False
                self.op_log.recover()  # first: the points that follow mean nothing without their definitions
                self.point_log.recover()
                self._record_drops()
                os.fsync(self.directory.fd)
            except OSError:
                return False
            self.directory.is_troubled = False
            return True

    def start_over(self) -> None:
        """Go on in new files only. No thread of this process adds to the old ones any more; they can still be read.

        Raises:
            OSError: the disk reports an error; nothing is lost by that, and it may be done again.
        """
        with self.directory.lock:
            self.point_log.start_over()
            self.op_log.start_over()

    def put_again(self, positions: Mapping[str, tuple[int, bool]]) -> None:
        """Rewrite to new files the data of old ones that the index counts as final.

        `positions` has how many bytes of each file are in the index, and whether it counts as final. Begin new files
        before it is read: ops added to the old ones later would be missed.

        Raises:
            OSError: the disk reports an error; ops not written again wait in the old files, and it may be done again.
        """
        with self.directory.lock:
            self.point_log.put_again(positions)
            self.op_log.put_again(positions)
            self.is_displaced = False

    def forget(self, file: OpsFile | Segment) -> None:
        """Remove a file that the index has all of."""
        if isinstance(file, Segment):
            self.point_log.forget(file)
        else:
            self.op_log.forget(file)

    def unstored(self) -> int:
        """Points and ops that the disk did not take: still in memory, or dropped and not even counted there."""
        return self.point_log.waiting() + self.op_log.waiting()

    def give_up(self) -> int:
        """Store the end state and the losses if the disk takes them; return lost points and ops.

        Ops and points that the disk took and never confirmed count as missing: it may have died since.
        """
        with self.directory.lock:
            if not (self.directory.is_troubled or self.op_log.retries.frames or self.point_log.dropped):
                return 0
            return self.op_log.conclude(self.point_log.missing(), self.point_log.count)

    def close(self) -> None:
        """Close for all writes, and finish the files.

        Raises:
            OSError: the disk does not take that form; its content is as good without.
        """
        with self.directory.lock:
            # Under the lock, so that a thread inside `write` has finished its frame: the files are cut to their ends
            # next.
            self.is_closed = True
            self.point_log.close()

    def release(self) -> None:
        """Give all descriptors back."""
        for file in (*self.point_log.segments, *self.op_log.files):
            file.close()
        self.directory.sums.close()

    def abandon(self, begin: Callable[[], object]) -> None:
        """In a forked child: leave all files to the parent. `begin` is called before the first write here."""
        self.release()  # the child's copies of the descriptors; the parent keeps its own
        self.directory.abandon()
        self.point_log.abandon()
        self.op_log.abandon()
        self.recorded = 0
        self._begin, self.has_begun = begin, False

    def begin(self, writer: str, directory: int) -> None:
        """Start over under another writer's name."""
        self.directory.begin(directory, writer)
        self.op_log.begin()

    def _record_drops(self) -> None:
        points, ops = self.point_log.dropped, self.op_log.retries.dropped
        if points or ops:
            self.op_log.write_dropped(points, ops)
            self.recorded += points + ops
            self.point_log.dropped = self.op_log.retries.dropped = 0

    def _refuse_if_closed(self) -> None:
        if self.is_closed:
            raise JournalClosed
        begin, self._begin = self._begin, None
        if begin is not None:
            self.has_begun = True
            try:
                begin()  # it writes, so it comes back here and has to find nothing left to begin
            except BaseException:  # only to clean up: whatever it is goes on
                self._begin, self.has_begun = begin, False
                raise
