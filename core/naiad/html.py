"""Plain HTML for notebooks: everything escaped, no script, at most `MOST_BYTES`, so that a notebook stays small."""

from __future__ import annotations

import base64
import io
import math
import warnings
from collections.abc import Iterable, Sequence

MOST_BYTES = 30_000
ROOM = 1_000
"""Bytes that are kept for what stands around the parts."""
LONGEST_TEXT = 200
WIDTH, HEIGHT, MARGIN = 480, 120, 70
THUMBNAIL = 160
"""Pixels of a picture's longer side: several fit into a listing."""
CELL = 'style="text-align:left;padding:0 8px;white-space:pre-wrap"'


def text(value: object, longest: int = LONGEST_TEXT) -> str:
    """Return a value as text that can stand anywhere, cut if it is long.

    >>> text("<b>")
    '&lt;b&gt;'
    """
    whole = str(value)
    from html import escape  # it loads the names of all characters

    return escape(whole if len(whole) <= longest else whole[: longest - 1] + "…")


def block(title: str, *parts: str) -> str:
    """Return a title with parts below it; parts for which there is no room any more are left out."""
    kept, size = [f"<div><div><code>{text(title)}</code></div>"], ROOM
    for part in parts:
        size += len(part.encode("utf-8", "replace"))
        if size <= MOST_BYTES:
            kept.append(part)
    return "".join([*kept, "</div>"])


def grid(header: Sequence[object], rows: Iterable[Sequence[object]], room: int = MOST_BYTES - 2 * ROOM) -> str:
    """Return rows as a table, as many as there is room for, and how many there are besides."""
    parts = [_row(header, "th")] if header else []
    size = sum(map(len, parts))
    left_out = 0
    for row in rows:
        part = "" if left_out else _row(row, "td")
        size += len(part.encode("utf-8", "replace"))
        if left_out or size > room:
            left_out += 1
        else:
            parts.append(part)
    more = f"<p>and {left_out:,} more</p>" if left_out else ""
    return f"<table>{''.join(parts)}</table>{more}"


def chart(places: Sequence[float], lows: Sequence[float], highs: Sequence[float]) -> str:
    """Return a line chart as an image, drawn from the extremes of each step.

    Values that are not finite leave gaps.
    """
    points = [
        (place, value)
        for place, low, high in zip(places, lows, highs, strict=True)
        for value in ((low,) if low == high else (low, high))
        if math.isfinite(place) and math.isfinite(value)
    ]
    if not points:
        return ""
    across, up = _Scale([place for place, _ in points], WIDTH), _Scale([value for _, value in points], HEIGHT)
    line = " ".join(f"{across(place):.1f},{HEIGHT - up(value):.1f}" for place, value in points)
    dot = f'<circle cx="{across(points[0][0]):.1f}" cy="{HEIGHT - up(points[0][1]):.1f}" r="2" fill="currentColor"/>'
    drawn = dot if len(points) == 1 else f'<polyline points="{line}" fill="none" stroke="currentColor"/>'
    steps, values = [place for place, _ in points], [value for _, value in points]
    axes = (
        f'<path d="M0,0V{HEIGHT}H{WIDTH}" fill="none" stroke="currentColor" stroke-opacity="0.4"/>'
        + _label(-4, 8, max(values), "end")
        + (_label(-4, HEIGHT, min(values), "end") if min(values) != max(values) else "")
        + _label(0, HEIGHT + 14, min(steps), "start")
        + (_label(WIDTH, HEIGHT + 14, max(steps), "end") if min(steps) != max(steps) else "")
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH + MARGIN}" height="{HEIGHT + 24}" '
        f'viewBox="{-MARGIN} -4 {WIDTH + MARGIN + 4} {HEIGHT + 24}">{axes}{drawn}</svg>'
    )


def _label(x: float, y: float, number: float, anchor: str) -> str:
    return f'<text x="{x}" y="{y}" font-size="10" text-anchor="{anchor}" fill="currentColor">{number:.6g}</text>'


def image(content: bytes) -> str:
    """Return a picture as a small one, or nothing if it is none that can be read."""
    from PIL import Image  # with all its formats it takes longer than the rest of a listing

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a picture that is large, or odd
            small = Image.open(io.BytesIO(content))
            small.thumbnail((THUMBNAIL, THUMBNAIL))
            has_alpha = "A" in small.mode or "transparency" in small.info
            form, mode = ("PNG", "RGBA") if has_alpha else ("JPEG", "RGB")
            out = io.BytesIO()
            small.convert(mode).save(out, form)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return ""
    data = base64.b64encode(out.getvalue()).decode()
    size = f'width="{small.width}" height="{small.height}" style="margin:2px"'
    return f'<img src="data:image/{form.lower()};base64,{data}" {size}/>'


def bars(heights: Sequence[float]) -> str:
    """Return bars of equal width as an image; all heights are 0 or more."""
    across, up = WIDTH / max(len(heights), 1), HEIGHT / (max(heights, default=0) or 1)
    steps = " ".join(f"V{HEIGHT - height * up:.1f}H{(n + 1) * across:.1f}" for n, height in enumerate(heights))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" '
        f'viewBox="-4 -4 {WIDTH + 8} {HEIGHT + 8}">'
        f'<path d="M0,{HEIGHT}{steps}V{HEIGHT}Z" fill="currentColor" fill-opacity="0.4" stroke="currentColor"/></svg>'
    )


def _row(values: Sequence[object], tag: str) -> str:
    return f"<tr>{''.join(f'<{tag} {CELL}>{text(value)}</{tag}>' for value in values)}</tr>"


class _Scale:
    """Brings numbers between their extremes to a length; numbers that are all equal to its middle."""

    def __init__(self, values: Sequence[float], length: float) -> None:
        self._least, self._most, self._length = min(values), max(values), length

    def __call__(self, value: float) -> float:
        span = self._most / 2 - self._least / 2  # halved, as the span of two floats may be no float
        return self._length / 2 if span == 0 else (value / 2 - self._least / 2) / span * self._length
