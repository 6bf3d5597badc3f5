"""The printed bytes of one stream in a run, each piece with the number of its first line."""

from __future__ import annotations

import mmap
from contextlib import suppress

from naiad.errors import NaiadError
from naiad.session import Session


class Printed:
    """One stream of a run. Forked children continue its numbers, so that all output stays in order."""

    def __init__(self, session: Session, path: str, *, is_new: bool) -> None:
        self._session = session
        self._path = path
        self._line = memoryview(mmap.mmap(-1, mmap.PAGESIZE)).cast("q")  # shared with forked children
        self._line[0] = 0 if is_new else self._next_line()

    def write(self, data: bytes) -> None:
        """Record bytes that the program has written. Never raises."""
        if not data:
            return
        line = self._line[0]
        self._line[0] = line + data.count(b"\n")
        self._session.writer.log_printed(self._path, data, line)

    def _next_line(self) -> int:
        """Return the number after those of the lines that the run has already."""
        with suppress(NaiadError, OSError):
            last = self._session.reader.last(self._path)
            return 0 if last is None else int(last.step) + 1
        return 0
