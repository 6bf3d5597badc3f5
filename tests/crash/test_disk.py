"""A disk that refuses: full, read-only, failing, its folder deleted or moved. Training goes on, nothing is hidden."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import struct
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from disks import fill, image_of, remount
from programs import GOES_ON, LOGS, STOPS, STOPS_WHEN_STORED, go_on, heard

import naiad
from naiad.errors import StoreNotWritable
from naiad.storage.local.reader import Reader
from naiad.storage.local.store import Store

SHUT_DOWN = 0x8004587D  # FS_IOC_SHUTDOWN: from now on every write fails with EIO
SLACK = 5.0  # seconds of a busy machine
WITHOUT_FLUSH = struct.pack("I", 2)  # what was not synced is gone, as after a power cut


def stored(store: Path, run_id: str) -> tuple[list[int], list[int], Reader]:
    """Steps of the loss and of the text, as any reader sees them; each value is checked."""
    reader = Reader(Store(store).find_directory(run_id))
    points, texts = reader.points("loss"), reader.texts("text")
    steps = points.steps.tolist()
    assert points.values.tolist() == [step / 3 for step in steps]
    assert texts.texts == [f"line {step}" for step in texts.steps]
    return steps, list(texts.steps), reader


def assert_whole(store: Path, run_id: str, count: int) -> None:
    steps, lines, reader = stored(store, run_id)
    assert list(range(count)) == steps
    assert list(range(0, count, 10)) == lines
    assert 0 == reader.is_incomplete()
    assert "finished" == reader.state()


def only_warning(said: list[str], place: Path, errno: str) -> str:
    """There is one that the run cannot be written; it names path, errno and free bytes."""
    about = [text for text in said if "cannot be written" in text]
    assert 1 == len(about), said
    assert str(place) in about[0]
    assert errno in about[0]
    assert re.search(r"\(\d+ bytes free\)", about[0])
    return about[0]


@pytest.mark.parametrize("journal", ["mmap", "write"])
@pytest.mark.parametrize("by", ["another program", "the run itself"])
def test_full_disk_slows_nothing_and_all_is_stored_when_space_returns(
    by: str, journal: str, mount: Any, start: Any
) -> None:
    disk = mount("1m")
    child = start(LOGS + GOES_ON + STOPS_WHEN_STORED, disk / "s", JOURNAL=journal, SEGMENT_BYTES=65536)
    run_id = heard(child)["id"]
    filler = fill(disk) if by == "another program" else None
    go_on(child)
    facts = heard(child)
    only_warning(facts["said"], disk, "[Errno 28]")
    print(f"{by}, {journal}: p99 of a call {facts['p99'] * 1e6:.1f} us, longest {facts['longest'] * 1e3:.1f} ms")
    assert facts["p99"] < 0.001
    if filler:
        filler.unlink()
    remount(disk, "size=32m")
    go_on(child)
    facts = heard(child)

    assert facts["stopped"] < 10 + SLACK
    assert 1 == len([text for text in facts["said"] if "cannot be written" in text])
    assert_whole(disk / "s", run_id, facts["done"])


def test_disk_that_stays_full_ends_within_ten_seconds_and_says_what_is_lost(mount: Any, start: Any) -> None:
    disk = mount("1m")
    child = start(LOGS + GOES_ON + STOPS, disk / "s")
    run_id = heard(child)["id"]
    fill(disk)
    go_on(child)
    heard(child)
    facts = heard(child)
    steps, lines, reader = stored(disk / "s", run_id)
    unstored = next(int(text.split()[1]) for text in facts["said"] if "could not be stored" in text)

    assert facts["stopped"] <= 10
    assert list(range(len(steps))) == steps
    assert list(range(0, 10 * len(lines), 10)) == lines
    assert facts["done"] - len(steps) + facts["done"] // 10 - len(lines) == unstored == reader.is_incomplete()
    assert "finished" == reader.state()
    assert child.wait(60) == 0


def test_memory_is_bounded_the_oldest_points_are_dropped_counted_and_the_run_is_incomplete(
    mount: Any, start: Any
) -> None:
    disk = mount("1m")
    child = start(LOGS + GOES_ON + STOPS_WHEN_STORED, disk / "s", SEGMENT_BYTES=65536, MEMORY_BYTES=300_000)
    run_id = heard(child)["id"]
    fill(disk).rename(disk / "filler")
    go_on(child)
    facts = heard(child)
    only_warning(facts["said"], disk, "[Errno 28]")
    (disk / "filler").unlink()
    remount(disk, "size=32m")
    go_on(child)
    facts = heard(child)
    steps, lines, reader = stored(disk / "s", run_id)

    expected = facts["done"] + facts["done"] // 10
    assert 0 < reader.is_incomplete()
    assert expected == len(steps) + len(lines) + reader.is_incomplete()
    assert list(range(1000)) == steps[:1000]
    assert list(range(facts["done"] - 3000, facts["done"])) == steps[-3000:]
    assert steps == sorted(set(steps))
    assert "finished" == reader.state()


def test_on_error_raise_raises_at_the_call(mount: Any, start: Any) -> None:
    program = """
run = naiad.init_run(store=sys.argv[1], on_error="raise")
tell(id=run["sys/id"].fetch())
await_parent()
kept = 0
errors = []
for step in range(100_000):
    try:
        run["loss"].append(float(step), step=step)
        kept += 1
    except naiad.errors.StorageError as error:
        errors.append([error.errno, str(error)])
        if len(errors) == 3:
            break
try:
    run["text"].append("x" * 100_000)
except naiad.errors.StorageError as error:
    errors.append([error.errno, str(error)])
os.unlink(sys.argv[2])
run["text"].append("y")
run["loss"].append(-1.0, step=kept)
began = time.monotonic()
run.stop()
tell(kept=kept, errors=errors, said=said, stopped=time.monotonic() - began)
"""
    disk = mount("1m")
    child = start(program, disk / "s", disk / "filler")
    run_id = heard(child)["id"]
    fill(disk)
    go_on(child)
    facts = heard(child)
    reader = Reader(Store(disk / "s").find_directory(run_id))

    assert 4 == len(facts["errors"])
    assert {28} == {error[0] for error in facts["errors"]}
    assert str(disk) in facts["errors"][0][1]
    assert [*range(facts["kept"]), -1] == reader.points("loss").values.tolist()
    assert ["y"] == reader.texts("text").texts
    assert [] == facts["said"]
    assert 0 == reader.is_incomplete()
    assert "finished" == reader.state()


# Opening


def assert_refused(store: Path, place: Path) -> None:
    before = sorted(place.rglob("*"))
    began = time.monotonic()

    with pytest.raises(StoreNotWritable) as caught:
        naiad.init_run(store=store)

    assert time.monotonic() - began < 5
    assert str(store) in str(caught.value)
    assert "NAIAD_STORE" in str(caught.value)
    assert before == sorted(place.rglob("*"))


def test_read_only_folder_is_refused_at_once_and_nothing_is_left_behind(mount: Any) -> None:
    disk = mount("1m")
    remount(disk, "ro")

    assert_refused(disk / "s", disk)


def test_read_only_store_of_other_runs_is_refused_and_can_be_read(mount: Any, store: Path) -> None:
    disk = mount("4m")
    with naiad.init_run(store=disk / "s", project="disk") as run:
        run["loss"].append(1.0)
    remount(disk, "ro")

    assert_refused(disk / "s", disk)
    with pytest.raises(StoreNotWritable):
        naiad.init_run(with_id="DISK-1", store=disk / "s")
    with naiad.init_run(with_id="DISK-1", mode="read-only", store=disk / "s") as run:
        assert 1.0 == run["loss"].fetch_last()


def test_store_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    assert_refused(tmp_path / "file" / "s", tmp_path)


def test_store_on_a_full_disk_is_refused_and_no_run_is_left_behind(mount: Any, store: Path) -> None:
    disk = mount("1m")
    with naiad.init_run(store=disk / "s"):
        pass
    fill(disk)

    with pytest.raises(StoreNotWritable):
        naiad.init_run(store=disk / "s")

    assert 1 == len(list((disk / "s" / "runs").iterdir()))
    assert [] == [path for path in (disk / "s" / "runs").rglob("*") if path.name.startswith(".") and path.suffix]


# A folder that goes away, or takes nothing new


def test_deleted_folder_is_said_and_stops_nothing(tmp_path: Path, start: Any) -> None:
    child = start(LOGS + GOES_ON + STOPS, tmp_path / "s")
    run_id = heard(child)["id"]
    folder = Store(tmp_path / "s").find_directory(run_id).path
    shutil.rmtree(folder)
    time.sleep(1.5)
    go_on(child)
    facts = heard(child)
    only_warning(facts["said"], folder, "[Errno 2]")
    assert facts["p99"] < 0.001
    facts = heard(child)

    assert facts["stopped"] < 10 + SLACK
    assert any("could not be stored" in text for text in facts["said"])
    assert 0 == child.wait(60)


def test_deleted_folder_that_returns_gets_everything_that_was_not_folded(tmp_path: Path, start: Any) -> None:
    child = start(LOGS + GOES_ON + STOPS_WHEN_STORED, tmp_path / "s")
    run_id = heard(child)["id"]
    folder = Store(tmp_path / "s").find_directory(run_id)
    shutil.rmtree(folder.path)
    go_on(child)
    heard(child)
    folder.journal.mkdir(parents=True)
    go_on(child)
    facts = heard(child)

    assert facts["stopped"] < 10 + SLACK
    assert_whole(tmp_path / "s", run_id, facts["done"])


def test_moved_folder_keeps_everything(tmp_path: Path, start: Any) -> None:
    child = start(LOGS + GOES_ON + STOPS, tmp_path / "s")
    run_id = heard(child)["id"]
    place = Store(tmp_path / "s").find_directory(run_id).path
    place.rename(place.parent / "moved")
    go_on(child)
    heard(child)
    facts = heard(child)

    assert facts["stopped"] < 10 + SLACK
    assert_whole(tmp_path / "s", "moved", facts["done"])


def test_folder_that_takes_no_new_files_gets_everything_later(mount: Any, start: Any) -> None:
    """An immutable folder is what a read-only one is to a process that runs as root."""
    disk = mount("64m", "ext4")
    child = start(LOGS + GOES_ON + STOPS_WHEN_STORED, disk / "s", SEGMENT_BYTES=65536)
    run_id = heard(child)["id"]
    journal = Store(disk / "s").find_directory(run_id).journal
    if subprocess.run(["chattr", "+i", str(journal)], check=False, capture_output=True).returncode:
        pytest.skip("this file system has no immutable folders")
    go_on(child)
    facts = heard(child)
    subprocess.run(["chattr", "-i", str(journal)], check=True)
    only_warning(facts["said"], disk, "[Errno 1]")
    go_on(child)

    assert_whole(disk / "s", run_id, heard(child)["done"])


def test_disk_that_turns_read_only_stops_nothing(mount: Any, start: Any) -> None:
    """A failing ext4 makes itself read-only under the open files."""
    disk = mount("64m", "ext4")
    device = subprocess.run(
        ["findmnt", "-no", "SOURCE", disk], check=True, capture_output=True, text=True
    ).stdout.strip()
    trigger = Path("/sys/fs/ext4") / Path(device).name / "trigger_fs_error"
    if not trigger.exists():
        pytest.skip("ext4 cannot be told here to fail")
    child = start(LOGS + GOES_ON + STOPS, disk / "s", 3)
    run_id = heard(child)["id"]
    time.sleep(1.2)
    trigger.write_text("a test")
    go_on(child)
    facts = heard(child)
    only_warning(facts["said"], disk, "[Errno ")
    print(f"p99 of a call {facts['p99'] * 1e6:.1f} us, longest {facts['longest'] * 1e3:.1f} ms")
    assert facts["p99"] < 0.001
    facts = heard(child)
    steps, _lines, _reader = stored(disk / "s", run_id)

    assert facts["stopped"] < 10 + SLACK
    assert any("could not be stored" in text for text in facts["said"])
    assert list(range(len(steps))) == steps
    assert 1000 <= len(steps)


def test_what_was_waited_for_survives_a_power_cut(mount: Any, start: Any) -> None:
    """Shutting a real ext4 down without a flush loses what a power cut would."""
    program = """
run = naiad.init_run(store=sys.argv[1])
for step in range(5000):
    run["loss"].append(step / 3, step=step)
    if step % 10 == 0:
        run["text"].append(f"line {step}", step=step)
run["last"].assign("this", wait=True)
tell(id=run["sys/id"].fetch())
time.sleep(60)
"""
    disk = mount("64m", "ext4")
    child = start(program, disk / "s", SYNC_SECONDS=30)
    run_id = heard(child)["id"]
    cut_power(disk)
    os.kill(child.pid, 9)
    child.wait()
    subprocess.run(["umount", str(disk)], check=True)
    subprocess.run(["mount", "-o", "loop", str(image_of(disk)), str(disk)], check=True)
    steps, lines, reader = stored(disk / "s", run_id)

    assert list(range(5000)) == steps
    assert list(range(0, 5000, 10)) == lines
    assert "this" == reader.value("last")
    assert "killed" == reader.state()


def test_power_cut_takes_no_more_than_the_last_moments(mount: Any, start: Any) -> None:
    program = """
run = naiad.init_run(store=sys.argv[1])
tell(id=run["sys/id"].fetch())
for step in range(10_000_000):
    run["loss"].append(step / 3, step=step)
    if step % 10 == 0:
        run["text"].append(f"line {step}", step=step)
    if step % 100 == 0:
        tell(step=step, at=time.monotonic())
        time.sleep(0.01)
"""
    disk = mount("64m", "ext4")
    child = start(program, disk / "s")
    run_id = heard(child)["id"]
    deadline = time.monotonic() + 4
    seen = []
    while time.monotonic() < deadline:
        seen.append(heard(child))
    cut_power(disk)
    os.kill(child.pid, 9)
    child.wait()
    subprocess.run(["umount", str(disk)], check=True)
    subprocess.run(["mount", "-o", "loop", str(image_of(disk)), str(disk)], check=True)
    steps, _lines, _reader = stored(disk / "s", run_id)
    safe = [facts["step"] for facts in seen if facts["at"] < deadline - 3]

    assert list(range(len(steps))) == steps
    assert safe[-1] < len(steps)


def cut_power(disk: Path) -> None:
    fd = os.open(disk, os.O_RDONLY)
    try:
        fcntl.ioctl(fd, SHUT_DOWN, WITHOUT_FLUSH)
    except OSError as error:
        pytest.skip(f"this ext4 cannot be shut down: {error}")
    finally:
        os.close(fd)


def test_running_out_of_descriptors_loses_nothing(tmp_path: Path, start: Any) -> None:
    program = (
        LOGS
        + """
import resource
hoard = []
resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))
try:
    while True:
        hoard.append(os.open("/dev/null", os.O_RDONLY))
except OSError:
    pass
log(60_000)
time.sleep(1)
for fd in hoard:
    os.close(fd)
log(10)
run.stop()
tell(done=done, said=said)
"""
    )
    child = start(program, tmp_path / "s", SEGMENT_BYTES=65536)
    run_id = heard(child)["id"]
    facts = heard(child)

    only_warning(facts["said"], tmp_path, "[Errno 24]")
    assert_whole(tmp_path / "s", run_id, facts["done"])


def test_file_size_limit_loses_nothing(tmp_path: Path, start: Any) -> None:
    program = (
        LOGS
        + """
import resource
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
log(20_000)
time.sleep(1)
resource.setrlimit(resource.RLIMIT_FSIZE, resource.getrlimit(resource.RLIMIT_FSIZE)[1:] * 2)
log(10)
run.stop()
tell(done=done, said=said)
"""
    )
    child = start(program, tmp_path / "s", SEGMENT_BYTES=65536)
    run_id = heard(child)["id"]
    facts = heard(child)

    only_warning(facts["said"], tmp_path, "[Errno 27]")
    assert_whole(tmp_path / "s", run_id, facts["done"])
