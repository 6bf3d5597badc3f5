"""The comparison: curves of several runs in common charts, and a table of the facts in which they differ."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from naiad.cli.compare import differences
from naiad.cli.curve import MARKS
from naiad.cli.plot import COLOURS
from naiad.cli.run import OpenRun
from naiad.cli.text import width
from naiad.cli.top.panels import Panel, Panels
from naiad.cli.top.run_page import read_panel, require
from naiad.cli.top.spans import Line, Span, padded, span, spread
from naiad.cli.top.values import metric_order, number
from naiad.cli.values import tags_text, value_text
from naiad.container_kinds import RUN, RunId
from naiad.kinds import KINDS
from naiad.storage.base import Store

TABS = ("curves", "differences")
CELL = 14
"""Columns of a value in the table, at most."""


class Comparison:
    """Some runs beside each other."""

    hints = (
        *(("1 2 tab", "curves differences"), ("enter", "one chart"), ("/", "filter")),
        *(("esc", "back"), ("?", "help")),
    )

    def __init__(self, store: Store, runs: Mapping[str, str], *, is_ascii: bool, has_colour: bool) -> None:
        self.tab = 0
        self.filter = ""
        self._store = store
        self._is_ascii = is_ascii
        self._has_colour = has_colour
        self._mark = "..." if is_ascii else "…"
        # The marks of the board may change while this page is open.
        self._runs = [
            OpenRun(name, RunId(uid, RUN), store.reader(RunId(uid, RUN)), store) for uid, name in runs.items()
        ]
        self._panels = Panels(is_ascii=is_ascii, has_colour=has_colour)
        self._drawn: dict[tuple[str, int], Panel] = {}
        self._differences: dict[str, list[object]] = {}
        self._start = 0
        self._height = 1

    def changed(self, uids: Collection[str] | None) -> None:
        """Read again if one of the runs has changed."""
        if uids is None or any(run.run.uid in uids for run in self._runs):
            self.refresh()

    def refresh(self) -> None:
        """Read the tab that is shown."""
        for run in self._runs:
            require(self._store, run.run)
        self._drawn.clear()
        if self.tab == 0:
            paths = {
                path
                for run in self._runs
                for path, kind in run.reader.kinds().items()
                if KINDS[kind].drawn_as == "curve" and self.filter.lower() in path.lower()
            }
            self._panels.paths = sorted(paths, key=metric_order)
        else:
            found = differences(self._store, self._runs)
            self._differences = {path: each for path, each in found.items() if self.filter.lower() in path.lower()}

    def press(self, key: str) -> bool:
        """Take a key; False for one that means nothing here."""
        if key in ("tab", "back tab", "1", "2"):
            self.tab = int(key) - 1 if key in ("1", "2") else 1 - self.tab
            self.refresh()
            return True
        if self.tab == 0:
            return self._panels.press(key)
        steps = {"up": -1, "k": -1, "down": 1, "j": 1, "page up": -self._height, "page down": self._height}
        steps |= {"home": -len(self._differences), "end": len(self._differences)}
        if key not in steps:
            return False
        self._start = max(0, min(len(self._differences) - self._height, self._start + steps[key]))
        return True

    def fill(self, seconds: float) -> bool:  # noqa: ARG002 (all is read when it is drawn)
        """Read nothing more."""
        return False

    def headline(self, room: int) -> Line:
        """Return the first line: how many runs, and the tabs."""
        left = [Span(f" comparing {len(self._runs)} runs", "bold")]
        if self.filter:
            left.append(span(f"  /{self.filter}", "cyan"))
        tabs = [Span(f" {name} ", "reverse" if place == self.tab else "dim") for place, name in enumerate(TABS)]
        return spread(left, [*tabs, Span(" ")], room, self._mark)

    def place(self) -> str:
        """Return which part is shown, for the foot of the page."""
        if self.tab == 0:
            return self._panels.place()
        last = min(self._start + self._height, len(self._differences))
        return f"{self._start + 1}-{last} of {len(self._differences)}" if len(self._differences) > self._height else ""

    def lines(self, columns: int, rows: int) -> list[Line]:
        """Return the tab that is shown."""
        if self.tab == 1:
            return self._table(columns, rows)
        legend = self._legend(columns)
        return [*legend, *self._panels.lines(columns, rows - len(legend), self._panel)]

    def _legend(self, columns: int) -> list[Line]:
        """Return the runs with the colours of their curves, as many in a line as fit."""
        found: list[Line] = [[]]
        taken = 0
        for place, run in enumerate(self._runs):
            sign = self._sign(place)
            name = span(run.id).text
            size = width(name) + len(sign) + 4
            if taken and taken + size > columns:
                found.append([])
                taken = 0
            found[-1] += [Span(f"  {sign} ", COLOURS[place % len(COLOURS)]), Span(f"{name} ")]
            taken += size
        return found

    def _sign(self, place: int) -> str:
        return MARKS[place % len(MARKS)] if self._is_ascii or not self._has_colour else "━━"

    def _panel(self, path: str, buckets: int) -> Panel:
        if (path, buckets) not in self._drawn:
            runs = [(run.reader, place) for place, run in enumerate(self._runs)]
            self._drawn[path, buckets] = read_panel(path, runs, buckets)
        return self._drawn[path, buckets]

    def _table(self, columns: int, rows: int) -> list[Line]:
        self._height = max(1, rows - 1)
        self._start = max(0, min(self._start, len(self._differences) - self._height))
        shown = list(self._differences.items())[self._start : self._start + self._height]
        if not shown:
            return [[], [Span("  No field differs.")]]
        room = min(max(width(span(path).text) for path, _ in shown), max(12, columns // 3))
        size = max(8, min(CELL, (columns - room - 2) // len(self._runs) - 2))
        titles = [Span(f" {padded('FIELD', room, self._mark)}", "bold underline")]
        titles += [
            Span(f"  {padded(span(run.id).text, size, self._mark, is_right=True)}", "bold underline")
            for run in self._runs
        ]
        lines: list[Line] = [titles]
        for path, values in shown:
            line = [Span(f" {padded(span(path).text, room, self._mark)}", "dim")]
            line += [Span(f"  {padded(_text(value, size), size, self._mark, is_right=True)}") for value in values]
            lines.append(line)
        return lines


def _text(value: object, room: int) -> str:
    if value is None:
        return ""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return number(value, min(room, 9))
    return span(tags_text(value) if isinstance(value, list) else value_text(value, is_local=True)).text
