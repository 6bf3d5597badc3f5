"""Panels: small charts beside and below each other, as many as a screen has room for, or one of them alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from naiad.cli.curve import MARKS, Curve, draw_panel
from naiad.cli.plot import COLOURS
from naiad.cli.top.spans import Line, Span, sized, span, spread, tail

NARROWEST, LOWEST, HIGHEST = 36, 6, 16
"""Columns and lines of a panel."""
MARGIN = 7
GUTTER = 2


@dataclass(frozen=True)
class Panel:
    """Curves of one path, and the text right of its title."""

    path: str
    curves: Sequence[Curve]
    note: str
    colours: Sequence[int] = (0,)
    """The number of each curve's colour and mark."""


class Panels:
    """Which of the paths are shown, and which one is chosen."""

    def __init__(self, *, is_ascii: bool, has_colour: bool) -> None:
        self.paths: list[str] = []
        self.is_single = False
        self.chosen = 0
        self._is_ascii = is_ascii
        self._has_colour = has_colour
        self._mark = "..." if is_ascii else "…"
        self._across = self._down = 1

    def press(self, key: str) -> bool:
        """Take a key that chooses; False for any other."""
        many = self._across * self._down
        steps = {"left": -1, "h": -1, "right": 1, "l": 1, "up": -self._across, "k": -self._across}
        steps |= {"down": self._across, "j": self._across, "page up": -many, "page down": many}
        steps |= {"home": -len(self.paths), "end": len(self.paths)}
        if key in ("enter", "f"):
            self.is_single = not self.is_single
        elif key in steps:
            self.chosen = max(0, min(len(self.paths) - 1, self.chosen + steps[key]))
        else:
            return False
        return True

    def lines(self, columns: int, rows: int, panel: Callable[[str, int], Panel]) -> list[Line]:
        """Return the charts; `panel` reads one of a path in so many stretches."""
        self.chosen = max(0, min(self.chosen, len(self.paths) - 1))
        if not self.paths:
            return [[], [Span("  No series of numbers.")]]
        if self.is_single:
            self._across = self._down = 1
            return self._drawn(panel(self.paths[self.chosen], 2 * columns), columns, rows, is_chosen=True)
        self._across = max(1, min(len(self.paths), 4, columns // NARROWEST))
        width = (columns - GUTTER * (self._across - 1)) // self._across
        wanted = -(-len(self.paths) // self._across)
        self._down = max(1, min(wanted, rows // LOWEST))
        height = max(min(LOWEST, rows), min(HIGHEST, rows // self._down))
        many = self._across * self._down
        # Pages of panels, not single rows, so that a chart stays in its place while the cursor moves.
        start = self.chosen // many * many
        found: list[Line] = []
        for first in range(start, min(start + many, len(self.paths)), self._across):
            beside = [
                self._drawn(panel(path, 2 * width), width, height, is_chosen=first + place == self.chosen)
                for place, path in enumerate(self.paths[first : min(first + self._across, start + many)])
            ]
            for parts in zip(*beside, strict=True):
                line: Line = []
                for place, part in enumerate(parts):
                    line += [*([Span(" " * GUTTER)] if place else []), *sized(part, width, self._mark)]
                found.append(line)
        return found

    def place(self) -> str:
        """Return which of the charts are shown, for the foot of a page."""
        many = self._across * self._down
        if len(self.paths) <= many:
            return ""
        start = self.chosen // many * many
        last = min(start + many, len(self.paths))
        return f"{start + 1}" + (f"-{last}" if last > start + 1 else "") + f" of {len(self.paths)}"

    def _drawn(self, panel: Panel, width: int, height: int, *, is_chosen: bool) -> list[Line]:
        note = [Span(panel.note, "bold")] if panel.note else []
        cursor = (">" if self._is_ascii else "▌") if is_chosen else " "
        name = tail(span(panel.path).text, width - 3 - len(panel.note), self._mark)
        title = spread([Span(cursor, "bold cyan"), Span(name, "bold" if is_chosen else "")], note, width, self._mark)
        if not panel.curves:
            return [title, [Span("  no points", "dim")], *([[]] * (height - 2))]
        marks = self._marks(panel)
        drawn = draw_panel(panel.curves, width, height - 1, marks=marks, margin=MARGIN)
        lines = [
            [
                Span(piece.text, "dim" if piece.curve is None else self._style(panel.colours[piece.curve]))
                for piece in line
            ]
            for line in drawn
        ]
        return [title, *lines][:height]

    def _marks(self, panel: Panel) -> str:
        """Return the mark of each curve where colours cannot tell them apart, or nothing but ASCII can be drawn."""
        if self._is_ascii or (len(panel.curves) > 1 and not self._has_colour):
            return "".join(MARKS[number % len(MARKS)] for number in panel.colours)
        return ""

    @staticmethod
    def _style(number: int) -> str:
        return COLOURS[number % len(COLOURS)]
