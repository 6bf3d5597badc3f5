"""Value objects: what each kind takes without loss."""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
from datetime import date, datetime
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pandas as pd
import pytest

from naiad import types
from naiad.errors import InvalidArgument, NaiadTypeError, NaiadValueError
from naiad.types import (
    ATOMS,
    Boolean,
    Datetime,
    Float,
    FloatSeries,
    Integer,
    Namespace,
    RunState,
    String,
    StringifyValue,
    StringSeries,
    StringSet,
    as_mapping,
)

NOON = datetime(2026, 1, 2, 12)


@pytest.mark.parametrize(
    ("kind", "given", "expected"),
    [
        (Float, 4, 4.0),
        (Float, "7", 7.0),
        (Float, True, 1.0),
        (Float, np.float32(0.5), 0.5),
        (Float, math.inf, math.inf),
        (Float, "-inf", -math.inf),
        (Integer, 3.0, 3),
        (Integer, "7", 7),
        (Integer, True, 1),
        (Integer, np.int64(2**40), 2**40),
        (Integer, np.array([3.0]), 3),
        (Integer, 2**63 - 1, 2**63 - 1),
        (Boolean, True, True),
        (Boolean, np.bool_(False), False),
        (Boolean, 1, True),
        (Boolean, 0.0, False),
        (String, "a", "a"),
        (String, np.str_("a"), "a"),
        (String, Path("a/b"), "a/b"),
        (String, StringifyValue([1]), "[1]"),
        (Integer, StringifyValue(5), 5),
        (Datetime, NOON, NOON),
        (Datetime, date(2026, 1, 2), datetime(2026, 1, 2)),
        (Datetime, pd.Timestamp(NOON), NOON),
    ],
)
def test_atom_brings_its_value_into_its_type(kind: Any, given: object, expected: object) -> None:
    value = kind(given).value

    assert (type(expected), expected) == (type(value), value)


@pytest.mark.parametrize(
    ("kind", "given", "error"),
    [
        (Float, "b", NaiadValueError),
        (Float, "1e400", NaiadValueError),
        (Float, 10**400, NaiadValueError),
        (Float, None, NaiadTypeError),
        (Float, b"1.5", NaiadTypeError),
        (Float, NOON, NaiadTypeError),
        (Float, [1.0], NaiadTypeError),
        (Integer, 3.9, NaiadValueError),
        (Integer, math.nan, NaiadValueError),
        (Integer, math.inf, NaiadValueError),
        (Integer, "3.0", NaiadValueError),
        (Integer, "9" * 10_000, NaiadValueError),
        (Integer, 2**63, NaiadValueError),
        (Integer, NOON, NaiadTypeError),
        (Boolean, "b", NaiadTypeError),
        (Boolean, "True", NaiadTypeError),
        (Boolean, 2, NaiadValueError),
        (Boolean, None, NaiadTypeError),
        (String, None, NaiadTypeError),
        (String, 5, NaiadTypeError),
        (Datetime, "2026-01-02", NaiadTypeError),
        (Datetime, 5, NaiadTypeError),
        (Datetime, pd.NaT, NaiadTypeError),
    ],
)
def test_atom_refuses_what_it_would_change(kind: Any, given: object, error: type[Exception]) -> None:
    with pytest.raises(error, match=f"^{kind.__name__} cannot hold "):
        kind(given)


def test_values_are_equal_by_kind_and_value() -> None:
    assert Float(1) == Float(1.0)
    assert Float(1) != Integer(1)
    assert "Float(value=1.0)" == repr(Float(1))


def test_values_cannot_be_changed() -> None:
    with pytest.raises(AttributeError, match="immutable"):
        Float(1).value = 2.0


def test_kinds_name_their_classes() -> None:
    assert {"bool", "int", "float", "string", "datetime"} == set(ATOMS)
    assert all(kind == atom.kind for kind, atom in ATOMS.items())


@pytest.mark.parametrize("kind", [FloatSeries, StringSeries])
@pytest.mark.parametrize("make", [list, tuple, iter, dict.fromkeys, np.array, pd.Series])
def test_series_takes_any_collection(kind: Any, make: Any) -> None:
    assert (1, 2) == kind(make([1, 2])).values


@pytest.mark.parametrize("kind", [FloatSeries, StringSeries, StringSet])
@pytest.mark.parametrize("values", ["ab", b"ab", 5, None])
def test_series_and_sets_refuse_what_is_no_collection(kind: Any, values: object) -> None:
    with pytest.raises(NaiadTypeError, match="`values` must be a collection"):
        kind(values)


@pytest.mark.parametrize("kind", [FloatSeries, StringSeries])
@pytest.mark.parametrize("column", ["steps", "timestamps"])
def test_series_columns_are_as_long_as_the_values(kind: Any, column: str) -> None:
    assert (5, 6) == getattr(kind(["1", "2"], **{column: iter([5, 6])}), column)
    with pytest.raises(InvalidArgument, match=f"2 values came with 3 {column}"):
        kind(["1", "2"], **{column: [1, 2, 3]})


def test_float_series_keeps_the_axis_of_its_chart() -> None:
    series = FloatSeries([1], min=0, max=10, unit="s")

    assert (0, 10, "s", None, None) == (series.min, series.max, series.unit, series.steps, series.timestamps)


def test_arguments_of_series_stand_in_neptunes_order() -> None:
    assert FloatSeries([1], None, None, None, [5.0], [7]) == FloatSeries([1], timestamps=[5.0], steps=[7])
    assert StringSeries(["a"], [5.0], [7]) == StringSeries(["a"], timestamps=[5.0], steps=[7])


def test_string_set_keeps_each_tag_once() -> None:
    assert {"a", "b"} == StringSet(["a", "b", "a"]).values


def test_string_set_refuses_tags_that_are_no_texts() -> None:
    with pytest.raises(NaiadTypeError, match="A tag must be a str, not 5"):
        StringSet(["a", 5])  # type: ignore[list-item]


@pytest.mark.parametrize("given", [{"a": 1}, argparse.Namespace(a=1), Namespace({"a": 1})])
def test_namespace_holds_a_mapping(given: Any) -> None:
    assert {"a": 1} == Namespace(given).value
    assert {"a": 1} == as_mapping(given)


def test_namespace_refuses_other_values() -> None:
    with pytest.raises(NaiadTypeError, match="Give it a dict"):
        Namespace([1])  # type: ignore[arg-type]


@pytest.mark.parametrize("state", RunState)
def test_run_state_is_its_plain_name(state: RunState) -> None:
    assert state == state.value == str(state) == f"{state}" == f"{state:>1}"
    assert state is RunState(state.value)
    assert ("running" == state) is state.is_active


@pytest.mark.parametrize("atom", types.ATOMS.values())
def test_value_of_an_atom_has_the_type_of_its_kind(atom: type[types.Atom]) -> None:
    """For the type checker of a user, who reads `Float(...).value`."""
    assert get_type_hints(atom)["value"] is get_type_hints(atom.fit)["return"]


def test_all_values_are_exported() -> None:
    assert set(types.__all__) <= set(dir(types))


def test_types_load_no_framework() -> None:
    code = "import sys, naiad.types; print({'numpy', 'pandas', 'argparse'} & set(sys.modules))"

    assert "set()" == subprocess.check_output([sys.executable, "-c", code], text=True).strip()
