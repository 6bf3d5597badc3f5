"""`naiad show`: all fields of a run with their values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import click

from naiad.children import children
from naiad.cli import completion as complete
from naiad.cli.document import json_option, print_document
from naiad.cli.ls import STATE_STYLES
from naiad.cli.rows import NARROWEST
from naiad.cli.run import OpenRun, open_run
from naiad.cli.terminal import (
    has_any_character,
    has_colour,
    is_terminal,
    print_lines,
    print_pages,
    size,
    styled,
)
from naiad.cli.text import clean, cut, width
from naiad.cli.values import opened, step_text, tags_text, time_text, value_text
from naiad.errors import DamagedData
from naiad.fields.registry import field_class
from naiad.kinds import KINDS, MEMBERS, SERIES, TAGS
from naiad.paths import parts
from naiad.refs import FileRef, files_text
from naiad.rollup import children_summary
from naiad.storage.opening import Named

if TYPE_CHECKING:
    from naiad.storage.base import RunReader
    from naiad.storage.catalog import Summary


class Shown(NamedTuple):
    """A field as it is shown; `points`, `step` and `time` are those of a series."""

    path: str
    kind: str
    value: object
    points: int | None = None
    step: float | None = None
    time: int | None = None
    damage: str = ""


@click.command()
@click.argument("run", shell_complete=complete.runs)
@json_option
@click.pass_obj
def show(store: Named, run: str, is_json: bool) -> None:
    """Show the fields of a run with their values; for a series, the last value and the number of points.

    If the run has children, `sys/children` holds their number, their states and the mean of each numeric field. In a
    pipe, the columns are path, kind, value and, for a series, the number of points.

    Example: naiad show DIGITS-3
    """
    found = open_run(store, run)
    its_own = children(found.store, found.run.uid)
    summed = children_summary(found.store, found.run.uid) if its_own else {}
    sums = (Shown(path, kind, value) for (path, kind), value in summed.items())
    fields = sorted([*_fields(found), *sums], key=lambda field: parts(field.path))
    if is_json:
        print_document(_document(found, fields) | {"children": [_child(row) for row in reversed(its_own)]})
    elif is_terminal():
        print_pages(list(_tree(_title(found), fields)))
    else:
        print_lines(map(_line, fields))


def _child(row: Summary) -> dict[str, object]:
    return {"id": row.id, "uid": row.uid, "name": row.name, "state": row.state}


def _fields(run: OpenRun) -> Iterator[Shown]:
    reader = run.reader
    atoms = reader.values()
    for path, kind in reader.kinds().items():
        shape = KINDS[kind].shape
        if shape == "tags":
            yield Shown(path, kind, reader.tags(path))
        elif kind in SERIES:
            yield _series(reader, path, kind)
        elif shape in ("document", "members"):
            # A damaged document spoils its own line, and not the whole output.
            try:
                yield Shown(path, kind, _summary(reader, path, kind))
            except DamagedData as error:
                yield Shown(path, kind, None, damage=f"damaged: {error.what}")
        elif path in atoms:  # and not assigned by another process since
            yield Shown(path, kind, opened(kind, atoms[path]))


def _summary(reader: RunReader, path: str, kind: str) -> str:
    if kind == MEMBERS:
        files = [FileRef.from_text(text) for text in reader.members(path).values()]
        return files_text(len(files), sum(file.size for file in files))
    return field_class(kind).summary(str(reader.value(path)))


def _series(reader: RunReader, path: str, kind: str) -> Shown:
    try:
        last, count = reader.last(path), reader.count(path)
        step, value, time = last or (None, None, None)
        if isinstance(value, str):
            value = field_class(kind).summary(value)
    except DamagedData as error:
        return Shown(path, kind, None, damage=f"damaged: {error.what}")
    return Shown(path, kind, value, count, step, time)


def _line(field: Shown) -> str:
    count = () if field.points is None else (str(field.points),)
    return "\t".join(clean(text) for text in (field.path, field.kind, _text(field), *count))


def _text(field: Shown, *, is_local: bool = False) -> str:
    if field.kind == TAGS:
        return tags_text(field.value)  # type: ignore[arg-type]  # the kind says it is a set
    # An empty series has no last value, and None would be printed as a word.
    if field.damage or field.points == 0:
        return field.damage
    return value_text(field.value, is_local=is_local)


def _title(run: OpenRun) -> str:
    lost = run.reader.is_incomplete()
    return f"{run.id}  incomplete: {lost:,} points and ops could not be stored" if lost else run.id


def _document(run: OpenRun, fields: list[Shown]) -> dict[str, object]:
    lost = run.reader.is_incomplete()
    items = {field.path: _item(field) for field in fields}
    return {"id": run.id, "uid": run.run.uid, "incomplete": lost, "fields": items}


def _item(field: Shown) -> dict[str, object]:
    if field.damage:
        return {"kind": field.kind, "damage": field.damage}
    if field.points is None:
        return {"kind": field.kind, "value": field.value}
    last = None
    if field.step is not None and field.time is not None:
        last = {"step": field.step, "value": field.value, "time": time_text(field.time)}
    return {"kind": field.kind, "count": field.points, "last": last}


def _tree(title: str, fields: list[Shown]) -> Iterator[str]:
    """Yield the lines of a tree, in the order of the fields."""
    room, has_styles = size()[0], has_colour()
    pass_by, fork, last = ("|   ", "|-- ", "`-- ") if not has_any_character() else ("│   ", "├── ", "└── ")
    yield styled(clean(title), "bold") if has_styles else clean(title)
    names = [tuple(parts(field.path)) for field in fields]
    for number, (field, path) in enumerate(zip(fields, names, strict=True)):
        known = _common(path, names[number - 1]) if number else 0
        guides = [pass_by if _goes_on(names[number:], path[: depth + 1]) else "    " for depth in range(len(path) - 1)]
        ends = [fork if _goes_on(names[number:], path[: depth + 1]) else last for depth in range(len(path))]
        for depth in range(known, len(path) - 1):
            yield _painted("".join(guides[:depth]) + ends[depth], [(clean(path[depth]), "blue")], room, has_styles)
        label = [(f"{clean(path[-1])}  ", ""), *_label(field)]
        yield _painted("".join(guides) + ends[-1], label, room, has_styles)


def _common(one: tuple[str, ...], two: tuple[str, ...]) -> int:
    """Return how many namespaces two paths share."""
    return next((depth for depth in range(len(one)) if one[: depth + 1] != two[: depth + 1]), len(one) - 1)


def _goes_on(names: list[tuple[str, ...]], path: tuple[str, ...]) -> bool:
    """Whether a later field has another name in the same namespace."""
    above = path[:-1]
    for name in names:
        if name[: len(above)] != above:
            return False
        if name[: len(path)] != path:
            return True
    return False


def _painted(guides: str, label: list[tuple[str, str]], room: int, has_styles: bool) -> str:
    """Return a line with its styles, cut to fit; its name is whole, and of its value at least a few characters are."""
    mark = "..." if not has_any_character() else "\N{HORIZONTAL ELLIPSIS}"
    left, line = room - width(guides), styled(guides, "dim") if has_styles else guides
    for place, (text, style) in enumerate(label):
        shown = cut(text, max(left, (width(text), NARROWEST, 0)[min(place, 2)]), mark)
        line += styled(shown, style) if has_styles else shown
        left -= width(shown)
        if shown != text:
            break
    return line


def _label(field: Shown) -> list[tuple[str, str]]:
    style = STATE_STYLES.get(str(field.value), "cyan") if KINDS[field.kind].holds == "state" else "cyan"
    value = (clean(_text(field, is_local=True)), "red" if field.damage else style)
    if field.points is None:
        return [value]
    if field.step is None:
        return [("no points", "dim")]
    points = "1 point" if field.points == 1 else f"{field.points:,} points"
    return [value, (f"  step {step_text(field.step)}, {points}", "dim")]
