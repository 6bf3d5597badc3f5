"""Python's own streams while a console is captured: told apart by whether they lead to the captured descriptor.

A stream that does is watched one level below, where its buffer is emptied, so that the relay can be told which of
the two streams was written first. One that does not, as under pytest or in a notebook, is copied as it is written.
The stream objects stay the same ones, since loggers and progress bars have kept them.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Callable
from typing import Any

__all__ = ["Hook", "flush", "hooks"]

STREAMS = {1: "stdout", 2: "stderr"}
NOBODY_READS = (errno.EPIPE, errno.EIO)
"""What writing fails with: to a pipe, and to a pseudo terminal."""


class Hook:
    """A method of one object, replaced for a while."""

    def __init__(self, subject: Any, name: str, make: Callable[[Any], Any]) -> None:
        self._subject = subject
        self._name = name
        self._ours = make(getattr(subject, name))
        self._ours.is_ours = True
        setattr(subject, name, self._ours)

    def remove(self) -> None:
        """Give the object its own method back, unless somebody else has replaced it meanwhile."""
        if vars(self._subject).get(self._name) is self._ours:
            delattr(self._subject, self._name)


def hooks(
    wired: set[int],
    before: Callable[[int], None],
    failed: Callable[[int], bool],
    written: Callable[[int, str], None],
) -> list[Hook]:
    """Hook both of Python's streams.

    Args:
        wired: the descriptors that are captured themselves.
        before: called with its number before something goes to a captured descriptor.
        failed: called with its number when nobody reads it; says whether to try again.
        written: called with its number and the text after it went elsewhere.
    """
    found: list[Hook] = []
    for number, name in STREAMS.items():
        stream = getattr(sys, name, None)
        with contextlib.suppress(AttributeError, TypeError):  # an object that takes no attribute cannot be hooked
            if stream is None or _is_hooked(stream):
                continue
            if number in wired and _descriptor(stream) == number:
                found += [
                    Hook(stream.buffer, method, _calling(before, failed, number)) for method in ("write", "flush")
                ]
            else:
                found.append(Hook(stream, "write", _copying(written, number)))
    return found


def flush() -> None:
    """Hand over what Python's streams keep back."""
    for name in STREAMS.values():
        with contextlib.suppress(AttributeError, OSError, ValueError):  # none, one whose reader is gone, a closed one
            getattr(sys, name).flush()
    if "ctypes" in sys.modules:  # as it is wherever numpy is; importing it for this would cost every script
        _flush_c()


def _flush_c() -> None:
    """Do the same for what C code has printed: to a pipe it writes when 4 KiB have come together."""
    import ctypes

    libc = ctypes.CDLL(None)
    with contextlib.suppress(ValueError, AttributeError):  # a C library that calls its stream otherwise
        libc.fflush(ctypes.c_void_p.in_dll(libc, "stdout"))


def _is_hooked(stream: Any) -> bool:
    each = (getattr(subject, "write", None) for subject in (stream, getattr(stream, "buffer", None)))
    return any(hasattr(method, "is_ours") for method in each)


def _descriptor(stream: Any) -> int | None:
    try:
        return int(stream.fileno())
    except (AttributeError, OSError, TypeError, ValueError):  # an object that is no file, or a closed one
        return None


def _calling(before: Callable[[int], None], failed: Callable[[int], bool], number: int) -> Callable[[Any], Any]:
    def make(method: Any) -> Any:
        def call(*args: Any) -> Any:
            before(number)
            try:
                return method(*args)
            except OSError as error:  # what was not written is still in the buffer
                if error.errno not in NOBODY_READS or not failed(number):
                    raise
                return method(*args)

        return call

    return make


def _copying(written: Callable[[int, str], None], number: int) -> Callable[[Any], Any]:
    owner = os.getpid()

    def make(method: Any) -> Any:
        def write(text: Any, *args: Any, **named: Any) -> Any:
            result = method(text, *args, **named)
            if isinstance(text, str) and os.getpid() == owner:
                written(number, text)
            return result

        return write

    return make
