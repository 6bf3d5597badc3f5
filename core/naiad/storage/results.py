"""Results of reading a run: plain data that crosses the storage interface."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from msgspec import Struct

if TYPE_CHECKING:
    import numpy as np  # only arrays of the results are typed by it, and importing it takes longer than opening a run
    import numpy.typing as npt

    Ints = npt.NDArray[np.int64]
    Reals = npt.NDArray[np.float64]


class Damage(Struct, frozen=True):
    """Damage of stored data: its place, a description, and the path of the field if that is known."""

    file: str
    what: str
    path: str | None = None
    offset: int | None = None
    numbers: tuple[int, int] | None = None
    """Of damage in a segment: the lowest and the highest field number that it can concern; None: any."""

    def __str__(self) -> str:
        where = self.file if self.offset is None else f"{self.file} at byte {self.offset}"
        field = "" if self.path is None else f' (field "{self.path}")'
        return f"{where}: {self.what}{field}"


class PointColumns(NamedTuple):
    """Points of one float series: three sequences of one length, checked."""

    values: Sequence[float]
    steps: Sequence[int | float]
    times: Sequence[float]


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


class PointPage(NamedTuple):
    """Some points of a float series, which has `total` of them; `start` is the number of the first, from 0."""

    total: int
    start: int
    points: Points

    @classmethod
    def of(cls, points: Points, start: int, limit: int) -> PointPage:
        """Return a page of points that are all there; a negative `start` counts from the end."""
        total = len(points.values)
        first = max(0, total + start) if start < 0 else min(start, total)
        rows = slice(first, first + limit)
        return cls(total, first, Points(points.steps[rows], points.values[rows], points.times[rows]))


class TextPage(NamedTuple):
    """Some entries of a series of texts, which has `total` of them; `start` is the number of the first, from 0."""

    total: int
    start: int
    steps: list[int | float]
    texts: list[str]
    times: list[int]

    @classmethod
    def of(cls, texts: Texts, start: int, limit: int) -> TextPage:
        """Return a page of entries that are all there; a negative `start` counts from the end."""
        total = len(texts.texts)
        first = max(0, total + start) if start < 0 else min(start, total)
        rows = slice(first, first + limit)
        return cls(total, first, texts.steps[rows], texts.texts[rows], texts.times[rows])


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


class Shadowed(NamedTuple):
    """A field that is stored but not shown, because another process defined `by` first."""

    path: str
    kind: str
    by: str
    by_kind: str

    def __str__(self) -> str:
        return f'two processes defined "{self.by}" ({self.by_kind}) and then "{self.path}" ({self.kind})'


class Joining(NamedTuple):
    """The place among the writers of a run of one that comes now."""

    session: int
    """The number of the present session, or of the next one if no writer is left."""
    at: float
    """The time of the latest op, which those that follow must not be older than."""


FIRST = Joining(1, 0.0)
"""The place of the first writer of a run."""
