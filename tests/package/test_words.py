"""The words of docstrings: each pattern that hides a noun is counted, and its ceiling only falls.

A docstring names the thing and its job in engineering English. Clauses that begin with "what" replace the noun that a
reader would search for; "nobody" and "whoever" replace the process or user that acts; things do not say, tell or know.
"""

from __future__ import annotations

import ast
import re
import tokenize
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = [file for root in ("core", "integrations") for file in sorted((ROOT / root).rglob("*.py"))]
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
FEWEST_COMMENTS = 35.0
"""For each thousand lines. A comment states a reason that the code does not show."""
LONGEST = 12
"""Words of a first line."""

PATTERNS = {
    "what": r"\bwhat(ever)?\b",
    "personified": r"^(say|tell|ask|know)\b|\b(says?|said|tells?|told|asks?|asked|knows?|knew|believe[sd]?|refuse[sd]?|"
    r"speaks?|mentions?|vouch(es)?)\b",
    "nobody": r"\b(nobody|somebody|whoever|anybody|everybody|no one|someone|anyone)\b",
}
CEILINGS = {
    ("first line", "what"): 0.2,
    ("first line", "personified"): 0.2,
    ("first line", "nobody"): 0.2,
    ("first line", "long"): 52.0,
    ("docstring", "what"): 0.8,
    ("docstring", "personified"): 0.5,
    ("docstring", "nobody"): 0.2,
}
"""Percent of all docstrings. Lower a figure when it falls, and never raise it."""


def docstrings() -> Iterator[str]:
    for file in SOURCES:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            text = ast.get_docstring(node) if isinstance(node, DOCUMENTED) else None
            if text:
                yield text


def patterns_of(text: str) -> Iterator[str]:
    """Yield the patterns that a text contains."""
    yield from (name for name, pattern in PATTERNS.items() if re.search(pattern, text, re.IGNORECASE))


def counted() -> dict[tuple[str, str], float]:
    """Return the share of docstrings with each pattern, in percent."""
    found: Counter[tuple[str, str]] = Counter()
    total = 0
    for text in docstrings():
        total += 1
        first = text.splitlines()[0]
        found.update(("first line", name) for name in patterns_of(first))
        found.update(("docstring", name) for name in patterns_of(text))
        found["first line", "long"] += len(first.split()) > LONGEST
    return {key: round(100 * found[key] / total, 1) for key in CEILINGS}


def test_docstrings_do_not_fall_back_into_the_dialect() -> None:
    assert {} == {key: share for key, share in counted().items() if share > CEILINGS[key]}


@pytest.mark.parametrize(
    ("line", "pattern"),
    [
        ("Return what the configuration says.", "what"),
        ("The catalog knows each run.", "personified"),
        ("Files that nobody writes.", "nobody"),
    ],
)
def test_patterns_are_seen(line: str, pattern: str) -> None:
    assert pattern in list(patterns_of(line))


def test_plain_lines_have_no_pattern() -> None:
    assert [] == list(patterns_of("Return the points of a series ordered by step; True if the series is known."))


def test_comments_do_not_become_rarer() -> None:
    """Comments for each thousand lines of source; blocks that are not obvious have one that states their reason."""
    comments = lines = 0
    for file in SOURCES:
        with file.open("rb") as stream:
            comments += sum(token.type == tokenize.COMMENT for token in tokenize.tokenize(stream.readline))
        lines += file.read_text(encoding="utf-8").count("\n")

    assert FEWEST_COMMENTS <= 1000 * comments / lines
