"""`naiad plot`: curves and histograms in the terminal."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import click
from msgspec.structs import asdict

from naiad.cli import completion as complete
from naiad.cli.curve import MARKS, Curve, Line, Piece, draw, draw_bars, plain_lines
from naiad.cli.document import json_option, print_document
from naiad.cli.place import existing_store, find_run
from naiad.cli.run import OpenRun, open_run, stored_field
from naiad.cli.terminal import has_any_character, has_colour, is_terminal, print_lines, print_note, size, styled
from naiad.cli.text import clean
from naiad.cli.values import number_text, short_number, step_text
from naiad.errors import MissingField, NaiadError
from naiad.fields.registry import field_class
from naiad.kinds import KINDS
from naiad.storage.base import Store
from naiad.storage.opening import Named

COLOURS = ("cyan", "magenta", "yellow", "green", "red", "blue")
SMALLEST = 8  # lines of a chart beside its legend
TALLEST = 30  # lines that a chart takes by itself, however high the window
BUCKETS = 1000  # items of a curve in JSON
DRAWN = tuple(kind.name for kind in KINDS.values() if kind.drawn_as)


@click.command()
@click.argument("words", nargs=-1, required=True, metavar="RUN... PATH...", shell_complete=complete.runs_and_paths)
@click.option("--width", type=click.IntRange(min=20), help="Width in columns; default: that of the terminal.")
@click.option("--height", type=click.IntRange(min=6), help="Height in lines; default: as many as fit the terminal.")
@json_option
@click.pass_obj
def plot(store: Named, words: tuple[str, ...], width: int | None, height: int | None, is_json: bool) -> None:
    """Draw series of one or several runs in one chart.

    Give the runs first, then the paths. A run that lacks a path is named on stderr. If there are more points than
    columns, the curve is the mean of the points in a column, and bars show their minimum and maximum. NaN and infinite
    values are gaps. A histogram is drawn as a chart of its own.

    Example: naiad plot DIGITS-1 DIGITS-2 DIGITS-3 train/loss
    """
    if len(words) < 2:
        raise click.UsageError("Name a run, and the path of a series.")
    runs, paths = _runs_and_paths(store, words)
    series = [(run, path) for path in paths for run in runs]
    # One run that lacks the path is an error; of several the others are drawn.
    if len(runs) == 1:
        found = [(run, *run.field(path, DRAWN, "plotted")) for run, path in series]
    else:
        found = list(_fields(series))
    curves = [(run, path) for run, path, kind in found if KINDS[kind].drawn_as == "curve"]
    bars = [(run, path) for run, path, kind in found if KINDS[kind].drawn_as != "curve"]
    if is_json:
        items: dict[str, dict[str, object]] = {run.id: {} for run in runs}
        for run, path in curves:
            items[run.id][path] = _items(run, path)
        for run, path in bars:
            items[run.id][path] = _bins(run, path)
        print_document(items[runs[0].id] if len(runs) == 1 else items)
        return
    columns, lines = size()
    across, down = width or columns, height or min(lines - 2, TALLEST)
    if curves:
        drawn = [_curve(run, path, across, len(runs) > 1) for run, path in curves]
        _print(draw(drawn, across, max(down, len(drawn) + SMALLEST), marks=_marks(len(curves))))
    for run, path in bars:
        _print(_bars(run, path, across, down, len(runs) > 1))


def _runs_and_paths(store: Named, words: Sequence[str]) -> tuple[list[OpenRun], list[str]]:
    """Split the words of the line; the first is a run in any case."""
    place = existing_store(store)
    count = 1
    while count < len(words) and _is_run(place, words[count]):
        count += 1
    paths = list(dict.fromkeys(words[count:]))
    # Every word names a run: a series may be called like one, but must come after the first path.
    if not paths:
        raise click.UsageError("Name the path of a series after the runs.")
    return [open_run(store, word) for word in dict.fromkeys(words[:count])], paths


def _is_run(place: Store, word: str) -> bool:
    with contextlib.suppress(NaiadError):
        find_run(place, word)
        return True
    return False


def _fields(series: Sequence[tuple[OpenRun, str]]) -> Iterator[tuple[OpenRun, str, str]]:
    """Yield the series that are there, and name the others.

    Raises:
        MissingField: no run has any of them.
    """
    problems = []
    for run, path in series:
        try:
            yield (run, *run.field(path, DRAWN, "plotted"))
        except MissingField as error:
            problems.append(error)
    if len(problems) == len(series):
        raise problems[0]
    for problem in problems:
        print_note(str(problem))


def _bars(run: OpenRun, path: str, width: int, height: int, has_name: bool) -> list[Line]:
    """Draw the last point of a series of histograms."""
    histogram = _last_value(run, path)
    if histogram is None:
        return [[Piece(_legend(run, path, has_name))]]
    return draw_bars(
        _legend(run, path, has_name), histogram.bin_edges, histogram.heights, width, height, marks=_marks(1)
    )


def _bins(run: OpenRun, path: str) -> dict[str, object]:
    histogram, last = _last_value(run, path), run.reader.last(path)
    if histogram is None or last is None:
        return {}
    return {"step": last.step, **{name: each for name, each in asdict(histogram).items() if each is not None}}


def _last_value(run: OpenRun, path: str) -> Any:
    """Return the value of the last point as its field has it; None of an empty series."""
    last = run.reader.last(path)
    return None if last is None else stored_field(run, path, run.reader.kinds()[path]).read(last.value)


def _curve(run: OpenRun, path: str, buckets: int, has_name: bool) -> Curve:
    chart = run.reader.chart(path, buckets=buckets)
    steps, low, high, mean = (column.tolist() for column in chart[:4])
    return Curve(_legend(run, path, has_name), steps, low, mean, high)


def _legend(run: OpenRun, path: str, has_name: bool) -> str:
    last, count = run.reader.last(path), run.reader.count(path)
    name = clean(f"{run.id} {path}" if has_name else path)
    if last is None:
        return f"{name}  no points"
    points = "1 point" if count == 1 else f"{count:,} points"
    kind = field_class(run.reader.kinds()[path])
    text = kind.summary(last.value) if isinstance(last.value, str) else _number(float(last.value))
    return f"{name}  {points}, last {text} at step {step_text(last.step)}"


def _number(value: float) -> str:
    return short_number(value) if is_terminal() else number_text(value)


def _items(run: OpenRun, path: str) -> dict[str, Sequence[float]]:
    chart = run.reader.chart(path, buckets=BUCKETS)
    return {name: column.tolist() for name, column in chart._asdict().items()}


def _marks(curves: int) -> str:
    """Return a symbol for each curve where colours or Braille are not available, else nothing."""
    return MARKS if not has_any_character() or (curves > 1 and not has_colour()) else ""


def _print(lines: Sequence[Line]) -> None:
    if has_colour():
        print_lines("".join(styled(piece.text, _colour(piece.curve)) for piece in line) for line in lines)
    else:
        print_lines(plain_lines(lines))


def _colour(curve: int | None) -> str:
    return "" if curve is None else COLOURS[curve % len(COLOURS)]
