"""Sums: each byte of a run that was not stopped has a checksum, and what is missing by them is named."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import zlib
from pathlib import Path

import pytest

from naiad.errors import DamagedData, DamageWarning, MissingField
from naiad.slots import RECORD, SEGMENT_HEADER
from naiad.storage.local.integrity.verify import examine, verify
from naiad.storage.local.journal.coverage import read_coverage
from naiad.storage.local.journal.segment import Segment
from naiad.storage.local.journal.sums import Sums, holes
from naiad.storage.local.layout import RunDirectory
from naiad.storage.local.reader import Reader
from naiad.storage.local.store import Store
from naiad.storage.local.writer import Writer

LOOP = """
import os, sys, time, naiad
quiet = dict(capture_stdout=False, capture_stderr=False, capture_hardware_metrics=False, source_files=[], git_ref=False)
run = naiad.init_run(store=sys.argv[1], project="sums", **quiet)
until = time.monotonic() + 1.5
while time.monotonic() < until:
    for i in range(100):
        run["a"].append(i / 3, step=i)
"""
STOP = """
import os, sys, naiad
from naiad.storage.local import maintenance
from naiad.storage.local.index import compact
from naiad.storage.local.integrity import seal
quiet = dict(capture_stdout=False, capture_stderr=False, capture_hardware_metrics=False, source_files=[], git_ref=False)
run = naiad.init_run(store=sys.argv[1], project="sums", **quiet)
for i in range(5000):
    run["a"].append(i / 3, step=i)
moments = {"seal": (maintenance, "write_seal"), "compaction": (compact, "compact_if_worth_it"),
    "sums": (seal, "_remove_sums"), "single file": (compact, "make_single_file"),
    "close": (naiad.storage.local.writer.Journal, "close"), "begin": (naiad.storage.local.writer.Writer, "_end")}
place, name = moments[sys.argv[2]]
setattr(place, name, lambda *_: os.kill(os.getpid(), 9))
run.stop()
"""


def killed(place: Path, program: str, *arguments: str, **settings: str) -> RunDirectory:
    environment = os.environ | settings
    command = [sys.executable, "-c", program, str(place / "store"), *arguments]
    done = subprocess.run(command, env=environment, check=False)
    assert -signal.SIGKILL == done.returncode
    (folder,) = Store.locate(place / "store").folders()
    return folder


@pytest.fixture
def waiting(tmp_path: Path) -> Writer:
    """A writer with points of two series in blocks of their own, which has waited for them."""
    store = Store.locate(tmp_path / "store")
    writer = Writer.open(store.directory(store.reserve_run("sums").run))
    for path in ("a", "b"):
        fid = writer.bind(path)
        writer.points(fid, [step / 3 for step in range(700)], range(700), [1e9] * 700)
    writer.wait()
    return writer


@pytest.fixture
def folder(waiting: Writer, tmp_path: Path) -> RunDirectory:
    """A copy of its run: what a kill would leave."""
    copy = RunDirectory(tmp_path / "copy" / "runs" / "run")
    shutil.copytree(waiting.folder.path, copy.path)
    waiting.stop()
    return copy


def only(folder: RunDirectory, suffix: str) -> Path:
    """The file with all that was written; on a slow machine an empty segment for later is beside it."""
    return min(folder.journal.glob(f"*.{suffix}"))


def change(path: Path, at: int, new: bytes) -> None:
    data = bytearray(path.read_bytes())
    data[at : at + len(new)] = new
    path.write_bytes(data)


def refusal_of(reader: Reader, path: str) -> Exception | None:
    try:
        reader.points(path)
    except (DamagedData, MissingField) as error:
        return error
    return None


def test_everything_is_covered_at_once_after_wait(waiting: Writer) -> None:
    coverage = read_coverage(waiting.folder)
    (segment,) = (cover for name, cover in coverage.files.items() if name.endswith("001.seg"))
    (ops,) = (cover for name, cover in coverage.files.items() if name.endswith(".ops"))

    assert 1400 == segment.points_from(SEGMENT_HEADER)
    assert waiting.journal.op_log.files[0].size == ops.size
    waiting.stop()


def test_a_second_after_they_were_logged_points_are_covered_in_a_tight_loop_too(tmp_path: Path) -> None:
    program = LOOP + "os.kill(os.getpid(), 9)\n"
    folder = killed(tmp_path, program, NAIAD_FOLD_RECORDS="100000000")

    coverage = read_coverage(folder)
    covered = sum(cover.points_from(SEGMENT_HEADER) for cover in coverage.files.values())
    points = Reader(folder).points("a")
    late = (points.times[-1] - points.times < 1000).sum()
    assert covered >= len(points.values) - late
    assert [] == verify(folder)


def test_a_hole_is_left_out_and_covered_once_it_is_filled(tmp_path: Path) -> None:
    directory = os.open(tmp_path, os.O_RDONLY)
    segment = Segment.create(directory, "1-a.000001.seg", SEGMENT_HEADER + 10 * RECORD)
    sums = Sums(directory, "1-a")
    offsets = [next(segment.slot[0]) for _ in range(4)]
    for at in (offsets[0], offsets[1], offsets[3]):
        segment.slot[1][at : at + RECORD] = bytes(RECORD - 4) + at.to_bytes(4, "little")
    sums.cover([segment], [])
    folder = RunDirectory(tmp_path.parent / "run")
    folder.path.mkdir()
    folder.journal.symlink_to(tmp_path)

    before = read_coverage(folder).files["1-a.000001.seg"].ranges
    at = offsets[2]
    segment.slot[1][at : at + RECORD] = bytes(RECORD - 4) + at.to_bytes(4, "little")
    sums.cover([segment], [])
    after = read_coverage(folder).files["1-a.000001.seg"].ranges

    assert [(0, 32), (64, 128), (160, 192)] == sorted((one.start, one.end) for one in before.values())
    assert (128, 160) in {(one.start, one.end) for one in after.values()}
    content = segment.content(0, 192)
    assert all(zlib.crc32(content[one.start : one.end]) == one.crc for one in after.values())
    sums.close()
    segment.rest()
    os.close(directory)


def test_records_that_were_reserved_together_are_covered_together(tmp_path: Path) -> None:
    """A dict of 1,000 floats reserves its records, and a look may come before it packs them, or between two of them."""
    folder = RunDirectory(tmp_path / "run")
    folder.journal.mkdir(parents=True)
    directory = os.open(folder.journal, os.O_RDONLY)
    segment = Segment.create(directory, "1-a.000001.seg", SEGMENT_HEADER + 1001 * RECORD)
    sums = Sums(directory, "1-a")
    offsets = [next(segment.slot[0]) for _ in range(1000)]
    for some in ([], offsets[::-3][:100], offsets):
        for at in some:
            segment.slot[1][at : at + RECORD] = bytes(RECORD - 4) + at.to_bytes(4, "little")
        sums.cover([segment], [])
    ranges = read_coverage(folder).files["1-a.000001.seg"].ranges.values()
    content = segment.content(0, segment.used())

    assert [*range(SEGMENT_HEADER, segment.used(), RECORD)] == sorted(
        at for one in ranges if one.start for at in range(one.start, one.end, RECORD)
    )
    assert all(zlib.crc32(content[one.start : one.end]) == one.crc for one in ranges)
    assert 1 + 100 + 100 + 700 // 128 >= len(ranges)
    sums.close()
    segment.rest()
    os.close(directory)


def test_holes_are_the_records_without_a_commit_word() -> None:
    records = [bytes(28) + number.to_bytes(4, "little") for number in (64, 0, 256, 65536, 0, 1 << 24)]

    assert [32, 128] == holes(b"".join(records))


def test_one_flipped_bit_is_read_as_it_was_written_and_said(folder: RunDirectory) -> None:
    path, at = only(folder, "seg"), SEGMENT_HEADER + 300 * RECORD + 9
    change(path, at, bytes([path.read_bytes()[at] ^ 16]))

    with pytest.warns(DamageWarning, match="one bit has turned over"):
        assert [step / 3 for step in range(700)] == Reader(folder).points("a").values.tolist()
    assert any("one bit has turned over" in damage.what for damage in verify(folder))


def test_only_series_in_a_damaged_range_are_refused(folder: RunDirectory) -> None:
    change(only(folder, "seg"), SEGMENT_HEADER + 300 * RECORD, bytes(64))

    with pytest.warns(DamageWarning, match="points are lost"), pytest.raises(DamagedData, match="a"):
        Reader(folder).points("a")
    with pytest.warns(DamageWarning):
        assert 700 == len(Reader(folder).points("b").values)
    assert {"a", None} == {damage.path for damage in verify(folder)}


@pytest.mark.parametrize("suffix", ["seg", "ops"])
@pytest.mark.parametrize("size", [None, 0, 600])
def test_a_file_that_is_gone_or_cut_is_named(folder: RunDirectory, suffix: str, size: int | None) -> None:
    path = next(folder.journal.glob(f"*001.{suffix}"))
    path.unlink() if size is None else os.truncate(path, min(size, path.stat().st_size - 1))

    reader = Reader(folder)
    with pytest.warns(DamageWarning, match=path.name):
        said = [refusal_of(reader, name) for name in ("a", "b")]
    assert suffix == "ops" or all(isinstance(each, DamagedData) for each in said)
    assert path.name in str(verify(folder)[0])


@pytest.mark.parametrize("moment", ["begin", "close", "compaction", "single file", "seal", "sums"])
@pytest.mark.parametrize("folds", ["100", "1000000"])
def test_a_run_killed_while_it_stops_is_not_damaged(moment: str, folds: str, tmp_path: Path) -> None:
    if folds != "100" and moment in ("compaction", "single file"):
        pytest.skip("a run without an index is not compacted")
    folder = killed(tmp_path, STOP, moment, NAIAD_SMALL_RUN_RECORDS=folds)

    found = examine(folder)

    assert [] == found.damages
    assert 5000 == Reader(folder).count("a")


def test_lost_sums_are_named(tmp_path: Path) -> None:
    folder = killed(tmp_path, LOOP + "os.kill(os.getpid(), 9)\n", NAIAD_FOLD_RECORDS="100000000")
    path = only(folder, "sums")
    path.unlink()

    assert [f"journal/{path.name}"] == [damage.file for damage in verify(folder)]


def test_run_whose_sums_were_lost_is_not_sealed_with_damaged_points(waiting: Writer) -> None:
    """A seal would declare the damaged bytes to be the right ones."""
    folder = waiting.folder
    only(folder, "sums").unlink()
    with min(folder.journal.glob("*.seg")).open("r+b") as stream:
        stream.seek(SEGMENT_HEADER + RECORD + 8)
        stream.write(b"\xff\x01\x02\x03")
    with pytest.warns(UserWarning, match="could not be sealed"):
        waiting.stop()

    assert not folder.seal.exists()


def test_a_sealed_run_that_somebody_came_back_to_is_still_vouched_for(waiting: Writer) -> None:
    waiting.stop()
    folder = waiting.folder
    path = next(folder.journal.glob("*.seg"))
    child = os.fork()
    if not child:
        try:
            Writer.open(folder)
            time.sleep(0.01)
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert [] == verify(folder)

    os.truncate(path, 3000)
    assert path.name in str(verify(folder)[0])


def test_counts_of_the_index_that_come_while_sums_are_written_are_written_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They come from the thread that folds, and the sums are written by another one."""
    (tmp_path / "journal").mkdir()
    directory = os.open(tmp_path / "journal", os.O_RDONLY)
    sums = Sums(directory, "1-a")
    sums.cover([], [("1-a.0.ops", 100, 1)])
    write = os.pwrite

    def fold_and_write(fd: int, data: bytes, at: int) -> int:
        monkeypatch.setattr(os, "pwrite", write)
        sums.note_index(7, 50, 3)
        return write(fd, data, at)

    monkeypatch.setattr(os, "pwrite", fold_and_write)
    sums.cover([], [("1-a.0.ops", 200, 2)])
    sums.cover([], [])
    sums.close()
    os.close(directory)

    assert 7 == read_coverage(RunDirectory(tmp_path)).folds
