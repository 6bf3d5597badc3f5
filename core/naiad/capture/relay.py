"""The relay: a helper process that passes output on to its destination and reports it to the program.

Run by path as `python -I -S relay.py NONCE`, it imports nothing of naiad. It is no thread of the program, so that a
pipe never waits for Python's lock, so that a killed program's last words still reach the terminal, and so that
children that outlive the program can go on printing. It ends when no process is left that could print.

The program writes marks between its output, which go no further: they give the order in which the two streams were
written, or request an answer once all before them has passed.
"""

from __future__ import annotations

import os
import select
import sys
import time
from collections import deque
from struct import Struct

SOURCES = {1: 3, 2: 4}
TARGETS = {1: 5, 2: 6}
LOG = 7
"""The descriptors it is started with: where each stream comes from and goes to, and where to say what passed."""

HEADER = Struct("<BBdI")
"""Of what is said: number of the stream, what it is, when it passed, how many bytes follow."""
DATA, ANSWER, LEFT_OUT = 0, 1, 2
LEAVE, ENTER, ASK = b"l", b"e", b"a"
"""The marks: from here on the other stream is written; all that was written there before comes first; answer this."""
ID_BYTES = 16
MOST_MARKS = 1000

LONGEST_WAIT = 0.2
"""Seconds for the other half of a mark; after that the order is given up, never the output."""
HOLD = 0.02
"""Seconds that something which may become a mark is held back."""
LOOK_AT_SIZE = 1.0
PIECE = 1024 * 1024
BACKLOG = 64 * 1024 * 1024
"""What waits for a program that does not listen; beyond it what passed is counted and not told."""


def mark(nonce: str) -> bytes:
    """Return how each mark begins; a terminal that should ever get one shows nothing of it."""
    return b"\x1b_naiad:" + nonce.encode("ascii") + b":"


class Telling:
    """The reports to the program, buffered and never waited for."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.waiting: deque[bytes] = deque()
        self.size = 0
        self.left_out = {1: 0, 2: 0}
        # Passing output on has priority: a program that does not listen must never hold it up.
        os.set_blocking(descriptor, False)

    def say(self, number: int, what: int, content: bytes) -> None:
        """Report an event of a stream to the program."""
        if self.descriptor < 0:
            return
        if what == DATA and self.size > BACKLOG:
            self.left_out[number] += len(content)
            return
        if self.left_out[number]:
            count, self.left_out[number] = str(self.left_out[number]).encode("ascii"), 0
            self._put(HEADER.pack(number, LEFT_OUT, time.time(), len(count)) + count)
        self._put(HEADER.pack(number, what, time.time(), len(content)) + content)
        self.go_on()

    def _put(self, frame: bytes) -> None:
        self.waiting.append(frame)
        self.size += len(frame)

    def go_on(self) -> None:
        """Hand over as much as is taken now."""
        while self.waiting:
            try:
                written = os.write(self.descriptor, self.waiting[0])
            except BlockingIOError:
                return
            except OSError:  # the program is gone or does not listen any more
                os.close(self.descriptor)
                self.descriptor, self.size = -1, 0
                self.waiting.clear()
                return
            self.size -= written
            rest = self.waiting[0][written:]
            if rest:
                self.waiting[0] = rest
            else:
                self.waiting.popleft()


class Stream:
    """One stream: bytes come from a pipe or a pseudo terminal, and go where they would have gone without it."""

    def __init__(self, number: int, source: int, target: int, begin: bytes, passed: set[bytes]) -> None:
        self.number = number
        self.source = source
        self.target = target
        self.passed = passed  # the marks that were met on either stream, until their other halves are
        self.held = b""  # read, and not passed on yet
        self.waits_for = b""  # a mark of the other stream
        self.since = 0.0
        self.is_open = True
        self.is_terminal = os.isatty(source)
        self._begin = begin
        self._looked = -LOOK_AT_SIZE

    def read(self) -> bytes:
        """Return the next output; empty once all writers have closed."""
        try:
            data = os.read(self.source, PIECE)
        except OSError:  # EIO: the last one who had the pseudo terminal open is gone
            data = b""
        if not data:
            self.is_open = False
        return data

    def take(self, data: bytes, telling: Telling) -> None:
        """Pass output on up to a mark, and handle the marks."""
        self.held += data
        while self.held and not self.waits_for:
            at = self.held.find(self._begin)
            end = at + len(self._begin) + 1 + ID_BYTES
            if at < 0 or len(self.held) < end:
                self._pass(len(self.held) if not self.is_open else self._end_of_plain(at), telling)
                return
            self._pass(at, telling)
            self._heed(self.held[len(self._begin) : end - at], telling)
            self.held = self.held[end - at :]

    def _end_of_plain(self, at: int) -> int:
        """Return the length of the held bytes that cannot begin a mark."""
        if at >= 0:
            return at
        # The longest end of the output that could be the beginning of a mark waits for the rest of it.
        for length in range(min(len(self._begin) - 1, len(self.held)), 0, -1):
            if self._begin.startswith(self.held[-length:]):
                return len(self.held) - length
        return len(self.held)

    def _heed(self, found: bytes, telling: Telling) -> None:
        kind, name = found[:1], found[1:]
        if kind == ASK:
            telling.say(self.number, ANSWER, name)
            return
        if len(self.passed) > MOST_MARKS:  # those of threads that printed at the same moment
            self.passed.clear()
        self.passed.add(found)
        self.waits_for, self.since = (ENTER if kind == LEAVE else LEAVE) + name, time.monotonic()

    def can_go_on(self, other: Stream | None) -> bool:
        """Whether the output to wait for has passed, or will never come."""
        if not self.waits_for:
            return False
        if other is None or not other.is_open or time.monotonic() - self.since > LONGEST_WAIT:
            return True
        if self.waits_for.startswith(LEAVE):
            return self.waits_for in self.passed
        if other.waits_for:
            return other.waits_for not in self.passed
        return self.waits_for in self.passed and not other.is_readable()

    def is_readable(self) -> bool:
        """Whether something was printed that was not read yet."""
        look = select.poll()
        look.register(self.source, select.POLLIN)
        return bool(look.poll(0))

    def go_on(self, telling: Telling) -> None:
        """Resume after waiting."""
        self.passed.discard(self.waits_for)
        self.waits_for = b""
        self.take(b"", telling)

    def give_up_holding(self, telling: Telling) -> None:
        """Pass held bytes on that turned out to be no mark."""
        if not self.waits_for:
            self._pass(len(self.held), telling)

    def _pass(self, count: int, telling: Telling) -> None:
        data, self.held = self.held[:count], self.held[count:]
        if not data:
            return
        if self._write(data):
            telling.say(self.number, DATA, data)

    def _write(self, data: bytes) -> bool:
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self.target, view) :]
            except BlockingIOError:
                select.select([], [self.target], [])
            except OSError:  # nobody reads the output any more: let the program see it as it would without us
                os.close(self.source)
                self.is_open, self.held = False, b""
                return False
        return True

    def copy_size(self) -> None:
        """Give the pseudo terminal the size of the real one, now and then."""
        now = time.monotonic()
        if not self.is_terminal or now - self._looked < LOOK_AT_SIZE:
            return
        self._looked = now
        copy_window_size(self.target, self.source)


def copy_window_size(source: int, target: int) -> None:
    """Give one terminal the size of another."""
    import fcntl
    import termios

    try:
        found, known = (fcntl.ioctl(each, termios.TIOCGWINSZ, bytes(8)) for each in (source, target))
        if found != known:
            fcntl.ioctl(target, termios.TIOCSWINSZ, found)
    except OSError:
        return  # the terminal is gone


def relay(streams: list[Stream], telling: Telling) -> None:
    """Pass everything on until all writers have closed."""
    while any(each.is_open for each in streams):
        ready = _ready(streams, telling)
        for each in streams:
            each.copy_size()
            if each.is_open and each.source in ready and not each.waits_for:
                each.take(each.read(), telling)
        # Nothing came for as long as a mark takes: what looked like its beginning was output.
        if not ready:
            for each in streams:
                each.give_up_holding(telling)
        pairs = [(streams[0], streams[-1]), (streams[-1], streams[0])] if len(streams) > 1 else [(streams[0], None)]
        while freed := [each for each, other in pairs if each.can_go_on(other)]:
            freed[0].go_on(telling)
        telling.go_on()


def _ready(streams: list[Stream], telling: Telling) -> set[int]:
    poll = select.poll()
    for each in streams:
        if each.is_open and not each.waits_for:
            poll.register(each.source, select.POLLIN)
    if telling.waiting:
        poll.register(telling.descriptor, select.POLLOUT)
    is_pending = any(each.held or each.waits_for for each in streams)
    has_terminal = any(each.is_terminal for each in streams)
    wait = HOLD if is_pending else LOOK_AT_SIZE if has_terminal else None
    return {descriptor for descriptor, _ in poll.poll(None if wait is None else wait * 1000)}


def main(nonce: str) -> None:
    """Leave the program's session, so that signals for its group stay there, and relay."""
    import signal

    # Ctrl-C and a closed terminal signal the whole group: the relay outlives them, to pass on the last words of the
    # program.
    os.setsid()
    _close_all_above(LOG)
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM, signal.SIGPIPE, signal.SIGTTOU):
        signal.signal(number, signal.SIG_IGN)
    passed: set[bytes] = set()
    streams = [
        Stream(number, source, TARGETS[number], mark(nonce), passed)
        for number, source in SOURCES.items()
        if _is_given(source)
    ]
    relay(streams, Telling(LOG))


def _close_all_above(highest: int) -> None:
    """Keep nothing open that the program left open for its children."""
    for name in os.listdir("/proc/self/fd" if os.path.isdir("/proc/self/fd") else "/dev/fd"):
        if int(name) > highest:
            try:
                os.close(int(name))
            except OSError:
                continue  # the one that listed them


def _is_given(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


if __name__ == "__main__":
    main(sys.argv[1])
