"""What a notebook shows of a run or a namespace: a row for each field, with its value or its last point."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from naiad import html
from naiad.errors import NaiadError
from naiad.fields.series import Series

if TYPE_CHECKING:
    from naiad.scope import ContainerScope

__all__ = ["listing"]

MOST_FIELDS = 200


def listing(scope: ContainerScope, path: str, title: str) -> str:
    """Return the field at a path as HTML, or a table of all below it. It raises nothing, even after the end."""
    with contextlib.suppress(NaiadError, OSError):  # then what is known already is shown
        scope.refresh()
    field = scope.tree.get(path) if path else None
    if field is not None:
        return field._repr_html_()
    return html.block(title, html.grid(("path", "type", "value"), _rows(scope, path)))


def _rows(scope: ContainerScope, path: str) -> Iterator[tuple[str, str, object]]:
    paths = sorted(scope.tree.paths(path))
    atoms: dict[str, object] = {}
    with contextlib.suppress(NaiadError, OSError):
        atoms = scope.stored_atoms(path)
    for place, each in enumerate(paths):
        field = scope.tree.get(each)
        value = atoms.get(each, "")
        if isinstance(field, Series) and place < MOST_FIELDS:
            with contextlib.suppress(NaiadError, OSError):  # an empty series, or one that is damaged
                last = scope.reader.last(each, field.kind)
                value = "" if last is None else field.read(last.value)
        yield each.removeprefix(f"{path}/"), type(field).__name__, value
