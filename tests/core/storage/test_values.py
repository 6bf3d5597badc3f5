"""Putting containers into the tables of the catalog: what is shown, and what searches find, is what was put."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naiad.errors import DamagedData
from naiad.kinds import POINTS, TAGS
from naiad.storage.catalog import Cell
from naiad.storage.sql.cells import INDEXED_TEXT
from naiad.storage.sql.check import damages
from naiad.storage.sql.connection import MOST_PARAMETERS, Connection
from naiad.storage.sql.database import Database, any_text, open_in_memory
from naiad.storage.sql.values import BEGIN, FACTS, TABLES, Entry, Stamp, facts_in, fields, put, shown, shown_cells

Cells = dict[tuple[str, str], Cell]
MANY = 2 * MOST_PARAMETERS + 3
"""So many rows of a table go into it by statements for several, and some by themselves."""

numbers = st.floats(allow_nan=False)
a_summary = st.lists(numbers, min_size=5, max_size=5) | st.lists(st.none() | numbers, min_size=5, max_size=5)
texts = st.text(max_size=3) | st.just("x" * INDEXED_TEXT) | st.just("é" * (INDEXED_TEXT + 1))
some_cells = st.dictionaries(st.tuples(st.sampled_from("abcdef"), st.just("float")), numbers | st.none()).flatmap(
    lambda cells: st.fixed_dictionaries(
        {key: st.just(value) for key, value in cells.items()},
        optional={
            ("n", "int"): st.integers(-(2**63), 2**63 - 1),
            ("t", "string"): texts,
            ("yes", "bool"): st.booleans(),
            ("s", POINTS): st.none() | a_summary,
            ("tags", TAGS): st.lists(st.sampled_from(["x", "y", "z"]), unique=True),
            ("sys/name", "string"): texts,
        },
    )
)


def begun() -> Database:
    """Tables in memory, without a container."""
    database = open_in_memory()
    with database.begin() as connection:
        connection.make(TABLES)
        connection.run(BEGIN, format=0, listed="", made="m", revision=0)
    return database


def entry(uid: str, cells: Cells) -> Entry:
    return Entry(uid, "runs", f"P-{uid}", "p", "finished", 1, Stamp("", ""), cells)


def cells_by_uid(connection: Connection) -> dict[str, Cells]:
    """The shown cells of each container, by path and kind."""
    keys = fields(connection)
    return {row.uid: {keys[at]: cell for at, cell in shown_cells(row).items()} for row in shown(connection)}


@given(st.lists(st.lists(st.tuples(st.integers(0, 9), some_cells), max_size=8), max_size=3))
def test_containers_that_are_put_are_shown_and_found(rounds: list[list[tuple[int, Cells]]]) -> None:
    expected: dict[str, Cells] = {}
    database = begun()
    with database.begin() as connection:
        for some in rounds:
            now = {str(uid): cells for uid, cells in some}
            put(connection, [entry(uid, cells) for uid, cells in now.items()])
            expected.update(now)

        assert [] == damages(connection)
        assert expected == cells_by_uid(connection)
        own = {uid: [cells.get(key) for key in FACTS] for uid, cells in expected.items()}
        assert own == {row.uid: facts_in(row.cells) for row in shown(connection)}
    database.dispose()


def test_many_containers_with_the_same_fields_are_put_as_each_alone() -> None:
    together, alone = begun(), begun()
    entries = [entry(f"{number:06}", many_cells(number)) for number in range(MANY)]
    with together.begin() as one, alone.begin() as other:
        put(one, entries)
        for each in entries:
            put(other, [each])

        assert [] == damages(one)
        assert cells_by_uid(other) == cells_by_uid(one)
    together.dispose()
    alone.dispose()


def many_cells(number: int) -> Cells:
    """Values of each form; every third container lacks some."""
    lowest = None if number % 3 else number / 3
    found: dict[tuple[str, str], Any] = {
        ("lr", "float"): number / 7,
        ("epochs", "int"): number,
        ("yes", "bool"): number % 2 == 0,
        ("text", "string"): "long " * (number % 50),
        ("loss", POINTS): [number / 3, lowest, 1.0, 0.5, 0.25],
        ("acc", POINTS): [number / 2, 0.5, 1.0, 0.5, math.inf],
        ("tags", TAGS): [f"t{number % 5}"],
        ("none", "string"): None,
    }
    return found if number % 3 else {**found, ("more", "float"): 0.5}


@pytest.mark.parametrize("column", ["path", "kind"])
@pytest.mark.parametrize("odd", ["cast(x'ff' as text)", "x'ff'", "'other'", "7"])
def test_field_with_another_text_is_damaged(column: str, odd: str) -> None:
    """Also one that is no UTF-8 any more, which SQLite does not decode."""
    database = begun()
    with database.begin() as connection:
        any_text(connection.raw)
        put(connection, [entry("0", {("a", "float"): 0.5, ("b", "float"): 1.5})])
        connection.exec_driver_sql(f"update field set {column} = {odd} where number = 2")

        with pytest.raises(DamagedData, match="Row 2 of table field"):
            fields(connection)
    database.dispose()
