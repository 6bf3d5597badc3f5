"""Coercion: the plain value of anything a user may give, and refusals that name the path."""

from __future__ import annotations

import enum
import fractions
import itertools
import math
import struct
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from naiad.convert import LONGEST_TEXT, collection, into, kind_of, number, scalar, series_kind_of, step, text, timestamp
from naiad.errors import (
    InvalidArgument,
    LimitWarning,
    NaiadTypeError,
    NaiadValueError,
    UnsupportedValue,
    forget_warnings,
)
from naiad.scalars import from_microseconds, microseconds, pack_text, unpack_text
from naiad.types import Float, Integer

torch = pytest.importorskip("torch", reason="tensors of torch are values that users log")

UTC = timezone.utc
NOON = datetime(2026, 1, 2, 12, 30, 15, 123456)


@pytest.fixture(autouse=True)
def _unwarned() -> Iterator[None]:
    forget_warnings()
    yield
    forget_warnings()


class Level(enum.IntEnum):
    LOW = 1


class Name(str, enum.Enum):
    ADAM = "adam"


class Plain(enum.Enum):
    ONE = 1


class Symbolic:
    """A number of another library, such as sympy or gmpy2."""

    def __float__(self) -> float:
        return 2.5


class Counting:
    def __index__(self) -> int:
        return 7


class Eager:
    """As much of a tensor of tensorflow as matters: a dtype, a shape and numpy(), but no item()."""

    def __init__(self, array: Any) -> None:
        self.array = np.asarray(array)
        self.dtype, self.shape = self.array.dtype, self.array.shape

    def numpy(self) -> Any:
        return self.array[()]


class Traced:
    """An array of jax inside jit: it has a shape, and no value."""

    dtype, shape = "float32", ()

    def item(self) -> float:
        raise TypeError("abstract")


class Sized(str):
    """A text that says it has another size in UTF-8 than it has characters."""


SCALARS: list[tuple[Any, Any]] = [
    (True, True),
    (7, 7),
    (2**63 - 1, 2**63 - 1),
    (-(2**63), -(2**63)),
    (0.1, 0.1),
    (math.inf, math.inf),
    ("1.5", "1.5"),
    ("", ""),
    (Level.LOW, 1),
    (Name.ADAM, "adam"),
    (Decimal("0.1"), 0.1),
    (Decimal("-Infinity"), -math.inf),
    (fractions.Fraction(1, 4), 0.25),
    (Symbolic(), 2.5),
    (Counting(), 7),
    (PurePosixPath("data/x.csv"), "data/x.csv"),
    (Path("data"), "data"),
    (NOON, NOON),
    (date(2026, 1, 2), datetime(2026, 1, 2)),
    (np.bool_(True), True),
    (np.int8(-5), -5),
    (np.int64(2**62), 2**62),
    (np.uint64(5), 5),
    (np.float16(0.5), 0.5),
    (np.float32(0.1), float(np.float32(0.1))),
    (np.float64(0.1), 0.1),
    (np.longdouble(0.5), 0.5),
    (np.str_("a"), "a"),
    (np.array(3), 3),
    (np.array([0.5]), 0.5),
    (np.array([[True]]), True),
    (np.array("a"), "a"),
    (np.array([3], dtype=object), 3),
    (np.array(np.float32(0.5), dtype=object), 0.5),
    (np.ma.array([3], mask=[False]), 3),
    (np.datetime64("2026-01-02T12:30:15.123456789", "ns"), NOON),
    (np.datetime64("2026-01-02T12:30:15.123456", "us"), NOON),
    (np.datetime64("2026-01-02"), datetime(2026, 1, 2)),
    (np.datetime64("2026"), datetime(2026, 1, 1)),
    (np.array(["2026-01-02"], dtype="datetime64[ns]"), datetime(2026, 1, 2)),
    (pd.Timestamp("2026-01-02T12:30:15.123456789"), NOON),
    (pd.Series([3]), 3),
    (pd.Series([pd.Timestamp(NOON, tz="UTC")]), NOON.replace(tzinfo=UTC)),
    (torch.tensor(True), True),
    (torch.tensor(7, dtype=torch.uint8), 7),
    (torch.tensor([[7]]), 7),
    (torch.tensor(0.5, dtype=torch.bfloat16), 0.5),
    (torch.tensor(0.5, dtype=torch.float16), 0.5),
    (torch.tensor([0.5], requires_grad=True), 0.5),
    (torch.tensor(0.5, requires_grad=True) * 2, 1.0),
    (torch.nn.Parameter(torch.tensor(0.5)), 0.5),
    (Eager(np.int32(3)), 3),
    (Eager(np.array([0.5])), 0.5),
    (Float(1), 1.0),
    (Integer("7"), 7),
]


@pytest.mark.parametrize(("value", "expected"), SCALARS, ids=lambda value: f"{type(value).__name__}")
def test_scalars_of_every_origin_keep_their_kind(value: Any, expected: Any) -> None:
    found = scalar("a", value)

    assert (type(expected), expected) == (type(found), found)


@pytest.mark.parametrize("value", [math.nan, np.nan, np.float32("nan"), torch.tensor(math.nan), Decimal("NaN")])
def test_nan_is_a_float(value: Any) -> None:
    assert math.isnan(scalar("a", value))  # type: ignore[arg-type]
    assert math.isnan(number("a", value))


def test_nan_is_kept_bit_for_bit() -> None:
    odd = struct.unpack("<d", b"\x01\x00\x00\x00\x00\x00\xf8\xff")[0]

    assert struct.pack("<d", odd) == struct.pack("<d", number("a", odd)) == struct.pack("<d", scalar("a", odd))


def test_timestamps_keep_their_time_zone() -> None:
    zone = timezone(timedelta(hours=5))
    moment = NOON.replace(tzinfo=zone)

    found = scalar("a", pd.Timestamp(moment))

    assert moment == found
    assert datetime is type(found)


@pytest.mark.parametrize(
    ("value", "kind"), [(True, "bool"), (1, "int"), (1.0, "float"), ("a", "string"), (NOON, "datetime")]
)
def test_kind_of_plain_values(value: Any, kind: str) -> None:
    assert kind == kind_of(value)


UNSUPPORTED: list[tuple[Any, str]] = [
    (None, "type NoneType: None"),
    ([1, 2], "type list: [1, 2]"),
    ((1,), "type tuple: (1,)"),
    ({1}, "type set: {1}"),
    ({}, "type dict: {}"),
    (range(3), "type range"),
    (1 + 2j, "type complex"),
    (np.complex64(1), "numpy.complex64"),
    (np.clongdouble(1), "numpy.clongdouble"),
    (b"1.5", "type bytes: b'1.5'"),
    (np.bytes_(b"1"), "numpy.bytes_"),
    (np.timedelta64("NaT"), "numpy.timedelta64"),
    (np.array([1, 2]), "type numpy.ndarray: shape (2,)"),
    (np.zeros((2, 3)), "type numpy.ndarray: shape (2, 3)"),
    (np.array([]), "type numpy.ndarray: shape (0,)"),
    (np.array((1, 2.0), dtype="i4,f8"), "numpy.ndarray"),
    (np.array([None]), "numpy.ndarray"),
    (np.ma.masked, "MaskedConstant"),
    (np.datetime64("NaT", "s"), "numpy.datetime64"),
    (pd.NaT, "NaTType"),
    (pd.NA, "NAType"),
    (pd.DataFrame({"a": [1]}), "DataFrame: shape (1, 1)"),
    (pd.Series([1, 2]), "Series: shape (2,)"),
    (torch.zeros(2, 3), "type torch.Tensor: shape (2, 3)"),
    (torch.zeros(1, device="meta"), "torch.Tensor: shape (1,)"),
    (torch.tensor(1j), "torch.Tensor"),
    (Eager([1, 2]), "Eager: shape (2,)"),
    (Traced(), "Traced"),
    (int, "type type: <class 'int'>"),
    (np.float64, "type type"),
    (len, "builtin_function_or_method"),
    (lambda: 1, "type function"),
    (object(), "type object"),
]


@pytest.mark.parametrize(("value", "words"), UNSUPPORTED, ids=lambda value: f"{type(value).__name__}")
def test_unsupported_value_is_named_with_a_remedy(value: Any, words: str) -> None:
    with pytest.raises(UnsupportedValue) as error:
        scalar("params/x", value)

    message = str(error.value)
    assert message.startswith('"params/x" cannot hold a value of type ')
    assert words in message
    assert "stringify_unsupported(" in message
    assert 2 == len(message.splitlines())
    assert "params/x" == error.value.path
    assert value is error.value.value


@pytest.mark.parametrize("value", [[1], (1,), {1}, range(3), np.array([1, 2]), pd.Series([1, 2]), torch.zeros(2)])
def test_remedy_for_a_list_is_extend(value: Any) -> None:
    with pytest.raises(UnsupportedValue, match=r"extend\(\)"):
        scalar("a", value)


@pytest.mark.parametrize(
    "value",
    [2**63, -(2**63) - 1, 10**400, 10**10_000, np.uint64(2**63), np.array(2**63, dtype="u8")],
    ids=["2**63", "below", "10**400", "10**10000", "uint64", "array"],
)
def test_int_beyond_64_bits_is_refused(value: Any) -> None:
    with pytest.raises(NaiadValueError, match=r'^"a/b" cannot hold .*64 bits\.\nStore it as text with str\(') as error:
        scalar("a/b", value)

    assert len(str(error.value)) < 300


@pytest.mark.parametrize(
    "value",
    [
        Decimal("1e400"),
        fractions.Fraction(10**400),
        np.longdouble("1e4000"),
        np.datetime64("20000-01-01"),
        datetime.min.replace(tzinfo=timezone(timedelta(hours=5))),
    ],
    ids=lambda value: type(value).__name__,
)
def test_value_out_of_range_is_refused(value: Any) -> None:
    with pytest.raises(NaiadValueError, match='^"a" cannot hold .* out of range'):
        scalar("a", value)


def test_no_warning_of_a_framework_is_shown() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for value, _ in SCALARS:
            scalar("a", value)


FITTING: list[tuple[str, Any, Any]] = [
    ("int", 3.0, 3),
    ("int", "7", 7),
    ("int", " 7\n", 7),
    ("int", True, 1),
    ("int", np.int64(5), 5),
    ("int", torch.tensor(5.0), 5),
    ("int", 2**63 - 1, 2**63 - 1),
    ("float", 4, 4.0),
    ("float", "7", 7.0),
    ("float", "1e-3", 0.001),
    ("float", "inf", math.inf),
    ("float", True, 1.0),
    ("float", np.float32(0.5), 0.5),
    ("float", 2**53, 2.0**53),
    ("bool", True, True),
    ("bool", np.bool_(False), False),
    ("bool", 0, False),
    ("bool", 1, True),
    ("string", "b", "b"),
    ("string", Path("a"), "a"),
    ("datetime", NOON, NOON),
    ("datetime", pd.Timestamp(NOON), NOON),
    ("datetime", date(2026, 1, 2), datetime(2026, 1, 2)),
    ("float", Integer(3), 3.0),
]


@pytest.mark.parametrize(("kind", "value", "expected"), FITTING)
def test_existing_field_takes_what_loses_nothing(kind: str, value: Any, expected: Any) -> None:
    found = into(kind, "a", value)

    assert (type(expected), expected) == (type(found), found)


MISFITS: list[tuple[str, Any, type[Exception], str]] = [
    ("int", 1.5, NaiadValueError, "an Integer and cannot hold 1.5: it is not a whole number"),
    ("int", "b", NaiadValueError, "an Integer and cannot hold 'b': it is not a whole number"),
    ("int", "1.5", NaiadValueError, "not a whole number"),
    ("int", math.nan, NaiadValueError, "not a whole number"),
    ("int", math.inf, NaiadValueError, "not a whole number"),
    ("int", 2**63, NaiadValueError, "64 bits"),
    ("int", 1e300, NaiadValueError, "64 bits"),
    ("int", NOON, NaiadTypeError, "not a number"),
    ("float", "b", NaiadValueError, "a Float and cannot hold 'b': it is not a number"),
    ("float", "1e400", NaiadValueError, "too large"),
    ("float", 10**400, NaiadValueError, "too large"),
    ("float", NOON, NaiadTypeError, "not a number"),
    ("bool", "b", NaiadTypeError, "a Boolean and cannot hold 'b'"),
    ("bool", 2, NaiadValueError, "neither 0 nor 1"),
    ("bool", 0.5, NaiadValueError, "neither 0 nor 1"),
    ("bool", math.nan, NaiadValueError, "neither 0 nor 1"),
    ("bool", NOON, NaiadTypeError, "neither True nor False"),
    ("string", 5, NaiadTypeError, "a String and cannot hold 5"),
    ("string", True, NaiadTypeError, "not a text"),
    ("string", NOON, NaiadTypeError, "not a text"),
    (
        "datetime",
        "2026-01-02",
        NaiadTypeError,
        "a Datetime and cannot hold '2026-01-02': it is not a datetime",
    ),
    ("datetime", 5, NaiadTypeError, "not a datetime"),
]


@pytest.mark.parametrize(("kind", "value", "error", "words"), MISFITS)
def test_existing_field_refuses_what_it_would_change(kind: str, value: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error) as refusal:
        into(kind, "a/b", value)

    message = str(refusal.value)
    assert message.startswith('"a/b" is ')
    assert words in message
    assert message.endswith('remove the field first with run.pop("a/b").')


@pytest.mark.parametrize("kind", ["int", "float", "bool", "string", "datetime"])
@pytest.mark.parametrize("value", [None, [1], {}, b"1", np.zeros(2), len], ids=repr)
def test_existing_field_refuses_what_no_field_holds(kind: str, value: Any) -> None:
    with pytest.raises(UnsupportedValue):
        into(kind, "a", value)


def test_inexact_int_is_stored_with_one_warning_for_each_path() -> None:
    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        kept = [take("loss", 2**53 + 1) for take in (number, number, lambda path, value: into("float", path, value))]
        number("other", 2**53 + 1)

    assert [2.0**53] * 3 == kept
    assert [LimitWarning] * 2 == [warning.category for warning in given]
    assert '"loss" keeps 9007199254740993 as 9007199254740992.0' in str(given[0].message)


@given(st.integers(-(2**53), 2**53))
def test_ints_up_to_2_53_become_the_same_float_without_a_warning(value: int) -> None:
    assert value == number("a", value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, 1.0),
        (False, 0.0),
        (-0.0, -0.0),
        (1e308, 1e308),
        (5e-324, 5e-324),
        (-math.inf, -math.inf),
        (10**30, 1e30),
        (Decimal("0.5"), 0.5),
        (np.float64(0.5), 0.5),
        (np.int32(3), 3.0),
        (torch.tensor(0.5, requires_grad=True), 0.5),
        (np.array([0.5]), 0.5),
    ],
)
@pytest.mark.filterwarnings("ignore::naiad.errors.LimitWarning")
def test_points_are_floats(value: Any, expected: float) -> None:
    found = number("loss", value)

    assert (float, expected, math.copysign(1, expected)) == (type(found), found, math.copysign(1, found))


@pytest.mark.parametrize("value", ["high", "", "1e999", Path("data")])
def test_text_that_is_no_number_is_no_point(value: Any) -> None:
    with pytest.raises(NaiadTypeError, match=r'^"loss" is a series of numbers.*\nConvert it with float\(') as error:
        number("loss", value)

    assert not isinstance(error.value, UnsupportedValue)


@pytest.mark.parametrize("value", [None, [1], {}, 1j, NOON, np.zeros(2), b"1"], ids=repr)
def test_unsupported_value_is_no_point(value: Any) -> None:
    with pytest.raises(UnsupportedValue, match='^"loss" cannot hold'):
        number("loss", value)
    with pytest.raises(UnsupportedValue, match='^"loss" cannot hold'):
        series_kind_of("loss", value)


@pytest.mark.parametrize("value", [10**400, Decimal("1e400")], ids=["int", "Decimal"])
def test_number_too_large_for_a_float_is_no_point(value: Any) -> None:
    with pytest.raises(NaiadValueError, match='^"loss" cannot hold .* out of range'):
        number("loss", value)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (1, "float_series"),
        (True, "float_series"),
        (math.nan, "float_series"),
        (np.float32(1), "float_series"),
        ("1.5", "string_series"),
        (Name.ADAM, "string_series"),
        (Path("a"), "string_series"),
    ],
)
def test_first_value_chooses_the_series(value: Any, kind: str) -> None:
    assert kind == series_kind_of("a", value)


@pytest.mark.parametrize("value", ["a", np.str_("a"), Sized("a"), np.array("a")])
def test_texts_are_plain_strs(value: Any) -> None:
    found = text("notes", value)

    assert (str, "a") == (type(found), found)


@pytest.mark.parametrize("value", [1, 1.5, True, NOON])
def test_number_is_no_text(value: Any) -> None:
    with pytest.raises(NaiadTypeError, match=r'^"notes" is a series of texts.*\nConvert it with str\('):
        text("notes", value)


@pytest.mark.parametrize("value", ["x" * LONGEST_TEXT, "é" * (LONGEST_TEXT // 2)], ids=["ascii", "two bytes"])
def test_text_of_16_mib_is_accepted(value: str) -> None:
    assert value == text("notes", value) == scalar("notes", value) == into("string", "notes", value)


@pytest.mark.parametrize(
    "value",
    ["x" * (LONGEST_TEXT + 1), "é" * (LONGEST_TEXT // 2 + 1), "\ud800" * 10**7],
    ids=["ascii", "é", "lone"],
)
@pytest.mark.parametrize("take", [text, scalar, lambda path, value: into("string", path, value)])
def test_longer_text_is_refused(take: Any, value: str) -> None:
    with pytest.raises(NaiadValueError, match=r'^"notes" cannot hold a text of .*\nCut it to 16 MiB'):
        take("notes", value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (5, 5),
        (-3, -3),
        (True, 1),
        (2.0, 2),
        (-0.0, 0),
        (2.5, 2.5),
        (2**63 - 1, 2**63 - 1),
        (-(2**63), -(2**63)),
        (2**53 + 1, 2**53 + 1),
        (2.0**53, 2.0**53),
        (2.0**62, 2.0**62),
        (np.int64(5), 5),
        (np.uint8(5), 5),
        (np.float32(5), 5),
        (np.float64(5.5), 5.5),
        (torch.tensor(5), 5),
        (torch.tensor([5.5]), 5.5),
        (Decimal("5"), 5),
    ],
)
def test_steps_are_whole_where_they_can_be(value: Any, expected: Any) -> None:
    found = step("loss", value)

    assert (type(expected), expected) == (type(found), found)


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**63), 2**63 - 1))
def test_step_keeps_its_value_or_is_refused(value: float) -> None:
    if -(2**63) <= value < 2**63:
        assert value == step("loss", value)
    else:
        with pytest.raises(NaiadValueError):
            step("loss", value)


@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        math.inf,
        "5",
        2**63,
        -(2**63) - 1,
        1e300,
        2.0**63,
        10**400,
        Decimal("1e400"),
        None,
        [1],
        NOON,
        1j,
    ],
)
def test_bad_step_is_refused(value: Any) -> None:
    with pytest.raises(NaiadValueError, match=r'cannot be a step of "loss"\.\nGive a finite number'):
        step("loss", value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (5, 5.0),
        (1.5, 1.5),
        (-1, -1.0),
        (np.float64(1.5), 1.5),
        (np.int64(5), 5.0),
        (torch.tensor(5), 5.0),
        (datetime(1970, 1, 2, tzinfo=UTC), 86_400.0),
        (NOON, NOON.timestamp()),
        (pd.Timestamp(NOON), NOON.timestamp()),
        (np.datetime64(NOON, "ns"), NOON.timestamp()),
        (datetime(1960, 1, 1, tzinfo=UTC), -315_619_200.0),
    ],
)
def test_timestamps_are_seconds(value: Any, expected: float) -> None:
    found = timestamp("loss", value)

    assert (float, expected) == (type(found), found)


@pytest.mark.parametrize(
    "value", [math.nan, math.inf, -math.inf, "5", 1.7e12, -1e12, 10**400, None, pd.NaT, [1.0], datetime.max]
)
def test_bad_timestamp_is_refused(value: Any) -> None:
    with pytest.raises(NaiadValueError, match=r'cannot be a timestamp of "loss"\.\nGive seconds \(not milliseconds\)'):
        timestamp("loss", value)


@given(st.datetimes(min_value=datetime(1, 1, 3), max_value=datetime(9999, 12, 29), timezones=st.just(UTC)))
def test_accepted_moments_come_back_exactly(moment: datetime) -> None:
    assert moment == from_microseconds(microseconds(moment))
    assert pytest.approx(moment.timestamp(), abs=1e-4) == timestamp("a", moment)


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="this system cannot change its time zone within a process")
def test_moment_without_zone_is_local_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    time.tzset()
    try:
        passed = microseconds(datetime(1970, 1, 2))
    finally:
        monkeypatch.undo()
        time.tzset()

    assert (24 * 3600 - 5.5 * 3600) * 1e6 == passed


def test_moment_before_the_year_1_in_utc_is_refused() -> None:
    with pytest.raises(NaiadValueError, match="outside the years 1 to 9999"):
        microseconds(datetime.min.replace(tzinfo=timezone(timedelta(hours=5))))


def drain() -> Iterator[int]:
    yield from (1, 2)


@pytest.mark.parametrize(
    "values",
    [
        [1, 2],
        (1, 2),
        range(1, 3),
        drain(),
        {1: 0, 2: 0}.keys(),
        {0: 1, 1: 2}.values(),
        itertools.islice(itertools.count(1), 2),
        np.array([1, 2]),
        pd.Series([1, 2], index=[7, 8]),
        pd.Index([1, 2]),
        torch.tensor([1, 2]),
        Eager([1, 2]),
        memoryview(b"\x01\x02"),
        {1, 2},
    ],
    ids=lambda values: type(values).__name__,
)
def test_collection_of_any_iterable(values: Any) -> None:
    assert [1, 2] == collection("a", values)


def test_collection_of_a_tensor_with_gradient() -> None:
    assert [0.5] == collection("a", torch.tensor([0.5], requires_grad=True))


@pytest.mark.parametrize("dtype", ["datetime64[ns]", "datetime64[us]", "datetime64[s]"])
@pytest.mark.parametrize("make", [np.array, pd.Series, pd.to_datetime])
def test_collection_of_moments_gives_timestamps(make: Any, dtype: str) -> None:
    values = make(np.array(["1970-01-02", "1970-01-03"], dtype=dtype))

    seconds = [timestamp("a", value) for value in collection("a", values)]

    assert [datetime(1970, 1, 2).timestamp(), datetime(1970, 1, 3).timestamp()] == seconds


SINGLES: list[Any] = [
    "begun",
    5,
    0.5,
    None,
    b"ab",
    {"a": 1},
    NOON,
    Path("a"),
    np.float64(1),
    np.array(5),
    torch.tensor(5),
]


@pytest.mark.parametrize("value", [*SINGLES, int, Name, 1j], ids=lambda value: type(value).__name__)
def test_collection_of_a_single_value_is_that_value(value: Any) -> None:
    found = collection("a", value)

    assert 1 == len(found)
    assert value is found[0]


@pytest.mark.parametrize("values", [[], (), np.array([]), pd.Series([], dtype=float), torch.zeros(0), iter(())])
def test_collection_may_be_empty(values: Any) -> None:
    assert [] == collection("a", values)


def test_collection_leaves_nested_values_to_the_caller() -> None:
    assert [[1], {"b": 2}] == collection("a", [[1], {"b": 2}])


@pytest.mark.parametrize("values", [np.zeros((2, 3)), torch.zeros(2, 3), pd.DataFrame(np.zeros((2, 3)))])
def test_collection_of_two_dimensions_is_refused(values: Any) -> None:
    with pytest.raises(InvalidArgument, match=r'^"a" was given an array of shape \(2, 3\)'):
        collection("a", values)


@given(st.text(st.characters()))
def test_every_text_comes_back_as_it_was(value: str) -> None:
    packed = pack_text(value)

    assert value == unpack_text(packed)
    assert isinstance(packed, bytes) or packed == packed.encode().decode()


def test_only_text_without_utf_8_is_packed_into_bytes() -> None:
    assert ["a", "é\0🚀", b"\xed\xb0\x80"] == [pack_text(value) for value in ("a", "é\0🚀", "\udc00")]


def test_no_framework_is_loaded() -> None:
    code = "import sys, naiad.convert; print({'numpy', 'pandas', 'torch'} & set(sys.modules))"

    assert "set()" == subprocess.check_output([sys.executable, "-c", code], text=True).strip()
