"""What a reader answers: plain data, with times in milliseconds since 1970 UTC."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from naiad.storage.local.index.points import Ints, Reals


class Points(NamedTuple):
    """A float series by step, equal steps in order of arrival; times are milliseconds since 1970 UTC.

    Steps are float64, or int64 where some step is an integer that float64 cannot hold.
    """

    steps: Reals | Ints
    values: Reals
    times: Ints


class Texts(NamedTuple):
    """A string series by step, equal steps in order of arrival; times are milliseconds since 1970 UTC."""

    steps: list[int | float]
    texts: list[str]
    times: list[int]


class Last(NamedTuple):
    """The point with the largest step, of equal ones the one that arrived last."""

    step: int | float
    value: float | str
    time: int


class Chart(NamedTuple):
    """Stretches of equally many points: the first step of each, and extremes, mean and number of its finite values."""

    steps: Reals
    minimum: Reals
    maximum: Reals
    mean: Reals
    finite: Ints
