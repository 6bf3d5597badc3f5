"""Differences of two fields: texts line by line, file sets and artifacts file by file."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from naiad.errors import MissingField
from naiad.kinds import ATOMS, KINDS, MEMBERS
from naiad.refs import FileRef
from naiad.storage.base import RunReader
from naiad_web.server.answers import Json, datum
from naiad_web.server.artifacts import version_of
from naiad_web.server.fields import text_of
from naiad_web.server.parameters import Parameters
from naiad_web.server.routes import Route
from naiad_web.server.site import Site

LARGEST = 2 * 1024 * 1024
MOST_LINES = 20_000
"""Lines that differ, between an equal beginning and an equal end, that are compared one by one."""
AROUND = 3


class DiffWanted(Parameters, frozen=True, kw_only=True):
    """Two fields, or two files of two file sets."""

    left: str
    right: str
    left_path: str
    right_path: str | None = None
    entry: str | None = None


class _Side(NamedTuple):
    """A field of one side; of one that is missing the kind is empty."""

    reader: RunReader
    path: str
    kind: str


def diff(site: Site, takes: DiffWanted) -> Json:
    """The difference of two fields."""
    paths = (takes.left_path, takes.right_path or takes.left_path)
    sides = [_side(site, name, path) for name, path in zip((takes.left, takes.right), paths, strict=True)]
    kinds = {side.kind for side in sides if side.kind}
    if not kinds:
        raise MissingField(f'Neither {takes.left} nor {takes.right} has a field "{paths[0]}".', path=paths[0])
    has_files = any(kind == MEMBERS or KINDS[kind].keeps == "manifest" for kind in kinds)
    # With an entry, one file of each set is compared, by its lines.
    if has_files and takes.entry is None:
        return _of_files(*(_listed(side) for side in sides))
    contents = [_content(side, takes.entry) for side in sides]
    names = [f"{name} {takes.entry or path}" for name, path in zip((takes.left, takes.right), paths, strict=True)]
    return _of_contents(names, contents)


def _side(site: Site, name: str, path: str) -> _Side:
    reader = site.reader(site.find(name))
    return _Side(reader, path, reader.kinds().get(path, ""))


def _listed(side: _Side) -> dict[str, tuple[str, int]]:
    """Hash and size of each file."""
    if side.kind == MEMBERS:
        refs = {name: FileRef.from_text(text) for name, text in side.reader.members(side.path).items()}
        return {name: (side.reader.digest(file) or file.blob, file.size) for name, file in refs.items()}
    if side.kind and KINDS[side.kind].keeps == "manifest":
        _version, tracked = version_of(side.reader, side.path)
        return {file.path: (file.content, file.size) for file in tracked}
    return {}


def _of_files(left: Mapping[str, tuple[str, int]], right: Mapping[str, tuple[str, int]]) -> Json:
    both = sorted(left.keys() & right.keys())
    return {
        "form": "files",
        "added": [{"name": name, "size": right[name][1]} for name in sorted(right.keys() - left.keys())],
        "removed": [{"name": name, "size": left[name][1]} for name in sorted(left.keys() - right.keys())],
        "changed": [
            {"name": name, "left": {"size": left[name][1]}, "right": {"size": right[name][1]}}
            for name in both
            if left[name] != right[name]
        ],
        "same": sum(left[name] == right[name] for name in both),
    }


def _content(side: _Side, entry: str | None) -> bytes:
    """The content of one side; nothing of one that is missing."""
    file: FileRef | None = None
    if side.kind == MEMBERS:
        stored = side.reader.members(side.path).get(entry or "")
        file = FileRef.from_text(stored) if stored is not None else None
    elif side.kind == FileRef.kind:
        file = FileRef.from_text(text_of(side.reader.atom(side.path)[1]))
    elif side.kind in ATOMS:
        return str(datum(side.kind, side.reader.value(side.path))).encode("utf-8", "replace")
    if file is None:
        return b""
    if file.size > LARGEST:
        # Too large to be read: zeros of its size make it count as binary, by the sizes alone.
        return b"\0" * file.size if file.size < 64 * LARGEST else b"\0" * 64 * LARGEST
    return side.reader.read_file(file)


def _of_contents(names: Sequence[str], contents: Sequence[bytes]) -> Json:
    is_equal, sizes = contents[0] == contents[1], [len(each) for each in contents]
    if any(b"\0" in each for each in contents):
        return {"form": "binary", "is_equal": is_equal, "sizes": sizes}
    left, right = (each.decode("utf-8", "replace").splitlines() for each in contents)
    # only the middle is matched, since most of two files is the same
    first = _common(left, right)
    last = _common(left[first:][::-1], right[first:][::-1])
    if max(len(left), len(right)) - first - last > MOST_LINES:
        return {"form": "binary", "is_equal": is_equal, "sizes": sizes}
    around = slice(max(0, first - AROUND), None)
    hunks = _hunks(left[around], right[around], around.start)
    return {"form": "text", "left": names[0], "right": names[1], "hunks": hunks, "is_equal": is_equal}


def _common(left: Sequence[str], right: Sequence[str]) -> int:
    """How many lines at the beginning are equal."""
    count = 0
    for one, other in zip(left, right, strict=False):
        if one != other:
            break
        count += 1
    return count


def _hunks(left: Sequence[str], right: Sequence[str], before: int) -> list[dict[str, Any]]:
    found = []
    for group in difflib.SequenceMatcher(None, left, right).get_grouped_opcodes(AROUND):
        lines: list[list[str]] = []
        for tag, low, high, other_low, other_high in group:
            if tag == "equal":
                lines += [[" ", line] for line in left[low:high]]
            else:
                lines += [["-", line] for line in left[low:high]] + [
                    ["+", line] for line in right[other_low:other_high]
                ]
        found.append({"left": group[0][1] + before + 1, "right": group[0][3] + before + 1, "lines": lines})
    return found


ROUTES = (Route("GET", "/diff", diff, DiffWanted, "What differs between two fields"),)
