"""Tables of CSV and parquet files: each column is a series, each row a point of those that have a value in it."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final

from naiad.errors import DamagedData, ImportRefused, InvalidArgument
from naiad.export.arrow import arrow
from naiad.importer import Importer, Progress, Source
from naiad.importers.columns import Columns
from naiad.importers.mlflow import scalar
from naiad.kinds import ATOM_OF
from naiad.records import Record, Skipped, Value

RUNS: Final = ("run", "run_id", "run_name")
STEPS: Final = ("step", "global_step", "_step", "iteration")
TIMES: Final = ("timestamp", "time", "wall_time", "_timestamp", "created_at")
MILLISECONDS: Final = 1e11
"""Times above are not in seconds."""
OPTIONS: Final = {
    "run-column": f"The column that names the run of a row; else {' or '.join(RUNS)}, else all rows are one run.",
    "step-column": f"The column of steps; else {' or '.join(STEPS)}, else rows are numbered.",
    "time-column": f"The column of times, in seconds, milliseconds or as ISO 8601; else {' or '.join(TIMES)}.",
    "map": "COLUMN=PATH: the path of a column's series; empty leaves the column out. May be repeated.",
}
Rows = Callable[[str], Iterator[dict[str, Any]]]


@dataclass(frozen=True)
class Container:
    """The rows of one run."""

    identity: str
    path: str
    form: str
    run: str
    run_column: str
    step_column: str
    time_column: str
    paths: dict[str, str]
    size: int
    facts: dict[str, str]
    kind: str = "run"
    id: str | None = None
    project: str | None = None
    parent: str = ""
    created: float | None = None

    def records(self, progress: Progress) -> Iterator[Record]:
        """Read the rows of the run."""
        yield Value("sys/name", ATOM_OF[str], self.run or Path(self.path).stem)
        yield from self._parameters()
        columns = Columns()
        kinds: dict[str, bool] = {}
        for number, row in enumerate(_ROWS[self.form](self.path), 1):
            # The file is read once for each run in it, which is quadratic, so that memory does not grow with the
            # number of runs.
            if self.run_column and str(row.get(self.run_column)) != self.run:
                continue
            try:
                step, time = _step(row.get(self.step_column)), _time(row.get(self.time_column))
            except ValueError as error:
                yield Skipped("", "", f"the row is left out: {error}", where=f"{self.path} row {number}")
                continue
            for column, path in self.paths.items():
                value = row.get(column)
                if value in (None, ""):
                    continue
                as_number = _number(value)
                # The first value decides: a column that is text further down cannot be one series of numbers and
                # texts.
                is_number = kinds.setdefault(column, as_number is not None)
                if is_number and as_number is None:
                    reason = f"the value {value!r:.60} is not a number, but those above are"
                    yield Skipped(path, "", reason, where=f"{self.path} row {number}")
                elif is_number:
                    columns.number(path, float(as_number or 0.0), step, time)
                else:
                    columns.text(path, str(value), step, time)
            if columns.is_full:
                yield from columns.flush()
        yield from columns.flush()
        progress(self.size)

    def _parameters(self) -> Iterator[Record]:
        """Yield the flat values of hparams.yaml, which Lightning's CSV logger writes beside its metrics."""
        place = Path(self.path).with_name("hparams.yaml")
        # The name is fixed, so a link is the only way to another file.
        if not place.is_file() or place.is_symlink():
            return
        for line in place.read_text(encoding="utf-8", errors="replace").splitlines():
            key, colon, text = line.partition(":")
            value = scalar(text.strip()) if colon else None
            if (
                value is not None
                and key
                and not key.startswith((" ", "-", "#"))
                and not text.strip().startswith(("!", "&"))
            ):
                yield Value(f"hparams/{key}", ATOM_OF[type(value)], value)


def find(form: str) -> Callable[[Path, Mapping[str, Any]], Source]:
    """Return the function that looks at a file of a form."""

    def look(path: Path, options: Mapping[str, Any]) -> Source:
        if not path.is_file():
            raise ImportRefused(f"{str(path)!r} is not a file.\nName one file of {form}.", path=str(path))
        names = _header(form, path)
        run, step, time = (
            _column(names, options.get(f"{title}-column"), usual)
            for title, usual in (("run", RUNS), ("step", STEPS), ("time", TIMES))
        )
        paths = _paths(names, {run, step, time}, options.get("map") or ())
        runs = dict.fromkeys(str(row.get(run)) for row in _ROWS[form](str(path))) if run else {"": None}
        size = os.stat(path).st_size
        place = os.path.abspath(path)
        facts = {"file": place, "step_column": step, "time_column": time}
        known = {key: value for key, value in facts.items() if value}
        return Source(
            [
                Container(f"{form}:{place}:{name}", str(path), form, name, run, step, time, paths, size, known)
                for name in runs
            ]
        )

    return look


def _column(names: Sequence[str], wanted: object, usual: Iterable[str]) -> str:
    if wanted is not None and wanted not in names:
        raise InvalidArgument(f"There is no column {wanted!r}.\nThe columns are {', '.join(names)}.", argument="column")
    return str(wanted) if wanted is not None else next((name for name in usual if name in names), "")


def _paths(names: Sequence[str], taken: set[str], mapping: Iterable[str]) -> dict[str, str]:
    """Return the paths of the series by column."""
    paths = {name: name for name in names if name and name not in taken}
    for each in [mapping] if isinstance(mapping, str) else mapping:
        column, sign, path = each.rpartition("=")
        if not sign or column not in names:
            raise InvalidArgument(
                f"map {each!r} does not name a column.\nGive COLUMN=PATH; the columns are {', '.join(names)}.",
                argument="map",
            )
        paths[column] = path
    return {column: path for column, path in paths.items() if path}


def _header(form: str, path: Path) -> list[str]:
    if form == "csv":
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as stream:
            names = next(csv.reader(stream), [])
    else:
        pa = arrow()
        try:
            names = list(pa.parquet.read_schema(path).names)
        except (OSError, pa.ArrowException, ValueError) as error:
            raise ImportRefused(f"{str(path)!r} is not a readable parquet file: {error}.", path=str(path)) from error
    if not names:
        raise ImportRefused(f"{str(path)!r} has no columns.", path=str(path))
    return names


def _csv_rows(path: str) -> Iterator[dict[str, Any]]:
    # Excel begins UTF-8 with a mark, which would be part of the first column's name; newline="" keeps line breaks in
    # quotes.
    with open(path, encoding="utf-8-sig", errors="replace", newline="") as stream:
        try:
            yield from csv.DictReader(stream)
        except csv.Error as error:
            raise _damaged(path, error) from error


def _damaged(path: str, error: Exception) -> DamagedData:
    return DamagedData(f"{path} cannot be read any further: {error}.", file=path, offset=0, what=str(error))


def _parquet_rows(path: str) -> Iterator[dict[str, Any]]:
    pa = arrow()
    try:
        with pa.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=10_000):
                yield from batch.to_pylist()
    except (OSError, pa.ArrowException, ValueError) as error:
        raise _damaged(path, error) from error


_ROWS: dict[str, Rows] = {"csv": _csv_rows, "parquet": _parquet_rows}


def _number(value: Any) -> float | None:
    if isinstance(value, bool | int | float):
        return float(value)
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _step(value: Any) -> int | float | None:
    if value in (None, ""):
        return None
    try:
        return int(value)
    except (TypeError, ValueError):
        number = float(value)
        return int(number) if number.is_integer() else number


def _time(value: Any) -> float:
    """Return a time in seconds since 1970; NaN if there is none.

    Raises:
        ValueError: it is no time.
    """
    if value in (None, ""):
        return math.nan
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=timezone.utc)).timestamp()
    number = _number(value)
    # pandas and JavaScript write milliseconds; as seconds they would be in the year 50,000.
    if number is not None:
        return number / 1000 if abs(number) > MILLISECONDS else number
    return _time(datetime.fromisoformat(str(value).replace("Z", "+00:00")))


def importer(form: str) -> Importer:
    """Return the importer of a form of tables."""
    return Importer(form, f"a {form} file, a series a column", find(form), Container, OPTIONS, frozenset({"map"}))
