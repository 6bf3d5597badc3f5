"""The lines that a run has printed, from the end, also while they grow."""

from __future__ import annotations

import heapq

from naiad.cli.logs import STREAMS, STYLES
from naiad.cli.logs import Line as Printed
from naiad.cli.text import clean
from naiad.cli.top.spans import Line, Span
from naiad.cli.values import time_text
from naiad.errors import MissingField
from naiad.kinds import LINES
from naiad.storage.base import RunReader

WINDOW = 500
"""Lines of each stream that are read at first; twice as many whenever one scrolls above them."""
SIDEWAYS = 16


class Lines:
    """The window of a run's output that is shown."""

    def __init__(self, reader: RunReader) -> None:
        self._reader = reader
        self._window = WINDOW
        self._lines: list[Printed] = []
        self._total = 0
        self._above_end = 0
        self._left = 0
        self._height = 1

    def refresh(self) -> None:
        """Read the end of the streams again; a window that was scrolled up stays at its lines."""
        kinds = self._reader.kinds()
        paths = sorted(p for p, kind in kinds.items() if kind == LINES and p.rpartition("/")[2] in STREAMS)
        found, total = [], 0
        for path in paths:
            try:
                page = self._reader.text_page(path, -self._window, self._window)
            except MissingField:  # removed since
                continue
            total += page.total
            stream, latest, lines = path.rpartition("/")[2], 0, []
            for step, text, time in zip(page.steps, page.texts, page.times, strict=True):
                # Clocks go back; within a stream the order of lines counts.
                latest = max(latest, time)
                lines += [Printed(latest, stream, path, step, part) for part in text.removesuffix("\n").split("\n")]
            found.append(lines)
        # Lines that arrive below do not move those that are being read.
        if self._above_end:
            self._above_end += max(0, total - self._total)
        self._total = total
        self._lines = list(heapq.merge(*found, key=lambda line: line.time))

    def press(self, key: str) -> bool:
        """Take a key that scrolls; False for any other."""
        steps = {"up": 1, "k": 1, "down": -1, "j": -1, "page up": self._height, "page down": -self._height}
        steps |= {"home": len(self._lines), "g": len(self._lines), "end": -len(self._lines), "G": -len(self._lines)}
        if key in ("left", "right", "h", "l"):
            self._left = max(0, self._left + (SIDEWAYS if key in ("right", "l") else -SIDEWAYS))
        elif key in steps:
            self._above_end = max(0, self._above_end + steps[key])
            if self._above_end + self._height > len(self._lines) and len(self._lines) < self._total:
                self._window *= 2
                self.refresh()
            self._above_end = max(0, min(self._above_end, len(self._lines) - self._height))
        else:
            return False
        return True

    def lines(self, columns: int, rows: int) -> list[Line]:
        """Return the lines that are shown."""
        self._height = max(1, rows)
        if not self._lines:
            return [[], [Span("  Nothing was printed.")]]
        self._above_end = max(0, min(self._above_end, len(self._lines) - self._height))
        end = len(self._lines) - self._above_end
        shown = self._lines[max(0, end - rows) : end]
        has_time = columns >= 60
        return [
            [
                *([Span(f" {time_text(line.time, is_local=True)[11:19]:8} ", "dim")] if has_time else []),
                Span(clean(line.text)[self._left :], STYLES.get(line.stream, "")),
            ]
            for line in shown
        ]

    def place(self) -> str:
        """Return which of the lines are shown, for the foot of a page."""
        end = len(self._lines) - self._above_end
        return f"{self._total:,} lines" + (f", {self._above_end:,} below" if self._above_end else "") if end else ""
