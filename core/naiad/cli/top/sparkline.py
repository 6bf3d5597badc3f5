"""Sparklines: a series in a few characters, as tall as a letter."""

from __future__ import annotations

import math
from collections.abc import Sequence

BLOCKS = "▁▂▃▄▅▆▇█"
SIGNS = "_.-:=+*#"
"""The same heights for terminals with ASCII alone."""


def sparkline(values: Sequence[float], columns: int, *, is_ascii: bool = False) -> str:
    """Return values as characters from the lowest to the highest; those that are not finite leave gaps.

    >>> sparkline([1, 2, 3, 4], 4), sparkline([5, 5], 4), sparkline([1, float("nan"), 2], 4, is_ascii=True)
    ('▁▃▆█', '▄▄', '_ #')
    """
    heights = SIGNS if is_ascii else BLOCKS
    means = [_mean(part) for part in _parts(values, columns)]
    finite = [mean for mean in means if mean is not None]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    span = high / 2 - low / 2  # halves, because the whole may be beyond float64
    top = len(heights) - 1
    return "".join(
        " "
        if mean is None
        else heights[top // 2]
        if span == 0
        else heights[min(top, int((mean / 2 - low / 2) / span * top + 0.5))]
        for mean in means
    )


def _parts(values: Sequence[float], columns: int) -> list[Sequence[float]]:
    """Return the values in at most so many stretches."""
    count = min(len(values), columns)
    return [values[len(values) * each // count : len(values) * (each + 1) // count] for each in range(count)]


def _mean(values: Sequence[float]) -> float | None:
    finite = [value for value in values if math.isfinite(value)]
    return sum(value / len(finite) for value in finite) if finite else None
