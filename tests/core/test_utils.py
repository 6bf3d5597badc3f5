"""stringify_unsupported and flatten: what becomes of dicts of anything."""

from __future__ import annotations

import argparse
import math
from collections import OrderedDict
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from naiad import convert
from naiad.errors import (
    NaiadPathError,
    NaiadTypeError,
    NaiadValueError,
    UnsupportedValue,
    UnsupportedValueWarning,
    forget_warnings,
)
from naiad.types import Float, Namespace, StringifyValue
from naiad.utils import flatten, stringify_unsupported


@pytest.fixture(autouse=True)
def _unwarned() -> Iterator[None]:
    forget_warnings()
    yield
    forget_warnings()


def nested(levels: int) -> dict[str, Any]:
    """Return dicts within each other: as many as `levels`."""
    inner: dict[str, Any] = {}
    for _ in range(levels - 1):
        inner = {"a": inner}
    return inner


def endless() -> dict[str, Any]:
    """Return a dict that contains itself."""
    found: dict[str, Any] = {"lr": 0.1}
    found["self"] = {"again": found}
    return found


MOMENT = datetime(2026, 1, 2)


@pytest.mark.parametrize("value", [1, 0.5, True, "text", "1.5", MOMENT, math.inf])
def test_marked_value_that_a_field_accepts_stays_itself(value: object) -> None:
    kept = convert.scalar("a", stringify_unsupported(value))

    assert (type(value), value) == (type(kept), kept)


def test_marked_nan_stays_a_float() -> None:
    assert math.isnan(convert.scalar("a", stringify_unsupported(math.nan)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "None"),
        ([1, 2], "[1, 2]"),
        ((1,), "(1,)"),
        (1 + 2j, "(1+2j)"),
        (b"x", "b'x'"),
        (int, "<class 'int'>"),
        (10**30, str(10**30)),
        (Path("a/b"), "a/b"),
    ],
)
def test_marked_value_that_no_field_accepts_becomes_text(value: object, expected: str) -> None:
    assert expected == convert.scalar("a", stringify_unsupported(value))


def test_marked_int_of_too_many_digits_becomes_text() -> None:
    assert hex(10**10_000) == convert.scalar("a", stringify_unsupported(10**10_000))


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (1.5, "float_series"),
        (math.nan, "float_series"),
        (10**30, "float_series"),
        ([1], "string_series"),
        (None, "string_series"),
        (MOMENT, "string_series"),
        ("1.5", "string_series"),
    ],
)
def test_marked_value_chooses_the_series(value: object, kind: str) -> None:
    assert kind == convert.series_kind_of("a", stringify_unsupported(value))


def test_marked_values_are_points_and_entries() -> None:
    assert [1.0, 1.5] == [convert.number("a", stringify_unsupported(value)) for value in (True, 1.5)]
    assert ["1.5", "[1]", "None"] == [convert.text("a", stringify_unsupported(value)) for value in (1.5, [1], None)]


def test_marked_text_is_no_number() -> None:
    with pytest.raises(NaiadTypeError):
        convert.number("a", stringify_unsupported([1]))


def test_marked_value_goes_into_an_existing_string_as_text() -> None:
    assert "5" == convert.into("string", "a", stringify_unsupported(5))


def test_marked_value_goes_into_an_existing_number_as_itself() -> None:
    assert 5.0 == convert.into("float", "a", stringify_unsupported(5))


def test_mark_looks_like_its_value() -> None:
    mark = stringify_unsupported([1])

    assert ("[1]", "[1]") == (str(mark), repr(mark))


def test_marking_twice_changes_nothing() -> None:
    assert stringify_unsupported([1]) == stringify_unsupported(stringify_unsupported([1]))


def test_value_objects_are_left_alone() -> None:
    assert Float(1) == stringify_unsupported(Float(1))


@pytest.mark.parametrize(
    "given",
    [
        {"a": {1: [1]}, "b": None},
        OrderedDict(a=MappingProxyType({1: [1]}), b=None),
        argparse.Namespace(a=argparse.Namespace(**{"1": [1]}), b=None),
    ],
    ids=["dict", "other mappings", "argparse"],
)
def test_mappings_are_marked_value_by_value(given: object) -> None:
    expected = {"a": {"1": StringifyValue([1])}, "b": StringifyValue(None)}

    assert expected == stringify_unsupported(given)


def test_expand_stores_items_one_by_one() -> None:
    found = stringify_unsupported({"a": [1, (2, None)], "b": set(), "c": "xy"}, expand=True)

    assert {
        "a": {"0": StringifyValue(1), "1": {"0": StringifyValue(2), "1": StringifyValue(None)}},
        "b": {},
        "c": StringifyValue("xy"),
    } == found


def test_list_of_marks_is_extended_item_by_item() -> None:
    assert [1.0, 2.0] == [
        convert.number("a", item)
        for item in convert.collection("a", [stringify_unsupported(1), stringify_unsupported(2)])
    ]


@pytest.mark.parametrize("function", [stringify_unsupported, lambda value: flatten(value, "")], ids=["mark", "flat"])
class TestDepth:
    """Dicts within dicts end in an error of ours, never in a RecursionError."""

    def test_64_levels_are_accepted(self, function: Any) -> None:
        function(nested(64))

    @pytest.mark.parametrize("levels", [65, 2_000, 100_000])
    def test_more_levels_are_refused(self, function: Any, levels: int) -> None:
        with pytest.raises(NaiadValueError, match="nested 64 levels deep"):
            function(nested(levels))

    def test_dict_that_contains_itself_is_refused(self, function: Any) -> None:
        with pytest.raises(NaiadValueError, match="contains itself"):
            function(endless())

    def test_dict_met_twice_side_by_side_is_accepted(self, function: Any) -> None:
        shared = {"x": 1}
        function({"a": shared, "b": shared})


def test_list_that_contains_itself_is_refused_when_expanded() -> None:
    items: list[Any] = []
    items.append(items)

    with pytest.raises(NaiadValueError, match="contains itself"):
        stringify_unsupported(items, expand=True)


def test_list_that_contains_itself_is_written_as_python_does() -> None:
    items: list[Any] = []
    items.append(items)

    assert "[[...]]" == convert.scalar("a", stringify_unsupported(items))


def test_deep_list_is_refused_when_written() -> None:
    items: list[Any] = []
    for _ in range(100_000):
        items = [items]

    with pytest.raises(UnsupportedValue, match='"a" cannot hold the text of a list: reading it raised RecursionError'):
        convert.scalar("a", stringify_unsupported(items))


@pytest.mark.parametrize("wrap", [dict, Namespace, lambda found: argparse.Namespace(**found)])
def test_flatten_gives_paths_of_values(wrap: Any) -> None:
    found = flatten(wrap({"lr": 0.1, "a/b": 1, "data": wrap({"c": wrap({"d": "x"})})}), "params")

    assert [("params/lr", 0.1), ("params/a/b", 1), ("params/data/c/d", "x")] == found


def test_flatten_at_the_root_with_keys_of_any_type() -> None:
    assert [("1", "a"), ("0.5", "b"), ("None", "c")] == flatten({1: "a", 0.5: "b", None: "c"}, "")


@pytest.mark.parametrize("empty", [{}, {"a": {}}, {"a": {"b": {}}}, argparse.Namespace()])
def test_empty_dicts_store_nothing(empty: object) -> None:
    assert [] == flatten(empty, "params")


@pytest.mark.parametrize("key", ["", "/", "//"])
def test_empty_key_is_left_out_with_a_warning(key: str) -> None:
    with pytest.warns(UnsupportedValueWarning, match='1 value was left out: "params".\n.*no name: 1'):
        found = flatten({key: 1, "k": 2}, "params")

    assert [("params/k", 2)] == found


@pytest.mark.parametrize("key", ["..", "a\nb", " ", "x" * 1025])
def test_bad_key_is_refused(key: str) -> None:
    with pytest.raises(NaiadPathError):
        flatten({"fine": 1, key: 2}, "params")


def test_values_that_are_no_dicts_are_left_to_the_caller() -> None:
    values = [Float(1), StringifyValue(None), [1], None]

    assert values == [value for _, value in flatten(dict(enumerate(values)), "a")]
