"""The diversion, for `"fd"`: pipes and terminals led through a relay, which sees all output.

Nothing is diverted before the relay has answered. From then on output depends on another process, so a program
that is killed together with all others of its container may lose its last lines; so this is off by default.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import threading
from collections.abc import Callable, Collection
from itertools import count
from queue import Empty, SimpleQueue
from select import POLLOUT, poll
from typing import Any

from naiad import clock
from naiad.capture import relay, wires
from naiad.capture.reading import Reading
from naiad.errors import NaiadWarning, warn_once

STREAMS = {1: "stdout", 2: "stderr"}
READY_SECONDS = 10.0
"""How long a relay may take to answer for the first time, on a machine that is busy."""
DRAIN_SECONDS = 2.0
"""How long nothing may arrive before what is still expected is given up."""
NOBODY_READS = (errno.EPIPE, errno.EIO)
"""What writing fails with: to a pipe, and to a pseudo terminal."""


class Diversion:
    """The descriptors of this process that lead through a relay.

    Args:
        tell: takes the number of a stream and bytes that passed; called in a thread.
    """

    def __init__(self, tell: Callable[[int, bytes], None]) -> None:
        self._wires: dict[int, wires.Wire] = {}
        self._hooks: list[_Hook] = []
        self._nonce = os.urandom(8).hex()
        self._numbers = count(1)
        self._latest = 0  # the stream that was written last
        self._answers: dict[bytes, SimpleQueue[None]] = {}
        self._relay: int | None = None  # where the relay of these wires says what passed
        self._reading = Reading(tell, self._answered, self._gone)

    @property
    def numbers(self) -> set[int]:
        """The descriptors that are diverted."""
        return {number for number, wire in self._wires.items() if wire.is_connected()}

    def begin(self, numbers: Collection[int]) -> None:
        """Divert these descriptors and no others."""
        if set(numbers) != set(self._wires) or not all(wire.fits() for wire in self._wires.values()):
            self.end(clock.monotonic() + DRAIN_SECONDS)
            self._let_go()
            if numbers:
                self._start(numbers)
        for wire in self._wires.values():
            wire.connect()
        for hook in self._hooks:
            hook.remove()
        self._hooks = [hook for number in self._wires for hook in self._hooks_of(number)]

    def end(self, until: float) -> None:
        """Restore the descriptors, and wait for bytes on their way."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []
        for wire in self._wires.values():
            wire.disconnect()
        self.drain(until)

    def close(self, until: float) -> threading.Thread:
        """End, let go of the relay, which goes on for children that print, and return the thread that ends by that."""
        self.end(until)
        self._let_go()
        return self._reading.end()

    def drain(self, until: float) -> None:
        """Wait until everything printed before has been passed on, for as long as there is progress."""
        try:
            self._ask_all(until, DRAIN_SECONDS)
        except Empty:
            is_late = clock.monotonic() >= until
            why = "there was too much of it for the time there was" if is_late else "the terminal takes no more"
            warn_once("console", f"The last printed output could not be stored: {why}.")

    def forked(self) -> None:
        """Reset in a forked child: its output goes through the parent's relay."""
        for hook in self._hooks:
            hook.remove()
        for wire in self._wires.values():
            wire.close()
        self._wires, self._hooks = {}, []
        self._reading.forked()

    def _start(self, numbers: Collection[int]) -> None:
        found: list[wires.Wire] = []
        why = "there is no interpreter to run a helper with"
        if wires.can_relay():
            try:
                found.extend(wires.Wire(number) for number in numbers if wires.identity(number) is not None)
                self._relay = wires.start_relay(found, self._nonce)
                self._wires = {wire.number: wire for wire in found}
                self._reading.listen_to(self._relay)
                # The descriptors are led to the relay only after it has answered: a helper that never starts must
                # swallow no output.
                self._ask_all(clock.monotonic() + READY_SECONDS, READY_SECONDS)
            except OSError as error:
                why = f"a helper cannot be started: {error}"
            except Empty:
                why = "the helper does not answer"
            else:
                return
            self._wires = {wire.number: wire for wire in found}
            self._let_go()
        warn_once("no relay", f"Only the output of Python itself is captured, because {why}.")

    def _let_go(self) -> None:
        for wire in self._wires.values():
            wire.close()
        self._wires, self._relay = {}, None

    # Python's own streams: in which order they are written, and whether the relay still reads

    def _hooks_of(self, number: int) -> list[_Hook]:
        stream = getattr(sys, STREAMS[number], None)
        with contextlib.suppress(AttributeError, OSError, TypeError, ValueError):  # no file, or a closed one
            if stream is not None and stream.fileno() == number:
                return [_Hook(stream.buffer, name, self._calling(number)) for name in ("write", "flush")]
        return []

    def _calling(self, number: int) -> Callable[[Any], Any]:
        def make(method: Any) -> Any:
            def call(*args: Any) -> Any:
                self._before(number)
                try:
                    return method(*args)
                except OSError as error:  # what was not written is still in the buffer
                    if error.errno not in NOBODY_READS or not self._wires[number].give_up():
                        raise
                    return method(*args)

            return call

        return make

    def _before(self, number: int) -> None:
        """Mark a change of streams for the relay, so that all earlier output comes first."""
        # Only at a change between the two streams: a mark for each line would double the system calls of printing.
        latest, self._latest = self._latest, number
        if latest != number and latest in self._wires and number in self._wires:
            name = b"%08x%08x" % (os.getpid() & 0xFFFFFFFF, next(self._numbers) & 0xFFFFFFFF)
            self._wires[latest].mark(self._mark(relay.LEAVE, name))
            self._wires[number].mark(self._mark(relay.ENTER, name))

    def _mark(self, kind: bytes, name: bytes) -> bytes:
        return relay.mark(self._nonce) + kind + name

    # What the relay says

    def _gone(self, told: int) -> None:
        """The relay has ended: the program goes on without it. In the thread, which must not wait for the lock."""
        given_up = [wire.give_up() for wire in self._wires.values()] if told == self._relay else []
        if any(given_up):
            with contextlib.suppress(NaiadWarning):  # where warnings are errors, the thread must not end
                warn_once(
                    "relay gone",
                    "The helper process that captures printed output has exited. Later output is not captured.",
                )

    def _ask_all(self, until: float, patience: float) -> None:
        """Return when the relay has answered on each wire.

        Raises:
            Empty: it has not, and nothing else was heard for so long either.
        """
        name = b"%016x" % next(self._numbers)
        done = self._answers[name] = SimpleQueue()
        try:
            for _ in [wire for wire in self._wires.values() if self._ask(wire, name, until)]:
                self._wait(done, until, patience)
        finally:
            self._answers.pop(name)

    def _wait(self, done: SimpleQueue[None], until: float, patience: float) -> None:
        while True:
            heard = self._reading.heard
            try:
                return done.get(timeout=max(0.0, min(patience, until - clock.monotonic())))
            except Empty:
                if heard == self._reading.heard or clock.monotonic() >= until:
                    raise

    def _ask(self, wire: wires.Wire, name: bytes, until: float) -> bool:
        """Request an answer from the relay after all earlier output, unless a terminal is blocked."""
        look = poll()
        look.register(wire.inner, POLLOUT)
        ready = look.poll(max(0.0, min(DRAIN_SECONDS, until - clock.monotonic())) * 1000)
        return any(event & POLLOUT for _, event in ready) and wire.mark(self._mark(relay.ASK, name))

    def _answered(self, name: bytes) -> None:
        if waiting := self._answers.get(name):
            waiting.put(None)


class _Hook:
    """A method of one object, replaced for a while."""

    def __init__(self, subject: Any, name: str, make: Callable[[Any], Any]) -> None:
        self._subject = subject
        self._name = name
        self._ours = make(getattr(subject, name))
        setattr(subject, name, self._ours)

    def remove(self) -> None:
        """Give the object its own method back, unless the program has replaced it meanwhile."""
        if vars(self._subject).get(self._name) is self._ours:
            delattr(self._subject, self._name)
