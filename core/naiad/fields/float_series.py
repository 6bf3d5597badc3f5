"""Numbers over steps: the curves of a training."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

from naiad import clock, coerce, html
from naiad.fields.base import Change
from naiad.fields.series import Series, Steps
from naiad.ops import Configure, Define, Op
from naiad.types import FloatSeries as FloatSeriesValue

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from naiad.store.journal import Journal

__all__ = ["FloatSeries"]

PLAIN = {float}

MOST_DRAWN = 240


class FloatSeries(Series):
    """Numbers over steps, each with a time. NaN and the infinities are kept; they are left out of minimum and mean.

    Points travel as records that carry a number instead of the path. The number, `fid`, is bound to the path by this
    process's first point; with it, `Handler.append` packs further points into the journal itself.
    """

    kind = "float_series"

    def __init__(self, session: Any, path: str, *, is_new: bool = True) -> None:
        super().__init__(session, path, is_new=is_new)
        self.fid = 0  # 0: not bound
        self._number = 0  # what fid will be once the op that says so is written
        self.journal: Journal | None = None
        self._axis: tuple[float | None, float | None, str | None] | None = None if not is_new else (None, None, None)

    @property
    def is_hot(self) -> bool:
        """Whether points may be packed without asking: bound, and no rule of the run looks at each point."""
        return bool(self.fid) and not (self.session.is_sync or self.session.has_limits)

    def forget(self) -> None:
        """Let go of the number: records that carry it belong to what was removed."""
        super().forget()
        self.fid = 0
        self._axis = (None, None, None)

    def configure(
        self,
        *,
        min: float | None = None,
        max: float | None = None,
        unit: str | None = None,
        wait: bool = False,
    ) -> None:
        """Describe the axis of a chart; the points are not limited by it."""
        self.write(lambda: self.configuring(min, max, unit), wait)

    def fetch_config(self) -> tuple[float | None, float | None, str | None]:
        """Return minimum, maximum and unit as given to `configure`."""
        low, high, unit = self.session.reader.config(self.path)
        return low, high, unit

    def put(self, value: object, step: object, timestamp: object, *, is_taken: bool = False) -> None:
        """Add one point while `is_hot`: what `append` does, without what need not be asked then.

        A step that `is_taken` was the next one, and others may have taken later ones since.
        """
        number = coerce.number(self.path, value)
        time = clock.now() if timestamp is None else coerce.timestamp(self.path, timestamp)
        if step is None:
            place: int | float = self.take_steps(1)[0]
        else:
            place = coerce.step(self.path, step)
            if not is_taken:
                self.last = math.floor(place)
        self.session.writer.points(self.fid, (number,), (place,), (time,))

    def adding(
        self, value: object, step: object, timestamp: object, name: str | None = None, description: str | None = None
    ) -> Change:
        """Check one point and return the change that adds it."""
        if self.session.has_limits or name is not None or description is not None:
            return super().adding(value, step, timestamp, name, description)
        numbers = (coerce.number(self.path, value),)
        places = None if step is None else (coerce.step(self.path, step),)
        times = (clock.now() if timestamp is None else coerce.timestamp(self.path, timestamp),)
        return Change(self, self._binding, partial(self._write, numbers, places, times))

    def drawn(self) -> list[str]:
        """Return a chart, and the numbers of it."""
        reader = self.session.reader
        found, last = reader.chart(self.path, MOST_DRAWN), reader.last(self.path, self.kind)
        if last is None:
            return ["no points"]
        is_finite = found.finite > 0
        places, lows, highs = (each[is_finite].tolist() for each in (found.steps, found.minimum, found.maximum))
        facts = [("points", reader.count(self.path)), ("last", last.value), ("at step", last.step)]
        if lows:
            facts += [("minimum", min(lows)), ("maximum", max(highs))]
        return [html.chart(places, lows, highs), html.grid((), facts)]

    def columns(self) -> tuple[Any, Any, Any]:
        """Return steps, values and times as arrays."""
        points = self.session.reader.points(self.path)
        return points.steps, points.values, points.times

    def content(self) -> FloatSeriesValue:
        """Return all points and the axis, for a copy of the series."""
        steps, values, times = self.columns()
        low, high, unit = self.fetch_config()
        return FloatSeriesValue(
            values.tolist(), low, high, unit, [time / 1000 for time in times.tolist()], steps.tolist()
        )

    def assigning(self, value: object) -> Change:
        """Check points that shall replace all others, and return the change."""
        if not isinstance(value, FloatSeriesValue):
            self.require_many(value)
            return self.extending(coerce.collection(self.path, value), None, None, fresh=True)
        axis = self._checked_axis(value.min, value.max, value.unit)
        return self.extending(value.values, value.steps, value.timestamps, fresh=True, axis=axis)

    def configuring(self, low: object, high: object, unit: object) -> Change:
        """Check the axis and return the change that stores it."""
        axis = self._checked_axis(low, high, unit)
        return Change(self, ops=lambda at: [Configure(self.path, *axis, at)], then=lambda: setattr(self, "_axis", axis))

    def extending(
        self,
        values: Iterable[object],
        steps: object,
        timestamps: object,
        *,
        fresh: bool = False,
        axis: tuple[float | None, float | None, str | None] | None = None,
    ) -> Change:
        """Check points and return the change that adds them; `fresh` removes what is there."""
        numbers = self._numbers(values)
        places = self.steps(steps, len(numbers))
        times = self.times(timestamps, len(numbers))
        if fresh:
            return Change(self, then=lambda: self._replace(numbers, places, times, axis or self._kept_axis()))
        if self.session.has_limits:
            return self._limited(numbers, places, times)
        return Change(self, ops=self._binding, then=lambda: self._write(numbers, places, times))

    def _numbers(self, values: Iterable[object]) -> Sequence[float]:
        if isinstance(values, list) and set(map(type, values)) <= PLAIN:
            return values
        return [coerce.number(self.path, value) for value in values]

    def _limited(self, numbers: Sequence[float], steps: Steps | None, times: Sequence[float]) -> Change:
        places: Steps = ()
        kept: list[int] = []

        def choose(at: float) -> list[Op]:  # not before: the call may still be refused
            nonlocal places, kept
            places = steps if steps is not None else self.take_steps(len(numbers))
            kept = self.in_order(places, times)
            return self._binding(at)

        def write() -> None:
            self._write([numbers[i] for i in kept], [places[i] for i in kept], [times[i] for i in kept])
            if kept:
                self.newest = (places[kept[-1]], times[kept[-1]])

        return Change(self, ops=choose, then=write)

    def _write(self, numbers: Sequence[float], steps: Steps | None, times: Sequence[float]) -> None:
        if not self.fid:
            self.fid, self.journal = self._number, self.session.writer.journal
        if not numbers:
            return
        if steps is None:
            steps = self.take_steps(len(numbers))
        else:
            self.last = math.floor(steps[-1])
        self.session.writer.points(self.fid, numbers, steps, times)

    def _replace(
        self,
        numbers: Sequence[float],
        steps: Steps | None,
        times: Sequence[float],
        axis: tuple[float | None, float | None, str | None],
    ) -> None:
        self.last, self.newest = -1, None
        self._bind(fresh=True)
        self._axis = axis
        if any(part is not None for part in axis):
            self.session.writer.log([Configure(self.path, *axis, self.session.writer.now())])
        self._write(numbers, steps, times)

    def _binding(self, at: float) -> list[Op]:
        """The op that binds the series, if it is not yet; one frame has those of all series of a call."""
        if self.fid:
            return []
        self._number = self.session.writer.journal.next_number()
        return [Define(self._number, self.path, False, at)]

    def _bind(self, *, fresh: bool) -> None:
        self.journal = self.session.writer.journal
        self.fid = self.session.writer.bind(self.path, fresh=fresh)

    def _kept_axis(self) -> tuple[float | None, float | None, str | None]:
        if self._axis is None:
            self._axis = self.fetch_config()
        return self._axis

    def _checked_axis(self, low: object, high: object, unit: object) -> tuple[float | None, float | None, str | None]:
        return (
            None if low is None else coerce.number(self.path, low),
            None if high is None else coerce.number(self.path, high),
            None if unit is None else coerce.text(self.path, unit),
        )
