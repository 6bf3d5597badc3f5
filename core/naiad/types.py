"""Values that name their own kind: `run["lr"] = Float(1)` makes a Float where 1 alone would make an Integer.

They are plain data. An atom takes what its kind can hold without loss. The points of a series are checked when
they are written, because only then is there a path that an error can name.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import Enum
from typing import Any, ClassVar

from msgspec import Struct
from msgspec.structs import force_setattr

from naiad import structures
from naiad.errors import InvalidArgument, NaiadTypeError, NaiadValueError, shown
from naiad.file import File
from naiad.files.tracked import Changes, TrackedFile, content_hash, diff
from naiad.gitref import GitRef
from naiad.histogram import Histogram
from naiad.integers import LARGEST, SMALLEST
from naiad.scalars import Scalar, plain
from naiad.value import Value

__all__ = [
    "ATOMS",
    "Artifact",
    "Atom",
    "Boolean",
    "Datetime",
    "File",
    "FileSeries",
    "FileSet",
    "Float",
    "FloatSeries",
    "GitRef",
    "Histogram",
    "HistogramSeries",
    "Integer",
    "ModelVersionStage",
    "Namespace",
    "RunState",
    "Series",
    "String",
    "StringSeries",
    "StringSet",
    "StringifyValue",
    "Value",
    "as_mapping",
]

_sha256 = re.compile("[0-9a-f]{64}")


class StringifyValue(Struct, frozen=True):
    """A value that is kept as text if no field accepts it as it is; made by `stringify_unsupported`."""

    value: Any

    def __str__(self) -> str:
        return str(self.value)

    def __repr__(self) -> str:
        return repr(self.value)


class Atom(Value, Struct, frozen=True):
    """The base of values of which a field holds one."""

    value: Any  # each class names the type that its `fit` returns

    def __post_init__(self) -> None:
        """Convert the value to the type of its kind, or raise."""
        given = self.value.value if isinstance(self.value, StringifyValue) else self.value
        try:
            found = plain(given)
            if found is None:
                raise TypeError("no field accepts such a value")
            force_setattr(self, "value", self.fit(found))
        except TypeError as problem:
            raise NaiadTypeError(self._refusal(given, problem), value=given) from None
        except (ValueError, OverflowError) as problem:
            raise NaiadValueError(self._refusal(given, problem), value=given) from None

    @classmethod
    def fit(cls, value: Scalar) -> Scalar:
        """Return a plain value as this kind holds it.

        Raises:
            TypeError, ValueError: the kind cannot hold it without loss; with the reason.
        """
        raise TypeError(f"its type is {type(value).__name__}")

    def _refusal(self, value: object, problem: Exception) -> str:
        return f"{type(self).__name__} cannot hold {shown(value)}: {problem}."


class Float(Atom, frozen=True):
    """A floating-point number."""

    kind: ClassVar[str] = "float"
    value: float

    @classmethod
    def fit(cls, value: Scalar) -> float:
        """Return any number, or the number that a text writes out."""
        if isinstance(value, datetime):
            raise TypeError("it is not a number")
        try:
            found = float(value)
        except ValueError:
            raise ValueError("it is not a number") from None
        except OverflowError:
            raise ValueError("it is too large") from None
        # float("1e999") is inf without an error: digits that overflow are no infinity that was meant.
        if isinstance(value, str) and math.isinf(found) and "inf" not in value.lower():
            raise ValueError("it is too large")
        return found


class Integer(Atom, frozen=True):
    """A whole number of at most 64 bits."""

    kind: ClassVar[str] = "int"
    value: int

    @classmethod
    def fit(cls, value: Scalar) -> int:
        """Return a whole number, or the one that a text writes out."""
        if isinstance(value, datetime):
            raise TypeError("it is not a number")
        # int() would cut the fraction off, and say nothing.
        if isinstance(value, float) and not value.is_integer():
            raise ValueError("it is not a whole number")
        try:
            found = int(value)
        except ValueError:
            raise ValueError("it is not a whole number") from None
        if not SMALLEST <= found <= LARGEST:
            raise ValueError("it has more than 64 bits")
        return found


class Boolean(Atom, frozen=True):
    """True or False."""

    kind: ClassVar[str] = "bool"
    value: bool

    @classmethod
    def fit(cls, value: Scalar) -> bool:
        """Return True for 1 and False for 0."""
        if isinstance(value, str | datetime):
            raise TypeError("it is neither True nor False")
        if value not in (0, 1):
            raise ValueError("it is neither 0 nor 1")
        return bool(value)


class String(Atom, frozen=True):
    """A text."""

    kind: ClassVar[str] = "string"
    value: str

    def __post_init__(self) -> None:
        """Convert a value marked by `stringify_unsupported` to text."""
        if isinstance(self.value, StringifyValue):
            force_setattr(self, "value", str(self.value))
        super().__post_init__()

    @classmethod
    def fit(cls, value: Scalar) -> str:
        """Return a text, and nothing that would first have to become one."""
        if not isinstance(value, str):
            raise TypeError("it is not a text; convert it with str(...)")
        return value


class Datetime(Atom, frozen=True):
    """A moment, kept to the microsecond. Without a time zone it is local time."""

    kind: ClassVar[str] = "datetime"
    value: datetime

    @classmethod
    def fit(cls, value: Scalar) -> datetime:
        """Return a datetime as it is."""
        if not isinstance(value, datetime):
            raise TypeError("it is not a datetime")
        return value


ATOMS: dict[str, type[Atom]] = {atom.kind: atom for atom in (Boolean, Integer, Float, String, Datetime)}
"""The class of each kind of atom."""


class Series(Value):
    """The base of values of which a field holds many, one for each step."""

    values: Iterable[Any]
    timestamps: Iterable[Any] | None
    steps: Iterable[Any] | None

    def __len__(self) -> int:
        return len(self.values)  # type: ignore[arg-type]  # a tuple once it was taken

    def __post_init__(self) -> None:
        """Keep the values and the columns beside them, each absent or as long as the values."""
        columns = _columns(self.values, self.timestamps, self.steps)
        for name, column in zip(("values", "timestamps", "steps"), columns, strict=True):
            force_setattr(self, name, column)  # type: ignore[arg-type]  # each class that gets here is a frozen struct


class FloatSeries(Series, Struct, frozen=True):
    """Numbers over steps. Assigned to a field, they replace the points that are there.

    `min`, `max` and `unit` describe the axis of a chart; they limit nothing.
    """

    kind: ClassVar[str] = "float_series"
    values: Iterable[Any]  # a tuple, whatever was given
    min: float | None = None
    max: float | None = None
    unit: str | None = None
    timestamps: Iterable[Any] | None = None
    steps: Iterable[Any] | None = None


class StringSeries(Series, Struct, frozen=True):
    """Texts over steps. Assigned to a field, they replace the entries that are there."""

    kind: ClassVar[str] = "string_series"
    values: Iterable[Any]  # a tuple, whatever was given
    timestamps: Iterable[Any] | None = None
    steps: Iterable[Any] | None = None


class FileSeries(Series):
    """Files over steps. Assigned to a field, they replace the files that are there."""

    kind: ClassVar[str] = "file_series"

    # No Struct: it calls no `__init__`, and that of `neptune.types.FileSeries` accepts further options.
    def __init__(
        self,
        values: Iterable[Any],
        timestamps: Iterable[Any] | None = None,
        steps: Iterable[Any] | None = None,
        name: str | None = None,
        description: str | None = None,
    ) -> None:
        self.values, self.timestamps, self.steps = _columns(values, timestamps, steps)
        self.name, self.description = name, description

    def __repr__(self) -> str:
        return f"FileSeries({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"


class HistogramSeries(Series, Struct, frozen=True):
    """Histograms over steps. Assigned to a field, they replace the histograms that are there."""

    kind: ClassVar[str] = Histogram.kind
    values: Iterable[Any]  # a tuple, whatever was given
    timestamps: Iterable[Any] | None = None
    steps: Iterable[Any] | None = None


class FileSet(Value, Struct, frozen=True):
    """Files by name, from a path, a pattern or a list. Assigned to a field, they replace its files."""

    kind: ClassVar[str] = "file_set"
    file_globs: Any


class Artifact(Value, Struct, frozen=True):
    """A version of tracked files, as `fetch()` of an artifact returns it.

    It can be made from a hash alone if an artifact of the same run has that version. Without a hash it tracks no file.
    """

    kind: ClassVar[str] = "artifact"
    value: str | None = None
    files: tuple[TrackedFile, ...] | None = None

    def __post_init__(self) -> None:
        """Check the hash."""
        if self.value is not None and not _sha256.fullmatch(str(self.value)):
            problem = f"{shown(self.value)} does not."
            raise NaiadValueError(f"The hash of an artifact must have 64 hexadecimal digits; {problem}")

    def __repr__(self) -> str:
        return f"Artifact(hash={self.value!r})"  # an artifact may have a million files

    @property
    def hash(self) -> str | None:
        """SHA-256 in hex over the facts of all files."""
        return self.value

    @property
    def content_hash(self) -> str | None:
        """The hash of paths and content alone, which touching or copying the files does not change."""
        return None if self.files is None else content_hash(self.files)

    def diff(self, newer: Artifact) -> Changes:
        """Compare with a later version, file by file; `is_content_same` where at most times and places differ.

        >>> changes = old["data"].fetch().diff(new["data"].fetch())
        >>> [file.path for file in changes.added]
        ['train/b.csv']
        """
        return diff(self.files or (), newer.files or ())


class StringSet(Value, Struct, frozen=True):
    """Tags. Assigned to a field, they replace the tags that are there."""

    kind: ClassVar[str] = "string_set"
    values: Iterable[str]  # a frozenset, whatever was given

    def __post_init__(self) -> None:
        """Check that all tags are texts."""
        tags = _many("values", self.values)
        for tag in tags:
            if not isinstance(tag, str):
                raise NaiadTypeError(f"A tag must be a str, not {shown(tag)}.\nConvert it with str(...).")
        force_setattr(self, "values", frozenset(str.__str__(tag) for tag in tags))


class Namespace(Value, Struct, frozen=True):
    """Several values below one path; the same as the dict, or the structured object, that it is made of."""

    kind: ClassVar[str] = "namespace"
    value: Mapping[Any, Any]

    def __post_init__(self) -> None:
        """Convert a mapping or an argparse namespace."""
        mapping = as_mapping(self.value)
        if mapping is None:
            raise NaiadTypeError(f"Namespace cannot hold {shown(self.value)}.\nGive it a dict.")
        force_setattr(self, "value", mapping)


class RunState(str, Enum):
    """The state of a run; equal to its plain name, so `run["sys/state"].fetch() == "running"`."""

    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    TERMINATED = "terminated"
    KILLED = "killed"
    UNKNOWN = "unknown"

    @property
    def is_active(self) -> bool:
        """Whether a process is still writing the run."""
        return self is RunState.RUNNING

    def __str__(self) -> str:
        return self.value

    def __format__(self, format_spec: str) -> str:
        return format(self.value, format_spec)


class ModelVersionStage(str, Enum):
    """The stage of a model version; equal to its plain name."""

    NONE = "none"
    STAGING = "staging"
    PRODUCTION = "production"
    ARCHIVED = "archived"

    def __str__(self) -> str:
        return self.value


def as_mapping(value: object) -> Mapping[Any, Any] | None:
    """Return a dict, namespace, mapping or structured object as a mapping, and None for anything else."""
    if issubclass(type(value), Namespace):
        mapping: Mapping[Any, Any] = value.value  # type: ignore[attr-defined]  # the line before
        return mapping
    return structures.as_mapping(value)


def _columns(
    values: Any, timestamps: Any, steps: Any
) -> tuple[tuple[Any, ...], tuple[Any, ...] | None, tuple[Any, ...] | None]:
    """Return values and the columns beside them as tuples; a column is absent or as long as the values."""
    points = _many("values", values)
    columns = []
    for name, column in (("timestamps", timestamps), ("steps", steps)):
        kept = None if column is None else _many(name, column)
        if kept is not None and len(kept) != len(points):
            problem = f"{len(points)} values came with {len(kept)} {name}."
            raise InvalidArgument(f"{problem}\nGive one for each value.")
        columns.append(kept)
    return points, columns[0], columns[1]


def _many(name: str, values: Any) -> tuple[Any, ...]:
    """Return the items of a collection; a text is none."""
    if isinstance(values, StringifyValue) and isinstance(values.value, Iterable):
        return tuple(map(StringifyValue, values.value))
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise NaiadTypeError(f"`{name}` must be a collection, not {shown(values)}.\nUse a list.")
    return tuple(values)
