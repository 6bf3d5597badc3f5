"""Series of numbers: their stored points, and charts of them."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from math import inf
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from naiad.container_kinds import RunId
from naiad.errors import DamagedData, FieldConflict, InvalidArgument, MissingField, NaiadError
from naiad.kinds import POINTS
from naiad.storage.base import RunReader
from naiad.storage.results import Last, Points
from naiad_web.server.about import LIMITS, has_arrow, now
from naiad_web.server.answers import Answer, Json, Problem, Stream, attachment, csv_lines, number, numbers, steps
from naiad_web.server.parameters import Parameters
from naiad_web.server.pieces import Pieces
from naiad_web.server.problems import described
from naiad_web.server.routes import Route
from naiad_web.server.site import Site

if TYPE_CHECKING:
    from naiad_web.server.chart import Curve, Drawn, Heights

MOST_POINTS = 100_000
"""Exact points of one series in a chart."""
PIECE = 200_000
"""Points of an export that are decoded at once."""
FINEST, COARSEST = 256, 16_384
"""Points of a stretch, as the index of a run keeps them: extremes of so many need not be computed."""
CACHED_POINTS = 2_000_000
"""Points that stay decoded: zooming and hovering ask for the same series again and again."""
CACHED_STRETCHES = 1_000_000
"""Stretches that stay decoded, of 40 bytes: those of 100 million points are 6,000, and fine ones of a tenth 40,000."""
Cut = tuple[int, float | None, float | None]
"""At most about how many stretches, and the steps between which they are fine."""


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


class Pair(msgspec.Struct, frozen=True):
    """One series of a request."""

    name: str
    run: RunId
    path: str
    reader: RunReader | None
    error: dict[str, Json] | None = None
    loaded: Any = None
    """The result of reading it."""

    def head(self, site: Site) -> dict[str, Json]:
        """The members that name it."""
        return {"run": site.id_of(self.run) if self.run.uid else self.name, "uid": self.run.uid, "path": self.path}


def pairs(
    site: Site,
    runs: Sequence[str],
    paths: Sequence[str],
    *kinds: str,
    load: Callable[[RunReader, str], Any] = lambda _reader, _path: None,
) -> list[Pair]:
    """The series of these runs at these paths, as far as they exist.

    Args:
        site: where they are.
        runs: their ids or uids.
        paths: of the series.
        kinds: that they may have.
        load: reads each of them, with one look at each run: a chart of 50 runs takes half the time by that.

    Raises:
        Problem: there are too many.
    """
    if len(runs) > LIMITS["runs"] or len(runs) * len(paths) > LIMITS["series"]:
        most = f"{LIMITS['runs']} runs and {LIMITS['series']:,} series"
        raise Problem(400, "InvalidArgument", f"At most {most} can be requested at once.", argument="run")
    found: list[Pair] = []
    for name in dict.fromkeys(runs):
        try:
            run = site.find(name)
            reader = site.reader(run)
            with reader.moment():
                there = reader.kinds()
                found += [
                    _pair(name, reader, path, there[path], kinds, load)
                    for path in dict.fromkeys(paths)
                    if path in there
                ]
        except InvalidArgument:  # what was asked for is wrong, not the run
            raise
        except (NaiadError, OSError) as error:
            found += [Pair(name, RunId("", None), path, None, described(error)) for path in paths]  # type: ignore[arg-type]  # there is no run
    return found


def _pair(
    name: str, reader: RunReader, path: str, kind: str, kinds: Sequence[str], load: Callable[[RunReader, str], Any]
) -> Pair:
    if kind not in kinds:
        what = f'"{path}" is of kind {kind}, not {" or ".join(kinds)}.'
        return Pair(name, reader.run, path, None, {"type": "FieldConflict", "detail": what})
    try:
        return Pair(name, reader.run, path, reader, None, load(reader, path))
    except (DamagedData, MissingField, FieldConflict) as error:
        return Pair(name, reader.run, path, None, described(error))


@dataclass(frozen=True)
class Facts:
    """Count, last point and aspects of a series, which a reader has without its points."""

    count: int
    last: Last | None
    aspects: Sequence[float | None]


def facts_of(reader: RunReader, path: str) -> Facts:
    """Return count, last point and aspects of a series."""
    return Facts(reader.count(path), reader.last(path, POINTS), reader.aspects(path))


class _PointCache:
    """Decoded points of the series that were read last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[RunId, str], tuple[object, Points]] = OrderedDict()
        self._held = 0

    def points(self, reader: RunReader, path: str, facts: Facts | None = None) -> Points:
        """The points of a series as they are now."""
        # cheap facts that differ after every write, deletions and rewritten series included
        mark_text = repr(facts or facts_of(reader, path))
        key = (reader.run, path)
        with self._lock:
            known = self._known.get(key)
            if known is not None and known[0] == mark_text:
                self._known.move_to_end(key)
                return known[1]
        # Outside the lock, since decoding may take a second; two requests that come at once both decode, and the
        # later result stays.
        found = reader.points(path)
        with self._lock:
            before = self._known.pop(key, None)
            self._held += len(found.values) - (len(before[1].values) if before else 0)
            self._known[key] = (mark_text, found)
            while self._held > CACHED_POINTS and self._known:
                _key, (_mark, dropped) = self._known.popitem(last=False)
                self._held -= len(dropped.values)
        return found


class _StretchCache:
    """Stretches of the long series that were drawn last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[RunId, str, Cut], tuple[str, Heights]] = OrderedDict()
        self._held = 0

    def heights(self, reader: RunReader, path: str, facts: Facts, cut: Cut) -> Heights:
        """The stretches of a series as they are now."""
        from naiad_web.server.chart import Heights

        mark_text = repr(facts)
        key = (reader.run, path, cut)
        with self._lock:
            known = self._known.get(key)
            if known is not None and known[0] == mark_text:
                self._known.move_to_end(key)
                return known[1]
        # Outside the lock, as in the cache of points.
        buckets, start, stop = cut
        found = Heights(*reader.chart(path, buckets, start=start, stop=stop))
        with self._lock:
            before = self._known.pop(key, None)
            self._held += len(found.x) - (len(before[1].x) if before else 0)
            self._known[key] = (mark_text, found)
            while self._held > CACHED_STRETCHES and self._known:
                _key, (_mark, dropped) = self._known.popitem(last=False)
                self._held -= len(dropped.x)
        return found


_cache = _PointCache()
_stretches_of = _StretchCache()


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
        with pair.reader.moment():
            start, stop = _span(pair.reader, pair.path, takes)
            total = stop - start
            first = max(start, stop - takes.limit) if takes.tail else start
            points = pair.reader.point_page(pair.path, first, min(stop - first, takes.limit)).points
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


def _span(reader: RunReader, path: str, takes: SeriesWanted) -> tuple[int, int]:
    """The numbers of the first point within the steps of a request, and of the one after the last."""
    start = 0 if takes.from_ is None else reader.point_place(path, takes.from_)
    stop = reader.count(path) if takes.to is None else reader.point_place(path, takes.to, is_after=True)
    return start, max(start, stop)


def _pages(reader: RunReader, path: str, takes: SeriesWanted) -> Iterator[Points]:
    """The points within the steps of a request, a part at a time: any length takes little memory."""
    with reader.moment():
        start, stop = _span(reader, path, takes)
    while start < stop:
        points = reader.point_page(path, start, min(PIECE, stop - start)).points
        if not len(points.values):  # some were deleted since
            return
        yield points
        start += len(points.values)


def _csv_rows(site: Site, found: Sequence[Pair], takes: SeriesWanted) -> Iterator[list[Json]]:
    for pair in found:
        if pair.reader is None:
            continue
        name = pair.head(site)["run"]
        for points in _pages(pair.reader, pair.path, takes):
            # In pieces: the Python objects of all rows would take a hundred times the memory of the columns.
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
            for points in _pages(pair.reader, pair.path, takes):
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

    found = pairs(site, takes.run, takes.path, POINTS, load=functools.partial(_loaded, takes=takes))
    loaded = [pair.loaded for pair in found if pair.reader is not None]
    extents = [each for curve, _facts in loaded if (each := drawing.extent(curve))]
    lasts = [
        float(facts["last_step"]) for curve, facts in loaded
        if isinstance(curve, drawing.Heights) and facts["last_step"] is not None
    ]  # fmt: skip
    start, stop = _range(takes, extents, lasts)
    return _head(takes, start, stop), [_drawn(site, pair, takes, start, stop) for pair in found]


def _drawn(site: Site, pair: Pair, takes: ChartWanted, start: float, stop: float) -> Drawn:
    from naiad_web.server import chart as drawing

    if pair.reader is None:
        return drawing.Drawn({**pair.head(site), "error": pair.error})
    curve, facts = pair.loaded
    try:
        one = _one(pair.reader, pair.path, curve, takes, start, stop)
    except (DamagedData, MissingField, FieldConflict) as error:
        return drawing.Drawn({**pair.head(site), "error": described(error)})
    # A stretch is known by its first step; the curve ends at the last one.
    if one.facts["source"] == "pyramid" and facts["last_step"] is not None:
        one.facts["last"] = min(stop, float(facts["last_step"]))
    one.facts = {**pair.head(site), **facts, **one.facts}
    return one


def _one(reader: RunReader, path: str, curve: Any, takes: ChartWanted, start: float, stop: float) -> Drawn:
    from naiad_web.server import chart as drawing

    if isinstance(curve, drawing.Heights):
        is_inside = (curve.x >= start) & (curve.x <= stop)
        # Zoomed in, the stretches become wider than the buckets: then the points themselves are drawn.
        if int(is_inside.sum()) >= drawing.FINER * takes.buckets:
            return drawing.draw_heights(curve, start, stop, takes.buckets, int(curve.finite[is_inside].sum()))
        curve = _curve(reader, path, takes)
    most = MOST_POINTS if takes.points else 2 * takes.buckets
    return drawing.draw(curve, start, stop, takes.buckets, most_points=most)


def _loaded(reader: RunReader, path: str, takes: ChartWanted) -> tuple[Any, dict[str, Json]]:
    """The points of a series, or of a long one the stretches of its pyramid; and its facts."""
    from naiad_web.server import chart as drawing

    known = facts_of(reader, path)
    facts = _facts(reader, path, known)
    is_long = known.count // FINEST >= drawing.FINER * takes.buckets
    if is_long and takes.x == "step" and not takes.smooth and not takes.points:
        few = _points_inside(reader, path, takes, known)
        if few is not None:
            return few, facts
        found = _stretches(reader, path, takes, known)
        # Stretches do not say where their values that are not finite lie, so such a series is drawn from its points.
        if int(found.finite.sum()) == known.count:
            return found, facts
    return _curve(reader, path, takes, known), facts


def _points_inside(reader: RunReader, path: str, takes: ChartWanted, facts: Facts) -> Curve | None:
    """The points in the range of a request with one on either side; None if they are enough to be drawn as stretches.

    Those of a long series are read by themselves: all of them may be more than the memory holds.
    """
    from naiad_web.server import chart as drawing

    if takes.from_ is None and takes.to is None:
        return None
    # Two more, since the stretches at both ends may lie in the range in part.
    most = (drawing.FINER * takes.buckets + 2) * FINEST
    coarse = None
    with contextlib.suppress(DamagedData):  # the points in the range may be whole
        coarse = _coarse_inside(reader, path, takes, facts)
    # Without a look at the chunks: the first one reads all of a series to know where each begins.
    if coarse is not None and int(coarse[:-1].sum()) > most:
        return None
    page = reader.point_range(path, takes.from_, takes.to, most)
    return None if page is None else curve_of(reader, page.points, takes.x)


def _coarse(reader: RunReader, path: str, takes: ChartWanted, facts: Facts) -> Heights | None:
    """The coarse stretches of a very long series; None of one that has too few of them."""
    is_enough = facts.count // COARSEST >= _least(takes)
    return _stretches_of.heights(reader, path, facts, (facts.count // COARSEST, None, None)) if is_enough else None


def _least(takes: ChartWanted) -> int:
    """The fewest stretches of which a chart is drawn."""
    from naiad_web.server import chart as drawing

    return drawing.FINER * takes.buckets


def _coarse_inside(reader: RunReader, path: str, takes: ChartWanted, facts: Facts) -> Any:
    """How many finite values each coarse stretch has that begins in the range of a request; None without them."""
    found = _coarse(reader, path, takes, facts)
    if found is None:
        return None
    low, high = (each if each is not None else end for each, end in ((takes.from_, -inf), (takes.to, inf)))
    return found.finite[(found.x >= low) & (found.x <= high)]


def _stretches(reader: RunReader, path: str, takes: ChartWanted, facts: Facts) -> Heights:
    """The stretches of a long series, no finer than its range needs them."""
    found = _coarse(reader, path, takes, facts)
    if found is not None and len(_coarse_inside(reader, path, takes, facts)) >= _least(takes):
        return found
    # Of a very long series only in the range: elsewhere its stretches stay as coarse as there are some.
    return _stretches_of.heights(reader, path, facts, (facts.count // FINEST, takes.from_, takes.to))


def _curve(reader: RunReader, path: str, takes: ChartWanted, facts: Facts | None = None) -> Curve:
    from naiad.smoothing import averaged

    points = _cache.points(reader, path, facts)
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
        # The last value of the other series at or before each step: two series seldom have the same steps.
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


def _facts(reader: RunReader, path: str, known: Facts) -> dict[str, Json]:
    last = known.last
    return {
        "count": known.count,
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
        found = pairs(site, group.runs, takes.path, POINTS, load=functools.partial(_curve, takes=takes))
        for path in takes.path:
            own = [pair for pair in found if pair.path == path]
            curves = [pair.loaded for pair in own if pair.reader is not None and len(pair.loaded.x)]
            errors = [{"run": pair.name, **(pair.error or {})} for pair in own if pair.reader is None]
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
    found = []
    for pair in pairs(site, takes.run, takes.path, POINTS, load=functools.partial(_nearest, takes=takes)):
        if pair.loaded is not None:  # of one that cannot be read the chart itself says so
            found.append({**pair.head(site), **pair.loaded})
    return {"points": found}


def _nearest(reader: RunReader, path: str, takes: NearestWanted) -> dict[str, Json] | None:
    import numpy as np

    if takes.x == "step":
        with reader.moment():  # of one moment: a deletion in between would leave no point to answer with
            return _nearest_step(reader, path, takes.at)
    points = _cache.points(reader, path)
    curve = curve_of(reader, points, takes.x, np.arange(len(points.values), dtype=np.float64))
    if not len(curve.x):
        return None
    right = int(np.searchsorted(curve.x, takes.at, "left"))
    near = [each for each in (right - 1, right) if 0 <= each < len(curve.x)]
    place = min(near, key=lambda each: abs(float(curve.x[each]) - takes.at))
    place = int(np.searchsorted(curve.x, curve.x[place], "right")) - 1  # of equal x the last logged
    at = int(curve.smooth[place])
    return {
        "step": steps([points.steps[at].item()])[0], "value": number(float(points.values[at])),
        "time": int(points.times[at]), "x": number(float(curve.x[place])),
    }  # fmt: skip


def _nearest_step(reader: RunReader, path: str, at: float) -> dict[str, Json] | None:
    place = reader.point_place(path, at)
    near = reader.point_page(path, max(0, place - 1), 2).points.steps.tolist()
    if not near:
        return None
    step = min(near, key=lambda each: abs(each - at))
    points = reader.point_page(path, reader.point_place(path, step, is_after=True) - 1, 1).points  # the last logged
    return {
        "step": steps(points.steps)[0], "value": number(float(points.values[0])), "time": int(points.times[0]),
        "x": number(float(points.steps[0])),
    }  # fmt: skip


CSV_AND_ARROW = ("application/json", "text/csv", "application/vnd.apache.arrow.stream")
ROUTES = (
    Route("GET", "/series", series, SeriesWanted, "Stored points of series", also_post=True, media=CSV_AND_ARROW),
    Route(
        "GET", "/chart", chart, ChartWanted, "Series drawn in a range", also_post=True,
        media=("application/vnd.naiad.chart", "application/json"),
    ),
    Route("GET", "/nearest", nearest, NearestWanted, "Stored points nearest to an x", also_post=True),
)  # fmt: skip
