"""The thread that reads what the relay tells, joins it with what Python's streams copied, and makes rows of it."""

from __future__ import annotations

import contextlib
import os
import threading
from codecs import getincrementaldecoder
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from select import POLLIN, poll

from naiad import clock
from naiad.capture import relay
from naiad.capture.rows import Row, Rows

__all__ = ["Reading"]

LOOK_AGAIN_MS = 250
TOGETHER_SECONDS = 0.1
"""How long rows are collected, since one long write costs much less than many short ones."""


class Told:
    """One relay, and the part of a message that has arrived from it."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._arrived = b""

    def messages(self) -> list[tuple[int, int, float, bytes]] | None:
        """Return what has arrived whole: stream, what it is, when, content; None when the relay is gone."""
        data = os.read(self.descriptor, relay.PIECE)
        if not data:
            return None
        self._arrived += data
        found, start = [], 0
        while len(self._arrived) - start >= relay.HEADER.size:
            number, what, at, size = relay.HEADER.unpack_from(self._arrived, start)
            end = start + relay.HEADER.size + size
            if len(self._arrived) < end:
                break
            found.append((number, what, at, self._arrived[start + relay.HEADER.size : end]))
            start = end
        self._arrived = self._arrived[start:]
        return found


class Reading:
    """One thread for all that is printed, from its first use until the process ends.

    Args:
        tell: takes the number of a stream and rows that were finished on it.
        answer: takes the name of a question that a relay has answered.
        gone: takes the descriptor of a relay that has ended.
    """

    def __init__(
        self,
        tell: Callable[[int, Sequence[Row]], None],
        answer: Callable[[bytes], None],
        gone: Callable[[int], None],
    ) -> None:
        self._tell = tell
        self._answer = answer
        self._gone = gone
        self._rows = {1: Rows(), 2: Rows()}
        self._decoders = {number: getincrementaldecoder("utf-8")("replace") for number in self._rows}
        self._collected: dict[int, list[Row]] = {1: [], 2: []}
        self._told_at = 0.0
        self._relays: dict[int, Told] = {}
        self._calls: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._woken, self._wake = os.pipe()
        os.set_blocking(self._wake, False)
        os.set_blocking(self._woken, False)
        threading.Thread(target=self._read, name="naiad-console", daemon=True).start()

    def do(self, call: Callable[[], None]) -> None:
        """Let the thread call something after all that has arrived already."""
        self._calls.put(call)
        with contextlib.suppress(BlockingIOError):  # so full that the thread is on its way
            os.write(self._wake, b".")

    def listen_to(self, told: int) -> None:
        """Read from a relay too, until it is gone."""
        self.do(lambda: self._relays.update({told: Told(told)}))

    def take(self, number: int, text: str, at: float) -> None:
        """Take text of a stream; in the thread."""
        self._collected[number] += self._rows[number].feed(text, at)

    def finish(self) -> None:
        """Tell what has no end of line yet; in the thread."""
        for number, rows in self._rows.items():
            self._decoders[number].reset()
            self._collected[number] += rows.rest()
        self.tell()

    def tell(self) -> None:
        """Tell all that was collected; in the thread."""
        self._told_at = clock.monotonic()
        for number, rows in self._collected.items():
            if rows:
                self._collected[number] = []
                self._tell(number, rows)

    def forked(self) -> None:
        """In a forked child: the thread is not here, and what is open would tell others that the parent lives."""
        for descriptor in (*self._relays, self._woken, self._wake):
            os.close(descriptor)

    def _read(self) -> None:
        while True:
            ready = self._wait()
            for told in [each for each in self._relays.values() if each.descriptor in ready]:
                self._heed(told)
            if self._woken in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._woken, 65536)
            with contextlib.suppress(Empty):
                while True:
                    self._calls.get_nowait()()
            for number in self._rows:
                self._look_again(number)
            if clock.monotonic() - self._told_at >= TOGETHER_SECONDS:
                self.tell()

    def _wait(self) -> set[int]:
        look = poll()
        for descriptor in (*self._relays, self._woken):
            look.register(descriptor, POLLIN)
        return {descriptor for descriptor, _ in look.poll(self._most_ms())}

    def _most_ms(self) -> float | None:
        if any(self._collected.values()):
            return TOGETHER_SECONDS * 1000
        return LOOK_AGAIN_MS if any(rows.is_waiting() for rows in self._rows.values()) else None

    def _look_again(self, number: int) -> None:
        if self._rows[number].is_waiting():
            self._collected[number] += self._rows[number].due(clock.now())

    def _heed(self, told: Told) -> None:
        messages = told.messages()
        if messages is None:
            self._relays.pop(told.descriptor)
            self._gone(told.descriptor)
            os.close(told.descriptor)
        for number, what, at, content in messages or ():
            if what == relay.DATA:
                self.take(number, self._decoders[number].decode(content), at)
            elif what == relay.LEFT_OUT:
                self.take(number, f"\n[{content.decode('ascii')} bytes were printed here and not kept]\n", at)
            elif what == relay.ANSWER:
                self._answer(content)
