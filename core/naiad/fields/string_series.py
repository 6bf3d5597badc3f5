"""Texts over steps: logs, notes, generated samples."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from naiad import convert, html, scalars
from naiad.errors import LimitWarning, warn_once
from naiad.fields.series import Series, as_steps
from naiad.storage.base import Change
from naiad.types import StringSeries as StringSeriesValue

MOST_DRAWN = 20
LONGEST = 1_000  # characters of an entry, with limits="neptune"


class StringSeries(Series):
    """Texts over steps, each with a time and at most 16 MiB long. With `limits="neptune"` 1,000 characters are kept."""

    kind = StringSeriesValue.kind

    def columns(self, include_rewound: bool = False) -> tuple[Any, Any, Any]:
        """Return steps, texts and times."""
        texts = self.session.reader.texts(self.path, self.kind, include_rewound=include_rewound)
        return as_steps(texts.steps), [self.read(text) for text in texts.texts], texts.times

    def drawn(self) -> list[str]:
        """Return how many entries there are, and the last of them."""
        texts = self.session.reader.texts(self.path)
        rows = [*zip(texts.steps, map(self.read, texts.texts), strict=True)]
        return [html.text(f"{len(rows):,} entries"), html.grid(("step", "value"), rows[-MOST_DRAWN:])]

    def content(self) -> StringSeriesValue:
        """Return all entries, for a copy of the series."""
        texts = self.session.reader.texts(self.path, self.kind)
        return StringSeriesValue(
            [self.read(text) for text in texts.texts], [time / 1000 for time in texts.times], texts.steps
        )

    def read(self, value: Any) -> str:
        """Return a stored text as the user gave it."""
        return scalars.unpack_text(value)

    def plan_assign(self, value: object) -> Change:
        """Check entries that shall replace all others, and return the change."""
        if not isinstance(value, StringSeriesValue):
            self.require_many(value)
            return self.plan_extend(convert.collection(self.path, value), None, None, fresh=True)
        return self.plan_extend(value.values, value.steps, value.timestamps, fresh=True)

    def plan_extend(
        self,
        values: Iterable[object],
        steps: object,
        timestamps: object,
        *,
        fresh: bool = False,
    ) -> Change:
        """Check entries and return the change that adds them; `fresh` removes older ones."""
        texts = [scalars.pack_text(self._within_limits(convert.text(self.path, value))) for value in values]
        places = self.steps(steps, len(texts))
        times = self.times(timestamps, len(texts))
        return self.plan_strings(texts, places, times, fresh=fresh)

    def _within_limits(self, text: str) -> str:
        if not self.session.has_limits or len(text) <= LONGEST:
            return text
        warn_once(
            (self.session.key, self.path),
            f'Entries of "{self.path}" were cut to {LONGEST:,} characters, because the run has limits="neptune".',
            LimitWarning,
        )
        return text[:LONGEST]
