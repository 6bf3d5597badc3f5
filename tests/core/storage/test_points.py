"""Points in columns: what records become, above all where steps are wide or fractional."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from naiad.integers import EXACT
from naiad.slots import FLOAT_STEP, pack_float, pack_int
from naiad.storage.local.index.points import Columns, as_bytes, from_records, join, numbers_array, ordered, split_exact
from naiad.storage.local.journal.records import RECORD_TYPE

Step = int | float


def records_of(steps: list[Step]) -> Any:
    """Records as a segment holds them; the value of each is its place."""
    page = bytearray(32 * len(steps))
    for i, step in enumerate(steps):
        if isinstance(step, int):
            pack_int(page, 32 * i, step, float(i), 1.0005 * i, 5, 32 * i)
        else:
            pack_float(page, 32 * i, step, float(i), 1.0005 * i, 5 | FLOAT_STEP, 32 * i)
    return np.frombuffer(bytes(page), RECORD_TYPE)


def columns(steps: list[Step], values: list[float] | None = None) -> Columns:
    count = len(steps)
    return Columns(numbers_array(steps), np.array(values or range(count), float), np.zeros(count, np.int64))


def test_records_of_whole_steps_stay_integers() -> None:
    numbers, is_float, raw = from_records(records_of([3, -(2**63), 2**63 - 1]))

    assert [5, 5, 5] == numbers.tolist()
    assert not is_float.any()
    assert [raw] == split_exact(raw, is_float)
    assert [3, -(2**63), 2**63 - 1] == raw.steps.tolist()
    assert [0, 1000, 2001] == raw.times.tolist()


def test_small_whole_steps_beside_fractional_ones_become_doubles() -> None:
    _numbers, is_float, raw = from_records(records_of([1, 0.5, -EXACT, -0.0]))
    [part] = split_exact(raw, is_float)

    assert [1.0, 0.5, float(-EXACT), 0.0] == part.steps.tolist()
    assert np.float64 == part.steps.dtype


steps = st.lists(
    st.integers(-(2**63), 2**63 - 1) | st.integers(-5, 5) | st.floats(-1e18, 1e18) | st.sampled_from([EXACT + 1, 0.5])
)


@given(steps)
def test_split_parts_keep_every_step_and_the_order_in_which_they_came(given_steps: list[Step]) -> None:
    _numbers, is_float, raw = from_records(records_of(given_steps))
    parts = split_exact(raw, is_float)

    assert given_steps == [step for part in parts for step in part.steps.tolist()]
    assert list(range(len(given_steps))) == [value for part in parts for value in part.values.tolist()]


@given(st.lists(st.integers(-3, 3) | st.sampled_from([0.5, -1.5])))
def test_ordering_is_by_step_and_stable(given_steps: list[Step]) -> None:
    found = ordered(columns(given_steps))
    expected = sorted(enumerate(given_steps), key=lambda item: item[1])

    assert [step for _place, step in expected] == found.steps.tolist()
    assert [place for place, _step in expected] == found.values.tolist()


def test_what_is_in_order_is_not_copied() -> None:
    points = columns([1, 1, 2])

    assert points is ordered(points)
    assert columns([]).steps.dtype == ordered(columns([])).steps.dtype


def test_joined_parts_have_integer_steps_only_if_all_have() -> None:
    whole, fractional = columns([1, 2**53 + 1]), columns([0.5])

    assert [1, 2**53 + 1, 1, 2**53 + 1] == join([whole, whole]).steps.tolist()
    assert [1.0, float(2**53), 0.5] == join([whole, fractional]).steps.tolist()
    assert [] == join([]).steps.tolist()
    assert whole is join([whole])


def test_lone_surrogates_pass_as_bytes() -> None:
    assert b"\xed\xa0\x80" == as_bytes(b"\xed\xa0\x80")
    assert "é".encode() == as_bytes("é")
