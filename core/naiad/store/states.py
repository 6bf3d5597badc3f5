"""The states of what a run consists of: its fields, what is known of their series, and its writers."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TypeAlias

import msgspec

from naiad.ops import Plain, Text
from naiad.store.lines import LineRun, Lines

__all__ = [
    "FILE_SERIES",
    "FILE_SET",
    "FLOAT_SERIES",
    "SERIES",
    "STRING_SERIES",
    "STRING_SET",
    "TEXT_SERIES",
    "FieldState",
    "Series",
    "TextPoint",
    "WriterState",
    "copy_series",
]

FLOAT_SERIES = "float_series"
STRING_SERIES = "string_series"
STRING_SET = "string_set"
FILE_SERIES = "file_series"
FILE_SET = "file_set"
TEXT_SERIES = (STRING_SERIES, FILE_SERIES)
SERIES = (FLOAT_SERIES, *TEXT_SERIES)

TextPoint: TypeAlias = tuple[int | float, float, Text]
"""Step, unix seconds and text."""


class Series(msgspec.Struct, gc=False):
    """What is known of a series without reading it. `minimum` ... `total` are over finite values, None without any."""

    count: int = 0
    finite: int = 0
    minimum: float | None = None
    maximum: float | None = None
    total: float = 0.0
    last_step: int | float | None = None
    last_value: Plain = None
    last_time: int | None = None  # milliseconds
    spread: float | None = 0.0  # sum of squared differences from the mean; None: an earlier release did not keep it

    def add(
        self,
        count: int,
        finite: int,
        low: float,
        high: float,
        total: float,
        step: int | float,
        value: Plain,
        time: int,
        spread: float = 0.0,
    ) -> None:
        """Take in a group of points, of which `step`, `value` and `time` are the last by step."""
        self.count += count
        if finite:
            self.spread = self._joined_spread(finite, total, spread)
            self.finite += finite
            self.minimum = low if self.minimum is None or low < self.minimum else self.minimum
            self.maximum = high if self.maximum is None or high > self.maximum else self.maximum
            self.total += total
        if self.last_step is None or step >= self.last_step:
            self.last_step, self.last_value, self.last_time = step, value, time

    def _joined_spread(self, finite: int, total: float, spread: float) -> float | None:
        """The spread with another group: Chan's formula, which does not cancel as a sum of squares would."""
        if self.spread is None:
            return None
        if not self.finite:
            return spread
        apart = total / finite - self.total / self.finite
        return self.spread + spread + apart * apart * (self.finite * finite / (self.finite + finite))

    @property
    def mean(self) -> float | None:
        """Of the finite values; None without any."""
        return self.total / self.finite if self.finite else None

    @property
    def variance(self) -> float | None:
        """Of the finite values, as a population; None without any, or when it is not known."""
        if not self.finite or self.spread is None:
            return None
        return self.spread / self.finite if math.isfinite(self.spread) else math.inf


class FieldState(msgspec.Struct, eq=False, gc=False):
    """One definition of a field. A path that was deleted and defined again has another state with another id.

    It refers to nothing that refers to it, so the garbage collector need not look at 100,000 of them again and again.
    """

    path: str
    kind: str
    id: int = 0  # its number in the index; 0: not there yet
    writer: str = ""  # who wrote it last, and when
    at: float = 0.0
    value: Plain = None
    tags: list[Text] = []
    config: tuple[float | None, float | None, str | None] = (None, None, None)
    series: Series = msgspec.field(default_factory=Series)
    pieces: int = 0  # chunks and shares of packs in the index, numbered as they came
    retired_at: float | None = None
    retired_by: str = ""
    defined_at: float = 0.0  # by the first that said it is there, and who that was
    defined_by: str = ""
    members: dict[str, str] = {}  # of a file set
    texts: list[TextPoint] = []  # not yet in the index
    lines: list[LineRun] = []  # likewise
    printed: dict[str, Lines] = {}  # by writer: what has no end of line yet, and never is in a chunk of the index

    def tail(self) -> list[TextPoint]:
        """The texts that are in no chunk of the index."""
        open_lines = (run for lines in self.printed.values() for run in lines.rest())
        return [*self.texts, *(point for run in (*self.lines, *open_lines) for point in run.points())]


@dataclass(slots=True)
class WriterState:
    """One writer of the run and what its numbers mean."""

    name: str
    pid: int = 0
    host: str = ""
    boot: str = ""
    session: int = 0
    role: str = "owner"
    started: float = 0.0
    at: float = 0.0  # of its latest op
    state: str | None = None  # how it ended; None while it lives and when it was killed
    dropped_points: int = 0
    dropped_frames: int = 0
    blobs: dict[str, str] = field(default_factory=dict)  # sha256 by incoming name, empty until it is known
    fields: list[FieldState | None] = field(default_factory=list)  # by field number - 1


def copy_series(series: Series) -> Series:
    """Facts that can be changed without changing the original."""
    return msgspec.structs.replace(series)
