"""Pages of long float series: parts of the whole, from few chunks."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

import naiad
from naiad.errors import DamagedData, DamageWarning
from naiad.storage.local.index import point_pages, series
from naiad.storage.local.index.index import Index
from naiad.storage.local.store import Store

QUIET: dict[str, Any] = {
    "capture_stdout": False, "capture_stderr": False, "capture_hardware_metrics": False, "git_ref": False,
    "source_files": [],
}  # fmt: skip
POINTS = 300_000
"""More than four chunks."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store with a long series that is in the index."""
    place = tmp_path_factory.mktemp("pages") / ".naiad"
    with naiad.init_run(store=place, project="p", **QUIET) as run:
        run["loss"].extend([step / 7 for step in range(POINTS)], steps=range(POINTS))
        run["back"].extend([*range(POINTS), *range(1000)], steps=[*range(POINTS), *range(1000)])
    return Store(place)


def reader_of(store: Store) -> Any:
    return store.reader(store.find("P-1"))


def test_page_decodes_the_chunks_that_it_lies_in(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The values of the others stay packed: hovering over a million points must not decode them all."""
    decoded: list[int] = []
    unpacked = point_pages.unpacked
    monkeypatch.setattr(point_pages, "unpacked", lambda packed: decoded.append(1) or unpacked(packed))
    reader = reader_of(store)
    page = reader.point_page("loss", 200_000, 10)

    assert [1] == decoded
    assert [float(step) for step in range(200_000, 200_010)] == page.points.steps.tolist()
    assert [step / 7 for step in range(200_000, 200_010)] == page.points.values.tolist()


def test_chart_of_a_long_series_that_goes_on_for_a_few_points_decodes_no_chunk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last points lie in a pack, which has no pyramid."""
    for values in (range(POINTS), [-1.0] * 100):
        with naiad.init_run(store=tmp_path, project="p", custom_run_id="long", **QUIET) as run:
            run["loss"].extend([*values])
    reader = Store(tmp_path).reader(Store(tmp_path).find("P-1"))
    monkeypatch.setattr(series, "read_points", lambda *_arguments, **_options: pytest.fail("it decodes all points"))
    found = reader.chart("loss", 100)

    assert (POINTS + 100, -1.0, POINTS - 1) == (found.finite.sum(), found.minimum.min(), found.maximum.max())
    assert -1.0 == found.minimum[-1]


def test_steps_of_a_chunk_are_decoded_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    read_numbers = point_pages.read_numbers
    monkeypatch.setattr(point_pages, "read_numbers", lambda column: read.append(1) or read_numbers(column))
    reader = reader_of(store)
    reader.point_place("loss", 250_000.5)
    first = len(read)
    reader.point_place("loss", 250_000.5)

    assert first >= 4
    assert 1 == len(read) - first


def test_page_gets_the_chunks_that_it_lies_in(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the first one the others in turn, for their steps: all chunks of a long series at once would not fit."""
    got: list[range] = []
    chunks = Index.chunks
    monkeypatch.setattr(
        Index,
        "chunks",
        lambda self, connection, field, which: got.append(which) or chunks(self, connection, field, which),
    )
    reader = reader_of(store)
    reader.point_page("loss", 0, 10)
    first = len(got)
    reader.point_page("loss", 65_530, 10)

    assert first >= 5
    assert {1} == {len(each) for each in got}
    assert 2 == len(got) - first


@pytest.mark.parametrize("path", ["loss", "back"])
@pytest.mark.parametrize("place", [0, 65_530, 131_072, 299_999])
def test_page_is_a_part_of_all_points(store: Store, path: str, place: int) -> None:
    reader = reader_of(store)
    whole, page = reader.points(path), reader.point_page(path, place, 20)

    for own, column in zip(whole, page.points, strict=True):
        assert own.dtype == column.dtype
        assert own[place : place + 20].tolist() == column.tolist()


def test_chunk_that_is_missing_is_no_shorter_series(tmp_path: Path) -> None:
    """The field's own count shows that a row of the index is gone."""
    place = tmp_path / ".naiad"
    with naiad.init_run(store=place, project="p", **QUIET) as run:
        run["loss"].extend([float(step) for step in range(POINTS)], steps=range(POINTS))
    (folder,) = (place / "runs").iterdir()
    connection = sqlite3.connect(folder / "run.db")
    connection.execute("DELETE FROM chunk WHERE key = (SELECT max(key) FROM chunk)")
    connection.commit()
    connection.close()

    with pytest.warns(DamageWarning), pytest.raises(DamagedData):
        reader_of(Store(place)).point_page("loss", 0, 5)
