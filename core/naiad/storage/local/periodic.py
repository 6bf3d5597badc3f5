"""PeriodicThread: a daemon thread that repeats a call until it is stopped."""

from __future__ import annotations

import contextlib
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
        self._is_ending = False
        self._is_done = False
        self._is_late = False  # nobody waits for it any more
        self._started = 0.0
        self._times: dict[str, float] = {}
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin."""
        self._started = clock.monotonic()
        self._thread = threading.Thread(target=self._run, name="naiad", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Go a round now."""
        self._wake.put(None)  # a queue in C: an Event that Ctrl-C interrupts while it is set stays locked for ever

    def end(self) -> None:
        """Go no more round."""
        self._is_ending = True
        self.wake()

    def join(self, seconds: float) -> None:
        """Wait for its end, but no longer than this."""
        if self._thread is not None:
            self._thread.join(seconds)

    def is_running(self) -> bool:
        """Whether there is such a thread."""
        return self._thread is not None and self._thread.is_alive()

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

    def _run(self) -> None:
        while True:
            self._sleep()
            if self._is_ending:
                break
            self._go()
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
