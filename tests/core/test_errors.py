"""Errors: what a careful user catches, what they carry, and how values look in their messages."""

from __future__ import annotations

import pickle
import time
import warnings
from collections.abc import Iterator

import pytest

from naiad import errors, exceptions
from naiad.errors import (
    LimitWarning,
    MissingField,
    NaiadError,
    NaiadWarning,
    StorageError,
    StorageWarning,
    forget_warnings,
    shown,
    warn_once,
)

CLASSES = [
    found
    for found in vars(errors).values()
    if isinstance(found, type) and issubclass(found, NaiadError) and found is not NaiadError
]


@pytest.fixture(autouse=True)
def _unwarned() -> Iterator[None]:
    forget_warnings()
    yield
    forget_warnings()


@pytest.mark.parametrize("error", CLASSES)
def test_every_error_is_also_a_builtin_one(error: type[NaiadError]) -> None:
    builtins = [base for base in error.__mro__ if base.__module__ == "builtins"]

    assert {Exception, BaseException, object} < set(builtins)


@pytest.mark.parametrize("error", CLASSES)
def test_message_is_printed_as_it_was_written(error: type[NaiadError]) -> None:
    assert 'no "quotes" around' == str(error('no "quotes" around'))


@pytest.mark.parametrize("error", CLASSES)
def test_facts_cross_to_another_process(error: type[NaiadError]) -> None:
    copy = pickle.loads(pickle.dumps(error("gone", path="a/b", errno=28)))

    assert (error, "gone", "a/b", 28) == (type(copy), str(copy), copy.path, copy.errno)


@pytest.mark.parametrize("error", CLASSES)
def test_docstring_draws_every_class(error: type[NaiadError]) -> None:
    assert error.__name__ in str(errors.__doc__)


@pytest.mark.parametrize("builtin", [AttributeError, KeyError])
def test_missing_field_is_caught_as_either_lookup_error(builtin: type[Exception]) -> None:
    with pytest.raises(builtin):
        raise MissingField("nothing there", path="a")


def test_storage_error_tells_the_errno() -> None:
    error = StorageError("The disk is full.", errno=28, filename="/runs/1")

    assert (28, "/runs/1") == (error.errno, error.filename)


@pytest.mark.parametrize("name", exceptions.__all__)
def test_neptune_names_are_our_classes(name: str) -> None:
    assert issubclass(getattr(exceptions, name), NaiadError)


def test_warning_is_given_once_for_each_key_and_category() -> None:
    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        for _ in range(3):
            warn_once("a", "about a", LimitWarning)
            warn_once("b", "about b", LimitWarning)
            warn_once("a", "disk", StorageWarning)

    assert ["about a", "about b", "disk"] == [str(warning.message) for warning in given]


def test_flood_of_warnings_in_one_category_leaves_the_others_heard() -> None:
    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        for number in range(errors.MOST_WARNINGS + 50):
            warn_once(number, "again", LimitWarning)
        warn_once("disk", "disk", StorageWarning)

    assert errors.MOST_WARNINGS + 1 == len(given)


def test_warning_points_at_the_line_of_the_user() -> None:
    with pytest.warns(NaiadWarning) as given:
        warn_once("here", "look here")

    assert __file__ == given[0].filename


def test_every_warning_is_a_user_warning() -> None:
    found = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, Warning)]

    assert all(issubclass(each, UserWarning) for each in found)


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    "value",
    [
        "x" * 10**7,
        b"x" * 10**7,
        bytearray(10**7),
        10**10_000,
        list(range(10**6)),
        {"a": {"b": {"c": ["x" * 1000] * 1000}}},
        "two\nlines",
        Unprintable(),
    ],
    ids=lambda value: type(value).__name__,
)
def test_shown_values_are_short_and_quick(value: object) -> None:
    start = time.thread_time()
    text = shown(value)
    took = time.thread_time() - start

    assert len(text) <= 90
    assert "\n" not in text
    assert took < 0.05


def test_shown_value_of_many_lines_fits_on_one() -> None:
    pd = pytest.importorskip("pandas", reason="a table prints on many lines")

    assert "\n" not in shown(pd.DataFrame({"a": range(100)}))


def test_short_values_are_shown_whole() -> None:
    assert ["'a'", "1.5", "None", "[1, 2]"] == [shown(value) for value in ("a", 1.5, None, [1, 2])]
