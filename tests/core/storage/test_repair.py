"""Repairing: what is whole is saved, what is not is left out and said, and the originals are kept."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import zlib
from pathlib import Path

import pytest

import naiad
from naiad.errors import DamageWarning, StorageError
from naiad.ops import Assign, Strings
from naiad.settings import Tuning
from naiad.slots import RECORD, SEGMENT_HEADER
from naiad.storage.local.integrity.pages import free_pages, leaf_rows
from naiad.storage.local.integrity.repair import Repair, repair
from naiad.storage.local.integrity.verify import verify
from naiad.storage.local.journal.bit_errors import correct_single_bit
from naiad.storage.local.journal.files import list_journal
from naiad.storage.local.journal.frames import FILE_HEADER, read_frames
from naiad.storage.local.layout import RunDirectory
from naiad.storage.local.maintenance import Maintenance
from naiad.storage.local.reader import Reader
from naiad.storage.local.store import Store
from naiad.storage.local.writer import Writer

PAGE = 4096
POINTS = 800


def begun(root: Path) -> Writer:
    """A run with parameters, a text, two long series and forty short ones."""
    store = Store.locate(root)
    writer = Writer.open(store.directory(store.reserve_run("repair").run))
    at = writer.now()
    writer.log([Assign(f"params/{i}", "int", i, at) for i in range(100)])
    writer.log([Strings("log", ["one", "two"], [0, 1], [at, at], False, at)])
    for path in ("loss", "accuracy", *(f"short/{i}" for i in range(40))):
        count = 5 if path.startswith("short") else POINTS
        fid = writer.bind(path)
        writer.points(fid, [step / 3 for step in range(count)], range(count), [1e9] * count)
    return writer


@pytest.fixture
def short(tmp_path: Path) -> RunDirectory:
    """A stopped run that is only a journal."""
    writer = begun(tmp_path / "store")
    writer.stop()
    return writer.folder


@pytest.fixture
def long(tmp_path: Path) -> RunDirectory:
    """A stopped run that is only an index."""
    writer = begun(tmp_path / "store")
    Maintenance(writer.folder, Tuning.from_environment()).fold(writer.journal)
    writer.stop()
    return writer.folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def zero(path: Path, at: int, count: int = PAGE) -> None:
    data = bytearray(path.read_bytes())
    data[at : at + count] = bytes(count)
    path.write_bytes(data)


def only(folder: RunDirectory, suffix: str) -> Path:
    (path,) = folder.journal.glob(f"*.{suffix}")
    return path


def repaired(folder: RunDirectory) -> Repair:
    """Repair, and see that the run is clean, sealed and changed in nothing by a second repair."""
    done = repair(folder)
    assert done.kept is not None
    assert done.damages
    assert [] == verify(folder)
    assert folder.seal.exists()

    after = contents(folder.path)
    again = repair(folder)
    assert (None, [], done.fields, done.points) == (again.kept, again.damages, again.fields, again.points)
    assert contents(folder.path) == after
    return done


def test_repair_of_a_whole_run_changes_nothing(short: RunDirectory) -> None:
    before = contents(short.path)

    done = repair(short)

    assert Repair(None, [], 143, 2 * POINTS + 200 + 2, 0) == done
    assert before == contents(short.path)


@pytest.mark.parametrize("is_torn", [False, True])
def test_repair_of_a_run_killed_before_its_seal_leaves_no_log_beside_a_sealed_index(
    tmp_path: Path, is_torn: bool
) -> None:
    """A sealed run is read without a log: the points in one that a reader had held open were gone."""
    child = os.fork()
    if not child:
        writer = begun(tmp_path / "store")
        writer.wait()
        Maintenance(writer.folder, Tuning.from_environment()).fold(writer.journal)
        fid = writer.bind("late")
        writer.points(fid, [0.5] * 9, range(9), [1e9] * 9)
        Maintenance.finish = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[method-assign]
        writer.stop()
    os.waitpid(child, 0)
    [folder] = Store.locate(tmp_path / "store").folders()
    if is_torn:
        with only(folder, "ops").open("ab") as stream:
            stream.write(b"torn")
    with contextlib.closing(sqlite3.connect(folder.index)) as reading:
        reading.execute("SELECT count(*) FROM field").fetchone()

        repair(folder)

        assert folder.seal.exists()
        assert 9 == len(Reader(folder).points("late").values)
    assert [] == verify(folder)
    assert not folder.index.with_name("run.db-wal").exists()


def test_repair_of_a_whole_killed_run_folds_it(tmp_path: Path) -> None:
    """The journal of a killed run waits for its next writer or for this command."""
    child = os.fork()
    if not child:
        writer = begun(tmp_path / "store")
        writer.wait()
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    [folder] = Store.locate(tmp_path / "store").folders()
    assert list_journal(folder.journal)
    before = Reader(folder).points("loss")

    done = repair(folder)

    assert (None, [], True) == (done.kept, done.damages, done.is_folded)
    assert [] == list_journal(folder.journal)
    assert folder.index.exists()
    assert [] == verify(folder)
    reader = Reader(folder)
    assert before.values.tolist() == reader.points("loss").values.tolist()
    assert "killed" == reader.state()
    again = contents(folder.path)
    assert not repair(folder).is_folded
    assert again == contents(folder.path)


def test_a_flipped_bit_is_turned_back(short: RunDirectory, long: RunDirectory) -> None:
    for path in (only(short, "seg"), only(short, "ops"), long.index):
        folder = RunDirectory(path.parent.parent if path.suffix != ".db" else path.parent)
        original = path.read_bytes()
        for at in (50, len(original) // 2, len(original) - 1):
            path.write_bytes(original[:at] + bytes([original[at] ^ 4]) + original[at + 1 :])

            assert 0 == repaired(folder).lost
            assert original == path.read_bytes()


def test_points_of_a_zeroed_block_are_left_out_and_counted(short: RunDirectory) -> None:
    zero(only(short, "seg"), 2 * PAGE)

    done = repaired(short)

    gone = range((2 * PAGE - SEGMENT_HEADER) // RECORD, (3 * PAGE - SEGMENT_HEADER) // RECORD)
    points = Reader(short).points("loss")
    assert len(gone) == done.lost
    assert [step for step in range(POINTS) if step not in gone] == points.steps.tolist()
    assert [step / 3 for step in range(POINTS) if step not in gone] == points.values.tolist()
    assert "finished" == Reader(short).state()


def test_points_whose_definition_is_lost_are_kept_under_another_path(short: RunDirectory) -> None:
    ops = only(short, "ops")
    at = ops.read_bytes().index(b"\x95\xa6define")
    zero(ops, at, 10)

    repaired(short)

    reader = Reader(short)
    (path,) = [path for path in reader.kinds() if path.startswith("recovered/")]
    assert POINTS == reader.count(path)
    assert "loss" not in reader.kinds()


@pytest.mark.parametrize("page", range(9))
def test_no_single_page_of_an_index_takes_more_than_its_own_rows(long: RunDirectory, page: int) -> None:
    """The first pages: the description of the tables, and the root of each; some are the only leaf of their table."""
    zero(long.index, page * PAGE)

    repaired(long)

    reader = Reader(long)
    kinds = reader.kinds()
    series = [path for path, kind in kinds.items() if kind == "float_series"]
    assert len(series) >= 41
    assert all(reader.count(path) in (0, 5, POINTS) for path in series)
    assert all(value == int(path[7:]) for path, value in reader.values("params").items())


def test_a_cut_index_keeps_what_is_left(long: RunDirectory) -> None:
    os.truncate(long.index, long.index.stat().st_size // 2 + 77)

    repaired(long)

    assert all(value == int(path[7:]) for path, value in Reader(long).values("params").items())


def test_series_without_a_row_keep_their_points_under_another_path(long: RunDirectory) -> None:
    data = long.index.read_bytes()
    zero(long.index, data.index(b"short/7") // PAGE * PAGE)

    repaired(long)

    reader = Reader(long)
    lost = [path for path in reader.kinds() if path.startswith("recovered/")]
    assert lost
    assert all(
        [step / 3 for step in range(len(reader.points(path).values))] == reader.points(path).values.tolist()
        for path in lost
    )


def test_a_lost_seal_is_made_anew(short: RunDirectory) -> None:
    short.seal.write_text("{}")

    done = repaired(short)

    assert ["it is not the seal that was written"] == [damage.what for damage in done.damages]
    assert 0 == done.lost


def test_originals_are_kept_and_a_second_repair_keeps_others(short: RunDirectory) -> None:
    zero(only(short, "seg"), PAGE)
    first = {name: data for name, data in contents(short.path).items() if name != ".lock"}
    one = repaired(short).kept
    zero(short.index, PAGE)
    second = short.index.read_bytes()
    two = repaired(short).kept

    assert one is not None
    assert two is not None
    assert one != two
    assert first == contents(one)
    assert second == (two / "run.db").read_bytes()


def test_a_run_that_is_being_written_is_refused(tmp_path: Path) -> None:
    writer = begun(tmp_path / "store")

    with pytest.raises(StorageError, match="is being written and cannot be repaired now"):
        repair(writer.folder)
    writer.stop()


def test_a_killed_run_with_a_torn_end_is_folded_and_stays_killed(short: RunDirectory) -> None:
    short.seal.unlink()
    ops = only(short, "ops")
    ops.write_bytes(ops.read_bytes()[:-3])
    torn = ops.read_bytes()

    done = repair(short)

    assert done.kept is not None
    assert torn == (done.kept / "journal" / ops.name).read_bytes()
    assert ["killed", 2 * POINTS + 202] == [Reader(short).state(), done.points]
    assert not short.seal.exists()
    assert [] == verify(short)


def test_folds_that_only_the_log_of_the_index_has_survive_a_repair(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log stays as long as a reader has the index open, and after a kill. One bit of a segment is flipped."""
    monkeypatch.setenv("NAIAD_SEGMENT_BYTES", "4096")
    child = os.fork()
    if not child:
        writer = begun(tmp_path / "store")
        keeper = Maintenance(writer.folder, Tuning.from_environment())
        keeper.fold(writer.journal)
        reader = sqlite3.connect(writer.folder.index)
        reader.execute("SELECT count(*) FROM head").fetchone()
        later = writer.bind("later")
        for start in (0, 1000):
            writer.points(later, [0.5] * 1000, range(start, start + 1000), [1e9] * 1000)
            keeper.fold(writer.journal) if not start else writer.wait()
        writer.journal.cover()
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    [folder] = Store.locate(tmp_path / "store").folders()
    segment = sorted(folder.journal.glob("*.seg"))[-2]  # full, and not folded
    data = bytearray(segment.read_bytes())
    data[SEGMENT_HEADER + 5 * RECORD + 3] ^= 4
    segment.write_bytes(data)
    assert folder.index.with_name("run.db-wal").stat().st_size > PAGE

    done = repair(folder)

    assert [] == verify(folder)
    assert (0, True) == (done.lost, bool(done.damages))
    assert list(range(2000)) == Reader(folder).points("later").steps.tolist()


def test_a_damaged_killed_run_is_repaired_and_stays_killed(tmp_path: Path) -> None:
    """Its index has a log beside it that SQLite has not put into the file yet, and its journal goes on after that."""
    writer = begun(tmp_path / "store")
    Maintenance(writer.folder, Tuning.from_environment()).fold(writer.journal)
    fid = writer.bind("later")
    writer.points(fid, [1.0, 2.0], [0, 1], [1e9, 1e9])
    copy = RunDirectory(tmp_path / "copy" / "run")
    shutil.copytree(writer.folder.path, copy.path)  # nobody holds the lease of the copy
    writer.stop()
    zero(copy.index, copy.index.read_bytes().index(b"params/50") // PAGE * PAGE)
    with pytest.warns(DamageWarning):
        Reader(copy).refresh()

    done = repair(copy)

    reader = Reader(copy)
    assert [] == verify(copy)
    assert ["killed", 2] == [reader.state(), reader.count("later")]
    assert done.fields > 50
    assert not copy.seal.exists()


def test_a_run_copied_out_of_its_store_is_repaired(short: RunDirectory, tmp_path: Path) -> None:
    copy = RunDirectory(tmp_path / "elsewhere" / "run")
    shutil.copytree(short.path, copy.path)
    zero(only(copy, "seg"), PAGE)

    repaired(copy)

    assert ["run"] == [path.name for path in copy.path.parent.iterdir()]


def test_one_flipped_bit_of_a_block_is_found() -> None:
    block = bytes(range(256)) * 16
    for bit in (0, 7, 8, 12345, 8 * len(block) - 1):
        hurt = bytearray(block)
        hurt[bit // 8] ^= 1 << bit % 8

        assert block == correct_single_bit(bytes(hurt), zlib.crc32(block))
    assert correct_single_bit(block[:5] + b"abc" + block[8:], 1) is None


def test_pages_give_the_rows_that_sqlite_gives(long: RunDirectory) -> None:
    data = long.index.read_bytes()
    free = free_pages(data)
    assert free is not None

    paths = {
        row[1]
        for _key, row in leaf_rows(data, free)
        if len(row) == 5 and isinstance(row[3], bytes) and row[0] is None and isinstance(row[1], str)
    }
    kinds = Reader(long).kinds()
    assert {path for path in kinds if kinds[path] != "run_state" and not path.startswith("sys/")} == paths


def test_resuming_a_damaged_run_repairs_it_first_and_keeps_the_original(store: Path) -> None:
    """The seal is the only witness of some damages, and going on removes it."""
    with naiad.init_run() as run:
        run["a"], run_id = 1, run["sys/id"].fetch()
        run["a"] = 2
        folder = RunDirectory(Path(run.get_url().removeprefix("file://")))
    ops = next(folder.journal.glob("*.ops"))
    ends = [item.end for item in read_frames(ops.read_bytes(), FILE_HEADER)]
    ops.write_bytes(ops.read_bytes()[: ends[-2]])

    with pytest.warns(DamageWarning):
        resumed = naiad.init_run(with_id=run_id)
    resumed["b"] = 3
    resumed.stop()

    assert 1 == len(list(folder.path.glob("damaged-*")))
    assert 3 == naiad.init_run(with_id=run_id, mode="read-only")["b"].fetch()
    assert [] == verify(folder)


def test_repair_keeps_the_order_of_ops_over_all_files_of_a_writer(tmp_path: Path) -> None:
    """What a writer wrote last counts, also where it wrote it into a second file of ops."""
    writer = begun(tmp_path / "store")
    for value in range(5):
        writer.log([Assign("value", "int", value, writer.now())])
    writer.journal.start_over()
    for value in (5, 6):
        writer.log([Assign("value", "int", value, writer.now())])
    writer.wait()
    copy = RunDirectory(tmp_path / "copy" / "run")
    shutil.copytree(writer.folder.path, copy.path)  # nobody holds the lease of the copy
    writer.stop()
    first = sorted(copy.journal.glob("*.ops"))[0]
    zero(first, first.read_bytes().index(b"two"), 3)

    done = repair(copy)

    assert ("log",) == done.lost_fields
    assert 6 == Reader(copy).value("value")


def test_damaged_file_of_a_run_that_is_only_a_journal_is_left_out(store: Path, tmp_path: Path) -> None:
    """The ops that take it out come after all that the run's writer wrote."""
    with naiad.init_run(store=store, project="repair") as run:
        run["big"].upload(naiad.types.File.from_content(bytes(200_000)))
        run["small"] = 1
    (folder,) = Store.locate(store).folders()
    assert not folder.index.exists()
    (blob,) = [path for path in (store / "blobs").rglob("*") if path.is_file() and path.stat().st_size == 200_000]
    blob.chmod(0o600)
    blob.write_bytes(b"x" * 200_000)

    done = repair(folder)

    assert ("big",) == done.lost_files
    assert [] == verify(folder)
    assert ["small"] == [path for path in Reader(folder).kinds() if not path.startswith("sys/")]
