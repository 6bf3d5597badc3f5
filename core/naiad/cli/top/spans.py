"""Spans: the styled texts that a screen is made of. A line is a list of them; only the screen has colours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from naiad.cli.text import clean, cut, width


class Span(NamedTuple):
    """A text and the words of its style, such as "bold red". The text is clean."""

    text: str
    style: str = ""


Line: TypeAlias = list[Span]


def span(text: object, style: str = "") -> Span:
    """Return a span of any text, in which controls of terminals are escaped."""
    return Span(clean(str(text)), style)


def length(line: Sequence[Span]) -> int:
    """Return how many columns a line takes."""
    return sum(width(each.text) for each in line)


def fitted(line: Sequence[Span], room: int, mark: str) -> Line:
    """Return a line that takes at most so many columns; one that is longer ends with the mark."""
    found: Line = []
    for each in line:
        taken = width(each.text)
        if taken <= room:
            found.append(each)
            room -= taken
            continue
        if room > 0:
            found.append(Span(cut(each.text, room, mark), each.style))
        break
    return found


def sized(line: Sequence[Span], room: int, mark: str) -> Line:
    """Return a line that takes exactly so many columns."""
    found = fitted(line, room, mark)
    return [*found, Span(" " * (room - length(found)))]


def padded(text: str, room: int, mark: str, *, is_right: bool = False) -> str:
    """Return a text that takes exactly so many columns."""
    shown = cut(text, room, mark)
    space = " " * (room - width(shown))
    return space + shown if is_right else shown + space


def tail(text: str, room: int, mark: str) -> str:
    """Return the end of a text that fits: of a path the last part counts most.

    >>> tail("metrics/train/loss", 11, "…")
    '…train/loss'
    """
    if width(text) <= room:
        return text
    while text and width(text) > room - width(mark):
        text = text[1:]
    return mark[: max(0, room)] + text


def spread(left: Sequence[Span], right: Sequence[Span], room: int, mark: str) -> Line:
    """Return a line with spans at both of its ends; where both do not fit, the left one is cut."""
    taken = length(right)
    if taken + 1 >= room:
        return fitted(left, room, mark)
    start = fitted(left, room - taken - 1, mark)
    return [*start, Span(" " * (room - taken - length(start))), *right]
