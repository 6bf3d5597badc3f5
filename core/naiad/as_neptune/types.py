"""`neptune.types`: naiad's values, and further names of Neptune's client."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, ClassVar, Generic, NewType, TypeVar

from naiad import types
from naiad.errors import NaiadError
from naiad.file import FileType
from naiad.handler import Handler
from naiad.types import (
    Artifact,
    Atom,
    Boolean,
    Datetime,
    File,
    FileSet,
    Float,
    FloatSeries,
    GitRef,
    Integer,
    ModelVersionStage,
    Namespace,
    Series,
    String,
    StringifyValue,
    StringSeries,
    StringSet,
    Value,
)

__all__ = [
    "Artifact",
    "Atom",
    "Boolean",
    "Datetime",
    "File",
    "FileSeries",
    "FileSet",
    "FileType",
    "Float",
    "FloatSeries",
    "GitRef",
    "GitRefDisabled",
    "Integer",
    "Mode",
    "ModelVersionStage",
    "Namespace",
    "Series",
    "SeriesValue",
    "Set",
    "String",
    "StringSeries",
    "StringSet",
    "StringifyValue",
    "Value",
    "ValueCopy",
    "ValueVisitor",
    "cast_value",
    "cast_value_for_extend",
]

T = TypeVar("T")
Set = StringSet
GitRefDisabled = NewType("GitRefDisabled", str)
"""The type of `GitRef.DISABLED`."""


class Mode(str, Enum):
    """The modes of `mode=`; a member equals its plain name."""

    OFFLINE = "offline"
    DEBUG = "debug"
    ASYNC = "async"
    SYNC = "sync"
    READ_ONLY = "read-only"

    def __str__(self) -> str:
        return self.value


class FileSeries(types.FileSeries):
    """Files over steps; options that no file has are left out."""

    def __init__(self, values: Any, timestamps: Any = None, steps: Any = None, **kwargs: Any) -> None:
        known = {name: kwargs[name] for name in ("name", "description") if name in kwargs}
        super().__init__(values, timestamps, steps, **known)


@dataclass
class SeriesValue(Generic[T]):
    """One point."""

    step: float | None
    value: T
    timestamp: float


@dataclass(frozen=True)
class ValueCopy(Value):
    """A value to be copied from another path, equivalent to the handler of that path."""

    kind: ClassVar[str] = "copy"
    source_handler: Handler


class ValueVisitor(Generic[T]):
    """One method for each kind of value; `visit` calls the one of a value's kind."""

    def visit(self, value: Value) -> T:
        """Call the method of the value's kind.

        Raises:
            AttributeError: there is none.
        """
        # The client's visitors have these methods under other names than naiad's kinds.
        name = {Integer.kind: "integer", Boolean.kind: "boolean", types.FileSeries.kind: "image_series"}.get(
            value.kind, value.kind
        )
        method: Callable[[Value], T] = getattr(self, f"visit_{name}")
        return method(value)

    def copy_value(self, source_type: Any, source_path: list[str]) -> T:
        """Visit the content of another path."""
        raise NotImplementedError

    def _unhandled(self, value: Any) -> T:
        raise NotImplementedError

    visit_artifact = visit_boolean = visit_datetime = visit_file = visit_file_set = visit_float = _unhandled
    visit_float_series = visit_git_ref = visit_image_series = visit_integer = visit_namespace = _unhandled
    visit_string = visit_string_series = visit_string_set = _unhandled


def cast_value(value: Any) -> Value | None:
    """Return a value as the type that names its kind; None if there is none.

    >>> cast_value(3), cast_value("a"), cast_value({"a": 1}), cast_value(object())
    (Integer(value=3), String(value='a'), Namespace(value={'a': 1}), None)
    """
    is_marked, given = isinstance(value, StringifyValue), value.value if isinstance(value, StringifyValue) else value
    if isinstance(given, Value):
        return given
    if isinstance(given, Handler):
        return ValueCopy(given)
    if isinstance(given, argparse.Namespace | Mapping):
        return Namespace(vars(given) if isinstance(given, argparse.Namespace) else given)
    # The narrowest first: True is an int to Python, and an int would be taken by Float too.
    for made_of in (Boolean, Integer, Float, String, Datetime):
        if _fits(made_of, given):
            return made_of(given)
    if File.is_convertable_to_image(given):
        return File.as_image(given)
    if File.is_convertable_to_html(given):
        return File.as_html(given)
    return String(str(given)) if is_marked else None


def cast_value_for_extend(values: Any) -> Series | Namespace | None:
    """Return a collection as the series that names its kind; None if there is none.

    >>> cast_value_for_extend([0.5]), cast_value_for_extend(["a"]).values
    (FloatSeries(values=(0.5,), min=None, max=None, unit=None, timestamps=None, steps=None), ('a',))
    """
    given = values.value if isinstance(values, StringifyValue) else values
    if isinstance(given, Series | Namespace):
        return given
    if isinstance(given, Mapping):
        return Namespace(given)
    # The first item decides, as it does when a series is extended.
    first = next(iter(given))
    if isinstance(first, File) or File.is_convertable(first):
        return FileSeries(given)
    if isinstance(first, str):
        return StringSeries(given)
    if _fits(Float, first):
        return FloatSeries(given)
    return StringSeries([str(each) for each in given]) if isinstance(values, StringifyValue) else None


def _fits(made_of: type[Atom], value: Any) -> bool:
    """Whether a value is of this kind by nature: no text that spells a number, no 1 that could mean True."""
    if made_of is Boolean and not isinstance(value, bool):
        return False
    if isinstance(value, str) and made_of is not String:
        return False
    if isinstance(value, float) and made_of is Integer:
        return False
    try:
        made_of(value)
    except NaiadError:
        return False
    return True
