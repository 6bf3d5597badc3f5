"""HTML listings of runs and namespaces: a row for each field, with its value or last point."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from naiad import html
from naiad.errors import NaiadError
from naiad.fields.series import Series
from naiad.kinds import KINDS
from naiad.session import Session

MOST_FIELDS = 200
STRETCHES = 100
"""Parts of a series that is drawn above a table; both together stay small."""
OWN = {"sys": 1, "source_code": 2, "monitoring": 3}
"""Namespaces that naiad fills, after all others."""


def listing(session: Session, path: str, title: str, *, curves: int = 0) -> str:
    """Return the field at a path as HTML, or a table of all below it. It raises nothing, even after the end.

    Above the table so many series of numbers are drawn.
    """
    with contextlib.suppress(NaiadError, OSError):  # then what is known already is shown
        session.refresh()
    field = session.tree.get(path) if path else None
    if field is not None:
        return field._repr_html_()
    drawn = list(_curves(session, path, curves))
    room = html.MOST_BYTES - 2 * html.ROOM - sum(map(len, drawn))
    return html.block(title, *drawn, html.grid(("path", "type", "value"), _rows(session, path), room))


def _curves(session: Session, path: str, most: int) -> Iterator[str]:
    """Yield charts of the first series of numbers, with their paths."""
    paths = [each for each in session.tree.paths(path) if _is_curve(session.tree.get(each))]
    for each in sorted(paths, key=_place)[:most]:
        with contextlib.suppress(NaiadError, OSError):  # a series that is damaged, or removed since
            found = session.reader.chart(each, STRETCHES)
            steps, low, high = found.steps.tolist(), found.minimum.tolist(), found.maximum.tolist()
            last = session.reader.last(each)
            if last is not None and not isinstance(last.value, str):  # a stretch begins before the last point
                steps, low, high = [*steps, last.step], [*low, last.value], [*high, last.value]
            drawn = html.chart(steps, low, high)
            if drawn:
                yield f'<div style="display:inline-block">{html.text(each)}<br>{drawn}</div>'


def _is_curve(field: Any) -> bool:
    return field is not None and KINDS[field.kind].drawn_as == "curve"


def _place(path: str) -> tuple[int, str]:
    """Sort key: the user's own fields, then those of naiad."""
    return OWN.get(path.partition("/")[0], 0), path


def _last(field: Series, value: Any) -> object:
    return field.summary(value) if KINDS[field.kind].keeps else field.read(value)


def _rows(session: Session, path: str) -> Iterator[tuple[str, str, object]]:
    paths = sorted(session.tree.paths(path), key=_place)
    atoms: dict[str, object] = {}
    with contextlib.suppress(NaiadError, OSError):
        atoms = session.stored_atoms(path)
    for place, each in enumerate(paths):
        field = session.tree.get(each)
        value = atoms.get(each, "")
        if isinstance(field, Series) and place < MOST_FIELDS:
            with contextlib.suppress(NaiadError, OSError):  # an empty series, or one that is damaged
                last = session.reader.last(each, field.kind)
                value = "" if last is None else _last(field, last.value)
        elif field is not None and each not in atoms and place < MOST_FIELDS:
            with contextlib.suppress(NaiadError, OSError):
                value = field.shown()
        yield each.removeprefix(f"{path}/"), type(field).__name__, value
