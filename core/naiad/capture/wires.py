"""Wires: standard output and error led through the relay while runs listen, and restored afterwards."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import sys
import termios
from collections.abc import Sequence
from pathlib import Path

from naiad.capture import relay

NUMBERS = (1, 2)
SHELL = "/bin/sh"
PIPE_BYTES = 1024 * 1024
"""Room in each pipe, where the system can give it: fewer turns between processes when much is printed."""
LOWEST = 64
"""Our own descriptors are above this, out of the way of programs that count on theirs."""


class Wire:
    """One descriptor of the process. Its other end is a terminal where it was one before, and a pipe elsewhere."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.identity = identity(number)
        self.outer = _raised(number)
        self.is_dead = False  # once the relay is gone, what is written here reaches nobody
        try:
            self.source, self.inner = _terminal_like(self.outer) if os.isatty(number) else _pipe()
        except OSError:
            os.close(self.outer)
            raise

    def connect(self) -> None:
        """Lead the descriptor through the relay from now on."""
        # dup2 replaces the descriptor in one step: no output of another thread falls between closing and opening it.
        os.dup2(self.inner, self.number)
        if self.is_dead:  # the thread that learns it has learned it just now
            self.disconnect()

    def disconnect(self) -> None:
        """Restore the descriptor, unless the program has replaced it itself."""
        if self.is_connected():
            os.dup2(self.outer, self.number)

    def give_up(self) -> bool:
        """Restore the descriptor after the relay has ended; False if it did not lead to the relay."""
        self.is_dead = True
        was_connected = self.is_connected()
        self.disconnect()
        return was_connected

    def is_connected(self) -> bool:
        """Whether the number still leads to the relay."""
        return identity(self.number) == identity(self.inner)

    def fits(self) -> bool:
        """Whether the descriptor still leads to the target or the inner end of this wire."""
        return not self.is_dead and identity(self.number) in (self.identity, identity(self.inner))

    def mark(self, mark: bytes) -> bool:
        """Write a mark for the relay; False if the stream has no reader left."""
        try:
            os.write(self.inner, mark)
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Let go of it; the relay goes on for children that print."""
        os.close(self.inner)
        os.close(self.outer)


def identity(descriptor: int) -> tuple[int, ...] | None:
    """Return the identity of an open file, or None for a descriptor that is closed."""
    try:
        found = os.fstat(descriptor)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_rdev


def can_relay() -> bool:
    """Whether a relay can be run: it needs an interpreter, and the file of its program."""
    name = Path(sys.executable or "").name
    is_interpreter = re.fullmatch(r"(python|pypy)[\d.]*[a-z]*", name) is not None and not getattr(sys, "frozen", False)
    return is_interpreter and hasattr(os, "posix_spawn") and os.path.exists(relay.__file__)


def start_relay(wires: Sequence[Wire], nonce: str) -> int:
    """Start the relay of these wires; return the descriptor of its reports.

    A shell starts it and ends at once: a program that waits for any child of its own must never get this one.

    Raises:
        OSError: no process can be started.
    """
    told, telling = _pipe()
    actions: list[tuple[int, ...] | tuple[int, int, str, int, int]] = [
        (os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in (0, *NUMBERS)
    ]
    for wire in wires:
        actions.append((os.POSIX_SPAWN_DUP2, wire.source, relay.SOURCES[wire.number]))
        actions.append((os.POSIX_SPAWN_DUP2, wire.outer, relay.TARGETS[wire.number]))
    actions.append((os.POSIX_SPAWN_DUP2, telling, relay.LOG))
    absent = {*relay.SOURCES, *relay.TARGETS} - {wire.number for wire in wires}
    for number in absent:  # whatever the program has there is none of the relay's business
        actions += [(os.POSIX_SPAWN_CLOSE, relay.SOURCES[number]), (os.POSIX_SPAWN_CLOSE, relay.TARGETS[number])]
    command = [SHELL, "-c", '"$@" &', SHELL, sys.executable, "-I", "-S", relay.__file__, nonce]
    try:
        starter = os.posix_spawn(SHELL, command, os.environ, file_actions=actions)
    except OSError:
        os.close(told)
        raise
    finally:
        os.close(telling)
        for wire in wires:
            os.close(wire.source)
    with contextlib.suppress(ChildProcessError):  # the program's own waiting has come first
        os.waitpid(starter, 0)
    return told


def _raised(descriptor: int) -> int:
    return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, LOWEST)


def _pipe() -> tuple[int, int]:
    pair = _both_raised(os.pipe())
    with contextlib.suppress(AttributeError, OSError):  # not Linux, or more than this user may have
        fcntl.fcntl(pair[0], fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    return pair


def _terminal_like(terminal: int) -> tuple[int, int]:
    """Open a pseudo terminal that looks like another one to programs, and changes no byte."""
    source, inner = _both_raised(os.openpty())
    with contextlib.suppress(OSError, termios.error):  # looks less alike then
        relay.copy_window_size(terminal, inner)
        modes = termios.tcgetattr(terminal)
        modes[1] &= ~termios.OPOST
        modes[3] &= ~(termios.ECHO | termios.ICANON)
        termios.tcsetattr(inner, termios.TCSANOW, modes)
    return source, inner


def _both_raised(pair: tuple[int, int]) -> tuple[int, int]:
    raised = _raised(pair[0]), _raised(pair[1])
    for each in pair:
        os.close(each)
    return raised
