"""JSON for other programs: valid, exact where JSON can be, and safe to look at in a terminal."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import click

from naiad.cli.terminal import print_lines
from naiad.cli.text import is_utf8, unsafe
from naiad.cli.values import moment_text

LONE_SURROGATE = re.compile("[\ud800-\udfff]")

json_option = click.option("--json", "is_json", is_flag=True, help="Print JSON. NaN and infinities are strings.")


def print_document(value: object, *, indent: int | None = 2) -> None:
    """Print a value as JSON; without `indent` it takes one line."""
    print_lines([as_document(value, indent=indent, is_ascii=not is_utf8(sys.stdout.encoding))])


def as_document(value: object, *, indent: int | None = 2, is_ascii: bool = False) -> str:
    r"""Return a value as JSON.

    NaN and the infinities become the strings "NaN", "Infinity" and "-Infinity", moments become ISO 8601, and
    lone surrogates, which no UTF-8 can hold, become U+FFFD. Controls that JSON itself allows are escaped too.

    >>> as_document({"loss": [0.5, float("nan")]}, indent=None)
    '{"loss": [0.5, "NaN"]}'
    """
    text = json.dumps(_plain(value), indent=indent, ensure_ascii=is_ascii, allow_nan=False)
    lines = text.split("\n")  # those of json itself; a newline within a string is escaped already
    return "\n".join(line if line.isprintable() else unsafe().sub(_escaped, line) for line in lines)


def _escaped(found: re.Match[str]) -> str:
    return f"\\u{ord(found.group()):04x}"


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        # They come from file names that are no UTF-8, and other parsers of JSON refuse them.
        return LONE_SURROGATE.sub("\ufffd", value)
    if isinstance(value, float):
        return value if math.isfinite(value) else _NOT_FINITE[str(value)]
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, datetime):
        return moment_text(value)
    if isinstance(value, Mapping):
        return {_plain(str(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, set | frozenset):
        # Sorted, so that the same set prints the same text each time.
        return [_plain(item) for item in sorted(value)]
    return value


_NOT_FINITE = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
