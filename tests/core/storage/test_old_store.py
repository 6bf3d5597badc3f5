"""A run written before the projection kept deletions opens, shows the same, and goes on.

`format1` is such a run, killed with a part of its journal not folded: two writers, a series that one deleted while the
other went on, one begun anew, tags, files and texts. Nothing in it is made by the code under test.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from naiad.ops import Assign, Define, Delete, Op, Open, Tags, encode_ops
from naiad.storage.local.index.compact import compact
from naiad.storage.local.index.fold import Fold
from naiad.storage.local.integrity.verify import verify
from naiad.storage.local.journal.files import Source, list_journal
from naiad.storage.local.journal.frames import encode_frame, file_header
from naiad.storage.local.layout import RunDirectory
from naiad.storage.local.reader import Reader

ANN, BEN, LATE = "1-ann", "2-ben", "3-late"


@pytest.fixture
def folder(tmp_path: Path) -> RunDirectory:
    folder = RunDirectory(tmp_path / "run")
    shutil.copytree(Path(__file__).parent / "format1", folder.path)
    return folder


def fold(folder: RunDirectory) -> None:
    for file in Fold(folder).fold([Source(file, is_final=True) for file in list_journal(folder.journal)]):
        file.path.unlink()


def points_of(folder: RunDirectory, path: str) -> list[tuple[float, float]]:
    points = Reader(folder).points(path)
    return list(zip(points.steps.tolist(), points.values.tolist(), strict=True))


def check(folder: RunDirectory) -> None:
    reader = Reader(folder)
    stored = {path: kind for path, kind in reader.kinds().items() if not path.startswith("sys/") or path == "sys/tags"}
    assert {
        "loss": "float_series", "lr": "float", "sys/tags": "string_set", "files": "file_set", "log": "string_series",
        "gone": "float_series", "again": "float_series",
    } == stored  # fmt: skip
    assert ({"y", "z"}, {"d/one", "two"}) == (reader.tags("sys/tags"), set(reader.members("files")))
    assert (0.75, (0.0, 1.0, "u")) == (reader.value("lr"), reader.config("loss"))
    assert ([0, 1, 2, 3], ["a", "b", "c", "d"]) == reader.texts("log")[:2]
    assert [(0, 0.5), (1, 0.25), (2, 0.125), (3, 0.0625)] == points_of(folder, "loss")
    assert [(1, 2.0)] == points_of(folder, "gone")
    assert [(0, 8.0)] == points_of(folder, "again")


def test_old_run_shows_the_same_unfolded_folded_and_compacted(folder: RunDirectory) -> None:
    check(folder)
    fold(folder)
    check(folder)
    compact(folder)
    check(folder)
    assert [] == verify(folder)


def put(folder: RunDirectory, writer: str, *ops: Op) -> None:
    frames = encode_frame(1, encode_ops([Open(writer, 1, "host", "boot", 1, "owner", 1001.0), *ops]))
    (folder.journal / f"{writer}.1.ops").write_bytes(file_header() + frames)


@pytest.mark.parametrize("folded", [False, True])
def test_old_run_takes_ops_of_a_further_writer(folder: RunDirectory, folded: bool) -> None:
    fold(folder)
    ops = [Tags("sys/tags", ["late"], ["y"], False, 2000.0), Assign("lr", "float", 1.0, 2000.0), Delete("gone", 2000.0)]
    put(folder, LATE, *ops, Define(1, "new", False, 2001.0))
    if folded:
        fold(folder)

    reader = Reader(folder)
    assert ({"late", "z"}, 1.0) == (reader.tags("sys/tags"), reader.value("lr"))
    assert "gone" not in reader.kinds()
    assert "float_series" == reader.kinds()["new"]
    assert [(0, 0.5), (1, 0.25), (2, 0.125), (3, 0.0625)] == points_of(folder, "loss")
