"""The files of one journal: which one is written to, and what follows when it is full or the disk refuses another.

Where the disk takes no segment, a page in memory takes its place; of those the oldest gives way when memory is full.
"""

from __future__ import annotations

import contextlib
import errno
import threading
from collections.abc import Callable, Sequence

from naiad import clock
from naiad.ops import Assign, Configure, Delete, Members, Op, Printed, Strings, Tags
from naiad.settings import Tuning
from naiad.storage.base import DEAD_SLOT, RECORD, Slot
from naiad.storage.local.journal.op_log import OpsFile
from naiad.storage.local.journal.segment import HEADER, Segment, whole_records
from naiad.storage.local.journal.sums import Sums

CHANGES = (Assign, Configure, Tags, Members, Delete)
FIRST_SEGMENT = 64 * 1024
SEGMENT = 1024 * 1024
LARGEST_SEGMENT = 16 * 1024 * 1024
LARGEST_OPS_FILE = 4 * 1024 * 1024
FAST_ROTATION_SECONDS = 0.25
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Rotation:
    """Segments and ops files of one writer, the last of each being the active one."""

    def __init__(self, directory: int, writer: str, tuning: Tuning, *, is_mapped: bool) -> None:
        self.slot: Slot = DEAD_SLOT
        self.writer = writer
        self.segments: list[Segment] = []
        self.ops_files: list[OpsFile] = []
        self.sums = Sums(directory, writer)
        self.is_troubled = False
        self.is_barred = False  # nothing may reach the disk, because this writer could not say that it lives
        self.is_displaced = False  # its files went, or another process took them for final: see Upkeep.start_over
        self.is_closed = False
        self.dropped_points = 0
        self.on_rotation: Callable[[], object] = lambda: None
        self.on_trouble: Callable[[OSError], object] = lambda _error: None
        self._directory = directory
        self._tuning = tuning
        self._is_mapped = is_mapped
        self.lock = threading.RLock()  # a writer holds it too, to stamp ops in the order of their frames
        self._segment_number = 0
        self._ops_number = 0
        self._segment_size = FIRST_SEGMENT
        self._rotated_at = 0.0
        self._spare: Segment | None = None
        self._has_new_files = True

    def prepare_spare(self) -> None:
        """Make the next segment ahead of time, so that rotating is a swap. Called by the background thread."""
        with self.lock:
            is_wanted = self._spare is None and self.segments and not self.is_closed
            if is_wanted and not self.is_troubled and not self.is_barred:
                with contextlib.suppress(OSError):  # rotating will meet it again, and say so
                    self._spare = self._new_segment()

    def rest(self) -> None:
        """Close the files of segments that were full a while ago and are on the disk. Called by the background thread.

        The fold opens them by name. If it cannot keep up, or fails, the process must not run out of descriptors.
        """
        with self.lock:
            for segment in self.segments:
                if segment.fd >= 0 and segment.synced is not None and segment.is_retired():
                    segment.rest()

    def pending_records(self) -> int:
        """Points not yet handed to the index."""
        return sum((segment.used() - segment.folded) // RECORD for segment in tuple(self.segments))

    def pending_ops(self) -> int:
        """Bytes of ops not yet handed to the index."""
        return sum(file.size - file.folded for file in tuple(self.ops_files))

    def _append(self, payload: bytes, weight: int = 0) -> None:
        self._active_ops_file().append(payload, weight)

    def _sequence(self) -> int:
        """That of the last frame that is surely in a file."""
        if not self.ops_files:
            return 0
        self.ops_files[-1].settle()
        return self.ops_files[-1].sequence

    def _active_ops_file(self) -> OpsFile:
        if not self.ops_files or self.ops_files[-1].size > LARGEST_OPS_FILE:
            self._new_ops_file()
            if self._ops_number > 1:
                self.on_rotation()
        return self.ops_files[-1]

    def _new_ops_file(self) -> None:
        self._has_new_files = True
        self._ops_number += 1
        name = f"{self.writer}.{self._ops_number:06d}.ops"
        file = OpsFile(self._directory, name, self._sequence(), is_summed=self.sums.is_marked)
        self.ops_files.append(file)

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
            segment = Segment.create(self._directory, name, self._size(), is_mapped=self._is_mapped)
        except OSError as error:
            if error.errno not in FULL or self._size() <= FIRST_SEGMENT:
                raise
            self._segment_size = FIRST_SEGMENT  # a disk that is nearly full may have room for a small one
            segment = Segment.create(self._directory, name, self._size(), is_mapped=self._is_mapped)
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
            self.dropped_points += points_in(oldest)
            oldest.close()
        return Segment.in_memory(self._segment_name(), size)

    def _segment_name(self) -> str:
        self._segment_number += 1
        return f"{self.writer}.{self._segment_number:06d}.seg"

    def _size(self) -> int:
        return whole_records(self._tuning.segment_bytes or self._segment_size)

    def _trouble(self, error: OSError) -> None:
        if error.errno is None:
            raise error  # not of the disk: the handler of a signal raised it
        self.is_troubled = True
        self.on_trouble(error)


def weight(ops: Sequence[Op]) -> int:
    """How much is missing if these are lost: each value, change, text and line counts, what naiad adds does not."""
    count = 0
    for op in ops:
        if isinstance(op, Strings):
            count += len(op.texts)
        elif isinstance(op, Printed):
            count += op.data.count(b"\n")
        else:
            count += isinstance(op, CHANGES)
    return count


def points_in(segment: Segment) -> int:
    """How many points it has taken."""
    return (segment.used() - HEADER) // RECORD
