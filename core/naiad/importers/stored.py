"""Fingerprints of the stored fields of a run."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from naiad.errors import MissingField
from naiad.fields.file import kept
from naiad.importers import fingerprint
from naiad.importers.fingerprint import Numbers, Stock
from naiad.kinds import KINDS, POINTS
from naiad.refs import FileRef
from naiad.scalars import pack_text
from naiad.storage.base import RunReader
from naiad.storage.results import Points

CHUNK = 1 << 20
PIECE = 20_000
"""Points whose numbers are made at the same time."""
PAGE = 1 << 18
"""Points that are read at the same time: each page looks at all chunks of the series once."""


def pieces(reader: RunReader, path: str, kind: str) -> Iterator[tuple[Numbers, Numbers, Any]]:
    """Yield a number for the step and one for the content of each point of a series, and the times, piece by piece.

    A series is read in pages: a log of a million lines took 300 MB whole, and points take 24 bytes each. Their numbers
    take ten times that, so they are made of a piece of a page.
    """
    start, total = 0, 1
    if kind == POINTS:
        while start < total:
            page_of_points = reader.point_page(path, start, PAGE)
            points = page_of_points.points
            for first in range(0, len(points.values), PIECE):
                rows = slice(first, first + PIECE)
                yield (
                    fingerprint.of_steps(points.steps[rows]),
                    fingerprint.of_reals(points.values[rows]),
                    points.times[rows],
                )
            start, total = start + PAGE, page_of_points.total
        return
    while start < total:
        page = reader.text_page(path, start, PIECE, kind)
        texts = page.texts
        if KINDS[kind].keeps:
            texts = [file_token(reader, kept(text)) for text in texts]
        yield fingerprint.of_steps(page.steps), fingerprint.of_texts(texts), np.array(page.times, np.int64)
        start, total = start + PIECE, page.total


def columns(reader: RunReader, path: str, kind: str) -> tuple[Numbers, Numbers, Any]:
    """Return the same of a whole series."""
    empty = np.empty(0, np.uint64)
    found = list(pieces(reader, path, kind)) or [(empty, empty, np.empty(0, np.int64))]
    steps, contents, times = (np.concatenate(each) for each in zip(*found, strict=True))
    return steps, contents, times


def stocks(reader: RunReader, path: str, kind: str) -> tuple[Stock, Stock, int]:
    """Return the points of a stored series, with their steps and without, and their fingerprint."""
    steps, contents, times = columns(reader, path, kind)
    numbers = fingerprint.of_points(steps, contents, times)
    unnumbered = fingerprint.of_points(np.full(len(steps), fingerprint.UNNUMBERED), contents, times)
    return Stock(numbers), Stock(unnumbered), fingerprint.total(numbers)


def point_totals(reader: RunReader, paths: Iterable[str]) -> Iterator[tuple[str, int | None]]:
    """Yield the fingerprint of each float series; None of one that is not there.

    Those of short ones are made together: of 1,000 points, calling NumPy takes longer than its work.
    """
    waiting: list[tuple[str, Points]] = []
    count = 0
    for path in paths:
        try:
            page = reader.point_page(path, 0, PIECE)
        except MissingField:
            yield path, None
            continue
        if page.total > PIECE:
            yield path, total(reader, path, POINTS)[1]
            continue
        waiting.append((path, page.points))
        count += page.total
        if count >= PIECE:
            yield from _together(waiting)
            waiting, count = [], 0
    yield from _together(waiting)


def _together(series: list[tuple[str, Points]]) -> Iterator[tuple[str, int]]:
    yield from ((path, 0) for path, points in series if not len(points.values))
    series = [(path, points) for path, points in series if len(points.values)]
    if not series:
        return
    # By type: joined with fractions, an integer above 2**53 would be rounded.
    types = {points.steps.dtype for _path, points in series}
    steps = [points.steps for _path, points in series]
    numbers = fingerprint.of_points(
        fingerprint.of_steps(np.concatenate(steps))
        if len(types) == 1
        else np.concatenate([fingerprint.of_steps(each) for each in steps]),
        fingerprint.of_reals(np.concatenate([points.values for _path, points in series])),
        np.concatenate([points.times for _path, points in series]),
    )
    starts = np.cumsum([0, *(len(points.values) for _path, points in series[:-1])])
    sums = np.add.reduceat(numbers, starts).tolist()
    yield from zip((path for path, _points in series), sums, strict=True)


def total(reader: RunReader, path: str, kind: str) -> tuple[int, int]:
    """Return how many values, points or files a field has, and their fingerprint."""
    shape = KINDS[kind].shape
    if shape in ("points", "texts"):
        count, number = 0, 0
        for each in pieces(reader, path, kind):
            count += len(each[0])
            number = fingerprint.summed([number, fingerprint.total(fingerprint.of_points(*each))])
        return count, number
    if shape == "tags":
        tags = reader.tags(path)
        return len(tags), of_tags(list(tags))
    if shape == "members":
        members = {name: file_token(reader, kept(text)) for name, text in reader.members(path).items()}
        return len(members), of_members(members)
    value = reader.value(path)
    if kind == FileRef.kind:
        return 1, fingerprint.of_one(kind, file_token(reader, kept(value)))
    return 1, of_value(kind, value)


def of_value(kind: str, value: object) -> int:
    """Return the fingerprint of an atom or document as it is stored."""
    if isinstance(value, str):
        value = pack_text(value)
    # repr() is one text for every NaN, but another than the one of a NaN that came through JSON.
    if isinstance(value, float) and value != value:
        value = "nan"
    return fingerprint.of_one(kind, value if isinstance(value, str) else repr(value))


def of_tags(texts: list[str]) -> int:
    """Return the fingerprint of the texts of a set."""
    return fingerprint.total(fingerprint.of_texts(sorted(set(texts))))


def of_members(members: dict[str, str]) -> int:
    """Return the fingerprint of the files of a set, from a text for each."""
    return fingerprint.summed([fingerprint.of_one(name, token) for name, token in members.items()])


def file_token(reader: RunReader, file: FileRef) -> str:
    """Return the identity of a stored file: hash, extension, name and description."""
    digest = reader.digest(file)
    # Content that was taken in a moment ago is not hashed yet, as that happens behind the writer.
    if not digest:
        sha = hashlib.sha256()
        with reader.open_file(file, is_checked=True) as stream:
            while chunk := stream.read(CHUNK):
                sha.update(chunk)
        digest = sha.hexdigest()
    return token(digest, file.extension, file.name, file.description)


def token(digest: str, extension: str, name: str | None, description: str | None) -> str:
    """Return the identity of a file."""
    return "|".join((digest, extension, name or "", description or ""))
