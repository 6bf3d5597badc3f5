"""Statements that are compiled ahead of time say the same as their definitions in SQLAlchemy."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from naiad import forks
from naiad.storage.sql import compiling
from naiad.storage.sql.connection import (
    SOURCE,
    TEXTS,
    All,
    Clause,
    Connection,
    Either,
    Negated,
    Part,
    Statement,
    rendered,
)
from naiad.storage.sql.database import open_in_memory
from naiad.storage.sql.tables import metadata
from naiad.storage.sql.values import TABLES

AHEAD = set(compiling.texts())


def test_each_text_is_the_one_that_sqlalchemy_compiles_now() -> None:
    """Make them anew with: python -m naiad.storage.sql.compiling."""
    assert compiling.source() == SOURCE.read_text()


def test_every_statement_has_a_text() -> None:
    assert set(TEXTS) >= AHEAD


def test_missing_text_is_compiled_when_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(TEXTS, "about.revision")

    assert "SELECT about.revision FROM about" == Statement.known["about.revision"].text


def test_forks_wait_while_a_text_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that is forked while a thread imports SQLAlchemy could never import it."""
    held = []

    def build(sql: Any, tables: Any) -> Any:
        held.append(forks._gate.inside)
        return sql.select(tables.about.c.revision)

    monkeypatch.setattr("naiad.storage.sql.connection.TEXTS", {})

    assert (
        "SELECT about.revision FROM about" == Statement("naiad.storage.sql.tables", "own", build, is_ahead=False).text
    )
    assert [1] == held


def test_tables_are_those_of_the_definitions() -> None:
    with open_in_memory().begin() as connection:
        connection.make(TABLES)
        made = {name for (name,) in connection.raw.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}

    assert set(metadata.tables) == made


def test_clauses_keep_their_parameters_apart() -> None:
    one, two, three = (
        Part(Statement.known["container.numbered"], {"first": first, "last": last})
        for first, last in ((1, 5), (7, 9), (2, 3))
    )
    clause = All([one, Either([two, Negated(three)])])
    text, parameters = rendered(clause)

    assert [1, 5, 7, 9, 2, 3] == list(parameters.values())
    assert 6 == len(parameters)
    with open_in_memory().begin() as connection:
        numbers = [n for n in range(10) if _is_true(connection, clause, n)]

    assert [1, 3, 4] == numbers, text


def test_text_of_a_statement_is_the_same_for_other_values() -> None:
    """A database that has seen it need not parse it again."""
    number, among = (Statement.known[name] for name in ("container.numbered", "container.at"))
    texts = {
        rendered(All([Part(number, {"first": n, "last": n + 5}), Part(among, {"numbers": [n, n]})]))[0]
        for n in range(3)
    }

    assert 1 == len(texts)


def _is_true(connection: Connection, clause: Clause, number: int) -> bool:
    text, parameters = rendered(clause)
    found = connection.raw.execute(f"SELECT {text} FROM (SELECT {number} AS number) AS container", parameters)
    return bool(found.fetchone()[0])


@pytest.mark.parametrize(("numbers", "expected"), [([], []), ([2], [2]), ([1, 3, 9], [1, 3])])
def test_lists_of_any_length_can_be_asked_for(numbers: list[int], expected: list[int]) -> None:
    among = Statement.known["container.at"]
    with open_in_memory().begin() as connection:
        clause = Part(among, {"numbers": numbers})
        found = [number for number in range(5) if _is_true(connection, clause, number)]

    assert expected == found


def test_value_in_a_query_is_never_a_part_of_the_text() -> None:
    text, _parameters = rendered(Part(Statement.known["test tag"], {"text": "') OR {where} :x __[POSTCOMPILE_y]"}))

    assert "OR" not in text


READS = """
import sys, naiad
with naiad.init_run(store={store!r}, project="p", capture_stdout=False, capture_stderr=False) as run:
    run["a"] = 1.5
    for step in range({count}):
        run["loss"].append(step / 7)
    run_id = run["sys/id"].fetch()
project = naiad.init_project(store={store!r}, project="p", mode="read-only")
table = project.fetch_runs_table(query="a:float > 1", sort_by="loss", limit=5, progress_bar=False)
assert 1 == len(list(table))
run = naiad.init_run(store={store!r}, project="p", with_id=run_id, mode="read-only")
assert {count} == len(run["loss"].fetch_values(progress_bar=False))
print("sqlalchemy" in sys.modules)
"""


@pytest.mark.parametrize("count", [10, 200_000])
def test_reading_loads_no_sqlalchemy(tmp_path: Path, count: int) -> None:
    """A short run is read from its journal; a long one from its index, which a process of its own has made."""
    code = READS.format(store=str(tmp_path), count=count)
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    assert "False" == done.stdout.strip()


def test_resumed_run_ends_without_sqlalchemy(tmp_path: Path) -> None:
    code = f"""
import sys, naiad
options = dict(store={str(tmp_path)!r}, project="p", capture_stdout=False, capture_stderr=False)
with naiad.init_run(**options) as run:
    run["loss"].extend([1.0, 0.5])
    run_id = run["sys/id"].fetch()
with naiad.init_run(with_id=run_id, **options) as run:
    run["loss"].append(0.25)
    run.sync()
print("sqlalchemy" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    assert "False" == done.stdout.strip()
