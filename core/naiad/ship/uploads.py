"""Uploads: large content of one run on its way to the server, in a thread and over a connection of their own.

    step() ---- ops name content that the server lacks ---- small: sent at once
                                                       '--- large: a thread sends it; the ops that name it wait,
                                                            and the points of the series that they define
    step() ---- the thread has sent it ------------------- the ops follow

So points and values go on to the server while a checkpoint of gigabytes is on its way.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from naiad.errors import NaiadError, ServerError

SMALL = 4 * 1024 * 1024
"""Bytes of content that are sent at once: a thread would not be worth it."""

Send = Callable[[str, int], object]
"""Sends the content with a SHA-256 and a size."""


class Uploads:
    """Content that a thread sends, one after the other."""

    def __init__(self, send: Send, done: Callable[[], object] = lambda: None) -> None:
        self._send = send
        self._done = done
        self._lock = threading.Lock()
        self._waiting: deque[tuple[str, int]] = deque()
        self._names: set[str] = set()
        self._problem: NaiadError | None = None
        self._thread: threading.Thread | None = None

    def pending(self) -> set[str]:
        """Return the content that is on its way.

        Raises:
            NaiadError: the server did not take it. The next round tries again.
        """
        with self._lock:
            problem, self._problem = self._problem, None
            if problem is not None:
                self._waiting.clear()
                self._names.clear()
                raise problem
            return set(self._names)

    def add(self, name: str, size: int) -> None:
        """Send content, after the content that waits already."""
        with self._lock:
            # The ops that name it are read again in every round until it is there.
            if name in self._names:
                return
            self._names.add(name)
            self._waiting.append((name, size))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="naiad-upload", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            with self._lock:
                # Under the lock, so that `add` either finds a thread that goes on, or starts another one.
                if not self._waiting:
                    self._thread = None
                    return
                name, size = self._waiting[0]
            problem = self._sent(name, size)
            with self._lock:
                if problem is None:
                    self._waiting.popleft()
                    self._names.discard(name)
                else:
                    self._problem, self._thread = problem, None
                    return
            self._done()

    def _sent(self, name: str, size: int) -> NaiadError | None:
        try:
            self._send(name, size)
        except NaiadError as error:
            return error
        except OSError as error:  # of the local disk
            return ServerError(f"The content {name} cannot be read: {error}")
        return None
