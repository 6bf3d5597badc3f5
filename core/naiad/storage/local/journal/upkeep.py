"""Keeping what a journal holds safe: syncing its files, writing them anew, and storing what waits in memory."""

from __future__ import annotations

import contextlib
import errno
import os
import struct
from collections.abc import Callable, Mapping
from itertools import accumulate

from naiad import clock
from naiad.disk import save
from naiad.ops import Define, Dropped, decode_ops, encode_ops
from naiad.settings import Tuning
from naiad.storage.base import FLOAT_STEP, RECORD
from naiad.storage.local.journal.frames import FILE_HEADER, FRAME_HEADER, Frame, encode_frame, file_header, read_frames
from naiad.storage.local.journal.leases import lock
from naiad.storage.local.journal.op_log import OpsFile
from naiad.storage.local.journal.reserve import RESERVED, Reserve
from naiad.storage.local.journal.retry_buffer import RetryBuffer, WaitingFrame
from naiad.storage.local.journal.rotation import Rotation, points_in, weight
from naiad.storage.local.journal.segment import HEADER, Segment, commit_of, put_record

LAST_WORDS = 256
"""Bytes that the end and the count of what is missing surely fit into."""
_numbers = struct.Struct("<24xI4x")


class Upkeep(Rotation):
    """The files of one writer together with what they could not take yet."""

    def __init__(self, directory: int, writer: str, tuning: Tuning, *, is_mapped: bool) -> None:
        super().__init__(directory, writer, tuning, is_mapped=is_mapped)
        self.on_recovery: Callable[[], object] = lambda: None
        self.reserve = Reserve(directory, writer)
        self.recorded = 0  # points and ops that were dropped, and the disk says so
        self._waiting = RetryBuffer(tuning.memory_bytes)

    def unstored(self) -> int:
        """Points and ops that the disk did not take: still in memory, or dropped and not even counted there."""
        waiting = sum(points_in(segment) for segment in self._in_memory())
        return waiting + self._waiting.weight + self.dropped_points + self._waiting.dropped

    def sync(self) -> None:
        """Return when all that was written before is on the disk itself.

        Raises:
            OSError: it is not. The files concerned were written anew from memory where the disk allowed it, because
                a second fdatasync would claim success for pages that the kernel has already given up.
        """
        self.cover()
        covered = self.sums.position()
        with self.lock:
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
        self.sums.note_synced(covered)
        if waits and not self.recover():
            raise OSError(errno.EIO, "the disk still refuses what waits in memory")

    def cover(self) -> None:
        """Write checksums of what has come since the last time; never called by who appends.

        A disk that refuses them is asked again the next time: the journal itself is as good without.
        """
        with self.lock:
            segments = [segment for segment in self.segments if segment.is_stored]
            ops = [(file.name, file.size, file.sequence) for file in self.ops_files]
            if self.is_barred or not ops:
                return
        with contextlib.suppress(OSError):
            self.sums.cover(segments, ops)

    def mark_sums(self) -> None:
        """Let the ops files say that there are sums, once these are on the disk. Called by the background thread."""
        if self.sums.is_made and not self.sums.is_marked:
            with contextlib.suppress(OSError):
                self.sums.mark([file.name for file in tuple(self.ops_files)])

    def look_for_files(self) -> None:
        """Notice that somebody deleted the files: the kernel goes on taking what nobody will ever read.

        What they hold can still be read here, so it goes back to disk as soon as there is a folder again.
        """
        with self.lock:
            lost = [file for file in self.segments if file.is_stored and self._is_lost(file)]
            if not lost and not any(self._is_lost(file) for file in self.ops_files):
                return
            self.is_barred = self.is_displaced = True
            try:
                self._trouble(FileNotFoundError(errno.ENOENT, "its files were deleted"))
            finally:
                for segment in lost:
                    segment.is_stored = False
                if self.segments and self.segments[-1] in lost:
                    self._install(self._memory_segment())

    def start_over(self) -> None:
        """Go on in new files only. No thread of this process adds to the old ones any more; they can still be read.

        Raises:
            OSError: the disk refuses; nothing is lost by that, and it may be done again.
        """
        with self.lock:
            spare, self._spare = self._spare, None
            if spare is not None:  # it may be known to others as a file of a dead writer
                spare.shut()
                spare.close()
                unlink(spare.name, self._directory)
            if self.segments:
                self._install(self._replacement())
            for segment in self.segments[:-1]:
                segment.shut()
            self._new_ops_file()

    def put_again(self, positions: Mapping[str, tuple[int, bool]]) -> None:
        """Write to new files what the index will never take from the old ones, because it counts them as final.

        `positions` says how many bytes of each file are in the index, and whether it counts as final. Begin new files
        before it is read: what is added to the old ones later would be missed.

        Raises:
            OSError: the disk refuses; what was not written again waits in the old files, and it may be done again.
        """
        with self.lock:
            old: list[OpsFile | Segment] = [*self.segments[:-1], *self.ops_files[:-1]]
            for file in old:
                upto, is_final = positions.get(file.name, (0, False))
                if not is_final:
                    continue
                if isinstance(file, Segment):
                    self._put_records_again(file, max(upto, HEADER))
                else:
                    self._put_frames_again(file, max(upto, FILE_HEADER))
                self.forget(file)
            self.is_displaced = False

    def _put_records_again(self, old: Segment, start: int) -> None:
        content = old.content(start, old.used())
        whole = range(0, len(content) // RECORD * RECORD, RECORD)
        records = [content[at : at + RECORD] for at in whole]
        records = [each for at, each in zip(whole, records, strict=True) if commit_of(each) == start + at]
        if not records:
            return
        new = Segment.create(self._directory, self._segment_name(), HEADER + len(records) * RECORD)
        for each in records:
            put_record(new, each)
        new.retired_at = clock.monotonic()
        new.shut()
        self._has_new_files = True
        self.segments.insert(-1, new)

    def _put_frames_again(self, old: OpsFile, start: int) -> None:
        for item in read_frames(os.pread(old.fd, os.fstat(old.fd).st_size, 0), start):
            if isinstance(item, Frame):
                self._append(encode_ops(item.ops), weight(item.ops))

    def _is_lost(self, file: OpsFile | Segment) -> bool:
        """Whether its name is gone, or belongs to another file now."""
        if file.fd < 0:
            return False
        try:
            return os.stat(file.name, dir_fd=self._directory).st_ino != os.fstat(file.fd).st_ino
        except FileNotFoundError:
            return True

    def recover(self) -> bool:
        """Try to put on disk what waits in memory; True when nothing waits any more."""
        with self.lock:
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
        """At the end: say on disk, if it takes that, how the run ended and how much is missing; so many points and ops.

        Ops and points that the disk took and never confirmed count as missing: it may have died since.
        """
        with self.lock:
            if not (self.is_troubled or self._waiting or self.dropped_points):
                return 0
            points, ops = self._unconfirmed()
            points += self.dropped_points + sum(points_in(segment) for segment in self._in_memory())
            ops += self._waiting.dropped
            vital = self._waiting.vital()
            ops += self._waiting.weight - sum(frame.weight for frame in vital)
            return sum(self._conclude(vital, points, ops))

    def _in_memory(self) -> list[Segment]:
        return [segment for segment in self.segments if not segment.is_stored]

    def _unconfirmed(self) -> tuple[int, int]:
        """Points and ops in files that are not surely on the disk, and that it does not confirm now."""
        points = ops = 0
        for segment in self.segments:
            if segment.is_stored and segment.safe < segment.used() and not _is_confirmed(segment):
                points += (segment.used() - segment.safe) // RECORD
        for file in self.ops_files:
            if is_deleted(file.fd):
                ops += file.weight
            elif file.safe < file.size and not _is_confirmed(file):
                ops += file.weight - file.safe_weight
        return points, ops

    def _conclude(self, vital: list[WaitingFrame], points: int, ops: int) -> tuple[int, int]:
        """Write what gives the rest its meaning, how much is lost, and the end; into the reserve if need be."""
        left = list(vital)
        try:
            while left:
                self._append(left[0].payload)
                del left[0]
            if points or ops:
                self._append(_dropped(points, ops))
        except OSError:
            return self._use_reserve(left, points, ops)
        return points, ops

    def _use_reserve(self, left: list[WaitingFrame], points: int, ops: int) -> tuple[int, int]:
        """The same with the frames that are left, as far as they fit beside the end, which is the last of them."""
        others, end = left[:-1], left[-1:]
        room = RESERVED - FILE_HEADER - LAST_WORDS
        sizes = accumulate(len(frame.payload) + FRAME_HEADER for frame in others)
        fits = sum(size <= room for size in sizes)
        lost_points = points + self._meaningless(others[fits:])
        lost_ops = ops + sum(frame.weight for frame in others[fits:])
        words = [
            *others[:fits],
            *([WaitingFrame(_dropped(lost_points, lost_ops), True, 0)] if lost_points or lost_ops else []),
        ]
        try:
            first = self._sequence() + 1
            frames = [encode_frame(first + n, frame.payload) for n, frame in enumerate([*words, *end])]
            self.reserve.fill(f"{self.writer}.{self._ops_number + 1:06d}.ops", file_header() + b"".join(frames))
        except OSError:
            return points + self._meaningless(left), ops + sum(frame.weight for frame in left)
        return lost_points, lost_ops

    def _meaningless(self, lost: list[WaitingFrame]) -> int:
        """How many points are on disk under numbers that only lost frames explain."""
        numbers = {op.fid for frame in lost for op in decode_ops(frame.payload) if isinstance(op, Define)}
        count = 0
        with contextlib.suppress(OSError):  # a disk that does not even read has lost them anyway
            for segment in self.segments if numbers else ():
                if segment.is_stored:
                    found = _numbers.iter_unpack(segment.content(HEADER, segment.used()))
                    count += sum(number & ~FLOAT_STEP in numbers for (number,) in found)
        return count

    def bar(self, error: OSError) -> None:
        """Keep everything in memory until `on_recovery` can say to other processes that this writer lives."""
        self.is_barred = True
        self._trouble(error)

    def forget(self, file: OpsFile | Segment) -> None:
        """The index has all of this file: remove it."""
        with self.lock:
            if isinstance(file, Segment):
                self.segments.remove(file)
            else:
                self.ops_files.remove(file)
            file.close()
        unlink(file.name, self._directory)
        self.sums.note_folded(file.name)

    def _sync_file(self, file: OpsFile | Segment) -> None:
        """Skip what has not grown, but only once two syncs saw it alike: a record is counted before it is packed."""
        with self.lock:
            used, content = file.used(), file.weight if isinstance(file, OpsFile) else 0
        if file.synced == used:
            return
        try:
            if file.is_doubtful:
                self._rewrite(file)
            fd = file.fd
            if fd < 0:
                return  # it was folded and closed meanwhile
            put_on_disk(fd)
        except OSError as error:
            if file.fd < 0:
                return  # it was folded and closed meanwhile
            if not file.is_doubtful:
                file.is_doubtful = True
                with contextlib.suppress(OSError):  # the next sync tries again
                    self._rewrite(file)
            self._trouble(error)
            raise
        if isinstance(file, OpsFile):
            file.safe_weight = content
        file.safe = used
        file.synced = used if file.seen == used else None
        file.seen = used

    def _rewrite(self, file: OpsFile | Segment) -> None:
        with self.lock:
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
        if is_ops:
            lock(fd)
        os.close(file.fd)
        file.fd = fd
        file.is_doubtful = False
        self._has_new_files = True

    def _rewrite_lost_ops(self) -> None:
        for file in self.ops_files:
            if self._is_lost(file):
                self._save_again(file)

    def _store_frames(self) -> None:
        while self._waiting:
            sequence = self._sequence()
            try:
                frame = self._waiting.first()
                self._append(frame.payload, frame.weight)
            finally:  # an interrupt may come right after the write
                if self._sequence() > sequence:
                    self._waiting.pop()

    def _store_segments(self) -> None:
        if self.segments and not self.segments[-1].is_stored:
            spare, self._spare = self._spare, None
            self._install(spare or self._new_segment())
        for segment in self.segments:
            if not segment.is_stored:
                segment.shut()
                segment.store(self._directory)

    def _record_drops(self) -> None:
        points, ops = self.dropped_points, self._waiting.dropped
        if points or ops:
            self._append(_dropped(points, ops))
            self.recorded += points + ops
            self.dropped_points = self._waiting.dropped = 0


put_on_disk: Callable[[int], None] = getattr(os, "fdatasync", os.fsync)  # macOS has no fdatasync


def _dropped(points: int, ops: int) -> bytes:
    return encode_ops([Dropped(points, ops, clock.now())])


def _is_confirmed(file: OpsFile | Segment) -> bool:
    """Whether all of a file is on the disk now. Once a sync has failed, another one says nothing."""
    if file.fd < 0:
        return True  # it was synced before it was closed
    if file.is_doubtful:
        return False
    try:
        put_on_disk(file.fd)
    except OSError:
        return False
    return True


def is_deleted(fd: int) -> bool:
    """Whether a file or folder that is still open here has no name any more; of a disk that is dead it is not known."""
    with contextlib.suppress(OSError):
        return fd >= 0 and os.fstat(fd).st_nlink == 0
    return False


def unlink(name: str, directory: int) -> None:
    """Remove a file of a folder, if it is there."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=directory)
