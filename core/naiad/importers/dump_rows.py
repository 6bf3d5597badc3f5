"""Rows of a dump, turned into records: one long table, in which each field has rows of its own."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np

from naiad.errors import DamagedData
from naiad.export.arrow import arrow
from naiad.gitref import GitRef
from naiad.importer import Progress
from naiad.importers.dump_clock import Clock
from naiad.importers.dump_files import DumpFiles, parsed
from naiad.importers.dump_parts import BATCH, COLUMNS, damaged, needed, opened, spans
from naiad.importers.dump_view import View, booleans, chosen, numbers
from naiad.kinds import ATOM_OF, LINES, MEMBERS, POINTS, TAGS
from naiad.records import (
    Axis,
    Commit,
    Content,
    Files,
    Note,
    Points,
    Record,
    Skipped,
    Tags,
    Texts,
    Upload,
    Value,
)
from naiad.refs import FileRef
from naiad.types import Artifact as ArtifactValue
from naiad.types import FileSeries, Histogram, HistogramSeries

_SERIES = {
    "float_series": POINTS,
    "string_series": LINES,
    "histogram_series": HistogramSeries.kind,
    "file_series": FileSeries.kind,
}
_ATOMS = {
    "float": (ATOM_OF[float], "float_value"),
    "int": (ATOM_OF[int], "int_value"),
    "string": (ATOM_OF[str], "string_value"),
    "bool": (ATOM_OF[bool], "bool_value"),
    "datetime": (ATOM_OF[datetime], "datetime_value"),
}
_FILES = {"file": FileRef.kind, "file_set": MEMBERS, "artifact": ArtifactValue.kind}
KINDS = {**_SERIES, **{name: kind for name, (kind, _column) in _ATOMS.items()}, **_FILES, "string_set": TAGS}


class Rows:
    """The rows of a run, turned into records."""

    def __init__(self, names: tuple[str, str], application: str, files: DumpFiles, clock: Clock) -> None:
        self._ids = dict(zip(COLUMNS[:2], names, strict=True))
        self._is_ours = application == "naiad"
        self._application = application
        self._files = files
        self._clock = clock
        self._entries: dict[str, list[tuple[Any, Any, Any, Content | Skipped]]] = {}
        self._axes: set[str] = set()
        self._has_noted_steps = False

    def part(self, path: str, progress: Progress) -> Iterator[Record]:
        """Read one part; a damaged row group costs its rows only."""
        pa = arrow()
        try:
            file = opened(path)
        except DamagedData as error:
            yield Skipped("", "", str(error), where=path)
            return
        with file:
            size, total = os.stat(path).st_size, max(1, file.metadata.num_rows)
            for groups in spans(file):
                rows = sum(file.metadata.row_group(number).num_rows for number in groups)
                yield from self._span(pa, file, path, groups)
                progress(size * rows // total)

    def _span(self, pa: Any, file: Any, path: str, groups: Sequence[int]) -> Iterator[Record]:
        columns = needed(file, groups, self._ids)
        # Small row groups are read together, since each call of Arrow has a price of its own.
        if len(groups) > 1:
            try:
                # In this thread: handing each of these small columns to another one takes longer than decoding it.
                table = file.read_row_groups(groups, columns=columns, use_threads=False).combine_chunks()
            except (OSError, pa.ArrowException, ValueError):  # of one of them: reading each alone shows of which
                for number in groups:
                    yield from self._span(pa, file, path, [number])
            else:
                for batch in table.to_batches():
                    yield from self._batch(pa, batch, f"{path}, row groups {groups[0]} to {groups[-1]}")
            return
        [number] = groups
        where = f"{path}, row group {number}"
        try:
            for batch in file.iter_batches(batch_size=BATCH, row_groups=groups, columns=columns):
                yield from self._batch(pa, batch, where)
        except (OSError, pa.ArrowException, ValueError) as error:
            rows = file.metadata.row_group(number).num_rows
            yield Skipped("", "", str(damaged(path, error, number)), rows, where=where)

    def end(self) -> Iterator[Record]:
        """Yield the file series, whose rows are not sorted."""
        for path, entries in self._entries.items():
            # The exporter does not sort the rows of a file series.
            entries.sort(key=lambda each: (each[0] is None, each[0] or 0))
            yield from (each for _step, _time, _shift, each in entries if isinstance(each, Skipped))
            kept = [each for each in entries if not isinstance(each[3], Skipped)]
            steps, times = [each[0] for each in kept], [each[1] for each in kept]
            has_times = any(time is not None for time in times)
            files: list[Any] = [each[3] for each in kept]
            yield Files(path, files, steps, times if has_times else None)
            if not self._is_ours and self._application == "2.x" and not self._has_noted_steps:
                self._has_noted_steps = True
                yield Note("Steps of file series are the positions of the files, as the exporter keeps no others.")

    def _batch(self, pa: Any, batch: Any, where: str) -> Iterator[Record]:
        if not batch.num_rows:
            return
        columns = {name: batch.column(place) for place, name in enumerate(batch.schema.names)}
        # A dump that was put together by hand may mix runs; their points must not end in one series.
        foreign = self._foreign(pa, columns)
        if foreign is not None:
            count = int(np.count_nonzero(foreign))
            yield Skipped("", "", f"{count:,} rows are of another run than the first", count, where=where)
            batch = batch.filter(pa.array(~foreign))
            columns = {name: batch.column(place) for place, name in enumerate(batch.schema.names)}
            if not batch.num_rows:
                return
        paths, kinds = (columns[name].dictionary_encode() for name in ("attribute_path", "attribute_type"))
        places, types = (numbers(each.indices, -1) for each in (paths, kinds))
        # One number for path and type: a path has rows of two types where the project had both.
        codes = places.astype(np.int64) * (len(kinds.dictionary) + 1) + types
        order = None
        cuts = np.flatnonzero(np.diff(codes)) + 1
        if len(cuts) > 4 * (len(paths.dictionary) + 1):  # fields alternate: bring each one's rows together
            order = np.argsort(codes, kind="stable")
            batch = chosen(pa, batch, order)
            columns = {name: batch.column(place) for place, name in enumerate(batch.schema.names)}
            codes, places, types = codes[order], places[order], types[order]
            cuts = np.flatnonzero(np.diff(codes)) + 1
        bounds = [0, *cuts.tolist(), len(codes)]
        path_names, kind_names = paths.dictionary.to_pylist(), kinds.dictionary.to_pylist()
        view = View(pa, columns)
        for start, end in itertools.pairwise(bounds):
            if places[start] < 0 or types[start] < 0:
                yield Skipped("", "", "rows without a path or a type", end - start, where=where)
                continue
            yield from self._rows(view, path_names[places[start]], kind_names[types[start]], start, end, where)

    def _foreign(self, pa: Any, columns: Mapping[str, Any]) -> Any:
        """Return which rows are of another run than the first; None if none are."""
        found = None
        for name, own in self._ids.items():
            if name not in columns:  # statistics have shown that all rows are of the run
                continue
            alike = booleans(pa.compute.equal(columns[name], own))
            if not alike.all():
                other = ~alike
                found = other if found is None else found | other
        return found

    def _rows(self, view: View, path: str, kind: str, start: int, end: int, where: str) -> Iterator[Record]:
        own = view.texts("naiad_kind", start, end)[0] if self._is_ours else None
        where = f"{where}, rows {start} to {end - 1}"
        # naiad's own column has kinds that the exporter lacks; its type is a text there.
        kind = own or kind
        if kind in ("float_series", "string_series", "histogram_series"):
            yield from self._series(view, path, kind, start, end, where)
        elif kind == "file_series":
            self._file_entries(view, path, start, end, where)
        elif kind in _ATOMS:
            yield from self._atom(view, path, kind, start, end, where)
        elif kind == "string_set":
            found = [value for value in view.lists("string_set_value", start, end) if value is not None]
            if found:
                yield Tags(path, [str(text) for text in found[-1] if text is not None])
            else:
                yield _phantom(path, TAGS, where)
        elif kind in _FILES:
            yield from self._file(view, path, kind, start, end, where)
        else:
            yield from self._other(view, path, kind, start, end, where)

    def _atom(self, view: View, path: str, kind: str, start: int, end: int, where: str) -> Iterator[Record]:
        name, column = _ATOMS[kind]
        if kind == "datetime":
            values = view.microseconds("naiad_time" if self._is_ours else column, start, end)
        else:
            values = view.plain(column, start, end)
            if self._is_ours and name == ATOM_OF[str]:
                values = _exact(values, view.texts("naiad_value", start, end))
        values = [value for value in values if value is not None]
        if not values:
            yield _phantom(path, name, where)
            return
        # The last row, as a field that was assigned again has several.
        yield Value(path, name, values[-1])

    def _other(self, view: View, path: str, kind: str, start: int, end: int, where: str) -> Iterator[Record]:
        """Yield fields of kinds that only naiad exports."""
        text = view.texts("naiad_value", start, end)[-1] if self._is_ours else None
        facts = parsed(text)
        if kind == GitRef.kind and facts is not None:
            try:
                yield Commit(path, _git(facts))
                return
            except (TypeError, ValueError):
                pass
        elif kind == "run_state" and self._is_ours:
            yield Value(path, ATOM_OF[str], view.texts("string_value", start, end)[-1] or "")
            return
        yield Skipped(path, "", f"the type {kind!r} is not known", end - start, where=where)

    def _series(self, view: View, path: str, kind: str, start: int, end: int, where: str) -> Iterator[Record]:
        name = _SERIES[kind]
        column = {"float_series": "float_value", "string_series": "string_value"}.get(kind, "histogram_value")
        if self._is_ours and view.plain("attribute_type", start, start + 1) and path not in self._axes:
            self._axes.add(path)
            facts = parsed(view.texts("naiad_value", start, start + 1)[0])
            if kind == "float_series" and facts is not None:
                yield Axis(path, facts.get("min"), facts.get("max"), facts.get("unit"))
        # NaN is a value and null is none: the exporter writes null rows for series that another run of its batch has.
        is_there = view.is_valid(column, start, end)
        if not is_there.all():
            missing = int(np.count_nonzero(~is_there))
            is_empty = self._is_ours and end - start == 1
            if not is_empty:
                yield Skipped(path, name, "rows without a value, as the exporter writes them", missing, False, where)
            if not is_there.any():
                if is_empty:
                    yield Points(path, [], [], []) if kind == "float_series" else Texts(path, name, [], [], [])
                return
        steps = self._steps(view, start, end)[is_there]
        times = view.seconds("timestamp", start, end)[is_there]
        # Times of the exporter may be off by the zone of its machine, which the whole dump has in common.
        shift = self._clock.shift(times)
        if kind == "float_series":
            yield Points(path, view.floats(column, start, end)[is_there], steps, times, shift=shift)
            return
        values = view.plain(column, start, end)
        exact = view.texts("naiad_value", start, end) if self._is_ours else []
        values = _exact(values, exact) if kind == "string_series" and exact else values
        exact = [text for value, text in zip(values, exact, strict=False) if value is not None]
        values = [value for value in values if value is not None]
        if kind == "string_series":
            yield Texts(path, name, values, steps, times, shift=shift)
            return
        texts, kept = [], []
        for place, value in enumerate(values):
            text = _histogram(value) if not exact else _whole_histogram(exact[place])
            if isinstance(text, str):
                texts.append(text)
                kept.append(place)
            else:
                yield Skipped(path, name, f"the histogram cannot be kept: {text}", where=where)
        yield Texts(
            path, name, texts, steps[kept], times[kept], shift=shift if not hasattr(shift, "__len__") else shift[kept]
        )

    def _steps(self, view: View, start: int, end: int) -> Any:
        if not self._is_ours:
            return view.decimals("step", start, end)
        whole = view.is_valid("naiad_whole_step", start, end)
        if whole.all():
            return view.integers("naiad_whole_step", start, end)
        steps = view.floats("naiad_step", start, end)
        if not whole.any():
            return steps
        exact = view.plain("naiad_whole_step", start, end)
        # Objects, because neither type of numbers holds both fractions and integers above 2**53.
        return np.array([a if a is not None else b for a, b in zip(exact, steps.tolist(), strict=True)], object)

    def _file_entries(self, view: View, path: str, start: int, end: int, where: str) -> None:
        paths = view.fields("file_value", "path", start, end)
        steps = self._steps(view, start, end).tolist()
        times = view.seconds("timestamp", start, end)
        texts = view.texts("naiad_value", start, end) if self._is_ours else [None] * (end - start)
        entries = self._entries.setdefault(path, [])
        for place, name in enumerate(paths):
            step = steps[place]
            # NaN, which is how a null comes out of a column of floats.
            step = None if isinstance(step, float) and step != step else step
            time = None if times[place] != times[place] else float(times[place])
            if name is None:
                if not self._is_ours:
                    entries.append((step, time, None, _phantom(path, FileSeries.kind, where)))
                continue
            content = self._files.content(path, FileSeries.kind, name, where, texts[place])
            entries.append((step, time, None, content))

    def _file(self, view: View, path: str, kind: str, start: int, end: int, where: str) -> Iterator[Record]:
        name = _FILES[kind]
        paths = [each for each in view.fields("file_value", "path", start, end) if each is not None]
        if not paths:
            yield _phantom(path, name, where)
            return
        text = view.texts("naiad_value", start, end)[-1] if self._is_ours else None
        if kind == "file":
            yield Upload(path, self._files.content(path, name, paths[-1], where, text))
            return
        place = self._files.place(paths[-1])
        if place is None:
            yield Skipped(path, name, f"the path {paths[-1]!r} leads out of the dump", where=where)
        elif kind == "file_set":
            yield from self._files.members(path, place, where, text)
        else:
            yield self._files.artifact(path, place, where, text)


def _phantom(path: str, kind: str, where: str) -> Skipped:
    return Skipped(
        path, kind, "a row without a value, as the exporter writes for fields of other runs", 1, False, where
    )


def _histogram(value: Mapping[str, Any]) -> str | Exception:
    """Return a histogram as a series stores it, or why it is none."""
    try:
        edges, heights = value["edges"], value["values"]
        whole = [int(each) for each in heights] if all(float(each).is_integer() for each in heights) else heights
        if "dens" in str(value.get("type") or "").lower():
            return Histogram(edges, densities=heights).to_text()
        return Histogram(edges, counts=whole).to_text()
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        return error


def _whole_histogram(text: object) -> str | Exception:
    """Return a histogram that naiad wrote, checked."""
    try:
        return Histogram.from_text(str(text)).to_text()
    except ValueError as error:
        return error


def _exact(values: Sequence[Any], notes: Sequence[Any]) -> list[Any]:
    """Return texts as they were, where UTF-8 could not hold them."""
    found = [(parsed(note) or {}).get("text") for note in notes]
    return [exact if isinstance(exact, str) else value for value, exact in zip(values, found, strict=True)]


def _git(facts: Mapping[str, Any]) -> GitRef:
    moment = facts.get("commit_date")
    known = {name: facts[name] for name in GitRef.__struct_fields__ if name in facts}
    known["commit_date"] = datetime.fromisoformat(moment) if isinstance(moment, str) else None
    known["remotes"] = tuple(facts.get("remotes") or ())
    return GitRef(**known)
