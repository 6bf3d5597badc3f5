"""Rows: an aligned table on a terminal; in a pipe one line each, with tabs between the cells for `cut`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from naiad.cli.terminal import console, is_terminal, print_lines
from naiad.cli.text import clean


class Cell(NamedTuple):
    """A text in a table, and the style it has on a terminal."""

    text: str
    style: str = ""


def print_rows(header: Sequence[str], rows: Iterable[Sequence[Cell]]) -> None:
    """Print rows. The first column is never cut, the others are where the terminal is too narrow for them."""
    if is_terminal():
        _print_table(header, list(rows))
        return
    print_lines("\t".join(clean(cell.text) for cell in row) for row in rows)


def _print_table(header: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    widest = max((len(row[0].text) for row in rows), default=0)
    for number, title in enumerate(header):
        table.add_column(title, no_wrap=True, overflow="ellipsis", min_width=0 if number else widest)
    for row in rows:
        table.add_row(*(Text(clean(cell.text), cell.style) for cell in row))
    console().print(table)
