"""Structured objects as mappings: dataclasses, attrs, pydantic, msgspec, OmegaConf and argparse namespaces.

They are recognised by how they look, so that no library is imported here. Reading them never raises: a member that
cannot be read is `Unreadable`, with the reason.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, TypeVar

from msgspec import Struct

T = TypeVar("T")
MISSING = "???"
"""OmegaConf's mark of a value that is still to be given."""
NUMERIC = ("__float__", "__index__", "__array__")
"""Methods of objects that are numbers or arrays, whatever else they are."""


class Unreadable(Struct, frozen=True):
    """Stands for a member of a structured object that cannot be read."""

    reason: str


def as_mapping(value: object) -> Mapping[Any, Any] | None:
    """Return a mapping or a structured object as a mapping, and None for anything else."""
    made_of = type(value)
    if made_of is dict:
        return value  # type: ignore[return-value]  # the line before
    # Before the test for Mapping: a DictConfig is one, but reading a missing or interpolated key of it raises.
    if made_of.__module__.startswith("omegaconf"):
        return _attempt(lambda: _members_of_config(value), None)
    if isinstance(value, Mapping):
        return value
    # A dataclass itself, not an object of it, declares the same names and has no values.
    return None if isinstance(value, type) else _attempt(lambda: structure(value), None)


def structure(value: object) -> dict[str, Any] | None:
    """Return the members of an object that is no mapping but has named members, and None for anything else."""
    made_of = type(value)
    argparse = sys.modules.get("argparse")  # nobody holds its Namespace without having imported it
    if isinstance(value, SimpleNamespace) or (argparse and isinstance(value, argparse.Namespace)):
        return dict(vars(value))
    # Values of naiad are dataclasses, and so are arrays of some libraries: taken apart, each would become a
    # namespace.
    if made_of.__module__.partition(".")[0] == "naiad" or any(hasattr(made_of, name) for name in NUMERIC):
        return None
    names = _names(made_of, value)
    return None if names is None else {name: _member(value, name) for name in names}


def simple(value: object) -> object:
    """Return a value of OmegaConf in plain Python, or as its own mapping; any other value as it is."""
    made_of = type(value)
    if not made_of.__module__.startswith("omegaconf"):
        return value if is_sound(value) else Unreadable("looking at it raised an exception")
    return _attempt(lambda: _simple_config(value), value)


def is_sound(value: object) -> bool:
    """Whether an object can be looked at; a proxy of an object that is not there raises at the first question."""
    return _attempt(lambda: value.__class__, None) is not None


def items(mapping: Mapping[Any, Any]) -> list[tuple[Any, Any]] | Unreadable:
    """Return keys and values of a mapping; of one that raises, the reason, or it in the place of a value."""
    keys = read(lambda: list(mapping))
    return keys if isinstance(keys, Unreadable) else [(key, _item(mapping, key)) for key in keys]


def _names(made_of: type, value: object) -> list[str] | None:
    """Return the names of the members that a class declares, in their order."""
    if hasattr(made_of, "__dataclass_fields__"):
        import dataclasses  # it is loaded, or the class could not be one

        return [field.name for field in dataclasses.fields(made_of)]
    # Classes are asked, never objects: `getattr` on a proxy or a lazy module runs code of its own.
    own = made_of.__dict__.get("__attrs_attrs__") or getattr(made_of, "__attrs_attrs__", None)
    if isinstance(own, tuple):
        return [field.name for field in own]
    fields = getattr(made_of, "__struct_fields__", None)  # msgspec
    if isinstance(fields, tuple):
        return [*fields]
    return _names_of_model(made_of, value)


def _names_of_model(made_of: type, value: object) -> list[str] | None:
    """Return the names of the fields of a pydantic model, of version 2 or 1, with those that it was given besides."""
    if not any(base.__module__.startswith("pydantic") for base in made_of.__mro__):
        return None
    fields = getattr(made_of, "__pydantic_fields__", None) or getattr(made_of, "__fields__", None)
    if not isinstance(fields, Mapping):
        return None
    # Version 1 has no such attribute; there the values that were given besides lie among the others.
    extra = getattr(value, "__pydantic_extra__", None)
    if extra is None and not hasattr(made_of, "__pydantic_fields__"):
        extra = vars(value)
    return list(dict.fromkeys([*fields, *(extra if isinstance(extra, Mapping) else ())]))


def _member(value: object, name: str) -> object:
    return read(lambda: getattr(value, name))


def _item(mapping: Mapping[Any, Any], key: object) -> object:
    return read(lambda: mapping[key])


def read(look: Callable[[], T]) -> T | Unreadable:
    """Return the result of a call, or the reason why it raised."""
    try:
        return look()
    except Exception as problem:  # noqa: BLE001 (code of any library, whose error becomes part of a warning)
        return Unreadable(f"reading it raised {named(problem)}")


def named(problem: Exception) -> str:
    """Return class and message of an exception in one line; its own text may fail too."""
    name = type(problem).__name__
    return _attempt(lambda: " ".join(f"{name}: {problem}".split())[:200], name)


def _attempt(look: Callable[[], T], otherwise: T) -> T:
    try:
        return look()
    except Exception:  # noqa: BLE001 (code of any library, where looking at an object is only a question)
        return otherwise


# OmegaConf: a node is a mapping, a list, None, missing, or an interpolation of these


def _members_of_config(value: Any) -> Mapping[Any, Any] | None:
    is_open = isinstance(value, Mapping) and not (value._is_none() or value._is_missing())  # type: ignore[attr-defined]  # omegaconf's
    return {key: _node(value, key) for key in value} if is_open else None


def _node(config: Any, key: object) -> object:
    """Return a member of a configuration: resolved, or as it is written where that is not possible."""
    # The node, not the value: it shows whether the value is missing without raising for it.
    node = config._get_node(key)
    if node is not None and node._is_missing():
        return Unreadable(f"it is missing ({MISSING})")
    # An interpolation may name a key that only a later merge provides; its text is better than nothing.
    found = read(lambda: config[key])
    return str(node._value()) if isinstance(found, Unreadable) else found


def _simple_config(value: Any) -> object:
    if value._is_missing():
        return Unreadable(f"it is missing ({MISSING})")
    if value._is_none():
        return None
    if isinstance(value, Mapping):
        return value
    if hasattr(value, "__iter__"):
        return [_plain_item(value, place) for place in range(len(value))]
    return value._value()


def _plain_item(config: Any, place: int) -> object:
    """Return an item of a list in plain Python, as far down as it goes."""
    node = config._get_node(place)
    if node._is_missing():
        return MISSING
    item = _node(config, place)
    if isinstance(item, Mapping):
        item = _attempt(lambda: _members_of_config(item), None)
        return None if item is None else {key: _whole(each) for key, each in item.items()}
    return _whole(item)


def _whole(item: object) -> object:
    found = simple(item)
    if isinstance(found, Unreadable):
        return MISSING
    inner = as_mapping(found) if type(found).__module__.startswith("omegaconf") else None
    return found if inner is None else {key: _whole(each) for key, each in inner.items()}
