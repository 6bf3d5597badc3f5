"""Completion of a query: which words may follow at its end."""

from __future__ import annotations

import re
from collections.abc import Sequence

from naiad_web.server.answers import Json

SIGNS = ("=", "!=", "<", "<=", ">", ">=", "CONTAINS", "MATCHES", "EXISTS", "IN", "BETWEEN", "NOT")
_tokens = re.compile(r"`(?:[^`\\]|\\.)*`?|\"(?:[^\"\\]|\\.)*\"?|'(?:[^'\\]|\\.)*'?|[!<>]=|[=<>():,]|[^\s()`\"'=<>!,:]+")
MOST = 50


def complete(before: str, fields: Sequence[tuple[str, str]]) -> dict[str, Json]:
    """Return the expected tokens, the start of the last word, and suggestions for it.

    Args:
        before: the query up to the caret.
        fields: path and type of those that exist.
    """
    found = [(match.group(), match.start(), match.end()) for match in _tokens.finditer(before)]
    is_in_word = (
        bool(found)
        and found[-1][2] == len(before)
        and found[-1][0] not in ("(", ")", ",", ":", "=", "<", ">", "!=", "<=", ">=")
    )
    word, start = (found[-1][0], found[-1][1]) if is_in_word else ("", len(before))
    past = [token for token, _start, _end in (found[:-1] if is_in_word else found)]
    expected, choices = _expected(past, fields)
    # what a word begins with comes first, then what it contains
    part = word.strip("`\"'").lower()
    fitting = [each for each in choices if part in each.lower()]
    fitting.sort(key=lambda each: (not each.lower().startswith(part), each.lower()))
    return {"expected": expected, "from": start, "suggestions": fitting[:MOST]}


def _expected(past: Sequence[str], fields: Sequence[tuple[str, str]]) -> tuple[list[str], list[str]]:
    last = past[-1] if past else ""
    paths = [_quoted(path) for path, _type in fields]
    if not past or last.upper() in ("AND", "OR", "(") or (last.upper() == "NOT" and not _is_field(past[:-1])):
        return ["field", "NOT", "("], paths
    if last == ":":
        name = past[-2].strip("`") if len(past) > 1 else ""
        own = sorted({kind for path, kind in fields if path == name})
        return ["type"], own or sorted({kind for _path, kind in fields})
    if _is_field(past):
        return ["sign", *([":"] if ":" not in past[-3:] else [])], list(SIGNS)
    if last.upper() in ("=", "!=", "<", "<=", ">", ">=", "CONTAINS", "MATCHES", "BETWEEN"):
        return ["value"], [
            "True",
            "False",
            "running",
            "finished",
            "failed",
            "terminated",
            "killed",
            "-1h",
            "-1d",
            "-7d",
        ]
    return ["AND", "OR", ")"], ["AND", "OR"]


def _is_field(past: Sequence[str]) -> bool:
    """Whether a field has just ended, so that a sign follows."""
    if not past or past[-1] in ("(", ")", ",", ":") or past[-1].upper() in ("AND", "OR", "NOT", *SIGNS):
        return False
    before = past[-2].upper() if len(past) > 1 else ""
    if before == ":":
        return True
    return before in ("", "AND", "OR", "NOT", "(")


def _quoted(path: str) -> str:
    if re.fullmatch(r"[^\s()`\"':=<>!,]+", path):
        return path
    return "`" + path.replace("\\", "\\\\").replace("`", "\\`") + "`"
