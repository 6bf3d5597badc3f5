"""The console of this process: printed bytes of both streams, delivered to all listening runs.

Capturing only watches. Python's writes go to the original stream first and are recorded in the same call; output of
others to a regular file is read back. Only a run that asks for it with "fd" has a relay put in between (`diversion`).
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import threading
from collections.abc import Callable, Collection
from typing import Any

from naiad import clock
from naiad.capture import streams
from naiad.capture.diversion import Diversion
from naiad.capture.logfile import LogFile, identity
from naiad.locks import run_locked
from naiad.periodic import PeriodicThread

Listener = Callable[[int, bytes], None]
"""Takes the number of a stream, 1 or 2, and bytes that were written to it. It must not raise."""

DRAIN_SECONDS = 2.0
LOOK_SECONDS = 0.25
"""How long what others write to a regular file waits until it is read back."""
LOCK_SECONDS = 1.0
"""How long a thread that prints waits for others that do; what it wrote is then recorded by them."""


class _Mine(threading.local):
    """Whether this thread is recording, or waits for that."""

    is_recording = False


class Console:
    """Both streams of this process."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # of joining and leaving
        self._listeners: dict[Listener, frozenset[int]] = {}  # and the descriptors for which each wants a relay
        self._watch = streams.Watch(self._file_of, functools.partial(self._alone, self._record_noted))
        self._files: dict[object, LogFile] = {}
        self._recording = threading.RLock()
        self._mine = _Mine()
        self._diversion: Diversion | None = None
        self._told: tuple[Listener, ...] = ()
        self._earlier: dict[tuple[Listener, int], int] = {}  # bytes that a stream kept back when a listener came
        self._looker: PeriodicThread | None = None
        self._shell: Any = None  # the IPython that calls before each cell

    def join(self, listener: Listener, relayed: Collection[int] = ()) -> None:
        """Give the listener all that is printed from now on; of some descriptors also the bytes that pass a relay."""
        with self._lock:
            self._read_back()
            self._listeners[listener] = frozenset(relayed)
            self._begin()
            # A stream's buffer may hold text that was printed before; it is written later, and is not this run's.
            earlier = self._watch.kept_back()
            self._earlier.update(((listener, number), len(data)) for number, data in earlier.items() if data)
            self._told = (*self._told, listener)

    def leave(self, listener: Listener, seconds: float = DRAIN_SECONDS) -> None:
        """Give the listener all that was printed until now, and then no more.

        Nothing is flushed for that: bytes in the buffers of Python's streams are written when they would have been
            anyway.
        """
        until = clock.monotonic() + seconds
        with self._lock:
            ended = self._leave(listener, until) if listener in self._listeners else []
        for thread in ended:  # which may be waiting for the lock
            thread.join(max(0.0, until - clock.monotonic()))

    def _leave(self, listener: Listener, until: float) -> list[threading.Thread | PeriodicThread]:
        """Remove the listener, and return the threads that end if it was the last one."""
        if self._diversion is not None:
            streams.flush(self._diversion.numbers)  # so that it passes through the relay, and is kept
            self._diversion.drain(until)
        self._read_back()
        for number, data in self._watch.kept_back().items():
            listener(number, self._without_earlier(listener, number, data))
        self._told = tuple(each for each in self._told if each != listener)
        del self._listeners[listener]
        self._earlier = {key: size for key, size in self._earlier.items() if key[0] != listener}
        return [] if self._listeners else self._end(until)

    def forked(self) -> None:
        """In a forked child: go on recording Python's output here; the rest belongs to the parent."""
        self._lock = threading.RLock()
        self._recording = threading.RLock()
        self._mine = _Mine()
        self._watch.forked()
        self._looker = None
        for file in self._files.values():
            file.forked()
        if self._diversion is not None:
            self._diversion.forked()

    def _begin(self) -> None:
        wanted = {number for numbers in self._listeners.values() for number in numbers if not _is_file(number)}
        if wanted and self._diversion is None:
            streams.flush(wanted)  # or it would pass through the relay later
            self._diversion = Diversion(self._tell)
        if self._diversion is not None:
            self._diversion.begin(wanted)
        self._watch_streams()
        shell = _ipython()
        if shell is not None and self._shell is not shell:
            shell.events.register("pre_run_cell", self._watch_streams)
            self._shell = shell
        if (self._files or self._watch.has_texts) and self._looker is None:
            self._looker = PeriodicThread(LOOK_SECONDS, self._look, lambda _is_late: None)
            self._looker.start()

    def _watch_streams(self, *_cell: object) -> None:
        with self._lock:
            if self._listeners:
                self._watch.begin(without=self._diversion.numbers if self._diversion is not None else ())

    def _end(self, until: float) -> list[threading.Thread | PeriodicThread]:
        """Watch no more; return the threads that end by that."""
        self._watch.end()
        ended: list[threading.Thread | PeriodicThread] = []
        if self._diversion is not None:
            ended.append(self._diversion.close(until))
            self._diversion = None
        if self._looker is not None:
            self._looker.end()
            ended.append(self._looker)
            self._looker = None
        with self._recording:
            for file in self._files.values():
                file.close()
            self._files.clear()
        return ended

    def _file_of(self, descriptor: int, number: int) -> LogFile | None:
        key = identity(descriptor)
        found = self._files.get(key)
        if found is None:
            with contextlib.suppress(OSError):  # a pipe or a terminal, or a file that may not be read
                found = self._files[key] = LogFile(descriptor, number)
        return found

    # What was printed

    def _tell(self, number: int, data: bytes) -> None:
        for listener in self._told:
            listener(number, data)

    def _tell_python(self, number: int, data: bytes) -> None:
        """Pass on the bytes that a stream of Python has written, to a late listener without those buffered before."""
        for listener in self._told:
            listener(number, self._without_earlier(listener, number, data) if self._earlier else data)

    def _without_earlier(self, listener: Listener, number: int, data: bytes) -> bytes:
        size = self._earlier.pop((listener, number), 0)
        if size > len(data):
            self._earlier[listener, number] = size - len(data)
        return data[size:]

    def _alone(self, action: Callable[[], object]) -> None:
        """Do it while no other thread records, but do not wait for ever: one may wait for a stream that this one holds.

        Output of a signal handler is left to the call that it interrupts, be that recording or waiting.
        """
        mine = self._mine
        if mine.is_recording:
            return
        mine.is_recording = True
        try:
            run_locked(self._recording, LOCK_SECONDS, action)
        finally:
            mine.is_recording = False

    def _record_noted(self) -> None:
        noted = self._watch.noted
        while noted:
            number, data, file, end, count = noted.popleft()
            if file is None or file.follows(len(data), end, count):
                self._tell_python(number, data)
                continue
            for part in file.settle(number, data, end, count):
                (self._tell_python if part[1] is data else self._tell)(*part)

    def _read_back(self) -> None:
        """Record the output of others to files."""
        self._alone(self._record_unnoted)

    def _record_unnoted(self) -> None:
        for file in [*self._files.values()]:
            self._record_noted()
            with file.lock:  # nothing is recorded inside: a thread that prints waits for it and holds its stream
                # Bytes that are noted and not recorded yet would be taken for those of others: they are recorded
                # first, the next time.
                end = None if self._watch.noted else file.reach()
            for part in file.read(end) if end is not None else ():
                self._tell(*part)

    def _look(self) -> None:
        self._read_back()
        if self._watch.has_texts:
            self._watch_streams()


def _ipython() -> Any:
    """Return the shell of a notebook or of IPython, which puts a `write` of its own over the streams in each cell."""
    module = sys.modules.get("IPython")
    return module.get_ipython() if module is not None else None


def _is_file(number: int) -> bool:
    """Whether a descriptor leads to a regular file, which is read back without any relay."""
    import stat

    try:
        return stat.S_ISREG(os.fstat(number).st_mode)
    except OSError:
        return False


_lock = threading.Lock()
_console: Console | None = None


def console() -> Console:
    """Return the console of this process."""
    global _console
    with _lock:
        if _console is None:
            _console = Console()
        return _console


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()
    if _console is not None:
        _console.forked()


os.register_at_fork(after_in_child=_after_fork)
