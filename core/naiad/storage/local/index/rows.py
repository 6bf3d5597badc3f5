"""The rows of an index: their facts, conversion from and to states, and the crc of each row."""

from __future__ import annotations

import array
import math
import sqlite3
import sys
import zlib
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, NamedTuple
from zlib import crc32

import msgspec

from naiad.kinds import MEMBERS, POINTS, TAGS, TEXTS
from naiad.lines import Lines
from naiad.ops import Assign, Count, Digest, Incoming, Millisecond, Moment, Op, Path, Plain, Step, Tags, Text
from naiad.paths import LONGEST
from naiad.storage.local.index.chunk_rows import CHUNK_TYPES, FIELD_SHIFT, Types, chunk_crc, is_typed, row_crc
from naiad.storage.local.index.states import (
    DELETED,
    NEVER,
    Deletions,
    FieldState,
    Last,
    Series,
    Shared,
    WriterState,
)

FORMAT = 1
"""Version of the whole run folder. A release opens every earlier one and refuses a later one untouched."""
HEAD_TYPES: Types = (int, int, bytes, int)
WRITER_TYPES: Types = (str, bytes, bytes, int)
POSITION_TYPES: Types = (str, int, int, int)
FIELD_TYPES: Types = (int, str, str, bytes, int)
PYRAMID_TYPES: Types = (int, int, (bytes, type(None)))
CHUNK_HEAD_TYPES: Types = (int, int, int)
PACK_TYPES: Types = (int, int, int, int, int, bytes)


class HeadRow(NamedTuple):
    """The row of the counts."""

    id: int
    format: int
    facts: bytes
    crc: int


class WriterRow(NamedTuple):
    """The row of a writer."""

    name: str
    facts: bytes
    fields: bytes
    crc: int


class PositionRow(NamedTuple):
    """The row of a journal file."""

    file: str
    upto: int
    is_done: int
    crc: int


class FieldRow(NamedTuple):
    """The row of a field."""

    id: int
    path: str
    kind: str
    facts: bytes
    crc: int


class PyramidRow(NamedTuple):
    """The row of a chunk without its points, or of several that follow each other, with a coarser pyramid."""

    key: int
    count: int  # type: ignore[assignment]  # the method of tuples is not used
    pyramid: bytes | None
    pieces: int = 1


class ChunkHead(NamedTuple):
    """The row of a chunk without its content."""

    key: int
    count: int  # type: ignore[assignment]  # the method of tuples is not used
    crc: int


class PackRow(NamedTuple):
    """The row of a pack."""

    id: int
    first_field: int
    last_field: int
    count: int  # type: ignore[assignment]  # the method of tuples is not used
    crc: int
    data: bytes


MALFORMED = (msgspec.MsgspecError, ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""Exceptions from reading bytes that fit their checksum and that no release writes."""
Pieces = Annotated[int, msgspec.Meta(ge=0, le=1 << FIELD_SHIFT)]


class Head(msgspec.Struct, array_like=True):
    """The counts that betray a vanished row, and `folds`, which every change of the index raises."""

    folds: Count = 0
    next_field: Count = 1
    next_pack: Count = 1
    fields: Count = 0
    writers: Count = 0
    chunks: Count = 0
    packs: Count = 0
    points: Count = 0
    is_noted: bool = False  # the sums of some writer speak of this index, until the run is sealed


class History(msgspec.Struct, array_like=True):
    """Which op of which writer the parts of a field are due to. Numbers of writers count in `writers`."""

    writers: list[str] = []
    spans: list[tuple[int, float, int, float]] | None = None  # writer; key of its first op; time of its last
    parts: list[tuple[int, Last]] | None = None  # the last point of each writer that has some
    by: list[int] = []  # whose of `parts` each piece is, where there are several
    rank: int | None = None  # of the last point
    config: tuple[float, int] | None = None
    entries: list[tuple[float, int]] = []  # time and writer of each tag, or of each member
    removed: list[tuple[Text, float, int]] = []
    cleared: tuple[float, int] | None = None


class DeletionFacts(msgspec.Struct, array_like=True):
    """The deletions at a path, as in `states.Deletions`."""

    deleted: dict[str, dict[str, float]]
    continuing: dict[str, list[str]]
    buried: dict[str, int]


class FieldFacts(msgspec.Struct, array_like=True):
    """The `facts` of a field row."""

    value: Plain
    tags: list[Text]
    config: tuple[float | None, float | None, str | None]
    writer: str
    at: Moment
    pieces: Pieces
    count: Count
    finite: Count
    minimum: float | None
    maximum: float | None
    total: float
    last_step: Step | None
    last_value: Plain
    last_time: Millisecond | None
    retired_at: float | None
    retired_by: str
    defined_at: float | None = None  # where it is the same as `at` and `writer`, nothing is said
    defined_by: str | None = None
    members: dict[str, str] = {}
    spread: float | None = None  # of an index that does not say, unknown
    history: History | None = None  # where there is more to say than that one writer wrote it
    deletions: DeletionFacts | None = None  # in the row of what was deleted at a path
    printed: dict[str, Lines] = {}


class WriterFacts(msgspec.Struct, array_like=True):
    """The `facts` of a writer row."""

    pid: int
    host: str
    boot: str
    session: Count
    role: str
    started: Moment
    at: Moment
    state: str | None
    dropped_points: Count
    dropped_ops: Count
    blobs: dict[Incoming, Digest] = {}


class Changes(msgspec.Struct):
    """The changes of one fold, besides the states that the projection marks as touched."""

    chunks: list[dict[str, Any]] = msgspec.field(default_factory=list)
    packs: list[dict[str, Any]] = msgspec.field(default_factory=list)
    positions: dict[str, tuple[int, bool]] = msgspec.field(default_factory=dict)
    points: int = 0
    new_fields: list[FieldState] = msgspec.field(default_factory=list)


_encode = msgspec.msgpack.Encoder().encode
WITH_DELETIONS = b"\xdc\x00\x16"
"""The facts of a field begin at least with these bytes, an array of 22 items, since each path has its deletions. In an
index of an earlier release any series may be one that was deleted, whatever its facts."""
_RETIRED = _encode([0, 0, 0, None, None, 0.0, None, None, None])[1:] + b"\xcb"
"""Part of the facts of each series that was deleted: no pieces and no points, and then a time."""
decode_head = msgspec.msgpack.Decoder(Head).decode
"""The counts out of the `facts` of a head row."""
_decode_field = msgspec.msgpack.Decoder(FieldFacts).decode
_decode_writer = msgspec.msgpack.Decoder(WriterFacts).decode


def is_whole(table: str, row: Mapping[Any, Any]) -> bool:
    """Whether a row of any table, its columns in their order, is as it was written."""
    types, crc = _ROWS[table]
    return len(row) == len(types) and is_typed(row.values(), types) and row["crc"] == crc(row)


def is_whole_pack(row: Any) -> bool:
    """Whether a row of the packs is as it was written."""
    return is_typed(row, PACK_TYPES) and row.crc == pack_crc(row._asdict())


def whole_fields(rows: list[FieldRow]) -> list[FieldRow]:
    """Return those of many rows of the fields that are as they were written."""
    # One expression without a call of Python's for each row: a program that opens a run waits for this.
    return [
        row
        for row in rows
        if (*map(type, row),) == FIELD_TYPES
        and row[4] == crc32(f"{row[0]}\0{row[1]}\0{row[2]}\0".encode("utf-8", "surrogatepass") + row[3] + b"\0")
    ]


def summed_rows(rows: Iterable[tuple[Any, ...]]) -> tuple[dict[str, list[Any] | None], list[FieldRow]] | None:
    """`ASPECTS` of each series of numbers by path, and the other rows; None where one is not as it was written.

    Raises:
        MsgspecError, ValueError, TypeError: there is more to a series than its points, or no release writes it.
    """
    summed: dict[str, list[Any] | None] = {}
    others: list[FieldRow] = []
    count = 0
    # One after the other, since the bytes of 100,000 rows would take memory that is new to the process.
    for number, path, kind, facts, crc in rows:
        if kind != POINTS:
            others.append(FieldRow(number, path, kind, facts, crc))
            continue
        # The same as in `whole_fields`.
        if crc != crc32(f"{number}\0{path}\0{kind}\0".encode("utf-8", "surrogatepass") + facts + b"\0"):
            return None
        if facts < WITH_DELETIONS or type(path) is not str:
            return None
        summed[path] = aspects_in(facts)
        count += 1
    is_whole = len(summed) == count and len(whole_fields(others)) == len(others)
    return (summed, others) if is_whole else None


def possibly_deleted(rows: Iterable[FieldRow]) -> list[FieldRow]:
    """Return the rows of deletions, and those that may be of a deleted series, found without decoding them."""
    return [row for row in rows if _RETIRED in row[3] or not row[2] or row[3][:3] < WITH_DELETIONS]


def typed(rows: Iterable[Any], types: Types) -> list[Any]:
    """The rows as a list.

    Raises:
        DatabaseError: something in them is of another type.
    """
    found = list(rows)
    # SQLite itself enforces no types, and code further up would fail far from the cause.
    if not all(is_typed(row, types) for row in found):
        raise damaged("a row holds something of another type")
    return found


def pack_crc(row: Mapping[str, Any]) -> int:
    """Return the crc column of a pack row."""
    return row_crc(row["id"], row["first_field"], row["last_field"], row["count"], row["data"])


def head_row(head: Head) -> dict[str, Any]:
    """The one row of the heads."""
    facts = _encode(head)
    return {"id": 1, "format": FORMAT, "facts": facts, "crc": row_crc(FORMAT, facts)}


def position_row(name: str, position: tuple[int, bool]) -> dict[str, Any]:
    """Return the row with the folded position of a journal file."""
    upto, is_done = position[0], int(position[1])
    return {"file": name, "upto": upto, "is_done": is_done, "crc": row_crc(name, upto, is_done)}


def facts_of_row(state: FieldState) -> tuple[bytes, int]:
    """Return the columns of a field's row that change: its facts, and the checksum of the row."""
    s, has_entries = state.series, state.entries is not None
    # An atom that was assigned once is the usual field, and its row stays short.
    is_as_defined = state.defined_at == state.at and state.defined_by == state.writer
    is_of_one = state.shared is None and not has_entries and state.config_key == NEVER
    has_history = not is_of_one or s.last_rank is not None
    # A tuple with the items of `FieldFacts`, which gives the same bytes in a quarter of the time.
    facts = _encode(
        (
            state.value, state.tags if has_entries else (), state.config, state.writer, state.at, state.pieces,
            s.count, s.finite, s.minimum, s.maximum, s.total, s.last_step, s.last_value, s.last_time,
            state.retired_at, state.retired_by,
            None if is_as_defined else state.defined_at, None if is_as_defined else state.defined_by,
            state.members if has_entries else {}, s.spread,
            _history(state) if has_history else None,
            None if state.deletions is None else _deletion_facts(state.deletions), state.printed,
        )
    )  # fmt: skip
    return facts, _field_crc(state.id, state.path, state.kind, facts)


def field_row(state: FieldState) -> FieldRow:
    """The row of a field."""
    return FieldRow(state.id, state.path, state.kind, *facts_of_row(state))


def field_state(number: int, path: str, kind: str, data: bytes, written: list[Op]) -> FieldState:
    """A field out of the columns of its row; `written` takes the ops that write its values.

    For `are_valid`, as the path is for `odd_paths`: both check many fields at once.

    Raises:
        MsgspecError, ValueError, LookupError, TypeError: they are not what a release writes (`MALFORMED`).
    """
    facts = _decode_field(data)
    written += _ops_of(path, kind, facts)
    series = Series(
        facts.count, facts.finite, facts.minimum, facts.maximum, facts.total,
        facts.last_step, facts.last_value, facts.last_time, facts.spread if facts.finite else 0.0,
    )  # fmt: skip
    state = FieldState(
        path, kind, number, facts.writer, facts.at, facts.value, facts.config, series, facts.pieces,
        facts.retired_at, facts.retired_by,
        facts.at if facts.defined_at is None else facts.defined_at,
        facts.writer if facts.defined_by is None else facts.defined_by,
    )  # fmt: skip
    if kind == DELETED:
        state.deletions = _deletions(facts)
    elif facts.history is not None or facts.tags or facts.members or facts.config != (None, None, None):
        _give_history(state, facts)
    state.printed = facts.printed
    # The CRC of a row that someone made by hand is right too: numbers that are used as indexes are checked for
    # themselves.
    if state.shared is not None and len(state.writers_of_pieces()) != state.pieces:
        raise ValueError(f"{state.pieces} pieces have {len(state.writers_of_pieces())} writers")
    return state


def aspects_in(data: bytes) -> list[Any] | None:
    """`ASPECTS` out of the facts of a series of numbers; None of one without points.

    Raises:
        MsgspecError, ValueError: they are unusual, or no release writes them.
    """
    facts = _decode_field(data)
    last, finite, spread = facts.last_value, facts.finite, facts.spread
    is_of_several = facts.history is not None and facts.history.parts is not None
    if is_of_several or facts.retired_at is not None or facts.value is not None or facts.tags:
        raise ValueError("there is more to it than points of one writer")
    if not facts.count:
        return None
    if facts.last_step is None or type(last) not in (int, float) or (finite and spread is None):
        raise ValueError("a fact is missing")
    if not finite or spread is None:
        return [last, facts.minimum, facts.maximum, None, None]
    variance = spread / finite if math.isfinite(spread) else math.inf
    return [last, facts.minimum, facts.maximum, facts.total / finite, variance]


def _ops_of(path: str, kind: str, facts: FieldFacts) -> list[Op]:
    """Return the ops that write the values of a field, checked: the CRC of a hostile row is right too."""
    last = facts.last_value
    is_number = last is None or type(last) in (int, float)
    if (facts.count and facts.last_step is None) or (kind == POINTS and not is_number):
        raise ValueError(f"a field of kind {kind!r} has other facts")
    texts: list[Any] = facts.tags if is_number or kind not in TEXTS else [*facts.tags, last]
    ops: list[Op] = [] if facts.value is None else [Assign(path, kind, facts.value)]
    return [*ops, Tags(path, texts, [], False)] if texts else ops


def odd_paths(found: list[str]) -> set[str]:
    """Return those texts that are no paths in their normal form."""
    # Nearly all paths are in order, which three searches in all of them together show: an empty part, at an end or
    # between two slashes, is a doubled slash there.
    joined = f"/{'/'.join(found)}/"
    is_plain = joined.isprintable() and max(map(len, found), default=0) <= LONGEST
    if is_plain and found and not any(part in joined for part in ("//", "/./", "/../")):
        return set()
    try:
        msgspec.convert(found, list[Path])  # at once, in half the time of one by one
    except msgspec.ValidationError:
        if len(found) > 1:
            return set().union(*(odd_paths([each]) for each in found))
        return set(found)
    return set()


def _history(state: FieldState) -> History:
    """Return the history of a field with several writers, or with more than one value of one writer."""
    # Names of writers stand once; keys refer to them by number, as a row may have thousands.
    writers: dict[str, int] = {}

    def number(name: str) -> int:
        return writers.setdefault(name, len(writers))

    found = History(rank=state.series.last_rank)
    if state.config_key != NEVER:
        found.config = (state.config_key[0], number(state.config_key[1]))
    if state.shared is not None:
        spans = state.shared.spans
        if spans is not None:
            found.spans = [(number(name), at, number(by), last) for name, ((at, by), last) in spans.items()]
        found.parts = [(number(name), last) for name, last in state.shared.parts.items()]
        found.by = state.shared.by
    if state.entries is not None:
        entries = state.set
        names: list[Any] = state.tags if state.kind == TAGS else list(state.members)
        found.entries = [(entries.present[name][0], number(entries.present[name][1])) for name in names]
        found.removed = [(name, at, number(writer)) for name, (at, writer) in entries.removed.items()]
        if entries.cleared != NEVER:
            found.cleared = (entries.cleared[0], number(entries.cleared[1]))
    found.writers = list(writers)
    return found


def _give_history(state: FieldState, facts: FieldFacts) -> None:
    """Restore the history. In rows of earlier releases it is that of the defining op."""
    history = facts.history or History()
    names, first = history.writers, (state.defined_at, state.defined_by)
    if facts.config != (None, None, None):
        state.config_key = first if history.config is None else (history.config[0], names[history.config[1]])
    if history.parts is not None:
        spans = None
        if history.spans is not None:
            spans = {names[i]: ((at, names[by]), last) for i, at, by, last in history.spans}
        state.shared = Shared(spans, {names[i]: part for i, part in history.parts}, history.by)
    state.series.last_rank = history.rank
    if state.kind in (TAGS, MEMBERS):
        keys = [(at, names[i]) for at, i in history.entries] or [first] * len(facts.tags or facts.members)
        contents = facts.members.items() if state.kind == MEMBERS else ((tag, "") for tag in facts.tags)
        for (name, content), key in zip(contents, keys, strict=True):
            state.set.present[name] = (*key, content)
        state.set.removed = {name: (at, names[i]) for name, at, i in history.removed}
        if history.cleared is not None:
            state.set.cleared = (history.cleared[0], names[history.cleared[1]])


def _deletion_facts(deletions: Deletions) -> DeletionFacts:
    continuing = {kind: sorted(writers) for kind, writers in deletions.continuing.items()}
    return DeletionFacts(deletions.deleted, continuing, deletions.buried)


def _deletions(facts: FieldFacts) -> Deletions:
    found = facts.deletions
    if found is None:
        return Deletions()
    return Deletions(found.deleted, {kind: set(writers) for kind, writers in found.continuing.items()}, found.buried)


def writer_row(writer: WriterState, made: Mapping[int, FieldState]) -> dict[str, Any]:
    """The row of a writer; `made` are the states of rows, by the number that the row had."""
    facts = _encode(WriterFacts(*(getattr(writer, name) for name in WriterFacts.__struct_fields__)))
    # In one expression: a writer may have 100,000 series.
    ids = [each.id if isinstance(each, FieldState) else _number_of(each, made) if each else 0 for each in writer.fields]
    fields = _swapped(array.array("q", ids)).tobytes()
    return {"name": writer.name, "facts": facts, "fields": fields, "crc": row_crc(writer.name, facts, fields)}


def _number_of(number: int, made: Mapping[int, FieldState]) -> int:
    """The number in the index of a series, which was this when the index was loaded."""
    state = made.get(number)
    return number if state is None else state.id


def writer_state(name: str, facts: bytes, fields: bytes) -> WriterState:
    """A writer out of its row."""
    found = _decode_writer(facts)
    writer = WriterState(name, **{each: getattr(found, each) for each in found.__struct_fields__})
    numbers = array.array("q")
    numbers.frombytes(fields)
    writer.fields = [number or None for number in _swapped(numbers)]
    return writer


def damaged(what: str) -> sqlite3.DatabaseError:
    """Return the error for damage that SQLite itself has not noticed."""
    return sqlite3.DatabaseError(what)


def _field_crc(number: int, path: str, kind: str, facts: bytes) -> int:
    """Return the result of `row_crc` for these columns in one expression; a fold may write 100,000 fields."""
    return zlib.crc32(f"{number}\0{path}\0{kind}\0".encode("utf-8", "surrogatepass") + facts + b"\0")


def _swapped(numbers: array.array[int]) -> array.array[int]:
    """The ids of fields, little-endian; 0 stands for a number whose definition was lost to damage."""
    # The file is little-endian, so that a store can be moved between machines.
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


_ROWS: dict[str, tuple[Types, Callable[[Mapping[str, Any]], int]]] = {
    "head": (HEAD_TYPES, lambda row: row_crc(row["format"], row["facts"])),
    "writer": (WRITER_TYPES, lambda row: row_crc(row["name"], row["facts"], row["fields"])),
    "position": (POSITION_TYPES, lambda row: row_crc(row["file"], row["upto"], row["is_done"])),
    "field": (FIELD_TYPES, lambda row: _field_crc(row["id"], row["path"], row["kind"], row["facts"])),
    "chunk": (CHUNK_TYPES, lambda row: chunk_crc(row["key"], row["count"], row["pyramid"], row["data"])),
    "pack": (PACK_TYPES, pack_crc),
}
