"""Numbers over steps: the curves of a training."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from naiad import clock, convert, html
from naiad.errors import FieldConflict, InvalidArgument, MissingField, shown
from naiad.fields.series import Series
from naiad.ops import Configure, Define
from naiad.slots import PointLog
from naiad.storage.base import Change, RunWriter
from naiad.storage.results import PointColumns
from naiad.types import FloatSeries as FloatSeriesValue

if TYPE_CHECKING:
    import pandas as pd

Axis: TypeAlias = tuple[float | None, float | None, str | None]
"""Minimum, maximum and unit."""

PLAIN = {float}
NO_AXIS: Axis = (None, None, None)
MOST_DRAWN = 240
MOST_BUCKETS = 100_000


class FloatSeries(Series):
    """Numbers over steps, each with a time. NaN and the infinities are kept; they are left out of minimum and mean.

    Points travel as records that carry a number instead of the path. The number, `fid`, is bound to the path by this
    process's first point; with it, `Handler.append` packs further points into the journal itself.
    """

    kind = FloatSeriesValue.kind
    fid = 0
    """The number; 0 if the series is not bound."""
    point_log: PointLog | None = None
    """Of a bound series: where `Handler.append` packs its points."""
    is_hot = False
    """Whether points may be packed without asking: bound, and no rule of the run looks at each point."""
    _axis: Axis | None = None

    def forget(self) -> None:
        """Drop the number of the series, whose records belong to removed content."""
        super().forget()
        # 0 sends the next append of every handler that still holds this object to the slow path, where it is looked
        # up anew.
        self.fid, self.is_hot = 0, False
        self._axis = NO_AXIS

    def configure(
        self,
        min: float | None = None,
        max: float | None = None,
        unit: str | None = None,
        wait: bool = False,
    ) -> None:
        """Describe the axis of a chart; the points are not limited by it."""
        self.write(wait, self.plan_configure, min, max, unit)

    def fetch_config(self) -> Axis:
        """Return minimum, maximum and unit as given to `configure`."""
        low, high, unit = self.session.reader.config(self.path)
        return low, high, unit

    def fetch_chart(self, *, buckets: int = 1000, smooth: float = 0.0) -> pd.DataFrame:
        """Return the curve in at most about `buckets` stretches, whose extremes keep every spike.

        Args:
            buckets: about how many rows; fewer points make a row each.
            smooth: from 0 to below 1, the weight of what came before; adds the column smooth, the moving average.

        Raises:
            InvalidArgument: one of the two is out of range.
        """
        if type(buckets) is not int or not 1 <= buckets <= MOST_BUCKETS:
            raise InvalidArgument(
                f"buckets= must be an int from 1 to {MOST_BUCKETS:,}.",
                argument="buckets",
            )
        weight = convert.number(self.path, smooth)
        if not 0 <= weight < 1:
            raise InvalidArgument(
                f"smooth= must be a number from 0 (not smoothed) to below 1, not {shown(smooth)}.", argument="smooth"
            )
        import pandas as pd

        try:
            found = self.session.reader.chart(self.path, buckets)
        except FieldConflict:
            frame: pd.DataFrame = self.session.replacement(self).fetch_chart(buckets=buckets, smooth=smooth)
            return frame
        columns = {
            "step": found.steps, "min": found.minimum, "max": found.maximum, "mean": found.mean, "count": found.finite
        }  # fmt: skip
        if weight:
            columns["smooth"] = self._smoothed(found.steps, weight)
        return pd.DataFrame(columns, copy=False)

    def _smoothed(self, starts: Any, weight: float) -> Any:
        """The moving average over all points, and of it the mean of each stretch."""
        import numpy as np

        from naiad.smoothing import averaged

        steps, values, _times = self.columns()
        if not len(starts):
            return np.empty(0)
        # `reduceat` sums from each first index to the next one, so the stretches of the chart are found by their
        # first steps. Sums of infinite values may be NaN, which is no reason for a warning.
        firsts = np.searchsorted(steps, starts)
        counts = np.maximum(np.diff(firsts, append=len(steps)), 1)
        with np.errstate(over="ignore", invalid="ignore"):
            return np.add.reduceat(averaged(values, weight), firsts) / counts

    def put(self, value: object, step: object, timestamp: object, *, is_taken: bool = False) -> None:
        """Add one point while `is_hot`, without the checks that are settled then.

        A step that `is_taken` was the next one, and others may have taken later ones since.
        """
        number = convert.number(self.path, value)
        time = clock.now() if timestamp is None else convert.timestamp(self.path, timestamp)
        if step is None:
            place: int | float = self.take_steps(1)[0]
        else:
            place = convert.step(self.path, step)
            if not is_taken:
                self.last = math.floor(place)
        self.session.writer.points(self.fid, (number,), (place,), (time,))

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

    def columns(self, include_rewound: bool = False) -> tuple[Any, Any, Any]:
        """Return steps, values and times as arrays."""
        points = self.session.reader.points(self.path, include_rewound=include_rewound)
        return points.steps, points.values, points.times

    def content(self) -> FloatSeriesValue:
        """Return all points and the axis, for a copy of the series."""
        steps, values, times = self.columns()
        low, high, unit = self.fetch_config()
        return FloatSeriesValue(
            values.tolist(), low, high, unit, [time / 1000 for time in times.tolist()], steps.tolist()
        )

    def plan_assign(self, value: object) -> Change:
        """Check points that shall replace all others, and return the change."""
        if not isinstance(value, FloatSeriesValue):
            self.require_many(value)
            return self.plan_extend(convert.collection(self.path, value), None, None, fresh=True)
        axis = self._checked_axis(value.min, value.max, value.unit)
        return self.plan_extend(value.values, value.steps, value.timestamps, fresh=True, axis=axis)

    def plan_configure(self, low: object, high: object, unit: object) -> Change:
        """Check the axis and return the change that stores it."""
        return self.change(Configure(self.path, *self._checked_axis(low, high, unit)))

    def plan_append(
        self, value: object, step: object, timestamp: object, name: str | None = None, description: str | None = None
    ) -> Change:
        """Check one point and return the change that adds it."""
        if self.session.has_limits or name is not None or description is not None:
            return super().plan_append(value, step, timestamp, name, description)
        numbers = (value if type(value) is float else convert.number(self.path, value),)
        places = None if step is None else (self.step(step),)
        times = (clock.now() if timestamp is None else convert.timestamp(self.path, timestamp),)
        points = PointColumns(*self.place(numbers, places, times))
        return Change(self.path, self.kind, () if self.fid else (Define(0, self.path, False),), points, self.fid)

    def plan_extend(
        self,
        values: Iterable[object],
        steps: object,
        timestamps: object,
        *,
        fresh: bool = False,
        axis: Axis | None = None,
    ) -> Change:
        """Check points and return the change that adds them; `fresh` removes older ones."""
        numbers = self._numbers(values)
        places = self.steps(steps, len(numbers))
        times = self.times(timestamps, len(numbers))
        axis = (axis or self._kept_axis()) if fresh else NO_AXIS
        points = PointColumns(*self.place(numbers, places, times, fresh=fresh))
        if not fresh:
            return Change(self.path, self.kind, () if self.fid else (Define(0, self.path, False),), points, self.fid)
        configuring = () if axis == NO_AXIS else (Configure(self.path, *axis),)
        return Change(self.path, self.kind, (Define(0, self.path, True), *configuring), points)

    def applied(self, change: Change, writer: RunWriter) -> None:
        """Remember the number under which points are written now, and the axis."""
        for op in change.ops:
            if type(op) is Configure:
                self._axis = (op.min, op.max, op.unit)
            elif type(op) is Define:
                if op.fresh:
                    self._axis = NO_AXIS
                self.point_log = writer.point_log
                self.fid = change.number
                self.is_hot = not (self.session.is_sync or self.session.has_limits)
        if self.left_out:
            super().applied(change, writer)

    def _numbers(self, values: Iterable[object]) -> Sequence[float]:
        if isinstance(values, list) and set(map(type, values)) <= PLAIN:
            return values
        return [convert.number(self.path, value) for value in values]

    def _kept_axis(self) -> Axis:
        if self._axis is None:
            self._axis = NO_AXIS if self.is_new else self._stored_axis()
        return self._axis

    def _stored_axis(self) -> Axis:
        try:
            return self.session.look(lambda reader: reader.config(self.path))
        except MissingField:  # the folder here has nothing of the series, and its server is away
            return NO_AXIS

    def _checked_axis(self, low: object, high: object, unit: object) -> Axis:
        return (
            None if low is None else convert.number(self.path, low),
            None if high is None else convert.number(self.path, high),
            None if unit is None else convert.text(self.path, unit),
        )
