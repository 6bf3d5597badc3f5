"""The intake: content comes in at the call, is put into its place in the background, and is never between two names."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import naiad
from naiad import clock
from naiad.errors import DamagedData, StorageWarning
from naiad.storage.local.blobs import Blobs
from naiad.storage.local.files import stored_files
from naiad.storage.local.gc import collect
from naiad.storage.local.ingest import Ingest
from naiad.storage.local.integrity.verify import verify
from naiad.storage.local.reader import Reader
from naiad.storage.local.store import Store
from naiad.types import File

DATA = os.urandom(50_000)


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs(tmp_path / "blobs")


def names(blobs: Blobs) -> list[str]:
    return sorted(path.name for path in (blobs.root / "incoming").glob("*"))


def take(intake: Ingest) -> str:
    return intake.take(File.from_content(DATA), "1-a").blob


def test_name_goes_when_the_log_has_the_hash(blobs: Blobs) -> None:
    said: list[dict[str, str]] = []
    intake = Ingest(blobs, lambda found: not said.append(found), pytest.fail)
    name = take(intake)
    intake.settle([name])
    intake.wait()

    assert [[name]] == [list(found) for found in said]
    assert [] == names(blobs)
    assert DATA == blobs.read(said[0][name])


def test_name_stays_when_the_log_is_closed(blobs: Blobs) -> None:
    intake = Ingest(blobs, lambda _found: False, pytest.fail)
    name = take(intake)
    intake.settle([name])

    assert intake.finish(clock.monotonic() + 60)
    assert [name] == names(blobs)


def test_refusal_is_told_by_wait_and_tried_again(blobs: Blobs) -> None:
    told: list[OSError] = []
    is_full = True

    def log(_found: dict[str, str]) -> bool:
        if is_full:
            raise OSError(28, "No space left on device")
        return True

    intake = Ingest(blobs, log, told.append)
    intake.settle([take(intake)])
    with pytest.raises(OSError, match="No space"):
        intake.wait()
    kept = names(blobs)
    is_full = False
    intake.wait()

    assert told
    assert 1 == len(kept)
    assert [] == names(blobs)


def test_wait_returns_when_the_blob_is_in_its_place(store: Path) -> None:
    with naiad.init_run() as run:
        run["file"].upload(File.from_content(DATA), wait=True)

        assert [] == list((store / "blobs" / "incoming").iterdir())
        assert DATA == run["file"].fetch_content()


def test_same_content_is_kept_once_for_all_runs(store: Path) -> None:
    for _ in range(3):
        with naiad.init_run() as run:
            run["file"].upload(File.from_content(DATA))
            run["series"].append(File.from_content(DATA))

    assert 1 == sum(path.is_file() and path.name != ".lock" for path in (store / "blobs").rglob("*"))


def test_refused_call_leaves_no_content(run: naiad.Run, store: Path) -> None:
    run["text"] = "a"
    for refused in (
        lambda: run["text"].upload(File.from_content(DATA)),
        lambda: run["sys/mine"].upload(File.from_content(DATA)),
        lambda: run["text/below"].upload(File.from_content(DATA)),
        lambda: run["both"].assign({"file": File.from_content(DATA), "text": File("absent")}),
        lambda: run["series"].extend([File.from_content(DATA), File("absent")]),
    ):
        with pytest.raises(naiad.errors.NaiadError):
            refused()

    assert [] == list((store / "blobs" / "incoming").glob("*"))
    assert not run.exists("series")
    assert not run.exists("both/file")


def test_files_of_a_killed_run_are_settled_by_who_goes_on_with_it(store: Path) -> None:
    program = """
import os, naiad
from naiad.storage.local.blobs import Blobs
Blobs.settle_all = lambda self, names, report=None: __import__("time").sleep(60)
run = naiad.init_run(project="dead")
run["file"].upload(naiad.types.File.from_content(b"x" * 50_000))
os._exit(9)
"""
    done = subprocess.run([sys.executable, "-c", program], check=False)
    before = names(Blobs(store / "blobs"))
    folder = Store(store).find_directory("DEAD-1")
    listed = names(Blobs(store / "blobs"))
    with naiad.init_run(with_id="DEAD-1", project="dead"):
        pass

    assert before == listed  # who only looks changes nothing
    assert 9 == done.returncode
    assert 1 == len(before)
    assert [] == names(Blobs(store / "blobs"))
    reader = Reader(folder)
    assert [64] == [len(reader.resolve(file.blob)) for _path, file in stored_files(reader)]


def test_collect_frees_what_no_run_refers_to_and_nothing_else(store: Path) -> None:
    with naiad.init_run() as run:
        run["kept"].upload(File.from_content(b"a" * 50_000))
        run["series"].append(File.from_content(b"b" * 50_000))
        run["gone"].upload(File.from_content(b"c" * 50_000))
        run["again"].upload(File.from_content(b"d" * 50_000))
        run["again"].upload(File.from_content(b"e" * 50_000))
        run.pop("gone")
    told = collect(Store(store).layout, grace=-1, is_dry=True)
    removed = collect(Store(store).layout, grace=-1)

    assert [50_000, 50_000] == [file.size for file in removed]
    assert told == removed
    assert [] == collect(Store(store).layout, grace=-1)
    with naiad.init_run(with_id=Store(store).catalog().summaries()[0].id, mode="read-only") as found:
        assert b"a" * 50_000 == found["kept"].fetch_content()
        assert b"e" * 50_000 == found["again"].fetch_content()
        assert [b"b" * 50_000] == [file.content for file in found["series"].fetch_files()]


def test_damaged_blob_is_named_by_verify_and_refused_by_download(store: Path, tmp_path: Path) -> None:
    with naiad.init_run(project="bad") as run:
        run["file"].upload(File.from_content(DATA))
    blob = next(path for path in (store / "blobs").glob("??/*"))
    blob.chmod(0o644)
    blob.write_bytes(DATA[:-1] + bytes([DATA[-1] ^ 1]))
    folder = Store(store).find_directory("BAD-1")

    assert ["file"] == [damage.path for damage in verify(folder)]
    with (
        naiad.init_run(with_id="BAD-1", project="bad", mode="read-only") as found,
        pytest.raises(naiad.errors.DamagedData),
    ):
        found["file"].download(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_large_file_does_not_hold_up_the_points(run: naiad.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashing takes as long as it takes; what is logged meanwhile is on disk within a second."""
    held, go_on = threading.Event(), threading.Event()
    settle_all = Blobs.settle_all

    def slowly(self: Blobs, found: list[str]) -> Any:  # stands for a file of many gigabytes
        held.set()
        go_on.wait(60)
        return settle_all(self, found)

    monkeypatch.setattr(Blobs, "settle_all", slowly)
    run["file"].upload(File.from_content(DATA))
    held.wait(60)
    run["loss"].append(1.0)
    journal = run._session.writer.journal
    journal.sync()
    is_held = not go_on.is_set()
    go_on.set()

    assert is_held


@pytest.mark.filterwarnings("ignore::naiad.errors.StorageWarning")
def test_disk_that_refuses_a_file_does_not_stop_training(run: naiad.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_args: object, **_more: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Blobs, "create", full)
        with pytest.warns(StorageWarning, match='"file" was not stored'):
            run["file"].upload(File.from_content(DATA))
    run["loss"].append(1.0)

    assert not run.exists("file")
    assert 1.0 == run["loss"].fetch_last()


def test_run_that_is_stopped_before_its_files_are_in_place_is_not_sealed(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    settle_all = Blobs.settle_all

    def slowly(self: Blobs, found: list[str]) -> Any:  # stands for a file of many gigabytes
        go_on.wait(30)
        return settle_all(self, found)

    monkeypatch.setattr(Blobs, "settle_all", slowly)
    run = naiad.init_run(project="late")
    run["file"].upload(File.from_content(DATA))
    with pytest.warns(StorageWarning, match="the run is not sealed"):
        run.stop(seconds=1.2)
    folder = Store(store).find_directory("LATE-1")
    is_sealed = folder.seal.exists()
    go_on.set()
    with naiad.init_run(with_id="LATE-1", project="late"):
        pass

    assert not is_sealed
    assert folder.seal.exists()
    assert [] == names(Blobs(store / "blobs"))


def test_content_cut_by_a_power_cut_is_damage(store: Path, tmp_path: Path) -> None:
    program = """
import os, naiad
from naiad.storage.local.blobs import Blobs
Blobs.settle_all = lambda self, names, report=None: __import__("time").sleep(60)
run = naiad.init_run(project="cut")
run["file"].upload(naiad.types.File.from_content(b"x" * 50_000))
os._exit(9)
"""
    subprocess.run([sys.executable, "-c", program], check=False)
    incoming = next((store / "blobs" / "incoming").iterdir())
    incoming.chmod(0o644)
    os.truncate(incoming, 4096)
    with naiad.init_run(with_id="CUT-1", project="cut") as run:  # it is hashed now, and its hash is that of the rest
        with pytest.raises(DamagedData, match="it has 4096 bytes where 50000 were stored"):
            run["file"].fetch_content()
        with pytest.raises(DamagedData):
            run["file"].download(tmp_path / "out")

    assert ["file"] == [damage.path for damage in verify(Store(store).find_directory("CUT-1"))]


@pytest.mark.filterwarnings("ignore::naiad.errors.FieldWarning")
def test_collect_keeps_the_content_of_a_field_that_is_not_shown(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = naiad.init_run(project="two", custom_run_id="x")
    second = naiad.init_run(project="two", custom_run_id="x")
    monkeypatch.setattr(second._session, "refresh_before_define", lambda: None)  # as if both wrote at the same moment
    first["a/b"] = 1.0
    second["a"].upload(File.from_content(DATA))
    first.stop()
    second.stop()

    assert [] == collect(Store(store).layout, grace=-1)
    with naiad.init_run(project="two", custom_run_id="x") as run:
        run.pop("a/b")
        assert DATA == run["a"].fetch_content()


def test_no_thread_for_files_leaves_the_content_waiting(run: naiad.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run["file"].upload(File.from_content(b"old" * 20_000), wait=True)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", lambda _thread: (_ for _ in ()).throw(RuntimeError("no thread")))
        run["file"].upload(File.from_content(DATA))
    run.wait()

    assert DATA == run["file"].fetch_content()


def test_copy_to_another_store_does_not_launder_damage(store: Path, tmp_path: Path) -> None:
    with naiad.init_run() as run:
        run["file"].upload(File.from_content(DATA), wait=True)
        blob = next(path for path in (store / "blobs").glob("??/*"))
        blob.chmod(0o644)
        blob.write_bytes(DATA[:-1] + bytes([DATA[-1] ^ 1]))
        with (
            naiad.init_run(store=tmp_path / "other" / ".naiad") as other,
            pytest.raises(DamagedData, match="not the content"),
        ):
            other["file"] = run["file"]
