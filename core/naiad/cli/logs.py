"""`naiad logs`: the lines that a run has printed."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import click

from naiad import clock
from naiad.cli import completion as complete
from naiad.cli.document import json_option, print_document
from naiad.cli.run import OpenRun, open_run
from naiad.cli.tail import INTERRUPTED, POLL_SECONDS
from naiad.cli.terminal import has_colour, is_terminal, print_lines, print_note, print_pages, styled
from naiad.cli.text import clean
from naiad.cli.values import time_text
from naiad.errors import MissingField
from naiad.kinds import LINES

STREAMS = ("stdout", "stderr", "traceback")
"""The last parts of the paths at which runs keep lines: what they print, and the exception that ended them."""
STYLES = {"stderr": "yellow", "traceback": "red"}


class Line(NamedTuple):
    """A line; the time is in milliseconds since 1970 UTC."""

    time: int
    stream: str
    path: str
    step: float
    text: str


@click.command()
@click.argument("run", shell_complete=complete.runs)
@click.option("-n", "--lines", "count", type=click.IntRange(min=0), help="Only the last lines, this many.")
@click.option("-f", "--follow", is_flag=True, help="Print new lines until the run stops.")
@click.option(
    "--stream", "streams", type=click.Choice(STREAMS), multiple=True, help="Only this stream; can be repeated."
)
@json_option
@click.pass_context
def logs(
    ctx: click.Context, run: str, count: int | None, follow: bool, streams: tuple[str, ...], is_json: bool
) -> None:
    """Print the output of a run, and the traceback that ended it, ordered by time.

    The lines of all processes of the run are merged. In a pipe, lines are as they were printed. With --json, each line
    has its time, stream, path and step; with --follow, --json prints one object per line instead of a list.

    Example: naiad logs DIGITS-3 -n 20
    """
    found = open_run(ctx.obj, run)
    if follow:
        _follow(ctx, found, streams, count, is_json)
        return
    every = _lines(found, streams)
    lines = every[max(0, len(every) - count) :] if count is not None else every
    if is_json:
        print_document([_item(line) for line in lines])
    elif is_terminal():
        print_pages([text for line in lines for text in _texts(line)])
    else:
        print_lines(text for line in lines for text in _texts(line))
    if not every and not is_json:
        print_note(f"{found.id} has no captured output.")


def _paths(run: OpenRun, streams: Sequence[str]) -> list[str]:
    wanted = streams or STREAMS
    return sorted(
        path for path, kind in run.reader.kinds().items() if kind == LINES and path.rpartition("/")[2] in wanted
    )


def _lines(run: OpenRun, streams: Sequence[str]) -> list[Line]:
    # Merged and not sorted, so that lines of one stream with one time keep their order.
    return list(heapq.merge(*(_ordered(run, path) for path in _paths(run, streams)), key=lambda line: line.time))


def _ordered(run: OpenRun, path: str) -> list[Line]:
    """Return the lines of one stream, none earlier than the one before."""
    try:
        steps, texts, times = run.reader.texts(path)
    except MissingField:  # removed since
        return []
    # Clocks of machines may step back; within a stream the order of its steps is right, and the merge needs sorted
    # input.
    rising = list(times)
    for place, (before, after) in enumerate(pairwise(times), 1):
        rising[place] = max(rising[place - 1], before, after)
    stream = path.rpartition("/")[2]
    return [Line(*each) for each in zip(rising, [stream] * len(texts), [path] * len(texts), steps, texts, strict=True)]


def _follow(ctx: click.Context, run: OpenRun, streams: Sequence[str], count: int | None, is_json: bool) -> None:
    try:
        for lines in _growth(run, streams, count):
            for line in lines if is_json else ():
                print_document(_item(line), indent=None)
            print_lines(text for line in lines if not is_json for text in _texts(line))
    except KeyboardInterrupt:
        ctx.exit(INTERRUPTED)


def _growth(run: OpenRun, streams: Sequence[str], count: int | None) -> Iterator[list[Line]]:
    """Yield the lines, then new ones until the run has no writer."""
    lines = _lines(run, streams)
    yield lines[max(0, len(lines) - count) :] if count is not None else lines
    seen = {path: sum(line.path == path for line in lines) for path in {line.path for line in lines}}
    is_running = True
    while is_running:
        is_running = run.reader.state() == "running"  # asked first, so that the last lines are read after it
        new = []
        for path in _paths(run, streams):
            known = seen.get(path, 0)
            # The count is cheap; the lines are read only when there are more.
            if run.reader.count(path) != known:
                found = _ordered(run, path)
                new += found[known:]
                seen[path] = len(found)
        yield sorted(new, key=lambda line: line.time)
        # No pause after the last look, so that the command ends with the run.
        if is_running:
            clock.sleep(POLL_SECONDS)


def _item(line: Line) -> dict[str, object]:
    return line._asdict() | {"time": time_text(line.time)}


def _texts(line: Line) -> Iterator[str]:
    style = STYLES.get(line.stream, "") if has_colour() else ""
    for text in line.text.removesuffix("\n").split("\n"):
        yield styled(clean(text), style)
