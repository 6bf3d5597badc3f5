"""`naiad tail`: the end of a series, also while it grows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import click

from naiad import clock
from naiad.cli import completion as complete
from naiad.cli.document import json_option, print_document
from naiad.cli.run import OpenRun, open_run
from naiad.cli.terminal import print_lines
from naiad.cli.text import clean
from naiad.cli.values import number_text, step_text, time_text
from naiad.kinds import LINES, POINTS

if TYPE_CHECKING:
    from naiad.storage.results import Points, Texts

POLL_SECONDS = 0.25
INTERRUPTED = 130  # what a shell says of a program that Ctrl-C ended


class Row(NamedTuple):
    """A point; the time is in milliseconds since 1970 UTC."""

    step: float
    value: float | str
    time: int


Columns: TypeAlias = "Points | Texts"


@click.command()
@click.argument("run", shell_complete=complete.runs)
@click.argument("path", shell_complete=complete.paths)
@click.option("-n", "--lines", type=click.IntRange(min=0), default=10, show_default=True, help="Number of points.")
@click.option("-f", "--follow", is_flag=True, help="Print new points until the run stops.")
@json_option
@click.pass_context
def tail(ctx: click.Context, run: str, path: str, lines: int, follow: bool, is_json: bool) -> None:
    """Print the last points of a series: step, value and time. For a series of texts, print only the text.

    With --follow, --json prints one object per line instead of a list.

    Example: naiad tail DIGITS-3 train/loss -f
    """
    found = open_run(ctx.obj, run)
    parsed, kind = found.field(path, (POINTS, LINES), "shown point by point")
    if follow:
        _follow(ctx, found, parsed, kind, lines, is_json)
        return
    rows = _last(_columns(found, parsed, kind), lines)
    if is_json:
        print_document([_item(row) for row in rows])
    else:
        print_lines(line for row in rows for line in _lines(row))


def arrived(before: Columns, after: Columns) -> list[Row]:
    """Return the points that were not there before, wherever their steps have put them.

    If points have gone, the series was replaced and all of them are new.
    """
    known = len(before[0])
    # The usual case, at the speed of comparing bytes: all new points are at the end.
    if all(_is_same(one, two[:known]) for one, two in zip(before, after, strict=True)):
        return _rows(after, known)
    # Points of another process may fall between the known ones, since a series is ordered by steps.
    awaited = iter(_rows(before))
    next_known, new = next(awaited, None), []
    for row in _rows(after):
        if next_known and _identity(row) == _identity(next_known):
            next_known = next(awaited, None)
        else:
            new.append(row)
    return new if next_known is None else _rows(after)


def _follow(ctx: click.Context, run: OpenRun, path: str, kind: str, lines: int, is_json: bool) -> None:
    try:
        for rows in _growth(run, path, kind, lines):
            for row in rows if is_json else ():
                print_document(_item(row), indent=None)
            print_lines(line for row in rows if not is_json for line in _lines(row))
    except KeyboardInterrupt:
        ctx.exit(INTERRUPTED)


def _growth(run: OpenRun, path: str, kind: str, lines: int) -> Iterator[Sequence[Row]]:
    """Yield the last points, then new ones until the run has no writer."""
    known = _columns(run, path, kind)
    yield _last(known, lines)
    is_running = True
    while is_running:
        is_running = run.reader.state() == "running"  # asked first, so that the last points are read after it
        if run.reader.kinds().get(path) == kind and run.reader.count(path) != len(known[0]):
            before, known = known, _columns(run, path, kind)
            yield arrived(before, known)
        if is_running:
            clock.sleep(POLL_SECONDS)


def _columns(run: OpenRun, path: str, kind: str) -> Columns:
    return run.reader.points(path) if kind == POINTS else run.reader.texts(path)


def _last(columns: Columns, lines: int) -> list[Row]:
    return _rows(columns, max(0, len(columns[0]) - lines))


def _rows(columns: Columns, start: int = 0) -> list[Row]:
    steps, values, times = (_as_list(column[start:]) for column in columns)
    return list(map(Row, steps, values, times))


def _as_list(column: Any) -> list[Any]:
    """Return a column as a list; those of numbers are arrays."""
    return column if isinstance(column, list) else list(column.tolist())


def _is_same(one: Any, two: Any) -> bool:
    """Whether two columns hold the same, bit for bit."""
    return bool(one == two if isinstance(one, list) else one.tobytes() == two.tobytes())


def _identity(row: Row) -> tuple[float, str, int]:
    """Return the identity of a point. Its value is text, because NaN differs from itself."""
    return row.step, repr(row.value), row.time


def _item(row: Row) -> dict[str, object]:
    return {"step": row.step, "value": row.value, "time": time_text(row.time)}


def _lines(row: Row) -> list[str]:
    if isinstance(row.value, str):
        return [clean(line) for line in row.value.removesuffix("\n").split("\n")]
    return ["\t".join([step_text(row.step), number_text(row.value), time_text(row.time)])]
