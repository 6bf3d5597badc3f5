"""`naiad query`: the runs that a query means, as a table."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Sequence

import click

from naiad.cli import completion as complete
from naiad.cli.document import json_option, print_document
from naiad.cli.ls import STATE_STYLES
from naiad.cli.place import existing_store
from naiad.cli.rows import Cell, Column, print_rows
from naiad.cli.terminal import is_terminal, print_lines, print_note
from naiad.cli.text import clean
from naiad.cli.values import opened, tags_text, value_text
from naiad.errors import InvalidArgument
from naiad.query.parser import parse
from naiad.query.tree import leaves
from naiad.storage.opening import Named
from naiad.table import Table, fetch_table

ALWAYS = ("sys/id", "sys/state", "sys/name")
NEWEST_FIRST = "sys/creation_time"


@click.command()
@click.argument("nql", required=False, default="", metavar="NQL")
@click.option("--project", help="Only runs of this project.", shell_complete=complete.projects)
@click.option(
    "--columns",
    help="Paths, separated by commas; also with :min, :max, :average, :variance; '*' is a wildcard.",
    shell_complete=complete.columns,
)
@click.option(
    "--sort", "sort_by", help="The column to sort by; the largest value first.", shell_complete=complete.columns
)
@click.option("--ascending", is_flag=True, help="Sort the smallest value first.")
@click.option("-n", "--limit", type=click.IntRange(min=1), help="At most this many.")
@click.option("--csv", "is_csv", is_flag=True, help="Print CSV with a header.")
@json_option
@click.pass_obj
def query(
    store: Named,
    nql: str,
    project: str | None,
    columns: str | None,
    sort_by: str | None,
    ascending: bool,
    limit: int | None,
    is_csv: bool,
    is_json: bool,
) -> None:
    """Find runs by a query such as 'lr > 0.1 AND sys/tags CONTAINS "good"'.

    Without --columns, the columns are id, state, name and the fields that the query and --sort name. In a column, "*"
    matches any characters: --columns 'sys/name,metrics/*'. Fields that no run has, and runs whose field has another
    type than the query expects, are counted on stderr.

    Example: naiad query 'lr > 0.01 AND min(val/loss) < 0.5' --sort val/loss:min --ascending -n 5
    """
    if is_csv and is_json:
        raise InvalidArgument("Give --csv or --json, not both.")
    place = existing_store(store)
    wanted = None if columns == "*" else columns.split(",") if columns else [*ALWAYS, *_named(nql)]
    # Shown too, since a table that is sorted by a hidden column looks unsorted.
    if wanted is not None and sort_by and not columns:
        wanted.append(sort_by)
    found = fetch_table(
        place,
        project,
        query=nql,
        columns=wanted,
        limit=limit,
        sort_by=sort_by or NEWEST_FIRST,
        ascending=ascending,
        is_warning=False,
    )
    for note in [*found.notes, *([found.damage] if found.damage else [])]:
        print_note(note)
    # The query and the order have notes of their own, with fields that look alike.
    asked = {*_named(nql), sort_by}
    own = dict.fromkeys(columns.split(",") if columns else ())
    for column in found.absent(column for column in own if column not in asked):
        print_note(f'No run has the field "{column}".')
    if wanted is None:
        names = list(dict.fromkeys([ALWAYS[0], *found.column_names]))  # the id first: a terminal never leaves it out
    else:
        # In the order of --columns; each name once, also where a pattern means it again.
        names = list(dict.fromkeys(name for column in [ALWAYS[0], *wanted] for name in found.expanded(column)))
    if is_json:
        print_document([{name: _value(found, row, name) for name in names} for row in range(len(found))])
    elif is_csv:
        print_lines([_as_csv(found, names)])
    else:
        is_local = is_terminal()
        rows = ([_cell(found, row, name, is_local) for name in names] for row in range(len(found)))
        last = (ALWAYS[2], ALWAYS[1]) if not columns else ()  # where there is no room: the state first, then the name
        header = _header(names, set(names) if wanted is None else set(wanted), last)
        print_rows(header, rows, nothing="" if found.notes else "No run matches.")


def _header(names: Sequence[str], named: Collection[str], last: Sequence[str]) -> list[Column]:
    """The columns of a terminal, ranked by which of them go first where there is no room."""
    # Those that a wildcard found go before a column that was named.
    ranks = [
        len(names) + last.index(name) if name in last else place + len(names) * (name not in named)
        for place, name in enumerate(names)
    ]
    return [Column(name.removeprefix("sys/"), rank) for name, rank in zip(names, ranks, strict=True)]


def _named(nql: str) -> list[str]:
    """The columns that a query names."""
    tree = parse(nql)
    fields = [leaf.field for leaf, _depth in leaves(tree)] if tree else []
    names = (field.path if field.aspect == "last" else f"{field.path}:{field.aspect}" for field in fields)
    return list(dict.fromkeys(names))


def _value(found: Table, row: int, name: str) -> object:
    cell = found.cell(row, name)
    return None if cell is None else opened(*cell)


def _text(value: object, *, is_local: bool = False) -> str:
    if value is None:
        return ""
    return tags_text(value) if isinstance(value, list) else value_text(value, is_local=is_local)


def _cell(found: Table, row: int, name: str, is_local: bool) -> Cell:
    value = _value(found, row, name)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    style = "bold" if name == ALWAYS[0] else STATE_STYLES.get(str(value), "") if name == ALWAYS[1] else ""
    return Cell(_text(value, is_local=is_local), style, is_number)


def _as_csv(found: Table, names: list[str]) -> str:
    lines = [names, *([_text(_value(found, row, name)) for name in names] for row in range(len(found)))]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(
        # A file gets texts as they are, since CSV can hold any; a terminal must not be steered by them.
        [[clean(cell) for cell in line] for line in lines] if is_terminal() else lines
    )
    return text.getvalue().removesuffix("\n")
