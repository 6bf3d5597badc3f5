"""The board: the list of runs, as a filter selects and a column sorts them, with their last values and sparklines.

It reads a window of the catalog, however many runs there are, and only after something has changed.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from naiad import clock
from naiad.children import state_counts
from naiad.cli.curve import MARKS
from naiad.cli.ls import STATES
from naiad.cli.plot import COLOURS
from naiad.cli.text import width
from naiad.cli.top.spans import Line, Span, length, padded, sized, span, spread, tail
from naiad.cli.top.sparks import COLUMNS, Key, Sparks
from naiad.cli.top.values import QUALITY, age, cell_text, state_span
from naiad.cli.values import tags_text
from naiad.container_kinds import RUN
from naiad.kinds import KINDS, POINTS, SYS
from naiad.query.criteria import both, children_of, not_trashed, top_level
from naiad.query.parser import parse
from naiad.query.tree import Compare, Contains, FieldName, Matches, Node, Or
from naiad.rollup import resolved
from naiad.storage.base import Store
from naiad.storage.catalog import ABSENT

VALUE, NARROW = 9, 12
"""Columns of a number beside its sparkline, and of a value that has none."""
GAP = "  "
SHORTEST = 8
"""Columns that the name of the store takes at least; else it is left out."""
MOST_PATHS = 300
LOOKED_AT = 30
"""The newest runs, whose metrics decide which columns there are at first."""
IS_QUERY = re.compile(r"[=<>()`\"']|\b(CONTAINS|MATCHES|EXISTS|IN|BETWEEN)\b")
PARTS = ("sys/name", "sys/creation_time", "sys/tags")


@dataclass
class Selection:
    """Which runs are listed, how they are sorted, and which columns are shown."""

    project: str | None = None
    text: str = ""
    """Words, all of which a run has in its id, name, tags or state; or a query."""
    sort: tuple[str, bool] | None = None
    """A column, and whether the smallest comes first; None: the newest first."""
    columns: list[str] = field(default_factory=list)
    """Paths; the most frequent metrics if empty."""
    parent: tuple[str, str] | None = None
    """Uid and id of the run whose children are listed."""
    are_all: bool = False
    """Whether children are listed beside their parents."""

    def condition(self) -> Node | None:
        """Return the condition that a run meets.

        Raises:
            InvalidQuery: the text is a query, and none that can be understood.
        """
        terms = not_trashed(False)
        if self.parent:
            terms.append(children_of(self.parent[0]))
        elif not self.are_all:
            terms.append(top_level(self.project))
        terms += filter_terms(self.text)
        return both(terms)


def filter_terms(text: str) -> list[Node]:
    """Return the conditions of a filter: a query if it has signs of one, else words."""
    # A word such as `sgd` is no query, and a query has a sign or a verb in capitals.
    if IS_QUERY.search(text):
        tree = parse(text)
        return [tree] if tree else []
    return [_has(word) for word in text.split()]


def _has(word: str) -> Node:
    pattern = f"(?i){re.escape(word)}"
    names = [Matches(FieldName(path, SYS[path]), pattern) for path in ("sys/id", "sys/name")]
    tags = Contains(FieldName("sys/tags", SYS["sys/tags"]), word)
    states = [Compare(FieldName("sys/state", SYS["sys/state"]), "=", each) for each in STATES if each == word.lower()]
    return Or((*names, tags, *states))


@dataclass
class Row:
    """A run as the list shows it; `cells` are kind and cell of the catalog by path."""

    uid: str
    id: str
    state: str
    cells: dict[str, tuple[str, Any]]

    def text(self, path: str) -> str:
        """Return a text field; nothing if it is not there."""
        return str(self.cells.get(path, ("", ""))[1] or "")


class _Layout(NamedTuple):
    """The columns of the list: the widths of ids and of names, 0 for none; and the paths of the values, with widths."""

    ids: int
    names: int
    has_age: bool
    values: list[tuple[str, int]]


class Board:
    """The list of runs."""

    hints = (
        *(("enter", "open"), ("space", "mark"), ("c", "compare"), ("/", "filter"), ("s", "sort")),
        *(("m", "columns"), ("?", "help"), ("q", "quit")),
    )

    def __init__(self, store: Store, selection: Selection, *, is_ascii: bool) -> None:
        self.selection = selection
        self.marked: dict[str, str] = {}
        """Ids of the runs that are to be compared, by uid."""
        self._store = store
        self._is_ascii = is_ascii
        self._mark = "..." if is_ascii else "…"
        self._sparks = Sparks(store, is_ascii=is_ascii)
        self._rows: list[Row] = []
        self._counts: dict[str, int] = {}
        self._children: dict[str, dict[str, int]] = {}
        self._paths: list[str] = []
        self._start = self._cursor = self._first_column = 0
        self._height = 20
        self._shown: list[Key] = []
        self._fitting = 1

    # Reading

    @property
    def total(self) -> int:
        """How many runs are selected."""
        return sum(self._counts.values())

    def changed(self, uids: Collection[str] | None) -> None:
        """Read again after some runs have changed, or any."""
        self._sparks.forget(uids)
        self.refresh()

    def refresh(self) -> None:
        """Read the window that is shown."""
        catalog, condition, project = self._store.catalog(), self._condition(), self.selection.project
        found = catalog.groups(RUN, project, condition, ["sys/state"])
        self._counts = {str(key[0]): count for key, count in zip(found.keys, found.counts, strict=True)}
        self._children = state_counts(self._store)
        # New runs come in at the top: the cursor stays on its run, unless it is on the first line.
        before = self.current
        self._paths = self.selection.columns or self._frequent()
        self._cursor = min(self._cursor, max(0, self.total - 1))
        self._read_window()
        if before and self._cursor and self.current and self.current.uid != before.uid:
            places = [place for place, row in enumerate(self._rows) if row.uid == before.uid]
            self._cursor = self._start + places[0] if places else self._cursor

    def _condition(self) -> Node | None:
        """Return the condition of the selection, its clauses on children resolved for the store as it is now."""
        return resolved(self._store.catalog(), self.selection.condition())[0]

    def _read_window(self) -> None:
        self._start = max(0, min(self._start, self._cursor, self.total - 1))
        self._start = max(self._start, self._cursor - self._height + 1)
        found = self._store.catalog().grid(
            RUN,
            self.selection.project,
            self._condition(),
            sort=[self.selection.sort] if self.selection.sort else (),
            limit=self._height,
            offset=self._start,
            columns=[*PARTS, *self._paths],
        )
        self._rows = [Row(uid, found.ids[place], found.states[place], {}) for place, uid in enumerate(found.uids)]
        for (path, kind), cells in found.columns.items():
            for row, cell in zip(self._rows, cells, strict=True):
                if cell is not ABSENT:
                    row.cells[path] = (kind, cell)

    def _frequent(self) -> list[str]:
        """Return the metrics that most of the newest runs have, those about quality first."""
        catalog, project = self._store.catalog(), self.selection.project
        # Of thousands of paths a part is enough to find a few columns, and keeps the query small.
        known = [path for path in self.paths(project) if not path.startswith(("monitoring/", "sys/"))][:MOST_PATHS]
        newest = catalog.grid(RUN, project, self._condition(), limit=LOOKED_AT, columns=known)
        counts: dict[str, int] = {}
        for (path, kind), cells in newest.columns.items():
            if kind == POINTS:
                counts[path] = counts.get(path, 0) + sum(cell is not ABSENT for cell in cells)
        counts = {path: count for path, count in counts.items() if count}
        return sorted(counts, key=lambda path: (not QUALITY.search(path), -counts[path], path))

    def paths(self, project: str | None, *, kinds: Collection[str] = (POINTS,)) -> list[str]:
        """Return the paths that runs have, those of `sys` and `monitoring` last."""
        found = {path for path, kind in self._store.catalog().fields(RUN, project) if kind in kinds}
        return sorted(found, key=lambda path: (path.startswith(("sys/", "monitoring/", "source_code/")), path))

    def fill(self, seconds: float) -> bool:
        """Read sparklines that are shown and missing, for so long; True if any was read."""
        return self._sparks.fill(self._shown, seconds)

    @property
    def shown_paths(self) -> list[str]:
        """The paths of the columns that there is room for."""
        return self._paths[self._first_column : self._first_column + self._fitting]

    @property
    def current(self) -> Row | None:
        """The run under the cursor."""
        place = self._cursor - self._start
        return self._rows[place] if 0 <= place < len(self._rows) else None

    # Keys

    def press(self, key: str) -> bool:
        """Take a key that moves or marks; False for any other."""
        steps = {"up": -1, "k": -1, "down": 1, "j": 1, "page up": -self._height, "page down": self._height}
        steps |= {"home": -self.total, "g": -self.total, "end": self.total, "G": self.total}
        if key in steps:
            self._cursor = max(0, min(self.total - 1, self._cursor + steps[key]))
            if not self._start <= self._cursor < self._start + len(self._rows):
                self._read_window()
        elif key in ("left", "right", "h", "l"):
            last = max(0, len(self._paths) - self._fitting)
            self._first_column = max(0, min(last, self._first_column + (1 if key in ("right", "l") else -1)))
        elif key == " " and self.current:
            run = self.current
            if self.marked.pop(run.uid, None) is None and len(self.marked) < len(MARKS):
                self.marked[run.uid] = run.id
            self.press("down")
        else:
            return False
        return True

    # Drawing

    def lines(self, columns: int, rows: int) -> list[Line]:
        """Return the list: titles, and a line for each run."""
        height = max(1, rows - 1)
        if height != self._height:
            self._height = height
            self._read_window()
        if not self._rows:
            return self._empty()
        names = [self._name(row) for row in self._rows]
        self._first_column = min(self._first_column, max(0, len(self._paths) - 1))
        layout = self._layout(columns, max([4, *map(length, names)]))
        self._fitting = max(1, len(layout.values))
        self._shown = [
            (row.uid, path)
            for row in self._rows
            for path, size in layout.values
            if size > NARROW and row.cells.get(path, ("",))[0] == POINTS
        ]
        lines = [
            self._line(row, name, layout, place)
            for place, (row, name) in enumerate(zip(self._rows, names, strict=True))
        ]
        return [self._titles(layout, columns), *lines]

    def _layout(self, columns: int, natural: int) -> _Layout:
        """Return which columns there are and their widths; names and ages go before the only value does."""
        ids = min(max(width(span(row.id).text) for row in self._rows), max(4, columns - 6))
        room = columns - 4 - ids
        paths = self._paths[self._first_column :]
        for least, has_age in ((min(natural, 14), True), (0, True), (0, False)):
            left = room - (least + len(GAP) if least else 0) - (5 if has_age else 0)
            values = self._fit(paths, left)
            if values or not paths:
                break
        else:  # no value fits at all
            least, has_age = 4, room > 30
        used = sum(size + len(GAP) for _path, size in values) + (5 if has_age else 0) + len(GAP)
        return _Layout(ids, max(4, min(natural, room - used)) if least else 0, has_age, values)

    def _fit(self, paths: Sequence[str], room: int) -> list[tuple[str, int]]:
        """Return the values for which there is room, with their widths."""
        found: list[tuple[str, int]] = []
        for path in paths:
            size = VALUE + 1 + COLUMNS if self._is_curve(path) else NARROW
            if size + len(GAP) > room:
                break
            found.append((path, size))
            room -= size + len(GAP)
        return found

    def _is_curve(self, path: str) -> bool:
        return any(KINDS[row.cells[path][0]].aspects for row in self._rows if path in row.cells)

    def _titles(self, layout: _Layout, columns: int) -> Line:
        sort, is_ascending = self.selection.sort or ("", False)
        arrow = ("^" if is_ascending else "v") if self._is_ascii else ("↑" if is_ascending else "↓")
        titles = f"    {padded('RUN', layout.ids, self._mark)}"
        titles += f"{GAP}{padded('NAME', layout.names, self._mark)}" if layout.names else ""
        line = [Span(f"{titles}  AGE" if layout.has_age else titles, "bold underline")]
        for path, size in layout.values:
            sign = f" {arrow}" if path == sort else ""
            name = tail(span(path).text, size - len(sign), self._mark) + sign
            has_curve = size > NARROW
            is_right = not has_curve or width(name) <= VALUE  # over the numbers, or else over both
            text = padded(name, VALUE if has_curve and is_right else size, self._mark, is_right=is_right)
            line.append(Span(GAP + padded(text, size, ""), "bold underline"))
        more = len(self._paths) - self._first_column - len(layout.values)
        note = f"+{more}" if more > 0 else ""
        line.append(Span(padded(note, max(0, columns - length(line)), "", is_right=True), "dim underline"))
        return line

    def _name(self, row: Row) -> Line:
        """Return the name of a run, or its tags if it has none, and how many children it has."""
        name, counts = row.text("sys/name"), self._children.get(row.uid)
        children = [Span(f"+{sum(counts.values()):,} ", "cyan")] if counts else []
        if name in ("", "Untitled"):
            tags = row.cells.get("sys/tags", ("", []))[1] or []
            return [*children, span(tags_text(tags), "dim")]
        return [*children, span(name)]

    def _line(self, row: Row, name: Line, layout: _Layout, place: int) -> Line:
        is_current = self._start + place == self._cursor
        number = list(self.marked).index(row.uid) if row.uid in self.marked else -1
        line = [
            Span((">" if self._is_ascii else "▌") if is_current else " ", "bold cyan"),
            Span(MARKS[number], f"bold {COLOURS[number % len(COLOURS)]}") if number >= 0 else Span(" "),
            state_span(row.state, is_ascii=self._is_ascii),
            Span(f" {padded(span(row.id).text, layout.ids, self._mark)}", "bold" if is_current else ""),
        ]
        if layout.names:
            line += [Span(GAP), *sized(name, layout.names, self._mark)]
        if layout.has_age:
            created = row.cells.get("sys/creation_time", ("", None))[1]
            line.append(Span(f" {age(clock.now() - created / 1e6) if created else '':>4}", "dim"))
        for path, size in layout.values:
            line += [Span(GAP), *self._cell(row, path, size)]
        return line

    def _cell(self, row: Row, path: str, size: int) -> Line:
        """Return the value of a field, and the sparkline of a series."""
        kind, cell = row.cells.get(path, ("", None))
        if not kind:
            return [Span(" " * size)]
        has_curve = size > NARROW
        text, is_number = cell_text(kind, cell, VALUE if has_curve else size)
        if not has_curve:
            return [Span(padded(text, size, self._mark, is_right=True))]
        if not is_number:
            return [Span(padded(text, size, self._mark))]
        spark = self._sparks.get((row.uid, path)) if kind == POINTS else ""
        return [Span(f"{text:>{VALUE}} "), Span(padded(spark, COLUMNS, ""), "cyan")]

    def _empty(self) -> list[Line]:
        if self.selection.text:
            return [[], [Span("  No run matches the filter.")], [Span("  / changes it, escape lifts it.", "dim")]]
        return [
            [],
            [Span("  No runs yet.")],
            [Span("  The first one appears here by itself.", "dim")],
        ]

    def headline(self, room: int) -> Line:
        """Return the first line: the store, the selection, and how many runs are in which state."""
        chosen = self.selection
        left = [Span(" naiad top", "bold")]
        what = [span(f"  children of {chosen.parent[1]}", "cyan")] if chosen.parent else []
        what += [span(f"  /{chosen.text}", "cyan")] if chosen.text else []
        right: Line = []
        for state in ("running", "failed", "killed", "unknown", "damaged"):
            if self._counts.get(state):
                right += [state_span(state, is_ascii=self._is_ascii), Span(f" {self._counts[state]:,} {state}  ")]
        right.append(Span(f"{self.total:,} run{'' if self.total == 1 else 's'} ", "bold"))
        rest = room - length([*left, *what, *right]) - 3  # the name of the store takes what is left
        if rest >= SHORTEST:
            left.append(Span(f"  {tail(span(self._store).text, rest, self._mark)}", "dim"))
        return spread([*left, *what], right, room, self._mark)
