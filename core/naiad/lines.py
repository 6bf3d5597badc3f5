"""Lines: the bytes that a program printed, split as a terminal would show them once all is drawn.

Bytes are journaled as they were written and split here, by the fold and by readers of the tail. Between two ops the
open rest of a stream is a `Lines`, which the index keeps, so that it does not matter where one fold ends.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from itertools import count, repeat
from typing import Annotated, NamedTuple

import msgspec

from naiad.ops import Moment


class LineRun(NamedTuple):
    """Finished lines that follow each other and were written at once: their numbers rise by one."""

    number: int  # of the first
    at: float  # unix seconds
    data: bytes  # UTF-8; each line has its end

    def points(self) -> Iterator[tuple[int, float, bytes]]:
        """Number, time and text of each line."""
        texts = self.data.split(b"\n")
        texts.pop()
        return zip(count(self.number), repeat(self.at), texts)


MOVES = re.compile(rb"(\n|\r|\x08+|\x1b\[\d*[AJK])")
SEQUENCE = re.compile(rb"\x1b\[\d*[AJK]")
UNFINISHED = re.compile(rb"\x1b(\[\d*)?\Z")
REST_SECONDS = 1.0
"""How long a row above the cursor may still be returned to, in a stream that has ever done so."""
MOST_ROWS = 64
LONGEST_LINE = 16 * 1024 * 1024
"""Bytes, as of any text that a run keeps; a longer line becomes several."""


class Line(msgspec.Struct, array_like=True, gc=False):
    """One row that may still change."""

    number: Annotated[int, msgspec.Meta(ge=0, le=2**53)]
    at: Moment  # when it was last written
    text: bytearray


class Lines(msgspec.Struct, array_like=True):
    r"""Printed bytes go in, finished lines come out.

    Carriage returns, backspaces, erasing and going up are followed, as progress bars use nothing else; any other code
    of a terminal would understand, such as colours, stays in the text. Bytes that are no UTF-8 become U+FFFD.

    >>> Lines().feed(b"10%\r20%\rdone\n", 0, at=5.0)
    [LineRun(number=0, at=5.0, data=b'done\n')]
    """

    rows: list[Line] = []
    cursor: Annotated[int, msgspec.Meta(ge=0, le=1 << 16)] = 0
    is_at_start: bool = True  # the next text replaces what is in the row
    goes_up: bool = False
    unfinished: bytes = b""  # the beginning of a sequence that moves the cursor
    since: float = -math.inf  # rows that were written last before this time were deleted by another writer

    def feed(self, data: bytes, number: int, at: float) -> list[LineRun]:
        """Take bytes that were written at a time, and return the lines that are finished by them.

        Args:
            data: the written bytes.
            number: that of the line in which the bytes begin; each end of line raises it by one.
            at: when it was written.
        """
        if not self.rows:
            self.rows.append(Line(number, at, bytearray()))
        # An escape sequence may be cut by the end of a write; its beginning waits here for the rest.
        data = self.unfinished + data
        if b"\r" in data:
            # Before the moves are split: an end of line as Windows has it is no return to the start of the row.
            data = data.replace(b"\r\n", b"\n")
        cut = UNFINISHED.search(data) if b"\x1b" in data[-8:] else None
        self.unfinished = data[cut.start() :] if cut else b""
        data = data[: cut.start()] if cut else data
        if self.goes_up or self.cursor or _moves(data):
            return self._feed_moving(data, number, at)
        return self._feed_plain(data, number, at)

    def rest(self) -> list[LineRun]:
        """Return the lines that have no end yet."""
        rows = [*self.rows]
        while rows and not rows[-1].text:
            rows.pop()
        return [_run(row) for row in rows if is_after(self.since, row.at)]

    def _feed_plain(self, data: bytes, number: int, at: float) -> list[LineRun]:
        """Take text that only goes on and down, as nearly all does."""
        end = data.find(b"\n")
        if end < 0 or len(self.rows[0].text) + end > LONGEST_LINE or self.rows[0].number != number:
            return self._feed_moving(data, number, at)
        last = data.rfind(b"\n") + 1
        begun = b"" if self.is_at_start and end else bytes(self.rows[0].text)
        self.rows = [Line(number + data.count(b"\n"), at, bytearray(data[last:]))]
        self.is_at_start = last == len(data)
        return [LineRun(number, at, _utf8(begun + data[:last]))]

    def _feed_moving(self, data: bytes, number: int, at: float) -> list[LineRun]:
        for place, part in enumerate(MOVES.split(data)):
            if part == b"\n":
                number += 1
            if place % 2:
                self._move(part, number, at)
            elif part:
                self._write(part, at)
        return self._due(at)

    def _due(self, now: float) -> list[LineRun]:
        """Return the rows above the cursor to which nothing returns any more."""
        done = 0
        while done < self.cursor and self._is_done(done, now):
            done += 1
        rows, self.rows = self.rows[:done], self.rows[done:]
        self.cursor -= done
        return [_run(row) for row in rows]

    def _is_done(self, place: int, now: float) -> bool:
        # A stream that once went up may do so again: its rows stay open for a second, so that bars in several rows
        # are kept as they looked at last.
        is_old = now - self.rows[place].at >= REST_SECONDS
        return not self.goes_up or is_old or self.cursor - place > MOST_ROWS

    def _move(self, part: bytes, number: int, at: float) -> None:
        if part == b"\n":
            self.cursor += 1
            self.is_at_start = True
            if self.cursor == len(self.rows):
                self.rows.append(Line(number, at, bytearray()))
        elif part == b"\r":
            self.is_at_start = True
        elif part.startswith(b"\x08"):
            # Decoded, because a backspace removes a character and not a byte.
            kept = self.rows[self.cursor].text.decode("utf-8", "replace")[: -len(part)]
            self._put(kept.encode(), at)
        else:
            self._obey(part[-1:], int(part[2:-1] or 0), at)

    def _obey(self, kind: bytes, count: int, at: float) -> None:
        """Go up, or erase."""
        if kind == b"A":
            self.goes_up = True
            self.cursor = max(0, self.cursor - max(1, count))
            self.is_at_start = True
        elif kind == b"K" and (count in (1, 2) or self.is_at_start):
            self._put(b"", at)
        elif kind == b"J" and count == 0:
            del self.rows[self.cursor + 1 :]
            if self.is_at_start:
                self._put(b"", at)

    def _write(self, text: bytes, at: float) -> None:
        row = self.rows[self.cursor]
        if self.is_at_start:
            row.text.clear()
            self.is_at_start = False
        row.text += text
        row.at = at
        while len(row.text) > LONGEST_LINE:
            end = _end_of_character(row.text, LONGEST_LINE)
            self.rows.insert(self.cursor, Line(row.number, at, row.text[:end]))
            self.cursor += 1
            del row.text[:end]

    def _put(self, text: bytes, at: float) -> None:
        row = self.rows[self.cursor]
        row.text, row.at = bytearray(text), at


def is_after(since: float, time: float) -> bool:
    """Whether a point is later than a deletion, compared as it is kept: in whole milliseconds."""
    return since < 0 if math.isinf(since) else round(time * 1000) > round(since * 1000)


def _moves(data: bytes) -> bool:
    """Whether it does anything but go on and down; looking for single bytes costs next to nothing."""
    return b"\r" in data or b"\x08" in data or (b"\x1b" in data and SEQUENCE.search(data) is not None)


def _run(row: Line) -> LineRun:
    return LineRun(row.number, row.at, _utf8(row.text) + b"\n")


def _end_of_character(text: bytearray, end: int) -> int:
    """Return the place at or before `end` that cuts no character of UTF-8."""
    for place in range(end, end - 4, -1):
        if text[place] & 0xC0 != 0x80:
            return place
    return end


def _utf8(text: bytes | bytearray) -> bytes:
    data = bytes(text)
    if data.isascii():
        return data
    return data.decode("utf-8", "replace").encode()
