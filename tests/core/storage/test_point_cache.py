"""Decoded series that are read again and again."""

from __future__ import annotations

import gc
import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import naiad
from naiad.storage.local.index import point_cache
from naiad.storage.local.index.point_cache import MOST_KNOWN, PointCache
from naiad.storage.local.index.points import Columns
from naiad.storage.local.layout import Layout
from naiad.storage.local.reader import Reader


@pytest.fixture(autouse=True)
def short_series(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep series of a few points too."""
    monkeypatch.setattr(point_cache, "FEW", 1)


def reading(count: int, reads: list[bool]) -> Callable[[bool], Columns]:
    """A function that decodes so many points, and notes each call."""

    def read(is_kept: bool) -> Columns:
        reads.append(is_kept)
        return Columns(np.arange(count), np.arange(count, dtype=np.float64), np.arange(count))

    return read


def test_series_is_kept_from_its_second_read_on() -> None:
    cache, reads = PointCache(), list[bool]()

    shared = [cache.columns((1, "loss"), "v1", reading(3, reads))[1] for _ in range(4)]

    assert [False, True] == reads
    assert [False, True, True, True] == shared


def test_series_of_another_version_is_decoded_anew() -> None:
    cache, reads = PointCache(), list[bool]()
    for version in ("v1", "v1", "v2", "v2", "v2"):
        cache.columns((1, "loss"), version, reading(3, reads))

    assert [False, True, False, True] == reads


def test_kept_columns_cannot_be_changed() -> None:
    cache = PointCache()
    for _ in range(2):
        columns, is_shared = cache.columns((1, "loss"), "v1", reading(3, []))

    assert is_shared
    assert [False] * 3 == [column.flags.writeable for column in columns]


def test_series_that_were_read_longest_ago_make_room() -> None:
    cache, reads = PointCache(most=10), list[bool]()
    for path in ("a", "a", "b", "b", "a", "c", "c"):
        cache.columns((1, path), "v1", reading(4, reads))
    reads.clear()

    kept = [cache.columns((1, path), "v1", reading(4, reads))[1] for path in ("a", "c", "b")]

    assert ([True, True, False], [False]) == (kept, reads)


def test_series_too_long_to_be_kept_is_the_callers_own_each_time() -> None:
    cache = PointCache(most=2)

    assert [False] * 3 == [cache.columns((1, "loss"), "v1", reading(3, []))[1] for _ in range(3)]


def test_many_series_read_once_leave_nothing_but_a_few_versions() -> None:
    cache = PointCache()
    for number in range(1_000):
        cache.columns((1, str(number)), "v1", reading(3, []))

    assert [None] * MOST_KNOWN == [columns for _version, columns in cache.known.values()]


def test_read_of_another_thread_in_between_is_no_error() -> None:
    """It comes where Python frees memory, as the callback here."""
    cache, numbers = PointCache(), itertools.count()
    before = gc.get_threshold()

    def come_between(_phase: str, _info: dict[str, int]) -> None:
        cache.known[2, str(next(numbers))] = "v1", None

    gc.callbacks.append(come_between)
    gc.set_threshold(1)
    try:
        for number in range(200):
            cache.note((1, str(number)), "v1")
    finally:
        gc.set_threshold(*before)
        gc.callbacks.remove(come_between)

    assert next(numbers) > 100
    assert (1, "199") in cache.known


def test_series_of_few_points_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(point_cache, "FEW", 10)
    cache = PointCache()

    assert [False] * 3 == [cache.columns((1, "loss"), "v1", reading(9, []))[1] for _ in range(3)]


def test_kept_points_are_not_taken_for_those_of_a_journal_that_is_read_anew(store: Path, run: naiad.Run) -> None:
    """As after a file that was listed is gone: the journal is read from its beginning, and its versions go on."""
    run["other"].append(1.0)
    reader = Reader(next(Layout(store).folders()))
    for step in range(2):
        run["loss"].append(1.0, step=step)
        reader.points("loss")
    reader.points("loss")
    reader._view._folds = None
    for step, path in ((2, "other"), (3, "loss")):
        run["loss"].append(1.0, step=step)
        found = reader.points(path)

    assert [0, 1, 2, 3] == found.steps.tolist()
