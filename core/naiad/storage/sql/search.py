"""Search in the catalog: containers that match a query, in order, using the indexes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from itertools import product
from typing import Any, NamedTuple

from msgspec import Struct

from naiad.container_kinds import ContainerKind
from naiad.integers import LARGEST
from naiad.kinds import ASPECTS, KINDS, TAGS
from naiad.query.tree import And, Compare, Contains, Node, OneOf, leaves
from naiad.storage.sql.cells import COLUMNS, INDEXED_TEXT, ordered_exact, whole_of
from naiad.storage.sql.connection import All, Clause, Connection, Part, Statement
from naiad.storage.sql.places import Order, Place, walked_after
from naiad.storage.sql.places import after as place_after
from naiad.storage.sql.translate import EXACT, Numbers, condition, holders, narrowed
from naiad.storage.sql.values import LAST_CONTAINER, SMALL_ROWS, Shown, fields_at, shown_at

FEW = 10_000
"""Containers that are looked at one by one without a second thought."""
VERY_FEW = 100
"""Containers that are all looked at in the time in which those of a clause are counted."""


class Sort(Struct, frozen=True):
    """A sort order: the fields at one path, which may differ in kind, and the aspect of a series."""

    fields: tuple[tuple[int, str], ...]  # number and kind of each
    aspect: str = "last"
    is_ascending: bool = False
    is_by_creation: bool = False
    """Whether the one field is the time of creation, which stands in the row of a container too."""

    @property
    def numbers(self) -> list[int]:
        """The numbers of the fields."""
        return [number for number, _kind in self.fields]

    @property
    def order(self) -> str:
        """One of `ORDERS`."""
        return order_of(self.fields, self.aspect)


def order_of(fields: Sequence[tuple[int, str]], aspect: str) -> str:
    """One of `ORDERS`: the columns of a cell that have the values of these fields."""
    if aspect != "last":
        return aspect
    # Series of texts cannot be sorted by; their values are texts all the same, by which runs are grouped.
    kinds = {KINDS[kind].sorted_as or "text" for _number, kind in fields}
    if "text" in kinds:
        return "text" if len(kinds) == 1 else "mixed"
    # With integers alone, or with none, equal numbers have equal cells.
    is_one = len(fields) < 2 or len({KINDS[kind].holds in EXACT for _number, kind in fields}) < 2
    return "number" if is_one else "numbers"


def search(
    connection: Connection,
    kind: ContainerKind,
    project: str | None,
    tree: Node | None,
    numbers: Numbers,
    sort: Sort,
    limit: int | None,
    *,
    then: Sequence[Sort] = (),
    offset: int = 0,
    after: tuple[Place, Sequence[str]] | None = None,
) -> list[Shown]:
    """The shown values of the containers that a query finds, sorted; those without a value to sort by come last.

    Those that `sort` leaves equal are sorted by `then`. The first `offset` of them are left out. `numbers` has the
    fields of the tree; one that no container there has may be missing. `after` has the place after which they begin,
    with the names of the columns of the sorts in it.
    """
    how = sort.order, sort.is_ascending
    narrow = tree and narrowed(tree, numbers)
    if after is not None and limit is not None:
        return _next_page(connection, kind, project, narrow, numbers, [sort, *then], limit, *after)
    plan = _plan(connection, kind, project, narrow, numbers, sort, limit, then, offset)
    if limit is not None and plan.way == "walk":
        return _walked_page(connection, plan, numbers, sort, limit, offset)
    if limit is not None and plan.way == "ties":
        scope = in_scope(kind, project, is_rare=True)
        found = _tied_page(connection, plan, scope, numbers, (sort, then[0]), limit, offset)
        if found is not None:
            return found
    where = plan.where(numbers, NUMBER)
    if plan.way == "creation":
        return _page(connection, _BY_CREATION[sort.is_ascending], where=where, limit=limit, offset=offset)
    if then:
        sorts = [sort, *then]
        several = _sorted_by_several(tuple((each.order, each.is_ascending) for each in sorts))
        fields = {f"fields{place}": each.numbers or [0] for place, each in enumerate(sorts)}
        most = LARGEST if limit is None else limit
        return _page(connection, several, where=where, limit=most, offset=offset, **fields)
    if limit is None:  # sorting 100,000 rows with their cells takes 60 MB, so this is done for all of them only
        rows = connection.run(_SORTED[how], fields=sort.numbers, where=where)
        return list(map(Shown._make, rows))[offset:]
    return _page(connection, _SORTED_PAGE[how], fields=sort.numbers, where=where, limit=limit, offset=offset)


class Named(NamedTuple):
    """Containers that a query finds, in order, by the columns that name them."""

    numbers: Any
    """An array."""
    uids: list[str]
    ids: list[str]
    where: Clause
    """The condition that is true of them alone."""


def named_columns(
    connection: Connection, kind: ContainerKind, project: str | None, tree: Node | None, numbers: Numbers, sort: Sort
) -> Named | None:
    """All containers that a query finds, sorted; None of a database that is as quick with rows, as few of them are."""
    if (connection.value(LAST_CONTAINER) or 0) <= SMALL_ROWS:
        return None
    narrow = tree and narrowed(tree, numbers)
    where = _plan(connection, kind, project, narrow, numbers, sort, None, (), 0).where(numbers, NUMBER)
    if sort.is_by_creation and sort.fields:
        found = connection.columns(_NAMED_BY_CREATION[sort.is_ascending], _NAMED, where=where)
    else:
        how = sort.order, sort.is_ascending
        found = connection.columns(_SORTED_NAMES[how], _NAMED, fields=sort.numbers, where=where)
    if found is None:
        return None
    order, uids, ids = found
    return Named(order, uids, ids, where)


def _next_page(
    connection: Connection,
    kind: ContainerKind,
    project: str | None,
    tree: Node | None,
    numbers: Numbers,
    sorts: Sequence[Sort],
    limit: int,
    place: Place,
    names: Sequence[str],
) -> list[Shown]:
    """The page after a place: along the index of one column if there is one, else of those after it, sorted."""
    sort, is_one = sorts[0], len(sorts) == 1
    rare, rest = _rarest(connection, tree, numbers, is_all=False)
    plan = Plan("", in_scope(kind, project, is_rare=rare is not None), rest, rare)
    aliases = ["sorted"] if is_one else [f"sorted{number}" for number in range(len(sorts))]
    # Of a column that no container has any more, the place may have a value of any kind.
    orders = [
        Order(name, each.order if each.fields else "mixed", each.is_ascending, alias)
        for name, each, alias in zip(names, sorts, aliases, strict=True)
    ]
    where = All([*plan.where(numbers, NUMBER).clauses, place_after(place, orders, NUMBER)])
    if not is_one:
        several = _sorted_by_several(tuple((each.order, each.is_ascending) for each in sorts))
        own = {f"fields{number}": each.numbers or [0] for number, each in enumerate(sorts)}
        return _page(connection, several, where=where, limit=limit, offset=0, **own)
    how, found = (sort.order, sort.is_ascending), list[Shown]()
    is_indexed = rare is None and len(sort.fields) == 1 and sort.aspect == "last"
    walked = walked_after(place, orders[0], SORTED) if is_indexed else None
    if walked is not None:
        among = All([*plan.where(numbers, SORTED).clauses, walked])
        found = _page(connection, _WALK[how], field=sort.numbers[0], where=among, limit=limit, offset=0)
        # All without a value come after them.
        is_unsorted = Part(_UNSORTED[sort.order], {"unsorted": sort.numbers[0]})
        where = All([*plan.where(numbers, NUMBER).clauses, is_unsorted])
    if len(found) < limit:
        most = limit - len(found)
        fields = sort.numbers or [0]
        found += _page(connection, _SORTED_PAGE[how], fields=fields, where=where, limit=most, offset=0)
    return found


class Plan(NamedTuple):
    """The way to the page of a search, and the conditions on a container of it."""

    way: str
    """`walk`, `creation` and `ties` go along an index, and stop at the limit; else those found are sorted."""
    wanted: Sequence[Clause]
    """Conditions on the row of a container."""
    tree: Node | None
    """The condition on its fields."""
    rare: Clause | None
    """One that is true of few, which are selected first."""
    last: object = None
    """The value in the first column of the last one of the page, which very many have."""

    def where(self, numbers: Numbers, container: Clause) -> All:
        """Return all conditions on the container with a number, which stands in its own row or in that of a cell."""
        is_true = [] if self.tree is None else [condition(self.tree, numbers, container)]
        among = [] if self.rare is None else [Part(_IN, {"rows": self.rare})]
        return All([*self.wanted, *is_true, *among])


def _plan(
    connection: Connection,
    kind: ContainerKind,
    project: str | None,
    tree: Node | None,
    numbers: Numbers,
    sort: Sort,
    limit: int | None,
    then: Sequence[Sort],
    offset: int,
) -> Plan:
    """Choose the way with the fewest rows to look at."""
    rare, tree = _rarest(connection, tree, numbers, is_all=limit is None)
    wanted = in_scope(kind, project, is_rare=rare is not None)
    if then and limit is not None and rare is None:
        is_true = [] if tree is None else [condition(tree, numbers, SORTED)]
        rare, last = _nearest(connection, sort, then, [*wanted, *is_true], limit + offset)
        if last is not None:
            return Plan("ties", wanted, tree, None, last)
        wanted = in_scope(kind, project, is_rare=rare is not None)
    # With a selective clause a walk along the order would pass over nearly all of it, so its few rows are sorted
    # instead. Only the order of one column has an index.
    way = "sort"
    if limit is not None and rare is None and not then:
        # The index of a project has its containers by the time of creation, so that nothing is joined to pass over
        # many. Not for the first page: PostgreSQL sorts all of them, as its index has those without a time at the
        # other end.
        if offset and sort.is_by_creation and project is not None:
            way = "creation"
        elif len(sort.fields) == 1 and sort.aspect == "last":
            way = "walk"
    return Plan(way, wanted, tree, rare)


def _walked_page(
    connection: Connection, plan: Plan, numbers: Numbers, sort: Sort, limit: int, offset: int
) -> list[Shown]:
    """A page of containers along the index of the values to sort by."""
    how, field = (sort.order, sort.is_ascending), sort.numbers[0]
    where = plan.where(numbers, SORTED)
    found = _page(connection, _WALK[how], field=field, where=where, limit=limit, offset=offset)
    # The walk passes only containers that have the value; those without one come last, in their usual order.
    if len(found) < limit:
        # Where the page lies past those with a value, the offset counts on among those without one.
        passed = offset if offset and not found else 0
        if passed:
            passed = connection.value(_WALKED[sort.order], field=field, where=where, most=offset, offset=0)
        is_unsorted = Part(_UNSORTED[sort.order], {"unsorted": field})
        where = All([*plan.where(numbers, NUMBER).clauses, is_unsorted])
        limit, offset = limit - len(found), 0 if found else offset - passed
        found += _page(connection, _SORTED_PAGE[how], fields=sort.numbers, where=where, limit=limit, offset=offset)
    return found


def field_numbers(connection: Connection, tree: Node) -> Numbers:
    """Look up the fields that a tree names; those that no container has are left out."""
    return fields_at(connection, [leaf.field.path for leaf, _depth in leaves(tree)])


def _page(connection: Connection, statement: Statement, **parameters: object) -> list[Shown]:
    """The shown columns of the containers whose numbers a statement selects."""
    return shown_at(connection, [number for (number,) in connection.run(statement, **parameters)])


@lru_cache(maxsize=64)
def in_scope(kind: ContainerKind, project: str | None, *, is_rare: bool = False) -> tuple[Clause, ...]:
    """Conditions on a container: it is of a kind, and in a project; tested of the few of a rare clause if `is_rare`."""
    of_kind = Part(_IS_OF_KIND if is_rare else OF_KIND, {"kind": kind.folder})
    of_project = _IS_OF_PROJECT if is_rare else OF_PROJECT
    return (of_kind,) if project is None else (of_kind, Part(of_project, {"project": project}))


def conditions(connection: Connection, kind: ContainerKind, project: str | None, tree: Node | None) -> Clause:
    """Conditions on a container: it is of a kind, in a project, and a tree is true of it."""
    if tree is None:
        return All(in_scope(kind, project))
    numbers = field_numbers(connection, tree)
    rare, rest = _rarest(connection, narrowed(tree, numbers), numbers, is_all=True)
    plan = Plan("", in_scope(kind, project, is_rare=rare is not None), rest, rare)
    return plan.where(numbers, NUMBER)


def _nearest(
    connection: Connection, sort: Sort, then: Sequence[Sort], among: Sequence[Clause], most: int
) -> tuple[Clause | None, object]:
    """Select those that come first by one column, with all that are equal to the last of them, if that is few.

    All of a page that is sorted by further columns are among them, and the others need not be sorted. Where so many are
    equal that a walk along the second column finds those of the page sooner, only the value of the last one is given.
    """
    how = sort.order, sort.is_ascending
    if how not in _LAST or len(sort.fields) != 1:
        return None, None
    field = sort.numbers[0]
    last = connection.value(_LAST[how], field=field, where=All(among), limit=1, offset=most - 1)
    if last is None:  # the page holds some without a value
        return None, None
    chosen = Part(_UP_TO[how], {"field": field, "last": last})
    total = connection.value(LAST_CONTAINER) or 0
    few = total // 3
    count = connection.value(_COUNT_UP_TO, rows=chosen, most=few)
    # Of the walk one in total / count is equal.
    if count * count > most * total and most < FEW and _is_tied_walk(sort, then, last):
        return None, last
    return (chosen if count < few else None), None


def _is_tied_walk(sort: Sort, then: Sequence[Sort], last: object) -> bool:
    """Whether those with a value in the first column come in their order along the index of the second."""
    if len(then) != 1 or then[0].is_ascending != sort.is_ascending:  # the index has a direction for both its columns
        return False
    is_indexed = len(then[0].fields) == 1 and then[0].order in _WALKED
    # Larger integers, and texts that are longer than the index holds, may differ beyond it.
    if isinstance(last, str):
        return is_indexed and len(last) < INDEXED_TEXT
    return is_indexed and isinstance(last, (int, float)) and abs(last) < 2**53


def _tied_page(
    connection: Connection,
    plan: Plan,
    scope: Sequence[Clause],
    numbers: Numbers,
    sorts: tuple[Sort, Sort],
    limit: int,
    offset: int,
) -> list[Shown] | None:
    """A page whose last ones are equal by the first column: these come along the index of the second.

    `scope` has the conditions on the row of each of the few before them. None if too few have a value in the second.
    """
    first, second = sorts
    place = {"field": first.numbers[0], "last": plan.last}
    before = Plan("sort", scope, plan.tree, Part(_BEFORE[first.order, first.is_ascending], place))
    several = _sorted_by_several(tuple((each.order, each.is_ascending) for each in sorts))
    fields = {"fields0": first.numbers, "fields1": second.numbers}
    rows = connection.run(several, where=before.where(numbers, NUMBER), limit=limit + offset, offset=0, **fields)
    found = [number for (number,) in rows]
    passed = max(0, offset - len(found))
    found = found[offset:]
    tied = All([*plan.where(numbers, SORTED).clauses, Part(_TIED[first.order], place)])
    walk = _WALK[second.order, second.is_ascending]
    rows = connection.run(walk, field=second.numbers[0], where=tied, limit=limit - len(found), offset=passed)
    found += [number for (number,) in rows]
    return shown_at(connection, found) if len(found) == limit else None


def _rarest(
    connection: Connection, tree: Node | None, numbers: Numbers, *, is_all: bool
) -> tuple[Clause | None, Node | None]:
    """The clause to begin with, and the rest of the tree.

    It is the one true of the fewest, of those that all must be true, if that is few.
    """
    if tree is None:
        return None, None
    terms = tree.terms if isinstance(tree, And) else (tree,)
    total = connection.value(LAST_CONTAINER) or 0
    if total <= VERY_FEW:
        return None, tree
    # Of a small store a tenth of it, below which the index of the clause is worth more than that of the order. Where
    # there is no limit the order has no index, and a third of the store is read from that of the clause in half the
    # time of a test of each container.
    few = total // 3 if is_all else min(FEW, max(total // 10, 100))
    best: Clause | None = None
    rest: Node | None = tree
    fewest = few
    for place, term in enumerate(terms):
        if isinstance(term, (Compare, OneOf)) or (isinstance(term, Contains) and term.field.kind == TAGS):
            chosen = holders(term, numbers)
            # Counted up to the best so far: how many more there are does not matter.
            count = connection.value(_COUNT_UP_TO, rows=chosen, most=fewest)
            if count < fewest:
                best, fewest = chosen, count
                others = *terms[:place], *terms[place + 1 :]
                rest = And(others) if others else None
    return best, rest


def _sorted(sql: Any, t: Any, order: str, is_ascending: bool, *, is_page: bool, has_names: bool = False) -> Any:
    """All containers, each with its values to sort by; the numbers alone of a page, or with uid and id."""
    of = t.cell.alias("sorted")
    is_its = (of.c.container == t.container.c.number) & of.c.field.in_(sql.bindparam("fields", expanding=True))
    ordered = [*_ordered(of, order, is_ascending), *_directed([t.container.c.number], is_ascending)]
    shown = _names(t) if has_names else [t.container.c.number] if is_page else t.SHOWN
    rows = sql.select(*shown).select_from(t.container.outerjoin(of, is_its)).where(sql.text("({where})"))
    rows = rows.order_by(*ordered)
    return _paged(sql, rows) if is_page else rows


def _names(t: Any) -> list[Any]:
    return [t.container.c.number, t.container.c.uid, t.container.c.id]


def _by_creation(sql: Any, t: Any, is_ascending: bool, *, has_names: bool = False) -> Any:
    """A page of all containers by the time of creation, or all with uid and id; those without one come last."""
    number, created = _directed([t.container.c.number, t.container.c.created], is_ascending)
    rows = sql.select(*(_names(t) if has_names else [t.container.c.number])).where(sql.text("({where})"))
    rows = rows.order_by(created.nulls_last(), number)
    return rows if has_names else _paged(sql, rows)


def _walk(sql: Any, t: Any, order: str, is_ascending: bool) -> Any:
    """The containers with a value to sort by, along the index: it stops as soon as there are enough."""
    of = t.cell.alias("sorted")
    rows = _walkers(sql, t, of, order)
    return _paged(sql, rows.order_by(*_directed([*_order(of, order), of.c.container], is_ascending)))


def _last(sql: Any, t: Any, order: str, is_ascending: bool) -> Any:
    """The value of one of them, by its place."""
    of = t.cell.alias("sorted")
    column = _order(of, order)[0]
    rows = _walkers(sql, t, of, order).with_only_columns(column)
    return _paged(sql, rows.order_by(*_directed([column], is_ascending)))


def _up_to(sql: Any, t: Any, order: str, is_ascending: bool) -> Any:
    """The containers whose value does not come after another one."""
    of = t.cell.alias("found")
    column, last = _order(of, order)[0], sql.bindparam("last")
    return sql.select(of.c.container).where(
        of.c.field == sql.bindparam("field"), column <= last if is_ascending else column >= last
    )


def _before(sql: Any, t: Any, order: str, is_ascending: bool) -> Any:
    """The containers whose value comes before another one."""
    of = t.cell.alias("found")
    column, last = _order(of, order)[0], sql.bindparam("last")
    return sql.select(of.c.container).where(
        of.c.field == sql.bindparam("field"), column < last if is_ascending else column > last
    )


def _tied(sql: Any, t: Any, order: str) -> Any:
    """Condition: the container has a value."""
    of = t.cell.alias("tied")
    has_it = _order(of, order)[0] == sql.bindparam("last")
    is_its = of.c.container == sql.literal_column("container.number"), of.c.field == sql.bindparam("field")
    return sql.exists().where(*is_its, has_it)


def _walked(sql: Any, t: Any, order: str) -> Any:
    """How many such containers there are, counted up to a number."""
    some = _walkers(sql, t, t.cell.alias("sorted"), order).limit(sql.bindparam("most")).offset(sql.bindparam("offset"))
    return sql.select(sql.func.count()).select_from(some.subquery("counted"))


def _walkers(sql: Any, t: Any, of: Any, order: str) -> Any:
    rows = sql.select(t.container.c.number).select_from(of.join(t.container, t.container.c.number == of.c.container))
    has_value = _order(of, order)[0].is_not(None)
    return rows.where(of.c.field == sql.bindparam("field"), has_value, sql.text("({where})"))


def _paged(sql: Any, rows: Any) -> Any:
    return rows.limit(sql.bindparam("limit")).offset(sql.bindparam("offset"))


def _unsorted(sql: Any, t: Any, order: str) -> Any:
    """Condition: the container has no value to sort by."""
    of = t.cell.alias("unsorted")
    has_value = _order(of, order)[0].is_not(None)
    return t.container.c.number.not_in(
        sql.select(of.c.container).where(of.c.field == sql.bindparam("unsorted"), has_value)
    )


def _ordered(of: Any, order: str, is_ascending: bool) -> list[Any]:
    """The order of values in a direction; containers without one come last in both."""
    # Of numbers and texts the numbers come first in both directions: a run whose rate is "auto" must not push the
    # largest rate from the top.
    missing = [of.c.num.is_(None), of.c.txt.is_(None)] if order == "mixed" else [_order(of, order)[0].is_(None)]
    return [*missing, *_directed(_order(of, order), is_ascending)]


def _order(of: Any, order: str) -> list[Any]:
    if order not in COLUMNS:
        return [of.c[order]]
    # Without nulls, of which each database has its own place: a text that ends where the index does has none beside it.
    return [_MADE[name](of) if name in _MADE else of.c[name] for name in COLUMNS[order]]


_MADE: dict[str, Callable[[Any], Any]] = {"exact": ordered_exact, "whole": whole_of}


def _directed(values: Sequence[Any], is_ascending: bool) -> list[Any]:
    return [value.asc() if is_ascending else value.desc() for value in values]


def _by_several(sql: Any, t: Any, orders: Sequence[tuple[str, bool]]) -> Any:
    """The numbers of a page of containers, sorted by several columns."""
    joined: Any = t.container
    ordered: list[Any] = []
    for place, (order, is_ascending) in enumerate(orders):
        of = t.cell.alias(f"sorted{place}")
        is_its = of.c.field.in_(sql.bindparam(f"fields{place}", expanding=True))
        joined = joined.outerjoin(of, (of.c.container == t.container.c.number) & is_its)
        ordered += _ordered(of, order, is_ascending)
    ordered += _directed([t.container.c.number], orders[0][1])
    rows = sql.select(t.container.c.number).select_from(joined).where(sql.text("({where})")).order_by(*ordered)
    return _paged(sql, rows)


@lru_cache(maxsize=256)
def _sorted_by_several(orders: tuple[tuple[str, bool], ...]) -> Statement:
    """The statement for some columns. Those for two usual ones are compiled ahead, others at their first use."""
    name = ", ".join(f"{order}{'' if is_ascending else ' descending'}" for order, is_ascending in orders)
    return _statement(f"sorted by {name}", _by_several, orders, is_ahead=orders in TWO_USUAL)


_statement = partial(Statement, "naiad.storage.sql.tables")
NUMBER, SORTED = Part("container.number"), Part("sorted.container")
"""The number of a container, in its own row and in that of the cell by which it is sorted."""
OF_KIND = _statement("container.of_kind", lambda sql, t: t.container.c.kind == sql.bindparam("kind"))
OF_PROJECT = _statement("container.of_project", lambda sql, t: t.container.c.project == sql.bindparam("project"))
# Of an expression SQLite has no index: its planner would walk along that of the project, and pass over most of it.
_IS_OF_KIND = _statement(
    "container.is_of_kind",
    lambda sql, t: sql.func.coalesce(t.container.c.kind, sql.literal_column("''")) == sql.bindparam("kind"),
)
_IS_OF_PROJECT = _statement(
    "container.is_of_project",
    lambda sql, t: sql.func.coalesce(t.container.c.project, sql.literal_column("''")) == sql.bindparam("project"),
)
_IN = _statement("container.in", lambda sql, t: t.container.c.number.in_(sql.text("{rows}")))
_COUNT_UP_TO = _statement(
    "count",
    lambda sql, _t: sql.select(sql.func.count()).select_from(sql.text("({rows} LIMIT :most) AS counted")),
)
ORDERS = (*COLUMNS, *ASPECTS[1:])
"""The ways to sort by the cells of a field."""
_SORTED, _SORTED_PAGE = (
    {
        (order, is_ascending): _statement(
            f"{'page' if is_page else 'all'} sorted by {order}{'' if is_ascending else ', descending'}",
            lambda sql, t, order, is_ascending, is_page: _sorted(sql, t, order, is_ascending, is_page=is_page),
            order,
            is_ascending,
            is_page,
        )
        for order in ORDERS
        for is_ascending in (False, True)
    }
    for is_page in (False, True)
)
_WALK, _LAST, _UP_TO, _BEFORE = (
    {
        (order, is_ascending): _statement(
            f"{name} by {order}{'' if is_ascending else ', descending'}",
            build,
            order,
            is_ascending,
        )
        for order in ("number", "text")
        for is_ascending in (False, True)
    }
    for name, build in (("walk", _walk), ("last", _last), ("up to", _up_to), ("before", _before))
)
_BY_CREATION = {
    is_ascending: _statement(
        f"page by creation{'' if is_ascending else ', descending'}",
        _by_creation,
        is_ascending,
    )
    for is_ascending in (False, True)
}
_NAMED: Mapping[str, str] = {"number": "integer", "uid": "text", "id": "text"}
_NAMED_BY_CREATION = {
    is_ascending: _statement(
        f"all named by creation{'' if is_ascending else ', descending'}",
        lambda sql, t, is_ascending: _by_creation(sql, t, is_ascending, has_names=True),
        is_ascending,
    )
    for is_ascending in (False, True)
}
_SORTED_NAMES = {
    (order, is_ascending): _statement(
        f"all named sorted by {order}{'' if is_ascending else ', descending'}",
        lambda sql, t, order, is_ascending: _sorted(sql, t, order, is_ascending, is_page=False, has_names=True),
        order,
        is_ascending,
    )
    for order in ORDERS
    for is_ascending in (False, True)
}
_WALKED = {order: _statement(f"walked by {order}", _walked, order) for order in ("number", "text")}
_TIED = {order: _statement(f"tied by {order}", _tied, order) for order in ("number", "text")}
_UNSORTED = {order: _statement(f"unsorted by {order}", _unsorted, order) for order in ("number", "text")}
TWO_USUAL = frozenset(product(product(("number", "text"), (False, True)), repeat=2))
for _orders in sorted(TWO_USUAL):
    _sorted_by_several(_orders)
