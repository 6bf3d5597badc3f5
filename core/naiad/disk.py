"""Content of files: opened only if it is a file, copied by the cheapest way the system has, hashed in bounded memory.

The one rule: the bytes that were read get stored. A file that changes meanwhile gives some mixture, but size and hash
are always taken from the copy, never from the original.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import stat
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue

from naiad.errors import FileError, FileNotFound, UnreadableFile, UnsupportedFile

Report = Callable[[int], object]
"""Called with how many more bytes are done, from whatever thread did them."""

BUFFER = 1024 * 1024
STEP = 64 * 1024 * 1024
"""What the kernel copies in one call: long enough to cost nothing, short enough for a progress bar and for Ctrl-C."""

FICLONE = 0x40049409
CANNOT_COPY = {errno.EXDEV, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EPERM, errno.EBADF, errno.ETXTBSY}
ABSENT = {errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG}
KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe (FIFO)",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_zeros = bytes(BUFFER)


def nothing(_count: int) -> None:
    """Ignore a progress report."""


def open_file(path: str | os.PathLike[str]) -> int:
    """Open a regular file for reading and return its descriptor. It never blocks.

    Raises:
        FileNotFound: nothing is there.
        UnsupportedFile: a folder, pipe, socket or device is there.
        UnreadableFile: this user has no permission to read it.
        FileError: the system cannot, for another reason.
    """
    name = os.fspath(path)
    try:
        _refuse_others(name, os.stat(name))  # before opening, since even that has effects on some devices
        # O_NONBLOCK: opening a pipe that replaced the file in between would wait for its other end, and never return.
        fd = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        if isinstance(error, FileError):
            raise
        raise _refusal(name, error) from error
    try:
        # Again for the descriptor: another file may have come to the name after `stat`.
        _refuse_others(name, os.fstat(fd))
    except UnsupportedFile:
        os.close(fd)
        raise
    return fd


def _refuse_others(name: str, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        what = KINDS.get(stat.S_IFMT(found.st_mode), "something else")
        number = errno.EISDIR if stat.S_ISDIR(found.st_mode) else errno.EINVAL
        raise UnsupportedFile(f"{name!r} is {what}, not a file.", path=name, what=what, errno=number)


def _refusal(name: str, error: OSError | ValueError) -> FileError:
    number = error.errno if isinstance(error, OSError) else None
    if number is None or number in ABSENT:  # ValueError: the name has a NUL, which no file's has
        aim = f" (it is a link to {os.readlink(name)!r}, where nothing is)" if number and os.path.islink(name) else ""
        return FileNotFound(f"There is no file {name!r}{aim}.", path=name, errno=number or errno.ENOENT)
    if number in (errno.EACCES, errno.EPERM):
        return UnreadableFile(f"The file {name!r} may not be read: {os.strerror(number)}.", path=name, errno=number)
    return FileError(f"The file {name!r} cannot be read: {os.strerror(number)}.", path=name, errno=number)


def copy(source: int, target: int, report: Report = nothing) -> int:
    """Copy the current content of a file into an empty one, with its holes; return its size.

    Shares the blocks where the file system can (reflink), else lets the kernel copy, else reads and writes.

    Raises:
        OSError: the disk is full or fails.
    """
    if _clone(source, target):
        size = os.fstat(target).st_size
        report(size)
        return size
    found = os.fstat(source)
    if found.st_size == 0:
        return _read_and_write(source, target, 0, sys.maxsize, report)  # files of /proc tell no size
    for start, end, is_hole in _extents(source, found):
        if is_hole:
            report(end - start)
            continue
        reached = _copy_range(source, target, start, end, report)
        if reached < end:  # it was cut meanwhile
            os.ftruncate(target, reached)
            return reached
    # A hole at the end was skipped, so the target is shorter than the source until here.
    os.ftruncate(target, found.st_size)
    return found.st_size


def _clone(source: int, target: int) -> bool:
    if sys.platform != "linux":
        return False
    try:
        fcntl.ioctl(target, FICLONE, source)
    except OSError:  # no such file system, another disk: whatever it is, copying tells better
        return False
    return True


def _extents(fd: int, found: os.stat_result) -> Iterator[tuple[int, int, bool]]:
    """Yield `(start, end, is_hole)` over the whole file.

    Only a file with fewer blocks than bytes is searched for holes.
    """
    # Blocks are of 512 bytes in `stat`, whatever the block size of the file system.
    at, size = 0, found.st_size
    if found.st_blocks * 512 >= size or not hasattr(os, "SEEK_DATA"):
        yield 0, size, False
        return
    while at < size:
        start, end = _next_data(fd, at, size)
        if at < start:
            yield at, start, True
        if start < end:
            yield start, end, False
        at = end


def _next_data(fd: int, at: int, size: int) -> tuple[int, int]:
    try:
        start = min(os.lseek(fd, at, os.SEEK_DATA), size)
        return start, min(os.lseek(fd, start, os.SEEK_HOLE), size) if start < size else size
    except OSError as error:
        return (size, size) if error.errno == errno.ENXIO else (at, size)  # only a hole is left; nobody can tell


def _copy_range(source: int, target: int, at: int, end: int, report: Report) -> int:
    while at < end:
        try:
            count = os.copy_file_range(source, target, min(end - at, STEP), at, at)
        except AttributeError:  # only Linux has it
            count = 0
        except OSError as error:
            if error.errno not in CANNOT_COPY:
                raise
            count = 0
        if count == 0:
            return _read_and_write(source, target, at, end, report)
        at += count
        report(count)
    return at


def _read_and_write(source: int, target: int, at: int, end: int, report: Report) -> int:
    buffer = memoryview(bytearray(BUFFER))
    while at < end:
        count = os.preadv(source, [buffer[: min(BUFFER, end - at)]], at)
        if count == 0:
            break
        write_all(target, buffer[:count], at)
        at += count
        report(count)
    return at


def write_all(fd: int, data: bytes | memoryview, at: int | None = None) -> None:
    """Write all of it, however little the disk takes at once: at an offset, or where the descriptor stands.

    Raises:
        OSError: the disk takes no more.
    """
    view = memoryview(data)
    while view:
        count = os.write(fd, view) if at is None else os.pwrite(fd, view, at)
        if not count:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        view, at = view[count:], None if at is None else at + count


def digest(fd: int, report: Report = nothing) -> tuple[str, int]:
    """Return the SHA-256 in hex and the size of a file.

    Holes are not read, so they do not fill the page cache.
    """
    import hashlib  # late: it loads OpenSSL

    sha, size = hashlib.sha256(), 0
    buffer = memoryview(bytearray(BUFFER))
    found = os.fstat(fd)
    for start, end, is_hole in _extents(fd, found):
        while start < end:
            wanted = min(BUFFER, end - start)
            count = wanted if is_hole else os.preadv(fd, [buffer[:wanted]], start)
            if count == 0:
                return sha.hexdigest(), size
            sha.update(_zeros[:count] if is_hole else buffer[:count])
            start, size = start + count, size + count
            report(count)
    return sha.hexdigest(), size


@contextlib.contextmanager
def replacing(destination: Path) -> Iterator[int]:
    """A descriptor to write a file with that appears, whole, when the block ends, and not at all when it raises.

    An existing file is replaced; of a link, the link itself and not its target.
    """
    # In the same folder, since a rename is atomic only inside one file system; random, since two processes may write
    # the same destination.
    hidden = destination.with_name(f".naiad-{os.urandom(8).hex()}.part")
    fd = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        yield fd
        os.replace(hidden, destination)
    except BaseException:  # only to clean up: whatever it is goes on
        hidden.unlink(missing_ok=True)
        raise
    finally:
        os.close(fd)


@contextlib.contextmanager
def new_file(directory: int, name: str, flags: int = 0) -> Iterator[int]:
    """Create a file that is hidden until the block has filled it, and yield its open descriptor.

    Raises:
        OSError: nothing is left behind.
    """
    # Not exclusive: a file that a killed process left under this name is truncated and used again.
    hidden = f".{name}.new"
    fd = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_TRUNC | flags, 0o666, dir_fd=directory)
    try:
        yield fd
        os.rename(hidden, name, src_dir_fd=directory, dst_dir_fd=directory)
    except OSError:
        os.close(fd)
        with contextlib.suppress(OSError):
            os.unlink(hidden, dir_fd=directory)
        raise


def save(directory: int, name: str, data: bytes, flags: int = 0) -> int:
    """Write a whole file under a hidden name, sync it and rename it into place; its open descriptor.

    Raises:
        OSError: nothing of that name is left changed.
    """
    # The sync precedes the rename (which the `with` does at its end): else a power cut may leave the name with no
    # content.
    with new_file(directory, name, flags) as fd:
        write_all(fd, data)
        os.fsync(fd)
    return fd


def allocate(fd: int, size: int) -> None:
    """Take room on the disk for a new file.

    Raises:
        OSError: there is none.
    """
    # A sparse file would be cheaper, but a full disk then ends the program by SIGBUS at the first store to a page.
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(fd, 0, size)
        return
    left = size  # macOS has no posix_fallocate; zeros written out allocate just as well
    while left:
        left -= os.write(fd, bytes(min(left, 1 << 20)))


def close(fd: int) -> None:
    """Close a descriptor, ignoring late errors, which the sync before has raised."""
    with contextlib.suppress(OSError):
        os.close(fd)


def is_deleted(fd: int) -> bool:
    """Whether a file or folder that is still open here has no name any more; of a disk that is dead it is not known."""
    with contextlib.suppress(OSError):
        return fd >= 0 and os.fstat(fd).st_nlink == 0
    return False


def sync_folder(path: str | Path) -> None:
    """Let the names of new and renamed files reach the disk; of a file, its content."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


MOST_SYNCING = 3
"""Threads that sync beside the one that asks for it."""
IDLE_SECONDS = 1.0
"""How long they wait for more, as in a search over parameters that stops a run every few milliseconds."""
_Syncs = tuple[deque[str | Path], SimpleQueue[OSError | None]]
_to_sync: SimpleQueue[_Syncs] = SimpleQueue()
_syncing: set[threading.Thread] = set()


def sync_all(paths: Sequence[str | Path]) -> list[OSError]:
    """Sync files and folders at the same time, and return the errors.

    A disk takes as long for several at once as for one: each sync waits for the same commit and the same flush.
    """
    waiting, done = deque(paths), SimpleQueue[OSError | None]()
    helpers = min(MOST_SYNCING, len(paths) - 1)
    for _ in range(helpers):
        _to_sync.put((waiting, done))
    for _ in range(helpers - len(_syncing)):
        thread = threading.Thread(target=_sync_others, name="naiad-sync", daemon=True)
        _syncing.add(thread)
        try:
            thread.start()
        except RuntimeError:  # the interpreter ends, or has no thread left
            _syncing.discard(thread)
    # This thread takes part, so all are synced though no other one comes. Each puts its answer, whatever happens.
    _sync(waiting, done)
    errors = []
    for _ in paths:
        error = done.get()
        if error is not None:
            errors.append(error)
    return errors


def _sync(waiting: deque[str | Path], done: SimpleQueue[OSError | None]) -> None:
    with contextlib.suppress(IndexError):
        while True:
            path = waiting.popleft()
            error: OSError | None = OSError(errno.EIO, "it was not synced", os.fspath(path))  # whatever ends the sync
            try:
                sync_folder(path)
                error = None
            except OSError as problem:
                error = problem
            finally:
                done.put(error)


def _sync_others() -> None:
    """Sync beside other threads, until nothing has come for a while."""
    try:
        with contextlib.suppress(Empty):
            while True:
                _sync(*_to_sync.get(timeout=IDLE_SECONDS))
    finally:
        _syncing.discard(threading.current_thread())


def _forget_threads() -> None:
    """Begin without them in a forked child."""
    global _to_sync
    _to_sync = SimpleQueue()
    _syncing.clear()


os.register_at_fork(after_in_child=_forget_threads)

LOCAL = frozenset(
    (
        "ext2",
        "ext3",
        "ext4",
        "xfs",
        "btrfs",
        "zfs",
        "bcachefs",
        "f2fs",
        "jfs",
        "nilfs2",
        "reiserfs",
        "tmpfs",
        "ramfs",
        "overlay",
        "vfat",
        "exfat",
        "ntfs3",
        "apfs",
        "hfs",
    )
)
"""File systems that one kernel alone writes: their locks reach every process that can. Whatever is not named may be
shared with other machines (NFS, SMB, FUSE, 9p, virtiofs, clusters)."""

NETWORK = (
    "nfs",
    "cifs",
    "smb",
    "9p",
    "fuse.sshfs",
    "lustre",
    "gpfs",
    "beegfs",
    "ceph",
    "afs",
    "glusterfs",
    "fuse.gluster",
)


WITHOUT_PROMISE = (
    *("btrfs", "zfs", "bcachefs", "nilfs", "f2fs"),  # a page that is written again needs a new place on the disk
    *("fuse", "virtiofs", "ecryptfs", "vboxsf", "prl_fs", "jffs2", "ubifs"),  # somebody else allocates, or nobody does
)


def is_network(path: Path) -> bool:
    """Whether a file system needs `write()` for points, because its mappings may be incoherent."""
    return file_system(path).startswith(NETWORK)


def can_map(path: Path) -> bool:
    """Whether points may be written through a mapping: it is coherent, and space that was allocated stays there.

    Where it does not, a full disk shows itself as SIGBUS, which ends the program; `write()` returns an error instead.
    """
    return not file_system(path).startswith((*NETWORK, *WITHOUT_PROMISE))


def is_local(path: Path) -> bool:
    """Whether only this machine can write there, so that locks and pids mean something."""
    return file_system(path) in LOCAL


_types: dict[tuple[int, int], str] = {}  # by device and file system on it: asking costs more than a small run


def can_lock(folder: Path) -> bool:
    """Whether a lock on a file of this folder keeps a second descriptor out.

    Raises:
        OSError: the folder takes no new file.
    """
    import tempfile  # late: it loads many modules, and opening a run asks nothing of this

    with tempfile.NamedTemporaryFile(dir=folder, prefix=".lock-") as first, open(first.name, "rb") as second:
        try:
            fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        try:
            fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            return error.errno in (errno.EWOULDBLOCK, errno.EACCES, errno.EAGAIN)
        return False


def file_system(path: Path) -> str:
    """Return the kernel's name for the file system of a path, or "" if it is unknown."""
    while not path.exists():
        path = path.parent
    # Both, since the number of a device is given again after its file system was unmounted.
    device = os.stat(path).st_dev, os.statvfs(path).f_fsid
    if device not in _types:
        _types[device] = _look_up(path)
    return _types[device]


def _look_up(path: Path) -> str:
    try:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return ""
    target = path.resolve()
    best, name, options = -1, "", ""
    for line in lines:
        left, _, right = line.partition(" - ")
        mount = Path(_plain(left.split(" ")[4]))
        if len(mount.parts) >= best and (mount == target or mount in target.parents):  # the last one lies on top
            best = len(mount.parts)
            name, options = right.split(" ")[0], right.split(" ")[-1]
    return _below(options) or name if name == "overlay" else name


def _below(options: str) -> str:
    """The file system that an overlay writes to; empty where a container does not see it."""
    upper = next((option[9:] for option in options.split(",") if option.startswith("upperdir=")), "")
    place = Path(_plain(upper))
    return _look_up(place) if upper and place.is_dir() else ""


def _plain(name: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), name)
