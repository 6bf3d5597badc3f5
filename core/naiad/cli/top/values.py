"""Values as a narrow column shows them: numbers are rounded until they fit, and never cut."""

from __future__ import annotations

import re
from typing import Any

from naiad.cli.top.spans import Span, span
from naiad.cli.values import number_text, opened, tags_text, value_text
from naiad.kinds import KINDS

QUALITY = re.compile(r"loss|acc|auc|f1|score|error|reward|perplexity|rmse|mae|map", re.IGNORECASE)
OWN = {"sys": 1, "source_code": 2, "monitoring": 3}
"""Namespaces that naiad fills, after all others."""

SYMBOLS = {
    "running": "●*",
    "finished": "✓ ",
    "failed": "✗x",
    "killed": "✗k",
    "terminated": "■t",
    "unknown": "??",
    "damaged": "!!",
    "unreadable": "!!",
    "newer": "!!",
}
"""The sign of each state, and the one for terminals with ASCII alone."""
STATE_STYLES = {
    "running": "bold green",
    "finished": "dim",
    "failed": "red",
    "killed": "red",
    "terminated": "yellow",
    "unknown": "yellow",
    "damaged": "bold red",
}
SPANS = ((60, "s"), (60, "m"), (24, "h"), (7, "d"))


def state_span(state: str, *, is_ascii: bool) -> Span:
    """Return the sign of a state."""
    return Span(SYMBOLS.get(state, "??")[is_ascii], STATE_STYLES.get(state, ""))


def number(value: float, room: int, *, is_even: bool = False) -> str:
    """Return a number in as many of four digits as fit; `is_even`: in four also if the last ones are zeros.

    >>> number(0.123456, 9), number(-1.23456e-300, 9), number(12345678, 9), number(3.0, 9)
    ('0.1235', '-1.2e-300', '12345678', '3.0')
    >>> number(0.5, 9, is_even=True), number(1234.0, 9, is_even=True)
    ('0.5000', '1234')
    """
    if isinstance(value, int):
        text = str(value)
        return text if len(text) <= room else number(float(value), room) if abs(value) < 1e300 else f"{value:.0e}"
    if value != value or value in (float("inf"), float("-inf")):
        return {"NaN": "nan", "Infinity": "inf", "-Infinity": "-inf"}[number_text(value)]
    text = ""
    for digits in (4, 3, 2, 1):
        text = f"{value:{'#' if is_even else ''}.{digits}g}".removesuffix(".")
        if len(text) <= room:
            break
    return f"{text}.0" if not is_even and text.lstrip("-").isdigit() and len(text) + 2 <= room else text


def cell_text(kind: str, cell: Any, room: int) -> tuple[str, bool]:
    """Return the text of a cell of the catalog, and whether it is a number."""
    value = cell[0] if KINDS[kind].aspects and cell else cell
    if value is None or (KINDS[kind].aspects and not cell):
        return "", False
    if isinstance(value, bool):
        return str(value).lower(), False
    if KINDS[kind].holds in ("number", "integer") and isinstance(value, int | float):
        return number(value, room, is_even=KINDS[kind].is_series), True
    shown = opened(kind, value)
    return span(tags_text(shown) if isinstance(shown, list) else value_text(shown, is_local=True)).text, False


def metric_order(path: str) -> tuple[int, bool, str]:
    """Sort key of series: the user's own, those about quality first, then those of naiad."""
    return OWN.get(path.partition("/")[0], 0), not QUALITY.search(path), path


def age(seconds: float) -> str:
    """Return a time in the largest unit of which there is at least one.

    >>> age(5), age(90), age(7200), age(86400 * 3), age(86400 * 30)
    ('5s', '1m', '2h', '3d', '4w')
    """
    left = max(0.0, seconds)
    for many, unit in SPANS:
        if left < many:
            return f"{int(left)}{unit}"
        left /= many
    return f"{int(left)}w"


def lasting(seconds: float) -> str:
    """Return how long something took.

    >>> lasting(7.4), lasting(75), lasting(3725)
    ('7s', '1m 15s', '1h 2m')
    """
    minutes, rest = divmod(int(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h {minutes}m" if hours else f"{minutes}m {rest}s" if minutes else f"{rest}s"
