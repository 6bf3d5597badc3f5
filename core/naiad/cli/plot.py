"""`naiad plot`: curves in the terminal."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from naiad.cli.curve import MARKS, Curve, Line, draw, plain_lines
from naiad.cli.document import json_option, print_document
from naiad.cli.run import OpenRun, open_run
from naiad.cli.terminal import console, is_terminal, print_lines, size
from naiad.cli.text import clean, is_utf8
from naiad.cli.values import number_text, step_text
from naiad.kinds import POINTS

COLOURS = ("cyan", "magenta", "yellow", "green", "red", "blue")
TALLEST = 30  # lines that a chart takes by itself, however high the window
BUCKETS = 1000  # items of a curve in JSON


@click.command()
@click.argument("run")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("--width", type=click.IntRange(min=20), help="Width in columns; by default that of the terminal.")
@click.option("--height", type=click.IntRange(min=6), help="Height in lines; by default as many as fit the terminal.")
@json_option
@click.pass_obj
def plot(
    store: Path | None, run: str, paths: tuple[str, ...], width: int | None, height: int | None, is_json: bool
) -> None:
    """Draw the series of numbers at one or several paths over their steps.

    Where there are more points than columns the curve is their mean, and the bars around it reach from their
    minimum to their maximum. NaN and infinite values are gaps.
    """
    found = open_run(store, run)
    series = dict.fromkeys(found.field(path, (POINTS,), "plotted")[0] for path in paths)
    if is_json:
        print_document({path: _items(found, path) for path in series})
        return
    columns, lines = size()
    across = width or columns
    curves = [_curve(found, path, across) for path in series]
    _print(curves, across, height or min(lines - 2, TALLEST))


def _curve(run: OpenRun, path: str, buckets: int) -> Curve:
    chart = run.reader.chart(path, buckets=buckets)
    steps, low, high, mean = (column.tolist() for column in chart[:4])
    return Curve(_legend(run, path), steps, low, mean, high)


def _legend(run: OpenRun, path: str) -> str:
    last, count = run.reader.last(path), run.reader.count(path)
    if last is None:
        return f"{clean(path)}  no points"
    points = "1 point" if count == 1 else f"{count:,} points"
    return f"{clean(path)}  {points}, last {number_text(float(last.value))} at step {step_text(last.step)}"


def _items(run: OpenRun, path: str) -> dict[str, Sequence[float]]:
    chart = run.reader.chart(path, buckets=BUCKETS)
    return {name: column.tolist() for name, column in chart._asdict().items()}


def _print(curves: Sequence[Curve], width: int, height: int) -> None:
    """Print in colour where the terminal supports it, else with a symbol for each curve."""
    has_colour = is_terminal() and console().color_system is not None
    has_marks = not is_utf8(sys.stdout.encoding) or (len(curves) > 1 and not has_colour)
    lines = draw(curves, width, height, marks=MARKS if has_marks else "")
    if has_colour:
        for line in lines:
            console().print(_coloured(line), no_wrap=True, overflow="ignore", crop=False)
    else:
        print_lines(plain_lines(lines))


def _coloured(line: Line) -> object:
    from rich.text import Text

    return Text.assemble(*((piece.text, _colour(piece.curve)) for piece in line))


def _colour(curve: int | None) -> str:
    return "" if curve is None else COLOURS[curve % len(COLOURS)]
