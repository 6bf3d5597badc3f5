"""Functions for users: `stringify_unsupported` and `describe`; and `flatten`, from dicts to single values."""

from __future__ import annotations

from typing import Any

from naiad import paths
from naiad.errors import NaiadValueError, UnsupportedValue, UnsupportedValueWarning, shown, warn_once
from naiad.plugins import first
from naiad.progress import NullProgressBar, TqdmProgressBar
from naiad.types import StringifyValue, Value, as_mapping

__all__ = [
    "NullProgressBar",
    "StringifyValue",
    "TqdmProgressBar",
    "describe",
    "flatten",
    "stringify_unsupported",
]

DEEPEST = 64


def stringify_unsupported(value: Any, expand: bool = False) -> Any:
    """Mark a value to be kept as text where no field accepts it as it is; a dict is marked value by value.

    Values that a field accepts stay what they are: 0.5 is a Float, and so is NaN. An int beyond 64 bits
    becomes text, so that no digit is lost; in a series of numbers it is a number still.

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
    """Return the values in a dict, in dicts within it and in argparse namespaces, each with its parsed path.

    Keys that are no str become one, and slashes in keys make namespaces. An empty dict has no values. The
    value of an empty key is left out with a warning.

    Args:
        value: a mapping, an `argparse.Namespace` or a `types.Namespace`.
        path: the parsed path below which the values go; "" for the root.

    Raises:
        NaiadPathError: a key that cannot be part of a path.
        NaiadValueError: dicts within dicts more than 64 deep, or one that contains itself.

    >>> flatten({"lr": 0.1, "data": {"train/size": 5, 1: "a"}}, "params")
    [('params/lr', 0.1), ('params/data/train/size', 5), ('params/data/1', 'a')]
    """
    leaves: list[tuple[str, Any]] = []
    _collect(value, path, (), leaves)
    return leaves


def _marked(value: Any, expand: bool, above: tuple[int, ...]) -> Any:
    inner = as_mapping(value)
    if inner is None and expand and isinstance(value, list | tuple | set | frozenset):
        inner = dict(enumerate(value))
    if inner is not None:
        around = _entered(value, above)
        return {str(key): _marked(item, expand, around) for key, item in inner.items()}
    return value if isinstance(value, Value | StringifyValue) else StringifyValue(value)


def _collect(value: Any, path: str, above: tuple[int, ...], leaves: list[tuple[str, Any]]) -> None:
    inner = as_mapping(value)
    if inner is None:
        leaves.append((path, value))
        return
    around = _entered(value, above)
    for key, item in inner.items():
        if paths.parse_or_root(key):
            _collect(item, paths.join(path, key), around, leaves)
        else:
            warn_once(("empty key", path), _about_empty_key(path, key, item), UnsupportedValueWarning)


def _entered(value: object, above: tuple[int, ...]) -> tuple[int, ...]:
    """Return the identities of a value and those around it, or raise at cycles and depth."""
    if id(value) in above:
        raise NaiadValueError(f"A dict that contains itself cannot be stored: {shown(value)}.")
    if len(above) >= DEEPEST:
        raise NaiadValueError(f"Dicts can be stored {DEEPEST} deep, and this one goes on: {shown(value)}.")
    return (*above, id(value))


def _about_empty_key(path: str, key: object, value: object) -> str:
    return f'A value below "{path}" was left out, because its key is {key!r}: {shown(value)}.\nGive it a name.'
