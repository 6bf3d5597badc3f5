"""Kinds: one row for each kind of field, with everything that differs between kinds outside their field classes.

A new kind is one row here, one value class and one field class. No other module of core spells the name of a kind; a
test says so. Other modules look at the row of a kind, or use the sets and roles below the table.
"""

from __future__ import annotations

from datetime import datetime
from functools import cached_property
from typing import Final, Literal, TypeAlias

from msgspec import Struct

Shape: TypeAlias = Literal["atom", "document", "points", "texts", "tags", "members", "derived", "unknown"]
Held: TypeAlias = Literal["boolean", "integer", "number", "text", "moment", "state", "file", "facts", "unknown"]
Compared: TypeAlias = Literal["boolean", "number", "moment", "state", "text", ""]
Sorted: TypeAlias = Literal["number", "text", ""]

ASPECTS = ("last", "min", "max", "average", "variance")
"""The numbers that a catalog keeps of a series of points, in this order."""


class Kind(Struct, frozen=True, dict=True):
    """One kind of field."""

    name: str
    """Its stable name in ops, in the index and in catalogs."""
    neptune: str
    """Its name in tables and queries; Neptune's where Neptune has the kind."""
    shape: Shape
    """How it is stored: one plain value (`atom`), one JSON text (`document`), numbers over steps in records (`points`),
    texts over steps (`texts`), a set of texts (`tags`), texts by name (`members`); or `derived` when it is read."""
    holds: Held
    """The meaning of a stored value. `file` and `facts` are JSON texts; a `moment` is microseconds since 1970 UTC."""
    fact: str = ""
    """Of `facts`: the member of the JSON that a catalog keeps and queries compare."""
    second: str = ""
    """Of `facts`: a further member, which tables and queries have beside the value, as `dataset:content`."""
    keeps: Literal["file", "manifest", ""] = ""
    """The content that a stored value refers to: itself, or as the list of an artifact's files."""
    drawn_as: Literal["curve", "bars", ""] = ""
    """How `naiad plot` draws it."""
    words: tuple[str, ...] = ()
    """Further names of the type in queries."""

    @cached_property
    def is_series(self) -> bool:
        """Whether a field of this kind has values over steps."""
        return self.shape in ("points", "texts")

    @cached_property
    def has_value(self) -> bool:
        """Whether tables show a value of it; of files and of kinds that a later release wrote they do not."""
        return self.holds not in ("file", "unknown")

    @cached_property
    def compared_as(self) -> Compared:
        """How queries compare its value; empty where they cannot."""
        if self.shape == "tags":
            return ""
        return _COMPARED.get(self.holds, "")

    @cached_property
    def sorted_as(self) -> Sorted:
        """How tables are sorted by its value; empty where they cannot be."""
        if self.shape == "texts" or not self.compared_as:
            return ""
        return "text" if self.compared_as in ("text", "state") else "number"

    @cached_property
    def aspects(self) -> tuple[str, ...]:
        """The numbers that a catalog keeps instead of one value."""
        return ASPECTS if self.shape == "points" else ()


_COMPARED: dict[Held, Compared] = {
    "boolean": "boolean",
    "integer": "number",
    "number": "number",
    "text": "text",
    "facts": "text",
    "moment": "moment",
    "state": "state",
}


class _Kinds(dict[str, Kind]):
    """Rows by the names of kinds. A kind of a later release has a row without a known shape."""

    def __missing__(self, name: str) -> Kind:
        return Kind(name, name, "unknown", "unknown")


KINDS: Final = _Kinds(
    (row.name, row)
    for row in (
        Kind("float", "float", "atom", "number"),
        Kind("int", "int", "atom", "integer", words=("integer",)),
        Kind("string", "string", "atom", "text"),
        Kind("bool", "bool", "atom", "boolean", words=("boolean",)),
        Kind("datetime", "datetime", "atom", "moment"),
        Kind("float_series", "floatSeries", "points", "number", drawn_as="curve"),
        Kind("string_series", "stringSeries", "texts", "text"),
        Kind("histogram_series", "histogramSeries", "texts", "facts", fact="summary", drawn_as="bars"),
        Kind("string_set", "stringSet", "tags", "text"),
        Kind("run_state", "experimentState", "derived", "state"),
        Kind("file", "file", "document", "file", keeps="file"),
        Kind("file_set", "fileSet", "members", "file", keeps="file"),
        Kind("file_series", "imageSeries", "texts", "file", keeps="file", words=("fileSeries",)),
        Kind("artifact", "artifact", "document", "facts", fact="hash", second="content", keeps="manifest"),
        Kind("git_ref", "gitRef", "document", "facts", fact="commit_id"),
    )
)
"""The row of each kind, by its name."""

ATOMS: Final = frozenset(kind.name for kind in KINDS.values() if kind.shape == "atom")
"""Kinds that hold one plain value."""
SERIES: Final = frozenset(kind.name for kind in KINDS.values() if kind.is_series)
"""Kinds with values over steps."""
TEXTS: Final = frozenset(kind.name for kind in KINDS.values() if kind.shape == "texts")
"""Series whose points are texts, written by the op `Strings`."""
SECONDS: Final = frozenset(kind.second for kind in KINDS.values() if kind.second)
"""Members of facts that stand in tables beside the value of their field, under its path, a colon and their name."""
FILES: Final = frozenset(kind.name for kind in KINDS.values() if kind.keeps)
"""Kinds that refer to content in `blobs/`."""


def _only(shape: Shape, holds: Held | None = None) -> str:
    """Return the one kind that is stored like this."""
    [found] = (kind.name for kind in KINDS.values() if kind.shape == shape and holds in (None, kind.holds))
    return found


POINTS: Final = _only("points")
"""The kind that `Define`, `Configure` and records of points write."""
LINES: Final = _only("texts", "text")
"""The kind that `Printed` writes, and `Strings` where it names no kind."""
TAGS: Final = _only("tags")
"""The kind that `Tags` writes."""
FILE: Final = _only("document", "file")
"""The kind of a single file."""
MEMBERS: Final = _only("members")
"""The kind that `Members` writes."""

ATOM_OF: Final[dict[type, str]] = {
    bool: _only("atom", "boolean"),
    int: _only("atom", "integer"),
    float: _only("atom", "number"),
    str: _only("atom", "text"),
    datetime: _only("atom", "moment"),
}
"""The kind of atom that a plain value makes."""

_text, _bool, _number, _moment = (_only("atom", holds) for holds in ("text", "boolean", "number", "moment"))

DERIVED: Final = {
    "sys/state": _only("derived"),
    "sys/modification_time": _moment,
    "sys/ping_time": _moment,
    "sys/running_time": _number,
    "sys/size": _number,
}
"""The fields that no process writes, and their kinds: they follow from who writes a run, and from its files."""

SYS: Final = {
    **DERIVED,
    "sys/creation_time": _moment,
    "sys/failed": _bool,
    "sys/trashed": _bool,
    "sys/protected": _bool,
    "sys/rewinds": LINES,
    "sys/stage_history": LINES,
    "sys/tags": TAGS,
    "sys/group_tags": TAGS,
    "sys/former_ids": TAGS,
    **dict.fromkeys(("sys/id", "sys/name", "sys/owner", "sys/model_id", "sys/stage", "sys/visibility"), _text),
    **dict.fromkeys(("sys/project", "sys/parent", "sys/parent_uid", "sys/alerts"), _text),
}
"""The fields of `sys` that naiad's own modules write or ask for, and their kinds."""

PROTECTED: Final = "sys/protected"
"""Whether nothing may delete the container."""
FORMER_IDS: Final = "sys/former_ids"
"""The ids that a run had in other projects, which go on to mean it."""
ALERTS: Final = "sys/alerts"
"""The key of the session whose end is to be noticed; no target of an alert is ever stored."""
PARENT: Final = "sys/parent"
"""The id of the run that a run belongs to, for people and queries."""
PARENT_UID: Final = "sys/parent_uid"
"""Its name in the store, by which it is found: it stays the same when ids change."""
