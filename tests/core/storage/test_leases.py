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

from naiad import disk, ids
from naiad.storage.local.index.states import WriterState
from naiad.storage.local.journal import leases
from naiad.storage.local.journal.leases import Lease, Liveness, read_lease, read_leases, read_writers
from naiad.storage.local.journal.op_log import OpsFile

HOLDS = """
import os, sys
from naiad.storage.local.journal.leases import Lease
lease = Lease(os.open(sys.argv[1], os.O_RDONLY), "1-a")
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_RDONLY)
    yield fd
    os.close(fd)


def states(journal: Path) -> dict[str, str]:
    return {writer: each.state for writer, each in read_leases(journal).items()}


def a_lease(journal: Path, *, age: float = 5.0, **facts: object) -> Path:
    """The lease of a process that is none: of this machine and boot, with a pid that no process can have."""
    path = journal / "1-a.lease"
    usual = {"writer": "1-a", "pid": 2**22 + 1, "host": ids.host_name(), "boot": ids.boot_id()}
    path.write_text(json.dumps({**usual, "pid_ns": ids.pid_namespace(), "started": "1", **facts}))
    os.utime(path, (time.time() - age, time.time() - age))
    return path


def switch_locks_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a file system that accepts locks and keeps them to itself."""
    monkeypatch.setattr(leases.fcntl, "flock", lambda _fd, _op: None)


def test_lease_is_seen_until_it_is_released(directory: int, tmp_path: Path) -> None:
    lease = Lease(directory, "1-a")
    assert {"1-a": "alive"} == states(tmp_path)
    lease.release(directory)

    assert {} == states(tmp_path)
    assert [] == list(tmp_path.iterdir())


def test_lease_of_a_killed_process_is_dead_at_once(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout
        child.stdout.readline()
        assert {"1-a": "alive"} == states(tmp_path)
        child.kill()
        child.wait()
        began = time.monotonic()

        assert {"1-a": "dead"} == states(tmp_path)
        assert time.monotonic() - began < 10  # a silent one is in doubt for 60


def test_forgetting_an_inherited_lease_leaves_the_parents(directory: int, tmp_path: Path) -> None:
    lease = Lease(directory, "1-a")
    pid = os.fork()
    if pid == 0:
        lease.forget()
        os._exit(0 if states(tmp_path) == {"1-a": "alive"} else 1)

    assert 0 == os.waitpid(pid, 0)[1]
    assert {"1-a": "alive"} == states(tmp_path)
    lease.release(directory)


def test_lease_that_somebody_deleted_is_known_to_be_gone(directory: int, tmp_path: Path) -> None:
    lease = Lease(directory, "1-a")
    assert not lease.is_gone(directory)
    (tmp_path / "1-a.lease").unlink()

    assert lease.is_gone(directory)
    lease.release(directory)


def test_looking_at_a_lease_that_was_released_meanwhile(tmp_path: Path) -> None:
    assert read_lease(tmp_path, "gone") is None
    assert {} == read_leases(tmp_path / "no folder")


def test_heartbeat_is_the_time_of_the_file(directory: int, tmp_path: Path) -> None:
    lease = Lease(directory, "1-a")
    os.utime(tmp_path / "1-a.lease", (1, 1))
    lease.beat()

    assert time.time() - (tmp_path / "1-a.lease").stat().st_mtime < 60
    lease.release(directory)


PROOFS = [
    ({}, "dead"),
    ({"boot": "an earlier boot", "pid": os.getpid()}, "dead"),
    ({"pid": os.getpid(), "started": "1"}, "dead"),
    ({"pid": os.getpid(), "started": ids.process_start(os.getpid())}, "unproven"),
    ({"host": "elsewhere"}, "unproven"),
    ({"host": "elsewhere", "boot": "an earlier boot"}, "unproven"),
    ({"pid_ns": "another"}, "unproven"),
    ({"pid_ns": ""}, "unproven"),
]


@pytest.mark.parametrize(("facts", "expected"), PROOFS, ids=[" ".join(facts) or "all" for facts, _ in PROOFS])
def test_death_is_proven_by_host_and_boot_or_by_host_namespace_pid_and_start(
    facts: dict[str, object], expected: str, tmp_path: Path
) -> None:
    a_lease(tmp_path, age=5, **facts)
    assert {"1-a": "dead" if expected == "dead" else "alive"} == states(tmp_path)
    a_lease(tmp_path, age=500, **facts)

    assert {"1-a": "dead" if expected == "dead" else "silent"} == states(leases_anew(tmp_path))


def leases_anew(journal: Path) -> Path:
    """Forget what this process has seen of the folder, as one that looks for the first time."""
    leases._watched.clear()
    return journal


@pytest.mark.parametrize(
    "facts", [{}, {"boot": "an earlier boot"}, {"pid": os.getpid(), "started": "1"}], ids=["all", "boot", "start"]
)
def test_nothing_is_proven_where_locks_keep_no_second_descriptor_out(
    facts: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    switch_locks_off(monkeypatch)
    a_lease(tmp_path, age=500, **facts)

    assert {"1-a": "silent"} == states(tmp_path)


def test_nothing_is_proven_where_locks_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(leases.fcntl, "flock", refuse)
    a_lease(tmp_path, age=500)

    assert {"1-a": "silent"} == states(tmp_path)


@pytest.mark.parametrize("name", ["nfs4", "cifs", "smb3", "fuse.sshfs", "fuse", "9p", "virtiofs", "lustre", "ceph", ""])
def test_nothing_is_proven_on_a_file_system_that_other_machines_may_write(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None of these can be mounted here, so only their name is given."""
    monkeypatch.setattr(disk, "file_system", lambda _path: name)
    a_lease(tmp_path, age=500)

    assert {"1-a": "silent"} == states(tmp_path)


def test_zombie_counts_as_gone() -> None:
    """It holds its pid until its parent asks for it, which a container's first process may never do."""
    child = subprocess.Popen(["sleep", "60"])
    began = ids.process_start(child.pid)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    after = ids.process_start(child.pid)
    child.wait()

    assert began
    assert after is None


def test_empty_lease_proves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "1-a.lease"
    path.touch()
    os.utime(path, (time.time() - 500, time.time() - 500))

    assert {"1-a": "silent"} == states(tmp_path)


def test_copied_lease_belongs_to_no_process(directory: int, tmp_path: Path) -> None:
    """The file names its own inode: who copied it made another."""
    lease = Lease(directory, "1-a")
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "1-a.lease").write_bytes((tmp_path / "1-a.lease").read_bytes())

    assert {"1-a": Liveness("dead", is_copy=True)} == read_leases(copy)
    assert {"1-a": "alive"} == states(tmp_path)
    lease.release(directory)


def a_store(folder: Path) -> Path:
    """The journal folder of a run in a store, where the file system's time can be found out."""
    journal = folder / "store" / "runs" / "a" / "journal"
    journal.mkdir(parents=True)
    (folder / "store" / "format").write_text("1\n")
    return journal


@pytest.mark.parametrize("skew", [-120.0, 120.0])
def test_signs_of_life_are_compared_with_the_clock_of_the_file_system(
    skew: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = a_store(tmp_path)
    now = time.time
    monkeypatch.setattr(leases.clock, "now", lambda: now() + skew)
    a_lease(journal, age=50, host="elsewhere")
    assert {"1-a": "alive"} == states(journal)
    a_lease(journal, age=70, host="elsewhere")

    assert {"1-a": "silent"} == states(journal)
    assert ["format", "runs"] == sorted(os.listdir(tmp_path / "store"))


@pytest.mark.parametrize("skew", [-120.0, 120.0])
def test_without_a_store_to_write_to_a_heartbeat_counts_as_soon_as_it_is_seen_to_advance(
    skew: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, waited = time.time, 0.0
    monkeypatch.setattr(leases.clock, "now", lambda: now() + skew)
    monkeypatch.setattr(leases, "monotonic", lambda: waited)
    a_lease(tmp_path, age=20, host="elsewhere")
    states(tmp_path)
    waited = 10
    a_lease(tmp_path, age=10, host="elsewhere")
    assert {"1-a": "alive"} == states(tmp_path)
    waited = 71

    assert {"1-a": "silent"} == states(tmp_path)


def test_sign_of_life_is_the_newest_file_of_the_writer(tmp_path: Path) -> None:
    journal = a_store(tmp_path)
    a_lease(journal, age=500, host="elsewhere")
    (journal / "1-a.000001.seg").touch()

    assert {"1-a": "alive"} == states(journal)


def test_writer_whose_lease_was_deleted_is_known_by_the_lock_of_its_ops(directory: int, tmp_path: Path) -> None:
    known = {"1-a": WriterState("1-a", host=ids.host_name(), boot=ids.boot_id())}
    ops = OpsFile(directory, "1-a.000001.ops")
    os.utime(tmp_path / "1-a.000001.ops", (1, 1))
    assert {"1-a": "silent"} == {name: each.state for name, each in read_writers(tmp_path, known).items()}
    ops.close()

    assert {"1-a": "dead"} == {name: each.state for name, each in read_writers(tmp_path, known).items()}
    assert {"1-a": "silent"} == {name: each.state for name, each in read_writers(tmp_path, {}).items()}


def test_lease_can_be_taken_where_there_are_no_locks(
    directory: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(leases.fcntl, "flock", refuse)
    lease = Lease(directory, "1-a")

    assert {"1-a": "alive"} == states(tmp_path)
    lease.release(directory)
