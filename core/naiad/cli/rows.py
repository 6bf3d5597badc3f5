"""Rows: an aligned table on a terminal; in a pipe one line each, with tabs between the cells for `cut`.

A table never shrinks its first column, the key. Where a terminal is too narrow, texts are cut; columns for which there
is no room then are left out, and a line below the table names them. Where there is room for the key alone,
or where no column may be left out, the cells of each row are listed below it.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from naiad.cli.terminal import (
    has_any_character,
    has_colour,
    is_terminal,
    print_lines,
    print_note,
    print_pages,
    size,
    styled,
)
from naiad.cli.text import clean, cut, width

GAP = 2
"""Spaces between columns."""
NARROWEST = 12
"""Columns of the terminal that a cut text has at least."""


class Cell(NamedTuple):
    """A text in a table, and its style; a number is never cut."""

    text: str
    style: str = ""
    is_number: bool = False


class Column(NamedTuple):
    """The title of a column, and its rank: the highest goes first."""

    title: str
    rank: int = 0
    is_whole: bool = False
    """Whether its texts are never cut, such as times."""


def print_rows(
    header: Sequence[str | Column], rows: Iterable[Sequence[Cell]], *, nothing: str = "", is_whole: bool = False
) -> None:
    """Print rows. Columns without a rank are left out from the right.

    Args:
        header: the columns; a pipe gets none.
        rows: a cell for each column.
        nothing: the sentence for stderr if there are no rows, so that an empty answer does not look like a failure.
        is_whole: whether no column may be left out.
    """
    rows = list(rows)
    if is_terminal():
        titles = [Column(each, number) if isinstance(each, str) else each for number, each in enumerate(header)]
        style = {"colour": has_colour(), "ascii": not has_any_character()}
        print_pages(table_lines(titles, rows, size()[0], is_whole=is_whole, **style))
    else:
        print_texts([cell.text for cell in row] for row in rows)
    if nothing and not rows:
        print_note(nothing)


def print_texts(rows: Iterable[Iterable[str]]) -> None:
    """Print rows for a program: a line each, with tabs between the texts."""
    print_lines("\t".join(map(clean, row)) for row in rows)


def table_lines(
    columns: Sequence[Column],
    rows: Sequence[Sequence[Cell]],
    room: int,
    *,
    is_whole: bool = False,
    colour: bool = False,
    ascii: bool = False,
) -> list[str]:
    """Return the lines of a table for a terminal."""
    cells = [[cell._replace(text=clean(cell.text)) for cell in row] for row in rows]
    natural = [
        max([width(column.title), *(width(row[number].text) for row in cells)]) for number, column in enumerate(columns)
    ]
    least = [
        found if number == 0 or columns[number].is_whole else _least(number, cells, found)
        for number, found in enumerate(natural)
    ]
    shown = _chosen(columns, least, room)
    mark = "..." if ascii else "\N{HORIZONTAL ELLIPSIS}"
    if cells and len(shown) < len(columns) and (is_whole or len(shown) == 1):
        return [line for row in cells for line in _stacked(columns, row, room, colour, mark)]
    widths = _fitted([natural[number] for number in shown], [least[number] for number in shown], room)
    # A column of numbers is aligned at their ends; an empty cell in it is no reason against that.
    is_right = [all(row[number].is_number or not row[number].text for row in cells) and bool(cells) for number in shown]
    titles = [Cell(columns[number].title, "bold") for number in shown]
    lines = [
        _line(line, widths, is_right, colour, mark)
        for line in [titles, *([row[number] for number in shown] for row in cells)]
    ]
    # Without rows nothing is left out.
    left_out = [column.title for number, column in enumerate(columns) if cells and number not in shown]
    if left_out:
        notes = textwrap.wrap(f"No room for: {clean(', '.join(left_out))}.", max(room, NARROWEST))
        lines += [styled(note, "dim") if colour else note for note in notes]
    return lines


def _stacked(columns: Sequence[Column], row: Sequence[Cell], room: int, colour: bool, mark: str) -> Iterator[str]:
    """Yield a key, and below it the titles and texts of the cells that are not empty."""
    yield styled(row[0].text, row[0].style) if colour else row[0].text
    indent = max(width(column.title) for column in columns[1:]) + GAP
    for column, cell in zip(columns[1:], row[1:], strict=True):
        if cell.text:
            text = cell.text if cell.is_number else cut(cell.text, max(room - GAP - indent, NARROWEST), mark)
            title = column.title + " " * (indent - width(column.title))
            yield " " * GAP + (styled(title, "dim") + styled(text, cell.style) if colour else title + text)


def _least(number: int, cells: Sequence[Sequence[Cell]], natural: int) -> int:
    """Return how narrow a column may become: numbers are not cut."""
    numbers = (width(row[number].text) for row in cells if row[number].is_number)
    return max([min(natural, NARROWEST), *numbers])


def _chosen(columns: Sequence[Column], least: Sequence[int], room: int) -> list[int]:
    """Return the columns for which there is room; always the first."""
    shown = list(range(len(columns)))
    # By the least widths: a column goes only when all others are as narrow as they can be.
    while len(shown) > 1 and sum(least[number] for number in shown) + GAP * (len(shown) - 1) > room:
        # From [1:], since the key in the first column says what a row is.
        shown.remove(max(shown[1:], key=lambda number: (columns[number].rank, number)))
    return shown


def _fitted(natural: Sequence[int], least: Sequence[int], room: int) -> list[int]:
    """Return the widths of columns, the widest shrunk until all fit."""
    widths = list(natural)
    free = room - GAP * (len(widths) - 1)
    while sum(widths) > free:
        wide = [number for number in range(1, len(widths)) if widths[number] > least[number]]
        if not wide:
            break  # the key alone is too wide, and is never cut
        widest = max(wide, key=lambda number: widths[number])
        # Down to the next widest at most, so that long columns become equal before short ones lose anything.
        others = [widths[number] for number in wide if widths[number] < widths[widest]]
        down_to = max([least[widest], *others])
        widths[widest] -= min(sum(widths) - free, max(1, widths[widest] - down_to))
    return widths


def _line(cells: Sequence[Cell], widths: Sequence[int], is_right: Sequence[bool], colour: bool, mark: str) -> str:
    parts = []
    for cell, room, right in zip(cells, widths, is_right, strict=True):
        text = cut(cell.text, room, mark)
        space = " " * (room - width(text))
        shown = styled(text, cell.style) if colour else text
        parts.append(space + shown if right else shown + space)
    return (" " * GAP).join(parts).rstrip()
