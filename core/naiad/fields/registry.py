"""The field class of each kind: the atoms in `atoms.py`, each other one in the module that has the kind's name.

A class is imported when a field of its kind is first met, since a run of numbers and texts needs few of them.
"""

from __future__ import annotations

from importlib import import_module

from naiad.errors import NewerFormat
from naiad.fields.base import Field
from naiad.kinds import ATOMS, KINDS


class _Classes(dict[str, type[Field]]):
    """Field classes by their kinds, as far as they were needed."""

    def __missing__(self, kind: str) -> type[Field]:
        if kind not in KINDS:
            raise KeyError(kind)
        home = import_module(f"naiad.fields.{'atoms' if kind in ATOMS else kind}")
        for each in vars(home).values():
            if isinstance(each, type) and issubclass(each, Field) and getattr(each, "kind", None) == kind:
                self[kind] = each
                return each
        raise KeyError(kind)


FIELDS = _Classes()


def field_class(kind: str) -> type[Field]:
    """Return the class of a kind.

    Raises:
        NewerFormat: a later release wrote a kind that this one lacks.
    """
    try:
        return FIELDS[kind]
    except KeyError:
        raise NewerFormat(f"The run has a field of kind {kind!r}, which needs a later release of naiad.") from None
