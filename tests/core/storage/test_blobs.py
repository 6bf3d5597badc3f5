"""Blobs: content comes in at once, is settled later, is kept once, and goes only when nothing means it."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from naiad import clock
from naiad.errors import DamagedData, FileNotFound
from naiad.storage.local import blobs as module
from naiad.storage.local.blobs import INLINE, Blobs, Incoming
from naiad.storage.local.gc import census, sweep

DATA = random.Random(1).randbytes(3 * INLINE)
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs(tmp_path / ".naiad" / "blobs")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file.bin"
    path.write_bytes(DATA)
    return path


def taken(blobs: Blobs, source: Path | bytes = DATA, writer: str = "1-a") -> str:
    """The incoming name of content that is too much to travel inline."""
    found = blobs.take_bytes(source, writer) if isinstance(source, bytes) else blobs.take(source, writer)
    assert isinstance(found, Incoming)
    return found.name


def settled(blobs: Blobs, data: bytes = DATA) -> str:
    """The sha256 of content that went the whole way."""
    name = taken(blobs, data)
    sha256 = blobs.settle(name).sha256
    blobs.release(name)
    return sha256


def stored(blobs: Blobs) -> list[str]:
    return [file.name for file in census(blobs).files]


def aged(blobs: Blobs, name: str, seconds: float = 3600) -> None:
    moment = clock.now() - seconds
    os.utime(blobs.path(name), (moment, moment))


def test_large_file_comes_in_and_becomes_a_blob(blobs: Blobs, file: Path) -> None:
    incoming = blobs.take(file, "1-a")

    assert isinstance(incoming, Incoming)
    assert (len(DATA), DATA) == (incoming.size, blobs.read(incoming.name))

    blob = blobs.settle(incoming.name)
    blobs.release(incoming.name)

    assert (SHA256, len(DATA), DATA) == (blob.sha256, blob.size, blobs.read(SHA256))
    assert [SHA256] == stored(blobs)
    assert blobs.root / SHA256[:2] / SHA256 == blobs.path(SHA256)


@pytest.mark.parametrize("size", [0, 1, INLINE - 1])
def test_small_content_comes_back_as_bytes(blobs: Blobs, file: Path, size: int) -> None:
    file.write_bytes(DATA[:size])

    assert DATA[:size] == blobs.take(file, "1-a")
    assert DATA[:size] == blobs.take_bytes(DATA[:size], "1-a")
    assert DATA[:size] == blobs.take_stream(io.BytesIO(DATA[:size]), "1-a")
    assert not blobs.root.exists()


@pytest.mark.parametrize("size", [INLINE, INLINE + 1, 3 * INLINE])
def test_large_content_is_a_file_whatever_it_comes_from(blobs: Blobs, file: Path, size: int) -> None:
    file.write_bytes(DATA[:size])
    view = memoryview(DATA[:size])

    for found in (blobs.take(file, "1-a"), blobs.take_bytes(view, "1-a"), blobs.take_stream(io.BytesIO(view), "1-a")):
        assert isinstance(found, Incoming)
        assert (size, DATA[:size]) == (found.size, blobs.read(found.name))


def test_stream_is_taken_from_where_it_stands(blobs: Blobs) -> None:
    stream = io.BytesIO(DATA)
    stream.seek(100)

    found = blobs.take_stream(stream, "1-a")

    assert isinstance(found, Incoming)
    assert DATA[100:] == blobs.read(found.name)


def test_content_is_that_of_the_moment_of_the_call(blobs: Blobs, file: Path) -> None:
    name = taken(blobs, file)
    file.write_bytes(b"changed" * 10_000)

    assert SHA256 == blobs.settle(name).sha256


def test_absent_file_leaves_nothing(blobs: Blobs, tmp_path: Path) -> None:
    with pytest.raises(FileNotFound):
        blobs.take(tmp_path / "absent", "1-a")

    assert not blobs.root.exists()


def test_disk_that_refuses_leaves_nothing(blobs: Blobs, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken(blobs)
    before = stored(blobs)

    def refuse(*_given: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(module, "copy", refuse)
    monkeypatch.setattr(module, "write_all", refuse)

    for take in (lambda: blobs.take(file, "1-a"), lambda: blobs.take_bytes(DATA, "1-a")):
        with pytest.raises(OSError) as caught:
            take()

        assert (errno.ENOSPC, before) == (caught.value.errno, stored(blobs))


def test_same_content_is_stored_once(blobs: Blobs) -> None:
    assert settled(blobs) == settled(blobs)
    assert [SHA256] == stored(blobs)


def test_settling_may_be_done_again(blobs: Blobs) -> None:
    name = taken(blobs)

    assert blobs.settle(name) == blobs.settle(name)


def test_settled_content_takes_no_space_twice(blobs: Blobs) -> None:
    name = taken(blobs)
    blobs.settle(name)

    assert os.path.samefile(blobs.path(name), blobs.path(SHA256))
    assert len(DATA) == sum(file.size for file in census(blobs).files)


def test_released_name_without_a_blob_is_missing(blobs: Blobs) -> None:
    name = taken(blobs)
    blobs.release(name)

    for ask in (blobs.settle, blobs.open, blobs.read):
        with pytest.raises(DamagedData, match="missing"):
            ask(name)


def test_blob_that_was_cut_is_repaired_by_the_same_content(blobs: Blobs) -> None:
    sha256 = settled(blobs)
    blobs.path(sha256).chmod(0o644)
    os.truncate(blobs.path(sha256), 10)

    settled(blobs)

    assert DATA == blobs.read(sha256)


@pytest.mark.parametrize("number", [errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP])
def test_without_hard_links_nothing_is_lost_at_any_step(
    blobs: Blobs, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_given: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", refuse)
    name = taken(blobs)

    assert SHA256 == blobs.settle(name).sha256
    assert SHA256 == blobs.settle(name).sha256
    assert DATA == blobs.read(name) == blobs.read(SHA256)

    blobs.release(name)

    assert [SHA256] == stored(blobs)


def test_many_are_settled_together(blobs: Blobs) -> None:
    contents = [os.urandom(INLINE) for _ in range(20)]
    names = [taken(blobs, content) for content in contents]

    found = blobs.settle_all(names)

    assert contents == [blobs.read(found[name].sha256) for name in names]


def test_threads_settling_the_same_content_do_not_disturb_one_another(blobs: Blobs) -> None:
    names = [taken(blobs) for _ in range(16)]
    threads = [threading.Thread(target=blobs.settle, args=[name]) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert {SHA256, *names} == set(stored(blobs))
    assert DATA == blobs.read(SHA256)


@pytest.mark.parametrize("name", ["", "..", "../x", "/etc/passwd", SHA256[:-1], SHA256.upper(), f"{SHA256}\n", "a/b.c"])
def test_no_other_name_becomes_a_path(blobs: Blobs, name: str) -> None:
    for ask in (blobs.path, blobs.open, blobs.settle, blobs.release):
        with pytest.raises(ValueError):
            ask(name)


def test_sha256_is_not_taken_for_an_incoming_name(blobs: Blobs) -> None:
    sha256 = settled(blobs)

    with pytest.raises(ValueError):
        blobs.release(sha256)

    assert DATA == blobs.read(sha256)


def test_damage_is_never_read_silently(blobs: Blobs, tmp_path: Path) -> None:
    sha256 = settled(blobs)
    path = blobs.path(sha256)
    path.chmod(0o644)
    path.write_bytes(DATA[:-1] + bytes([DATA[-1] ^ 1]))
    goal = tmp_path / "goal"

    for ask in (lambda: blobs.read(sha256), lambda: blobs.verify(sha256), lambda: blobs.copy_to(sha256, goal)):
        with pytest.raises(DamagedData, match="not the content that was stored"):
            ask()

    assert not goal.exists()


def test_copy_appears_whole_with_usual_permissions(blobs: Blobs, tmp_path: Path) -> None:
    sha256, goal = settled(blobs), tmp_path / "goal.bin"
    goal.write_bytes(b"old")

    blobs.copy_to(sha256, goal)

    assert DATA == goal.read_bytes()
    assert goal.stat().st_mode & 0o200
    assert not goal.samefile(blobs.path(sha256))


def test_sweep_removes_exactly_what_is_not_referred_to(blobs: Blobs) -> None:
    used, unused, named, orphan = settled(blobs), settled(blobs, DATA + b"2"), taken(blobs), taken(blobs)
    for name in (used, unused, named, orphan):
        aged(blobs, name)

    before = census(blobs)
    dry = sweep(blobs, before, {used, named}, is_dry=True)
    freed = sweep(blobs, before, {used, named})

    assert dry == freed
    assert {unused, orphan} == {file.name for file in freed}
    assert 2 * len(DATA) + 1 == sum(file.size for file in freed)
    assert {used, named} == set(stored(blobs))


def test_what_is_recent_or_of_a_living_writer_stays(blobs: Blobs) -> None:
    young, old = taken(blobs, writer="1-a"), taken(blobs, writer="2-b")
    aged(blobs, old)

    assert [] == sweep(blobs, census(blobs), set(), alive={"2-b"})
    assert [old] == [file.name for file in sweep(blobs, census(blobs), set())]
    assert [young] == stored(blobs)


def test_blob_settled_again_after_the_census_stays(blobs: Blobs) -> None:
    """An upload of content that is there already races with gc: the op that means it may come after gc has looked."""
    sha256 = settled(blobs)
    aged(blobs, sha256)
    before = census(blobs)

    settled(blobs)

    assert [] == sweep(blobs, before, set())
    assert DATA == blobs.read(sha256)


def test_blob_stays_while_its_incoming_name_is_in_use(blobs: Blobs) -> None:
    """A full disk can hold back the op that has the sha256 for longer than any grace."""
    name = taken(blobs)
    blobs.settle(name)
    aged(blobs, name)

    assert [] == sweep(blobs, census(blobs), {name})
    assert [name] == [file.name for file in sweep(blobs, census(blobs), {SHA256})]
    assert [SHA256] == [file.name for file in sweep(blobs, census(blobs), set())]


def test_link_left_by_a_kill_goes_although_its_content_is_in_use(blobs: Blobs) -> None:
    name = taken(blobs)
    blobs.settle(name)
    os.link(blobs.path(name), blobs.path(SHA256).with_name(f".{SHA256}.0123abcd"))
    aged(blobs, name)

    assert [f".{SHA256}.0123abcd"] == [file.name for file in sweep(blobs, census(blobs), {name})]
    assert DATA == blobs.read(name)


def test_blob_renewed_after_the_census_stays(blobs: Blobs) -> None:
    sha256 = settled(blobs)
    aged(blobs, sha256)
    before = census(blobs)

    blobs.renew(sha256)

    assert [] == sweep(blobs, before, set())
    assert [] == sweep(blobs, census(blobs), set())


def test_blob_of_another_user_is_renewed_by_a_copy(blobs: Blobs, monkeypatch: pytest.MonkeyPatch) -> None:
    sha256 = settled(blobs)
    aged(blobs, sha256)

    def refuse(*_given: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "utime", refuse)
    blobs.renew(sha256)

    assert [] == sweep(blobs, census(blobs), set())
    assert DATA == blobs.read(sha256)


def test_renewing_what_is_gone_says_so(blobs: Blobs) -> None:
    settled(blobs)

    with pytest.raises(DamagedData, match="missing"):
        blobs.renew("0" * 64)


def test_census_of_no_store_is_empty(blobs: Blobs) -> None:
    assert [] == sweep(blobs, census(blobs), set())
    assert not blobs.root.exists()


KILLED = """
import os, sys
from pathlib import Path
from naiad.storage.local.blobs import Blobs
blobs = Blobs(Path(sys.argv[1]))
n = 0
while True:
    n += 1
    data = os.urandom(20_000)
    taken = blobs.take_bytes(data, "1-a")
    print("taken", taken.name, flush=True)
    print("settled", blobs.settle(taken.name).sha256, taken.name, flush=True)
    blobs.release(taken.name)
"""


def test_kill_anywhere_leaves_what_was_named(blobs: Blobs, tmp_path: Path) -> None:
    """A name that was printed, as an op would have it, leads to content; and gc leaves nothing else."""
    for turn in range(8):
        with subprocess.Popen([sys.executable, "-c", KILLED, str(blobs.root)], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            first = process.stdout.readline()
            threading.Event().wait(0.02 * turn)
            process.send_signal(signal.SIGKILL)
            lines = [first, *process.stdout.readlines()]
        said = [line.decode().split() for line in lines if line.endswith(b"\n")]
        done = {words[2] for words in said if words[0] == "settled"}
        names = {words[1] for words in said if words[0] == "settled" or words[1] not in done}
        placed = {blobs.settle(name).sha256 for name in names if "." in name}
        for name in names:
            blobs.read(name)
        sweep(blobs, census(blobs), names, grace=-60)

        assert names | placed == set(stored(blobs))
        sweep(blobs, census(blobs), set(), grace=-60)
        assert [] == stored(blobs)
