"""Keeping what a journal holds safe: syncing its files, writing them anew, and storing what waits in memory."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Mapping

from naiad import clock
from naiad.ops import Dropped, encode_ops
from naiad.settings import Tuning
from naiad.store.frames import FILE_HEADER, Frame, read_frames
from naiad.store.leases import lock
from naiad.store.opsfile import OpsFile
from naiad.store.rotation import Rotation, points_in
from naiad.store.segment import HEADER, RECORD, Segment, commit_of, put_record, save
from naiad.store.waiting import Waiting

__all__ = ["Upkeep", "is_deleted", "unlink"]


class Upkeep(Rotation):
    """The files of one writer together with what they could not take yet."""

    def __init__(self, directory: int, writer: str, tuning: Tuning, *, is_mapped: bool) -> None:
        super().__init__(directory, writer, tuning, is_mapped=is_mapped)
        self.on_recovery: Callable[[], object] = lambda: None
        self._waiting = Waiting(tuning.memory_bytes)

    def unstored(self) -> int:
        """Points and frames that are not on disk: still in memory, or dropped and not even counted there."""
        waiting = sum(points_in(segment) for segment in self.segments if not segment.is_stored)
        return waiting + len(self._waiting) + self.dropped_points + self._waiting.dropped

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

    def look_for_files(self) -> None:
        """Notice that somebody deleted the files: the kernel goes on taking what nobody will ever read.

        What they hold can still be read here, so it goes back to disk as soon as there is a folder again.
        """
        with self._lock:
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
        with self._lock:
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
        with self._lock:
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
                self._append(encode_ops(item.ops))

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
                for payload in self._waiting.vital():
                    with contextlib.suppress(OSError):
                        self._append(payload)
                self.dropped_points += sum(points_in(segment) for segment in self.segments if not segment.is_stored)
                self._waiting.dropped += len(self._waiting)
                with contextlib.suppress(OSError):
                    self._record_drops()
            return lost

    def bar(self, error: OSError) -> None:
        """Keep everything in memory until `on_recovery` can say to other processes that this writer lives."""
        self.is_barred = True
        self._trouble(error)

    def forget(self, file: OpsFile | Segment) -> None:
        """The index has all of this file: remove it."""
        with self._lock:
            if isinstance(file, Segment):
                self.segments.remove(file)
            else:
                self.ops_files.remove(file)
            file.close()
        unlink(file.name, self._directory)

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
                self._append(self._waiting.first())
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
        if self.dropped_points or self._waiting.dropped:
            self._append(encode_ops([Dropped(self.dropped_points, self._waiting.dropped, clock.now())]))
            self.dropped_points = self._waiting.dropped = 0


put_on_disk: Callable[[int], None] = getattr(os, "fdatasync", os.fsync)  # macOS has no fdatasync


def is_deleted(fd: int) -> bool:
    """Whether a file or folder that is still open here has no name any more."""
    return fd >= 0 and os.fstat(fd).st_nlink == 0


def unlink(name: str, directory: int) -> None:
    """Remove a file of a folder, if it is there."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=directory)
