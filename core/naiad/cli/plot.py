"""`naiad plot`: curves and histograms in the terminal."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from naiad.cli.curve import MARKS, Curve, Line, Piece, draw, draw_bars, plain_lines
from naiad.cli.document import json_option, print_document
from naiad.cli.run import OpenRun, open_run, stored_field
from naiad.cli.terminal import console, is_terminal, print_lines, size
from naiad.cli.text import clean, is_utf8
from naiad.cli.values import number_text, step_text
from naiad.fields.registry import field_class
from naiad.kinds import KINDS

COLOURS = ("cyan", "magenta", "yellow", "green", "red", "blue")
TALLEST = 30  # lines that a chart takes by itself, however high the window
BUCKETS = 1000  # items of a curve in JSON
DRAWN = tuple(kind.name for kind in KINDS.values() if kind.drawn_as)


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
    """Draw the series at one or several paths: numbers over their steps, and the last histogram of others.

    Where there are more points than columns the curve is their mean, and the bars around it reach from their
    minimum to their maximum. NaN and infinite values are gaps. A histogram is a chart of its own.
    """
    found = open_run(store, run)
    series = dict(found.field(path, DRAWN, "plotted") for path in paths)
    curves = [path for path, kind in series.items() if KINDS[kind].drawn_as == "curve"]
    bars = [path for path in series if path not in curves]
    if is_json:
        print_document({path: _items(found, path) if path in curves else _bins(found, path) for path in series})
        return
    columns, lines = size()
    across, down = width or columns, height or min(lines - 2, TALLEST)
    if curves:
        _print(draw([_curve(found, path, across) for path in curves], across, down, marks=_marks(len(curves))))
    for path in bars:
        _print(_bars(found, path, across, down))


def _bars(run: OpenRun, path: str, width: int, height: int) -> list[Line]:
    """Draw the last point of a series of histograms."""
    histogram = _last_value(run, path)
    if histogram is None:
        return [[Piece(_legend(run, path))]]
    return draw_bars(_legend(run, path), histogram.bin_edges, histogram.heights, width, height, marks=_marks(1))


def _bins(run: OpenRun, path: str) -> dict[str, object]:
    histogram, last = _last_value(run, path), run.reader.last(path)
    if histogram is None or last is None:
        return {}
    return {"step": last.step, **{name: each for name, each in asdict(histogram).items() if each is not None}}


def _last_value(run: OpenRun, path: str) -> Any:
    """Return the value of the last point as its field has it; None of an empty series."""
    last = run.reader.last(path)
    return None if last is None else stored_field(run, path, run.reader.kinds()[path]).read(last.value)


def _curve(run: OpenRun, path: str, buckets: int) -> Curve:
    chart = run.reader.chart(path, buckets=buckets)
    steps, low, high, mean = (column.tolist() for column in chart[:4])
    return Curve(_legend(run, path), steps, low, mean, high)


def _legend(run: OpenRun, path: str) -> str:
    last, count = run.reader.last(path), run.reader.count(path)
    if last is None:
        return f"{clean(path)}  no points"
    points = "1 point" if count == 1 else f"{count:,} points"
    kind = field_class(run.reader.kinds()[path])
    text = kind.summary(last.value) if isinstance(last.value, str) else number_text(float(last.value))
    return f"{clean(path)}  {points}, last {text} at step {step_text(last.step)}"


def _items(run: OpenRun, path: str) -> dict[str, Sequence[float]]:
    chart = run.reader.chart(path, buckets=BUCKETS)
    return {name: column.tolist() for name, column in chart._asdict().items()}


def _has_colour() -> bool:
    return is_terminal() and console().color_system is not None


def _marks(curves: int) -> str:
    """Return a symbol for each curve where colours or Braille are not available, else nothing."""
    return MARKS if not is_utf8(sys.stdout.encoding) or (curves > 1 and not _has_colour()) else ""


def _print(lines: Sequence[Line]) -> None:
    if _has_colour():
        for line in lines:
            console().print(_coloured(line), no_wrap=True, overflow="ignore", crop=False)
    else:
        print_lines(plain_lines(lines))


def _coloured(line: Line) -> object:
    from rich.text import Text

    return Text.assemble(*((piece.text, _colour(piece.curve)) for piece in line))


def _colour(curve: int | None) -> str:
    return "" if curve is None else COLOURS[curve % len(COLOURS)]
