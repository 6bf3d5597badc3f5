"""Searching finds what plain Python finds by evaluating the same tree over dicts."""

from __future__ import annotations

import base64
import contextlib
import math
import operator
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
import re2
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from naiad.container_kinds import RUN
from naiad.errors import InvalidArgument
from naiad.kinds import ASPECTS
from naiad.query.parser import parse
from naiad.query.tree import And, Compare, Contains, Exists, FieldName, Matches, Node, Not, OneOf, Or
from naiad.storage.sql import tables, values
from naiad.storage.sql.cells import INDEXED_TEXT
from naiad.storage.sql.connection import Connection
from naiad.storage.sql.database import open_in_memory
from naiad.storage.sql.grid import count, grid, known_fields, page
from naiad.storage.sql.rows import find
from naiad.storage.sql.search import field_numbers, search
from naiad.storage.sql.values import Entry, Stamp

Facts = dict[tuple[str, str], Any]
SIGNS = {"=": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
LONG = "x" * INDEXED_TEXT

texts = st.sampled_from(
    ["", "a", "A", "ab", "a%b", "a_b", "b\\a", "é", LONG, LONG + "a", LONG + "b", "z" * 1000, "'\""]
)
numbers = st.sampled_from([0.0, -1.5, 0.1, 1e300, math.inf, -math.inf, math.nan, 5e-324]) | st.floats(-2, 2)
integers = st.sampled_from([0, 1, -1, 2**53, 2**53 + 1, 2**62, -(2**63), 2**63 - 1]) | st.integers(-3, 3)
finite = st.floats(-2, 2) | st.none()
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "float": numbers,
    "int": integers,
    "bool": st.booleans(),
    "string": texts,
    "datetime": integers,
    "run_state": st.sampled_from(["running", "finished", "failed", "killed"]),
    "string_set": st.lists(texts, unique=True, max_size=3).map(sorted),
    "float_series": st.none() | st.tuples(numbers, finite, finite, finite, finite).map(list),
    "string_series": st.none() | texts,
    "file": st.none(),
}
fields = st.tuples(st.sampled_from(["x", "y/z"]), st.sampled_from(sorted(VALUES)))
containers = st.lists(
    st.dictionaries(st.sampled_from(["x", "y/z", "w"]), st.sampled_from(sorted(VALUES)), max_size=3).flatmap(
        lambda kinds: st.fixed_dictionaries({(path, kind): VALUES[kind] for path, kind in kinds.items()})
    ),
    max_size=8,
)


def leaf_of(field: tuple[str, str]) -> st.SearchStrategy[Node]:
    path, kind = field
    name = FieldName(path, kind)
    forms: list[st.SearchStrategy[Node]] = [st.just(Exists(name))]
    if kind in ("float", "int", "datetime"):
        values = st.integers(-(10**18), 10**18) | integers if kind != "float" else numbers.filter(lambda v: v == v)
        forms.append(st.builds(Compare, st.just(name), st.sampled_from(sorted(SIGNS)), values | st.floats(-2, 2)))
    if kind == "float_series":
        names = st.sampled_from(ASPECTS).map(lambda aspect: FieldName(path, kind, aspect))
        forms.append(st.builds(Compare, names, st.sampled_from(sorted(SIGNS)), st.floats(-2, 2)))
    if kind in ("bool", "run_state"):
        values = st.booleans() if kind == "bool" else VALUES[kind] | st.just("idle")
        forms.append(st.builds(Compare, st.just(name), st.sampled_from(["=", "!="]), values))
    if kind in ("string", "string_series"):
        forms.append(st.builds(Compare, st.just(name), st.sampled_from(["=", "!="]), texts))
        forms.append(st.builds(OneOf, st.just(name), st.lists(texts, min_size=1, max_size=3).map(tuple)))
        forms.append(st.builds(Contains, st.just(name), texts))
        forms.append(st.builds(Matches, st.just(name), st.sampled_from(["a", "^a", "b$", "(?i)A", "", "x{200}a"])))
    if kind == "string_set":
        forms.append(st.builds(Contains, st.just(name), texts))
    if kind in ("float", "int", "datetime", "float_series"):
        some = st.lists(
            numbers.filter(lambda v: v == v) if kind.startswith("float") else integers, min_size=1, max_size=3
        )
        forms.append(st.builds(OneOf, st.just(name), some.map(tuple)))
    return st.one_of(forms)


def untyped(texts: list[str]) -> st.SearchStrategy[Node]:
    """Clauses without a type, as the parser makes them."""
    return st.sampled_from(texts).map(parse)


WITHOUT_TYPES = [
    f"{path} {clause}"
    for path in ("x", "y/z")
    for clause in (
        *("> 0.5", "= 1", "!= 0", "<= -1", "IN (0, 1, 9007199254740993)", "NOT IN (1, 0.1)", "BETWEEN -1 AND 1"),
        *("= a", '!= "a"', 'IN (a, ab, "")', 'CONTAINS "a"', 'NOT MATCHES "^a"', "= true", "!= false", "EXISTS"),
        *("= 4611686018427387905", "IN (1e300, 9223372036854775807)", "NOT IN (1e19, -9223372036854775808)"),
        *("IN (a, 1, true)", "< 1970-01-02", "BETWEEN 1969-12-01 AND 1970-02-01"),
    )
]


trees = st.recursive(
    fields.flatmap(leaf_of) | untyped(WITHOUT_TYPES),
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.builds(And, st.lists(inner, min_size=2, max_size=3).map(tuple)),
        st.builds(Or, st.lists(inner, min_size=2, max_size=3).map(tuple)),
    ),
    max_leaves=5,
)


def holds(node: Node, facts: Facts) -> bool:
    """The oracle."""
    if isinstance(node, Not):
        return not holds(node.term, facts)
    if isinstance(node, And):
        return all(holds(term, facts) for term in node.terms)
    if isinstance(node, Or):  # also a clause without a type
        return any(holds(term, facts) for term in node.terms)
    key = (node.field.path, node.field.kind)
    if key not in facts:
        return False
    value = facts[key]
    if isinstance(node, Exists):
        return True
    if node.field.kind == "float_series" and value is not None:
        value = value[ASPECTS.index(node.field.aspect)]
    if value is None or value != value:
        return False
    if isinstance(node, OneOf):
        return value in node.values
    if isinstance(node, Contains):
        return node.text in value
    if isinstance(node, Matches):
        return re2.search(node.pattern, value) is not None
    if node.value == "idle":
        return (value != "running") == (node.sign == "=")
    return bool(SIGNS[node.sign](value, node.value))


@pytest.fixture(scope="module")
def connection() -> Iterator[Connection]:
    engine = open_in_memory()
    with engine.begin() as connection:
        connection.make(values.TABLES)
        yield connection


def fill(connection: Connection, found: list[Facts]) -> dict[str, Facts]:
    for table in reversed(tables.metadata.sorted_tables):
        connection.execute(table.delete())
    by_uid = {f"u{number}": facts for number, facts in enumerate(found)}
    entries = [Entry(uid, "runs", uid, "p", "finished", 0, Stamp("", ""), facts) for uid, facts in by_uid.items()]
    others = [Entry("q", "runs", "q", "q", "finished", 0, Stamp("", ""), facts) for facts in found[:1]]
    others += [Entry("m", "models", "m", "p", "finished", 0, Stamp("", ""), facts) for facts in found[:1]]
    values.put(connection, entries + others)
    return by_uid


@settings(deadline=None, max_examples=120)
@given(found=containers, tree=trees)
def test_what_is_found_is_what_python_finds(connection: Connection, found: list[Facts], tree: Node) -> None:
    by_uid = fill(connection, found)
    expected = {uid for uid, facts in by_uid.items() if holds(tree, facts)}

    rows = find(connection, RUN, "p", tree).rows
    assert expected == {uid for uid, _id, _cells in rows}
    assert len(expected) == len(rows)


@contextlib.contextmanager
def counted(connection: Connection) -> Iterator[list[int]]:
    """Count the steps that SQLite takes: the length of the list."""
    taken: list[int] = []
    connection.raw.set_progress_handler(lambda: taken.append(1), 1)
    try:
        yield taken
    finally:
        connection.raw.set_progress_handler(None, 0)


def steps_of_a_page(connection: Connection, count: int) -> int:
    """How many steps SQLite takes to find the first page of so many containers by one field."""
    fill(connection, [{("x", "float"): number / 7} for number in range(count)])
    with counted(connection) as taken:
        assert 10 == len(find(connection, RUN, "p", None, sort_by="x", limit=10).rows)
    return len(taken)


def test_a_page_of_many_containers_takes_no_longer_than_one_of_few(connection: Connection) -> None:
    few, many = steps_of_a_page(connection, 100), steps_of_a_page(connection, 3_000)

    assert many <= 2 * few, (few, many)


def steps_of_fields(connection: Connection, count: int) -> int:
    """How many steps SQLite takes to find the fields of a project of so many runs, beside a run with as many fields."""
    fill(connection, [{("x", "float"): 0.5}] * count)
    large: Facts = {(f"layer{number}", "float"): 0.5 for number in range(count)}
    values.put(connection, [Entry("large", "runs", "large", "large", "finished", 0, Stamp("", ""), large)])
    with counted(connection) as taken:
        assert [("x", "float")] == known_fields(connection, RUN, "p")
    assert count == len(known_fields(connection, RUN, "large"))
    return len(taken)


def test_fields_of_a_project_take_linear_time_beside_a_run_of_many_fields(connection: Connection) -> None:
    few, many = steps_of_fields(connection, 150), steps_of_fields(connection, 1_500)

    assert many <= 12 * few, (few, many)


def sort_key(facts: Facts, path: str, kind: str, aspect: str) -> Any:
    value = facts.get((path, kind))
    if kind == "float_series" and value is not None:
        value = value[ASPECTS.index(aspect)]
    return None if value is None or value != value else value


@settings(deadline=None, max_examples=80)
@given(
    found=containers,
    tree=st.none() | trees,
    kind=st.sampled_from(["float", "int", "bool", "string", "datetime", "float_series"]),
    aspect=st.sampled_from(ASPECTS),
    is_ascending=st.booleans(),
    limit=st.none() | st.integers(1, 9),
)
def test_rows_are_sorted_and_those_without_a_value_come_last(
    connection: Connection,
    found: list[Facts],
    tree: Node | None,
    kind: str,
    aspect: str,
    is_ascending: bool,
    limit: int | None,
) -> None:
    found = [{key: value for key, value in facts.items() if key[0] != "w"} for facts in found]
    for facts in found[::2]:
        facts["w", kind] = facts.get(
            ("x", kind), {"float": 1.0, "int": 1, "bool": True, "string": "a", "datetime": 1}.get(kind)
        )
    by_uid = fill(connection, found)
    column = f"w:{aspect}" if kind == "float_series" else "w"
    if not any(("w", kind) in facts for facts in found):
        assert [column] == [each.path for each in find(connection, RUN, "p", tree, sort_by=column).unmatched[-1:]]
        return
    uids = [uid for uid, facts in by_uid.items() if tree is None or holds(tree, facts)]
    values = {uid: sort_key(by_uid[uid], "w", kind, aspect) for uid in uids}
    have = [uid for uid in uids if values[uid] is not None]
    number = {uid: int(uid[1:]) for uid in uids}
    have.sort(key=lambda uid: (values[uid], number[uid]), reverse=not is_ascending)
    lack = sorted((uid for uid in uids if values[uid] is None), key=number.__getitem__, reverse=not is_ascending)

    rows = find(connection, RUN, "p", tree, sort_by=column, is_ascending=is_ascending, limit=limit).rows
    assert (have + lack)[:limit] == [uid for uid, _id, _cells in rows]


def test_integers_and_floats_of_one_column_are_sorted_as_numbers(connection: Connection) -> None:
    fill(connection, [{("w", "int"): 2}, {("w", "float"): 1.5}, {("w", "int"): 1}])

    assert ["u0", "u1", "u2"] == [row[0] for row in find(connection, RUN, "p", None, sort_by="w", limit=3).rows]


@pytest.mark.parametrize("limit", [None, 9])
@pytest.mark.parametrize(("is_ascending", "numbers", "texts"), [(True, [2, 10], "ab"), (False, [10, 2], "ba")])
def test_numbers_of_a_mixed_column_are_sorted_as_numbers_and_texts_after_them(
    connection: Connection, limit: int | None, is_ascending: bool, numbers: list[int], texts: str
) -> None:
    fill(connection, [{("w", "int"): 2}, {("w", "string"): "b"}, {("w", "float"): 10.0}, {}, {("w", "string"): "a"}])
    found = find(connection, RUN, "p", None, sort_by="w", is_ascending=is_ascending, limit=limit)

    cells = [next((cell for at, cell in row.cells.items() if found.fields[at][0] == "w"), None) for row in found.rows]
    assert [*numbers, *texts, None] == cells


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("w = 4611686018427387905", [1]),
        ("w > 4611686018427387904", [1, 2]),
        ("w < 4611686018427387905", [0, 3]),
        ("w = 9223372036854775807", [2]),
        ("w = 9223372036854775808", []),
        ("w > -9223372036854775808", [0, 1, 2]),
        ("w IN (4611686018427387905, 9223372036854775808, 1e300, -1e400)", [1]),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_integers_of_64_bits_are_compared_exactly(connection: Connection, query: str, expected: list[int]) -> None:
    """As the seeds of generators, of which a float has only the first digits."""
    fill(connection, [{("w", "int"): value} for value in (2**62, 2**62 + 1, 2**63 - 1, -(2**63))])

    assert [f"u{number}" for number in expected] == sorted(
        row.uid for row in find(connection, RUN, "p", parse(query)).rows
    )


@pytest.mark.parametrize("kind", ["file", "string_set", "string_series"])
def test_what_has_no_order_cannot_be_sorted_by(connection: Connection, kind: str) -> None:
    fill(connection, [{("w", kind): [] if kind == "string_set" else None}])

    with pytest.raises(InvalidArgument, match='"w" cannot be used for sorting'):
        find(connection, RUN, "p", None, sort_by="w")


def test_fields_that_cannot_match_are_told_with_what_is_near(connection: Connection) -> None:
    fill(connection, [{("train/loss", "float"): 1.0}, {("train/loss", "string"): "a"}])
    found = find(connection, RUN, "p", parse("train/lss > 1 AND train/loss > 1"), sort_by="train/los")

    assert [
        ("train/lss", {}, ("train/loss",)),
        ("train/loss", {"string": 1}, ()),
        ("train/los", {}, ("train/loss",)),
    ] == list(found.unmatched)
    assert () == tuple(find(connection, RUN, "p", parse("train/loss:string = a OR train/loss > 1")).unmatched)


HEAVY = [
    " OR ".join(f"x:float > {n}" for n in range(95)),
    " AND ".join(f'NOT y/z:string CONTAINS "{n}"' for n in range(10)),
    " OR ".join(f'y/z:string CONTAINS "{"a" * 490}{n}"' for n in range(10)),
    'y/z:string MATCHES "(a*)*(a*)*$"',
    'y/z:string MATCHES "' + "(a|aa)" * 100 + 'b"',
    "(x:float = 1 AND NOT " * 9 + "x:float = 1" + ")" * 9,
    "x:float = 1 AND (x:float = 2 OR (" * 9 + "x:float = 1" + "))" * 9,
    'y/z:string CONTAINS "' + "%" * 9_000 + '"',
    'y/z:string = "' + "\ud800" * 100 + '\x00"',
    "x:int < 999999999999999999 AND x:int > 1e400 OR x:int = -1e400",
]


@pytest.mark.parametrize("query", HEAVY, ids=range(len(HEAVY)))
def test_hostile_query_is_answered_within_100_ms(connection: Connection, query: str) -> None:
    fill(connection, [{("x", "float"): 1.0, ("y/z", "string"): "a" * 500, ("x", "int"): 1}] * 20)
    times = []
    for _ in range(3):
        began = time.process_time()
        tree = parse(query)
        assert tree is not None
        search(connection, RUN, "p", tree, field_numbers(connection, tree), find_sort(connection), 10)
        times.append(time.process_time() - began)

    assert min(times) < 0.1


def find_sort(connection: Connection) -> Any:
    from naiad.storage.sql.search import Sort

    number = connection.execute(select(tables.field.c.number).where(tables.field.c.kind == "float")).scalar()
    return Sort(((number, "float"),))


@pytest.mark.parametrize("is_ascending", [False, True])
@pytest.mark.parametrize("query", ["", "x:float < 0.5", "x:float < 0.5 AND y:int = 1", "x:float < 0.01 AND y:int = 1"])
def test_pages_by_creation_hold_each_container_once_in_order(
    connection: Connection, query: str, is_ascending: bool
) -> None:
    """Newest first is the usual order; some were created at once, and those without a time come last."""
    fill(connection, [])
    created = {number: None if number % 9 == 0 else 10**15 + number % 50 for number in range(400)}
    facts: dict[int, Facts] = {number: {("x", "float"): number / 400, ("y", "int"): number % 3} for number in created}
    for number, at in created.items():
        if at is not None:
            facts[number]["sys/creation_time", "datetime"] = at
    entries = [
        Entry(f"u{number}", "runs", f"u{number}", project, "finished", at, Stamp("", ""), facts[number])
        for number, at in created.items()
        for project in ("p" if number % 7 else "q",)
    ]
    values.put(connection, entries)
    tree = parse(query)
    expected = [number for number in created if number % 7 and (tree is None or holds(tree, facts[number]))]
    sign = 1 if is_ascending else -1
    expected.sort(key=lambda number: (created[number] is None, sign * (created[number] or 0), sign * number))
    sort = [("sys/creation_time", is_ascending)]

    pages = [
        grid(connection, RUN, "p", tree, sort=sort, limit=30, offset=offset).uids
        for offset in range(0, len(expected) + 30, 30)
    ]
    assert [f"u{number}" for number in expected] == [uid for page in pages for uid in page]
    assert len(expected) == count(connection, RUN, "p", tree)


@pytest.mark.parametrize("distinct", [23, 2])
@pytest.mark.parametrize("is_second_ascending", [False, True])
@pytest.mark.parametrize("is_ascending", [False, True])
@pytest.mark.parametrize(("kind", "value"), [("float", float), ("int", int), ("string", "{:03}".format)])
def test_pages_sorted_by_two_columns_hold_each_container_once_in_order(
    connection: Connection, kind: str, value: Any, is_ascending: bool, is_second_ascending: bool, distinct: int
) -> None:
    """Those equal in the first column, a few or nearly half, fall on both sides of a page's end; some lack a value."""
    numbers = range(300)
    facts: list[Facts] = [{("y", "float"): float(number * 7 % 30)} for number in numbers]
    for number in numbers:
        if number % 5:
            facts[number]["x", kind] = value(number % distinct)
        if number % 11 == 0:
            del facts[number]["y", "float"]
    fill(connection, facts)
    sign, second_sign = 1 if is_ascending else -1, 1 if is_second_ascending else -1

    def key(number: int) -> Any:
        has, also = ("x", kind) in facts[number], ("y", "float") in facts[number]
        first, second = (number % distinct if has else 0), facts[number].get(("y", "float"), 0.0)
        return not has, sign * first, not also, second_sign * second, sign * number

    wanted = [number for number in sorted(numbers, key=key) if facts[number].get(("y", "float"), 0.0) < 25]
    sort = [("x", is_ascending), ("y", is_second_ascending)]
    pages = [
        grid(connection, RUN, "p", parse("NOT y:float >= 25"), sort=sort, limit=17, offset=offset).uids
        for offset in range(0, len(wanted) + 17, 17)
    ]

    assert [f"u{number}" for number in wanted] == [uid for page in pages for uid in page]


sortable = st.sampled_from(["x", "y/z", "w", "x:min", "nothing", "sys/creation_time"])


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_walk_over_pages_is_the_whole_list(connection: Connection, data: st.DataObject) -> None:
    """For any values and kinds, columns, directions and lengths of pages."""
    facts = data.draw(containers.filter(bool))
    few = data.draw(st.lists(st.sampled_from(range(len(facts))), min_size=1, max_size=25))
    sort = data.draw(st.lists(st.tuples(sortable, st.booleans()), max_size=3))
    size = data.draw(st.integers(1, 7))
    fill(connection, [facts[number] for number in few])
    try:
        wanted = grid(connection, RUN, "p", None, sort=sort).uids
    except InvalidArgument:
        return
    found, end = list[str](), ""
    for _ in range(len(few) // size + 1):
        part, end = page(connection, RUN, "p", None, sort=sort, limit=size, after=end)
        found += part.uids
        if not end:
            break

    assert wanted == found
    assert "" == end


def walked(connection: Connection, sort: list[tuple[str, bool]], size: int, between: Facts | None = None) -> list[str]:
    """All containers, page by page; after the first page the first container has other facts, if any are given."""
    found, end = list[str](), ""
    while True:
        part, end = page(connection, RUN, "p", None, sort=sort, limit=size, after=end)
        found += part.uids
        if not end:
            return found
        if between is not None:
            values.put(connection, [Entry("u0", "runs", "u0", "p", "finished", 0, Stamp("", ""), between)])
            between = None


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("is_ascending", [False, True])
def test_walk_has_integers_and_floats_at_the_end_of_64_bits(
    connection: Connection, is_ascending: bool, size: int
) -> None:
    most: list[Facts] = [{("x", "int"): 2**63 - 1}, {("x", "float"): 2.0**63}, {("x", "float"): 2.0**63 - 1024}]
    fill(connection, most * 2)
    sort = [("x", is_ascending)]

    assert grid(connection, RUN, "p", None, sort=sort).uids == walked(connection, sort, size)


@pytest.mark.parametrize("value", [0.5, "text"])
@pytest.mark.parametrize("then", [[], [("y", True)]])
def test_walk_goes_on_when_the_column_comes_or_goes(
    connection: Connection, value: float | str, then: list[tuple[str, bool]]
) -> None:
    kind = "float" if isinstance(value, float) else "string"
    sort = [("x", True), *then]
    everyone = {f"u{number}" for number in range(8)}

    fill(connection, [{("y", "int"): number} for number in range(8)])
    come = walked(connection, sort, 3, {("x", kind): value})
    fill(connection, [{("x", kind): value}, *({("y", "int"): number} for number in range(7))])
    gone = walked(connection, sort, 3, {("y", "int"): -1})

    # The one that has changed may come twice, or not at all if it has moved to before the end of the first page.
    assert everyone - {"u0"} <= set(come)
    assert everyone <= set(gone)


@pytest.mark.parametrize("text", [base64.urlsafe_b64encode(msgspec.msgpack.encode(each)).decode() for each in (
    (2**64 - 1, {}), (1, {"x": (None,) * 9}), (1, {"x": (1.0, 2**63, *(None,) * 7)}),
)])  # fmt: skip
def test_place_of_no_page_is_refused(connection: Connection, text: str) -> None:
    fill(connection, [{("y", "int"): 1}])

    with pytest.raises(InvalidArgument):
        page(connection, RUN, "p", None, sort=[("y", True)], limit=1, after=text)
