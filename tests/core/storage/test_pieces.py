"""Pieces of journal files in objects: kept compressed, and damage named."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from pathlib import Path

import pytest

from naiad.compression import CompressionError
from naiad.container_kinds import RUN, RunId
from naiad.errors import DamagedData
from naiad.planes import planes_of
from naiad.storage.local.layout import Layout
from naiad.storage.receiving import Piece

pytest.importorskip("obstore", reason="the store of objects comes with the extra server-postgres")
pytest.importorskip("psycopg", reason="the database comes with the extra server-postgres")

from naiad.storage.postgres.objects import Objects
from naiad.storage.postgres.pieces import restored, stored
from naiad.storage.postgres.scratch import DATA, RECEIVED, ROWS, Scratch

RECORDS = b"".join(number.to_bytes(8, "little") + bytes(24) for number in range(100))
WHERE = RunId("uid", RUN), "writer.0.seg", 64


@pytest.mark.parametrize(
    "piece",
    [
        Piece(*WHERE, RECORDS),
        Piece(*WHERE, RECORDS, planes=planes_of(RECORDS)),
        Piece(*WHERE, RECORDS[:32], planes=planes_of(RECORDS[:32])),
    ],
)
def test_piece_is_restored_from_its_stored_bytes(piece: Piece) -> None:
    assert piece.data == restored(stored(piece), len(piece.data))


@pytest.mark.parametrize(
    "data",
    [b"", b"\x03" + RECORDS, b"\x00" + RECORDS[1:], b"\x10" + RECORDS[:33], b"\x01" + RECORDS, b"\x02" + RECORDS],
)
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(CompressionError):
        restored(data, 33 if len(data) == 34 else len(RECORDS))


@pytest.mark.parametrize(("data", "crc"), [(b"\x03" + RECORDS, zlib.crc32(b"\x03" + RECORDS)), (b"\x00" + RECORDS, 0)])
def test_object_with_other_bytes_is_damaged(tmp_path: Path, data: bytes, crc: int) -> None:
    """A fold notes damage, and goes on with other runs; any other error would end the process of all folds."""
    objects = Objects(f"file://{tmp_path / 'objects'}")
    objects.put("inbox/1", data)
    database = _Database(
        {
            RECEIVED: [("writer.0.seg", 64 + len(RECORDS), 0, False, 0, 0)],
            ROWS: [("writer.0.seg", 64, 64 + len(RECORDS), 0.0)],
            DATA: [(None, "inbox/1", 0, len(data), crc)],
        }
    )
    scratch = Scratch(Layout(tmp_path).folder("uid", RUN), 1, objects)

    with pytest.raises(DamagedData, match="The object inbox/1 is damaged: its bytes from 0"):
        scratch.update(database)  # type: ignore[arg-type]  # of a database


class _Database:
    """A database that has rows for some statements."""

    def __init__(self, rows: Mapping[str, list[tuple[object, ...]]]) -> None:
        self._rows = rows
        self._found: list[tuple[object, ...]] = []

    def execute(self, text: str, _parameters: list[object]) -> _Database:
        self._found = self._rows[text]
        return self

    def fetchall(self) -> list[tuple[object, ...]]:
        return self._found

    def fetchone(self) -> tuple[object, ...]:
        return self._found[0]
