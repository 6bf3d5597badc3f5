"""Functions for users: `stringify_unsupported` and `describe`; and `flatten`, from dicts to single values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from naiad import paths
from naiad.errors import NaiadValueError, UnsupportedValue, UnsupportedValueWarning, shown, warn_once
from naiad.plugins import first
from naiad.progress import NullProgressBar, TqdmProgressBar
from naiad.structures import Unreadable, items, simple
from naiad.types import Namespace, StringifyValue, Value, as_mapping

__all__ = [
    "NullProgressBar",
    "StringifyValue",
    "TqdmProgressBar",
    "describe",
    "flatten",
    "stringify_unsupported",
]

DEEPEST = 64
MOST_NAMED = 3
PLAIN = frozenset({float, int, bool, str, type(None), StringifyValue})
"""Types of values that hold no others."""


def stringify_unsupported(value: Any, expand: bool = False) -> Any:
    """Mark a value to be kept as text where no field accepts it as it is.

    A dict is marked value by value, and so is a structured object: a dataclass, an attrs or pydantic object, a
    configuration of OmegaConf, an `argparse.Namespace`.

    Values that a field accepts stay unchanged: 0.5 is a Float, and so is NaN. An int beyond 64 bits
    becomes text, so that no digit is lost; in a series of numbers it stays a number.

    Args:
        value: anything, most often a dict of parameters.
        expand: store the items of a list, tuple or set one by one, below "0", "1" and so on.

    Raises:
        NaiadValueError: dicts within dicts more than 64 deep, or one that contains itself.

    >>> stringify_unsupported({"layers": [64, 32], "lr": 0.1})
    {'layers': [64, 32], 'lr': 0.1}
    >>> stringify_unsupported({"layers": [64, 32]}, expand=True)
    {'layers': {'0': 64, '1': 32}}
    """
    return _marked(value, expand, ())


def describe(subject: object) -> dict[str, Any]:
    """Return a plugin's description of a model or an estimator, as a dict to assign.

    Raises:
        UnsupportedValue: no plugin describes such objects.
    """
    answer = first("naiad_describe", subject=subject)
    if answer is None:
        raise UnsupportedValue(
            f"No plugin can describe {shown(subject)}.\nAssign a dict of its parameters instead.",
            value=subject,
        )
    return dict(answer)


def flatten(value: Any, path: str) -> list[tuple[str, Any]]:
    """Return the values in a dict or structured object, and in those within it, each with its parsed path.

    Keys that are not str are converted, and slashes in keys make namespaces. An empty dict has no values. Members that
    cannot be read, and the value of an empty key, are left out with one warning.

    Args:
        value: a mapping, a dataclass, an attrs or pydantic object, an `argparse.Namespace`, a configuration of
            OmegaConf or a `types.Namespace`.
        path: the parsed path below which the values go; "" for the root.

    Raises:
        NaiadPathError: a key that cannot be part of a path.
        NaiadValueError: two keys that give one path; dicts within dicts more than 64 deep, or one that contains
            itself.

    >>> flatten({"lr": 0.1, "data": {"train/size": 5, 1: "a"}}, "params")
    [('params/lr', 0.1), ('params/data/train/size', 5), ('params/data/1', 'a')]
    """
    found = leaves(value, path)
    # One warning for all of them, with the first reason: an object may have hundreds.
    refused = [leaf for leaf in found if isinstance(leaf[1], Unreadable)]
    if not refused:
        return found
    message = f"{left_out([place for place, _ in refused])}\nThe first of them: {refused[0][1].reason}."
    warn_once(("unreadable", refused[0][0], len(refused)), message, UnsupportedValueWarning)
    return [leaf for leaf in found if not isinstance(leaf[1], Unreadable)]


def leaves(value: Any, path: str) -> list[tuple[str, Any]]:
    """Return the same as `flatten`, with an `Unreadable` for each value that is to be left out."""
    found: dict[str, Any] = {}
    _collect(value, path, (), found)
    return list(found.items())


def left_out(where: Sequence[str]) -> str:
    """Return the beginning of a warning about values that were left out: how many, and the first paths.

    >>> left_out(["a", "b", "c", "d", "e"])
    '5 values were left out: "a", "b", "c" and 2 more.'
    """
    first_ones = ", ".join(f'"{each}"' for each in where[:MOST_NAMED])
    rest = f" and {len(where) - MOST_NAMED} more" if len(where) > MOST_NAMED else ""
    return f"{len(where)} value{'s were' if len(where) > 1 else ' was'} left out: {first_ones}{rest}."


def _marked(value: Any, expand: bool, above: tuple[int, ...]) -> Any:
    given = simple(value)
    inner = as_mapping(given)
    if inner is None and expand and isinstance(given, list | tuple | set | frozenset):
        inner = dict(enumerate(given))
    if inner is None:
        return given if isinstance(given, Value | StringifyValue | Unreadable) else StringifyValue(given)
    around = _entered(value, above)
    if isinstance(around, Unreadable):
        return around
    found = items(inner)
    if isinstance(found, Unreadable):
        return found
    marked: dict[str, Any] = {}
    for key, item in found:
        _require_one(str(key), marked, key)
        marked[str(key)] = _marked(item, expand, around)
    return marked


def _collect(value: Any, path: str, above: tuple[int, ...], found: dict[str, Any]) -> None:
    """Add the leaves of a value to those that were found."""
    # The usual leaf, by its exact type: a dict of ten thousand parameters takes this way for each.
    if type(value) in PLAIN and path not in found:
        found[path] = value
        return
    given, inner = (value, value) if type(value) is dict else _opened(value)
    around = () if inner is None else _entered(value, above)
    if inner is None or isinstance(around, Unreadable):
        _require_one(path, found)
        found[path] = given if inner is None else around
        return
    entries = inner.items() if type(inner) is dict else items(inner)
    if isinstance(entries, Unreadable):
        found[path] = entries
        return
    for key, item in entries:
        if paths.parse_or_root(key):
            _collect(item, paths.join(path, key), around, found)
        else:
            # setdefault: a value that has this path in earnest must not be lost to one without a name.
            found.setdefault(path, Unreadable(f"its key is {key!r}, so it has no name: {shown(item)}"))


def _opened(value: Any) -> tuple[Any, Mapping[Any, Any] | None]:
    """Return a value in plain Python, and its members if any."""
    given = simple(value)
    inner = as_mapping(given)
    # A dataclass of a library may be what a plugin converts: a plot or a model, which as a dict of its members is of
    # no use.
    if inner is None or isinstance(given, Mapping | Namespace):
        return given, inner
    answer = first("naiad_convert", value=given)
    return (given, inner) if answer is None else (answer, as_mapping(answer))


def _require_one(path: str, known: Mapping[str, Any], key: object = None) -> None:
    """Raise for a path that a call gives two values."""
    if path in known and not isinstance(known[path], Unreadable):
        given = "" if key is None else f" ({shown(key)} is one of them)"
        raise NaiadValueError(
            f'Two of the given keys become the same path "{path}"{given}.\nRename one of them.', path=path
        )


def _entered(value: object, above: tuple[int, ...]) -> tuple[int, ...] | Unreadable:
    """Return the identities of a value and those around it, or raise at cycles and depth.

    An object of a library is left out instead: its user cannot follow its references.
    """
    if id(value) not in above and len(above) < DEEPEST:
        return (*above, id(value))
    if not isinstance(value, Mapping | Namespace | list | tuple | set | frozenset):
        return Unreadable("it contains itself" if id(value) in above else f"it is nested more than {DEEPEST} deep")
    if id(value) in above:
        raise NaiadValueError(f"A dict that contains itself cannot be stored: {shown(value)}.")
    raise NaiadValueError(f"Dicts can be nested {DEEPEST} levels deep; this one is deeper: {shown(value)}.")
