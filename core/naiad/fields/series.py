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

from naiad import clock, convert, progress
from naiad.convert import with_article
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
from naiad.fields.base import Field
from naiad.integers import EXACT, LARGEST, SMALLEST
from naiad.ops import Strings, Text
from naiad.storage.base import Change, RunWriter
from naiad.storage.results import Last
from naiad.types import StringifyValue
from naiad.typing import ProgressBarType

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")
Steps = Sequence[int | float]
WHOLE = {int}
QUARTER = 900_000
"""Milliseconds of a quarter of an hour."""
FEW_QUARTERS = 1_000
"""Up to so many, the offset of each is looked up, whether or not a point lies there: sorting takes longer."""
BLOCK = 1 << 18
"""Times that are converted together: few enough that what is made beside them stays small."""


class Series(Field):
    """Values over steps. Subclasses define the type of value, and how points are written and read."""

    remedy = "Use another path, or remove the series first with run.pop({path!r})."
    reading = "Read it with fetch_last() or fetch_values()."

    last: int | None = None
    """Step of the last point; None if it is not known yet."""
    newest: tuple[float, float] | None = None
    """Step and time that the next point must not be below, with `limits="neptune"`."""
    left_out = 0
    """Points refused by the order of steps."""
    _refused: tuple[float, float] | None = None
    """Of the first point that was refused while planning: its step, and the one that it is not above."""

    def forget(self) -> None:
        """Begin anew: the next point without a step gets 0."""
        super().forget()
        self.last, self.newest = -1, None

    # Verbs

    def append(self, value: object, *, step: Any = None, timestamp: Any = None, wait: bool = False) -> None:
        """Add one point at the end."""
        self.write(wait, self.plan_append, value, step, timestamp)

    def extend(
        self, values: object, steps: object = None, timestamps: object = None, wait: bool = False, **captions: Any
    ) -> None:
        """Add several points, all or none; files may have a `name` and a `description` in common.

        Raises:
            InvalidArgument: `steps` or `timestamps` has another length than `values`.
        """
        items = convert.collection(self.path, values)
        if items:
            self.write(wait, self.plan_captioned, items, steps, timestamps, **captions)

    def log(self, value: object, step: Any = None, timestamp: Any = None, wait: bool = False, **captions: Any) -> None:
        """Add one point, or several given as a collection; the old name of `append`."""
        self.write(wait, self.plan_log, value, step, timestamp, **captions)

    def assign(self, value: object, wait: bool = False) -> None:
        """Replace all points."""
        self.write(wait, self.plan_assign, value)

    def clear(self, *, wait: bool = False) -> None:
        """Remove all points; the series stays."""
        self.write(wait, self.plan_extend, [], None, None, fresh=True)

    def truncate(self, step: float, *, wait: bool = False) -> None:
        """Hide the points above a step; see `Handler.truncate`."""
        self.session.rewind(self.path, step, wait=wait)

    def rewound(self) -> None:
        """Forget the last step: the next point follows those that are still shown."""
        last = self._last_point()
        self.last, self.newest = -1 if last is None else math.floor(last.step), None

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
        self,
        *,
        include_timestamp: bool = True,
        progress_bar: ProgressBarType | None = None,
        include_rewound: bool = False,
    ) -> pd.DataFrame:
        """Return all points, ordered by step, as a DataFrame with the columns step, value and timestamp.

        Timestamps are local time without a zone, to the millisecond.

        Args:
            include_timestamp: leave the column out when False.
            progress_bar: False for none, or a class of your own.
            include_rewound: also the points that a rewind hides.
        """
        import pandas as pd

        try:
            steps, values, times = self.columns(include_rewound)
        except FieldConflict:
            now = self.session.replacement(self)
            frame: pd.DataFrame = now.fetch_values(
                include_timestamp=include_timestamp, progress_bar=progress_bar, include_rewound=include_rewound
            )
            return frame
        # The arrays were made for this call, so neither the zone's offset nor the frame copies them.
        columns = {"step": steps, "value": values, **({"timestamp": local_times(times)} if include_timestamp else {})}
        try:
            frame = pd.DataFrame(columns, copy=False)  # the arrays are this frame's alone
        except UnicodeEncodeError:  # Arrow, if pandas keeps its texts there, takes no half surrogate pairs
            frame = pd.DataFrame({**columns, "value": pd.Series(values, dtype=object)}, copy=False)
        with progress.showing(progress_bar, "Fetching values", len(frame), unit=" points") as report:
            report(len(frame))
        return frame

    # What subclasses say

    def columns(self, include_rewound: bool = False) -> tuple[Any, Any, Any]:  # noqa: ARG002 (for subclasses)
        """Return steps, values and times (milliseconds since 1970 UTC), ordered by step."""
        self.refuse("fetch_values")

    def read(self, value: Any) -> Any:
        """Return a stored value as the user gave it."""
        return value

    # Changes

    def plan_append(
        self, value: object, step: object, timestamp: object, name: str | None = None, description: str | None = None
    ) -> Change:
        """Check one point and return the change that adds it."""
        self._refuse_captions(name, description)
        return self.plan_extend([value], None if step is None else [step], None if timestamp is None else [timestamp])

    def plan_extend(
        self,
        values: Iterable[object],  # noqa: ARG002 (for subclasses)
        steps: object,  # noqa: ARG002 (for subclasses)
        timestamps: object,  # noqa: ARG002 (for subclasses)
        *,
        fresh: bool = False,  # noqa: ARG002 (for subclasses)
    ) -> Change:
        """Check points and return the change that adds them; `fresh` removes older ones."""
        self.refuse("extend")

    def plan_log(
        self, value: object, step: object, timestamp: object, name: str | None = None, description: str | None = None
    ) -> Change:
        """Check the argument of `log`, where a list means several points, and return the change."""
        items = convert.collection(self.path, value)
        if not items:
            raise InvalidArgument(f'log() on "{self.path}" was given an empty collection.', path=self.path)
        # One step for several points would put all of them at one place, which nobody means.
        if len(items) > 1 and (step is not None or timestamp is not None):
            raise InvalidArgument(
                f'log() on "{self.path}" was given {len(items)} values and one step or timestamp.\n'
                "Use extend(values, steps=..., timestamps=...).",
                path=self.path,
            )
        if len(items) == 1:
            return self.plan_append(items[0], step, timestamp, name, description)
        return self.plan_captioned(items, None, None, name, description)

    def plan_captioned(
        self,
        values: Iterable[object],
        steps: object,
        timestamps: object,
        name: str | None = None,
        description: str | None = None,
    ) -> Change:
        """Check points that have a name and a description in common, which only files keep; return the change."""
        self._refuse_captions(name, description)
        return self.plan_extend(values, steps, timestamps)

    def _refuse_captions(self, name: str | None, description: str | None) -> None:
        """Warn that only files have a name and a description; the value itself is stored."""
        if name is not None or description is not None:
            warn_once(
                (self.session.key, self.path, "captions"),
                f'"{self.path}" does not store name= and description=, because only files have them.',
            )

    def require_many(self, value: object) -> None:
        """Raise for a single value, because `=` would replace the whole series by it."""
        given = value.value if isinstance(value, StringifyValue) else value
        if isinstance(given, str | bytes) or not isinstance(given, Iterable):
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
        given = convert.collection(self.path, timestamps)
        check_lengths(self.path, count, timestamps=len(given))
        return [convert.timestamp(self.path, each) for each in given]

    def step(self, step: object) -> int | float:
        """Check and return the step of one point."""
        return step if type(step) is int and SMALLEST <= step <= LARGEST else convert.step(self.path, step)

    def steps(self, steps: object, count: int) -> Steps | None:
        """Check and return the step of each point, or None where they shall be numbered."""
        if steps is None:
            return None
        given = convert.collection(self.path, steps)
        check_lengths(self.path, count, steps=len(given))
        if set(map(type, given)) <= WHOLE and all(SMALLEST <= each <= LARGEST for each in given):
            return given  # the usual case, looked at as a whole
        return [convert.step(self.path, each) for each in given]

    def find_last_step(self) -> None:
        """Look up the last stored step, unless it is known."""
        if self.last is None:
            self.last = self._stored_last()

    def take_steps(self, count: int) -> range:
        """Return the next steps; no other thread gets them too, whether it holds the lock or not."""
        # Looked up late: reading the last stored step opens the index, which a run that always gives steps never
        # needs.
        if self.last is None:
            self.last = -1 if self.is_new else self._stored_last()
        if self.last + count > LARGEST:
            raise NaiadValueError(
                f'"{self.path}" has reached the largest step, {LARGEST}, so there is no next step.\nGive a step.',
                path=self.path,
            )
        self.last = end = self.last + count  # nothing is called in between, so that this line is atomic
        return range(end - count + 1, end + 1)

    def place(
        self, values: Sequence[T], steps: Steps | None, times: Sequence[float], *, fresh: bool = False
    ) -> tuple[Sequence[T], Steps, Sequence[float]]:
        """Return the columns of points that are to be written, with a step for each; the next ones follow them.

        Everything else is checked before, because only `reset` gives the steps back. With `limits="neptune"` points
        are left out that Neptune would not keep.
        """
        if self.session.is_read_only:
            return values, steps or range(len(values)), times  # nothing will be written
        before = self.last, self.newest, self.left_out
        if fresh:
            self.last, self.newest = -1, None
        if steps is None:
            steps = self.take_steps(len(values))
        # The last in order of the call, not the largest: after a step back, counting goes on from there.
        elif steps:
            self.last = math.floor(steps[-1])
        if not self.session.has_limits:
            return values, steps, times
        try:
            kept = self.in_order(steps, times)
        except StepOrderError:
            self.reset(before)
            raise
        if kept:
            self.newest = (steps[kept[-1]], times[kept[-1]])
        return [values[i] for i in kept], [steps[i] for i in kept], [times[i] for i in kept]

    def plan_strings(
        self,
        texts: Sequence[Text],
        steps: Steps | None,
        times: Sequence[float],
        *,
        fresh: bool,
        content: Iterable[str] = (),
    ) -> Change:
        """Return the change that adds entries."""
        taken, places, moments = self.place(texts, steps, times, fresh=fresh)
        op = Strings(self.path, list(taken), list(places), list(moments), fresh, kind=self.kind)
        return self.change(op, content=content)

    def mark(self) -> object:
        """Return the state that a plan moves: last step, newest point, number of points left out."""
        return self.last, self.newest, self.left_out

    def reset(self, mark: Any) -> None:
        """Give back the steps that a plan took, because its change is not written."""
        self.last, self.newest, self.left_out = mark
        self._refused = None

    def applied(self, change: Change, writer: RunWriter) -> None:  # noqa: ARG002 (for the kinds that remember more)
        """Warn of points that were left out."""
        if self._refused is not None:
            message = _out_of_order(self.path, *self._refused) + "\nSuch points are left out."
            self._refused = None
            warn_once((self.session.key, self.path, "order"), message, LimitWarning)

    def in_order(self, steps: Steps, times: Sequence[float]) -> list[int]:
        """Return the places of points that Neptune would keep: steps above the one before, times not below it.

        Raises:
            StepOrderError: one of them would not be kept, and the run is in sync mode.
        """
        # Of a resumed run the newest point is in the store. It is read once, and only if the limits of Neptune are
        # wanted.
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
                self._refused = self._refused or (point[0], newest[0])
        return kept

    def _stored_last(self) -> int:
        last = self._last_point()
        return -1 if last is None else math.floor(last.step)

    def _last_point(self) -> Last | None:
        try:
            return self.session.look(lambda reader: reader.last(self.path, self.kind))
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
    """Turn times into NumPy datetimes of the local zone, an array of int64 in its place.

    The offset of the zone is looked up once for each quarter of an hour, of which offsets are multiples.
    """
    import numpy as np

    # In blocks, so that the temporary arrays stay in the processor's cache and memory does not double for long
    # series.
    local = np.asarray(milliseconds, dtype="int64")
    for start in range(0, len(local), BLOCK):
        block = local[start : start + BLOCK]
        first, last = int(block.min()) // QUARTER, int(block.max()) // QUARTER
        # A week has 672 quarters: all of them are looked up. Times that are years apart would make a range of
        # millions, so there only those that occur are.
        is_short = last - first <= FEW_QUARTERS
        quarters = np.arange(first, last + 1) if is_short else np.unique(block // QUARTER)
        offsets = np.array([time.localtime(at * QUARTER // 1000).tm_gmtoff * 1000 for at in quarters.tolist()])
        is_same = bool((offsets == offsets[0]).all())
        block += offsets[0] if is_same else offsets[np.searchsorted(quarters, block // QUARTER)]
    return local.view("datetime64[ms]")


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
