r"""The op log: a writer's ops files, and frames buffered in memory while the disk takes none.

One frame is one `write()`, so readers see all of its ops or none.

    arrived -+-> active ops file <-+
             \-> retry buffer -----+   `recover`: in order; while a frame waits, no later one overtakes it
                      \-> reserve      `conclude`, at the end of a run whose disk is still full

The buffer is bounded: the oldest frames give way, but not those that later points and ops need to mean anything.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple

from naiad import clock
from naiad.disk import allocate, close, is_deleted, new_file, write_all
from naiad.ops import (
    Assign,
    Configure,
    Define,
    Delete,
    Dropped,
    End,
    Frame,
    Members,
    Op,
    Open,
    Printed,
    Strings,
    Tags,
    decode_ops,
    encode_ops,
)
from naiad.storage.local.journal.directory import LogDirectory
from naiad.storage.local.journal.frames import (
    FILE_HEADER,
    FRAME_HEADER,
    LAST_SEQUENCE,
    SUMMED_HEADER,
    encode_frame,
    file_header,
    read_frames,
)
from naiad.storage.local.journal.leases import lock
from naiad.storage.local.journal.log_file import LogFile, lost

LARGEST_OPS_FILE = 4 * 1024 * 1024
CHANGES = (Assign, Configure, Tags, Members, Delete)
WEIGHTLESS = {Open, Define}
VITAL = {Open, End, Define, Delete}
"""Ops without which later points and ops would mean nothing, or something else."""
RESERVED = 4096
"""The room: one block, enough for the end and for some eighty series that waited in memory."""
NUMBER_OF_END = 999_999
"""Number of the ops file that a signal handler writes; no writer has as many, so it is the last one."""
LAST_WORDS = 256
"""Bytes that the end and the count of what is missing surely fit into."""


class OpsFile(LogFile):
    """One file of frames that this process appends to, and holds locked as long as it does."""

    def __init__(self, directory: int, name: str, sequence: int = 0, *, is_summed: bool = False) -> None:
        """Make a new one; `sequence` is that of the frame before its first, `is_summed` whether there are sums.

        Raises:
            OSError: no room, no folder, no permission; nothing is left behind.
        """
        super().__init__(name, -1, 0)
        self.sequence = sequence
        self.size = FILE_HEADER
        self.weight = 0
        self._pending = 0  # bytes of the frame that is being written
        # Locked before it has its name: the lock is what shows a living writer whose lease was deleted.
        with new_file(directory, name, os.O_APPEND) as self.fd:
            lock(self.fd)
            write_all(self.fd, file_header(is_summed=is_summed))

    def append(self, payload: bytes, weight: int = 0) -> None:
        """Add one frame whole, or raise and leave the file as it was.

        Raises:
            OSError: the disk did not take all of it.
        """
        if self._pending:
            self.settle()
        frame = encode_frame(self.sequence + 1, payload)
        # Noted before the write: after an interrupt in between, the size of the file shows whether the frame is
        # there.
        self._pending = len(frame)
        written = os.write(self.fd, frame)
        if written < self._pending:
            # A part of a frame would hide the next one from readers until they search for it, and count as damage.
            os.ftruncate(self.fd, self.size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self.name)
        self.size += written
        self.sequence += 1
        self.weight += weight
        self._pending = 0

    def settle(self) -> None:
        """Determine the result of an append that did not return, such as after Ctrl-C."""
        if self._pending:
            size = os.fstat(self.fd).st_size
            self.sequence += size == self.size + self._pending
            self.size = size
            self._pending = 0

    def progress(self) -> tuple[int, int]:
        """Bytes written so far, and how many ops of users are in them."""
        return self.size, self.weight


def mark_summed(directory: int, name: str) -> None:
    """Write into the header of an ops file that its writer has sums. Its own descriptor can only append."""
    fd = os.open(name, os.O_RDWR, dir_fd=directory)
    try:
        os.pwrite(fd, SUMMED_HEADER, 0)
    finally:
        os.close(fd)


class WaitingFrame(NamedTuple):
    """A frame to be written, and how much is missing without it."""

    payload: bytes
    is_vital: bool
    weight: int


class RetryBuffer:
    """Frames that wait in memory. Those with vital ops stay; of the others the oldest are dropped when it is full."""

    def __init__(self, limit: int) -> None:
        self.dropped = 0
        """Weight of frames that had to give way, which is not recorded anywhere yet."""
        self._limit = limit
        self.frames: deque[WaitingFrame] = deque()
        self._bytes = 0

    @property
    def weight(self) -> int:
        """How much waits."""
        return sum(frame.weight for frame in self.frames)

    def add(self, frame: WaitingFrame) -> None:
        """Keep one more; where it is too much, others are dropped."""
        self.frames.append(frame)
        self._bytes += len(frame.payload)
        if self._bytes > self._limit:
            self._drop_oldest()

    def pop(self) -> None:
        """Remove the first one, which is written."""
        self._bytes -= len(self.frames.popleft().payload)

    def vital(self) -> list[WaitingFrame]:
        """Those without which others would mean nothing."""
        return [frame for frame in self.frames if frame.is_vital]

    def clear(self) -> None:
        """Let go of all, uncounted."""
        self.frames.clear()
        self._bytes = 0

    def _drop_oldest(self) -> None:
        """Make room, a quarter at once: dropping one by one would go through all of them for each frame."""
        kept: deque[WaitingFrame] = deque()
        for frame in self.frames:
            if frame.is_vital or self._bytes <= self._limit * 3 // 4:
                kept.append(frame)
            else:
                self._bytes -= len(frame.payload)
                self.dropped += frame.weight
        self.frames = kept


def reserve_names(writer: str) -> tuple[str, str]:
    """The names of a writer's reserve in the journal folder: its own, and one that keeps room for the final name.

    XFS keeps the names of a small folder in its inode. Once they are too many, the next one needs a block. With the
    second name the folder has that block already, or as much room in the inode as the second name gives up.
    """
    return f".{writer}.reserve", f".{writer}.reserve.name"


class Reserve:
    """Room on the disk that a writer allocates at its start for its last ops.

    A run whose disk is full to the end can thus still record that it stopped, and how much of it is missing. No reader
    sees the file before it is filled and renamed; of a writer that was killed it stays, hidden, until the run is
    folded. A run whose disk takes everything gets its seal in this room.
    """

    def __init__(self, directory: int, writer: str) -> None:
        self._directory = directory
        self.name, self._room = reserve_names(writer)

    def take(self) -> None:
        """Take the room, if it is not taken yet.

        Raises:
            OSError: there is none.
        """
        fd = os.open(self.name, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666, dir_fd=self._directory)
        try:
            allocate(fd, RESERVED)
        finally:
            close(fd)
        with contextlib.suppress(OSError):  # a file system without hard links, or it is there
            os.link(self.name, self._room, src_dir_fd=self._directory, dst_dir_fd=self._directory)

    def fill(self, name: str, data: bytes) -> None:
        """Turn it into a whole file of this name, without asking the disk for more room.

        Raises:
            OSError: there is no reserve, or the disk takes nothing at all.
        """
        fd = os.open(self.name, os.O_WRONLY | os.O_CLOEXEC, dir_fd=self._directory)
        try:
            write_all(fd, data)
            os.ftruncate(fd, len(data))
            os.fsync(fd)
        finally:
            close(fd)
        try:
            self._rename(name)
        except OSError:
            self._unlink(self._room)
            self._rename(name)
        self._unlink(self._room)

    def give_back(self) -> None:
        """Free the room, if it was not used."""
        self._unlink(self.name)
        self._unlink(self._room)

    def _rename(self, name: str) -> None:
        os.rename(self.name, name, src_dir_fd=self._directory, dst_dir_fd=self._directory)

    def _unlink(self, name: str) -> None:
        with contextlib.suppress(OSError):
            os.unlink(name, dir_fd=self._directory)


class OpLog:
    """The ops files of one writer, oldest first; the last one is active."""

    def __init__(self, directory: LogDirectory, memory_bytes: int) -> None:
        self.files: list[OpsFile] = []
        self.retries = RetryBuffer(memory_bytes)
        self.reserve = Reserve(directory.fd, directory.writer)
        self._directory = directory
        self._memory_bytes = memory_bytes
        self._number = 0
        self.arrived: deque[tuple[bytes, Sequence[Op]]] = deque()
        """Payloads to be written by the next `append_all` of any thread; adding one needs no lock."""
        self._is_writing = False

    def append_all(self) -> None:
        """Write the arrived frames in order; those that the disk does not take wait in memory.

        A signal handler may log while its thread is in here: the interrupted call then writes the handler's frame too,
        after its own.
        """
        if self._is_writing:
            return
        self._is_writing = True
        try:
            # Not `while self.arrived`: an interrupt at a jump back that has a condition skips `finally` in Python 3.12.
            while True:
                if not self.arrived:
                    break
                payload, ops = self.arrived.popleft()
                # While frames wait, later ones must not overtake them.
                if self._directory.is_troubled and (self.retries.frames or self._directory.is_barred):
                    self.retries.add(_waiting(payload, ops))
                    continue
                try:
                    self._active().append(payload, weight(ops))
                except OSError as error:
                    self._keep_waiting(_waiting(payload, ops), error)
        finally:
            self._is_writing = False

    def write(self, payload: bytes, weight: int = 0) -> None:
        """Write one frame to the active file.

        Raises:
            OSError: the disk reports an error.
        """
        self._active().append(payload, weight)

    def _active(self) -> OpsFile:
        """Return the active file, which is replaced when it is full.

        Raises:
            OSError: the disk reports an error.
        """
        if not self.files or self.files[-1].size > LARGEST_OPS_FILE:
            self._new_file()
            if self._number > 1:
                self._directory.on_rotation()
        return self.files[-1]

    def write_dropped(self, points: int, ops: int) -> None:
        """Write how much was dropped.

        Raises:
            OSError: the disk reports an error.
        """
        self.write(_dropped(points, ops))

    def pending(self) -> int:
        """Bytes of ops not yet handed to the index."""
        return sum(file.size - file.folded for file in tuple(self.files))

    def waiting(self) -> int:
        """Ops that are in memory only, or were dropped from there."""
        return self.retries.weight + self.retries.dropped

    def sync(self) -> None:
        """Return when all ops written before are on the disk.

        Raises:
            OSError: they are not.
        """
        with self._directory.lock:
            grown = [(file, *file.progress()) for file in self.files]
        self._directory.sync(grown, self._rewrite)

    def recover(self) -> None:
        """Write files that were lost anew, and the frames that wait.

        Raises:
            OSError: the disk still reports an error; the rest waits on.
        """
        for file in lost(self.files, self._directory.fd):
            self._rewrite(file)
        while self.retries.frames:
            # The sequence of the file, not the return of the call, says whether the frame was written: a signal
            # handler may raise between the two, and a frame that is written twice would count twice.
            sequence = self._sequence()
            try:
                frame = self.retries.frames[0]
                self.write(frame.payload, frame.weight)
            finally:  # an interrupt may come right after the write
                if self._sequence() > sequence:
                    self.retries.pop()

    def start_over(self) -> None:
        """Begin a new file.

        Raises:
            OSError: the disk reports an error.
        """
        self._new_file()

    def put_again(self, positions: Mapping[str, tuple[int, bool]]) -> None:
        """Write to the active file the frames that the index will never take from old ones, which it counts as final.

        Raises:
            OSError: the disk reports an error; it may be done again.
        """
        for old in self.files[:-1]:
            upto, is_final = positions.get(old.name, (0, False))
            if is_final:
                data = os.pread(old.fd, os.fstat(old.fd).st_size, 0)
                for item in read_frames(data, max(upto, FILE_HEADER)):
                    if isinstance(item, Frame):
                        self.write(encode_ops(item.ops), weight(item.ops))
                self.forget(old, max(upto, FILE_HEADER))

    def mark_summed(self) -> None:
        """Flag the files as having sums.

        Raises:
            OSError: the disk reports an error.
        """
        for file in tuple(self.files):
            with contextlib.suppress(FileNotFoundError):
                mark_summed(self._directory.fd, file.name)

    def forget(self, file: OpsFile, end: int | None = None) -> None:
        """Remove a file that the index has all of, or all up to an end."""
        with self._directory.lock:
            self.files.remove(file)
            file.close()
        self._directory.remove(file, end)

    def conclude(self, points: int, count: Callable[[Collection[int]], int]) -> int:
        """At the end: write the vital frames that wait, and how much is missing; so many points and ops.

        `points` are missing already; `count` returns how many more are if the meaning of these numbers is lost.
        """
        left = self.retries.vital()
        # Vital frames are written below or counted there, so they are taken out of the sum here.
        ops = self._unconfirmed() + self.waiting() - sum(frame.weight for frame in left)
        try:
            while left:
                self.write(left[0].payload)
                del left[0]
            if points or ops:
                self.write_dropped(points, ops)
        except OSError:
            return self._use_reserve(left, points, ops, count)
        return points + ops

    def note_end(self, end: End) -> None:
        """Write the end to a file of its own, without the lock.

        Raises:
            OSError: the disk takes no more.
        """
        # Called by a signal handler, which may interrupt a thread that holds the lock: so a file of its own, and a
        # sequence above every other, by which it is read last.
        frame = encode_frame(LAST_SEQUENCE - 1, encode_ops([end]))
        name = self._name_of_end()
        fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666, dir_fd=self._directory.fd)
        try:
            os.write(fd, file_header() + frame)
        finally:
            os.close(fd)

    def forget_end(self) -> None:
        """Remove the file that a signal handler wrote."""
        with contextlib.suppress(OSError):
            os.unlink(self._name_of_end(), dir_fd=self._directory.fd)

    def _name_of_end(self) -> str:
        return f"{self._directory.writer}.{NUMBER_OF_END:06d}.ops"

    def abandon(self) -> None:
        """In a forked child: leave the files and all that waits to the parent."""
        self.files, self._number = [], 0
        self.retries = RetryBuffer(self._memory_bytes)
        self.arrived, self._is_writing = deque(), False

    def begin(self) -> None:
        """Use the name that the directory has now."""
        self.reserve = Reserve(self._directory.fd, self._directory.writer)

    def _keep_waiting(self, frame: WaitingFrame, error: OSError) -> None:
        self.retries.add(frame)
        try:
            self._directory.trouble(error)
        except OSError:  # the caller is told instead
            self.retries.clear()
            raise

    def _new_file(self) -> None:
        self._directory.has_new_files = True
        self._number += 1
        name = f"{self._directory.writer}.{self._number:06d}.ops"
        is_summed = self._directory.sums.is_marked
        self.files.append(OpsFile(self._directory.fd, name, self._sequence(), is_summed=is_summed))

    def _sequence(self) -> int:
        """That of the last frame that is surely in a file."""
        if not self.files:
            return 0
        self.files[-1].settle()
        return self.files[-1].sequence

    def _rewrite(self, file: OpsFile) -> None:
        with self._directory.lock:
            size = os.fstat(file.fd).st_size  # an append may have been interrupted, so not what the file counts
            self._directory.write_again(file, size, os.O_APPEND)
            lock(file.fd)

    def _unconfirmed(self) -> int:
        """Ops in files that are not surely on the disk, and that it does not confirm now: it may have died since."""
        ops = 0
        for file in self.files:
            if is_deleted(file.fd):
                ops += file.weight
            elif file.safe < file.size and not file.is_confirmed():
                ops += file.weight - file.safe_weight
        return ops

    def _use_reserve(
        self, left: list[WaitingFrame], points: int, ops: int, count: Callable[[Collection[int]], int]
    ) -> int:
        """The same with the frames that are left, as far as they fit beside the end, which is the last of them."""
        others, end = left[:-1], left[-1:]
        room = RESERVED - FILE_HEADER - LAST_WORDS
        # The frames are taken in order until one does not fit: a later, smaller one may depend on it.
        sizes = accumulate(len(frame.payload) + FRAME_HEADER for frame in others)
        fits = sum(size <= room for size in sizes)
        # A definition that is lost takes the points with its number along, though they are on the disk.
        lost_points = points + count(_numbers(others[fits:]))
        lost_ops = ops + sum(frame.weight for frame in others[fits:])
        dropped = [_dropped(lost_points, lost_ops)] if lost_points or lost_ops else []
        payloads = [*(frame.payload for frame in others[:fits]), *dropped, *(frame.payload for frame in end)]
        try:
            first = self._sequence() + 1
            frames = [encode_frame(first + n, payload) for n, payload in enumerate(payloads)]
            name = f"{self._directory.writer}.{self._number + 1:06d}.ops"
            self.reserve.fill(name, file_header() + b"".join(frames))
        except OSError:
            return points + count(_numbers(left)) + ops + sum(frame.weight for frame in left)
        return lost_points + lost_ops


def weight(ops: Sequence[Op]) -> int:
    """Return the loss if these ops are dropped: values, changes, texts and lines of users."""
    if WEIGHTLESS.issuperset(map(type, ops)):  # as of the first dict of 100,000 series
        return 0
    count = 0
    for op in ops:
        if type(op) is Printed:  # first, as they are the most
            count += op.data.count(b"\n")
        elif isinstance(op, Strings):
            count += len(op.texts)
        else:
            count += isinstance(op, CHANGES)
    return count


def _numbers(frames: Sequence[WaitingFrame]) -> set[int]:
    """The numbers of series that only these frames define."""
    return {op.fid for frame in frames for op in decode_ops(frame.payload) if isinstance(op, Define)}


def _dropped(points: int, ops: int) -> bytes:
    return encode_ops([Dropped(points, ops, clock.now())])


def _waiting(payload: bytes, ops: Sequence[Op]) -> WaitingFrame:
    return WaitingFrame(payload, not VITAL.isdisjoint(map(type, ops)), weight(ops))
