"""Fields of one value: exact round trips, lossless coercion, and refusals that leave no trace."""

from __future__ import annotations

import math
import struct
from datetime import datetime, timedelta, timezone
from typing import Any

import numpy as np
import pandas as pd
import pytest

import naiad
from naiad import types
from naiad.errors import (
    FieldConflict,
    LimitWarning,
    MissingField,
    NaiadPathError,
    NaiadValueError,
    ProtectedPath,
    UnsupportedValueWarning,
)

ROUND_TRIPS = [
    ("Boolean", True),
    ("Boolean", False),
    ("Integer", 0),
    ("Integer", 2**63 - 1),
    ("Integer", -(2**63)),
    ("Float", 0.1),
    ("Float", 1e308),
    ("Float", 5e-324),
    ("Float", -0.0),
    ("Float", math.inf),
    ("String", ""),
    ("String", "x" * 1_000_000),
    ("String", "nul \0, \U0001f40d, עברית, \ud800 alone"),
    ("Datetime", datetime(1998, 11, 1, 2, 3, 4, 567_891, tzinfo=timezone.utc)),
    ("Datetime", datetime(1, 1, 3, tzinfo=timezone.utc)),
    ("Datetime", datetime(9999, 12, 30, tzinfo=timezone.utc)),
]


@pytest.mark.parametrize(("name", "value"), ROUND_TRIPS, ids=[f"{n}-{str(v)[:12]!a}" for n, v in ROUND_TRIPS])
def test_value_is_fetched_as_it_was_assigned(run: naiad.Run, name: str, value: Any) -> None:
    run["a/b"] = value
    fetched = run["a/b"].fetch()

    assert value == fetched
    assert type(value) is type(fetched)
    assert f'<{name} field at "a/b">' == repr(run["a/b"])


def test_nan_is_kept_bit_for_bit(run: naiad.Run) -> None:
    odd_nan = struct.unpack("<d", bytes.fromhex("0100000000fcf8ff"))[0]
    run["x"] = odd_nan

    assert struct.pack("<d", odd_nan) == struct.pack("<d", run["x"].fetch())


def test_naive_datetime_is_local_time(run: naiad.Run) -> None:
    run["x"] = datetime(2024, 5, 6, 7, 8, 9)

    assert datetime(2024, 5, 6, 7, 8, 9).astimezone() == run["x"].fetch()
    assert timedelta(0) == run["x"].fetch().utcoffset()


KINDS_OF_VALUES = [
    (np.int64(3), "Integer", 3),
    (np.bool_(True), "Boolean", True),
    (np.float32(0.5), "Float", 0.5),
    (np.array([7]), "Integer", 7),
    (types.Float(1), "Float", 1.0),
    (types.String("x"), "String", "x"),
    (pd.Timestamp("2024-01-02", tz="UTC"), "Datetime", datetime(2024, 1, 2, tzinfo=timezone.utc)),
]


@pytest.mark.parametrize(("value", "name", "kept"), KINDS_OF_VALUES, ids=lambda each: str(each)[:20])
def test_first_value_chooses_the_kind(run: naiad.Run, value: Any, name: str, kept: Any) -> None:
    run["x"] = value

    assert name == type(run.get_attribute("x")).__name__
    assert kept == run["x"].fetch()


LOSSLESS = [(1, 3.0, 3), (1, "7", 7), (1.0, 4, 4.0), (1.0, "7", 7.0), (1.0, True, 1.0), (True, 0, False)]


@pytest.mark.parametrize(("first", "later", "kept"), LOSSLESS)
def test_later_value_is_taken_if_nothing_is_lost(run: naiad.Run, first: Any, later: Any, kept: Any) -> None:
    run["x"] = first
    run["x"] = later

    assert kept == run["x"].fetch()
    assert type(kept) is type(run["x"].fetch())


REFUSED = [(1, 1.5), (1, "b"), (1, math.nan), (True, "b"), (True, 2), ("a", 1), ("a", 0.5), (1.0, "b"), (1, 2**70)]


@pytest.mark.parametrize(("first", "later"), REFUSED)
def test_later_value_that_does_not_fit_is_refused_and_changes_nothing(run: naiad.Run, first: Any, later: Any) -> None:
    run["x"] = first

    with pytest.raises((TypeError, ValueError), match='"x"'):
        run["x"] = later

    assert first == run["x"].fetch()


def test_int_beyond_64_bits_leaves_no_trace(run: naiad.Run) -> None:
    with pytest.raises(NaiadValueError, match='"big"'):
        run["big"] = 10**30

    assert not run.exists("big")
    with pytest.raises(MissingField):
        run["big"].fetch()


@pytest.mark.parametrize("value", [{1, 2}, 3j, object(), len, np.zeros(3), b"x"])
def test_unsupported_value_is_left_out_with_one_warning_a_path(run: naiad.Run, value: Any) -> None:
    with pytest.warns(UnsupportedValueWarning, match='"left/out"'):
        run["left/out"] = value
    run["left/out"] = value

    assert not run.exists("left/out")
    assert not run.exists("left")


def test_text_beyond_16_mib_is_refused(run: naiad.Run) -> None:
    for write in (run["x"].assign, run["y"].append):
        with pytest.raises(NaiadValueError, match="16 MiB"):
            write("x" * (16 * 2**20 + 1))

    assert not run.exists("x")
    assert not run.exists("y")


@pytest.mark.usefixtures("store")
def test_strict_run_raises_for_an_unsupported_value() -> None:
    with naiad.init_run(strict=True) as run, pytest.raises(TypeError, match='"x"'):
        run["x"] = {1, 2}


@pytest.mark.usefixtures("store")
def test_neptunes_limit_cuts_a_long_string_with_one_warning() -> None:
    with naiad.init_run(limits="neptune") as run:
        with pytest.warns(LimitWarning, match='"x"'):
            run["x"] = "y" * 20_000
        run["x"] = "z" * 20_000

        assert "z" * 16_384 == run["x"].fetch()


def test_field_can_be_copied_to_another_path_and_another_run(run: naiad.Run) -> None:
    run["a"] = 0.5
    run["b"] = run["a"]
    with naiad.init_run() as other:
        other["c"] = run["a"]
        other["d"] = {"e": run["a"], "f": 1}

        assert 0.5 == run["b"].fetch() == other["c"].fetch() == other["d/e"].fetch()


def test_copy_of_nothing_is_an_error(run: naiad.Run) -> None:
    with pytest.raises(MissingField):
        run["b"] = run["a"]


def test_field_object_has_the_verbs_of_its_kind_only(run: naiad.Run) -> None:
    run["x"] = 1
    field = run.get_attribute("x")

    assert field is not None
    assert hasattr(field, "assign")
    assert not hasattr(field, "append")
    assert not hasattr(field, "fetch_values")


@pytest.mark.parametrize("verb", ["append", "extend", "log", "add", "fetch_last", "fetch_values", "clear", "configure"])
def test_verb_of_another_kind_says_what_the_field_is(run: naiad.Run, verb: str) -> None:
    run["params/lr"] = 0.1
    arguments = [1] if verb in ("append", "extend", "log", "add") else []

    with pytest.raises(AttributeError, match=rf'"params/lr" is a Float, so {verb}\(\) cannot be used on it'):
        getattr(run["params/lr"], verb)(*arguments)

    assert 0.1 == run["params/lr"].fetch()


def test_copy_goes_where_assigning_the_field_would(run: naiad.Run) -> None:
    run["a"] = 1.5
    run["b"] = 2.5
    field: Any = run.get_attribute("a")
    field.copy("/x//y/")
    field.copy("b", wait=True)

    assert 1.5 == run["x/y"].fetch()
    assert 1.5 == run["b"].fetch()
    assert {"a", "b", "x"} == run.get_structure().keys() - {"sys"}


def test_copy_is_refused_as_assigning_the_field_would_be(run: naiad.Run) -> None:
    run["a"] = 1.5
    run["n"] = "text"
    field: Any = run.get_attribute("a")

    with pytest.raises(ProtectedPath):
        field.copy("/sys/id")
    with pytest.raises(NaiadPathError):
        field.copy("")
    with pytest.raises(FieldConflict, match='"n/x" cannot exist'):
        field.copy("n/x")
    run["i"] = 1
    with pytest.raises(NaiadValueError, match='"i"'):
        field.copy("i")
