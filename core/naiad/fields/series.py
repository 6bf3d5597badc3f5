"""The base of series: values over steps, each with a time.

Points may arrive in any order of steps; reading sorts them, equal steps in the order they came. A point logged without
a step takes the one after the last one logged here.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import TYPE_CHECKING, Any, TypeVar

from naiad import clock, coerce, progress
from naiad.coerce import with_article
from naiad.errors import (
    EmptySeries,
    FieldConflict,
    InvalidArgument,
    LimitWarning,
    MissingField,
    NaiadTypeError,
    NaiadValueError,
    StepOrderError,
    shown,
    warn_once,
)
from naiad.fields.base import Change, Field
from naiad.integers import EXACT, LARGEST, SMALLEST
from naiad.ops import Strings

if TYPE_CHECKING:
    import pandas as pd

    from naiad.store.answers import Last
    from naiad.typing import ProgressBarType

__all__ = ["Series", "as_steps", "check_lengths", "local_times"]

T = TypeVar("T")
Steps = Sequence[int | float]
WHOLE = {int}


class Series(Field):
    """Values over steps. Subclasses say what a value is and how points are written and read."""

    remedy = "Use another path, or remove the series first with run.pop({path!r})."
    reading = "Read it with fetch_last() or fetch_values()."

    def __init__(self, session: Any, path: str, *, is_new: bool = True) -> None:
        super().__init__(session, path, is_new=is_new)
        self.last: int | None = -1 if is_new else None  # step of the last point; None: not asked the store yet
        self.left_out = 0  # points refused by the order of steps
        self.newest: tuple[float, float] | None = None  # step and time that the next point must not be below

    def forget(self) -> None:
        """Begin anew: the next point without a step gets 0."""
        super().forget()
        self.last, self.newest = -1, None

    # Verbs

    def append(self, value: object, *, step: Any = None, timestamp: Any = None, wait: bool = False) -> None:
        """Add one point at the end."""
        self.write(lambda: self.adding(value, step, timestamp), wait)

    def extend(self, values: object, *, steps: object = None, timestamps: object = None, wait: bool = False) -> None:
        """Add several points, all or none.

        Raises:
            InvalidArgument: `steps` or `timestamps` has another length than `values`.
        """
        items = coerce.collection(self.path, values)
        if items:
            self.write(lambda: self.extending(items, steps, timestamps), wait)

    def log(self, value: object, *, step: Any = None, timestamp: Any = None, wait: bool = False) -> None:
        """Add one point, or several given as a collection; the old name of `append`."""
        self.write(lambda: self.logging(value, step, timestamp), wait)

    def assign(self, value: object, *, wait: bool = False) -> None:
        """Replace all points."""
        self.write(lambda: self.assigning(value), wait)

    def clear(self, *, wait: bool = False) -> None:
        """Remove all points; the series stays."""
        self.write(lambda: self.extending([], None, None, fresh=True), wait)

    def fetch_last(self) -> Any:
        """Return the value of the last point.

        Raises:
            EmptySeries: there is none.
        """
        try:
            last = self.session.reader.last(self.path, self.kind)
        except FieldConflict:
            return self.session.replacement(self).fetch_last()
        if last is None:
            raise EmptySeries(f'"{self.path}" has no points yet, so it has no last value.', path=self.path)
        return self.read(last.value)

    def fetch_values(
        self, *, include_timestamp: bool = True, progress_bar: ProgressBarType | None = None
    ) -> pd.DataFrame:
        """Return all points, ordered by step, as a DataFrame with the columns step, value and timestamp.

        Timestamps are local time without a zone, to the millisecond.

        Args:
            include_timestamp: leave the column out when False.
            progress_bar: False for none, or a class of your own.
        """
        import pandas as pd

        try:
            steps, values, times = self.columns()
        except FieldConflict:
            now = self.session.replacement(self)
            frame: pd.DataFrame = now.fetch_values(include_timestamp=include_timestamp, progress_bar=progress_bar)
            return frame
        frame = pd.DataFrame({"step": steps, "value": values})
        if include_timestamp:
            frame["timestamp"] = local_times(times)
        with progress.showing(progress_bar, "Fetching values", len(frame), unit=" points") as report:
            report(len(frame))
        return frame

    # What subclasses say

    def columns(self) -> tuple[Any, Any, Any]:
        """Return steps, values and times (milliseconds since 1970 UTC), ordered by step."""
        self.refuse("fetch_values")

    def read(self, value: Any) -> Any:
        """Return a stored value as the user gave it."""
        return value

    # Changes

    def adding(
        self, value: object, step: object, timestamp: object, name: str | None = None, description: str | None = None
    ) -> Change:
        """Check one point and return the change that adds it."""
        self._refuse_captions(name, description)
        return self.extending([value], None if step is None else [step], None if timestamp is None else [timestamp])

    def extending(
        self,
        values: Iterable[object],  # noqa: ARG002 (for subclasses)
        steps: object,  # noqa: ARG002 (for subclasses)
        timestamps: object,  # noqa: ARG002 (for subclasses)
        *,
        fresh: bool = False,  # noqa: ARG002 (for subclasses)
    ) -> Change:
        """Check points and return the change that adds them; `fresh` removes what is there."""
        self.refuse("extend")

    def logging(
        self, value: object, step: object, timestamp: object, name: str | None = None, description: str | None = None
    ) -> Change:
        """Check what was given to `log`, where a list means several points, and return the change."""
        items = coerce.collection(self.path, value)
        if not items:
            raise InvalidArgument(f'log() on "{self.path}" was given an empty collection.', path=self.path)
        if len(items) > 1 and (step is not None or timestamp is not None):
            raise InvalidArgument(
                f'log() on "{self.path}" was given {len(items)} values and one step or timestamp.\n'
                "Use extend(values, steps=..., timestamps=...).",
                path=self.path,
            )
        if len(items) == 1:
            return self.adding(items[0], step, timestamp, name, description)
        self._refuse_captions(name, description)
        return self.extending(items, None, None)

    def _refuse_captions(self, name: str | None, description: str | None) -> None:
        """Say that only files have a name and a description; the value itself is stored."""
        if name is not None or description is not None:
            warn_once(
                (self.session.key, self.path, "captions"),
                f'"{self.path}" keeps no name= and description=, because only files have them.',
            )

    def require_many(self, value: object) -> None:
        """Refuse a single value: `=` would replace the whole series by it, which nobody means."""
        if isinstance(value, str | bytes) or not isinstance(value, Iterable):
            raise NaiadTypeError(
                f'"{self.path}" is {with_article(self)}, so {shown(value)} cannot be assigned to it.\n'
                f"Add it with append(), or assign a list to replace all points.",
                path=self.path,
                value=value,
            )

    def times(self, timestamps: object, count: int) -> Sequence[float]:
        """Check and return the time of each point; all get the time of the call where none are given."""
        if timestamps is None:
            return list(repeat(clock.now(), count))
        given = coerce.collection(self.path, timestamps)
        check_lengths(self.path, count, timestamps=len(given))
        return [coerce.timestamp(self.path, each) for each in given]

    def steps(self, steps: object, count: int) -> Steps | None:
        """Check and return the step of each point, or None where they shall be numbered."""
        if steps is None:
            return None
        given = coerce.collection(self.path, steps)
        check_lengths(self.path, count, steps=len(given))
        if set(map(type, given)) <= WHOLE and all(SMALLEST <= each <= LARGEST for each in given):
            return given  # the usual case, looked at as a whole
        return [coerce.step(self.path, each) for each in given]

    def take_steps(self, count: int) -> range:
        """Return the next steps; no other thread gets them too, whether it holds the lock or not."""
        if self.last is None:
            self.last = self._stored_last()
        if self.last + count > LARGEST:
            raise NaiadValueError(
                f'"{self.path}" has reached the largest step, {LARGEST}, so there is no next one.\nGive a step.',
                path=self.path,
            )
        self.last = end = self.last + count  # nothing is called in between, so that this line is atomic
        return range(end - count + 1, end + 1)

    def strings(
        self, texts: Sequence[Any], places: Steps | None, times: Sequence[float], at: float, *, fresh: bool
    ) -> Strings:
        """Return the op that adds entries, those that Neptune would keep where its limits hold."""
        if fresh:
            self.last, self.newest = -1, None
        taken = self.take_steps(len(texts)) if places is None else places
        kept = self.in_order(taken, times) if self.session.has_limits else range(len(texts))
        if texts and places is not None:
            self.last = math.floor(places[-1])
        if kept:
            self.newest = (taken[kept[-1]], times[kept[-1]])
        columns = [texts[i] for i in kept], [taken[i] for i in kept], [times[i] for i in kept]
        return Strings(self.path, *columns, fresh, at, self.kind)

    def in_order(self, steps: Steps, times: Sequence[float]) -> list[int]:
        """Return the places of points that Neptune would keep: steps above the one before, times not below it.

        Raises:
            StepOrderError: one of them would not be kept, and the run is in sync mode.
        """
        newest = self.newest or self._stored_newest()
        kept = []
        for place, point in enumerate(zip(steps, times, strict=True)):
            if point[0] > newest[0] and point[1] >= newest[1]:
                newest = point
                kept.append(place)
            elif self.session.is_sync:
                raise StepOrderError(_out_of_order(self.path, point[0], newest[0]), path=self.path, step=point[0])
            else:
                self.left_out += 1
                message = _out_of_order(self.path, point[0], newest[0]) + "\nSuch points are left out."
                warn_once((self.session.key, self.path, "order"), message, LimitWarning)
        return kept

    def _stored_last(self) -> int:
        last = self._last_point()
        return -1 if last is None else math.floor(last.step)

    def _last_point(self) -> Last | None:
        try:
            return self.session.reader.last(self.path, self.kind)
        except (MissingField, FieldConflict):  # another process has removed the series; this one goes on with a new one
            return None

    def _stored_newest(self) -> tuple[float, float]:
        last = None if self.is_new else self._last_point()
        return (-math.inf, -math.inf) if last is None else (last.step, last.time / 1000)


def check_lengths(path: str, count: int, **lengths: int) -> None:
    """Raise InvalidArgument if there are not as many steps or timestamps as values."""
    for name, length in lengths.items():
        if length != count:
            raise InvalidArgument(
                f'"{path}" was given {count} values and {length} {name}.\nGive one of the {name} for each value.',
                path=path,
            )


def local_times(milliseconds: Any) -> Any:
    """Return times as NumPy datetimes of the local zone; its offset is looked up once for each quarter of an hour."""
    import numpy as np

    times = np.asarray(milliseconds, dtype="int64")
    quarters, places = np.unique(times // 900_000, return_inverse=True)
    offsets = np.array([time.localtime(int(quarter) * 900).tm_gmtoff for quarter in quarters], dtype="int64")
    local = times + offsets[places] * 1000 if len(times) else times
    return local.astype("datetime64[ms]")


def _out_of_order(path: str, step: float, newest: float) -> str:
    return (
        f'Step {step} of "{path}" is not above {newest}, or its time goes back, '
        'and limits="neptune" asks for both to grow.'
    )


def as_steps(steps: Sequence[int | float]) -> Any:
    """Return steps as floats, like those of numbers, unless one of them is a whole number that no float can hold."""
    import numpy as np

    exact = any(type(step) is int and abs(step) > EXACT for step in steps)
    return np.array(steps, dtype=None if exact else "float64")
