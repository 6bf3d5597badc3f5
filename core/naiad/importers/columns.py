"""Columns: points of many series that wait to be yielded together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from naiad.kinds import LINES, POINTS
from naiad.records import Content, Files, Points, Record, Texts
from naiad.types import FileSeries, HistogramSeries

MOST_POINTS = 50_000
MOST_BYTES = 8 << 20


class Columns:
    """Points by path and kind. `flush` yields and forgets them."""

    def __init__(self, part: str = "") -> None:
        self.part = part
        self._series: dict[tuple[str, str], tuple[list[Any], list[Any], list[Any]]] = {}
        self._points = self._bytes = 0

    @property
    def is_full(self) -> bool:
        """Whether enough waits."""
        return self._points >= MOST_POINTS or self._bytes >= MOST_BYTES

    def number(self, path: str, value: float, step: Any, time: Any) -> None:
        """Add a number."""
        self._add(path, POINTS, value, step, time, 0)

    def text(self, path: str, value: str, step: Any, time: Any) -> None:
        """Add a text."""
        self._add(path, LINES, value, step, time, len(value))

    def histogram(self, path: str, text: str, step: Any, time: Any) -> None:
        """Add a histogram, as a series stores it."""
        self._add(path, HistogramSeries.kind, text, step, time, len(text))

    def file(self, path: str, content: Content, step: Any, time: Any) -> None:
        """Add a file."""
        self._add(path, FileSeries.kind, content, step, time, len(content.data))

    def _add(self, path: str, kind: str, value: Any, step: Any, time: Any, size: int) -> None:
        # By path and kind: a tag of TensorBoard may have numbers in one release and histograms in the next.
        columns = self._series.get((path, kind))
        if columns is None:
            columns = self._series[path, kind] = ([], [], [])
        for column, item in zip(columns, (value, step, time), strict=True):
            column.append(item)
        self._points += 1
        self._bytes += size

    def flush(self) -> Iterator[Record]:
        """Yield everything that waits."""
        for (path, kind), (values, steps, times) in self._series.items():
            if kind == POINTS:
                yield Points(path, values, steps, times, self.part)
            elif kind == FileSeries.kind:
                yield Files(path, values, steps, times, self.part)
            else:
                yield Texts(path, kind, values, steps, times, self.part)
        self._series.clear()
        self._points = self._bytes = 0
