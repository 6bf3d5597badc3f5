"""Curves and histograms drawn with characters. Pure: numbers go in and lines come out; callers choose the colours."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple, TypeAlias

from naiad.cli.values import step_text
from naiad.histogram import skyline

MARKS = "*+ox#%@&"
"""What tells curves apart where there is no colour, or no Braille."""
BRAILLE = 0x2800
DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))  # of the left and the right column, from the top
SMALLEST = (10, 3)  # columns and rows of the drawing itself


class Curve(NamedTuple):
    """A curve to draw: mean, minimum and maximum at each step. A mean of NaN is a gap."""

    name: str
    steps: Sequence[float]
    low: Sequence[float]
    mean: Sequence[float]
    high: Sequence[float]

    def points(self) -> Iterator[tuple[float, float, float, float] | None]:
        """Yield step, low, mean and high of each point, and None for each gap."""
        for point in zip(self.steps, self.low, self.mean, self.high, strict=True):
            yield point if all(math.isfinite(number) for number in point) else None


class Piece(NamedTuple):
    """Some characters of a line, and the number of the curve they belong to."""

    text: str
    curve: int | None = None


Line: TypeAlias = list[Piece]


class Range(NamedTuple):
    """From the smallest number on an axis to the largest."""

    low: float
    high: float

    def place(self, number: float, dots: int) -> int:
        """Return which of so many dots is nearest; the middle one if all numbers are equal."""
        span = self.high / 2 - self.low / 2  # halves, because the whole may be beyond float64
        share = (number / 2 - self.low / 2) / span if span else 0.5
        return min(dots - 1, max(0, int(share * (dots - 1) + 0.5)))


def draw(curves: Sequence[Curve], width: int, height: int, *, marks: str = "") -> list[Line]:
    """Return a chart as lines: axes, curves and a legend.

    Args:
        curves: one or several, drawn on the same axes; later ones over earlier ones.
        width: columns to fill.
        height: lines to fill, legend included.
        marks: draw in ASCII, the first curve with the first of these characters and so on; Braille if empty.
    """
    across, up = _ranges(curves)
    rows = max(SMALLEST[1], height - 2 - len(curves))
    labels = _labels(up, rows)
    columns = max(SMALLEST[0], width - len(labels[0]) - 2)

    canvas = Canvas(columns, rows, marks)
    for number, curve in enumerate(curves):
        _trace(canvas, number, curve, across, up)
    return _framed(
        canvas,
        labels,
        _ends(_short_step(across.low), _short_step(across.high), columns),
        [curve.name for curve in curves],
    )


def draw_bars(
    name: str, edges: Sequence[float], heights: Sequence[float], width: int, height: int, *, marks: str = ""
) -> list[Line]:
    """Return a histogram as lines: axes, a bar for each bin from 0 up, and a legend. The arguments are those of `draw`.

    Where there are more bins than dots across, the highest of them counts.
    """
    up = Range(0.0, float(max(heights)))
    rows = max(SMALLEST[1], height - 3)
    labels = _labels(up, rows)
    columns = max(SMALLEST[0], width - len(labels[0]) - 2)
    canvas = Canvas(columns, rows, marks)
    for x, each in enumerate(skyline(edges, heights, canvas.size[0])):
        # An empty bin has no bar; a dot at its foot would look like a small count.
        if each:
            canvas.line((x, 0), (x, up.place(each, canvas.size[1])), 0)
    return _framed(canvas, labels, _ends(f"{edges[0]:.6g}", f"{edges[-1]:.6g}", columns), [name])


def draw_panel(curves: Sequence[Curve], width: int, height: int, *, marks: str = "", margin: int = 0) -> list[Line]:
    """Return a small chart without a legend; the steps stand at both ends of its lower axis.

    The arguments are those of `draw`; `margin` is how many columns the labels take at least, so that charts above each
    other have their axes in one column.
    """
    across, up = _ranges(curves)
    rows = max(SMALLEST[1], height - 1)
    first, last = _short_step(across.low), _short_step(across.high)
    labels = [label.rjust(margin) for label in _labels(up, rows)]
    labels = [label.rjust(len(first)) for label in labels]
    columns = max(SMALLEST[0], width - len(labels[0]) - 2)
    canvas = Canvas(columns, rows, marks)
    for number, curve in enumerate(curves):
        _trace(canvas, number, curve, across, up)
    tick, side, corner, floor = "||+-" if marks else "┤│└─"
    lines = [
        [Piece(f"{label} {tick if label.strip() else side}"), *canvas.row(row)] for row, label in enumerate(labels)
    ]
    end = "" if first == last else f" {last}"
    axis = f"{first:>{len(labels[0])}} {corner}{floor * max(0, columns - len(end))}{end}"
    return [*lines, [Piece(axis)]]


def _framed(canvas: Canvas, labels: Sequence[str], ends: str, names: Sequence[str]) -> list[Line]:
    """Return a drawing with its axes around it and a legend below."""
    tick, side, corner, floor = "||+-" if canvas.marks else "┤│└─"
    lines = [
        [Piece(f"{label} {tick if label.strip() else side}"), *canvas.row(row)] for row, label in enumerate(labels)
    ]
    margin = " " * (len(labels[0]) + 1)
    lines.append([Piece(margin + corner + floor * canvas.columns)])
    lines.append([Piece(f"{margin} {ends}")])
    for number, name in enumerate(names):
        lines.append([Piece(canvas.sign(number), number), Piece(f" {name}")])
    return lines


def plain_lines(lines: Sequence[Line]) -> list[str]:
    """Return the lines without colours, and without spaces at their ends."""
    return ["".join(piece.text for piece in line).rstrip() for line in lines]


class Canvas:
    """Cells of characters, each with so many dots: 2 by 4 in Braille, one mark in ASCII."""

    def __init__(self, columns: int, rows: int, marks: str = "") -> None:
        self.columns, self.rows, self.marks = columns, rows, marks
        self._across, self._down = (1, 1) if marks else (2, 4)
        self.size = columns * self._across, rows * self._down
        self._dots = [[0] * columns for _ in range(rows)]
        self._owners: list[list[int | None]] = [[None] * columns for _ in range(rows)]

    def dot(self, x: int, y: int, curve: int) -> None:
        """Set a dot; y counts from the bottom."""
        column, right = divmod(x, self._across)
        row, below = divmod(self.size[1] - 1 - y, self._down)
        self._dots[row][column] |= DOTS[right][below]
        self._owners[row][column] = curve

    def line(self, start: tuple[int, int], end: tuple[int, int], curve: int) -> None:
        """Set the dots from one place to another."""
        (left, low), (right, high) = start, end
        dots = max(abs(right - left), abs(high - low), 1)
        for i in range(dots + 1):
            self.dot(left + round((right - left) * i / dots), low + round((high - low) * i / dots), curve)

    def row(self, row: int) -> Line:
        """Return a row of cells, neighbours of one curve as one piece."""
        cells = zip(self._owners[row], self._dots[row], strict=True)
        return [
            Piece("".join(self._character(owner, dots) for _, dots in cell), owner)
            for owner, cell in groupby(cells, key=lambda cell: cell[0])
        ]

    def sign(self, curve: int) -> str:
        """Return the symbol of a curve in the legend."""
        return self.marks[curve % len(self.marks)] if self.marks else "━━"

    def _character(self, owner: int | None, dots: int) -> str:
        if owner is None:
            return " "
        return self.sign(owner) if self.marks else chr(BRAILLE + dots)


def _ranges(curves: Sequence[Curve]) -> tuple[Range, Range]:
    """Return the ranges of both axes: all steps, and all values between the extremes."""
    found = [point for curve in curves for point in curve.points() if point] or [(0, 0, 0, 0)]
    steps, low, _, high = zip(*found, strict=True)
    return Range(min(steps), max(steps)), Range(min(low), max(high))


def _trace(canvas: Canvas, number: int, curve: Curve, across: Range, up: Range) -> None:
    """Draw a curve: a line through the means, and at each of them a bar between the extremes."""
    width, height = canvas.size
    before: tuple[int, int] | None = None
    for point in curve.points():
        if point is None:
            before = None
            continue
        # The line to the mean first, then the bar: a single point has no line and still shows.
        step, low, mean, high = point
        x, here = across.place(step, width), (across.place(step, width), up.place(mean, height))
        canvas.line(before or here, here, number)
        canvas.line((x, up.place(low, height)), (x, up.place(high, height)), number)
        before = here


def _labels(up: Range, rows: int) -> list[str]:
    """Return the labels left of each row: distinct numbers at the top, middle and bottom."""
    numbers = [up.high, up.low / 2 + up.high / 2, up.low]
    # 17 digits tell any two float64 apart, so the loop ends with distinct texts.
    for digits in range(3, 18):
        texts = [f"{number:.{digits}g}" for number in numbers]
        if len(set(texts)) == len(set(numbers)):
            break
    # Three labels, since more would stand closer than their numbers differ.
    places = dict(zip((0, (rows - 1) // 2, rows - 1), texts, strict=True))
    if up.low == up.high:
        places = {(rows - 1) // 2: texts[0]}
    widest = max(map(len, texts))
    return [f"{places.get(row, ''):>{widest}}" for row in range(rows)]


def _ends(first: str, last: str, columns: int) -> str:
    """Return two texts below the ends of the axis; one text in its middle if they are equal."""
    if first == last:
        return first.center(columns).rstrip()
    return f"{first} {last:>{columns - len(first) - 1}}"


def _short_step(step: float) -> str:
    return step_text(step) if step == step // 1 else f"{step:.6g}"
