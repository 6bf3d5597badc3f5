"""PeriodicThread: a daemon thread that repeats a call until it is stopped.

Its first call comes after a period, so a run that ends before that needs no thread. One thread waits for the first call
of all that have begun: that whose time has come gets it, and for the others the next one waits.

    start() A  --> waiter: {A: 0.4}            no thread: one is made, and sleeps until 0.4
    start() B  --> waiter: {A: 0.4, B: 0.5}
    end()   A  --> waiter: {B: 0.5}            A has had no thread
                   0.5: the thread is B's      the next start() makes one that waits
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue

from naiad import clock


class PeriodicThread:
    """One such thread. It calls `go` every few seconds, at once when it is woken, and at its end `leave`.

    No caller waits for it for ever: after `hand_over`, the thread finishes by itself, by `leave(is_late=True)`.
    """

    def __init__(self, seconds: float, go: Callable[[], object], leave: Callable[[bool], object]) -> None:
        self._seconds = seconds
        self._go = go
        self._leave = leave
        self._lock = threading.RLock()  # a signal handler may be here while its thread is inside
        self._wake: SimpleQueue[None] = SimpleQueue()
        self.is_ending = False
        """Whether it shall go no more round."""
        self._is_done = False
        self._is_late = False  # nobody waits for it any more
        self._started = 0.0
        self._times: dict[str, float] = {}
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin."""
        self._started = clock.monotonic()
        _waiter.add(self, self._started + self._seconds)

    def wake(self) -> None:
        """Go a round now."""
        self._wake.put(None)  # a queue in C: an Event that Ctrl-C interrupts while it is set stays locked for ever
        _waiter.hurry(self)

    def end(self) -> None:
        """Go no more round."""
        self.is_ending = True
        if not _waiter.remove(self):
            self._wake.put(None)

    def take(self, thread: threading.Thread) -> None:
        """Belong to a thread from now on, which calls `run`."""
        self._thread = thread

    def join(self, seconds: float) -> None:
        """Wait for its end, but no longer than this."""
        if self._thread is not None:
            self._thread.join(seconds)

    def is_running(self) -> bool:
        """Whether it has begun and not ended."""
        return _waiter.has(self) or (self._thread is not None and self._thread.is_alive())

    def hand_over(self) -> bool:
        """Leave the rest to the thread; False if it is done, or was never begun."""
        with self._lock:
            # Under the lock that the thread takes at its end: exactly one of the two finishes the shutdown.
            self._is_late = self.is_running() and not self._is_done
            return self._is_late

    def is_time(self, what: str, seconds: float) -> bool:
        """Whether it was that long ago that this was true, or that the rounds began."""
        now = clock.monotonic()
        if now - self._times.get(what, self._started) < seconds:
            return False
        self._times[what] = now
        return True

    def run(self) -> None:
        """Go round until the end, for the first time at once."""
        while not self.is_ending:
            self._go()
            _waiter.go_on()
            self._sleep()
        with self._lock:
            self._is_done = True
            is_late = self._is_late
        self._leave(is_late)

    def _sleep(self) -> None:
        with contextlib.suppress(Empty):
            self._wake.get(timeout=self._seconds)
            # Several wishes to be woken are one round.
            while True:
                self._wake.get_nowait()


class _Waiter:
    """Those that have begun and wait for their first round, with its time; one thread at most that waits for them."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a signal handler may begin or end a run while its thread is inside
        self._due: dict[PeriodicThread, float] = {}
        self._changed: SimpleQueue[None] = SimpleQueue()
        self._until = math.inf
        self._is_waiting = False

    def add(self, periodic: PeriodicThread, at: float) -> None:
        """Let its first round be at this time.

        Raises:
            RuntimeError: the system has no thread left.
        """
        with self._lock:
            if periodic.is_ending:  # looked at under the lock: `end` may come between a look and the line below
                return
            self._due[periodic] = at
            if not self._is_waiting:
                try:
                    self._begin()
                except RuntimeError:
                    del self._due[periodic]
                    raise
            elif at < self._until:
                self._changed.put(None)

    def hurry(self, periodic: PeriodicThread) -> None:
        """Let its first round be now, if it was not yet."""
        with self._lock:
            if periodic in self._due:
                self._due[periodic] = -math.inf
                self._changed.put(None)

    def remove(self, periodic: PeriodicThread) -> bool:
        """Forget it; whether it has had no round."""
        with self._lock:
            return self._due.pop(periodic, None) is not None

    def has(self, periodic: PeriodicThread) -> bool:
        """Whether it has had no round yet."""
        return periodic in self._due

    def _begin(self) -> None:
        """Start the thread that waits.

        Raises:
            RuntimeError: the system has no thread left.
        """
        self._is_waiting = True
        try:
            threading.Thread(target=self._run, name="naiad", daemon=True).start()
        except BaseException:  # only to clean up: whatever it is goes on, and the next one may be lucky
            self._is_waiting = False
            raise

    def _run(self) -> None:
        """Wait in a thread for one whose time has come, and do its work."""
        found = None
        while found is None:
            with self._lock:
                if not self._due:  # all have ended: the next one to begin gets a thread again
                    self._is_waiting = False
                    return
                first = min(self._due, key=self._due.__getitem__)
                self._until = self._due[first]
                rest = self._until - clock.monotonic()
                if rest <= 0:
                    found = self._leave_for(first)
            if found is None:
                with contextlib.suppress(Empty):
                    self._changed.get(timeout=rest)
        found.run()

    def go_on(self) -> None:
        """Start the thread that waits, where the system had none left before."""
        if self._due and not self._is_waiting:
            with self._lock, contextlib.suppress(RuntimeError):
                if self._due and not self._is_waiting:
                    self._begin()

    def _leave_for(self, first: PeriodicThread) -> PeriodicThread:
        """Make this the thread of one, and start another that waits for the rest."""
        self._is_waiting = False
        del self._due[first]
        if self._due:
            with contextlib.suppress(RuntimeError):  # the system has none left: see `go_on`
                self._begin()
        first.take(threading.current_thread())
        return first


_waiter = _Waiter()


def _renew() -> None:
    """Begin anew in a forked child, which has none of the threads."""
    global _waiter
    _waiter = _Waiter()


os.register_at_fork(after_in_child=_renew)
