"""Dumps: runs in the form of Neptune's exporter, with columns of naiad's own behind its 14, or as CSV or JSON lines.

    DIR/data/<project>/<run>_part_0.parquet           runs; model_data/<project>/models and model_versions likewise
    DIR/files/<project>/<project id>/<run id>/<path>  their files; model_files/<project>/... of models

`<project>` and `<run>` are the names with every other character than letters, digits, _ and - replaced by _, and 16 hex
digits of their BLAKE2b. The columns hold the names themselves.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import IO, Any

import numpy as np

from naiad.container_kinds import MODEL, MODEL_VERSION, PROJECT
from naiad.errors import InvalidArgument, StorageError
from naiad.export.arrow import arrow
from naiad.export.fields import Fields, Part
from naiad.kinds import ATOM_OF, KINDS, LINES, POINTS, TAGS
from naiad.scalars import unpack_text
from naiad.storage.base import RunId, RunReader, Store
from naiad.types import HistogramSeries

FORMATS = ("parquet", "csv", "json")
ROWS = 200_000
"""Rows of one row group."""
PART_BYTES = 50 << 20
LARGEST = 10**12
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
TEXT_COLUMNS = (
    *("project_id", "run_id", "attribute_path", "attribute_type", "step", "timestamp", "value", "file_path"),
    "naiad_value",
)


def export_runs(store: Store, runs: Iterable[RunId], destination: str | os.PathLike[str], format: str) -> list[Path]:
    """Write runs to a folder, and return the files of their rows.

    Each file appears whole or not at all, and replaces that of an earlier export.

    Args:
        store: the store of the runs.
        runs: runs, models or versions.
        destination: a folder, which is made if need be.
        format: "parquet", "csv" or "json".

    Raises:
        InvalidArgument: there is no such format.
        StorageError: the folder cannot be written.
        DamagedData: something stored is damaged.
        MissingPackage: parquet without pyarrow.
    """
    if format not in FORMATS:
        raise InvalidArgument(
            f"There is no format {format!r}.\nThe formats are {', '.join(FORMATS)}.", argument="format"
        )
    if format == "parquet":
        arrow()
    root = Path(os.path.expanduser(os.fsdecode(destination)))
    try:
        return [path for run in runs for path in _Run(store, run, root).write(format)]
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        raise StorageError(
            f"The folder {str(root)!r} cannot be written: {error.strerror or error}.",
            errno=error.errno,
            filename=str(root),
        ) from error


def sanitized(name: str) -> str:
    """Return a name as the exporter writes it in file names.

    >>> sanitized("my-org/My Project")
    'my-org_My_Project-876989e761c8010b'
    """
    plain = "".join(each if each.isalnum() or each in "_-" else "_" for each in name)
    digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
    while len(plain.encode()) > 150:
        plain = plain[:-1]
    return f"{plain}-{digest}"


class _Run:
    """One run on its way into a dump."""

    def __init__(self, store: Store, run: RunId, root: Path) -> None:
        self._reader = reader = store.reader(run)
        self._project = _text(reader, "sys/project")
        self._id = _text(reader, "sys/id") or run.uid
        is_model = run.kind in (MODEL, MODEL_VERSION)
        inner = {MODEL: "models", MODEL_VERSION: "model_versions", PROJECT: "projects"}.get(run.kind, "")
        folder = sanitized(self._project)
        self._data = root / ("model_data" if is_model else "data") / folder / inner
        self._files = root / ("model_files" if is_model else "files") / folder
        self._prefix = f"{inner}/{self._id}" if inner else f"{self._project}/{self._id}"

    def write(self, format: str) -> list[Path]:
        """Write rows and files, and return the files of rows."""
        self._data.mkdir(parents=True, exist_ok=True)
        parts = Fields(self._reader, self._files, self._prefix).parts()
        stem = sanitized(self._id)
        if format == "parquet":
            return self._write_parquet(parts, stem)
        place = self._data / f"{stem}.{'csv' if format == 'csv' else 'jsonl'}"
        with _appearing(place) as stream:
            text = io.TextIOWrapper(stream, "utf-8", newline="")
            (self._write_csv if format == "csv" else self._write_json)(parts, text)
            text.flush()
            text.detach()  # the file is closed by whoever has opened it
        return [place]

    def _write_parquet(self, parts: Iterator[Part], stem: str) -> list[Path]:
        pa = arrow()
        schema = parquet_schema(pa)
        written: list[Path] = []
        waiting = iter(_batches(parts))
        batch = next(waiting, None)
        while batch is not None or not written:
            place = self._data / f"{stem}_part_{len(written)}.parquet"
            with _appearing(place) as stream, pa.parquet.ParquetWriter(stream, schema, compression="snappy") as writer:
                while batch is not None:
                    writer.write_table(_table(pa, schema, self._project, self._id, batch))
                    batch = next(waiting, None)
                    if stream.tell() >= PART_BYTES:
                        break
            written.append(place)
        for number in range(len(written), len(written) + 10_000):  # parts of a longer, earlier export
            old = self._data / f"{stem}_part_{number}.parquet"
            if not old.exists():
                break
            old.unlink()
        return written

    def _rows(self, parts: Iterable[Part]) -> Iterator[dict[str, Any]]:
        for part in parts:
            for number in range(part.count):
                yield {
                    "project_id": self._project,
                    "run_id": self._id,
                    "attribute_path": part.path,
                    "attribute_type": part.kind,
                    "step": None if part.steps is None else _number(part.steps[number]),
                    "timestamp": None if part.times is None else _moment(int(part.times[number]) * 1000),
                    "value": None if part.values is None else _plain(part.kind, part.values[number]),
                    "file_path": None if part.files is None else part.files[number],
                    "naiad_value": part.facts[number] if number < len(part.facts) else None,
                }

    def _write_csv(self, parts: Iterable[Part], stream: IO[str]) -> None:
        writer = csv.DictWriter(stream, TEXT_COLUMNS, lineterminator="\n")
        writer.writeheader()
        for row in self._rows(parts):
            value = row["value"]
            row["value"] = json.dumps(value) if isinstance(value, list | dict) else value
            writer.writerow({name: _utf8(text) for name, text in row.items()})

    def _write_json(self, parts: Iterable[Part], stream: IO[str]) -> None:
        for row in self._rows(parts):
            known = {name: value for name, value in row.items() if value is not None}
            stream.write(json.dumps(known) + "\n")


def _batches(parts: Iterable[Part]) -> Iterator[list[Part]]:
    """Yield fields together, about `ROWS` rows at a time."""
    waiting: list[Part] = []
    count = 0
    for part in parts:
        for start in range(0, part.count, ROWS):
            piece = part if part.count <= ROWS else _cut(part, start, start + ROWS)
            waiting.append(piece)
            count += piece.count
            if count >= ROWS:
                yield waiting
                waiting, count = [], 0
    if waiting:
        yield waiting


def _cut(part: Part, start: int, end: int) -> Part:
    def cut(column: Any) -> Any:
        return None if column is None else column[start:end]

    count = min(end, part.count) - start
    return Part(
        part.path, part.kind, count, cut(part.steps), cut(part.times), cut(part.values), cut(part.files),
        part.facts[start:end],
    )  # fmt: skip


def parquet_schema(pa: Any) -> Any:
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


def _table(pa: Any, schema: Any, project: str, run: str, parts: Sequence[Part]) -> Any:
    """Return the rows of fields as an Arrow table."""
    pieces = [_piece(pa, schema, project, run, part) for part in parts]
    return pa.concat_tables(pieces).combine_chunks()


def _piece(pa: Any, schema: Any, project: str, run: str, part: Part) -> Any:
    count = part.count
    columns: dict[str, Any] = {
        "project_id": _same(pa, project, count),
        "run_id": _same(pa, run, count),
        "attribute_path": _same(pa, part.path, count),
        "attribute_type": _same(pa, _exported_type(part.kind), count),
        "naiad_kind": _same(pa, part.kind, count),
    }
    if part.steps is not None:
        columns |= _step_columns(pa, part.steps)
    if part.times is not None:
        times = pa.array(np.asarray(part.times, np.int64))
        columns["timestamp"] = times.cast(schema.field("timestamp").type)
        columns["naiad_time"] = columns["timestamp"].cast(schema.field("naiad_time").type)
    if part.files is not None:
        columns["file_value"] = pa.array([{"path": name} for name in part.files], schema.field("file_value").type)
    if part.values is not None:
        name = _VALUE_COLUMNS.get(part.kind, "string_value")
        columns |= _value_columns(pa, schema, name, part)
    if any(part.facts):
        columns["naiad_value"] = pa.array([*part.facts, *([None] * (count - len(part.facts)))], pa.string())
    return pa.table(
        [columns[field.name] if field.name in columns else pa.nulls(count, field.type) for field in schema],
        schema=schema,
    )


def _value_columns(pa: Any, schema: Any, name: str, part: Part) -> dict[str, Any]:
    kind = schema.field(name).type
    if name == "datetime_value":
        exact = pa.array(part.values, pa.int64()).cast(schema.field("naiad_time").type)
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
    if name == "float_value":
        return {name: pa.array(np.asarray(part.values, np.float64), from_pandas=False)}
    if name == "string_value":
        return {name: pa.array([None if text is None else _utf8(str(text)) for text in part.values], kind)}
    if name == "string_set_value":
        return {name: pa.array([[_utf8(text) for text in texts] for texts in part.values], kind)}
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
        is_whole = (np.floor(steps) == steps) & (np.abs(steps) < 2.0**53)
        exact = pa.array(np.where(is_whole, steps, 0).astype(np.int64), pa.int64(), mask=~is_whole)
    is_near = np.abs(reals) < LARGEST
    scaled = np.rint(np.where(is_near, reals, 0.0) * 1e6).astype(np.int64)
    fits = is_near & (scaled / 1e6 == reals)
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
    return pa.array([_utf8(text)], pa.string()).take(pa.array(np.zeros(count, np.int32)))


def _plain(kind: str, value: Any) -> Any:
    """Return a value for CSV and JSON."""
    if kind == ATOM_OF[datetime]:
        return _moment(int(value))
    if hasattr(value, "bin_edges"):
        heights = "counts" if value.densities is None else "densities"
        return {"edges": list(value.bin_edges), heights: list(value.heights)}
    return _number(value) if isinstance(value, int | float | np.number) and not isinstance(value, bool) else value


def _number(value: Any) -> Any:
    number = value.item() if hasattr(value, "item") else value
    if isinstance(number, float) and number.is_integer() and abs(number) < 2.0**53 and isinstance(value, np.floating):
        return number
    if isinstance(number, float) and not math.isfinite(number):
        return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[str(number)]
    return number


def _moment(microseconds: int) -> str:
    return (EPOCH + timedelta(microseconds=microseconds)).isoformat().replace("+00:00", "Z")


def _utf8(text: Any) -> Any:
    return text.encode("utf-8", "surrogatepass").decode("utf-8", "replace") if isinstance(text, str) else text


def _text(reader: RunReader, path: str) -> str:
    value = reader.values("sys").get(path)
    return unpack_text(value) if isinstance(value, str | bytes) else ""


class _appearing:
    """A file that appears under its name once it is whole."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._part = place.with_name(f"{place.name}.tmp")

    def __enter__(self) -> IO[bytes]:
        self._stream = self._part.open("wb")
        return self._stream

    def __exit__(self, kind: object, *_rest: object) -> None:
        self._stream.close()
        if kind is None:
            os.replace(self._part, self._place)
        else:
            self._part.unlink(missing_ok=True)
