"""Tables of runs, models and model versions: the results of `fetch_runs_table()` and its like."""

from __future__ import annotations

import itertools
import operator
import os
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from datetime import datetime
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from naiad import html
from naiad.container_kinds import RUN, ContainerKind, RunId
from naiad.cycles import search_paused
from naiad.errors import (
    DamageWarning,
    FieldConflict,
    InvalidArgument,
    NaiadTypeError,
    NaiadValueError,
    NaiadWarning,
    shown,
    warn_once,
)
from naiad.kinds import ASPECTS, ATOMS, FILE, KINDS, MEMBERS, PARENT_UID, POINTS, SYS, TAGS
from naiad.query.criteria import both, criteria, not_trashed, texts, top_level
from naiad.query.parser import parse
from naiad.query.tree import FieldName, OneOf
from naiad.rollup import HOME, is_rolled_up, resolved, roll_up, sorted_by, with_rollup
from naiad.scalars import from_microseconds
from naiad.storage.base import Store
from naiad.storage.catalog import ColumnRows, Found, Losses, Unmatched, column_pattern, path_and_aspect
from naiad.typing import ProgressBarCallback, ProgressBarType

if TYPE_CHECKING:
    import pandas as pd

    from naiad.query.tree import Node

ALWAYS = "sys/id"
NAMED = 3
"""Runs, and fields of one run, that a warning of damage names."""
BY_DEFAULT = "sys/creation_time"
MANY_COLUMNS = 1_000
"""More columns go to pandas in one block."""
VALUED = frozenset(kind for kind, row in KINDS.items() if row.has_value)
"""The kinds of fields that have a column."""
FIRST, LAST = "sys", "monitoring"
"""The namespaces whose columns come before all others, and after them."""
SHOWN_COLUMNS = 20
"""Columns that a notebook shows; to_pandas() has all."""


class Table:
    """A table of containers, as of the time of the fetch. It can be read more than once.

    >>> from naiad import init_project
    >>> table = init_project().fetch_runs_table(columns=["lr", "train/loss:min"], sort_by="train/loss:min")
    >>> table.to_pandas()
    >>> [row.get_attribute_value("sys/id") for row in table]
    """

    def __init__(self, found: Found, columns: Sequence[str] | None, store: Store, kind: ContainerKind) -> None:
        self._found = found
        self._columns = columns
        self._store = store
        self._kind = kind
        self._sought: dict[str, tuple[dict[int, str], str]] = {}

    def __len__(self) -> int:
        return len(self._found.rows)

    def __repr__(self) -> str:
        noun = self._kind.noun if len(self) == 1 else f"{self._kind.noun}s"
        return f"<Table of {len(self):,} {noun}>"

    def _repr_html_(self) -> str:
        """Return HTML for a notebook, with as many columns and rows as fit."""
        names = self.column_names
        shown_names = names[:SHOWN_COLUMNS]
        rows = ([self._text(row, name) for name in shown_names] for row in range(len(self)))
        left_out = len(names) - len(shown_names)
        more = [f"<p>and {left_out:,} more columns</p>"] if left_out else []
        return html.block(repr(self), html.grid(shown_names, rows), *more)

    def _text(self, row: int, name: str) -> str:
        found = self.cell(row, name)
        value = None if found is None else _shown(*found)
        return "" if value is None else str(value)

    def __iter__(self) -> Iterator[TableEntry]:
        return iter(self.to_rows())

    def to_rows(self) -> list[TableEntry]:
        """Return the rows, each with access to its cells."""
        return [TableEntry(self, number) for number in range(len(self))]

    def to_pandas(self) -> pd.DataFrame:
        """Return a DataFrame with a row for each run and a column for each field that at least one run has.

        `sys/*` comes first and `monitoring/*` last, each in alphabetical order. A cell has the value of the field: the
        last value of a series, the tags as one text separated by commas, a datetime in UTC without a time zone. Files
        have no column. Columns that were requested by name are always included.
        """
        import pandas as pd

        is_wide = len(self._found.fields) > MANY_COLUMNS
        with search_paused() if is_wide else nullcontext():
            names, index = self.column_names, pd.RangeIndex(len(self))
            # pandas checks each column by itself, and a block of numbers only once.
            lines, block = self._block() if is_wide else ([], None)
            apart = [name for name, line in zip(names, lines, strict=True) if line is None] if is_wide else names
            frame = pd.DataFrame({name: _column(*self._values(name)) for name in apart}, index)
            if len(apart) == len(names):
                return frame
            together = [name for name, line in zip(names, lines, strict=True) if line is not None]
            numbers = pd.DataFrame(block, index, together, copy=False)
            if not apart:
                return numbers
            first, second = itertools.count(), itertools.count(len(apart))
            order = [next(first if line is None else second) for line in lines]
            return pd.concat([frame, numbers], axis=1).take(order, axis=1)

    @cached_property
    def column_names(self) -> list[str]:
        """The names of the columns in the order of the DataFrame: those requested, else those that have values."""
        if self._columns is None:
            names = dict.fromkeys(path for path, kind in self._present if kind in VALUED)
        else:
            names = dict.fromkeys(name for column in self._columns for name in self.expanded(column))
        return _in_order(names)

    def expanded(self, column: str) -> list[str]:
        """Return the columns that a column with `*` stands for, sorted."""
        pattern = column_pattern(column)
        if pattern is None:
            return [column]
        aspect = path_and_aspect(column)[1]
        found = {
            path if aspect == "last" else f"{path}:{aspect}"
            for path, kind in self._present
            if KINDS[kind].has_value and pattern.fullmatch(path) and (aspect == "last" or aspect in KINDS[kind].aspects)
        }
        return _in_order(found)

    def absent(self, columns: Iterable[str]) -> list[str]:
        """Return those of some columns that no container has a field for; fields of naiad's own exist by definition."""
        known = {path for path, _kind in self._found.fields.values()}
        found = []
        for column in columns:
            pattern = column_pattern(column)
            names = (column, path_and_aspect(column)[0]) if pattern is None else filter(pattern.fullmatch, known)
            if not column.startswith("sys/") and known.isdisjoint(names):
                found.append(column)
        return found

    @property
    def notes(self) -> list[str]:
        """Sentences about fields that could not match."""
        return [_note(each, self._kind) for each in self._found.unmatched]

    @property
    def damage(self) -> str:
        """A sentence about damaged containers, which are missing here or lack values; empty without any."""
        damaged = self._found.losses
        if not damaged:
            return ""
        named = [f"{name} ({_damaged_fields(losses)})" for name, losses in list(damaged.items())[:NAMED]]
        more = [f"{len(damaged) - NAMED:,} more"] if len(damaged) > NAMED else []
        subject = f"1 {self._kind.noun} is" if len(damaged) == 1 else f"{len(damaged):,} {self._kind.noun}s are"
        return (
            f"{subject} damaged and may be missing in this table, or lack values in it: {', '.join(named + more)}.\n"
            f"List the damage with: naiad verify {next(iter(damaged))}"
        )

    @cached_property
    def _present(self) -> Collection[tuple[str, str]]:
        """Path and kind of the fields that some row has, or could have."""
        fields = self._found.fields
        if not len(self):
            return fields.values()
        there = self._by_field.keys() or set().union(*self._cells)
        return [field for number, field in fields.items() if number in there]

    @cached_property
    def _cells(self) -> list[Mapping[int, Any]]:
        return [row.cells for row in self._found.rows]

    @cached_property
    def _by_field(self) -> Mapping[int, Any]:
        """The cells of each field, row by row, where the catalog has columns or all runs the same fields; else none."""
        rows = self._found.rows
        columns = rows.columns() if isinstance(rows, ColumnRows) else None
        if columns is not None:
            return columns
        shapes = set(map(tuple, self._cells))
        if len(shapes) != 1:
            return {}
        [shape] = shapes
        # Row after row in one list, of which each column is a slice: a zip of the rows takes four times as long.
        values = list(itertools.chain.from_iterable(map(operator.methodcaller("values"), self._cells)))
        found = {}
        for at, number in enumerate(shape):
            found[number] = values[at :: len(shape)]
        return found

    @cached_property
    def _by_path(self) -> dict[str, dict[int, str]]:
        found: dict[str, dict[int, str]] = {}
        for number, (path, kind) in self._found.fields.items():
            found.setdefault(path, {})[number] = kind
        return found

    @cached_property
    def _alone(self) -> dict[str, int]:
        """The fields that are alone at their path and have a value: nearly all, of which a table may have 100,000."""
        found = {path: number for number, (path, kind) in self._found.fields.items() if kind in VALUED}
        if len(found) < len(self._found.fields):
            for path, kinds in self._by_path.items():
                if len(kinds) > 1:
                    found.pop(path, None)
        return found

    def _numbers(self, column: str, *, with_files: bool = False) -> tuple[dict[int, str], str]:
        """The numbers of the fields of a column with their kinds, and the aspect that is meant of a series."""
        path, aspect = (column, "last") if column in self._by_path else path_and_aspect(column)
        kinds = self._by_path.get(path, {})
        if path != column:
            kinds = {number: kind for number, kind in kinds.items() if aspect in KINDS[kind].aspects}
        elif not with_files:
            kinds = {number: kind for number, kind in kinds.items() if KINDS[kind].has_value}
        return kinds, aspect

    def _values(self, name: str) -> tuple[Sequence[Any], str]:
        """The values of a column, and their type where all its fields are of one kind that has no other."""
        if name in self._alone:
            number = self._alone[name]
            kinds, aspect = {number: self._found.fields[number][1]}, "last"
        else:
            kinds, aspect = self._numbers(name)
        if len(kinds) != 1:
            cells_of = self._cells
            return [next((_framed(kinds[n], c[n], aspect) for n in kinds if n in c), None) for c in cells_of], ""
        [(number, kind)] = kinds.items()
        plain: Any
        if self._by_field:
            plain = self._by_field.get(number, [None] * len(self))
        else:
            plain = [cells.get(number) for cells in self._cells]
        if kind == POINTS:
            place = ASPECTS.index(aspect)
            if not isinstance(plain, list):
                return plain[:, place], "number"
            found = [None if each is None else each[place] for each in plain]
            return found, "number" if found.count(None) < len(found) else ""
        holds = KINDS[kind].holds if kind in ATOMS else ""
        # Columns of these kinds, the usual case, become arrays at once, without a call for each cell.
        if holds in ("number", "integer", "boolean", "moment"):
            return plain, holds
        return [_framed(kind, each, aspect) for each in plain], ""

    def _block(self) -> tuple[list[int | None], Any]:
        """The line of each column that holds numbers alone, else None, and an array of these lines as columns.

        They are taken from all of the catalog together where it has them so.
        """
        import numpy as np

        rows = self._found.rows
        if isinstance(rows, ColumnRows) and self._by_field:
            places, lines = rows.last_values()
            alone = self._alone
            found = [places.get(alone.get(name, 0)) for name in self.column_names]  # no field has the number 0
            return found, lines[[line for line in found if line is not None]].T
        columns = [self._values(name) for name in self.column_names]
        numbers = [values for values, holds in columns if holds == "number"]
        count = itertools.count()
        found = [next(count) if holds == "number" else None for _values, holds in columns]
        return found, np.array(numbers, np.float64).T

    def cell(self, row: int, column: str) -> tuple[str, Any] | None:
        """Return kind and value of a cell as the catalog has them; None where the run has no such field."""
        # Once for a column: a table is printed cell by cell.
        if column not in self._sought:
            self._sought[column] = self._numbers(column, with_files=True)
        kinds, aspect = self._sought[column]
        cells = self._cells[row]
        number = next((number for number in kinds if number in cells), None)
        return None if number is None else (kinds[number], _aspect(kinds[number], cells[number], aspect))

    def _existing(self, row: int, path: str) -> tuple[str, Any]:
        if not isinstance(path, str):
            raise NaiadTypeError(f"A cell is selected by the path of its field, not by {shown(path)}.", value=path)
        found = self.cell(row, path)
        if found is None:
            uid, run_id = self._found.rows[row][:2]
            raise NaiadValueError(f'{self._kind.title} {run_id or uid} has no field "{path}".', path=path)
        return found

    def _field(self, row: int, path: str) -> Any:
        """The field behind a cell, to download its content."""
        from naiad.session import Session  # with all kinds of fields, which a table without a download does not need

        uid, run_id = self._found.rows[row][:2]
        title, run = f"{self._kind.title} {run_id or uid}", RunId(uid, self._kind)
        session = Session(title, uid, partial(self._store.reader, run), None)
        session.refresh()
        return session.existing(path)


class TableEntry(Struct, frozen=True):
    """One row of a table."""

    table: Table
    number: int

    def __getitem__(self, path: str) -> TableCell:
        return TableCell(self, path)

    def get_attribute_type(self, path: str) -> str:
        """Return Neptune's name for the kind of a field: "float", "floatSeries", ...

        Raises:
            NaiadValueError: the run has no such field.
        """
        kind, _value = self.table._existing(self.number, path)
        return KINDS[kind].neptune

    def get_attribute_value(self, path: str) -> Any:
        """Return the value of a field; for a series the last value, or the aspect after the path, such as `:min`.

        Raises:
            NaiadValueError: the run has no such field.
            FieldConflict: the field is a file; download it instead.
        """
        kind, value = self.table._existing(self.number, path)
        if not KINDS[kind].has_value:
            raise FieldConflict(
                f'"{path}" is of kind {kind}, which has no value in a table.\nDownload it instead.', path=path
            )
        return _opened(kind, value)

    def download_file_attribute(
        self, path: str, destination: str | os.PathLike[str] | None = None, progress_bar: ProgressBarType | None = None
    ) -> None:
        """Download the content of a File.

        Raises:
            FieldConflict: the field is of another kind.
        """
        self._download(path, (FILE,), destination, progress_bar)

    def download_file_set_attribute(
        self, path: str, destination: str | os.PathLike[str] | None = None, progress_bar: ProgressBarType | None = None
    ) -> None:
        """Download the files of a FileSet as a ZIP archive.

        Raises:
            FieldConflict: the field is of another kind.
        """
        self._download(path, (MEMBERS,), destination, progress_bar)

    def _download(
        self,
        path: str,
        kinds: Sequence[str],
        destination: str | os.PathLike[str] | None,
        progress_bar: ProgressBarType | None,
    ) -> None:
        kind, _value = self.table._existing(self.number, path)
        if kind not in kinds:
            wanted = " or ".join(kinds)
            raise FieldConflict(f'"{path}" is of kind {kind}, so it cannot be downloaded as a {wanted}.', path=path)
        self.table._field(self.number, path).download(destination, progress_bar=progress_bar)


class TableCell(Struct, frozen=True):
    """The cell of a row at a path."""

    entry: TableEntry
    path: str

    def get(self) -> Any:
        """Return its value."""
        return self.entry.get_attribute_value(self.path)

    def download(
        self, destination: str | os.PathLike[str] | None = None, progress_bar: ProgressBarType | None = None
    ) -> None:
        """Download a File or a FileSet."""
        self.entry._download(self.path, (FILE, MEMBERS), destination, progress_bar)


def _damaged_fields(losses: Losses) -> str:
    paths = [f'"{path}"' for path in losses.damaged if path]
    more = len(paths) - NAMED
    return ", ".join([*paths[:NAMED], *([f"{more:,} more"] if more > 0 else [])]) or "fields that cannot be named"


def _note(field: Unmatched, kind: ContainerKind) -> str:
    if not field.kinds:
        # The path itself is among them if only runs of other projects, or models, have it.
        if field.path in field.nearby:
            return f'No {kind.noun} here has the field "{field.path}"; others of the store have it.'
        nearby = ", ".join(f'"{path}"' for path in field.nearby)
        return f'No {kind.noun} has the field "{field.path}".' + (f" Nearby: {nearby}." if nearby else "")
    count = sum(field.kinds.values())
    kinds = ", ".join(f"{each} in {number:,}" for each, number in field.kinds.items())
    subject = f"1 {kind.noun} does" if count == 1 else f"{count:,} {kind.noun}s do"
    return f'{subject} not match, because "{field.path}" is of another type there: {kinds}.'


def fetch_table(
    store: Store,
    project: str | None,
    kind: ContainerKind = RUN,
    *,
    query: str | None = None,
    id: str | Sequence[str] | None = None,
    state: str | Sequence[str] | None = None,
    owner: str | Sequence[str] | None = None,
    tag: str | Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    trashed: bool | None = False,
    limit: int | None = None,
    sort_by: str = BY_DEFAULT,
    ascending: bool = False,
    progress_bar: ProgressBarType | None = None,
    parent: str | Sequence[str] | None = None,
    rollup: bool = False,
    also: Sequence[Node] = (),
    is_warning: bool = True,
) -> Table:
    """Find the containers of a kind; the common part of `fetch_runs_table` and its like.

    Fields that could not match are warned about once; they are also in the `notes` of the table. A damaged row is a
    DamageWarning, also in `damage`.

    Raises:
        InvalidQuery: `query` is no query.
        InvalidArgument: another argument makes no sense; `sort_by` names no column that can be sorted by.
        NaiadTypeError: an argument is of a wrong type.
    """
    _check(limit=limit, sort_by=sort_by, ascending=ascending, trashed=trashed, progress_bar=progress_bar, rollup=rollup)
    shown_names = _columns(columns, sort_by, is_rollup=rollup)
    count = None if limit is None else operator.index(limit)
    family = _of_family(store, project, parent, is_rollup=rollup)
    asked, unmatched = ([], []) if query is None else _parsed(store, query, id, state, owner, tag)
    tree = both([*also, *criteria(id, state, owner, tag), *family, *asked, *not_trashed(trashed)])
    is_late = sort_by.startswith(HOME)  # the order of the children's numbers is known after they are summed up
    is_shown = progress_bar if progress_bar is None or isinstance(progress_bar, bool) else False
    found = store.catalog().search(
        kind, project, tree,
        sort_by=BY_DEFAULT if is_late else sort_by, is_ascending=ascending, limit=None if is_late else count,
        columns=shown_names, progress_bar=is_shown,
    )  # fmt: skip
    if unmatched:
        found = found._replace(unmatched=[*found.unmatched, *unmatched])
    if rollup or is_late or (shown_names is not None and any(map(is_rolled_up, shown_names))):
        found = roll_up(store, found, shown_names)
    if is_late:
        found = sorted_by(found, sort_by, ascending, count)
    if isinstance(progress_bar, type):
        with progress_bar(description="Fetching table") as bar:
            bar.update(by=len(found.rows), total=len(found.rows))
    table = Table(found, shown_names, store, kind)
    if is_warning:
        _warn_of(table, found)
    return table


def _parsed(store: Store, query: str, *others: object) -> tuple[list[Node], list[Unmatched]]:
    """The condition of a query, and its columns of children that match nothing.

    Raises:
        InvalidQuery: it is no query.
        InvalidArgument: another argument with a condition is given too.
    """
    if any(given is not None for given in others):
        raise InvalidArgument(
            "query= cannot be given together with id=, state=, owner= or tag=; put those conditions into the query."
        )
    tree: Node | None = parse(query)
    tree, unmatched = resolved(store.catalog(), tree) if HOME in query else (tree, [])
    return ([] if tree is None else [tree]), unmatched


def _of_family(store: Store, project: str | None, parent: object, *, is_rollup: bool) -> list[Node]:
    """Conditions by which only children of some runs are found, or no children.

    Raises:
        RunNotFound: there is no run `parent`.
    """
    if parent is not None:
        uids = tuple(store.find(name, RUN).uid for name in texts("parent", parent) or ())
        return [OneOf(FieldName(PARENT_UID, SYS[PARENT_UID]), uids)]
    return [top_level(project)] if is_rollup else []


def _warn_of(table: Table, found: Found) -> None:
    """Warn once about each field that could not match, and about damaged rows."""
    for each, note in zip(found.unmatched, table.notes, strict=True):
        warn_once(("query", each.path, *each.kinds), note, NaiadWarning)
    if table.damage:
        warn_once(("table", table.damage), table.damage, DamageWarning)


def _columns(given: object, sort_by: str, *, is_rollup: bool) -> list[str] | None:
    """Return the columns to fetch; None of all.

    Raises:
        NaiadTypeError: `columns` is not a list of texts.
    """
    if given is None:
        return None
    if isinstance(given, str) or not isinstance(given, list | tuple | set | frozenset):
        raise NaiadTypeError(f"columns= takes a list of str, not {shown(given)}.", argument="columns", value=given)
    for each in given:
        if not isinstance(each, str):
            raise NaiadTypeError(f"columns= takes a list of str, not {shown(each)}.", argument="columns", value=each)
    # Id and sort column are fetched in any case: the one names the rows, the other orders them after a roll-up.
    names = list(dict.fromkeys([ALWAYS, sort_by, *given]))
    return with_rollup(names) if is_rollup else names


def _is_whole(value: object) -> bool:
    """Whether a value counts: an int or one of NumPy's, but no truth value."""
    if isinstance(value, bool) or getattr(getattr(value, "dtype", None), "kind", "") == "b":
        return False  # NumPy's too, which its older releases take for a number
    try:
        operator.index(value)  # type: ignore[arg-type]  # what is no number raises
    except TypeError:
        return False
    return True


def _is_bar(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, ProgressBarCallback)


_TAKES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "limit": ("an int or None", lambda given: given is None or _is_whole(given)),
    "sort_by": ("a str", lambda given: isinstance(given, str)),
    "ascending": ("True or False", lambda given: isinstance(given, bool)),
    "rollup": ("True or False", lambda given: isinstance(given, bool)),
    "trashed": ("True, False or None", lambda given: given is None or isinstance(given, bool)),
    "progress_bar": (
        "True, False or a class derived from ProgressBarCallback",
        lambda given: given is None or isinstance(given, bool) or _is_bar(given),
    ),
}


def _check(**given: object) -> None:
    for name, value in given.items():
        wanted, is_right = _TAKES[name]
        if not is_right(value):
            raise NaiadTypeError(f"{name}= takes {wanted}, not {shown(value)}.", argument=name, value=value)
    limit = given["limit"]
    if limit is not None and not 0 < operator.index(limit) < 2**63:  # type: ignore[arg-type]  # checked above
        raise InvalidArgument(f"limit= must be a number above 0, not {shown(limit)}.", argument="limit", value=limit)


def _in_order(columns: Iterable[str]) -> list[str]:
    """Columns in alphabetical order; those of `FIRST` before the others, and those of `LAST` after them."""
    others = sorted(columns)
    ends = []
    for name in (FIRST, LAST):
        start, end = bisect_left(others, name), bisect_left(others, f"{name}0")  # "0" comes after "/"
        near = others[start:end]
        ends.append([column for column in near if column.partition("/")[0] == name])
        others[start:end] = [column for column in near if column.partition("/")[0] != name]
    return [*ends[0], *others, *ends[1]]


def _aspect(kind: str, value: Any, aspect: str) -> Any:
    if kind != POINTS or value is None:
        return value
    return value[ASPECTS.index(aspect)]


def _opened(kind: str, value: Any) -> Any:
    """A cell as a user gets it, one by one."""
    if value is None:
        return None
    holds = KINDS[kind].holds
    if holds == "moment":
        return _naive(value)
    return set(value) if kind == TAGS else value


def _naive(microseconds: int) -> datetime:
    return from_microseconds(microseconds).replace(tzinfo=None)


def _column(values: Sequence[Any], holds: str) -> Any:
    """The values of a column as pandas takes them."""
    import numpy as np
    import pandas as pd

    if holds == "moment":
        return np.array([np.datetime64("NaT", "us") if at is None else at for at in values], "datetime64[us]")
    if holds == "number":
        return np.asarray(values, np.float64)
    if holds == "integer" and None in values and any(each is not None and abs(each) > 2**53 for each in values):
        return pd.array(values, dtype="Int64")  # the float that pandas would make of it rounds
    return values


def _framed(kind: str, value: Any, aspect: str) -> Any:
    """A cell as a DataFrame has it."""
    return _shown(kind, _aspect(kind, value, aspect))


def _shown(kind: str, value: Any) -> Any:
    return ",".join(value) if kind == TAGS and value is not None else _opened(kind, value)
