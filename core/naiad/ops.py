"""Ops: the changes that a run can undergo. Every change, from any source, is one of these.

An op is a tagged msgpack array (`["assign", path, kind, value, at]`); a journal frame holds a list of ops that take
effect together or not at all. Ops name fields by path. Only the points of a float series, which do not travel as ops
but as fixed-size records, need a number, and `Define` binds that number to a path.

`at` is the writer's own time in seconds. It never goes back within one writer, so that between ops of one writer it
is their order, and between writers it is the rule by which the last one wins. Ops about fields are made without it:
the writer stamps them when it writes them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from naiad.kinds import LINES

if TYPE_CHECKING:
    Plain: TypeAlias = bool | int | float | str | bytes | None
    Text: TypeAlias = str | bytes
else:
    Plain = Text = Any  # msgspec validates no union of str and bytes, and a frame's crc vouches for them
# An atom is stored as a Plain. A datetime is its microseconds since 1970 UTC, bytes are a text with lone surrogates.
# A file is the JSON text of a `naiad.refs.FileRef`, wherever a file can be: as an atom, an entry or a member.


class _Op(msgspec.Struct, frozen=True, array_like=True, tag_field="op", gc=False):
    """Base of all ops: immutable and encoded as an array whose first item is the tag."""


class Open(_Op, frozen=True, tag="open"):
    """The start of a writer. A session lasts until no writer is left."""

    writer: str
    pid: int
    host: str
    boot: str
    session: int
    role: str  # "owner" called init_run, and its end counts; "guest" is a forked or spawned child, whose end does not
    at: float


class End(_Op, frozen=True, tag="end"):
    """The writer stopped in order: `finished`, `failed` or `terminated`. A writer without one was killed."""

    state: str
    at: float


class Define(_Op, frozen=True, tag="define"):
    """Binds `fid` in this writer's records to the float series at `path`; `fresh` deletes older content."""

    fid: int
    path: str
    fresh: bool
    at: float = 0.0


class Assign(_Op, frozen=True, tag="assign"):
    """The atom at `path` has this value."""

    path: str
    kind: str
    value: Plain
    at: float = 0.0


class Configure(_Op, frozen=True, tag="configure"):
    """Chart limits and unit of the float series at `path`."""

    path: str
    min: float | None
    max: float | None
    unit: str | None
    at: float = 0.0


class Strings(_Op, frozen=True, tag="strings"):
    """Points of a series of texts or files, in lists of one length; `fresh` deletes older content."""

    path: str
    texts: list[Text]
    steps: list[int | float]
    times: list[float]
    fresh: bool
    at: float = 0.0
    kind: str = LINES


class Printed(_Op, frozen=True, tag="printed"):
    """Bytes of a stream, as the program wrote them; lines are made of them later, and are points of a string series.

    `line` is the number, among the lines of the series, of the one in which the bytes begin.
    """

    path: str
    data: bytes
    line: int
    at: float


class Tags(_Op, frozen=True, tag="tags"):
    """Changes of the string set at `path`: first `clear`, then `remove`, then `add`."""

    path: str
    add: list[Text]
    remove: list[Text]
    clear: bool
    at: float = 0.0


class Members(_Op, frozen=True, tag="members"):
    """Changes of the file set at `path`: first `clear`, then `remove` (files and whole folders), then `add`."""

    path: str
    add: dict[str, str]  # a file by its name in the set
    remove: list[str]
    clear: bool
    at: float = 0.0


class Stored(_Op, frozen=True, tag="stored"):
    """Where content that this writer took in is: the sha256 of each incoming name, empty until it is known."""

    blobs: dict[str, str]
    at: float


class Delete(_Op, frozen=True, tag="delete"):
    """The field at `path` is gone, with all its points."""

    path: str
    at: float = 0.0


class Dropped(_Op, frozen=True, tag="dropped"):
    """So many points of float series, and other ops and points, of this writer were lost; the run is incomplete."""

    points: int
    ops: int
    at: float


Op: TypeAlias = (
    Open | End | Define | Assign | Configure | Strings | Printed | Tags | Members | Stored | Delete | Dropped
)

encode_ops: Callable[[Sequence[Op]], bytes] = msgspec.msgpack.Encoder().encode
"""Return the payload of one frame."""

decode_ops: Callable[[bytes], list[Op]] = msgspec.msgpack.Decoder(list[Op]).decode
"""Return the ops of one frame; raise msgspec.ValidationError for what is not a list of ops this release knows."""
