"""Content: what may be opened, how it is copied, and how files appear whole."""

from __future__ import annotations

import errno
import hashlib
import os
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from naiad import disk
from naiad.disk import copy, digest, open_file, replacing
from naiad.errors import FileError, FileNotFound, UnreadableFile, UnsupportedFile

MiB = 1024 * 1024


@pytest.fixture
def target(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path / "target", os.O_RDWR | os.O_CREAT)
    yield fd
    os.close(fd)


def test_pipe_is_refused_without_waiting_for_a_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    began = time.monotonic()

    with pytest.raises(UnsupportedFile, match="is a pipe") as caught:
        open_file(tmp_path / "pipe")

    assert (str(tmp_path / "pipe"), "a pipe (FIFO)") == (caught.value.path, caught.value.what)
    assert time.monotonic() - began < 20  # else it waits for ever


def test_pipe_that_takes_the_place_of_a_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between looking and opening there is a moment; what was opened is looked at again."""
    os.mkfifo(tmp_path / "pipe")
    before, is_first = os.stat(__file__), iter([True])
    real = os.stat
    monkeypatch.setattr(os, "stat", lambda *given, **more: before if next(is_first, None) else real(*given, **more))

    with pytest.raises(UnsupportedFile):
        open_file(tmp_path / "pipe")


def test_socket_device_and_folder_are_named_for_what_they_are(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "socket"))
        for path, what in ((tmp_path / "socket", "a socket"), ("/dev/null", "a device"), (tmp_path, "a folder")):
            with pytest.raises(UnsupportedFile, match=what):
                open_file(path)


@pytest.mark.parametrize("name", ["absent", "absent/deeper", "a\0b", "x" * 300, "file/below"])
def test_absent_file_is_not_found(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(FileNotFoundError) as caught:
        open_file(f"{tmp_path}/{name}")

    assert isinstance(caught.value, FileNotFound)
    assert f"{tmp_path}/{name}" == caught.value.path


def test_link_to_nothing_says_where_it_leads(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("gone.csv")

    with pytest.raises(FileNotFound, match=r"link to 'gone.csv'"):
        open_file(tmp_path / "link")


def test_link_in_a_circle_is_an_error_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("link")

    with pytest.raises(FileError, match="cannot be read"):
        open_file(tmp_path / "link")


def test_unreadable_file_is_told_from_an_absent_one() -> None:
    """Asked by another user, because root may read everything."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        path = Path(folder, "secret")
        path.touch(mode=0o000)
        child = os.fork()
        if child == 0:
            if os.geteuid() == 0:
                os.setuid(65534)
            try:
                open_file(path)
            except UnreadableFile as error:
                os._exit(error.errno or 0)
            os._exit(99)
        _pid, status = os.waitpid(child, 0)

    assert errno.EACCES == os.waitstatus_to_exitcode(status)


@pytest.mark.parametrize("size", [0, 1, 5 * MiB + 7])
@pytest.mark.parametrize("way", ["kernel", "by hand"])
def test_copy_has_the_same_bytes(
    tmp_path: Path, target: int, size: int, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if way == "by hand":
        monkeypatch.setattr(disk, "_clone", lambda source, target: False)
        monkeypatch.delattr(os, "copy_file_range", raising=False)
    data = os.urandom(size)
    (tmp_path / "source").write_bytes(data)
    source, told = open_file(tmp_path / "source"), []

    copied = copy(source, target, told.append)

    assert (size, size) == (copied, sum(told))
    assert (hashlib.sha256(data).hexdigest(), size) == digest(target)
    os.close(source)


@pytest.mark.parametrize("way", ["kernel", "by hand"])
def test_holes_stay_holes(tmp_path: Path, target: int, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if way == "by hand":
        monkeypatch.delattr(os, "copy_file_range", raising=False)
    with (tmp_path / "source").open("wb") as stream:
        stream.seek(8 * MiB)
        stream.write(b"in the middle")
        stream.truncate(32 * MiB)
    source, told = open_file(tmp_path / "source"), []

    copied = copy(source, target, told.append)

    assert (32 * MiB, 32 * MiB) == (copied, sum(told))
    assert os.fstat(target).st_blocks * 512 < MiB
    assert digest(source) == digest(target)
    expected = hashlib.sha256(bytes(8 * MiB) + b"in the middle" + bytes(24 * MiB - 13)).hexdigest()
    assert expected == digest(target)[0]
    os.close(source)


def test_file_that_tells_no_size_is_read_to_its_end(target: int) -> None:
    source = open_file("/proc/self/status")

    size = copy(source, target)

    assert size > 100
    assert os.pread(target, 5, 0) == b"Name:"
    os.close(source)


def test_file_cut_while_it_is_copied_gives_what_was_read(tmp_path: Path, target: int) -> None:
    (tmp_path / "source").write_bytes(b"x" * (80 * MiB))
    source = open_file(tmp_path / "source")

    copied = copy(source, target, lambda _count: os.truncate(tmp_path / "source", 70 * MiB))

    assert copied == os.fstat(target).st_size == digest(target)[1]
    assert copied in (70 * MiB, 80 * MiB)
    os.close(source)


def test_file_growing_without_end_is_copied_as_long_as_it_was(tmp_path: Path, target: int) -> None:
    path, is_over = tmp_path / "source", threading.Event()
    path.write_bytes(b"x" * 20 * MiB)

    def grow() -> None:
        with path.open("ab") as stream:
            while not is_over.is_set():
                stream.write(b"y" * 4096)

    thread = threading.Thread(target=grow)
    thread.start()
    source = open_file(path)
    copied = copy(source, target)
    is_over.set()
    thread.join()

    assert 20 * MiB <= copied == digest(target)[1]
    os.close(source)


def test_full_disk_reaches_the_caller(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"x" * 100_000)
    source, full = open_file(tmp_path / "source"), os.open("/dev/full", os.O_RDWR)

    with pytest.raises(OSError, match="No space left"):
        copy(source, full)

    os.close(source)
    os.close(full)


def test_replaced_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def interrupted() -> None:
        with replacing(path) as fd:
            os.write(fd, b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()

    assert (b"old", ["file"]) == (path.read_bytes(), os.listdir(tmp_path))

    with replacing(path) as fd:
        os.write(fd, b"new")

    assert (b"new", ["file"]) == (path.read_bytes(), os.listdir(tmp_path))


def test_replacing_a_link_leaves_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "canary").write_bytes(b"alive")
    (tmp_path / "link").symlink_to("canary")

    with replacing(tmp_path / "link") as fd:
        os.write(fd, b"new")

    assert b"alive" == (tmp_path / "canary").read_bytes()
    assert not (tmp_path / "link").is_symlink()
