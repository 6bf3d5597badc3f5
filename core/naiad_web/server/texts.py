"""Series of texts: lines of logs, histograms, entries of file series."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, Literal

import msgspec

from naiad import clock
from naiad.fields.file_series import FileSeries
from naiad.histogram import Histogram
from naiad.kinds import LINES
from naiad.refs import FileRef
from naiad.storage.base import RunReader
from naiad_web.server.answers import Json, Stream, attachment, csv_lines, number, steps
from naiad_web.server.fields import file_facts, matching
from naiad_web.server.parameters import Parameters
from naiad_web.server.routes import Route
from naiad_web.server.series import iso
from naiad_web.server.site import Site

HISTOGRAM, FILES = Histogram.kind, FileSeries.kind
"""The kinds that `/histograms` and `/entries` serve."""
SEARCH_SECONDS = 10.0
SEARCHED = 200_000
"""Lines that are looked at together: about 30 MB of them. Each such page reads the chunks of the whole log anew."""
SEPARATOR = "\0"


class LinesWanted(Parameters, frozen=True, kw_only=True):
    """A page of a string series, or a search in it."""

    run: str
    path: str
    start: int = 0
    limit: Annotated[int, msgspec.Meta(ge=1, le=10_000)] | None = None
    at_step: float | None = None
    at_time: float | None = None
    search: str = ""
    regex: str = ""
    case: bool = False
    format: Literal["json", "text", "csv"] = "json"


class HistogramsWanted(Parameters, frozen=True, kw_only=True):
    """Histograms of a series, and a range of steps."""

    run: str
    path: str
    from_: float | None = msgspec.field(default=None, name="from")
    to: float | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=2_000)] = 200


class EntriesWanted(Parameters, frozen=True, kw_only=True):
    """A page of a file series."""

    run: str
    path: str
    start: int = 0
    limit: Annotated[int, msgspec.Meta(ge=1, le=5_000)] = 500
    at_step: float | None = None


def lines(site: Site, takes: LinesWanted) -> Stream | Json:
    """Lines of a log: a page of them, or those that fit a search."""
    reader = site.reader(site.find(takes.run))
    if takes.format != "json":
        return _export(reader, takes)
    if takes.search or takes.regex:
        return _search(reader, takes)
    start = takes.start
    if takes.at_step is not None or takes.at_time is not None:
        start = reader.text_place(takes.path, step=takes.at_step, time=takes.at_time)
    page = reader.text_page(takes.path, start, takes.limit or 200, LINES)
    return {
        "total": page.total,
        "start": page.start,
        "steps": steps(page.steps),
        "times": page.times,
        "texts": page.texts,
    }


def _search(reader: RunReader, takes: LinesWanted) -> Json:
    until = clock.monotonic() + SEARCH_SECONDS
    matches: list[int] = []
    shown: list[tuple[Any, int, str]] = []
    found, most, at = 0, takes.limit or 1_000, takes.start
    total = None
    find = _finder(takes)
    while total is None or at < total:
        # In pages, so that a log of any length is searched in the same memory, and within the time.
        page = reader.text_page(takes.path, at, SEARCHED, LINES)
        total, at = page.total, page.start
        places = find(page.texts)
        found += len(places)
        # Those beyond the limit are counted and not sent.
        for place in places[: most - len(matches)]:
            matches.append(at + place)
            shown.append((page.steps[place], page.times[place], page.texts[place]))
        at += len(page.texts)
        # A page without texts is the end, also where lines were removed since the first one was read.
        if not page.texts or clock.monotonic() > until:
            break
    return {
        "total": total, "matches": matches, "found": found, "is_complete": at >= (total or 0),
        "searched": at,
        "steps": steps([each[0] for each in shown]), "times": [each[1] for each in shown],
        "texts": [each[2] for each in shown],
    }  # fmt: skip


def _finder(takes: LinesWanted) -> Callable[[Sequence[str]], list[int]]:
    """Return a function from lines to the places of those that match."""
    if takes.regex:
        fits = matching(takes.regex, ignores_case=not takes.case)
        return lambda texts: [place for place, text in enumerate(texts) if fits(text)]
    part = takes.search if takes.case else takes.search.lower()
    # What has the separator in it would match across two lines.
    if not part or SEPARATOR in part:
        return lambda texts: [n for n, text in enumerate(texts) if part in (text if takes.case else text.lower())]

    def find(texts: Sequence[str]) -> list[int]:
        # one search in all of them: a million lines take 0.1 s by this, and 1.3 s one by one
        lines = texts if takes.case else SEPARATOR.join(texts).lower().split(SEPARATOR)
        if len(lines) != len(texts):  # one of them has the separator in it
            lines = [text.lower() for text in texts]
        whole = SEPARATOR.join(lines)
        at = whole.find(part)
        if at < 0:
            return []
        ends = list(itertools.accumulate(len(line) + 1 for line in lines))
        places = []
        while at >= 0:
            place = bisect.bisect_right(ends, at)
            places.append(place)
            # On from the end of this line: a second match in it is no second line.
            at = whole.find(part, ends[place])
        return places

    return find


def _export(reader: RunReader, takes: LinesWanted) -> Stream:
    name = takes.path.rpartition("/")[2]

    def rows() -> Iterator[tuple[Any, int, str]]:
        at = 0
        while True:
            page = reader.text_page(takes.path, at, 20_000, LINES)
            yield from zip(steps(page.steps), page.times, page.texts, strict=True)
            at += len(page.texts)
            if at >= page.total or not page.texts:
                return

    if takes.format == "csv":
        cells = ([step, iso(time), text] for step, time, text in rows())
        body = csv_lines(("step", "time", "value"), cells)
        return Stream(body, "text/csv; charset=utf-8", attachment(f"{name}.csv"))
    body = ((text + "\n").encode("utf-8", "replace") for _step, _time, text in rows())
    return Stream(_joined(body), "text/plain; charset=utf-8", attachment(f"{name}.txt"))


def _joined(parts: Iterator[bytes], size: int = 65_536) -> Iterator[bytes]:
    """The same bytes in larger pieces."""
    waiting, length = [], 0
    for part in parts:
        waiting.append(part)
        length += len(part)
        if length > size:
            yield b"".join(waiting)
            waiting, length = [], 0
    yield b"".join(waiting)


def histograms(site: Site, takes: HistogramsWanted) -> Json:
    """Histograms of a series, chosen evenly if there are many."""
    import numpy as np

    reader = site.reader(site.find(takes.run))
    found = reader.texts(takes.path, HISTOGRAM)
    places = [
        at for at, step in enumerate(found.steps)
        if (takes.from_ is None or step >= takes.from_) and (takes.to is None or step <= takes.to)
    ]  # fmt: skip
    total = len(places)
    # Rounded places may coincide, and each histogram is sent once.
    if total > takes.limit:
        places = [places[at] for at in np.unique(np.linspace(0, total - 1, takes.limit).round().astype(int)).tolist()]
    return {
        "total": total,
        "steps": steps([found.steps[at] for at in places]),
        "times": [found.times[at] for at in places],
        "histograms": [_histogram(found.texts[at]) for at in places],
    }


def _histogram(text: str) -> Json:
    one = Histogram.from_text(text)
    return {
        "edges": [number(each) for each in one.bin_edges],
        "counts": None if one.counts is None else [number(each) for each in one.counts],
        "densities": None if one.densities is None else [number(each) for each in one.densities],
    }


def entries(site: Site, takes: EntriesWanted) -> Json:
    """Entries of a file series."""
    reader = site.reader(site.find(takes.run))
    start = takes.start
    if takes.at_step is not None:
        start = reader.text_place(takes.path, step=takes.at_step)
    page = reader.text_page(takes.path, start, takes.limit, FILES)
    files = [file_facts(reader, FileRef.from_text(text)) for text in page.texts]
    return {"total": page.total, "start": page.start, "steps": steps(page.steps), "times": page.times, "files": files}


ROUTES = (
    Route("GET", "/lines", lines, LinesWanted, "Lines of a log", media=("application/json", "text/plain", "text/csv")),
    Route("GET", "/histograms", histograms, HistogramsWanted, "Histograms of a series"),
    Route("GET", "/entries", entries, EntriesWanted, "Entries of a file series"),
)
