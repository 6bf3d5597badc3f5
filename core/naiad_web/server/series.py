"""Series: stored points, charts of them, lines of logs, histograms, entries of file series."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from naiad import clock
from naiad.errors import DamagedData, FieldConflict, InvalidArgument, MissingField, NaiadError
from naiad.fields.file_series import FileSeries
from naiad.histogram import Histogram
from naiad.kinds import LINES, POINTS
from naiad.refs import FileRef
from naiad.storage.base import Points, RunId, RunReader
from naiad_web.server.about import LIMITS, has_arrow, now
from naiad_web.server.answers import Answer, Json, Problem, Stream, attachment, csv_lines, number, numbers, steps
from naiad_web.server.fields import file_facts, matching
from naiad_web.server.parameters import Parameters
from naiad_web.server.pieces import Pieces
from naiad_web.server.routes import Route
from naiad_web.server.site import Site

if TYPE_CHECKING:
    from naiad_web.server.chart import Curve, Drawn

MOST_POINTS = 100_000
"""Exact points of one series in a chart."""
CACHED_POINTS = 2_000_000
"""Points that stay decoded: zooming and hovering ask for the same series again and again."""
HISTOGRAM, FILES = Histogram.kind, FileSeries.kind
"""The kinds that `/histograms` and `/entries` serve."""
SEARCH_SECONDS = 5.0


class SeriesWanted(Parameters, frozen=True, kw_only=True):
    """Series of points, and a range of steps."""

    run: list[str]
    path: list[str]
    from_: float | None = msgspec.field(default=None, name="from")
    to: float | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 100_000
    tail: bool = False
    format: Literal["json", "csv", "arrow"] = "json"


class Group(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Runs whose mean is drawn."""

    name: str
    runs: list[str]


class ChartWanted(Parameters, frozen=True, kw_only=True):
    """Series to draw, and how."""

    path: list[str]
    run: list[str] = []
    x: str = "step"
    from_: float | None = msgspec.field(default=None, name="from")
    to: float | None = None
    buckets: Annotated[int, msgspec.Meta(ge=1, le=4_000)] = 1_000
    smooth: Annotated[float, msgspec.Meta(ge=0, le=0.999)] = 0.0
    points: bool = False
    groups: list[Group] = []
    band: Literal["range", "quartiles", "deviation"] = "range"
    format: Literal["binary", "json"] = "binary"


class NearestWanted(Parameters, frozen=True, kw_only=True):
    """Series, and a place on the x axis."""

    run: list[str]
    path: list[str]
    at: float
    x: str = "step"


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


class Pair(msgspec.Struct, frozen=True):
    """One series of a request."""

    name: str
    run: RunId
    path: str
    reader: RunReader | None
    error: dict[str, Json] | None = None

    def head(self, site: Site) -> dict[str, Json]:
        """The members that name it."""
        return {
            "run": site.store.id_of(self.run) if self.run.uid else self.name,
            "uid": self.run.uid,
            "path": self.path,
        }


def pairs(site: Site, runs: Sequence[str], paths: Sequence[str], *kinds: str) -> list[Pair]:
    """The series of these runs at these paths, as far as they exist.

    Raises:
        Problem: there are too many.
    """
    if len(runs) > LIMITS["runs"] or len(runs) * len(paths) > LIMITS["series"]:
        most = f"{LIMITS['runs']} runs and {LIMITS['series']:,} series"
        raise Problem(400, "InvalidArgument", f"At most {most} can be asked for at once.", argument="run")
    found: list[Pair] = []
    for name in dict.fromkeys(runs):
        try:
            run = site.find(name)
            reader = site.reader(run)
            there = reader.kinds()
        except (NaiadError, OSError) as error:
            error_facts = {"type": type(error).__name__, "detail": str(error)}
            found += [Pair(name, RunId("", None), path, None, error_facts) for path in paths]  # type: ignore[arg-type]  # there is no run
            continue
        for path in dict.fromkeys(paths):
            kind = there.get(path)
            if kind in kinds:
                found.append(Pair(name, run, path, reader))
            elif kind is not None:
                what = f'"{path}" is of kind {kind}, not {" or ".join(kinds)}.'
                found.append(Pair(name, run, path, None, {"type": "FieldConflict", "detail": what}))
    return found


class _PointCache:
    """Decoded points of the series that were read last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[RunId, str], tuple[object, Points]] = OrderedDict()
        self._held = 0

    def points(self, reader: RunReader, path: str) -> Points:
        """The points of a series as they are now."""
        # cheap facts that differ after every write, deletions and rewritten series included
        mark = (reader.count(path), reader.last(path, POINTS), reader.aspects(path))
        mark_text = repr(mark)
        key = (reader.run, path)
        with self._lock:
            known = self._known.get(key)
            if known is not None and known[0] == mark_text:
                self._known.move_to_end(key)
                return known[1]
        found = reader.points(path)
        with self._lock:
            before = self._known.pop(key, None)
            self._held += len(found.values) - (len(before[1].values) if before else 0)
            self._known[key] = (mark_text, found)
            while self._held > CACHED_POINTS and self._known:
                _key, (_mark, dropped) = self._known.popitem(last=False)
                self._held -= len(dropped.values)
        return found


_cache = _PointCache()


def series(site: Site, takes: SeriesWanted) -> Answer | Stream | Json:
    """Stored points, exactly."""
    found = pairs(site, takes.run, takes.path, POINTS)
    if takes.format == "csv":
        header = ("run", "path", "step", "time", "value")
        return Stream(
            csv_lines(header, _csv_rows(site, found, takes)), "text/csv; charset=utf-8", attachment("series.csv")
        )
    if takes.format == "arrow":
        if not has_arrow():
            raise Problem(406, "NotAcceptable", 'Arrow needs pyarrow: pip install "naiad[import]".')
        return Stream(_arrow(site, found, takes), "application/vnd.apache.arrow.stream", attachment("series.arrows"))
    return {"series": [_exact(site, pair, takes) for pair in found]}


def _exact(site: Site, pair: Pair, takes: SeriesWanted) -> dict[str, Json]:
    head = pair.head(site)
    if pair.reader is None:
        return {**head, "error": pair.error}
    try:
        points, total = _within(pair.reader.points(pair.path), takes, takes.limit)
    except (DamagedData, MissingField, FieldConflict) as error:
        return {**head, "error": {"type": type(error).__name__, "detail": str(error)}}
    return {
        **head,
        "kind": POINTS,
        "count": len(points.values),
        "total": total,
        "steps": steps(points.steps),
        "values": numbers(points.values),
        "times": points.times.tolist(),
    }


def _within(points: Points, takes: SeriesWanted, limit: int | None) -> tuple[Points, int]:
    """The points within the steps of a request, and how many there are."""
    import numpy as np

    start = 0 if takes.from_ is None else int(np.searchsorted(points.steps, takes.from_, "left"))
    stop = len(points.steps) if takes.to is None else int(np.searchsorted(points.steps, takes.to, "right"))
    total = max(0, stop - start)
    if limit is not None and total > limit:
        start, stop = (stop - limit, stop) if takes.tail else (start, start + limit)
    rows = slice(start, max(start, stop))
    return Points(points.steps[rows], points.values[rows], points.times[rows]), total


def _csv_rows(site: Site, found: Sequence[Pair], takes: SeriesWanted) -> Iterator[list[Json]]:
    for pair in found:
        if pair.reader is None:
            continue
        name = pair.head(site)["run"]
        points, _total = _within(pair.reader.points(pair.path), takes, None)
        for start in range(0, len(points.values), 10_000):
            rows = slice(start, start + 10_000)
            columns = (points.steps[rows].tolist(), points.times[rows].tolist(), points.values[rows].tolist())
            for step, time, each in zip(*columns, strict=True):
                whole = int(step) if isinstance(step, float) and step.is_integer() else step
                yield [name, pair.path, whole, iso(time), each]


def _arrow(site: Site, found: Sequence[Pair], takes: SeriesWanted) -> Iterator[bytes]:
    import numpy as np
    import pyarrow as pa  # type: ignore[import-untyped,unused-ignore]  # it has no types of its own

    schema = pa.schema(
        [("run", pa.string()), ("path", pa.string()), ("step", pa.float64()), ("time", pa.timestamp("ms", tz="UTC")),
         ("value", pa.float64())]
    )  # fmt: skip
    sink = Pieces()
    with pa.ipc.new_stream(pa.PythonFile(sink, mode="w"), schema) as writer:
        for pair in found:
            if pair.reader is None:
                continue
            points, _total = _within(pair.reader.points(pair.path), takes, None)
            count = len(points.values)
            columns = [
                pa.array([pair.head(site)["run"]] * count, pa.string()),
                pa.array([pair.path] * count, pa.string()),
                pa.array(points.steps.astype(np.float64)),
                pa.array(points.times, pa.timestamp("ms", tz="UTC")),
                pa.array(points.values),
            ]
            writer.write_batch(pa.record_batch(columns, schema=schema))
            yield sink.taken()
    yield sink.taken()


def iso(milliseconds: int) -> str:
    """A time of a point in ISO 8601."""
    try:
        moment = datetime.fromtimestamp(milliseconds / 1000, timezone.utc)
    except (ValueError, OverflowError, OSError):
        return str(milliseconds)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{milliseconds % 1000:03d}Z"


# Charts


def chart(site: Site, takes: ChartWanted) -> Answer | Json:
    """Series drawn in a range."""
    from naiad_web.server import chart as drawing

    if takes.groups:
        head, drawn = _draw_groups(site, takes)
    else:
        head, drawn = _draw(site, takes)
    if takes.format == "json":
        return drawing.as_json(head, drawn, numbers)
    return Answer(drawing.as_bytes(head, drawn), drawing.MEDIA)


def _draw(site: Site, takes: ChartWanted) -> tuple[dict[str, Json], list[Drawn]]:
    from naiad_web.server import chart as drawing

    found = pairs(site, takes.run, takes.path, POINTS)
    loaded = [_loaded(pair, takes) for pair in found]
    extents = [each for curve in loaded if not isinstance(curve, dict) and (each := drawing.extent(curve))]
    lasts = [
        float(last.step) for pair, curve in zip(found, loaded, strict=True)
        if isinstance(curve, drawing.Heights) and pair.reader and (last := pair.reader.last(pair.path, POINTS))
    ]  # fmt: skip
    start, stop = _range(takes, extents, lasts)
    drawn = []
    for pair, curve in zip(found, loaded, strict=True):
        if isinstance(curve, dict):
            drawn.append(drawing.Drawn({**pair.head(site), "error": curve}))
            continue
        assert pair.reader is not None
        try:
            one = _one(pair, curve, takes, start, stop)
            own = _facts(pair.reader, pair.path)
            if one.facts["source"] == "pyramid" and own["last_step"] is not None:
                one.facts["last"] = min(stop, float(own["last_step"]))
            one.facts = {**pair.head(site), **own, **one.facts}
        except (DamagedData, MissingField, FieldConflict) as error:
            one = drawing.Drawn({**pair.head(site), "error": {"type": type(error).__name__, "detail": str(error)}})
        drawn.append(one)
    return _head(takes, start, stop), drawn


def _one(pair: Pair, curve: Any, takes: ChartWanted, start: float, stop: float) -> Drawn:
    from naiad_web.server import chart as drawing

    assert pair.reader is not None
    if isinstance(curve, drawing.Heights):
        inside = int(((curve.x >= start) & (curve.x <= stop)).sum())
        if inside >= drawing.FINER * takes.buckets:
            return drawing.draw_heights(
                curve, start, stop, takes.buckets, int(curve.finite[(curve.x >= start) & (curve.x <= stop)].sum())
            )
        curve = _curve(pair.reader, pair.path, takes)
    most = MOST_POINTS if takes.points else 2 * takes.buckets
    return drawing.draw(curve, start, stop, takes.buckets, most_points=most)


def _loaded(pair: Pair, takes: ChartWanted) -> Any:
    """The points of a series, or of a long one the stretches of its pyramid; an error as a dict."""
    from naiad_web.server import chart as drawing

    if pair.reader is None:
        return pair.error
    try:
        if takes.x == "step" and not takes.smooth and not takes.points:
            count = pair.reader.count(pair.path)
            # the index keeps the extremes of so many points, which need not be decoded then
            stretches = count // 256
            if stretches >= drawing.FINER * takes.buckets:
                found = drawing.Heights(*pair.reader.chart(pair.path, stretches))
                if int(found.finite.sum()) == count:
                    return found
        return _curve(pair.reader, pair.path, takes)
    except (DamagedData, MissingField, FieldConflict) as error:
        return {"type": type(error).__name__, "detail": str(error)}


def _curve(reader: RunReader, path: str, takes: ChartWanted) -> Curve:

    points = _cache.points(reader, path)
    from naiad.smoothing import averaged

    return curve_of(reader, points, takes.x, averaged(points.values, takes.smooth) if takes.smooth else None)


def curve_of(reader: RunReader, points: Points, x: str, smooth: Any = None) -> Curve:
    """Points over another x than their step.

    Raises:
        InvalidArgument: there is no such x.
    """
    import numpy as np

    from naiad_web.server.chart import Curve

    none = np.empty(0)
    smooth = none if smooth is None else smooth
    y = points.values
    if x == "step":
        return Curve(points.steps.astype(np.float64), y, smooth)
    if x == "time":
        own = points.times.astype(np.float64)
    elif x == "relative":
        created = reader.value("sys/creation_time")
        own = points.times / 1000 - (created / 1e6 if isinstance(created, int) else 0.0)
    elif x.startswith("series:"):
        other = _cache.points(reader, x.removeprefix("series:"))
        at = np.searchsorted(other.steps, points.steps, "right") - 1
        own = (
            np.where(at >= 0, other.values[np.maximum(at, 0)], np.nan) if len(other.values) else np.full(len(y), np.nan)
        )
        is_there = np.isfinite(own)
        own, y = own[is_there], y[is_there]
        smooth = smooth[is_there] if len(smooth) else smooth
    else:
        raise InvalidArgument(f"x takes step, relative, time or series:PATH, not {x[:100]!r}.", argument="x", value=x)
    if not len(own) or not (own[1:] < own[:-1]).any():
        return Curve(own, y, smooth)
    order = np.argsort(own, kind="stable")
    return Curve(own[order], y[order], smooth[order] if len(smooth) else smooth, is_sorted=False)


def _range(takes: ChartWanted, extents: Sequence[tuple[float, float]], lasts: Sequence[float]) -> tuple[float, float]:
    start = takes.from_ if takes.from_ is not None else min((low for low, _high in extents), default=0.0)
    stop = takes.to if takes.to is not None else max([*(high for _low, high in extents), *lasts], default=start)
    return float(start), float(max(start, stop))


def _facts(reader: RunReader, path: str) -> dict[str, Json]:
    last = reader.last(path, POINTS)
    return {
        "count": reader.count(path),
        "last_step": steps([last.step])[0] if last else None,
        "last_value": number(last.value) if last else None,  # type: ignore[arg-type]  # a number, by its kind
        "config": list(reader.config(path)),
    }


def _head(takes: ChartWanted, start: float, stop: float) -> dict[str, Json]:
    return {"x": takes.x, "from": start, "to": stop, "buckets": takes.buckets, "smooth": takes.smooth, "now": now()}


def _draw_groups(site: Site, takes: ChartWanted) -> tuple[dict[str, Json], list[Drawn]]:
    from naiad_web.server import chart as drawing

    loaded: list[tuple[str, str, list[Curve], list[dict[str, Json]]]] = []
    for group in takes.groups:
        found = pairs(site, group.runs, takes.path, POINTS)
        for path in takes.path:
            curves, errors = [], []
            for pair in (each for each in found if each.path == path):
                try:
                    curve = pair.error if pair.reader is None else _curve(pair.reader, path, takes)
                except (DamagedData, MissingField, FieldConflict) as error:
                    curve = {"type": type(error).__name__, "detail": str(error)}
                if isinstance(curve, dict):
                    errors.append({"run": pair.name, **curve})
                elif curve is not None and len(curve.x):
                    curves.append(curve)
            loaded.append((group.name, path, curves, errors))
    extents = [each for _name, _path, curves, _errors in loaded for one in curves if (each := drawing.extent(one))]
    start, stop = _range(takes, extents, [])
    drawn = []
    for name, path, curves, errors in loaded:
        facts: dict[str, Json] = {"group": name, "path": path, "mode": "band", "runs": len(curves), "source": "points"}
        if errors:
            facts["errors"] = errors
        columns = drawing.band(curves, start, stop, takes.buckets, takes.band) if curves else {}
        drawn.append(drawing.Drawn(facts, columns))
    return _head(takes, start, stop), drawn


def nearest(site: Site, takes: NearestWanted) -> Json:
    """The stored points that are nearest to an x."""
    import numpy as np

    found = []
    for pair in pairs(site, takes.run, takes.path, POINTS):
        if pair.reader is None:
            continue
        try:
            points = _cache.points(pair.reader, pair.path)
            curve = curve_of(pair.reader, points, takes.x, np.arange(len(points.values), dtype=np.float64))
        except (DamagedData, MissingField, FieldConflict):
            continue  # the chart itself says so
        if not len(curve.x):
            continue
        right = int(np.searchsorted(curve.x, takes.at, "left"))
        near = [each for each in (right - 1, right) if 0 <= each < len(curve.x)]
        place = min(near, key=lambda each: abs(float(curve.x[each]) - takes.at))
        place = int(np.searchsorted(curve.x, curve.x[place], "right")) - 1  # of equal x the last logged
        at = int(curve.smooth[place])
        found.append({
            **pair.head(site), "step": steps([points.steps[at].item()])[0], "value": number(float(points.values[at])),
            "time": int(points.times[at]), "x": number(float(curve.x[place])),
        })  # fmt: skip
    return {"points": found}


# Texts, histograms and files


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
    if takes.regex:
        fits = matching(takes.regex, ignores_case=not takes.case)
    else:
        part = takes.search if takes.case else takes.search.lower()

        def fits(text: str) -> bool:
            return part in (text if takes.case else text.lower())

    matches: list[int] = []
    shown: list[tuple[Any, int, str]] = []
    found, most, at = 0, takes.limit or 1_000, takes.start
    total = None
    while total is None or at < total:
        page = reader.text_page(takes.path, at, 50_000, LINES)
        total, at = page.total, page.start
        for place, text in enumerate(page.texts):
            if fits(text):
                found += 1
                if len(matches) < most:
                    matches.append(at + place)
                    shown.append((page.steps[place], page.times[place], text))
        at += len(page.texts)
        if not page.texts or clock.monotonic() > until:
            break
    return {
        "total": total, "matches": matches, "found": found, "is_complete": at >= (total or 0),
        "steps": steps([each[0] for each in shown]), "times": [each[1] for each in shown],
        "texts": [each[2] for each in shown],
    }  # fmt: skip


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


CSV_AND_ARROW = ("application/json", "text/csv", "application/vnd.apache.arrow.stream")
ROUTES = (
    Route("GET", "/series", series, SeriesWanted, "Stored points of series", also_post=True, media=CSV_AND_ARROW),
    Route(
        "GET", "/chart", chart, ChartWanted, "Series drawn in a range", also_post=True,
        media=("application/vnd.naiad.chart", "application/json"),
    ),
    Route("GET", "/nearest", nearest, NearestWanted, "Stored points nearest to an x", also_post=True),
    Route("GET", "/lines", lines, LinesWanted, "Lines of a log", media=("application/json", "text/plain", "text/csv")),
    Route("GET", "/histograms", histograms, HistogramsWanted, "Histograms of a series"),
    Route("GET", "/entries", entries, EntriesWanted, "Entries of a file series"),
)  # fmt: skip
