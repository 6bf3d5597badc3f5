"""Text from users on its way to a terminal. It may hold escape sequences, which must never get there."""

from __future__ import annotations

import re

# C0, DEL and C1 controls, marks that turn the direction of text around, line separators, lone surrogates
UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def clean(text: str) -> str:
    r"""Return a text as one line in which everything that could steer a terminal is shown escaped.

    >>> print(clean("a\tb\x1b[2J"))
    a\tb\x1b[2J
    """
    return UNSAFE.sub(_escaped, text)


def clean_lines(text: str) -> str:
    """Return a text of several lines, each of them clean."""
    return "\n".join(clean(line) for line in text.split("\n"))


def is_utf8(encoding: str | None) -> bool:
    """Whether a stream of this encoding can write any character."""
    return (encoding or "").lower().replace("-", "").replace("_", "") == "utf8"


def _escaped(found: re.Match[str]) -> str:
    return found.group().encode("unicode_escape").decode()
