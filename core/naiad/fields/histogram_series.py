"""Histograms over steps: how gradients, weights and activations are distributed in the course of a training."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from naiad import convert, html
from naiad.errors import NaiadTypeError, shown
from naiad.fields.series import Series, as_steps
from naiad.histogram import Histogram, skyline
from naiad.storage.base import Change
from naiad.types import HistogramSeries as HistogramSeriesValue

MOST_DRAWN = 20
MOST_BARS = 120


class HistogramSeries(Series):
    """Histograms over steps, each with a time. They may have different bins."""

    kind = HistogramSeriesValue.kind

    def columns(self, include_rewound: bool = False) -> tuple[Any, Any, Any]:
        """Return steps, histograms and times."""
        texts = self.session.reader.texts(self.path, self.kind, include_rewound=include_rewound)
        return as_steps(texts.steps), [self.read(text) for text in texts.texts], texts.times

    def drawn(self) -> list[str]:
        """Return a chart of the last histogram, and a line for each of the last ones."""
        texts = self.session.reader.texts(self.path, self.kind)
        rows = [*zip(texts.steps[-MOST_DRAWN:], map(self.summary, texts.texts[-MOST_DRAWN:]), strict=True)]
        last = [self.read(text) for text in texts.texts[-1:]]
        charts = [html.bars(skyline(each.bin_edges, each.heights, MOST_BARS)) for each in last]
        return [html.text(f"{len(texts.steps):,} histograms"), *charts, html.grid(("step", "value"), rows)]

    @classmethod
    def summary(cls, stored: str) -> str:
        """Return bins, range and number of values of a stored histogram."""
        return Histogram.from_text(stored).summary()

    def content(self) -> HistogramSeriesValue:
        """Return all histograms, for a copy of the series."""
        texts = self.session.reader.texts(self.path, self.kind)
        return HistogramSeriesValue(
            [self.read(text) for text in texts.texts], [time / 1000 for time in texts.times], texts.steps
        )

    def read(self, value: Any) -> Histogram:
        """Return a stored histogram."""
        return Histogram.from_text(value)

    def plan_assign(self, value: object) -> Change:
        """Check histograms that shall replace all others, and return the change."""
        if not isinstance(value, HistogramSeriesValue):
            self.require_many(value)
            return self.plan_extend(convert.collection(self.path, value), None, None, fresh=True)
        return self.plan_extend(value.values, value.steps, value.timestamps, fresh=True)

    def plan_extend(
        self, values: Iterable[object], steps: object, timestamps: object, *, fresh: bool = False
    ) -> Change:
        """Check histograms and return the change that adds them; `fresh` removes the existing ones."""
        texts = [self._text(value) for value in values]
        places = self.steps(steps, len(texts))
        times = self.times(timestamps, len(texts))
        return self.plan_strings(texts, places, times, fresh=fresh)

    def _text(self, value: object) -> str:
        if isinstance(value, Histogram):
            return value.to_text()
        raise NaiadTypeError(
            f'"{self.path}" is a series of histograms, so {shown(value)} cannot be added.\n'
            "Give a naiad.types.Histogram; Histogram.of(values) makes one of an array.",
            path=self.path,
            value=value,
        )
