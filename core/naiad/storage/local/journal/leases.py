"""Leases of the writers of a run, and the proof that a writer is dead.

A writer holds an exclusive `flock` on `journal/<writer>.lease` for as long as it lives, and touches it every 10 s. It
is created under another name and renamed once it is locked, so that a living writer never looks dead. A free lock
proves the death of a writer only together with the other conditions of `ids.is_gone`. Without this proof, no process
removes or cuts a file of the writer.

    writer                        reader                                another process
    ------                        ------                                ---------------
    lock .<w>.lease and its ops
    rename to <w>.lease
    write <w>.*.ops, <w>.*.seg    lease locked by another?  alive
    every  1 s: is <w>.lease      proven dead?              dead        may fold <w>.* and remove it (writers and
                still mine?                                             commands only; a reader changes nothing)
    every 10 s: touch it          touched or written in the alive       joins beside it, with a journal of its own
                                  last 60 s?
                                  else                      silent      may fold what is there; all files stay
                                                                        `repair --take-over`: rename <w>.lease to
                                                                        <w>.taken; all files stay
    ... suspended, then back:
    <w>.lease is not mine:        <w>.taken: dead by declaration
      lock and rename a new lease, remove <w>.taken
      close all files, go on in new ones (higher numbers, a new `open`)
      write again all files that another process took for final before they were complete (see `Journal.put_again`)

The lease of a writer on another machine is held by the server that receives its journal. No process locks it. Its time
is that of the last sign of life that reached the server, and its member `remote` is the state of the writer.

    remote writer's lease:  "alive" touched with each sign   alive for 60 s, then silent
                            "ended" some of its files are    silent, as no process may take them for complete
                                    not complete yet
                            "dead"  all of them are          dead: a fold takes its files for final

Clocks of machines differ, so signs of life are compared with the time that the file system gives to a file made now.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from naiad import clock
from naiad.clock import monotonic
from naiad.disk import is_local, replacing
from naiad.ids import boot_id, host_name, is_gone, own_process_start, pid_namespace

if TYPE_CHECKING:
    from naiad.storage.local.index.states import WriterState  # of a run that was read; taking a lease reads none

SUFFIX = ".lease"
TAKEN = ".taken"
HEARTBEAT_SECONDS = 10.0
SILENT_SECONDS = 60.0
TIME_SECONDS = 10.0
"""How long the difference between the file system's clock and this process's own is remembered."""


class Owner(msgspec.Struct, frozen=True):
    """The process that took a lease, and the inode it made for it: a copy of the file has another."""

    writer: str
    pid: int
    host: str
    boot: str
    pid_ns: str = ""
    started: str = ""
    inode: int = 0
    remote: str = ""
    """Of a writer on another machine: `alive`, `ended` or `dead`, as the server that receives its journal has it."""


class Liveness(msgspec.Struct, frozen=True):
    """The state of one writer, as far as this process can determine it.

    Attributes:
        state: `alive`; `dead`, which is proven; or `silent`: no sign of life for a minute, and no proof.
        seen: its last sign of life, by the clock of the file system; 0 if it was not looked for.
        is_near: whether it is on this machine or on its disk, where SQLite's locks hold between it and this process.
        is_copy: whether this is a copy of a lease. Its writer never wrote in this folder and may live in another one.
        is_remote: whether the writer is on another machine, from which a server receives its journal.
    """

    state: str
    seen: float = 0.0
    is_near: bool = True
    is_copy: bool = False
    is_remote: bool = False

    @property
    def is_alive(self) -> bool:
        """Whether it shows signs of life."""
        return self.state == "alive"

    @property
    def is_dead(self) -> bool:
        """Whether it is proven that it never writes again."""
        return self.state == "dead"


class Lease:
    """This process's own lease on one run."""

    def __init__(self, directory: int, writer: str) -> None:
        """Take it.

        Raises:
            OSError: the folder takes no files.
        """
        self.name = writer + SUFFIX
        hidden = f".{self.name}"
        _unlink(hidden, directory)  # of an attempt that was interrupted: no other process uses this name
        self._fd = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666, dir_fd=directory)
        self._is_synced = False
        try:
            pid, inode = os.getpid(), os.fstat(self._fd).st_ino
            owner = Owner(writer, pid, host_name(), boot_id(), pid_namespace(), own_process_start(), inode)
            os.write(self._fd, json.dumps(msgspec.structs.asdict(owner)).encode())
            # Before the rename, see above: no other process ever sees the file without its lock.
            lock(self._fd)
            os.rename(hidden, self.name, src_dir_fd=directory, dst_dir_fd=directory)
        except OSError:
            os.close(self._fd)
            _unlink(hidden, directory)
            raise

    def beat(self) -> None:
        """Touch it, as a sign of life for machines that do not see the lock."""
        os.utime(self._fd)

    def sync(self) -> None:
        """Sync it to the disk, once: after a power cut an empty lease would prove nothing.

        Raises:
            OSError: the disk reports an error.
        """
        if not self._is_synced:
            os.fsync(self._fd)
            self._is_synced = True

    def is_gone(self, directory: int) -> bool:
        """Whether it was deleted, renamed or replaced, so that other processes do not see it."""
        try:
            # By inode: a lease that was renamed by `repair --take-over` still has its lock, and no longer this name.
            return os.stat(self.name, dir_fd=directory).st_ino != os.fstat(self._fd).st_ino
        except FileNotFoundError:
            return True

    def release(self, directory: int) -> None:
        """Remove the file, then release the lock: this process is no writer any more."""
        try:
            if not self.is_gone(directory):
                _unlink(self.name, directory)
        finally:
            os.close(self._fd)

    def forget(self) -> None:
        """Close the descriptor of a lease that is gone, or, in a forked child, of the parent, whose lock stays."""
        os.close(self._fd)


def read_leases(journal: str | os.PathLike[str]) -> dict[str, Liveness]:
    """Return the writers of a run with a lease: those that have not stopped in order."""
    return _leased(journal, _files(journal), {})


def read_writers(journal: str | os.PathLike[str], known: Mapping[str, WriterState]) -> dict[str, Liveness]:
    """Return the writers with a lease, and those with files but neither a lease nor a noted end.

    A lease can be deleted. Its living writer takes another within a second; until then the lock and the times of its
    other files are its signs of life.

    Args:
        journal: the journal folder.
        known: the writers of the run in its projection; less can be proven of a writer that is missing in it.
    """
    all_files = _files(journal)
    found = _leased(journal, all_files, known)
    for writer, files in all_files.items():
        facts = known.get(writer)
        if not files & {SUFFIX, TAKEN} and not (facts and facts.state):
            is_gone = facts is not None and _has_let_go(journal, writer, facts)
            signs = _by_signs(journal, writer, is_near=is_local(Path(journal)))
            found[writer] = Liveness("dead") if is_gone else signs
    return found


def read_taken(journal: str | os.PathLike[str]) -> dict[str, Liveness]:
    """Return the writers that were declared dead; the state is `dead` where that is proven as well."""
    names = [writer for writer, files in _files(journal).items() if TAKEN in files and SUFFIX not in files]
    return {writer: found for writer in names if (found := read_lease(journal, writer, TAKEN))}


def may_be_written(leases: dict[str, Liveness]) -> bool:
    """Whether one of the writers is not proven dead."""
    return any(not each.is_dead for each in leases.values())


def read_lease(
    journal: str | os.PathLike[str], writer: str, suffix: str = SUFFIX, *, is_ended: bool = False
) -> Liveness | None:
    """Return the state of the writer of a lease file; None if the file is gone meanwhile.

    `is_ended` is true if it stopped in order: then only the removal of its lease failed.
    """
    path = os.path.join(journal, writer + suffix)
    try:
        fd = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    except PermissionError:
        return _by_signs(journal, writer, is_near=is_local(Path(journal)))
    try:
        owner = _owner(fd)
        if owner is not None and owner.remote:
            return _remote(journal, writer, owner)
        found = _look_at_lock(fd, path)
        is_on_disk = is_local(Path(journal))
        is_near = is_on_disk or (owner is not None and (owner.host, owner.boot) == (host_name(), boot_id()))
        if found == "held":
            return Liveness("alive", is_near=is_near)
        # `cp -r` of a run copies the lease, and no process holds the copy: its writer lives, if at all, in the other
        # folder.
        is_copy = owner is not None and is_on_disk and owner.inode not in (0, os.fstat(fd).st_ino)
        # Three things together: locks that reach every process (a local disk), a lock that is free, and the machine
        # that pids and boots are of. Without one of them the writer is in doubt, and its files stay.
        is_proof = is_on_disk and found == "free" and owner is not None and owner.host == host_name()
        if (
            owner is not None
            and is_proof
            and (is_copy or is_ended or is_gone(owner.pid, owner.boot, owner.pid_ns, owner.started))
        ):
            return Liveness("dead", is_copy=is_copy)
        return _by_signs(journal, writer, is_near=is_near, is_copy=is_copy)
    finally:
        os.close(fd)


def hold_remote(journal: Path, writer: str, state: str = "alive", *, is_reopened: bool = False) -> None:
    """Note the state of a writer on another machine. One that is noted as dead stays dead unless it is reopened.

    `is_reopened`: bytes of it came after its death was noted, so that its files are not complete any more.

    Raises:
        OSError: the disk reports an error.
    """
    path = journal / (writer + SUFFIX)
    known = remote_state(journal, writer)
    if known == state or (known == "dead" and not is_reopened):
        if state == "alive" and known == state:
            os.utime(path)
        return
    owner = Owner(writer, 0, "", "", remote=state)
    with replacing(path) as fd:
        os.write(fd, json.dumps(msgspec.structs.asdict(owner)).encode())


def touch_remote(journal: Path, writer: str) -> bool:
    """Note a sign of life of a writer with a living lease; False if it has none."""
    try:
        os.utime(journal / (writer + SUFFIX))
    except FileNotFoundError:
        return False
    return True


def remote_state(journal: Path, writer: str) -> str:
    """Return `alive`, `ended` or `dead` of a writer on another machine; empty if it has no lease here."""
    try:
        fd = os.open(journal / (writer + SUFFIX), os.O_RDONLY)
    except FileNotFoundError:
        return ""
    try:
        owner = _owner(fd)
    finally:
        os.close(fd)
    return "" if owner is None else owner.remote


def _remote(journal: str | os.PathLike[str], writer: str, owner: Owner) -> Liveness:
    if owner.remote == "dead":
        return Liveness("dead", is_remote=True)
    found = _by_signs(journal, writer, is_near=True)
    return Liveness(found.state, found.seen, is_remote=True)


def _leased(
    journal: str | os.PathLike[str], files: Mapping[str, set[str]], known: Mapping[str, WriterState]
) -> dict[str, Liveness]:
    ended = {name for name, facts in known.items() if facts.state}
    names = [writer for writer, suffixes in files.items() if SUFFIX in suffixes]
    return {writer: found for writer in names if (found := read_lease(journal, writer, is_ended=writer in ended))}


def _has_let_go(journal: str | os.PathLike[str], writer: str, facts: WriterState) -> bool:
    """Whether a writer without a lease is gone: a living one holds the lock of the ops file that it writes."""
    if not is_local(Path(journal)) or facts.host != host_name():
        return False
    # A process of an earlier boot is gone, whatever a file says of it.
    if facts.boot and boot_id() and facts.boot != boot_id():
        return True
    # The newest file is the one that it holds locked.
    names = sorted(name for name in os.listdir(journal) if name.startswith(writer + ".") and name.endswith(".ops"))
    if not names:
        return False
    path = os.path.join(journal, names[-1])
    try:
        fd = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        return _look_at_lock(fd, path) == "free"
    finally:
        os.close(fd)


def _files(journal: str | os.PathLike[str]) -> dict[str, set[str]]:
    """Return the suffixes of the files of each writer."""
    try:
        names = os.listdir(journal)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    found: dict[str, set[str]] = {}
    for name in names:
        # Files that are being made begin with a dot, and so have no writer here.
        writer, _, rest = name.partition(".")
        suffix = os.path.splitext(name)[1]
        if writer and rest and suffix in (SUFFIX, TAKEN, ".ops", ".seg"):
            found.setdefault(writer, set()).add(suffix)
    return found


def lock(fd: int) -> None:
    """Lock a file of this process for as long as it is open, where there are locks.

    Raises:
        OSError: another process has locked it.
    """
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.EINVAL, errno.ENOSYS):
            raise


def _look_at_lock(fd: int, path: str) -> str:
    """Return `held` if another process has the lock, `free`, or `unknown` where locks do not exclude each other."""
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return "held" if error.errno in (errno.EWOULDBLOCK, errno.EACCES, errno.EAGAIN) else "unknown"
    try:
        # A free lock means something only where locks exclude each other. Some network file systems grant every lock,
        # so a second one is tried on the same file: it must be refused.
        second = os.open(path, os.O_RDONLY)
    except OSError:
        return "unknown"
    try:
        fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return "free" if error.errno in (errno.EWOULDBLOCK, errno.EACCES, errno.EAGAIN) else "unknown"
    else:
        return "unknown"
    finally:
        os.close(second)


def _owner(fd: int) -> Owner | None:
    try:
        known = json.loads(os.pread(fd, 4096, 0))
        # Members of later releases are ignored, and those that an earlier one did not write have defaults.
        return Owner(**{name: known[name] for name in Owner.__struct_fields__ if name in known})
    except (ValueError, TypeError, RecursionError):
        return None


def _by_signs(journal: str | os.PathLike[str], writer: str, *, is_near: bool, is_copy: bool = False) -> Liveness:
    """Return `alive` for a minute after the last sign of life of a writer, then `silent`."""
    seen = _last_sign(journal, writer)
    now = _file_system_time(Path(journal).parent.parent.parent)
    is_fresh = now - seen < SILENT_SECONDS if now is not None else _is_moving(f"{journal}/{writer}", seen)
    return Liveness("alive" if is_fresh else "silent", seen, is_near, is_copy)


def _last_sign(journal: str | os.PathLike[str], writer: str) -> float:
    """Return the last change of a writer's lease and journal; each sync touches a mapped segment."""
    times = [0.0]
    with contextlib.suppress(FileNotFoundError), os.scandir(journal) as entries:
        for entry in entries:
            if entry.name.startswith(writer + "."):
                with contextlib.suppress(FileNotFoundError):
                    times.append(entry.stat().st_mtime)
    return max(times)


_offsets: dict[Path, tuple[float, float]] = {}  # by store: (file system's time - monotonic, when that was found)


def _file_system_time(root: Path) -> float | None:
    """Return the time by the clock of a store's file system; None if no file can be made to read it."""
    now = monotonic()
    offset, at = _offsets.get(root, (0.0, -TIME_SECONDS))
    if now - at >= TIME_SECONDS:
        if not (root / "format").exists():
            return None  # a run beside its store: the folder around it is not ours
        name = root / f".time-{os.getpid()}-{os.urandom(4).hex()}"
        try:
            fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError:
            return None
        try:
            # Against the monotonic clock, which cannot be set: between two looks the present is computed and no file
            # made.
            offset = os.fstat(fd).st_mtime - now
        finally:
            os.close(fd)
            name.unlink(missing_ok=True)
        _offsets[root] = offset, now
    return now + offset


_watched: dict[str, tuple[float, float]] = {}  # by writer: its last sign of life, and when this process first saw it


def _is_moving(writer: str, seen: float) -> bool:
    """Whether the last sign of life is new to this process, where the file system's time is not known.

    At the first look there is nothing to compare with but this machine's clock.
    """
    now = monotonic()
    if writer not in _watched:
        is_fresh = abs(clock.now() - seen) < SILENT_SECONDS
        _watched[writer] = seen, now if is_fresh else now - SILENT_SECONDS
    elif _watched[writer][0] != seen:
        _watched[writer] = seen, now
    return now - _watched[writer][1] < SILENT_SECONDS


def _unlink(name: str, directory: int) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=directory)
