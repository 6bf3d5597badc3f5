"""Short runs are read for the catalog without a reader, with the same values; all others are left to it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

import naiad
from naiad.storage.local.catalog import look_at
from naiad.storage.local.entries import read_entry
from naiad.storage.local.layout import RunDirectory
from naiad.storage.local.short_run import read_short_run
from naiad.storage.local.store import Store
from naiad.storage.sql.values import Entry
from naiad.types import File


@pytest.fixture
def place(store: Path) -> Store:
    return Store.locate(store)


def write(place: Store, **options: Any) -> RunDirectory:
    """Write a run with fields of most kinds."""
    with naiad.init_run(project="p", **options) as run:
        run["params"] = {"lr": 0.1, "layers": 3, "name": "é", "flag": True, "nothing": None}
        run["params/lr"] = 0.2
        run["loss"].extend([3.0, float("inf"), 1.0], steps=[2, 1, 2.5])
        run["many"].extend([n / 7 for n in range(30)])
        run["words"].extend(["a", "b"])
        run["sys/tags"].add(["x", "y"])
        run["sys/tags"].remove("x")
        run["one"].upload(File.from_content("text"))
        run["set"].upload_files(__file__)
        print("printed\rover it")
        name = run["sys/id"].fetch()
    return place.find_directory(name)


def is_short(folder: RunDirectory) -> bool:
    look = look_at(str(folder.path))
    return look.files is not None and read_short_run(folder, look.files) is not None


def entries(place: Store, folder: RunDirectory) -> tuple[Entry, Entry]:
    """The entry that a reader makes of a run, and the one of the catalog."""
    look = look_at(str(folder.path))
    by_reader = read_entry(place.register, folder, look.stamp, look.writers)
    return by_reader, read_entry(place.register, folder, look.stamp, look.writers, look.files)


@pytest.mark.parametrize("has_captures", [False, True], ids=["", "with captures"])
def test_usual_run_has_the_entry_of_its_reader(place: Store, has_captures: bool) -> None:
    options = {} if has_captures else {"capture_stdout": False, "capture_stderr": False, "git_ref": False}
    folder = write(place, **options)
    by_reader, entry = entries(place, folder)

    assert is_short(folder)
    assert by_reader == entry


def test_run_that_is_not_short_is_left_to_its_reader(place: Store) -> None:
    """As one with a deletion, a series that is begun anew, a second session, images, an index, or without its seal."""
    folders = [write(place) for _ in range(6)]
    for number in range(4):
        with naiad.init_run(with_id=f"P-{number + 1}") as run:
            if number == 0:
                del run["words"]
            if number == 1:
                run["params/lr"] = 5.0
            if number == 2:
                run["images"].append(File.from_content(b"image", extension="png"))
            if number == 3:
                run["long"].extend([float(n) for n in range(20_000)])
    folders[4].seal.unlink()
    shutil.copy(folders[5].seal, folders[5].path / "note.json")
    pairs = [entries(place, folder) for folder in folders]

    assert [False] * 6 == [*map(is_short, folders)]
    assert [by_reader for by_reader, _entry in pairs] == [entry for _by_reader, entry in pairs]


@pytest.mark.parametrize("suffix", ["ops", "seg", "json"])
def test_damaged_byte_anywhere_leaves_a_run_to_its_reader(place: Store, suffix: str) -> None:
    folder = write(place, capture_stdout=False, capture_stderr=False)
    [file] = folder.path.rglob(f"*.{suffix}")
    data = file.read_bytes()
    short, different = [], []
    for at in range(0, len(data), 61):
        file.write_bytes(data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :])
        short += [at] * is_short(folder)
        by_reader, entry = entries(place, folder)
        different += [at] * (by_reader != entry)

    assert ([], []) == (short, different)


@pytest.mark.parametrize("what", ["cut", "longer", "missing", "empty"])
@pytest.mark.parametrize("suffix", ["ops", "seg", "json"])
def test_file_of_another_size_leaves_a_run_to_its_reader(place: Store, suffix: str, what: str) -> None:
    folder = write(place, capture_stdout=False, capture_stderr=False)
    [file] = folder.path.rglob(f"*.{suffix}")
    data = file.read_bytes()
    if what == "missing":
        file.unlink()
    else:
        file.write_bytes({"cut": data[:-1], "longer": data + b"\0", "empty": b""}[what])
    by_reader, entry = entries(place, folder)

    assert by_reader == entry
    assert not is_short(folder)


def test_file_that_is_replaced_after_the_look_leaves_a_run_to_its_reader(place: Store) -> None:
    """The seal is another one then: a writer has come and gone in between."""
    folder = write(place)
    look = look_at(str(folder.path))
    with naiad.init_run(with_id="P-1") as run:
        run["late"] = 1

    assert look.files is not None
    assert read_short_run(folder, look.files) is None
