"""Real file systems on loop devices that fill up or die under a run: ext4, XFS, and btrfs, which copies on write."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from disks import fill, image_of
from programs import go_on, heard

from naiad.disk import can_map, file_system
from naiad.storage.local.integrity.verify import examine
from naiad.storage.local.reader import Reader
from naiad.storage.local.store import Store

SIZES = {"tmpfs": "2m", "ext4": "64m", "xfs": "320m", "btrfs": "200m"}
SHUT_DOWN = 0x8004587D  # FS_IOC_SHUTDOWN: from now on every call fails with EIO
SLACK = 5.0  # seconds of a busy machine
LOGS = """
run = naiad.init_run(store=sys.argv[1], project="disk")
done = 0

def log(count, name="loss"):
    global done
    for _ in range(count):
        run[name].append(done / 3, step=done)
        if done % 10 == 0:
            run["text"].append(f"line {done}", step=done)
        done += 1

log(1000)
tell(id=run["sys/id"].fetch())
await_parent()
log(20_000)
for n in range(int(sys.argv[2])):
    log(3, name=f"new/{n}")
run["params"] = {f"p{n}": n for n in range(50)}
run["lines"].extend([f"{n}" for n in range(70)])
time.sleep(1.5)
tell(said=said)
await_parent()
if sys.argv[3] == "whole":
    until_stored(run)
began = time.monotonic()
run.stop(seconds=float(sys.argv[4]))
tell(said=said, stopped=time.monotonic() - began, done=done)
"""


class Ended(NamedTuple):
    """How a run looked from inside: all warnings, seconds that stop() took, points and ops logged by the program."""

    warnings: list[str]
    stopped: float
    logged: int


def answer(child: subprocess.Popen[str]) -> dict[str, Any]:
    """Let a child continue, and return its next line."""
    go_on(child)
    return heard(child)


def begin(start: Any, disk: Path, *, new: int = 5, end: str = "lost", seconds: float = 3, **settings: object) -> Any:
    child = start(LOGS, disk / "s", new, end, seconds, SEGMENT_BYTES=65536, **settings)
    run_id = heard(child)["id"]
    time.sleep(2.5)  # so that a sync has been, on a busy machine too
    return child, run_id


def finish(child: subprocess.Popen[str]) -> Ended:
    """Let it stop; it must end as if nothing had been."""
    facts = answer(child)
    assert child.stderr
    assert "Traceback" not in child.stderr.read()
    assert 0 == child.wait(60)
    assert facts["stopped"] < 10 + SLACK
    done = facts["done"]
    return Ended(facts["said"], facts["stopped"], done + -(-done // 10) + 50 + 70)


def stored(disk: Path, run_id: str) -> tuple[int, Reader]:
    """Points and ops of the program that any reader sees; each value is checked."""
    reader = Reader(Store(disk / "s").find_directory(run_id))
    count = 0
    for path, kind in reader.kinds().items():
        if kind == "float_series":
            points = reader.points(path)
            assert points.values.tolist() == [step / 3 for step in points.steps]
            count += len(points.values)
        elif kind == "string_series":
            count += len(reader.texts(path).texts)
        elif path.startswith("params/"):
            count += 1
    return count, reader


def the_warning(said: list[str], *errors: str) -> None:
    """There is exactly one so far."""
    assert 1 == len(said), said
    assert "cannot be written" in said[0]
    assert any(error in said[0] for error in errors), said


@pytest.mark.parametrize("new", [5, 300], ids=["few-series", "many-series"])
@pytest.mark.parametrize(
    ("kind", "journal"),
    [("tmpfs", "auto"), ("ext4", "auto"), ("ext4", "write"), ("xfs", "auto"), ("xfs", "write"), ("btrfs", "auto")],
)
def test_run_on_a_disk_that_stays_full_says_that_it_stopped_and_how_much_is_missing(
    kind: str, journal: str, new: int, mount: Any, start: Any
) -> None:
    """More new series than the reserve can explain: their points count as missing too."""
    disk = mount(SIZES[kind], kind)
    child, run_id = begin(start, disk, new=new, JOURNAL=journal)
    fill(disk)
    the_warning(answer(child)["said"], "[Errno 28]")
    ended = finish(child)
    (disk / "filler").unlink()
    count, reader = stored(disk, run_id)
    lost = ended.logged - count

    assert [f"StorageWarning: {lost} points and ops of the run in {reader.folder.path} could not be stored."] == (
        ended.warnings[1:]
    )
    assert lost == reader.is_incomplete()
    assert "finished" == reader.state()
    assert [] == examine(reader.folder).damages
    assert [] == [path.name for path in reader.folder.journal.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize(("kind", "journal"), [("ext4", "auto"), ("xfs", "write"), ("btrfs", "auto")])
def test_all_is_stored_when_space_returns(kind: str, journal: str, mount: Any, start: Any) -> None:
    disk = mount(SIZES[kind], kind)
    child, run_id = begin(start, disk, end="whole", seconds=10, JOURNAL=journal)
    fill(disk)
    the_warning(answer(child)["said"], "[Errno 28]")
    (disk / "filler").unlink()
    ended = finish(child)
    count, reader = stored(disk, run_id)

    assert 1 == len(ended.warnings)
    assert (ended.logged, 0) == (count, reader.is_incomplete())
    assert "finished" == reader.state()
    assert reader.folder.seal.exists()


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_disk_that_dies_ends_no_training_with_write_and_what_is_lost_is_counted(
    kind: str, mount: Any, start: Any
) -> None:
    """Through a mapping it would end with SIGBUS, which is why NAIAD_JOURNAL=write exists."""
    disk = mount(SIZES[kind], kind)
    child, run_id = begin(start, disk, JOURNAL="write")
    shut_down(disk)
    the_warning(answer(child)["said"], "[Errno 5]", "[Errno 117]")
    ended = finish(child)
    mount_again(disk, kind)
    count, reader = stored(disk, run_id)

    assert 1000 <= count
    assert [str(ended.logged - count)] == [text.split()[1] for text in ended.warnings[1:]]
    assert "killed" == reader.state()


def shut_down(disk: Path) -> None:
    fd = os.open(disk, os.O_RDONLY)
    try:
        fcntl.ioctl(fd, SHUT_DOWN, struct.pack("I", 1))
    except OSError as error:
        pytest.skip(f"this file system cannot be shut down: {error}")
    finally:
        os.close(fd)


def mount_again(disk: Path, kind: str) -> None:
    subprocess.run(["umount", str(disk)], check=True)
    subprocess.run(["mount", "-t", kind, "-o", "loop", str(image_of(disk)), str(disk)], check=True)


def test_file_size_limit_to_the_very_end(tmp_path: Path, start: Any) -> None:
    """EFBIG, as a quota gives EDQUOT: files that are there stay as they are, and no new one can be long."""
    limited = LOGS.replace(
        "await_parent()",
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000)); await_parent()",
        1,
    )
    child = start(limited, tmp_path / "s", 5, "lost", 3, SEGMENT_BYTES=65536)
    run_id = heard(child)["id"]
    the_warning(answer(child)["said"], "[Errno 27]")
    ended = finish(child)
    count, reader = stored(tmp_path, run_id)

    assert [str(ended.logged - count)] == [text.split()[1] for text in ended.warnings[1:]]
    assert reader.is_incomplete() == ended.logged - count
    assert "finished" == reader.state()


# The reserve


def test_reserve_of_a_killed_writer_goes_when_its_run_is_folded(tmp_path: Path, start: Any) -> None:
    child, run_id = begin(start, tmp_path)
    folder = Store(tmp_path / "s").find_directory(run_id)
    reserved = [path for path in folder.journal.iterdir() if path.name.endswith(".reserve")]
    child.kill()
    child.wait()

    assert [4096] == [path.stat().st_size for path in reserved]
    program = "import naiad; run = naiad.init_run(with_id=sys.argv[2], store=sys.argv[1]); run['x'] = 1; run.stop()"
    second = start("import sys\n" + program, tmp_path / "s", run_id)
    assert 0 == second.wait(60), second.stderr.read()
    assert [] == [path.name for path in folder.journal.iterdir() if ".reserve" in path.name]


def test_forked_child_has_a_reserve_of_its_own(tmp_path: Path, start: Any) -> None:
    program = """
run = naiad.init_run(store=sys.argv[1], project="disk")
run["x"].append(1.0)
pid = os.fork()
if pid == 0:
    run["y"].append(2.0)
    names = os.listdir(next(iter(__import__("pathlib").Path(sys.argv[1]).glob("runs/*/journal"))))
    tell(names=sum(name.endswith(".reserve") for name in names))
    run.stop()
    os._exit(0)
os.waitpid(pid, 0)
run.stop()
"""
    child = start(program, tmp_path / "s")

    assert {"names": 2} == heard(child)
    assert 0 == child.wait(60)
    assert [] == list((tmp_path / "s").glob("runs/*/journal/.*"))


# Which file systems may be mapped


@pytest.mark.parametrize(("kind", "is_mapped"), [("tmpfs", True), ("ext4", True), ("xfs", True), ("btrfs", False)])
def test_journal_is_mapped_where_allocated_space_is_a_promise(
    kind: str, is_mapped: bool, mount: Any, start: Any
) -> None:
    disk = mount(SIZES[kind], kind)
    program = """
run = naiad.init_run(store=sys.argv[1])
run["x"].append(1.0)
tell(is_mapped=any(".seg" in line for line in open("/proc/self/maps")))
run.stop()
"""

    assert kind == file_system(disk)
    assert {"is_mapped": is_mapped} == heard(start(program, disk / "s"))
    assert {"is_mapped": False} == heard(start(program, disk / "s", JOURNAL="write"))


@pytest.mark.parametrize(("below", "is_mapped"), [("ext4", True), ("btrfs", False)])
def test_overlay_is_what_it_writes_to(below: str, is_mapped: bool, mount: Any, tmp_path: Path) -> None:
    disk = mount(SIZES[below], below)
    for name in ("lower", "up per", "work"):
        (disk / name).mkdir()
    place = tmp_path / "overlay here"
    place.mkdir()
    options = f"lowerdir={disk}/lower,upperdir={disk}/up per,workdir={disk}/work"
    done = subprocess.run(["mount", "-t", "overlay", "-o", options, "naiad-test", place], check=False, text=True,
                          capture_output=True)  # fmt: skip
    if done.returncode:
        pytest.skip(f"overlays are not possible here: {done.stderr.strip()}")
    try:
        assert (below, is_mapped) == (file_system(place), can_map(place / "s"))
    finally:
        subprocess.run(["umount", "-l", place], check=False)


def test_kernel_names_the_file_system_of_a_path_that_is_not_there_yet() -> None:
    assert "proc" == file_system(Path("/proc/no/such/folder"))
