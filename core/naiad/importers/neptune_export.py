"""Dumps of Neptune's exporter, of its 2.x and 3.x applications, and of `naiad export`: parquet files, and files beside.

One long table in parts of about 50 MB for each run; names and ids stand in its columns and are never parsed out of file
names. Parts are read batch by batch.
"""

from __future__ import annotations

import functools
import itertools
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from naiad.container_kinds import MODEL, MODEL_VERSION, RUN
from naiad.errors import DamagedData, ImportRefused, InvalidArgument
from naiad.export.arrow import arrow
from naiad.files.tracked import TrackedFile
from naiad.gitref import GitRef
from naiad.hookspecs import hookimpl
from naiad.importer import Importer, Progress, Source
from naiad.importers import sniff, zips
from naiad.kinds import ATOM_OF, LINES, MEMBERS, PARENT, POINTS, TAGS
from naiad.records import (
    Artifact,
    Axis,
    Commit,
    Content,
    Files,
    Members,
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

NAME: Final = "neptune-export"
BATCH: Final = 65_536
HEAD: Final = 20_000
"""Rows in which the facts of a run are looked for: the exporter writes parameters first."""
ERRORS: Final = "neptune_exporter_errors.jsonl"
DEEPEST: Final = 8
QUARTER: Final = 900
EARLY, LATE = -120.0, 420.0
"""Seconds by which the first point of a run may come before and after its creation."""
_PART = re.compile(r"(?P<run>.+)_part_(?P<number>[0-9]+)\.parquet\Z", re.DOTALL)
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
_KINDS = {**_SERIES, **{name: kind for name, (kind, _column) in _ATOMS.items()}, **_FILES, "string_set": TAGS}
COLUMNS: Final = (
    *("project_id", "run_id", "attribute_path", "attribute_type", "step", "timestamp", "int_value", "float_value"),
    *("string_value", "bool_value", "datetime_value", "string_set_value", "file_value", "histogram_value"),
)
OWN: Final = ("naiad_kind", "naiad_step", "naiad_whole_step", "naiad_time", "naiad_value")


@dataclass
class Container:
    """One run, model or model version of a dump. Its ids are read when they are first needed."""

    kind: str
    parts: list[str]
    files: str
    """Where its project's files lie."""
    errors: str
    zone: str
    size: int
    problems: list[tuple[str, bool]] = field(default_factory=list)
    """Sentences about its files, and whether data is missing for it."""

    @functools.cached_property
    def _facts(self) -> dict[str, Any]:
        return _facts(self.parts)

    @property
    def identity(self) -> str:
        """Project and run id, as they stand in the columns."""
        return f"neptune-export:{self._facts['project_id']}:{self._facts['run_id']}"

    @property
    def id(self) -> str | None:
        """The id that Neptune showed; 3.x names its runs by a custom id."""
        kind = next(each for each in (RUN, MODEL, MODEL_VERSION) if each.name == self.kind)
        for name in (self._facts["run_id"], self._facts.get("sys/id")):
            if isinstance(name, str) and kind.id_form.match(name):
                return name
        return str(self._facts["run_id"])

    @property
    def project(self) -> str | None:
        """The project in the columns."""
        return str(self._facts["project_id"])

    @property
    def parent(self) -> str:
        """The model of a version; of a run the id that its parent had in naiad."""
        return str(self._facts.get(PARENT if self.kind == RUN.name else "sys/model_id") or "")

    @property
    def created(self) -> float | None:
        """The creation time that the server kept."""
        found: float | None = self._facts.get("sys/creation_time")
        return found

    @property
    def facts(self) -> Mapping[str, Any]:
        """The place of the first part, and the version of the application."""
        return {"file": self.parts[0], "application": self._application, "run_id": str(self._facts["run_id"])}

    @property
    def _application(self) -> str:
        facts = self._facts
        if facts["is_ours"]:
            return "naiad"
        custom, own = facts.get("sys/custom_run_id"), facts.get("sys/id")
        is_new = facts["is_new"] or (custom == facts["run_id"] and own is not None and own != facts["run_id"])
        return "3.x" if is_new else "2.x"

    def records(self, progress: Progress) -> Iterator[Record]:
        """Read all parts."""
        yield from (Skipped("", "", text, is_loss=is_loss, where=self.parts[0]) for text, is_loss in self.problems)
        yield from self._failures()
        clock = _Clock(self)
        if clock.note:
            yield Note(clock.note)
        table = _Table(self, clock)
        for part in self.parts:
            yield from table.part(part, progress)
        yield from table.end()

    def _failures(self) -> Iterator[Record]:
        mine = _failures(self.errors).get((str(self._facts["project_id"]), str(self._facts["run_id"])), ())
        for path, kind, text in mine:
            yield Skipped(path, _KINDS.get(kind, ""), f"the exporter could not fetch it: {text}", where=self.errors)


def find(path: Path, options: Mapping[str, Any]) -> Source:
    """Return the runs and models of a dump: of its root, its data folder, a project's folder or a file."""
    arrow()
    zone = str(options.get("source-timezone") or "")
    if zone:
        _zone(zone)
    if path.is_file() and not _PART.match(path.name):
        raise ImportRefused(f"{str(path)!r} is no part of a dump: those are called ..._part_0.parquet.", path=str(path))
    groups: dict[tuple[str, str], list[tuple[int, str]]] = {}
    unfinished: set[tuple[str, str]] = set()
    for place in [path] if path.is_file() else _parquet_files(path):
        found = _PART.match(place.name.removesuffix(".tmp"))
        if found is None:
            continue
        name = (str(place.parent), found["run"])
        if place.name.endswith(".tmp"):
            unfinished.add(name)
        else:
            groups.setdefault(name, []).append((int(found["number"]), str(place)))
    problems = [
        Skipped(
            "",
            "",
            "the exporter has not finished this part, and no other one of the run is there",
            where=f"{folder}/{run}",
        )
        for folder, run in sorted(unfinished - groups.keys())
    ]
    if not groups and not problems:
        raise ImportRefused(
            f"{str(path)!r} holds no dump of Neptune's exporter: there is no file ..._part_0.parquet.\n"
            "Name the folder with data/ and files/ in it.",
            path=str(path),
        )
    containers = [
        _container(Path(folder), sorted(parts), (folder, run) in unfinished, path, options)
        for (folder, run), parts in sorted(groups.items())
    ]
    return Source(containers, [*problems, *_orphans(containers)])


def _parquet_files(root: Path) -> Iterator[Path]:
    waiting = [(root, 0)]
    while waiting:
        folder, depth = waiting.pop(0)
        try:
            entries = sorted(os.scandir(folder), key=lambda each: each.name)
        except OSError:
            continue
        for each in entries:
            if each.is_dir(follow_symlinks=False):
                if depth < DEEPEST and each.name not in ("files", "model_files"):
                    waiting.append((Path(each.path), depth + 1))
            elif each.name.endswith((".parquet", ".parquet.tmp")) and each.is_file(follow_symlinks=False):
                yield Path(each.path)


def _container(
    folder: Path, parts: Sequence[tuple[int, str]], is_unfinished: bool, root: Path, options: Mapping[str, Any]
) -> Container:
    kind = {"models": MODEL, "model_versions": MODEL_VERSION}.get(folder.name, RUN)
    project = folder if kind is RUN else folder.parent
    data = project.parent
    beside = {"data": "files", "model_data": "model_files"}.get(data.name, "files" if kind is RUN else "model_files")
    files = Path(str(options.get("files") or data.parent / beside)) / project.name
    numbers = [number for number, _path in parts]
    problems: list[tuple[str, bool]] = []
    if 0 not in numbers:
        problems.append(
            ("part 0 is missing, which the exporter writes last: the dump of this run is not complete", True)
        )
    missing = sorted(set(range(1, max(numbers))) - set(numbers))
    if missing:
        problems.append((f"part {', '.join(map(str, missing))} is missing", True))
    if is_unfinished:
        problems.append(("a part of it (.tmp) was not finished, and is not read", True))
    named = options.get("errors")
    errors = next(
        (each for each in ([Path(str(named))] if named else _errors_near(root, data)) if each.is_file()), None
    )
    size = sum(os.stat(path).st_size for _number, path in parts)
    return Container(
        kind.name, [path for _number, path in parts], str(files), str(errors or ""),
        str(options.get("source-timezone") or ""), size, problems,
    )  # fmt: skip


def _errors_near(root: Path, data: Path) -> list[Path]:
    return [folder / ERRORS for folder in dict.fromkeys((root, data, data.parent, data.parent.parent))]


@functools.lru_cache(maxsize=8)
def _failures(path: str) -> dict[tuple[str, str], list[tuple[str, str, str]]]:
    """Return the failures that the exporter noted, by project and run."""
    found: dict[tuple[str, str], list[tuple[str, str, str]]] = {}
    if not path:
        return found
    with open(path, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            try:
                facts = json.loads(line)
                name = (str(facts["project_id"]), str(facts["run_id"]))
                texts = (str(facts.get(key) or "") for key in ("attribute_path", "attribute_type", "exception"))
                found.setdefault(name, []).append(tuple(texts))  # type: ignore[arg-type]  # three of them
            except (ValueError, KeyError, TypeError, RecursionError):
                if line.strip():
                    found.setdefault(("", ""), []).append(("", "", f"a damaged line: {line.strip()[:80]!r}"))
    return found


def _orphans(containers: Sequence[Container]) -> Iterator[Skipped]:
    """Yield the failures of runs that have left no file."""
    for path in {each.errors for each in containers if each.errors}:
        known = set()
        for each in containers:
            try:
                known.add((str(each._facts["project_id"]), str(each._facts["run_id"])))
            except DamagedData:
                continue
        for (project, run), failures in _failures(path).items():
            if (project, run) not in known:
                for attribute, _kind, text in failures:
                    reason = f"the exporter could not fetch {project} {run} {attribute}: {text}".replace("  ", " ")
                    yield Skipped(attribute, "", reason, where=path)


def _damaged(path: str, error: object, row_group: int | None = None) -> DamagedData:
    where = "" if row_group is None else f", row group {row_group}"
    what = f"it is no parquet that can be read ({error})"
    return DamagedData(f"{path}{where} is damaged: {what}.", file=path, offset=0, what=what)


def _opened(path: str) -> Any:
    pa = arrow()
    try:
        found = pa.parquet.ParquetFile(path, memory_map=False)
    except (OSError, pa.ArrowException, ValueError) as error:
        raise _damaged(path, error) from error
    missing = [name for name in COLUMNS[:4] if name not in found.schema_arrow.names]
    if missing:
        found.close()
        raise _damaged(path, f"the column {missing[0]} is missing")
    return found


_LOOKED_FOR = ("sys/id", "sys/custom_run_id", "sys/model_id", PARENT)


def _facts(parts: Sequence[str]) -> dict[str, Any]:
    """Return the ids and times of a run, from the first rows of its parts."""
    pa = arrow()
    facts: dict[str, Any] = {"is_new": False, "is_ours": False}
    for path in parts:
        with _opened(path) as file:
            names = [*COLUMNS[:4], "string_value", "datetime_value"]
            facts["is_ours"] = OWN[0] in file.schema_arrow.names
            columns = [name for name in names if name in file.schema_arrow.names]
            left = HEAD
            try:
                for number in range(file.num_row_groups):
                    if "project_id" in facts and not _may_have_facts(file, number):
                        continue
                    for batch in file.iter_batches(batch_size=2_000, row_groups=[number], columns=columns):
                        _gather(pa, facts, batch)
                        left -= batch.num_rows
                        if left <= 0 or _is_known(facts):
                            break
                    if left <= 0 or _is_known(facts):
                        break
            except (OSError, pa.ArrowException, ValueError) as error:
                if "project_id" not in facts:
                    raise _damaged(path, error) from error
        if _is_known(facts):
            break
    if facts.get("project_id") is None or facts.get("run_id") is None:
        raise _damaged(parts[0], "it has no rows with a project and a run")
    return facts


def _may_have_facts(file: Any, number: int) -> bool:
    """Whether some path of a row group may begin with sys/, by the statistics of the column."""
    place = file.metadata.schema.names.index("attribute_path")
    statistics = file.metadata.row_group(number).column(place).statistics
    if statistics is None or not statistics.has_min_max:
        return True
    return str(statistics.min) < "sys0" and str(statistics.max) > "sys/"  # 0 comes after / in UTF-8


def _is_known(facts: Mapping[str, Any]) -> bool:
    return "sys/creation_time" in facts and "sys/id" in facts


def _gather(pa: Any, facts: dict[str, Any], batch: Any) -> None:
    if not batch.num_rows:
        return
    names = batch.schema.names
    columns = {name: batch.column(place) for place, name in enumerate(names)}
    for name in ("project_id", "run_id"):
        facts.setdefault(name, columns[name][0].as_py())
    wanted = pa.compute.starts_with(columns["attribute_path"], "sys/")
    sys = batch.filter(wanted)
    texts = {name: sys.column(place).to_pylist() for place, name in enumerate(names) if name != "datetime_value"}
    for row, path in enumerate(texts["attribute_path"]):
        if path in _LOOKED_FOR and texts.get("string_value", [None] * (row + 1))[row] is not None:
            facts.setdefault(path, texts["string_value"][row])
        elif path == "sys/creation_time" and "datetime_value" in names:
            moment = (
                sys.column(names.index("datetime_value")).cast(pa.timestamp("us", "UTC")).cast(pa.int64())[row].as_py()
            )
            if moment is not None:
                facts.setdefault(path, moment / 1e6)
        elif path is not None and path.startswith("sys/forking/"):
            facts["is_new"] = True


# The clock of series


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidArgument(
            f"There is no time zone {name!r}.\nGive one such as Europe/Berlin, or UTC.", argument="source-timezone"
        ) from None


class _Clock:
    """The clock of the times of series: in a dump of 2.x, local time as if it were UTC."""

    def __init__(self, container: Container) -> None:
        self.note = ""
        self._zone: ZoneInfo | None = None
        self._offset = 0.0
        if container.zone:
            self._zone = _zone(container.zone)
            self.note = f"Times of series are taken as {container.zone}, as --source-timezone names."
        elif container._application == "2.x" and container.created is not None:
            self._infer(container.parts, container.created)

    def _infer(self, parts: Sequence[str], created: float) -> None:
        """Compare the first time of a series with the creation time, which the server kept in UTC."""
        first = _first_time(parts)
        if first is None:
            return
        ahead = first - created
        rounded = round(ahead / QUARTER) * QUARTER
        if rounded and -12 * 3600 <= rounded <= 14 * 3600 and EARLY <= ahead - rounded <= LATE:
            self._offset = float(rounded)
            hours, minutes = divmod(abs(rounded) // 60, 60)
            sign = "+" if rounded > 0 else "-"
            self.note = (
                f"Times of series were {sign}{hours:02d}:{minutes:02d} off, because the exporter wrote local times, "
                "and are put right. This was inferred from the creation time; --source-timezone overrides it."
            )

    def shift(self, times: Any) -> Any:
        """Return the seconds to be added to each time; None for none."""
        import numpy as np

        if self._zone is None:
            return -self._offset if self._offset else None
        quarters, places = np.unique(np.floor(np.asarray(times, np.float64) / QUARTER), return_inverse=True)
        offsets = [self._offset_at(quarter * QUARTER) for quarter in quarters.tolist()]
        return -np.array(offsets, np.float64)[places]

    def _offset_at(self, wall: float) -> float:
        """Return the offset of the zone at a wall time, given as if that were UTC."""
        if not abs(wall) < 1e11:
            return 0.0
        naive = datetime.fromtimestamp(wall, timezone.utc).replace(tzinfo=self._zone)
        offset = naive.utcoffset()
        return offset.total_seconds() if offset is not None else 0.0


def _first_time(parts: Sequence[str]) -> float | None:
    """Return the earliest time of a series, from the statistics of the parts where they have some."""
    pa = arrow()
    found: list[float] = []
    for path in parts:
        try:
            with _opened(path) as file:
                if "timestamp" not in file.schema_arrow.names:
                    continue
                place = file.metadata.schema.names.index("timestamp")
                for number in range(file.num_row_groups):
                    statistics = file.metadata.row_group(number).column(place).statistics
                    if statistics is not None and statistics.has_min_max:
                        found.append(statistics.min.timestamp())
                    elif statistics is None or statistics.null_count != file.metadata.row_group(number).num_rows:
                        column = file.read_row_group(number, columns=["timestamp"]).column(0)
                        least = pa.compute.min(column.cast(pa.timestamp("ms", "UTC")).cast(pa.int64())).as_py()
                        found += [] if least is None else [least / 1000]
        except (DamagedData, OSError, pa.ArrowException, ValueError, AttributeError):
            continue  # reading the part reports it
    return min(found, default=None)


# The rows


def _spans(file: Any) -> Iterator[list[int]]:
    """Yield the row groups of a file, small ones together.

    The exporter writes a group for each field of a short run, and each call of Arrow costs 0.6 ms: ten groups of 1,000
    rows took four times as long as their rows. Beyond `BATCH` rows a group is read alone, in batches.
    """
    span: list[int] = []
    count = 0
    for number in range(file.num_row_groups):
        rows = file.metadata.row_group(number).num_rows
        if span and count + rows > BATCH:
            yield span
            span, count = [], 0
        span.append(number)
        count += rows
    if span:
        yield span


def _filled(file: Any, groups: Sequence[int]) -> list[str]:
    """Return the columns that have a value in one of these row groups: most of them are null in most groups.

    Lists are never left out: the statistics count an empty one like null.
    """
    found: dict[str, None] = {}
    for number in groups:
        group = file.metadata.row_group(number)
        for place in range(group.num_columns):
            column = group.column(place)
            statistics = column.statistics
            is_null = (
                ".list." not in column.path_in_schema
                and statistics is not None
                and statistics.has_null_count
                and statistics.null_count == column.num_values
            )
            if not is_null:
                found[column.path_in_schema.partition(".")[0]] = None
    return [name for name in file.schema_arrow.names if name in found]


class _Table:
    """The rows of a run, turned into records."""

    def __init__(self, container: Container, clock: _Clock) -> None:
        self._container = container
        self._clock = clock
        self._names = (str(container._facts["project_id"]), str(container._facts["run_id"]))
        self._is_ours = bool(container._facts["is_ours"])
        self._entries: dict[str, list[tuple[Any, Any, Any, Content | Skipped]]] = {}
        self._axes: set[str] = set()
        self._has_noted_steps = False
        self._tags: dict[str, list[str]] = {}

    def part(self, path: str, progress: Progress) -> Iterator[Record]:
        """Read one part; a damaged row group costs its rows only."""
        pa = arrow()
        try:
            file = _opened(path)
        except DamagedData as error:
            yield Skipped("", "", str(error), where=path)
            return
        with file:
            size, total = os.stat(path).st_size, max(1, file.metadata.num_rows)
            for groups in _spans(file):
                rows = sum(file.metadata.row_group(number).num_rows for number in groups)
                yield from self._span(pa, file, path, groups)
                progress(size * rows // total)

    def _span(self, pa: Any, file: Any, path: str, groups: Sequence[int]) -> Iterator[Record]:
        if len(groups) > 1:
            try:
                table = file.read_row_groups(groups, columns=_filled(file, groups)).combine_chunks()
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
            for batch in file.iter_batches(batch_size=BATCH, row_groups=groups, columns=_filled(file, groups)):
                yield from self._batch(pa, batch, where)
        except (OSError, pa.ArrowException, ValueError) as error:
            rows = file.metadata.row_group(number).num_rows
            yield Skipped("", "", str(_damaged(path, error, number)), rows, where=where)

    def end(self) -> Iterator[Record]:
        """Yield the file series, whose rows are not sorted."""
        for path, entries in self._entries.items():
            entries.sort(key=lambda each: (each[0] is None, each[0] or 0))
            yield from (each for _step, _time, _shift, each in entries if isinstance(each, Skipped))
            kept = [each for each in entries if not isinstance(each[3], Skipped)]
            steps, times = [each[0] for each in kept], [each[1] for each in kept]
            has_times = any(time is not None for time in times)
            files: list[Any] = [each[3] for each in kept]
            yield Files(path, files, steps, times if has_times else None)
            if not self._is_ours and self._container._application == "2.x" and not self._has_noted_steps:
                self._has_noted_steps = True
                yield Note("Steps of file series are the positions of the files, as the exporter keeps no others.")

    def _batch(self, pa: Any, batch: Any, where: str) -> Iterator[Record]:
        import numpy as np

        if not batch.num_rows:
            return
        columns = {name: batch.column(place) for place, name in enumerate(batch.schema.names)}
        foreign = self._foreign(pa, columns)
        if foreign is not None:
            count = int(np.count_nonzero(foreign))
            yield Skipped("", "", f"{count:,} rows are of another run than the first", count, where=where)
            batch = batch.filter(pa.array(~foreign))
            columns = {name: batch.column(place) for place, name in enumerate(batch.schema.names)}
            if not batch.num_rows:
                return
        paths, kinds = (columns[name].dictionary_encode() for name in ("attribute_path", "attribute_type"))
        places, types = (each.indices.fill_null(-1).to_numpy(zero_copy_only=False) for each in (paths, kinds))
        codes = places.astype(np.int64) * (len(kinds.dictionary) + 1) + types
        order = None
        cuts = np.flatnonzero(np.diff(codes)) + 1
        if len(cuts) > 4 * (len(np.unique(codes)) + 1):  # fields alternate: bring each one's rows together
            order = np.argsort(codes, kind="stable")
            batch = batch.take(pa.array(order))
            columns = {name: batch.column(place) for place, name in enumerate(batch.schema.names)}
            codes, places, types = codes[order], places[order], types[order]
            cuts = np.flatnonzero(np.diff(codes)) + 1
        bounds = [0, *cuts.tolist(), len(codes)]
        path_names, kind_names = paths.dictionary.to_pylist(), kinds.dictionary.to_pylist()
        view = _View(pa, columns)
        for start, end in itertools.pairwise(bounds):
            if places[start] < 0 or types[start] < 0:
                yield Skipped("", "", "rows without a path or a type", end - start, where=where)
                continue
            yield from self._rows(view, path_names[places[start]], kind_names[types[start]], start, end, where)

    def _foreign(self, pa: Any, columns: Mapping[str, Any]) -> Any:
        """Return which rows are of another run than the first; None if none are."""
        found = None
        for name, own in zip(("project_id", "run_id"), self._names, strict=True):
            alike = pa.compute.fill_null(pa.compute.equal(columns[name], own), False)
            if pa.compute.all(alike).as_py() is False:
                other = ~alike.to_numpy(zero_copy_only=False)
                found = other if found is None else found | other
        return found

    def _rows(self, view: _View, path: str, kind: str, start: int, end: int, where: str) -> Iterator[Record]:
        own = view.texts("naiad_kind", start, end)[0] if self._is_ours else None
        where = f"{where}, rows {start} to {end - 1}"
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
            yield from self._files(view, path, kind, start, end, where)
        else:
            yield from self._other(view, path, kind, start, end, where)

    def _atom(self, view: _View, path: str, kind: str, start: int, end: int, where: str) -> Iterator[Record]:
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
        yield Value(path, name, values[-1])

    def _other(self, view: _View, path: str, kind: str, start: int, end: int, where: str) -> Iterator[Record]:
        """Yield fields of kinds that only naiad exports."""
        text = view.texts("naiad_value", start, end)[-1] if self._is_ours else None
        facts = _parsed(text)
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

    def _series(self, view: _View, path: str, kind: str, start: int, end: int, where: str) -> Iterator[Record]:
        import numpy as np

        name = _SERIES[kind]
        column = {"float_series": "float_value", "string_series": "string_value"}.get(kind, "histogram_value")
        if self._is_ours and view.plain("attribute_type", start, start + 1) and path not in self._axes:
            self._axes.add(path)
            facts = _parsed(view.texts("naiad_value", start, start + 1)[0])
            if kind == "float_series" and facts is not None:
                yield Axis(path, facts.get("min"), facts.get("max"), facts.get("unit"))
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

    def _steps(self, view: _View, start: int, end: int) -> Any:
        import numpy as np

        if not self._is_ours:
            return view.decimals("step", start, end)
        whole = view.is_valid("naiad_whole_step", start, end)
        if whole.all():
            return view.integers("naiad_whole_step", start, end)
        steps = view.floats("naiad_step", start, end)
        if not whole.any():
            return steps
        exact = view.plain("naiad_whole_step", start, end)
        return np.array([a if a is not None else b for a, b in zip(exact, steps.tolist(), strict=True)], object)

    def _file_entries(self, view: _View, path: str, start: int, end: int, where: str) -> None:
        paths = view.fields("file_value", "path", start, end)
        steps = self._steps(view, start, end).tolist()
        times = view.seconds("timestamp", start, end)
        texts = view.texts("naiad_value", start, end) if self._is_ours else [None] * (end - start)
        entries = self._entries.setdefault(path, [])
        for place, name in enumerate(paths):
            step = steps[place]
            step = None if isinstance(step, float) and step != step else step
            time = None if times[place] != times[place] else float(times[place])
            if name is None:
                if not self._is_ours:
                    entries.append((step, time, None, _phantom(path, FileSeries.kind, where)))
                continue
            content = self._content(path, FileSeries.kind, name, where, texts[place])
            entries.append((step, time, None, content))

    def _files(self, view: _View, path: str, kind: str, start: int, end: int, where: str) -> Iterator[Record]:
        name = _FILES[kind]
        paths = [each for each in view.fields("file_value", "path", start, end) if each is not None]
        if not paths:
            yield _phantom(path, name, where)
            return
        text = view.texts("naiad_value", start, end)[-1] if self._is_ours else None
        if kind == "file":
            yield Upload(path, self._content(path, name, paths[-1], where, text))
            return
        place = self._place(paths[-1])
        if place is None:
            yield Skipped(path, name, f"the path {paths[-1]!r} leads out of the dump", where=where)
        elif kind == "file_set":
            yield from self._members(path, place, where, text)
        else:
            yield self._artifact(path, place, where, text)

    def _place(self, name: str) -> str | None:
        """Return where a file of the dump is; None for a name that leads out of it."""
        if zips.is_hostile(name):
            return None
        root = os.path.realpath(self._container.files)
        for place in (os.path.join(root, name), os.path.join(root, os.path.basename(root), name)):
            if os.path.lexists(place):
                found = os.path.realpath(place)
                return found if found.startswith(root + os.sep) else None
        return os.path.join(root, name)

    def _content(self, path: str, kind: str, name: str, where: str, text: str | None) -> Content | Skipped:
        place = self._place(name)
        if place is None:
            return Skipped(path, kind, f"the path {name!r} leads out of the dump", where=where)
        facts = _parsed(text) or {}
        if not os.path.isfile(place):
            return Skipped(path, kind, f"the file {place!r} is not in the dump", where=where)
        extension = facts.get("extension")
        if not isinstance(extension, str):
            extension = os.path.splitext(name)[1][1:] or os.path.splitext(path)[1][1:]
            if not extension:
                with open(place, "rb") as stream:
                    extension = sniff.extension(stream.read(sniff.LENGTH))
        modified = facts.get("modified")
        return Content(
            place, extension=extension, name=_text(facts.get("name")), description=_text(facts.get("description")),
            modified=modified if isinstance(modified, int) else None,
        )  # fmt: skip

    def _members(self, path: str, place: str, where: str, text: str | None) -> Iterator[Record]:
        """Yield the files of a set, which lie in one archive in a folder."""
        facts = _parsed(text) or {}
        times = facts.get("modified")
        modified: dict[str, Any] = times if isinstance(times, dict) else {}
        names = sorted(os.listdir(place)) if os.path.isdir(place) else []
        archives = [os.path.join(place, each) for each in names if each.endswith(".zip")]
        if os.path.isfile(place) and place.endswith(".zip"):
            archives = [place]
        if not archives:
            if facts.get("files") == 0:
                yield Members(path, {})
            else:
                yield Skipped(path, MEMBERS, f"there is no archive in {place!r}", where=where)
            return
        for archive in archives:
            with zips.opened(archive, path, MEMBERS) as (files, skipped):
                yield from skipped
                yield Members(path, {name: _dated(each, modified.get(name)) for name, each in files.items()})

    def _artifact(self, path: str, place: str, where: str, text: str | None) -> Record:
        kind = ArtifactValue.kind
        facts = _parsed(text) or {}
        try:
            with open(place, "rb") as stream:
                entries = json.loads(stream.read())
            files = [_tracked(each) for each in entries]
        except FileNotFoundError:
            return Skipped(path, kind, f"the file {place!r} is not in the dump", where=where)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            return Skipped(path, kind, f"{place} is no list of files ({error!r})", where=where)
        given = facts.get("hash")
        return Artifact(path, given if isinstance(given, str) else neptune_hash(entries), files)


class _View:
    """The columns of one batch, cut into ranges of rows."""

    def __init__(self, pa: Any, columns: Mapping[str, Any]) -> None:
        self._pa = pa
        self._columns = columns
        self._made: dict[tuple[str, str], Any] = {}

    def _whole(self, form: str, name: str, make: Any) -> Any:
        known = self._made.get((form, name))
        if known is None:
            known = self._made[form, name] = make()
        return known

    def plain(self, name: str, start: int, end: int) -> list[Any]:
        """Return values as Python has them."""
        if name not in self._columns:
            return [None] * (end - start)
        return self._columns[name].slice(start, end - start).to_pylist()  # type: ignore[no-any-return]

    def texts(self, name: str, start: int, end: int) -> list[Any]:
        """Return texts."""
        return self.plain(name, start, end)

    lists = texts

    def fields(self, name: str, member: str, start: int, end: int) -> list[Any]:
        """Return one member of each struct."""
        return [None if each is None else each.get(member) for each in self.plain(name, start, end)]

    def is_valid(self, name: str, start: int, end: int) -> Any:
        """Return which values are no null."""
        import numpy as np

        if name not in self._columns:
            return np.zeros(end - start, bool)
        return self._whole("valid", name, lambda: self._columns[name].is_valid().to_numpy(zero_copy_only=False))[
            start:end
        ]

    def floats(self, name: str, start: int, end: int) -> Any:
        """Return numbers; NaN for null."""
        import numpy as np

        if name not in self._columns:
            return np.full(end - start, np.nan)
        make = lambda: self._columns[name].cast(self._pa.float64()).to_numpy(zero_copy_only=False)  # noqa: E731
        return self._whole("floats", name, make)[start:end]

    def integers(self, name: str, start: int, end: int) -> Any:
        """Return whole numbers, none of them null."""
        return self._columns[name].slice(start, end - start).cast(self._pa.int64()).to_numpy(zero_copy_only=False)

    def microseconds(self, name: str, start: int, end: int) -> list[Any]:
        """Return moments in microseconds since 1970 UTC."""
        pa = self._pa
        if name not in self._columns:
            return [None] * (end - start)
        cut = self._columns[name].slice(start, end - start)
        zone = getattr(cut.type, "tz", None)
        return cut.cast(pa.timestamp("us", zone)).cast(pa.int64()).to_pylist()  # type: ignore[no-any-return]

    def seconds(self, name: str, start: int, end: int) -> Any:
        """Return moments in seconds since 1970 UTC; NaN for null."""
        import numpy as np

        pa = self._pa

        def make() -> Any:
            if name not in self._columns:
                return np.full(len(next(iter(self._columns.values()))), np.nan)
            column = self._columns[name]
            zone = getattr(column.type, "tz", None)
            whole = column.cast(pa.timestamp("ms", zone), safe=False).cast(pa.int64())
            found = whole.fill_null(0).to_numpy(zero_copy_only=False) / 1000.0
            return np.where(column.is_valid().to_numpy(zero_copy_only=False), found, np.nan)

        return self._whole("seconds", name, make)[start:end]

    def decimals(self, name: str, start: int, end: int) -> Any:
        """Return steps; whole numbers where all are, NaN for null."""
        import numpy as np

        whole = self._whole("decimals", name, lambda: self._decimals(name))[start:end]
        if not np.isnan(whole).any() and (np.floor(whole) == whole).all() and (np.abs(whole) < 2**53).all():
            return whole.astype(np.int64)
        return whole

    def _decimals(self, name: str) -> Any:
        import numpy as np

        column = self._columns.get(name)
        if column is None:
            return np.full(len(next(iter(self._columns.values()))), np.nan)
        if not self._pa.types.is_decimal128(column.type) or column.type.precision > 18:
            return column.cast(self._pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        words = np.frombuffer(column.buffers()[1], np.int64)[2 * column.offset :: 2][: len(column)]  # the low halves
        found = words / 10.0**column.type.scale
        return np.where(column.is_valid().to_numpy(zero_copy_only=False), found, np.nan)


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
    found = [(_parsed(note) or {}).get("text") for note in notes]
    return [exact if isinstance(exact, str) else value for value, exact in zip(values, found, strict=True)]


def _tracked(entry: Mapping[str, Any]) -> TrackedFile:
    facts = {each["key"]: each["value"] for each in entry.get("metadata") or ()}
    own = entry.get("naiad") or {}
    location = str(own.get("location") or facts.get("location") or facts.get("file_path") or "")
    modified = own.get("modified")
    if not isinstance(modified, int):
        modified = _nanoseconds(str(facts.get("last_modified") or ""))
    storage = str(entry.get("type") or "")
    return TrackedFile(
        str(entry["filePath"]), str(entry["fileHash"]), int(entry.get("size") or 0), modified, storage, location
    )


def _nanoseconds(text: str) -> int:
    try:
        return int(datetime.fromisoformat(text).replace(tzinfo=timezone.utc).timestamp()) * 10**9
    except ValueError:
        return 0


def neptune_hash(entries: Sequence[Mapping[str, Any]]) -> str:
    """Return the hash that Neptune had for an artifact: SHA-256 over path, hash, size and type of each file."""
    import hashlib

    sha = hashlib.sha256()
    for each in sorted(entries, key=lambda entry: str(entry["filePath"])):
        path, kind = str(each["filePath"]), str(each.get("type") or "")
        sha.update(b"#" + len(path).to_bytes(4, "big") + path.encode("utf-8", "surrogatepass"))
        sha.update(
            b"#" + str(each["fileHash"]).encode() + b"#" + int(each.get("size") or 0).to_bytes(8, "big", signed=True)
        )
        sha.update(b"#" + len(kind).to_bytes(4, "big") + kind.encode())
    return sha.hexdigest()


def _git(facts: Mapping[str, Any]) -> GitRef:
    moment = facts.get("commit_date")
    known = {name: facts[name] for name in GitRef.__dataclass_fields__ if name in facts}
    known["commit_date"] = datetime.fromisoformat(moment) if isinstance(moment, str) else None
    known["remotes"] = tuple(facts.get("remotes") or ())
    return GitRef(**known)


def _parsed(text: str | None) -> dict[str, Any] | None:
    if not isinstance(text, str):
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _dated(content: Content, modified: object) -> Content:
    if not isinstance(modified, int):
        return content
    return Content(content.path, content.data, content.extension, content.name, content.description, modified)


@hookimpl
def naiad_importer() -> Importer:
    """Return the importer."""
    return Importer(
        NAME,
        "dumps of Neptune's exporter, 2.x and 3.x, and of naiad export",
        find,
        Container,
        {
            "source-timezone": "The time zone of the computer that ran the exporter for 2.x; inferred if not given.",
            "files": "The folder of files, if it does not lie beside the data folder.",
            "errors": f"The file {ERRORS}, if it does not lie in the dump.",
        },
    )
