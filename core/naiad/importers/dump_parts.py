"""Parts of a dump: parquet files of the rows of one run, opened, checked, and looked through for its ids."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from naiad.errors import DamagedData
from naiad.export.arrow import arrow
from naiad.kinds import PARENT

BATCH: Final = 65_536
HEAD: Final = 20_000
"""Rows in which the facts of a run are looked for: the exporter writes parameters first."""
COLUMNS: Final = (
    *("project_id", "run_id", "attribute_path", "attribute_type", "step", "timestamp", "int_value", "float_value"),
    *("string_value", "bool_value", "datetime_value", "string_set_value", "file_value", "histogram_value"),
)
OWN: Final = ("naiad_kind", "naiad_step", "naiad_whole_step", "naiad_time", "naiad_value")
_TEXT, _INTEGER = ("is_string", "is_large_string", "is_string_view"), ("is_integer",)
_REAL, _MOMENT = ("is_floating", "is_integer", "is_decimal"), ("is_temporal", "is_integer")
_STRUCT = ("is_struct",)
TYPES: Final = {
    **dict.fromkeys((*COLUMNS[:4], "string_value", "naiad_kind", "naiad_value"), _TEXT),
    **dict.fromkeys(("step", "float_value", "naiad_step"), _REAL),
    **dict.fromkeys(("timestamp", "datetime_value", "naiad_time"), _MOMENT),
    **dict.fromkeys(("int_value", "naiad_whole_step"), _INTEGER),
    **dict.fromkeys(("file_value", "histogram_value"), _STRUCT),
    "bool_value": ("is_boolean",),
    "string_set_value": ("is_list", "is_large_list"),
}
"""By column, the predicates of Arrow's types of which one must hold: other tools have their own texts and numbers."""
_LOOKED_FOR = ("sys/id", "sys/custom_run_id", "sys/model_id", PARENT)


def opened(path: str) -> Any:
    """Open a part.

    Raises:
        DamagedData: it is no part of a dump.
    """
    # Not mapped into memory: a file that shrinks while it is read would end the process by SIGBUS.
    pa = arrow()
    try:
        state = os.stat(path)
        found = pa.parquet.ParquetFile(
            path,
            memory_map=False,
            metadata=_footer(path, state.st_size, state.st_mtime_ns, state.st_ino),
            # Reading ahead in threads of Arrow takes 40 % longer where chunks are small, as those of a dump are.
            pre_buffer=False,
        )
    except (OSError, pa.ArrowException, ValueError) as error:
        raise damaged(path, error) from error
    known = found.schema_arrow.names  # made anew each time that it is asked for
    missing = [name for name in COLUMNS[:4] if name not in known]
    if missing:
        found.close()
        raise damaged(path, f"the column {missing[0]} is missing")
    odd = [each for each in found.schema_arrow if not _is_fitting(each.name, each.type)]
    if odd:
        found.close()
        raise damaged(path, f"the column {odd[0].name} is of type {odd[0].type}")
    return found


def _is_fitting(name: str, type: Any) -> bool:
    """Whether a column is of a type that its values can be taken from."""
    types = arrow().types
    of = type.value_type if types.is_dictionary(type) else type
    # Tools that write a column without a value have no type for it, and older releases of Arrow have no views.
    fitting = [getattr(types, each, types.is_null) for each in TYPES.get(name, ())]
    return not fitting or types.is_null(of) or any(each(of) for each in fitting)


@functools.lru_cache(maxsize=4)
def _footer(path: str, *_state: int) -> Any:
    """Return the footer of a part, read once of the three times that a part is opened: for ids, clock and rows."""
    return arrow().parquet.read_metadata(path, memory_map=False)


def damaged(path: str, error: object, row_group: int | None = None) -> DamagedData:
    """Return the error for a part, or a row group of it, that cannot be read."""
    where = "" if row_group is None else f", row group {row_group}"
    what = f"it is not a readable parquet file ({error})"
    return DamagedData(f"{path}{where} is damaged: {what}.", file=path, offset=0, what=what)


def spans(file: Any) -> Iterator[list[int]]:
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


def needed(file: Any, groups: Sequence[int], ids: Mapping[str, str]) -> list[str]:
    """Return the columns to read of these row groups; the statistics of the others contain all their values.

    Most columns are null in most groups, and the columns of the run's ids have one text. Lists are never left out: the
    statistics count an empty one like null.
    """
    wanted = [file.metadata.row_group(number) for number in groups]
    found = set()
    for place in range(wanted[0].num_columns) if wanted else ():
        name = file.metadata.schema.column(place).path.partition(".")[0]
        if name in ids:
            is_needed = any(_only(_statistics(group, place)) != ids[name] for group in wanted)
        else:
            is_needed = name in COLUMNS[:4] or not all(_is_null(group.column(place)) for group in wanted)
        if is_needed:
            found.add(name)
    return [name for name in file.schema_arrow.names if name in found]


def _is_null(column: Any) -> bool:
    """Whether a column of a row group has no value."""
    statistics = None if ".list." in column.path_in_schema else column.statistics
    return bool(statistics is not None and statistics.has_null_count and statistics.null_count == column.num_values)


def facts_of(parts: Sequence[str]) -> dict[str, Any]:
    """Return the ids and times of a run, from the first rows of its parts."""
    pa = arrow()
    facts: dict[str, Any] = {"is_new": False, "is_ours": False}
    for path in parts:
        with opened(path) as file:
            names = [*COLUMNS[:4], "string_value", "datetime_value"]
            known = file.schema_arrow.names
            facts["is_ours"] = OWN[0] in known
            columns = [name for name in names if name in known]
            left = HEAD
            leaves = file.metadata.schema.names
            project, run, attribute = (leaves.index(name) for name in COLUMNS[:3])
            try:
                for number in range(file.num_row_groups):
                    group = file.metadata.row_group(number)
                    # Statistics know both where a run has its file alone, so that no row is decoded for them.
                    for name, place in (("project_id", project), ("run_id", run)):
                        only = None if name in facts else _only(_statistics(group, place))
                        if only is not None:
                            facts[name] = only
                    is_named = "project_id" in facts and "run_id" in facts
                    if is_named and not _may_have_facts(_statistics(group, attribute)):
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
                    raise damaged(path, error) from error
        if _is_known(facts):
            break
    if facts.get("project_id") is None or facts.get("run_id") is None:
        raise damaged(parts[0], "it has no rows with a project and a run")
    return facts


def _statistics(group: Any, place: int) -> Any:
    """Return the statistics of a column in a row group; None if there are none that can be read."""
    found = group.column(place).statistics
    try:
        is_whole = found is not None and found.has_min_max and found.min <= found.max
    except (arrow().ArrowException, ValueError, TypeError):  # the rows may be whole: they are looked at instead
        return None
    return found if is_whole else None


def _only(statistics: Any) -> str | None:
    """Return the text that every row has; None if there may be others."""
    # Without a count some rows may be null.
    if statistics is None or not statistics.has_null_count or statistics.null_count:
        return None
    return statistics.min if statistics.min == statistics.max and isinstance(statistics.min, str) else None


def _may_have_facts(statistics: Any) -> bool:
    """Whether some path of a row group may begin with sys/."""
    if statistics is None:
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
        # A null is no value: in a 3.x dump every run of a batch has a row for each field of the others.
        if path in _LOOKED_FOR and texts.get("string_value", [None] * (row + 1))[row] is not None:
            facts.setdefault(path, texts["string_value"][row])
        elif path == "sys/creation_time" and "datetime_value" in names:
            moment = (
                sys.column(names.index("datetime_value")).cast(pa.timestamp("us", "UTC")).cast(pa.int64())[row].as_py()
            )
            if moment is not None:
                facts.setdefault(path, moment / 1e6)
        # Only 3.x has forks, and it has no other mark in the schema.
        elif path is not None and path.startswith("sys/forking/"):
            facts["is_new"] = True
