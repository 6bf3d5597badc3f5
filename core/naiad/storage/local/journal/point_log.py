"""The point log: the segments of one writer. Appending is packing a record into the page of the slot.

    slot ----------------------------------.            full: the slot is swapped, the old segment "retired"
    [1 retired, sealed] [2 retired] [3 active] [spare]   0.2 s later no thread can still fill a record in it
         |                  |           |
       folded, removed    synced      packed into by all threads, without a lock

Where the disk takes no segment, a page in memory takes its place; of those the oldest gives way when memory is full.
"""

from __future__ import annotations

import contextlib
import errno
import math
import struct
from collections.abc import Callable, Collection, Mapping, Sequence

from naiad import clock
from naiad.settings import Tuning
from naiad.slots import DEAD_SLOT, FLOAT_STEP, RECORD, SEGMENT_HEADER, Page, Slot, pack_float, pack_int, pack_row
from naiad.storage.local.journal.directory import LogDirectory
from naiad.storage.local.journal.log_file import LogFile
from naiad.storage.local.journal.segment import Segment, commit_of, put_record, whole_records

FIRST_SEGMENT = 64 * 1024
SEGMENT = 1024 * 1024
LARGEST_SEGMENT = 4 * 1024 * 1024
"""Small enough that a few of them hold what waits for a busy fold, and that one more costs an append little."""
LARGEST_BLOCK = (LARGEST_SEGMENT - SEGMENT_HEADER) // RECORD
"""Records of a segment that is written in one piece."""
WINDOW = 16_384
"""Records that are handed out at once: so often it is noticed that too many points wait for the fold."""
BRAKED_WINDOW = 64
BRAKE_SECONDS = 40e-6
"""Longest wait of an append for the fold; at full brake one in 64 waits, and fewer appends in between if need be."""
FAST_ROTATION_SECONDS = 0.25
PIECE = 1024
"""Points that are packed before the slot is read again."""
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_numbers = struct.Struct("<24xI4x")


class PointLog:
    """The segments of one writer, oldest first; the last one is active, and `slot` is the place in it."""

    def __init__(
        self, directory: LogDirectory, tuning: Tuning, admit: Callable[[], object], *, is_mapped: bool
    ) -> None:
        """Begin without a segment; `admit` is called before one is added, and raises where nothing may be written."""
        self.slot: Slot = DEAD_SLOT
        self.segments: list[Segment] = []
        self.dropped = 0
        """Points that had to give way in memory, which is not recorded anywhere yet."""
        self._directory = directory
        self._tuning = tuning
        self._admit = admit
        self._is_mapped = is_mapped
        self._is_closed = False
        self._number = 0
        self._size = FIRST_SEGMENT
        self._rotated_at = 0.0
        self._spare: Segment | None = None
        self._most = math.inf  # points that may wait before appending is slowed down
        self._taken = 0  # by windows that were opened so far
        self._folded = 0

    def append(
        self, number: int, values: Sequence[float], steps: Sequence[int | float], times: Sequence[float]
    ) -> None:
        """Add points of one series, already checked; also the way out of a full, dead or foreign page.

        Raises:
            JournalClosed: the writer has stopped.
        """
        start, count = 0, len(values)
        while start < count:
            rows = slice(start, start + PIECE)
            # One read of the attribute: the slot may be swapped at any moment, and page and counter have to belong
            # together.
            slot = self.slot
            start += self._pack(slot, number, values[rows], steps[rows], times[rows])
            if start < min(rows.stop, count):
                self._make_room(slot)

    def append_row(
        self, numbers: Sequence[int], values: Sequence[float], steps: Sequence[int], times: Sequence[float]
    ) -> None:
        """Add a point of each of many series, already checked.

        Raises:
            JournalClosed: the writer has stopped.
        """
        start, count = 0, len(numbers)
        while start < count:
            rows = slice(start, start + PIECE)
            slot = self.slot
            is_mapped = slot[1].__class__ is not bytearray
            done = pack_row(slot, numbers[rows], values[rows], steps[rows], times[rows]) if is_mapped else 0
            if not done:  # no room is left, or the page takes no records
                self.append(numbers[start], (values[start],), (steps[start],), (times[start],))
            start += done or 1

    def append_block(self, records: bytes) -> None:
        """Add packed records, at most `LARGEST_BLOCK`, as a segment of their own.

        Raises:
            JournalClosed: the writer has stopped.
        """
        count = len(records) // RECORD
        with self._directory.lock:
            self._admit()
            self._remove_spare()  # its name comes before that of the block, and the points that it gets come after
            segment = self._block(records)
            if self.segments:
                self.segments[-1].retired_at = self.segments[-1].retired_at or clock.monotonic()
            self._directory.has_new_files = True
            self.segments.append(segment)
            self._taken += count
            # It is full, so that the next point asks for room behind it: files are read in the order of their names.
            self.slot = segment.slot
            excess = self._taken - self._folded - self._most
        if excess > 0:  # the waits that as many single points would have had, in one
            clock.sleep(min(BRAKE_SECONDS, BRAKE_SECONDS * 4 * excess / self._most) * count / BRAKED_WINDOW)

    def prepare_spare(self) -> None:
        """Make the next segment ahead of time, so that rotating is a swap. Called by the background thread."""
        with self._directory.lock:
            # Not before there is a first segment: a run that logs no points shall leave no file of 64 KiB.
            is_wanted = self._spare is None and self.segments and not self._is_closed
            if is_wanted and self._directory.takes_files:
                with contextlib.suppress(OSError):  # rotating will meet it again, and say so
                    self._spare = self._new_segment()

    def rest(self) -> None:
        """Close the files of segments that were full a while ago and are on the disk. Called by the background thread.

        The fold opens them by name. If it cannot keep up, or fails, the process must not run out of descriptors.
        """
        with self._directory.lock:
            for segment in filter(_may_rest, self.segments):
                segment.rest()

    def brake(self, most: float) -> None:
        """Slow appending down while more points than this wait.

        Else a fold that makes progress could never catch up. Called by the background thread, with infinity where no
        fold takes them, since waiting would be in vain then.
        """
        # Computed here, once a round, because `pending` looks at every segment: appends compare two numbers instead.
        self._folded = self._taken - self.pending()
        self._most = most

    def pending(self) -> int:
        """Points not yet handed to the index."""
        return sum((segment.used() - segment.folded) // RECORD for segment in tuple(self.segments))

    def stored(self) -> list[Segment]:
        """The segments that are files."""
        return [segment for segment in self.segments if segment.is_stored]

    def waiting(self) -> int:
        """Points that are in memory only, or were dropped from there."""
        return self.dropped + sum(segment.points() for segment in self.segments if not segment.is_stored)

    def sync(self) -> None:
        """Return when all points written before are on the disk.

        Raises:
            OSError: they are not.
        """
        with self._directory.lock:
            grown = [(segment, *segment.progress()) for segment in self.stored()]
        self._directory.sync(grown, self._rewrite)

    def keep_in_memory(self, gone: Collection[LogFile]) -> None:
        """Go on without those of these files that are segments; their pages still hold the points."""
        for segment in self.segments:
            segment.is_stored &= segment not in gone
        if self.segments and self.segments[-1] in gone:
            self._install(self._memory_segment())

    def recover(self) -> None:
        """Write the segments that are in memory to files.

        Raises:
            OSError: the disk still reports an error; the rest stays in memory.
        """
        # The active segment is replaced first. Only a page that no thread packs into any more can be copied whole.
        if self.segments and not self.segments[-1].is_stored:
            spare, self._spare = self._spare, None
            self._install(spare or self._new_segment())
        for segment in self.segments:
            # In order, and each becomes a file by itself: an error in the middle leaves the rest in memory, for the
            # next try.
            if not segment.is_stored:
                segment.shut()
                segment.store(self._directory.fd)

    def start_over(self) -> None:
        """Begin a new segment. No thread adds to the old ones any more; they can still be read.

        Raises:
            OSError: the disk reports an error.
        """
        self._remove_spare()  # other processes may know it as a file of a dead writer
        if self.segments:
            self._install(self._replacement())
        for segment in self.segments[:-1]:
            segment.shut()

    def put_again(self, positions: Mapping[str, tuple[int, bool]]) -> None:
        """Write to new segments the records that the index will never take from old ones, which it counts as final.

        Raises:
            OSError: the disk reports an error; it may be done again.
        """
        for segment in self.segments[:-1]:
            upto, is_final = positions.get(segment.name, (0, False))
            if is_final:
                self._put_records_again(segment, max(upto, SEGMENT_HEADER))
                self.forget(segment, max(upto, SEGMENT_HEADER))

    def forget(self, segment: Segment, end: int | None = None) -> None:
        """Remove a segment that the index has all of, or all up to an end."""
        with self._directory.lock:
            self.segments.remove(segment)
            segment.close()
        self._directory.remove(segment, end)

    def missing(self) -> int:
        """At the end: points that are in memory, were dropped, or that the disk took and does not confirm."""
        # At the end each doubtful file is synced once more; one that still does not confirm is counted as lost, not
        # hoped for.
        unconfirmed = [one for one in self.stored() if one.safe < one.used() and not one.is_confirmed()]
        return self.waiting() + sum(segment.points() - segment.safe_weight for segment in unconfirmed)

    def count(self, numbers: Collection[int]) -> int:
        """How many points in files have one of these numbers."""
        count = 0
        with contextlib.suppress(OSError):  # a disk that does not even read has lost them anyway
            for segment in self.stored() if numbers else ():
                found = _numbers.iter_unpack(segment.content(SEGMENT_HEADER, segment.used()))
                count += sum(number & ~FLOAT_STEP in numbers for (number,) in found)
        return count

    def close(self) -> None:
        """Take nothing more, and seal the segments.

        Raises:
            OSError: the disk takes no seal; the segment is as good without.
        """
        errors = []
        with self._directory.lock:
            self._is_closed = True
            # First, so that an append of another thread fails at once and raises that the run was stopped, instead of
            # packing into a segment that is being cut.
            self.slot = DEAD_SLOT
            for segment in self.segments:
                segment.retired_at = segment.retired_at or clock.monotonic()
                segment.shut()
                try:
                    if segment.is_stored:
                        segment.seal(self._directory.fd)
                except OSError as error:
                    errors.append(error)
            if self._spare is not None:
                with contextlib.suppress(OSError):  # it is empty: a spare that stays does no harm
                    self._remove_spare()
        if errors:
            raise errors[0]

    def abandon(self) -> None:
        """In a forked child: leave the segments to the parent; their pages stay open in the parent only."""
        self.slot = DEAD_SLOT
        if self._spare is not None:
            self._spare.close()  # only the child's copy of the descriptor
        self.segments, self._spare = [], None
        self.dropped = self._number = 0
        self._most = math.inf

    def _pack(
        self,
        slot: Slot,
        number: int,
        values: Sequence[float],
        steps: Sequence[int | float],
        times: Sequence[float],
    ) -> int:
        """Add points to the page of a slot; how many of the first ones it had room for."""
        offsets, page = slot
        points = zip(values, steps, times, strict=True)
        done = 0
        if page.__class__ is bytearray:
            for value, step, time in points:
                if not self._write(slot, record(number, value, step, time)):
                    break
                done += 1
            return done
        # A call for each point took twice as long as packing it.
        try:
            for value, step, time in points:
                at = next(offsets)
                if step.__class__ is int:
                    pack_int(page, at, step, value, time, number, at)
                else:
                    pack_float(page, at, step, value, time, number | FLOAT_STEP, at)
                done += 1
        except (struct.error, ValueError, TypeError):  # the last is what a closed page gives
            if _has_room(page, at):
                raise  # the point itself fits no record: not to be tried again
        return done

    def _make_room(self, full: Slot) -> None:
        with self._directory.lock:
            # The only check on the way of points whether the writer is open, or a forked child has to begin: it is
            # met once a segment, not once a point.
            self._admit()
            if self.slot is not full:
                return  # another thread was faster
            excess = self._taken - self._folded - self._most
            is_rotating = not self._open_window(full, excess)
            if is_rotating:
                self._install(self._replacement())
        # Outside the lock, or one slow append would hold up those of all threads.
        if excess > 0:
            _wait(min(BRAKE_SECONDS, BRAKE_SECONDS * 4 * excess / self._most))
        if is_rotating and len(self.segments) > 1:  # a run that never fills its first segment needs no spare at once
            self._directory.on_rotation()

    def _open_window(self, full: Slot, excess: float) -> bool:
        """Go on in the active segment; False if it is full or closed.

        The more waits, the fewer records are handed out at once.
        """
        active = self.segments[-1] if self.segments else None
        if active is None or active.slot is not full:
            return False
        # Smaller windows bring appends here more often, where they wait: the brake grows with the excess without a
        # sleep that would take longer than intended.
        records = WINDOW if excess <= 0 else max(4, BRAKED_WINDOW >> int(4 * excess / self._most))
        if not active.allot(records):
            return False
        self._taken += records
        self.slot = active.slot
        return True

    def _write(self, slot: Slot, data: bytes) -> bool:
        """Add a record by `pwrite()`, if it has room; where mappings are not coherent: 1.5 us instead of 0.3."""
        with self._directory.lock:
            segment = self.segments[-1] if self.segments else None
            if segment is None or self.slot is not slot or slot is DEAD_SLOT or segment.used() >= segment.size:
                return False
            at = next(segment.offsets)
            try:
                put_record(segment, data, at)
            except OSError as error:
                # The bytes may be there in part. The segment ends before them, so no reader takes them for a record.
                segment.take_back(at)
                self._directory.trouble(error)
                self._install(self._replacement())
                return False
        return True

    def _install(self, segment: Segment) -> None:
        now = clock.monotonic()
        if self.segments and self.segments[-1].retired_at is None:
            self.segments[-1].retired_at = now
        # Doubled only while points come fast: a slow run keeps small files, a fast one changes them a few times a
        # second.
        if now - self._rotated_at < FAST_ROTATION_SECONDS:
            self._size = min(max(self._size * 2, SEGMENT), LARGEST_SEGMENT)
        self._rotated_at = now
        self._directory.has_new_files = True
        self.segments.append(segment)
        if self._is_mapped:
            segment.allot(WINDOW)
            self._taken += WINDOW
        if not self._is_closed:  # a late sync may still replace a segment whose file is doubtful
            self.slot = segment.slot

    def _replacement(self) -> Segment:
        spare, self._spare = self._spare, None
        if spare is not None:
            return spare
        if self._directory.takes_files:
            try:
                return self._new_segment()
            except OSError as error:
                self._directory.trouble(error)
        return self._memory_segment()

    def _new_segment(self) -> Segment:
        name, directory = self._next_name(), self._directory.fd
        try:
            segment = Segment.create(directory, name, self._next_size(), is_mapped=self._is_mapped)
        except OSError as error:
            if error.errno not in FULL or self._next_size() <= FIRST_SEGMENT:
                raise
            self._size = FIRST_SEGMENT  # a disk that is nearly full may have room for a small one
            segment = Segment.create(directory, name, self._next_size(), is_mapped=self._is_mapped)
        if self.segments and self._is_mapped:  # of a short run most pages are never written
            segment.warm()
        return segment

    def _block(self, records: bytes) -> Segment:
        if self._directory.takes_files:
            try:
                return Segment.of_records(self._directory.fd, self._next_name(), records)
            except OSError as error:
                self._directory.trouble(error)
        segment = self._memory_segment(SEGMENT_HEADER + len(records))
        segment.fill(records)
        return segment

    def _memory_segment(self, size: int | None = None) -> Segment:
        """A page in memory. When all memory that may be used is full, the oldest page gives way and is counted."""
        size = size or whole_records(min(self._next_size(), self._tuning.memory_bytes // 4))
        in_memory = [segment for segment in self.segments if not segment.is_stored]
        if in_memory and sum(segment.size for segment in in_memory) + size > self._tuning.memory_bytes:
            oldest = in_memory[0]
            self.segments.remove(oldest)
            oldest.shut()
            self.dropped += oldest.points()
            oldest.close()
        return Segment.in_memory(self._next_name(), size)

    def _next_name(self) -> str:
        self._number += 1
        return f"{self._directory.writer}.{self._number:06d}.seg"

    def _next_size(self) -> int:
        return whole_records(self._tuning.segment_bytes or self._size)

    def _remove_spare(self) -> None:
        spare, self._spare = self._spare, None
        if spare is not None:
            spare.shut()
            spare.close()
            self._directory.unlink(spare.name)

    def _rewrite(self, segment: Segment) -> None:
        """Copy a segment whose sync failed; nothing may be packed into the old pages during and after that."""
        with self._directory.lock:
            segment.retired_at = segment.retired_at or clock.monotonic()
            if segment is self.segments[-1]:
                self._install(self._replacement())
            segment.shut()
            self._directory.write_again(segment, segment.used())

    def _put_records_again(self, old: Segment, start: int) -> None:
        content = old.content(start, old.used())
        whole = range(0, len(content) // RECORD * RECORD, RECORD)
        records = [content[at : at + RECORD] for at in whole]
        # Only records that were committed: a slot that was reserved by a thread which died holds nothing.
        records = [each for at, each in zip(whole, records, strict=True) if commit_of(each) == start + at]
        if not records:
            return
        new = Segment.create(self._directory.fd, self._next_name(), SEGMENT_HEADER + len(records) * RECORD)
        for each in records:
            put_record(new, each, next(new.offsets))
        new.retired_at = clock.monotonic()
        new.shut()
        self._directory.has_new_files = True
        # Before the active one, since the order of files is the order of points with equal steps.
        self.segments.insert(-1, new)


def _may_rest(segment: Segment) -> bool:
    # Retired, so that no thread still holds a slot in it; synced twice at this size, so that nothing is left to sync.
    return segment.fd >= 0 and segment.synced is not None and segment.is_retired()


def record(number: int, value: float, step: int | float, time: float, at: int = 0) -> bytes:
    """Return one record for an offset of its segment; 0, where no record lies, leaves the commit word unset."""
    page = bytearray(RECORD)
    if step.__class__ is int:
        pack_int(page, 0, step, value, time, number, at)
    else:
        pack_float(page, 0, step, value, time, number | FLOAT_STEP, at)
    return bytes(page)


def _wait(seconds: float) -> None:
    """Give way to others for so long, without sleeping, which takes longer."""
    until = clock.monotonic() + seconds
    while clock.monotonic() < until:
        clock.sleep(0)


def _has_room(page: Page, at: int) -> bool:
    try:
        return at + RECORD <= len(page)
    except ValueError:  # a mapping that was closed
        return False
