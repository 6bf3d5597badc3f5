"""The thread that reads the messages of a relay."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from select import POLLIN, poll

from naiad.capture import relay


class Told:
    """One relay, and the part of a message that has arrived from it."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._arrived = b""

    def messages(self) -> list[tuple[int, int, bytes]] | None:
        """Return the complete messages: stream, kind, content; None when the relay has ended."""
        data = os.read(self.descriptor, relay.PIECE)
        if not data:
            return None
        self._arrived += data
        found, start = [], 0
        while len(self._arrived) - start >= relay.HEADER.size:
            number, what, _at, size = relay.HEADER.unpack_from(self._arrived, start)
            end = start + relay.HEADER.size + size
            if len(self._arrived) < end:
                break
            found.append((number, what, self._arrived[start + relay.HEADER.size : end]))
            start = end
        self._arrived = self._arrived[start:]
        return found


class Reading:
    """One thread for all relays, until it is ended.

    Args:
        tell: takes the number of a stream and bytes that passed.
        answer: takes the name of a question that a relay has answered.
        gone: takes the descriptor of a relay that has ended.
    """

    def __init__(
        self,
        tell: Callable[[int, bytes], None],
        answer: Callable[[bytes], None],
        gone: Callable[[int], None],
    ) -> None:
        self._tell = tell
        self._answer = answer
        self._gone = gone
        self.heard = 0
        """How many messages of relays were taken: it grows as long as there is something to wait for."""
        self._relays: dict[int, Told] = {}
        self._calls: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._woken, self._wake = os.pipe()
        os.set_blocking(self._wake, False)
        os.set_blocking(self._woken, False)
        self._is_ending = False
        self._thread = threading.Thread(target=self._read, name="naiad-relay", daemon=True)
        self._thread.start()

    def listen_to(self, told: int) -> None:
        """Read from a relay too, until it is gone."""
        self._call(lambda: self._relays.update({told: Told(told)}))

    def end(self) -> threading.Thread:
        """Read no more, and return the thread that ends by that."""
        self._call(lambda: setattr(self, "_is_ending", True))
        return self._thread

    def forked(self) -> None:
        """In a forked child: the thread does not exist here, and open descriptors would make the parent look alive."""
        for descriptor in (*self._relays, self._woken, self._wake):
            os.close(descriptor)

    def _call(self, action: Callable[[], None]) -> None:
        """Do it in the thread."""
        self._calls.put(action)
        with contextlib.suppress(BlockingIOError):  # so full that the thread is on its way
            os.write(self._wake, b".")

    def _read(self) -> None:
        while not self._is_ending:
            ready = self._wait()
            for told in [each for each in self._relays.values() if each.descriptor in ready]:
                self._heed(told)
            if self._woken in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._woken, 65536)
            with contextlib.suppress(Empty):
                while True:
                    self._calls.get_nowait()()
        for descriptor in (*self._relays, self._woken, self._wake):
            os.close(descriptor)

    def _wait(self) -> set[int]:
        look = poll()
        for descriptor in (*self._relays, self._woken):
            look.register(descriptor, POLLIN)
        return {descriptor for descriptor, _ in look.poll()}

    def _heed(self, told: Told) -> None:
        messages = told.messages()
        if messages is None:
            self._relays.pop(told.descriptor)
            self._gone(told.descriptor)
            os.close(told.descriptor)
        for number, what, content in messages or ():
            self.heard += 1
            if what == relay.DATA:
                self._tell(number, content)
            elif what == relay.LEFT_OUT:
                self._tell(number, b"\n[%b bytes were printed here and not kept]\n" % content)
            elif what == relay.ANSWER:
                self._answer(content)
