"""The trash: hidden, taken out again, deleted for good; and what a purge leaves that is killed."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import naiad
from naiad import trash
from naiad.container_kinds import MODEL, MODEL_VERSION
from naiad.errors import BeingWritten, InvalidArgument, ModelNotFound, NotInTrash, RunNotFound
from naiad.storage.local.gc import purge, remove_purged
from naiad.storage.local.integrity.verify import verify_store
from naiad.storage.local.reader import Reader
from naiad.storage.local.store import Store

KILLED_PURGE = """
import os, pathlib, shutil, sys
from naiad import trash
from naiad.storage.local import gc as purge
from naiad.storage.local.store import Store

def die(*given):
    os.kill(os.getpid(), 9)

def remove_one_file(folder):
    next(path for path in folder.rglob("*") if path.is_file()).unlink()
    die()

if sys.argv[2] == "before":
    pathlib.Path.rename = die
elif sys.argv[2] == "after":
    shutil.rmtree = die
else:
    shutil.rmtree = remove_one_file
store = Store.locate(sys.argv[1])
trash.delete(store, trash.in_trash(store))
"""


@pytest.fixture
def place(store: Path) -> Store:
    return Store.locate(store)


@pytest.fixture
def two(place: Store) -> list[str]:
    """The ids of two runs of one project."""
    names = []
    for number in range(2):
        with naiad.init_run(project="p", custom_run_id=f"job-{number}") as run:
            run["number"] = number
            run["loss"].extend([0.5] * 100)
            names.append(run["sys/id"].fetch())
    return names


def listed(place: Store, *, is_trashed: bool | None = False) -> list[str]:
    return [row.id for row in place.catalog().summaries(is_trashed=is_trashed)]


def throw(place: Store, *names: str) -> list[trash.Item]:
    items = trash.find(place, names)
    trash.move(place, items)
    return items


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_what_is_in_the_trash_is_whole_and_not_listed(place: Store, two: list[str]) -> None:
    throw(place, two[0])

    assert ([two[1]], [two[0]]) == (listed(place), listed(place, is_trashed=True))
    assert two[::-1] == listed(place, is_trashed=None)
    assert [two[1]] == [run.id for run in naiad.init_project("p").runs()]
    with naiad.init_run(with_id=two[0], mode="read-only") as run:
        assert (True, 100, "finished") == (
            run["sys/trashed"].fetch(),
            len(run["loss"].fetch_values()),
            run["sys/state"].fetch(),
        )

    trash.move(place, trash.find(place, [two[0]]), is_out=True)
    assert two[::-1] == listed(place)
    assert all(not damages for damages in verify_store(place).values())


def test_trashing_says_nothing_about_how_a_run_ended(place: Store) -> None:
    script = "import naiad, os; r = naiad.init_run(project='k'); r['x'] = 1; os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", script], check=False, timeout=60)
    with pytest.raises(ZeroDivisionError), naiad.init_run(project="f"):
        1 / 0

    throw(place, "K-1", "F-1")
    assert {"K-1": "killed", "F-1": "failed"} == {
        row.id: row.state for row in place.catalog().summaries(is_trashed=True)
    }


def test_run_that_is_being_written_can_be_thrown_away_and_goes_on(place: Store) -> None:
    with naiad.init_run(project="p") as run:
        run["x"].append(1.0)
        throw(place, "P-1")
        run["x"].append(2.0)
        assert run["sys/trashed"].fetch() is True
        assert "running" == run["sys/state"].fetch()

    with naiad.init_run(with_id="P-1", mode="read-only") as run:
        assert [1.0, 2.0] == list(run["x"].fetch_values()["value"])


def test_deleted_run_leaves_nothing_but_its_number(place: Store, two: list[str]) -> None:
    uid = place.find_directory(two[0]).uid
    gone = trash.delete(place, throw(place, two[0]))

    assert [two[0]] == [item.id for item in gone]
    assert [two[1]] == listed(place, is_trashed=None)
    assert [] == [path for path in files(place.root) if uid in path]
    with pytest.raises(RunNotFound):
        naiad.init_run(with_id=two[0])
    with naiad.init_run(project="p", custom_run_id="job-0") as run:
        assert "P-3" == run["sys/id"].fetch()
    with naiad.init_run(project="p", custom_run_id="job-1") as run:
        assert two[1] == run["sys/id"].fetch()


def test_content_of_files_goes_with_the_last_run_that_has_it(
    place: Store, two: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "naiad.storage.local.gc.collect.__kwdefaults__", {"grace": -1.0, "is_dry": False, "is_alone": False}
    )
    for name, content in zip(two, (b"own" * 50_000, b"other" * 50_000), strict=True):
        with naiad.init_run(with_id=name) as run:
            run["weights"].upload(naiad.File.from_content(content))
            run["shared"].upload(naiad.File.from_content(b"shared" * 50_000))

    def sizes() -> list[int]:
        return sorted(path.stat().st_size for path in (place.root / "blobs").glob("??/*"))

    assert [150_000, 250_000, 300_000] == sizes()
    trash.delete(place, throw(place, two[0]))
    assert [250_000, 300_000] == sizes()
    with naiad.init_run(with_id=two[1], mode="read-only") as run:
        run["shared"].download(str(place.root.parent / "shared.bin"))
    trash.delete(place, throw(place, two[1]))
    assert [] == sizes()


def test_only_what_is_in_the_trash_is_deleted(place: Store, two: list[str]) -> None:
    throw(place, two[0])

    with pytest.raises(NotInTrash, match=f"Run {two[1]} is not in the trash"):
        trash.require_in_trash(place, trash.find(place, two))


def test_what_is_being_written_is_not_deleted_nor_anything_with_it(place: Store, two: list[str]) -> None:
    with naiad.init_run(with_id=two[1]) as run:
        items = throw(place, *two)
        with pytest.raises(BeingWritten, match=f"Run {two[1]} is being written") as problem:
            trash.delete(place, items)
        assert two[1] == problem.value.run_id
        run["later"] = 1

    assert set(two) == set(listed(place, is_trashed=True))
    assert set(two) == {item.id for item in trash.delete(place, trash.in_trash(place))}


def test_run_whose_lock_is_held_is_not_deleted(place: Store, two: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("naiad.storage.local.gc.LOCK_SECONDS", 0.05)
    folder = place.find_directory(two[0])
    with folder.lock(), pytest.raises(BeingWritten, match="has held the lock"):
        purge(place.layout, place.register, folder, two[0])

    assert 0 == Reader(folder).value("number")


@pytest.mark.parametrize("moment", ["before", "after", "within"])
def test_killed_purge_leaves_a_whole_run_or_nothing_to_see(place: Store, two: list[str], moment: str) -> None:
    throw(place, two[0])
    done = subprocess.run([sys.executable, "-c", KILLED_PURGE, str(place.root), moment], check=False, timeout=60)
    assert -signal.SIGKILL == done.returncode

    if moment == "before":
        assert two[::-1] == listed(place, is_trashed=None)
        with naiad.init_run(with_id=two[0], mode="read-only") as run:
            assert 100 == len(run["loss"].fetch_values())
    else:
        assert [two[1]] == listed(place, is_trashed=None)
        assert [two[1]] == [place.id_of(folder) for folder in place.folders()]
        with pytest.raises(RunNotFound):
            naiad.init_run(with_id=two[0], mode="read-only")
        with naiad.init_run(project="p", custom_run_id="job-0") as run:  # its custom id is not lost for ever
            assert run["sys/id"].fetch() not in two
    assert all(not damages for damages in verify_store(place).values())
    remove_purged(place)
    assert [] == [path for path in files(place.root) if ".purged" in path]


def test_model_is_deleted_with_its_versions_and_its_key_is_free(place: Store) -> None:
    naiad.init_model(key="CNN", project="p").stop()
    for _ in range(2):
        naiad.init_model_version(model="P-CNN").stop()
    naiad.init_model(key="DNN", project="p").stop()
    naiad.init_model_version(model="P-DNN").stop()

    gone = trash.delete(place, throw(place, "P-CNN"))
    assert {"P-CNN", "P-CNN-1", "P-CNN-2"} == {item.id for item in gone}
    assert ["P-DNN"] == [row.id for row in place.catalog().summaries(kind=MODEL)]
    assert ["P-DNN-1"] == [row.id for row in place.catalog().summaries(kind=MODEL_VERSION)]
    with pytest.raises(ModelNotFound):
        naiad.init_model_version(model="P-CNN")

    naiad.init_model(key="CNN", project="p").stop()
    with naiad.init_model_version(model="P-CNN") as version:
        assert "P-CNN-3" == version["sys/id"].fetch()


def test_model_with_a_version_that_is_written_is_not_deleted(place: Store) -> None:
    naiad.init_model(key="CNN", project="p").stop()
    with naiad.init_model_version(model="P-CNN"):
        items = throw(place, "P-CNN")
        with pytest.raises(BeingWritten, match="Model version P-CNN-1"):
            trash.delete(place, items)
    assert ["P-CNN"] == [row.id for row in place.catalog().summaries(kind=MODEL, is_trashed=True)]


def test_damaged_run_can_be_deleted(place: Store, two: list[str]) -> None:
    [item, _other] = throw(place, *two)
    for file in place.directory(item.run).journal.iterdir():
        file.write_bytes(b"\xff" * file.stat().st_size)

    purge(place.layout, place.register, place.directory(item.run), item.id)
    assert [two[1]] == listed(place, is_trashed=True)


def test_project_has_no_place_in_the_trash(place: Store) -> None:
    naiad.init_project().stop()
    [folder] = place.folders()

    with pytest.raises(InvalidArgument, match="delete_project"):
        trash.find(place, [folder.uid])


def test_writers_that_resume_while_a_run_is_purged_never_leave_half_a_run(place: Store, two: list[str]) -> None:
    """Each either comes before the purge, which then refuses, or finds no run."""
    script = """
import sys, time
import naiad
from naiad.errors import NaiadError
print("ready", flush=True)
while True:
    try:
        with naiad.init_run(with_id=sys.argv[1]) as run:
            run["seen"].append(1.0)
    except (NaiadError, OSError):
        break
"""
    items = throw(place, two[0])
    process = subprocess.Popen([sys.executable, "-c", script, two[0]], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            trash.delete(place, items)
        except BeingWritten:
            continue
        break
    process.communicate(timeout=60)

    assert [two[1]] == listed(place, is_trashed=None)
