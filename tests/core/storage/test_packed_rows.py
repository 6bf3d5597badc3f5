"""Packed cells: what is packed comes back, row by row and column by column."""

from __future__ import annotations

import math
import struct
import tracemalloc
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from naiad.storage.sql.packed_rows import FEWEST_ALIKE, PackedRows
from naiad.storage.sql.values import Shown, cells_in, facts_in, pack, parted

FACTS = ["name", None, 3]
NUMBER = 1 << 30
finite = st.floats(allow_nan=False)
series = st.lists(finite, min_size=5, max_size=5) | st.lists(st.none() | finite, min_size=5, max_size=5)
values = finite | series | st.integers(-(2**63), 2**63 - 1) | st.booleans() | st.text() | st.none()
cells = st.dictionaries(st.integers(1, NUMBER), values, max_size=20)


def rows_of(*given: dict[int, Any]) -> PackedRows:
    return PackedRows([shown(pack(FACTS, parted(each))) for each in given])


def shown(packed: bytes) -> Shown:
    return Shown(1, "u", "runs", "P-1", "p", "finished", None, "", packed, 0)


@given(cells)
def test_cells_come_back_as_they_were(given: dict[int, Any]) -> None:
    packed = pack(FACTS, parted(given))

    assert (given, FACTS) == (cells_in(packed), facts_in(packed))
    assert [type(each) for _at, each in sorted(given.items())] == [
        type(each) for _at, each in sorted(cells_in(packed).items())
    ]


@given(st.lists(cells, max_size=5))
def test_rows_have_the_cells_of_each(given: list[dict[int, Any]]) -> None:
    assert given == [row.cells for row in rows_of(*given)]


def test_bits_of_floats_are_kept() -> None:
    odd = struct.unpack("<d", b"\1\0\0\0\0\0\xf8\x7f")[0]

    assert struct.pack("<d", odd) == struct.pack("<d", cells_in(pack(FACTS, parted({7: odd})))[7])
    assert math.copysign(1, cells_in(pack(FACTS, parted({7: -0.0})))[7]) < 0


def test_columns_are_the_cells_of_all_rows() -> None:
    summed = [1.0, 0.5, 2.0, 1.0, 0.25]
    some: list[dict[int, Any]] = [
        {1: 0.5, 2: "a", 3: summed},
        {1: None, 2: "b", 3: [math.nan, None, None, None, None]},
        {1: 1.5, 2: "c", 3: None, 4: 7},
    ]
    columns = rows_of(*some * FEWEST_ALIKE).columns()

    assert columns is not None
    nan = math.nan
    np.testing.assert_array_equal([0.5, nan, 1.5] * FEWEST_ALIKE, columns[1])
    np.testing.assert_array_equal([summed, [nan] * 5, [nan] * 5] * FEWEST_ALIKE, columns[3])
    assert ["a", "b", "c"] * FEWEST_ALIKE == columns[2]
    assert [None, None, 7] * FEWEST_ALIKE == columns[4]


def test_last_values_are_lines_of_the_fields_that_have_floats_alone() -> None:
    summed = [1.0, 0.5, 2.0, 1.0, 0.25]
    some: list[dict[int, Any]] = [
        {1: 0.5, 2: "a", 3: summed, 6: summed},
        {1: 1.5, 4: 2.5, 3: [math.nan, None, None, None, None]},
        {5: 3.5, 6: [4.5, *summed[1:]], 1: 2.5},
    ]
    places, lines = rows_of(*some).last_values()

    nan = math.nan
    assert {1, 4, 5, 6} == places.keys()
    found = {number: lines[place] for number, place in places.items()}
    for number, line in {1: [0.5, 1.5, 2.5], 4: [nan, 2.5, nan], 5: [nan, nan, 3.5], 6: [1.0, nan, 4.5]}.items():
        np.testing.assert_array_equal(line, found[number])


def test_few_rows_with_very_many_fields_are_columns() -> None:
    wide = dict.fromkeys(range(2, 6_000), 0.5)
    columns = rows_of(wide, {**wide, 1: 1.5}).columns()

    assert columns is not None
    np.testing.assert_array_equal([math.nan, 1.5], columns[1])


def test_rows_with_fields_of_their_own_have_no_columns() -> None:
    assert rows_of(*({at: 0.5} for at in range(1, 20))).columns() is None


@pytest.mark.parametrize("has_facts", [False, True])
def test_rows_of_earlier_releases_are_read(has_facts: bool) -> None:
    encode = msgspec.msgpack.encode
    packed = (encode(encode(FACTS)) if has_facts else b"") + encode({1: 0.5, 2: "a"})

    assert {1: 0.5, 2: "a"} == cells_in(packed)
    assert (FACTS if has_facts else None) == facts_in(packed)
    assert [{1: 0.5, 2: "a"}] == [row.cells for row in PackedRows([shown(packed)])]


def test_block_that_is_too_short_is_met_at_once() -> None:
    whole = pack(FACTS, parted({1: 0.5, 2: 1.5}))
    size = 13 + len(msgspec.msgpack.encode(FACTS)) + 8
    cut = struct.pack("<BIII", 0xC1, len(msgspec.msgpack.encode(FACTS)), 8, 8) + whole[13 : size + 8] + b"\x80"

    with pytest.raises(ValueError, match="floats"):
        PackedRows([shown(cut)])


def test_rows_with_many_fields_of_their_own_do_not_fill_the_memory() -> None:
    """Each container has 2,000 fields that no other has: their numbers, decoded, are 100 KB a row."""
    tracemalloc.start()
    try:
        for row in range(150):
            cells_in(pack(FACTS, parted(dict.fromkeys(range(2_000 * row + 1, 2_000 * row + 2_001), 0.5))))
        kept = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()

    assert kept < 5 * 1024 * 1024


@pytest.mark.parametrize("value", ["text", 0.5])
def test_rows_with_fields_of_their_own_are_no_columns(value: Any) -> None:
    """Eight rows each share ten fields that no others have: columns would have 91 places for each cell."""
    own = [{1: 0.5, **dict.fromkeys(range(10 * (row // 8) + 2, 10 * (row // 8) + 12), value)} for row in range(800)]

    assert rows_of(*own).columns() is None


def test_rows_with_few_fields_of_their_own_are_columns() -> None:
    common = dict.fromkeys(range(1, 51), 0.5)
    columns = rows_of(*({**common, 100 + row % 4: "text"} for row in range(40))).columns()

    assert columns is not None
    assert 10 == columns[100].count("text")
