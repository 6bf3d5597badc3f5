"""Tables of very many runs come column by column, and have exactly the cells that the rows of the catalog have."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from postgres_server import Cluster

from naiad.container_kinds import RUN
from naiad.query.parser import parse
from naiad.ship.client import Client
from naiad.storage import wire
from naiad.storage.catalog import Found
from naiad.storage.cell_columns import CellColumns, Column
from naiad.storage.local.store import Store
from naiad.storage.postgres.connection import CATALOG, PostgresConnection, open_database, transaction
from naiad.storage.remote.asking import ask
from naiad.storage.remote.store import RemoteStore
from naiad.storage.sql.rows import find
from naiad.storage.sql.values import SMALL_ROWS, Cell, Entry, Stamp, forget, put
from naiad.table import Table

PROJECT, COUNT = "wide-table", SMALL_ROWS + 300
UIDS = [f"wide-table-{number}" for number in range(COUNT)]
COLUMNS = ["sys/id", "sys/creation_time", "lr", "n", "is_big", "name", "loss", "loss:min", "words", "mixed", "nothing"]


def cells_of(number: int) -> dict[tuple[str, str], Cell]:
    """Cells of a run: usual ones of most, and of some each value that the columns of the database lack."""
    found: dict[tuple[str, str], Cell] = {
        ("sys/id", "string"): f"WIDE-{number + 1}",
        ("sys/creation_time", "datetime"): 1_700_000_000_000_000 + number,
        ("lr", "float"): number / 7,
        ("n", "int"): number - 5,
        ("is_big", "bool"): number > 9,
        ("name", "string"): f"run {number}",
        ("loss", "float_series"): [number / 3, -1.0, 2.0, 0.5, 0.25],
        ("words", "string_series"): f"word {number}",
        ("mixed", "float" if number % 2 else "string"): float(number) if number % 2 else f"text {number}",
        ("other", "float"): 1.0,
    }
    odd: list[dict[tuple[str, str], Cell]] = [
        {("lr", "float"): math.nan, ("name", "string"): ""},
        {("lr", "float"): -math.inf, ("name", "string"): "two\nlines"},
        {("n", "int"): 2**63 - 1, ("name", "string"): "with a zero\0byte"},
        {("n", "int"): -(2**63), ("name", "string"): "long " * 100},
        {("loss", "float_series"): [math.nan, None, None, None, None], ("words", "string_series"): None},
        {("loss", "float_series"): [None, None, None, None, None]},
        {("name", "string"): "\N{SYMBOL FOR NULL} and \N{GREEK SMALL LETTER ALPHA}"},
    ]
    if number < len(odd):
        return found | odd[number]
    for key in [("lr", "float"), ("name", "string"), ("loss", "float_series"), ("is_big", "bool")][: number % 5]:
        if number % 3 == 0:
            del found[key]
    return found


@pytest.fixture
def connection(cluster: Cluster) -> Iterator[PostgresConnection]:
    """A transaction on the catalog, which has one project with many runs for the time of the test."""
    engine = open_database(cluster.postgres.url)
    with transaction(engine) as raw:
        entries = [
            Entry(uid, "runs", f"WIDE-{number + 1}", PROJECT, "finished", 1_700_000_000_000_000 + number,
                  Stamp("", ""), cells_of(number))
            for number, uid in enumerate(UIDS)
        ]  # fmt: skip
        put(PostgresConnection(raw, CATALOG), entries)
        raw.execute(
            "analyze naiad_catalog.cell, naiad_catalog.container, naiad_catalog.field"
        )  # autovacuum comes later
    try:
        with transaction(engine, is_read_only=True) as raw:
            yield PostgresConnection(raw, CATALOG)
    finally:
        with transaction(engine) as raw:
            forget(PostgresConnection(raw, CATALOG), UIDS)
        engine.dispose()


def plain(found: Found) -> list[tuple[str, str, list[str]]]:
    """Rows as texts, in which NaN is equal to itself, with the cells of the asked fields alone."""
    return [
        (row.uid, row.id, sorted(f"{found.fields[n]}: {cell!r}" for n, cell in row.cells.items() if n in found.fields))
        for row in found.rows
    ]


def by_rows(connection: PostgresConnection, monkeypatch: pytest.MonkeyPatch, **more: Any) -> Found:
    with monkeypatch.context() as patched:
        patched.setattr(PostgresConnection, "columns", lambda *_given, **_more: None)
        return find(connection, RUN, PROJECT, columns=COLUMNS, **{"tree": None, **more})


def test_columns_have_the_cells_of_rows(connection: PostgresConnection, monkeypatch: pytest.MonkeyPatch) -> None:
    orders: list[dict[str, Any]] = [
        {},
        {"sort_by": "lr", "is_ascending": True},
        {"sort_by": "name"},
        {"sort_by": "loss:min"},
        {"tree": parse("n > 100")},
    ]
    for asked in orders:
        found = find(connection, RUN, PROJECT, columns=COLUMNS, **{"tree": None, **asked})
        rows = by_rows(connection, monkeypatch, **asked)

        assert isinstance(found.rows, CellColumns) == (len(rows.rows) > SMALL_ROWS)
        assert len(found.rows) > 4_000
        assert plain(rows) == plain(found)


def test_client_gets_columns_with_the_cells_of_rows(
    cluster: Cluster, connection: PostgresConnection, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Also as a DataFrame; one of an earlier release gets rows."""
    monkeypatch.setenv("NAIAD_API_TOKEN", cluster.token)
    store = RemoteStore(cluster.url, Store(tmp_path / "here"))
    found = store.catalog().search(RUN, PROJECT, None, columns=COLUMNS)
    rows = by_rows(connection, monkeypatch)

    assert isinstance(found.rows, CellColumns)
    assert plain(rows) == plain(found)
    assert Table(rows, COLUMNS, store, RUN).to_pandas().equals(Table(found, COLUMNS, store, RUN).to_pandas())

    with monkeypatch.context() as patched:
        earlier = wire.encode
        patched.setattr(wire, "encode", lambda request: earlier({**request, "columns": False}))
        of_rows = ask(Client(cluster.url), "catalog", "search", {
            "kind": RUN, "project": PROJECT, "condition": None, "columns": COLUMNS,
        })  # fmt: skip

    assert isinstance(of_rows.rows, list)
    assert plain(rows) == plain(of_rows)


def test_columns_cross_the_wire_unchanged() -> None:
    is_there = np.arange(9) % 2 == 0
    cells = {
        1: Column(np.array([0.5, math.nan, -0.0, *range(6)]), is_there),
        2: Column(np.arange(45.0).reshape(9, 5), None),
        3: Column(["a", None, "\ud800", *"bcdefg"], None),
        4: Column([None, True, 2**63 - 1, [1.0, None], *range(5)], is_there),
    }
    sent = CellColumns([f"u{number}" for number in range(9)], ["\udfff", *"abcdefgh"], cells)

    found = wire.decode(wire.encode(Found({}, sent))).rows

    assert isinstance(found, CellColumns)
    assert (sent.uids, sent.ids) == (found.uids, found.ids)
    assert repr(list(sent)) == repr(list(found))
    assert found.last_values()[0] == {1: 0, 2: 1}
