"""Points of operations: those of many small ones, gathered until they are worth a record."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Callable, Iterator
from typing import Any, Final

from naiad.importers import sniff
from naiad.importers.operations import Operation
from naiad.kinds import LINES, POINTS
from naiad.records import (
    Content,
    Files,
    Note,
    Points,
    Record,
    Skipped,
    Texts,
)
from naiad.types import FileSeries

MOST_BUFFERED = 50_000
"""Points that wait to be yielded together."""
MOST_BYTES = 8 << 20
"""Bytes of texts and images that wait."""
LOGS: Final = {"LogFloats": POINTS, "LogStrings": LINES, "LogImages": FileSeries.kind}


class Buffer:
    """Points of many small operations, to be yielded together."""

    def __init__(self) -> None:
        self._columns: dict[tuple[str, str, str], tuple[list[Any], list[Any], list[Any]]] = {}
        self._points = 0
        self._bytes = 0

    @property
    def is_full(self) -> bool:
        """Whether enough waits."""
        return self._points >= MOST_BUFFERED or self._bytes >= MOST_BYTES

    def add(self, op: Operation) -> Iterator[Skipped]:
        """Take the points of an operation; yield those that cannot be taken."""
        kind = LOGS[op.type]
        items = op.facts.get("values")
        if not isinstance(items, list):
            yield Skipped(op.path, kind, "it has no values", where=op.where)
            return
        columns = self._columns.get((op.path, kind, op.folder.name))
        if columns is None:
            columns = self._columns[op.path, kind, op.folder.name] = ([], [], [])
        values, steps, times = columns
        take = _TAKE[kind]
        for item in items:
            try:
                value = take(item["value"])
                step = item.get("step")
                time = item.get("ts")
            except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
                yield Skipped(op.path, kind, f"a point cannot be read ({error})", where=op.where)
                continue
            values.append(value)
            steps.append(step if isinstance(step, int | float) else None)
            # A point without a time of its own gets that of its operation, which was made by the same call.
            times.append(time if isinstance(time, int | float) else op.at)
            # Numbers are bounded by count alone, texts and images by bytes: 50,000 images would be gigabytes.
            self._points += 1
            if kind != POINTS:
                self._bytes += len(value) if isinstance(value, str) else len(value.data)

    def flush(self) -> Iterator[Record]:
        """Yield everything that waits."""
        for (path, kind, part), (values, steps, times) in self._columns.items():
            bad = sum(1 for step in steps if step is not None and not math.isfinite(step))
            if bad:
                yield Note(f'"{path}": {bad:,} steps were no numbers (NaN), and these points are numbered.')
            if kind == POINTS:
                yield Points(path, values, steps, times, part)
            elif kind == LINES:
                yield Texts(path, kind, values, steps, times, part)
            else:
                yield Files(path, values, steps, times, part)
        self._columns.clear()
        self._points = self._bytes = 0


def _image(value: Any) -> Content:
    """Return an image of a series; old clients wrote its base64 alone.

    Raises:
        ValueError: it has no content.
    """
    # Name and description came later than images: a string is the content alone.
    facts = {"data": value} if isinstance(value, str) else value
    if not facts.get("data"):
        raise ValueError("the client stored no content, as it did with images of more than 32 MiB")
    data = decoded(facts["data"])
    if data is None:
        raise ValueError("its content is not valid base64")
    name, description = facts.get("name"), facts.get("description")
    return Content(
        data=data,
        extension=sniff.extension(data[: sniff.LENGTH]),
        name=None if name is None else str(name),
        description=None if description is None else str(description),
    )


def _number_of(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"the value {value!r:.40} is not a number")
    return float(value)


def _text_of(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"the value {value!r:.40} is not a text")
    return value


_TAKE: Final[dict[str, Callable[[Any], Any]]] = {POINTS: _number_of, LINES: _text_of, FileSeries.kind: _image}


def decoded(text: object) -> bytes | None:
    """Return the bytes of a base64 text; None if it is none."""
    if not isinstance(text, str):
        return None
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


def empty(path: str, kind: str, part: str) -> Iterator[Record]:
    """Yield the record of a series that may have no point."""
    if kind == POINTS:
        yield Points(path, [], [], [], part)
    elif kind == LINES:
        yield Texts(path, kind, [], [], [], part)
    else:
        yield Files(path, [], [], [], part)
