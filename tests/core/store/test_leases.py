"""Leases: a writer is alive for as long as its process lives, and not a moment longer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from naiad import ids
from naiad.store import leases
from naiad.store.leases import Lease, is_held, read_leases

HOLDS = """
import os, sys
from naiad.store.leases import Lease
lease = Lease(os.open(sys.argv[1], os.O_RDONLY), "1-a")
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_RDONLY)
    yield fd
    os.close(fd)


def test_lease_is_seen_until_it_is_released(directory: int, tmp_path: Path) -> None:
    lease = Lease(directory, "1-a")
    assert {"1-a": True} == read_leases(tmp_path)
    lease.release(directory)

    assert {} == read_leases(tmp_path)
    assert [] == list(tmp_path.iterdir())


def test_lease_of_a_killed_process_is_dead_at_once(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout
        child.stdout.readline()
        assert {"1-a": True} == read_leases(tmp_path)
        child.kill()
        child.wait()
        began = time.monotonic()

        assert {"1-a": False} == read_leases(tmp_path)
        assert time.monotonic() - began < 1


def test_forgetting_an_inherited_lease_leaves_the_parents(directory: int, tmp_path: Path) -> None:
    lease = Lease(directory, "1-a")
    pid = os.fork()
    if pid == 0:
        lease.forget()
        os._exit(0 if read_leases(tmp_path) == {"1-a": True} else 1)

    assert 0 == os.waitpid(pid, 0)[1]
    assert {"1-a": True} == read_leases(tmp_path)
    lease.release(directory)


def test_lease_that_somebody_deleted_is_known_to_be_gone(directory: int, tmp_path: Path) -> None:
    lease = Lease(directory, "1-a")
    assert not lease.is_gone()
    (tmp_path / "1-a.lease").unlink()

    assert lease.is_gone()
    lease.release(directory)


def test_looking_at_a_lease_that_was_released_meanwhile(tmp_path: Path) -> None:
    assert is_held(str(tmp_path / "gone.lease")) is None
    assert {} == read_leases(tmp_path / "no folder")


def test_heartbeat_is_the_time_of_the_file(directory: int, tmp_path: Path) -> None:
    lease = Lease(directory, "1-a")
    os.utime(tmp_path / "1-a.lease", (1, 1))
    lease.beat()

    assert time.time() - (tmp_path / "1-a.lease").stat().st_mtime < 60
    lease.release(directory)


@pytest.mark.parametrize(
    ("host", "boot", "pid", "age", "expected"),
    [
        ("elsewhere", "x", 1, 5, True),
        ("elsewhere", "x", 1, 500, False),
        (None, None, os.getpid(), 500, True),
        (None, "an earlier boot", os.getpid(), 5, False),
        (None, None, 2**22 + 1, 5, False),
    ],
    ids=["elsewhere, fresh", "elsewhere, old", "this process", "an earlier boot", "nobody"],
)
def test_without_locks_pid_boot_and_heartbeat_decide(
    host: str | None,
    boot: str | None,
    pid: int,
    age: float,
    expected: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A network file system without locks is faked, as none can be mounted here."""

    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(leases.fcntl, "flock", refuse)
    path = tmp_path / "1-a.lease"
    owner = {"writer": "1-a", "pid": pid, "host": host or ids.host_name(), "boot": boot or ids.boot_id()}
    path.write_text(json.dumps(owner))
    os.utime(path, (time.time() - age, time.time() - age))

    assert expected is is_held(str(path))


def test_lease_can_be_taken_where_there_are_no_locks(
    directory: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(leases.fcntl, "flock", refuse)  # see above
    lease = Lease(directory, "1-a")

    assert {"1-a": True} == read_leases(tmp_path)
    lease.release(directory)


def test_writer_on_another_host_is_alive_for_a_minute_after_its_last_sign_of_life(tmp_path: Path) -> None:
    """Its lock may not reach here, so a free one proves nothing."""
    path = tmp_path / "1-a.lease"
    path.write_text(json.dumps({"writer": "1-a", "pid": 1, "host": "elsewhere", "boot": "x"}))
    assert is_held(str(path)) is True
    os.utime(path, (time.time() - 100, time.time() - 100))

    assert is_held(str(path)) is False
