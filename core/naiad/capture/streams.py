"""Watching Python's own streams: a write goes to the original first, and is noted in the same call.

A stream of Python is three objects: text over a buffer over the raw file. The bytes that really leave Python are seen
at the raw file, whichever text or logging handler wrote them, and each once. That call happens under the lock of the
buffer, so there they are only noted (`_Raw`); they are recorded when the buffer's own method has returned (`_Buffer`).
A signal handler may print meanwhile, and an exception that it raises must not look like a failed write: the buffer
would write the same bytes again.

Objects of other kinds, as in notebooks and under pytest, are watched where text enters them, unless it goes on to a
stream that is watched already, as it does in objects that copy output to a file.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import io
import operator
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

NUMBERS = {"stdout": 1, "stderr": 2}
REENTRANT = "reentrant call"
"""How the message of the error begins that a buffer raises to a signal handler which prints during a write."""

NO_PLACE = (errno.ESPIPE, errno.EBADF)
"""What asking for the place in a file fails with when the program has put something else at its descriptor."""

WRITTEN = 2
"""How many results there are once a write has been done: which one it was, and what it has taken; then its place."""

_call = operator.methodcaller("__call__")


class _Seen(threading.local):
    """Of this thread: the stream that took the latest text, and whether a buffer is just being written or emptied."""

    by: Any = None
    is_inside = False
    peeked: list[bytes] | None = None


Taken = tuple[int, bytes, Any, int, int]
"""What a stream has taken: number, bytes, the `LogFile` it went to, the offset there of the byte after them,
and which of Python's writes to it this was."""


class Watch:
    """The watch on both of Python's streams while runs listen.

    Args:
        file_of: gives the `LogFile` that a descriptor, of the stream with a number, leads to; else None.
        record: called after bytes were noted; it empties `noted`.
    """

    def __init__(self, file_of: Callable[[int, int], Any], record: Callable[[], object]) -> None:
        self.noted: deque[Taken] = deque()
        self.held: deque[BaseException] = deque()
        self.seen = _Seen()
        self.peek: list[bytes] | None = None
        """Takes the next bytes that a raw file is given, in place of the file: see `kept_back`."""
        self.file_of = file_of
        self.record = record
        self._hooks: list[_Hook] = []
        self._without: frozenset[int] = frozenset()

    def through(self) -> None:
        """Record the noted writes, then raise a pending exception of a signal handler."""
        if self.noted:
            self.record()
        if self.held:
            raise self.held.popleft()

    def kept_back(self) -> dict[int, bytes]:
        """Return the bytes in the buffers of Python's streams, by number. They stay there.

        A raw file that returns None takes nothing now, and its buffer keeps its bytes.
        """
        found: dict[int, bytes] = {}
        for hook in [hook for hook in self._hooks if isinstance(hook, _Raw) and not hook.is_alone]:
            peeked: list[bytes] = []
            # the stream is closed, has nothing to write to, or keeps what it has
            with contextlib.suppress(AttributeError, OSError, ValueError):
                # one step of C code: what a signal handler prints must not be taken for this
                deque(map(_call, (functools.partial(setattr, self, "peek", peeked), hook.text.flush)), maxlen=0)
            self.peek = self.seen.peeked = None
            found[hook.number] = found.get(hook.number, b"") + b"".join(peeked)
        return found

    def begin(self, without: Iterable[int] = ()) -> None:
        """Watch the streams that Python has now, and those that it began with; not those over some descriptors.

        It may be called again: who replaces the `write` of an object for a while, as IPython does during each cell,
        puts back the one from before that.
        """
        # Other descriptors pass a relay now, where their bytes are seen: watched here as well, they would be recorded
        # twice.
        if self._without != frozenset(without):
            self.end()
        self._without = frozenset(without)
        self._hooks = [hook for hook in self._hooks if hook.is_in_place()]
        for name, number in NUMBERS.items():
            for stream in (getattr(sys, f"__{name}__", None), getattr(sys, name, None)):
                with contextlib.suppress(AttributeError, TypeError, ValueError):  # takes no attributes, or is closed
                    self._hooks += self._hooks_for(stream, number)
        if self.has_texts:
            texts = [hook.text for hook in self._hooks if isinstance(hook, _Raw)]
            self._hooks += [_Inner(text, "write", self) for text in texts if not self._is_watched(text)]

    def forked(self) -> None:
        """Drop writes noted by other threads of the parent, in a forked child."""
        self.noted.clear()
        self.held.clear()

    def end(self) -> None:
        """Give each object its own methods back."""
        # In reverse, so that an object that was hooked twice gets back the method that it had first.
        for hook in reversed(self._hooks):
            hook.remove()
        self._hooks = []

    def _hooks_for(self, stream: Any, number: int) -> Iterable[_Hook]:
        raw = _raw_of(stream)
        if raw is None:
            return [] if stream is None or self._is_watched(stream) else [_Text(stream, number, self)]
        if self._is_watched(raw) or raw.fileno() in self._without:
            return []
        hooks: list[_Hook] = [_Raw(stream, raw, number, self)]
        if stream.buffer is raw:  # as with `python -u`
            return hooks
        return [*hooks, *(_Buffer(stream.buffer, name, raw, self) for name in ("write", "flush"))]

    def _is_watched(self, subject: object) -> bool:
        return any(hook.subject is subject for hook in self._hooks)

    @property
    def has_texts(self) -> bool:
        """Whether objects are watched that are no streams of Python's own."""
        return any(isinstance(hook, _Text) for hook in self._hooks)


class _Hook:
    """A method of one object, replaced for a while."""

    def __init__(self, subject: Any, name: str, watch: Watch) -> None:
        self.subject = subject
        self._name = name
        self._ours = self.made(getattr(subject, name), watch)
        setattr(subject, name, self._ours)

    def made(self, method: Callable[..., Any], watch: Watch) -> Callable[..., Any]:
        """Return the replacement of the method."""
        raise NotImplementedError

    def remove(self) -> None:
        """Give the object its own method back, unless the program has replaced it meanwhile."""
        if self.is_in_place():
            delattr(self.subject, self._name)

    def is_in_place(self) -> bool:
        """Whether the object still has the method that stands in."""
        return vars(self.subject).get(self._name) is self._ours


class _Raw(_Hook):
    """The hook of a raw file: notes each write, with its offset in a regular file."""

    def __init__(self, text: Any, raw: io.FileIO, number: int, watch: Watch) -> None:
        self.text = text
        self.number = number
        self.is_alone = text.buffer is raw
        self._descriptor = raw.fileno()
        self._file = watch.file_of(self._descriptor, number)
        super().__init__(raw, "write", watch)

    def made(self, method: Callable[..., Any], watch: Watch) -> Callable[..., Any]:
        """Return a write that notes its bytes, and records them unless a buffer does so when they are through."""
        seen = watch.seen
        note = self._noting(method, watch) if self._file is None else self._noting_place(method, watch, self._file)

        def write(data: Any) -> Any:
            # A buffer is being emptied, and this call is made under its lock: bytes are only noted here, and recorded
            # when the buffer's method has returned.
            if seen.is_inside:
                peek, watch.peek = watch.peek, None
                if peek is not None:  # as is said in `kept_back`
                    seen.peeked = peek
                    peek.append(bytes(data))
                    return None
                return note(data)
            seen.by = self
            try:
                return note(data)
            finally:
                watch.through()

        return write

    def _noting(self, method: Callable[..., Any], watch: Watch) -> Callable[[Any], Any]:
        """Return a write that lets no exception of a signal handler look like one of the write itself."""
        number, noted, held = self.number, watch.noted, watch.held

        def write(data: Any) -> Any:
            results: list[Any] = []
            try:
                # one step of C code: between writing and having its result no signal handler can raise
                results.extend(map(method, (data,)))
            except BaseException as error:  # of a signal handler, if there is a result: it is raised later
                if not results:
                    raise
                held.append(error)
            if results[0]:
                noted.append((number, bytes(data)[: results[0]], None, 0, 0))
            return results[0]

        return write

    def _noting_place(self, method: Callable[..., Any], watch: Watch, file: Any) -> Callable[[Any], Any]:
        """Do the same and note where in a regular file the write ended."""
        number, noted, held = self.number, watch.noted, watch.held
        partial = functools.partial
        place, count = partial(os.lseek, self._descriptor, 0, os.SEEK_CUR), partial(next, file.count)

        def write(data: Any) -> Any:
            results: list[Any] = []
            # Number, write and place under one lock: a write of another thread in between would give this one a wrong
            # place.
            with file.lock:
                try:
                    results.extend(map(_call, (count, partial(method, data), place)))
                except BaseException as error:  # as above
                    if len(results) < WRITTEN:
                        raise
                    if getattr(error, "errno", None) not in NO_PLACE:
                        held.append(error)
                if results[1]:
                    end = results[2] if len(results) > WRITTEN else -1
                    noted.append((number, bytes(data)[: results[1]], file, end, results[0]))
            return results[1]

        return write


class _Buffer(_Hook):
    """The hook of a buffer: records the writes of its raw file outside of its lock."""

    def __init__(self, buffer: Any, name: str, raw: Any, watch: Watch) -> None:
        self._raw = raw
        super().__init__(buffer, name, watch)

    def made(self, method: Callable[..., Any], watch: Watch) -> Callable[..., Any]:
        raw, seen, noted, held = self._raw, watch.seen, watch.noted, watch.held

        def call(*args: Any) -> Any:
            # The former value is put back, since a signal handler may print while its thread is inside.
            was_inside, seen.is_inside, seen.by = seen.is_inside, True, self
            try:
                return method(*args)
            except BlockingIOError as error:  # as is said in `kept_back`
                if not args or not seen.peeked:
                    raise
                seen.peeked.clear()  # text and buffer together are more than the buffer holds: it is written now
                method(args[0][error.characters_written :])
                return len(args[0])
            except RuntimeError as error:  # a signal handler prints while its thread is inside
                if not str(error).startswith(REENTRANT):
                    raise
                return _write_all(raw, *args)
            finally:
                seen.is_inside = was_inside
                if noted or held:
                    watch.through()

        return call


class _Inner(_Hook):
    """The hook of a text stream below a watched object: marks writes that are noted further down."""

    def made(self, method: Callable[..., Any], watch: Watch) -> Callable[..., Any]:
        seen = watch.seen

        def write(text: Any) -> Any:
            seen.by = self
            return method(text)

        return write


class _Text(_Hook):
    """An object that takes text: it is noted here unless it comes by at a stream of Python."""

    def __init__(self, stream: Any, number: int, watch: Watch) -> None:
        self._number = number
        super().__init__(stream, "write", watch)

    def made(self, method: Callable[..., Any], watch: Watch) -> Callable[..., Any]:
        number, seen = self._number, watch.seen

        def write(text: Any, *args: Any, **named: Any) -> Any:
            # If a stream of Python takes the text further down, it sets this to itself, and the bytes are noted
            # there.
            seen.by = None
            result = method(text, *args, **named)
            if seen.by is None and isinstance(text, str):
                seen.by = self
                watch.noted.append((number, _encoded(text), None, 0, 0))
                watch.record()
            return result

        return write


def flush(numbers: Iterable[int]) -> None:
    """Flush the buffers of Python's streams over some descriptors, and those of C code."""
    for name in [name for name, number in NUMBERS.items() if number in numbers]:
        with contextlib.suppress(AttributeError, OSError, ValueError):  # none, one whose reader is gone, a closed one
            getattr(sys, name).flush()
    if "ctypes" in sys.modules:  # as it is wherever numpy is; importing it for this would cost every script
        _flush_c()


def _flush_c() -> None:
    """Flush C's standard output, which buffers 4 KiB on files and pipes."""
    import ctypes

    libc = ctypes.CDLL(None)
    with contextlib.suppress(ValueError, AttributeError):  # a C library that calls its stream otherwise
        libc.fflush(ctypes.c_void_p.in_dll(libc, "stdout"))


def _raw_of(stream: Any) -> io.FileIO | None:
    """Return the raw file below one of Python's own streams."""
    if not isinstance(stream, io.TextIOWrapper):
        return None
    raw = getattr(stream.buffer, "raw", stream.buffer)
    return raw if isinstance(raw, io.FileIO) else None


def _write_all(raw: Any, data: Any = b"") -> int:
    """Write past a buffer that its own thread is just emptying."""
    view = memoryview(bytes(data))
    while view:
        view = view[raw.write(view) or 0 :]
    return len(bytes(data))


def _encoded(text: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace")
