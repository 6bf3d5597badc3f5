"""Ops: the changes that a run can undergo. Every change, from any source, is one of these.

An op is a tagged msgpack array (`["assign", path, kind, value, at]`); a journal frame holds a list of ops that take
effect together or not at all. Ops name fields by path. Only the points of a float series, which do not travel as ops
but as fixed-size records, need a number, and `Define` binds that number to a path.

`at` is the writer's own time in seconds. It never goes back within one writer, so that between ops of one writer it
is their order, and between writers it is the rule by which the last one wins. Ops about fields are made without it:
the writer stamps them when it writes them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeAlias

import msgspec

from naiad.integers import LARGEST, SMALLEST
from naiad.kinds import KINDS, LINES, Held

if TYPE_CHECKING:
    Plain: TypeAlias = bool | int | float | str | bytes | None
    Text: TypeAlias = str | bytes
else:
    Plain = Text = Any  # msgspec validates no union of str and bytes: `read_frames` does
# An atom is stored as a Plain. A datetime is its microseconds since 1970 UTC, bytes are a text with lone surrogates.
# A file is the JSON text of a `naiad.refs.FileRef`, wherever a file can be: as an atom, an entry or a member.


Meta = msgspec.Meta
Path = Annotated[
    str,
    Meta(max_length=1024, pattern=r"^(?:(?!\.{1,2}(?:/|\Z))[^/\x00-\x1f]+/)*(?!\.{1,2}\Z)[^/\x00-\x1f]+\Z"),
]
"""A path in its normal form, as `naiad.paths` makes it."""
Moment = Annotated[float, Meta(ge=-62_135_596_800.0, le=253_402_300_800.0)]
"""Unix seconds of the years 1 to 9999, which every calendar can show; not NaN."""
Number = Annotated[int, Meta(ge=1, le=1 << 24)]
"""Of a series. Readers keep a list of a writer's numbers, so a far larger one would only fill their memory."""
Step = (
    Annotated[int, Meta(ge=SMALLEST, le=LARGEST)]
    | Annotated[float, Meta(ge=-sys.float_info.max, le=sys.float_info.max)]
)
Count = Annotated[int, Meta(ge=0, le=2**53)]
Millisecond = Annotated[int, Meta(ge=-62_135_596_800_000, le=253_402_300_800_000)]
"""Since 1970 UTC, of the same years as a `Moment`."""
Incoming = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}\.[0-9a-f]{16}\Z")]
Digest = Annotated[str, Meta(pattern=r"^([0-9a-f]{64})?\Z")]


# Arrays instead of maps: field names would be most of a small frame. New fields of an op may only be added at the
# end, with a default: older files lack them, and older releases skip those that follow. `gc=False`, since an op can
# be part of no cycle and a long journal makes millions of them.
class _Op(msgspec.Struct, frozen=True, array_like=True, tag_field="op", gc=False):
    """Base of all ops: immutable and encoded as an array whose first item is the tag."""


class Open(_Op, frozen=True, tag="open"):
    """The start of a writer. A session lasts until no writer is left."""

    writer: str
    pid: int
    host: str
    boot: str
    session: Count
    role: str
    """`owner` called init_run: its end is that of the run. `guest` is a child of it: the run is running while it lives.
    `editor` is a command, a page or a server that changes some fields: neither its life nor its end counts."""
    at: Moment


class End(_Op, frozen=True, tag="end"):
    """The writer stopped in order: `finished`, `failed` or `terminated`. A writer without one was killed."""

    state: str
    at: Moment


class Define(_Op, frozen=True, tag="define"):
    """Binds `fid` in this writer's records to the float series at `path`; `fresh` deletes older content."""

    fid: Number
    path: Path
    fresh: bool
    at: Moment = 0.0


class Assign(_Op, frozen=True, tag="assign"):
    """The atom at `path` has this value."""

    path: Path
    kind: str
    value: Plain
    at: Moment = 0.0


class Configure(_Op, frozen=True, tag="configure"):
    """Chart limits and unit of the float series at `path`."""

    path: Path
    min: float | None
    max: float | None
    unit: str | None
    at: Moment = 0.0


class Strings(_Op, frozen=True, tag="strings"):
    """Points of a series of texts or files, in lists of one length; `fresh` deletes older content."""

    path: Path
    texts: list[Text]
    steps: list[Step]
    times: list[Moment]
    fresh: bool
    at: Moment = 0.0
    kind: str = LINES


class Printed(_Op, frozen=True, tag="printed"):
    """Bytes of a stream, as the program wrote them; lines are made of them later, and are points of a string series.

    `line` is the number, among the lines of the series, of the one in which the bytes begin.
    """

    path: Path
    data: bytes
    line: Count
    at: Moment


class Tags(_Op, frozen=True, tag="tags"):
    """Changes of the string set at `path`: first `clear`, then `remove`, then `add`."""

    path: Path
    add: list[Text]
    remove: list[Text]
    clear: bool
    at: Moment = 0.0


class Members(_Op, frozen=True, tag="members"):
    """Changes of the file set at `path`: first `clear`, then `remove` (files and whole folders), then `add`."""

    path: Path
    add: dict[str, str]  # a file by its name in the set
    remove: list[str]
    clear: bool
    at: Moment = 0.0


class Stored(_Op, frozen=True, tag="stored"):
    """Where content that this writer took in is: the sha256 of each incoming name, empty until it is known."""

    blobs: dict[Incoming, Digest]
    at: Moment


class Delete(_Op, frozen=True, tag="delete"):
    """The field at `path` is gone, with all its points."""

    path: Path
    at: Moment = 0.0


class Dropped(_Op, frozen=True, tag="dropped"):
    """So many points of float series, and other ops and points, of this writer were lost; the run is incomplete."""

    points: Count
    ops: Count
    at: Moment


Op: TypeAlias = (
    Open | End | Define | Assign | Configure | Strings | Printed | Tags | Members | Stored | Delete | Dropped
)


class Frame(NamedTuple):
    """Ops of one writer that take effect together; `end` is the offset of the byte after them in their file."""

    sequence: int
    ops: list[Op]
    end: int


# One encoder and one decoder for the process: making one compiles the types of all ops, which takes longer than most
# frames.
encode_ops: Callable[[Sequence[Op]], bytes] = msgspec.msgpack.Encoder().encode
"""Return the payload of one frame."""

decode_ops: Callable[[bytes], list[Op]] = msgspec.msgpack.Decoder(list[Op]).decode
"""Return the ops of one frame; raise msgspec.ValidationError for what is not a list of ops this release knows."""


# A container with a name of the user's may have begun on another machine, without which a program without its server
# takes it for a new one. Its facts then yield to those of the earlier begin: their time is one of the first second of
# 1970, later for an earlier begin, and they precede the `Open` of their writer, whose time those that follow have.
def begin_time(now: float) -> float:
    """Return the time of ops that yield to all others, and to those of an earlier begin."""
    return 1 / max(1.0, now)


def yields(op: Op) -> bool:
    """Whether an op has such a time."""
    return 0 < op.at <= 1


PLAIN: dict[Held, tuple[type, ...]] = {
    "boolean": (bool,),
    "integer": (int,),
    "number": (float, int),
    "text": (str, bytes),
    "moment": (int,),
}
"""The types of stored atoms; documents are texts."""
ASSIGNED = {row.name: PLAIN.get(row.holds, (str,)) for row in KINDS.values() if row.shape in ("atom", "document")}
"""The types that the value of an `Assign` may have, by the kind of the field."""
# A run that a later release wrote stays readable: fields of kinds that this one lacks are kept as they are, not
# shown.
ASSIGNED_LATER = (bool, int, float, str, bytes)
"""The same of a kind of a later release."""
MOMENTS = {row.name for row in KINDS.values() if row.shape == "atom" and row.holds == "moment"}
EARLIEST, LATEST = -62_135_596_800_000_000, 253_402_300_800_000_000
"""Microseconds of the years 1 to 9999, which every calendar can show."""
