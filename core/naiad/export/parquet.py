"""Parquet: fields of a run as the exporter's 14 columns, with naiad's own behind them.

A row group has the rows of many fields. Its columns are made at once: a table for each field cost 0.35 ms of it, which
was most of the time of a run with many single values.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

import numpy as np

from naiad.export.fields import Part, cut
from naiad.export.rows import utf8
from naiad.kinds import ATOM_OF, KINDS, LINES, POINTS, TAGS
from naiad.types import HistogramSeries

ROWS = 65_536
"""Rows of one row group, all columns of which are in memory at once: about 150 bytes a row, and copies of them."""
LARGEST = 10**12
"""Steps from here on do not fit decimal(18, 6); the exporter loses the whole batch of such a run."""


def schema(pa: Any) -> Any:
    """Return the schema: the exporter's 14 columns, and ours."""
    moment = pa.timestamp("ms", "UTC")
    reals = pa.list_(pa.float64())
    return pa.schema(
        [
            *((name, pa.string()) for name in ("project_id", "run_id", "attribute_path", "attribute_type")),
            ("step", pa.decimal128(18, 6)),
            ("timestamp", moment),
            ("int_value", pa.int64()),
            ("float_value", pa.float64()),
            ("string_value", pa.string()),
            ("bool_value", pa.bool_()),
            ("datetime_value", moment),
            ("string_set_value", pa.list_(pa.string())),
            ("file_value", pa.struct([("path", pa.string())])),
            ("histogram_value", pa.struct([("type", pa.string()), ("edges", reals), ("values", reals)])),
            ("naiad_kind", pa.string()),
            ("naiad_step", pa.float64()),
            ("naiad_whole_step", pa.int64()),
            ("naiad_time", pa.timestamp("us", "UTC")),
            ("naiad_value", pa.string()),
        ]
    )


_VALUE_COLUMNS: dict[str, str] = {
    ATOM_OF[int]: "int_value",
    ATOM_OF[float]: "float_value",
    ATOM_OF[str]: "string_value",
    ATOM_OF[bool]: "bool_value",
    ATOM_OF[datetime]: "datetime_value",
    POINTS: "float_value",
    LINES: "string_value",
    TAGS: "string_set_value",
    HistogramSeries.kind: "histogram_value",
}


def tables(pa: Any, project: str, run: str, parts: Iterable[Part]) -> Iterator[Any]:
    """Yield the rows of fields as Arrow tables, each one a row group."""
    form = schema(pa)
    table = _Table(pa, form)
    for part in parts:
        for start in range(0, part.count, ROWS):
            table.add(part if part.count <= ROWS else cut(part, start, start + ROWS))
            if table.count >= ROWS:
                yield table.made(project, run)
                table = _Table(pa, form)
    if table.count:
        yield table.made(project, run)


class _Table:
    """The rows of one row group while they are gathered. A column has nulls for the fields that lack it."""

    def __init__(self, pa: Any, form: Any) -> None:
        self.count = 0
        self._pa = pa
        self._form = form
        self._parts: list[tuple[str, str, int]] = []
        self._arrays: dict[str, list[Any]] = {}
        self._filled: dict[str, int] = {}

    def add(self, part: Part) -> None:
        """Add the rows of a field."""
        for name, array in _arrays(self._pa, self._form, part).items():
            self._fill(name)
            self._arrays[name].append(array)
            self._filled[name] += part.count
        self._parts.append((part.path, part.kind, part.count))
        self.count += part.count

    def _fill(self, name: str) -> None:
        """Add the nulls of the rows that came since the last array of a column."""
        arrays, missing = self._arrays.setdefault(name, []), self.count - self._filled.setdefault(name, 0)
        if missing:
            arrays.append(self._pa.nulls(missing, self._form.field(name).type))
            self._filled[name] = self.count

    def made(self, project: str, run: str) -> Any:
        """Return the table."""
        pa = self._pa
        paths, kinds, counts = zip(*self._parts, strict=True)
        # Each text is made once, and rows refer to it by number.
        rows = pa.array(np.repeat(np.arange(len(counts), dtype=np.int32), counts))
        columns = {
            "project_id": _same(pa, project, self.count),
            "run_id": _same(pa, run, self.count),
            "attribute_path": pa.array([utf8(path) for path in paths], pa.string()).take(rows),
            "attribute_type": pa.array([_exported_type(kind) for kind in kinds], pa.string()).take(rows),
            "naiad_kind": pa.array(kinds, pa.string()).take(rows),
        }
        for name in self._form.names:
            if name not in columns:
                self._fill(name)
                columns[name] = pa.concat_arrays(self._arrays[name])
        return pa.table([columns[name] for name in self._form.names], schema=self._form)


def _arrays(pa: Any, form: Any, part: Part) -> dict[str, Any]:
    """Return the columns of a field that are not null in all of its rows."""
    columns: dict[str, Any] = {}
    if part.steps is not None:
        columns |= _step_columns(pa, part.steps)
    if part.times is not None:
        times = pa.array(np.asarray(part.times, np.int64))
        columns["timestamp"] = times.cast(form.field("timestamp").type)
        columns["naiad_time"] = columns["timestamp"].cast(form.field("naiad_time").type)
    if part.files is not None:
        columns["file_value"] = pa.array([{"path": name} for name in part.files], form.field("file_value").type)
    if part.values is not None:
        columns |= _value_columns(pa, form, _VALUE_COLUMNS.get(part.kind, "string_value"), part)
    if any(part.facts):
        columns["naiad_value"] = pa.array([*part.facts, *([None] * (part.count - len(part.facts)))], pa.string())
    return columns


def _value_columns(pa: Any, form: Any, name: str, part: Part) -> dict[str, Any]:
    kind = form.field(name).type
    if name == "datetime_value":
        # The exporter's column has milliseconds; what they cut off is in naiad's own.
        exact = pa.array(part.values, pa.int64()).cast(form.field("naiad_time").type)
        return {name: exact.cast(kind, safe=False), "naiad_time": exact}
    if name == "histogram_value":
        found = [
            {
                "type": "COUNTING" if each.densities is None else "DENSITY",
                "edges": list(each.bin_edges),
                "values": [float(height) for height in each.heights],
            }
            for each in part.values
        ]
        return {name: pa.array(found, kind)}
    if name == "float_value":  # of a NumPy array, since from a list or with from_pandas a NaN would become null
        return {name: pa.array(np.asarray(part.values, np.float64), from_pandas=False)}
    if name == "string_value":
        return {name: pa.array([None if text is None else utf8(str(text)) for text in part.values], kind)}
    if name == "string_set_value":
        return {name: pa.array([[utf8(text) for text in texts] for texts in part.values], kind)}
    return {name: pa.array(part.values, kind)}


def _step_columns(pa: Any, steps: Any) -> dict[str, Any]:
    """Return steps as decimals, null where they do not fit, and exactly."""
    if steps.dtype.kind == "O":
        whole = [step if isinstance(step, int) else None for step in steps]
        reals = np.array([float(step) for step in steps], np.float64)
        exact = pa.array(whole, pa.int64())
    elif steps.dtype.kind == "i":
        reals, exact = steps.astype(np.float64), pa.array(steps, pa.int64())
    else:
        reals = steps
        # Above 2**53 float64 has whole numbers only, and which of them was meant is not known.
        is_whole = (np.floor(steps) == steps) & (np.abs(steps) < 2.0**53)
        exact = pa.array(np.where(is_whole, steps, 0).astype(np.int64), pa.int64(), mask=~is_whole)
    is_near = np.abs(reals) < LARGEST
    scaled = np.rint(np.where(is_near, reals, 0.0) * 1e6).astype(np.int64)
    # Only if six digits give the step back; others are null there, and exact in naiad's column.
    fits = is_near & (scaled / 1e6 == reals)
    # The bytes of the decimals themselves: two words each, the high one only the sign. Arrow makes them from Python's
    # Decimal otherwise, at about 1 us a step.
    words = np.empty((len(scaled), 2), np.int64)
    words[:, 0], words[:, 1] = scaled, scaled >> 63
    bitmap = pa.py_buffer(np.packbits(fits, bitorder="little").tobytes())
    decimals = pa.Array.from_buffers(pa.decimal128(18, 6), len(scaled), [bitmap, pa.py_buffer(words.tobytes())])
    return {"step": decimals, "naiad_step": pa.array(reals, pa.float64()), "naiad_whole_step": exact}


def _exported_type(kind: str) -> str:
    """Return the exporter's name of a type; kinds that it lacks are texts for other tools."""
    row = KINDS[kind]
    return ATOM_OF[str] if row.shape == "derived" or (row.shape == "document" and not row.keeps) else kind


def _same(pa: Any, text: str, count: int) -> Any:
    return pa.array([utf8(text)], pa.string()).take(pa.array(np.zeros(count, np.int32)))
