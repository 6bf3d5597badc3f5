"""The rows of a terminal, as far as a log needs them: what a progress bar writes over is gone, its last state stays."""

from __future__ import annotations

import re

__all__ = ["Row", "Rows"]

MOVES = re.compile(r"(\n|\r|\x08+|\x1b\[\d*[AJK])")
UNFINISHED = re.compile(r"\x1b(\[\d*)?\Z")
REST_SECONDS = 1.0
"""How long a row above the cursor may still be returned to, in a stream that has ever done so."""
MOST_ROWS = 64
LONGEST_ROW = 1024 * 1024
"""Characters; a longer row is cut into several."""

Row = tuple[float, str]
"""When it was last written, and its text."""


class Rows:
    r"""Text goes in, finished rows come out.

    Carriage returns, backspaces, erasing and going up are followed, as progress bars use nothing else; whatever else a
    terminal would understand, such as colours, stays in the text.

    >>> Rows().feed("10%\r20%\rdone\n", at=5.0)
    [(5.0, 'done')]
    """

    def __init__(self) -> None:
        self._rows: list[Row] = [(0.0, "")]
        self._cursor = 0
        self._is_at_start = True  # the next text replaces what is in the row
        self._goes_up = False
        self._unfinished = ""

    def feed(self, text: str, at: float) -> list[Row]:
        """Take text that was written at a time, and return the rows that are finished by it."""
        text = self._unfinished + text
        if not self._goes_up and not self._is_moving(text):
            return self._lines(text, at)
        cut = UNFINISHED.search(text)
        self._unfinished = text[cut.start() :] if cut else ""
        for place, part in enumerate(MOVES.split(text[: cut.start()] if cut else text)):
            if place % 2:
                self._move(part, at)
            elif part:
                self._write(part, at)
        return self.due(at)

    def _is_moving(self, text: str) -> bool:
        return self._cursor > 0 or "\r" in text or "\x08" in text or "\x1b" in text

    def _lines(self, text: str, at: float) -> list[Row]:
        """Do the same for text that only goes on and down, as nearly all does."""
        self._unfinished = ""
        first, *others = text.split("\n")
        if first:
            self._write(first, at)
        if not others or self._cursor > 0 or max(map(len, others)) > LONGEST_ROW:
            return self._rest_of(others, at)
        last = others.pop()
        rows = [self._rows[0], *((at, line) for line in others)]
        self._rows, self._is_at_start = [(at, last)], not last
        return rows

    def _rest_of(self, others: list[str], at: float) -> list[Row]:
        for line in others:
            self._move("\n", at)
            if line:
                self._write(line, at)
        return self.due(at)

    def due(self, now: float) -> list[Row]:
        """Return the rows above the cursor that nobody returns to any more."""
        finished = 0
        while finished < self._cursor and self._is_done(finished, now):
            finished += 1
        rows, self._rows = self._rows[:finished], self._rows[finished:]
        self._cursor -= finished
        return rows

    def is_waiting(self) -> bool:
        """Whether there are rows that will be due without any more text."""
        return self._cursor > 0

    def rest(self) -> list[Row]:
        """Return all that is left, and begin anew."""
        rows = [*self._rows]
        while rows and not rows[-1][1]:
            rows.pop()
        self._rows, self._cursor, self._is_at_start = [(0.0, "")], 0, True
        self._unfinished = ""
        return rows

    def _is_done(self, place: int, now: float) -> bool:
        is_old = now - self._rows[place][0] >= REST_SECONDS
        return not self._goes_up or is_old or self._cursor - place > MOST_ROWS

    def _move(self, part: str, at: float) -> None:
        if part == "\n":
            self._cursor += 1
            self._is_at_start = True
            if self._cursor == len(self._rows):
                self._rows.append((at, ""))
        elif part == "\r":
            self._is_at_start = True
        elif part.startswith("\x08"):
            self._put(self._rows[self._cursor][1][: -len(part)], at)
        else:
            self._obey(part[-1], int(part[2:-1] or 0), at)

    def _obey(self, kind: str, count: int, at: float) -> None:
        """Go up, or erase."""
        if kind == "A":
            self._goes_up = True
            self._cursor = max(0, self._cursor - max(1, count))
            self._is_at_start = True
        elif kind == "K" and (count in (1, 2) or self._is_at_start):
            self._put("", at)
        elif kind == "J" and count == 0:
            del self._rows[self._cursor + 1 :]
            if self._is_at_start:
                self._put("", at)

    def _write(self, text: str, at: float) -> None:
        known = "" if self._is_at_start else self._rows[self._cursor][1]
        self._is_at_start = False
        self._put(known + text, at)
        while len(self._rows[self._cursor][1]) > LONGEST_ROW:
            whole = self._rows[self._cursor][1]
            self._rows[self._cursor : self._cursor + 1] = [(at, whole[:LONGEST_ROW]), (at, whole[LONGEST_ROW:])]
            self._cursor += 1

    def _put(self, text: str, at: float) -> None:
        self._rows[self._cursor] = (at, text)
