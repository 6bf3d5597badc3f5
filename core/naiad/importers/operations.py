"""Operations of Neptune's client, read from the logs of a folder: one JSON object each, with its version and time.

A folder is the queue of one process. What is missing between two versions, or at the end, is a gap.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import msgspec

from naiad.importer import Progress
from naiad.records import (
    Note,
    Skipped,
)

LOG = re.compile(r"data-([0-9]+)\.log\Z")
_DECODER = json.JSONDecoder()


@dataclass(frozen=True)
class Folder:
    """The queue of one process."""

    path: str
    name: str
    """Names it among the folders of its container."""
    created: float | None = None


class Operation(NamedTuple):
    """One operation of a log. A tuple, since a log has very many."""

    folder: Folder
    type: str
    path: str
    facts: Mapping[str, Any]
    version: int
    at: float
    where: str


Read: TypeAlias = "Operation | Skipped | Note"


def logs_of(folder: str) -> list[tuple[int, str]]:
    """Return the logs of a folder by the version of their first operation."""
    found = [(int(match[1]), os.path.join(folder, name)) for name in os.listdir(folder) if (match := LOG.match(name))]
    return sorted((number, path) for number, path in found if os.path.isfile(path) and not os.path.islink(path))


def first_time(folder: Folder) -> float | None:
    """Return when the first operation of a folder was made."""
    for each in operations(folder, int):
        if isinstance(each, Operation):
            return each.at
    return None


def operations(folder: Folder, progress: Progress) -> Iterator[Read]:
    """Yield the operations of a folder in order, and the gaps between them."""
    logs = logs_of(folder.path)
    acknowledged = number_in(folder, "last_ack_version") or 0
    # Versions count from 1 without gaps over all logs of a folder, so that each number that is missing was a record.
    expected = 1
    at = folder.created or 0.0
    for number, (_first, path) in enumerate(logs):
        for where, found, is_last in _parsed(path, progress):
            if isinstance(found, str):
                # The client appends without a temporary name: a killed process leaves the first bytes of its last
                # record.
                if is_last and number == len(logs) - 1:
                    yield Note(f"{where}: the last record is torn, because its process ended while it wrote it.")
                else:
                    yield Skipped("", "", found, where=where)
                    # After damage the next version cannot be compared, and a gap that is reported twice would be
                    # counted twice.
                    expected = -1  # how many records that was is not known
                continue
            each = _operation(folder, found, at, where)
            if isinstance(each, Skipped):
                yield each
                continue
            if each.version > expected > 0:
                yield _gap(folder, expected, each.version - 1, acknowledged)
            expected, at = each.version + 1, each.at
            yield each
    # The client writes this number before the record: one that is larger names records that were never written.
    put = number_in(folder, "last_put_version")
    if put is not None and put >= expected > 0:
        yield _gap(folder, expected, put, acknowledged)


def _gap(folder: Folder, first: int, last: int, acknowledged: int) -> Skipped:
    why = "the client deletes logs once Neptune has received them" if last <= acknowledged else "they were not written"
    count = last - first + 1
    what = f"operation {first} is" if count == 1 else f"operations {first} to {last} are"
    return Skipped("", "", f"{what} missing: {why}", count, where=folder.path)


def number_in(folder: Folder, name: str) -> int | None:
    """Return the number in one of the files beside the logs."""
    if not os.path.isfile(os.path.join(folder.path, name)):  # reading a pipe would wait for its writer forever
        return None
    try:
        return int(Path(folder.path, name).read_text(encoding="ascii", errors="replace").strip() or 0)
    except (OSError, ValueError):
        return None


def _parsed(path: str, progress: Progress) -> Iterator[tuple[str, Any, bool]]:
    """Yield place and content of each record of a file, the reason where it is damaged, and whether the file ends."""
    offset = 0
    with open(path, "rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        # The client writes a record a line, for which msgspec is several times as fast as the way below.
        for line in stream:
            where = f"{path} at byte {offset}"
            offset += len(line)
            progress(len(line))
            try:
                yield where, msgspec.json.decode(line), False
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                yield from _slowly(path, line, offset - len(line), offset >= size)


def _slowly(path: str, line: bytes, start: int, is_end: bool) -> Iterator[tuple[str, Any, bool]]:
    """Parse a line that is not one record: several without newlines, one with a bare NaN, or a damaged one."""
    # The client itself looks for the next brace, so that line breaks may be missing; and its json.dumps writes NaN,
    # which is no JSON.
    text = line.decode("utf-8", "replace")
    place = 0
    while True:
        begin = text.find("{", place)
        if begin < 0:
            rest = text[place:].strip()
            if rest:
                yield f"{path} at byte {start + place}", f"these bytes are not a record: {rest[:40]!r}", is_end
            return
        where = f"{path} at byte {start + len(text[:begin].encode())}"
        if text[place:begin].strip():
            yield where, f"bytes before this record are damaged: {text[place:begin].strip()[:40]!r}", False
        try:
            found, place = _DECODER.raw_decode(text, begin)
            yield where, found, False
        except (ValueError, RecursionError):
            # Every record begins with this key, so that one damaged record does not cost those behind it.
            after = text.find('{"obj"', begin + 1)
            if after < 0:
                yield where, "the record is damaged", is_end
                return
            yield where, "the record is damaged", False
            place = after


def _operation(folder: Folder, found: Any, at: float, where: str) -> Operation | Skipped:
    try:
        facts = found["obj"]
        path = "/".join(map(str, facts["path"]))
        moment = found.get("at")
        moment = float(moment) if isinstance(moment, int | float) and math.isfinite(moment) else at
        return Operation(folder, str(facts["type"]), path, facts, int(found["version"]), moment, where)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        return Skipped("", "", f"the record is not an operation of Neptune's client ({error!r})", where=where)
