"""Counters of epochs and batches, from which points take their steps. Nothing here imports Keras.

A run may hold several fits. One that starts over, from epoch 0 or with a model that was never updated, goes on after
the existing points; any other start (`initial_epoch=`, a restored model) is used as given.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from naiad.errors import MissingField
from naiad.fields.series import Series

if TYPE_CHECKING:
    from naiad.handler import Handler


class Epochs:
    """The epochs of all fits of a run, one after the other."""

    def __init__(self, series: Handler) -> None:
        self._series = series  # has a point for each epoch that was begun
        self._shift: int | None = None  # None: the first epoch of the fit is not known yet
        self.current: int | None = None
        """The epoch that is going on, or None outside of epochs."""
        self.latest: int | None = None
        """The epoch that is going on, or the one before, or None before the first."""

    def begin_fit(self) -> None:
        """Take the start of the fit from the next epoch."""
        self._shift = None

    def begin(self, epoch: int) -> int:
        """Begin Keras's epoch `epoch` and return its number in the run."""
        if self._shift is None:
            self._shift = 0  # also if the series cannot be read
            last = None if epoch else last_step(self._series)
            self._shift = 0 if last is None else last + 1
        self.current = self.latest = epoch + self._shift
        return self.current

    def end(self, epoch: int) -> int:
        """End an epoch, and return its number in the run."""
        self.current = None
        return epoch + (self._shift or 0)


class Batches:
    """Counter of batches over epochs that selects one in `every` for logging."""

    def __init__(self, every: int) -> None:
        self._every = every
        self._before = 0  # in earlier epochs
        self._most: int | None = None
        self._logged = 0
        self.count = 0

    def start(self, count: int) -> None:
        """Count from here on."""
        self._before = self._logged = self.count = count

    def begin(self, most: int | None = None) -> None:
        """Begin an epoch or an evaluation, whose batches Keras numbers from 0; `most` is how many, if that is known."""
        self._before, self._most = self.count, most

    def is_due(self, batch: int) -> bool:
        """Count up to a batch and return whether it is due for logging.

        With `steps_per_execution` Keras reports some batches only, and goes beyond the last one.
        """
        self.count = self._before + (batch + 1 if self._most is None else min(batch + 1, self._most))
        if self.count - self._logged < self._every:
            return False
        self._logged = self.count
        return True


def last_step(series: Handler) -> int | None:
    """Return the highest step of a series, or None where there is none."""
    try:
        field = series.sources().get("")
    except MissingField:
        return None
    steps: Any = field.columns()[0] if isinstance(field, Series) else ()
    return int(steps.max()) if len(steps) else None
