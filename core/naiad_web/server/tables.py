"""Tables of many containers: rows, groups, the columns and values there are, queries, and containers side by side."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, TypeAlias

import msgspec

from naiad.container_kinds import KINDS as CONTAINER_KINDS
from naiad.container_kinds import RUN, ContainerKind, RunId
from naiad.errors import ContainerNotFound, InvalidQuery, NaiadError
from naiad.integers import LARGEST
from naiad.kinds import ASPECTS, KINDS, SYS, TAGS
from naiad.query.criteria import both, children_of, not_trashed, top_level
from naiad.query.parser import parse
from naiad.query.tree import And, Compare, Contains, Exists, FieldName, HasOthers, Node, Not, OneOf, Or
from naiad.rollup import resolved
from naiad.scalars import microseconds
from naiad.storage.catalog import ABSENT, Grid, path_and_aspect
from naiad_web.server.about import has_arrow, now
from naiad_web.server.answers import Answer, Json, Problem, Stream, attachment, csv_lines, datum, encoded, number
from naiad_web.server.completion import complete
from naiad_web.server.parameters import Parameters
from naiad_web.server.problems import described
from naiad_web.server.routes import Route
from naiad_web.server.site import Site

Kind: TypeAlias = Literal["run", "model", "model_version", "project"]
Trashed: TypeAlias = Literal["false", "true", "all"]
DEFAULT_COLUMNS = ("sys/id", "sys/name", "sys/state", "sys/creation_time", "sys/tags", "sys/owner")
PIECE = 5_000
"""Rows of an export that are in memory at once."""


class Wanted(Parameters, frozen=True, kw_only=True):
    """Which containers are meant."""

    kind: Kind = "run"
    project: str | None = None
    query: str = ""
    id: list[str] = []
    model: str | None = None
    trashed: Trashed | bool = "false"
    parent: str | None = None
    """Only the children of this run; `none`: only runs that belong to none that the table can show."""


class TableWanted(Wanted, frozen=True, kw_only=True):
    """A table: containers, columns, order, page."""

    column: list[str] = msgspec.field(default_factory=lambda: list(DEFAULT_COLUMNS))
    sort: list[str] = []
    order: list[Literal["asc", "desc"]] = []
    group: str | list[tuple[str, Any]] | None = None
    limit: Annotated[int, msgspec.Meta(ge=1)] | None = None
    offset: Annotated[int, msgspec.Meta(ge=0, le=LARGEST)] = 0
    after: str = ""
    format: Literal["json", "csv", "records", "arrow"] = "json"


class GroupsWanted(Wanted, frozen=True, kw_only=True):
    """Groups: containers, columns to group by, columns of numbers to aggregate."""

    by: Annotated[list[str], msgspec.Meta(min_length=1, max_length=3)]
    column: Annotated[list[str], msgspec.Meta(max_length=1_000)] = []
    limit: Annotated[int, msgspec.Meta(ge=1, le=5_000)] = 1_000


class ColumnsWanted(Parameters, frozen=True, kw_only=True):
    """The columns to choose from."""

    kind: Kind = "run"
    project: str | None = None
    search: str = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=20_000)] = 200
    offset: Annotated[int, msgspec.Meta(ge=0)] = 0


class ValuesWanted(Parameters, frozen=True, kw_only=True):
    """The values of a column."""

    path: str
    kind: Kind = "run"
    project: str | None = None
    search: str = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 100


class QueryWanted(Parameters, frozen=True, kw_only=True):
    """A query to check or to complete."""

    query: str = ""
    at: Annotated[int, msgspec.Meta(ge=0)] | None = None
    kind: Kind = "run"
    project: str | None = None


class CompareWanted(Parameters, frozen=True, kw_only=True):
    """Containers to lay side by side."""

    run: Annotated[list[str], msgspec.Meta(min_length=1, max_length=100)]
    prefix: str = ""
    search: str = ""
    differs: bool = False


def kind_named(name: str) -> ContainerKind:
    """The kind of container with this name."""
    return next(kind for kind in CONTAINER_KINDS if kind.name == name)


def table(site: Site, takes: TableWanted) -> Answer | Stream | Json:
    """A page of a table, or an export of it."""
    if takes.format == "json":
        page: Answer = site.fresh(("table", encoded(takes)), lambda: Answer(encoded(_page(site, takes))))
        # The page may be a kept answer; the time by which it is shown is that of this one.
        return Answer(b'{"now":%s,%s' % (encoded(now()), page.body[1:]))
    if takes.format == "csv":
        names = _columns(site, takes)
        return Stream(csv_lines(names, _rows(site, takes, names)), "text/csv; charset=utf-8", attachment("table.csv"))
    if takes.format == "records":
        return Stream(_records(site, takes), "application/json", attachment("table.json"))
    if not has_arrow():
        raise Problem(406, "NotAcceptable", 'Arrow needs pyarrow: pip install "naiad[import]".')
    return Stream(_arrow(site, takes), "application/vnd.apache.arrow.stream", attachment("table.arrows"))


def _page(site: Site, takes: TableWanted) -> Json:
    kind, tree = kind_named(takes.kind), _tree(site, takes)
    names = _columns(site, takes)
    catalog = site.catalog
    limit = min(takes.limit or 1_000, 20_000)
    # After another page, its offset is only a part of the answer.
    offset = 0 if takes.after else takes.offset
    grid, end = catalog.page(
        kind, takes.project, tree, sort=_sort(takes), limit=limit, offset=offset, after=takes.after, columns=names
    )
    site.note_ids(kind, grid.uids, grid.ids)
    count = len(grid.uids)
    # A first page that is not full has everything, and nothing needs to be counted.
    is_all = takes.offset == 0 and not takes.after and count < limit
    return {
        "kind": takes.kind,
        "project": takes.project,
        "total": count if is_all else _total(site, kind, takes.project, tree),
        "offset": takes.offset,
        "count": count,
        "next": end or None,
        "unmatched": [each._asdict() for each in grid.unmatched],
        "ids": grid.ids,
        "uids": grid.uids,
        "projects": grid.projects,
        "states": grid.states,
        "columns": [_column(grid, name) for name in names],
    }


def _total(site: Site, kind: ContainerKind, project: str | None, tree: Node | None) -> int:
    # counting 100,000 runs takes 50 ms, so all pages of a table share it
    key = ("count", kind, project, repr(tree))
    return int(site.fresh(key, lambda: site.catalog.count(kind, project, tree)))


def _columns(site: Site, takes: TableWanted) -> list[str]:
    """The columns of a table, with patterns expanded."""
    found: dict[str, None] = {}
    known: list[tuple[str, str]] | None = None
    for name in takes.column:
        if "*" not in name:
            found[name] = None
            continue
        # Once for all patterns, and not at all where there is none: of a large store this reads every field.
        if known is None:
            known = _known_fields(site, kind_named(takes.kind), takes.project)
        found.update(dict.fromkeys(_matching(name, known)))
    return list(found)[:1_000]


def _matching(pattern: str, known: Sequence[tuple[str, str]]) -> Iterator[str]:
    import re

    path, aspect = path_and_aspect(pattern)
    meant = re.compile(".*".join(map(re.escape, path.split("*"))), re.DOTALL)
    for each, kind in known:
        if meant.fullmatch(each) and KINDS[kind].has_value and (path == pattern or aspect in KINDS[kind].aspects):
            yield each if path == pattern else f"{each}:{aspect}"


def _cells(grid: Grid, name: str) -> tuple[str, str, list[tuple[str, list[Any]]]]:
    """Path and aspect of a column, and its cells by kind."""
    # The whole name first: a path may itself end in `:min`.
    path, aspect = name, "last"
    found = [(kind, cells) for (each, kind), cells in grid.columns.items() if each == path]
    if not found:
        path, aspect = path_and_aspect(name)
        found = [(kind, cells) for (each, kind), cells in grid.columns.items() if each == path]
        if path != name:
            found = [(kind, cells) for kind, cells in found if aspect in KINDS[kind].aspects]
    return path, aspect, [(kind, cells) for kind, cells in found if any(each is not ABSENT for each in cells)]


def _column(grid: Grid, name: str) -> dict[str, Json]:
    path, aspect, found = _cells(grid, name)
    kinds = sorted(kind for kind, _cells in found)
    column: dict[str, Json] = {
        "name": name,
        "path": path,
        "aspect": aspect,
        "kind": kinds[0] if len(kinds) == 1 else None,
        "kinds": kinds,
        "values": _values(found, aspect, len(grid.uids)),
    }
    # Files and the like have no value to show, so the page is told where there is one.
    if any(not KINDS[kind].has_value for kind in kinds):
        column["present"] = [any(cells[row] is not ABSENT for _kind, cells in found) for row in range(len(grid.uids))]
    return column


def _values(found: Sequence[tuple[str, list[Any]]], aspect: str, count: int) -> list[Json]:
    # A column of one kind, the usual case, needs no look at each cell for which kind has it.
    at = ASPECTS.index(aspect)
    if len(found) == 1:
        [(kind, cells)] = found
        return [None if each is ABSENT else datum(kind, each, at) for each in cells]
    values: list[Json] = [None] * count
    for kind, cells in found:
        for row, each in enumerate(cells):
            if each is not ABSENT:
                values[row] = datum(kind, each, at)
    return values


def _rows(site: Site, takes: TableWanted, names: Sequence[str], *, with_id: bool = False) -> Iterator[list[Json]]:
    """The rows of an export, read a piece at a time."""
    kind, tree, left = kind_named(takes.kind), _tree(site, takes), takes.limit
    end, offset = takes.after, 0 if takes.after else takes.offset
    while left is None or left > 0:
        size = PIECE if left is None else min(PIECE, left)
        grid, end = site.catalog.page(
            kind, takes.project, tree, sort=_sort(takes), limit=size, offset=offset, after=end, columns=names
        )
        columns = [_column(grid, name)["values"] for name in names]
        for row in range(len(grid.uids)):
            own = [grid.ids[row], grid.uids[row]] if with_id else []
            yield [*own, *(column[row] for column in columns)]
        offset = 0
        left = None if left is None else left - len(grid.uids)
        if not end:
            return


def _records(site: Site, takes: TableWanted) -> Iterator[bytes]:
    names = _columns(site, takes)
    before = b"["
    for row in _rows(site, takes, names):
        # The comma goes before each record but the first, since which one is the last is not known.
        yield before + encoded(dict(zip(names, row, strict=True)))
        before = b",\n"
    yield b"]" if before != b"[" else b"[]"


def _arrow(site: Site, takes: TableWanted) -> Iterator[bytes]:
    """The table as an IPC stream of record batches. A column whose values differ in type is text."""
    import pyarrow as pa  # type: ignore[import-untyped,unused-ignore]  # it has no types of its own

    names = _columns(site, takes)
    rows = list(_rows(site, takes, names))
    arrays = []
    for place in range(len(names)):
        column = [row[place] for row in rows]
        try:
            arrays.append(pa.array([_special(each) for each in column]))
        # A field may be a number in one run and a text in another, and an Arrow column has one type.
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            arrays.append(pa.array([None if each is None else str(each) for each in column]))
    batch = pa.record_batch(arrays, names=names)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    yield sink.getvalue().to_pybytes()


def _special(value: Json) -> Json:
    return (
        {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}.get(value, value)
        if isinstance(value, str)
        else value
    )


def _sort(takes: TableWanted) -> list[tuple[str, bool]]:
    # More than are needed: columns without an order of their own are sorted in descending order.
    orders = [*takes.order, *["desc"] * len(takes.sort)]
    return [(column, order == "asc") for column, order in zip(takes.sort, orders, strict=False)]


def _tree(site: Site, takes: Wanted) -> Node | None:
    """The condition that a request means.

    Raises:
        InvalidQuery: its query is none.
    """
    terms: list[Node] = []
    # By id, which the catalog has an index for; a uid or an old id is resolved first.
    if takes.id:
        terms.append(OneOf(FieldName("sys/id", SYS["sys/id"]), tuple(sorted(_known(site, takes.id)))))
    if takes.model is not None:
        terms.append(Compare(FieldName("sys/model_id", SYS["sys/model_id"]), "=", takes.model))
    if takes.parent is not None:
        is_top = takes.parent == "none"
        terms.append(top_level(takes.project) if is_top else children_of(site.find(takes.parent, RUN).uid))
    asked, _unmatched = resolved(site.catalog, parse(takes.query))
    if asked is not None:
        terms.append(asked)
    trashed = {"false": False, "true": True, "all": None}.get(str(takes.trashed).lower())
    terms += not_trashed(trashed)
    group = getattr(takes, "group", None)
    if group:
        terms += [_is_in_group(site, takes, column, value) for column, value in _group(group)]
    return both(terms)


def _known(site: Site, names: Iterable[str]) -> set[str]:
    """The ids of those containers that exist: one may have been deleted after a page listed it."""
    found = set()
    for name in names:
        with contextlib.suppress(ContainerNotFound):
            found.add(site.id_of(site.find(name)))
    return found


def _group(given: str | list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    if not isinstance(given, str):
        return given
    try:
        return msgspec.json.decode(given, type=list[tuple[str, Any]])
    except msgspec.DecodeError as error:
        raise Problem(400, "BadRequest", f"group is not [[column, value], ...]: {error}.", argument="group") from None


def _is_in_group(site: Site, takes: Wanted, column: str, value: Json) -> Node:
    """The condition that a column has this value."""
    path, aspect = path_and_aspect(column)
    kinds = {kind for each, kind in _known_fields(site, kind_named(takes.kind), takes.project) if each == path}
    names = [FieldName(path, kind, aspect if KINDS[kind].aspects else "last") for kind in sorted(kinds)]
    # The group of those that lack the column, by whatever kind it is found at.
    if value is None:
        return Not(Or(tuple(map(_has_value, names))))
    found: list[Node] = []
    for name in names:
        kind, row = name.kind, KINDS[name.kind]
        if kind == TAGS and isinstance(value, list):
            texts = tuple(map(str, value))
            # All of these and no other: a run with further tags is of another group.
            own: list[Node] = [Exists(name), *(Contains(name, each) for each in texts), Not(HasOthers(name, texts))]
            found.append(And(tuple(own)))
        elif (row.compared_as in ("text", "state") and isinstance(value, str)) or (
            row.compared_as in ("number", "boolean") and isinstance(value, int | float)
        ):
            found.append(Compare(name, "=", value))
        elif row.compared_as == "moment" and isinstance(value, str):
            found.append(Compare(name, "=", _moment(value)))
        # JavaScript rounds integers above 2**53, so that these come as texts.
        elif row.compared_as == "number" and isinstance(value, str) and value.lstrip("-").isdigit():
            found.append(Compare(name, "=", int(value)))
    return Or(tuple(found))


def _has_value(name: FieldName) -> Node:
    # NaN, of which no comparison is true, is in the group of those without a number.
    return Compare(name, ">=", -math.inf) if KINDS[name.kind].holds == "number" else Exists(name)


def _moment(text: str) -> int:
    try:
        return microseconds(datetime.fromisoformat(text.replace("Z", "+00:00")))
    except ValueError:
        raise Problem(400, "BadRequest", f"{text[:100]!r} is not a time.", argument="group") from None


def groups(site: Site, takes: GroupsWanted) -> Json:
    """Groups of containers."""
    return site.fresh(("groups", encoded(takes)), lambda: _groups(site, takes))


def _groups(site: Site, takes: GroupsWanted) -> Json:
    kind = kind_named(takes.kind)
    known = _known_fields(site, kind, takes.project)
    found = site.catalog.groups(kind, takes.project, _tree(site, takes), takes.by, takes.column, takes.limit)
    by = []
    for place, name in enumerate(takes.by):
        kinds = {each for path, each in known if path in (name, path_and_aspect(name)[0])}
        own = min(kinds) if kinds else ""
        values = [_key(own, key[place]) for key in found.keys]
        by.append({"name": name, "kind": own or None, "values": values})
    columns = [
        {
            "name": name,
            "counts": [each[0] for each in rows],
            "min": [number(each[1]) for each in rows],
            "max": [number(each[2]) for each in rows],
            "mean": [number(each[3]) for each in rows],
        }
        for name, rows in found.numbers.items()
    ]
    return {"total": found.total, "by": by, "counts": found.counts, "columns": columns}


def _key(kind: str, value: Any) -> Json:
    if KINDS[kind].aspects or value is None:
        return number(value)
    return list(value) if isinstance(value, tuple) else datum(kind, value)


def columns(site: Site, takes: ColumnsWanted) -> Json:
    """The columns to choose from."""
    known = _known_fields(site, kind_named(takes.kind), takes.project)
    words = takes.search.lower().split()
    found = [(path, kind) for path, kind in known if all(word in path.lower() for word in words)]
    page = found[takes.offset : takes.offset + takes.limit]
    rows = [
        {"path": path, "kind": kind, "type": KINDS[kind].neptune, "aspects": list(KINDS[kind].aspects)}
        for path, kind in page
    ]
    return {"total": len(found), "columns": rows}


def values(site: Site, takes: ValuesWanted) -> Json:
    """The values of a column, the most frequent first."""
    kind = kind_named(takes.kind)
    total, found = site.fresh(
        ("values", encoded(takes)),
        lambda: site.catalog.common_values(kind, takes.project, takes.path, takes.search, takes.limit),
    )
    rows = [
        {
            "value": number(value) if KINDS[kind].aspects else _key(kind, value) if kind != TAGS else value,
            "count": count,
        }
        for kind, value, count in found
    ]
    return {"path": takes.path, "kind": found[0][0] if found else None, "total": total, "values": rows}


def query(site: Site, takes: QueryWanted) -> Json:
    """Whether a query is valid, and how it may continue at a place."""
    answer: dict[str, Json] = {"is_valid": True}
    try:
        parse(takes.query)
    except InvalidQuery as error:
        problem = {"type": "InvalidQuery", "detail": str(error), "column": getattr(error, "column", None)}
        answer = {"is_valid": False, "error": problem}
    if takes.at is not None:
        known = columns(site, ColumnsWanted(kind=takes.kind, project=takes.project, limit=20_000))["columns"]
        answer |= complete(takes.query[: takes.at], [(each["path"], each["type"]) for each in known])
    return answer


def compare(site: Site, takes: CompareWanted) -> Json:
    """Containers side by side: a row for each field.

    Raises:
        ContainerNotFound: none of them exists.
    """
    there: dict[str, RunId] = {}
    missing: dict[str, ContainerNotFound] = {}
    for name in takes.run:
        try:
            there[name] = site.find(name)
        except ContainerNotFound as error:
            missing[name] = error
    if not there:
        raise missing[takes.run[0]]
    listed = _listed(site, [*there.values()])
    runs, cells = [], []
    for name in takes.run:
        head: dict[str, Json]
        own: dict[tuple[str, str], Any] = {}
        # One that was deleted or cannot be read has an empty column with the reason; the others are compared.
        if (run := there.get(name)) is None:
            head = {"id": name, "uid": None, "kind": None, "error": described(missing[name])}
        else:
            head = {"id": site.id_of(run), "uid": run.uid, "kind": run.kind.name}
            try:
                own = listed.get(run) or dict(site.catalog.cells(run))
            except (NaiadError, OSError) as error:
                head["error"] = described(error)
        plain = {path: value for (path, _kind), value in own.items()}
        for key, path in (("name", "sys/name"), ("project", "sys/project"), ("state", "sys/state")):
            head[key] = plain.get(path)
        runs.append(head)
        cells.append(own)
    rows = _compared(cells, takes)
    return {"runs": runs, "fields": rows, "total": len(rows)}


def _listed(site: Site, runs: Sequence[RunId]) -> dict[RunId, dict[tuple[str, str], Any]]:
    """The cells of containers, as the catalog has them."""
    found: dict[RunId, dict[tuple[str, str], Any]] = {}
    # for 50 runs 0.1 s of CPU from the catalog, and 0.9 s from the folders
    for kind in {run.kind for run in runs}:
        names = tuple(sorted({site.id_of(run) for run in runs if run.kind is kind}))
        listed = site.catalog.search(kind, None, OneOf(FieldName("sys/id", SYS["sys/id"]), names))
        for row in listed.rows:
            found[RunId(row.uid, kind)] = {listed.fields[number]: cell for number, cell in row.cells.items()}
    return found


def _known_fields(site: Site, kind: ContainerKind, project: str | None) -> list[tuple[str, str]]:
    """Path and kind of every field."""
    found: list[tuple[str, str]] = site.fresh(("fields", kind, project), lambda: site.catalog.fields(kind, project))
    return found


def _compared(cells: Sequence[dict[tuple[str, str], Any]], takes: CompareWanted) -> list[dict[str, Json]]:
    words, inside = takes.search.lower().split(), f"{takes.prefix}/" if takes.prefix else ""
    kinds: dict[str, dict[int, str]] = {}
    for place, own in enumerate(cells):
        for path, kind in own:
            kinds.setdefault(path, {})[place] = kind
    rows = []
    for path in sorted(kinds):
        if not path.startswith(inside) or not all(word in path.lower() for word in words):
            continue
        found = kinds[path]
        values = [datum(found[n], cells[n][path, found[n]]) if n in found else None for n in range(len(cells))]
        # As JSON, since lists and dicts cannot be members of a set.
        differs = len({json.dumps(each) for each in values}) > 1 or len(found) not in (0, len(cells))
        if takes.differs and not differs:
            continue
        row: dict[str, Json] = {
            "path": path, "kinds": sorted(set(found.values())), "aspect": "last", "values": values,
            "differs": differs, "spread": _spread(values),
        }  # fmt: skip
        # A file has no value here: where some have one and others do not, the values alone would all look the same.
        if any(values[n] is None for n in found):
            row["present"] = [n in found for n in range(len(cells))]
        if any(KINDS[kind].aspects for kind in found.values()):
            for at in (1, 2):
                row[ASPECTS[at]] = [_aspect(cells, path, found, n, at) for n in range(len(cells))]
        rows.append(row)
    return rows


def _aspect(cells: Sequence[dict[tuple[str, str], Any]], path: str, kinds: dict[int, str], n: int, at: int) -> Json:
    value = cells[n].get((path, kinds.get(n, "")))
    return number(value[at]) if isinstance(value, list) and KINDS[kinds[n]].aspects else None


def _spread(values: Sequence[Json]) -> Json:
    # True is an int to Python, and the spread of two booleans means nothing.
    plain = [each for each in values if isinstance(each, int | float) and not isinstance(each, bool)]
    return number(max(plain) - min(plain)) if len(plain) > 1 else None


ROUTES = (
    Route(
        "GET", "/table", table, TableWanted, "A table of containers", also_post=True,
        media=("application/json", "text/csv", "application/vnd.apache.arrow.stream"),
    ),
    Route("GET", "/groups", groups, GroupsWanted, "Containers grouped by columns", also_post=True),
    Route("GET", "/columns", columns, ColumnsWanted, "Columns that containers have"),
    Route("GET", "/values", values, ValuesWanted, "Values of a column, the most frequent first"),
    Route("GET", "/query", query, QueryWanted, "Whether a query is valid, and how it may go on"),
    Route("GET", "/compare", compare, CompareWanted, "Containers side by side", also_post=True),
)  # fmt: skip
