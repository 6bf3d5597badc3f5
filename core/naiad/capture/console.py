"""The console of this process: what anyone prints to it, told as rows to all runs that listen.

There is one for all runs. The first one that listens puts the wires in, the last one that leaves takes them out;
relay and thread stay for the next.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Sequence
from itertools import count
from queue import Empty, SimpleQueue
from select import POLLOUT, poll

from naiad import clock
from naiad.capture import relay, streams, wires
from naiad.capture.reading import Reading
from naiad.capture.rows import Row
from naiad.errors import NaiadWarning, warn_once

__all__ = ["Console", "Listener", "console"]

Listener = Callable[[int, Sequence[Row]], None]
"""Takes the number of a stream, 1 or 2, and rows that were finished on it. It must not raise."""

DRAIN_SECONDS = 2.0


class Console:
    """Both streams of this process."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._listeners: list[Listener] = []
        self._wires: dict[int, wires.Wire] = {}
        self._hooks: list[streams.Hook] = []
        self._nonce = os.urandom(8).hex()
        self._numbers = count(1)
        self._latest = 0  # the stream that was written last
        self._answers: dict[bytes, SimpleQueue[None]] = {}
        self._relay: int | None = None  # where the relay of these wires says what passed
        self._reading = Reading(self._tell, self._answered, self._gone)

    def join(self, listener: Listener) -> None:
        """Tell the listener all that is printed from now on."""
        with self._lock:
            streams.flush()
            if self._listeners:  # those who listen already are told what was printed before
                self._drain(clock.monotonic() + DRAIN_SECONDS, is_last=False)
            else:
                self._begin()
            self._listeners.append(listener)

    def leave(self, listener: Listener, seconds: float = DRAIN_SECONDS) -> None:
        """Tell the listener all that was printed until now, and then no more."""
        with self._lock:
            if listener not in self._listeners:
                return
            streams.flush()
            is_last = len(self._listeners) == 1
            if is_last:
                self._end()
            try:
                self._drain(clock.monotonic() + min(seconds, DRAIN_SECONDS), is_last)
            finally:
                self._listeners.remove(listener)

    def forked(self) -> None:
        """In a forked child: what it prints goes where the parent's does, and the rest is the parent's business."""
        for hook in self._hooks:
            hook.remove()
        for wire in self._wires.values():
            wire.close()
        self._reading.forked()

    def _tell(self, number: int, rows: Sequence[Row]) -> None:
        for listener in list(self._listeners):
            listener(number, rows)

    # Wires in and out

    def _begin(self) -> None:
        if not all(wire.fits() for wire in self._wires.values()):
            for wire in self._wires.values():
                wire.close()
            self._wires, self._relay = {}, None
        if not self._wires:
            self._wires = {wire.number: wire for wire in self._new_wires()}
            if self._relay is not None:
                self._reading.listen_to(self._relay)
        for wire in self._wires.values():
            wire.connect()
        self._hooks = streams.hooks(set(self._wires), self._before, self._failed, self._written)

    def _end(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks = []
        for wire in self._wires.values():
            wire.disconnect()

    def _new_wires(self) -> list[wires.Wire]:
        found: list[wires.Wire] = []
        why = "there is no interpreter to run a helper with"
        if wires.can_relay():
            try:
                found.extend(wires.Wire(number) for number in wires.NUMBERS if wires.identity(number) is not None)
                self._relay = wires.start_relay(found, self._nonce)
            except OSError as error:
                why = f"a helper cannot be started: {error}"
                for wire in found:
                    wire.close()
            else:
                return found
        warn_once("no relay", f"Only what Python itself prints is captured, because {why}.")
        return []

    # What the hooks say

    def _before(self, number: int) -> None:
        """Tell the relay when another stream is written than last time: all of that one comes first."""
        latest, self._latest = self._latest, number
        if latest != number and latest in self._wires and number in self._wires:
            name = b"%08x%08x" % (os.getpid() & 0xFFFFFFFF, next(self._numbers) & 0xFFFFFFFF)
            self._wires[latest].mark(self._mark(relay.LEAVE, name))
            self._wires[number].mark(self._mark(relay.ENTER, name))

    def _written(self, number: int, text: str) -> None:
        at = clock.now()
        self._reading.do(lambda: self._reading.take(number, text, at))

    def _mark(self, kind: bytes, name: bytes) -> bytes:
        return relay.mark(self._nonce) + kind + name

    def _failed(self, number: int) -> bool:
        """Take what nobody reads any more out of the way; whether there was something of ours to take out."""
        return number in self._wires and self._wires[number].give_up()

    # The end

    def _gone(self, told: int) -> None:
        """The relay has ended: the program goes on without it. In the thread, which must not wait for the lock."""
        given_up = [wire.give_up() for wire in self._wires.values()] if told == self._relay else []
        if any(given_up):
            with contextlib.suppress(NaiadWarning):  # where warnings are errors, the thread must not end
                warn_once("relay gone", "The helper that captures what is printed was ended: no more of it is kept.")

    def _drain(self, until: float, is_last: bool) -> None:
        """Wait until the listeners were told everything that was printed before, as long as that goes on."""
        name = b"%016x" % next(self._numbers)
        done = self._answers[name] = SimpleQueue()

        def finish() -> None:
            (self._reading.finish if is_last else self._reading.tell)()
            done.put(None)

        try:
            for _ in [wire for wire in self._wires.values() if self._ask(wire, name, until)]:
                done.get(timeout=max(0.0, until - clock.monotonic()))
            self._reading.do(finish)
            done.get(timeout=max(0.0, until - clock.monotonic()))
        except Empty:
            warn_once("console", "Not all that was printed could be kept: the terminal takes no more, or too slowly.")
        finally:
            self._answers.pop(name)

    def _ask(self, wire: wires.Wire, name: bytes, until: float) -> bool:
        """Ask the relay to answer once it is through, unless a terminal that is held up keeps it from that."""
        look = poll()
        look.register(wire.inner, POLLOUT)
        ready = look.poll(max(0.0, until - clock.monotonic()) * 1000)
        return any(event & POLLOUT for _, event in ready) and wire.mark(self._mark(relay.ASK, name))

    def _answered(self, name: bytes) -> None:
        if waiting := self._answers.get(name):
            waiting.put(None)


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
    global _console, _lock
    _lock = threading.Lock()
    inherited, _console = _console, None
    if inherited is not None:
        inherited.forked()


os.register_at_fork(after_in_child=_after_fork)
