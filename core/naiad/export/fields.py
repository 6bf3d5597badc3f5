"""The fields of a run as an export takes them: columns of values, and the files that go beside."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import numpy as np

from naiad.fields.artifact import tracked_files
from naiad.fields.file import kept
from naiad.fields.file_set import given_name
from naiad.files.archive import Member, write_zip
from naiad.files.names import safe_name
from naiad.histogram import Histogram
from naiad.kinds import DERIVED, KINDS, POINTS
from naiad.ops import Plain
from naiad.refs import ArtifactRef, FileRef
from naiad.scalars import pack_text, unpack_text
from naiad.storage.base import RunReader
from naiad.storage.results import TextPage

Column: TypeAlias = Any
LEFT_OUT = frozenset({"sys/import/ledger", "sys/import/state"})
"""Notes of an import about the run itself."""
PAGE = 1 << 18
"""Points that are read at the same time: a whole series takes 24 bytes a point, and copies of them."""
TEXTS = 50_000


@dataclass
class Part:
    """Rows of one field: each list has one length, or is None where the field has no such thing."""

    path: str
    kind: str
    count: int
    steps: Column = None
    times: Column = None
    """Milliseconds since 1970 UTC; of a datetime its microseconds are the value."""
    values: Column = None
    files: list[str] | None = None
    """Paths of the files, below the folder of files."""
    facts: list[str | None] = field(default_factory=list)
    """JSON for each row: what the other columns cannot hold. The rows behind its end have none."""


def cut(part: Part, start: int, end: int) -> Part:
    """Return some rows of a part."""

    def of(column: Column) -> Column:
        return None if column is None else column[start:end]

    count = min(end, part.count) - start
    facts = part.facts[start:end]
    return Part(part.path, part.kind, count, of(part.steps), of(part.times), of(part.values), of(part.files), facts)


class Fields:
    """The fields of one run. Reading them copies the files that they refer to, if there is a folder for them."""

    def __init__(self, reader: RunReader, files: Path | None, prefix: str) -> None:
        self._reader = reader
        self._files = files
        self._prefix = prefix
        self._taken: set[str] = set()

    def parts(self) -> Iterator[Part]:
        """Yield the rows of each field, by path.

        Raises:
            DamagedData: something stored is damaged.
        """
        kinds = self._reader.kinds()
        # All single values in one look at the run: a look for each was half the time of a run with many parameters.
        atoms = self._reader.values()
        for path in sorted(kinds):
            if path in LEFT_OUT:
                continue
            if kinds[path] == POINTS:
                yield from self._points(path)
            elif KINDS[kinds[path]].shape == "texts":
                yield from self._texts(path, kinds[path])
            else:
                yield self._part(path, kinds[path], atoms)

    def _points(self, path: str) -> Iterator[Part]:
        low, high, unit = self._reader.config(path)
        axis = None if (low, high, unit) == (None, None, None) else _json({"min": low, "max": high, "unit": unit})
        start, total = 0, 1
        while start < total:
            page = self._reader.point_page(path, start, PAGE)
            steps, values, times = page.points
            part = Part(path, POINTS, len(values), steps, times, values, facts=[None if start else axis])
            yield _or_empty(part)
            start, total = start + PAGE, page.total

    def _part(self, path: str, kind: str, atoms: Mapping[str, Plain]) -> Part:
        shape, reader = KINDS[kind].shape, self._reader
        if shape == "tags":
            return Part(path, kind, 1, values=[sorted(reader.tags(path))], facts=[None])
        if shape == "members":
            return self._members(path, kind)
        if kind == FileRef.kind:
            name, facts = self._copied(path, kept(reader.value(path)))
            return Part(path, kind, 1, files=[name], facts=[facts])
        # A derived value is read alone, as the size of a run is whole only there; so is a damaged one, which raises.
        value = atoms[path] if path in atoms and path not in DERIVED else reader.value(path)
        if KINDS[kind].keeps == "manifest":
            return self._artifact(path, kind, str(value))
        if shape == "document":
            return Part(path, kind, 1, values=[_fact(kind, str(value))], facts=[str(value)])
        if isinstance(value, str | bytes):
            value = unpack_text(value)
        return Part(path, kind, 1, values=[value], facts=[_exact(value)])

    def _texts(self, path: str, kind: str) -> Iterator[Part]:
        start, total = 0, 1
        while start < total:
            page = self._reader.text_page(path, start, TEXTS, kind)
            yield _or_empty(self._text_part(path, kind, page))
            start, total = start + TEXTS, page.total

    def _text_part(self, path: str, kind: str, page: TextPage) -> Part:
        count = len(page.texts)
        steps = _steps(page.steps)
        times = np.array(page.times, np.int64)
        if KINDS[kind].keeps:
            copied = [self._copied(f"{path}/{page.start + at}", kept(text)) for at, text in enumerate(page.texts)]
            files = [name for name, _facts in copied]
            facts: list[str | None] = [each for _name, each in copied]
            return Part(path, kind, count, steps, times, files=files, facts=facts)
        if KINDS[kind].holds == "text":
            notes: list[str | None] = [_exact(text) for text in page.texts]
            return Part(path, kind, count, steps, times, list(page.texts), facts=notes)
        histograms = [Histogram.from_text(text) for text in page.texts]
        return Part(path, kind, count, steps, times, histograms, facts=list(page.texts))

    def _copied(self, wish: str, file: FileRef) -> tuple[str, str]:
        """Copy a file, and return its place and its facts."""
        extension = file.extension.lstrip(".")
        name = wish if not extension or wish.endswith(f".{extension}") else f"{wish}.{extension}"
        place = self._place(name)
        if self._files is not None:
            target = self._files / place
            target.parent.mkdir(parents=True, exist_ok=True)
            self._reader.copy_file(file, target)
        known = {
            "extension": file.extension,
            "name": file.name,
            "description": file.description,
            "size": file.size,
            "sha256": self._reader.digest(file) or None,
            "modified": file.modified,
        }
        return place, _json({key: value for key, value in known.items() if value is not None})

    def _place(self, wish: str) -> str:
        """Return a path below the folder of files that no other file has."""
        name = safe_name(f"{self._prefix}/{wish}")
        found, number = name, 1
        # `Loss` and `loss` are two fields, and one file on macOS and Windows, where a dump may be unpacked.
        while found.casefold() in self._taken:
            number += 1
            stem, extension = os.path.splitext(name)
            found = f"{stem}~{number}{extension}"
        self._taken.add(found.casefold())
        return found

    def _members(self, path: str, kind: str) -> Part:
        """Write the files of a set as one archive in a folder, as the exporter does."""
        members = {given_name(name): kept(text) for name, text in self._reader.members(path).items()}
        place = self._place(path)
        if self._files is not None and members:
            folder = self._files / place
            folder.mkdir(parents=True, exist_ok=True)
            opened = [
                Member(
                    name, file.size, (file.modified or 0) / 1e9, partial(self._reader.open_file, file, is_checked=True)
                )
                for name, file in members.items()
            ]
            write_zip(opened, folder / "files.zip")
        times = {name: file.modified for name, file in members.items() if file.modified is not None}
        return Part(path, kind, 1, files=[place], facts=[_json({"files": len(members), "modified": times})])

    def _artifact(self, path: str, kind: str, text: str) -> Part:
        version = ArtifactRef.from_text(text)
        entries = [
            {
                "filePath": each.path,
                "fileHash": each.content,
                "type": each.storage,
                "size": each.size,
                "metadata": [{"key": key, "value": value} for key, value in each.as_data().metadata.items()],
                "naiad": {"modified": each.modified, "location": each.location},
            }
            for each in tracked_files(self._reader, path)
        ]
        place = self._place(f"{path}/files_list.json")
        if self._files is not None:
            target = self._files / place
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(json.dumps(entries).encode())
        return Part(path, kind, 1, files=[place], facts=[_json({**msgspec.structs.asdict(version), "manifest": None})])


def _or_empty(part: Part) -> Part:
    """Give a series without points one row without a value, so that it is not lost."""
    if part.count:
        return part
    # Its unit and limits are known before its first point.
    note = part.facts[0] if part.facts else None
    return Part(part.path, part.kind, 1, None, None, None, None, [note])


def _steps(steps: list[int | float]) -> Column:
    # Whole steps stay whole, since other tools show 3.0 where 3 was logged.
    if all(isinstance(step, int) for step in steps):
        return np.array(steps, np.int64)
    # Float64 cannot hold these, and a column of both would round them.
    if any(isinstance(step, int) and abs(step) > 1 << 53 for step in steps):
        return np.array(steps, object)
    return np.array(steps, np.float64)


def _exact(value: object) -> str | None:
    """Return a text that UTF-8 cannot hold as JSON, which can."""
    return json.dumps({"text": value}) if isinstance(value, str) and isinstance(pack_text(value), bytes) else None


def _fact(kind: str, text: str) -> str:
    """Return the one fact of a document that tables show."""
    found = json.loads(text).get(KINDS[kind].fact)
    return "" if found is None else str(found)


def _json(value: object) -> str:
    return json.dumps(value)
