"""`neptune.attributes`: naiad's field classes, those of Neptune's that only name something, and two views."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from datetime import datetime
from typing import Any

from naiad.as_neptune import views
from naiad.attributes import (
    Artifact,
    Atom,
    Attribute,
    Boolean,
    Datetime,
    File,
    FileSeries,
    FileSet,
    Float,
    FloatSeries,
    GitRef,
    Integer,
    RunState,
    Series,
    String,
    StringSeries,
    StringSet,
)
from naiad.errors import InvalidArgument
from naiad.fields.registry import field_class
from naiad.kinds import KINDS

__all__ = [
    "Artifact",
    "Atom",
    "Attribute",
    "Boolean",
    "CopiableAtom",
    "Datetime",
    "FetchableSeries",
    "File",
    "FileSeries",
    "FileSet",
    "Float",
    "FloatSeries",
    "GitRef",
    "Integer",
    "Namespace",
    "NamespaceBuilder",
    "NotebookRef",
    "RunState",
    "Series",
    "Set",
    "String",
    "StringSeries",
    "StringSet",
    "create_attribute_from_type",
    "shown",
]

CopiableAtom = Atom
FetchableSeries = Series
Set = StringSet


class NotebookRef(Attribute):
    """The notebook that Neptune's extension of Jupyter named; nothing here makes one."""

    kind = "notebook_ref"


class ShownState(RunState):
    """The state of a run in Neptune's two words."""

    def fetch(self) -> str:
        """Return the state."""
        return views.state(super().fetch())


class ShownDatetime(Datetime):
    """A moment to the millisecond. It is written through the field that it shows."""

    original: Datetime

    def fetch(self) -> datetime:
        """Return the moment."""
        found: datetime = views.in_milliseconds(super().fetch())
        return found

    def assign(self, value: object, *, wait: bool = False) -> None:
        """Replace the moment."""
        self.original.assign(value, wait=wait)


SHOWN: dict[type[Attribute], type[Attribute]] = {RunState: ShownState, Datetime: ShownDatetime}


def shown(field: Any) -> Any:
    """Return a field as a program of Neptune's gets it: those with a view as a copy that has it."""
    made_of = SHOWN.get(type(field))
    if made_of is None:
        return field
    # A copy, since the field itself is cached by its session, where naiad's own API finds it too.
    twin = copy.copy(field)
    twin.__class__ = made_of
    twin.original = field
    return twin


class Namespace(MutableMapping[str, Any]):
    """The fields below a path, as a mapping of names to fields and namespaces.

    Args:
        container: the run, or another container.
        path: the parts of the path.
    """

    def __init__(self, container: Any, path: list[str]) -> None:
        self._container = container
        self._path = path
        self._fields: dict[str, Any] = {}

    def __getitem__(self, key: str) -> Any:
        return self._fields[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self._fields[key] = value

    def __delitem__(self, key: str) -> None:
        del self._fields[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def to_dict(self) -> dict[str, Any]:
        """Return nested dicts with fields as leaves."""
        return {name: item.to_dict() if isinstance(item, Namespace) else item for name, item in self.items()}

    def assign(self, value: Mapping[str, Any], *, wait: bool = False) -> None:
        """Store each value of a dict below the path."""
        self._handler.assign(value, wait=wait)

    def extend(
        self, value: Mapping[str, Any], *, steps: Any = None, timestamps: Any = None, wait: bool = False, **kwargs: Any
    ) -> None:
        """Add points to the series of each key of a dict of collections."""
        self._handler.extend(value, steps=steps, timestamps=timestamps, wait=wait, **kwargs)

    def fetch(self) -> dict[str, Any]:
        """Return the single values below the path."""
        found: dict[str, Any] = self._handler.fetch()
        return found

    @property
    def _handler(self) -> Any:
        return self._container["/".join(self._path)]


class NamespaceBuilder:
    """Makes namespaces of one container."""

    def __init__(self, container: Any) -> None:
        self._container = container

    def __call__(self, path: list[str]) -> Namespace:
        """Return the namespace of a path."""
        return Namespace(self._container, path)


BY_TYPE: dict[str, type[Attribute]] = {
    **{row.neptune: field_class(name) for name, row in KINDS.items()},
    # Not in naiad's table of kinds: only Neptune's extension of Jupyter ever wrote one.
    "notebookRef": NotebookRef,
}


def create_attribute_from_type(attribute_type: Any, container: Any, path: list[str]) -> Attribute:
    """Return a field of a container by Neptune's name of its kind; nothing is stored.

    Raises:
        InvalidArgument: there is no such kind.
    """
    name = str(getattr(attribute_type, "value", attribute_type))
    if name not in BY_TYPE:
        raise InvalidArgument(
            f"There is no type {name!r}.\nThe types are {', '.join(BY_TYPE)}.", argument="attribute_type"
        )
    make: Callable[..., Attribute] = BY_TYPE[name]
    # Made and not looked up: Neptune's function gives a field for a path at which nothing is yet.
    return make(container._session, "/".join(path))
