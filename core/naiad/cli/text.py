"""Text from users on its way to a terminal. It may hold escape sequences, which must never get there."""

from __future__ import annotations

import re
import unicodedata
from functools import cache


@cache
def unsafe() -> re.Pattern[str]:
    """The pattern of the characters that no terminal gets as they are, made when a text is not all printable."""
    # C0, DEL and C1 controls, marks that turn the direction of text around, line separators, lone surrogates
    return re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def clean(text: str) -> str:
    r"""Return a text as one line in which everything that could steer a terminal is shown escaped.

    >>> print(clean("a\tb\x1b[2J"))
    a\tb\x1b[2J
    """
    # Nothing printable is unsafe, and asking that takes a fifth of the search that finds nothing.
    return text if text.isprintable() else unsafe().sub(_escaped, text)


def clean_lines(text: str) -> str:
    """Return a text of several lines, each of them clean."""
    return "\n".join(clean(line) for line in text.split("\n"))


def width(text: str) -> int:
    r"""Return how many columns of a terminal a clean text takes.

    >>> width("abc"), width("模型"), width("e\u0301")
    (3, 4, 1)
    """
    return len(text) if text.isascii() else sum(map(_width, text))


def _width(character: str) -> int:
    # These draw over the character before them.
    if unicodedata.combining(character) or unicodedata.category(character) in ("Cf", "Me", "Mn"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def cut(text: str, room: int, mark: str = "...") -> str:
    """Return a text that fits; a longer one ends with a mark.

    >>> cut("a long name", 8), cut("模型模型", 7), cut("short", 8)
    ('a lon...', '模型...', 'short')
    """
    if width(text) <= room:
        return text
    left = room - width(mark)
    taken = 0
    for place, character in enumerate(text):
        taken += _width(character)
        # Counted in columns: a wide character that would stand half inside is left out.
        if taken > left:
            return text[:place] + mark[: max(0, room)]
    return text


def is_utf8(encoding: str | None) -> bool:
    """Whether a stream of this encoding can write any character."""
    return (encoding or "").lower().replace("-", "").replace("_", "") == "utf8"


def _escaped(found: re.Match[str]) -> str:
    return found.group().encode("unicode_escape").decode()
