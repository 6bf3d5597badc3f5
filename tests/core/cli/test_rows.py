"""Tables in a terminal: what is cut, what is left out, and what is said of it."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

import naiad
from naiad.cli.rows import Cell, Column, table_lines
from naiad.cli.text import width

NAMES = ["a", "a longer name", "模型 one", "e\u0301" * 20, "x" * 60, "", "\x1b[31mred", "👩‍🔬 lab"]
COLUMNS = [Column("ID"), Column("STATE", 1, is_whole=True), Column("NAME", 2), Column("LOSS", 3), Column("TAGS", 4)]


def rows(count: int) -> list[list[Cell]]:
    return [
        [
            Cell(f"DIGITS-{n}"),
            Cell("finished"),
            Cell(NAMES[n % len(NAMES)]),
            Cell(f"{n / 7:.6g}", "", True),
            Cell("good, old"),
        ]
        for n in range(count)
    ]


@settings(max_examples=60, deadline=None)
@given(room=st.integers(10, 220), count=st.integers(0, 20), ascii=st.booleans())
def test_table_fits_keeps_its_key_and_names_what_is_left_out(room: int, count: int, ascii: bool) -> None:
    header, *lines = table_lines(COLUMNS, rows(count), room, ascii=ascii)
    if count and header == "DIGITS-0":  # no room for a second column: a list for each row
        assert [f"DIGITS-{n}" for n in range(count)] == [line for line in [header, *lines] if line[0] != " "]
        assert all(any(line.split()[0] == each.title for line in lines) for each in COLUMNS[1:])
        return
    shown = [column.title for column in COLUMNS if column.title in header.split()]
    left_out = [column.title for column in COLUMNS if column.title not in shown]

    assert all(width(line) <= room for line in [header, *lines[:count]])
    assert [f"DIGITS-{n}" for n in range(count)] == [line.split()[0] for line in lines[:count]]
    assert (f"No room for: {', '.join(left_out)}." if left_out and count else "") == " ".join(lines[count:])
    if "LOSS" in shown:
        assert all(f"{n / 7:.6g}" in line for n, line in enumerate(lines[:count]))


def test_columns_of_high_rank_are_left_out_first() -> None:
    headers = [table_lines(COLUMNS, rows(3), room)[0].split() for room in (80, 45, 36, 20)]

    assert [5, 4, 3, 2] == list(map(len, headers))
    assert all(header == [column.title for column in COLUMNS[: len(header)]] for header in headers)


def test_long_key_is_whole_in_any_terminal() -> None:
    columns = [Column("ID"), Column("NAME"), Column("TAGS")]
    lines = table_lines(columns, [[Cell("K" * 90), Cell("n" * 50), Cell("")], [Cell("L"), Cell("name"), Cell("a")]], 40)

    assert ["K" * 90, f"  NAME  {'n' * 31}\N{HORIZONTAL ELLIPSIS}", "L", "  NAME  name", "  TAGS  a"] == lines


def test_wide_characters_are_aligned() -> None:
    lines = table_lines([Column("A"), Column("B")], [[Cell("模型"), Cell("x")], [Cell("ab"), Cell("y")]], 40)

    assert ["A     B", "模型  x", "ab    y"] == lines


def test_long_output_is_paged_on_a_terminal(digits: str, terminal: Callable[..., str], tmp_path: Path) -> None:
    with naiad.init_run(with_id=digits) as run:
        run["many"] = {f"k{n}": n for n in range(60)}
    pager = tmp_path / "pager"
    pager.write_text(f"#!/bin/sh\necho PAGED $LESS >> {tmp_path}/calls\ncat\n")
    pager.chmod(pager.stat().st_mode | stat.S_IXUSR)

    assert digits in terminal("ls", PAGER=str(pager))  # fits
    assert "k59" in terminal("show", digits, PAGER=f"{pager} -x")
    assert "PAGED FRX\n" == (tmp_path / "calls").read_text()
